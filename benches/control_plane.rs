//! On a real control plane, in one run and by turns: how long a new namespace takes to be isolated, beside a client that
//! writes the same three policies itself; and what namespaces and pods cost their creators, beside namespaces that
//! Ringfence is never called for.
//!
//! `cargo bench --bench control_plane` prints a table; only its ratios mean anything beyond this machine. The programs of
//! the control plane are found or built as for the tests (`tests/control-plane/`).

// A bench is a test program: what is wrong shall stop it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::cast_precision_loss, missing_docs)]

#[path = "../tests/control-plane/harness/mod.rs"]
mod harness;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use harness::{Bed, Options, Replica, eventually};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, PostParams, WatchEvent, WatchParams};
use kube::{Client, ResourceExt};
use ringfence_core::config::Config;
use ringfence_core::vocabulary::ISOLATED;
use serde_json::json;

/// Namespaces one at a time, of each kind.
const SINGLES: usize = 60;
/// Namespaces in a burst, of each kind, and how many requests of it are under way at one time.
const BURST: usize = 500;
const CONCURRENT: usize = 16;
/// Pods of each kind.
const PODS: usize = 300;

/// A namespace that Ringfence looks after, or one that is excluded: nothing calls it for that, as if it were not there.
#[derive(Clone, Copy)]
enum With {
    Ringfence,
    Nothing,
}

fn name(with: With, kind: &str, number: usize) -> String {
    match with {
        With::Ringfence => format!("guarded-{kind}-{number}"),
        With::Nothing => format!("plain-{kind}-{number}"),
    }
}

fn main() {
    harness::programs::Programs::get().unwrap_or_else(|missing| panic!("{missing:?}"));
    let bed = Bed::start(&Options::default());
    let excluded: Vec<String> = (0..SINGLES.max(2))
        .map(|number| name(With::Nothing, "single", number))
        .chain((0..BURST).map(|number| name(With::Nothing, "burst", number)))
        .chain([name(With::Nothing, "pods", 0)])
        .collect();
    let installation = bed.install(&[("excluded", &json!(excluded).to_string())]);
    let ringfence = bed.start_ringfence(&installation, &Replica::default());
    eventually("it leads", || ringfence.counters().is_some_and(|counters| counters.sum("ringfence_leader", &[]) > 0.5));
    let client = bed.client(0);
    let before = bed.audit().len();
    bed.run(singles(&client));
    let written = bed.audit();
    let ours = || written[before..].iter().filter(|event| event.user.ends_with(":ringfence-system:ringfence"));
    let calls = ours().filter(|event| event.resource != "leases").count();
    let lists = ours().filter(|event| event.verb == "list").count();
    let each = calls as f64 / SINGLES as f64;
    println!("API calls of the controller for each of them: {each:.2}, of which lists: {lists}");
    bed.run(burst(&client));
    bed.run(pods(&client));
    drop(ringfence);
    harness::stop_everything();
}

fn namespace(name: &str) -> Namespace {
    serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap()
}

/// What the profile `standard` consists of, as anybody could write it.
fn policies(namespace: &str) -> Vec<NetworkPolicy> {
    let config = Config::default();
    let profile = config.default_profile().unwrap();
    profile.policies().iter().map(|policy| policy.object(namespace)).collect()
}

async fn write_policies(client: &Client, namespace: &str) {
    let api: Api<NetworkPolicy> = Api::namespaced(client.clone(), namespace);
    let params = PostParams::default();
    let policies = policies(namespace);
    futures::future::try_join_all(policies.iter().map(|policy| api.create(&params, policy))).await.unwrap();
}

/// Creates a namespace and returns how long that took, and what it is watched from.
async fn create(client: &Client, name: &str) -> (Duration, Namespace) {
    let api: Api<Namespace> = Api::all(client.clone());
    let began = Instant::now();
    let created = api.create(&PostParams::default(), &namespace(name)).await.unwrap();
    (began.elapsed(), created)
}

fn is_isolated(namespace: &Namespace) -> bool {
    namespace.labels().get(ISOLATED).is_some_and(|isolated| isolated == "true")
}

