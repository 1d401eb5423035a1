//! Quarantine against a real API server and the tools that tenants apply policies with.

use serde_json::{Value, json};

use crate::ask::{Asker, MERGE};
use crate::harness::{ADMIN, Bed, Replica, World, eventually};
use crate::scene::POLICIES;
use crate::steps::{
    as_controller, conflict, create_before_ringfence, disturbed, get, in_seconds, is_isolated, isolated_namespace,
    opens_ingress, policies, policy, refuse, reporting, said, told, until_not_isolated, until_pods_are_held, written,
};

crate::tests![
    what_opens_a_hole_past_the_webhook_is_quarantined_and_isolated_stays,
    client_side_apply_brings_the_rules_back_through_admission,
    server_side_apply_has_no_conflict_with_a_quarantine,
    helm_brings_the_rules_back_through_admission,
    a_policy_full_of_annotations_and_one_with_a_huge_selector_are_quarantined,
    a_quarantine_that_is_refused_ends_isolated_and_the_conflict_says_why,
    violations_that_are_only_reported_leave_the_policy_and_make_the_namespace_pending,
    a_tenant_who_writes_all_the_time_does_not_put_a_quarantine_off,
    a_change_of_the_rules_and_a_restart_quarantine_nothing_that_did_not_change,
];

fn shared() -> &'static Bed {
    &World::shared().bed
}

fn wide(namespace: &str) -> String {
    policy(namespace, "wide", &opens_ingress())
}

/// The same with one peer, as its owner would correct it.
fn corrected(namespace: &str) -> String {
    let from = json!([{ "from": [{ "podSelector": { "matchLabels": { "app": "web" } } }] }]);
    policy(namespace, "wide", &json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": from }))
}

fn annotation(bed: &Bed, namespace: &str, name: &str) -> Value {
    let object = get(bed, namespace, &format!("networkpolicy/{name}"));
    object["metadata"]["annotations"]["ringfence.dev/quarantined"].clone()
}

fn rules(bed: &Bed, namespace: &str, name: &str) -> Value {
    get(bed, namespace, &format!("networkpolicy/{name}"))["spec"]["ingress"].clone()
}

fn until_quarantined(bed: &Bed, namespace: &str, name: &str) {
    eventually("the policy is quarantined", || rules(bed, namespace, name) == Value::Null);
}

/// Corrected, the rules take effect, and the annotation goes.
fn until_over(bed: &Bed, namespace: &str) {
    assert_ne!(rules(bed, namespace, "wide"), Value::Null);
    eventually("the annotation is gone", || annotation(bed, namespace, "wide") == Value::Null);
    assert!(is_isolated(bed, namespace) && conflict(bed, namespace).is_empty());
}

fn what_opens_a_hole_past_the_webhook_is_quarantined_and_isolated_stays() {
    let bed = shared();
    isolated_namespace(bed, "past");
    let manifest = wide("past");
    as_controller_apply(bed, &["apply", "-f", "-"], &manifest);
    until_quarantined(bed, "past", "wide");
    let note: Value = serde_json::from_str(annotation(bed, "past", "wide").as_str().unwrap()).unwrap();
    assert_eq!(note["ingress"]["rules"], json!([{}]));
    assert!(note["ingress"]["reason"].as_str().unwrap().contains("ingress ALL"), "{note}");
    assert!(note["ingress"]["at"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{note}");
    let spec = get(bed, "past", "networkpolicy/wide")["spec"].clone();
    assert_eq!(spec, json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] }), "it still isolates its pods");
    eventually("it is told", || told(bed, "past", "PolicyQuarantined").len() == 1);
    assert!(is_isolated(bed, "past"));
    assert_eq!(told(bed, "past", "NotIsolated"), Vec::<Value>::new());
    // Anyone may take the annotation away, and nobody else may write it.
    let path = format!("{POLICIES}/past/networkpolicies/wide");
    let annotations = |value: Value| json!({ "metadata": { "annotations": { "ringfence.dev/quarantined": value } } });
    let admin = Asker::new(bed, ADMIN);
    admin.patch(&path, MERGE, &annotations(json!("{}x"))).expect_denied("LabelTampered");
    admin.patch(&path, MERGE, &annotations(Value::Null)).expect_ok();
    admin.patch(&path, MERGE, &annotations(json!("{\"ingress\":{}}"))).expect_denied("LabelTampered");
}

