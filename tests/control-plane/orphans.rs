//! What an owner of namespaces does to a namespace that ends: policies that outlive it (case 70), phases that lie (case 71),
//! and names that are taken first (case 73).

use axum::http::Method;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::ask::{Asker, MERGE, send};
use crate::harness::{ALICE, Bed, World, eventually};
use crate::scene::{
    POLICIES, admin, deny_all, from_block, is_isolated, isolated_namespace, namespace, owner, pod, policy,
    until_policies_are_known,
};
use crate::tenant::admin_of;

crate::tests![
    case_70_policies_that_outlive_their_namespace_are_judged_with_those_of_the_next,
    case_71_a_phase_that_lies_does_not_free_the_policies_of_a_terminating_namespace,
    case_73_a_baselines_name_that_is_taken_first_leaves_the_namespace_isolated,
    a_name_that_is_excluded_is_not_free_for_everyone,
    case_80_an_owner_writes_no_annotation_of_the_controller,
    a_quota_that_refuses_the_baseline_shows_in_label_and_metric_alike,
];

/// A namespace that an owner empties of its finalizers ends at once, with all that is in it still stored.
fn end_at_once(owner: &Asker<'_>, admin: &Asker<'_>, name: &str) {
    let path = format!("/api/v1/namespaces/{name}");
    eventually("the finalizers are gone", || {
        let mut object = admin.get(&path);
        object["spec"]["finalizers"] = json!([]);
        // The controller may have written to the namespace in between.
        owner.replace(&format!("{path}/finalize"), &object).status == 200
    });
    owner.delete(&path, &Value::Null);
    // A second time, where the first only marked it.
    owner.delete(&path, &Value::Null);
}

fn case_70_policies_that_outlive_their_namespace_are_judged_with_those_of_the_next() {
    let bed = &World::shared().bed;
    let (admin, owner) = (admin(bed), owner(bed));
    isolated_namespace(bed, "outlived");
    let policies = format!("{POLICIES}/outlived/networkpolicies");
    admin.create(&policies, &from_block("from-then", "20.0.0.0/7")).expect_ok();
    let before = admin.get(&policies)["items"].as_array().unwrap().len();
    let uid = admin.get("/api/v1/namespaces/outlived")["metadata"]["uid"].clone();
    end_at_once(&owner, &admin, "outlived");
    eventually("a namespace of this name is made anew", || {
        owner.create("/api/v1/namespaces", &namespace("outlived")).status == 201
    });
    assert_ne!(admin.get("/api/v1/namespaces/outlived")["metadata"]["uid"], uid);
    let left = admin.get(&policies);
    let left: Vec<&str> =
        left["items"].as_array().unwrap().iter().filter_map(|p| p["metadata"]["name"].as_str()).collect();
    assert!(left.contains(&"from-then"), "of {before} policies these are left: {left:?}");
    eventually("the namespace is isolated", || is_isolated(&admin, "outlived"));
    // Half from then and half from now.
    let refused = admin.create(&policies, &from_block("from-now", "40.0.0.0/7"));
    assert!(refused.expect_denied("BaselineWeakened").contains("from-then"), "{refused:?}");
    assert!(is_isolated(&admin, "outlived"));
}

fn case_71_a_phase_that_lies_does_not_free_the_policies_of_a_terminating_namespace() {
    let bed = &World::shared().bed;
    let (admin, owner) = (admin(bed), owner(bed));
    isolated_namespace(bed, "lying");
    let pods = "/api/v1/namespaces/lying/pods";
    let mut running = pod("runs");
    running["metadata"]["finalizers"] = json!(["example.com/stays"]);
    admin.create(pods, &running).expect_ok();
    let path = format!("{pods}/runs");
    // The kubelet says so once, and not after the lie.
    eventually("the pod runs", || admin.get(&path)["status"]["phase"] == "Running");
    let policies = format!("{POLICIES}/lying/networkpolicies");
    owner.delete("/api/v1/namespaces/lying", &Value::Null).expect_ok();
    let lie = json!({ "status": { "phase": "Succeeded" } });
    owner.patch(&format!("{path}/status"), MERGE, &lie).expect_ok();
    assert_eq!(admin.get(&path)["status"]["phase"], "Succeeded");
    // The watch delivers in order: what is isolated now was created after Ringfence learnt that the other one terminates.
    isolated_namespace(bed, "lying-later");
    // The namespace controller deletes nothing else while there is a pod, and the finalizer keeps this one.
    for policy in ["default-deny-all", "allow-dns", "allow-same-namespace"] {
        let refused = owner.delete(&format!("{policies}/{policy}"), &Value::Null);
        assert!(refused.expect_denied("ManagedPolicy").contains(policy), "{refused:?}");
    }
    assert_eq!(admin.get(&path)["status"]["phase"], "Succeeded");
    admin.patch(&path, MERGE, &json!({ "metadata": { "finalizers": null } })).expect_ok();
    eventually("the namespace ends", || {
        bed.finish_deletions();
        !bed.kubectl(&["get", "namespace", "lying"]).ok
    });
}

