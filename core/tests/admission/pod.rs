//! Pods: held until the baseline is effective, and lifted by the controller alone.

use ringfence_core::admission::Failure;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Review, TEAM, isolated, pending, policy, review, world};

const GATE: &str = "ringfence.dev/baseline";
const HELD: &str = "ringfence.dev/held";

fn creates(object: &Value) -> Review {
    review("CREATE", "v1/pods").object(object)
}

fn pod() -> Value {
    json!({ "metadata": { "name": "web" }, "spec": { "containers": null } })
}

fn held() -> Value {
    json!({
        "metadata": { "name": "web", "labels": { HELD: "true" } },
        "spec": { "schedulingGates": [{ "name": GATE }] },
    })
}

fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[key] = value;
    object
}

#[test]
fn a_pod_of_a_namespace_that_is_not_isolated_yet_gets_gate_and_label() {
    let reply = pending().mutate(&creates(&pod())).passes("Held");
    assert_eq!(
        reply.patch,
        Some(json!([
            { "op": "add", "path": "/spec/schedulingGates", "value": [{ "name": GATE }] },
            { "op": "add", "path": "/metadata/labels", "value": { HELD: "true" } },
        ]))
    );
    pending().validate(&creates(&held())).passes_silently("Allowed");
}

#[test]
fn gates_of_others_stay() {
    let object = with(pod(), "/spec/schedulingGates", json!([{ "name": "example.com/other" }]));
    let reply = pending().mutate(&creates(&object));
    assert_eq!(reply.patch.unwrap()[0]["path"], "/spec/schedulingGates/-");
}

#[rstest]
#[case::nothing(pod(), "the scheduling gate ringfence.dev/baseline and the label ringfence.dev/held=true")]
#[case::only_the_label(with(held(), "/spec/schedulingGates", json!([])), "it lacks the scheduling gate")]
#[case::only_the_gate(with(held(), "/metadata/labels", json!({})), "it lacks the label")]
#[case::another_value_of_the_label(with(held(), "/metadata/labels", json!({ HELD: "false" })), "it lacks the label")]
#[case::another_gate(with(held(), "/spec/schedulingGates", json!([{ "name": "example.com/other" }])), "the scheduling gate")]
fn a_pod_that_lost_gate_or_label_is_refused_with_what_it_lacks(#[case] object: Value, #[case] lacks: &str) {
    let says = [lacks, "is not effective yet", "have other mutating webhooks leave them alone"];
    pending().validate(&creates(&object)).refused("NotHeld", &says);
}

#[test]
fn in_a_namespace_that_is_effective_already_either_is_accepted() {
    isolated().validate(&creates(&pod())).passes_silently("Allowed");
    isolated().validate(&creates(&held())).passes_silently("Allowed");
    // /mutate does not rely on its own view: replicas and API servers learn at different times.
    isolated().mutate(&creates(&pod())).passes("Held");
}

/// The controller finds held pods by their label.
#[test]
fn a_gate_without_the_label_is_refused_also_where_the_namespace_is_effective() {
    let mut object = held();
    object["metadata"]["labels"] = json!({});
    isolated().validate(&creates(&object)).refused("NotHeld", &["would never be scheduled", "leave the label alone"]);
}

#[test]
fn an_unknown_namespace_is_taken_for_an_enforced_one() {
    world().mutate(&creates(&pod())).passes("Held");
    world().validate(&creates(&pod())).refused("NotHeld", &[]);
}

#[test]
fn policies_that_are_not_effective_isolate_nothing() {
    let ingress_only = json!({ "podSelector": {}, "policyTypes": ["Ingress"] });
    pending().policy(&policy("half", &ingress_only)).validate(&creates(&pod())).refused("NotHeld", &[]);
}

#[test]
fn a_pod_with_a_node_name_is_not_patched_but_told_why_it_is_refused() {
    let object = with(pod(), "/spec/nodeName", json!("node-1"));
    pending().mutate(&creates(&object)).passes_silently("Allowed");
    let says = ["spec.nodeName places it on a node at once", "leave nodeName out"];
    pending().validate(&creates(&object)).refused("NotHeld", &says);
    isolated().validate(&creates(&object)).passes_silently("Allowed");
}

#[rstest]
#[case::the_kubelets(true, true, true)]
#[case::with_a_forged_annotation(true, false, false)]
#[case::of_a_node_without_annotation(false, true, false)]
fn mirror_pods_pass_with_annotation_and_group(#[case] annotated: bool, #[case] node: bool, #[case] passes: bool) {
    let mut object = with(pod(), "/spec/nodeName", json!("node-1"));
    if annotated {
        object["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": "abc" });
    }
    let group = if node { "system:nodes" } else { "system:authenticated" };
    let review = creates(&object).by("system:node:node-1").in_group(group);
    let deny_host_network = pending().configured(&json!({ "hostNetwork": "deny" }));
    assert_eq!(deny_host_network.validate(&review).allowed, passes);
    let review = creates(&with(object, "/spec/hostNetwork", json!(true))).in_group(group);
    assert_eq!(deny_host_network.validate(&review).allowed, passes);
    let reject = pending().configured(&json!({ "pods": "reject" }));
    assert_eq!(reject.validate(&review).allowed, passes);
}

