//! A client that makes real writes at a fixed rate, whatever becomes of them, as long as the machine can carry it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::http::{Method, Request};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::ask::MERGE;
use crate::harness::{Bed, Counters};
use crate::scene::{self, POLICIES};
use crate::steps::{denies_all, isolated_namespace};

/// Namespaces that are isolated, and policies in each that are changed all the time, each by one request at a time.
const NAMESPACES: usize = 4;
const POLICIES_EACH: usize = 16;

/// How many requests are under way at most. What a machine can't carry would pile up until nothing is answered in time any
/// more, and that says nothing about Ringfence: then fewer are sent, and the report says how many.
const CONCURRENT: usize = 32;

/// What is written, and to whom.
pub(crate) struct Load {
    clients: Vec<Client>,
    at_once: usize,
}

/// What became of it.
pub(crate) struct Report {
    /// How many requests were sent, and how many of them succeeded.
    pub(crate) sent: usize,
    pub(crate) succeeded: usize,
    pub(crate) failures: Vec<Failure>,
    /// Times until the answer, sorted.
    times: Vec<Duration>,
    took: Duration,
}

/// A request that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) sent: Instant,
    /// The request, and what the API server said to it or what became of the connection.
    pub(crate) what: String,
}

impl Report {
    #[track_caller]
    pub(crate) fn expect_no_failure(&self) {
        assert!(self.failures.is_empty(), "{self}: {:#?}", self.failures);
        assert_eq!(self.sent, self.succeeded);
    }

    /// How many failed of those that were sent before and after a moment.
    pub(crate) fn failed_before_and_after(&self, moment: Instant) -> (usize, usize) {
        let before = self.failures.iter().filter(|failure| failure.sent < moment).count();
        (before, self.failures.len() - before)
    }
}

impl std::fmt::Display for Report {
    #[allow(clippy::cast_precision_loss, reason = "there are not that many")]
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at =
            |share: usize| self.times.get(self.times.len().saturating_sub(1) * share / 1000).unwrap_or(&Duration::ZERO);
        write!(
            f,
            "{} requests in {:.1} s, {:.0}/s, {} failed; median {:.1?}, 99 % {:.1?}, slowest {:.1?}",
            self.sent,
            self.took.as_secs_f64(),
            self.sent as f64 / self.took.as_secs_f64(),
            self.failures.len(),
            at(500),
            at(990),
            at(1000),
        )
    }
}

/// How often the API servers have called the webhooks and had an answer, or none.
pub(crate) fn webhook_calls(bed: &Bed) -> f64 {
    let calls = |counters: Counters| counters.sum("apiserver_admission_webhook_request_total", &[]);
    (0..bed.servers().len()).map(|server| calls(bed.counters(server))).sum()
}

impl Load {
    /// Makes what the writes are about: namespaces that are isolated and one that is not, and policies.
    pub(crate) fn prepare(bed: &Bed) -> Self {
        scene::pending_namespace(bed, "load-pending");
        let admin = scene::admin(bed);
        for namespace in 0..NAMESPACES {
            let namespace = format!("load-{namespace}");
            isolated_namespace(bed, &namespace);
            for policy in 0..POLICIES_EACH {
                let policy = scene::policy(&format!("own-{policy}"), spec(0));
                admin.create(&format!("{POLICIES}/{namespace}/networkpolicies"), &policy).expect_ok();
            }
        }
        Self { clients: (0..bed.servers().len()).map(|server| bed.client(server)).collect(), at_once: CONCURRENT }
    }

    /// The same, of which no more than so many are under way at once: how fast they come then depends on how fast they are
    /// answered.
    pub(crate) fn at_once(self, most: usize) -> Self {
        Self { at_once: most, ..self }
    }

    /// Sends so many requests a second while something else goes on, and until that is over.
    pub(crate) fn beside<T>(&self, bed: &Bed, rate: u32, act: impl FnOnce() -> T) -> (T, Report) {
        let over = Arc::new(AtomicBool::new(false));
        let (clients, at_once, ends) = (self.clients.clone(), self.at_once, over.clone());
        let runtime = bed.run(async { tokio::runtime::Handle::current() });
        let sending = runtime.spawn(send_all(clients, rate, at_once, ends));
        let result = {
            let _over = crate::direct::Over(&over);
            act()
        };
        (result, bed.run(sending).unwrap())
    }
}