fn case_73_a_baselines_name_that_is_taken_first_leaves_the_namespace_isolated() {
    let bed = &World::shared().bed;
    let (admin, owner) = (admin(bed), owner(bed));
    let narrow = json!({ "podSelector": { "matchLabels": { "app": "x" } }, "policyTypes": ["Ingress", "Egress"] });
    // It is refused from the first moment on...
    owner.create("/api/v1/namespaces", &namespace("squatted")).expect_ok();
    let policies = format!("{POLICIES}/squatted/networkpolicies");
    let taken = owner.create(&policies, &policy("default-deny-all", narrow.clone()));
    assert!(taken.expect_denied("ManagedPolicy").contains("use another name"), "{taken:?}");
    eventually("the namespace is isolated", || is_isolated(&admin, "squatted"));
    // ... and where it was there before, Ringfence has its own beside it, which two deletions at one time do not end.
    let mut object = namespace("squatted-before");
    object["metadata"]["labels"] = json!({ "ringfence.dev/profile": "deny-all", "ringfence.dev/mode": "warn" });
    admin.create("/api/v1/namespaces", &object).expect_ok();
    let policies = format!("{POLICIES}/squatted-before/networkpolicies");
    eventually("the mode is known", || {
        owner.create(&policies, &policy("default-deny-all", narrow.clone())).status == 201
    });
    owner.create(&policies, &deny_all("own")).expect_ok();
    until_policies_are_known(&admin, &policies);
    let enforce = json!({ "metadata": { "labels": { "ringfence.dev/mode": "enforce" } } });
    admin.patch("/api/v1/namespaces/squatted-before", MERGE, &enforce).expect_ok();
    eventually("the namespace is isolated", || is_isolated(&admin, "squatted-before"));
    let own = admin.get(&format!("{policies}/default-deny-all-ringfence"));
    assert_eq!(own["metadata"]["labels"]["app.kubernetes.io/managed-by"], "ringfence");
    let alice = [bed.client_as(0, ALICE), bed.client_as(0, ALICE)];
    admin_of(bed, "squatted-before", ALICE);
    let deletions = ["default-deny-all", "own"].map(|name| format!("{policies}/{name}"));
    let deletions = deletions.iter().zip(&alice).map(|(path, alice)| send(alice, Method::DELETE, path, &Value::Null));
    for answer in bed.run(join_all(deletions)) {
        answer.expect_ok();
    }
    eventually("its own name serves again", || {
        let list = admin.get(&policies);
        let names: Vec<&str> =
            list["items"].as_array().unwrap().iter().filter_map(|p| p["metadata"]["name"].as_str()).collect();
        names == ["default-deny-all"]
    });
    assert!(is_isolated(&admin, "squatted-before"));
}

