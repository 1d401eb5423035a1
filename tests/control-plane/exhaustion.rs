//! Objects that a tenant crafts to keep Ringfence busy, or to fill its memory: policies as large as the API server stores,
//! and as many as it lets in.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::Method;
use futures::StreamExt;
use kube::Client;
use serde_json::{Value, json};

use crate::ask::{Answer, send};
use crate::direct::Over;
use crate::harness::{Bed, Options, Replica, Ringfence};
use crate::scene::{POLICIES, policy};
use crate::steps::{create_namespace, is_isolated, isolated_namespace, until_isolated};

crate::tests![
    policies_as_large_as_can_be_are_decided_in_time_and_nobody_else_waits,
    policies_as_large_as_can_be_fit_into_memory_also_at_a_restart,
    a_thousand_policies_that_are_hard_to_judge_delay_no_other_namespace,
];

/// Specs with about so many of something each, for each kind of trouble.
fn hostile(count: usize) -> Vec<(&'static str, Value)> {
    let expression =
        |key: String, operator: &str, values: Value| json!({ "key": key, "operator": operator, "values": values });
    let keys: serde_json::Map<String, Value> = (0..count / 4).map(|n| (format!("key-{n}"), json!("v"))).collect();
    let values: Vec<String> = (0..count).map(|n| format!("v{n}")).collect();
    let excluded: Vec<Value> = (0..count / 16)
        .map(|n| expression(format!("k{n}"), "NotIn", json!([format!("a{n}"), format!("b{n}")])))
        .collect();
    let blocks: Vec<Value> = (0..count / 6)
        .map(|n| json!({ "ipBlock": { "cidr": format!("{}.{}.{}.0/24", 1 + n / 65536, n / 256 % 256, n % 256) } }))
        .collect();
    let peers: Vec<Value> = (0..count / 6)
        .map(|n| json!({ "namespaceSelector": { "matchLabels": { (format!("team-{n}")): "x" } } }))
        .collect();
    let ports: Vec<Value> = (0..count / 4).map(|n| json!({ "port": 1 + n % 65535 })).collect();
    let values = json!([expression("app".to_owned(), "In", json!(values))]);
    vec![
        ("keys", json!({ "podSelector": { "matchLabels": keys } })),
        ("values", json!({ "podSelector": { "matchExpressions": values } })),
        ("excluded", json!({ "podSelector": { "matchExpressions": excluded }, "ingress": [{}] })),
        ("blocks", json!({ "podSelector": {}, "ingress": [{ "from": blocks }] })),
        ("peers", json!({ "podSelector": {}, "ingress": [{ "from": peers }] })),
        ("ports", json!({ "podSelector": {}, "ingress": [{ "ports": ports }] })),
    ]
}

async fn create(client: Client, name: String, spec: &Value) -> Answer {
    create_in(client, "hostile", name, spec).await
}

async fn create_in(client: Client, namespace: &str, name: String, spec: &Value) -> Answer {
    let object = policy(&name, spec.clone());
    send(&client, Method::POST, &format!("{POLICIES}/{namespace}/networkpolicies"), &object).await
}

/// Stored, or refused for a reason: not an error of the call, such as no answer within the API server's five seconds.
fn is_decided(answer: &Answer) -> bool {
    let message = answer.body["message"].as_str().unwrap_or_default();
    let denied = ["BaselineWeakened", "TooManyPolicies"];
    answer.status == 201
        || answer.status == 403
            && denied.iter().any(|reason| message.contains(&format!("denied the request: {reason}")))
}

/// The most memory that a process ever had, in MiB.
fn memory_of(ringfence: &Ringfence) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", ringfence.process.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// Creates namespaces, one after the other, until it is over, and each is isolated.
fn others_are_isolated(bed: &Bed, over: &AtomicBool) {
    let mut count = 0;
    while count < 2 || !over.load(Ordering::Relaxed) {
        let name = format!("other-{count}");
        create_namespace(bed, &name);
        until_isolated(bed, &name);
        count += 1;
    }
}

