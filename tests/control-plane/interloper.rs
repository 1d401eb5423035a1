//! Others in the cluster that mutate what Ringfence has looked at: webhooks that come after its own, and the API server's
//! own policies.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use axum_server::tls_rustls::RustlsConfig;
use ringfence::certs::dev;
use serde_json::{Value, json};

use crate::ask::{Answer, MERGE};
use crate::harness::{Bed, World, eventually};
use crate::scene::{admin, assert_held, isolated_namespace, namespace, owner, pending_namespace, pod};

crate::tests![
    a_pod_that_another_webhook_strips_of_gate_or_label_is_refused,
    a_policy_that_mutates_pods_does_not_get_around_the_gate,
    a_later_webhook_isolates_no_namespace_and_strips_none,
];

/// What is done to an object.
type Change = fn(&mut Value);

/// Another mutating webhook. It runs as long as it is not dropped; its configuration goes with it.
struct Interloper<'b> {
    bed: &'b Bed,
    name: String,
    server: tokio::task::JoinHandle<()>,
}

impl<'b> Interloper<'b> {
    /// A webhook that changes objects in one namespace, or that namespace itself. It is called after Ringfence's: those
    /// of one kind are called in the order of their configurations' names. And it insists: where another webhook changes
    /// the object after it, it is called again.
    fn start(bed: &'b Bed, namespace: &str, resource: &str, change: Change) -> Self {
        let pair = dev::issue().unwrap();
        // Where another test got there first it is the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (certificate, key) = (pair.certificate.into_bytes(), pair.key.into_bytes());
        let listener = std::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let app = Router::new().route("/", post(async move |body: Bytes| answer(&body, change)));
        let config = bed.run(RustlsConfig::from_pem(certificate, key)).unwrap();
        let serving = async move {
            let server = axum_server::from_tcp_rustls(listener, config).unwrap();
            server.serve(app.into_make_service()).await.unwrap();
        };
        let mut server = None;
        bed.run(async { server = Some(tokio::spawn(serving)) });
        let server = server.unwrap();
        let name = format!("zz-interloper-{namespace}");
        bed.apply(
            &json!({
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
                "metadata": { "name": name },
                "webhooks": [{
                    "name": "interloper.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None",
                    "clientConfig": {
                        "url": format!("https://localhost:{port}/"),
                        "caBundle": k8s_openapi::ByteString(pair.ca.into_bytes()),
                    },
                    "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } },
                    "reinvocationPolicy": "IfNeeded",
                    "rules": [{
                        "apiGroups": [""], "apiVersions": ["v1"], "resources": [resource],
                        "operations": ["CREATE", "UPDATE"],
                    }],
                }],
            })
            .to_string(),
        );
        Self { bed, name, server }
    }
}

impl Drop for Interloper<'_> {
    fn drop(&mut self) {
        self.server.abort();
        self.bed.kubectl(&["delete", "mutatingwebhookconfiguration", &self.name]);
    }
}

fn answer(body: &[u8], change: Change) -> String {
    let review: Value = serde_json::from_slice(body).unwrap();
    let object = &review["request"]["object"];
    let mut changed = object.clone();
    change(&mut changed);
    let patch = serde_json::to_vec(&json_patch::diff(object, &changed)).unwrap();
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "response": {
            "uid": review["request"]["uid"], "allowed": true,
            "patchType": "JSONPatch", "patch": k8s_openapi::ByteString(patch),
        },
    })
    .to_string()
}

fn strip_gate(pod: &mut Value) {
    pod["spec"].as_object_mut().unwrap().remove("schedulingGates");
}

fn strip_label(pod: &mut Value) {
    if let Some(labels) = pod["metadata"]["labels"].as_object_mut() {
        labels.remove("ringfence.dev/held");
    }
}

fn strip_both(pod: &mut Value) {
    strip_gate(pod);
    strip_label(pod);
}

fn a_pod_that_another_webhook_strips_of_gate_or_label_is_refused() {
    let bed = &World::shared().bed;
    let admin = admin(bed);
    let cases: [(&str, Change, &str); 3] = [
        ("strips-gate", strip_gate, "it lacks the scheduling gate ringfence.dev/baseline, which"),
        ("strips-label", strip_label, "it lacks the label ringfence.dev/held=true, which"),
        (
            "strips-both",
            strip_both,
            "it lacks the scheduling gate ringfence.dev/baseline and the label ringfence.dev/held=true, which",
        ),
    ];
    for (name, strip, lacks) in cases {
        pending_namespace(bed, name);
        let interloper = Interloper::start(bed, name, "pods", strip);
        let pods = format!("/api/v1/namespaces/{name}/pods");
        eventually("the interloper is called", || {
            let refused = admin.create(&format!("{pods}?dryRun=All"), &pod("probe"));
            refused.body["message"].as_str().is_some_and(|message| message.contains("NotHeld"))
        });
        let answer = admin.create(&pods, &pod("stripped"));
        assert!(answer.expect_denied("NotHeld").contains(lacks), "{answer:#?}");
        assert_eq!(admin.get(&pods)["items"], json!([]));
        drop(interloper);
    }
}

