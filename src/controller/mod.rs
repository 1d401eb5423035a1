//! The controller: carries out what [`ringfence_core::plan`] says, one reconcile per namespace.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use ringfence_core::plan::{Action, plan};

use crate::cluster::Cluster;

/// How often every namespace is looked at where nothing has changed: exemptions and exceptions end by themselves.
const TICK: Duration = Duration::from_secs(1);

/// How often a namespace is planned for at most in one reconcile. A plan carried out leads to an empty plan after two
/// rounds; more would be a plan that works against itself.
const ROUNDS: usize = 8;

/// What a reconcile came to.
#[derive(Debug, Default)]
pub struct Reconciled {
    /// What was done, in order.
    pub actions: Vec<Action>,
    /// Policies of others that keep the baseline from being effective.
    pub conflicts: Vec<String>,
}

/// Brings one namespace to where it should be.
pub fn reconcile(cluster: &Cluster, name: &str, now: Timestamp) -> Reconciled {
    let mut reconciled = Reconciled::default();
    for _ in 0..ROUNDS {
        let Some(namespace) = cluster.namespace(name) else { break };
        let plan = plan(&namespace, cluster.config(), now);
        reconciled.conflicts = plan.conflicts;
        if plan.actions.is_empty() {
            break;
        }
        for action in &plan.actions {
            cluster.apply(name, action);
        }
        reconciled.actions.extend(plan.actions);
    }
    reconciled
}

/// Conflicts, by namespace.
pub type Conflicts = BTreeMap<String, Vec<String>>;

/// Brings every namespace to where it should be, and returns what stands in the way.
pub fn reconcile_all(cluster: &Cluster, now: Timestamp) -> Conflicts {
    let mut conflicts = Conflicts::new();
    for namespace in cluster.namespaces() {
        let reconciled = reconcile(cluster, namespace.name(), now);
        for action in reconciled.actions {
            tracing::info!(namespace = ?namespace.name(), action = describe(&action), "reconciled");
        }
        if !reconciled.conflicts.is_empty() {
            conflicts.insert(namespace.name().to_owned(), reconciled.conflicts);
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
        for (namespace, policies) in conflicts.iter().filter(|(name, policies)| known.get(*name) != Some(policies)) {
            tracing::warn!(
                ?namespace,
                ?policies,
                "policies of these names are not Ringfence's and keep the baseline from being effective"
            );
        }
        known = conflicts;
        // Running into the time is as good as a change: both lead to another look.
        let _ = tokio::time::timeout(TICK, cluster.changed()).await;
    }
}

/// An action in words, for logs and the demonstration.
#[must_use]
pub fn describe(action: &Action) -> String {
    match action {
        Action::Apply(policy) => format!("apply NetworkPolicy {}", policy.metadata.name.as_deref().unwrap_or_default()),
        Action::Prune(name) => format!("prune NetworkPolicy {name}"),
        Action::SetIsolated(true) => "set isolated".to_owned(),
        Action::SetIsolated(false) => "drop isolated".to_owned(),
        Action::EndExemption => "end the exemption".to_owned(),
        Action::Lift(pod) => format!("lift Pod {pod}"),
    }
}
