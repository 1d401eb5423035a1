//! Peers that are not who they seem to be: items that are ORed, and labels that others can set.
//!
//! Source: <https://kubernetes.io/docs/concepts/services-networking/network-policies/#behavior-of-to-and-from-selectors>

use serde_json::json;

use super::catalogue::{AND_OR, SPOOFABLE_NAMESPACE, SPOOFABLE_POD};
use super::words::{self, yaml};
use super::world::on_all_ports;
use super::{ENOUGH, Finding, Object, is_full};
use crate::policy::holes::admits_unnamed_namespace;
use crate::policy::selectors::{NAMESPACE_NAME_LABEL, Selector};
use crate::policy::{Direction, NetworkPolicy, Peer, Rule};
use crate::vocabulary::GUARDED;

/// `and-or`, `spoofable-namespace` and `spoofable-pod`.
pub(super) fn policy(policy: &NetworkPolicy, namespace: &str, found: &mut Vec<Finding>) {
    found.extend(and_or(policy, namespace).take(ENOUGH));
    for (direction, index, rule) in words::rules(policy) {
        for (j, peer) in rule.peers.iter().flatten().enumerate() {
            let Peer::Pods { namespaces: Some(namespaces), pods } = peer else { continue };
            let path = words::peer(direction, index, j);
            spoofable(policy, rule, direction, (namespaces, pods.as_ref()), &path, namespace, found);
        }
    }
}

/// Finds, in every rule that counts, an item with only a namespaceSelector next to one with only a podSelector.
pub(crate) fn and_or(policy: &NetworkPolicy, namespace: &str) -> impl Iterator<Item = Finding> {
    words::rules(policy).flat_map(move |(direction, index, rule)| {
        let pairs = rule.peers.as_deref().unwrap_or_default().windows(2).enumerate();
        pairs.filter_map(move |(j, pair)| {
            let ([
                Peer::Pods { namespaces: Some(namespaces), pods: None },
                Peer::Pods { namespaces: None, pods: Some(pods) },
            ]
            | [
                Peer::Pods { namespaces: None, pods: Some(pods) },
                Peer::Pods { namespaces: Some(namespaces), pods: None },
            ]) = pair
            else {
                return None;
            };
            // An item that is nobody is not meant as it is, and unsatisfiable-selector's.
            if namespaces.is_unsatisfiable() || pods.is_unsatisfiable() {
                return None;
            }
            let (verb, of_namespaces) = (words::lets(direction), words::of_namespaces(namespaces));
            let which_pods = words::pods(pods);
            let message = format!(
                "two items are ORed: this {verb} every pod {of_namespaces}, and {which_pods} of this namespace",
            );
            let help = format!("for only {which_pods} {of_namespaces}, put both selectors in one item");
            let finding = Finding::new(&AND_OR, Object::policy(namespace, &policy.name), message)
                .at(words::peer(direction, index, j + 1))
                .help(help);
            let (Some(namespaces), Some(pods)) = (namespaces.to_api(), pods.to_api()) else { return Some(finding) };
            let merged = json!({ "namespaceSelector": namespaces, "podSelector": pods });
            Some(finding.snippet(yaml(&json!({ words::peers(direction): [merged] }))))
        })
    })
}

/// Whether a selector of namespaces says at most which ones it leaves out.
fn leaves_out(namespaces: &Selector) -> bool {
    namespaces.keys().all(
        |(key, set)| {
            if key == NAMESPACE_NAME_LABEL { set.admits_unmentioned() } else { !set.needs_a_label() }
        },
    )
}

fn spoofable(
    policy: &NetworkPolicy,
    rule: &Rule,
    direction: Direction,
    (namespaces, pods): (&Selector, Option<&Selector>),
    path: &str,
    namespace: &str,
    found: &mut Vec<Finding>,
) {
    let (namespaces_full, pods_full) = (is_full(found, &SPOOFABLE_NAMESPACE), is_full(found, &SPOOFABLE_POD));
    if namespaces_full && (pods_full || pods.is_none()) {
        return;
    }
    if namespaces.is_unsatisfiable() || pods.is_some_and(Selector::is_unsatisfiable) {
        return;
    }
    let object = Object::policy(namespace, &policy.name);
    let (own, verb) = (words::pods(&policy.spec.pods), crate::policy::explain::reach(direction));
    let which_pods = pods.map_or_else(|| "every pod".to_owned(), words::pods);
    let of_namespaces = words::of_namespaces(namespaces);
    let pods_need_a_label = pods.is_some_and(|pods| pods.keys().any(|(_, set)| set.needs_a_label()));
    let named = |item: serde_json::Value| yaml(&json!({ words::peers(direction): [item] }));
    let by_name = json!({ "matchLabels": { NAMESPACE_NAME_LABEL: "NAMESPACE" } });
    let item = || match pods.filter(|pods| !pods.selects_all()).and_then(Selector::to_api) {
        Some(pods) => json!({ "namespaceSelector": by_name, "podSelector": pods }),
        None => json!({ "namespaceSelector": by_name }),
    };
    if admits_unnamed_namespace(namespaces) && pods_need_a_label {
        if !pods_full {
            let message = format!(
                "{own} {verb} {which_pods} {of_namespaces}: whoever may start a pod in any of these can give it such labels"
            );
            found.push(
                Finding::new(&SPOOFABLE_POD, object, message).at(format!("{path}.podSelector")).snippet(named(item())),
            );
        }
        return;
    }
    if leaves_out(namespaces) {
        let by_label = namespaces.keys().any(|(key, _)| key != NAMESPACE_NAME_LABEL && !GUARDED.contains(&key));
        if by_label && !on_all_ports(rule) && !namespaces_full {
            // Where names alone are left out, nobody can take one away.
            let message = format!(
                "{own} {verb} {which_pods} {of_namespaces}: a namespace that anyone makes is among them, and one that is left out \
                 is among them once its label is taken away"
            );
            found.push(
                Finding::new(&SPOOFABLE_NAMESPACE, object, message)
                    .at(format!("{path}.namespaceSelector"))
                    .snippet(named(item())),
            );
        }
        return;
    }
    // A name that is listed can't be taken by another namespace, and Ringfence guards some of its own labels.
    let is_pinned = namespaces.keys().any(|(key, set)| key == NAMESPACE_NAME_LABEL && set.is_a_list());
    let keys: Vec<&str> = namespaces
        .keys()
        .map(|(key, _)| key)
        .filter(|key| *key != NAMESPACE_NAME_LABEL && !GUARDED.contains(key))
        .collect();
    if is_pinned || keys.is_empty() || namespaces_full {
        return;
    }
    let message = format!(
        "{own} {verb} {which_pods} {of_namespaces}: whoever may label a namespace, or make one, can set {} and be among them",
        words::short(&keys.join(", "))
    );
    found.push(
        Finding::new(&SPOOFABLE_NAMESPACE, object, message)
            .at(format!("{path}.namespaceSelector"))
            .help(format!("select by {NAMESPACE_NAME_LABEL}, which only the API server sets"))
            .snippet(named(item())),
    );
}
