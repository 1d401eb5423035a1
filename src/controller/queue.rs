//! The queue of a live cluster: which namespace is reconciled when. One reconcile per namespace at a time; what changes
//! meanwhile is looked at afterwards.

use std::collections::{HashMap, HashSet, VecDeque};
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
use ringfence_core::vocabulary::{CONFLICT, Mode};
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

/// From this wait on a refusal is no accident any more, and the namespace says what is in the way.
const REPORTED: Duration = Duration::from_secs(2);

/// When pods are looked at again that could not be lifted, and should have been gone.
const LIFT_AGAIN: Duration = Duration::from_secs(1);

/// When the policies of a namespace are listed whose own policies were applied and not delivered by the watch.
const LIST_AFTER: Duration = Duration::from_millis(500);

/// How many pods of one namespace are named in Events: hundreds that wait for the same are told of by a few.
const NAMED: usize = 5;

/// Events that wait to be published. What does not fit is lost, and is in the log.
const EVENTS: usize = 1024;

/// How long an Event waits at most for namespaces that are being reconciled: none is isolated later because of it.
const EVENTS_WAIT: Duration = Duration::from_millis(500);

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
    /// Whether any namespace is being reconciled.
    busy: tokio::sync::watch::Sender<bool>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the controller of a live cluster: while this replica leads, every namespace is brought to where it should be. It
/// returns only where the cluster is not a live one.
pub async fn run(cluster: Arc<Cluster>, mut leadership: Leadership, metrics: Arc<Metrics>, instance: &str) {
    let Some(live) = cluster.as_live() else { return };
    let (tell, told) = tokio::sync::mpsc::channel(EVENTS);
    let (busy, is_busy) = tokio::sync::watch::channel(false);
    let events = Events::new(live.client().clone(), instance);
    let controller = Arc::new(Controller {
        cluster: cluster.clone(),
        writer: Writer::new(cluster.clone(), live.client().clone(), leadership.clone()),
        tell,
        metrics,
        standings: Mutex::default(),
        told: Mutex::default(),
        busy,
    });
    // Before every watch has delivered, policies that are there would look as if they were not.
    cluster.synced().await;
    // Either one ends only where something is badly wrong, and the process with it.
    tokio::select! {
        () = controller.work(&mut leadership) => {}
        () = publish(events, told, is_busy) => {}
    }
}

/// Publishes what people are told, when there is nothing more urgent to write.
async fn publish(
    events: Events,
    mut told: tokio::sync::mpsc::Receiver<Tell>,
    mut busy: tokio::sync::watch::Receiver<bool>,
) {
    while let Some(tell) = told.recv().await {
        // Either way it is published.
        let _ = tokio::time::timeout(EVENTS_WAIT, busy.wait_for(|busy| !busy)).await;
        match tell {
            Tell::Done(namespace, action, why) => events.done(&namespace, &action, &why).await,
            Tell::Ending(namespace, notice) => events.ending(&namespace, &notice).await,
            Tell::Held(namespace, pod, uid) => events.held(&namespace, &pod, &uid).await,
        }
    }
}

/// Namespaces that are due, in the order in which they became so, and those that are being reconciled.
#[derive(Default)]
struct Due {
    queue: VecDeque<String>,
    queued: HashSet<String>,
    running: HashSet<String>,
}

impl Due {
    fn add(&mut self, name: String) {
        if self.queued.insert(name.clone()) {
            self.queue.push_back(name);
        }
    }

    /// Takes the next that may run now. One that runs already waits until it has ended.
    fn start(&mut self) -> Option<String> {
        if self.running.len() >= WORKERS {
            return None;
        }
        let at = self.queue.iter().position(|name| !self.running.contains(name))?;
        let name = self.queue.remove(at)?;
        self.queued.remove(&name);
        self.running.insert(name.clone());
        Some(name)
    }
}

