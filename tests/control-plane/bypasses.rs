//! Ways around the baseline. Each of the first was found to work on a real API server against an earlier design.

use serde_json::{Value, json};

use crate::ask::{APPLY, JSON_PATCH, MERGE, STRATEGIC};
use crate::harness::{World, eventually};
use crate::race::Quiet;
use crate::scene::{
    POLICIES, admin, assert_held, deny_all, held_pod, is_isolated, isolated_namespace, label, namespace, owner,
    pending_namespace, pod, policy, until_policies_are_known,
};

crate::tests![
    labels_do_not_change_through_a_namespace_s_status_or_finalize,
    a_generated_name_with_a_forged_name_label_gets_nothing_past_the_webhooks,
    a_held_pod_is_lifted_through_none_of_its_subresources,
    a_forged_mirror_annotation_runs_no_pod,
    the_baseline_survives_a_deletecollection,
    a_policy_that_a_finalizer_keeps_does_not_count_while_another_is_deleted,
    a_deny_all_stays_in_a_terminating_namespace_while_a_pod_takes_its_time,
    isolated_is_taken_off_at_create,
    isolated_is_not_set_by_a_forced_apply,
    the_mode_of_a_terminating_namespace_stays,
    a_template_with_the_label_of_held_pods_is_refused_isolated_or_not,
];

fn labels_do_not_change_through_a_namespace_s_status_or_finalize() {
    let bed = &World::shared().bed;
    isolated_namespace(bed, "subresources");
    pending_namespace(bed, "subresources-pending");
    let (owner, admin) = (owner(bed), admin(bed));
    for name in ["subresources", "subresources-pending"] {
        let path = format!("/api/v1/namespaces/{name}");
        let before = admin.get(&path);
        let forged = [
            json!({ "labels": { "ringfence.dev/mode": "audit" } }),
            json!({ "labels": { "ringfence.dev/mode": null, "ringfence.dev/profile": null } }),
            json!({ "labels": { "ringfence.dev/profile": "deny-all" } }),
            json!({ "labels": { "ringfence.dev/isolated": if name == "subresources" { Value::Null } else { json!("true") } } }),
            json!({ "annotations": { "ringfence.dev/exempt-reason": "so", "ringfence.dev/exempt-until": "2999-01-01T00:00:00Z" } }),
            // And with what a selector would leave out.
            json!({ "labels": { "ringfence.dev/mode": "audit", "kubernetes.io/metadata.name": "kube-system" } }),
        ];
        for metadata in forged {
            for user in [&owner, &admin] {
                let forgery = json!({ "metadata": metadata });
                for kind in [MERGE, STRATEGIC] {
                    user.patch(&format!("{path}/status"), kind, &forgery).expect_denied("LabelTampered");
                }
                let mut whole = before.clone();
                for (kind, changes) in metadata.as_object().unwrap() {
                    for (key, value) in changes.as_object().unwrap() {
                        match value {
                            Value::Null => _ = whole["metadata"][kind].as_object_mut().unwrap().remove(key),
                            value => whole["metadata"][kind][key] = value.clone(),
                        }
                    }
                }
                user.replace(&format!("{path}/status"), &whole).expect_denied("LabelTampered");
                user.replace(&format!("{path}/finalize"), &whole).expect_denied("LabelTampered");
            }
        }
        // The label by which namespaces are left out is the API server's own: this changes nothing.
        let name_alone = json!({ "metadata": { "labels": { "kubernetes.io/metadata.name": "kube-system" } } });
        owner.patch(&format!("{path}/status"), MERGE, &name_alone).expect_ok();
        owner.patch(&path, MERGE, &name_alone);
        let after = admin.get(&path);
        assert_eq!(after["metadata"]["labels"], before["metadata"]["labels"]);
        assert_eq!(after["metadata"]["annotations"], before["metadata"]["annotations"]);
        // What has nothing to do with it goes on.
        let condition = json!({ "status": { "conditions": [{ "type": "Fine", "status": "True" }] } });
        owner.patch(&format!("{path}/status"), MERGE, &condition).expect_ok();
        owner.replace(&format!("{path}/finalize"), &before_without_version(&admin.get(&path))).expect_ok();
    }
}

