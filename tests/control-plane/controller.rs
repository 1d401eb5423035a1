//! The controller against a real API server: what it writes, when, and what it leaves alone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::direct::Over;
use crate::harness::{ALICE, Bed, Replica, World, eventually, eventually_some};
use crate::steps::{
    STANDARD, apply_mutation, as_controller, conflict, create_before_ringfence, create_labelled, create_namespace,
    denies_all, disturbed, end_soon, get, in_seconds, is_held, is_isolated, isolated_namespace, opens_ingress,
    policies, policy, run_pod, said, told, until_bound, until_isolated, until_isolated_and_logged, until_not_isolated,
    until_pods_are_held, written,
};

crate::tests![
    what_it_applies_is_owned_by_the_field_manager_ringfence,
    another_profile_prunes_what_it_lacks_and_the_namespace_stays_isolated,
    case_54_a_baseline_that_breaks_loses_isolated_at_once_and_is_restored,
    case_54_what_was_deleted_while_nothing_watched_is_restored_at_the_next_start,
    case_55_a_fight_ends_in_an_annotation_and_one_event_and_is_tried_again_later,
    case_55_a_label_that_another_writer_strips_from_every_write_is_no_hot_loop,
    a_policy_that_may_not_be_written_is_tried_again_less_and_less_often_and_is_no_fight,
    a_namespace_that_is_made_anew_again_and_again_is_no_fight,
    a_policy_of_a_gitops_tool_that_does_the_same_is_judged_and_left_alone,
    a_policy_of_a_gitops_tool_that_opens_the_namespace_is_reported_and_left_alone,
    an_exemption_ends_by_itself,
    an_exception_ends_by_itself,
    out_of_enforce_the_policies_stay_and_everything_that_waits_is_let_go,
    an_unknown_profile_that_is_stored_counts_as_the_default_one,
    case_56_two_deletes_that_two_replicas_admit_are_repaired,
];

fn shared() -> &'static Bed {
    &World::shared().bed
}

fn label(bed: &Bed, namespace: &str, label: &str) {
    bed.kubectl(&["label", "namespace", namespace, "--overwrite", label]).expect_ok();
}

fn what_it_applies_is_owned_by_the_field_manager_ringfence() {
    let bed = shared();
    isolated_namespace(bed, "owned");
    assert_eq!(policies(bed, "owned"), STANDARD);
    for item in get(bed, "owned", "networkpolicies")["items"].as_array().unwrap() {
        assert_eq!(item["metadata"]["labels"], json!({ "app.kubernetes.io/managed-by": "ringfence" }));
        let [fields] = item["metadata"]["managedFields"].as_array().unwrap().as_slice() else { panic!("{item:#}") };
        assert_eq!((&fields["manager"], &fields["operation"]), (&json!("ringfence"), &json!("Apply")));
        assert!(fields["fieldsV1"]["f:spec"].is_object(), "{item:#}");
    }
    let namespace = get(bed, "owned", "namespace/owned");
    let fields = namespace["metadata"]["managedFields"].as_array().unwrap();
    let ours: Vec<&Value> = fields.iter().filter(|fields| fields["manager"] == "ringfence").collect();
    let [ours] = ours.as_slice() else { panic!("{namespace:#}") };
    let isolated = json!({ "f:metadata": {
        "f:labels": { "f:ringfence.dev/isolated": {} },
        "f:annotations": { ".": {}, "f:ringfence.dev/effective": {} },
    } });
    assert_eq!(ours["fieldsV1"], isolated);
    eventually("it is told", || !told(bed, "owned", "Isolated").is_empty());
    let [event] = told(bed, "owned", "Isolated").try_into().unwrap();
    assert_eq!(event["regarding"]["uid"], namespace["metadata"]["uid"]);
    assert_eq!(event["note"], "the deny-all baseline is effective");
}

