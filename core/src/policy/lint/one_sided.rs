//! `one-sided`: a rule lets pods through that the other side's policies hold back, all of them on all of its ports.
//!
//! Only what is there is judged: an item without a workload at either end is left to `dangling-selector`. Where any pair of
//! workloads gets through on any port the item has an effect, and is taken to be meant as it is.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::catalogue::ONE_SIDED;
use super::{ENOUGH, Finding, Object, words};
use crate::inventory::Inventory;
use crate::policy::ports::{PORTS, Ports};
use crate::policy::reach::{Member, PortSet, let_through};
use crate::policy::selectors::NAMESPACE_NAME_LABEL;
use crate::policy::{Direction, NetworkPolicy, Peer, Rule};

/// How many pairs of workloads are looked at for one item. Past that it is taken to have an effect.
const PAIRS: usize = 10_000;

/// How many steps are taken for all items together: a workload that is compared with a peer, or a peer or port of a rule
/// that is read for a pair. Past that the others are taken to have an effect. Some tenths of a second.
const STEPS: usize = 20_000_000;

/// `one-sided`.
pub(super) fn inventory(inventory: &Inventory, found: &mut Vec<Finding>) {
    let mut search = Search { inventory, sizes: HashMap::new(), left: STEPS };
    for (name, namespace) in &inventory.namespaces {
        for written in namespace.policies.iter().filter(|written| !written.policy.deleting) {
            if !search.may_take(namespace.workloads.len()) {
                return;
            }
            let selected = members(inventory, name)
                .filter(|own| !own.workload.host_network && written.policy.spec.pods.matches(&own.workload.labels));
            let selected: Vec<Member<'_>> = selected.collect();
            search.policy(name, &written.policy, &selected, found);
        }
    }
}

fn members<'a>(inventory: &'a Inventory, namespace: &str) -> impl Iterator<Item = Member<'a>> {
    let found = inventory.namespaces.get_key_value(namespace);
    found
        .into_iter()
        .flat_map(|(name, of)| of.workloads.iter().map(move |workload| Member { namespace: name, workload }))
}

/// A pair of those that a rule lets through, where the other side holds back every one of them.
type Pair<'a> = (Member<'a>, Member<'a>);

struct Search<'a> {
    inventory: &'a Inventory,
    /// How many peers and ports the rules of a namespace have.
    sizes: HashMap<&'a str, usize>,
    left: usize,
}

impl<'a> Search<'a> {
    fn may_take(&mut self, steps: usize) -> bool {
        let left = self.left.checked_sub(steps);
        self.left = left.unwrap_or_default();
        left.is_some()
    }

    fn policy(
        &mut self,
        namespace: &'a str,
        policy: &NetworkPolicy,
        selected: &[Member<'a>],
        found: &mut Vec<Finding>,
    ) {
        let most = found.len() + ENOUGH;
        for (direction, at, rule) in words::rules(policy).filter(|_| !selected.is_empty()) {
            for (index, peer) in rule.peers.iter().flatten().enumerate() {
                let Some(others) = self.others(namespace, peer) else { return };
                if let Some((own, other)) = self.held_back(direction, rule, selected, &others) {
                    found.push(report(direction, policy, rule, &own, &other).at(words::peer(direction, at, index)));
                    if found.len() == most {
                        return;
                    }
                }
            }
        }
    }

    /// The workloads that a peer is; `None` where that is too much to find out.
    fn others(&mut self, own: &str, peer: &Peer) -> Option<Vec<Member<'a>>> {
        let Peer::Pods { namespaces, pods } = peer else { return Some(Vec::new()) };
        let inventory = self.inventory;
        let there: Vec<&str> = match namespaces {
            None => vec![own],
            Some(selector) => inventory.selected(selector).into_iter().map(|(name, _)| name.as_str()).collect(),
        };
        let mut others = Vec::new();
        for name in there {
            let of = inventory.namespaces.get(name).map_or(0, |namespace| namespace.workloads.len());
            if !self.may_take(1 + of) {
                return None;
            }
            others.extend(
                members(inventory, name)
                    .filter(|other| !other.workload.host_network)
                    .filter(|other| pods.as_ref().is_none_or(|pods| pods.matches(&other.workload.labels))),
            );
        }
        Some(others)
    }

    fn size(&mut self, namespace: &'a str) -> usize {
        let inventory = self.inventory;
        *self.sizes.entry(namespace).or_insert_with(|| {
            let policies = inventory.namespaces.get(namespace).into_iter().flat_map(|namespace| &namespace.policies);
            let rules = policies.flat_map(|written| words::rules(&written.policy));
            let length =
                |rule: &Rule| rule.peers.as_ref().map_or(0, Vec::len) + rule.ports.as_ref().map_or(0, Vec::len);
            rules.map(|(_, _, rule)| 1 + length(rule)).sum()
        })
    }

    fn held_back(
        &mut self,
        direction: Direction,
        rule: &Rule,
        selected: &[Member<'a>],
        others: &[Member<'a>],
    ) -> Option<Pair<'a>> {
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
                let size = self.size(other.namespace) + rule.ports.as_ref().map_or(0, Vec::len);
                if !self.may_take(1 + size) {
                    return None;
                }
                let to = if direction == Direction::Egress { other } else { own };
                let ports = PortSet::at(rule.ports.as_deref(), Some(to.workload));
                if ports.is_empty() {
                    continue;
                }
                if !ports.intersection(&let_through(self.inventory, other, own, back)).is_empty() {
                    return None;
                }
                first = first.or(Some((*own, *other)));
            }
        }
        first
    }
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
        "podSelector": { "matchLabels": own.workload.telling_labels() },
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
            "podSelector": { "matchLabels": other.workload.telling_labels() },
            "policyTypes": [kind],
            rules: [written],
        },
    })
}
