//! What the embedded cluster takes as stored.

use ringfence_core::plan::Action;
use serde_json::{Value, json};

use crate::harness::*;

const TEAM_A: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: team-a, labels: {ringfence.dev/mode: enforce, ringfence.dev/profile: standard}}\n";

fn policy(name: &str, spec: &Value) -> Value {
    json!({ "metadata": { "name": name }, "spec": spec })
}

fn write(server: &Server, operation: &str, namespace: &str, new: Option<&Value>, old: Option<&Value>) -> Value {
    let resource = if new.or(old).unwrap()["spec"].get("podSelector").is_some() { networkpolicies() } else { pods() };
    let name = &new.or(old).unwrap()["metadata"]["name"];
    server.ask(
        "/validate",
        &json!({ "operation": operation, "name": name, "namespace": namespace, "resource": resource, "object": new, "oldObject": old }),
    )
}

#[test]
fn a_namespace_that_is_not_known_stays_unknown_whatever_is_admitted_in_it() {
    let server = server();
    let open = policy("open", &json!({ "podSelector": {}, "ingress": [{}] }));
    let deny = policy("deny", &json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] }));
    let pod = json!({ "metadata": { "name": "web" }, "spec": {} });
    let held = json!({
        "metadata": { "name": "held", "labels": { "ringfence.dev/held": "true" } },
        "spec": { "schedulingGates": [{ "name": "ringfence.dev/baseline" }] },
    });
    for (operation, new, old, allowed) in [
        ("CREATE", Some(&deny), None, true),
        ("CREATE", Some(&open), None, false),
        ("CREATE", Some(&held), None, true),
        ("CREATE", Some(&pod), None, false),
        ("DELETE", None, Some(&pod), true),
        ("CREATE", Some(&pod), None, false),
    ] {
        let response = write(&server, operation, "ghost", new, old);
        assert_eq!(response["allowed"], allowed, "{response}");
    }
    assert!(server.app.cluster().namespace("ghost").is_none());
}

#[test]
fn what_the_controller_still_does_to_a_deleted_namespace_does_not_bring_it_back() {
    let server = server_with(&json!({}), TEAM_A);
    let deleted = json!({ "operation": "DELETE", "name": "team-a", "namespace": "team-a", "oldObject": adopted("team-a"), "userInfo": admin() });
    assert_eq!(server.ask("/validate", &deleted)["allowed"], true);
    assert!(server.app.cluster().namespace("team-a").is_none());
    server.app.cluster().apply("team-a", &Action::Isolate(String::new()));
    assert!(server.app.cluster().namespace("team-a").is_none());
}

#[test]
fn a_namespace_whose_uid_is_learned_from_an_update_is_judged_at_once() {
    let server = server_with(&json!({}), TEAM_A);
    let mut known = adopted("team-a");
    known["metadata"]["uid"] = json!("u-1");
    known["metadata"]["resourceVersion"] = json!("7");
    let update = json!({ "operation": "UPDATE", "name": "team-a", "namespace": "team-a", "object": known, "oldObject": known, "userInfo": admin() });
    assert_eq!(server.ask("/validate", &update)["allowed"], true);
    let namespace = server.app.cluster().namespace("team-a").unwrap();
    assert!(namespace.uid == "u-1" && namespace.is_caught_up());
}

#[test]
fn a_deleted_policy_with_a_finalizer_counts_for_holes_until_the_finalizer_is_cleared() {
    let server = server_with(&json!({}), TEAM_A);
    let spec = json!({ "podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{ "from": [{ "ipBlock": { "cidr": "20.0.0.0/7" } }] }] });
    let mut low = policy("low", &spec);
    low["metadata"]["finalizers"] = json!(["example.com/wait"]);
    assert_eq!(write(&server, "CREATE", "team-a", Some(&low), None)["allowed"], true);
    assert_eq!(write(&server, "DELETE", "team-a", None, Some(&low))["allowed"], true);
    let mut high = policy("high", &spec);
    high["spec"]["ingress"][0]["from"][0]["ipBlock"]["cidr"] = json!("40.0.0.0/7");
    assert_eq!(
        write(&server, "CREATE", "team-a", Some(&high), None)["allowed"],
        false,
        "the other half is still there"
    );

    low["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let mut cleared = low.clone();
    cleared["metadata"]["finalizers"] = json!([]);
    assert_eq!(write(&server, "UPDATE", "team-a", Some(&cleared), Some(&low))["allowed"], true);
    assert!(server.app.cluster().namespace("team-a").unwrap().policy("low").is_none());
    assert_eq!(write(&server, "CREATE", "team-a", Some(&high), None)["allowed"], true);
}

#[test]
fn a_deleted_pod_is_forgotten() {
    let server = server_with(&json!({}), TEAM_A);
    let pod = json!({ "metadata": { "name": "web" }, "spec": {} });
    assert_eq!(write(&server, "CREATE", "team-a", Some(&pod), None)["allowed"], true);
    assert!(server.app.cluster().namespace("team-a").unwrap().pods.contains_key("web"));
    write(&server, "DELETE", "team-a", None, Some(&pod));
    assert!(server.app.cluster().namespace("team-a").unwrap().pods.is_empty());
}

#[test]
fn at_start_no_namespace_is_believed_isolated_for_its_label() {
    let text = TEAM_A.replace("labels: {", "labels: {ringfence.dev/isolated: \"true\", ");
    let loaded = ringfence::manifests::read("ns.yaml", &text);
    let cluster = ringfence::cluster::Cluster::embedded(ringfence_core::config::Config::default());
    assert_eq!(cluster.fill(&loaded.objects, "default"), []);
    assert_eq!(cluster.namespace("team-a").unwrap().isolation.isolated, None);
}
