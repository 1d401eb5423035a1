//! What a mode makes of a denial, and what it never softens.

use ringfence_core::admission::permission::{Answer, Use};
use ringfence_core::admission::{AUDIT_WOULD_DENY, Decision, Reason};
use ringfence_core::vocabulary::Mode;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    PAST, Review, SOON, World, allow_all_ingress, creates, deletes, deny_all, isolated, managed, pending, policy,
    review,
};

fn wide() -> Review {
    creates(&policy("wide", &allow_all_ingress()))
}

fn drops_the_baseline() -> Review {
    deletes(&managed("default-deny-all", &deny_all()))
}

fn host_pod() -> Review {
    review("CREATE", "v1/pods").object(&json!({ "metadata": { "name": "p" }, "spec": { "hostNetwork": true } }))
}

fn vendor() -> Review {
    review("CREATE", "cilium.io/v2/ciliumnetworkpolicies").named("c").object(&json!({}))
}

fn strict_about_everything(world: World) -> World {
    world.configured(&json!({ "hostNetwork": "deny", "vendorPolicies": "deny" }))
}

#[rstest]
#[case::a_hole(wide(), "BaselineWeakened")]
#[case::a_managed_policy(drops_the_baseline(), "ManagedPolicy")]
#[case::a_pod_on_the_host_network(host_pod(), "HostNetwork")]
#[case::a_vendors_policy(vendor(), "VendorPolicy")]
fn a_denial_is_kept_warned_of_noted_or_dropped(#[case] review: Review, #[case] reason: &str) {
    let denied = strict_about_everything(isolated()).validate(&review).refused(reason, &[]);
    let in_mode = |mode: &str| strict_about_everything(isolated().in_mode(mode)).validate(&review);
    let warned = in_mode("warn").passes(reason).warns(&["would be denied in mode enforce:", reason]);
    assert_eq!(warned.would_deny, None);
    let noted = in_mode("audit").passes(reason);
    assert_eq!((noted.would_deny, noted.warnings), (Some(denied.message), vec![]));
    in_mode("exempt").passes_silently("Exempt");
}

#[test]
fn so_is_a_denial_of_a_gap() {
    let review = deletes(&policy("mine", &deny_all()));
    pending().validate(&review).refused("BaselineWeakened", &[]);
    pending().in_mode("warn").validate(&review).passes("BaselineWeakened").warns(&["would isolate"]);
    let noted = pending().in_mode("audit").validate(&review).passes("BaselineWeakened");
    assert!(noted.would_deny.is_some_and(|text| text.contains("would isolate")));
    pending().in_mode("exempt").validate(&review).passes_silently("Exempt");
}

#[rstest]
#[case::the_past(json!("migration"), json!(PAST))]
#[case::no_end(json!("migration"), json!(null))]
#[case::a_malformed_end(json!("migration"), json!("soon"))]
#[case::no_reason(json!(null), json!(SOON))]
#[case::a_blank_reason(json!(" "), json!(SOON))]
fn an_exemption_that_is_not_in_force_is_enforce(#[case] reason: Value, #[case] until: Value) {
    let labels = json!({ "ringfence.dev/profile": "standard", "ringfence.dev/mode": "exempt" });
    let annotations = json!({ "ringfence.dev/exempt-reason": reason, "ringfence.dev/exempt-until": until });
    let world = isolated().labelled(&labels, &annotations);
    world.validate(&wide()).refused("BaselineWeakened", &[]);
    world.validate(&drops_the_baseline()).refused("ManagedPolicy", &[]);
    let pod = review("CREATE", "v1/pods").object(&json!({ "metadata": {}, "spec": {} }));
    let world = pending().labelled(&labels, &annotations);
    world.mutate(&pod).passes("Held");
    world.validate(&pod).refused("NotHeld", &[]);
}

#[test]
fn a_mode_that_is_stored_and_does_not_exist_is_enforce() {
    let labels = json!({ "ringfence.dev/profile": "standard", "ringfence.dev/mode": "nonsense" });
    isolated().labelled(&labels, &json!({})).validate(&wide()).refused("BaselineWeakened", &[]);
}

/// Denials about the labels themselves are the same in every mode.
#[rstest]
#[case::unknown_profile(json!({ "ringfence.dev/profile": "nonsense" }), "ProfileUnknown")]
#[case::bad_mode(json!({ "ringfence.dev/mode": "nonsense" }), "ModeInvalid")]
#[case::tampering(json!({ "ringfence.dev/isolated": "true" }), "LabelTampered")]
#[case::permission(json!({ "ringfence.dev/profile": "strict" }), "NotPermitted")]
fn no_mode_softens_a_denial_about_the_labels(
    #[case] changes: Value,
    #[case] reason: &str,
    #[values("enforce", "warn", "audit", "exempt")] mode: &str,
) {
    let labels = json!({ "ringfence.dev/profile": "standard", "ringfence.dev/mode": mode });
    let annotations = json!({ "ringfence.dev/exempt-reason": "migration", "ringfence.dev/exempt-until": SOON });
    let old = json!({ "metadata": { "name": "team-a", "labels": labels, "annotations": annotations } });
    let mut new = old.clone();
    for (key, value) in changes.as_object().unwrap() {
        new["metadata"]["labels"][key] = value.clone();
    }
    let world = pending().in_mode(mode).answering(Use::Profile("strict".to_owned()), Answer::Denied);
    let update = review("UPDATE", "v1/namespaces").named("team-a").old(&old).object(&new);
    world.validate(&update).refused(reason, &[]);
    let status = review("UPDATE", "v1/namespaces/status").named("team-a").old(&old).object(&new);
    world.validate(&status).refused("LabelTampered", &[]);
}

#[test]
fn a_mode_makes_nothing_of_what_is_allowed() {
    for mode in Mode::ALL {
        let decision = Decision::allow(Reason::Allowed).warn("something");
        assert_eq!(decision.clone().in_mode(mode), decision);
    }
    let noted = Decision::deny(Reason::NotHeld, "because").in_mode(Mode::Audit);
    assert_eq!(noted.audit.get(AUDIT_WOULD_DENY).map(String::as_str), Some("NotHeld: because"));
}
