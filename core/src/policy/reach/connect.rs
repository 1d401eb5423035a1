//! Whether one connection is let through, by which rule, or what the nearest rule misses.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Endpoint, Member, Port, PortSet};
use crate::inventory::{Inventory, Workload};
use crate::policy::ports::{Ports, Protocol};
use crate::policy::selectors::{Labels, NAMESPACE_NAME_LABEL, Selector};
use crate::policy::{Direction, NetworkPolicy, Peer, Rule};

/// Whether a connection is let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether both sides allow it.
    pub allowed: bool,
    /// The protocol of the port that was asked about.
    pub protocol: Protocol,
    /// The number of the port that was asked about: what its name stands for.
    pub number: u16,
    /// Whether it is a pod to itself, which nothing can deny.
    pub same_pod: bool,
    /// What the source's side says.
    pub egress: Side,
    /// What the destination's side says.
    pub ingress: Side,
}

/// What the policies of one end of a connection say. An address has none: it is not isolated and allows everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// Whether any policy of this direction selects the pod.
    pub isolated: bool,
    /// Whether the connection is allowed.
    pub allowed: bool,
    /// Whether the pod uses its node's network, where policies do not reach it.
    pub host_network: bool,
    /// The names of the policies of this direction that select the pod, in order.
    pub policies: Vec<String>,
    /// The first rule that allows it; `None` where none does or none is needed.
    pub rule: Option<Place>,
    /// Of the rules that do not allow it, where none does: the first of those that miss least.
    pub nearest: Option<Nearest>,
}

/// A rule of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The policy's name.
    pub policy: String,
    /// The path of the rule, such as `spec.egress[0]`.
    pub path: String,
}

/// A rule that does not allow a connection, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nearest {
    /// Where it is.
    pub place: Place,
    /// What would have to be otherwise, of the connection or of the rule; at least one.
    pub misses: Vec<Miss>,
}

/// Something that a rule asks for and a connection does not have. Its text follows "misses".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Miss {
    /// A label of the pod at the other end: the key, and what it must hold as text, such as `= web`.
    Label(String, String),
    /// A label of the namespace at the other end, in the same way.
    NamespaceLabel(String, String),
    /// A pod of this namespace, that of the policy.
    Namespace(String),
    /// The other end is a pod with its node's network, which selectors do not match.
    HostNetwork,
    /// The other end is an address, and the rule's peers are pods.
    Pod,
    /// The other end is a pod, and the rule's peer is this block of addresses.
    AddressOf(IpNet),
    /// An address of this block.
    Inside(IpNet),
    /// An address outside of this exception of its block.
    Outside(IpNet),
    /// One of these ports.
    Port(Vec<Ports>),
    /// The port's number: its name stands for nothing at a pod with its node's network.
    Number(String, u16),
    /// A pod: this name of a port stands for nothing at an address.
    NamedPort(String),
    /// Anything at all: the selector can't be met.
    Nobody,
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(key, set) => f.write_str(&label("label", "pod", key, set)),
            Self::NamespaceLabel(key, set) => f.write_str(&label("namespace label", "namespace", key, set)),
            Self::Namespace(name) => write!(f, "namespace {name}, which a podSelector alone stays in"),
            Self::HostNetwork => f.write_str("a pod with a network of its own: selectors do not match hostNetwork"),
            Self::Pod => f.write_str("a pod: selectors do not match addresses"),
            Self::AddressOf(block) => write!(f, "an address of {block}: an ipBlock does not match pods"),
            Self::Inside(block) => write!(f, "an address of {block}"),
            Self::Outside(except) => write!(f, "an address outside of {except}, which is excepted"),
            Self::Port(ports) => {
                write!(f, "port {}", ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "))
            }
            Self::NamedPort(name) => write!(f, "a pod: the port's name {name:?} stands for nothing at an address"),
            Self::Nobody => f.write_str("whatever it is: nobody can meet its selector"),
            Self::Number(name, number) => {
                write!(f, "the number {number}: the name {name:?} stands for nothing at a pod with hostNetwork")
            }
        }
    }
}

