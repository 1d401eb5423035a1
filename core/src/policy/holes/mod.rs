//! Holes: what the union of a namespace's policies lets through, beyond particular peers.
//!
//! [`union`] answers whether a set of policies together lets a wide kind of peer through on some ports; [`classify`]
//! asks that for every set of pod labels, and gives what it finds its class.
//!
//! A wide peer is every pod of the cluster, all of IPv4, or all of IPv6. Whether an address block matches pods depends
//! on the CNI: here it is assumed that it does. So some ports open to all of IPv4 are `PORTS`, just as some ports open
//! to any peer are.

mod classify;
mod union;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ports::Ports;
use super::selectors::Labels;
use super::{Direction, NetworkPolicy};

/// The kind of a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Every peer on every port.
    #[serde(rename = "ALL")]
    All,
    /// Every pod of every namespace, on all ports.
    #[serde(rename = "CLUSTER")]
    Cluster,
    /// All of IPv4, on all ports.
    #[serde(rename = "W4")]
    W4,
    /// All of IPv6, on all ports.
    #[serde(rename = "W6")]
    W6,
    /// Any peer, or every peer of a wide kind, on some ports.
    #[serde(rename = "PORTS")]
    Ports,
}

impl Kind {
    /// All five, the widest first.
    pub const ALL: [Self; 5] = [Self::All, Self::Cluster, Self::W4, Self::W6, Self::Ports];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "ALL",
            Self::Cluster => "CLUSTER",
            Self::W4 => "W4",
            Self::W6 => "W6",
            Self::Ports => "PORTS",
        })
    }
}

/// A hole's class: its kind, and whether it concerns some pods only. Written `ALL`, or `ALL*` for some pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class {
    /// What kind of hole it is.
    pub kind: Kind,
    /// Whether only some pods are concerned.
    pub some: bool,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.kind, if self.some { "*" } else { "" })
    }
}

/// Something that the union of the policies lets through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// What kind of hole it is.
    pub kind: Kind,
    /// Whether only some pods are concerned.
    pub some: bool,
    /// The policies that open it, by name. Where no single policy does, a smallest set that does so together.
    pub policies: Vec<String>,
    /// Labels of a pod that it concerns, where it does not concern every pod.
    pub witness: Option<Labels>,
    /// Which ports, for [`Kind::Ports`].
    pub ports: Option<Vec<Ports>>,
}

impl Hole {
    /// The hole's class.
    #[must_use]
    pub fn class(&self) -> Class {
        Class { kind: self.kind, some: self.some }
    }
}

/// The holes of a set of policies of one namespace, and whether the answer was capped; what is capped is
/// over-approximated.
#[must_use]
pub fn holes(policies: &[&NetworkPolicy], namespace: &str, direction: Direction) -> (Vec<Hole>, bool) {
    classify::opened(&[], policies, namespace, direction)
}

/// The holes of `after` that concern a pod for which `before` did not have them.
#[must_use]
pub fn opened(
    before: &[&NetworkPolicy],
    after: &[&NetworkPolicy],
    namespace: &str,
    direction: Direction,
) -> (Vec<Hole>, bool) {
    classify::opened(before, after, namespace, direction)
}
