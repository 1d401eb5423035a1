//! Who can reach whom, in one file per format.

mod blocks;
pub mod dot;
pub mod json;
mod table;
pub mod text;

use std::collections::BTreeSet;

use ipnet::IpNet;
use ringfence_core::inventory::Inventory;
use ringfence_core::policy::reach::{ChangedGroup, Connection, Group, Member, Members, Party, PortSet};

/// Connections with an end in one of these namespaces; where there is none, all.
#[derive(Clone, Debug, Default)]
pub struct Filter(pub BTreeSet<String>);

/// Some parties, as they are written down together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parties<'a> {
    /// Workloads, at least one.
    Workloads(Vec<Member<'a>>),
    /// Addresses outside of the cluster.
    Outside(Vec<IpNet>),
}

impl<'a> Parties<'a> {
    fn len(&self) -> usize {
        match self {
            Self::Workloads(members) => members.len(),
            Self::Outside(blocks) => blocks.len(),
        }
    }

    /// The namespace that all of them are in, where it is one.
    fn namespace(&self) -> Option<&'a str> {
        let Self::Workloads(members) = self else { return None };
        let first = members.first()?.namespace;
        members.iter().all(|member| member.namespace == first).then_some(first)
    }
}

/// From each of some to each of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The sources.
    pub from: Parties<'a>,
    /// The destinations.
    pub to: Parties<'a>,
    /// The ports.
    pub ports: PortSet,
}

impl Filter {
    fn names(&self) -> String {
        self.0.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    fn has(&self, party: &Party<'_>) -> bool {
        matches!(party, Party::Workload(member) if self.0.contains(member.namespace))
    }

    /// Whether a connection between these is wanted.
    #[must_use]
    pub fn takes(&self, from: &Party<'_>, to: &Party<'_>) -> bool {
        self.0.is_empty() || self.has(from) || self.has(to)
    }

    /// Whether a connection is wanted.
    #[must_use]
    pub fn wants(&self, connection: &Connection<'_>) -> bool {
        self.takes(&connection.from, &connection.to)
    }

    /// Whether connections of this namespace are wanted.
    #[must_use]
    pub fn has_namespace(&self, name: &str) -> bool {
        self.0.is_empty() || self.0.contains(name)
    }

    /// What is wanted of a group.
    #[must_use]
    pub fn lines<'a>(&self, group: &Group<'_, 'a>) -> Vec<Line<'a>> {
        self.of(&group.from, &group.to, &group.ports)
    }

    /// What is wanted of a changed group.
    #[must_use]
    pub fn changed<'a>(&self, group: &ChangedGroup<'_, 'a>) -> Vec<Line<'a>> {
        self.of(&group.from, &group.to, &group.ports)
    }

    fn of<'a>(&self, from: &Members<'_, 'a>, to: &Members<'_, 'a>, ports: &PortSet) -> Vec<Line<'a>> {
        let line = |from, to| Line { from, to, ports: ports.clone() };
        if self.0.is_empty() {
            return vec![line(all(from), all(to))];
        }
        // From those in the namespaces to all, and from the others to those in the namespaces.
        let (from_in, from_out) = self.parted(from);
        let (to_in, _) = self.parted(to);
        let inward = from_out.zip(to_in).map(|(from, to)| line(from, to));
        from_in.map(|from| line(from, all(to))).into_iter().chain(inward).collect()
    }

    /// Those in the namespaces, and the others.
    fn parted<'a>(&self, members: &Members<'_, 'a>) -> (Option<Parties<'a>>, Option<Parties<'a>>) {
        match members {
            Members::Outside(blocks) => (None, Some(Parties::Outside(blocks.clone()))),
            Members::Workloads(members) => {
                let (inside, outside): (Vec<_>, Vec<_>) =
                    members.iter().copied().partition(|member| self.0.contains(member.namespace));
                let some = |members: Vec<_>| (!members.is_empty()).then_some(Parties::Workloads(members));
                (some(inside), some(outside))
            }
        }
    }
}

