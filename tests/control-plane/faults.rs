//! Replicas that are killed, stalled, throttled or overloaded while writes go on: what that costs, and what it must not.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::direct::begin;
use crate::harness::process::Launch;
use crate::harness::{Bed, Options, Replica, Ringfence, eventually, http_get};
use crate::load::Load;
use crate::rollout::{Deployment, LAG};
use crate::scene;
use crate::steps::{MINUTE, configuration};

crate::tests![
    case_49_a_killed_replica_fails_only_what_is_sent_to_it_until_the_service_knows,
    case_49_a_stalled_replica_fails_what_is_sent_to_it_and_no_more_once_it_goes_on,
    case_63_a_throttled_replica_lives_and_every_call_is_answered_in_time,
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
    crate::harness::eventually_some("one of them is asked", MINUTE, || {
        reviews().iter().zip(&before).position(|(now, before)| now >= &(before + 5.0))
    })
}

fn case_49_a_killed_replica_fails_only_what_is_sent_to_it_until_the_service_knows() {
    let bed = Bed::start(&Options::default());
    let installation = bed.install(&[]);
    let mut deployment = Deployment::start(&bed, &installation, None);
    let load = Load::prepare(&bed);
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
    let load = Load::prepare(&bed);
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
        eventually("it is ready again", MINUTE, || replica.is_ready());
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

fn case_63_a_throttled_replica_lives_and_every_call_is_answered_in_time() {
    let bed = Bed::start(&Options::default());
    let installation = bed.install(&[]);
    let mut ringfence = bed.start_ringfence(&installation, &Replica::default());
    let load = Load::prepare(&bed);
    // As under a limit of a tenth of a core: it runs for 10 ms of each 100.
    let script = r#"while kill -s STOP "$0"; do sleep 0.09; kill -s CONT "$0"; sleep 0.01; done"#;
    let throttle = Launch::new("/bin/sh", bed.path("throttle.log"))
        .args(["-c", script, &ringfence.process.pid().to_string()])
        .start();
    let ((), report) = load.beside(&bed, 20, || {
        for _ in 0..8 {
            let alive = http_get(ringfence.admin, "/livez").is_some_and(|(status, _)| status == 200);
            assert!(alive, "the kubelet would restart it");
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    drop(throttle);
    ringfence.process.signal("CONT");
    report.expect_no_failure();
    assert!(ringfence.process.is_running() && ringfence.is_ready());
}

/// All bytes of bodies that a replica may hold.
const BUDGET: usize = 1 << 20;

fn case_32_what_is_shed_with_retry_after_is_asked_again_by_the_api_server_and_nobody_notices() {
    let bed = Bed::start(&Options::default());
    let installation = bed.install(&[]);
    let limits = format!("limits: {{ bodyBytes: {BUDGET}, bytesInFlight: {BUDGET}, bodyTimeout: 60s }}");
    let config = Some(configuration(&bed, &installation, &limits));
    let ringfence = bed.start_ringfence(&installation, &Replica { config, ..Replica::default() });
    let shed = || ringfence.counters().unwrap().sum("ringfence_http_refusals_total", &[("code", "503")]);
    for round in 1..=3 {
        // All bytes that there may be are held by somebody who does not go on.
        let mut holder = begin(installation.ca.get().unwrap(), ringfence.address, BUDGET);
        holder.write_all(&vec![b' '; BUDGET - 1]).unwrap();
        eventually("the budget is used", MINUTE, || {
            crate::direct::ask(&installation, &ringfence, &crate::direct::creation_of_a_namespace("enforce")).puts_off()
        });
        let before = shed();
        std::thread::scope(|scope| {
            let created = scope.spawn(|| {
                let namespace = scene::namespace(&format!("shed-{round}"));
                scene::admin(&bed).create("/api/v1/namespaces", &namespace)
            });
            eventually("the call is shed", MINUTE, || shed() > before);
            drop(holder);
            created.join().unwrap().expect_ok();
        });
    }
}
