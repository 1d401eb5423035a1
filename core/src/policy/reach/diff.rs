//! What changes between two matrices.

use std::collections::{HashMap, HashSet};

use ipnet::IpNet;

use super::matrix::count;
use super::rows::Rows;
use super::{Matrix, Member, Members, Party, PortSet, outside};
use crate::policy::Direction;
use crate::policy::cidr::{Family, Range};

/// What changes from one inventory to another.
///
/// A workload is the same in both where namespace, name and kind are. A new workload is no exposure by itself:
/// see [`Change::exposure`].
#[derive(Debug)]
pub struct Diff<'m, 'a> {
    before: &'m Matrix<'a>,
    after: &'m Matrix<'a>,
    /// The workloads of both, in order.
    members: Vec<Member<'a>>,
    /// The number of the kind of each.
    of: Vec<usize>,
    kinds: Vec<Kind<'a>>,
    /// The kinds of each class of before, and of after.
    by_class: [Vec<Vec<usize>>; 2],
}

/// Workloads for which the same changes.
#[derive(Debug)]
struct Kind<'a> {
    meaning: Meaning<'a>,
    /// In order.
    members: Vec<Member<'a>>,
    /// Where they are among all.
    at: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Meaning<'a> {
    /// Their class before; `None` if they are new.
    before: Option<usize>,
    /// Their class afterwards; `None` if they are gone.
    after: Option<usize>,
    /// Their namespace, where anything in it is new.
    namespace: Option<&'a str>,
    /// Of new ones: what would have selected them before.
    selecting: Option<Vec<usize>>,
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
    /// - the source is a new workload, and what the destination let in before did not include it, by the labels that its
    ///   namespace had then if it was there.
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

impl ChangedGroup<'_, '_> {
    /// How many changes it stands for; none where it is a bare Pod to itself.
    #[must_use]
    pub fn count(&self) -> u64 {
        count(&self.from, &self.to)
    }
}

impl<'m, 'a> Diff<'m, 'a> {
    /// Compares.
    #[must_use]
    pub fn new(before: &'m Matrix<'a>, after: &'m Matrix<'a>) -> Self {
        let mut diff = Self {
            before,
            after,
            members: Vec::new(),
            of: Vec::new(),
            kinds: Vec::new(),
            by_class: [before, after].map(|matrix| vec![Vec::new(); matrix.classes.all.len()]),
        };
        let mut meant: Vec<(Member<'a>, Option<usize>, Option<usize>)> = Vec::new();
        let (mut olds, mut news) = (listed(before).peekable(), listed(after).peekable());
        loop {
            let order = match (olds.peek(), news.peek()) {
                (None, None) => break,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((old, _)), Some((new, _))) => old.key().cmp(&new.key()),
            };
            let old = if order.is_le() { olds.next() } else { None };
            let new = if order.is_ge() { news.next() } else { None };
            if let Some((member, _)) = new.or(old) {
                meant.push((member, old.map(|(_, class)| class), new.map(|(_, class)| class)));
            }
        }
        let new: Vec<Member<'a>> =
            meant.iter().filter(|(_, before, _)| before.is_none()).map(|(member, ..)| *member).collect();
        let touched: HashSet<&str> = new.iter().map(|member| member.namespace).collect();
        // What a namespace that was there is labelled with afterwards is part of the change.
        let labels = |name: &str| {
            let was = before.inventory.namespaces.get(name).filter(|namespace| namespace.stated);
            was.or_else(|| after.inventory.namespaces.get(name)).map(|namespace| &namespace.labels)
        };
        let mut selecting = before.classes.selecting(&new, labels).into_iter();
        let mut known: HashMap<Meaning<'a>, usize> = HashMap::new();
        for (at, (member, before, after)) in meant.into_iter().enumerate() {
            let namespace = touched.get(member.namespace).copied();
            let selecting = if before.is_none() { selecting.next() } else { None };
            diff.add(at, member, Meaning { before, after, namespace, selecting }, &mut known);
        }
        diff
    }

    fn add(&mut self, at: usize, member: Member<'a>, meaning: Meaning<'a>, known: &mut HashMap<Meaning<'a>, usize>) {
        let kinds = &mut self.kinds;
        let by_class = &mut self.by_class;
        let number = *known.entry(meaning).or_insert_with_key(|meaning| {
            let number = kinds.len();
            for (class, by_class) in [meaning.before, meaning.after].into_iter().zip(by_class) {
                if let Some(of) = class.and_then(|class| by_class.get_mut(class)) {
                    of.push(number);
                }
            }
            kinds.push(Kind { meaning: meaning.clone(), members: Vec::new(), at: Vec::new() });
            number
        });
        if let Some(kind) = kinds.get_mut(number) {
            kind.members.push(member);
            kind.at.push(at);
        }
        self.members.push(member);
        self.of.push(number);
    }

