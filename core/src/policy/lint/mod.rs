//! Mistakes that the API accepts, explained in terms of traffic: one file per family of lints.
//!
//! [`catalogue`] lists them, [`finding`] is what each reports. [`policy`] looks at one policy, [`namespace`] at what a
//! namespace's policies come to together, and [`inventory`] at whole manifests or a whole cluster; the latter asks the
//! former two. `check`, the webhook's warnings and the audit all ask here, so the words are the same everywhere.

pub mod catalogue;
pub mod finding;
mod isolation;
pub mod peers;

use super::verdict::Verdict;
use super::{NetworkPolicy, parse};
use crate::inventory::{Cluster, Inventory, Workload};
use crate::profile::Profile;
pub use catalogue::Lint;
pub use finding::{Finding, Fix, Object, Severity};

/// How many findings a lint reports of one policy: each has to be read.
pub const FINDINGS: usize = 20;

/// A namespace as a lint sees it: what its policies do together, and what is known of the cluster.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The namespace's name.
    pub namespace: &'a str,
    /// Its policies.
    pub policies: &'a [&'a NetworkPolicy],
    /// What they do together.
    pub verdict: &'a Verdict,
    /// The profile that it is judged by, where there is one.
    pub profile: Option<&'a Profile>,
    /// Its workloads; empty where none are known, as at admission, and then any pod is thought of.
    pub workloads: &'a [Workload],
    /// What is known of the cluster.
    pub cluster: &'a Cluster,
}

/// What is wrong with one policy, whatever is beside it.
#[must_use]
pub fn policy(policy: &NetworkPolicy, notes: &parse::Notes, namespace: &str, cluster: &Cluster) -> Vec<Finding> {
    let mut found = Vec::new();
    let _ = (policy, notes, namespace, cluster, &mut found);
    found
}

/// What is wrong with a namespace's policies together.
#[must_use]
pub fn namespace(view: &View<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    isolation::namespace(view, &mut found);
    found
}

/// What is wrong with the workloads of an inventory, and between its namespaces. What [`policy`] and [`namespace`] find is
/// not repeated.
#[must_use]
pub fn inventory(inventory: &Inventory) -> Vec<Finding> {
    let mut found = Vec::new();
    let _ = (inventory, &mut found);
    found
}
