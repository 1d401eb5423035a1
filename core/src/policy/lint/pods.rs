//! What the lints share: which pods a policy concerns, and the words for them.

use std::fmt::Write;

use super::Object;
use crate::inventory::Workload;
use crate::policy::selectors::Selector;
use crate::policy::{Direction, NetworkPolicy};

/// Whether a policy isolates the pods that it selects in a direction, and will go on to.
pub(super) fn isolates(policy: &NetworkPolicy, direction: Direction) -> bool {
    !policy.deleting && policy.spec.rules(direction).is_some()
}

/// Whether some pod could be selected by both.
pub(super) fn overlap(one: &Selector, other: &Selector) -> bool {
    !one.and(other).is_unsatisfiable()
}

/// The words for the pods that a selector selects.
pub(super) fn who(selector: &Selector) -> String {
    if selector.selects_all() { "every pod".to_owned() } else { format!("pods with {selector}") }
}

/// The words for a workload.
pub(super) fn name(workload: &Workload) -> String {
    format!("{} {:?}", workload.kind, workload.name)
}

/// The words for some workloads.
pub(super) fn names(workloads: &[&Workload]) -> String {
    const NAMED: usize = 3;
    let mut text = workloads.iter().take(NAMED).map(|workload| name(workload)).collect::<Vec<_>>().join(", ");
    if workloads.len() > NAMED {
        // Writing to a String can't fail.
        let _ = write!(text, " and {} more", workloads.len() - NAMED);
    }
    text
}

/// A workload as what a finding is about.
pub(super) fn object(namespace: &str, workload: &Workload) -> Object {
    Object { kind: workload.kind.clone(), namespace: namespace.to_owned(), name: workload.name.clone() }
}

/// The path of the pod spec in a workload of this kind.
pub(super) fn spec_path(kind: &str) -> &'static str {
    match kind {
        "Pod" => "spec",
        "CronJob" => "spec.jobTemplate.spec.template.spec",
        _ => "spec.template.spec",
    }
}

/// A path of Ringfence's as a JSON Pointer (RFC 6901). Its keys are those of a NetworkPolicy's spec, without `/` or `~`.
pub(super) fn pointer(path: &str) -> String {
    format!("/{}", path.replace(['.', '['], "/").replace(']', ""))
}

/// A patch that adds one value.
pub(super) fn add(path: &str, value: &serde_json::Value) -> Option<json_patch::Patch> {
    let operation = serde_json::json!([{ "op": "add", "path": pointer(path), "value": value }]);
    serde_json::from_value(operation).ok()
}

/// A label's value or a name as YAML text, quoted where YAML would read something else.
pub(super) fn yaml(value: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    let plain = value.starts_with(|c: char| c.is_ascii_alphabetic()) && !WORDS.contains(&value.to_lowercase().as_str());
    if plain { value.to_owned() } else { format!("{value:?}") }
}
