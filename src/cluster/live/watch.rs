//! The watches that fill the index: Namespaces and held Pods by their metadata, NetworkPolicies whole.
//!
//! kube's watcher resumes a watch that was dropped, and lists anew where the server has forgotten where it was (410
//! Gone). What a list brings replaces what was known in one step, so that the index is never half empty.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use backon::ExponentialBuilder;
use futures::StreamExt;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::{Namespace as ApiNamespace, Pod as ApiPod};
use kube::api::{Api, PartialObjectMeta, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, ExponentialBackoff, InitialListStrategy};
use kube::{Resource, ResourceExt};
use ringfence_core::index::{Index, Namespace};
use ringfence_core::vocabulary::HELD;
use tokio::sync::Notify;

use super::store::{StoredPolicy, held_pod, metadata, version_of};
use super::{Kind, Live, lasts};
use crate::cluster::Cluster;

/// The first wait after an error, and the longest one, both with jitter: a restarted API server is asked again by
/// everybody, but not at the same moment.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How a watch waits after errors.
pub(crate) fn waits() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_WAIT)
        .with_max_delay(LONGEST_WAIT)
        .without_max_times()
        .with_jitter()
        .into()
}

/// Asks who this process is to the API server, until it says so: the controller is whoever it says it is.
async fn identify(cluster: &Cluster, live: &Live) {
    let api: Api<SelfSubjectReview> = Api::all(live.client.clone());
    let (params, review) = (PostParams::default(), SelfSubjectReview::default());
    let mut waits = waits();
    loop {
        let asked = api.create(&params, &review);
        let problem = match tokio::time::timeout(LONGEST_WAIT, asked).await {
            Ok(Ok(review)) => match review.status.and_then(|status| status.user_info?.username) {
                Some(username) => {
                    tracing::info!(?username, "the controller's identity");
                    // It is set once, here.
                    let _ = cluster.controller.set(username);
                    return;
                }
                None => "the SelfSubjectReview names no user".to_owned(),
            },
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        tracing::warn!(problem, "the API server does not say who this is; asking again");
        tokio::time::sleep(waits.next().unwrap_or(LONGEST_WAIT)).await;
    }
}

/// Runs the watches. It returns only where the cluster has none.
pub async fn run(cluster: Arc<Cluster>) {
    let Some(live) = cluster.as_live() else { return };
    identify(&cluster, live).await;
    let delivered = Delivered::default();
    let namespaces: Api<PartialObjectMeta<ApiNamespace>> = Api::all(live.watch_client(Kind::Namespaces));
    let policies: Api<StoredPolicy> = Api::all(live.watch_client(Kind::NetworkPolicies));
    let pods: Api<PartialObjectMeta<ApiPod>> = Api::all(live.watch_client(Kind::HeldPods));
    tokio::join!(
        follow(
            &cluster,
            &delivered,
            Kind::Namespaces,
            |config| watcher::watcher(namespaces.clone(), config),
            Namespaces
        ),
        follow(
            &cluster,
            &delivered,
            Kind::NetworkPolicies,
            |config| watcher::watcher(policies.clone(), config),
            Policies
        ),
        follow(
            &cluster,
            &delivered,
            Kind::HeldPods,
            |config| watcher::watcher(pods.clone(), config.labels(&format!("{HELD}=true"))),
            HeldPods
        ),
        delivered.all(&cluster),
    );
}

/// Which watches have delivered everything once.
#[derive(Default)]
struct Delivered {
    kinds: std::sync::Mutex<BTreeSet<&'static str>>,
    added: Notify,
}

impl Delivered {
    fn add(&self, kind: Kind) {
        self.kinds.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(kind.as_str());
        self.added.notify_one();
    }

    async fn all(&self, cluster: &Cluster) {
        loop {
            let count = self.kinds.lock().unwrap_or_else(std::sync::PoisonError::into_inner).len();
            if count == Kind::ALL.len() {
                break;
            }
            self.added.notified().await;
        }
        cluster.set_synced();
        tracing::info!(namespaces = cluster.namespaces().len(), "every watch has delivered");
    }
}

/// The names of objects, by namespace.
type Names = HashMap<String, BTreeSet<String>>;

/// The namespaces in which something has changed.
type Changed = BTreeSet<String>;

/// How one kind of object goes into the index. Each says which namespaces it has changed.
trait Keep {
    type Object;
    fn put(&self, live: &Live, index: &mut Index, object: Self::Object, changed: &mut Changed);
    fn remove(&self, live: &Live, index: &mut Index, object: &Self::Object, changed: &mut Changed);
    /// Takes out what is not among these names of a namespace (`None`: the namespace has none of them).
    fn retain(&self, live: &Live, index: &mut Index, names: &Names, changed: &mut Changed);
}

async fn follow<K, S>(
    cluster: &Cluster,
    delivered: &Delivered,
    kind: Kind,
    start: impl Fn(watcher::Config) -> S,
    keep: impl Keep<Object = K>,
) where
    K: Resource + Debug,
    S: futures::Stream<Item = watcher::Result<Event<K>>>,
{
    let Some(live) = cluster.as_live() else { return };
    let timeout = lasts(live.staleness);
    let mut strategy = InitialListStrategy::StreamingList;
    loop {
        let config =
            watcher::Config { initial_list_strategy: strategy.clone(), ..watcher::Config::default().timeout(timeout) };
        let mut events = pin!(start(config).backoff(waits()));
        let mut listed: Option<Vec<K>> = None;
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = live.lists_again(kind) => None,
            };
            let Some(event) = event else { break };
            match event {
                Ok(Event::Init) => {
                    live.heard(kind).lists();
                    live.relists.fetch_add(1, Ordering::AcqRel);
                    listed = Some(Vec::new());
                }
                Ok(Event::InitApply(object)) => listed.get_or_insert_default().push(object),
                Ok(Event::InitDone) => {
                    replace(cluster, live, &keep, listed.take().unwrap_or_default());
                    live.heard(kind).has_listed();
                    delivered.add(kind);
                }
                Ok(Event::Apply(object)) => cluster.change(|index, changed| keep.put(live, index, object, changed)),
                Ok(Event::Delete(object)) => {
                    cluster.change(|index, changed| keep.remove(live, index, &object, changed));
                }
                Err(error) if strategy == InitialListStrategy::StreamingList && has_no_streaming_lists(&error) => {
                    tracing::info!(watch = kind.as_str(), "the API server has no streaming lists; listing in pages");
                    strategy = InitialListStrategy::ListWatch;
                    break;
                }
                Err(error) => tracing::warn!(watch = kind.as_str(), %error, "a watch failed; trying again"),
            }
        }
    }
}

