//! Two requests that are fine alone (case 69): one replica admits no two that open a hole or end coverage together, and what
//! two replicas admit, behind two API servers, the controller closes.

use axum::http::Method;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::ask::{Answer, send};
use crate::direct::decide;
use crate::harness::{Bed, Options, Replica, World, eventually};
use crate::scene::{POLICIES, admin, is_isolated, isolated_namespace, policy};

crate::tests![
    case_69_halves_of_a_hole_are_never_both_admitted_by_one_replica_and_are_closed_behind_two,
    a_creation_that_fails_again_and_again_keeps_nobody_from_changing_policies,
    no_review_of_what_no_api_server_sends_is_kept,
];

/// How often two requests are sent at the same time.
const TRIES: usize = 100;

/// A block of the width that the profile lets a policy have: two of them are too many.
fn half(name: &str, cidr: &str) -> Value {
    let rules = json!([{ "from": [{ "ipBlock": { "cidr": cidr } }] }]);
    policy(name, json!({ "podSelector": {}, "policyTypes": ["Ingress"], "ingress": rules }))
}

/// A hundred ports for every peer: two hundred are a hole.
fn ports(name: &str, from: u16) -> Value {
    let rules = json!([{ "ports": [{ "port": from, "endPort": from + 99 }] }]);
    policy(name, json!({ "podSelector": {}, "policyTypes": ["Ingress"], "ingress": rules }))
}

/// Every pod with a label and every pod without: each opens pods that no policy names.
fn pods(name: &str, operator: &str) -> Value {
    let selector = json!({ "matchExpressions": [{ "key": "app", "operator": operator }] });
    policy(name, json!({ "podSelector": selector, "policyTypes": ["Ingress"], "ingress": [{}] }))
}

/// Creates two policies at the same time, each by another API server.
fn both(bed: &Bed, namespace: &str, halves: &[Value; 2]) -> Vec<Answer> {
    let clients = [bed.client(0), bed.client(1)];
    let path = format!("{POLICIES}/{namespace}/networkpolicies");
    let sent = halves.iter().zip(&clients).map(|(half, client)| send(client, Method::POST, &path, half));
    bed.run(join_all(sent))
}

fn name(half: &Value) -> &str {
    half["metadata"]["name"].as_str().unwrap()
}

fn delete(bed: &Bed, namespace: &str, half: &Value) {
    admin(bed).delete(&format!("{POLICIES}/{namespace}/networkpolicies/{}", name(half)), &Value::Null);
}

/// Whether a policy is stored and has rules.
fn opens(bed: &Bed, namespace: &str, half: &Value) -> bool {
    let client = bed.client(0);
    let path = format!("{POLICIES}/{namespace}/networkpolicies/{}", name(half));
    let answer = bed.run(send(&client, Method::GET, &path, &Value::Null));
    answer.status == 200 && answer.body["spec"]["ingress"].as_array().is_some_and(|rules| !rules.is_empty())
}

