//! JSON as an object that `/mutate` is asked about: the patch applied to it gives what was meant, and nothing else.
//!
//! One value is an object that is created, a Pod where its `kind` says so and a Namespace otherwise. A list of two is a
//! Namespace as it is stored and as an update would have it.

use ringfence_core::admission::review::Request;
use ringfence_core::admission::{Decision, Outcome, Webhook};
use serde_json::{Map, Value, json};

use super::review::pending;

const PROFILE: &str = "ringfence.dev/profile";
const MODE: &str = "ringfence.dev/mode";
const ISOLATED: &str = "ringfence.dev/isolated";
const HELD: &str = "ringfence.dev/held";
const GATE: &str = "ringfence.dev/baseline";

struct Review {
    operation: &'static str,
    resource: &'static str,
    old: Value,
}

impl Review {
    fn outcome(&self, webhook: Webhook, object: &Value) -> Outcome {
        let body = serde_json::to_vec(&json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "u", "name": "team-a", "namespace": "team-a", "operation": self.operation,
                "resource": { "group": "", "version": "v1", "resource": self.resource },
                "userInfo": { "username": "jane" }, "object": object, "oldObject": self.old,
            },
        }))
        .unwrap();
        // Nothing but too deep an object can be wrong with it.
        match Request::parse(&body) {
            Ok(request) => pending().outcome(webhook, &request),
            Err(error) => Outcome::Failed(ringfence_core::admission::Failure::BadReview(error.to_string())),
        }
    }

    fn mutated(&self, object: &Value) -> Option<Decision> {
        match self.outcome(Webhook::Mutate, object) {
            Outcome::Decided(decision) => Some(decision),
            _ => None,
        }
    }
}

/// A map under a key; made where there is none, or null.
fn map<'a>(object: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    let place = &mut object[key];
    if place.is_null() {
        *place = json!({});
    }
    place.as_object_mut().expect("what is no map is refused")
}

fn label<'a>(object: &'a Value, key: &str) -> Option<&'a Value> {
    object["metadata"]["labels"].get(key)
}

fn set_label(object: &mut Value, key: &str, value: Value) {
    map(object, "metadata");
    map(&mut object["metadata"], "labels").insert(key.to_owned(), value);
}

/// What `/mutate` means a new namespace to be.
fn labelled(object: &Value) -> Value {
    let mut meant = object.clone();
    for (key, default) in [(PROFILE, "standard"), (MODE, "enforce")] {
        if label(object, key).is_none() {
            set_label(&mut meant, key, json!(default));
        }
    }
    if label(object, ISOLATED).is_some() {
        meant["metadata"]["labels"].as_object_mut().unwrap().remove(ISOLATED);
    }
    meant
}

/// What `/mutate` means an updated namespace to be: stripped labels are put back, unless the user gives it up.
fn restored(old: &Value, object: &Value) -> Value {
    let mut meant = object.clone();
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return meant;
    }
    let stripped = |key: &str| label(old, key).is_some() && label(object, key).is_none();
    let enforced = label(old, MODE).is_none_or(|mode| mode == "enforce");
    // In the world that this runs in, the user may.
    if !enforced && stripped(PROFILE) && stripped(MODE) && label(old, ISOLATED).is_none() {
        return meant;
    }
    for key in [PROFILE, MODE, ISOLATED] {
        if stripped(key) {
            // A null label is an empty one.
            let value = label(old, key).filter(|value| !value.is_null()).cloned();
            set_label(&mut meant, key, value.unwrap_or_else(|| json!("")));
        }
    }
    meant
}

/// What `/mutate` means a new pod to be.
fn held(object: &Value) -> Value {
    let mut meant = object.clone();
    if object["spec"]["nodeName"].as_str().is_some_and(|name| !name.is_empty()) {
        return meant;
    }
    let gates = object["spec"]["schedulingGates"].as_array();
    if !gates.is_some_and(|gates| gates.iter().any(|gate| gate["name"] == GATE)) {
        let gates = gates.into_iter().flatten().cloned().chain([json!({ "name": GATE })]).collect();
        map(&mut meant, "spec").insert("schedulingGates".to_owned(), gates);
    }
    if label(object, HELD).is_none_or(|value| value != "true") {
        set_label(&mut meant, HELD, json!("true"));
    }
    meant
}

fn patched(object: &Value, decision: &Decision) -> Value {
    // As the API server gets it, and by the library that it is not written with.
    let patch: json_patch::Patch = serde_json::from_value(serde_json::to_value(&decision.patch).unwrap()).unwrap();
    let mut object = object.clone();
    json_patch::patch(&mut object, &patch).unwrap_or_else(|error| panic!("{error}: {patch:?} on {object}"));
    object
}

fn check(review: &Review, object: &Value, meant: impl Fn(&Value) -> Value) {
    let Some(decision) = review.mutated(object) else { return };
    let (result, meant) = (patched(object, &decision), meant(object));
    assert_eq!(result, meant, "{object}");
    assert_eq!(decision.patch.is_empty(), result == *object, "no patch where nothing changes: {object}");
    // Reinvocation.
    let again = review.mutated(&result).expect("what is patched can still be read");
    assert!(again.patch.is_empty() && again.warnings.is_empty(), "{again:?}");
    match review.outcome(Webhook::Validate, &result) {
        Outcome::Decided(validated) => {
            let placed = !object["spec"]["nodeName"].is_null();
            let held = review.resource == "pods" && !placed;
            let labels_of_ours = review.operation == "CREATE"
                && review.resource == "namespaces"
                && [PROFILE, MODE].iter().all(|key| label(object, key).is_none());
            assert!(validated.allowed || !(held || labels_of_ours), "{validated:?}");
        }
        other => assert!(review.operation == "UPDATE", "{other:?}"),
    }
}

/// JSON as an object or two.
pub fn run(data: &[u8]) {
    match serde_json::from_slice::<Value>(data) {
        Ok(Value::Array(items)) if items.len() == 2 => {
            let review = Review { operation: "UPDATE", resource: "namespaces", old: items[0].clone() };
            check(&review, &items[1], |object| restored(&items[0], object));
        }
        Ok(object) if object["kind"] == "Pod" => {
            check(&Review { operation: "CREATE", resource: "pods", old: Value::Null }, &object, held);
        }
        Ok(object) => {
            check(&Review { operation: "CREATE", resource: "namespaces", old: Value::Null }, &object, labelled);
        }
        Err(_) => {}
    }
}