fn policies_as_large_as_can_be_are_decided_in_time_and_nobody_else_waits() {
    let bed = Bed::start(&Options::default());
    let installation = bed.install(&[]);
    let _ringfence = bed.start_ringfence(&installation, &Replica::default());
    isolated_namespace(&bed, "hostile");
    let client = bed.client(0);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _over = Over(&over);
            // What grows faster than the object takes minutes for these. Three tries are for a machine that is busy.
            for (name, spec) in hostile(100_000) {
                let mut answers = (0..3).map(|_| bed.run(create(client.clone(), name.to_owned(), &spec)));
                assert!(answers.any(|answer| is_decided(&answer) || answer.status == 409), "{name} is not decided");
            }
        });
        others_are_isolated(&bed, &over);
    });
    assert!(is_isolated(&bed, "hostile"));
}

fn policies_as_large_as_can_be_fit_into_memory_also_at_a_restart() {
    // 10 MB of policies in all, of what takes most: many small selectors, as many as a namespace may have of them. The chart's
    // limit is 512 MiB.
    const NAMESPACES: usize = 3;
    const EACH: usize = 4;
    const TRIED: usize = 20;
    const MOST: u64 = 300;
    let bed = Bed::start(&Options::default());
    let installation = bed.install(&[]);
    let first = bed.start_ringfence(&installation, &Replica::default());
    let peers: Vec<Value> =
        (0..20_000).map(|n| json!({ "podSelector": { "matchLabels": { (format!("k{n}")): "b" } } })).collect();
    let spec = json!({ "podSelector": {}, "ingress": [{ "from": peers }] });
    for namespace in (0..NAMESPACES).map(|number| format!("hostile-{number}")) {
        isolated_namespace(&bed, &namespace);
        // Three tries are for a machine that is busy.
        let is_stored = |index: &usize| {
            let name = format!("peers-{index}");
            let create = || bed.run(create_in(bed.client(0), &namespace, name.clone(), &spec));
            let answer = (0..3).map(|_| create()).find(|answer| matches!(answer.status, 201 | 403 | 409));
            answer.unwrap_or_else(|| panic!("{namespace}/{name} is not decided")).status != 403
        };
        let stored = (0..TRIED).take_while(is_stored).count();
        assert!((EACH..TRIED).contains(&stored), "{stored} are stored in {namespace}");
    }
    let memory = memory_of(&first);
    assert!(memory < MOST, "{memory} MiB");
    let again = bed.start_ringfence(&installation, &Replica::named("again"));
    let memory = memory_of(&again);
    assert!(memory < MOST, "{memory} MiB at the start");
}

fn a_thousand_policies_that_are_hard_to_judge_delay_no_other_namespace() {
    let bed = Bed::start(&Options::default());
    let installation = bed.install(&[]);
    let _ringfence = bed.start_ringfence(&installation, &Replica::default());
    isolated_namespace(&bed, "hostile");
    let client = bed.client(0);
    let over = AtomicBool::new(false);
    let specs = hostile(800);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _over = Over(&over);
            // Three tries are for a machine that is busy.
            let all = (0..1000).map(async |index: usize| {
                let (name, spec) = &specs[index % specs.len()];
                let create = || create(client.clone(), format!("{name}-{index}"), spec);
                let mut answer = create().await;
                for _ in 0..2 {
                    if is_decided(&answer) {
                        break;
                    }
                    answer = create().await;
                }
                answer
            });
            let all: Vec<Answer> = bed.run(futures::stream::iter(all).buffer_unordered(2).collect());
            let undecided: Vec<&Answer> = all.iter().filter(|answer| !is_decided(answer)).collect();
            assert!(undecided.is_empty(), "{} of them, such as {:#?}", undecided.len(), undecided[0]);
            // Past what can be judged exactly the worse is assumed: the tenant's own policies are refused, and nobody
            // else's.
            let stored = all.iter().filter(|answer| answer.status == 201).count();
            assert!((20..1000).contains(&stored), "{stored} are stored");
        });
        others_are_isolated(&bed, &over);
    });
    assert!(is_isolated(&bed, "hostile"));
}
