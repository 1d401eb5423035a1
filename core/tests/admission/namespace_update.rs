//! Namespace, UPDATE, `status` and `finalize`: only what changed is judged.

use ringfence_core::admission::permission::{Answer, Use};
use ringfence_core::admission::{Failure, Outcome, Webhook};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{PAST, Review, SOON, TEAM, TOO_FAR, exempt, labels, namespace, review, standard, world};

fn updates(old: &Value, new: &Value) -> Review {
    review("UPDATE", "v1/namespaces").named(TEAM).old(old).object(new)
}

fn with_labels(changes: &Value) -> Value {
    namespace(TEAM, &labels(changes))
}

fn isolated() -> Value {
    with_labels(&json!({ "ringfence.dev/isolated": "true" }))
}

fn bare() -> Value {
    namespace(TEAM, &json!({}))
}

#[rstest]
#[case::all(json!({ "metadata": { "name": TEAM } }), 3)]
#[case::all_but_others(namespace(TEAM, &json!({ "owner": "jane" })), 3)]
#[case::isolated(with_labels(&json!({})), 1)]
#[case::the_mode(with_labels(&json!({ "ringfence.dev/mode": null, "ringfence.dev/isolated": "true" })), 1)]
fn stripped_isolation_labels_are_put_back_with_a_warning(#[case] new: Value, #[case] warnings: usize) {
    let review = updates(&isolated(), &new);
    let reply = world().mutate(&review).passes("LabelsInjected").warns(&["was put back"]);
    assert_eq!(reply.warnings.len(), warnings, "{:?}", reply.warnings);
    let mut patched = new;
    json_patch::patch(&mut patched, &serde_json::from_value::<json_patch::Patch>(reply.patch.unwrap()).unwrap())
        .unwrap();
    world().mutate(&updates(&isolated(), &patched)).passes_silently("Allowed");
    world().validate(&updates(&isolated(), &patched)).passes_silently("Allowed");
}

#[rstest]
#[case::enforced("enforce", false, true, true, false)]
#[case::warned_of("warn", false, true, true, true)]
#[case::audited("audit", false, true, true, true)]
#[case::still_isolated("warn", true, true, true, false)]
#[case::by_one_who_may_use_no_mode("warn", false, true, false, false)]
#[case::by_one_who_may_use_no_profile("warn", false, false, true, false)]
fn a_namespace_is_un_adopted_by_stripping_both_labels_once_it_is_not_enforced_any_more(
    #[case] mode: &str,
    #[case] is_isolated: bool,
    #[case] may_profile: bool,
    #[case] may_mode: bool,
    #[case] stays_stripped: bool,
) {
    let isolated = is_isolated.then_some("true");
    let old = with_labels(&json!({ "ringfence.dev/mode": mode, "ringfence.dev/isolated": isolated }));
    let answer = |may| if may { Answer::Allowed } else { Answer::Denied };
    let world = world()
        .answering(Use::Profile("none".to_owned()), answer(may_profile))
        .answering(Use::Mode("none".to_owned()), answer(may_mode));
    let review = updates(&old, &bare());
    let reason = if stays_stripped { "Allowed" } else { "LabelsInjected" };
    let reply = world.mutate(&review).passes(reason);
    assert_eq!(reply.patch.is_none(), stays_stripped, "{reply:?}");
    assert_eq!(world.validate(&review).allowed, may_profile && may_mode && !is_isolated);
    // One of the two labels alone is a slip.
    let half = namespace(TEAM, &json!({ "ringfence.dev/profile": "standard" }));
    assert!(world.mutate(&updates(&old, &half)).passes("LabelsInjected").patch.is_some());
}

#[test]
fn a_namespace_that_never_had_the_labels_is_not_touched() {
    let new = namespace(TEAM, &json!({ "owner": "jane" }));
    world().mutate(&updates(&bare(), &new)).passes_silently("Allowed");
}

#[test]
fn the_controller_may_strip_what_it_wrote() {
    let review = updates(&isolated(), &with_labels(&json!({}))).by_controller();
    world().mutate(&review).passes_silently("Allowed");
    world().validate(&review).passes_silently("Allowed");
}

