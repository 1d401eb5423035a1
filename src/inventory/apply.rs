//! What a cluster will hold once manifests are applied to it.

use std::collections::{BTreeMap, BTreeSet};

use ringfence_core::inventory::{Inventory, Namespace};

/// Applies manifests to what a cluster holds, as kubectl does: what has the same name is replaced, labels of namespaces
/// are added, all else stays. What a replaced workload has made goes with it. With `prune`, the namespaces that the
/// manifests have anything in hold nothing else afterwards.
pub fn apply(cluster: &mut Inventory, manifests: &Inventory, prune: bool) {
    for (name, applied) in &manifests.namespaces {
        let there = cluster.namespace_mut(name);
        if applied.stated {
            there.labels.extend(applied.labels.clone());
            there.stated = true;
        }
        if prune {
            there.policies.clear();
            there.workloads.clear();
        }
        there.policies.retain(|old| applied.policies.iter().all(|new| new.policy.name != old.policy.name));
        there.policies.extend(applied.policies.iter().cloned());
        replace(there, applied);
        there.workloads.extend(applied.workloads.iter().cloned());
    }
}

/// Drops the workloads that are applied anew, and what they made.
fn replace(there: &mut Namespace, applied: &Namespace) {
    let mut made: BTreeMap<(String, String), Vec<(String, String)>> = BTreeMap::new();
    for workload in &there.workloads {
        if let Some(owner) = &workload.owner {
            made.entry(owner.clone()).or_default().push((workload.kind.clone(), workload.name.clone()));
        }
    }
    let mut gone = BTreeSet::new();
    let mut going: Vec<(String, String)> =
        applied.workloads.iter().map(|workload| (workload.kind.clone(), workload.name.clone())).collect();
    while let Some(one) = going.pop() {
        going.extend(made.remove(&one).unwrap_or_default());
        gone.insert(one);
    }
    there.workloads.retain(|workload| !gone.contains(&(workload.kind.clone(), workload.name.clone())));
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_core::inventory::Workload;

    fn workload(kind: &str, name: &str, app: &str, owner: Option<(&str, &str)>) -> Workload {
        Workload {
            kind: kind.to_owned(),
            name: name.to_owned(),
            labels: [("app".to_owned(), app.to_owned())].into(),
            owner: owner.map(|(kind, name)| (kind.to_owned(), name.to_owned())),
            ..Workload::default()
        }
    }

    fn inventory(workloads: Vec<Workload>) -> Inventory {
        let mut inventory = Inventory::default();
        inventory.namespace_mut("team-a").workloads = workloads;
        inventory
    }

    fn names(inventory: &Inventory) -> Vec<(&str, &str)> {
        let workloads = &inventory.namespaces["team-a"].workloads;
        workloads.iter().map(|workload| (workload.name.as_str(), workload.labels["app"].as_str())).collect()
    }

    fn cluster() -> Inventory {
        inventory(vec![
            workload("Deployment", "web", "old", None),
            workload("ReplicaSet", "web-1", "old", Some(("Deployment", "web"))),
            workload("Pod", "web-1-x", "old", Some(("ReplicaSet", "web-1"))),
            workload("Pod", "alone", "old", None),
        ])
    }

    #[test]
    fn a_workload_that_is_applied_replaces_its_own_pods_and_leaves_others() {
        let mut after = cluster();
        apply(&mut after, &inventory(vec![workload("Deployment", "web", "new", None)]), false);
        assert_eq!(names(&after), [("alone", "old"), ("web", "new")]);
    }

    #[test]
    fn with_prune_nothing_else_is_left() {
        let mut after = cluster();
        apply(&mut after, &inventory(vec![workload("Deployment", "api", "new", None)]), true);
        assert_eq!(names(&after), [("api", "new")]);
    }
}
