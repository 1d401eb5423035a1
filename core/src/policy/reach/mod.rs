//! Who can reach whom, over an [`Inventory`].
//!
//! [`connect()`] answers for one source, destination and port, and says which rule lets it through or comes nearest. [`Matrix`]
//! answers for all of them, and [`Diff`] for what changes between two. All three mean the same by a connection:
//!
//! - Traffic flows if the source's egress and the destination's ingress both allow it; replies are implicit. A pod can
//!   always reach itself, which is known of a bare Pod only: two replicas of one workload are two pods.
//! - A pod that uses its node's network is outside of NetworkPolicy: its own side is not isolated. To others it is its
//!   node, at an address that is not known, so that neither a selector nor an `ipBlock` of theirs matches it, only a rule
//!   for every peer.
//! - An `ipBlock` does not match pods. Whether it does depends on the CNI, so that a connection that is needed can't rely
//!   on it. (What looks for holes, [`crate::policy::holes`], assumes the opposite: it fails to the safe side.)
//! - A port's name stands for the destination's container ports of that name and protocol, and for nothing at an address.
//! - A policy that is being deleted is in force until it is gone, in what it lets through and in what it isolates.
//!   ([`crate::policy::coverage`] leaves it out, since nobody can rely on it.)
//! - A namespace that is not stated has no label but `kubernetes.io/metadata.name`.
//! - Not looked at: that its node can always reach a pod, and traffic other than TCP, UDP and SCTP.
//!
//! Source: <https://kubernetes.io/docs/concepts/services-networking/network-policies/>

mod classes;
mod connect;
mod diff;
mod index;
mod matrix;
mod outside;
mod ports;
mod rows;

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::ports::Protocol;
#[cfg(doc)]
use crate::inventory::Inventory;
use crate::inventory::Workload;
pub(crate) use connect::let_through;
pub use connect::{Answer, Miss, Nearest, Place, Side, Unresolved, connect};
pub use diff::{Change, ChangedGroup, Diff};
pub use matrix::{Connection, Group, Matrix, Members};
pub use ports::PortSet;

/// A workload with the namespace that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// The namespace's name.
    pub namespace: &'a str,
    /// The workload.
    pub workload: &'a Workload,
}

impl<'a> Member<'a> {
    /// What makes it the same one in another inventory: namespace, name, kind. Lists are in this order.
    #[must_use]
    pub fn key(&self) -> (&'a str, &'a str, &'a str) {
        (self.namespace, &self.workload.name, &self.workload.kind)
    }

    /// Whether it is one pod, and not something that may make several, as a Pod does whose name is still to be made
    /// (`generateName`).
    #[must_use]
    pub fn is_pod(&self) -> bool {
        self.workload.kind == "Pod" && !self.workload.name.is_empty()
    }

    /// Whether both are one pod, which always reaches itself.
    fn is_same_pod(&self, other: &Self) -> bool {
        self.is_pod() && self.key() == other.key()
    }
}

impl fmt::Display for Member<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.workload.kind, self.workload.name)
    }
}

/// One end of a connection that is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint<'a> {
    /// A pod of a workload.
    Workload(Member<'a>),
    /// An address outside of the cluster.
    Address(IpAddr),
}

/// One end of a connection that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party<'a> {
    /// Each pod of a workload.
    Workload(Member<'a>),
    /// Each address of a block, outside of the cluster.
    Outside(IpNet),
}

impl Party<'_> {
    /// Whether both are one pod, which always reaches itself.
    fn is_same_pod(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Workload(one), Self::Workload(other)) if one.is_same_pod(other))
    }
}

impl fmt::Display for Party<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload(member) => member.fmt(f),
            Self::Outside(block) => block.fmt(f),
        }
    }
}

/// A port that is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// A number, from 1 to 65535.
    Number(Protocol, u16),
    /// The name of a container port of the destination, of any protocol where none is stated.
    Named(Option<Protocol>, String),
}