#[test]
fn a_terminating_namespace_is_not_patched_and_may_lose_a_finalizer() {
    let mut old = bare();
    old["metadata"]["deletionTimestamp"] = json!(PAST);
    old["metadata"]["finalizers"] = json!(["example.com/cleanup"]);
    let mut new = old.clone();
    new["metadata"]["finalizers"] = json!([]);
    let world = world().configured(&json!({ "existing": "reject" }));
    world.mutate(&updates(&old, &new)).passes_silently("Allowed");
    world.validate(&updates(&old, &new)).passes_silently("Allowed");
}

#[test]
fn labels_are_not_put_back_on_a_terminating_namespace() {
    let mut new = bare();
    new["metadata"]["deletionTimestamp"] = json!(PAST);
    world().mutate(&updates(&isolated(), &new)).passes_silently("Allowed");
}

#[rstest]
#[case::added(with_labels(&json!({})), isolated())]
#[case::removed(isolated(), with_labels(&json!({})))]
#[case::changed(isolated(), with_labels(&json!({ "ringfence.dev/isolated": "false" })))]
#[case::emptied(isolated(), with_labels(&json!({ "ringfence.dev/isolated": "" })))]
#[case::added_to_one_that_is_not_adopted(bare(), namespace(TEAM, &json!({ "ringfence.dev/isolated": "true" })))]
fn isolated_is_the_controllers_alone(#[case] old: Value, #[case] new: Value) {
    let says = ["ringfence.dev/isolated", "it follows from the policies", "leave it as it is"];
    world().validate(&updates(&old, &new)).refused("LabelTampered", &says);
    world().validate(&updates(&old, &new).by_controller()).passes_silently("Allowed");
}

#[rstest]
#[case::another_profile(json!({ "ringfence.dev/profile": "strict" }), Use::Profile("strict".to_owned()))]
#[case::another_mode(json!({ "ringfence.dev/mode": "warn" }), Use::Mode("warn".to_owned()))]
#[case::no_profile(json!({ "ringfence.dev/profile": null }), Use::Profile("none".to_owned()))]
#[case::no_mode(json!({ "ringfence.dev/mode": null }), Use::Mode("none".to_owned()))]
fn a_deviation_needs_permission(#[case] changes: Value, #[case] asked: Use) {
    needs_permission(&updates(&with_labels(&json!({})), &with_labels(&changes)), asked);
}

#[rstest]
#[case::strict("strict")]
#[case::deny_all("deny-all")]
fn leaving_a_stricter_profile_for_the_default_needs_permission(#[case] profile: &str) {
    let strict = with_labels(&json!({ "ringfence.dev/profile": profile }));
    needs_permission(&updates(&strict, &with_labels(&json!({}))), Use::Profile("standard".to_owned()));
}

#[test]
fn leaving_a_stricter_mode_for_the_default_needs_permission() {
    let review = updates(&with_labels(&json!({})), &with_labels(&json!({ "ringfence.dev/mode": "audit" })));
    let world = || world().configured(&json!({ "defaultMode": "audit" }));
    assert_eq!(world().asks(&review), Use::Mode("audit".to_owned()));
    let back = updates(
        &with_labels(&json!({ "ringfence.dev/mode": "exempt" })),
        &with_labels(&json!({ "ringfence.dev/mode": "audit" })),
    );
    world().validate(&back).passes_silently("Allowed");
}

fn needs_permission(review: &Review, asked: Use) {
    assert_eq!(world().asks(review), asked);
    world().answering(asked.clone(), Answer::Allowed).validate(review).passes_silently("Allowed");
    let named = format!("the verb \"use\" on {asked}");
    world()
        .answering(asked.clone(), Answer::Denied)
        .validate(review)
        .refused("NotPermitted", &["open to the cluster", &named]);
    let failure = world().answering(asked, Answer::Unknown("timed out".to_owned())).fails(review);
    assert!(matches!(failure, Failure::Unknown(why) if why.contains("timed out")));
}

#[rstest]
#[case::profile(json!({ "ringfence.dev/profile": "gone" }))]
#[case::mode(json!({ "ringfence.dev/mode": "audit" }))]
fn going_back_to_the_default_needs_none(#[case] changes: Value) {
    world().validate(&updates(&with_labels(&changes), &with_labels(&json!({})))).passes_silently("Allowed");
}