fn before_without_version(object: &Value) -> Value {
    let mut object = object.clone();
    object["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    object
}

fn a_generated_name_with_a_forged_name_label_gets_nothing_past_the_webhooks() {
    let bed = &World::shared().bed;
    let (owner, admin) = (owner(bed), admin(bed));
    let forged = |labels: Value| {
        let mut object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "generateName": "forged-", "labels": labels } });
        object["metadata"]["labels"]["kubernetes.io/metadata.name"] = json!("kube-system");
        object
    };
    for user in [&owner, &admin] {
        user.create("/api/v1/namespaces", &forged(json!({}))).expect_denied("BaselineMissing");
        let labels = json!({ "ringfence.dev/profile": "standard", "ringfence.dev/mode": "enforce", "ringfence.dev/isolated": "true" });
        user.create("/api/v1/namespaces", &forged(labels)).expect_denied("LabelTampered");
    }
    let labels = json!({ "ringfence.dev/profile": "standard", "ringfence.dev/mode": "warn" });
    owner.create("/api/v1/namespaces", &forged(labels)).expect_denied("NotPermitted");
    // One that says by itself what would have been injected is like any other.
    let labels = json!({ "ringfence.dev/profile": "standard", "ringfence.dev/mode": "enforce" });
    let made = owner.create("/api/v1/namespaces", &forged(labels)).expect_ok();
    let name = made["metadata"]["name"].as_str().unwrap();
    assert_eq!(label(&made, "kubernetes.io/metadata.name"), Some(name));
    eventually("it is isolated", || is_isolated(&admin, name));
    let all = admin.get("/api/v1/namespaces");
    let stray = all["items"].as_array().unwrap().iter().filter_map(|object| object["metadata"]["name"].as_str());
    assert_eq!(stray.filter(|name| name.starts_with("forged-")).count(), 1);

    // On an update it is the API server's own from the start: what is stripped is put back, as ever.
    let path = format!("/api/v1/namespaces/{name}");
    let forged = |mut labels: Value| {
        labels["kubernetes.io/metadata.name"] = json!("kube-system");
        json!({ "metadata": { "labels": labels } })
    };
    let before = admin.get(&path)["metadata"]["labels"].clone();
    for labels in [
        json!({ "ringfence.dev/profile": null, "ringfence.dev/mode": null }),
        json!({ "ringfence.dev/isolated": null }),
    ] {
        for user in [&owner, &admin] {
            user.patch(&path, MERGE, &forged(labels.clone())).expect_ok();
            assert_eq!(admin.get(&path)["metadata"]["labels"], before);
        }
    }
    owner.patch(&path, MERGE, &forged(json!({ "ringfence.dev/mode": "audit" }))).expect_denied("NotPermitted");
}

