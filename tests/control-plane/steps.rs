//! What tests of the controller do and look at, in the words of kubectl.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::harness::{Bed, Event, Installation, Mark, Options, Output, Shared, World, eventually, eventually_some};

/// Who the controller is.
pub(crate) const CONTROLLER: &str = "system:serviceaccount:ringfence-system:ringfence";

/// A world whose Ringfence is stopped and broken, by one test at a time. Whoever has it finds it as the last one left it,
/// so each puts right what it broke, also where it fails.
pub(crate) fn disturbed() -> (&'static World, MutexGuard<'static, ()>) {
    static WORLD: Shared<World> = Shared::new(|| World::start(&Options::whole(), &[("config.leaseDuration", "3s")]));
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    (WORLD.get(), turn)
}

/// A world whose default profile denies every class of hole in both directions, and whose controller quarantines nothing: a
/// policy that opens a hole past the webhook stays as it is.
pub(crate) fn reporting() -> &'static World {
    fn start() -> World {
        let classes = ["ALL", "CLUSTER", "W4", "W6", "PORTS"].map(|kind| [kind.to_owned(), format!("{kind}*")]);
        let denied: Value = classes.into_iter().flatten().map(|class| (class, json!("deny"))).collect();
        let policies = json!([{ "name": "default-deny-all", "spec": denies_all() }]);
        let closed = json!({ "policies": policies, "holes": { "ingress": denied, "egress": denied } });
        let profiles = json!({ "closed": closed }).to_string();
        let values = [
            ("config.profiles", profiles.as_str()),
            ("config.defaultProfile", "closed"),
            ("config.violations", "report"),
        ];
        World::start(&Options { controller_manager: true, ..Options::default() }, &values)
    }
    static WORLD: Shared<World> = Shared::new(start);
    WORLD.get()
}

/// A configuration beside the chart's, with something added to it.
pub(crate) fn configuration(bed: &Bed, installation: &Installation, more: &str) -> PathBuf {
    let text = std::fs::read_to_string(&installation.config).unwrap();
    let path = bed.path("beside.yaml");
    std::fs::write(&path, format!("{}\n{more}\n", text.trim_end().trim_end_matches("{}"))).unwrap();
    path
}

/// kubectl as the controller itself, which the webhooks do not judge, and with every right: for what they can't prevent.
pub(crate) fn as_controller(bed: &Bed, args: &[&str]) -> Output {
    bed.kubectl(&[args, &["--as", CONTROLLER, "--as-group", "system:masters"]].concat())
}

pub(crate) fn create_namespace(bed: &Bed, name: &str) {
    bed.kubectl(&["create", "namespace", name]).expect_ok();
}

/// A namespace with the labels that were given, and no others.
pub(crate) fn create_labelled(bed: &Bed, name: &str, labels: &Value, annotations: &Value) {
    let metadata = json!({ "name": name, "labels": labels, "annotations": annotations });
    bed.apply(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata }).to_string());
}

/// A namespace as it was before there was a Ringfence.
pub(crate) fn create_before_ringfence(bed: &Bed, name: &str) {
    // Nobody can create one without labels. In mode warn nothing is applied, and the controller may take the labels away.
    let warns = json!({ "ringfence.dev/profile": "standard", "ringfence.dev/mode": "warn" });
    create_labelled(bed, name, &warns, &json!({}));
    let none = ["ringfence.dev/profile-", "ringfence.dev/mode-"];
    as_controller(bed, &[&["label", "namespace", name][..], &none].concat()).expect_ok();
    assert_eq!(labels(bed, name)["ringfence.dev/mode"], Value::Null);
}

pub(crate) fn isolated_namespace(bed: &Bed, name: &str) {
    let mark = bed.audit_mark();
    create_namespace(bed, name);
    until_isolated_and_logged(bed, &mark, name);
}

/// Waits until a namespace that is new since then is isolated, and what was written for that is in the audit log: what is
/// found there later was written later.
pub(crate) fn until_isolated_and_logged(bed: &Bed, mark: &Mark, name: &str) {
    until_isolated(bed, name);
    let last = format!("patch namespaces {name}");
    eventually("its writes are logged", || said(&written(bed, mark, name)).contains(&last));
}

/// An object; null where there is none.
pub(crate) fn get(bed: &Bed, namespace: &str, what: &str) -> Value {
    let said =
        bed.kubectl(&["get", what, "-n", namespace, "-o", "json", "--show-managed-fields", "--ignore-not-found"]);
    let said = said.expect_ok();
    if said.is_empty() { Value::Null } else { serde_json::from_str(&said).unwrap() }
}