/// A policy of the API server's own that strips the gate, and insists on it where a webhook puts it back.
fn a_policy_that_mutates_pods_does_not_get_around_the_gate() {
    let bed = &World::shared().bed;
    let admin = admin(bed);
    pending_namespace(bed, "mutated-by-policy");
    let expression = "[JSONPatch{op: 'add', path: '/metadata/annotations', value: {'example.com/mutated': 'true'}}] + \
        (has(object.spec.schedulingGates) ? [JSONPatch{op: 'remove', path: '/spec/schedulingGates'}] : []) + \
        (has(object.metadata.labels) ? [JSONPatch{op: 'remove', path: '/metadata/labels'}] : [])";
    bed.apply(
        &json!({
            "apiVersion": "v1", "kind": "List", "items": [
                {
                    "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
                    "metadata": { "name": "strips" },
                    "spec": {
                        "failurePolicy": "Fail", "reinvocationPolicy": "IfNeeded",
                        "matchConstraints": { "resourceRules": [{
                            "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"],
                        }] },
                        "mutations": [{ "patchType": "JSONPatch", "jsonPatch": { "expression": expression } }],
                    },
                },
                {
                    "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
                    "metadata": { "name": "strips" },
                    "spec": { "policyName": "strips", "matchResources": { "namespaceSelector": {
                        "matchLabels": { "kubernetes.io/metadata.name": "mutated-by-policy" },
                    } } },
                },
            ],
        })
        .to_string(),
    );
    let pods = "/api/v1/namespaces/mutated-by-policy/pods";
    eventually("the policy is in force", || {
        let answer = admin.create(&format!("{pods}?dryRun=All"), &pod("probe"));
        answer.status != 201 || answer.body["metadata"]["annotations"]["example.com/mutated"] == "true"
    });
    // Whoever has the last word: it is held, or it is refused.
    let answer = admin.create(pods, &pod("mutated-by-policy"));
    if answer.status == 201 {
        assert_held(&answer.body);
    } else {
        answer.expect_denied("NotHeld");
    }
    for kind in ["mutatingadmissionpolicybinding", "mutatingadmissionpolicy"] {
        bed.kubectl(&["delete", kind, "strips"]).expect_ok();
    }
}

fn isolate(namespace: &mut Value) {
    namespace["metadata"]["labels"]["ringfence.dev/isolated"] = json!("true");
}

fn strip_isolation(namespace: &mut Value) {
    let labels = namespace["metadata"]["labels"].as_object_mut().unwrap();
    labels.retain(|key, _| !key.starts_with("ringfence.dev/"));
}

fn soften(namespace: &mut Value) {
    namespace["metadata"]["labels"]["ringfence.dev/mode"] = json!("audit");
}

fn a_later_webhook_isolates_no_namespace_and_strips_none() {
    let bed = &World::shared().bed;
    let (owner, admin) = (owner(bed), admin(bed));
    let cases: [(&str, Change, &str, &str); 3] = [
        ("isolates", isolate, "LabelTampered", "LabelTampered"),
        ("strips", strip_isolation, "BaselineMissing", "LabelTampered"),
        ("softens", soften, "NotPermitted", "NotPermitted"),
    ];
    for (verb, change, at_create, at_update) in cases {
        let (new, old) = (format!("later-{verb}-new"), format!("later-{verb}-old"));
        if verb == "isolates" {
            pending_namespace(bed, &old);
        } else {
            isolated_namespace(bed, &old);
        }
        let path = format!("/api/v1/namespaces/{old}");
        let before = admin.get(&path)["metadata"]["labels"].clone();
        for name in [&new, &old] {
            let _interloper = Interloper::start(bed, name, "namespaces", change);
            let touch = json!({ "metadata": { "labels": { "team": "a" } } });
            let attempt = |dry: &str| -> Answer {
                if *name == new {
                    owner.create(&format!("/api/v1/namespaces{dry}"), &namespace(&new))
                } else {
                    owner.patch(&format!("{path}{dry}"), MERGE, &touch)
                }
            };
            eventually("the interloper is called", || attempt("?dryRun=All").status == 403);
            attempt("").expect_denied(if *name == new { at_create } else { at_update });
        }
        assert!(!bed.kubectl(&["get", "namespace", &new]).ok);
        assert_eq!(admin.get(&path)["metadata"]["labels"], before);
    }
}
