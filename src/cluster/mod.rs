//! The state behind every decision: the index of namespaces, and what fills it.
//!
//! An embedded cluster is filled from manifests ([`fill()`]) and changed by what is admitted ([`memory`]); a live one is
//! filled by an API server's watches ([`live`]).

mod authz;
mod changes;
mod fill;
pub mod live;
mod memory;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use jiff::Timestamp;
use ringfence_core::admission::permission::{Answer, Use};
use ringfence_core::admission::review::{Request, Resource, UserInfo};
use ringfence_core::config::Config;
use ringfence_core::index::reservations::{Change, NotReserved, Pending, Reservation, Reservations};
use ringfence_core::index::{Index, Namespace, State};
use ringfence_core::meter::Budget;
use ringfence_core::vocabulary::EMBEDDED_CONTROLLER;

use tokio::sync::Notify;

use changes::Changes;
pub use fill::fill;
use live::Live;

/// A cluster, as far as Ringfence needs to know it.
pub struct Cluster {
    config: Config,
    controller: OnceLock<String>,
    index: RwLock<Index>,
    /// Taken after `index` where both are needed.
    reservations: Mutex<Reservations>,
    changes: Changes,
    synced: AtomicBool,
    synced_told: Notify,
    live: Option<Live>,
}

/// What a request is decided by.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The namespace that it concerns, where it is known.
    pub namespace: Option<Arc<Namespace>>,
    /// The changes of its policies that were admitted and are not decided yet.
    pub pending: Pending,
}

/// Why nothing is known of a namespace at this time. An error of the call, not a denial.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub(crate) String);

impl Cluster {
    /// An empty embedded cluster.
    #[must_use]
    pub fn embedded(config: Config) -> Self {
        Self::new(config, OnceLock::from(EMBEDDED_CONTROLLER.to_owned()), None)
    }

    /// A cluster that is known through an API server. Nothing is known of it before [`live::watch::run`] runs.
    ///
    /// # Errors
    /// Where a client can't be made of the configuration.
    pub fn live(config: Config, api: &kube::Config) -> Result<Self, kube::Error> {
        let live = Live::new(api, config.staleness.to_std())?;
        Ok(Self::new(config, OnceLock::new(), Some(live)))
    }

    fn new(config: Config, controller: OnceLock<String>, live: Option<Live>) -> Self {
        let synced = AtomicBool::new(false);
        let (changes, synced_told) = (Changes::default(), Notify::new());
        let (index, reservations) = (RwLock::default(), Mutex::default());
        Self { config, controller, index, reservations, changes, synced, synced_told, live }
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The user name of the controller; `None` as long as the API server has not said it.
    #[must_use]
    pub fn controller(&self) -> Option<&str> {
        self.controller.get().map(String::as_str)
    }

    /// What makes it a live cluster, where it is one.
    #[must_use]
    pub fn as_live(&self) -> Option<&Live> {
        self.live.as_ref()
    }

    /// A namespace, as the index knows it.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<Arc<Namespace>> {
        self.read().get(name)
    }

    /// What a request is decided by, as it is now: from the index, or from the API server itself where the index is not
    /// fresh, or does not hold what the decision depends on.
    ///
    /// # Errors
    /// Where neither answers.
    pub async fn view(&self, request: &Request<'_>) -> Result<View, Unavailable> {
        let name = request.namespace_concerned();
        // Before the index is read: what is decided meanwhile is in the index then.
        let pending = self.pending(request);
        let Some(live) = &self.live else {
            return if self.is_synced() {
                Ok(View { namespace: self.namespace(name), pending })
            } else {
                Err(Unavailable("the namespaces and their policies are not known yet".to_owned()))
            };
        };
        let known = self.namespace(name);
        let judges_policies = request.resource() == Resource::NetworkPolicy;
        // One that is not known yet may have policies: of another namespace of its name, which they have outlived.
        let is_certain = known.as_ref().is_some_and(|known| known.is_caught_up()) || !judges_policies;
        let namespace = if (self.is_believed() && is_certain) || !request.hangs_on_namespace() {
            known
        } else {
            live.read_namespace(name).await?
        };
        match namespace {
            Some(namespace) if request.hangs_on_pods(&namespace) => {
                Ok(View { namespace: Some(live.with_pods(&namespace).await?), pending })
            }
            namespace => Ok(View { namespace, pending }),
        }
    }