#[rstest]
#[case::profile(json!({ "ringfence.dev/profile": "nonsense" }), "ProfileUnknown")]
#[case::mode(json!({ "ringfence.dev/mode": "nonsense" }), "ModeInvalid")]
fn a_changed_label_must_name_something(#[case] changes: Value, #[case] reason: &str) {
    world().validate(&updates(&with_labels(&json!({})), &with_labels(&changes))).refused(reason, &["choose"]);
    // What was there before is not judged again.
    let mut new = with_labels(&changes);
    new["metadata"]["labels"]["owner"] = json!("jane");
    world().validate(&updates(&with_labels(&changes), &new)).passes_silently("Allowed");
}

#[test]
fn a_namespace_can_be_adopted_with_the_defaults_by_whoever_may_label_it() {
    world().validate(&updates(&bare(), &with_labels(&json!({})))).passes_silently("Allowed");
}

#[rstest]
#[case(json!({ "ringfence.dev/profile": "standard" }))]
#[case(json!({ "ringfence.dev/mode": "enforce" }))]
fn half_an_adoption_is_refused(#[case] half: Value) {
    world().validate(&updates(&bare(), &namespace(TEAM, &half))).refused("BaselineMissing", &["lacks the label"]);
}

#[test]
fn existing_says_what_an_update_without_labels_gets() {
    let review = updates(&bare(), &namespace(TEAM, &json!({ "owner": "jane" })));
    let existing = |what: &str| world().configured(&json!({ "existing": what })).validate(&review);
    existing("ignore").passes_silently("NotAdopted");
    let reply = existing("warn").passes("NotAdopted").warns(&["ringfence adopt team-a", "no deny-all"]);
    assert_eq!(world().validate(&review), reply, "warn is the default");
    existing("reject").refused("BaselineMissing", &["is refused", "whole cluster", "ringfence adopt team-a"]);
}

#[rstest]
#[case::added(with_labels(&json!({})), with_annotations("enforce", Some("migration"), Some(SOON)))]
#[case::only_an_end(with_labels(&json!({})), with_annotations("enforce", None, Some(SOON)))]
#[case::extended(exemption("migration", "2026-06-15T00:00:00Z"), exemption("migration", SOON))]
#[case::revived(exemption("migration", PAST), exemption("migration", SOON))]
#[case::another_reason(exemption("migration", SOON), exemption("other", SOON))]
#[case::the_end_removed(
    with_annotations("enforce", Some("migration"), Some(SOON)),
    with_annotations("enforce", Some("migration"), None)
)]
fn changing_an_exemption_needs_permission(#[case] old: Value, #[case] new: Value) {
    let asked = Use::Mode("exempt".to_owned());
    assert_eq!(world().asks(&updates(&old, &new)), asked);
    world().answering(asked.clone(), Answer::Allowed).validate(&updates(&old, &new)).passes_silently("Allowed");
    let says = ["adding, extending or changing an exemption", "modes.ringfence.dev/exempt"];
    world().answering(asked, Answer::Denied).validate(&updates(&old, &new)).refused("NotPermitted", &says);
}

fn exemption(reason: &str, until: &str) -> Value {
    with_annotations("exempt", Some(reason), Some(until))
}

fn with_annotations(mode: &str, reason: Option<&str>, until: Option<&str>) -> Value {
    let mut object = exempt(&json!(reason), &json!(until));
    object["metadata"]["labels"]["ringfence.dev/mode"] = json!(mode);
    object
}

#[rstest]
#[case::shortened(exemption("migration", SOON), exemption("migration", "2026-06-15T00:00:00Z"))]
#[case::ended(exemption("migration", SOON), with_labels(&json!({})))]
#[case::ended_by_the_mode_alone(
    exemption("migration", SOON),
    with_annotations("enforce", Some("migration"), Some(SOON))
)]
#[case::cleared_away(with_annotations("enforce", Some("migration"), Some(PAST)), with_labels(&json!({})))]
fn ending_an_exemption_needs_none(#[case] old: Value, #[case] new: Value) {
    world().validate(&updates(&old, &new)).passes_silently("Allowed");
}