fn a_held_pod_is_lifted_through_none_of_its_subresources() {
    let bed = &World::shared().bed;
    pending_namespace(bed, "lifting");
    let (owner, admin) = (owner(bed), admin(bed));
    let path = held_pod(&admin, "lifting", "held");
    let ungate = json!([{ "op": "remove", "path": "/spec/schedulingGates" }]);
    let hide = |value: Value| json!({ "metadata": { "labels": { "ringfence.dev/held": value } } });
    for user in [&owner, &admin] {
        user.patch(&path, JSON_PATCH, &ungate).expect_denied("NotHeld");
        user.patch(
            &path,
            STRATEGIC,
            &json!({ "spec": { "schedulingGates": [{ "$patch": "delete", "name": "ringfence.dev/baseline" }] } }),
        )
        .expect_denied("NotHeld");
        for value in [Value::Null, json!("false"), json!("")] {
            for at in [path.clone(), format!("{path}/status")] {
                for kind in [MERGE, STRATEGIC] {
                    user.patch(&at, kind, &hide(value.clone())).expect_denied("NotHeld");
                }
            }
        }
        // These take over what they are about and nothing else, so nobody has to be asked.
        let mut changed = admin.get(&path);
        changed["metadata"]["labels"].as_object_mut().unwrap().remove("ringfence.dev/held");
        changed["spec"].as_object_mut().unwrap().remove("schedulingGates");
        for subresource in ["ephemeralcontainers", "resize"] {
            user.replace(&format!("{path}/{subresource}"), &changed);
            user.patch(&format!("{path}/{subresource}"), MERGE, &hide(Value::Null));
            assert_held(&admin.get(&path));
        }
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding", "target": { "apiVersion": "v1", "kind": "Node", "name": "node-1" },
            "metadata": { "name": "held", "namespace": "lifting", "labels": { "ringfence.dev/held": "false" } },
        });
        for at in [format!("{path}/binding"), "/api/v1/namespaces/lifting/bindings".to_owned()] {
            let answer = user.create(&at, &binding);
            assert_eq!(answer.status, 409, "{answer:?}");
        }
    }
    assert_held(&admin.get(&path));
    // All else about it goes on: other gates, labels, finalizers, its status and its end.
    let others = json!({ "metadata": { "labels": { "app": "web" }, "finalizers": ["example.com/keep"] } });
    owner.patch(&path, MERGE, &others).expect_ok();
    let condition = json!({ "status": { "conditions": [{ "type": "Fine", "status": "True" }] } });
    owner.patch(&format!("{path}/status"), STRATEGIC, &condition).expect_ok();
    owner.delete(&path, &Value::Null).expect_ok();
    owner.patch(&path, MERGE, &json!({ "metadata": { "finalizers": null } })).expect_ok();
    eventually("it is gone", || !bed.kubectl(&["get", "pod", "held", "-n", "lifting"]).ok);
}

fn a_forged_mirror_annotation_runs_no_pod() {
    let bed = &World::shared().bed;
    let (owner, admin) = (owner(bed), admin(bed));
    pending_namespace(bed, "mirrors");
    let pods = "/api/v1/namespaces/mirrors/pods";
    let mirror = |name: &str, placed: bool| {
        let mut mirror = pod(name);
        mirror["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": "hash" });
        if placed {
            mirror["spec"]["nodeName"] = json!("node-1");
        }
        mirror
    };
    for user in [&owner, &admin] {
        user.create(pods, &mirror("placed", true)).expect_denied("NotHeld");
    }
    // Where it says nothing of a node, it is held like any other, and then the API server has no such mirror.
    let unplaced = owner.create(pods, &mirror("unplaced", false));
    assert_eq!(unplaced.status, 422, "{unplaced:#?}");
    // A kubelet's own is let through: its pod runs whatever anybody says.
    let kubelet = ["create", "-f", "-", "-n", "mirrors", "--as=system:node:node-1", "--as-group=system:nodes"];
    let kubelet: Vec<&str> = kubelet.into_iter().chain(["--as-group=system:masters"]).collect();
    bed.kubectl_stdin(&kubelet, &mirror("true", true).to_string()).expect_ok();
    let mut plain = pod("plain");
    plain["spec"]["nodeName"] = json!("node-1");
    bed.kubectl_stdin(&kubelet, &plain.to_string()).expect_error();
}