fn case_69_halves_of_a_hole_are_never_both_admitted_by_one_replica_and_are_closed_behind_two() {
    let bed = Bed::start(&Options { api_servers: 2, ..Options::whole() });
    let installation = bed.install(&[]);
    let one = bed.start_ringfence(&installation, &Replica::named("one"));
    isolated_namespace(&bed, "halves");
    // Each opens pods that nobody names, so neither is admitted.
    for answer in both(&bed, "halves", &[pods("half1", "Exists"), pods("half2", "DoesNotExist")]) {
        answer.expect_denied("BaselineWeakened");
    }
    let pair = |index: usize| {
        let [a, b] = ["a", "b"].map(|half| format!("{half}-{index}"));
        if index.is_multiple_of(2) {
            [half(&a, "20.0.0.0/7"), half(&b, "40.0.0.0/7")]
        } else {
            [ports(&a, 1001), ports(&b, 2001)]
        }
    };
    for index in 0..TRIES {
        let halves = pair(index);
        let answers = both(&bed, "halves", &halves);
        let stored: Vec<&Value> = halves.iter().filter(|half| opens(&bed, "halves", half)).collect();
        let [stored] = stored.as_slice() else { panic!("try {index}: {answers:#?}") };
        let refused = answers.iter().find(|answer| answer.status >= 300).unwrap();
        refused.expect_denied("BaselineWeakened");
        // One after the other it is refused as well.
        let other = halves.iter().find(|half| name(half) != name(stored)).unwrap();
        let path = format!("{POLICIES}/halves/networkpolicies");
        admin(&bed).create(&path, other).expect_denied("BaselineWeakened");
        delete(&bed, "halves", stored);
    }
    assert!(is_isolated(&admin(&bed), "halves"));

    let two = bed.start_ringfence(&installation, &Replica::named("two"));
    let mut both_stored = 0;
    for index in TRIES..2 * TRIES {
        let halves = pair(index);
        // Each API server makes a new connection, and each leads to another replica.
        installation.front.cut();
        let stored = both(&bed, "halves", &halves).iter().filter(|answer| answer.status == 201).count();
        both_stored += usize::from(stored == 2);
        // What was removed stays so until somebody applies it again, and that is judged.
        eventually("one of them at most opens anything", || {
            halves.iter().filter(|half| opens(&bed, "halves", half)).count() <= 1
        });
        assert!(is_isolated(&admin(&bed), "halves"), "try {index}");
        for half in &halves {
            delete(&bed, "halves", half);
        }
    }
    // Replicas share no reservations, so that some of these were admitted by both: else nothing was closed.
    assert!(both_stored > 0, "of {TRIES} tries behind two replicas none stored both halves");
    drop((one, two));
}

fn a_creation_that_fails_again_and_again_keeps_nobody_from_changing_policies() {
    let bed = &World::shared().bed;
    isolated_namespace(bed, "again");
    let policies = format!("{POLICIES}/again/networkpolicies");
    let narrow = |name: &str| half(name, "203.0.113.0/24");
    admin(bed).create(&policies, &narrow("there")).expect_ok();
    // More often than a namespace can have changes pending.
    for _ in 0..70 {
        assert_eq!(admin(bed).create(&policies, &narrow("there")).status, 409);
    }
    admin(bed).create(&policies, &narrow("another")).expect_ok();
}

fn no_review_of_what_no_api_server_sends_is_kept() {
    let world = World::shared();
    isolated_namespace(&world.bed, "asked-about");
    let review = |namespace: &str, name: &str, uid: &str| {
        let mut object = half(name, "203.0.113.0/24");
        object["metadata"]["namespace"] = json!(namespace);
        object["metadata"]["uid"] = json!(uid);
        json!({
            "operation": "CREATE", "namespace": namespace, "name": name, "object": object,
            "kind": { "group": "networking.k8s.io", "version": "v1", "kind": "NetworkPolicy" },
            "resource": { "group": "networking.k8s.io", "version": "v1", "resource": "networkpolicies" },
        })
    };
    let ringfence = world.ringfence.lock().unwrap();
    let ringfence = ringfence.as_ref().unwrap();
    let ask =
        |namespace: &str, name: &str, uid: &str| decide(&world.installation, ringfence, &review(namespace, name, uid));
    assert!(ask("asked-about", "p", "u").allows());
    let long = "u".repeat(1 << 20);
    for (namespace, name, uid) in [
        ("no url", "p", "u"),
        ("a/../b", "p", "u"),
        ("", "p", "u"),
        (long.as_str(), "p", "u"),
        ("asked-about", "no name", "u"),
        ("asked-about", long.as_str(), "u"),
        ("asked-about", "p", long.as_str()),
    ] {
        let reply = ask(namespace, name, uid);
        assert_eq!(reply.status, 400, "{reply:?}");
    }
}
