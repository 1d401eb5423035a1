//! Whether one policy allows nothing that another does not: pods, peers and ports.

use std::collections::{HashMap, HashSet};

use super::cidr::{self, Family, Range};
use super::ports::{self, Ports};
use super::selectors::{KeySet, NAMESPACE_NAME_LABEL, Selector};
use super::space::{Budget, Capped, Outlook, Owner, Prefer, Requirements, Scope, Set, Space};
use super::{Direction, NetworkPolicy, Peer, Rule};

/// Whether `new` certainly allows nothing in a direction that `old` does not allow. What it allows are pods, their peers
/// and ports, so a policy with another order of rules, fewer rules, peers or ports, more exceptions, or narrower selectors
/// allows no more.
///
/// The answer is exact, but for two cases in which it is no: policies for which it takes more than one question's
/// [`Budget`] to decide, and a selector of pods that is wider and only adds pods to which `new` allows nothing. It is never
/// yes by mistake. Which pods are isolated is not compared.
#[must_use]
pub fn allows_no_more(old: &NetworkPolicy, new: &NetworkPolicy, namespace: &str, direction: Direction) -> bool {
    let old_rules = old.spec.rules(direction).unwrap_or_default();
    let new_rules: Vec<&Rule> =
        new.spec.rules(direction).unwrap_or_default().iter().filter(|rule| allows_something(rule)).collect();
    if new_rules.is_empty() || new.spec.pods.is_unsatisfiable() {
        return true;
    }
    if !new.spec.pods.is_within(&old.spec.pods) {
        return false;
    }
    let known: HashSet<&Rule> = old_rules.iter().collect();
    let others: Vec<&Rule> = new_rules.into_iter().filter(|rule| !known.contains(rule)).collect();
    others.is_empty() || Comparison::new(old_rules, namespace).includes(&others).unwrap_or(false)
}

fn allows_something(rule: &Rule) -> bool {
    rule.peers.as_ref().is_none_or(|peers| {
        peers.iter().any(|peer| match peer {
            Peer::Pods { namespaces, pods } => {
                let names = namespaces.as_ref().and_then(|namespaces| namespaces.key(NAMESPACE_NAME_LABEL));
                names.is_none_or(KeySet::admits_a_name)
                    && ![namespaces, pods].into_iter().flatten().any(Selector::is_unsatisfiable)
            }
            Peer::Block { cidr, except } => !cidr::remaining(cidr, except).is_empty(),
        })
    })
}

/// The selector of namespaces of a peer, and that of pods.
type Selectors<'s> = (Option<&'s Selector>, Option<&'s Selector>);

struct Comparison<'a> {
    old: &'a [Rule],
    own: Selector,
    budget: Budget,
}

/// The peers of the old rules that are for a class of ports.
struct Union<'a> {
    every: bool,
    known: HashSet<&'a Peer>,
    v4: Vec<Range>,
    v6: Vec<Range>,
    selectors: Vec<Selectors<'a>>,
}

fn ranges<'p>(peers: impl Iterator<Item = &'p Peer>, family: Family) -> Vec<Range> {
    let mut ranges = Vec::new();
    for peer in peers {
        if let Peer::Block { cidr, except } = peer
            && cidr::family(cidr) == family
        {
            ranges.extend(cidr::remaining(cidr, except));
        }
    }
    cidr::merged(ranges)
}

/// How much a peer is to look at.
fn size(peer: &Peer) -> usize {
    match peer {
        Peer::Pods { namespaces, pods } => {
            2 + [namespaces, pods]
                .into_iter()
                .flatten()
                .flat_map(Selector::keys)
                .map(|(_, set)| 1 + set.mentions())
                .sum::<usize>()
        }
        Peer::Block { except, .. } => 2 + except.len(),
    }
}

fn are_within(mine: &[Range], theirs: &[Range]) -> bool {
    mine.iter().all(|(from, to)| {
        let at = theirs.partition_point(|(_, end)| end < from);
        theirs.get(at).is_some_and(|(first, last)| first <= from && to <= last)
    })
}

/// What a peer asks of a pod and its namespace.
fn requirements<'s>((namespaces, pods): Selectors<'s>, own: &'s Selector) -> Requirements<'s> {
    let of_namespaces = namespaces.unwrap_or(own).keys().map(|(key, set)| (Owner::Namespace, key, set));
    let of_pods = pods.into_iter().flat_map(Selector::keys).map(|(key, set)| (Owner::Pod, key, set));
    of_namespaces.chain(of_pods).collect()
}

/// Whether every pod that one peer selects is selected by another, as far as their selectors say one by one.
fn is_within(new: Selectors<'_>, old: Selectors<'_>) -> bool {
    let namespaces = match (new.0, old.0) {
        (_, Some(old)) if old.selects_all() => true,
        (Some(new), Some(old)) => new.is_within(old),
        (None, None) => true,
        _ => false,
    };
    namespaces && old.1.is_none_or(|old| old.selects_all() || new.1.is_some_and(|new| new.is_within(old)))
}

