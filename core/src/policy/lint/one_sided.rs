//! `one-sided`: a rule lets pods through that the other side's policies hold back, all of them on all of its ports.
//!
//! Only what is there is judged: an item without a workload at either end is left to `dangling-selector`. Where any pair of
//! workloads gets through on any port the item has an effect, and is taken to be meant as it is.

use serde_json::{Value, json};

use super::catalogue::ONE_SIDED;
use super::{FINDINGS, Finding, Object, words};
use crate::inventory::Inventory;
use crate::policy::ports::{PORTS, Ports};
use crate::policy::reach::{Member, PortSet, let_through};
use crate::policy::selectors::NAMESPACE_NAME_LABEL;
use crate::policy::{Direction, NetworkPolicy, Peer, Rule};

/// How many pairs of workloads are looked at for one item. Past that it is taken to have an effect.
const PAIRS: usize = 10_000;

/// `one-sided`.
pub(super) fn inventory(inventory: &Inventory, found: &mut Vec<Finding>) {
    for (name, namespace) in &inventory.namespaces {
        for written in namespace.policies.iter().filter(|written| !written.policy.deleting) {
            let selected = members(inventory, name)
                .into_iter()
                .filter(|own| !own.workload.host_network && written.policy.spec.pods.matches(&own.workload.labels));
            let selected: Vec<Member<'_>> = selected.collect();
            found.extend(of_policy(inventory, name, &written.policy, &selected).take(FINDINGS));
        }
    }
}

fn members<'a>(inventory: &'a Inventory, namespace: &str) -> Vec<Member<'a>> {
    let found = inventory.namespaces.get_key_value(namespace);
    found
        .into_iter()
        .flat_map(|(name, of)| of.workloads.iter().map(move |workload| Member { namespace: name, workload }))
        .collect()
}

fn of_policy<'a>(
    inventory: &'a Inventory,
    namespace: &'a str,
    policy: &'a NetworkPolicy,
    selected: &'a [Member<'a>],
) -> impl Iterator<Item = Finding> {
    words::rules(policy).filter(|_| !selected.is_empty()).flat_map(move |(direction, at, rule)| {
        rule.peers.iter().flatten().enumerate().filter_map(move |(index, peer)| {
            let others = others(inventory, namespace, peer);
            let (own, other) = held_back(inventory, direction, rule, selected, &others)?;
            let path = words::peer(direction, at, index);
            Some(report(direction, policy, rule, &own, &other).at(path))
        })
    })
}

/// The workloads that a peer is.
fn others<'a>(inventory: &'a Inventory, own: &str, peer: &Peer) -> Vec<Member<'a>> {
    let Peer::Pods { namespaces, pods } = peer else { return Vec::new() };
    let there: Vec<&str> = match namespaces {
        None => vec![own],
        Some(selector) => inventory.selected(selector).into_iter().map(|(name, _)| name.as_str()).collect(),
    };
    let all = there.into_iter().flat_map(|name| members(inventory, name));
    all.filter(|other| !other.workload.host_network)
        .filter(|other| pods.as_ref().is_none_or(|pods| pods.matches(&other.workload.labels)))
        .collect()
}

/// A pair of those that a rule lets through, where the other side holds back every one of them.
fn held_back<'a>(
    inventory: &Inventory,
    direction: Direction,
    rule: &Rule,
    selected: &[Member<'a>],
    others: &[Member<'a>],
) -> Option<(Member<'a>, Member<'a>)> {
    if selected.len().saturating_mul(others.len()) > PAIRS {
        return None;
    }
    let back = match direction {
        Direction::Ingress => Direction::Egress,
        Direction::Egress => Direction::Ingress,
    };
    let mut first = None;
    for own in selected {
        for other in others.iter().filter(|other| !(own.is_pod() && own == *other)) {
            let to = if direction == Direction::Egress { other } else { own };
            let ports = PortSet::at(rule.ports.as_deref(), Some(to.workload));
            if ports.is_empty() {
                continue;
            }
            if !ports.intersection(&let_through(inventory, other, own, back)).is_empty() {
                return None;
            }
            first = first.or(Some((*own, *other)));
        }
    }
    first
}

fn report(direction: Direction, policy: &NetworkPolicy, rule: &Rule, own: &Member<'_>, other: &Member<'_>) -> Finding {
    let (back, verb, kind) = match direction {
        Direction::Ingress => ("egress", "lets them out to", "Egress"),
        Direction::Egress => ("ingress", "lets them in from", "Ingress"),
    };
    let message = format!(
        "this {} pods such as {other}, and no policy there {verb} {own} on these ports: no traffic flows by it",
        words::lets(direction),
    );
    let help = format!(
        "add a NetworkPolicy with an {back} rule to {}, or take this item away if nothing is to flow",
        other.namespace
    );
    let finding = Finding::new(&ONE_SIDED, Object::policy(own.namespace, &policy.name), message).help(help);
    // Pods without labels can't be selected but with all others of their namespace.
    if own.workload.labels.is_empty() || other.workload.labels.is_empty() {
        return finding;
    }
    finding.snippet(words::yaml(&other_side(direction, kind, rule, own, other)))
}

/// A policy for the other side: between these two workloads, on the rule's ports.
fn other_side(direction: Direction, kind: &str, rule: &Rule, own: &Member<'_>, other: &Member<'_>) -> Value {
    let peer = json!({
        "namespaceSelector": { "matchLabels": { NAMESPACE_NAME_LABEL: own.namespace } },
        "podSelector": { "matchLabels": own.workload.labels },
    });
    let (rules, peers, word) = match direction {
        Direction::Ingress => ("egress", "to", "to"),
        Direction::Egress => ("ingress", "from", "from"),
    };
    let mut written = json!({ peers: [peer] });
    if let Some(ports) = &rule.ports {
        let entry = |ports: &Ports| match ports {
            Ports::Named(protocol, name) => json!({ "protocol": protocol.to_string(), "port": name }),
            Ports::Range(protocol, from, to) if (*from, *to) == PORTS => json!({ "protocol": protocol.to_string() }),
            Ports::Range(protocol, from, to) if from == to => json!({ "protocol": protocol.to_string(), "port": from }),
            Ports::Range(protocol, from, to) => {
                json!({ "protocol": protocol.to_string(), "port": from, "endPort": to })
            }
        };
        if let Some(written) = written.as_object_mut() {
            written.insert("ports".to_owned(), ports.iter().map(entry).collect());
        }
    }
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": format!("allow-{}-{word}-{}", other.workload.name, own.workload.name),
            "namespace": other.namespace,
        },
        "spec": {
            "podSelector": { "matchLabels": other.workload.labels },
            "policyTypes": [kind],
            rules: [written],
        },
    })
}
