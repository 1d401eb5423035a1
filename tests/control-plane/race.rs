//! The race that Ringfence is there to win: pods follow their namespace at once, and none of them is bound before its
//! baseline is effective. Two API servers, so that one is always asked that has not heard of the namespace yet.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::Method;
use futures::future::join_all;
use kube::Client;
use serde_json::{Value, json};

use crate::ask::{Answer, send};
use crate::harness::{
    Bed, Ends, Event, Installation, Options, Replica, Ringfence, Shared, eventually, is_closed_webhook, is_late_webhook,
};
use crate::history::History;

crate::tests![
    no_pod_of_a_burst_is_bound_before_its_baseline_is_effective_and_no_call_is_refused,
    pods_of_an_isolated_namespace_cost_no_webhook_call,
    a_namespace_that_is_created_again_starts_from_nothing,
];

/// A cluster where nobody plays kubelet: pods get their nodes and stay as they are. A test has it for itself, since what
/// the API servers count does not say for whom.
pub(crate) struct Quiet {
    pub(crate) bed: Bed,
    _installation: Installation,
    ringfence: Mutex<Option<Ringfence>>,
    turn: Mutex<()>,
}

impl Quiet {
    fn get() -> &'static Self {
        static QUIET: Shared<Quiet> = Shared::new(|| {
            let bed = Bed::start(&Options::highly_available());
            bed.add_nodes(3);
            let installation = bed.install(&[]);
            let ringfence = Mutex::new(Some(bed.start_ringfence(&installation, &Replica::default())));
            Quiet { bed, _installation: installation, ringfence, turn: Mutex::new(()) }
        });
        QUIET.get()
    }

    pub(crate) fn turn() -> (&'static Bed, MutexGuard<'static, ()>) {
        let quiet = Self::get();
        (&quiet.bed, quiet.turn.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many handshakes Ringfence has ended since they waited too long for their turn; `None` where it does not answer.
    fn handshakes_given_up() -> Option<f64> {
        let ringfence = Self::get().ringfence.lock().unwrap_or_else(PoisonError::into_inner);
        let counters = ringfence.as_ref()?.counters()?;
        Some(counters.sum("ringfence_shed_total", &[("reason", "handshake")]))
    }
}

impl Ends for Quiet {
    fn end(&self, failed: bool) {
        *self.ringfence.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.bed.end(failed);
    }
}

const BURST: usize = 40;
const BARE: usize = 6;
const REPLICAS: usize = 12;
const COMPLETIONS: usize = 5;
const NODES: usize = 3;
/// Of one namespace.
const PODS: usize = BARE + REPLICAS + COMPLETIONS + NODES;

fn containers() -> Value {
    json!([{ "name": "app", "image": "example.com/app" }])
}

fn pod(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": { "containers": containers() } })
}

/// What follows a namespace, with the paths to create it at.
fn workloads(namespace: &str) -> Vec<(String, Value)> {
    let selector = |app: &str| json!({ "matchLabels": { "app": app } });
    let template =
        |app: &str| json!({ "metadata": { "labels": { "app": app } }, "spec": { "containers": containers() } });
    let mut job = template("job");
    job["spec"]["restartPolicy"] = json!("Never");
    let mut all = vec![
        (
            format!("/apis/apps/v1/namespaces/{namespace}/deployments"),
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "deployment" },
                "spec": { "replicas": REPLICAS, "selector": selector("deployment"), "template": template("deployment") },
            }),
        ),
        (
            format!("/apis/apps/v1/namespaces/{namespace}/daemonsets"),
            json!({
                "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": { "name": "daemonset" },
                "spec": { "selector": selector("daemonset"), "template": template("daemonset") },
            }),
        ),
        (
            format!("/apis/batch/v1/namespaces/{namespace}/jobs"),
            json!({
                "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "job" },
                "spec": { "parallelism": COMPLETIONS, "completions": COMPLETIONS, "template": job },
            }),
        ),
    ];
    all.extend(bare_pods(namespace, BARE));
    all
}

fn bare_pods(namespace: &str, count: usize) -> impl Iterator<Item = (String, Value)> {
    (0..count).map(move |index| (format!("/api/v1/namespaces/{namespace}/pods"), pod(&format!("bare-{index}"))))
}

fn namespace(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } })
}

/// Creates a namespace by one API server, and at once what follows by the other. A call is made again only where the API
/// server could not ask a webhook in time.
async fn namespace_and_all(by: &Client, then: &Client, name: &str, follows: Vec<(String, Value)>) -> Vec<Answer> {
    let mut answers = vec![send(by, Method::POST, "/api/v1/namespaces", &namespace(name)).await];
    let rest = follows.iter().map(|(path, object)| send(then, Method::POST, path, object));
    answers.extend(join_all(rest).await);
    answers
}

fn is_isolated(bed: &Bed, name: &str) -> bool {
    let path = r"jsonpath={.metadata.labels.ringfence\.dev/isolated}";
    bed.kubectl(&["get", "namespace", name, "-o", path]).stdout == "true"
}

