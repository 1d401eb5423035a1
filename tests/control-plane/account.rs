//! What a stolen token of Ringfence's service account is no good for, where RBAC alone would let it: the
//! admission policies of the chart.

use serde_json::{Value, json};

use crate::ask::{APPLY, Asker, JSON_PATCH, MERGE, STRATEGIC};
use crate::harness::{Bed, Options, Replica, eventually};
use crate::steps::{as_controller, create_namespace, get, isolated_namespace};

crate::tests![case_77_a_stolen_token_changes_nothing_but_what_ringfence_changes];

const POD: &str = "/api/v1/namespaces/stolen/pods/held";
const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
const SECRETS: &str = "/api/v1/namespaces/ringfence-system/secrets";

/// How something is tried.
enum Try {
    Create(&'static str, Value),
    Patch(&'static str, &'static str, Value),
    /// An entry of a configuration of Ringfence's is changed, and the whole replaced.
    Entry(&'static str, fn(&mut Value)),
}
use Try::{Create, Entry, Patch};

#[allow(clippy::needless_pass_by_value, reason = "it is written down where it is passed")]
fn metadata(field: &str, value: Value) -> Value {
    json!({ "metadata": { field: value } })
}

fn configuration(kind: &str, name: &str, url: &str) -> Value {
    let rule = json!({ "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"] });
    let excluded = json!({ "matchExpressions": [{
        "key": "kubernetes.io/metadata.name", "operator": "NotIn",
        "values": ["kube-system", "kube-public", "kube-node-lease"],
    }] });
    let service = json!({ "service": { "name": "ringfence", "namespace": "ringfence-system" } });
    let client = if url.is_empty() { service } else { json!({ "url": url }) };
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": { "name": name },
        "webhooks": [{
            "name": "one.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "clientConfig": client,
            "rules": [rule], "namespaceSelector": excluded,
        }],
    })
}

fn secret(name: &str, kind: &str) -> Value {
    let annotations = json!({ "kubernetes.io/service-account.name": "default" });
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": { "name": name, "annotations": annotations },
    })
}

/// So many keys that say nothing.
fn filler(count: usize) -> serde_json::Map<String, Value> {
    (0..count).map(|index| (format!("k{index}"), json!("v"))).collect()
}

/// More keys than the admission policies go through, and one that says something.
fn many(key: &str, value: &str) -> Value {
    let mut keys = filler(1001);
    keys.insert(key.to_owned(), json!(value));
    keys.into()
}

fn policy(name: &str) -> Value {
    crate::scene::deny_all(name)
}

