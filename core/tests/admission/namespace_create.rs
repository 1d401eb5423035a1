//! Namespace, CREATE: labels are injected, and judged whether or not they were.

use ringfence_core::admission::Failure;
use ringfence_core::admission::permission::{Answer, Use};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{PAST, Review, SOON, TEAM, TOO_FAR, exempt, labels, namespace, review, standard, world};

fn creates(object: &Value) -> Review {
    review("CREATE", "v1/namespaces").named(TEAM).object(object)
}

#[rstest]
#[case::no_labels_map(json!({ "metadata": { "name": TEAM } }))]
#[case::null_labels(json!({ "metadata": { "name": TEAM, "labels": null } }))]
#[case::empty_labels(json!({ "metadata": { "name": TEAM, "labels": {} } }))]
#[case::other_labels(json!({ "metadata": { "name": TEAM, "labels": { "a/b~c": "d" } } }))]
#[case::only_a_profile(json!({ "metadata": { "labels": { "ringfence.dev/profile": "standard" } } }))]
#[case::only_a_mode(json!({ "metadata": { "labels": { "ringfence.dev/mode": "enforce" } } }))]
#[case::no_metadata(json!({}))]
fn missing_isolation_labels_are_injected_and_the_result_is_accepted(#[case] object: Value) {
    let reply = world().mutate(&creates(&object)).passes("LabelsInjected");
    let mut patched = object;
    json_patch::patch(&mut patched, &serde_json::from_value::<json_patch::Patch>(reply.patch.unwrap()).unwrap())
        .unwrap();
    assert_eq!(patched["metadata"]["labels"]["ringfence.dev/profile"], "standard");
    assert_eq!(patched["metadata"]["labels"]["ringfence.dev/mode"], "enforce");
    world().mutate(&creates(&patched)).passes_silently("Allowed");
    world().validate(&creates(&patched)).passes_silently("Allowed");
}

#[test]
fn the_configured_defaults_are_injected() {
    let world = world().configured(&json!({ "defaultProfile": "strict", "defaultMode": "warn" }));
    let reply = world.mutate(&creates(&json!({ "metadata": {} })));
    let value = json!({ "ringfence.dev/profile": "strict", "ringfence.dev/mode": "warn" });
    assert_eq!(reply.patch, Some(json!([{ "op": "add", "path": "/metadata/labels", "value": value }])));
}

#[test]
fn given_isolation_labels_are_left_as_they_are_even_wrong_ones() {
    let object = namespace(TEAM, &labels(&json!({ "ringfence.dev/profile": "nonsense" })));
    world().mutate(&creates(&object)).passes_silently("Allowed");
}

#[test]
fn isolated_is_dropped_with_a_warning() {
    let object = namespace(TEAM, &labels(&json!({ "ringfence.dev/isolated": "true" })));
    let reply = world().mutate(&creates(&object)).passes("Allowed").warns(&["ringfence.dev/isolated was dropped"]);
    assert_eq!(reply.patch, Some(json!([{ "op": "remove", "path": "/metadata/labels/ringfence.dev~1isolated" }])));
}

#[rstest]
#[case::a_user("jane")]
#[case::the_controller(ringfence_core::vocabulary::EMBEDDED_CONTROLLER)]
fn any_isolated_is_rejected_whoever_sets_it(#[case] user: &str, #[values("true", "false", "")] value: &str) {
    let object = namespace(TEAM, &labels(&json!({ "ringfence.dev/isolated": value })));
    let says = ["ringfence.dev/isolated", "before any policy exists", "leave it as it is"];
    world().validate(&creates(&object).by(user)).refused("LabelTampered", &says);
}

#[rstest]
#[case::both(json!({ "ringfence.dev/profile": null, "ringfence.dev/mode": null }), "ringfence.dev/profile and ringfence.dev/mode")]
#[case::the_profile(json!({ "ringfence.dev/profile": null }), "lacks the label ringfence.dev/profile")]
#[case::the_mode(json!({ "ringfence.dev/mode": null }), "lacks the label ringfence.dev/mode")]
fn without_labels_the_mutating_webhook_was_bypassed(#[case] changes: Value, #[case] lacks: &str) {
    let says = [lacks, "whole cluster", "set ringfence.dev/profile=standard and ringfence.dev/mode=enforce"];
    world().validate(&creates(&namespace(TEAM, &labels(&changes)))).refused("BaselineMissing", &says);
}

#[rstest]
#[case::unknown("nonsense")]
#[case::empty("")]
#[case::in_capitals("Standard")]
fn a_profile_that_does_not_exist_is_rejected(#[case] profile: &str) {
    let object = namespace(TEAM, &labels(&json!({ "ringfence.dev/profile": profile })));
    let says = ["no baseline would be applied", "choose one of deny-all, standard, strict"];
    world().validate(&creates(&object)).refused("ProfileUnknown", &says);
}

#[rstest]
#[case::unknown("off")]
#[case::empty("")]
#[case::in_capitals("Enforce")]
fn a_mode_that_does_not_exist_is_rejected(#[case] mode: &str) {
    let object = namespace(TEAM, &labels(&json!({ "ringfence.dev/mode": mode })));
    let says = ["is no mode", "choose enforce, warn, audit or exempt"];
    world().validate(&creates(&object)).refused("ModeInvalid", &says);
}

