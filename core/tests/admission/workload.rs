//! Workloads, policies of other kinds, and everything that is not Ringfence's.

use ringfence_core::admission::Failure;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Review, TEAM, isolated, pending, review, world};

fn creates(what: &str, object: &Value) -> Review {
    review("CREATE", what).named("x").object(object)
}

fn template() -> Value {
    json!({ "spec": { "template": { "spec": { "containers": [] } } } })
}

#[rstest]
#[case("apps/v1/deployments", "deployments.apps")]
#[case("apps/v1/statefulsets", "statefulsets.apps")]
#[case("apps/v1/daemonsets", "daemonsets.apps")]
#[case("apps/v1/replicasets", "replicasets.apps")]
#[case("batch/v1/jobs", "jobs.batch")]
#[case("batch/v1/cronjobs", "cronjobs.batch")]
#[case("v1/replicationcontrollers", "replicationcontrollers")]
fn the_pods_of_a_workload_will_be_held(#[case] what: &str, #[case] name: &str) {
    let says = [name, "will be held until", "\"team-a\""];
    pending().validate(&creates(what, &template())).passes("Allowed").warns(&says);
    let update = review("UPDATE", what).old(&template()).object(&template());
    pending().validate(&update).passes("Allowed").warns(&says);
    let rejecting = pending().configured(&json!({ "pods": "reject" }));
    rejecting.validate(&creates(what, &template())).passes("Allowed").warns(&["will be refused until"]);
    isolated().validate(&creates(what, &template())).passes_silently("Allowed");
    pending().validate(&review("DELETE", what).old(&template())).passes_silently("NotOurs");
    pending().validate(&creates(what, &template()).in_namespace("kube-system")).passes_silently("Excluded");
    pending().mutate(&creates(what, &template())).passes_silently("NotOurs");
}

/// Lifting takes the label off: the controller would make another pod, without end. No mode softens it.
#[rstest]
#[case::a_deployment("apps/v1/deployments", json!({ "spec": { "template": { "metadata": { "labels": { "ringfence.dev/held": "true" } } } } }))]
#[case::a_cron_job("batch/v1/cronjobs", json!({ "spec": { "jobTemplate": { "spec": { "template": { "metadata": { "labels": { "ringfence.dev/held": "no" } } } } } } }))]
fn a_template_with_the_label_of_held_pods_is_refused(#[case] what: &str, #[case] object: Value) {
    for world in [pending(), isolated(), pending().in_mode("warn")] {
        world.validate(&creates(what, &object)).refused("LabelTampered", &["leave the label out", "without end"]);
    }
    isolated().validate(&creates(what, &object).in_namespace("kube-system")).passes_silently("Excluded");
}

#[rstest]
#[case("warn")]
#[case("audit")]
#[case("exempt")]
fn nothing_is_said_where_nothing_is_held(#[case] mode: &str) {
    pending().in_mode(mode).validate(&creates("apps/v1/deployments", &template())).passes_silently("Allowed");
    let bare = world().namespace(TEAM, &json!({ "metadata": {} }));
    bare.validate(&creates("apps/v1/deployments", &template())).passes_silently("Allowed");
}

#[rstest]
#[case::a_job("batch/v1/jobs", json!({ "spec": { "activeDeadlineSeconds": 60, "template": {} } }))]
#[case::a_cron_job(
    "batch/v1/cronjobs",
    json!({ "spec": { "jobTemplate": { "spec": { "activeDeadlineSeconds": 60, "template": {} } } } })
)]
fn a_job_with_a_deadline_is_told_that_the_clock_runs(#[case] what: &str, #[case] object: Value) {
    let says = ["activeDeadlineSeconds (60) runs while its pods are held"];
    pending().validate(&creates(what, &object)).passes("Allowed").warns(&says);
    let rejecting = pending().configured(&json!({ "pods": "reject" }));
    assert_eq!(rejecting.validate(&creates(what, &object)).warnings.len(), 1);
}

#[rstest]
#[case::a_deployment("apps/v1/deployments", json!({ "spec": { "template": { "spec": { "hostNetwork": true } } } }))]
#[case::a_cron_job(
    "batch/v1/cronjobs",
    json!({ "spec": { "jobTemplate": { "spec": { "template": { "spec": { "hostNetwork": true } } } } } })
)]
fn a_workload_on_the_host_network_is_warned_of(#[case] what: &str, #[case] object: Value) {
    pending().validate(&creates(what, &object)).passes("Allowed").warns(&["node's network"]);
    let allowing = pending().configured(&json!({ "hostNetwork": "allow" }));
    assert!(allowing.validate(&creates(what, &object)).warnings.iter().all(|text| !text.contains("node's network")));
}