#[rustfmt::skip]
fn attacks() -> Vec<(&'static str, Try)> {
    let owner = json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "0" }]);
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "name": "x" }, "action": "x", "reason": "x", "type": "Normal",
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "x", "reportingInstance": "x", "regarding": {},
    });
    vec![
        // Pods
        ("another image", Patch(POD, STRATEGIC, json!({ "spec": { "containers": [{ "name": "app", "image": "evil" }] } }))),
        ("a toleration", Patch(POD, JSON_PATCH, json!([{ "op": "add", "path": "/spec/tolerations/-", "value": { "operator": "Exists" } }]))),
        ("a deadline", Patch(POD, MERGE, json!({ "spec": { "activeDeadlineSeconds": 1 } }))),
        ("where it may run", Patch(POD, MERGE, json!({ "spec": { "nodeSelector": { "a": "b" } } }))),
        ("all of its gates", Patch(POD, MERGE, json!({ "spec": { "schedulingGates": null } }))),
        ("a pod's label", Patch(POD, MERGE, metadata("labels", json!({ "app": "other" })))),
        ("a pod's label among more than anybody has", Patch(POD, MERGE, metadata("labels", many("app", "other")))),
        ("a pod's label goes", Patch(POD, MERGE, metadata("labels", json!({ "app": null })))),
        ("held is set to something else", Patch(POD, MERGE, metadata("labels", json!({ "ringfence.dev/held": "x" })))),
        ("a pod's annotation", Patch(POD, MERGE, metadata("annotations", json!({ "a": "b" })))),
        ("a pod's finalizer", Patch(POD, MERGE, metadata("finalizers", json!(["example.com/x"])))),
        ("a pod's owner", Patch(POD, MERGE, metadata("ownerReferences", owner.clone()))),
        ("a pod of kube-system", Patch("/api/v1/namespaces/kube-system/pods/held", MERGE, metadata("labels", json!({ "ringfence.dev/held": null })))),
        // Namespaces
        ("pods that are privileged", Patch("/api/v1/namespaces/stolen", MERGE, metadata("labels", json!({ "pod-security.kubernetes.io/enforce": "privileged" })))),
        ("pods that are privileged, among more labels than anybody has", Patch("/api/v1/namespaces/stolen", MERGE, metadata("labels", many("pod-security.kubernetes.io/enforce", "privileged")))),
        ("a namespace's annotation among many", Patch("/api/v1/namespaces/stolen", MERGE, metadata("annotations", many("a", "b")))),
        ("a namespace's label goes", Patch("/api/v1/namespaces/stolen", MERGE, metadata("labels", json!({ "team": null })))),
        ("a namespace's annotation", Patch("/api/v1/namespaces/stolen", MERGE, metadata("annotations", json!({ "a": "b" })))),
        ("a namespace's finalizer", Patch("/api/v1/namespaces/stolen", MERGE, metadata("finalizers", json!(["example.com/x"])))),
        ("a namespace's owner", Patch("/api/v1/namespaces/stolen", MERGE, metadata("ownerReferences", owner))),
        ("kube-system", Patch("/api/v1/namespaces/kube-system", MERGE, metadata("labels", json!({ "ringfence.dev/mode": "enforce" })))),
        // Webhooks
        ("a configuration of another name", Create(VALIDATING, configuration("ValidatingWebhookConfiguration", "other", ""))),
        ("another one that mutates", Create(MUTATING, configuration("MutatingWebhookConfiguration", "other", ""))),
        ("a url", Create(MUTATING, configuration("MutatingWebhookConfiguration", "ringfence", "https://evil.example.com"))),
        ("a url in its own", Entry(MUTATING, |entry| entry["clientConfig"] = json!({ "url": "https://evil.example.com" }))),
        ("a Service of another namespace", Entry(MUTATING, |entry| entry["clientConfig"]["service"]["namespace"] = json!("default"))),
        ("another Service", Entry(VALIDATING, |entry| entry["clientConfig"]["service"]["name"] = json!("other"))),
        ("Secrets are shown to it", Entry(VALIDATING, |entry| entry["rules"][0]["resources"] = json!(["secrets"]))),
        ("everything is shown to it", Entry(VALIDATING, |entry| entry["rules"][0]["resources"] = json!(["*/*"]))),
        ("every group", Entry(VALIDATING, |entry| entry["rules"][0]["apiGroups"] = json!(["*"]))),
        ("Deployments are changed", Entry(MUTATING, |entry| entry["rules"][0]["resources"] = json!(["deployments"]))),
        ("kube-system too", Entry(MUTATING, |entry| entry["namespaceSelector"] = json!({}))),
        ("almost all of the system", Entry(MUTATING, |entry| entry["namespaceSelector"]["matchExpressions"][0]["values"] = json!(["kube-public", "kube-node-lease"]))),
        // Everything else
        ("a policy of kube-system", Create("/apis/networking.k8s.io/v1/namespaces/kube-system/networkpolicies", policy("x"))),
        ("a policy of its own namespace", Create("/apis/networking.k8s.io/v1/namespaces/ringfence-system/networkpolicies", policy("x"))),
        ("one by server-side apply", Patch("/apis/networking.k8s.io/v1/namespaces/kube-system/networkpolicies/x?fieldManager=x", APPLY, policy("x"))),
        ("another Secret", Create(SECRETS, secret("other", "Opaque"))),
        ("a token of another account", Create(SECRETS, secret("ringfence-certificates", "kubernetes.io/service-account-token"))),
        ("another Lease", Create("/apis/coordination.k8s.io/v1/namespaces/ringfence-system/leases", json!({ "metadata": { "name": "other" }, "spec": {} }))),
        ("an Event of kube-system", Create("/apis/events.k8s.io/v1/namespaces/kube-system/events", event)),
    ]
}