pub(crate) fn labels(bed: &Bed, namespace: &str) -> Value {
    get(bed, namespace, &format!("namespace/{namespace}"))["metadata"]["labels"].clone()
}

pub(crate) fn is_isolated(bed: &Bed, namespace: &str) -> bool {
    labels(bed, namespace)["ringfence.dev/isolated"] == "true"
}

#[track_caller]
pub(crate) fn until_isolated(bed: &Bed, namespace: &str) {
    eventually(&format!("{namespace} is isolated"), || is_isolated(bed, namespace));
}

#[track_caller]
pub(crate) fn until_not_isolated(bed: &Bed, namespace: &str) {
    eventually(&format!("{namespace} is not isolated"), || !is_isolated(bed, namespace));
}

/// What the annotation says that is in the way; empty where it is not there.
pub(crate) fn conflict(bed: &Bed, namespace: &str) -> String {
    let path = r"jsonpath={.metadata.annotations.ringfence\.dev/conflict}";
    bed.kubectl(&["get", "namespace", namespace, "-o", path]).expect_ok()
}

/// The names of the namespace's policies, sorted.
pub(crate) fn policies(bed: &Bed, namespace: &str) -> Vec<String> {
    names(&get(bed, namespace, "networkpolicies"))
}

/// The names of a list's items, sorted.
pub(crate) fn names(list: &Value) -> Vec<String> {
    let name = |item: &Value| item["metadata"]["name"].as_str().unwrap().to_owned();
    // An empty list is not found, as kubectl sees it.
    let mut names: Vec<String> = list["items"].as_array().into_iter().flatten().map(name).collect();
    names.sort();
    names
}

/// What the profile `standard` makes.
pub(crate) const STANDARD: [&str; 3] = ["allow-dns", "allow-same-namespace", "default-deny-all"];

/// Runs a pod without a controller of its own.
pub(crate) fn run_pod(bed: &Bed, namespace: &str, name: &str) {
    bed.kubectl(&["run", name, "-n", namespace, "--image=example.com/app"]).expect_ok();
}

/// Whether a pod waits for Ringfence: with the gate and the label, both. One without the other is a fault.
pub(crate) fn is_held(bed: &Bed, namespace: &str, name: &str) -> bool {
    let pod = get(bed, namespace, &format!("pod/{name}"));
    let gated = pod["spec"]["schedulingGates"].to_string().contains("ringfence.dev/baseline");
    assert_eq!(pod["metadata"]["labels"]["ringfence.dev/held"] == "true", gated, "{pod:#}");
    gated
}

/// The pod that would be created by this name at present, with what the webhooks make of it.
pub(crate) fn would_run(bed: &Bed, namespace: &str, name: &str) -> Value {
    let run = ["run", name, "-n", namespace, "--image=example.com/app", "--dry-run=server", "-o", "json"];
    serde_json::from_str(&bed.kubectl(&run).expect_ok()).unwrap()
}

/// Waits until pods are held: which webhooks it calls for a namespace the API server may learn a little later than it shows
/// the namespace.
pub(crate) fn until_pods_are_held(bed: &Bed, namespace: &str) {
    eventually("pods are held from now on", || {
        gates(&would_run(bed, namespace, "asks")).contains(&"ringfence.dev/baseline".to_owned())
    });
}

/// Opens a namespace while it is only warned, which nothing closes afterwards: from then on pods wait.
#[track_caller]
pub(crate) fn open_while_warned(bed: &Bed, namespace: &str) {
    let mode = |mode: &str| {
        let label = format!("ringfence.dev/mode={mode}");
        bed.kubectl(&["label", "--overwrite", "namespace", namespace, &label]).expect_ok();
    };
    mode("warn");
    let wide = policy(namespace, "wide", &opens_ingress());
    // What it has not heard of yet, Ringfence takes for enforced.
    eventually("the mode is known", || bed.kubectl_stdin(&["create", "-f", "-"], &wide).ok);
    mode("enforce");
    eventually("what is in the way is written down", || !conflict(bed, namespace).is_empty());
    until_pods_are_held(bed, namespace);
}

#[track_caller]
pub(crate) fn until_bound(bed: &Bed, namespace: &str, name: &str) {
    eventually(&format!("pod {name} has a node"), || {
        get(bed, namespace, &format!("pod/{name}"))["spec"]["nodeName"].is_string()
    });
}