    /// One after the other, without holding them all; what appears first. Each is in the order of
    /// [`Matrix::connections`].
    pub fn changes(&self) -> impl Iterator<Item = Change<'a>> {
        let rows = |appears, direction| {
            let row = move |kind| self.row(kind, direction, appears);
            let rows = Rows::new(&self.members, &self.of, direction, row);
            rows.map(move |(from, to, (ports, exposure))| Change { appears, from, to, ports, exposure })
        };
        let both = move |appears| rows(appears, Direction::Egress).chain(rows(appears, Direction::Ingress));
        both(true).chain(both(false))
    }

    /// The same, with parties for which the same changes put together: few where most workloads mean the same before and
    /// afterwards. From no policies at all to ones that give each of `n` workloads a meaning of its own, every pair changes in
    /// its own right, and there are `n` squared.
    pub fn groups(&self) -> impl Iterator<Item = ChangedGroup<'_, 'a>> {
        let both = move |appears| {
            let between = self.kinds.iter().flat_map(move |from| {
                let within = self.reached(from, appears).into_iter().filter_map(move |(to, ports)| {
                    let to = self.kinds.get(to)?;
                    let exposure = appears && self.exposes(from, to, &ports);
                    Some(ChangedGroup { appears, from: from.members(), to: to.members(), ports, exposure })
                });
                let exposure = appears && !from.is_new();
                let out = self.outside(from, Direction::Egress, appears).into_iter().map(move |(blocks, ports)| {
                    ChangedGroup { appears, from: from.members(), to: Members::Outside(blocks), ports, exposure }
                });
                within.chain(out)
            });
            let into = self.kinds.iter().flat_map(move |to| {
                self.outside(to, Direction::Ingress, appears).into_iter().map(move |(blocks, ports)| ChangedGroup {
                    appears,
                    from: Members::Outside(blocks),
                    to: to.members(),
                    ports,
                    exposure: appears,
                })
            });
            between.chain(into)
        };
        both(true).chain(both(false)).filter(|group| group.count() > 0)
    }

    /// The kinds that members of a kind reach on other ports than before, with those that appear or disappear.
    fn reached(&self, from: &Kind<'a>, appears: bool) -> Vec<(usize, PortSet)> {
        let of = |matrix: &Matrix<'a>, class: Option<usize>| -> HashMap<usize, PortSet> {
            class.map(|class| matrix.classes.reached(class)).unwrap_or_default().into_iter().collect()
        };
        let before = of(self.before, from.meaning.before);
        let after = of(self.after, from.meaning.after);
        let ports = |reached: &HashMap<usize, PortSet>, class: Option<usize>| {
            class.and_then(|class| reached.get(&class)).cloned().unwrap_or_default()
        };
        let [by_before, by_after] = &self.by_class;
        let (here, by_class) = if appears { (&after, by_after) } else { (&before, by_before) };
        let mut reached: Vec<(usize, PortSet)> = Vec::new();
        for &number in here.keys().filter_map(|class| by_class.get(*class)).flatten() {
            let Some(to) = self.kinds.get(number) else { continue };
            let changed = difference(&ports(&before, to.meaning.before), &ports(&after, to.meaning.after), appears);
            if !changed.is_empty() {
                reached.push((number, changed));
            }
        }
        reached.sort_unstable_by_key(|(number, _)| *number);
        reached
    }

    /// The blocks outside of the cluster that a kind reaches, or is reached from, on other ports than before.
    fn outside(&self, kind: &Kind<'a>, direction: Direction, appears: bool) -> Vec<(Vec<IpNet>, PortSet)> {
        let mut parts: Vec<(Family, Range, (bool, PortSet))> = Vec::new();
        for (is_after, matrix, class) in
            [(false, self.before, kind.meaning.before), (true, self.after, kind.meaning.after)]
        {
            let open = class.map(|class| matrix.classes.outside(class, direction)).unwrap_or_default();
            parts.extend(open.into_iter().map(|(family, range, ports)| (family, range, (is_after, ports))));
        }
        outside::grouped(outside::runs(&parts, |open| {
            let (after, before): (Vec<_>, Vec<_>) = open.partition(|(is_after, _)| *is_after);
            let [before, after] =
                [before, after].map(|side| PortSet::together(side.into_iter().map(|(_, ports)| ports)));
            let changed = difference(&before, &after, appears);
            (!changed.is_empty()).then_some(changed)
        }))
    }

    fn exposes(&self, from: &Kind<'a>, to: &Kind<'a>, ports: &PortSet) -> bool {
        match (&from.meaning.selecting, to.meaning.before) {
            (_, None) => from.meaning.namespace != to.meaning.namespace,
            (Some(items), Some(was)) => !ports.minus(&self.before.classes.lets_in(was, items)).is_empty(),
            (None, Some(_)) => true,
        }
    }

    fn row(&self, number: usize, direction: Direction, appears: bool) -> Vec<(Party<'a>, (PortSet, bool))> {
        let Some(own) = self.kinds.get(number) else { return Vec::new() };
        let mut row = Vec::new();
        if direction == Direction::Egress {
            let mut reached: Vec<(usize, PortSet, bool)> = Vec::new();
            for (to, ports) in self.reached(own, appears) {
                let Some(to) = self.kinds.get(to) else { continue };
                let exposure = appears && self.exposes(own, to, &ports);
                reached.extend(to.at.iter().map(|&at| (at, ports.clone(), exposure)));
            }
            reached.sort_unstable_by_key(|(at, ..)| *at);
            let party = |at: usize| self.members.get(at).copied().map(Party::Workload);
            row.extend(reached.into_iter().filter_map(|(at, ports, exposure)| Some((party(at)?, (ports, exposure)))));
        }
        let exposure = appears && (direction == Direction::Ingress || !own.is_new());
        for (blocks, ports) in self.outside(own, direction, appears) {
            row.extend(blocks.into_iter().map(|block| (Party::Outside(block), (ports.clone(), exposure))));
        }
        row
    }
}

fn difference(before: &PortSet, after: &PortSet, appears: bool) -> PortSet {
    if before == after {
        PortSet::none()
    } else if appears {
        after.minus(before)
    } else {
        before.minus(after)
    }
}

fn listed<'a>(matrix: &Matrix<'a>) -> impl Iterator<Item = (Member<'a>, usize)> {
    matrix.members.iter().copied().zip(matrix.classes.of.iter().copied())
}

impl<'a> Kind<'a> {
    fn is_new(&self) -> bool {
        self.meaning.before.is_none()
    }

    fn members(&self) -> Members<'_, 'a> {
        Members::Workloads(&self.members)
    }
}
