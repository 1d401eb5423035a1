//! The memory that reviews and stored policies take, by counting allocations: for every kind of list that a client can fill, of
//! items as short as they can be.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail like this")]

mod generated;

use std::sync::{Mutex, MutexGuard, PoisonError};

use peak_alloc::PeakAlloc;
use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, TestRunner};
use ringfence_core::admission::permission::Answers;
use ringfence_core::admission::review::Request;
use ringfence_core::admission::{Context, Outcome, Webhook, decide, response};
use ringfence_core::config::Config;
use ringfence_core::index::reservations::Pending;
use ringfence_core::meter::{BASE, Exhausted, FACTOR, Meter};
use ringfence_core::policy::NetworkPolicy;
use ringfence_core::policy::parse::{Source, network_policy_json};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// What is counted is counted for the whole process, so one measures at a time.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs something, and says how much memory it held at most, and how much its result does.
fn measured<T>(run: impl FnOnce() -> T) -> (T, usize, usize) {
    ALLOCATED.reset_peak_usage();
    let before = ALLOCATED.current_usage();
    let result = run();
    let (peak, after) = (ALLOCATED.peak_usage(), ALLOCATED.current_usage());
    (result, peak.saturating_sub(before), after.saturating_sub(before))
}

/// A policy as it is stored, and how much memory it holds. Other threads allocate now and then, such as the one that says
/// that a test takes long, so it is measured until two in a row are the same.
fn stored(text: &str) -> (Option<NetworkPolicy>, usize) {
    let mut before = None;
    loop {
        let (policy, _, held) = measured(|| network_policy_json(text, Source::Cluster).ok());
        if before.replace(held) == Some(held) {
            return (policy, held);
        }
    }
}

/// Where lists of any length stand in a policy. `…` is the list's items, and each item is made of its number.
type Shape = (&'static str, &'static str, fn(usize) -> String);

/// As short as a text can be that differs for each number.
fn short(number: usize) -> String {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let (mut text, mut left) = (String::new(), number);
    loop {
        text.push(char::from(LETTERS[left % LETTERS.len()]));
        left /= LETTERS.len();
        if left == 0 {
            return text;
        }
    }
}

