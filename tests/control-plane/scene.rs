//! What several stories begin with: somebody to ask, and a namespace in some state.

use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::ask::{Asker, MERGE};
use crate::harness::{ADMIN, Bed, eventually};

pub(crate) const POLICIES: &str = "/apis/networking.k8s.io/v1/namespaces";

/// Somebody with every verb on namespaces and what is beneath them, and on pods and what is beneath them, by a role of
/// their own: beyond the built-in `admin`.
pub(crate) fn owner(bed: &Bed) -> Asker<'_> {
    const OWNER: &str = "owner-of-namespaces";
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    bed.apply(
        &json!({
            "apiVersion": "v1", "kind": "List", "items": [
                {
                    "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                    "metadata": { "name": "owners" },
                    "rules": [{
                        "apiGroups": ["", "networking.k8s.io"], "verbs": ["*"],
                        "resources": [
                            "namespaces", "namespaces/status", "namespaces/finalize", "pods", "pods/status",
                            "pods/binding", "pods/ephemeralcontainers", "pods/resize", "bindings", "networkpolicies",
                        ],
                    }],
                },
                {
                    "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                    "metadata": { "name": "owners" },
                    "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "owners" },
                    "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": OWNER }],
                },
            ],
        })
        .to_string(),
    );
    eventually("the right is known", || {
        bed.kubectl(&["auth", "can-i", "update", "namespaces", "--subresource=finalize", "--as", OWNER]).ok
    });
    Asker::impersonating(bed, OWNER)
}

pub(crate) fn admin(bed: &Bed) -> Asker<'_> {
    Asker::new(bed, ADMIN)
}

pub(crate) fn label<'o>(object: &'o Value, key: &str) -> Option<&'o str> {
    object["metadata"]["labels"][key].as_str()
}

pub(crate) fn is_isolated(admin: &Asker<'_>, namespace: &str) -> bool {
    label(&admin.get(&format!("/api/v1/namespaces/{namespace}")), "ringfence.dev/isolated") == Some("true")
}

pub(crate) fn namespace(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } })
}

pub(crate) fn isolated_namespace(bed: &Bed, name: &str) {
    let admin = admin(bed);
    admin.create("/api/v1/namespaces", &namespace(name)).expect_ok();
    eventually("the namespace is isolated", || is_isolated(&admin, name));
}

/// A namespace in mode enforce whose pods are held for good: it had a policy that opens everything before it was adopted.
pub(crate) fn pending_namespace(bed: &Bed, name: &str) {
    let admin = admin(bed);
    let mut object = namespace(name);
    object["metadata"]["labels"] = json!({ "ringfence.dev/profile": "standard", "ringfence.dev/mode": "warn" });
    admin.create("/api/v1/namespaces", &object).expect_ok();
    let open = policy(
        "open",
        json!({ "podSelector": {}, "ingress": [{}], "egress": [{}], "policyTypes": ["Ingress", "Egress"] }),
    );
    // What it has not heard of yet, Ringfence takes for enforced.
    eventually("the mode is known", || {
        admin.create(&format!("{POLICIES}/{name}/networkpolicies"), &open).status == 201
    });
    let enforce = json!({ "metadata": { "labels": { "ringfence.dev/mode": "enforce" } } });
    admin.patch(&format!("/api/v1/namespaces/{name}"), MERGE, &enforce).expect_ok();
    eventually("the controller has seen what is in the way", || {
        let object = admin.get(&format!("/api/v1/namespaces/{name}"));
        object["metadata"]["annotations"]["ringfence.dev/conflict"].is_string()
    });
    // Which webhooks it calls for a namespace the API server may learn a little later than it shows the namespace.
    eventually("pods are held from now on", || {
        let asks = admin.create(&format!("/api/v1/namespaces/{name}/pods?dryRun=All"), &pod("asks"));
        label(&asks.expect_ok(), "ringfence.dev/held") == Some("true")
    });
}

#[allow(clippy::needless_pass_by_value, reason = "it is written down where it is passed")]
pub(crate) fn policy(name: &str, spec: Value) -> Value {
    json!({ "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": { "name": name }, "spec": spec })
}

/// Lets a block in to every pod. By the default profile a block of /7 is as much as a namespace's policies may let in.
pub(crate) fn from_block(name: &str, cidr: &str) -> Value {
    let rules = json!([{ "from": [{ "ipBlock": { "cidr": cidr } }] }]);
    policy(name, json!({ "podSelector": {}, "policyTypes": ["Ingress"], "ingress": rules }))
}

pub(crate) fn deny_all(name: &str) -> Value {
    policy(name, json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] }))
}

pub(crate) fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": { "containers": [{ "name": "app", "image": "example.com/app" }] },
    })
}

/// Waits until Ringfence knows the policies that a namespace in mode warn has. What it learns of after the mode is enforce it
/// takes for missing until then, and applies.
pub(crate) fn until_policies_are_known(admin: &Asker<'_>, policies: &str) {
    let twin = format!("{policies}/twin");
    admin.create(policies, &deny_all("twin")).expect_ok();
    eventually("without the twin nothing is missing", || {
        let answer = admin.delete(&twin, &json!({ "dryRun": ["All"] }));
        answer.status == 200 && answer.warnings.is_empty()
    });
    admin.delete(&twin, &Value::Null).expect_ok();
}

/// Creates a pod that is held, and returns its path.
pub(crate) fn held_pod(admin: &Asker<'_>, namespace: &str, name: &str) -> String {
    let created = admin.create(&format!("/api/v1/namespaces/{namespace}/pods"), &pod(name)).expect_ok();
    assert_held(&created);
    format!("/api/v1/namespaces/{namespace}/pods/{name}")
}

#[track_caller]
pub(crate) fn assert_held(pod: &Value) {
    let gates: Vec<&str> = pod["spec"]["schedulingGates"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|gate| gate["name"].as_str())
        .collect();
    assert!(gates.contains(&"ringfence.dev/baseline"), "{pod:#}");
    assert_eq!(label(pod, "ringfence.dev/held"), Some("true"), "{pod:#}");
    assert_eq!(pod["spec"]["nodeName"], Value::Null);
}