fn all<'a>(members: &Members<'_, 'a>) -> Parties<'a> {
    match members {
        Members::Workloads(members) => Parties::Workloads(members.to_vec()),
        Members::Outside(blocks) => Parties::Outside(blocks.clone()),
    }
}

/// What parties are called when they are too many to be named one by one.
#[derive(Debug)]
pub struct Naming<'a> {
    inventories: Vec<&'a Inventory>,
    total: usize,
}

/// How many names are written out; the rest is counted.
const NAMED: usize = 6;

impl<'a> Naming<'a> {
    /// The names within these inventories.
    #[must_use]
    pub fn of(inventories: &[&'a Inventory]) -> Self {
        let size = |inventory: &&Inventory| -> usize {
            inventory.namespaces.values().map(|namespace| namespace.workloads.len()).sum()
        };
        Self { inventories: inventories.to_vec(), total: inventories.iter().map(size).max().unwrap_or_default() }
    }

    fn workloads_in(&self, namespace: &str) -> usize {
        let size =
            |inventory: &&Inventory| inventory.namespaces.get(namespace).map_or(0, |known| known.workloads.len());
        self.inventories.iter().map(size).max().unwrap_or_default()
    }

    /// Why there is no connection, where it is that there is no workload to have one.
    fn nobody(&self, filter: &Filter) -> Option<String> {
        if self.total == 0 {
            return Some("there is no workload, and so no connection".to_owned());
        }
        let empty = !filter.0.is_empty() && filter.0.iter().all(|name| self.workloads_in(name) == 0);
        empty.then(|| format!("there is no workload in {}, and so no connection", filter.names()))
    }

    /// The names of parties: a namespace for all that is in it, a count for what does not fit.
    #[must_use]
    pub fn names(&self, parties: &[&Parties<'_>]) -> Vec<String> {
        let (mut members, mut blocks): (Vec<Member<'_>>, Vec<IpNet>) = (Vec::new(), Vec::new());
        for parties in parties {
            match parties {
                Parties::Workloads(some) => members.extend(some),
                Parties::Outside(some) => blocks.extend(some),
            }
        }
        members.sort_by_key(Member::key);
        let mut names = if members.len() == self.total && self.total > 1 {
            vec!["every workload".to_owned()]
        } else {
            counted(self.of_workloads(&members), "namespaces and workloads")
        };
        let blocks = blocks::names(&blocks);
        if blocks == EVERYTHING {
            names.push("every address outside".to_owned());
        } else {
            names.extend(counted(blocks, "blocks of addresses"));
        }
        names
    }

    /// The namespace that these are all the workloads of, where they are that.
    fn whole_namespace<'b>(&self, parties: &[&Parties<'b>]) -> Option<&'b str> {
        let mut namespaces = parties.iter().map(|parties| parties.namespace());
        let first = namespaces.next()??;
        let count: usize = parties.iter().map(|parties| parties.len()).sum();
        (namespaces.all(|other| other == Some(first)) && count == self.workloads_in(first)).then_some(first)
    }

    fn of_workloads(&self, members: &[Member<'_>]) -> Vec<String> {
        let mut names = Vec::new();
        for of_one in members.chunk_by(|one, other| one.namespace == other.namespace) {
            match of_one {
                [first, _, ..] if of_one.len() == self.workloads_in(first.namespace) => {
                    names.push(format!("{}/*", first.namespace));
                }
                some => names.extend(some.iter().map(ToString::to_string)),
            }
        }
        names
    }
}

fn counted(mut names: Vec<String>, what: &str) -> Vec<String> {
    let more = names.len().saturating_sub(NAMED);
    if more > 1 {
        names.truncate(NAMED);
        names.push(format!("{more} more {what}"));
    }
    names
}

/// Both address families.
const EVERYTHING: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// Ports, in words where they are all.
fn ports(ports: &PortSet) -> String {
    if ports.is_all() { "every port".to_owned() } else { ports.to_string() }
}
