//! Lines for people, as few as say it all.

use std::collections::{BTreeMap, HashMap};

use ipnet::IpNet;
use ringfence_core::policy::reach::{Member, PortSet};

use super::{Line, Naming, Parties};

/// Parties by number, each once.
#[derive(Debug, Default)]
pub(super) struct Classes<'a> {
    known: HashMap<Key<'a>, usize>,
    parties: Vec<Parties<'a>>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum Key<'a> {
    Workloads(Vec<(&'a str, &'a str, &'a str)>),
    Outside(Vec<IpNet>),
}

impl<'a> Classes<'a> {
    /// The number, and whether it is new.
    pub(super) fn number(&mut self, parties: Parties<'a>) -> (usize, bool) {
        let key = match &parties {
            Parties::Workloads(members) => Key::Workloads(members.iter().map(Member::key).collect()),
            Parties::Outside(blocks) => Key::Outside(blocks.clone()),
        };
        let next = self.parties.len();
        let number = *self.known.entry(key).or_insert(next);
        if number == next {
            self.parties.push(parties);
        }
        (number, number == next)
    }

    pub(super) fn get(&self, numbers: &[usize]) -> Vec<&Parties<'a>> {
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
pub(super) type Numbers = Vec<usize>;

/// What is said of whom, by what is said.
pub(super) type Row<T> = BTreeMap<T, Numbers>;

/// However many parties there are, those of which the same is to be said are together. `T` is what is
/// said of a connection.
pub(super) struct Table<'a, T> {
    classes: Classes<'a>,
    rows: BTreeMap<usize, Row<T>>,
}

impl<'a, T: Ord + Clone + std::hash::Hash> Table<'a, T> {
    pub(super) fn new() -> Self {
        Self { classes: Classes::default(), rows: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, line: Line<'a>, said: T) {
        let (from, _) = self.classes.number(line.from);
        let (to, _) = self.classes.number(line.to);
        self.rows.entry(from).or_default().entry(said).or_default().push(to);
    }

    /// The sources that reach all the same, in order, with what they reach.
    pub(super) fn rows(self) -> (Classes<'a>, Vec<(Numbers, Row<T>)>) {
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
    pub(super) fn said(self) -> (Classes<'a>, BTreeMap<T, Vec<(Numbers, Numbers)>>) {
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

/// Ports, whether on these each namespace reaches itself, and who else is reached.
pub(super) type Reach = Vec<(PortSet, bool, Numbers)>;

/// Sources that reach alike.
pub(super) struct Alike {
    pub(super) from: Numbers,
    pub(super) reach: Reach,
    /// What they reach, where they are one namespace.
    alone: Vec<(PortSet, Numbers)>,
}

/// Puts whole namespaces together that each reach themselves, and the same else: most are alike.
pub(super) fn alike(classes: &Classes<'_>, rows: Vec<(Numbers, Row<PortSet>)>, naming: &Naming<'_>) -> Vec<Alike> {
    let mut places: HashMap<Reach, usize> = HashMap::new();
    let mut all: Vec<Alike> = Vec::new();
    for (from, row) in rows {
        let namespace = naming.whole_namespace(&classes.get(&from));
        let reach: Reach = row
            .iter()
            .map(|(ports, to)| {
                let is_own = |number: &usize| {
                    let parties = classes.get(std::slice::from_ref(number));
                    namespace.is_some() && parties.iter().all(|parties| parties.namespace() == namespace)
                };
                let (own, others): (Vec<usize>, Vec<usize>) = to.iter().copied().partition(is_own);
                if namespace.is_some() && naming.whole_namespace(&classes.get(&own)) == namespace {
                    (ports.clone(), true, others)
                } else {
                    (ports.clone(), false, to.clone())
                }
            })
            .collect();
        let alone = row.into_iter().collect();
        if !reach.iter().any(|(_, own, _)| *own) {
            all.push(Alike { from, reach, alone });
            continue;
        }
        let place = *places.entry(reach.clone()).or_insert(all.len());
        match all.get_mut(place) {
            Some(known) => {
                known.from.extend(from);
                known.alone.clear();
            }
            None => all.push(Alike { from, reach, alone }),
        }
    }
    // One alone is named.
    for one in all.iter_mut().filter(|one| !one.alone.is_empty()) {
        one.reach = std::mem::take(&mut one.alone).into_iter().map(|(ports, to)| (ports, false, to)).collect();
    }
    all
}
