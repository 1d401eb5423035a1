//! Who can reach whom, in one file per format.

pub mod dot;
pub mod json;
pub mod text;

use std::collections::{BTreeMap, BTreeSet, HashMap};

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

/// Parties by number, each once. Those of one matrix do not overlap, unless a filter has parted them, so the first of them
/// and how many they are tell them apart.
#[derive(Debug, Default)]
struct Classes<'a> {
    known: HashMap<Key<'a>, usize>,
    parties: Vec<Parties<'a>>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum Key<'a> {
    Workloads(Option<(&'a str, &'a str, &'a str)>, usize),
    Outside(Vec<IpNet>),
}

impl<'a> Classes<'a> {
    /// The number, and whether it is new.
    fn number(&mut self, parties: Parties<'a>) -> (usize, bool) {
        let key = match &parties {
            Parties::Workloads(members) => Key::Workloads(members.first().map(Member::key), members.len()),
            Parties::Outside(blocks) => Key::Outside(blocks.clone()),
        };
        let next = self.parties.len();
        let number = *self.known.entry(key).or_insert(next);
        if number == next {
            self.parties.push(parties);
        }
        (number, number == next)
    }

    fn get(&self, numbers: &[usize]) -> Vec<&Parties<'a>> {
        numbers.iter().filter_map(|number| self.parties.get(*number)).collect()
    }

    /// What parties are listed by: the first workload, and what is outside last.
    fn place(&self, numbers: &[usize]) -> (bool, Option<(&'a str, &'a str, &'a str)>) {
        let first = |parties: &Parties<'a>| match parties {
            Parties::Workloads(members) => members.iter().map(Member::key).min(),
            Parties::Outside(_) => None,
        };
        let first = self.get(numbers).into_iter().filter_map(first).min();
        (first.is_none(), first)
    }
}

/// Several parties, by their numbers.
type Numbers = Vec<usize>;

/// What is said of whom, by what is said.
type Row<T> = BTreeMap<T, Numbers>;

/// Lines for people: however many parties there are, those of which the same is to be said are together. `T` is what is
/// said of a connection.
struct Table<'a, T> {
    classes: Classes<'a>,
    rows: BTreeMap<usize, Row<T>>,
}

impl<'a, T: Ord + Clone + std::hash::Hash> Table<'a, T> {
    fn new() -> Self {
        Self { classes: Classes::default(), rows: BTreeMap::new() }
    }

    fn add(&mut self, line: Line<'a>, said: T) {
        let (from, _) = self.classes.number(line.from);
        let (to, _) = self.classes.number(line.to);
        self.rows.entry(from).or_default().entry(said).or_default().push(to);
    }

    /// The sources that reach all the same, in order, with what they reach.
    fn rows(self) -> (Classes<'a>, Vec<(Numbers, Row<T>)>) {
        let mut places: HashMap<Row<T>, usize> = HashMap::new();
        let mut rows: Vec<(Numbers, Row<T>)> = Vec::new();
        for (from, mut row) in self.rows {
            for to in row.values_mut() {
                to.sort_unstable();
            }
            let place = *places.entry(row.clone()).or_insert(rows.len());
            match rows.get_mut(place) {
                Some((sources, _)) => sources.push(from),
                None => rows.push((vec![from], row)),
            }
        }
        rows.sort_by_cached_key(|(sources, _)| self.classes.place(sources));
        (self.classes, rows)
    }

    /// By what is said, the sources of which it is said of the same destinations, with these, in order.
    fn said(self) -> (Classes<'a>, BTreeMap<T, Vec<(Numbers, Numbers)>>) {
        let mut all: BTreeMap<T, BTreeMap<Numbers, Numbers>> = BTreeMap::new();
        for (from, row) in self.rows {
            for (said, mut to) in row {
                to.sort_unstable();
                all.entry(said).or_default().entry(to).or_default().push(from);
            }
        }
        let in_order = |by_destinations: BTreeMap<Numbers, Numbers>| {
            let mut lines: Vec<(Numbers, Numbers)> = by_destinations.into_iter().map(|(to, from)| (from, to)).collect();
            lines.sort_by_cached_key(|(from, to)| (self.classes.place(from), self.classes.place(to)));
            lines
        };
        let all = all.into_iter().map(|(said, by_destinations)| (said, in_order(by_destinations))).collect();
        (self.classes, all)
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
        blocks.sort_unstable();
        let mut names = if members.len() == self.total && self.total > 1 {
            vec!["every workload".to_owned()]
        } else {
            counted(self.of_workloads(&members), "namespaces and workloads")
        };
        if is_everything(&blocks) {
            names.push("every address outside".to_owned());
        } else {
            names.extend(counted(blocks.iter().map(ToString::to_string).collect(), "blocks of addresses"));
        }
        names
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

/// Whether blocks are both address families.
fn is_everything(blocks: &[IpNet]) -> bool {
    blocks.len() == 2 && blocks.iter().all(|block| block.prefix_len() == 0)
}

/// Ports, in words where they are all.
fn ports(ports: &PortSet) -> String {
    if ports.is_all() { "every port".to_owned() } else { ports.to_string() }
}
