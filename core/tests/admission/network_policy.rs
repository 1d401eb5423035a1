//! NetworkPolicy: the namespace's policies are judged as they would be afterwards.

use ringfence_core::admission::Failure;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    POLICIES, TEAM, World, allow_all_ingress, creates, deletes, deny_all, isolated, managed, narrow, pending, policy,
    review, updates, with_profile, world,
};

const WIDE_EGRESS: &str =
    r#"{"podSelector":{},"policyTypes":["Egress"],"egress":[{"to":[{"ipBlock":{"cidr":"0.0.0.0/0"}}]}]}"#;

fn deny_named(name: &str) -> Value {
    managed(name, &deny_all())
}

fn ingress_from(peer: &Value, pods: &Value) -> Value {
    json!({ "podSelector": pods, "policyTypes": ["Ingress"], "ingress": [{ "from": [peer] }] })
}

#[test]
fn a_narrow_policy_is_created_changed_and_deleted_without_a_word_or_a_question() {
    let (old, mut other) = (policy("db", &narrow()), narrow());
    other["ingress"][0]["ports"][0]["port"] = json!(5433);
    isolated().validate(&creates(&old)).passes_silently("Allowed");
    let world = isolated().policy(&old);
    world.validate(&updates(&old, &policy("db", &other))).passes_silently("Allowed");
    world.validate(&deletes(&old)).passes_silently("Allowed");
    world.mutate(&creates(&old)).passes_silently("NotOurs");
}

#[rstest]
#[case::ingress_all(allow_all_ingress(), "ingress ALL: every pod can be reached from any peer on every port")]
#[case::all_tcp(
    json!({ "podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{ "ports": [{}] }] }),
    "ingress ALL: every pod can be reached from peers that no policy names"
)]
#[case::nearly_the_cluster(
    ingress_from(&json!({ "namespaceSelector": { "matchExpressions": [{ "key": "nope", "operator": "DoesNotExist" }] } }), &json!({})),
    "ingress CLUSTER: every pod can be reached from pods that no policy names"
)]
#[case::nearly_the_world(
    ingress_from(&json!({ "ipBlock": { "cidr": "0.0.0.0/0", "except": ["10.0.0.1/32"] } }), &json!({})),
    "ingress W4: every pod can be reached from more than 99% of IPv4"
)]
#[case::cluster(ingress_from(&json!({ "namespaceSelector": {} }), &json!({})), "ingress CLUSTER")]
#[case::ingress_w4(ingress_from(&json!({ "ipBlock": { "cidr": "0.0.0.0/0" } }), &json!({})), "ingress W4")]
#[case::ingress_w6(ingress_from(&json!({ "ipBlock": { "cidr": "::/0" } }), &json!({})), "ingress W6")]
fn a_hole_of_a_denied_class_is_refused(#[case] spec: Value, #[case] hole: &str) {
    let says = ["creating NetworkPolicy \"wide\"", "is refused: it opens", hole, "name ", "(by \"wide\")"];
    isolated().validate(&creates(&policy("wide", &spec))).refused("BaselineWeakened", &says);
    // The same on a policy that is there already.
    let old = policy("wide", &narrow());
    let world = isolated().policy(&old);
    world.validate(&updates(&old, &policy("wide", &spec))).refused("BaselineWeakened", &["changing", hole]);
    // And again, once it is there, nothing new is opened.
    let old = policy("wide", &spec);
    let mut new = old.clone();
    new["spec"]["ingress"] = json!([{}, {}]);
    if spec["policyTypes"] == json!(["Ingress"]) && hole == "ingress ALL" {
        isolated().policy(&old).validate(&updates(&old, &new)).passes_silently("Allowed");
    }
}

#[rstest]
#[case::some_pods(json!({ "podSelector": { "matchLabels": { "app": "gw" } }, "policyTypes": ["Ingress"], "ingress": [{}] }), "ingress ALL*")]
#[case::egress_w4(serde_json::from_str(WIDE_EGRESS).unwrap(), "egress W4")]
#[case::egress_all(json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": [{}] }), "egress ALL")]
fn a_hole_of_a_class_to_be_warned_of_is_allowed_with_a_warning(#[case] spec: Value, #[case] hole: &str) {
    isolated().validate(&creates(&policy("wide", &spec))).passes("Allowed").warns(&[hole]);
}

