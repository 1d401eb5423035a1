//! What was written to the API server, in the order in which it was stored, from its own watches.
//!
//! The resourceVersions of all objects are of one sequence: that of the writes to etcd.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy as ApiPolicy;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, WatchEvent, WatchParams};
use kube::{Client, Resource, ResourceExt};
use ringfence_core::config::Config;
use ringfence_core::policy::NetworkPolicy;
use ringfence_core::policy::parse::{Source, network_policy};
use ringfence_core::policy::verdict::judge;
use ringfence_core::vocabulary::{GATE, ISOLATED};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use crate::harness::Bed;

#[derive(Clone, Copy)]
enum Kind {
    Namespace,
    Policy,
    Pod,
}

/// One write.
struct Change {
    version: u64,
    kind: Kind,
    gone: bool,
    object: DynamicObject,
}

/// Namespaces, NetworkPolicies and pods from now on.
pub(crate) struct History {
    changes: Mutex<Changes>,
    watches: Vec<JoinHandle<()>>,
}

/// What the watches have said so far, and what they go on saying. They never wait for who listens: the API server ends
/// a watch that does.
struct Changes {
    taken: Vec<Change>,
    coming: UnboundedReceiver<Change>,
}

impl Drop for History {
    fn drop(&mut self) {
        self.watches.iter().for_each(JoinHandle::abort);
    }
}

impl History {
    pub(crate) fn begin(bed: &Bed) -> Self {
        let (tell, coming) = unbounded_channel();
        let client = bed.client(0);
        let watches = bed.run(async {
            vec![
                follow::<Namespace>(&client, Kind::Namespace, &tell).await,
                follow::<ApiPolicy>(&client, Kind::Policy, &tell).await,
                follow::<Pod>(&client, Kind::Pod, &tell).await,
            ]
        });
        Self { changes: Mutex::new(Changes { taken: Vec::new(), coming }), watches }
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        assert!(self.watches.iter().all(|watch| !watch.is_finished()), "a watch failed, so the history has a gap");
        let mut changes = self.changes.lock().unwrap();
        while let Ok(change) = changes.coming.try_recv() {
            changes.taken.push(change);
        }
        changes
    }

    /// How many pods have got a node so far in the namespaces whose names begin like this.
    pub(crate) fn bound(&self, prefix: &str) -> usize {
        let changes = self.changes();
        let bound = changes.taken.iter().filter(|change| change.binds() && change.namespace().starts_with(prefix));
        bound.map(|change| change.object.uid()).collect::<HashSet<_>>().len()
    }

    /// What there was to be seen of pods in the namespaces whose names begin like this. Fails where one was bound
    /// before its namespace's baseline was effective.
    pub(crate) fn judge(&self, prefix: &str) -> Seen {
        let mut changes = self.changes();
        changes.taken.sort_by_key(|change| change.version);
        let mut replay = Replay::default();
        for change in changes.taken.iter().filter(|change| change.namespace().starts_with(prefix)) {
            replay.take(change, &change.namespace());
        }
        replay.seen
    }
}

impl Change {
    fn namespace(&self) -> String {
        self.object.namespace().unwrap_or_else(|| self.object.name_any())
    }

    /// Whether it is of a pod that has a node.
    fn binds(&self) -> bool {
        matches!(self.kind, Kind::Pod)
            && self.object.data["spec"]["nodeName"].as_str().is_some_and(|node| !node.is_empty())
    }
}

/// Opens a watch, and tells what it says.
async fn follow<K>(client: &Client, kind: Kind, tell: &UnboundedSender<Change>) -> JoinHandle<()>
where
    K: Resource<DynamicType = ()>,
{
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::erase::<K>(&()));
    let mut last = api.list(&ListParams::default().limit(1)).await.unwrap().metadata.resource_version.unwrap();
    let tell = tell.clone();
    tokio::spawn(async move {
        // The server may end a watch at any time; the next one goes on where it was.
        loop {
            let mut events = api.watch(&WatchParams::default().disable_bookmarks(), &last).await.unwrap().boxed();
            while let Some(Ok(event)) = events.next().await {
                let (object, gone) = match event {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
                    WatchEvent::Deleted(object) => (object, true),
                    WatchEvent::Bookmark(_) => continue,
                    WatchEvent::Error(status) => panic!("{status:?}"),
                };
                last = object.resource_version().unwrap();
                let _ = tell.send(Change { version: last.parse().unwrap(), kind, gone, object });
            }
        }
    })
}

/// Of the pods of some namespaces.
#[derive(Default, Debug)]
pub(crate) struct Seen {
    /// By uid: the pods that were created, those among them that were held when they were, and those that got a node.
    pub(crate) created: HashSet<String>,
    pub(crate) held: HashSet<String>,
    pub(crate) bound: HashSet<String>,
}

/// The cluster as it was after each write.
#[derive(Default)]
struct Replay {
    config: Config,
    isolated: BTreeMap<String, bool>,
    policies: BTreeMap<String, BTreeMap<String, NetworkPolicy>>,
    /// Namespaces with a pod that is bound: their baseline is whole.
    settled: HashSet<String>,
    seen: Seen,
}

impl Replay {
    fn take(&mut self, change: &Change, namespace: &str) {
        let object = &change.object;
        match change.kind {
            Kind::Namespace => {
                let isolated = !change.gone && object.labels().get(ISOLATED).is_some_and(|value| value == "true");
                self.isolated.insert(namespace.to_owned(), isolated);
            }
            Kind::Policy => {
                let late = self.settled.contains(namespace);
                assert!(!late || change.gone, "a policy of {namespace} was written after a pod was bound there");
                let policies = self.policies.entry(namespace.to_owned()).or_default();
                if change.gone {
                    policies.remove(&object.name_any());
                } else {
                    let value = serde_json::to_value(object).unwrap();
                    policies.insert(object.name_any(), network_policy(&value, Source::Cluster).unwrap());
                }
            }
            Kind::Pod if !change.gone => self.pod(change, namespace),
            Kind::Pod => {}
        }
    }

    fn pod(&mut self, change: &Change, namespace: &str) {
        let (uid, spec) = (change.object.uid().unwrap(), &change.object.data["spec"]);
        if self.seen.created.insert(uid.clone()) {
            let gates = spec["schedulingGates"].as_array();
            if gates.is_some_and(|gates| gates.iter().any(|gate| gate["name"] == GATE)) {
                self.seen.held.insert(uid.clone());
            }
        }
        if !change.binds() || !self.seen.bound.insert(uid) {
            return;
        }
        self.settled.insert(namespace.to_owned());
        let what = format!("Pod {namespace}/{} was bound by write {}", change.object.name_any(), change.version);
        let policies: Vec<&NetworkPolicy> =
            self.policies.get(namespace).into_iter().flat_map(BTreeMap::values).collect();
        let profile = self.config.default_profile().unwrap();
        let verdict = judge(&policies, profile.criteria());
        assert!(profile.is_effective(&verdict), "{what}, when the baseline was not effective: {verdict:#?}");
        assert!(self.isolated.get(namespace) == Some(&true), "{what}, when its namespace was not labelled as isolated");
    }
}
