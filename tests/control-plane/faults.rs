//! Replicas that are killed, stalled, throttled or overloaded while writes go on: what that costs, and what it must not.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::direct::begin;
use crate::harness::{Bed, Installation, Options, Replica, Ringfence, eventually, eventually_some, http_get};
use crate::load::Load;
use crate::rollout::{Deployment, LAG};
use crate::scene;
use crate::steps::configuration;
use crate::throttle::Throttle;

crate::tests![
    case_49_a_killed_replica_fails_only_what_is_sent_to_it_until_the_service_knows,
    case_49_a_stalled_replica_fails_what_is_sent_to_it_and_no_more_once_it_goes_on,
    case_63_a_throttled_replica_lives_and_answers_all_calls_once_it_is_free,
    case_32_what_is_shed_with_retry_after_is_asked_again_by_the_api_server_and_nobody_notices,
];

const RATE: u32 = 50;

/// An API server keeps at most so many idle connections to the Service.
const KEPT_CONNECTIONS: usize = 25;

/// Which of the replicas is asked at present. One API server may keep to one of them.
fn asked(replicas: &[Ringfence]) -> usize {
    let reviews = || -> Vec<f64> {
        let counters = replicas.iter().map(|replica| replica.counters().expect("it has metrics"));
        counters.map(|counters| counters.sum("ringfence_admission_reviews_total", &[])).collect()
    };
    let before = reviews();
    eventually_some("one of them is asked", || {
        reviews().iter().zip(&before).position(|(now, before)| now >= &(before + 5.0))
    })
}

fn case_49_a_killed_replica_fails_only_what_is_sent_to_it_until_the_service_knows() {
    let bed = Bed::start(&Options::default());
    let installation = bed.install(&[]);
    let mut deployment = Deployment::start(&bed, &installation, None);
    let load = Load::prepare(&bed).at_once(4);
    let (removed, report) = load.beside(&bed, RATE, || {
        let index = asked(&deployment.replicas);
        let replica = &mut deployment.replicas[index];
        replica.process.signal("KILL");
        std::thread::sleep(LAG);
        installation.front.remove(replica.address);
        let removed = Instant::now();
        std::thread::sleep(Duration::from_secs(3));
        removed
    });
    let (before, after) = report.failed_before_and_after(removed);
    assert_eq!(after, 0, "{report}: {:#?}", report.failures);
    // Those that were under way, and those that led to nobody until the Service knew.
    assert!(before < report.sent / 2, "{report}");
    expect_errors_of_calls(&report.failures);
}

/// Checks that no failure is a decision.
fn expect_errors_of_calls(failures: &[crate::load::Failure]) {
    let others: Vec<_> = failures.iter().filter(|failure| !failure.what.contains("failed calling webhook")).collect();
    assert!(others.is_empty(), "{others:#?}");
}

fn case_49_a_stalled_replica_fails_what_is_sent_to_it_and_no_more_once_it_goes_on() {
    let bed = Bed::start(&Options::default());
    let installation = bed.install(&[]);
    let mut deployment = Deployment::start(&bed, &installation, None);
    let load = Load::prepare(&bed).at_once(4);
    let ((removed, resumed), report) = load.beside(&bed, RATE, || {
        let index = asked(&deployment.replicas);
        let replica = &mut deployment.replicas[index];
        replica.process.signal("STOP");
        std::thread::sleep(LAG);
        // Its readiness probe fails.
        installation.front.remove(replica.address);
        let removed = Instant::now();
        // Longer than the API server waits for an answer.
        std::thread::sleep(Duration::from_secs(7));
        replica.process.signal("CONT");
        eventually("it is ready again", || replica.is_ready());
        installation.front.add(replica.address);
        let resumed = Instant::now();
        std::thread::sleep(Duration::from_secs(2));
        (removed, resumed)
    });
    expect_errors_of_calls(&report.failures);
    let (_, since_removed) = report.failed_before_and_after(removed);
    let (_, since_resumed) = report.failed_before_and_after(resumed);
    assert_eq!(since_resumed, 0, "{report}: {:#?}", report.failures);
    // Connections that the API server had to it, each of which it tries once.
    assert!(since_removed <= KEPT_CONNECTIONS, "{since_removed}, {report}: {:#?}", report.failures);
}

fn case_63_a_throttled_replica_lives_and_answers_all_calls_once_it_is_free() {
    let bed = Bed::start(&Options::default());
    let installation = bed.install(&[]);
    let mut ringfence = bed.start_ringfence(&installation, &Replica::default());
    let load = Load::prepare(&bed).at_once(2);
    // A tenth of a core, with which a build for tests is late now and then.
    let throttle = Throttle::new(ringfence.process.pid());
    println!("throttled by {}", throttle.means());
    let ((), report) = load.beside(&bed, 20, || {
        let mut failed_in_a_row = 0;
        for _ in 0..8 {
            let alive = http_get(ringfence.health, "/livez").is_some_and(|(status, _)| status == 200);
            failed_in_a_row = if alive { 0 } else { failed_in_a_row + 1 };
            assert!(failed_in_a_row < PROBES, "the kubelet would restart it");
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    drop(throttle);
    println!("throttled: {report}");
    assert!(report.succeeded > 0, "{report}");
    expect_errors_of_calls(&report.failures);
    let ((), report) = load.beside(&bed, 20, || std::thread::sleep(Duration::from_secs(3)));
    report.expect_no_failure();
    assert!(ringfence.process.is_running() && ringfence.is_ready());
}

/// After so many probes without an answer the kubelet restarts it, by the chart.
const PROBES: usize = 6;

/// All bytes of bodies that a replica may hold.
const BUDGET: u32 = 1 << 20;

/// Holds all bytes that there may be but one, as somebody who does not go on.
fn use_up(installation: &Installation, ringfence: &Ringfence) -> impl Sized {
    let all = BUDGET as usize;
    let held = || ringfence.counters().unwrap().sum("ringfence_in_flight_bytes", &[]);
    eventually_some("the budget is used", || {
        let mut holder = begin(installation.ca.get().unwrap(), ringfence.address, all);
        holder.write_all(&vec![b' '; all - 1]).ok()?;
        // Where another review holds a few bytes just then, it is this one that is shed, and comes again.
        let is_held = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            held() >= f64::from(BUDGET - 1)
        });
        is_held.then_some(holder)
    })
}

fn case_32_what_is_shed_with_retry_after_is_asked_again_by_the_api_server_and_nobody_notices() {
    let bed = Bed::start(&Options::default());
    let installation = bed.install(&[]);
    let limits = format!("limits: {{ bodyBytes: {BUDGET}, bytesInFlight: {BUDGET}, bodyTimeout: 60s }}");
    let config = Some(configuration(&bed, &installation, &limits));
    let ringfence = bed.start_ringfence(&installation, &Replica { config, ..Replica::default() });
    let shed = || ringfence.counters().unwrap().sum("ringfence_http_refusals_total", &[("code", "503")]);
    for round in 1..=3 {
        let holder = use_up(&installation, &ringfence);
        let request = crate::direct::creation_of_a_namespace("enforce");
        assert!(crate::direct::ask(&installation, &ringfence, &request).puts_off());
        let before = shed();
        std::thread::scope(|scope| {
            let created = scope.spawn(|| {
                let namespace = scene::namespace(&format!("shed-{round}"));
                scene::admin(&bed).create("/api/v1/namespaces", &namespace)
            });
            eventually("the call is shed", || shed() > before);
            drop(holder);
            created.join().unwrap().expect_ok();
        });
    }
}
