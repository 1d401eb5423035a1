//! Which workloads a peer of a rule selects, without trying each.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::Member;
use crate::policy::selectors::{KeySet, Labels, Selector};

/// Pods as a rule's peer selects them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Item<'a> {
    /// In which namespaces.
    pub(super) scope: Scope<'a>,
    /// Which of their pods; `None` is all.
    pub(super) pods: Option<&'a Selector>,
}

/// The namespaces that a peer selects from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Scope<'a> {
    /// The policy's own.
    Own(&'a str),
    /// Those with labels.
    Selected(&'a Selector),
}

/// Labels of one kind of object, and which objects have them.
#[derive(Debug, Default)]
struct Postings<'a>(HashMap<&'a str, HashMap<&'a str, Vec<usize>>>);

impl<'a> Postings<'a> {
    fn add(&mut self, object: usize, labels: &'a Labels) {
        for (key, value) in labels {
            self.0.entry(key).or_default().entry(value).or_default().push(object);
        }
    }

    /// The fewest objects among which all are that a selector selects, where it asks for a label with certain values.
    fn among(&self, selector: &Selector) -> Option<Vec<usize>> {
        let asks = |set: &KeySet<'_>| !set.admits(None) && !set.admits_unmentioned();
        let having = |(key, set): (&str, KeySet<'_>)| -> Vec<&Vec<usize>> {
            let Some(values) = self.0.get(key) else { return Vec::new() };
            set.mentioned().filter_map(|value| values.get(value)).collect()
        };
        let fewest = selector.keys().filter(|(_, set)| asks(set)).map(having);
        let fewest = fewest.min_by_key(|lists| lists.iter().map(|list| list.len()).sum::<usize>())?;
        Some(fewest.into_iter().flatten().copied().collect())
    }
}

struct Place<'a> {
    labels: &'a Labels,
    members: Range<usize>,
}

/// Workloads, by what selectors ask for.
pub(super) struct Index<'m, 'a> {
    members: &'m [Member<'a>],
    places: Vec<Place<'a>>,
    by_name: BTreeMap<&'a str, usize>,
    namespaces: Postings<'a>,
    pods: Postings<'a>,
    selected: HashMap<&'a Selector, Vec<usize>>,
}

impl<'m, 'a> Index<'m, 'a> {
    /// `members` are in order, `labels` those of their namespaces.
    pub(super) fn new(members: &'m [Member<'a>], labels: impl Fn(&'a str) -> Option<&'a Labels>) -> Self {
        let mut index = Self {
            members,
            places: Vec::new(),
            by_name: BTreeMap::new(),
            namespaces: Postings::default(),
            pods: Postings::default(),
            selected: HashMap::new(),
        };
        let mut start = 0;
        for of in members.chunk_by(|a, b| a.namespace == b.namespace) {
            let range = start..start + of.len();
            start = range.end;
            let Some(first) = of.first() else { continue };
            let Some(labels) = labels(first.namespace) else { continue };
            index.namespaces.add(index.places.len(), labels);
            index.by_name.insert(first.namespace, index.places.len());
            index.places.push(Place { labels, members: range });
        }
        for (at, member) in members.iter().enumerate().filter(|(_, member)| !member.workload.host_network) {
            index.pods.add(at, &member.workload.labels);
        }
        index
    }

    fn select_namespaces(&mut self, selector: &'a Selector) {
        if !self.selected.contains_key(selector) {
            let mut among = self.namespaces.among(selector).unwrap_or_else(|| (0..self.places.len()).collect());
            among.retain(|&at| self.places.get(at).is_some_and(|place| selector.matches(place.labels)));
            among.sort_unstable();
            self.selected.insert(selector, among);
        }
    }

    /// The workloads that a peer selects, in order. Those with their node's network are selected by none.
    pub(super) fn matching(&mut self, item: &Item<'a>) -> Vec<usize> {
        let own: Vec<usize>;
        let places: &[usize] = match item.scope {
            Scope::Own(name) => {
                own = self.by_name.get(name).copied().into_iter().collect();
                &own
            }
            Scope::Selected(selector) => {
                self.select_namespaces(selector);
                self.selected.get(selector).map(Vec::as_slice).unwrap_or_default()
            }
        };
        let ranges = places.iter().filter_map(|&at| self.places.get(at)).map(|place| place.members.clone());
        let size: usize = ranges.clone().map(|range| range.len()).sum();
        let among = item.pods.and_then(|pods| self.pods.among(pods)).filter(|among| among.len() < size);
        let candidates: Vec<usize> = match among {
            None => ranges.flatten().collect(),
            Some(mut among) => {
                let ranges: Vec<Range<usize>> = ranges.collect();
                among.sort_unstable();
                among.retain(|at| {
                    let after = ranges.partition_point(|range| range.start <= *at);
                    after.checked_sub(1).and_then(|last| ranges.get(last)).is_some_and(|range| range.contains(at))
                });
                among
            }
        };
        let is_meant = |member: &Member<'_>| {
            !member.workload.host_network && item.pods.is_none_or(|pods| pods.matches(&member.workload.labels))
        };
        candidates.into_iter().filter(|&at| self.members.get(at).is_some_and(is_meant)).collect()
    }
}
