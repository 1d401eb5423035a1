//! The review itself: what is refused before anything is decided, and sizes that must not matter.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use ringfence_core::admission::review::{Operation, Request, ReviewError};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{TEAM, allow_all_ingress, creates, isolated, namespace, pending, policy, review, standard, world};

#[rstest]
#[case::nothing("")]
#[case::not_json("{")]
#[case::truncated(r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u"#)]
#[case::a_list("[]")]
#[case::no_version("{}")]
#[case::v1beta1(
    r#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{"uid":"u","operation":"CREATE"}}"#
)]
#[case::another_kind(r#"{"apiVersion":"admission.k8s.io/v1","kind":"Pod","request":{"uid":"u","operation":"CREATE"}}"#)]
#[case::no_request(r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#)]
#[case::null_request(r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":null}"#)]
#[case::no_uid(r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"operation":"CREATE"}}"#)]
#[case::empty_uid(
    r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"","operation":"CREATE"}}"#
)]
#[case::no_operation(r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u"}}"#)]
#[case::unknown_operation(
    r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","operation":"PATCH"}}"#
)]
#[case::a_key_twice(r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","uid":"v","operation":"CREATE"}}"#)]
#[case::more_behind_it(
    r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","operation":"CREATE"}}{}"#
)]
fn what_is_no_review_is_refused_before_anything_is_decided(#[case] body: &str) {
    assert!(Request::parse(body.as_bytes()).is_err());
}

#[test]
fn invalid_utf8_and_deep_nesting_are_refused() {
    let mut body = review("CREATE", "v1/pods").body();
    body.push(0xff);
    assert!(matches!(Request::parse(&body), Err(ReviewError::Encoding(_))));
    let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert!(matches!(Request::parse(deep.as_bytes()), Err(ReviewError::TooDeep)));
    // Brackets inside of strings nest nothing.
    let text =
        review("CREATE", "v1/pods").object(&json!({ "metadata": { "annotations": { "a": "\\\"[{".repeat(1000) } } }));
    assert!(Request::parse(&text.body()).is_ok());
}

#[test]
fn unknown_fields_and_nil_lists_are_taken_as_go_writes_them() {
    let review = review("CREATE", "v1/pods")
        .set("/options", json!({ "kind": "CreateOptions" }))
        .set("/userInfo", json!({ "username": "jane", "groups": null, "extra": { "a": null, "b": ["c"] }, "new": 1 }));
    let body = review.body();
    let request = Request::parse(&body).unwrap();
    assert_eq!(request.operation, Operation::Create);
    assert_eq!(request.user_info.extra["a"], Vec::<String>::new());
    assert_eq!(request.user_info.extra["b"], ["c"]);
    assert!(request.user_info.groups.is_empty());
}

#[rstest]
#[case::a_namespace(review("CREATE", "v1/namespaces").named("a").in_namespace("a"), "a")]
#[case::a_namespace_with_a_generated_name(review("CREATE", "v1/namespaces").in_namespace(""), "")]
#[case::its_status(review("UPDATE", "v1/namespaces/status").named("a").in_namespace("a"), "a")]
#[case::a_pod(review("CREATE", "v1/pods").named("p"), TEAM)]
fn the_namespace_concerned_is_the_object_or_the_one_it_is_in(
    #[case] review: crate::support::Review,
    #[case] expected: &str,
) {
    assert_eq!(Request::parse(&review.body()).unwrap().namespace_concerned(), expected);
}

/// What is linear in these sizes takes seconds, on a loaded machine tens of them; what is quadratic takes many minutes.
#[allow(clippy::disallowed_methods, reason = "the test's clock, not the core's")]
fn quickly<T>(what: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let made = what();
    assert!(start.elapsed() < Duration::from_secs(180), "{:?}", start.elapsed());
    made
}

fn many_labels(count: usize) -> Value {
    let labels: serde_json::Map<String, Value> =
        (0..count).map(|i| (format!("example.com/l{i}"), json!("v"))).collect();
    Value::Object(labels)
}

