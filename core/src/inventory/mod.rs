//! Everything that a judgement over whole manifests or a whole cluster looks at: namespaces with their labels, policies as
//! they are written, workloads by their pod templates, and what is known of the cluster itself.
//!
//! The webhook and the controller need less, and have the [`crate::index`].

pub mod cluster;
mod objects;
pub mod service;
mod version;
pub mod workload;

use std::collections::{BTreeMap, BTreeSet};

use crate::index::{Index, Isolation};
use crate::object::Suppression;
use crate::policy::NetworkPolicy;
use crate::policy::parse::Notes;
use crate::policy::selectors::{Labels, NAMESPACE_NAME_LABEL, Selector};
pub use cluster::{Cluster, Cni, Plugin, Resolver};
pub use objects::concerns;
pub use service::{Called, Caller, Namespaces, Port, Service, ServicePort};
pub use version::meant;
pub use workload::{ContainerPort, Workload};

/// Namespaces and what is in them, by name.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// Every namespace that is stated, or that something is in.
    pub namespaces: BTreeMap<String, Namespace>,
    /// What is known of the cluster.
    pub cluster: Cluster,
    /// What makes calls into namespaces.
    pub callers: Vec<Caller>,
    /// The service accounts, by namespace and name, that a `RoleBinding` or `ClusterRoleBinding` gives rights, with the words for it.
    pub bound: BTreeMap<(String, String), String>,
    /// The policies that are there and could not be read, by namespace and name: what they would do is not known.
    pub unread: BTreeMap<String, BTreeSet<String>>,
    /// Whether the namespace of objects that do not state one was assumed: nobody said where they go.
    pub assumes_namespace: bool,
}

/// A policy with what is noted of how it is written.
#[derive(Clone, Debug)]
pub struct Written {
    /// What it means.
    pub policy: NetworkPolicy,
    /// What the lints need of how it is written.
    pub notes: Notes,
}

/// A namespace.
#[derive(Clone, Debug, Default)]
pub struct Namespace {
    /// Its labels, the one that the API server sets included.
    pub labels: Labels,
    /// Whether the Namespace itself is there, so that its labels are known.
    pub stated: bool,
    /// What its labels and annotations ask Ringfence for.
    pub isolation: Isolation,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// The lints that its annotations switch off.
    pub suppressions: Vec<Suppression>,
    /// Its policies.
    pub policies: Vec<Written>,
    /// Its workloads: what makes pods, and pods that nothing of that kind made.
    pub workloads: Vec<Workload>,
    /// Its pods and Jobs that have ended, by kind and name: what they were is not looked at.
    pub ended: BTreeSet<(String, String)>,
    /// Its Services.
    pub services: Vec<Service>,
    /// Its service accounts whose token is not mounted unless a pod asks for it.
    pub without_token: BTreeSet<String>,
}

impl Inventory {
    /// A namespace to add to; made, with the label that the API server sets, where it is new.
    pub fn namespace_mut(&mut self, name: &str) -> &mut Namespace {
        self.namespaces.entry(name.to_owned()).or_insert_with(|| Namespace {
            labels: [(NAMESPACE_NAME_LABEL.to_owned(), name.to_owned())].into(),
            ..Namespace::default()
        })
    }
}

impl Inventory {
    /// The namespaces that a selector selects, by name.
    #[must_use]
    pub fn selected(&self, selector: &Selector) -> Vec<(&String, &Namespace)> {
        let matching = |(_, namespace): &(&String, &Namespace)| selector.matches(&namespace.labels);
        // Most selectors name one namespace, and there may be thousands.
        match selector.keys().find(|(key, set)| *key == NAMESPACE_NAME_LABEL && !set.admits_unmentioned()) {
            Some((_, set)) => {
                set.mentioned().filter_map(|name| self.namespaces.get_key_value(name)).filter(matching).collect()
            }
            None => self.namespaces.iter().filter(matching).collect(),
        }
    }

    /// Adds the namespaces with their policies to an index. A label `isolated` is not taken over: at start nothing is
    /// believed isolated until it is judged.
    pub fn fill(&self, index: &mut Index) {
        for (name, namespace) in &self.namespaces {
            let place = index.namespace_mut(name);
            if namespace.stated {
                place.isolation = Isolation { isolated: None, ..namespace.isolation.clone() };
                place.terminating = namespace.terminating;
            }
            for written in &namespace.policies {
                place.put_policy(written.policy.clone());
            }
        }
    }
}

impl Namespace {
    /// Takes over the labels of the Namespace object.
    pub fn state(&mut self, name: &str, mut labels: Labels) {
        // Whatever is written there, the API server sets it to the name.
        labels.insert(NAMESPACE_NAME_LABEL.to_owned(), name.to_owned());
        self.labels = labels;
        self.stated = true;
    }
}