#[test]
fn a_few_ports_open_to_anybody_are_allowed_in_silence() {
    let spec = json!({ "podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{ "ports": [{ "port": 443 }] }] });
    isolated().validate(&creates(&policy("web", &spec))).passes_silently("Allowed");
}

#[test]
fn what_a_class_gets_is_the_profiles_to_say() {
    let holes = json!({ "ingress": { "PORTS": "deny", "ALL*": "allow" }, "egress": { "W4": "deny" } });
    let world = isolated().configured(&json!({ "profiles": { "standard": { "holes": holes } } }));
    let some = json!({ "podSelector": { "matchLabels": { "a": "b" } }, "policyTypes": ["Ingress"], "ingress": [{}] });
    world.validate(&creates(&policy("some", &some))).passes_silently("Allowed");
    let egress = serde_json::from_str(WIDE_EGRESS).unwrap();
    world.validate(&creates(&policy("out", &egress))).refused("BaselineWeakened", &["egress W4"]);
    let ports = json!({ "podSelector": {}, "ingress": [{ "ports": [{ "port": 443 }] }] });
    world.validate(&creates(&policy("port", &ports))).refused("BaselineWeakened", &["ingress PORTS", "TCP/443"]);
}

#[test]
fn policies_that_are_harmless_each_are_judged_together() {
    let half = |cidr: &str| ingress_from(&json!({ "ipBlock": { "cidr": cidr } }), &json!({}));
    let world = isolated().policy(&policy("low", &half("2.0.0.0/7")));
    let says = ["ingress W4", "\"high\"", "\"low\""];
    world.validate(&creates(&policy("high", &half("4.0.0.0/7")))).refused("BaselineWeakened", &says);
}

#[test]
fn two_items_that_were_meant_as_one_are_explained() {
    let from = json!([{ "namespaceSelector": {} }, { "podSelector": { "matchLabels": { "app": "web" } } }]);
    let spec = json!({ "podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{ "from": from }] });
    let says = ["ingress CLUSTER", "two items are ORed", "put both selectors in one item"];
    isolated().validate(&creates(&policy("slip", &spec))).refused("BaselineWeakened", &says);
    let mut harmless = spec;
    harmless["ingress"][0]["from"][0] = json!({ "namespaceSelector": { "matchLabels": { "team": "b" } } });
    isolated().validate(&creates(&policy("slip", &harmless))).passes("Allowed").warns(&["ORed", "from[1]"]);
}

/// A namespace whose baseline somebody else keeps: it is effective, and nothing in it is managed.
fn unmanaged() -> World {
    pending().policy(&policy("mine", &deny_all()))
}

#[rstest]
#[case::deleted(None, "deleting")]
#[case::only_ingress(Some(json!({ "podSelector": {}, "policyTypes": ["Ingress"] })), "egress")]
#[case::only_egress(Some(json!({ "podSelector": {}, "policyTypes": ["Egress"] })), "ingress")]
#[case::fewer_pods(Some(narrow()), "ingress")]
fn making_coverage_worse_is_refused(#[case] new: Option<Value>, #[case] says: &str) {
    let old = policy("mine", &deny_all());
    let review = match new {
        Some(spec) => updates(&old, &policy("mine", &spec)),
        None => deletes(&old),
    };
    let fix = "first create a policy that selects every pod";
    unmanaged().validate(&review).refused("BaselineWeakened", &[says, "would isolate", fix, "in the cluster"]);
}

#[test]
fn a_policy_that_others_make_up_for_may_be_deleted() {
    let old = policy("mine", &deny_all());
    unmanaged().policy(&policy("spare", &deny_all())).validate(&deletes(&old)).passes_silently("Allowed");
}

#[test]
fn a_policy_that_is_being_deleted_makes_up_for_nothing() {
    let mut going = policy("spare", &deny_all());
    going["metadata"]["deletionTimestamp"] = json!(crate::support::PAST);
    let old = policy("mine", &deny_all());
    unmanaged().policy(&going).validate(&deletes(&old)).refused("BaselineWeakened", &[]);
}

#[test]
fn clearing_the_finalizer_of_a_policy_that_is_going_is_allowed() {
    let mut old = policy("mine", &deny_all());
    old["metadata"]["deletionTimestamp"] = json!(crate::support::PAST);
    old["metadata"]["finalizers"] = json!(["example.com/x"]);
    let mut new = old.clone();
    new["metadata"]["finalizers"] = json!([]);
    pending().policy(&old).validate(&updates(&old, &new)).passes_silently("Allowed");
}

#[test]
fn what_is_stored_counts_and_not_what_the_index_believes() {
    let narrower = policy("mine", &narrow());
    let says = "for ingress";
    let review = updates(&policy("mine", &deny_all()), &narrower);
    pending().policy(&narrower).validate(&review).refused("BaselineWeakened", &[says]);
}

#[rstest]
#[case::null(json!(null))]
#[case::empty(json!(""))]
#[case::another(json!("spare"))]
fn the_policy_is_the_old_object_whatever_the_requests_name(#[case] name: Value) {
    let old = policy("mine", &deny_all());
    let review = deletes(&old).set("/name", name.clone());
    unmanaged().validate(&review).refused("BaselineWeakened", &["deleting NetworkPolicy \"mine\""]);
    unmanaged().policy(&policy("spare", &deny_all())).validate(&review).passes_silently("Allowed");
    let review = updates(&old, &policy("mine", &narrow())).set("/name", name);
    unmanaged().validate(&review).refused("BaselineWeakened", &["changing NetworkPolicy \"mine\""]);
}

#[test]
fn a_generated_name_is_judged_like_any_other() {
    let object = json!({ "metadata": { "generateName": "wide-" }, "spec": allow_all_ingress() });
    isolated().validate(&creates(&object)).refused("BaselineWeakened", &["ingress ALL"]);
}

#[test]
fn an_empty_spec_is_a_deny_all_for_ingress() {
    pending().validate(&creates(&json!({ "metadata": { "name": "empty" } }))).passes_silently("Allowed");
}

#[rstest]
#[case::deleted(None)]
#[case::the_label_removed(Some(policy("default-deny-all", &deny_all())))]
#[case::the_label_changed(Some({
    let mut object = deny_named("default-deny-all");
    object["metadata"]["labels"]["app.kubernetes.io/managed-by"] = json!("Helm");
    object
}))]
#[case::the_spec_changed(Some(managed("default-deny-all", &allow_all_ingress())))]
#[case::the_spec_tightened(Some(managed("default-deny-all", &narrow())))]
#[case::a_finalizer_added(Some({
    let mut object = deny_named("default-deny-all");
    object["metadata"]["finalizers"] = json!(["example.com/x"]);
    object
}))]
#[case::given_to_an_owner_who_is_gone(Some({
    let mut object = deny_named("default-deny-all");
    object["metadata"]["ownerReferences"] = json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "1" }]);
    object
}))]
fn a_managed_policy_is_the_controllers_alone(#[case] new: Option<Value>) {
    let old = deny_named("default-deny-all");
    let review = match &new {
        Some(new) => updates(&old, new),
        None => deletes(&old),
    };
    let says = ["\"default-deny-all\"", "app.kubernetes.io/managed-by=ringfence", "without the baseline every pod"];
    // Even where another policy would make up for it.
    let world = isolated().policy(&policy("spare", &deny_all()));
    world.validate(&review).refused("ManagedPolicy", &says);
    world.validate(&review.by_controller()).passes_silently("Allowed");
}

