//! The contract's replies, read by another implementation of it: kube's types, as a client in Rust would use them.

use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionReview};
use serde_json::{Value, json};

use crate::harness::*;

fn read(reply: &Reply) -> kube::core::admission::AdmissionResponse {
    assert_eq!(reply.status, 200, "{}", reply.text());
    let review: AdmissionReview<DynamicObject> = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(
        (review.types.api_version.as_str(), review.types.kind.as_str()),
        ("admission.k8s.io/v1", "AdmissionReview")
    );
    review.response.unwrap()
}

/// A review as kube writes it, with everything that an API server sends along.
fn full_review(object: &Value) -> Value {
    let kind = json!({ "group": "", "version": "v1", "kind": "Namespace" });
    let resource = namespaces();
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource,
            "name": "team-a", "namespace": "team-a", "operation": "CREATE",
            "userInfo": { "username": "tina", "uid": "1", "groups": ["system:authenticated"], "extra": { "some-key": ["a", "b"] } },
            "object": object, "oldObject": null, "dryRun": false,
            "options": { "kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "kubectl-create" },
        },
    });
    let typed: AdmissionReview<DynamicObject> = serde_json::from_value(review.clone()).unwrap();
    let _: AdmissionRequest<DynamicObject> = typed.try_into().unwrap();
    review
}

#[test]
fn a_mutation_has_patch_and_patch_type_and_a_validation_neither() {
    let server = server();
    let bare =
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "team-a", "creationTimestamp": null } });
    // kube writes a patch in base64 but reads it as a list of numbers, and asks for a status that only a denial has; so
    // these two replies are read by hand.
    let mutated = server.post("/mutate", &full_review(&bare)).response();
    assert_eq!(mutated["uid"], "705ab4f5-6393-11e8-b7cc-42010a800002");
    assert_eq!(mutated["patchType"], "JSONPatch");
    let patch = patch_of(&mutated).unwrap();
    assert_eq!(patch.0.len(), 1, "one operation makes the map that is not there");

    let validated = server.post("/validate", &full_review(&adopted("team-a")));
    assert_eq!(validated.response()["allowed"], true);
    for field in ["patch", "patchType", "status"] {
        assert!(validated.json()["response"].get(field).is_none(), "{field}");
    }
}

#[test]
fn a_denial_has_a_code_of_at_least_400_a_message_and_audit_annotations_without_a_slash() {
    let server = server();
    let bare = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "team-a" } });
    let reply = server.post("/validate", &full_review(&bare));
    let denied = read(&reply);
    assert!(!denied.allowed);
    assert!(denied.result.code >= 400);
    assert!(denied.result.message.starts_with("BaselineMissing: "));
    let annotations = reply.json()["response"]["auditAnnotations"].as_object().unwrap().clone();
    assert_eq!(annotations["reason"], "BaselineMissing");
    assert!(annotations.keys().all(|key| !key.contains('/')));
}

#[test]
fn nothing_is_ever_patched_on_delete() {
    let server = server();
    let old = json!({ "metadata": { "name": "team-a" } });
    for (resource, name) in [(namespaces(), "team-a"), (pods(), "web")] {
        let request = json!({ "operation": "DELETE", "name": name, "namespace": "team-a", "resource": resource, "object": null, "oldObject": old });
        let response = server.ask("/mutate", &request);
        assert_eq!((&response["allowed"], response.get("patch")), (&json!(true), None));
    }
}
