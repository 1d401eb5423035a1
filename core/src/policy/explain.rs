//! Verdicts in terms of traffic: who can reach whom. The same sentences everywhere.

use super::Direction;
use super::coverage::Coverage;
use super::holes::{Hole, Kind, Peers};
use super::ports::Ports;
use super::selectors::Labels;

/// Labels, as `app=web, tier=front`; a pod without any is said in words.
#[must_use]
pub fn labels(labels: &Labels) -> String {
    if labels.is_empty() {
        return "no labels".to_owned();
    }
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    format!("labels {}", pairs.join(", "))
}

/// Policies' names, quoted.
#[must_use]
pub fn names(policies: &[String]) -> String {
    policies.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

/// Ports, as `TCP/443, UDP/53`.
#[must_use]
pub fn ports(ports: &[Ports]) -> String {
    ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Why coverage is not complete; `None` where it is.
#[must_use]
pub fn gap(direction: Direction, coverage: &Coverage) -> Option<String> {
    let traffic = match direction {
        Direction::Ingress => "anything in the cluster and beyond can reach it",
        Direction::Egress => "it can reach anything in the cluster and beyond",
    };
    match coverage {
        Coverage::Complete => None,
        Coverage::Absent => Some(format!("no policy isolates any pod for {direction}: whatever pod it is, {traffic}")),
        Coverage::Partial(Some(witness)) => Some(format!(
            "{direction} is isolated for some pods only: a pod with {} escapes every policy, {traffic}",
            self::labels(witness)
        )),
        Coverage::Partial(None) => Some(format!(
            "the pod selectors are too many and too entangled to decide whether every pod is isolated for {direction}, \
             so some are assumed not to be"
        )),
    }
}

/// What a hole lets through: which pods, and from or to whom.
#[must_use]
pub fn traffic(direction: Direction, hole: &Hole) -> String {
    let pods = match (&hole.witness, hole.some) {
        (Some(witness), true) => format!("some pods (one with {})", labels(witness)),
        (None, true) => "some pods".to_owned(),
        (Some(witness), false) => format!("pods that no policy names (one with {})", labels(witness)),
        (None, false) => "every pod".to_owned(),
    };
    format!("{pods} {} {}", reach(direction), strangers(hole))
}

/// To whom a hole is open, and on which ports.
#[must_use]
pub fn strangers(hole: &Hole) -> String {
    const ANY: &str = "peers that no policy names, in the cluster and beyond,";
    const CLUSTER: &str = "pods that no policy names, of namespaces that no policy names,";
    let share = || hole.share.map(|share| share.to_string());
    let peers = match (hole.kind, hole.peers) {
        (Kind::All, _) if hole.every_port => "any peer".to_owned(),
        (Kind::All, _) | (Kind::Ports, None | Some(Peers::Any)) => ANY.to_owned(),
        (Kind::Cluster, _) | (Kind::Ports, Some(Peers::Cluster)) => CLUSTER.to_owned(),
        (Kind::W4, _) | (Kind::Ports, Some(Peers::Ipv4)) => share().unwrap_or_else(|| "a wide part of IPv4".to_owned()),
        (Kind::W6, _) | (Kind::Ports, Some(Peers::Ipv6)) => share().unwrap_or_else(|| "a wide part of IPv6".to_owned()),
    };
    format!("{peers} on {}", open_ports(hole))
}

/// The ports that a hole is open on.
#[must_use]
pub fn open_ports(hole: &Hole) -> String {
    match (&hole.ports, hole.every_port) {
        (Some(ports), _) => self::ports(ports),
        (None, true) => "every port".to_owned(),
        (None, false) => "many ports".to_owned(),
    }
}

/// What stands between the pods of a policy and their peers.
#[must_use]
pub fn reach(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "can be reached from",
        Direction::Egress => "can reach",
    }
}

/// A hole: its class, what it lets through, and the policies that open it.
#[must_use]
pub fn hole(direction: Direction, hole: &Hole) -> String {
    let by = match hole.policies.as_slice() {
        [] => String::new(),
        names => format!(" (by {})", self::names(names)),
    };
    format!("{direction} {}: {}{by}", hole.class(), traffic(direction, hole))
}