#[test]
fn the_refusal_of_a_change_to_a_managed_policy_says_what_is_at_stake_and_what_to_do() {
    let allowing = managed("allow-dns", &narrow());
    let (relied_on, another) = ("relies on what it lets through", "add a policy of another name");
    isolated().validate(&deletes(&allowing)).refused("ManagedPolicy", &[relied_on, another]);
    let other = managed("allow-dns", &deny_all());
    isolated().validate(&updates(&allowing, &other)).refused("ManagedPolicy", &[relied_on, another]);
    let all = deny_named("default-deny-all");
    isolated().validate(&deletes(&all)).refused("ManagedPolicy", &["can reach, everything", another]);
    // The same manifest without the label is what kubectl replace sends.
    let same = updates(&all, &policy("default-deny-all", &deny_all()));
    isolated().validate(&same).refused("ManagedPolicy", &["says what you want", "kubectl replace does not"]);
    let narrower = updates(&all, &policy("default-deny-all", &narrow()));
    isolated().validate(&narrower).refused("ManagedPolicy", &[another]);
}

#[test]
fn the_label_of_a_managed_policy_can_not_be_taken() {
    let says = ["takes the label"];
    isolated().validate(&creates(&managed("other", &narrow()))).refused("ManagedPolicy", &says);
    let old = policy("other", &narrow());
    let review = updates(&old, &managed("other", &narrow()));
    isolated().policy(&old).validate(&review).refused("ManagedPolicy", &["changes the label"]);
    isolated().validate(&creates(&managed("other", &narrow())).by_controller()).passes_silently("Allowed");
}

