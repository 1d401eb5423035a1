//! That whoever writes to the cluster notices nothing of it when replicas of Ringfence come and go, and when their
//! certificates do.

use std::path::PathBuf;
use std::time::Duration;

use crate::certificates::stored;
use crate::harness::{Bed, Counters, Installation, Options, PATIENCE, Replica, Ringfence, eventually};
use crate::load::{Load, webhook_calls};
use crate::steps::configuration;

crate::tests![
    case_48_rollouts_under_load_fail_no_call,
    cases_35_and_36_rotations_of_certificates_under_load_fail_no_call;
    ignored:
    case_48_twenty_rollouts_at_500_requests_a_second_fail_no_call,
    cases_35_and_36_twenty_rotations_at_500_requests_a_second_fail_no_call,
];

/// How long after a replica was asked to end the Service still leads to it: endpoints are learnt of late.
pub(crate) const LAG: Duration = Duration::from_millis(700);

/// Two replicas, as the chart has it, and which one comes next.
pub(crate) struct Deployment<'b> {
    bed: &'b Bed,
    installation: &'b Installation,
    config: Option<PathBuf>,
    pub(crate) replicas: Vec<Ringfence>,
    started: usize,
}

impl<'b> Deployment<'b> {
    pub(crate) fn start(bed: &'b Bed, installation: &'b Installation, config: Option<PathBuf>) -> Self {
        let mut deployment = Self { bed, installation, config, replicas: Vec::new(), started: 0 };
        for _ in 0..2 {
            let replica = deployment.next();
            deployment.replicas.push(replica);
        }
        deployment
    }

    /// Starts one more, and puts it behind the Service once it is ready.
    fn next(&mut self) -> Ringfence {
        let mut next = self.next_aside();
        next.wait_until_ready();
        next
    }

    /// Starts one more, which the Service does not lead to.
    fn next_aside(&mut self) -> Ringfence {
        self.started += 1;
        let (name, config) = (format!("pod-{}", self.started), self.config.clone());
        self.bed.start_ringfence(self.installation, &Replica { config, wait: false, ..Replica::named(&name) })
    }

    /// Makes each call come on a connection of its own, as long as the drain of the configuration takes: those that the Service
    /// leads to are asked to end, and so keep no connection. Another one leads.
    fn keep_no_connection(&mut self) -> Ringfence {
        let leader = self.next_aside();
        for replica in &mut self.replicas {
            replica.process.signal("TERM");
        }
        eventually("it leads", || {
            leader.counters().is_some_and(|counters| counters.sum("ringfence_leader", &[]) > 0.0)
        });
        leader
    }

    /// Replaces both, one after the other: a new one serves before an old one goes (maxUnavailable 0, maxSurge 1), and the
    /// next is replaced while that one drains. Returns when both are gone, and new ones have answered for both webhooks: an
    /// API server keeps to the connections that it has, so at a low rate it need not be each of them.
    fn roll(&mut self) {
        let mut going = Vec::new();
        for mut old in std::mem::take(&mut self.replicas) {
            let new = self.next();
            self.replicas.push(new);
            old.process.signal("TERM");
            std::thread::sleep(LAG);
            self.installation.front.remove(old.address);
            going.push(old);
        }
        for old in &mut going {
            let status = old.process.wait(PATIENCE);
            assert_eq!(status, Some(0), "{}", old.log());
        }
        for webhook in ["mutate", "validate"] {
            eventually("a new replica is asked", || {
                let reviews =
                    |counters: Counters| counters.sum("ringfence_admission_reviews_total", &[("webhook", webhook)]);
                self.replicas.iter().any(|replica| replica.counters().map_or(0.0, reviews) > 0.0)
            });
        }
    }
}

/// Does something to two replicas while so many requests a second are made, none of which may fail. Says how it went.
///
/// At so low a rate no more than a few are under way at one time: what a machine missed that stood still for seconds would
/// otherwise come all at once.
fn under_load(rate: u32, config: &str, disturb: impl FnOnce(&mut Deployment<'_>)) -> String {
    let bed = Bed::start(&Options::default());
    let installation = bed.install(&[]);
    let config = configuration(&bed, &installation, config);
    let mut deployment = Deployment::start(&bed, &installation, Some(config));
    let load = Load::prepare(&bed);
    let load = if rate > 50 { load } else { load.at_once(4) };
    let before = webhook_calls(&bed);
    let ((), report) = load.beside(&bed, rate, || disturb(&mut deployment));
    let calls = webhook_calls(&bed) - before;
    report.expect_no_failure();
    #[allow(clippy::cast_precision_loss, reason = "there are not that many")]
    let sent = report.sent as f64;
    assert!(calls >= sent, "{calls} calls for {report}");
    format!("{report}; {calls} calls of the webhooks, {} connections", installation.front.accepted())
}

fn rollouts(rate: u32, times: usize, config: &str) -> String {
    under_load(rate, config, |deployment| (0..times).for_each(|_| deployment.roll()))
}

/// Waits until the certificate that is served has been replaced so often, and only the last one's CA is trusted.
fn rotate(deployment: &Deployment<'_>, times: usize) {
    let look = || {
        std::thread::sleep(Duration::from_millis(500));
        stored(deployment.bed).expect("the Secret is there")
    };
    let mut served = look().serving.certificate;
    for _ in 0..times {
        eventually("another certificate is served", || look().serving.certificate != served);
        eventually("the CA of before is dropped", || {
            let now = look();
            served = now.serving.certificate;
            now.next.is_none() && now.retired.is_empty()
        });
    }
}

fn case_48_rollouts_under_load_fail_no_call() {
    rollouts(50, 3, "limits: { drain: 5s }");
}

fn case_48_twenty_rollouts_at_500_requests_a_second_fail_no_call() {
    println!("20 rollouts of 2 replicas: {}", rollouts(500, 20, ""));
}

fn cases_35_and_36_rotations_of_certificates_under_load_fail_no_call() {
    // A third of the validity is left for each rotation, so that a busy machine is done in time.
    let config = "certificates: { validity: 72s, overlap: 3s }\nlimits: { drain: 1h }";
    under_load(50, config, |deployment| {
        let _leader = deployment.keep_no_connection();
        rotate(deployment, 2);
    });
}

fn cases_35_and_36_twenty_rotations_at_500_requests_a_second_fail_no_call() {
    let config = "certificates: { validity: 36s, overlap: 3s }";
    println!("20 rotations: {}", under_load(500, config, |deployment| rotate(deployment, 20)));
}