fn the_baseline_survives_a_deletecollection() {
    let bed = &World::shared().bed;
    let (owner, admin) = (owner(bed), admin(bed));
    isolated_namespace(bed, "collections");
    let policies = format!("{POLICIES}/collections/networkpolicies");
    owner.create(&policies, &policy("own", json!({ "podSelector": { "matchLabels": { "app": "web" } } }))).expect_ok();
    let baseline = || -> Vec<Value> {
        let all = admin.get(&policies);
        let managed =
            all["items"].as_array().unwrap().iter().filter(|one| label(one, "app.kubernetes.io/managed-by").is_some());
        managed.cloned().collect()
    };
    let before = baseline();
    assert_eq!(before.len(), 3);
    for user in [&owner, &admin] {
        user.delete(&policies, &Value::Null).expect_denied("ManagedPolicy");
        let selected = format!("{policies}?labelSelector=app.kubernetes.io/managed-by%3Dringfence");
        user.delete(&selected, &json!({ "gracePeriodSeconds": 0, "propagationPolicy": "Foreground" }))
            .expect_denied("ManagedPolicy");
    }
    assert_eq!(baseline(), before);
    assert!(is_isolated(&admin, "collections"));
}

fn a_policy_that_a_finalizer_keeps_does_not_count_while_another_is_deleted() {
    let bed = &World::shared().bed;
    let (owner, admin) = (owner(bed), admin(bed));
    // A baseline that somebody else brings, here under the name that the profile has for it: it is judged, not managed.
    let mut object = namespace("two-steps");
    object["metadata"]["labels"] = json!({ "ringfence.dev/profile": "deny-all", "ringfence.dev/mode": "warn" });
    admin.create("/api/v1/namespaces", &object).expect_ok();
    let policies = format!("{POLICIES}/two-steps/networkpolicies");
    let (first, second) = (format!("{policies}/default-deny-all"), format!("{policies}/second"));
    owner.create(&policies, &deny_all("default-deny-all")).expect_ok();
    until_policies_are_known(&admin, &policies);
    let enforce = json!({ "metadata": { "labels": { "ringfence.dev/mode": "enforce" } } });
    admin.patch("/api/v1/namespaces/two-steps", MERGE, &enforce).expect_ok();
    eventually("the namespace is isolated", || is_isolated(&admin, "two-steps"));
    owner.delete(&first, &Value::Null).expect_denied("BaselineWeakened");

    let mut kept = deny_all("second");
    kept["metadata"]["finalizers"] = json!(["example.com/keep"]);
    owner.create(&policies, &kept).expect_ok();
    // The first step is fine: the other one is still there.
    owner.delete(&second, &Value::Null).expect_ok();
    assert!(admin.get(&second)["metadata"]["deletionTimestamp"].is_string());
    // The second would leave one that vanishes without another DELETE, as is known once the watch has brought it.
    eventually("the deletion is known", || owner.delete(&first, &json!({ "dryRun": ["All"] })).status == 403);
    owner.delete(&first, &Value::Null).expect_denied("BaselineWeakened");
    let narrowed = json!({ "spec": { "podSelector": { "matchLabels": { "app": "web" } } } });
    // The name is one of the baseline's, which may say nothing else.
    owner.patch(&first, MERGE, &narrowed).expect_denied("ManagedPolicy");
    owner.patch(&second, MERGE, &json!({ "metadata": { "finalizers": null } })).expect_ok();
    assert!(is_isolated(&admin, "two-steps"));
    assert_eq!(admin.get(&policies)["items"].as_array().unwrap().len(), 1);
}

