//! Whether a namespace's policies isolate its pods at all.

use serde_json::json;

use super::catalogue::{ALLOW_ALL, BASELINE_INCOMPLETE, INERT_RULES, TYPES_MISSING};
use super::words::{self, yaml};
use super::{Finding, Fix, Object, View, culprits, dns, pods};
use crate::policy::holes::Kind;
use crate::policy::parse::Notes;
use crate::policy::{Direction, NetworkPolicy, explain};

/// `types-missing` and `inert-rules`.
pub(super) fn policy(policy: &NetworkPolicy, notes: &Notes, namespace: &str, found: &mut Vec<Finding>) {
    types_missing(policy, notes, namespace, found);
    for &direction in &notes.inert {
        let (kind, traffic) = match direction {
            Direction::Ingress => ("Ingress", "who can reach"),
            Direction::Egress => ("Egress", "what can be reached from"),
        };
        // No fix: what the rules let through is not compiled, and could be everything.
        found.push(
            Finding::new(
                &INERT_RULES,
                Object::policy(namespace, &policy.name),
                format!(
                    "policyTypes does not list {kind}, so these rules do nothing: they neither isolate for {direction} nor \
                     change {traffic} {}",
                    words::pods(&policy.spec.pods)
                ),
            )
            .at(format!("spec.{direction}"))
            .help(format!("add {kind} to policyTypes, or take the rules away"))
            .snippet(yaml(&json!({ "policyTypes": ["Ingress", "Egress"] }))),
        );
    }
}

/// Only what looks like a deny for both directions is found: `egress: []`, or no rules at all. A policy with rules for
/// ingress and no word of egress is how most people write a rule for ingress.
fn types_missing(policy: &NetworkPolicy, notes: &Notes, namespace: &str, found: &mut Vec<Finding>) {
    let no_rules = policy.spec.ingress.as_ref().is_some_and(Vec::is_empty);
    if notes.states_types || policy.spec.egress.is_some() || !(notes.empties_egress || no_rules) {
        return;
    }
    let written = if notes.empties_egress { "egress: [] has no rule" } else { "there are no rules" };
    // No fix: which of the two is meant is a person's decision, and the wrong one cuts pods off.
    found.push(
        Finding::new(
            &TYPES_MISSING,
            Object::policy(namespace, &policy.name),
            format!(
                "policyTypes is left out and {written}, so this isolates for ingress alone: {} can reach all that they could \
                 before",
                words::all_pods(&policy.spec.pods)
            ),
        )
        .at(if notes.empties_egress { "spec.egress" } else { "spec" })
        .help(
            "state policyTypes: [Ingress, Egress] if egress is to be denied too, or policyTypes: [Ingress] if it is not",
        )
        .snippet(yaml(&json!({ "policyTypes": ["Ingress", "Egress"] }))),
    );
}

/// `allow-all`.
pub(super) fn allow_all(view: &View<'_>, found: &mut Vec<Finding>) {
    for (direction, hole) in view.verdict.holes().filter(|(_, hole)| hole.kind == Kind::All) {
        let field = words::peers(direction);
        for culprit in culprits::of(view, direction, hole) {
            found.push(
                Finding::new(
                    &ALLOW_ALL,
                    Object::policy(view.namespace, &culprit.policy.name),
                    culprit.message(direction),
                )
                .at(&culprit.path)
                .help(format!(
                    "name the peers in {field}, or take the rule away; policies are a union, so no other takes it back"
                ))
                .snippet(yaml(&json!({ field: [{ "podSelector": {} }] }))),
            );
        }
    }
}

/// `baseline-incomplete`.
pub(super) fn namespace(view: &View<'_>, found: &mut Vec<Finding>) {
    for direction in Direction::BOTH {
        let Some(gap) = explain::gap(direction, &view.verdict.side(direction).coverage) else { continue };
        let kind = match direction {
            Direction::Ingress => "Ingress",
            Direction::Egress => "Egress",
        };
        let profile = view.profile.map_or("standard", |profile| profile.name());
        let name = view.free_names(&format!("default-deny-{direction}")).next().unwrap_or_default();
        let policy = json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": { "name": name, "namespace": view.namespace },
            "spec": { "podSelector": {}, "policyTypes": [kind] },
        });
        // A deny alone would leave pods without DNS that could resolve names before.
        let allow_dns = if direction == Direction::Egress { dns::beside_deny(view) } else { None };
        let with_dns = match &allow_dns {
            Some((_, where_it_is)) => {
                format!(", and one that lets every pod reach the cluster's resolver{where_it_is};")
            }
            None => ",".to_owned(),
        };
        found.push(
            Finding::new(&BASELINE_INCOMPLETE, Object::namespace(view.namespace), format!("{}: {gap}", view.namespace))
                .help(format!(
                    "add a NetworkPolicy with podSelector: {{}} and policyTypes: [{kind}]{with_dns} or all of the baseline: ringfence \
                     render --profile {profile} --namespace {}",
                    view.namespace
                ))
                .snippet(format!(
                    "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: {name}\n  namespace: \
                     {}\nspec:\n  podSelector: {{}}\n  policyTypes:\n  - {kind}\n",
                    pods::yaml(view.namespace)
                ))
                .fix(Fix::Add(std::iter::once(policy).chain(allow_dns.map(|(policy, _)| policy)).collect())),
        );
    }
}
