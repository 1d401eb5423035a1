//! Reviews as API servers send them, for asking replicas directly.

use serde_json::{Value, json};

use crate::steps::{denies_all, opens_ingress, policy};

/// What API servers may ask, in namespaces that are isolated and that are not.
pub(crate) fn all() -> Vec<(&'static str, Value)> {
    let kinds = json!({
        "namespaces": { "group": "", "version": "v1", "kind": "Namespace" },
        "pods": { "group": "", "version": "v1", "kind": "Pod" },
        "networkpolicies": { "group": "networking.k8s.io", "version": "v1", "kind": "NetworkPolicy" },
    });
    let review = |resource: &str, operation: &str, namespace: &str, object: Value, old: Value| {
        let kind = &kinds[resource];
        let name = object["metadata"]["name"].as_str().or(old["metadata"]["name"].as_str()).unwrap_or_default();
        json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "kind": kind, "operation": operation,
                "resource": { "group": kind["group"], "version": "v1", "resource": resource },
                "name": name, "namespace": namespace, "object": object, "oldObject": old, "dryRun": false,
                "userInfo": { "username": "jane", "groups": ["system:authenticated"] },
            },
        })
    };
    let namespace = |labels: Value| json!({ "metadata": { "name": "sides", "labels": labels } });
    let policy = |namespace: &str, name: &str, spec: &Value| -> Value {
        serde_json::from_str(&policy(namespace, name, spec)).unwrap()
    };
    let pod = json!({ "metadata": { "name": "web" }, "spec": { "containers": [{ "name": "web", "image": "web" }] } });
    let enforced = json!({ "ringfence.dev/profile": "standard", "ringfence.dev/mode": "enforce" });
    let mut all = vec![
        ("/mutate", review("namespaces", "CREATE", "sides", namespace(Value::Null), Value::Null)),
        ("/validate", review("namespaces", "CREATE", "sides", namespace(Value::Null), Value::Null)),
        ("/validate", review("namespaces", "UPDATE", "sides", namespace(json!({})), namespace(enforced))),
    ];
    for place in ["sides", "sides-open"] {
        let mut managed = policy(place, "default-deny-all", &denies_all());
        managed["metadata"]["labels"] = json!({ "app.kubernetes.io/managed-by": "ringfence" });
        let partly = json!({ "podSelector": { "matchLabels": { "app": "web" } }, "ingress": [{}] });
        all.extend([
            ("/mutate", review("pods", "CREATE", place, pod.clone(), Value::Null)),
            ("/validate", review("pods", "CREATE", place, pod.clone(), Value::Null)),
            (
                "/validate",
                review("networkpolicies", "CREATE", place, policy(place, "all", &opens_ingress()), Value::Null),
            ),
            ("/validate", review("networkpolicies", "CREATE", place, policy(place, "some", &partly), Value::Null)),
            ("/validate", review("networkpolicies", "DELETE", place, Value::Null, managed)),
        ]);
    }
    all
}