fn a_deny_all_stays_in_a_terminating_namespace_while_a_pod_takes_its_time() {
    // Nobody plays kubelet here, so that a pod that is deleted goes on until its grace period is over, and longer.
    let (bed, _turn) = Quiet::turn();
    let (owner, admin) = (owner(bed), admin(bed));
    isolated_namespace(bed, "slow-end");
    let mut slow = pod("slow");
    slow["spec"]["terminationGracePeriodSeconds"] = json!(3600);
    owner.create("/api/v1/namespaces/slow-end/pods", &slow).expect_ok();
    let slow = "/api/v1/namespaces/slow-end/pods/slow";
    eventually("the pod has a node", || admin.get(slow)["spec"]["nodeName"].is_string());
    owner.delete("/api/v1/namespaces/slow-end", &Value::Null).expect_ok();
    eventually("the pod is asked to end", || admin.get(slow)["metadata"]["deletionTimestamp"].is_string());
    let policies = format!("{POLICIES}/slow-end/networkpolicies");
    let left = || -> Vec<String> {
        let all = admin.get(&policies);
        all["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let baseline = ["allow-dns", "allow-same-namespace", "default-deny-all"];
    for user in [&owner, &admin] {
        for name in baseline {
            user.delete(&format!("{policies}/{name}"), &Value::Null).expect_denied("ManagedPolicy");
        }
        user.delete(&policies, &Value::Null).expect_denied("ManagedPolicy");
        let everything = policy("everything", json!({ "podSelector": {}, "ingress": [{}] }));
        assert_eq!(user.create(&policies, &everything).status, 403);
    }
    assert_eq!(left(), baseline, "the namespace controller leaves them, too, as long as there are pods");
    bed.finish_deletions();
    // The namespace controller looks again when the namespace changes, and else not for half an hour.
    let seen = json!({ "metadata": { "annotations": { "example.com/seen": "true" } } });
    admin.patch("/api/v1/namespaces/slow-end", MERGE, &seen);
    eventually("the namespace is gone", || !bed.kubectl(&["get", "namespace", "slow-end"]).ok);
}

fn isolated_is_taken_off_at_create() {
    let bed = &World::shared().bed;
    let (owner, admin) = (owner(bed), admin(bed));
    let claims = |name: &str, value: &str| {
        let mut object = namespace(name);
        object["metadata"]["labels"] = json!({ "ringfence.dev/isolated": value });
        object
    };
    for (index, value) in ["true", "false", ""].into_iter().enumerate() {
        for (user, who) in [(&owner, "owner"), (&admin, "admin")] {
            let answer = user.create("/api/v1/namespaces?dryRun=All", &claims(&format!("claims-{who}-{index}"), value));
            let dropped = answer.warnings.iter().any(|warning| warning.contains("ringfence.dev/isolated was dropped"));
            assert!(dropped, "{answer:#?}");
            assert_eq!(label(&answer.expect_ok(), "ringfence.dev/isolated"), None);
        }
    }
    // By an apply that creates, too; and what it gets later is the controller's.
    let applied =
        owner.patch("/api/v1/namespaces/claims?fieldManager=gitops&force=true", APPLY, &claims("claims", "true"));
    assert_eq!(label(&applied.expect_ok(), "ringfence.dev/isolated"), None);
    eventually("the namespace is isolated", || is_isolated(&admin, "claims"));
    // Said again, it changes nothing; but it can't be taken back.
    let again =
        owner.patch("/api/v1/namespaces/claims?fieldManager=gitops&force=true", APPLY, &claims("claims", "true"));
    again.expect_ok();
    let taken_back =
        owner.patch("/api/v1/namespaces/claims?fieldManager=gitops&force=true", APPLY, &namespace("claims"));
    assert_eq!(label(&taken_back.expect_ok(), "ringfence.dev/isolated"), Some("true"));
}

fn isolated_is_not_set_by_a_forced_apply() {
    let bed = &World::shared().bed;
    let (owner, admin) = (owner(bed), admin(bed));
    pending_namespace(bed, "forced");
    let path = "/api/v1/namespaces/forced";
    for value in ["true", "false", ""] {
        let mut object = namespace("forced");
        object["metadata"]["labels"] = json!({ "ringfence.dev/isolated": value });
        for user in [&owner, &admin] {
            // Under the controller's own field manager, too: that is a name that anybody may use.
            for manager in ["gitops", "ringfence"] {
                let at = format!("{path}?fieldManager={manager}&force=true");
                user.patch(&at, APPLY, &object).expect_denied("LabelTampered");
            }
            user.patch(path, MERGE, &object).expect_denied("LabelTampered");
        }
    }
    assert_eq!(label(&admin.get(path), "ringfence.dev/isolated"), None);
    held_pod(&admin, "forced", "held");
}

fn the_mode_of_a_terminating_namespace_stays() {
    let bed = &World::shared().bed;
    let (owner, admin) = (owner(bed), admin(bed));
    let path = "/api/v1/namespaces/ending-modes";
    let mut object = namespace("ending-modes");
    object["metadata"]["finalizers"] = json!(["example.com/keep"]);
    owner.create("/api/v1/namespaces", &object).expect_ok();
    eventually("the namespace is isolated", || is_isolated(&admin, "ending-modes"));
    owner.delete(path, &Value::Null).expect_ok();
    let before = admin.get(path);
    assert!(before["metadata"]["deletionTimestamp"].is_string());
    let labels = |labels: Value| json!({ "metadata": { "labels": labels } });
    let attempts = [
        (labels(json!({ "ringfence.dev/mode": "warn" })), "NotPermitted"),
        (labels(json!({ "ringfence.dev/profile": "strict" })), "NotPermitted"),
        (labels(json!({ "ringfence.dev/mode": null })), "NotPermitted"),
        (labels(json!({ "ringfence.dev/mode": null, "ringfence.dev/profile": null })), "NotPermitted"),
        (labels(json!({ "ringfence.dev/mode": "lax" })), "ModeInvalid"),
        (labels(json!({ "ringfence.dev/isolated": null })), "LabelTampered"),
        (labels(json!({ "ringfence.dev/isolated": "false" })), "LabelTampered"),
    ];
    for (patch, reason) in attempts {
        owner.patch(path, MERGE, &patch).expect_denied(reason);
        owner.patch(&format!("{path}/status"), MERGE, &patch).expect_denied("LabelTampered");
    }
    assert_eq!(admin.get(path)["metadata"]["labels"], before["metadata"]["labels"]);
    // It ends all the same.
    owner.patch(path, MERGE, &json!({ "metadata": { "finalizers": null } })).expect_ok();
    eventually("the namespace is gone", || !bed.kubectl(&["get", "namespace", "ending-modes"]).ok);
}

/// Lifting takes the label off, so the pods' controller would not know them any more and make others without end: 62 in
/// eight seconds when it was tried.
fn a_template_with_the_label_of_held_pods_is_refused_isolated_or_not() {
    let bed = &World::shared().bed;
    isolated_namespace(bed, "templates");
    pending_namespace(bed, "templates-pending");
    let admin = admin(bed);
    let template = |labels: &Value| json!({ "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "c", "image": "i" }], "restartPolicy": "Always" } });
    for name in ["templates", "templates-pending"] {
        let path = format!("/apis/apps/v1/namespaces/{name}/deployments");
        let deployment = |name: &str, labels: &Value| {
            json!({ "metadata": { "name": name }, "spec": { "selector": { "matchLabels": { "app": "web" } },
                "template": template(labels) } })
        };
        let held = json!({ "app": "web", "ringfence.dev/held": "true" });
        admin.create(&path, &deployment("held", &held)).expect_denied("LabelTampered");
        let plain = deployment("plain", &json!({ "app": "web" }));
        assert_eq!(admin.create(&path, &plain).status, 201);
        let change = json!({ "spec": { "template": { "metadata": { "labels": { "ringfence.dev/held": "x" } } } } });
        admin.patch(&format!("{path}/plain"), MERGE, &change).expect_denied("LabelTampered");
        let mut job = template(&held);
        job["spec"]["restartPolicy"] = json!("Never");
        let schedule = json!({ "metadata": { "name": "nightly" },
            "spec": { "schedule": "0 3 * * *", "jobTemplate": { "spec": { "template": job } } } });
        admin.create(&format!("/apis/batch/v1/namespaces/{name}/cronjobs"), &schedule).expect_denied("LabelTampered");
    }
}