#[rstest]
#[case::without_a_reason(None, Some(SOON), "no reason is given")]
#[case::without_an_end(Some("migration"), None, "no end is given")]
#[case::with_an_end_that_is_no_time(Some("migration"), Some("soon"), "RFC 3339")]
#[case::with_an_end_in_the_past(Some("migration"), Some(PAST), "is in the past")]
#[case::longer_than_the_longest(Some("migration"), Some(TOO_FAR), "90d")]
fn what_is_wrong_with_an_exemption_is_refused_even_to_who_may(
    #[case] reason: Option<&str>,
    #[case] until: Option<&str>,
    #[case] why: &str,
    #[values(with_labels(&json!({})), exemption("migration", SOON))] old: Value,
) {
    let world = world().answering(Use::Mode("exempt".to_owned()), Answer::Allowed);
    let new = with_annotations("exempt", reason, until);
    world.validate(&updates(&old, &new)).refused("ExemptionInvalid", &[why, "whole cluster"]);
}

#[test]
fn an_exemption_that_is_over_does_not_stand_in_the_way_of_an_unrelated_edit() {
    let old = exemption("migration", PAST);
    let mut new = old.clone();
    new["metadata"]["labels"]["owner"] = json!("jane");
    world().validate(&updates(&old, &new)).passes_silently("Allowed");
}

#[rstest]
#[case::null(json!(null))]
#[case::empty(json!(""))]
#[case::another(json!("kube-systematic"))]
fn the_namespace_is_the_one_that_is_stored_whatever_the_requests_name(#[case] name: Value) {
    let review = updates(&bare(), &namespace(TEAM, &json!({ "owner": "jane" }))).set("/name", name.clone());
    world().validate(&review).passes("NotAdopted").warns(&["ringfence adopt team-a"]);
    let excluded = namespace("kube-system", &json!({ "ringfence.dev/isolated": "true" }));
    let review = updates(&namespace("kube-system", &json!({})), &excluded).set("/name", name);
    world().validate(&review).passes_silently("Excluded");
    world().mutate(&review).passes_silently("Excluded");
}

#[rstest]
#[case::isolated(isolated())]
#[case::mode(with_labels(&json!({ "ringfence.dev/mode": "warn" })))]
#[case::removal(bare())]
#[case::a_label_of_ours_that_means_nothing(with_labels(&json!({ "ringfence.dev/whatever": "x" })))]
#[case::an_annotation(with_annotations("enforce", Some("because"), None))]
fn labels_do_not_change_through_a_subresource(
    #[case] new: Value,
    #[values("v1/namespaces/status", "v1/namespaces/finalize")] what: &str,
) {
    let review = review("UPDATE", what).named(TEAM).old(&with_labels(&json!({}))).object(&new);
    let says = ["is refused", "isolation", "change it on the namespace itself", "\"team-a\""];
    world().validate(&review).refused("LabelTampered", &says);
    world().validate(&review.clone().set("/name", json!(null))).refused("LabelTampered", &says);
    world().validate(&review.by_controller()).passes_silently("Allowed");
}

#[test]
fn other_changes_pass_through_a_subresource() {
    let mut new = with_labels(&json!({ "owner": "jane" }));
    new["spec"] = json!({ "finalizers": [] });
    let review = review("UPDATE", "v1/namespaces/finalize").named(TEAM).old(&with_labels(&json!({}))).object(&new);
    world().validate(&review).passes_silently("Allowed");
    world().mutate(&review).passes_silently("NotOurs");
}

#[test]
fn a_subresource_of_an_excluded_namespace_is_left_alone() {
    let (old, new) = (namespace("kube-system", &json!({})), namespace("kube-system", &standard()));
    let review = review("UPDATE", "v1/namespaces/status").named("kube-system").old(&old).object(&new);
    world().validate(&review).passes_silently("Excluded");
}

#[test]
fn a_label_given_twice_is_an_error_and_no_verdict() {
    let body = format!(
        r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"u-1","operation":"CREATE",
        "name":"{TEAM}","resource":{{"group":"","version":"v1","resource":"namespaces"}},"object":{{"metadata":{{"labels":
        {{"ringfence.dev/mode":"enforce","ringfence.dev\/mode":"warn","ringfence.dev/profile":"standard"}}}}}}}}}}"#
    );
    let outcome = world().outcome_of(Webhook::Validate, body.as_bytes());
    assert!(
        matches!(&outcome, Outcome::Failed(Failure::BadReview(why)) if why.contains("duplicate key")),
        "{outcome:?}"
    );
}