fn a_name_that_is_excluded_is_not_free_for_everyone() {
    let world = World::start(&crate::harness::Options::default(), &[("excluded", r#"["left-alone"]"#)]);
    let bed = &world.bed;
    let owner = owner(bed);
    let refused = owner.create("/api/v1/namespaces", &namespace("left-alone"));
    let message = refused.expect_denied("NotPermitted");
    assert!(message.contains("resourceNames: [exempt]"), "{message}");
    admin(bed).create("/api/v1/namespaces", &namespace("left-alone")).expect_ok();
}

fn case_80_an_owner_writes_no_annotation_of_the_controller() {
    let bed = &World::shared().bed;
    let (admin, owner) = (admin(bed), owner(bed));
    isolated_namespace(bed, "annotated");
    let path = "/api/v1/namespaces/annotated";
    for key in ["ringfence.dev/conflict", "ringfence.dev/effective"] {
        let forged = json!({ "metadata": { "annotations": { key: "all is well" } } });
        owner.patch(path, MERGE, &forged).expect_denied("LabelTampered");
        let mut object = admin.get(path);
        object["metadata"]["annotations"][key] = json!("all is well");
        owner.replace(&format!("{path}/status"), &object).expect_denied("LabelTampered");
        owner.replace(&format!("{path}/finalize"), &object).expect_denied("LabelTampered");
    }
    // A manifest that replaces the namespace loses neither.
    let recorded = admin.get(path)["metadata"]["annotations"]["ringfence.dev/effective"].clone();
    assert!(recorded.is_string());
    let mut object = admin.get(path);
    object["metadata"]["annotations"] = json!({});
    owner.replace(path, &object).expect_ok();
    assert_eq!(admin.get(path)["metadata"]["annotations"]["ringfence.dev/effective"], recorded);
}

fn a_quota_that_refuses_the_baseline_shows_in_label_and_metric_alike() {
    let world = World::start(&crate::harness::Options::whole(), &[]);
    let bed: &Bed = &world.bed;
    let admin = admin(bed);
    let mut object = namespace("limited");
    object["metadata"]["labels"] = json!({ "ringfence.dev/profile": "deny-all", "ringfence.dev/mode": "warn" });
    admin.create("/api/v1/namespaces", &object).expect_ok();
    // Effective by a policy of its own, and with no room for another.
    let policies = format!("{POLICIES}/limited/networkpolicies");
    eventually("the mode is known", || admin.create(&policies, &deny_all("own")).status == 201);
    let quota = ["create", "quota", "one", "-n", "limited", "--hard=count/networkpolicies.networking.k8s.io=1"];
    bed.kubectl(&quota).expect_ok();
    eventually("the quota counts", || {
        bed.kubectl(&["get", "quota", "one", "-n", "limited", "-o", "jsonpath={.status.used}"])
            .stdout
            .contains(":\"1\"")
    });
    let enforce = json!({ "metadata": { "labels": { "ringfence.dev/mode": "enforce" } } });
    admin.patch("/api/v1/namespaces/limited", MERGE, &enforce).expect_ok();
    let in_state = |state: &str| {
        let replica = world.ringfence.lock().unwrap();
        let counters = replica.as_ref().unwrap().counters();
        counters.map(|counters| counters.sum("ringfence_namespaces", &[("state", state)]))
    };
    eventually("the refusal is reported", || {
        let object = admin.get("/api/v1/namespaces/limited");
        object["metadata"]["annotations"]["ringfence.dev/conflict"].as_str().is_some_and(|text| text.contains("quota"))
    });
    assert!(!is_isolated(&admin, "limited"));
    assert_eq!(in_state("pending"), Some(1.0));
    assert_eq!(state_by_check(bed, "limited"), "pending");
    bed.kubectl(&["delete", "quota", "one", "-n", "limited"]).expect_ok();
    eventually("the namespace is isolated", || is_isolated(&admin, "limited"));
    eventually("so says the metric", || in_state("pending") == Some(0.0));
    assert_eq!(state_by_check(bed, "limited"), "isolated");
}

/// The state of a namespace as `ringfence check` reports it for the objects that are stored.
fn state_by_check(bed: &Bed, namespace: &str) -> String {
    let checked = bed.shell(&format!("kubectl get ns,netpol -n {namespace} -o json | ringfence check - -o json"));
    let report: Value = serde_json::from_str(&checked.stdout).unwrap_or_else(|_| panic!("{checked:?}"));
    let mut of = report["namespaces"].as_array().unwrap().iter().filter(|found| found["name"] == namespace);
    of.next().unwrap_or_else(|| panic!("{checked:?}"))["state"].as_str().unwrap().to_owned()
}