impl Controller {
    async fn work(self: &Arc<Self>, leadership: &mut Leadership) {
        let (requests, requested) = mpsc::unbounded();
        let later = |message: String, run_at: Instant| {
            // The other end is below, and lives as long.
            let _ = requests.unbounded_send(ScheduleRequest { message, run_at });
        };
        let mut scheduler = pin!(scheduler(requested));
        let mut due = Due::default();
        let mut tasks = JoinSet::new();
        let mut alarm = tokio::time::interval(ALARM_TICK);
        alarm.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut leads = false;
        loop {
            let now_leads = leadership.left().is_some();
            if now_leads && !leads {
                for namespace in self.cluster.namespaces() {
                    due.add(namespace.name().to_owned());
                }
            }
            leads = now_leads;
            self.metrics.leads(leads);
            if !leads {
                // Who becomes leader looks at everything.
                due.queue.clear();
                due.queued.clear();
            }
            while let Some(name) = due.start() {
                let this = self.clone();
                tasks.spawn(async move {
                    let next = this.turn(&name).await;
                    (name, next)
                });
            }
            self.busy.send_replace(!due.running.is_empty());
            tokio::select! {
                names = self.cluster.changed() => {
                    for name in names {
                        let not_before = lock(&self.standings).get(&name).and_then(|standing| standing.not_before);
                        match not_before.filter(|at| *at > Instant::now() && !self.must_lose_isolated(&name)) {
                            Some(at) => later(name, at),
                            None => due.add(name),
                        }
                    }
                }
                () = leadership.changed() => {}
                Some(name) = scheduler.next() => due.add(name),
                Some(done) = tasks.join_next() => {
                    match done {
                        Ok((name, next)) => {
                            due.running.remove(&name);
                            if let Some(next) = next {
                                later(name, next);
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
        let error = match result {
            Ok(next) => {
                self.metrics.reconciled(Reconciled::Done);
                let truce_ends = self.standing(name, now, |standing| {
                    standing.succeeded();
                    standing.truce_ends(now)
                });
                return [next, truce_ends].into_iter().flatten().min();
            }
            // Where it leads again before anybody has noticed, nobody else would look at this namespace.
            Err(WriteError::NotLeading) => return Some(now),
            Err(error) => error,
        };
        let wait = self.standing(name, now, |standing| standing.failed(now));
        if error.is_overtaken() {
            self.metrics.reconciled(Reconciled::Overtaken);
            tracing::debug!(namespace = ?name, %error, ?wait, "overtaken; planning again");
        } else {
            self.metrics.reconciled(Reconciled::Failed);
            tracing::warn!(namespace = ?name, %error, ?wait, "a reconcile failed; trying again");
            if let Some(refusal) = error.refusal().filter(|_| wait >= REPORTED) {
                self.report(name, refusal).await;
            }
        }
        Some(now + wait)
    }

    /// Notes something about a namespace, and forgets it where nothing is left to remember.
    fn standing<T>(&self, name: &str, now: Instant, note: impl FnOnce(&mut Standing) -> T) -> T {
        let mut standings = lock(&self.standings);
        let standing = standings.entry(name.to_owned()).or_default();
        let noted = note(standing);
        if !standing.is_worth_keeping(now) {
            standings.remove(name);
        }
        noted
    }

    /// Brings a namespace to where it should be. Returns when something in it ends by itself.
    async fn reconcile(&self, name: &str) -> Result<Option<Instant>, WriteError> {
        let config = self.cluster.config();
        let mut last = Vec::new();
        let mut applied = false;
        for _ in 0..ROUNDS {
            let Some(namespace) = self.cluster.namespace(name) else { return Ok(None) };
            let given_up = {
                let mut standings = lock(&self.standings);
                standings.get_mut(name).map(|standing| {
                    standing.aims(&namespace.uid, namespace.isolation.profile.as_deref());
                    standing.given_up(Instant::now())
                })
            };
            let now = Timestamp::now();
            let plan = plan(&namespace, config, now, &given_up.unwrap_or_default());
            for notice in plan.notices {
                if self.is_news(&namespace.uid, format!("{:?} ends {}", notice.policy, notice.ends)) {
                    self.tell(Tell::Ending(namespace.clone(), notice));
                }
            }
            let until = plan.again.map(|again| Instant::now() + again.duration_since(now).unsigned_abs());
            let within = |wait: Duration| {
                let soon = Instant::now() + wait;
                Ok(Some(until.map_or(soon, |until| until.min(soon))))
            };
            if plan.waits && plan.actions.is_empty() {
                // What was just applied is what the watch delivers next, and nothing older comes after it.
                if applied {
                    return within(LIST_AFTER);
                }
                self.cluster.list_policies(&namespace).await.map_err(|_| WriteError::Stale)?;
                continue;
            }
            if plan.actions.is_empty() {
                return Ok(until);
            }
            applied |= plan.actions.iter().any(|action| matches!(action, Action::Apply(_)));
            if plan.actions == last {
                // A pod that is gone by now is still in the index; its watch brings the news. Anything else was written
                // and taken, and is not there.
                let lifts = last.iter().all(|action| matches!(action, Action::Lift(_)));
                return if lifts { within(LIFT_AGAIN) } else { Err(WriteError::NotKept) };
            }
            // What is labelled is the very namespace that was planned for.
            let labels = plan.actions.iter().any(|action| matches!(action, Action::Isolate(_)));
            for group in groups(&plan.actions) {
                if matches!(group, [Action::Lift(_), ..]) && !labels {
                    self.writer.confirm(&namespace).await?;
                }
                let done = self.carry_out(&namespace, group, now).await;
                // What can't be quarantined loses its namespace the label at once: it is given up on, and planned without.
                if matches!(group, [Action::Quarantine(_), ..]) && self.gives_up(&namespace, &done) {
                    break;
                }
                done?;
            }
            // What was deleted is gone when the watch says so.
            if matches!(plan.actions.last(), Some(Action::Prune(_))) {
                return Ok(until);
            }
            last = plan.actions;
        }
        // Somebody else's writes come in between all the time.
        Err(WriteError::NotKept)
    }

    /// Carries out actions of one kind. What succeeded is noted and told, whatever became of the others.
    async fn carry_out(&self, namespace: &Arc<Namespace>, group: &[Action], now: Timestamp) -> Result<(), WriteError> {
        let results = self.writer.all(namespace, group).await;
        let mut failed = Ok(());
        for (action, result) in group.iter().zip(results) {
            if result.is_err() {
                failed = failed.and(result);
                continue;
            }
            self.note_write(namespace, action);
            tracing::info!(namespace = ?namespace.name(), action = describe(action), "reconciled");
            // Lifting is told by the pod itself, and there may be thousands.
            if !matches!(action, Action::Lift(_) | Action::Apply(_) | Action::Prune(_) | Action::Record(_)) {
                let why = why(namespace, self.cluster.config(), now);
                self.tell(Tell::Done(namespace.clone(), action.clone(), why));
            }
        }
        failed
    }

    /// Gives up on policies whose quarantine the API server refuses. Returns whether it did.
    fn gives_up(&self, namespace: &Namespace, done: &Result<(), WriteError>) -> bool {
        let Err(error) = done else { return false };
        let (Some(refusal), false) = (error.refusal(), error.is_overtaken()) else { return false };
        let Some(policy) = error.policy() else { return false };
        tracing::error!(namespace = ?namespace.name(), policy, refusal, "a policy can't be quarantined");
        self.standing(namespace.name(), Instant::now(), |standing| {
            standing.aims(&namespace.uid, namespace.isolation.profile.as_deref());
            standing.refused(policy, Instant::now());
        });
        true
    }

    fn note_write(&self, namespace: &Namespace, action: &Action) {
        let what = match action {
            Action::Apply(policy) => policy.metadata.name.as_deref().unwrap_or_default(),
            Action::Prune(policy) => policy,
            Action::Report(_) => CONFLICT,
            _ => return,
        };
        let mut standings = lock(&self.standings);
        let standing = standings.entry(namespace.name().to_owned()).or_default();
        standing.aims(&namespace.uid, namespace.isolation.profile.as_deref());
        standing.wrote(what, Instant::now());
    }

    /// Writes down on the namespace what the API server keeps refusing. The plan takes it away again once there is
    /// nothing left to apply.
    async fn report(&self, name: &str, refusal: String) {
        let Some(namespace) = self.cluster.namespace(name).filter(|namespace| !namespace.terminating) else { return };
        if namespace.conflict.as_ref() != Some(&refusal) {
            let action = [Action::Report(Some(refusal))];
            if let Err(error) = self.carry_out(&namespace, &action, Timestamp::now()).await {
                tracing::warn!(namespace = ?name, %error, "what is in the way could not be reported");
            }
        }
    }

    /// Whether a namespace's label says something that is not so any more: that waits for no failure's time to be over.
    fn must_lose_isolated(&self, name: &str) -> bool {
        let (config, now) = (self.cluster.config(), Timestamp::now());
        self.cluster
            .namespace(name)
            .is_some_and(|namespace| namespace.isolation.isolated.is_some() && !namespace.is_isolating(config, now))
    }

    /// Whether something about an object has not been told yet.
    fn is_news(&self, uid: &str, what: String) -> bool {
        lock(&self.told).insert((uid.to_owned(), what))
    }

    fn tell(&self, tell: Tell) {
        if self.tell.try_send(tell).is_err() {
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
        let names: HashSet<&str> = namespaces.iter().map(|namespace| namespace.name()).collect();
        lock(&self.standings).retain(|name, _| names.contains(name.as_str()));
    }
}

/// Why a namespace is not isolated.
fn why(namespace: &Namespace, config: &Config, now: Timestamp) -> String {
    match namespace.mode(now) {
        Some(Mode::Enforce) => {
            let profile = namespace.profile(config);
            profile
                .map(|profile| profile.shortfalls(&namespace.decisive_verdict(profile.criteria(), now)).join("; "))
                .unwrap_or_default()
        }
        Some(mode) => format!("the mode is {mode}"),
        None => "the namespace has no mode".to_owned(),
    }
}
