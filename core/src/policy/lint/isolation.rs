//! Whether a namespace's policies isolate its pods at all.

use serde_json::json;

use super::catalogue::BASELINE_INCOMPLETE;
use super::{Finding, Fix, Object, View};
use crate::policy::{Direction, explain};

/// `baseline-incomplete`.
pub(super) fn namespace(view: &View<'_>, found: &mut Vec<Finding>) {
    for direction in Direction::BOTH {
        let Some(gap) = explain::gap(direction, &view.verdict.side(direction).coverage) else { continue };
        let kind = match direction {
            Direction::Ingress => "Ingress",
            Direction::Egress => "Egress",
        };
        let profile = view.profile.map_or("standard", |profile| profile.name());
        let name = format!("default-deny-{direction}");
        let policy = json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": { "name": name, "namespace": view.namespace },
            "spec": { "podSelector": {}, "policyTypes": [kind] },
        });
        found.push(
            Finding::new(&BASELINE_INCOMPLETE, Object::namespace(view.namespace), format!("{}: {gap}", view.namespace))
                .help(format!(
                    "add a NetworkPolicy with podSelector: {{}} and policyTypes: [{kind}], or all of the baseline: ringfence \
                     render --profile {profile} --namespace {}",
                    view.namespace
                ))
                .snippet(format!(
                    "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: {name}\n  namespace: \
                     {}\nspec:\n  podSelector: {{}}\n  policyTypes:\n  - {kind}\n",
                    view.namespace
                ))
                .fix(Fix::Add(vec![policy])),
        );
    }
}
