//! Pods into what made them.

use std::collections::{BTreeMap, BTreeSet};

use ringfence_core::inventory::{Inventory, Workload};
use ringfence_core::policy::ports::Ports;
use ringfence_core::policy::{Peer, Rule, Spec};

/// What policies can tell pods apart by.
#[derive(Default)]
struct Told {
    keys: BTreeSet<String>,
    ports: BTreeSet<String>,
}

impl Told {
    fn by(inventory: &Inventory) -> Self {
        let mut told = Self::default();
        for written in inventory.namespaces.values().flat_map(|namespace| &namespace.policies) {
            told.add(&written.policy.spec);
        }
        told
    }

    fn add(&mut self, spec: &Spec) {
        self.keys.extend(spec.pods.keys().map(|(key, _)| key.to_owned()));
        for Rule { peers, ports } in spec.ingress.iter().chain(&spec.egress).flatten() {
            for peer in peers.iter().flatten() {
                if let Peer::Pods { pods: Some(pods), .. } = peer {
                    self.keys.extend(pods.keys().map(|(key, _)| key.to_owned()));
                }
            }
            self.ports.extend(ports.iter().flatten().filter_map(|port| match port {
                Ports::Named(_, name) => Some(name.clone()),
                Ports::Range(..) => None,
            }));
        }
    }

    /// Whether no policy can tell the pods of both apart.
    fn nothing_between(&self, one: &Workload, other: &Workload) -> bool {
        let named = |workload: &Workload| -> BTreeSet<_> {
            workload.ports.iter().filter(|port| self.ports.contains(&port.name)).cloned().collect()
        };
        one.host_network == other.host_network
            && self.keys.iter().all(|key| one.labels.get(key) == other.labels.get(key))
            && named(one) == named(other)
    }
}

/// How many makers there may be above a pod: a Job's CronJob, and one of another kind above it.
const GENERATIONS: usize = 4;

/// Leaves one workload of each family: the one that made all others. It takes over the addresses of its pods. A pod that
/// policies can tell from its maker's template, since somebody has changed its labels or its maker has been changed
/// since, stays beside it.
pub fn fold(inventory: &mut Inventory) {
    let told = Told::by(inventory);
    for namespace in inventory.namespaces.values_mut() {
        let places: BTreeMap<(&str, &str), usize> = namespace
            .workloads
            .iter()
            .enumerate()
            .map(|(place, workload)| ((workload.kind.as_str(), workload.name.as_str()), place))
            .collect();
        let maker = |workload: &Workload| {
            let mut found = None;
            let mut owner = workload.owner.as_ref();
            for _ in 0..GENERATIONS {
                let Some(place) = owner.and_then(|(kind, name)| places.get(&(kind.as_str(), name.as_str()))) else {
                    break;
                };
                found = Some(*place);
                owner = namespace.workloads.get(*place).and_then(|workload| workload.owner.as_ref());
            }
            found
        };
        let pods: Vec<(usize, usize)> = namespace
            .workloads
            .iter()
            .enumerate()
            .filter(|(_, workload)| workload.kind == "Pod")
            .filter_map(|(place, pod)| Some((place, maker(pod)?)))
            .collect();
        for (pod, maker) in pods {
            let (Some(one), Some(other)) = (namespace.workloads.get(pod), namespace.workloads.get(maker)) else {
                continue;
            };
            if !told.nothing_between(one, other) {
                if let Some(pod) = namespace.workloads.get_mut(pod) {
                    pod.owner = None;
                }
            } else if !one.host_network {
                let addresses = one.addresses.clone();
                if let Some(maker) = namespace.workloads.get_mut(maker) {
                    maker.addresses.extend(addresses);
                }
            }
        }
    }
    inventory.drop_owned();
}

#[cfg(test)]
mod tests {
    use ringfence_core::inventory::{Inventory, Workload, Written};
    use ringfence_core::policy::parse::{Source, noted};
    use serde_json::json;

    use super::fold;

    fn workload(kind: &str, name: &str, labels: &[(&str, &str)], owner: Option<(&str, &str)>) -> Workload {
        Workload {
            kind: kind.to_owned(),
            name: name.to_owned(),
            labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            owner: owner.map(|(kind, name)| (kind.to_owned(), name.to_owned())),
            ..Workload::default()
        }
    }

    /// A Deployment with its ReplicaSet and a pod of these labels, and a policy that selects `app=web`.
    fn family(pod: &[(&str, &str)]) -> Inventory {
        let mut inventory = Inventory::default();
        let namespace = inventory.namespace_mut("team-a");
        let policy =
            json!({ "metadata": { "name": "p" }, "spec": { "podSelector": { "matchLabels": { "app": "web" } } } });
        let (policy, notes) = noted(&policy, Source::File).unwrap();
        namespace.policies.push(Written { policy, notes });
        namespace.workloads = vec![
            workload("Deployment", "web", &[("app", "web")], None),
            workload("ReplicaSet", "web-1", &[("app", "web"), ("pod-template-hash", "1")], Some(("Deployment", "web"))),
            Workload {
                addresses: vec!["10.1.0.7".parse().unwrap()],
                ..workload("Pod", "web-1-x", pod, Some(("ReplicaSet", "web-1")))
            },
        ];
        fold(&mut inventory);
        inventory
    }

    fn left(inventory: &Inventory) -> Vec<(String, usize)> {
        let workloads = &inventory.namespaces["team-a"].workloads;
        workloads.iter().map(|workload| (workload.name.clone(), workload.addresses.len())).collect()
    }

    #[test]
    fn a_pod_goes_into_the_deployment_that_made_its_maker_with_its_address() {
        let inventory = family(&[("app", "web"), ("pod-template-hash", "1"), ("added-by", "a webhook")]);
        assert_eq!(left(&inventory), [("web".to_owned(), 1)]);
    }

    #[test]
    fn a_pod_whose_label_was_changed_stays_where_a_policy_looks_at_the_label() {
        let inventory = family(&[("app", "debug")]);
        assert_eq!(left(&inventory), [("web".to_owned(), 0), ("web-1-x".to_owned(), 1)]);
    }

    #[test]
    fn objects_that_own_each_other_end_the_search() {
        let mut inventory = Inventory::default();
        inventory.namespace_mut("team-a").workloads =
            vec![workload("Pod", "a", &[], Some(("Pod", "b"))), workload("Pod", "b", &[], Some(("Pod", "a")))];
        fold(&mut inventory);
    }
}
