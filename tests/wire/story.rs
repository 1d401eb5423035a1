//! The life of a namespace, over the wire, with the controller at work.

use ringfence::controller;
use ringfence_core::index::State;
use serde_json::{Value, json};

use crate::harness::*;

fn reconcile(server: &Server) {
    reconcile_at(server, jiff::Timestamp::now());
}

fn reconcile_at(server: &Server, now: jiff::Timestamp) {
    controller::embedded::reconcile_all(server.app.cluster(), now);
}

fn create_namespace(server: &Server, mut object: Value, user: &Value) -> Value {
    let name = object["metadata"]["name"].clone();
    let request = |object: &Value| json!({ "name": name, "namespace": name, "userInfo": user, "object": object });
    if let Some(patch) = patch_of(&server.ask("/mutate", &request(&object))) {
        json_patch::patch(&mut object, &patch).unwrap();
    }
    server.ask("/validate", &request(&object))
}

fn tenant() -> Value {
    json!({ "username": "tina", "groups": [] })
}

fn policy(name: &str, spec: &Value) -> Value {
    json!({ "metadata": { "name": name, "namespace": "team-a" }, "spec": spec })
}

fn write_policy(server: &Server, operation: &str, object: Option<&Value>, old: Option<&Value>) -> Value {
    let name = object.or(old).unwrap()["metadata"]["name"].clone();
    server.ask(
        "/validate",
        &json!({ "operation": operation, "name": name, "namespace": "team-a", "resource": networkpolicies(),
            "object": object, "oldObject": old }),
    )
}

fn message(response: &Value) -> &str {
    response["status"]["message"].as_str().unwrap_or_default()
}

#[test]
fn a_new_namespace_is_isolated_by_exactly_the_profiles_policies_and_held_pods_are_lifted() {
    let server = server();
    assert_eq!(create_namespace(&server, json!({ "metadata": { "name": "team-a" } }), &tenant())["allowed"], true);
    let pod =
        json!({ "metadata": { "name": "web" }, "spec": { "schedulingGates": [{ "name": "ringfence.dev/baseline" }] } });
    let mut held = pod.clone();
    held["metadata"]["labels"] = json!({ "ringfence.dev/held": "true" });
    let request =
        |object: &Value| json!({ "name": "web", "namespace": "team-a", "resource": pods(), "object": object });
    let response = server.ask("/validate", &request(&pod));
    assert!(message(&response).starts_with("NotHeld"), "{response}");
    assert_eq!(server.ask("/validate", &request(&held))["allowed"], true);

    reconcile(&server);
    let namespace = server.app.cluster().namespace("team-a").unwrap();
    let names: Vec<&str> = namespace.policies().map(|policy| policy.name.as_str()).collect();
    assert_eq!(names, ["allow-dns", "allow-same-namespace", "default-deny-all"]);
    assert_eq!(namespace.isolation.isolated.as_deref(), Some("true"));
    assert!(!namespace.pods["web"].held);
    assert_eq!(server.app.cluster().state(&namespace, jiff::Timestamp::now()), Some(State::Isolated));
    // The view is effective, so a pod that comes late without a gate is fine.
    assert_eq!(server.ask("/validate", &request(&json!({ "metadata": { "name": "web" } })))["allowed"], true);
}

