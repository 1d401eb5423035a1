//! The queue of a live cluster: which namespace is reconciled when. One reconcile per namespace at a time; what changes
//! meanwhile is looked at afterwards.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::channel::mpsc;
use jiff::{SignedDuration, Timestamp};
use kube::runtime::scheduler::{ScheduleRequest, scheduler};
use ringfence_core::config::Config;
use ringfence_core::index::Namespace;
use ringfence_core::plan::{Action, Notice, plan};
use ringfence_core::vocabulary::Mode;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::events::Events;
use super::lease::Leadership;
use super::standing::Standing;
use super::writer::{WriteError, Writer, groups};
use super::{ROUNDS, describe};
use crate::cluster::Cluster;
use crate::metrics::{Metrics, Reconciled};

/// How many namespaces are reconciled at one time.
const WORKERS: usize = 16;

/// How often held pods are looked at, and for how long one is held before it is an alarm.
const ALARM_TICK: Duration = Duration::from_secs(10);
const HELD_FOR_LONG: SignedDuration = SignedDuration::from_secs(60);

/// How many pods of one namespace are named in Events: hundreds that wait for the same are told of by a few.
const NAMED: usize = 5;

/// Events that wait to be published. What does not fit is lost, and is in the log.
const EVENTS: usize = 1024;

/// Something to tell people.
enum Tell {
    Done(Arc<Namespace>, Action, String),
    Ending(Arc<Namespace>, Notice),
    Held(Arc<Namespace>, String, String),
}

/// What every reconcile of a live cluster shares.
struct Controller {
    cluster: Arc<Cluster>,
    writer: Writer,
    tell: tokio::sync::mpsc::Sender<Tell>,
    metrics: Arc<Metrics>,
    standings: Mutex<HashMap<String, Standing>>,
    /// Endings that were announced, and pods that were named, by the uid of what they belong to.
    told: Mutex<HashSet<(String, String)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the controller of a live cluster: while this replica leads, every namespace is brought to where it should be. It
/// returns only where the cluster is not a live one.
pub async fn run(cluster: Arc<Cluster>, mut leadership: Leadership, metrics: Arc<Metrics>, instance: &str) {
    let Some(live) = cluster.as_live() else { return };
    let (tell, told) = tokio::sync::mpsc::channel(EVENTS);
    let events = Events::new(live.client().clone(), instance);
    let controller = Arc::new(Controller {
        cluster: cluster.clone(),
        writer: Writer::new(cluster.clone(), live.client().clone(), leadership.clone()),
        tell,
        metrics,
        standings: Mutex::default(),
        told: Mutex::default(),
    });
    // Before every watch has delivered, policies that are there would look as if they were not.
    cluster.synced().await;
    tokio::join!(controller.work(&mut leadership), publish(events, told));
}

async fn publish(events: Events, mut told: tokio::sync::mpsc::Receiver<Tell>) {
    while let Some(tell) = told.recv().await {
        match tell {
            Tell::Done(namespace, action, why) => events.done(&namespace, &action, &why).await,
            Tell::Ending(namespace, notice) => events.ending(&namespace, &notice).await,
            Tell::Held(namespace, pod, uid) => events.held(&namespace, &pod, &uid).await,
        }
    }
}

impl Controller {
    async fn work(self: &Arc<Self>, leadership: &mut Leadership) {
        let (requests, requested) = mpsc::unbounded();
        let schedule = |message: String, run_at: Instant| {
            // The other end is below, and lives as long.
            let _ = requests.unbounded_send(ScheduleRequest { message, run_at });
        };
        let mut scheduler = pin!(scheduler(requested));
        let mut running: HashSet<String> = HashSet::new();
        let mut tasks = JoinSet::new();
        let mut alarm = tokio::time::interval(ALARM_TICK);
        alarm.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut leads = false;
        loop {
            let now_leads = leadership.left().is_some();
            if now_leads && !leads {
                for namespace in self.cluster.namespaces() {
                    schedule(namespace.name().to_owned(), Instant::now());
                }
            }
            leads = now_leads;
            self.metrics.leads(leads);
            let has_room = running.len() < WORKERS;
            let held = scheduler.as_mut().hold_unless(|name: &String| !running.contains(name));
            tokio::select! {
                names = self.cluster.changed() => {
                    for name in names {
                        let not_before = lock(&self.standings).get(&name).and_then(|standing| standing.not_before);
                        schedule(name, not_before.unwrap_or_else(Instant::now));
                    }
                }
                () = leadership.changed() => {}
                // What is due while another replica leads is dropped: who becomes leader looks at everything.
                Some(name) = { let mut held = held; async move { held.next().await } }, if has_room => {
                    if leads {
                        running.insert(name.clone());
                        let this = self.clone();
                        tasks.spawn(async move { let next = this.turn(&name).await; (name, next) });
                    }
                }
                Some(done) = tasks.join_next() => {
                    match done {
                        Ok((name, next)) => {
                            running.remove(&name);
                            if let Some(next) = next {
                                schedule(name, next);
                            }
                        }
                        // A reconcile that panicked is a bug, and which one it was is lost; a process that goes on
                        // without it would look healthy.
                        Err(error) => {
                            tracing::error!(%error, "a reconcile panicked");
                            return;
                        }
                    }
                }
                _ = alarm.tick() => if leads { self.alarm() },
            }
        }
    }