/// The Events of a namespace that Ringfence has published for a reason.
pub(crate) fn told(bed: &Bed, namespace: &str, reason: &str) -> Vec<Value> {
    let said = bed.kubectl(&["get", "events.v1.events.k8s.io", "-n", namespace, "-o", "json"]).expect_ok();
    let all: Value = serde_json::from_str(&said).unwrap();
    let ours = |event: &&Value| event["reason"] == reason && event["reportingController"] == "ringfence.dev/controller";
    all["items"].as_array().unwrap().iter().filter(ours).cloned().collect()
}

/// What the controller has written since a place in the audit log, in order, Events and its Lease aside.
pub(crate) fn written(bed: &Bed, mark: &Mark, namespace: &str) -> Vec<Event> {
    let mut events = bed.audit_since(mark);
    events.retain(|event| {
        event.user == CONTROLLER
            && event.namespace == namespace
            && !matches!(event.verb.as_str(), "get" | "list" | "watch")
            && !matches!(event.resource.as_str(), "events" | "leases")
    });
    events
}

/// The same in words.
pub(crate) fn said(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| format!("{} {} {}", event.verb, event.resource, event.name)).collect()
}

/// A policy that opens everything in one direction, where the profile has its deny-all.
pub(crate) fn policy(namespace: &str, name: &str, spec: &Value) -> String {
    let metadata = json!({ "name": name, "namespace": namespace });
    let kind = "NetworkPolicy";
    json!({ "apiVersion": "networking.k8s.io/v1", "kind": kind, "metadata": metadata, "spec": spec }).to_string()
}

pub(crate) fn denies_all() -> Value {
    json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] })
}

pub(crate) fn opens_ingress() -> Value {
    json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}] })
}

/// A time from now, as the annotations write it.
pub(crate) fn in_seconds(seconds: i64) -> String {
    let now = jiff::Timestamp::now();
    (now + jiff::SignedDuration::from_secs(seconds)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Brings the end of an exception or exemption forward to a moment from now, and returns the new end. An end that is past when
/// it is judged is refused; the next try gives it more time.
pub(crate) fn end_soon(bed: &Bed, object: &[&str], annotation: &str) -> String {
    let mut seconds = 2;
    eventually_some("the end is brought forward", || {
        seconds *= 2;
        let until = in_seconds(seconds);
        let end = format!("{annotation}={until}");
        bed.kubectl(&[&["annotate", "--overwrite"], object, &[&end]].concat()).ok.then_some(until)
    })
}

/// Has the API server refuse, by a `ValidatingAdmissionPolicy` of this name, what matches and does not pass the validation.
#[allow(clippy::needless_pass_by_value, reason = "it is written down where it is passed")]
pub(crate) fn refuse(bed: &Bed, name: &str, matches: Value, validation: Value) {
    let object = |kind: &str, spec: Value| {
        let version = "admissionregistration.k8s.io/v1";
        json!({ "apiVersion": version, "kind": kind, "metadata": { "name": name }, "spec": spec })
    };
    let policy = json!({ "matchConstraints": matches, "validations": [validation] });
    let binding = json!({ "policyName": name, "validationActions": ["Deny"] });
    let items = [object("ValidatingAdmissionPolicy", policy), object("ValidatingAdmissionPolicyBinding", binding)];
    bed.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string());
}

/// The names of a pod's scheduling gates.
pub(crate) fn gates(pod: &Value) -> Vec<String> {
    let gates = pod["spec"]["schedulingGates"].as_array().into_iter().flatten();
    gates.map(|gate| gate["name"].as_str().unwrap().to_owned()).collect()
}

/// A mutation that the API server itself does, as another webhook would, once that is in force.
pub(crate) fn apply_mutation(
    bed: &Bed,
    name: &str,
    selector: &Value,
    rule: &Value,
    expression: &str,
    is_in_force: impl FnMut() -> bool,
) {
    let (version, metadata) = ("admissionregistration.k8s.io/v1", json!({ "name": name }));
    let spec = json!({
        "matchConstraints": { "namespaceSelector": selector, "resourceRules": [rule] },
        "reinvocationPolicy": "IfNeeded",
        "failurePolicy": "Fail",
        "mutations": [{ "patchType": "JSONPatch", "jsonPatch": { "expression": expression } }],
    });
    let policy =
        json!({ "apiVersion": version, "kind": "MutatingAdmissionPolicy", "metadata": metadata, "spec": spec });
    let spec = json!({ "policyName": name });
    let binding =
        json!({ "apiVersion": version, "kind": "MutatingAdmissionPolicyBinding", "metadata": metadata, "spec": spec });
    bed.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": [policy, binding] }).to_string());
    eventually("the mutation is in force", is_in_force);
}
