//! Which rules of which policies open a hole: by themselves, or a smallest set of them together.

use super::{View, words};
use crate::policy::criteria::Criteria;
use crate::policy::holes::{Hole, Kind, holes};
use crate::policy::selectors::Selector;
use crate::policy::{Direction, NetworkPolicy, Peer, Rule, Spec, explain};
use crate::profile::Profile;

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
    /// What the rule lets through, or the rules together, to the pods that they are for.
    lets_through: String,
}

impl Culprit<'_> {
    /// What the rule lets through to its pods, and with which other rules.
    pub(super) fn message(&self, direction: Direction) -> String {
        let pods = words::pods(&self.policy.spec.pods);
        format!("{pods} {} {}{}", explain::reach(direction), self.lets_through, self.by())
    }

    fn by(&self) -> String {
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
    let default = Criteria::default();
    let rules = Opening { direction, criteria: view.profile.map_or(&default, Profile::criteria) };
    let policies: Vec<&'a NetworkPolicy> = hole
        .policies
        .iter()
        .filter_map(|name| view.policies.iter().find(|policy| policy.name == *name).copied())
        .collect();
    let mut found = Vec::new();
    let mut left: Vec<Place<'a>> = Vec::new();
    let mut by_one_policy = false;
    for policy in policies {
        let places: Vec<Place<'a>> =
            policy.spec.rules(direction).into_iter().flatten().enumerate().map(|(i, rule)| (policy, i, rule)).collect();
        let of_policy = rules.of(&places);
        if !does(&of_policy, hole.kind) {
            left.extend(places);
            continue;
        }
        by_one_policy = true;
        let mut by_one_rule = false;
        for place in &places {
            let of_rule = rules.of(std::slice::from_ref(place));
            by_one_rule |= does(&of_rule, hole.kind);
            if let Some(mine) = of_kind(of_rule, hole.kind) {
                let (path, peer) = rules.narrowed(place, hole.kind);
                let lets_through = one_peer(peer, &mine).unwrap_or_else(|| explain::strangers(&mine));
                found.push(Culprit { policy, path, others: Vec::new(), lets_through });
            }
        }
        if !by_one_rule && of_kind(of_policy, hole.kind).is_some() {
            found.extend(rules.together(places, hole));
        }
    }
    if !by_one_policy {
        found.extend(rules.together(left, hole));
    }
    found
}

fn does(holes: &[Hole], kind: Kind) -> bool {
    holes.iter().any(|hole| hole.kind == kind || hole.kind == Kind::All)
}

fn of_kind(holes: Vec<Hole>, kind: Kind) -> Option<Hole> {
    holes.into_iter().find(|hole| hole.kind == kind)
}

/// The one peer that opens a hole, in words, with the ports that are open to it.
fn one_peer(peer: Option<&Peer>, hole: &Hole) -> Option<String> {
    let peer = match peer? {
        Peer::Pods { namespaces: Some(namespaces), pods } => {
            let pods = pods.as_ref().map_or_else(|| "every pod".to_owned(), words::pods);
            format!("{pods} {}", words::of_namespaces(namespaces))
        }
        Peer::Block { cidr, .. } if hole.kind == Kind::Cluster => {
            format!("pods of the cluster, which have addresses in {cidr},")
        }
        // Of a block, what matters is how much of the addresses it is.
        Peer::Block { .. } | Peer::Pods { namespaces: None, .. } => return None,
    };
    Some(format!("{peer} on {}", explain::open_ports(hole)))
}

/// What rules open in a direction to the pods that they are for.
struct Opening<'c> {
    direction: Direction,
    criteria: &'c Criteria,
}

impl Opening<'_> {
    fn of(&self, places: &[Place<'_>]) -> Vec<Hole> {
        self.by(places.iter().map(|(_, _, rule)| (*rule).clone()).collect())
    }

    /// The holes except [`Kind::Ports`].
    fn by(&self, rules: Vec<Rule>) -> Vec<Hole> {
        let (ingress, egress) = match self.direction {
            Direction::Ingress => (Some(rules), None),
            Direction::Egress => (None, Some(rules)),
        };
        let mut policy = NetworkPolicy::opening_everything(String::new(), 0);
        policy.spec = Spec { pods: Selector::default(), ingress, egress };
        let (mut holes, _) = holes(&[&policy], self.direction, self.criteria);
        holes.retain(|hole| hole.kind != Kind::Ports);
        holes
    }

    /// The path of the one peer that does it, with the peer, or else of the rule.
    fn narrowed<'a>(&self, (_, index, rule): &Place<'a>, kind: Kind) -> (String, Option<&'a Peer>) {
        let peers = rule.peers.as_deref().unwrap_or_default();
        let only = |j: usize| Rule { peers: peers.get(j).map(|peer| vec![peer.clone()]), ports: rule.ports.clone() };
        (0..peers.len()).take(TRIED).find(|j| of_kind(self.by(vec![only(*j)]), kind).is_some()).map_or_else(
            || (words::rule(self.direction, *index), None),
            |j| (words::peer(self.direction, *index, j), peers.get(j)),
        )
    }

    /// A smallest set of rules that do it together, as one culprit for each policy.
    fn together<'a>(&self, mut places: Vec<Place<'a>>, hole: &Hole) -> Vec<Culprit<'a>> {
        if places.len() <= TRIED {
            let mut at = 0;
            while at < places.len() {
                let place = places.remove(at);
                if !does(&self.of(&places), hole.kind) {
                    places.insert(at, place);
                    at += 1;
                }
            }
        }
        let lets_through = explain::strangers(of_kind(self.of(&places), hole.kind).as_ref().unwrap_or(hole));
        let named: Vec<(&'a NetworkPolicy, String)> =
            places.iter().map(|(policy, index, _)| (*policy, words::rule(self.direction, *index))).collect();
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
            culprits.push(Culprit { policy, path: path.clone(), others, lets_through: lets_through.clone() });
        }
        culprits
    }
}
