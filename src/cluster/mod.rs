//! The state behind every decision: the index of namespaces, and what fills it.
//!
//! The embedded cluster is filled from manifests and changed by what is admitted ([`memory`]).

mod authz;
mod fill;
mod memory;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use jiff::Timestamp;
use ringfence_core::config::Config;
use ringfence_core::index::{Index, Namespace, State};
use ringfence_core::vocabulary::EMBEDDED_CONTROLLER;
use tokio::sync::Notify;

pub use fill::fill;

/// A cluster, as far as Ringfence needs to know it.
#[derive(Debug)]
pub struct Cluster {
    config: Config,
    controller: String,
    index: RwLock<Index>,
    changed: Notify,
    synced: AtomicBool,
}

impl Cluster {
    /// An empty embedded cluster.
    #[must_use]
    pub fn embedded(config: Config) -> Self {
        Self {
            config,
            controller: EMBEDDED_CONTROLLER.to_owned(),
            index: RwLock::default(),
            changed: Notify::new(),
            synced: AtomicBool::new(false),
        }
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The user name of the controller.
    #[must_use]
    pub fn controller(&self) -> &str {
        &self.controller
    }

    /// A namespace, as it is now.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<Arc<Namespace>> {
        self.read().get(name)
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

    /// Whether the index is complete and what it holds has been judged, so that it can be served from.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.synced.load(Ordering::Acquire)
    }

    /// Says that it is.
    pub fn set_synced(&self) {
        self.synced.store(true, Ordering::Release);
    }

    /// Waits until something has changed since the last wait.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    // A thread that panicked while it held the lock left whole objects behind: each change is one insertion.
    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the index. Whoever waits for a change is told when it is there to be seen.
    fn change<T>(&self, change: impl FnOnce(&mut Index) -> T) -> T {
        let result = change(&mut self.index.write().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
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
            changing.change(|index| index.namespace_mut("team-a").terminating = true);
        });
        waits.recv().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let told = tokio::time::timeout(Duration::from_millis(50), cluster.changed());
        assert!(tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(told)).is_err());
        drop(reading);
        cluster.changed().await;
        assert!(cluster.namespace("team-a").unwrap().terminating);
        writer.join().unwrap();
    }
}