#[test]
fn rejecting_is_a_choice() {
    let reject = |world: crate::support::World| world.configured(&json!({ "pods": "reject" }));
    reject(pending()).mutate(&creates(&pod())).passes_silently("Allowed");
    let says = ["is refused", "is not effective yet", "try again in a moment"];
    reject(pending()).validate(&creates(&pod())).refused("BaselineMissing", &says);
    reject(pending()).validate(&creates(&held())).refused("BaselineMissing", &says);
    reject(isolated()).validate(&creates(&pod())).passes_silently("Allowed");
}

#[rstest]
#[case::warn("warn", "Allowed")]
#[case::audit("audit", "Allowed")]
#[case::exempt("exempt", "Exempt")]
fn nothing_is_held_outside_of_enforce(#[case] mode: &str, #[case] reason: &str) {
    pending().in_mode(mode).mutate(&creates(&pod())).passes_silently("Allowed");
    pending().in_mode(mode).validate(&creates(&pod())).passes_silently(reason);
}

#[test]
fn namespaces_that_are_not_adopted_or_excluded_are_left_alone() {
    let bare = world().namespace(TEAM, &json!({ "metadata": {} }));
    bare.mutate(&creates(&pod())).passes_silently("Allowed");
    bare.validate(&creates(&pod())).passes_silently("NotAdopted");
    let system = creates(&pod()).in_namespace("kube-system");
    world().mutate(&system).passes_silently("Excluded");
    world().validate(&system).passes_silently("Excluded");
}

#[rstest]
fn host_network_is_warned_of_denied_or_allowed(#[values(true, false)] is_isolated: bool) {
    let object = with(held(), "/spec/hostNetwork", json!(true));
    let treated = |how: &str| {
        let world = if is_isolated { isolated() } else { pending() };
        world.configured(&json!({ "hostNetwork": how })).validate(&creates(&object))
    };
    treated("warn").passes("HostNetwork").warns(&["uses its node's network (spec.hostNetwork)"]);
    treated("deny").refused("HostNetwork", &["is refused", "do not hold it back", "leave hostNetwork out"]);
    treated("allow").passes_silently("Allowed");
}

#[test]
fn a_pod_on_the_host_network_is_held_like_any_other() {
    let object = with(pod(), "/spec/hostNetwork", json!(true));
    pending().mutate(&creates(&object)).passes("Held");
    pending().validate(&creates(&object)).refused("NotHeld", &[]);
}

#[rstest]
#[case::the_gate(with(held(), "/spec/schedulingGates", json!([])), "removing the scheduling gate")]
#[case::all_gates(with(held(), "/spec/schedulingGates", json!(null)), "removing the scheduling gate")]
#[case::the_label(with(held(), "/metadata/labels", json!({})), "removing the label ringfence.dev/held")]
#[case::the_labels_value(with(held(), "/metadata/labels", json!({ HELD: "no" })), "removing the label")]
#[case::both(pod(), "removing the scheduling gate")]
fn only_the_controller_lifts_a_pod(
    #[case] new: Value,
    #[case] what: &str,
    #[values("v1/pods", "v1/pods/status")] resource: &str,
    #[values(json!("web"), json!(""), json!(null))] name: Value,
) {
    let review = review("UPDATE", resource).set("/name", name).old(&held()).object(&new);
    let says =
        [what, "pod \"web\"", "before its namespace's deny-all baseline is effective", "the moment the baseline is"];
    pending().validate(&review).refused("NotHeld", &says);
    pending().validate(&review.by_controller()).passes_silently("Allowed");
}

#[rstest]
#[case::the_job_controllers_finalizer(held(), with(held(), "/metadata/finalizers", json!([])))]
#[case::another_gate(
    with(held(), "/spec/schedulingGates", json!([{ "name": "x.io/y" }, { "name": GATE }])),
    held()
)]
#[case::a_status(held(), with(held(), "/status", json!({ "phase": "Failed" })))]
#[case::a_pod_that_was_never_held(pod(), with(pod(), "/metadata/labels", json!({ "a": "b" })))]
#[case::a_label_without_a_gate(with(pod(), "/metadata/labels", json!({ HELD: "true" })), pod())]
#[case::a_label_that_was_missing(with(held(), "/metadata/labels", json!({})), held())]
fn other_changes_of_pods_pass(
    #[case] old: Value,
    #[case] new: Value,
    #[values("v1/pods", "v1/pods/status")] resource: &str,
) {
    pending().validate(&review("UPDATE", resource).named("web").old(&old).object(&new)).passes_silently("Allowed");
}

#[test]
fn deleting_a_held_pod_is_never_refused() {
    pending().validate(&review("DELETE", "v1/pods").old(&held())).passes_silently("NotOurs");
    pending().mutate(&review("DELETE", "v1/pods").old(&held())).passes_silently("NotOurs");
    pending().mutate(&review("UPDATE", "v1/pods").old(&held()).object(&held())).passes_silently("NotOurs");
}

#[test]
fn pods_in_another_version_of_the_api_are_an_error_and_no_verdict() {
    let failure = pending().fails(&review("CREATE", "v2/pods").object(&pod()));
    assert!(matches!(failure, Failure::BadReview(why) if why.contains("\"v2\"")));
    assert!(matches!(pending().fails(&review("CREATE", "v1/pods")), Failure::BadReview(_)));
}
