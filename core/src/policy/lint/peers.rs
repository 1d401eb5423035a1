//! `and-or`: separate items of one `from` or `to` are ORed; selectors inside one item are ANDed.
//!
//! Source: <https://kubernetes.io/docs/concepts/services-networking/network-policies/#behavior-of-to-and-from-selectors>

use crate::policy::{Direction, NetworkPolicy, Peer};

/// An adjacent pair of items that may have been meant as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AndOr {
    /// The path of the second item.
    pub path: String,
    /// What the items do, and what one item would.
    pub message: String,
}

/// How many findings are reported of one policy.
const FINDINGS: usize = 20;

/// Finds, in every rule that counts, an item with only a namespaceSelector next to one with only a podSelector.
#[must_use]
pub fn and_or(policy: &NetworkPolicy) -> Vec<AndOr> {
    let mut found = Vec::new();
    for direction in Direction::BOTH {
        let (field, verb) = match direction {
            Direction::Ingress => ("from", "lets in"),
            Direction::Egress => ("to", "lets out to"),
        };
        for (i, rule) in policy.spec.rules(direction).into_iter().flatten().enumerate() {
            let peers = rule.peers.as_deref().unwrap_or_default();
            for (j, pair) in peers.windows(2).enumerate() {
                let ([
                    Peer::Pods { namespaces: Some(namespaces), pods: None },
                    Peer::Pods { namespaces: None, pods: Some(pods) },
                ]
                | [
                    Peer::Pods { namespaces: None, pods: Some(pods) },
                    Peer::Pods { namespaces: Some(namespaces), pods: None },
                ]) = pair
                else {
                    continue;
                };
                if found.len() == FINDINGS {
                    return found;
                }
                let of_namespaces = if namespaces.selects_all() {
                    "of every namespace".to_owned()
                } else {
                    format!("of namespaces with {namespaces}")
                };
                let which_pods = if pods.selects_all() { "every pod".to_owned() } else { format!("pods with {pods}") };
                found.push(AndOr {
                    path: format!("spec.{direction}[{i}].{field}[{}]", j + 1),
                    message: format!(
                        "two items are ORed: this {verb} every pod {of_namespaces}, and {which_pods} of this namespace; \
                         for only {which_pods} {of_namespaces}, put both selectors in one item",
                    ),
                });
            }
        }
    }
    found
}
