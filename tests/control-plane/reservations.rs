//! Two requests that are fine alone (case 69): one replica admits no two that open a hole or end coverage together, and what
//! two replicas admit, behind two API servers, the controller closes.

use axum::http::Method;
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use serde_json::{Value, json};

use crate::ask::{Answer, send};
use crate::direct::decide;
use crate::harness::{ADMIN, Bed, Event, Mark, Options, Replica, Ringfence, World, eventually};
use crate::scene::{POLICIES, admin, from_block, policy};
use crate::steps::{CONTROLLER, isolated_namespace};

crate::tests![
    case_69_halves_of_a_hole_are_never_both_admitted_by_one_replica_and_are_closed_behind_two,
    a_creation_that_fails_again_and_again_keeps_nobody_from_changing_policies,
    no_review_of_what_no_api_server_sends_is_kept,
];

/// How often each pair is sent at the same time; to one replica as often one after the other.
const TRIES: usize = 100;

/// How often each pair is sent to two replicas one after the other.
const IN_TURN: usize = 20;

/// How often each pair is sent to two replicas of which one does not know what the other has admitted.
const UNHEARD: usize = 5;

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

/// Two policies that are fine alone: blocks and ports take turns, and no two pairs have a name in common.
fn pair(index: usize) -> [Value; 2] {
    let [a, b] = ["a", "b"].map(|half| format!("{half}-{index}"));
    if index.is_multiple_of(2) {
        [from_block(&a, "20.0.0.0/7"), from_block(&b, "40.0.0.0/7")]
    } else {
        [ports(&a, 1001), ports(&b, 2001)]
    }
}

fn name(half: &Value) -> &str {
    half["metadata"]["name"].as_str().unwrap()
}

/// Two API servers, asked by a cluster admin about one namespace.
struct Servers<'b> {
    bed: &'b Bed,
    clients: [Client; 2],
    policies: String,
}

impl<'b> Servers<'b> {
    fn new(bed: &'b Bed, namespace: &str) -> Self {
        let policies = format!("{POLICIES}/{namespace}/networkpolicies");
        Self { bed, clients: [bed.client(0), bed.client(1)], policies }
    }

    fn create(&self, server: usize, half: &Value) -> Answer {
        self.bed.run(send(&self.clients[server], Method::POST, &self.policies, half))
    }

    /// Creates two policies at the same time, each by another API server.
    fn create_both(&self, halves: &[Value; 2]) -> Vec<Answer> {
        let sent = halves.iter().zip(&self.clients);
        let sent = sent.map(|(half, client)| send(client, Method::POST, &self.policies, half));
        self.bed.run(join_all(sent))
    }

    fn at(&self, method: Method, half: &Value) -> Answer {
        let path = format!("{}/{}", self.policies, name(half));
        self.bed.run(send(&self.clients[0], method, &path, &Value::Null))
    }

    fn delete(&self, half: &Value) -> Answer {
        self.at(Method::DELETE, half)
    }

    /// True if a policy is stored and has rules.
    fn opens(&self, half: &Value) -> bool {
        let answer = self.at(Method::GET, half);
        answer.status == 200 && answer.body["spec"]["ingress"].as_array().is_some_and(|rules| !rules.is_empty())
    }

    /// Rules that the controller removed stay away: only a new request brings them back, and that is judged.
    fn until_at_most_one_opens(&self, halves: &[Value; 2]) {
        eventually("one of them at most opens anything", || halves.iter().filter(|half| self.opens(half)).count() <= 1);
    }

    fn delete_both(&self, halves: &[Value; 2]) {
        for half in halves {
            self.delete(half);
        }
    }
}

