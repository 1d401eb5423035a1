//! Which rules are for DNS, and where they lead.

use super::super::View;
use crate::inventory::cluster::dns::{NAMESPACES, PORT};
use crate::inventory::{Cluster, Inventory, Resolver};
use crate::policy::ports::{Ports, Protocol};
use crate::policy::selectors::{Labels, NAMESPACE_NAME_LABEL, Selector};
use crate::policy::{Peer, Rule};

/// The namespace of `OpenShift`'s resolver, and where it listens. Elsewhere that port is multicast DNS, or anything.
const OPENSHIFT: (&str, u16) = (NAMESPACES[1], 5353);

/// A label that people put on namespaces, and believe to be there.
pub(super) const NOT_AUTOMATIC: &str = "name";

/// The ports at which those listen, as far as they resolve names, to whom a rule leads.
pub(super) fn ports_of(rule: &Rule, namespace: &str, cluster: &Cluster) -> Vec<u16> {
    let may_be_openshift = |peer: &Peer| match peer {
        Peer::Block { cidr, .. } => cidr.prefix_len() == 0,
        Peer::Pods { namespaces: None, .. } => namespace == OPENSHIFT.0,
        Peer::Pods { namespaces: Some(selector), .. } => may_match(selector, &[(NAMESPACE_NAME_LABEL, OPENSHIFT.0)]),
    };
    let openshift = rule.peers.as_ref().is_none_or(|peers| peers.iter().any(may_be_openshift)).then_some(OPENSHIFT.1);
    std::iter::once(PORT).chain(openshift).chain(cluster.dns.iter().map(Resolver::port)).collect()
}

/// The entry, if it names a port of resolvers, and not nearly all ports.
pub(super) fn named_port<'p>(entry: &'p Ports, protocol: Protocol, known: &[u16]) -> Option<&'p Ports> {
    /// More ports than this, and a rule is not about DNS.
    const FEW: u16 = 100;
    let named = match entry {
        Ports::Range(p, from, to) => {
            *p == protocol && to - from < FEW && known.iter().any(|port| (*from..=*to).contains(port))
        }
        Ports::Named(p, name) => *p == protocol && name.contains("dns"),
    };
    named.then_some(entry)
}

pub(super) fn names_port(rule: &Rule, protocol: Protocol, namespace: &str, cluster: &Cluster) -> bool {
    let known = ports_of(rule, namespace, cluster);
    rule.ports.iter().flatten().any(|entry| named_port(entry, protocol, &known).is_some())
}

/// Whether port 53 is among the ports that a rule states, however many.
pub(super) fn has_port(rule: &Rule, protocol: Protocol) -> bool {
    let has =
        |entry: &Ports| matches!(entry, Ports::Range(p, from, to) if *p == protocol && (*from..=*to).contains(&PORT));
    rule.ports.iter().flatten().any(has)
}

/// Whether a rule is there for DNS, or makes one needless.
pub(super) fn is_for_dns(rule: &Rule, protocol: Protocol, namespace: &str, cluster: &Cluster) -> bool {
    if names_port(rule, protocol, namespace, cluster) {
        return true;
    }
    if rule.ports.is_some() && !has_port(rule, protocol) {
        return false;
    }
    let own = [namespace];
    let Some(peers) = &rule.peers else { return true };
    peers.iter().any(|peer| match peer {
        Peer::Block { cidr, .. } => {
            let resolvers = [Resolver::node_local(), Resolver::gke()];
            let mut known = resolvers.iter().chain(&cluster.dns);
            cidr.prefix_len() < cidr.max_prefix_len()
                || known.any(|resolver| matches!(resolver, Resolver::Address { address, .. } if cidr.contains(address)))
        }
        Peer::Pods { namespaces, .. } => {
            let known = cluster.dns.iter().filter_map(|resolver| match resolver {
                Resolver::Pods { namespace, .. } => Some(namespace.as_str()),
                Resolver::Address { .. } => None,
            });
            let mut resolving = NAMESPACES.into_iter().chain(known);
            resolving.any(|name| match namespaces {
                None => own.contains(&name),
                Some(selector) => may_match(selector, &[(NAMESPACE_NAME_LABEL, name)]),
            })
        }
    })
}

/// Whether a selector matches an object of which only some labels are known: what is not known is believed to match.
fn may_match(selector: &Selector, known: &[(&str, &str)]) -> bool {
    selector
        .keys()
        .all(|(key, set)| known.iter().find(|(name, _)| *name == key).is_none_or(|(_, value)| set.admits(Some(value))))
}

fn stated<'v>(inventory: Option<&'v Inventory>, namespace: &str) -> Option<&'v Labels> {
    inventory?.namespaces.get(namespace).filter(|namespace| namespace.stated).map(|namespace| &namespace.labels)
}

/// The namespace that a peer means by a label that it does not carry.
pub(super) fn by_missing_label(peer: &Peer, view: &View<'_>) -> Option<&'static str> {
    let Peer::Pods { namespaces: Some(selector), .. } = peer else { return None };
    let (_, set) = selector.keys().find(|(key, set)| *key == NOT_AUTOMATIC && !set.admits(None))?;
    let meant =
        NAMESPACES.into_iter().find(|name| set.admits(Some(name)) && set.mentioned().any(|text| text == *name))?;
    // Where the Namespace is there, its labels say.
    stated(view.inventory, meant).is_none_or(|labels| !selector.matches(labels)).then_some(meant)
}

pub(super) fn reaches(rule: &Rule, resolver: &Resolver, view: &View<'_>) -> bool {
    let lets = |entry: &Ports| match entry {
        Ports::Range(protocol, from, to) => *protocol == Protocol::Udp && (*from..=*to).contains(&resolver.port()),
        // A name is the pods', and CoreDNS calls its port so.
        Ports::Named(protocol, name) => {
            *protocol == Protocol::Udp && name.contains("dns") && matches!(resolver, Resolver::Pods { .. })
        }
    };
    if rule.ports.as_ref().is_some_and(|ports| !ports.iter().any(lets)) {
        return false;
    }
    rule.peers.as_deref().is_none_or(|peers| peers.iter().any(|peer| leads_to(peer, resolver, view)))
}

fn leads_to(peer: &Peer, resolver: &Resolver, view: &View<'_>) -> bool {
    match (peer, resolver) {
        (Peer::Block { cidr, except }, Resolver::Address { address, .. }) => {
            cidr.contains(address) && !except.iter().any(|taken| taken.contains(address))
        }
        (Peer::Pods { namespaces, pods }, Resolver::Pods { namespace, labels, .. }) => {
            let there = match namespaces {
                None => namespace == view.namespace,
                Some(selector) => match stated(view.inventory, namespace) {
                    Some(labels) => selector.matches(labels),
                    None => {
                        by_missing_label(peer, view).is_none()
                            && may_match(selector, &[(NAMESPACE_NAME_LABEL, namespace)])
                    }
                },
            };
            let labels: Vec<(&str, &str)> = labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            there && pods.as_ref().is_none_or(|selector| may_match(selector, &labels))
        }
        // A block may match pods in some clusters, and a cluster's resolver seldom is meant by one; all addresses are.
        (Peer::Block { cidr, .. }, Resolver::Pods { .. }) => cidr.prefix_len() == 0,
        (Peer::Pods { .. }, Resolver::Address { .. }) => false,
    }
}
