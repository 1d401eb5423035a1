//! An exception for one policy: a reason, an end, and the permission to `use` it.

use ringfence_core::admission::Failure;
use ringfence_core::admission::permission::{Answer, Use};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    PAST, SOON, TEAM, TOO_FAR, World, allow_all_ingress, creates, deny_all, excepted, isolated, managed, may, narrow,
    pending, policy, updates, world,
};

fn wide() -> Value {
    policy("wide", &allow_all_ingress())
}

fn excused() -> Value {
    excepted(&wide(), &json!("legacy clients"), &json!(SOON))
}

fn asked() -> Use {
    Use::Exception { namespace: TEAM.to_owned(), name: "wide".to_owned() }
}

fn permitted(world: World) -> World {
    let (asked, answer) = may(asked());
    world.answering(asked, answer)
}

#[test]
fn it_turns_the_denial_into_a_warning_where_the_user_may() {
    assert_eq!(isolated().asks(&creates(&excused())), asked());
    let says = ["accepted as an exception", "ingress ALL"];
    permitted(isolated()).validate(&creates(&excused())).passes("Allowed").warns(&says);
    let says = ["with an exception is refused", "exceptions.ringfence.dev/wide", "leave the annotations out"];
    let refused = isolated().answering(asked(), Answer::Denied);
    refused.validate(&creates(&excused())).refused("NotPermitted", &says);
    let unknown = isolated().answering(asked(), Answer::Unknown("no answer".to_owned()));
    assert!(matches!(unknown.fails(&creates(&excused())), Failure::Unknown(why) if why.contains("no answer")));
}

#[rstest]
#[case::without_a_reason(json!(null), json!(SOON), "ringfence.dev/exception-reason: no reason is given")]
#[case::without_an_end(json!("legacy"), json!(null), "ringfence.dev/exception-until: no end is given")]
#[case::with_an_end_that_is_no_time(json!("legacy"), json!("later"), "RFC 3339")]
#[case::with_an_end_in_the_past(json!("legacy"), json!(PAST), "is in the past")]
#[case::longer_than_the_longest(json!("legacy"), json!(TOO_FAR), "90d")]
fn one_that_is_not_valid_is_refused(#[case] reason: Value, #[case] until: Value, #[case] why: &str) {
    let review = creates(&excepted(&wide(), &reason, &until));
    let says = [why, "is refused", "accepts what the policy opens"];
    permitted(isolated()).validate(&review).refused("ExceptionInvalid", &says);
}

#[rstest]
#[case::exempt(pending().in_mode("exempt"))]
#[case::not_adopted_yet(world().namespace(TEAM, &json!({ "metadata": {} })))]
#[case::warned(pending().in_mode("warn"))]
#[case::audited(pending().in_mode("audit"))]
fn one_can_not_be_planted_where_nothing_is_enforced(#[case] world: World) {
    assert_eq!(world.asks(&creates(&excused())), asked());
    let world = world.answering(asked(), Answer::Denied);
    world.validate(&creates(&excused())).refused("NotPermitted", &[]);
    world.validate(&updates(&wide(), &excused())).refused("NotPermitted", &[]);
    // Not behind another denial that the mode softens either.
    let marked = excepted(&managed("wide", &allow_all_ingress()), &json!("legacy"), &json!(SOON));
    world.validate(&creates(&marked)).refused("NotPermitted", &[]);
}

#[rstest]
#[case::exempt(pending().in_mode("exempt"), "Exempt")]
#[case::not_adopted_yet(world().namespace(TEAM, &json!({ "metadata": {} })), "NotAdopted")]
fn one_that_is_permitted_changes_nothing_where_nothing_is_enforced(#[case] world: World, #[case] reason: &str) {
    permitted(world).validate(&creates(&excused())).passes_silently(reason);
}

#[test]
fn it_covers_no_more_than_was_permitted() {
    let old = excepted(&policy("wide", &narrow()), &json!("legacy clients"), &json!(SOON));
    let world = isolated().policy(&old);
    assert_eq!(world.asks(&updates(&old, &excused())), asked());
    let longer = excepted(&policy("wide", &narrow()), &json!("legacy clients"), &json!("2026-08-01T00:00:00Z"));
    assert_eq!(world.asks(&updates(&old, &longer)), asked());
    let other = excepted(&policy("wide", &narrow()), &json!("because"), &json!(SOON));
    assert_eq!(world.asks(&updates(&old, &other)), asked());
}

#[test]
fn an_edit_that_leaves_it_as_it_is_asks_nothing() {
    let mut new = excused();
    new["metadata"]["labels"] = json!({ "team": "a" });
    isolated().policy(&excused()).validate(&updates(&excused(), &new)).passes_silently("Allowed");
}

#[test]
fn one_that_is_over_stands_in_the_way_of_no_repair() {
    let old = excepted(&wide(), &json!("legacy"), &json!(PAST));
    let new = excepted(&policy("wide", &narrow()), &json!("legacy"), &json!(PAST));
    isolated().policy(&old).validate(&updates(&old, &new)).passes_silently("Allowed");
}

#[test]
fn one_that_is_over_excuses_nothing() {
    let old = excepted(&policy("wide", &narrow()), &json!("legacy"), &json!(PAST));
    let new = excepted(&wide(), &json!("legacy"), &json!(PAST));
    isolated().policy(&old).validate(&updates(&old, &new)).refused("BaselineWeakened", &["ingress ALL"]);
}

#[test]
fn taking_it_away_opens_what_it_excused() {
    let world = isolated().policy(&excused());
    world.validate(&updates(&excused(), &wide())).refused("BaselineWeakened", &["ingress ALL"]);
    world.validate(&updates(&excused(), &policy("wide", &narrow()))).passes_silently("Allowed");
}

#[test]
fn it_excuses_no_gap() {
    let old = policy("wide", &deny_all());
    let new = excepted(&policy("wide", &narrow()), &json!("legacy"), &json!(SOON));
    let says = ["would isolate"];
    permitted(pending().policy(&old)).validate(&updates(&old, &new)).refused("BaselineWeakened", &says);
}

#[test]
fn it_excuses_no_other_policy() {
    let world = isolated().policy(&excused());
    world.validate(&creates(&policy("second", &allow_all_ingress()))).refused("BaselineWeakened", &["\"second\""]);
}

#[test]
fn a_generated_name_asks_for_every_exception() {
    let mut object = excused();
    object["metadata"]["name"] = json!(null);
    let asked = Use::Exception { namespace: TEAM.to_owned(), name: String::new() };
    assert_eq!(isolated().asks(&creates(&object)), asked);
}

#[test]
fn the_controller_and_excluded_namespaces_are_asked_nothing() {
    isolated().validate(&creates(&excused()).by_controller()).passes_silently("Allowed");
    isolated().validate(&creates(&excused()).in_namespace("kube-system")).passes_silently("Excluded");
}