#[test]
fn rules_that_mean_nothing_yet_are_not_hidden_in_a_managed_policy() {
    let egress = json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": [{ "ports": [{ "port": 53 }] }] });
    let old = managed("allow-dns", &egress);
    let mut new = old.clone();
    new["spec"]["ingress"] = json!([{}]);
    let says = ["adds rules to a baseline"];
    isolated().policy(&old).validate(&updates(&old, &new)).refused("ManagedPolicy", &says);
    isolated().policy(&new).validate(&updates(&new, &old)).refused("ManagedPolicy", &says);
    isolated().policy(&new).validate(&updates(&new, &old).by_controller()).passes_silently("Allowed");
    let mut touched = new.clone();
    touched["metadata"]["labels"]["team"] = json!("a");
    isolated().policy(&new).validate(&updates(&new, &touched)).passes_silently("Allowed");
}

#[test]
fn other_metadata_of_a_managed_policy_may_change_as_a_second_apply_does() {
    let old = deny_named("default-deny-all");
    let mut new = old.clone();
    new["metadata"]["labels"]["team"] = json!("a");
    new["metadata"]["annotations"] = json!({ "kubectl.kubernetes.io/last-applied-configuration": "{}" });
    new["spec"]["policyTypes"] = json!(["Egress", "Ingress"]);
    isolated().validate(&updates(&old, &new)).passes_silently("Allowed");
}

#[test]
fn the_finalizers_of_a_managed_policy_that_is_going_may_be_cleared() {
    let mut old = deny_named("default-deny-all");
    old["metadata"]["deletionTimestamp"] = json!(crate::support::PAST);
    old["metadata"]["finalizers"] = json!(["foregroundDeletion"]);
    let mut new = old.clone();
    new["metadata"]["finalizers"] = json!([]);
    isolated().validate(&updates(&old, &new)).passes_silently("Allowed");
}

#[rstest]
#[case("system:serviceaccount:kube-system:namespace-controller")]
#[case("system:kube-controller-manager")]
fn the_namespace_controller_may_delete_anything_even_what_is_not_understood(#[case] user: &str) {
    let world = isolated().terminating_with(&[true]);
    world.validate(&deletes(&deny_named("default-deny-all")).by(user)).passes_silently("Allowed");
    let stored_long_ago = policy("old", &json!({ "podSelector": { "matchLabels": { "a": "-not valid-" } } }));
    world.validate(&deletes(&stored_long_ago).by(user)).passes_silently("Allowed");
    let review = creates(&policy("wide", &allow_all_ingress())).by(user);
    world.validate(&review).refused("BaselineWeakened", &["ingress ALL"]);
}

#[rstest]
#[case::of_nothing(&[], true)]
#[case::of_pods_that_are_done(&[false, false], true)]
#[case::of_a_pod_with_a_long_grace_period(&[false, true], false)]
fn a_terminating_namespace_is_emptied(#[case] pods: &[bool], #[case] allowed: bool) {
    let reply = isolated().terminating_with(pods).validate(&deletes(&deny_named("default-deny-all")));
    assert_eq!(reply.allowed, allowed, "{reply:?}");
}

#[test]
fn pods_that_are_done_do_not_open_a_namespace_that_stays() {
    let mut world = isolated().terminating_with(&[false]);
    world.index.namespace_mut(TEAM).terminating = false;
    world.validate(&deletes(&deny_named("default-deny-all"))).refused("ManagedPolicy", &[]);
}

#[test]
fn what_the_api_server_would_reject_is_refused_with_the_field() {
    let spec = json!({ "podSelector": {}, "ingress": [{ "from": [{ "ipBlock": { "cidr": "10.0.0.0" } }] }] });
    let reply = isolated().validate(&creates(&policy("bad", &spec)));
    assert_eq!(reply.code, Some(422));
    reply.refused("Invalid", &["spec.ingress[0].from[0].ipBlock.cidr", "write network/length"]);
}

#[test]
fn a_policy_that_is_wrong_in_ten_thousand_places_gets_a_message_of_a_sane_length() {
    let peers: Vec<Value> = (0..10_000).map(|_| json!({ "ipBlock": { "cidr": "nonsense" } })).collect();
    let spec = json!({ "podSelector": {}, "ingress": [{ "from": peers }] });
    let reply = isolated().validate(&creates(&policy("bad", &spec)));
    assert!(reply.message.len() < 5000, "{}", reply.message.len());
    reply.refused("Invalid", &["spec.ingress[0].from[0].ipBlock.cidr"]);
}

