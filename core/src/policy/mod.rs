//! What NetworkPolicies mean.
//!
//! One parser ([`parse`]) and one evaluator: [`coverage`] says which pods are isolated, [`holes`] what the union of
//! the policies lets through, and [`verdict`] puts both together for a namespace. Webhook, controller and command line
//! all judge with these. Source of the rules: <https://kubernetes.io/docs/concepts/services-networking/network-policies/>
//! and the types of `networking.k8s.io/v1`.

pub mod cidr;
pub mod compare;
pub mod coverage;
pub mod criteria;
pub mod cut;
pub mod explain;
pub mod holes;
pub mod lint;
pub mod parse;
pub mod ports;
pub mod reach;
pub mod selectors;
pub mod space;
pub mod verdict;

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::object::Exception;
use crate::quarantine::Quarantined;
use crate::texts::Texts;
use ports::Ports;
use selectors::Selector;

/// The direction of traffic, as seen from the pods that a policy selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To the pods.
    Ingress,
    /// From the pods.
    Egress,
}

impl Direction {
    /// Both, ingress first.
    pub const BOTH: [Self; 2] = [Self::Ingress, Self::Egress];
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}

/// A NetworkPolicy, defaulted and valid (`networking.k8s.io/v1.NetworkPolicy`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// `metadata.name`; empty where the API server is still to generate it.
    pub name: String,
    /// `metadata.namespace`, where the object states one.
    pub namespace: Option<String>,
    /// `metadata.uid`; empty where it does not come from an API server.
    pub uid: String,
    /// Which write of it this is ([`crate::object::ObjectMeta::version`]); 0 where it does not come from an API server.
    pub version: u64,
    /// `metadata.generation`, which the API server raises with every change of the spec; 0 where there is none.
    pub generation: i64,
    /// Whether it carries the label that marks it as Ringfence's own ([`crate::vocabulary::MANAGED_BY`]).
    pub managed: bool,
    /// `metadata.finalizers`, which delay a deletion.
    pub finalizers: Texts,
    /// Whether `metadata.deletionTimestamp` is set: such a policy may vanish without another DELETE.
    pub deleting: bool,
    /// An exception that the policy claims for what it opens.
    pub exception: Option<Exception>,
    /// The directions whose rules the controller has removed ([`crate::vocabulary::QUARANTINED`]).
    pub quarantined: Quarantined,
    /// What it says.
    pub spec: Spec,
}

impl NetworkPolicy {
    /// Whether another policy means the same, whatever its name and its metadata: it is judged in the same way.
    #[must_use]
    pub fn means_the_same(&self, other: &Self) -> bool {
        self.spec == other.spec && self.deleting == other.deleting && self.exception == other.exception
    }

    /// What a stored policy that can't be read is taken for: it could open everything to every pod.
    #[must_use]
    pub fn opening_everything(name: String, version: u64) -> Self {
        let everything = || Some(vec![Rule::default()]);
        Self {
            name,
            namespace: None,
            uid: String::new(),
            version,
            generation: 0,
            managed: false,
            finalizers: Texts::default(),
            deleting: false,
            exception: None,
            quarantined: Quarantined::default(),
            spec: Spec { pods: Selector::default(), ingress: everything(), egress: everything() },
        }
    }
}

/// What a policy says (`networking.k8s.io/v1.NetworkPolicySpec`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spec {
    /// The pods of its own namespace that it applies to.
    pub pods: Selector,
    /// The rules for ingress, or `None` where Ingress is not among the effective policy types.
    pub ingress: Option<Vec<Rule>>,
    /// The rules for egress, or `None` where Egress is not among the effective policy types.
    pub egress: Option<Vec<Rule>>,
}

impl Spec {
    /// The rules of a direction; `None` where the policy does not isolate in it, and its rules are inert.
    #[must_use]
    pub fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }

    /// The same, to be changed.
    pub fn rules_mut(&mut self, direction: Direction) -> &mut Option<Vec<Rule>> {
        match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        }
    }

    /// Whether the policy lets anything through in a direction by a rule of its own.
    #[must_use]
    pub fn has_rules(&self, direction: Direction) -> bool {
        self.rules(direction).is_some_and(|rules| !rules.is_empty())
    }
}

/// One rule: peers AND ports (`NetworkPolicyIngressRule`, `NetworkPolicyEgressRule`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rule {
    /// Peers, ORed; `None` is every peer.
    pub peers: Option<Vec<Peer>>,
    /// Ports, ORed; `None` is every port of every protocol.
    pub ports: Option<Vec<Ports>>,
}

/// One item of `from` or `to` (`networking.k8s.io/v1.NetworkPolicyPeer`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// Pods, by their namespace's labels AND their own.
    Pods {
        /// `namespaceSelector`; `None` is the policy's own namespace.
        namespaces: Option<Selector>,
        /// `podSelector`; `None` is every pod.
        pods: Option<Selector>,
    },
    /// Addresses.
    Block {
        /// The block.
        cidr: IpNet,
        /// What is taken out of it.
        except: Box<[IpNet]>,
    },
}

/// What something takes of the heap besides its own size.
pub(crate) trait Heap {
    /// In bytes, for what it was asked for with.
    fn heap(&self) -> usize;
}

impl Heap for IpNet {
    fn heap(&self) -> usize {
        0
    }
}

impl Heap for Ports {
    fn heap(&self) -> usize {
        match self {
            Self::Range(..) => 0,
            Self::Named(_, name) => name.capacity(),
        }
    }
}

impl Heap for Peer {
    fn heap(&self) -> usize {
        match self {
            Self::Pods { namespaces, pods } => namespaces.iter().chain(pods).map(Selector::heap).sum(),
            Self::Block { except, .. } => size_of_val(&**except),
        }
    }
}

impl Heap for Rule {
    fn heap(&self) -> usize {
        self.peers.as_ref().map_or(0, Heap::heap) + self.ports.as_ref().map_or(0, Heap::heap)
    }
}

impl<T: Heap> Heap for Vec<T> {
    fn heap(&self) -> usize {
        self.capacity() * size_of::<T>() + self.iter().map(Heap::heap).sum::<usize>()
    }
}

impl NetworkPolicy {
    /// What it takes of memory, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        let Self { name, namespace, finalizers, exception, spec, .. } = self;
        let exception = exception.as_ref().map_or(0, |claim| claim.reason.capacity() + claim.until.capacity());
        let rules = [&spec.ingress, &spec.egress].into_iter().flatten().map(Heap::heap).sum::<usize>();
        let names = name.capacity() + namespace.as_ref().map_or(0, String::capacity);
        size_of::<Self>() + names + finalizers.heap() + exception + spec.pods.heap() + rules
    }
}
