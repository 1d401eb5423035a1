//! The state behind every decision: the index of namespaces, and what fills it.
//!
//! The embedded cluster is filled from manifests and changed by what is admitted ([`memory`]).

mod authz;
mod fill;
mod memory;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ringfence_core::config::Config;
use ringfence_core::index::{Index, Namespace};
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

    fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.changed.notify_one();
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}