async fn singles(client: &Client) {
    let api: Api<Namespace> = Api::all(client.clone());
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let (mut guarded, mut plain) = (Vec::new(), Vec::new());
    // Opened before anything is timed.
    let mut events = api.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    for number in 0..SINGLES {
        let wanted = name(With::Ringfence, "single", number);
        guarded.push(create(client, &wanted).await.0);
        let acknowledged = Instant::now();
        while let Some(event) = events.try_next().await.unwrap() {
            if let WatchEvent::Added(object) | WatchEvent::Modified(object) = event
                && object.name_any() == wanted
                && is_isolated(&object)
            {
                break;
            }
        }
        ours.push(acknowledged.elapsed());

        let name = name(With::Nothing, "single", number);
        plain.push(create(client, &name).await.0);
        let acknowledged = Instant::now();
        write_policies(client, &name).await;
        theirs.push(acknowledged.elapsed());
    }
    println!("one at a time, {SINGLES} of each, by turns: from the namespace acknowledged");
    row("  to its label isolated (Ringfence)", &mut ours, &mut theirs);
    row("  to the client's own three policies written", &mut theirs.clone(), &mut theirs);
    println!("creating a namespace, as its creator sees it");
    row("  with Ringfence", &mut guarded, &mut plain);
    row("  without", &mut plain.clone(), &mut plain);
}

async fn burst(client: &Client) {
    let api: Api<Namespace> = Api::all(client.clone());
    let began = Instant::now();
    let mut events = api.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    let creating = futures::stream::iter(0..BURST).for_each_concurrent(CONCURRENT, |number| async move {
        create(client, &name(With::Ringfence, "burst", number)).await;
    });
    let mut waiting: BTreeSet<String> = (0..BURST).map(|number| name(With::Ringfence, "burst", number)).collect();
    let watching = async {
        while !waiting.is_empty() {
            if let Some(WatchEvent::Added(object) | WatchEvent::Modified(object)) = events.try_next().await.unwrap()
                && is_isolated(&object)
            {
                waiting.remove(&object.name_any());
            }
        }
    };
    tokio::join!(creating, watching);
    let ours = began.elapsed();

    let began = Instant::now();
    futures::stream::iter(0..BURST)
        .for_each_concurrent(CONCURRENT, |number| async move {
            let name = name(With::Nothing, "burst", number);
            create(client, &name).await;
            write_policies(client, &name).await;
        })
        .await;
    let theirs = began.elapsed();
    println!("a burst of {BURST} namespaces, {CONCURRENT} requests at one time");
    println!("  until all are isolated (Ringfence)                {:7.2} s", ours.as_secs_f64());
    println!("  until the client has written them and its policies {:6.2} s", theirs.as_secs_f64());
    println!("  ratio {:.2}", ours.as_secs_f64() / theirs.as_secs_f64());
}

async fn pods(client: &Client) {
    let mut took = [Vec::new(), Vec::new()];
    let kinds = [name(With::Ringfence, "single", 0), name(With::Nothing, "pods", 0)];
    create(client, &kinds[1]).await;
    for number in 0..=PODS {
        for (namespace, took) in kinds.iter().zip(&mut took) {
            let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
            let pod = json!({
                "metadata": { "name": format!("p-{number}") },
                "spec": { "containers": [{ "name": "c", "image": "nginx" }] },
            });
            let pod = serde_json::from_value(pod).unwrap();
            let began = Instant::now();
            api.create(&PostParams::default(), &pod).await.unwrap();
            // The first of each warms up.
            if number > 0 {
                took.push(began.elapsed());
            }
        }
    }
    let [mut ours, mut theirs] = took;
    println!("creating a pod, {PODS} of each, by turns");
    row("  in an isolated namespace", &mut ours, &mut theirs);
    row("  in one that Ringfence is never called for", &mut theirs.clone(), &mut theirs);
}

/// Prints the median, the mean and the 99th percentile, and what they are of those of the floor.
fn row(what: &str, times: &mut [Duration], floor: &mut [Duration]) {
    times.sort_unstable();
    floor.sort_unstable();
    let at = |times: &[Duration], percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    let mean = |times: &[Duration]| times.iter().map(Duration::as_secs_f64).sum::<f64>() * 1e3 / times.len() as f64;
    let of = |ours: f64, theirs: f64| format!("{ours:7.2} ms ({:4.2} x)", ours / theirs);
    println!(
        "{what:46} p50 {}   mean {}   p99 {}",
        of(at(times, 50), at(floor, 50)),
        of(mean(times), mean(floor)),
        of(at(times, 99), at(floor, 99))
    );
}