fn case_77_a_stolen_token_changes_nothing_but_what_ringfence_changes() {
    let bed = Bed::start(&Options::default());
    let installation = bed.install(&[]);
    let ringfence = bed.start_ringfence(&installation, &Replica::default());
    isolated_namespace(&bed, "stolen");
    bed.kubectl(&["label", "namespace", "stolen", "team=a"]).expect_ok();
    let thief = Asker::with_token(&bed, &installation.token);
    let made = thief.create("/api/v1/namespaces", &crate::scene::namespace("made"));
    assert!(made.body.to_string().contains("ValidatingAdmissionPolicy 'ringfence-namespaces'"), "{made:?}");
    thief.create("/api/v1/namespaces?dryRun=All", &crate::scene::namespace("made")).expect_ok();
    // The controller would lift the pods.
    drop(ringfence);
    for namespace in ["stolen", "kube-system"] {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "held", "namespace": namespace, "labels": { "app": "a", "ringfence.dev/held": "true" } },
            "spec": {
                "schedulingGates": [{ "name": "ringfence.dev/baseline" }, { "name": "example.com/own" }],
                "containers": [{ "name": "app", "image": "example.com/app" }],
            },
        });
        bed.kubectl_stdin(&["create", "-f", "-"], &pod.to_string()).expect_ok();
    }
    // As the API server holds them against what it knows.
    for name in ["pods", "namespaces", "webhooks", "objects"] {
        let policy = get(&bed, "default", &format!("validatingadmissionpolicy/ringfence-{name}"));
        let warnings = &policy["status"]["typeChecking"]["expressionWarnings"];
        assert!(warnings.is_null(), "{warnings:#}");
    }
    let admin = crate::scene::admin(&bed);
    let mut wrong = Vec::new();
    for (what, attempt) in attacks() {
        let answer = match attempt {
            Create(path, object) => thief.create(path, &object),
            Patch(path, kind, change) => thief.patch(path, kind, &change),
            Entry(path, change) => {
                let path = format!("{path}/ringfence");
                let mut object = admin.get(&path);
                change(&mut object["webhooks"][0]);
                thief.replace(&path, &object)
            }
        };
        let said = answer.body["message"].as_str().unwrap_or_default();
        if !said.contains("ValidatingAdmissionPolicy 'ringfence-") {
            wrong.push(format!("{what}: {} {said}", answer.status));
        }
    }
    assert!(wrong.is_empty(), "these were not refused by the policies:\n{}", wrong.join("\n"));

    subresources_are_no_way(&bed);

    // What Ringfence does goes on; here what no other test shows by its token alone.
    let lift = json!({
        "metadata": { "labels": { "ringfence.dev/held": null } },
        "spec": { "schedulingGates": [{ "$patch": "delete", "name": "ringfence.dev/baseline" }] },
    });
    let lifted = thief.patch(POD, STRATEGIC, &lift).expect_ok();
    assert_eq!(lifted["spec"]["schedulingGates"], json!([{ "name": "example.com/own" }]));
    thief
        .patch("/api/v1/namespaces/stolen", MERGE, &metadata("labels", json!({ "ringfence.dev/isolated": null })))
        .expect_ok();
    // However many labels an owner gives a namespace, it is not isolated for good.
    create_namespace_with(&bed, &filler(5000));
    eventually("it is there", || !get(&bed, "default", "namespace/many").is_null());
    thief
        .patch("/api/v1/namespaces/many", MERGE, &metadata("labels", json!({ "ringfence.dev/isolated": null })))
        .expect_ok();
    // But nothing is added to so many either.
    let added = thief.patch("/api/v1/namespaces/many", MERGE, &metadata("labels", json!({ "one": "more" })));
    assert!(added.body.to_string().contains("ValidatingAdmissionPolicy 'ringfence-namespaces'"), "{added:?}");
}

/// With more rights than the chart gives, by way of subresources and other verbs.
fn subresources_are_no_way(bed: &Bed) {
    let file = bed.path("namespace.json");
    let mut namespace = get(bed, "stolen", "namespace/stolen");
    namespace["spec"] = json!({});
    std::fs::write(&file, namespace.to_string()).unwrap();
    let file = file.to_string_lossy();
    let object = |kind: &str, version: &str, more: (&str, Value)| {
        let path = bed.path(&format!("{kind}.json"));
        let object = json!({ "apiVersion": version, "kind": kind, "metadata": { "name": "held" }, (more.0): more.1 });
        std::fs::write(&path, object.to_string()).unwrap();
        path.to_string_lossy().into_owned()
    };
    let eviction = object("Eviction", "policy/v1", ("deleteOptions", json!({})));
    let binding = object("Binding", "v1", ("target", json!({ "kind": "Node", "name": "x" })));
    for attempt in [
        &[
            "patch",
            "pod",
            "held",
            "-n",
            "stolen",
            "--subresource=status",
            "--type=merge",
            "-p",
            r#"{"status": {"phase": "Succeeded"}}"#,
        ][..],
        &[
            "patch",
            "namespace",
            "stolen",
            "--subresource=status",
            "--type=merge",
            "-p",
            r#"{"metadata": {"labels": {"ringfence.dev/mode": "exempt"}}}"#,
        ],
        &["replace", "--raw", "/api/v1/namespaces/stolen/finalize", "-f", &file],
        &["delete", "namespace", "stolen"],
        &["delete", "pod", "held", "-n", "stolen"],
        &["run", "new", "-n", "stolen", "--image=example.com/app"],
        &["create", "--raw", "/api/v1/namespaces/stolen/pods/held/exec?command=true&stdout=true", "-f", &file],
        &["create", "--raw", "/api/v1/namespaces/stolen/pods/held/eviction", "-f", &eviction],
        &["create", "--raw", "/api/v1/namespaces/stolen/pods/held/binding", "-f", &binding],
        &["delete", "secret", "ringfence-certificates", "-n", "ringfence-system"],
    ] {
        let said = as_controller(bed, attempt).expect_error();
        assert!(said.contains("ValidatingAdmissionPolicy 'ringfence-"), "{attempt:?}: {said}");
    }
}

/// Past webhooks that nobody answers: they were uninstalled by hand.
fn create_namespace_with(bed: &Bed, labels: &serde_json::Map<String, Value>) {
    for kind in crate::arming::KINDS {
        bed.kubectl(&["delete", kind, "ringfence"]).expect_ok();
    }
    eventually("nobody is asked", || bed.kubectl(&["create", "namespace", "free", "--dry-run=server"]).ok);
    create_namespace(bed, "many");
    let patch = json!({ "metadata": { "labels": labels } });
    let file = bed.path("labels.json");
    std::fs::write(&file, patch.to_string()).unwrap();
    bed.kubectl(&["patch", "namespace", "many", "--type=merge", "--patch-file", &file.to_string_lossy()]).expect_ok();
    bed.kubectl(&["label", "namespace", "many", "ringfence.dev/isolated=true"]).expect_ok();
}