async fn send_all(clients: Vec<Client>, rate: u32, at_once: usize, over: Arc<AtomicBool>) -> Report {
    let began = Instant::now();
    let mut report = Report { sent: 0, succeeded: 0, failures: Vec::new(), times: Vec::new(), took: Duration::ZERO };
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    // What the machine made it miss is sent all the same.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut under_way = JoinSet::new();
    let done = |report: &mut Report, (failure, time): (Option<Failure>, Duration)| {
        report.times.push(time);
        match failure {
            None => report.succeeded += 1,
            Some(failure) => report.failures.push(failure),
        }
    };
    while !over.load(Ordering::Relaxed) {
        ticks.tick().await;
        while under_way.len() >= at_once {
            if let Some(ended) = under_way.join_next().await {
                done(&mut report, ended.unwrap());
            }
        }
        let client = clients[report.sent % clients.len()].clone();
        under_way.spawn(send(client, report.sent));
        report.sent += 1;
        while let Some(ended) = under_way.try_join_next() {
            done(&mut report, ended.unwrap());
        }
    }
    report.took = began.elapsed();
    while let Some(ended) = under_way.join_next().await {
        done(&mut report, ended.unwrap());
    }
    report.times.sort_unstable();
    report
}

/// Sends one of the requests, and returns what went wrong and how long it took.
async fn send(client: Client, number: usize) -> (Option<Failure>, Duration) {
    let (method, path, kind, body) = write(number);
    let what = format!("request {number}, {method} {path}");
    let request = Request::builder().method(method).uri(&path).header("Content-Type", kind);
    let request = request.body(Body::from(body.to_string().into_bytes())).unwrap();
    let sent = Instant::now();
    let failure = match client.send(request).await {
        Err(error) => Some(format!("{what}: {error:?}")),
        Ok(response) => {
            let status = response.status();
            match response.into_body().collect().await {
                Err(error) => Some(format!("{what}: {error:?}")),
                Ok(_) if status.is_success() => None,
                Ok(body) => Some(format!("{what}: {status}: {}", String::from_utf8_lossy(&body.to_bytes()))),
            }
        }
    };
    (failure.map(|what| Failure { sent, what }), sent.elapsed())
}

/// The request with this number. Each calls a webhook, those that create namespaces and pods both.
fn write(number: usize) -> (Method, String, &'static str, Value) {
    const JSON: &str = "application/json";
    let namespace = format!("load-{}", number % NAMESPACES);
    let policies = format!("{POLICIES}/{namespace}/networkpolicies");
    match number % 10 {
        0 | 1 => {
            let name = format!("load-dry-{number}");
            (Method::POST, "/api/v1/namespaces?dryRun=All".to_owned(), JSON, scene::namespace(&name))
        }
        2 => {
            let pods = "/api/v1/namespaces/load-pending/pods?dryRun=All".to_owned();
            (Method::POST, pods, JSON, scene::pod(&format!("web-{number}")))
        }
        3..=5 => {
            let policy = scene::policy(&format!("dry-{number}"), denies_all());
            (Method::POST, format!("{policies}?dryRun=All"), JSON, policy)
        }
        _ => {
            let policy = number / NAMESPACES % POLICIES_EACH;
            let path = format!("{policies}/own-{policy}");
            (Method::PATCH, path, MERGE, json!({ "spec": spec(number) }))
        }
    }
}

/// A policy as a tenant has it, which changes with the number.
fn spec(number: usize) -> Value {
    let port = 1024 + number % 60_000;
    json!({
        "podSelector": { "matchLabels": { "app": "web" } }, "policyTypes": ["Ingress"],
        "ingress": [{ "from": [{ "podSelector": { "matchLabels": { "app": "front" } } }],
            "ports": [{ "protocol": "TCP", "port": port }] }],
    })
}
