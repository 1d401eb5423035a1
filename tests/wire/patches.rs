//! Case 18: every patch that comes over the wire applies to the object that was sent, and gives what was meant.

use std::cell::RefCell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};

use crate::harness::*;

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("ringfence.dev/profile".to_owned()),
        Just("ringfence.dev/mode".to_owned()),
        Just("ringfence.dev/isolated".to_owned()),
        Just("ringfence.dev/held".to_owned()),
        "[a-z~/0-9.]{1,12}",
        Just("a~0b~1c/d".to_owned()),
        Just(String::new()),
    ]
}

fn map() -> impl Strategy<Value = Value> {
    let value = prop_oneof![3 => "[a-z]{0,8}".prop_map(Value::from), 1 => Just(Value::Null)];
    prop::collection::vec((key(), value), 0..5)
        .prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>()))
}

/// Absent, null, empty or full.
fn maybe(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Option<Value>> {
    prop_oneof![1 => Just(None), 1 => Just(Some(Value::Null)), 4 => inner.prop_map(Some)]
}

fn object(spec: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    let metadata = (maybe(map()), maybe(map())).prop_map(|(labels, annotations)| {
        let mut metadata = json!({ "name": "n" });
        for (key, value) in [("labels", labels), ("annotations", annotations)] {
            if let Some(value) = value {
                metadata[key] = value;
            }
        }
        metadata
    });
    (maybe(metadata), spec).prop_map(|(metadata, spec)| {
        let mut object = json!({ "spec": spec });
        if let Some(metadata) = metadata {
            object["metadata"] = metadata;
        }
        object
    })
}

fn pod_spec() -> impl Strategy<Value = Value> {
    let gate = prop_oneof![Just("ringfence.dev/baseline"), Just("other.example/gate")];
    let gates = prop::collection::vec(gate.prop_map(|name| json!({ "name": name })), 0..3).prop_map(Value::Array);
    maybe(gates).prop_map(|gates| match gates {
        Some(gates) => json!({ "schedulingGates": gates, "containers": [] }),
        None => json!({ "containers": [] }),
    })
}

/// Labels and spec survive, and only what was meant is new.
fn check(connection: &RefCell<Connection>, resource: &Value, object: &Value) -> Result<(), TestCaseError> {
    let request =
        |object: &Value| review(&json!({ "name": "n", "namespace": "n", "resource": resource, "object": object }));
    let response = connection.borrow_mut().post("/mutate", &request(object)).response();
    prop_assert_eq!(&response["allowed"], true);
    let mut patched = object.clone();
    if let Some(patch) = patch_of(&response) {
        prop_assert!(json_patch::patch(&mut patched, &patch).is_ok(), "{:?} does not apply to {}", patch, object);
    }
    let empty = Map::new();
    let before = object["metadata"]["labels"].as_object().unwrap_or(&empty);
    let after = patched["metadata"]["labels"].as_object().unwrap_or(&empty);
    for (key, value) in before {
        if key != "ringfence.dev/isolated" && key != "ringfence.dev/held" {
            prop_assert_eq!(after.get(key), Some(value), "{}", key);
        }
    }
    if resource["resource"] == "pods" {
        prop_assert_eq!(&after["ringfence.dev/held"], "true");
        let ours = |gate: &&Value| gate["name"] == "ringfence.dev/baseline";
        let gates = |object: &Value| object["spec"]["schedulingGates"].as_array().cloned().unwrap_or_default();
        prop_assert!(gates(&patched).iter().any(|gate| ours(&gate)));
        let others = |object: &Value| gates(object).iter().filter(|gate| !ours(gate)).count();
        prop_assert_eq!(others(&patched), others(object));
    } else {
        prop_assert!(after.contains_key("ringfence.dev/profile") && after.contains_key("ringfence.dev/mode"));
        prop_assert!(!after.contains_key("ringfence.dev/isolated"));
    }
    prop_assert_eq!(&patched["metadata"]["annotations"], &object["metadata"]["annotations"]);
    // And a second call has nothing left to do.
    let again = connection.borrow_mut().post("/mutate", &request(&patched)).response();
    prop_assert!(patch_of(&again).is_none(), "{}", again);
    Ok(())
}

#[test]
fn case_18_every_patch_applies_to_the_generated_object_it_was_made_for() {
    let server = server();
    let connection = RefCell::new(server.connect());
    let mut runner = TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
    let namespaces_objects = object(Just(json!({})));
    runner.run(&namespaces_objects, |object| check(&connection, &namespaces(), &object)).unwrap();
    runner.run(&object(pod_spec()), |object| check(&connection, &pods(), &object)).unwrap();
}

#[test]
fn case_18_labels_that_an_update_strips_are_put_back_whatever_is_left() {
    let server = server();
    let old = json!({ "metadata": { "name": "n", "labels": {
        "ringfence.dev/profile": "strict", "ringfence.dev/mode": "warn", "ringfence.dev/isolated": "true", "a~b/c": "d",
    } } });
    for new in [
        json!({ "metadata": { "name": "n" } }),
        json!({ "metadata": { "name": "n", "labels": null } }),
        json!({ "metadata": { "name": "n", "labels": {} } }),
        json!({ "metadata": { "name": "n", "labels": { "x~1y": "z" } } }),
    ] {
        let request = json!({ "operation": "UPDATE", "name": "n", "namespace": "n", "object": new, "oldObject": old });
        let response = server.ask("/mutate", &request);
        let mut patched = new.clone();
        json_patch::patch(&mut patched, &patch_of(&response).unwrap()).unwrap();
        for key in ["ringfence.dev/profile", "ringfence.dev/mode", "ringfence.dev/isolated"] {
            assert_eq!(patched["metadata"]["labels"][key], old["metadata"]["labels"][key], "{new}");
        }
        assert!(!response["warnings"].as_array().unwrap().is_empty());
    }
}