fn another_profile_prunes_what_it_lacks_and_the_namespace_stays_isolated() {
    let bed = shared();
    isolated_namespace(bed, "changing");
    let own = json!({ "podSelector": { "matchLabels": { "app": "web" } }, "ingress": [{ "ports": [{ "port": 80 }] }] });
    bed.apply(&policy("changing", "web", &own));
    let mark = bed.audit_mark();
    label(bed, "changing", "ringfence.dev/profile=strict");
    eventually("what strict lacks is gone", || policies(bed, "changing").len() == 3);
    assert_eq!(policies(bed, "changing"), ["allow-dns", "default-deny-all", "web"]);
    label(bed, "changing", "ringfence.dev/profile=standard");
    eventually("what standard has is back", || policies(bed, "changing").len() == 4);
    // All of it: nothing else was touched, and the label never. `strict` resolves names at the cluster's resolver alone, and what
    // it lacks goes after what it has is there. What `standard` has comes back in any order.
    let [dns, own] = ["networkpolicies allow-dns", "networkpolicies allow-same-namespace"];
    let expected = [format!("patch {dns}"), format!("delete {own}"), format!("patch {dns}"), format!("patch {own}")];
    // (The record of when the baseline was effective, and under which rules, aside.)
    let of_policies = || -> Vec<String> {
        let all = said(&written(bed, &mark, "changing"));
        let mut all: Vec<String> = all.into_iter().filter(|said| !said.ends_with("namespaces changing")).collect();
        if let Some(back) = all.get_mut(2..) {
            back.sort();
        }
        all
    };
    eventually("its writes are logged", || of_policies() == expected);
    assert!(is_isolated(bed, "changing"));
    assert_eq!(told(bed, "changing", "NotIsolated"), Vec::<Value>::new());
}

fn case_54_a_baseline_that_breaks_loses_isolated_at_once_and_is_restored() {
    let bed = shared();
    isolated_namespace(bed, "broken");
    let drop_and_restore =
        ["patch namespaces broken", "patch networkpolicies default-deny-all", "patch namespaces broken"];
    let opens = json!({ "spec": opens_ingress() }).to_string();
    let edit = ["patch", "networkpolicy", "default-deny-all", "-n", "broken", "--type=merge", "-p", &opens];
    let restored = |mark, what: &str, expected: &[&str]| {
        eventually(what, || said(&written(bed, mark, "broken")) == expected);
        assert!(is_isolated(bed, "broken"));
        assert_eq!(policies(bed, "broken"), STANDARD);
        assert_eq!(get(bed, "broken", "networkpolicy/default-deny-all")["spec"], denies_all());
    };
    let mark = bed.audit_mark();
    as_controller(bed, &edit).expect_ok();
    restored(&mark, "what was opened: isolated goes, the policy is restored, isolated comes back", &drop_and_restore);

    // The two others cover both directions, so without the deny-all the baseline is still effective.
    let mark = bed.audit_mark();
    as_controller(bed, &["delete", "networkpolicy", "default-deny-all", "-n", "broken"]).expect_ok();
    restored(&mark, "what nothing hangs on is restored all the same", &drop_and_restore[1..2]);

    // Where everything hangs on it, it is not.
    let mark = bed.audit_mark();
    create_labelled(bed, "broken-alone", &json!({ "ringfence.dev/profile": "deny-all" }), &json!({}));
    until_isolated_and_logged(bed, &mark, "broken-alone");
    let mark = bed.audit_mark();
    as_controller(bed, &["delete", "networkpolicy", "default-deny-all", "-n", "broken-alone"]).expect_ok();
    let expected = drop_and_restore.map(|write| write.replace("namespaces broken", "namespaces broken-alone"));
    eventually("what was deleted: the same", || said(&written(bed, &mark, "broken-alone")) == expected);
    assert!(is_isolated(bed, "broken-alone"));

    let mark = bed.audit_mark();
    as_controller(bed, &["label", "namespace", "broken", "ringfence.dev/isolated-"]).expect_ok();
    restored(&mark, "the label that somebody took is set again", &drop_and_restore[2..]);
    // Each time the same words: a series, not one more Event.
    eventually("it is told", || told(bed, "broken", "Isolated").iter().any(|event| event["series"].is_object()));
    let once = ["Isolated", "NotIsolated"].map(|reason| told(bed, "broken", reason).len());
    assert_eq!(once, [1, 1]);
}