#[test]
fn a_hundred_thousand_labels_take_linear_time() {
    let mut labels = many_labels(100_000);
    for (key, value) in standard().as_object().unwrap() {
        labels[key] = value.clone();
    }
    let object = namespace(TEAM, &labels);
    let create = review("CREATE", "v1/namespaces").named(TEAM).object(&object);
    let update = review("UPDATE", "v1/namespaces").named(TEAM).old(&object).object(&object);
    let status = review("UPDATE", "v1/namespaces/status").named(TEAM).old(&object).object(&object);
    let pod = review("CREATE", "v1/pods").object(&json!({ "metadata": { "labels": labels }, "spec": {} }));
    quickly(|| {
        world().validate(&create).passes_silently("Allowed");
        world().validate(&update).passes_silently("Allowed");
        world().validate(&status).passes_silently("Allowed");
        pending().mutate(&pod).passes("Held");
    });
}

#[test]
fn a_hundred_thousand_labels_of_our_own_prefix_take_linear_time() {
    let labels: serde_json::Map<String, Value> =
        (0..100_000).map(|i| (format!("ringfence.dev/l{i}"), json!("v"))).collect();
    let old = namespace(TEAM, &Value::Object(labels.clone()));
    let mut labels = labels;
    labels.insert("ringfence.dev/l99999".to_owned(), json!("w"));
    let status =
        review("UPDATE", "v1/namespaces/status").named(TEAM).old(&old).object(&namespace(TEAM, &json!(labels)));
    quickly(|| world().validate(&status).refused("LabelTampered", &["ringfence.dev/l99999"]));
}

#[test]
fn owners_finalizers_and_gates_in_their_thousands_take_linear_time() {
    let owners =
        |from: usize| -> Vec<Value> { (from..from + 20_000).map(|i| json!({ "uid": i.to_string() })).collect() };
    let spec = json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] });
    let mut old = crate::support::managed("default-deny-all", &spec);
    old["metadata"]["ownerReferences"] = json!(owners(0));
    let mut new = old.clone();
    new["metadata"]["ownerReferences"] = json!(owners(1));
    let update = crate::support::updates(&old, &new);
    let gates: Vec<Value> = (0..100_000).map(|i| json!({ "name": format!("example.com/g{i}") })).collect();
    let pod = review("CREATE", "v1/pods").object(&json!({ "metadata": {}, "spec": { "schedulingGates": gates } }));
    quickly(|| {
        isolated().validate(&update).refused("ManagedPolicy", &["garbage collector"]);
        pending().mutate(&pod).passes("Held");
    });
}

#[test]
fn many_policies_are_judged_in_bounded_time() {
    let mut world = isolated();
    for i in 0..2000 {
        let spec = json!({
            "podSelector": { "matchLabels": { "app": format!("a{i}") } },
            "policyTypes": ["Ingress"],
            "ingress": [{ "from": [{ "podSelector": { "matchLabels": { "app": format!("b{i}") } } }] }],
        });
        world = world.policy(&policy(&format!("p{i}"), &spec));
    }
    world.config.limits.policies_per_namespace = 10_000;
    let wide = creates(&policy("wide", &allow_all_ingress()));
    let narrow = creates(&policy("narrow", &crate::support::narrow()));
    quickly(|| {
        world.validate(&wide).refused("BaselineWeakened", &[]);
        assert!(world.validate(&narrow).allowed);
    });
}

#[test]
fn control_characters_reach_neither_message_nor_warning() {
    let hostile = "x\n\u{1b}[31mFORGED\r\u{2028}y";
    let object = namespace(TEAM, &crate::support::labels(&json!({ "ringfence.dev/profile": hostile })));
    let reply = world().validate(&review("CREATE", "v1/namespaces").named(TEAM).object(&object));
    assert!(!reply.message.contains(|c: char| c.is_control() || c == '\u{2028}'), "{:?}", reply.message);
    let mut text = String::new();
    write!(text, "{:?}", isolated().validate(&review("CREATE", "cilium.io/v2/ciliumnetworkpolicies").named(hostile)))
        .unwrap();
    assert!(!text.contains('\u{1b}'));
}