fn no_pod_of_a_burst_is_bound_before_its_baseline_is_effective_and_no_call_is_refused() {
    let (bed, _turn) = Quiet::turn();
    let (history, mark) = (History::begin(bed), bed.audit_mark());
    let clients = [bed.client(0), bed.client(1)];
    let answers = bed.run(join_all((0..BURST).map(|index| {
        let (by, then) = (&clients[index % 2], &clients[(index + 1) % 2]);
        let name = format!("burst-{index}");
        async move { namespace_and_all(by, then, &name, workloads(&name)).await }
    })));
    for answer in answers.into_iter().flatten() {
        answer.expect_ok();
    }
    eventually("all pods have a node", || history.bound("burst-") >= BURST * PODS);
    let seen = history.judge("burst-");
    assert_eq!(seen.created.len(), BURST * PODS, "a pod was created in place of another");
    assert!(seen.held.len() > BURST, "hardly a pod was early enough to be held: {}", seen.held.len());
    eventually("the bindings are logged", || writes(bed, &mark, "pods", "binding").count() >= BURST * PODS);
    let created = ["pods", "deployments", "replicasets", "daemonsets", "jobs"];
    let written = created.iter().flat_map(|resource| writes(bed, &mark, resource, ""));
    let failed: Vec<Event> =
        written.chain(writes(bed, &mark, "pods", "binding")).filter(|event| event.code >= 400).collect();
    // A machine that stands still for seconds takes calls with it, as many as there are: they are no retries that Ringfence
    // asks for. It closes connections for that reason alone, and counts them.
    let message = |event: &Event| event.whole["responseStatus"]["message"].as_str().unwrap_or_default().to_owned();
    let (late, failed): (Vec<_>, Vec<_>) = failed.into_iter().partition(|event| is_late_webhook(&message(event)));
    assert!(failed.is_empty(), "somebody has to try again: {failed:#?}");
    let closed: Vec<&Event> = late.iter().filter(|event| is_closed_webhook(&message(event))).collect();
    eventually("the metrics are there", || Quiet::handshakes_given_up().is_some());
    let given_up = Quiet::handshakes_given_up().unwrap_or_default();
    // Several calls can wait for one handshake, and go down with it.
    assert!(closed.is_empty() || given_up > 0.0, "nobody says why these were closed: {closed:#?}");
    println!("{} calls were late, {} of them since {given_up} handshakes were given up", late.len(), closed.len());
}

/// Who created what in the namespaces of the burst, be it a client, a controller or the scheduler.
fn writes(bed: &Bed, mark: &crate::harness::Mark, resource: &str, subresource: &str) -> impl Iterator<Item = Event> {
    let (resource, subresource) = (resource.to_owned(), subresource.to_owned());
    bed.audit_since(mark).into_iter().filter(move |event| {
        event.verb == "create"
            && event.namespace.starts_with("burst-")
            && event.resource == resource
            && event.subresource == subresource
    })
}

fn pods_of_an_isolated_namespace_cost_no_webhook_call() {
    const CALM: usize = 50;
    let (bed, _turn) = Quiet::turn();
    let calls = |server: usize| bed.counters(server).sum("apiserver_admission_webhook_request_total", &[]).to_string();
    let create = |server: usize, path: &str, object: &Value| {
        bed.run(send(&bed.client(server), Method::POST, path, object)).expect_ok()
    };
    create(0, "/api/v1/namespaces", &namespace("calm"));
    assert_ne!(calls(0), "0", "the counter does not count");
    eventually("the namespace is isolated", || is_isolated(bed, "calm"));
    for server in [0, 1] {
        eventually("the API server has heard of it", || {
            let before = calls(server);
            create(server, "/api/v1/namespaces/calm/pods?dryRun=All", &pod("probe"));
            calls(server) == before
        });
    }
    let before = [calls(0), calls(1)];
    for (index, (path, object)) in bare_pods("calm", CALM).chain(workloads("calm").into_iter().take(3)).enumerate() {
        create(index % 2, &path, &object);
    }
    let all = CALM + REPLICAS + COMPLETIONS + NODES;
    eventually("all pods have a node", || {
        let bound = bed.kubectl(&["get", "pods", "-n", "calm", "-o", "jsonpath={.items[*].spec.nodeName}"]);
        bound.expect_ok().split_whitespace().count() == all
    });
    assert_eq!([calls(0), calls(1)], before);
}

/// Creates something in a namespace as soon as the API server knows that it is not the one that was deleted: until then it
/// refuses by itself, whoever else would be asked.
async fn send_to_the_new_one(client: &Client, path: &str, object: &Value) -> Answer {
    loop {
        let answer = send(client, Method::POST, path, object).await;
        if answer.body["details"]["causes"][0]["reason"] != "NamespaceTerminating" {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn a_namespace_that_is_created_again_starts_from_nothing() {
    const AGAIN: usize = 8;
    let (bed, _turn) = Quiet::turn();
    let history = History::begin(bed);
    let clients = [bed.client(0), bed.client(1)];
    let names: Vec<String> = (0..AGAIN).map(|index| format!("again-{index}")).collect();
    for name in &names {
        bed.run(send(&clients[0], Method::POST, "/api/v1/namespaces", &namespace(name))).expect_ok();
    }
    eventually("all are isolated", || names.iter().all(|name| is_isolated(bed, name)));
    let answers = bed.run(join_all(names.iter().enumerate().map(|(index, name)| {
        let (by, then) = (&clients[index % 2], &clients[(index + 1) % 2]);
        async move {
            let path = format!("/api/v1/namespaces/{name}");
            send(by, Method::DELETE, &path, &Value::Null).await.expect_ok();
            // Not a moment later than it can be: what is known of the old one must not be taken for the new one's.
            while send(by, Method::GET, &path, &Value::Null).await.status != 404 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            send(by, Method::POST, "/api/v1/namespaces", &namespace(name)).await.expect_ok();
            let pods: Vec<(String, Value)> = bare_pods(name, BARE).collect();
            join_all(pods.iter().map(|(path, pod)| send_to_the_new_one(then, path, pod))).await
        }
    })));
    for answer in answers.into_iter().flatten() {
        answer.expect_ok();
    }
    eventually("all pods have a node", || history.bound("again-") >= AGAIN * BARE);
    assert_eq!(history.judge("again-").created.len(), AGAIN * BARE);
}