/// An API server without the feature `WatchList` refuses the parameter as invalid.
fn has_no_streaming_lists(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(status)) if matches!(status.code, 400 | 422))
}

fn replace<K: Resource>(cluster: &Cluster, live: &Live, keep: &impl Keep<Object = K>, objects: Vec<K>) {
    let mut names = Names::new();
    for object in &objects {
        let metadata = object.meta();
        let name = metadata.name.clone().unwrap_or_default();
        let namespace = metadata.namespace.clone().unwrap_or_else(|| name.clone());
        names.entry(namespace).or_default().insert(name);
    }
    cluster.change(|index, changed| {
        keep.retain(live, index, &names, changed);
        for object in objects {
            keep.put(live, index, object, changed);
        }
        index.sweep(live.newest_policy.load(Ordering::Acquire));
    });
}

fn note(changed: &mut Changed, namespace: &str, really: bool) {
    if really {
        changed.insert(namespace.to_owned());
    }
}

struct Namespaces;

impl Keep for Namespaces {
    type Object = PartialObjectMeta<ApiNamespace>;

    fn put(&self, live: &Live, index: &mut Index, object: Self::Object, changed: &mut Changed) {
        let name = object.name_any();
        let namespace = index.contents_mut(&name);
        // Another namespace of the same name, whose predecessor's deletion a list has swallowed: which of the contents are
        // its own nobody can tell, so they are listed anew.
        let is_another = !namespace.uid.is_empty() && object.metadata.uid.as_ref() != Some(&namespace.uid);
        if is_another && namespace.clear() {
            live.list_contents_again();
        }
        let differs = metadata(&object.metadata, |metadata| namespace.put_object(metadata));
        note(changed, &name, differs);
    }

    fn remove(&self, live: &Live, index: &mut Index, object: &Self::Object, changed: &mut Changed) {
        let name = object.name_any();
        index.forget_namespace(&name, version_of(&object.metadata));
        index.sweep(live.newest_policy.load(Ordering::Acquire));
        note(changed, &name, true);
    }

    fn retain(&self, live: &Live, index: &mut Index, names: &Names, changed: &mut Changed) {
        for name in index.names().into_iter().filter(|name| !names.contains_key(name)) {
            note(changed, &name, index.get(&name).is_some());
            // When it was deleted is not known, and so is which of its contents belong to the next of its name.
            index.forget_namespace(&name, 0);
            if index.contents_mut(&name).clear() {
                live.list_contents_again();
            }
        }
    }
}