    /// One turn of a namespace. Returns when it is to be looked at again by itself.
    async fn turn(&self, name: &str) -> Option<Instant> {
        let result = self.reconcile(name).await;
        let now = Instant::now();
        let mut standings = lock(&self.standings);
        let standing = standings.entry(name.to_owned()).or_default();
        let next = match result {
            Ok(next) => {
                standing.succeeded();
                self.metrics.reconciled(Reconciled::Done);
                [next, standing.truce_ends(now)].into_iter().flatten().min()
            }
            Err(WriteError::NotLeading) => None,
            Err(error) => {
                let wait = standing.failed(now);
                if error.is_overtaken() {
                    self.metrics.reconciled(Reconciled::Overtaken);
                    tracing::debug!(namespace = ?name, %error, ?wait, "overtaken; planning again");
                } else {
                    self.metrics.reconciled(Reconciled::Failed);
                    tracing::warn!(namespace = ?name, %error, ?wait, "a reconcile failed; trying again");
                }
                Some(now + wait)
            }
        };
        if !standing.is_worth_keeping(now) {
            standings.remove(name);
        }
        next
    }

    /// Brings a namespace to where it should be. Returns when something in it ends by itself.
    async fn reconcile(&self, name: &str) -> Result<Option<Instant>, WriteError> {
        let config = self.cluster.config();
        for _ in 0..ROUNDS {
            let Some(namespace) = self.cluster.namespace(name) else { return Ok(None) };
            let given_up = lock(&self.standings).get(name).map(|standing| standing.given_up(Instant::now()));
            let now = Timestamp::now();
            let plan = plan(&namespace, config, now, &given_up.unwrap_or_default());
            for notice in plan.notices {
                if self.is_news(&namespace.uid, format!("{:?} ends {}", notice.policy, notice.ends)) {
                    self.tell(Tell::Ending(namespace.clone(), notice));
                }
            }
            if plan.actions.is_empty() {
                let until = plan.again.map(|again| again.duration_since(now).unsigned_abs());
                return Ok(until.map(|until| Instant::now() + until));
            }
            for group in groups(&plan.actions) {
                self.note_writes(name, group);
                self.writer.all(&namespace, group).await?;
                for action in group {
                    tracing::info!(namespace = ?name, action = describe(action), "reconciled");
                    let why = why(&namespace, config, now);
                    self.tell(Tell::Done(namespace.clone(), action.clone(), why));
                }
            }
        }
        // What is written does not stay as it is written: the next plan knows it, and gives up on it for a while.
        Ok(Some(Instant::now()))
    }

    fn note_writes(&self, name: &str, actions: &[Action]) {
        let now = Instant::now();
        let mut standings = lock(&self.standings);
        for action in actions {
            let policy = match action {
                Action::Apply(policy) => policy.metadata.name.as_deref().unwrap_or_default(),
                Action::Prune(policy) => policy,
                _ => continue,
            };
            standings.entry(name.to_owned()).or_default().wrote(policy, now);
        }
    }

    /// Whether something about an object has not been told yet.
    fn is_news(&self, uid: &str, what: String) -> bool {
        lock(&self.told).insert((uid.to_owned(), what))
    }

    fn tell(&self, tell: Tell) {
        // Lifting is told by the pod itself, and there may be thousands.
        let silent = matches!(&tell, Tell::Done(_, Action::Lift(_) | Action::Apply(_) | Action::Prune(_), _));
        if !silent && self.tell.try_send(tell).is_err() {
            tracing::debug!("too many Events wait; one is lost");
        }
    }

    /// Names pods that are held for long, and forgets what was told of objects that are gone.
    fn alarm(&self) {
        let now = Timestamp::now();
        let namespaces = self.cluster.namespaces();
        let mut known: HashSet<&str> = HashSet::new();
        for namespace in &namespaces {
            known.insert(&namespace.uid);
            let held = namespace.pods.iter().filter(|(_, pod)| pod.held);
            let long = held.filter(|(_, pod)| pod.created.is_some_and(|at| now.duration_since(at) > HELD_FOR_LONG));
            for (name, pod) in long.take(NAMED) {
                known.insert(&pod.uid);
                if self.is_news(&pod.uid, "held".to_owned()) {
                    tracing::warn!(namespace = ?namespace.name(), pod = ?name, conflict = ?namespace.conflict, "held for long");
                    self.tell(Tell::Held(namespace.clone(), name.clone(), pod.uid.clone()));
                }
            }
        }
        lock(&self.told).retain(|(uid, _)| known.contains(uid.as_str()));
    }
}

/// Why a namespace is not isolated.
fn why(namespace: &Namespace, config: &Config, now: Timestamp) -> String {
    match namespace.mode(now) {
        Some(Mode::Enforce) => {
            let profile = namespace.profile(config);
            profile.map(|profile| profile.shortfalls(namespace.verdict()).join("; ")).unwrap_or_default()
        }
        Some(mode) => format!("the mode is {mode}"),
        None => "the namespace has no mode".to_owned(),
    }
}