/// What a label must be, by the words of its set: of what asks for a label the label, of what asks for none whose it is.
fn label(word: &str, of: &str, key: &str, set: &str) -> String {
    match set.strip_prefix("= ") {
        Some(value) => format!("{word} {key}={value}"),
        None if set == "is absent" => format!("a {of} without the label {key}"),
        None if set == "is present" => format!("{word} {key}, with any value"),
        None if set.starts_with("not in ") => format!("a {of} whose label {key} is {set}"),
        None => match (set.strip_prefix("is present and "), set.strip_prefix("is absent or ")) {
            (Some(rest), _) => format!("{word} {key}, with a value {rest}"),
            (_, Some(rest)) => format!("{word} {key} {rest}, or a {of} without it"),
            (None, None) => format!("{word} {key} {set}"),
        },
    }
}

/// Why a port's name does not stand for one port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// Names stand for nothing at an address.
    #[error("{0:?} is the name of a container port, and an address has none: give a number")]
    Address(String),
    /// The workload has no such port.
    #[error("{workload} has no container port with the name {name:?}{}", known(.names))]
    Unknown {
        /// The name.
        name: String,
        /// The workload.
        workload: String,
        /// The names that it has.
        names: Vec<String>,
    },
    /// It has several.
    #[error("{name:?} stands for several ports of {workload}: {}; give the number of one", .ports.join(", "))]
    Several {
        /// The name.
        name: String,
        /// The workload.
        workload: String,
        /// The ports, such as `TCP/53`.
        ports: Vec<String>,
    },
}

fn known(names: &[String]) -> String {
    if names.is_empty() {
        "; none of its ports has a name: give a number".to_owned()
    } else {
        format!("; it has {}", names.join(", "))
    }
}

fn resolve(to: &Endpoint<'_>, port: &Port) -> Result<(Protocol, u16), Unresolved> {
    let (protocol, name) = match port {
        Port::Number(protocol, number) => return Ok((*protocol, *number)),
        Port::Named(protocol, name) => (*protocol, name),
    };
    let Endpoint::Workload(member) = to else { return Err(Unresolved::Address(name.clone())) };
    let ports = &member.workload.ports;
    let mut meant: Vec<(Protocol, u16)> = ports
        .iter()
        .filter(|port| port.name == *name && protocol.is_none_or(|protocol| protocol == port.protocol))
        .map(|port| (port.protocol, port.number))
        .collect();
    meant.sort_unstable();
    meant.dedup();
    match meant.as_slice() {
        [one] => Ok(*one),
        [] => {
            let mut names: Vec<String> =
                ports.iter().filter(|port| !port.name.is_empty()).map(|port| port.name.clone()).collect();
            names.sort_unstable();
            names.dedup();
            Err(Unresolved::Unknown { name: name.clone(), workload: member.to_string(), names })
        }
        several => Err(Unresolved::Several {
            name: name.clone(),
            workload: member.to_string(),
            ports: several.iter().map(|(protocol, number)| format!("{protocol}/{number}")).collect(),
        }),
    }
}

/// The other end, as the rules of a policy see it.
enum Other<'a> {
    Pod { namespace: &'a str, namespace_labels: std::borrow::Cow<'a, Labels>, labels: &'a Labels },
    HostNetwork,
    Address(IpAddr),
}

impl<'a> Other<'a> {
    fn of(inventory: &'a Inventory, endpoint: &Endpoint<'a>) -> Self {
        match endpoint {
            Endpoint::Address(address) => Self::Address(*address),
            Endpoint::Workload(member) if member.workload.host_network => Self::HostNetwork,
            Endpoint::Workload(member) => Self::Pod {
                namespace: member.namespace,
                namespace_labels: namespace_labels(inventory, member.namespace),
                labels: &member.workload.labels,
            },
        }
    }
}

fn namespace_labels<'a>(inventory: &'a Inventory, name: &str) -> std::borrow::Cow<'a, Labels> {
    match inventory.namespaces.get(name) {
        Some(namespace) => std::borrow::Cow::Borrowed(&namespace.labels),
        None => std::borrow::Cow::Owned([(NAMESPACE_NAME_LABEL.to_owned(), name.to_owned())].into()),
    }
}

fn unmet(selector: &Selector, labels: &Labels, miss: impl Fn(String, String) -> Miss) -> Vec<Miss> {
    selector
        .keys()
        .filter(|(key, set)| !set.admits(labels.get(*key).map(String::as_str)))
        .map(|(key, set)| miss(key.to_owned(), set.to_string()))
        .collect()
}