struct Policies;

impl Keep for Policies {
    type Object = StoredPolicy;

    fn put(&self, live: &Live, index: &mut Index, object: Self::Object, changed: &mut Changed) {
        let namespace = object.namespace().unwrap_or_default();
        let policy = object.policy;
        live.newest_policy.fetch_max(policy.version, Ordering::AcqRel);
        let differs = index.contents_mut(&namespace).put_policy(policy);
        note(changed, &namespace, differs);
    }

    fn remove(&self, live: &Live, index: &mut Index, object: &Self::Object, changed: &mut Changed) {
        let namespace = object.namespace().unwrap_or_default();
        let version = version_of(&object.metadata);
        live.newest_policy.fetch_max(version, Ordering::AcqRel);
        let removed = index.contents_mut(&namespace).remove_policy_at(&object.name_any(), version);
        note(changed, &namespace, removed);
    }

    fn retain(&self, _: &Live, index: &mut Index, names: &Names, changed: &mut Changed) {
        for name in index.names() {
            let namespace = index.contents_mut(&name);
            let gone: Vec<String> = namespace
                .policies()
                .map(|policy| policy.name.clone())
                .filter(|policy| !names.get(&name).is_some_and(|there| there.contains(policy)))
                .collect();
            note(changed, &name, !gone.is_empty());
            for policy in gone {
                namespace.remove_policy(&policy);
            }
        }
    }
}

struct HeldPods;

impl Keep for HeldPods {
    type Object = PartialObjectMeta<ApiPod>;

    fn put(&self, _: &Live, index: &mut Index, object: Self::Object, changed: &mut Changed) {
        let namespace = object.namespace().unwrap_or_default();
        let differs = index.contents_mut(&namespace).put_pod(&object.name_any(), held_pod(&object.metadata));
        note(changed, &namespace, differs);
    }

    // A pod that is held no more takes nothing with it: nobody has to be told.
    fn remove(&self, _: &Live, index: &mut Index, object: &Self::Object, _: &mut Changed) {
        let namespace = index.contents_mut(&object.namespace().unwrap_or_default());
        let uid = object.uid().unwrap_or_default();
        namespace.pods.retain(|name, pod| *name != object.name_any() || pod.uid != uid);
    }

    fn retain(&self, _: &Live, index: &mut Index, names: &Names, _: &mut Changed) {
        for name in index.names() {
            let namespace: &mut Namespace = index.contents_mut(&name);
            namespace.pods.retain(|pod, _| names.get(&name).is_some_and(|there| there.contains(pod)));
        }
    }
}

impl Cluster {
    /// Takes over a policy that was just written, before the watch delivers it, so that what follows from it need not
    /// wait. `relists` is what [`Live::relists`] was before the write.
    pub(crate) fn written_policy(&self, object: StoredPolicy, relists: u64) {
        let Some(live) = self.as_live() else { return };
        let (Some(namespace), policy) = (object.namespace(), object.policy) else { return };
        self.change(|index, _| {
            // What the watch has been past already, it has delivered; it may have been deleted since.
            let is_ahead = policy.version > live.newest_policy.load(Ordering::Acquire);
            if is_ahead && live.relists() == relists && index.get(&namespace).is_some() {
                index.contents_mut(&namespace).put_policy(policy);
            }
        });
    }

    /// Takes over a namespace that was just written.
    pub fn written_namespace(&self, object: &PartialObjectMeta<ApiNamespace>) {
        let name = object.name_any();
        self.change(|index, _| {
            // One that is gone by now, or another one of the same name, is not brought back.
            let same = index.get(&name).is_some_and(|known| Some(&known.uid) == object.metadata.uid.as_ref());
            if same {
                metadata(&object.metadata, |metadata| index.contents_mut(&name).put_object(metadata));
            }
        });
    }

    /// Takes over that a pod was just lifted.
    pub fn written_pod(&self, object: &PartialObjectMeta<ApiPod>) {
        let pod = ringfence_core::index::Pod { held: false, ..held_pod(&object.metadata) };
        self.change(|index, _| {
            let namespace = index.contents_mut(&object.namespace().unwrap_or_default());
            if namespace.pods.contains_key(&object.name_any()) {
                namespace.put_pod(&object.name_any(), pod);
            }
        });
    }
}