#[test]
fn what_weakens_the_baseline_is_refused_and_what_it_opens_is_said() {
    let server = server();
    create_namespace(&server, json!({ "metadata": { "name": "team-a" } }), &tenant());
    reconcile(&server);
    let deny = json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] });
    let mut managed = policy("default-deny-all", &deny);
    managed["metadata"]["labels"] = json!({ "app.kubernetes.io/managed-by": "ringfence" });
    let response = write_policy(&server, "DELETE", None, Some(&managed));
    assert!(message(&response).starts_with("ManagedPolicy"), "{response}");
    assert_eq!(response["status"]["code"], 403);

    let world = json!({ "podSelector": {}, "policyTypes": ["Ingress"],
        "ingress": [{ "from": [{ "ipBlock": { "cidr": "0.0.0.0/0" } }] }] });
    let response = write_policy(&server, "CREATE", Some(&policy("world", &world)), None);
    assert!(message(&response).contains("ingress W4: every pod can be reached from all of IPv4"), "{response}");

    // The same in two halves: each alone is fine, both together are not.
    let half = |cidr: &str| json!({ "podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{ "from": [{ "ipBlock": { "cidr": cidr } }] }] });
    assert_eq!(write_policy(&server, "CREATE", Some(&policy("low", &half("20.0.0.0/7"))), None)["allowed"], true);
    let response = write_policy(&server, "CREATE", Some(&policy("high", &half("40.0.0.0/7"))), None);
    assert!(message(&response).contains("by \"high\", \"low\""), "{response}");

    // For some pods only it is a warning: an ingress gateway is possible.
    let gateway = json!({ "podSelector": { "matchLabels": { "app": "gateway" } }, "policyTypes": ["Ingress"],
        "ingress": [{ "from": [{ "ipBlock": { "cidr": "0.0.0.0/0" } }] }] });
    let response = write_policy(&server, "CREATE", Some(&policy("gateway", &gateway)), None);
    assert_eq!(response["allowed"], true);
    assert!(response["warnings"].to_string().contains("W4*"), "{response}");
}

#[test]
fn an_invalid_policy_is_a_denial_that_names_the_field() {
    let server = server();
    create_namespace(&server, json!({ "metadata": { "name": "team-a" } }), &tenant());
    let bad = json!({ "podSelector": {}, "ingress": [{ "ports": [{ "port": 70000 }] }] });
    let response = write_policy(&server, "CREATE", Some(&policy("bad", &bad)), None);
    assert_eq!(response["status"]["code"], 422);
    assert!(message(&response).contains("spec.ingress[0].ports[0].port: \"70000\""), "{response}");
}

#[test]
fn only_members_of_system_masters_may_deviate_on_the_embedded_cluster() {
    let server = server();
    let strict = json!({ "metadata": { "name": "team-a", "labels": { "ringfence.dev/profile": "strict" } } });
    let response = create_namespace(&server, strict.clone(), &tenant());
    assert!(message(&response).starts_with("NotPermitted"), "{response}");
    assert!(message(&response).contains("profiles.ringfence.dev/strict"), "{response}");
    assert_eq!(create_namespace(&server, strict, &admin())["allowed"], true);
}

#[test]
fn an_exemption_ends_on_time() {
    let server = server();
    let until = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let object = json!({ "metadata": {
        "name": "team-a", "labels": { "ringfence.dev/mode": "exempt" },
        "annotations": { "ringfence.dev/exempt-reason": "migration", "ringfence.dev/exempt-until": until.to_string() },
    } });
    assert_eq!(create_namespace(&server, object, &admin())["allowed"], true);
    reconcile(&server);
    assert_eq!(
        server.app.cluster().namespace("team-a").unwrap().policies().count(),
        0,
        "nothing is applied while exempt"
    );
    reconcile_at(&server, until + jiff::SignedDuration::from_secs(1));
    let namespace = server.app.cluster().namespace("team-a").unwrap();
    assert_eq!(namespace.isolation.mode.as_deref(), Some("enforce"));
    assert_eq!(namespace.isolation.isolated.as_deref(), Some("true"));
}

#[test]
fn before_it_is_synced_the_server_decides_nothing() {
    let cluster = std::sync::Arc::new(ringfence::cluster::Cluster::embedded(ringfence_core::config::Config::default()));
    assert!(!cluster.is_synced());
    let server = unsynced_server(cluster);
    let reply = server.post("/validate", &review(&json!({ "name": "a", "namespace": "a", "object": adopted("a") })));
    assert_eq!(reply.status, 503);
    assert_eq!(reply.header("retry-after"), Some("1"));
}
