//! What is left of `docs/threat-model.md`: who is taken for the controller, what a stolen token is good for, and what a
//! neighbour on the network gets out of the ports.

use serde_json::{Value, json};

use crate::ask::MERGE;
use crate::direct::{creation_of_a_namespace, deletion_of_the_baseline};
use crate::harness::{World, http_get};
use crate::scene::{admin, held_pod, is_isolated, isolated_namespace, pending_namespace};
use crate::steps::{CONTROLLER, STANDARD, get, policies};

crate::tests![
    neither_a_group_nor_a_similar_name_makes_anybody_the_controller,
    a_stolen_token_of_ringfence_reads_no_secret_starts_no_workload_and_grants_nothing,
    whoever_asks_the_webhook_directly_changes_nothing_and_metrics_name_nobody,
];

fn neither_a_group_nor_a_similar_name_makes_anybody_the_controller() {
    let bed = &World::shared().bed;
    isolated_namespace(bed, "pretended");
    pending_namespace(bed, "pretended-pending");
    held_pod(&admin(bed), "pretended-pending", "held");
    let groups =
        ["system:masters", "system:serviceaccounts:ringfence-system", "system:serviceaccounts", "system:nodes"];
    let groups = groups.map(|group| format!("--as-group={group}"));
    let names = [
        "ringfence",
        "system:serviceaccount:ringfence-system:default",
        "system:serviceaccount:ringfence-system:ringfence2",
        "system:serviceaccount:ringfence-system:Ringfence",
        "system:serviceaccount:ringfence-system:ringfence ",
        "system:serviceaccount:kube-system:ringfence",
        "system:serviceaccount:kube-system:namespace-controller2",
    ];
    let isolated = r#"{"metadata": {"labels": {"ringfence.dev/isolated": "true"}}}"#;
    let ungated = r#"[{"op": "remove", "path": "/spec/schedulingGates"}]"#;
    let opened = r#"{"spec": {"ingress": [{}]}}"#;
    for name in names {
        let as_it: Vec<&str> = groups.iter().map(String::as_str).collect();
        let as_it = [&["--as", name][..], &as_it].concat();
        let refused = |args: &[&str], reason: &str| {
            let said = bed.kubectl(&[args, &as_it].concat()).expect_error();
            assert!(said.contains("denied the request") && said.contains(reason), "{name}: {said}");
        };
        let deny_all = ["networkpolicy", "default-deny-all", "-n", "pretended"];
        refused(&[&["delete"], &deny_all[..]].concat(), "ManagedPolicy");
        refused(&[&["patch"], &deny_all[..], &["--type=merge", "-p", opened]].concat(), "ManagedPolicy");
        refused(&["patch", "namespace", "pretended-pending", "--type=merge", "-p", isolated], "LabelTampered");
        refused(&["patch", "pod", "held", "-n", "pretended-pending", "--type=json", "-p", ungated], "NotHeld");
    }
    assert!(is_isolated(&admin(bed), "pretended") && !is_isolated(&admin(bed), "pretended-pending"));
}

