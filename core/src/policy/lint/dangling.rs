//! `dangling-selector`: selectors that select nothing of what is there.
//!
//! A set of manifests seldom is a whole cluster, so it is judged by what it shows:
//! - a `podSelector` where the set has workloads in every namespace that it selects from, and these are known: it is the
//!   policy's own, or they are listed by name, or the set has the Namespace kube-system;
//! - a `namespaceSelector` by `kubernetes.io/metadata.name` only where the set has the Namespace kube-system, as a cluster or
//!   a dump of one has: other namespaces are often somebody else's;
//! - one by other labels where the set has a Namespace besides the policy's own.

use super::catalogue::DANGLING_SELECTOR;
use super::{ENOUGH, Finding, Object, pods};
use crate::inventory::workload::is_set_by_a_controller;
use crate::inventory::{Inventory, Namespace, Workload};
use crate::policy::selectors::{Labels, NAMESPACE_NAME_LABEL, Selector};
use crate::policy::{Direction, NetworkPolicy, Peer, explain};

/// `dangling-selector`.
pub(super) fn inventory(inventory: &Inventory, found: &mut Vec<Finding>) {
    for (name, namespace) in &inventory.namespaces {
        for written in &namespace.policies {
            let mut of_policy = Vec::new();
            dangling(inventory, (name, namespace), &written.policy, &mut of_policy);
            of_policy.truncate(ENOUGH);
            found.append(&mut of_policy);
        }
    }
}

fn dangling(
    inventory: &Inventory,
    (name, namespace): (&String, &Namespace),
    policy: &NetworkPolicy,
    found: &mut Vec<Finding>,
) {
    let object = || Object::policy(name, &policy.name);
    let report = |path: String, message: String, help: String| {
        Finding::new(&DANGLING_SELECTOR, object(), message).at(path).help(help)
    };
    let own: Vec<&Workload> = namespace.workloads.iter().collect();
    if selects_none(&policy.spec.pods, &own) {
        let message = format!(
            "no pod template in {name} is selected by {}, so the policy holds nothing back and lets nothing through",
            policy.spec.pods
        );
        found.push(report("spec.podSelector".to_owned(), message, labels_there(&own)));
    }
    for direction in Direction::BOTH {
        let (field, verb) = match direction {
            Direction::Ingress => ("from", "lets in"),
            Direction::Egress => ("to", "lets out to"),
        };
        for (i, rule) in policy.spec.rules(direction).unwrap_or_default().iter().enumerate() {
            for (j, peer) in rule.peers.iter().flatten().enumerate() {
                let Peer::Pods { namespaces, pods } = peer else { continue };
                let path = format!("spec.{direction}[{i}].{field}[{j}]");
                let there: Vec<(&String, &Namespace)> = match namespaces {
                    None => vec![(name, namespace)],
                    // There is always one: the policy's own.
                    Some(selector) if selector.selects_all() && pods.is_none() => continue,
                    Some(selector) => inventory.selected(selector),
                };
                if let Some(selector) = namespaces
                    && there.is_empty()
                {
                    if !selector.is_unsatisfiable() && is_judged(inventory, name, selector) {
                        let message = format!("there is no namespace with {selector}, so this item {verb} nobody");
                        let help = namespaces_there(inventory);
                        found.push(report(format!("{path}.namespaceSelector"), message, help));
                    }
                    continue;
                }
                let Some(pods) = pods else { continue };
                if namespaces.as_ref().is_some_and(|selector| !are_known(inventory, selector)) {
                    continue;
                }
                // A namespace without any workloads is one of which the set shows nothing.
                if there.iter().any(|(_, namespace)| namespace.workloads.is_empty()) {
                    continue;
                }
                let workloads: Vec<&Workload> = there.iter().flat_map(|(_, namespace)| &namespace.workloads).collect();
                if selects_none(pods, &workloads) {
                    let of = match namespaces {
                        None => name.to_owned(),
                        Some(_) => there.iter().take(3).map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", "),
                    };
                    let message = format!("no pod template in {of} has {pods}, so this item {verb} nobody");
                    found.push(report(format!("{path}.podSelector"), message, labels_there(&workloads)));
                }
            }
        }
    }
}

/// Whether a selector that is not empty and can be met selects none of some workloads, where there are some.
fn selects_none(selector: &Selector, workloads: &[&Workload]) -> bool {
    if workloads.is_empty() || selector.is_unsatisfiable() {
        return false;
    }
    let of_templates = selector.keys().filter(|(key, _)| !is_set_by_a_controller(key));
    let selector: Selector = of_templates.collect();
    !workloads.iter().any(|workload| selector.matches(&workload.labels))
}

fn has_stated(inventory: &Inventory, name: &str) -> bool {
    inventory.namespaces.get(name).is_some_and(|namespace| namespace.stated)
}

/// Whether the set shows the workloads of all namespaces that a selector can select: it is a cluster, or a dump of one, or
/// each is listed by name and has some.
pub(super) fn are_known(inventory: &Inventory, selector: &Selector) -> bool {
    let has_workloads = |name| inventory.namespaces.get(name).is_some_and(|namespace| !namespace.workloads.is_empty());
    has_stated(inventory, "kube-system")
        || selector
            .keys()
            .any(|(key, set)| key == NAMESPACE_NAME_LABEL && set.is_a_list() && set.mentioned().all(has_workloads))
}

/// Whether the set shows enough namespaces to judge a selector of theirs.
fn is_judged(inventory: &Inventory, own: &str, selector: &Selector) -> bool {
    if has_stated(inventory, "kube-system") {
        return true;
    }
    let by_name = selector.keys().any(|(key, _)| key == NAMESPACE_NAME_LABEL);
    !by_name && inventory.namespaces.iter().any(|(name, namespace)| namespace.stated && name != own)
}

fn labels_there(workloads: &[&Workload]) -> String {
    let words: Vec<String> = workloads
        .iter()
        .take(3)
        .map(|workload| {
            let (name, labels) = (pods::name(workload), explain::labels(&workload.labels));
            if workload.kind == "Pod" {
                format!("{name} has {labels}")
            } else {
                format!("the pods of {name} have {labels}")
            }
        })
        .collect();
    format!("make the labels the same: {}", words.join("; "))
}

fn namespaces_there(inventory: &Inventory) -> String {
    let interesting = |labels: &Labels| {
        let labels: Labels = labels
            .iter()
            .filter(|(key, _)| *key != NAMESPACE_NAME_LABEL)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        explain::labels(&labels)
    };
    let stated = inventory.namespaces.iter().filter(|(_, namespace)| namespace.stated);
    let words: Vec<String> =
        stated.take(3).map(|(name, namespace)| format!("{name} has {}", interesting(&namespace.labels))).collect();
    format!(
        "select by {NAMESPACE_NAME_LABEL}, which every namespace has, or make the labels the same: {}",
        words.join("; ")
    )
}