/// kubectl with a manifest, as the controller, whom the webhooks do not judge.
fn as_controller_apply(bed: &Bed, args: &[&str], manifest: &str) {
    let who = ["--as", crate::steps::CONTROLLER, "--as-group", "system:masters"];
    bed.kubectl_at(0, ADMIN, &[args, &who].concat(), manifest).expect_ok();
}

fn client_side_apply_brings_the_rules_back_through_admission() {
    let bed = shared();
    isolated_namespace(bed, "by-apply");
    as_controller_apply(bed, &["apply", "-f", "-"], &wide("by-apply"));
    until_quarantined(bed, "by-apply", "wide");
    let apply = |manifest: &str| bed.kubectl_at(0, ADMIN, &["apply", "-f", "-"], manifest);
    let refused = apply(&wide("by-apply")).expect_error();
    assert!(refused.contains("BaselineWeakened: ") && refused.contains("ingress ALL"), "{refused}");
    assert_ne!(annotation(bed, "by-apply", "wide"), Value::Null);
    apply(&corrected("by-apply")).expect_ok();
    until_over(bed, "by-apply");
}

fn server_side_apply_has_no_conflict_with_a_quarantine() {
    let bed = shared();
    for (namespace, force) in [("by-ssa", &[][..]), ("by-force", &["--force-conflicts"])] {
        isolated_namespace(bed, namespace);
        let args = [&["apply", "--server-side", "--field-manager=argocd", "-f", "-"], force].concat();
        as_controller_apply(bed, &args, &wide(namespace));
        until_quarantined(bed, namespace, "wide");
        let apply = |manifest: &str| bed.kubectl_at(0, ADMIN, &args, manifest);
        let refused = apply(&wide(namespace)).expect_error();
        assert!(refused.contains("BaselineWeakened: ") && !refused.contains("conflict"), "{refused}");
        apply(&corrected(namespace)).expect_ok();
        until_over(bed, namespace);
    }
}

/// One of the two versions of helm.
type Helm = fn(&Bed, &[&str]) -> crate::harness::Output;

