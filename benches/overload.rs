//! What a replica does under up to four times the load that it can carry: a process of its own with one thread, beside a
//! client that does not wait for answers.
//!
//! `cargo bench --bench overload` prints the table of docs/performance.md. `RINGFENCE=path` measures another binary.

// A bench is a test program: what is wrong shall stop it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    missing_docs
)]

#[path = "../tests/wire/open_loop.rs"]
mod open_loop;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use open_loop::{Outcome, Target};
use serde_json::{Value, json};

const CALIBRATION: Duration = Duration::from_secs(3);
const OVERLOAD: Duration = Duration::from_secs(8);

/// How many connections the client keeps. The API server keeps 25; with so few it would measure the client, which
/// spends more on each handshake than the server does.
const KEPT: usize = 1000;

struct Server {
    child: Child,
    address: SocketAddr,
    ca: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One thread, so that the client has the other core.
fn serve(directory: &std::path::Path, manifests: &str) -> Server {
    std::fs::write(directory.join("manifests.yaml"), manifests).unwrap();
    let binary = std::env::var("RINGFENCE").unwrap_or_else(|_| env!("CARGO_BIN_EXE_ringfence").to_owned());
    let mut child = Command::new(binary)
        .current_dir(directory)
        .args([
            "serve",
            "--manifests",
            "manifests.yaml",
            "--addr",
            "127.0.0.1:0",
            "--metrics-addr",
            "127.0.0.1:0",
            "--health-addr",
            "127.0.0.1:0",
        ])
        .env("TOKIO_WORKER_THREADS", "1")
        .env("RUST_LOG", "warn,ringfence::cli=info")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let address = lines
        .find_map(|line| {
            let event: Value = serde_json::from_str(&line).ok()?;
            event["fields"]["address"].as_str()?.parse().ok()
        })
        .unwrap();
    std::thread::spawn(move || lines.for_each(drop));
    let ca = std::fs::read_to_string(directory.join("certs/ca.crt")).unwrap();
    Server { child, address, ca }
}

impl Server {
    /// Seconds of CPU that the process has used so far.
    fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    println!(
        "  load            a second   200s of capacity   CPU   200s: median, 99 %, longest   503s   their 99 %   nothing   connections"
    );
    for (name, policies) in [("1,000 policies", 1000), ("400 policies", 400), ("no policy", 0)] {
        let directory = tempfile::tempdir().unwrap();
        let server = serve(directory.path(), &manifests(policies));
        let target = Target::new(server.address, &server.ca, "/validate", &policy_review());
        let capacity = runtime.block_on(target.capacity(8, CALIBRATION));
        println!("{name}: {capacity:.0} a second over 8 connections");
        for share in [0.5, 1.0, 2.0, 4.0] {
            let before = server.cpu();
            let outcomes = runtime.block_on(target.load(capacity * share, OVERLOAD, KEPT));
            row(share, capacity, server.cpu() - before, &outcomes);
        }
    }
}

fn row(share: f64, capacity: f64, cpu: f64, outcomes: &[Outcome]) {
    assert!(outcomes.iter().all(|outcome| outcome.status != Some(503) || outcome.retry_after));
    let took = |status| {
        let mut took: Vec<f64> = outcomes
            .iter()
            .filter(|outcome| outcome.status == status)
            .map(|outcome| outcome.took.as_secs_f64() * 1e3)
            .collect();
        took.sort_by(f64::total_cmp);
        took
    };
    let at = |took: &[f64], share: f64| {
        took.get(((took.len() as f64 * share) as usize).min(took.len().saturating_sub(1))).copied().unwrap_or(0.0)
    };
    let (decided, shed, nothing) = (took(Some(200)), took(Some(503)), took(None));
    let seconds = OVERLOAD.as_secs_f64();
    let opened = outcomes.iter().filter(|outcome| outcome.opened).count();
    println!(
        "  {share} x capacity  {:8.0}   {:.2}   {:.2}   {:5.0} {:5.0} {:5.0} ms   {:6}   {:5.0} ms   {:6} ({:.0} ms)   {opened}",
        outcomes.len() as f64 / seconds,
        decided.len() as f64 / seconds / capacity,
        cpu / seconds,
        at(&decided, 0.5),
        at(&decided, 0.99),
        at(&decided, 1.0),
        shed.len(),
        at(&shed, 0.99),
        nothing.len(),
        at(&nothing, 0.99),
    );
}

fn manifests(policies: usize) -> String {
    let mut text = String::from(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: team-a, labels: {ringfence.dev/mode: enforce, ringfence.dev/profile: standard}}\n",
    );
    for number in 0..policies {
        let policy = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": { "name": format!("p-{number}"), "namespace": "team-a" },
            "spec": {
                "podSelector": { "matchLabels": { "app": format!("a-{number}") } }, "policyTypes": ["Ingress"],
                "ingress": [{ "from": [{ "podSelector": { "matchLabels": { "app": format!("b-{number}") } } }], "ports": [{ "port": 8080 }] }],
            },
        });
        let _ = writeln!(text, "---\n{policy}");
    }
    text
}

/// A dry run, so that what is judged stays the same.
fn policy_review() -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "operation": "CREATE", "dryRun": true,
            "resource": { "group": "networking.k8s.io", "version": "v1", "resource": "networkpolicies" },
            "name": "mine", "namespace": "team-a",
            "userInfo": { "username": "tina", "groups": ["system:authenticated"] },
            "object": {
                "metadata": { "name": "mine", "namespace": "team-a" },
                "spec": { "podSelector": { "matchLabels": { "app": "mine" } }, "policyTypes": ["Ingress"] },
            },
        },
    })
}