fn case_54_what_was_deleted_while_nothing_watched_is_restored_at_the_next_start() {
    let (world, _turn) = disturbed();
    let bed = &world.bed;
    isolated_namespace(bed, "unwatched");
    isolated_namespace(bed, "untouched");
    *world.ringfence.lock().unwrap() = None;
    as_controller(bed, &["delete", "networkpolicies", "--all", "-n", "unwatched"]).expect_ok();
    assert!(is_isolated(bed, "unwatched"), "nobody is there to see it");
    let mark = bed.audit_mark();
    *world.ringfence.lock().unwrap() = Some(bed.start_ringfence(&world.installation, &Replica::default()));
    eventually("all of it is back", || {
        // The last of its writes: what came before is in the log, too.
        said(&written(bed, &mark, "unwatched")).iter().filter(|said| *said == "patch namespaces unwatched").count() == 2
    });
    assert_eq!(policies(bed, "unwatched"), STANDARD);
    assert!(is_isolated(bed, "unwatched"));
    assert_eq!(said(&written(bed, &mark, "untouched")), Vec::<String>::new());
}

/// Changes a policy back whenever it is restored, until it is dropped.
fn fight<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    bed: &'scope Bed,
    namespace: &'scope str,
    over: &'scope AtomicBool,
) {
    scope.spawn(move || {
        let opens = json!({ "spec": opens_ingress() }).to_string();
        while !over.load(Ordering::Relaxed) {
            if get(bed, namespace, "networkpolicy/default-deny-all")["spec"] == denies_all() {
                as_controller(
                    bed,
                    &["patch", "networkpolicy", "default-deny-all", "-n", namespace, "--type=merge", "-p", &opens],
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    });
}

fn case_55_a_fight_ends_in_an_annotation_and_one_event_and_is_tried_again_later() {
    let bed = shared();
    isolated_namespace(bed, "fought");
    // Held for long, meanwhile, in another namespace.
    opened_by_argocd(bed, "overlooked");
    run_pod(bed, "overlooked", "waits");

    let mark = bed.audit_mark();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        fight(scope, bed, "fought", &over);
        // Whatever fails below, the other one stops.
        let stop = Over(&over);
        let text = eventually_some("the controller gives up", || {
            Some(conflict(bed, "fought")).filter(|text| !text.is_empty())
        });
        let fought = "NetworkPolicy default-deny-all is changed back by another writer whenever Ringfence restores it";
        assert!(text.starts_with(fought), "{text}");
        drop(stop);
    });
    assert!(!is_isolated(bed, "fought"));
    until_pods_are_held(bed, "fought");
    run_pod(bed, "fought", "waits");
    assert!(is_held(bed, "fought", "waits"));
    let restorations = || {
        let all = said(&written(bed, &mark, "fought"));
        all.iter().filter(|said| *said == "patch networkpolicies default-deny-all").count()
    };
    let before = restorations();
    assert!((1..=6).contains(&before), "{before} writes in a fight");

    // In the end it is tried again, once, and stays.
    eventually("the truce is over", || is_isolated(bed, "fought") && conflict(bed, "fought").is_empty());
    until_bound(bed, "fought", "waits");
    assert_eq!(restorations(), before + 1);
    let all = written(bed, &mark, "fought");
    assert!(all.len() < 4 * before + 10, "{:#?}", said(&all));
    assert_eq!(told(bed, "fought", "BaselineConflict").len(), 1);
    assert_eq!(told(bed, "fought", "NotIsolated").len(), 1);
    assert_eq!(told(bed, "fought", "Isolated").len(), 1);

    eventually("the pod that is held for long is named", || !told(bed, "overlooked", "HeldForLong").is_empty());
    let [named] = told(bed, "overlooked", "HeldForLong").try_into().unwrap();
    assert_eq!((&named["regarding"]["kind"], &named["regarding"]["name"]), (&json!("Pod"), &json!("waits")));
    let note = named["note"].as_str().unwrap();
    assert!(note.contains("default-deny-all is not managed by Ringfence"), "{note}");
}

fn case_55_a_label_that_another_writer_strips_from_every_write_is_no_hot_loop() {
    let bed = shared();
    let kind = "MutatingAdmissionPolicy";
    let strip = "has(object.metadata.labels) && 'ringfence.dev/isolated' in object.metadata.labels ? \
                 [JSONPatch{op: 'remove', path: '/metadata/labels/ringfence.dev~1isolated'}] : []";
    let selector = json!({ "matchLabels": { "kubernetes.io/metadata.name": "stripped" } });
    let rule =
        json!({ "apiGroups": [""], "apiVersions": ["v1"], "resources": ["namespaces"], "operations": ["UPDATE"] });
    create_before_ringfence(bed, "stripped");
    let isolated = json!({ "metadata": { "labels": { "ringfence.dev/isolated": "true" } } }).to_string();
    let set = ["patch", "namespace", "stripped", "--type=merge", "-p", &isolated, "--dry-run=server", "-o", "json"];
    apply_mutation(bed, "strips-isolated", &selector, &rule, strip, || {
        !as_controller(bed, &set).expect_ok().contains("ringfence.dev/isolated")
    });
    let mark = bed.audit_mark();
    let adopt = ["label", "namespace", "stripped", "ringfence.dev/profile=standard", "ringfence.dev/mode=enforce"];
    bed.kubectl(&adopt).expect_ok();
    let writes = || {
        let all = said(&written(bed, &mark, "stripped"));
        all.iter().filter(|said| *said == "patch namespaces stripped").count()
    };
    eventually("it is tried more than once", || writes() >= 3);
    // Each try waits longer than the one before: within the time of the first few tries there can't be many.
    std::thread::sleep(Duration::from_secs(5));
    assert!(writes() <= 20, "{} writes that do not stay", writes());
    assert!(told(bed, "stripped", "Isolated").len() <= 1);
    bed.kubectl(&["delete", kind, "strips-isolated"]).expect_ok();
    until_isolated(bed, "stripped");
}

fn a_policy_that_may_not_be_written_is_tried_again_less_and_less_often_and_is_no_fight() {
    let bed = shared();
    create_labelled(bed, "limited", &json!({ "ringfence.dev/mode": "warn" }), &json!({}));
    let quota = ["create", "quota", "none", "-n", "limited", "--hard=count/networkpolicies.networking.k8s.io=0"];
    bed.kubectl(&quota).expect_ok();
    eventually("the quota counts", || get(bed, "limited", "quota/none")["status"]["used"].is_object());
    let mark = bed.audit_mark();
    label(bed, "limited", "ringfence.dev/mode=enforce");
    let tries = || {
        let all = said(&written(bed, &mark, "limited"));
        all.iter().filter(|said| said.ends_with("default-deny-all")).count()
    };
    eventually("it is tried again and again", || tries() >= 7);
    assert!(!conflict(bed, "limited").contains("changed back"), "{}", conflict(bed, "limited"));
    bed.kubectl(&["delete", "quota", "none", "-n", "limited"]).expect_ok();
    eventually("it goes through in the end", || is_isolated(bed, "limited"));
    eventually("nothing is in the way any more", || conflict(bed, "limited").is_empty());
}

fn a_namespace_that_is_made_anew_again_and_again_is_no_fight() {
    let bed = shared();
    for _ in 0..3 {
        create_namespace(bed, "anew");
        until_isolated(bed, "anew");
        assert_eq!(policies(bed, "anew"), STANDARD);
        bed.kubectl(&["delete", "namespace", "anew"]).expect_ok();
    }
    isolated_namespace(bed, "undecided");
    for profile in ["strict", "standard"].repeat(4) {
        label(bed, "undecided", &format!("ringfence.dev/profile={profile}"));
        let count = if profile == "strict" { 2 } else { 3 };
        eventually("it has what the profile has", || policies(bed, "undecided").len() == count);
    }
}

/// A namespace that a GitOps tool has filled before it was enforced.
fn filled_by_argocd(bed: &Bed, namespace: &str, spec: &Value) {
    create_labelled(bed, namespace, &json!({ "ringfence.dev/mode": "warn" }), &json!({}));
    bed.kubectl(&["create", "rolebinding", "gitops", "-n", namespace, "--clusterrole=admin", "--user=alice"])
        .expect_ok();
    apply_as_argocd(bed, namespace, spec);
    label(bed, namespace, "ringfence.dev/mode=enforce");
}

fn apply_as_argocd(bed: &Bed, namespace: &str, spec: &Value) {
    let manifest = policy(namespace, "default-deny-all", spec);
    let apply = ["apply", "--server-side", "--field-manager=argocd", "-f", "-"];
    eventually("alice may, and does", || bed.kubectl_at(0, ALICE, &apply, &manifest).ok);
}

fn opened_by_argocd(bed: &Bed, namespace: &str) {
    filled_by_argocd(bed, namespace, &opens_ingress());
    eventually("the conflict is reported", || !conflict(bed, namespace).is_empty());
    until_pods_are_held(bed, namespace);
}

fn owners(bed: &Bed, namespace: &str) -> Vec<String> {
    let object = get(bed, namespace, "networkpolicy/default-deny-all");
    let fields = object["metadata"]["managedFields"].as_array().unwrap();
    fields.iter().map(|fields| fields["manager"].as_str().unwrap().to_owned()).collect()
}

fn a_policy_of_a_gitops_tool_that_does_the_same_is_judged_and_left_alone() {
    let bed = shared();
    // Not the same to the letter, but to the effect.
    let spec = json!({ "podSelector": {}, "policyTypes": ["Egress", "Ingress"], "ingress": [], "egress": [] });
    filled_by_argocd(bed, "gitops", &spec);
    until_isolated(bed, "gitops");
    assert_eq!(policies(bed, "gitops"), STANDARD);
    assert_eq!(owners(bed, "gitops"), ["argocd"]);
    assert_eq!(get(bed, "gitops", "networkpolicy/default-deny-all")["metadata"]["labels"], Value::Null);
    assert_eq!(conflict(bed, "gitops"), "");
    // Its next sync changes nothing, and is nobody's concern.
    let mark = bed.audit_mark();
    apply_as_argocd(bed, "gitops", &spec);
    // One that is less has no place under a name of the baseline.
    let less = policy("gitops", "default-deny-all", &json!({ "podSelector": {}, "policyTypes": ["Ingress"] }));
    let apply = ["apply", "--server-side", "--field-manager=argocd", "--force-conflicts", "-f", "-"];
    let refused = bed.kubectl_at(0, ALICE, &apply, &less).expect_error();
    assert!(refused.contains("ManagedPolicy: ") && refused.contains("use another name"), "{refused}");
    run_pod(bed, "gitops", "web");
    until_bound(bed, "gitops", "web");
    assert_eq!(said(&written(bed, &mark, "gitops")), Vec::<String>::new());
    assert!(is_isolated(bed, "gitops") && conflict(bed, "gitops").is_empty());
}

fn a_policy_of_a_gitops_tool_that_opens_the_namespace_is_reported_and_left_alone() {
    let bed = shared();
    opened_by_argocd(bed, "gitops-open");
    let text = conflict(bed, "gitops-open");
    let not_ours =
        "NetworkPolicy default-deny-all is not managed by Ringfence and says something else than the profile; ";
    assert!(text.starts_with(not_ours) && text.contains("ingress ALL"), "{text}");
    // What stands in for it is there; what it opens stays its owner's to close.
    let names = ["allow-dns", "allow-same-namespace", "default-deny-all", "default-deny-all-ringfence"];
    eventually("another name stands in", || policies(bed, "gitops-open") == names);
    assert_eq!(owners(bed, "gitops-open"), ["argocd"]);
    run_pod(bed, "gitops-open", "waits");
    assert!(is_held(bed, "gitops-open", "waits"));
    eventually("it is told", || !told(bed, "gitops-open", "BaselineConflict").is_empty());
    let [event] = told(bed, "gitops-open", "BaselineConflict").try_into().unwrap();
    assert!(event["note"].as_str().unwrap().contains(not_ours), "{event:#}");

    apply_as_argocd(bed, "gitops-open", &denies_all());
    until_bound(bed, "gitops-open", "waits");
    until_isolated(bed, "gitops-open");
    eventually("nothing is in the way any more", || conflict(bed, "gitops-open").is_empty());
    eventually("its own name serves again", || policies(bed, "gitops-open") == STANDARD);
    assert_eq!(owners(bed, "gitops-open"), ["argocd"]);
    assert_eq!(told(bed, "gitops-open", "BaselineConflict").len(), 1);
}

fn an_exemption_ends_by_itself() {
    let bed = shared();
    let annotations =
        json!({ "ringfence.dev/exempt-reason": "migration", "ringfence.dev/exempt-until": in_seconds(3600) });
    create_labelled(bed, "exempt", &json!({ "ringfence.dev/mode": "exempt" }), &annotations);
    run_pod(bed, "exempt", "runs");
    assert!(!is_held(bed, "exempt", "runs"));
    bed.apply(&policy("exempt", "wide", &opens_ingress()));
    bed.kubectl(&["delete", "networkpolicy", "wide", "-n", "exempt"]).expect_ok();
    assert_eq!(policies(bed, "exempt"), Vec::<String>::new());
    assert_eq!(crate::steps::labels(bed, "exempt")["ringfence.dev/mode"], "exempt");
    eventually("its end is announced", || told(bed, "exempt", "ExemptionEnds").len() == 1);
    end_soon(bed, &["namespace", "exempt"], "ringfence.dev/exempt-until");
    until_isolated(bed, "exempt");
    assert_eq!(crate::steps::labels(bed, "exempt")["ringfence.dev/mode"], "enforce");
    assert_eq!(policies(bed, "exempt"), STANDARD);
    eventually("it is told", || {
        ["ExemptionEnded", "Isolated"].iter().all(|reason| told(bed, "exempt", reason).len() == 1)
    });
}

fn an_exception_ends_by_itself() {
    let bed = shared();
    isolated_namespace(bed, "excepted");
    let mut wide: Value = serde_json::from_str(&policy("excepted", "wide", &opens_ingress())).unwrap();
    wide["metadata"]["annotations"] =
        json!({ "ringfence.dev/exception-reason": "legacy", "ringfence.dev/exception-until": in_seconds(3600) });
    bed.apply(&wide.to_string());
    eventually("its end is announced", || told(bed, "excepted", "ExceptionEnds").len() == 1);
    assert!(is_isolated(bed, "excepted"));
    run_pod(bed, "excepted", "runs");
    assert!(!is_held(bed, "excepted", "runs"));
    let exception = ["networkpolicy", "wide", "-n", "excepted"];
    let until = end_soon(bed, &exception, "ringfence.dev/exception-until");
    eventually("its policy is quarantined", || {
        get(bed, "excepted", "networkpolicy/wide")["metadata"]["annotations"]["ringfence.dev/quarantined"].is_string()
    });
    assert!(jiff::Timestamp::now() >= until.parse().unwrap(), "it ended before its time");
    let wide = get(bed, "excepted", "networkpolicy/wide");
    assert_eq!(wide["spec"]["ingress"], Value::Null);
    assert_eq!(wide["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
    eventually("it is told", || told(bed, "excepted", "PolicyQuarantined").len() == 1);
    assert!(is_isolated(bed, "excepted") && conflict(bed, "excepted").is_empty());
    assert_eq!(told(bed, "excepted", "NotIsolated"), Vec::<Value>::new());
}

fn out_of_enforce_the_policies_stay_and_everything_that_waits_is_let_go() {
    let bed = shared();
    isolated_namespace(bed, "leaving");
    label(bed, "leaving", "ringfence.dev/mode=warn");
    until_not_isolated(bed, "leaving");
    assert_eq!(policies(bed, "leaving"), STANDARD);
    // What is deleted now stays deleted.
    bed.kubectl(&["delete", "networkpolicy", "allow-dns", "-n", "leaving"]).expect_ok();

    opened_by_argocd(bed, "leaving-open");
    run_pod(bed, "leaving-open", "waits");
    assert!(is_held(bed, "leaving-open", "waits"));
    label(bed, "leaving-open", "ringfence.dev/mode=audit");
    until_bound(bed, "leaving-open", "waits");
    eventually("nothing is in the way any more", || conflict(bed, "leaving-open").is_empty());
    assert_eq!(policies(bed, "leaving-open").len(), STANDARD.len() + 1);
    assert_eq!(policies(bed, "leaving"), STANDARD[1..]);

    label(bed, "leaving", "ringfence.dev/mode=enforce");
    until_isolated(bed, "leaving");
    assert_eq!(policies(bed, "leaving"), STANDARD);
}

fn an_unknown_profile_that_is_stored_counts_as_the_default_one() {
    let bed = shared();
    // As with a configuration that has lost a profile.
    let labels = ["--overwrite", "ringfence.dev/profile=lost", "ringfence.dev/mode=nonsense"];
    create_before_ringfence(bed, "lost");
    run_pod(bed, "lost", "before");
    as_controller(bed, &[&["label", "namespace", "lost"], &labels[..]].concat()).expect_ok();
    until_isolated(bed, "lost");
    assert_eq!(policies(bed, "lost"), STANDARD);
    run_pod(bed, "lost", "after");
    until_bound(bed, "lost", "after");
}

fn case_56_two_deletes_that_two_replicas_admit_are_repaired() {
    let (world, _turn) = disturbed();
    let bed = &world.bed;
    // A replica whose news from the API server are held up: what it learns late it can't judge by.
    *world.ringfence.lock().unwrap() = None;
    let behind = bed.front(&[bed.server(0).address()]);
    let late = bed.start_ringfence(&world.installation, &Replica { via: Some(behind.url()), ..Replica::named("late") });
    create_labelled(
        bed,
        "twice",
        &json!({ "ringfence.dev/mode": "warn", "ringfence.dev/profile": "deny-all" }),
        &json!({}),
    );
    bed.apply(&policy("twice", "default-deny-all", &denies_all()));
    bed.apply(&policy("twice", "as-well", &denies_all()));
    eventually("the replica knows them", || {
        let said = bed.kubectl(&["delete", "networkpolicy", "as-well", "-n", "twice", "--dry-run=server"]);
        said.ok && !said.stderr.contains("Warning")
    });
    let mark = bed.audit_mark();
    label(bed, "twice", "ringfence.dev/mode=enforce");
    until_isolated_and_logged(bed, &mark, "twice");
    let mark = bed.audit_mark();
    behind.stall();
    bed.kubectl(&["delete", "networkpolicy", "default-deny-all", "-n", "twice"]).expect_ok();
    // This replica has reserved the first one, and admits no second.
    bed.kubectl(&["delete", "networkpolicy", "as-well", "-n", "twice"]).expect_error();
    // Another one, which has not heard of the first, would.
    as_controller(bed, &["delete", "networkpolicy", "as-well", "-n", "twice"]).expect_ok();
    assert_eq!(policies(bed, "twice"), Vec::<String>::new());
    behind.resume();
    eventually("it is repaired", || policies(bed, "twice") == ["default-deny-all"]);
    // Isolated goes first and comes last, unless the news of the first delete came alone: it was repaired then before the
    // second one was known, and the namespace was never weak as far as the replica could see.
    let order = ["patch namespaces twice", "patch networkpolicies default-deny-all", "patch namespaces twice"];
    eventually("it is isolated", || {
        let said = said(&written(bed, &mark, "twice"));
        is_isolated(bed, "twice") && (said == order || said == order[1..2])
    });
    // Now it is Ringfence's own, and one delete is refused.
    bed.kubectl(&["delete", "networkpolicy", "default-deny-all", "-n", "twice"]).expect_error();
    drop(late);
    *world.ringfence.lock().unwrap() = Some(bed.start_ringfence(&world.installation, &Replica::default()));
}
