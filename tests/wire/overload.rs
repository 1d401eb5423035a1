//! Case 32: more load than can be carried, on a process of its own, from a client that does not wait.

use std::fmt::Write;
use std::time::Duration;

use serde_json::json;

use crate::harness::*;
use crate::open_loop::{DEADLINE, Outcome, Target};
use crate::run::{NAMESPACE, serve_with};

/// A namespace with so many policies, which make each judgement cost something.
fn manifests(policies: usize) -> String {
    (0..policies).fold(NAMESPACE.to_owned(), |mut text, number| {
        let _ = write!(
            text,
            "---\n{}\n",
            json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                "metadata": { "name": format!("p-{number}"), "namespace": "team-a" },
                "spec": {
                    "podSelector": { "matchLabels": { "app": format!("a-{number}") } }, "policyTypes": ["Ingress"],
                    "ingress": [{ "from": [{ "podSelector": { "matchLabels": { "app": format!("b-{number}") } } }] }],
                },
            })
        );
        text
    })
}

#[test]
fn case_32_under_far_more_than_its_capacity_answers_come_in_time_and_the_rest_is_told_to_come_again() {
    let directory = tempfile::tempdir().unwrap();
    let process = serve_with(directory.path(), "limits: {policiesPerNamespace: 5000}\n", &manifests(4000), |command| {
        command.env("TOKIO_WORKER_THREADS", "1").env("RUST_LOG", "info");
    });
    let request = review(&json!({
        "name": "mine", "namespace": "team-a", "resource": networkpolicies(), "dryRun": true,
        "object": { "metadata": { "name": "mine" }, "spec": { "podSelector": { "matchLabels": { "app": "mine" } } } },
    }));
    let target = Target::new(process.address, &process.ca, "/validate", &request);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let capacity = runtime.block_on(target.capacity(8, Duration::from_secs(2)));
    // What others on the machine take changes from one second to the next, so what is too much is not taken from that: a
    // judgement of so many policies takes more than 20 ms in a test's build.
    let (rate, time) = (200.0, Duration::from_secs(5));
    let outcomes = runtime.block_on(target.load(rate, time, 300));

    let of = |status: Option<u16>| outcomes.iter().filter(move |outcome| outcome.status == status);
    let longest =
        |outcomes: &mut dyn Iterator<Item = &Outcome>| outcomes.map(|outcome| outcome.took).max().unwrap_or_default();
    let (decided, shed, nothing) = (of(Some(200)).count(), of(Some(503)).count(), of(None).count());
    let summary = format!(
        "{capacity:.0} a second; {} opened a connection; {decided} decided within {:?}, {shed} shed within {:?}, {nothing} closed within {:?}",
        outcomes.iter().filter(|outcome| outcome.opened).count(),
        longest(&mut of(Some(200))),
        longest(&mut of(Some(503))),
        longest(&mut of(None)),
    );
    println!("{summary}");
    assert_eq!(decided + shed + nothing, outcomes.len(), "{summary}");
    assert!(shed > 0 && of(Some(503)).all(|outcome| outcome.retry_after), "{summary}");
    // Were nothing shed, most would run into the deadline of an API server. How many do now depends on how long the machine,
    // which also runs the client, stands still; the bench `overload` measures it.
    let overdue = outcomes.iter().filter(|outcome| outcome.took >= DEADLINE).count();
    assert!(overdue < outcomes.len() / 2, "{overdue} were overdue: {summary}");
    assert!(decided > 0, "it goes on deciding: {summary}");
    assert!(process.metric("ringfence_shed_total{reason=\"late\"}") > 0);
    // And afterwards it is as it was.
    until(|| (connect_to(process.address, &process.ca).try_post("/validate", &request)?.status == 200).then_some(()));
}