/// What a peer of a policy of `namespace` asks for and the other end does not have; nothing where it matches.
fn peer_misses(peer: &Peer, own: &str, other: &Other<'_>) -> Vec<Miss> {
    match (peer, other) {
        (Peer::Pods { .. }, Other::HostNetwork) => vec![Miss::HostNetwork],
        (Peer::Pods { .. }, Other::Address(_)) => vec![Miss::Pod],
        (Peer::Pods { namespaces, pods }, Other::Pod { .. })
            if [namespaces, pods].into_iter().flatten().any(Selector::is_unsatisfiable) =>
        {
            vec![Miss::Nobody]
        }
        (Peer::Pods { namespaces, pods }, Other::Pod { namespace, namespace_labels, labels }) => {
            let mut misses = match namespaces {
                Some(selector) => unmet(selector, namespace_labels, Miss::NamespaceLabel),
                None if own == *namespace => Vec::new(),
                None => vec![Miss::Namespace(own.to_owned())],
            };
            misses.extend(pods.iter().flat_map(|selector| unmet(selector, labels, Miss::Label)));
            misses
        }
        (Peer::Block { cidr, .. }, Other::HostNetwork | Other::Pod { .. }) => vec![Miss::AddressOf(*cidr)],
        (Peer::Block { cidr, except }, Other::Address(address)) => {
            if cidr.contains(address) {
                except.iter().filter(|except| except.contains(address)).map(|except| Miss::Outside(*except)).collect()
            } else {
                vec![Miss::Inside(*cidr)]
            }
        }
    }
}

/// How far a rule is from allowing a connection by this protocol: something of another kind is further off than a label or a
/// port, and a port of another protocol a little.
fn distance(misses: &[Miss], by: Protocol) -> usize {
    let is_by = |ports: &Ports| match ports {
        Ports::Range(protocol, ..) | Ports::Named(protocol, _) => *protocol == by,
    };
    misses
        .iter()
        .map(|miss| match miss {
            Miss::HostNetwork | Miss::Pod | Miss::AddressOf(_) | Miss::NamedPort(_) | Miss::Nobody => 8,
            Miss::Port(ports) if !ports.iter().any(is_by) => 3,
            _ => 2,
        })
        .sum()
}

/// What a rule asks for and the connection does not have, by the peer that misses least.
fn rule_misses(
    rule: &Rule,
    own: &str,
    other: &Other<'_>,
    destination: &Endpoint<'_>,
    port: (Protocol, u16),
) -> Vec<Miss> {
    let peers = rule.peers.as_deref().map(|peers| peers.iter().map(|peer| peer_misses(peer, own, other)));
    let mut misses = peers.and_then(|peers| peers.min_by_key(|misses| distance(misses, port.0))).unwrap_or_default();
    let destination = match destination {
        Endpoint::Workload(member) => Some(member.workload),
        Endpoint::Address(_) => None,
    };
    if !PortSet::at(rule.ports.as_deref(), destination).contains(port.0, port.1) {
        let ports = rule.ports.as_deref().unwrap_or_default();
        let name = match destination {
            Some(_) => name_at_host(ports, destination, port),
            None => only_names(ports),
        };
        misses.push(name.unwrap_or_else(|| Miss::Port(ports.to_vec())));
    }
    misses
}

/// The first name where a rule has nothing but names.
fn only_names(ports: &[Ports]) -> Option<Miss> {
    let name = |entry: &Ports| match entry {
        Ports::Named(_, name) => Some(name.clone()),
        Ports::Range(..) => None,
    };
    let names: Option<Vec<String>> = ports.iter().map(name).collect();
    names?.into_iter().next().map(Miss::NamedPort)
}

/// The name by which a rule would allow a port if the destination had a network of its own.
fn name_at_host(ports: &[Ports], destination: Option<&Workload>, (protocol, number): (Protocol, u16)) -> Option<Miss> {
    let of_host = &destination.filter(|workload| workload.host_network)?.ports;
    ports.iter().find_map(|entry| match entry {
        Ports::Named(named, name) if *named == protocol => of_host
            .iter()
            .any(|port| port.protocol == protocol && port.number == number && port.name == *name)
            .then(|| Miss::Number(name.clone(), number)),
        _ => None,
    })
}