#[rstest]
#[case::no_spec(json!({}))]
#[case::nulls(json!({ "spec": { "template": null, "jobTemplate": null, "activeDeadlineSeconds": null } }))]
#[case::a_null_template(json!({ "spec": { "jobTemplate": { "spec": { "template": { "spec": null } } } } }))]
fn what_a_workload_leaves_out_is_no_error(#[case] object: Value) {
    pending().validate(&creates("batch/v1/cronjobs", &object)).passes("Allowed");
}

#[test]
fn a_workload_in_another_version_of_the_api_is_an_error_and_no_verdict() {
    let failure = pending().fails(&creates("batch/v1beta1/cronjobs", &template()));
    assert!(matches!(failure, Failure::BadReview(why) if why.contains("v1beta1")));
}

#[rstest]
#[case("cilium.io/v2/ciliumnetworkpolicies", "ciliumnetworkpolicies.cilium.io")]
#[case("cilium.io/v2/ciliumlocalredirectpolicies", "ciliumlocalredirectpolicies.cilium.io")]
#[case("cilium.io/v2/ciliumenvoyconfigs", "ciliumenvoyconfigs.cilium.io")]
#[case("projectcalico.org/v3/networksets", "networksets.projectcalico.org")]
#[case("crd.projectcalico.org/v1/networksets", "networksets.crd.projectcalico.org")]
#[case("crd.antrea.io/v1beta1/groups", "groups.crd.antrea.io")]
#[case("k8s.cni.cncf.io/v1/network-attachment-definitions", "network-attachment-definitions.k8s.cni.cncf.io")]
#[case("k8s.cni.cncf.io/v1beta2/multi-networkpolicies", "multi-networkpolicies.k8s.cni.cncf.io")]
#[case("projectcalico.org/v3/networkpolicies", "networkpolicies.projectcalico.org")]
#[case("crd.projectcalico.org/v1/networkpolicies", "networkpolicies.crd.projectcalico.org")]
#[case("crd.antrea.io/v1beta1/networkpolicies", "networkpolicies.crd.antrea.io")]
fn a_vendors_policy_is_warned_of_denied_or_allowed(#[case] what: &str, #[case] name: &str) {
    let object = json!({ "metadata": { "name": "x" }, "spec": {} });
    let treated =
        |how: &str| isolated().configured(&json!({ "vendorPolicies": how })).validate(&creates(what, &object));
    let warned = treated("warn").passes("VendorPolicy").warns(&[name, "does not judge it"]);
    assert_eq!(isolated().validate(&creates(what, &object)), warned, "warn is the default");
    treated("deny").refused("VendorPolicy", &[name, "can allow traffic", "write a NetworkPolicy instead"]);
    treated("allow").passes_silently("Allowed");
    let update = review("UPDATE", what).named("x").old(&object).object(&object);
    isolated().validate(&update).passes("VendorPolicy");
    isolated().validate(&review("DELETE", what).old(&object)).passes_silently("NotOurs");
    isolated().validate(&creates(what, &object).in_namespace("kube-system")).passes_silently("Excluded");
    isolated().in_mode("exempt").validate(&creates(what, &object)).passes_silently("Exempt");
    let bare = world().namespace(TEAM, &json!({ "metadata": {} }));
    bare.validate(&creates(what, &object)).passes_silently("NotAdopted");
    let generated = review("CREATE", what).object(&object);
    isolated().validate(&generated).passes("VendorPolicy").warns(&["with a generated name"]);
}

#[rstest]
#[case("v1/configmaps")]
#[case("v1/pods/binding")]
#[case("v1/pods/exec")]
#[case("v1/pods/ephemeralcontainers")]
#[case("v1/namespaces/other")]
#[case("networking.k8s.io/v1/networkpolicies/status")]
#[case("networking.k8s.io/v1/ingresses")]
#[case("apps/v1/deployments/scale")]
#[case("extensions/v1beta1/networkpolicies")]
#[case("example.com/v1/pods")]
fn anything_else_is_explicitly_not_ours(
    #[case] what: &str,
    #[values("CREATE", "UPDATE", "DELETE", "CONNECT")] operation: &str,
) {
    pending().validate(&review(operation, what)).passes_silently("NotOurs");
    pending().mutate(&review(operation, what)).passes_silently("NotOurs");
}
