//! Who can reach whom among 1,000 namespaces with 20 workloads each: `reach::Matrix` with the text of every connection,
//! beside writing as many lines about the same pairs without finding out anything.
//!
//! Prints ratios to that floor, the median of some rounds, by turns.

#![allow(clippy::unwrap_used, reason = "the sets are well-formed")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use ringfence_core::inventory::{Inventory, Written, workload};
use ringfence_core::policy::parse::{Source, noted};
use ringfence_core::policy::reach::{Diff, Matrix};
use ringfence_core::profile::built_in;
use serde_json::{Value, json};

const NAMESPACES: usize = 1000;
const WORKLOADS: usize = 20;
const ROUNDS: usize = 5;

fn add(inventory: &mut Inventory, namespace: &str, name: &str, spec: &Value) {
    let object = json!({ "metadata": { "name": name }, "spec": spec });
    let (policy, notes) = noted(&object, Source::File).unwrap();
    inventory.namespace_mut(namespace).policies.push(Written { policy, notes });
}

fn inventory(policies: impl Fn(&mut Inventory, &str, usize)) -> Inventory {
    let mut inventory = Inventory::default();
    for number in 0..NAMESPACES {
        let namespace = format!("team-{number}");
        for app in 0..WORKLOADS {
            let template = json!({
                "metadata": { "labels": { "app": format!("app-{app}"), "team": namespace } },
                "spec": { "containers": [{ "ports": [{ "name": "http", "containerPort": 8000 + app }] }] },
            });
            let object = json!({ "metadata": { "name": format!("app-{app}") }, "spec": { "template": template } });
            let workload = workload::read("Deployment", &object).unwrap().unwrap();
            inventory.namespace_mut(&namespace).workloads.push(workload);
        }
        policies(&mut inventory, &namespace, number);
    }
    inventory
}

fn standard(inventory: &mut Inventory, namespace: &str) {
    for (name, spec) in built_in("standard").unwrap() {
        add(inventory, namespace, name, &serde_json::to_value(spec).unwrap());
    }
}

/// Each of the first five lets two of the next namespace in, on a named port, and may send to one of the namespace before.
fn between_apps(inventory: &mut Inventory, namespace: &str, number: usize) {
    let peer = |number: usize, app: usize| {
        json!({
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": format!("team-{}", number % NAMESPACES) } },
            "podSelector": { "matchLabels": { "app": format!("app-{app}") } },
        })
    };
    for app in 0..5 {
        let pods = json!({ "matchLabels": { "app": format!("app-{app}") } });
        let rule = json!({ "from": [peer(number + 1, app), peer(number + 1, app + 1)], "ports": [{ "port": "http" }] });
        add(inventory, namespace, &format!("in-{app}"), &json!({ "podSelector": pods, "ingress": [rule] }));
        let rule = json!({ "to": [peer(number + NAMESPACES - 1, app)] });
        let spec = json!({ "podSelector": pods, "policyTypes": ["Egress"], "egress": [rule] });
        add(inventory, namespace, &format!("out-{app}"), &spec);
    }
}

/// Connections, one line each.
fn list(inventory: &Inventory) -> (usize, String) {
    let mut text = String::new();
    let mut count = 0;
    for connection in Matrix::new(inventory).connections() {
        writeln!(text, "{} -> {}: {}", connection.from, connection.to, connection.ports).unwrap();
        count += 1;
    }
    (count, text)
}

/// As many lines of the same form.
fn floor(inventory: &Inventory, lines: usize) -> String {
    let matrix = inventory.namespaces.iter().flat_map(|(name, of)| of.workloads.iter().map(move |w| (name, w)));
    let all: Vec<_> = matrix.collect();
    let mut text = String::new();
    for line in 0..lines {
        let (from, to) = (all[line % all.len()], all[(line * 7) % all.len()]);
        writeln!(text, "{}/{}/{} -> {}/{}/{}: *", from.0, from.1.kind, from.1.name, to.0, to.1.kind, to.1.name)
            .unwrap();
    }
    text
}

fn timed<T>(what: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    black_box(what());
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn main() {
    let baseline = inventory(|inventory, namespace, _| standard(inventory, namespace));
    let apps = inventory(|inventory, namespace, number| {
        standard(inventory, namespace);
        between_apps(inventory, namespace, number);
    });
    let nothing = inventory(|_, _, _| {});
    for (name, inventory) in [("standard", &baseline), ("standard, and ten policies between apps", &apps)] {
        let (lines, _) = list(inventory);
        let (mut ours, mut floors, mut without) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            floors.push(timed(|| floor(inventory, lines)));
            ours.push(timed(|| list(inventory)));
            without.push(timed(|| Matrix::new(inventory).groups().count()));
        }
        let (ours, floor, without) = (median(ours), median(floors), median(without));
        println!(
            "{name}: {lines} connections in {:.2} s, {:.1} times the floor; {} groups in {:.2} s, {:.1} times",
            ours.as_secs_f64(),
            ours.as_secs_f64() / floor.as_secs_f64(),
            Matrix::new(inventory).groups().count(),
            without.as_secs_f64(),
            without.as_secs_f64() / floor.as_secs_f64(),
        );
    }
    let matrix = Matrix::new(&nothing);
    println!(
        "no policies: {} connections in {} groups, {:.3} s",
        matrix.count(),
        matrix.groups().count(),
        timed(|| Matrix::new(&nothing).groups().count()).as_secs_f64()
    );
    let (before, after) = (Matrix::new(&baseline), Matrix::new(&apps));
    let diff = Diff::new(&before, &after);
    println!(
        "from the standard to the ten policies: {} changes in {} groups, {:.2} s",
        diff.groups().map(|group| group.count()).sum::<u64>(),
        diff.groups().count(),
        timed(|| Diff::new(&before, &after).groups().count()).as_secs_f64()
    );
}
