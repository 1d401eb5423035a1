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
    fn by(inventories: &[&mut Inventory]) -> Self {
        let mut told = Self::default();
        let namespaces = inventories.iter().flat_map(|inventory| inventory.namespaces.values());
        for written in namespaces.flat_map(|namespace| &namespace.policies) {
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

/// Whether Kubernetes' own controllers make the one of the other. Anybody can write an owner reference, and one between
/// other kinds says nothing. No kind is above itself, so that owners never go round in circles.
fn makes(maker: &str, made: &str) -> bool {
    match made {
        "Pod" => maker != "Pod",
        "ReplicaSet" => maker == "Deployment",
        "Job" => maker == "CronJob",
        _ => false,
    }
}

/// Namespace, kind and name of what is not folded in one of several inventories.
type Staying = BTreeSet<(String, String, String)>;

/// For each workload the one that it goes into: of those that stay the next above it.
fn into(told: &Told, name: &str, workloads: &[Workload], staying: &Staying) -> Vec<Option<usize>> {
    let places: BTreeMap<(&str, &str), usize> = workloads
        .iter()
        .enumerate()
        .filter(|(_, workload)| !workload.name.is_empty())
        .map(|(place, workload)| ((workload.kind.as_str(), workload.name.as_str()), place))
        .collect();
    let maker = |workload: &Workload| {
        let (kind, name) = workload.owner.as_ref()?;
        if !makes(kind, &workload.kind) {
            return None;
        }
        places.get(&(kind.as_str(), name.as_str())).copied()
    };
    let mut into = vec![None; workloads.len()];
    // Pods last, since what made them may go into another one itself.
    for of_pods in [false, true] {
        for (place, workload) in workloads.iter().enumerate().filter(|(_, one)| (one.kind == "Pod") == of_pods) {
            let Some(maker) = maker(workload) else { continue };
            let maker = into.get(maker).copied().flatten().unwrap_or(maker);
            let Some(made_by) = workloads.get(maker) else { continue };
            // Of what a Deployment has been before, ReplicaSets are left that make no pod.
            let is_past = workload.kind == "ReplicaSet" && workload.is_idle;
            let key = || (name.to_owned(), workload.kind.clone(), workload.name.clone());
            if (is_past || told.nothing_between(workload, made_by))
                && (staying.is_empty() || !staying.contains(&key()))
                && let Some(into) = into.get_mut(place)
            {
                *into = Some(maker);
            }
        }
    }
    into
}

/// Leaves one workload of each family: the one that made all others. It takes over the addresses of its pods. What
/// policies can tell from its maker's template, since somebody has changed its labels or its maker has been changed
/// since, stays beside it.
///
/// Inventories that are to be compared are folded together, so that what stays in one stays in all.
pub fn fold(inventories: &mut [&mut Inventory]) {
    let told = Told::by(inventories);
    let mut staying = Staying::new();
    while inventories.len() > 1 {
        let known = staying.len();
        let mut more = Staying::new();
        for (name, namespace) in inventories.iter().flat_map(|inventory| &inventory.namespaces) {
            let into = into(&told, name, &namespace.workloads, &staying);
            let stay = namespace.workloads.iter().zip(into).filter(|(one, into)| {
                into.is_none() && !one.name.is_empty() && matches!(one.kind.as_str(), "Pod" | "ReplicaSet" | "Job")
            });
            more.extend(stay.map(|(one, _)| (name.clone(), one.kind.clone(), one.name.clone())));
        }
        staying.extend(more);
        if staying.len() == known {
            break;
        }
    }
    for (name, namespace) in inventories.iter_mut().flat_map(|inventory| &mut inventory.namespaces) {
        let into = into(&told, name, &namespace.workloads, &staying);
        for (place, maker) in into.iter().enumerate() {
            let pod = namespace.workloads.get(place).filter(|one| one.kind == "Pod" && !one.host_network);
            let Some(addresses) = pod.map(|pod| pod.addresses.clone()) else { continue };
            if let Some(maker) = maker.and_then(|maker| namespace.workloads.get_mut(maker)) {
                maker.addresses.extend(addresses);
            }
        }
        let mut stays = into.iter().map(Option::is_none);
        namespace.workloads.retain(|_| stays.next().unwrap_or(true));
    }
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
        fold(&mut [&mut inventory]);
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

    fn names(inventory: &Inventory) -> Vec<&str> {
        inventory.namespaces["team-a"].workloads.iter().map(|workload| workload.name.as_str()).collect()
    }

    #[test]
    fn owners_that_make_no_such_thing_hide_nothing() {
        let mut inventory = Inventory::default();
        inventory.namespace_mut("team-a").workloads = vec![
            workload("Pod", "a", &[], Some(("Pod", "b"))),
            workload("Pod", "b", &[], Some(("Pod", "a"))),
            workload("Pod", "self", &[], Some(("Pod", "self"))),
            workload("Deployment", "web", &[], None),
            workload("Deployment", "db", &[], Some(("Deployment", "web"))),
            workload("Pod", "of-an-operator", &[], Some(("Database", "db"))),
        ];
        fold(&mut [&mut inventory]);
        assert_eq!(names(&inventory), ["a", "b", "self", "web", "db", "of-an-operator"]);
    }

    #[test]
    fn a_maker_of_another_namespace_made_nothing() {
        let mut inventory = Inventory::default();
        inventory.namespace_mut("team-a").workloads =
            vec![workload("ReplicaSet", "web-1", &[], Some(("Deployment", "web")))];
        inventory.namespace_mut("team-b").workloads = vec![workload("Deployment", "web", &[], None)];
        fold(&mut [&mut inventory]);
        assert_eq!(names(&inventory), ["web-1"]);
    }

    /// A Deployment with a ReplicaSet that a policy can tell from it, and a pod of that.
    fn changed(is_idle: bool) -> Inventory {
        let mut inventory = family(&[("app", "web")]);
        let old = workload("ReplicaSet", "web-0", &[("app", "debug")], Some(("Deployment", "web")));
        inventory.namespace_mut("team-a").workloads.extend([
            Workload { is_idle, ..old },
            workload("Pod", "web-0-x", &[("app", "debug")], Some(("ReplicaSet", "web-0"))),
        ]);
        fold(&mut [&mut inventory]);
        inventory
    }

    #[test]
    fn a_replica_set_that_policies_tell_from_its_deployment_stays_with_its_pods() {
        assert_eq!(names(&changed(false)), ["web", "web-0"]);
    }

    #[test]
    fn a_replica_set_of_before_that_makes_no_pod_goes() {
        assert_eq!(names(&changed(true)), ["web", "web-0-x"]);
    }

    #[test]
    fn what_stays_in_one_of_two_inventories_stays_in_both() {
        let of = |app: &str| {
            let mut inventory = Inventory::default();
            inventory.namespace_mut("team-a").workloads = vec![
                workload("Deployment", "web", &[("app", app)], None),
                workload("Pod", "web-x", &[("app", "web")], Some(("Deployment", "web"))),
            ];
            inventory
        };
        let (mut before, mut after) = (of("web"), of("new"));
        after.namespace_mut("team-a").policies = family(&[]).namespace_mut("team-a").policies.clone();
        fold(&mut [&mut before, &mut after]);
        assert_eq!((names(&before), names(&after)), (vec!["web", "web-x"], vec!["web", "web-x"]));
    }
}