impl<'a> Comparison<'a> {
    fn new(old: &'a [Rule], namespace: &str) -> Self {
        Self { old, own: Selector::one_of(NAMESPACE_NAME_LABEL, [namespace]), budget: Budget::new() }
    }

    /// Whether the old rules allow whatever these do.
    fn includes(&mut self, new: &[&Rule]) -> Result<bool, Capped> {
        let rules = self.old.iter().chain(new.iter().copied());
        let classes = ports::classes(rules.flat_map(|rule| rule.ports.iter().flatten()));
        // By class of ports, the old rules that allow it.
        self.budget.spend(4 * classes.len())?;
        let mut allowed: Vec<Vec<usize>> = vec![Vec::new(); classes.len()];
        for (index, rule) in self.old.iter().enumerate() {
            for class in self.classes_of(rule, &classes)? {
                allowed[class].push(index);
            }
        }
        let mut unions: HashMap<&[usize], Union<'a>> = HashMap::new();
        for rule in new {
            let mut seen: HashSet<&[usize]> = HashSet::new();
            for class in self.classes_of(rule, &classes)? {
                let by = allowed[class].as_slice();
                self.budget.spend(2 + by.len())?;
                if !seen.insert(by) {
                    continue;
                }
                if !unions.contains_key(by) {
                    unions.insert(by, self.union(by)?);
                }
                let Some(union) = unions.get(by) else { return Ok(false) };
                if !self.union_includes(union, rule)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn classes_of(&mut self, rule: &Rule, classes: &[Ports]) -> Result<Vec<usize>, Capped> {
        let Some(entries) = &rule.ports else {
            self.budget.spend(classes.len())?;
            return Ok((0..classes.len()).collect());
        };
        let mut of_rule = Vec::new();
        for entry in entries {
            let included = ports::included(classes, entry);
            self.budget.spend(8 + included[0].len() + included[1].len())?;
            of_rule.extend(included.into_iter().flatten());
        }
        of_rule.sort_unstable();
        of_rule.dedup();
        Ok(of_rule)
    }

    fn union(&mut self, rules: &[usize]) -> Result<Union<'a>, Capped> {
        let rules = || rules.iter().map(|&index| &self.old[index]);
        let peers: Vec<&'a Peer> = rules().flat_map(|rule| rule.peers.iter().flatten()).collect();
        let every = rules().any(|rule| rule.peers.is_none());
        self.budget.spend(peers.iter().map(|peer| size(peer)).sum())?;
        let selectors = peers
            .iter()
            .filter_map(|peer| match peer {
                Peer::Pods { namespaces, pods } => Some((namespaces.as_ref(), pods.as_ref())),
                Peer::Block { .. } => None,
            })
            .collect();
        Ok(Union {
            every,
            v4: ranges(peers.iter().copied(), Family::V4),
            v6: ranges(peers.iter().copied(), Family::V6),
            selectors,
            known: peers.into_iter().collect(),
        })
    }

    fn union_includes(&mut self, union: &Union<'a>, rule: &Rule) -> Result<bool, Capped> {
        if union.every {
            return Ok(true);
        }
        let Some(peers) = &rule.peers else { return Ok(false) };
        self.budget.spend(peers.iter().map(size).sum())?;
        let others: Vec<&Peer> = peers.iter().filter(|peer| !union.known.contains(peer)).collect();
        if !are_within(&ranges(others.iter().copied(), Family::V4), &union.v4)
            || !are_within(&ranges(others.iter().copied(), Family::V6), &union.v6)
        {
            return Ok(false);
        }
        for peer in others {
            if let Peer::Pods { namespaces, pods } = peer
                && !self.selectors_include(&union.selectors, (namespaces.as_ref(), pods.as_ref()))?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether every pod that one peer selects is selected by some of the others: none escapes them all.
    fn selectors_include(&mut self, old: &[Selectors<'_>], new: Selectors<'_>) -> Result<bool, Capped> {
        let Self { own, budget, .. } = self;
        // One that includes it by itself is found without a search.
        budget.spend(4 + 2 * old.len())?;
        if old.iter().any(|old| is_within(new, *old)) {
            return Ok(true);
        }
        let mut boxes: Vec<Requirements<'_>> = vec![requirements(new, own)];
        boxes.extend(old.iter().map(|peer| requirements(*peer, own)));
        let space = Space::new(&boxes, budget)?;
        let mut all = Set::with_capacity(boxes.len());
        all.insert_range(..);
        let escaped = space.find(&all, Scope::All, Prefer::Neither, budget, &mut |certain, possible, _| {
            Ok(if !possible.contains(0) || certain.ones().any(|index| index > 0) {
                Outlook::Never
            } else if certain.contains(0) && possible.ones().all(|index| index == 0) {
                Outlook::Always
            } else {
                Outlook::Open
            })
        })?;
        Ok(escaped.is_none())
    }
}
