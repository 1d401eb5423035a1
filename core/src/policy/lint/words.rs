//! The words and forms that lints share: who is meant, where it stands, what to write.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation};
use serde::Serialize;
use serde_json::Value;

use super::Fix;
use crate::policy::selectors::Selector;
use crate::policy::{Direction, NetworkPolicy, Rule};

/// How much of a selector is quoted, in characters: it may list thousands of values.
const QUOTED: usize = 200;

/// A text, cut where that is longer than anyone wants to read.
pub(super) fn short(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Pods, by a selector.
pub(super) fn pods(selector: &Selector) -> String {
    if selector.selects_all() { "every pod".to_owned() } else { format!("pods with {}", short(&selector.to_string())) }
}

/// The same in the plural, where more is said of them.
pub(super) fn all_pods(selector: &Selector) -> String {
    if selector.selects_all() { "all pods".to_owned() } else { pods(selector) }
}

/// The namespaces that pods are of, by a selector.
pub(super) fn of_namespaces(selector: &Selector) -> String {
    if selector.selects_all() {
        "of every namespace".to_owned()
    } else {
        format!("of namespaces with {}", short(&selector.to_string()))
    }
}

/// The field that lists the peers of a rule.
pub(super) fn peers(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    }
}

/// What a rule does to its peers.
pub(super) fn lets(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "lets in",
        Direction::Egress => "lets out to",
    }
}

/// The path of a rule.
pub(super) fn rule(direction: Direction, index: usize) -> String {
    format!("spec.{direction}[{index}]")
}

/// The path of a peer.
pub(super) fn peer(direction: Direction, rule: usize, index: usize) -> String {
    format!("spec.{direction}[{rule}].{}[{index}]", peers(direction))
}

/// The same as a path of the forms above, as a patch points to it.
pub(super) fn pointer(path: &str) -> PointerBuf {
    PointerBuf::from_tokens(path.split(['.', '[', ']']).filter(|token| !token.is_empty()))
}

/// The fix that sets a field.
pub(super) fn set(path: &str, value: Value) -> Fix {
    Fix::Patch(Patch(vec![PatchOperation::Add(AddOperation { path: pointer(path), value })]))
}

/// What to write, as YAML. Nothing that is built here can't be written; were it so, there would be no snippet.
pub(super) fn yaml(value: &impl Serialize) -> String {
    serde_saphyr::to_string(value).unwrap_or_default()
}

/// The rules of a policy that can do anything, with their directions and indices: none where it can't select a pod.
pub(super) fn rules(policy: &NetworkPolicy) -> impl Iterator<Item = (Direction, usize, &Rule)> {
    let selects = !policy.spec.pods.is_unsatisfiable();
    Direction::BOTH.into_iter().filter(move |_| selects).flat_map(|direction| {
        let rules = policy.spec.rules(direction).into_iter().flatten().enumerate();
        rules.map(move |(index, rule)| (direction, index, rule))
    })
}
