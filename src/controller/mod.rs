//! The controller: carries out what [`ringfence_core::plan`] says, one reconcile per namespace.

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

/// Brings one namespace to where it should be, and returns what was done.
pub fn reconcile(cluster: &Cluster, name: &str, now: Timestamp) -> Vec<Action> {
    let mut done = Vec::new();
    for _ in 0..ROUNDS {
        let Some(namespace) = cluster.namespace(name) else { break };
        let plan = plan(&namespace, cluster.config(), now);
        if !plan.conflicts.is_empty() {
            tracing::warn!(
                namespace = ?name,
                policies = ?plan.conflicts,
                "policies of these names are not Ringfence's and keep the baseline from being effective"
            );
        }
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

/// Brings every namespace to where it should be.
pub fn reconcile_all(cluster: &Cluster, now: Timestamp) {
    for namespace in cluster.namespaces() {
        for action in reconcile(cluster, namespace.name(), now) {
            tracing::info!(namespace = ?namespace.name(), action = describe(&action), "reconciled");
        }
    }
}

/// Reconciles whenever something changes, and every second, until it is dropped.
pub async fn run(cluster: Arc<Cluster>) {
    loop {
        reconcile_all(&cluster, Timestamp::now());
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
