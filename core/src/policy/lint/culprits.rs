//! Which rules of which policies open a hole: by themselves, or a smallest set of them together.

use super::{View, words};
use crate::policy::holes::{Hole, Kind, holes};
use crate::policy::selectors::Selector;
use crate::policy::{Direction, NetworkPolicy, Rule, Spec};

/// Past so many rules they are not tried one by one for what they do together: all of them are named.
const TRIED: usize = 64;

/// A policy's part in a hole.
pub(super) struct Culprit<'a> {
    /// The policy.
    pub(super) policy: &'a NetworkPolicy,
    /// The path of the rule, of the peer where one does it alone, or of the first of several.
    pub(super) path: String,
    /// What else has to be there, by policy and path; empty where it is opened here alone.
    pub(super) others: Vec<(&'a str, String)>,
}

impl Culprit<'_> {
    /// What opens it: to end a sentence about the hole with.
    pub(super) fn by(&self) -> String {
        const NAMED: usize = 4;
        if self.others.is_empty() {
            return ", by this rule alone".to_owned();
        }
        let named: Vec<String> = self
            .others
            .iter()
            .take(NAMED)
            .map(
                |(policy, path)| {
                    if *policy == self.policy.name { path.clone() } else { format!("{path} of policy {policy:?}") }
                },
            )
            .collect();
        let more = if self.others.len() > NAMED { " and more" } else { "" };
        format!(", by this rule together with {}{more}", named.join(", "))
    }
}

/// A rule with its policy and its index there.
type Place<'a> = (&'a NetworkPolicy, usize, &'a Rule);

/// The rules that open a hole, by policy. Where they open [`Kind::All`] and that is another hole, it is left to that one.
pub(super) fn of<'a>(view: &View<'a>, direction: Direction, hole: &Hole) -> Vec<Culprit<'a>> {
    let policies: Vec<&'a NetworkPolicy> = hole
        .policies
        .iter()
        .filter_map(|name| view.policies.iter().find(|policy| policy.name == *name).copied())
        .collect();
    let open =
        |places: &[Place<'_>]| opens(places.iter().map(|(_, _, rule)| (*rule).clone()), direction, view.namespace);
    let does = |places: &[Place<'_>]| {
        let kinds = open(places);
        kinds.contains(&hole.kind) || kinds.contains(&Kind::All)
    };
    let mut found = Vec::new();
    let mut left: Vec<Place<'a>> = Vec::new();
    let mut by_one_policy = false;
    for policy in policies {
        let rules: Vec<Place<'a>> =
            policy.spec.rules(direction).into_iter().flatten().enumerate().map(|(i, rule)| (policy, i, rule)).collect();
        if !does(&rules) {
            left.extend(rules);
            continue;
        }
        by_one_policy = true;
        let mut by_one_rule = false;
        for place in &rules {
            let kinds = open(std::slice::from_ref(place));
            by_one_rule |= kinds.contains(&hole.kind) || kinds.contains(&Kind::All);
            if kinds.contains(&hole.kind) {
                let path = narrowed(place, direction, hole.kind, view.namespace);
                found.push(Culprit { policy, path, others: Vec::new() });
            }
        }
        if !by_one_rule && open(&rules).contains(&hole.kind) {
            found.extend(together(rules, direction, &does));
        }
    }
    if !by_one_policy {
        found.extend(together(left, direction, &does));
    }
    found
}

/// The kinds of holes that rules open to the pods they are for, except [`Kind::Ports`].
pub(super) fn opens(rules: impl Iterator<Item = Rule>, direction: Direction, namespace: &str) -> Vec<Kind> {
    let rules = Some(rules.collect());
    let (ingress, egress) = match direction {
        Direction::Ingress => (rules, None),
        Direction::Egress => (None, rules),
    };
    let mut policy = NetworkPolicy::opening_everything(String::new(), 0);
    policy.spec = Spec { pods: Selector::default(), ingress, egress };
    let (holes, _) = holes(&[&policy], namespace, direction);
    holes.into_iter().map(|hole| hole.kind).filter(|kind| *kind != Kind::Ports).collect()
}

/// The path of the one peer that does it, or else of the rule.
fn narrowed((_, index, rule): &Place<'_>, direction: Direction, kind: Kind, namespace: &str) -> String {
    let peers = rule.peers.as_deref().unwrap_or_default();
    let only = |j: usize| Rule { peers: peers.get(j).map(|peer| vec![peer.clone()]), ports: rule.ports.clone() };
    (0..peers.len())
        .take(TRIED)
        .find(|j| opens(std::iter::once(only(*j)), direction, namespace).contains(&kind))
        .map_or_else(|| words::rule(direction, *index), |j| words::peer(direction, *index, j))
}

/// A smallest set of rules that do it together, as one culprit for each policy.
fn together<'a>(
    mut places: Vec<Place<'a>>,
    direction: Direction,
    does: &impl Fn(&[Place<'_>]) -> bool,
) -> Vec<Culprit<'a>> {
    if places.len() <= TRIED {
        let mut at = 0;
        while at < places.len() {
            let place = places.remove(at);
            if !does(&places) {
                places.insert(at, place);
                at += 1;
            }
        }
    }
    let named: Vec<(&'a NetworkPolicy, String)> =
        places.iter().map(|(policy, index, _)| (*policy, words::rule(direction, *index))).collect();
    let mut culprits: Vec<Culprit<'a>> = Vec::new();
    for (at, (policy, path)) in named.iter().enumerate() {
        if culprits.iter().any(|culprit| culprit.policy.name == policy.name) {
            continue;
        }
        let others = named
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != at)
            .map(|(_, (policy, path))| (policy.name.as_str(), path.clone()))
            .collect();
        culprits.push(Culprit { policy, path: path.clone(), others });
    }
    culprits
}