    /// The same, read from the API server at this moment; `None` on an embedded cluster, which knows everything. `peer` is who
    /// sent the request: the API server, as a rule.
    ///
    /// # Errors
    /// Where the API server does not answer, or was asked too often because of this peer.
    pub async fn view_anew(&self, request: &Request<'_>, peer: Option<IpAddr>) -> Result<Option<View>, Unavailable> {
        let Some(live) = &self.live else { return Ok(None) };
        if !live.may_read_for(peer) {
            return Err(Unavailable("policies were read again too often in this second".to_owned()));
        }
        let mut pending = self.pending(request);
        let namespace = live.read_namespace(request.namespace_concerned()).await?;
        // Only of this view: the index does not have it yet.
        pending.listed(namespace.iter().flat_map(|namespace| namespace.policies()));
        Ok(Some(View { namespace, pending }))
    }

    fn pending(&self, request: &Request<'_>) -> Pending {
        if request.resource() == Resource::NetworkPolicy {
            self.reservations().of(&request.namespace)
        } else {
            Pending::default()
        }
    }

    /// Reserves a change of a policy that was decided when these changes were pending, in the memory of a budget. `peer` is who
    /// sent the request.
    ///
    /// # Errors
    /// [`NotReserved`].
    pub fn reserve(
        &self,
        namespace: &str,
        known: &Pending,
        change: Change,
        peer: Option<IpAddr>,
        budget: Arc<dyn Budget>,
    ) -> Result<Arc<Reservation>, NotReserved> {
        self.reservations().reserve(namespace, known, change, peer, Timestamp::now(), budget)
    }

    fn reservations(&self) -> MutexGuard<'_, Reservations> {
        self.reservations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a user may deviate in this way. `peer` is who sent the request: the API server, as a rule.
    pub async fn may(&self, user: &UserInfo<'_>, peer: Option<IpAddr>, asked: &Use) -> Answer {
        match &self.live {
            Some(live) => live.may(user, peer, asked).await,
            None => authz::embedded(user),
        }
    }

    /// Every namespace, as it is now, by name.
    #[must_use]
    pub fn namespaces(&self) -> Vec<Arc<Namespace>> {
        let mut all: Vec<Arc<Namespace>> = self.read().iter().cloned().collect();
        all.sort_by(|a, b| a.name().cmp(b.name()));
        all
    }

    /// A namespace's state, by the profile that its label names. There is always one: the default.
    #[must_use]
    pub fn state(&self, namespace: &Namespace, now: Timestamp) -> Option<State> {
        Some(namespace.state(&self.config, namespace.profile(&self.config)?, now))
    }

    /// Whether the index has been complete once, so that requests can be answered from it.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.synced.load(Ordering::Acquire)
    }

    /// Whether the index is complete and fresh enough to decide by: an API server that is not heard any more could have
    /// changed everything.
    #[must_use]
    pub fn is_believed(&self) -> bool {
        self.is_synced() && self.live.as_ref().is_none_or(Live::is_fresh)
    }

    /// Says that the index is complete.
    pub fn set_synced(&self) {
        self.synced.store(true, Ordering::Release);
        self.synced_told.notify_waiters();
    }

    /// Waits until the index is complete.
    pub async fn synced(&self) {
        let told = self.synced_told.notified();
        if !self.is_synced() {
            told.await;
        }
    }

    /// Waits until namespaces have changed since the last wait, and returns their names.
    pub async fn changed(&self) -> BTreeSet<String> {
        self.changes.next().await
    }

    // A thread that panicked while it held the lock left whole objects behind: each change is one insertion.
    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the index. The change says which namespaces it has changed; whoever waits for them is told when it is
    /// there to be seen.
    fn change<T>(&self, change: impl FnOnce(&mut Index, &mut BTreeSet<String>) -> T) -> T {
        let mut changed = BTreeSet::new();
        let result = change(&mut self.index.write().unwrap_or_else(PoisonError::into_inner), &mut changed);
        self.changes.add(changed);
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use ringfence_core::config::Config;

    use super::Cluster;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_change_is_told_of_once_it_can_be_seen_and_not_before() {
        let cluster = Arc::new(Cluster::embedded(Config::default()));
        let changing = cluster.clone();
        let (begun, waits) = std::sync::mpsc::channel();
        let reading = cluster.read();
        let writer = std::thread::spawn(move || {
            begun.send(()).unwrap();
            changing.change(|index, changed| {
                index.namespace_mut("team-a").terminating = true;
                changed.insert("team-a".to_owned());
            });
        });
        waits.recv().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let told = tokio::time::timeout(Duration::from_millis(50), cluster.changed());
        assert!(tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(told)).is_err());
        drop(reading);
        assert_eq!(cluster.changed().await, ["team-a".to_owned()].into());
        assert!(cluster.namespace("team-a").unwrap().terminating);
        writer.join().unwrap();
    }
}