#[test]
fn what_can_not_be_read_is_an_error_and_no_verdict() {
    let mut malformed = policy("bad", &narrow());
    malformed["spec"]["podSelector"] = json!("all");
    assert!(matches!(isolated().fails(&creates(&malformed)), Failure::BadReview(why) if why.contains("podSelector")));
    assert!(matches!(isolated().fails(&review("DELETE", POLICIES)), Failure::BadReview(_)));
    assert!(matches!(isolated().fails(&review("CREATE", POLICIES)), Failure::BadReview(_)));
    let beta = review("CREATE", "networking.k8s.io/v1beta1/networkpolicies").object(&policy("db", &narrow()));
    assert!(matches!(isolated().fails(&beta), Failure::BadReview(why) if why.contains("v1beta1")));
}

#[test]
fn an_unknown_namespace_is_taken_for_an_enforced_one_of_the_default_profile() {
    world().validate(&creates(&policy("wide", &allow_all_ingress()))).refused("BaselineWeakened", &[]);
    world().validate(&deletes(&policy("mine", &deny_all()))).refused("BaselineWeakened", &[]);
    world().validate(&creates(&policy("db", &narrow()))).passes_silently("Allowed");
}

#[test]
fn a_profile_that_has_gone_from_the_configuration_is_taken_for_the_default() {
    let world =
        isolated().labelled(&json!({ "ringfence.dev/profile": "gone", "ringfence.dev/mode": "enforce" }), &json!({}));
    world.validate(&creates(&policy("wide", &allow_all_ingress()))).refused("BaselineWeakened", &[]);
}

#[test]
fn excluded_namespaces_are_left_alone() {
    let review = creates(&policy("wide", &allow_all_ingress())).in_namespace("kube-system");
    world().validate(&review).passes_silently("Excluded");
}

#[test]
fn a_namespace_that_was_never_adopted_is_left_alone() {
    let world = world().namespace(TEAM, &json!({ "metadata": {} }));
    world.validate(&creates(&policy("wide", &allow_all_ingress()))).passes_silently("NotAdopted");
    world.validate(&creates(&policy("bad", &json!({ "podSelector": 5 })))).passes_silently("NotAdopted");
}

#[rstest]
#[case("strict")]
#[case("deny-all")]
fn every_profile_is_defended(#[case] profile: &str) {
    let world = with_profile(profile);
    world.validate(&creates(&policy("wide", &allow_all_ingress()))).refused("BaselineWeakened", &[]);
    world.validate(&deletes(&deny_named("default-deny-all"))).refused("ManagedPolicy", &[]);
}

#[test]
fn case_67_past_a_limit_of_policies_only_what_adds_to_them_is_refused() {
    let old = policy("db", &narrow());
    let mut world = isolated().policy(&old);
    let mut other = narrow();
    other["ingress"][0]["ports"][0]["port"] = json!(5433);
    // Its baseline and one more.
    let count = world.index.get(TEAM).unwrap().policies().count();
    world.config.limits.policies_per_namespace = count;
    let says = ["creating NetworkPolicy \"more\"", "limits.policiesPerNamespace", "merge policies"];
    world.validate(&creates(&policy("more", &narrow()))).refused("TooManyPolicies", &says);
    world.validate(&updates(&old, &policy("db", &other))).passes_silently("Allowed");
    world.validate(&deletes(&old)).passes_silently("Allowed");
    world.config.limits.policies_per_namespace = count + 1;
    world.validate(&creates(&policy("more", &narrow()))).passes_silently("Allowed");
    // Neither in number, nor in bytes.
    world.config.limits.policy_bytes_per_namespace = 1;
    let says = ["limits.policyBytesPerNamespace"];
    world.validate(&creates(&policy("more", &narrow()))).refused("TooManyPolicies", &says);
    world.validate(&updates(&old, &policy("db", &other))).passes_silently("Allowed");
    world.validate(&deletes(&old)).passes_silently("Allowed");
    // A change that takes more bytes adds to them.
    let mut larger = narrow();
    larger["ingress"][0]["ports"] = (1..100).map(|port| json!({ "port": port })).collect();
    world.validate(&updates(&old, &policy("db", &larger))).refused("TooManyPolicies", &says);
    world.validate(&updates(&policy("db", &larger), &old)).passes_silently("Allowed");
}