fn case_69_halves_of_a_hole_are_never_both_admitted_by_one_replica_and_are_closed_behind_two() {
    let bed = Bed::start(&Options { api_servers: 2, audit_bodies: true, ..Options::default() });
    let installation = bed.install(&[]);
    let one = bed.start_ringfence(&installation, &Replica::named("one"));
    isolated_namespace(&bed, "halves");
    let mark = bed.audit_mark();
    let servers = Servers::new(&bed, "halves");
    // Each opens pods that nobody names, so neither is admitted.
    for answer in servers.create_both(&[pods("half1", "Exists"), pods("half2", "DoesNotExist")]) {
        answer.expect_denied("BaselineWeakened");
    }
    never_both_by_one_replica(&servers);

    // The second replica reaches its API server through a network that can be stalled.
    let network = bed.front(&[bed.server(0).address()]);
    let through = Replica { via: Some(network.url()), ..Replica::named("two") };
    let two = bed.start_ringfence(&installation, &through);
    let mut both = Vec::new();
    for index in 2 * TRIES..4 * TRIES {
        let halves = pair(index);
        // Each API server makes a new connection, and each leads to another replica.
        installation.front.cut();
        if servers.create_both(&halves).iter().all(|answer| answer.status == 201) {
            both.push(halves.clone());
        }
        servers.until_at_most_one_opens(&halves);
        servers.delete_both(&halves);
    }
    let at_once = both.len();
    for index in 4 * TRIES..4 * TRIES + 2 * IN_TURN {
        let halves = pair(index);
        installation.front.cut();
        // A replica that does not know yet that the pair before is gone refuses this one.
        eventually("the first is stored", || servers.create(0, &halves[0]).status == 201);
        if servers.create(1, &halves[1]).status == 201 {
            both.push(halves.clone());
        }
        servers.until_at_most_one_opens(&halves);
        servers.delete_both(&halves);
    }
    let in_turn = both.len() - at_once;
    // Replicas share no reservations. One whose watch is stalled does not know what the other has admitted, so it admits the
    // other half: here there is something to close for certain.
    for index in 5 * TRIES..5 * TRIES + 2 * UNHEARD {
        let halves = pair(index);
        let ask_only = |replica: &Ringfence| {
            installation.front.point_at(&[replica.address]);
            installation.front.cut();
        };
        eventually("both halves are stored", || {
            servers.delete_both(&halves);
            ask_only(&two);
            let dry = format!("{}?dryRun=All", servers.policies);
            eventually("the second replica knows that the pairs before are gone", || {
                bed.run(send(&servers.clients[1], Method::POST, &dry, &halves[1])).status == 201
            });
            network.stall();
            ask_only(&one);
            let first = servers.create(0, &halves[0]).status;
            ask_only(&two);
            let second = servers.create(1, &halves[1]).status;
            network.resume();
            (first, second) == (201, 201)
        });
        both.push(halves.clone());
        servers.until_at_most_one_opens(&halves);
        servers.delete_both(&halves);
    }
    let closed = isolated_all_along(&bed, &mark, &both);
    let (median, longest) = (closed[closed.len() / 2], closed[closed.len() - 1]);
    println!(
        "case 69: of {} tries two replicas admitted both halves {at_once} times, of {} in turn {in_turn} times; from the \
         second creation to the quarantine: median {} ms, longest {} ms, of {}",
        2 * TRIES,
        2 * IN_TURN,
        median.as_millis(),
        longest.as_millis(),
        closed.len()
    );
    drop((one, two));
}

fn never_both_by_one_replica(servers: &Servers<'_>) {
    for index in 0..2 * TRIES {
        let halves = pair(index);
        let answers = servers.create_both(&halves);
        let stored: Vec<&Value> =
            halves.iter().zip(&answers).filter(|(_, answer)| answer.status == 201).map(|(half, _)| half).collect();
        let [stored] = stored.as_slice() else { panic!("try {index}: {answers:#?}") };
        answers.iter().find(|answer| answer.status != 201).unwrap().expect_denied("BaselineWeakened");
        servers.delete(stored).expect_ok();
        // One after the other, without a pause: what is admitted counts before anybody has seen it stored.
        let server = index / 2 % 2;
        let first = servers.create(server, &halves[0]);
        let second = servers.create(1 - server, &halves[1]);
        assert_eq!(first.status, 201, "try {index}: {first:#?}");
        second.expect_denied("BaselineWeakened");
        servers.delete(&halves[0]).expect_ok();
    }
}

/// Checks that every write of the namespace since then left the label `isolated` in place. Returns for each of these pairs, sorted,
/// the time from the answer to the second creation to the answer to the quarantine.
fn isolated_all_along(bed: &Bed, mark: &Mark, both: &[[Value; 2]]) -> Vec<SignedDuration> {
    let is_write = |event: &Event| event.resource == "namespaces" && event.name == "halves" && event.verb != "get";
    let end = bed.audit_mark();
    bed.kubectl(&["annotate", "namespace", "halves", "example.com/over=true"]).expect_ok();
    eventually("the last write of the namespace is logged", || {
        bed.audit_since(&end).iter().any(|event| is_write(event) && event.user == ADMIN)
    });
    let events = bed.audit_since(mark);
    // A write that failed changed nothing.
    for event in events.iter().filter(|event| is_write(event) && event.code == 200) {
        let labels = &event.whole["responseObject"]["metadata"]["labels"];
        assert_eq!(labels["ringfence.dev/isolated"], "true", "{event:#?}");
    }
    let at = |event: &Event| -> Timestamp { event.whole["stageTimestamp"].as_str().unwrap().parse().unwrap() };
    let of = |half: &Value, event: &Event| event.resource == "networkpolicies" && event.name == name(half);
    let created = |half: &Value| {
        // The last one: of two replicas the stalled one may have needed another try.
        let event = events.iter().rev().find(|event| of(half, event) && event.verb == "create" && event.code == 201);
        at(event.unwrap_or_else(|| panic!("{half:#} was not created")))
    };
    let removes_rules = |event: &&Event| {
        event.user == CONTROLLER && event.code == 200 && event.whole["requestObject"]["spec"].get("ingress").is_some()
    };
    let mut closed: Vec<SignedDuration> = both
        .iter()
        .map(|halves| {
            let opened = halves.iter().map(created).max().unwrap();
            let removed = events.iter().filter(removes_rules).filter(|event| halves.iter().any(|half| of(half, event)));
            let closed = removed.map(at).min().unwrap_or_else(|| panic!("{halves:#?} are not closed"));
            closed.duration_since(opened)
        })
        .collect();
    closed.sort_unstable();
    closed
}

fn a_creation_that_fails_again_and_again_keeps_nobody_from_changing_policies() {
    let bed = &World::shared().bed;
    isolated_namespace(bed, "again");
    let policies = format!("{POLICIES}/again/networkpolicies");
    let narrow = |name: &str| from_block(name, "203.0.113.0/24");
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
        let mut object = from_block(name, "203.0.113.0/24");
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
