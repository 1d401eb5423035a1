//! What changes between two matrices.

use std::collections::BTreeMap;

use super::{Matrix, Member, Members, Party, PortSet};

/// What changes from one inventory to another.
///
/// A workload is the same in both where namespace, name and kind are. A new workload is no exposure by itself:
/// see [`Change::exposure`].
#[derive(Debug)]
pub struct Diff<'m, 'a> {
    before: &'m Matrix<'a>,
    after: &'m Matrix<'a>,
}

/// A connection that appears or disappears, wholly or on some ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    /// Whether it is there afterwards, and not before; else the reverse.
    pub appears: bool,
    /// The source.
    pub from: Party<'a>,
    /// The destination.
    pub to: Party<'a>,
    /// The ports on which it changes; at least one.
    pub ports: PortSet,
    /// Whether somebody is exposed who was not before: it appears, and
    ///
    /// - both parties were there before, as every address is; or
    /// - the destination is a new workload, and the source is not of its own namespace; or
    /// - the source is a new workload, and what the destination let in before did not include it.
    ///
    /// So what a new workload reaches outside of the cluster is none, nor what is reached of it from its own namespace, nor
    /// that it resolves names where every pod may.
    pub exposure: bool,
}

/// From each of some parties to each of others: as [`Change`], for parties that can't be told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedGroup<'m, 'a> {
    /// Whether the connections are there afterwards, and not before; else the reverse.
    pub appears: bool,
    /// The sources.
    pub from: Members<'m, 'a>,
    /// The destinations.
    pub to: Members<'m, 'a>,
    /// The ports on which they change; at least one.
    pub ports: PortSet,
    /// As [`Change::exposure`]: of each of them.
    pub exposure: bool,
}

impl<'m, 'a> Diff<'m, 'a> {
    /// Compares.
    #[must_use]
    pub fn new(before: &'m Matrix<'a>, after: &'m Matrix<'a>) -> Self {
        Self { before, after }
    }

    /// One after the other, what appears first.
    pub fn changes(&self) -> impl Iterator<Item = Change<'a>> {
        let of = |matrix: &Matrix<'a>| -> BTreeMap<(String, String), (Party<'a>, Party<'a>, PortSet)> {
            matrix.connections().map(|c| ((c.from.to_string(), c.to.to_string()), (c.from, c.to, c.ports))).collect()
        };
        let (before, after) = (of(self.before), of(self.after));
        let mut changes = Vec::new();
        for (appears, here, there) in [(true, &after, &before), (false, &before, &after)] {
            for (key, (from, to, ports)) in here {
                let ports = there.get(key).map_or_else(|| ports.clone(), |(_, _, other)| ports.minus(other));
                if !ports.is_empty() {
                    let exposure = appears && self.exposes(from, to, &ports);
                    changes.push(Change { appears, from: *from, to: *to, ports, exposure });
                }
            }
        }
        changes.into_iter()
    }

    /// The same, with parties that mean the same put together.
    pub fn groups(&self) -> impl Iterator<Item = ChangedGroup<'_, 'a>> {
        let slice = |member: &Member<'a>| {
            let of = |members: &'m [Member<'a>]| {
                members.iter().position(|other| other == member).and_then(|at| members.get(at..=at))
            };
            of(self.after.members()).or_else(|| of(self.before.members())).unwrap_or_default()
        };
        let members = move |party: &Party<'a>| match party {
            Party::Workload(member) => Members::Workloads(slice(member)),
            Party::Outside(block) => Members::Outside(vec![*block]),
        };
        self.changes().map(move |change| ChangedGroup {
            appears: change.appears,
            from: members(&change.from),
            to: members(&change.to),
            ports: change.ports,
            exposure: change.exposure,
        })
    }

    /// The workload as it was before, if it was.
    fn was(&self, party: &Party<'a>) -> Option<&'m Member<'a>> {
        let Party::Workload(member) = party else { return None };
        let members = self.before.members();
        let at = members.binary_search_by(|other| other.key().cmp(&member.key())).ok()?;
        members.get(at)
    }

    fn exposes(&self, from: &Party<'a>, to: &Party<'a>, ports: &PortSet) -> bool {
        match (from, to) {
            (Party::Workload(_), Party::Outside(_)) => self.was(from).is_some(),
            (Party::Outside(_), _) => true,
            (Party::Workload(source), Party::Workload(destination)) => match (self.was(from), self.was(to)) {
                (Some(_), Some(_)) => true,
                (_, None) => source.namespace != destination.namespace,
                (None, Some(was)) => !ports.minus(&self.before.lets_in(was, self.after, source)).is_empty(),
            },
        }
    }
}