/// How else each of them may be told to upgrade.
type Ways = &'static [&'static [&'static str]];
const WAYS_OF_3: Ways = &[&["--force"]];
const WAYS_OF_4: Ways =
    &[&["--force-conflicts"], &["--server-side=false"], &["--server-side=false", "--force-replace"]];

/// A chart whose policy has an exception that ends: helm itself is judged like everybody else. Both versions compare the chart
/// with what is stored, and not only with the chart before, so the chart that was installed is sent again as it is.
fn helm_brings_the_rules_back_through_admission() {
    let bed = shared();
    for (major, helm, ways) in [(3, Bed::helm3 as Helm, WAYS_OF_3), (4, Bed::helm, WAYS_OF_4)] {
        let namespace = format!("by-helm{major}");
        isolated_namespace(bed, &namespace);
        let chart = bed.path(&format!("chart-{namespace}"));
        std::fs::create_dir_all(chart.join("templates")).unwrap();
        let about = format!("apiVersion: v2\nname: app\nversion: 0.1.0\ndescription: {namespace}\n");
        std::fs::write(chart.join("Chart.yaml"), about).unwrap();
        let render = |manifest: &str| std::fs::write(chart.join("templates/policy.yaml"), manifest).unwrap();
        let render_excepted = |until: &str| {
            let mut excepted: Value = serde_json::from_str(&wide(&namespace)).unwrap();
            excepted["metadata"]["annotations"] =
                json!({ "ringfence.dev/exception-reason": "legacy", "ringfence.dev/exception-until": until });
            render(&excepted.to_string());
        };
        let path = chart.to_string_lossy();
        let upgrade = ["upgrade", "app", &path, "-n", &namespace];
        render_excepted(&in_seconds(3600));
        helm(bed, &["install", "app", &path, "-n", &namespace]).expect_ok();
        // An end that is over before helm has come so far is refused: then it gets more time.
        let mut seconds = 4;
        eventually("the chart brings the end forward", || {
            seconds *= 2;
            render_excepted(&in_seconds(seconds));
            helm(bed, &upgrade).ok
        });
        until_quarantined(bed, &namespace, "wide");
        let refused = |way: &[&str]| {
            let refused = helm(bed, &[&upgrade, way].concat()).expect_error();
            assert!(refused.contains("BaselineWeakened: "), "helm {major} {way:?}: {refused}");
            assert_eq!(rules(bed, &namespace, "wide"), Value::Null, "helm {major} {way:?}");
        };
        // The chart as it was installed, and then without the exception.
        refused(&[]);
        for way in ways {
            refused(way);
        }
        render(&wide(&namespace));
        refused(&[]);
        assert_ne!(annotation(bed, &namespace, "wide"), Value::Null);
        render(&corrected(&namespace));
        helm(bed, &upgrade).expect_ok();
        until_over(bed, &namespace);
    }
}

fn a_policy_full_of_annotations_and_one_with_a_huge_selector_are_quarantined() {
    let bed = shared();
    isolated_namespace(bed, "huge");
    let controller = Asker::impersonating(bed, crate::steps::CONTROLLER);
    let path = format!("{POLICIES}/huge/networkpolicies");
    // All that annotations may come to, so that there is no room for one more.
    let mut full: Value = serde_json::from_str(&policy("huge", "full", &opens_ingress())).unwrap();
    full["metadata"]["annotations"] = json!({ "k": "x".repeat(256 * 1024 - 1) });
    controller.create(&path, &full).expect_ok();
    until_quarantined(bed, "huge", "full");
    assert_eq!(annotation(bed, "huge", "full"), Value::Null);
    let values: Vec<String> = (0..30_000).map(|number| format!("v{number:08}")).collect();
    let selector = json!({ "matchExpressions": [{ "key": "app", "operator": "NotIn", "values": values }] });
    let mut entangled: Value = serde_json::from_str(&policy("huge", "entangled", &opens_ingress())).unwrap();
    entangled["spec"]["podSelector"] = selector;
    assert!(entangled.to_string().len() > 300_000);
    controller.create(&path, &entangled).expect_ok();
    until_quarantined(bed, "huge", "entangled");
    assert_ne!(annotation(bed, "huge", "entangled"), Value::Null);
    assert!(is_isolated(bed, "huge"));
    // The log has the rules that the annotation has no room for.
    let log = World::shared().ringfence.lock().unwrap().as_ref().unwrap().log();
    for name in ["full", "entangled"] {
        let is_of = |line: &&str| {
            line.contains("quarantining a policy") && ["huge", name].iter().all(|word| line.contains(word))
        };
        let line = log.lines().find(is_of).unwrap_or_else(|| panic!("{name} is not in the log"));
        assert!(line.contains("rules") && line.contains("[{}]"), "{line}");
    }
}

/// Refuses every write that leaves the annotation of a quarantine in a namespace.
fn refuse_quarantines(bed: &Bed, namespace: &str) {
    let rule = json!({
        "apiGroups": ["networking.k8s.io"], "apiVersions": ["v1"], "resources": ["networkpolicies"],
        "operations": ["UPDATE"],
    });
    let selector = json!({ "matchLabels": { "kubernetes.io/metadata.name": namespace } });
    let matches = json!({ "namespaceSelector": selector, "resourceRules": [rule] });
    let expression = "!has(object.metadata.annotations) || \
                      !('ringfence.dev/quarantined' in object.metadata.annotations)";
    let validation = json!({ "expression": expression, "message": "nothing is quarantined here" });
    refuse(bed, "no-quarantine", matches, validation);
    let mark = ["annotate", "networkpolicy", "default-deny-all", "-n", namespace, "--dry-run=server"];
    let mark = [&mark[..], &["ringfence.dev/quarantined=x"]].concat();
    eventually("quarantines are refused", || as_controller(bed, &mark).stderr.contains("nothing is quarantined here"));
}

fn a_quarantine_that_is_refused_ends_isolated_and_the_conflict_says_why() {
    let bed = shared();
    isolated_namespace(bed, "unquarantined");
    refuse_quarantines(bed, "unquarantined");
    as_controller_apply(bed, &["apply", "-f", "-"], &wide("unquarantined"));
    let why = "NetworkPolicy wide opens a hole that the profile denies, and the API server refuses to quarantine it";
    eventually("the conflict says why", || conflict(bed, "unquarantined").contains(why));
    assert!(conflict(bed, "unquarantined").contains("ingress ALL"), "{}", conflict(bed, "unquarantined"));
    until_not_isolated(bed, "unquarantined");
    until_pods_are_held(bed, "unquarantined");
    assert_eq!(rules(bed, "unquarantined", "wide"), json!([{}]));
    assert_eq!(told(bed, "unquarantined", "PolicyQuarantined"), Vec::<Value>::new());
    // Its owner can still close it.
    bed.apply(&corrected("unquarantined"));
    eventually("the namespace is isolated again, and nothing is in the way", || {
        is_isolated(bed, "unquarantined") && conflict(bed, "unquarantined").is_empty()
    });
}

fn violations_that_are_only_reported_leave_the_policy_and_make_the_namespace_pending() {
    let bed = &reporting().bed;
    isolated_namespace(bed, "reported");
    let mark = bed.audit_mark();
    as_controller_apply(bed, &["apply", "-f", "-"], &wide("reported"));
    eventually("the conflict names the policy", || {
        let conflict = conflict(bed, "reported");
        conflict.contains("ingress ALL") && conflict.contains("wide")
    });
    until_not_isolated(bed, "reported");
    until_pods_are_held(bed, "reported");
    let policy = get(bed, "reported", "networkpolicy/wide");
    assert_eq!((&policy["spec"]["ingress"], &policy["metadata"]["generation"]), (&json!([{}]), &json!(1)));
    assert_eq!(annotation(bed, "reported", "wide"), Value::Null);
    assert_eq!(told(bed, "reported", "PolicyQuarantined"), Vec::<Value>::new());
    let written: Vec<String> = said(&written(bed, &mark, "reported"));
    assert!(written.iter().all(|write| write == "patch namespaces reported"), "{written:?}");
    // Its owner closes it.
    bed.kubectl(&["delete", "networkpolicy", "wide", "-n", "reported"]).expect_ok();
    eventually("the namespace is isolated again, and nothing is in the way", || {
        is_isolated(bed, "reported") && conflict(bed, "reported").is_empty()
    });
}

/// Somebody touches the policy without end: another version at each look.
fn a_tenant_who_writes_all_the_time_does_not_put_a_quarantine_off() {
    let bed = shared();
    isolated_namespace(bed, "restless");
    let over = std::sync::atomic::AtomicBool::new(false);
    as_controller_apply(bed, &["apply", "-f", "-"], &wide("restless"));
    std::thread::scope(|scope| {
        let stop = crate::direct::Over(&over);
        scope.spawn(|| {
            let admin = Asker::new(bed, ADMIN);
            let path = format!("{POLICIES}/restless/networkpolicies/wide");
            for number in 0.. {
                if over.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                let label = json!({ "metadata": { "labels": { "touched": number.to_string() } } });
                admin.patch(&path, MERGE, &label);
            }
        });
        until_quarantined(bed, "restless", "wide");
        drop(stop);
    });
    assert!(is_isolated(bed, "restless"));
}

fn a_change_of_the_rules_and_a_restart_quarantine_nothing_that_did_not_change() {
    let (world, _turn) = disturbed();
    let bed = &world.bed;
    isolated_namespace(bed, "stricter");
    // Fine by the default, and too wide by what comes.
    let from = json!([{ "from": [{ "ipBlock": { "cidr": "10.0.0.0/8" } }] }]);
    let spec = json!({ "podSelector": {}, "policyTypes": ["Ingress"], "ingress": from });
    bed.apply(&policy("stricter", "there", &spec));
    let recorded = || {
        let object = get(bed, "stricter", "namespace/stricter");
        object["metadata"]["annotations"]["ringfence.dev/effective"]
            .as_str()
            .is_some_and(|text| text.contains("policies"))
    };
    eventually("it is recorded", recorded);
    // An exemption that covers nothing more, so that this is not what is tested.
    create_before_ringfence(bed, "stricter-later");
    *world.ringfence.lock().unwrap() = None;
    let stricter = "profiles: { standard: { wide: { ipv4: 16 } } }";
    let config = crate::steps::configuration(bed, &world.installation, stricter);
    let replica = Replica { config: Some(config), ..Replica::named("stricter") };
    let with_stricter = bed.start_ringfence(&world.installation, &replica);
    eventually("the namespace is pending, and says why", || {
        !is_isolated(bed, "stricter") && conflict(bed, "stricter").contains("there")
    });
    assert_eq!(rules(bed, "stricter", "there"), from);
    assert_eq!(policies(bed, "stricter").len(), 4);
    assert_eq!(told(bed, "stricter", "PolicyQuarantined"), Vec::<Value>::new());
    drop(with_stricter);
    *world.ringfence.lock().unwrap() = Some(bed.start_ringfence(&world.installation, &Replica::default()));
    eventually("with the rules of before it is isolated again", || is_isolated(bed, "stricter"));
    assert_eq!(rules(bed, "stricter", "there"), from);
}
