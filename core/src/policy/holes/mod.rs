//! Holes: what the union of a namespace's policies lets through to strangers, which are peers that no policy names.
//!
//! A user who may not open everything must not be able to open nearly everything either. So a class does not ask whether
//! every peer is let in, but whether a peer is that no selector names, or more addresses than one wide block holds.
//!
//! [`union`] answers which classes of strangers a set of policies together lets in on which ports; [`classify`] asks that
//! for every set of pod labels, and gives what it finds its class; [`part`] says which policies take part in a hole.
//!
//! Whether an address block matches pods depends on the CNI. Here it is assumed that it does, where the networks of the
//! cluster are known.

mod classify;
mod part;
mod union;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::cidr::Family;
use super::criteria::Criteria;
use super::ports::Ports;
use super::selectors::Labels;
use super::{Direction, NetworkPolicy};
pub(super) use union::{admits_unnamed_namespace, lets_in_strangers};

/// The kind of a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Every class of strangers, on more than `wide.ports` ports.
    #[serde(rename = "ALL")]
    All,
    /// Pods that no policy names, of namespaces that no policy names, on more than `wide.ports` ports.
    #[serde(rename = "CLUSTER")]
    Cluster,
    /// More IPv4 addresses than one block of `wide.ipv4` holds, on more than `wide.ports` ports.
    #[serde(rename = "W4")]
    W4,
    /// More IPv6 addresses than one block of `wide.ipv6` holds, on more than `wide.ports` ports.
    #[serde(rename = "W6")]
    W6,
    /// A class of strangers, or all of them, on fewer ports.
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

/// Which strangers a hole is open to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Peers {
    /// All three classes.
    Any,
    /// Pods that no policy names, of namespaces that no policy names.
    Cluster,
    /// More IPv4 addresses than one wide block holds.
    Ipv4,
    /// More IPv6 addresses than one wide block holds.
    Ipv6,
}

impl Peers {
    /// All three together, then each class.
    pub const ALL: [Self; 4] = [Self::Any, Self::Cluster, Self::Ipv4, Self::Ipv6];

    /// Each class.
    pub const EACH: [Self; 3] = [Self::Cluster, Self::Ipv4, Self::Ipv6];
}

/// What part of an address family is let through. Written as a number from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    family: Family,
    /// How many addresses; for all of IPv6, whose number does not fit, one less.
    addresses: u128,
}

impl Share {
    /// So many addresses of a family.
    #[must_use]
    pub fn new(family: Family, addresses: u128) -> Self {
        Self { family, addresses }
    }

    /// How many addresses; for all of IPv6, whose number does not fit, one less.
    #[must_use]
    pub fn addresses(self) -> u128 {
        self.addresses
    }

    /// The part, from 0 to 1.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a part to some fifteen digits is enough for people")]
    pub fn part(self) -> f64 {
        let bits = if self.family == Family::V4 { 32 } else { 128 };
        self.addresses as f64 / 2f64.powi(bits)
    }
}

impl Serialize for Share {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.part())
    }
}

impl fmt::Display for Share {
    /// As in "all of IPv4".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (family, bits, last) = match self.family {
            Family::V4 => ("IPv4", 32, u128::from(u32::MAX)),
            Family::V6 => ("IPv6", 128, u128::MAX),
        };
        let percent = self.part() * 100.0;
        if self.addresses > last || self.addresses == u128::MAX {
            write!(f, "all of {family}")
        } else if percent > 99.0 {
            write!(f, "more than 99% of {family}")
        } else if percent >= 1.0 {
            write!(f, "{percent:.0}% of {family}")
        } else {
            let prefix = bits - self.addresses.checked_ilog2().unwrap_or(0);
            write!(f, "as many {family} addresses as a /{prefix} holds")
        }
    }
}

/// A hole's class: its kind, and whether only pods are concerned that carry a label value which some policy names. Written
/// `ALL`, or `ALL*` for such pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class {
    /// What kind of hole it is.
    pub kind: Kind,
    /// Whether every pod that is concerned carries a label value which some policy names.
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
    /// Whether every pod that is concerned carries a label value which some policy names.
    pub some: bool,
    /// The policies that open it, by name. Where no single policy does, a smallest set that does so together.
    pub policies: Vec<String>,
    /// Labels of a pod that it concerns, where it is not sure to concern every pod.
    pub witness: Option<Labels>,
    /// Which ports, for [`Kind::Ports`].
    pub ports: Option<Vec<Ports>>,
    /// Which strangers, for [`Kind::Ports`].
    pub peers: Option<Peers>,
    /// What part of the addresses, for [`Kind::W4`] and [`Kind::W6`]: the most on any one port, for one pod.
    pub share: Option<Share>,
    /// Whether it is open on every port, for other kinds than [`Kind::Ports`].
    pub every_port: bool,
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
pub fn holes(policies: &[&NetworkPolicy], direction: Direction, criteria: &Criteria) -> (Vec<Hole>, bool) {
    classify::opened(&[], policies, direction, criteria)
}

/// The holes of `after` that concern a pod for which `before` did not have them, for warnings. What is denied goes by
/// [`part_of`], whether or not the hole was there before.
#[must_use]
pub fn opened(
    before: &[&NetworkPolicy],
    after: &[&NetworkPolicy],
    direction: Direction,
    criteria: &Criteria,
) -> (Vec<Hole>, bool) {
    classify::opened(before, after, direction, criteria)
}

/// The policies that take part in holes.
///
/// A policy takes part in a hole of a pod that it selects if the policy alone has a class of the hole on some port, or if
/// without the policy the union lets in fewer (pod, port, class).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Participants {
    /// The indices of the policies that take part, in ascending order.
    pub certain: Vec<usize>,
    /// The indices of those for which the budget of steps ended first, in ascending order: each may take part or not. A
    /// caller that closes holes starts with those that are certain, and takes these only where a hole is left.
    pub undecided: Vec<usize>,
}

impl Participants {
    /// Whether the budget of steps ended before every policy was decided.
    #[must_use]
    pub fn is_capped(&self) -> bool {
        !self.undecided.is_empty()
    }
}

/// The policies that take part in the holes whose class `counts`, such as those that a profile denies.
///
/// Only pods matter that have the hole in a class that counts. Where `ALL` counts and `ALL*` does not, these are the pods
/// that no policy names: a policy that opens everything to pods of one label has no part in it.
#[must_use]
pub fn participants(
    policies: &[&NetworkPolicy],
    direction: Direction,
    criteria: &Criteria,
    counts: impl Fn(Class) -> bool,
) -> Participants {
    part::participants(policies, direction, criteria, &counts)
}

/// The part that one policy has in the holes of a set of policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// It takes part in none.
    None,
    /// It takes part in this one.
    In(Box<Hole>),
    /// The budget of steps ended first: the policies are too complex to judge.
    Undecided,
}

/// Whether the policy at `index` takes part in a hole of `policies` whose class `counts`, as [`participants`] says it.
/// Where the policy lets no strangers in at all, this costs next to nothing.
#[must_use]
pub fn part_of(
    policies: &[&NetworkPolicy],
    index: usize,
    direction: Direction,
    criteria: &Criteria,
    counts: impl Fn(Class) -> bool,
) -> Part {
    part::part_of(policies, index, direction, criteria, &counts)
}