#[rstest]
#[case::without_a_reason(json!(null), json!(SOON), "no reason is given")]
#[case::with_a_blank_reason(json!("  "), json!(SOON), "no reason is given")]
#[case::without_an_end(json!("migration"), json!(null), "no end is given")]
#[case::with_an_end_that_is_no_time(json!("migration"), json!("tomorrow"), "RFC 3339")]
#[case::with_a_date_only(json!("migration"), json!("2026-07-01"), "RFC 3339")]
#[case::with_an_end_in_the_past(json!("migration"), json!(PAST), "is in the past")]
#[case::with_an_end_right_now(json!("migration"), json!("2026-06-01T00:00:00Z"), "is in the past")]
#[case::longer_than_the_longest(json!("migration"), json!(TOO_FAR), "the longest that is allowed, 90d")]
fn an_exemption_is_rejected(#[case] reason: Value, #[case] until: Value, #[case] why: &str) {
    let world = world().answering(Use::Mode("exempt".to_owned()), Answer::Allowed);
    let says = [why, "open to the whole cluster", "say why in ringfence.dev/exempt-reason"];
    world.validate(&creates(&exempt(&reason, &until))).refused("ExemptionInvalid", &says);
}

#[test]
fn an_exemption_exactly_as_long_as_the_longest_is_accepted() {
    let world = world().answering(Use::Mode("exempt".to_owned()), Answer::Allowed);
    let until = json!("2026-08-30T00:00:00Z");
    world.validate(&creates(&exempt(&json!("migration"), &until))).passes_silently("Allowed");
}

#[rstest]
#[case::a_profile(json!({ "ringfence.dev/profile": "strict" }), Use::Profile("strict".to_owned()), "profiles.ringfence.dev/strict")]
#[case::a_mode(json!({ "ringfence.dev/mode": "audit" }), Use::Mode("audit".to_owned()), "modes.ringfence.dev/audit")]
fn what_is_not_the_default_needs_permission(#[case] changes: Value, #[case] asked: Use, #[case] named: &str) {
    let review = creates(&namespace(TEAM, &labels(&changes)));
    assert_eq!(world().asks(&review), asked);
    world().answering(asked.clone(), Answer::Allowed).validate(&review).passes_silently("Allowed");
    let says = ["which is not the default", "leave the default", named];
    world().answering(asked.clone(), Answer::Denied).validate(&review).refused("NotPermitted", &says);
    let failure = world().answering(asked, Answer::Unknown("connection refused".to_owned())).fails(&review);
    assert!(matches!(failure, Failure::Unknown(why) if why.contains("connection refused")));
}

#[test]
fn an_exemption_needs_permission_for_the_mode() {
    let review = creates(&exempt(&json!("migration"), &json!(SOON)));
    assert_eq!(world().asks(&review), Use::Mode("exempt".to_owned()));
}

#[test]
fn profile_and_mode_are_both_asked_for() {
    let changes = json!({ "ringfence.dev/profile": "strict", "ringfence.dev/mode": "warn" });
    let review = creates(&namespace(TEAM, &labels(&changes)));
    let world = world().answering(Use::Profile("strict".to_owned()), Answer::Allowed);
    assert_eq!(world.asks(&review), Use::Mode("warn".to_owned()));
    world
        .answering(Use::Mode("warn".to_owned()), Answer::Denied)
        .validate(&review)
        .refused("NotPermitted", &["ringfence.dev/mode=warn"]);
}

/// The selector of the mutating webhook can be passed with generateName and a forged `kubernetes.io/metadata.name`.
#[rstest]
#[case::null(json!(null))]
#[case::empty(json!(""))]
fn a_generated_name_with_a_forged_name_label_does_not_count_as_excluded(#[case] name: Value) {
    let forged = json!({ "metadata": {
        "generateName": "kube-system-", "name": name, "labels": { "kubernetes.io/metadata.name": "kube-system" },
    } });
    let review = review("CREATE", "v1/namespaces").in_namespace("").set("/name", name).object(&forged);
    let says = ["with a generated name", "was bypassed"];
    world().validate(&review).refused("BaselineMissing", &says);
    world().mutate(&review).passes("LabelsInjected");
}

#[rstest]
#[case("kube-system")]
#[case("kube-public")]
#[case("kube-node-lease")]
#[case("ringfence-system")]
#[case("calico-system")]
fn excluded_namespaces_are_left_alone(#[case] name: &str) {
    // A name that the configuration excludes takes the permission to exempt: see the tests of races.
    let world = world().configured(&json!({ "excluded": ["calico-system"] }));
    let world = world.answering(Use::Mode("exempt".to_owned()), Answer::Allowed);
    let review = review("CREATE", "v1/namespaces").named(name).in_namespace(name).object(&namespace(name, &json!({})));
    world.mutate(&review).passes_silently("Excluded");
    world.validate(&review).passes_silently("Excluded");
}

#[test]
fn a_name_that_only_begins_like_an_excluded_one_is_judged() {
    let review =
        review("CREATE", "v1/namespaces").named("kube-system-2").object(&namespace("kube-system-2", &json!({})));
    world().validate(&review).refused("BaselineMissing", &[]);
}

#[test]
fn deleting_a_namespace_is_never_refused() {
    let review = review("DELETE", "v1/namespaces").named(TEAM).old(&namespace(TEAM, &standard()));
    world().mutate(&review).passes_silently("NotOurs");
    world().validate(&review).passes_silently("NotOurs");
}

#[test]
fn labels_in_another_version_of_the_api_are_an_error_and_no_verdict() {
    let review = review("CREATE", "v2/namespaces").named(TEAM).object(&namespace(TEAM, &standard()));
    assert!(matches!(world().fails(&review), Failure::BadReview(why) if why.contains("\"v2\"")));
}
