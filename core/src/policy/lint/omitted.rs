//! `namespace-omitted`: manifests that do not say where they go.

use super::catalogue::NAMESPACE_OMITTED;
use super::{Finding, Object, pods};
use crate::inventory::Inventory;

/// Every policy that does not say where it is; and workloads too, since policies are there that hold for one namespace.
pub(super) fn inventory(inventory: &Inventory, found: &mut Vec<Finding>) {
    if !inventory.assumes_namespace {
        return;
    }
    let mut report = |object: Object, what: &str| {
        let message = format!(
            "the manifest does not say its namespace: {what} whichever namespace the context of who applies it points to, and \
             {} was assumed",
            object.namespace
        );
        let snippet = "metadata:\n  namespace: …\n";
        found.push(
            Finding::new(&NAMESPACE_OMITTED, object, message)
                .at("metadata")
                .help("state metadata.namespace, or give the one that it is applied to with --namespace")
                .snippet(snippet),
        );
    };
    let has_policies = inventory.namespaces.values().any(|namespace| !namespace.policies.is_empty());
    for (name, namespace) in &inventory.namespaces {
        for written in &namespace.policies {
            if written.policy.namespace.is_none() {
                report(Object::policy(name, &written.policy.name), "it isolates pods of");
            }
        }
        for workload in namespace.workloads.iter().filter(|workload| has_policies && !workload.states_namespace) {
            report(pods::object(name, workload), "its pods are held by the policies of");
        }
    }
}
