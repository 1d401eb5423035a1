//! CIDRs: `noncanonical-cidr`, how they are written; `ipblock-cluster`, those of the cluster's own networks.

use ipnet::IpNet;
use serde_json::json;

use super::catalogue::{IPBLOCK_CLUSTER, NONCANONICAL_CIDR};
use super::words::{self, yaml};
use super::world::is_much;
use super::{Finding, Object, Severity, is_full};
use crate::inventory::{Cluster, Resolver};
use crate::policy::cidr;
use crate::policy::parse::{Noncanonical, Notes};
use crate::policy::selectors::NAMESPACE_NAME_LABEL;
use crate::policy::{NetworkPolicy, Peer};

/// What is to be said of one policy's blocks.
pub(super) fn policy(
    policy: &NetworkPolicy,
    notes: &Notes,
    namespace: &str,
    cluster: &Cluster,
    found: &mut Vec<Finding>,
) {
    let object = || Object::policy(namespace, &policy.name);
    for (direction, index, rule) in words::rules(policy) {
        for (j, peer) in rule.peers.iter().flatten().enumerate() {
            if let Peer::Block { cidr, except } = peer {
                in_cluster(cidr, except, cluster, &words::peer(direction, index, j), &object, found);
            }
        }
    }
    for cidr in &notes.noncanonical {
        found.push(noncanonical(cidr, object()));
    }
}

/// A CIDR that other readers may take for another one, or that is only written in another way.
fn noncanonical(cidr: &Noncanonical, object: Object) -> Finding {
    let (written, canonical) = (words::short(&cidr.written), cidr.canonical);
    let (severity, message) = if is_the_same(cidr) {
        let message = format!(
            "{written} means the same as {canonical}, which is how the API server wants it written: it warns of other forms, \
             and tools that compare texts take the two for different blocks"
        );
        (Severity::Info, message)
    } else {
        let message = format!(
            "{written} means {canonical} here, and something else, or nothing, to other readers: who can reach the pods, or be \
             reached by them, then hangs on the API server and the network plugin"
        );
        (NONCANONICAL_CIDR.severity, message)
    };
    let finding = Finding::new(&NONCANONICAL_CIDR, object, message)
        .at(&cidr.path)
        .help(format!("write {canonical}"))
        .snippet(yaml(&json!({ "cidr": canonical.to_string() })))
        .fix(words::set(&cidr.path, json!(canonical.to_string())));
    Finding { severity, ..finding }
}

/// Whether every reader takes the text for the same block: only the letters of an IPv6 address are others, or its zeros.
fn is_the_same(cidr: &Noncanonical) -> bool {
    let parts = cidr.written.split_once('/');
    parts.is_some_and(|(address, prefix)| {
        address.parse() == Ok(cidr.canonical.addr()) && prefix == cidr.canonical.prefix_len().to_string()
    })
}

/// A block that holds addresses of the cluster. One that is all of the Internet or nearly is not meant for the cluster,
/// and is found by `open-world`; one that is the address of a known resolver is as it should be.
fn in_cluster(
    cidr: &IpNet,
    except: &[IpNet],
    cluster: &Cluster,
    path: &str,
    object: &impl Fn() -> Object,
    found: &mut Vec<Finding>,
) {
    if cluster.networks.is_empty() || is_full(found, &IPBLOCK_CLUSTER) {
        return;
    }
    let is_cidr =
        |resolver: &Resolver| matches!(resolver, Resolver::Address { address, .. } if IpNet::from(*address) == *cidr);
    if cluster.dns.iter().any(is_cidr) {
        return;
    }
    let remaining = cidr::remaining(cidr, except);
    let meets = |network: &&IpNet| {
        let (first, last) = cidr::range(network);
        cidr::family(network) == cidr::family(cidr) && remaining.iter().any(|(from, to)| *from <= last && first <= *to)
    };
    let Some(network) = cluster.networks.iter().find(meets) else { return };
    if is_much(remaining.clone(), cidr::family(cidr)) {
        return;
    }
    let item = json!({
        "namespaceSelector": { "matchLabels": { NAMESPACE_NAME_LABEL: "NAMESPACE" } },
        "podSelector": { "matchLabels": { "app": "NAME" } },
    });
    found.push(
        Finding::new(
            &IPBLOCK_CLUSTER,
            object(),
            format!(
                "{cidr} holds addresses of the cluster's own network {network}: whether that lets any pod through depends on \
                 the network plugin, and pods change their addresses"
            ),
        )
        .at(format!("{path}.ipBlock"))
        .snippet(yaml(&json!([item]))),
    );
}
