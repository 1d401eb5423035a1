//! The controller of an embedded cluster: what the plan says is done in memory, at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use ringfence_core::plan::{Action, plan};

use super::{ROUNDS, describe};
use crate::cluster::Cluster;

/// How often every namespace is looked at where nothing has changed: exemptions and exceptions end by themselves.
const TICK: Duration = Duration::from_secs(1);

/// Brings one namespace to where it should be. Returns what was done, in order.
pub fn reconcile(cluster: &Cluster, name: &str, now: Timestamp) -> Vec<Action> {
    let mut done = Vec::new();
    for _ in 0..ROUNDS {
        let Some(namespace) = cluster.namespace(name) else { break };
        let plan = plan(&namespace, cluster.config(), now, &BTreeSet::new());
        if plan.actions.is_empty() {
            break;
        }
        for action in &plan.actions {
            cluster.apply(name, action);
        }
        done.extend(plan.actions);
    }
    done
}

/// What stands in the way of baselines, by namespace.
pub type Conflicts = BTreeMap<String, String>;

/// Brings every namespace to where it should be, and returns what stands in the way.
pub fn reconcile_all(cluster: &Cluster, now: Timestamp) -> Conflicts {
    let mut conflicts = Conflicts::new();
    for namespace in cluster.namespaces() {
        for action in reconcile(cluster, namespace.name(), now) {
            tracing::info!(namespace = ?namespace.name(), action = describe(&action), "reconciled");
        }
        if let Some(conflict) = cluster.namespace(namespace.name()).and_then(|namespace| namespace.conflict.clone()) {
            conflicts.insert(namespace.name().to_owned(), conflict);
        }
    }
    conflicts
}

/// Reconciles whenever something changes, and every second, until it is dropped.
pub async fn run(cluster: Arc<Cluster>) {
    let mut known = Conflicts::new();
    loop {
        let conflicts = reconcile_all(&cluster, Timestamp::now());
        // Each is reported once, and not at every look.
        for (namespace, conflict) in conflicts.iter().filter(|(name, conflict)| known.get(*name) != Some(conflict)) {
            tracing::warn!(?namespace, conflict, "the baseline is not effective");
        }
        known = conflicts;
        // Running into the time is as good as a change: both lead to another look.
        let _ = tokio::time::timeout(TICK, cluster.changed()).await;
    }
}
