//! Two replicas and one Lease: who writes, and that the webhooks do not care.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::Method;

use crate::ask::send;
use crate::direct::{Over, asked, changes};
use crate::harness::{ADMIN, Bed, Front, Installation, Mark, Options, Replica, Ringfence, eventually, eventually_some};
use crate::scene::namespace;
use crate::steps::configuration;

crate::tests![
    cases_50_51_and_52_whoever_loses_the_lease_writes_no_more_and_the_webhooks_go_on,
    a_replica_that_ends_hands_the_lease_over_before_it_drains,
];

fn holder(bed: &Bed, server: usize) -> String {
    let lease = ["get", "lease", "ringfence", "-n", "ringfence-system", "--ignore-not-found", "-o"];
    bed.kubectl_at(server, ADMIN, &[&lease[..], &["jsonpath={.spec.holderIdentity}"]].concat(), "").stdout
}

fn leads(ringfence: &Ringfence) -> bool {
    ringfence.counters().is_some_and(|counters| counters.sum("ringfence_leader", &[]) > 0.0)
}

/// Somebody who goes on creating namespaces, whatever happens.
struct Load {
    over: AtomicBool,
    names: Mutex<Vec<String>>,
}

impl Load {
    /// Runs beside something else, by way of one API server; returns which namespaces it has made. One that could not be
    /// made fails the test: the webhooks are to answer all along.
    fn beside(bed: &Bed, server: usize, prefix: &str, act: impl FnOnce(&Self)) -> Vec<String> {
        let load = Self { over: AtomicBool::new(false), names: Mutex::default() };
        let client = bed.client(server);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _end = Over(&load.over);
                for index in 0.. {
                    if load.over.load(Ordering::Relaxed) {
                        return;
                    }
                    let name = format!("{prefix}-{index}");
                    bed.run(send(&client, Method::POST, "/api/v1/namespaces", &namespace(&name))).expect_ok();
                    load.names.lock().unwrap().push(name);
                    bed.run(async { tokio::time::sleep(Duration::from_millis(100)).await });
                }
            });
            let _end = Over(&load.over);
            act(&load);
        });
        load.names.into_inner().unwrap()
    }

    /// Waits until it has made some more.
    fn goes_on(&self) {
        let made = || self.names.lock().unwrap().len();
        let before = made();
        eventually("namespaces are made", || {
            assert!(!self.over.load(Ordering::Relaxed), "one could not be made: see above");
            made() >= before + 3
        });
    }
}

fn until_all_isolated(bed: &Bed, names: &[String]) {
    assert!(!names.is_empty());
    eventually("all are isolated", || {
        let isolated =
            ["get", "namespaces", "-l", "ringfence.dev/isolated=true", "-o", "jsonpath={.items[*].metadata.name}"];
        let isolated = bed.kubectl(&isolated).expect_ok();
        let isolated: BTreeSet<&str> = isolated.split(' ').collect();
        names.iter().all(|name| isolated.contains(name.as_str()))
    });
}

/// When Ringfence wrote by way of an API server since, oldest first: what changes something, or its Lease.
fn times(bed: &Bed, mark: &Mark, server: usize, lease: bool) -> Vec<String> {
    let events = asked(bed, mark);
    let changed = changes(&events);
    let counts = |event: &&crate::harness::Event| {
        let is_lease = event.resource == "leases" && matches!(event.verb.as_str(), "create" | "update");
        let counts = if lease { is_lease } else { changed.iter().any(|changed| std::ptr::eq(*changed, *event)) };
        counts && event.server == server && (200..300).contains(&event.code)
    };
    let at = |event: &crate::harness::Event| event.whole["requestReceivedTimestamp"].as_str().unwrap().to_owned();
    let mut times: Vec<String> = events.iter().filter(counts).map(at).collect();
    times.sort();
    times
}

/// Both replicas, each with an API server and a network of its own, so that the audit logs tell them apart.
struct Pair {
    bed: Bed,
    installation: Installation,
    networks: [Front; 2],
    config: PathBuf,
}

impl Pair {
    fn start(config: &str) -> Self {
        let bed = Bed::start(&Options { api_servers: 2, ..Options::default() });
        let installation = bed.install(&[("replicas", "2")]);
        let networks = [0, 1].map(|server| bed.front(&[bed.server(server).address()]));
        let config = configuration(&bed, &installation, config);
        Self { bed, installation, networks, config }
    }

    fn replica(&self, index: usize) -> Ringfence {
        let name = ["one", "two"][index];
        let via = Some(self.networks[index].url());
        let config = Some(self.config.clone());
        self.bed.start_ringfence(&self.installation, &Replica { via, config, ..Replica::named(name) })
    }

    /// Lets one of the replicas answer, and the other one not.
    fn let_answer(&self, answering: &Ringfence) {
        self.installation.front.point_at(&[answering.address]);
        // Connections to the other one are kept by the API servers.
        self.installation.front.cut();
    }