fn a_stolen_token_of_ringfence_reads_no_secret_starts_no_workload_and_grants_nothing() {
    let bed = &World::shared().bed;
    let admin = admin(bed);
    let may = |verb: &str, group: &str, resource: &str, namespace: &str, name: &str| {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let attributes = json!({
            "verb": verb, "group": group, "resource": resource, "subresource": subresource, "namespace": namespace,
            "name": name,
        });
        let spec = json!({ "user": CONTROLLER, "groups": ["system:authenticated"], "resourceAttributes": attributes });
        let review = json!({ "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec });
        let answer = admin.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).expect_ok();
        answer["status"]["allowed"] == true
    };
    assert!(may("patch", "", "pods", "kube-system", "any"), "RBAC has no way to leave it out: case 77 has");
    let roles = "rbac.authorization.k8s.io";
    let (configurations, other) = ("admissionregistration.k8s.io", "somebody-elses");
    for namespace in ["default", "kube-system", "ringfence-system"] {
        for verb in ["get", "list", "watch", "update", "patch", "delete"] {
            assert!(!may(verb, "", "secrets", namespace, "any"), "{verb} secrets in {namespace}");
        }
        for (group, resource) in [("", "pods"), ("apps", "deployments"), ("apps", "daemonsets"), ("batch", "jobs")] {
            assert!(!may("create", group, resource, namespace, ""), "create {resource} in {namespace}");
        }
        for (verb, group, resource) in [
            ("create", "", "serviceaccounts/token"),
            ("create", "", "pods/exec"),
            ("create", "", "pods/binding"),
            ("patch", "", "pods/ephemeralcontainers"),
            ("impersonate", "", "serviceaccounts"),
            ("create", roles, "rolebindings"),
            ("bind", roles, "clusterroles"),
            ("escalate", roles, "clusterroles"),
            ("patch", roles, "roles"),
        ] {
            assert!(!may(verb, group, resource, namespace, "any"), "{verb} {resource} in {namespace}");
        }
    }
    assert!(!may("delete", "", "namespaces", "", "any"));
    for verb in ["create", "delete"] {
        assert!(!may(verb, "", "nodes", "", "any"));
    }
    // By RBAC it may create any, since a name can't be asked for: case 77 has what stops that.
    for verb in ["update", "patch", "delete"] {
        for resource in ["validatingwebhookconfigurations", "mutatingwebhookconfigurations"] {
            assert!(!may(verb, configurations, resource, "", other));
        }
    }
    // Its own certificates are all that it needs of Secrets. What it makes there it can't read, but under that name.
    let create = |namespace: &str| may("create", "", "secrets", namespace, "");
    assert!(create("ringfence-system") && !create("default") && !create("kube-system"));
    assert!(!may("create", roles, "clusterrolebindings", "", "") && !may("impersonate", "", "users", "", "admin"));
}

fn whoever_asks_the_webhook_directly_changes_nothing_and_metrics_name_nobody() {
    let world = World::shared();
    let bed = &world.bed;
    isolated_namespace(bed, "neighboured");
    let ringfence = world.ringfence.lock().unwrap();
    let ringfence = ringfence.as_ref().unwrap();
    let as_user = |mut review: Value, user: &str| {
        review["userInfo"] = json!({ "username": user, "groups": ["system:masters"] });
        review
    };
    // It answers as it would answer an API server, whoever is said to ask, and that is all that it does.
    let deletion = deletion_of_the_baseline("neighboured");
    let decide = |request: &Value| crate::direct::decide(&world.installation, ringfence, request);
    assert!(decide(&as_user(deletion.clone(), CONTROLLER)).allows());
    assert!(decide(&as_user(creation_of_a_namespace("enforce"), "admin")).allows());
    let relax = json!({
        "operation": "UPDATE", "name": "neighboured",
        "resource": { "group": "", "version": "v1", "resource": "namespaces" },
        "object": { "metadata": { "name": "neighboured", "labels": {} } },
        "oldObject": get(bed, "neighboured", "namespace/neighboured"),
    });
    decide(&as_user(relax, CONTROLLER));
    // What is stored is as it was, and so is what it knows: the second deletion would not be refused otherwise.
    assert!(decide(&deletion).denies());
    assert_eq!(policies(bed, "neighboured"), STANDARD);
    assert!(is_isolated(&admin(bed), "neighboured") && get(bed, "asked", "namespace/asked").is_null());
    let alone = json!({ "metadata": { "labels": { "ringfence.dev/isolated": "false" } } });
    admin(bed).patch("/api/v1/namespaces/neighboured", MERGE, &alone).expect_denied("LabelTampered");

    let (status, metrics) = http_get(ringfence.metrics, "/metrics").unwrap();
    assert_eq!(status, 200);
    for name in ["neighboured", "default-deny-all", "admin", "alice", CONTROLLER] {
        assert!(!metrics.contains(name), "{metrics}");
    }
}