/// The policies of a direction that select a workload's pods, in the order of their names.
fn selecting<'a>(inventory: &'a Inventory, member: &Member<'_>, direction: Direction) -> Vec<&'a NetworkPolicy> {
    if member.workload.host_network {
        return Vec::new();
    }
    let policies = inventory.namespaces.get(member.namespace).into_iter().flat_map(|namespace| &namespace.policies);
    let mut policies: Vec<&NetworkPolicy> = policies
        .map(|written| &written.policy)
        .filter(|policy| policy.spec.rules(direction).is_some() && policy.spec.pods.matches(&member.workload.labels))
        .collect();
    policies.sort_by(|a, b| a.name.cmp(&b.name));
    policies
}

fn side(
    inventory: &Inventory,
    direction: Direction,
    from: &Endpoint<'_>,
    to: &Endpoint<'_>,
    port: (Protocol, u16),
) -> Side {
    let (own, other) = match direction {
        Direction::Egress => (from, to),
        Direction::Ingress => (to, from),
    };
    let mut side =
        Side { isolated: false, allowed: true, host_network: false, policies: Vec::new(), rule: None, nearest: None };
    let Endpoint::Workload(member) = own else { return side };
    side.host_network = member.workload.host_network;
    let policies = selecting(inventory, member, direction);
    if policies.is_empty() {
        return side;
    }
    side.isolated = true;
    side.allowed = false;
    side.policies = policies.iter().map(|policy| policy.name.clone()).collect();
    let other = Other::of(inventory, other);
    for policy in policies {
        for (index, rule) in policy.spec.rules(direction).into_iter().flatten().enumerate() {
            let place = Place { policy: policy.name.clone(), path: format!("spec.{direction}[{index}]") };
            let misses = rule_misses(rule, member.namespace, &other, to, port);
            if misses.is_empty() {
                return Side { allowed: true, rule: Some(place), nearest: None, ..side };
            }
            if side.nearest.as_ref().is_none_or(|nearest| distance(&misses, port.0) < distance(&nearest.misses, port.0))
            {
                side.nearest = Some(Nearest { place, misses });
            }
        }
    }
    side
}

/// The ports on which one side lets traffic through, whatever the other side says: `own`'s egress to the other, or its
/// ingress from there.
pub(crate) fn let_through(
    inventory: &Inventory,
    own: &Member<'_>,
    other: &Member<'_>,
    direction: Direction,
) -> PortSet {
    let policies = selecting(inventory, own, direction);
    if policies.is_empty() {
        return PortSet::all();
    }
    let destination = match direction {
        Direction::Egress => other.workload,
        Direction::Ingress => own.workload,
    };
    let other = Other::of(inventory, &Endpoint::Workload(*other));
    let is_meant = |rule: &&Rule| {
        let mut peers = rule.peers.iter().flatten();
        rule.peers.is_none() || peers.any(|peer| peer_misses(peer, own.namespace, &other).is_empty())
    };
    let rules = policies.iter().flat_map(|policy| policy.spec.rules(direction).into_iter().flatten());
    let ports = rules.filter(is_meant).map(|rule| PortSet::at(rule.ports.as_deref(), Some(destination)));
    PortSet::together(&ports.collect::<Vec<_>>())
}

/// Whether traffic from one end reaches a port of the other.
///
/// # Errors
/// Where a port's name does not stand for one port of the destination.
pub fn connect(
    inventory: &Inventory,
    from: &Endpoint<'_>,
    to: &Endpoint<'_>,
    port: &Port,
) -> Result<Answer, Unresolved> {
    let (protocol, number) = resolve(to, port)?;
    let mut egress = side(inventory, Direction::Egress, from, to, (protocol, number));
    let mut ingress = side(inventory, Direction::Ingress, from, to, (protocol, number));
    let same_pod = matches!((from, to), (Endpoint::Workload(from), Endpoint::Workload(to))
        if from.is_same_pod(to));
    if same_pod {
        for side in [&mut egress, &mut ingress] {
            side.allowed = true;
            side.nearest = None;
        }
    }
    let allowed = egress.allowed && ingress.allowed;
    Ok(Answer { allowed, protocol, number, same_pod, egress, ingress })
}
