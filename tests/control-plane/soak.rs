//! That nothing piles up in a process however long it runs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::ask::MERGE;
use crate::harness::{Bed, Options, Ringfence, World, eventually};
use crate::scene::{self, POLICIES};
use crate::steps::{denies_all, get, names};

crate::tests![
    case_64_churn_leaves_no_descriptors_threads_tasks_and_memory_behind;
    ignored: case_64_half_an_hour_of_churn_leaves_nothing_behind,
];

/// What a process holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    descriptors: usize,
    threads: usize,
    tasks: usize,
    /// Resident, in KiB.
    memory: usize,
}

fn held(ringfence: &Ringfence) -> Held {
    let process = format!("/proc/{}", ringfence.process.pid());
    let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
    let number = |name: &str| -> usize {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_start_matches(':').split_whitespace().next().unwrap().parse().unwrap()
    };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a small number")]
    let tasks = ringfence.counters().unwrap().sum("ringfence_tasks", &[]) as usize;
    let descriptors = std::fs::read_dir(format!("{process}/fd")).unwrap().count();
    Held { descriptors, threads: number("Threads"), tasks, memory: number("VmRSS") }
}

/// Namespaces come and go, some at one time, each with policies and a pod that runs. Returns how many, when they are gone.
fn churn(bed: &Bed, goes_on: impl Fn(usize) -> bool + Sync) -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while goes_on(done.fetch_add(1, Ordering::Relaxed)) {
                    come_and_go(bed, &format!("churn-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
                }
            });
        }
    });
    // The namespace controller takes its time.
    eventually("all are gone", || {
        let left = names(&get(bed, "default", "namespaces"));
        !left.iter().any(|name| name.starts_with("churn-"))
    });
    done.into_inner() - 4
}

fn come_and_go(bed: &Bed, name: &str) {
    let admin = scene::admin(bed);
    scene::isolated_namespace(bed, name);
    let policies = format!("{POLICIES}/{name}/networkpolicies");
    admin.create(&policies, &scene::policy("own", denies_all())).expect_ok();
    let labels = json!({ "metadata": { "labels": { "changed": "true" } } });
    admin.patch(&format!("{policies}/own"), MERGE, &labels).expect_ok();
    admin.create(&format!("/api/v1/namespaces/{name}/pods"), &scene::pod("web")).expect_ok();
    admin.delete(&format!("{policies}/own"), &json!({})).expect_ok();
    admin.delete(&format!("/api/v1/namespaces/{name}"), &json!({})).expect_ok();
}

/// Churns, and checks that the process then holds what it held after a first while. Says how much.
fn soak(warm: usize, goes_on: impl Fn(usize) -> bool + Sync) -> String {
    // Connections of the API server, and threads for what blocks, are kept for a while.
    const SLACK: usize = 10;
    let world = World::start(&Options::whole(), &[]);
    let bed = &world.bed;
    let ringfence = world.ringfence.lock().unwrap();
    let ringfence = ringfence.as_ref().unwrap();
    churn(bed, |done| done < warm);
    let before = held(ringfence);
    let began = Instant::now();
    let namespaces = churn(bed, goes_on);
    let took = began.elapsed();
    assert!(namespaces > 2 * SLACK, "what one namespace leaves behind would not show in {namespaces}");
    eventually("nothing is left", || {
        let now = held(ringfence);
        now.descriptors <= before.descriptors + SLACK
            && now.threads <= before.threads + SLACK
            && now.tasks <= before.tasks + SLACK
            && now.memory <= before.memory * 3 / 2 + 16 * 1024
    });
    let now = held(ringfence);
    format!("{namespaces} namespaces came and went in {} s; before {before:?}, after {now:?}", took.as_secs())
}

fn case_64_churn_leaves_no_descriptors_threads_tasks_and_memory_behind() {
    soak(8, |done| done < 40);
}

fn case_64_half_an_hour_of_churn_leaves_nothing_behind() {
    let until = Instant::now() + Duration::from_secs(30 * 60);
    println!("{}", soak(100, |_| Instant::now() < until));
}
