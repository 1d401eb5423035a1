//! What stands behind a finding or a state, as short digests: words are cut, and the same words can be said of more.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hasher;

use ringfence_core::inventory::{Inventory, Namespace};
use ringfence_core::policy::holes::{Hole, Kind};
use ringfence_core::policy::lint::{Finding, Object};
use ringfence_core::policy::selectors::Selector;
use ringfence_core::policy::verdict::Verdict;
use ringfence_core::policy::{Direction, NetworkPolicy, Peer, Rule, ports};

/// What a finding is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meaning {
    /// The part that its path points to: a rule with the pods that it is for, where it is about one.
    pub part: u64,
    /// Everything that the object says.
    pub whole: u64,
}

/// The meanings of findings: a policy with thousands of peers is looked at once for each part.
#[derive(Debug)]
pub struct Meanings<'a> {
    inventory: &'a Inventory,
    known: HashMap<(Object, Part), u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    Whole,
    Pods,
    Rules(Direction),
    Rule(Direction, usize),
}

impl Part {
    fn of(path: &str) -> Self {
        if path.starts_with("spec.podSelector") {
            return Self::Pods;
        }
        for direction in Direction::BOTH {
            let Some(rest) = path.strip_prefix(&format!("spec.{direction}")) else { continue };
            let index = rest.strip_prefix('[').and_then(|rest| rest.split(']').next()?.parse().ok());
            return index.map_or(Self::Rules(direction), |index| Self::Rule(direction, index));
        }
        Self::Whole
    }
}

impl<'a> Meanings<'a> {
    /// Of findings in an inventory.
    #[must_use]
    pub fn new(inventory: &'a Inventory) -> Self {
        Self { inventory, known: HashMap::new() }
    }

    /// Of one finding.
    pub fn of(&mut self, finding: &Finding) -> Meaning {
        let mut get = |part| {
            let key = (finding.object.clone(), part);
            *self.known.entry(key).or_insert_with(|| digest(&canonical(self.inventory, &finding.object, part)))
        };
        Meaning { part: get(Part::of(&finding.path)), whole: get(Part::Whole) }
    }
}

/// What decides how much of a namespace is open, beyond the classes of its holes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// For each direction, the selectors of the pods that are isolated.
    pub isolating: BTreeSet<String>,
    /// For each hole that concerns some pods or some ports only, which.
    pub opening: BTreeSet<String>,
}

impl Extent {
    /// Of a namespace.
    #[must_use]
    pub fn of(inventory: &Inventory, namespace: &str, verdict: &Verdict) -> Self {
        let Some(namespace) = inventory.namespaces.get(namespace) else { return Self::default() };
        let mut extent = Self::default();
        for direction in Direction::BOTH {
            let isolating = selectors(namespace, direction);
            extent.isolating.extend(isolating.iter().map(|pods| format!("{direction} {:016x}", digest(pods))));
            for hole in &verdict.side(direction).holes {
                let of_hole = opening(namespace, hole);
                extent.opening.extend(of_hole.iter().map(|what| entry(direction, hole, what)));
            }
        }
        extent
    }
}

fn entry(direction: Direction, hole: &Hole, what: &str) -> String {
    format!("{direction} {} {:016x}", hole.class(), digest(what))
}

/// For whom and on which ports a hole is open, a text for each selector.
fn opening(namespace: &Namespace, hole: &Hole) -> BTreeSet<String> {
    let ports = match (&hole.ports, hole.kind) {
        (Some(ports), Kind::Ports) => words(ports),
        _ => String::new(),
    };
    if !hole.some {
        return if ports.is_empty() { BTreeSet::new() } else { [ports].into() };
    }
    let opens = |policy: &&NetworkPolicy| hole.policies.contains(&policy.name);
    policies(namespace).filter(opens).map(|policy| format!("{ports} for {}", selected(&policy.spec.pods))).collect()
}

fn policies(namespace: &Namespace) -> impl Iterator<Item = &NetworkPolicy> {
    namespace.policies.iter().map(|written| &written.policy)
}

/// The selectors of the policies that isolate in a direction; the empty one alone where there is one.
fn selectors(namespace: &Namespace, direction: Direction) -> BTreeSet<String> {
    let isolating = policies(namespace).filter(|policy| !policy.deleting && policy.spec.rules(direction).is_some());
    let selectors: BTreeSet<String> = isolating.map(|policy| selected(&policy.spec.pods)).collect();
    if selectors.contains("") { [String::new()].into() } else { selectors }
}

/// What an object says in a part of it: the same text for the same meaning, however it is written.
fn canonical(inventory: &Inventory, object: &Object, part: Part) -> String {
    let Some(namespace) = inventory.namespaces.get(&object.namespace) else { return String::new() };
    if object.kind == "NetworkPolicy" {
        let named = policies(namespace).filter(|policy| policy.name == object.name);
        return lines(named.map(|policy| of_policy(policy, part)));
    }
    let isolating =
        Direction::BOTH.map(|direction| format!("{direction} of {}", lines(selectors(namespace, direction))));
    lines(isolating)
}

/// Everything that a policy says, as a text: the same one for the same meaning, however the policy is written or named.
#[must_use]
pub fn said(policy: &NetworkPolicy) -> String {
    of_policy(policy, Part::Whole)
}

fn of_policy(policy: &NetworkPolicy, part: Part) -> String {
    let spec = &policy.spec;
    let all = |direction| match spec.rules(direction) {
        Some(rules) => format!("{direction} {}", lines(rules.iter().map(of_rule).collect::<BTreeSet<_>>())),
        None => format!("no {direction}"),
    };
    let said = match part {
        Part::Pods => String::new(),
        Part::Rule(direction, index) => {
            spec.rules(direction).and_then(|rules| rules.get(index)).map_or_else(|| all(direction), of_rule)
        }
        Part::Rules(direction) => all(direction),
        Part::Whole => lines(Direction::BOTH.map(all)),
    };
    format!("{}\n{said}", selected(&spec.pods))
}

fn of_rule(rule: &Rule) -> String {
    let peers = rule
        .peers
        .as_ref()
        .map_or_else(|| "every peer".to_owned(), |peers| lines(peers.iter().map(of_peer).collect::<BTreeSet<_>>()));
    let ports = rule.ports.as_deref().map_or_else(|| "every port".to_owned(), words);
    format!("{peers}\non {ports}")
}

fn of_peer(peer: &Peer) -> String {
    match peer {
        Peer::Pods { namespaces, pods } => {
            let of =
                namespaces.as_ref().map_or_else(|| "here".to_owned(), |selector| format!("in {}", selected(selector)));
            format!("{} {of}", pods.as_ref().map(selected).unwrap_or_default())
        }
        Peer::Block { cidr, except } => {
            let except: BTreeSet<String> = except.iter().map(ToString::to_string).collect();
            format!("{cidr} except {}", except.into_iter().collect::<Vec<_>>().join(","))
        }
    }
}

/// A selector's requirements, and not the words in which they are shown: those may change, and a file of accepted findings
/// must not end with them.
fn selected(selector: &Selector) -> String {
    selector.keys().map(|(key, set)| format!("{key} {set}")).collect::<Vec<_>>().join(", ")
}

fn words(ports: &[ports::Ports]) -> String {
    ports::merge(ports.to_vec()).iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn lines(texts: impl IntoIterator<Item = String>) -> String {
    texts.into_iter().collect::<Vec<_>>().join("\n")
}

/// What goes into a hash of the standard library may change between releases.
fn digest(text: &str) -> u64 {
    let mut hash = fnv::FnvHasher::default();
    hash.write(text.as_bytes());
    hash.finish()
}