    /// Waits until the replica with this index has taken over from the other one and has written, and checks that the other
    /// one then no longer takes itself for the leader.
    fn taken_over(&self, index: usize, mark: &Mark, loser: Option<&Ringfence>) {
        let name = ["one", "two"][index];
        eventually("the other one takes over", || holder(&self.bed, index) == name);
        if let Some(loser) = loser {
            // It may not know so yet, but it does not write: see below.
            eventually("the loser knows", || !leads(loser));
        }
        eventually("the other one writes", || !times(&self.bed, mark, index, false).is_empty());
    }

    /// Checks that the loser wrote nothing after the winner had the Lease.
    fn wrote_no_more(&self, loser: usize, mark: &Mark) {
        let won = times(&self.bed, mark, 1 - loser, true);
        let (won, lost) = (won.first().expect("it has the Lease"), times(&self.bed, mark, loser, false));
        assert!(!lost.is_empty(), "the loser had nothing to write before either");
        let late: Vec<_> = lost.iter().filter(|at| *at >= won).collect();
        assert!(late.is_empty(), "written after {won}: {late:?}");
    }
}

fn cases_50_51_and_52_whoever_loses_the_lease_writes_no_more_and_the_webhooks_go_on() {
    let pair = Pair::start("leaseDuration: 12s");
    let Pair { bed, networks, .. } = &pair;
    let one = pair.replica(0);
    eventually("the first one leads", || leads(&one) && holder(bed, 0) == "one");
    let mut two = pair.replica(1);

    // Killed.
    pair.let_answer(&two);
    let mark = bed.audit_mark();
    let mut one = one;
    let made = Load::beside(bed, 1, "killed", |load| {
        load.goes_on();
        assert!(leads(&one) && !leads(&two));
        one.process.signal("KILL");
        pair.taken_over(1, &mark, None);
        load.goes_on();
    });
    until_all_isolated(bed, &made);
    drop(one);

    // Cut off, with connections that do not survive it.
    let mut one = pair.replica(0);
    pair.let_answer(&one);
    let mark = bed.audit_mark();
    let made = Load::beside(bed, 0, "partitioned", |load| {
        load.goes_on();
        eventually("it writes", || times(bed, &mark, 1, false).len() > 3);
        networks[1].stall();
        pair.taken_over(0, &mark, Some(&two));
        networks[1].cut();
        networks[1].resume();
        load.goes_on();
        let heard = || two.counters().map(|all| all.sum("ringfence_watch_silence_seconds", &[]));
        eventually("it is there again", || heard().is_some_and(|silence| silence < 60.0));
        eventually("it has asked who leads", || asked(bed, &mark).last().is_some() && !leads(&two));
        load.goes_on();
    });
    until_all_isolated(bed, &made);
    pair.wrote_no_more(1, &mark);

    // Stopped in its tracks, and let go on.
    pair.let_answer(&two);
    let mark = bed.audit_mark();
    let made = Load::beside(bed, 1, "before", |_| {
        eventually("it writes", || times(bed, &mark, 0, false).len() > 3);
    });
    // With nothing left to write: a request that it has sent by then, nobody takes back.
    until_all_isolated(bed, &made);
    one.process.signal("STOP");
    let made = Load::beside(bed, 1, "stopped", |load| {
        pair.taken_over(1, &mark, None);
        one.process.signal("CONT");
        eventually("it knows that it does not lead", || !leads(&one) && one.is_ready());
        load.goes_on();
    });
    until_all_isolated(bed, &made);
    pair.wrote_no_more(0, &mark);

    // Deleted: whoever held the Lease goes on, and nobody else.
    let mark = bed.audit_mark();
    for _ in 0..3 {
        let uid = ["get", "lease", "ringfence", "-n", "ringfence-system", "-o", "jsonpath={.metadata.uid}"];
        let before = bed.kubectl(&uid).expect_ok();
        bed.kubectl(&["delete", "lease", "ringfence", "-n", "ringfence-system"]).expect_ok();
        let now = eventually_some("there is another one", || {
            let now = bed.kubectl(&uid);
            (now.ok && now.stdout != before).then(|| holder(bed, 0))
        });
        assert_eq!(now, "two");
    }
    assert!(times(bed, &mark, 0, true).is_empty());
    assert!(two.process.is_running() && leads(&two));
    let made = Load::beside(bed, 1, "deleted", Load::goes_on);
    until_all_isolated(bed, &made);
}

fn a_replica_that_ends_hands_the_lease_over_before_it_drains() {
    // Without that the other one would wait until long after this one is gone.
    let pair = Pair::start("leaseDuration: 100s\nlimits: { drain: 60s }");
    let Pair { bed, .. } = &pair;
    let mut one = pair.replica(0);
    eventually("the first one leads", || leads(&one));
    let two = pair.replica(1);
    pair.let_answer(&two);
    let made = Load::beside(bed, 1, "handed-over", |load| {
        load.goes_on();
        one.process.signal("TERM");
        eventually("the other one takes over", || holder(bed, 1) == "two" && leads(&two));
        eventually("the first one knows", || !leads(&one));
        assert!(one.process.is_running() && !one.is_ready());
        load.goes_on();
    });
    until_all_isolated(bed, &made);
    // Asked twice, it goes at once.
    assert_eq!(one.stop(), Some(0));
}
