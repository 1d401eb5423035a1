//! Every patch applies to the object it was made for, changes nothing the second time, and is what `/validate` wants.

use proptest::prelude::*;
use ringfence_core::admission::permission::{Answer, Use};
use serde_json::{Map, Value, json};

use crate::support::{Reply, Review, TEAM, pending, review, world};

/// Keys that need escaping in a JSON pointer, keys of Ringfence's own, and others.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("ringfence.dev/profile".to_owned()),
        Just("ringfence.dev/mode".to_owned()),
        Just("ringfence.dev/isolated".to_owned()),
        Just("ringfence.dev/held".to_owned()),
        Just("app.kubernetes.io/managed-by".to_owned()),
        "[a-z~/\"\\\\.]{0,6}",
        "\\PC{0,4}",
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!("standard")),
        Just(json!("enforce")),
        Just(json!("true")),
        Just(json!(null)),
        "[a-z~/\"]{0,4}".prop_map(Value::from)
    ]
}

/// A map of labels, an empty one, null, or none at all.
fn labels() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        1 => Just(None),
        1 => Just(Some(Value::Null)),
        4 => proptest::collection::btree_map(key(), value(), 0..6)
            .prop_map(|map| Some(Value::Object(map.into_iter().collect::<Map<_, _>>()))),
    ]
}

/// Metadata with labels, null, or none at all.
fn metadata() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        1 => Just(None),
        1 => Just(Some(Value::Null)),
        8 => labels().prop_map(|labels| {
            let mut metadata = json!({ "name": TEAM, "annotations": { "a~b/c": "d" } });
            if let Some(labels) = labels {
                metadata["labels"] = labels;
            }
            Some(metadata)
        }),
    ]
}

fn namespace() -> impl Strategy<Value = Value> {
    metadata().prop_map(|metadata| {
        let mut object = json!({ "kind": "Namespace" });
        if let Some(metadata) = metadata {
            object["metadata"] = metadata;
        }
        object
    })
}

fn gates() -> impl Strategy<Value = Option<Value>> {
    let gate = prop_oneof![Just("ringfence.dev/baseline"), Just("example.com/other"), Just("")]
        .prop_map(|name| json!({ "name": name }));
    prop_oneof![
        Just(None),
        Just(Some(Value::Null)),
        proptest::collection::vec(gate, 0..3).prop_map(|gates| Some(Value::Array(gates)))
    ]
}

fn spec() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        1 => Just(None),
        1 => Just(Some(Value::Null)),
        8 => (gates(), any::<bool>()).prop_map(|(gates, host)| {
            let mut spec = json!({ "containers": null, "hostNetwork": host });
            if let Some(gates) = gates {
                spec["schedulingGates"] = gates;
            }
            Some(spec)
        }),
    ]
}

fn pod() -> impl Strategy<Value = Value> {
    (metadata(), spec()).prop_map(|(metadata, spec)| {
        let mut object = json!({ "kind": "Pod" });
        for (key, part) in [("metadata", metadata), ("spec", spec)] {
            if let Some(part) = part {
                object[key] = part;
            }
        }
        object
    })
}

fn applied(object: &Value, reply: &Reply) -> Value {
    let mut object = object.clone();
    if let Some(patch) = &reply.patch {
        let patch: json_patch::Patch = serde_json::from_value(patch.clone()).unwrap();
        json_patch::patch(&mut object, &patch).unwrap();
    }
    object
}

/// What is not Ringfence's stays as it was.
fn others(object: &Value) -> Vec<(String, Value)> {
    let labels = object["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    labels.into_iter().filter(|(key, _)| !key.starts_with("ringfence.dev/")).collect()
}

fn creates(what: &str, object: &Value) -> Review {
    review("CREATE", what).named(TEAM).object(object)
}

proptest! {
    #[test]
    fn a_new_namespaces_patch_applies_once_and_is_what_validation_wants(object in namespace()) {
        let reply = world().mutate(&creates("v1/namespaces", &object));
        let patched = applied(&object, &reply);
        prop_assert_eq!(others(&patched), others(&object));
        let again = world().mutate(&creates("v1/namespaces", &patched));
        prop_assert_eq!((again.patch, again.warnings), (None, vec![]));
        let labels = &patched["metadata"]["labels"];
        prop_assert!(labels.get("ringfence.dev/isolated").is_none());
        // Whatever was given is judged; what was not given never is what is wrong.
        let given = |key: &str| object["metadata"]["labels"].get(key).is_some();
        if !given("ringfence.dev/profile") && !given("ringfence.dev/mode") {
            world().validate(&creates("v1/namespaces", &patched)).passes_silently("Allowed");
        }
    }

    #[test]
    fn an_updated_namespaces_patch_applies_once_and_leaves_nothing_stripped(old in namespace(), new in namespace()) {
        let updates = |new: &Value| review("UPDATE", "v1/namespaces").named(TEAM).old(&old).object(new);
        // Who may not un-adopt.
        let world = || world().answering(Use::Profile("none".to_owned()), Answer::Denied);
        let reply = world().mutate(&updates(&new));
        let patched = applied(&new, &reply);
        prop_assert_eq!(others(&patched), others(&new));
        let again = world().mutate(&updates(&patched));
        prop_assert_eq!((again.patch, again.warnings), (None, vec![]));
        for key in ["ringfence.dev/profile", "ringfence.dev/mode", "ringfence.dev/isolated"] {
            prop_assert!(old["metadata"]["labels"].get(key).is_none() || patched["metadata"]["labels"].get(key).is_some());
        }
    }

    #[test]
    fn a_new_pods_patch_applies_once_and_holds_it(object in pod()) {
        let reply = pending().mutate(&creates("v1/pods", &object));
        let patched = applied(&object, &reply);
        prop_assert_eq!(others(&patched), others(&object));
        prop_assert_eq!(pending().mutate(&creates("v1/pods", &patched)).patch, None);
        prop_assert!(pending().validate(&creates("v1/pods", &patched)).allowed);
        let gates = patched["spec"]["schedulingGates"].as_array().unwrap();
        let before = object["spec"]["schedulingGates"].as_array().cloned().unwrap_or_default();
        prop_assert!(gates.starts_with(&before));
        prop_assert_eq!(patched["metadata"]["labels"]["ringfence.dev/held"].as_str(), Some("true"));
        // And from then on nobody lifts it.
        let lifted = review("UPDATE", "v1/pods").old(&patched).object(&json!({ "metadata": {}, "spec": {} }));
        prop_assert!(!pending().validate(&lifted).allowed);
    }
}