/// As an API server sends them: defaulted.
const SHAPES: &[Shape] = &[
    ("the same rule again and again", r#""spec":{"podSelector":{},"policyTypes":["Ingress"],"ingress":[…]}"#, |_| {
        "{}".into()
    }),
    ("the same rule of egress", r#""spec":{"podSelector":{},"policyTypes":["Egress"],"egress":[…]}"#, |_| {
        "{}".into()
    }),
    ("rules that are inert", r#""spec":{"podSelector":{},"policyTypes":["Egress"],"ingress":[…]}"#, |_| "{}".into()),
    ("rules of one port each", r#""spec":{"podSelector":{},"ingress":[…]}"#, |n| {
        format!(r#"{{"ports":[{{"protocol":"TCP","port":{}}}]}}"#, 1 + n % 65535)
    }),
    ("rules of one peer each", r#""spec":{"podSelector":{},"ingress":[…]}"#, |n| {
        format!(r#"{{"from":[{{"podSelector":{{"matchLabels":{{"{}":""}}}}}}]}}"#, short(n))
    }),
    ("the same peer again and again", r#""spec":{"podSelector":{},"ingress":[{"from":[…]}]}"#, |_| {
        r#"{"podSelector":{}}"#.into()
    }),
    ("peers of one label each", r#""spec":{"podSelector":{},"ingress":[{"from":[…]}]}"#, |n| {
        format!(r#"{{"podSelector":{{"matchLabels":{{"{}":""}}}}}}"#, short(n))
    }),
    ("peers of a key each", r#""spec":{"podSelector":{},"ingress":[{"from":[…]}]}"#, |n| {
        format!(r#"{{"namespaceSelector":{{"matchExpressions":[{{"key":"{}","operator":"Exists"}}]}}}}"#, short(n))
    }),
    ("blocks", r#""spec":{"podSelector":{},"ingress":[{"from":[…]}]}"#, |n| {
        format!(r#"{{"ipBlock":{{"cidr":"{:x}:{:x}::/32"}}}}"#, 1 + n / 65535 % 65535, n % 65536)
    }),
    (
        "the same exception of a block",
        r#""spec":{"podSelector":{},"ingress":[{"from":[{"ipBlock":{"cidr":"::/0","except":[…]}}]}]}"#,
        |_| r#""::/1""#.into(),
    ),
    (
        "exceptions of a block",
        r#""spec":{"podSelector":{},"ingress":[{"from":[{"ipBlock":{"cidr":"::/0","except":[…]}}]}]}"#,
        |n| format!(r#""{:x}:{:x}::/32""#, n / 65536 % 65536, n % 65536),
    ),
    ("the same port again and again", r#""spec":{"podSelector":{},"ingress":[{"ports":[…]}]}"#, |_| {
        r#"{"protocol":"TCP"}"#.into()
    }),
    ("ports", r#""spec":{"podSelector":{},"ingress":[{"ports":[…]}]}"#, |n| {
        format!(r#"{{"protocol":"TCP","port":{}}}"#, 1 + n % 65535)
    }),
    ("ports by name", r#""spec":{"podSelector":{},"ingress":[{"ports":[…]}]}"#, |n| {
        format!(r#"{{"protocol":"TCP","port":"a{}"}}"#, short(n))
    }),
    (
        "the same value again and again",
        r#""spec":{"podSelector":{"matchExpressions":[{"key":"a","operator":"In","values":[…]}]}}"#,
        |_| r#""""#.into(),
    ),
    ("values", r#""spec":{"podSelector":{"matchExpressions":[{"key":"a","operator":"In","values":[…]}]}}"#, |n| {
        format!(r#""{}""#, short(n))
    }),
    (
        "values that are escaped",
        r#""spec":{"podSelector":{"matchExpressions":[{"key":"a","operator":"NotIn","values":[…]}]}}"#,
        |n| format!(r#""\u0061{}""#, short(n)),
    ),
    ("requirements on one key", r#""spec":{"podSelector":{"matchExpressions":[…]}}"#, |n| {
        format!(r#"{{"key":"a","operator":"NotIn","values":["{}"]}}"#, short(n))
    }),
    ("keys", r#""spec":{"podSelector":{"matchExpressions":[…]}}"#, |n| {
        format!(r#"{{"key":"{}","operator":"Exists"}}"#, short(n))
    }),
    ("labels of a selector", r#""spec":{"podSelector":{"matchLabels":{…}}}"#, |n| format!(r#""{}":"""#, short(n))),
    ("labels", r#""metadata":{"name":"a","labels":{…}}"#, |n| format!(r#""{}":"""#, short(n))),
    ("annotations", r#""metadata":{"name":"a","annotations":{…}}"#, |n| format!(r#""{}":"""#, short(n))),
    ("annotations for Ringfence", r#""metadata":{"name":"a","annotations":{…}}"#, |n| {
        format!(r#""ringfence.dev/ignore.{}":"""#, short(n))
    }),
    ("managed fields", r#""metadata":{"name":"a","managedFields":[…]}"#, |_| "{}".into()),
    ("finalizers", r#""metadata":{"name":"a","finalizers":[…]}"#, |_| r#""a/b""#.into()),
    (
        "owners",
        r#""metadata":{"name":"a","labels":{"app.kubernetes.io/managed-by":"ringfence"},"ownerReferences":[…]}"#,
        |n| format!(r#"{{"apiVersion":"v1","kind":"A","name":"a","uid":"{}"}}"#, short(n)),
    ),
    ("policy types", r#""spec":{"podSelector":{},"policyTypes":[…]}"#, |_| r#""Ingress""#.into()),
    ("what nobody reads", r#""status":[…]"#, |_| "[[[[]]]]".into()),
];

/// What an API server does not send, since it fills in defaults.
const RAW: &[Shape] = &[
    (
        "owners that are empty",
        r#""metadata":{"name":"a","labels":{"app.kubernetes.io/managed-by":"ringfence"},"ownerReferences":[…]}"#,
        |_| "{}".into(),
    ),
    ("ports that say nothing", r#""spec":{"podSelector":{},"ingress":[{"ports":[…]}]}"#, |_| "{}".into()),
    ("ports that are null", r#""spec":{"podSelector":{},"ingress":[{"ports":[…]}]}"#, |_| "null".into()),
    ("peers that are wrong", r#""spec":{"podSelector":{},"ingress":[{"from":[…]}]}"#, |_| "{}".into()),
    ("empty requirements", r#""spec":{"podSelector":{"matchExpressions":[…]}}"#, |_| "{}".into()),
];

/// A policy of a shape, of about so many bytes.
fn policy((_, template, item): &Shape, bytes: usize) -> String {
    let (before, after) = template.split_once('…').unwrap();
    let mut text = format!("{{{before}");
    for number in 0.. {
        text.push_str(&item(number));
        if text.len() + after.len() >= bytes {
            break;
        }
        text.push(',');
    }
    text + after + "}"
}

const POLICIES: (&str, &str, &str) = ("networking.k8s.io", "networkpolicies", "");

/// A review about `(group, resource, subresource)`.
fn review(
    (group, resource, sub): (&str, &str, &str),
    operation: &str,
    object: Option<&str>,
    old: Option<&str>,
) -> String {
    format!(
        r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"u","resource":{{"group":"{group}","version":"v1","resource":"{resource}"}},"subResource":"{sub}","name":"a","namespace":"team-a","operation":"{operation}","userInfo":{{"username":"tina"}},"object":{},"oldObject":{}}}}}"#,
        object.unwrap_or("null"),
        old.unwrap_or("null")
    )
}

/// Handles a review as the server does. Returns why it was given up, where it was.
fn handled(webhook: Webhook, body: &str) -> Option<Exhausted> {
    let (config, answers, pending) = (Config::default(), Answers::default(), Pending::default());
    let context = Context {
        config: &config,
        controller: "controller",
        now: jiff::Timestamp::UNIX_EPOCH,
        namespace: None,
        pending: &pending,
        answers: &answers,
    };
    let mut meter = Meter::new(body.len(), None);
    let outcome = meter.run(|| {
        let request = Request::parse(body.as_bytes()).ok()?;
        Some(decide(webhook, &request, &context))
    });
    if let (None, Some(Outcome::Decided(decision))) = (meter.exhausted(), &outcome) {
        response::render("u", decision).unwrap();
    }
    meter.exhausted()
}

/// What a stored policy may take: twice its text, and a little.
fn bound(text: usize) -> usize {
    4096 + 2 * text
}

/// The limit, and what a test's own configuration takes.
fn limit(body: usize) -> usize {
    FACTOR * body + BASE + (64 << 10)
}

#[test]
fn case_66_what_a_review_builds_is_at_most_four_times_its_body_and_16_mib_whatever_it_says() {
    let _turn = turn();
    let mut wrong = Vec::new();
    for (shape, raw) in SHAPES.iter().map(|shape| (shape, false)).chain(RAW.iter().map(|shape| (shape, true))) {
        // As large as etcd stores at most. Larger ones are generated.
        let [changed, deleted, created] = [700_000, 300_000, 1_500_000].map(|bytes| policy(shape, bytes));
        let bodies = [
            ("UPDATE", review(POLICIES, "UPDATE", Some(&changed), Some(&changed))),
            ("DELETE", review(POLICIES, "DELETE", None, Some(&deleted))),
            ("CREATE", review(POLICIES, "CREATE", Some(&created), None)),
        ];
        for (operation, body) in &bodies {
            let (given_up, peak, _) = measured(|| handled(Webhook::Validate, body));
            println!(
                "{}, {operation} of {} KiB: {} KiB{}",
                shape.0,
                body.len() / 1024,
                peak / 1024,
                if given_up.is_some() { ", given up" } else { "" }
            );
            if peak > limit(body.len()) {
                wrong.push(format!("{}, {operation} of {}: {peak}", shape.0, body.len()));
            }
            // What an API server sends has a verdict, also where it is as large as it can be.
            if !raw && body.len() < 10_000_000 && given_up.is_some() {
                wrong.push(format!("{}, {operation} of {}: no verdict", shape.0, body.len()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn case_67_a_policy_that_is_stored_takes_at_most_twice_its_text_and_four_kilobytes() {
    let _turn = turn();
    let mut wrong = Vec::new();
    for shape in SHAPES {
        for bytes in [10, 1000, 30_000, 300_000] {
            let text = policy(shape, bytes);
            let (policy, held) = stored(&text);
            println!("{}, {} bytes: {held}", shape.0, text.len());
            if held > bound(text.len()) {
                wrong.push(format!("{}, {} bytes: {held}", shape.0, text.len()));
            }
            // What is counted for the limit of a namespace is what it takes.
            if let Some(policy) = policy {
                let counted = policy.size();
                if counted.abs_diff(held) > held / 10 + 1024 {
                    wrong.push(format!("{}, {} bytes: {held} held, {counted} counted", shape.0, text.len()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Lists beside one another and in one another, of texts of any length.
#[test]
fn generated_policies_that_are_stored_keep_the_bound() {
    let _turn = turn();
    let item = (0..SHAPES.len(), 1usize..20_000, 0usize..40);
    let mut runner = TestRunner::new(Runs { cases: 16, failure_persistence: None, ..Runs::default() });
    let run = runner.run(&(item.clone(), item), |((one, length, pad), (other, more, _))| {
        let padded =
            |shape: &Shape, bytes: usize| policy(shape, bytes).replace("\"a\"", &format!("\"a{}\"", "a".repeat(pad)));
        // Of two fields of one name the second would be an error.
        let (first, second) = (padded(&SHAPES[one], length), padded(&SHAPES[other], more));
        let field = |text: &str| text.split('"').nth(1).unwrap_or_default().to_owned();
        let object = if field(&first) == field(&second) {
            first
        } else {
            format!("{},{}", first.strip_suffix('}').unwrap(), second.strip_prefix('{').unwrap())
        };
        let (_, held) = stored(&object);
        prop_assert!(held <= bound(object.len()), "{held} for {}", object.len());
        Ok(())
    });
    run.unwrap();
}
