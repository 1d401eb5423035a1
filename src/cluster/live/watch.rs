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
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::{Namespace as ApiNamespace, Pod as ApiPod};
use kube::api::{Api, PartialObjectMeta, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, ExponentialBackoff, InitialListStrategy};
use kube::{Resource, ResourceExt};
use ringfence_core::index::{Index, Namespace};
use ringfence_core::vocabulary::HELD;

use super::store::{StoredPolicy, held_pod, metadata, version_of};
use super::{Kind, Live, lasts};
use crate::cluster::{Cluster, Unavailable};

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
        async {
            // A list of policies that begins when the namespaces are known is newer than they are.
            delivered.one(Kind::Namespaces).await;
            let start = |config| watcher::watcher(policies.clone(), config);
            follow(&cluster, &delivered, Kind::NetworkPolicies, start, Policies).await;
        },
        follow(
            &cluster,
            &delivered,
            Kind::HeldPods,
            |config| watcher::watcher(pods.clone(), config.labels(&format!("{HELD}=true"))),
            HeldPods
        ),
        delivered.all(&cluster),
        settle_overdue(&cluster, live),
    );
}

/// How often it is looked whether a reservation is older than any request.
const OVERDUE_TICK: Duration = Duration::from_secs(5);

/// Ends reservations of requests that came to nothing: a read that begins when no request can still be stored says so.
async fn settle_overdue(cluster: &Cluster, live: &Live) {
    loop {
        tokio::time::sleep(OVERDUE_TICK).await;
        let overdue = cluster.reservations().overdue(Timestamp::now());
        for (namespace, reservation) in overdue {
            let change = &reservation.change;
            // Where it can't be read, it is tried again; the others are not kept waiting.
            let Ok(found) = live.read_policy(&namespace, &change.name).await else { continue };
            // Whatever came of the request is in what was read. Once the index has the same, nothing is left to reserve.
            let known = cluster
                .read()
                .contents(&namespace)
                .and_then(|contents| contents.policy(&change.name).map(|policy| (policy.uid.clone(), policy.version)));
            if known == found {
                cluster.reservations().release(&namespace, &reservation);
            }
        }
    }
}

/// Which watches have delivered everything once.
struct Delivered(tokio::sync::watch::Sender<BTreeSet<&'static str>>);

impl Default for Delivered {
    fn default() -> Self {
        Self(tokio::sync::watch::Sender::new(BTreeSet::new()))
    }
}

impl Delivered {
    fn add(&self, kind: Kind) {
        self.0.send_modify(|kinds| {
            kinds.insert(kind.as_str());
        });
    }

    /// Waits until a watch has. (The sender is at hand, so the wait does not fail.)
    async fn one(&self, kind: Kind) {
        let _ = self.0.subscribe().wait_for(|kinds| kinds.contains(kind.as_str())).await;
    }

    async fn all(&self, cluster: &Cluster) {
        for kind in Kind::ALL {
            self.one(kind).await;
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
    fn put(&self, cluster: &Cluster, index: &mut Index, object: Self::Object, changed: &mut Changed);
    fn remove(&self, cluster: &Cluster, index: &mut Index, object: &Self::Object, changed: &mut Changed);
    /// Takes out what is not among these names of a namespace (`None`: the namespace has none of them).
    fn retain(&self, index: &mut Index, names: &Names, changed: &mut Changed);
    /// A list is complete, and everything in it was put. `older` are the namespaces that were known before it was asked for.
    fn listed(&self, _: &Cluster, _: &mut Index, _older: &[String], _: &mut Changed) {}
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
        // Taken before the first list is asked for. When a later one was asked for is not known.
        let mut older = cluster.read().behind();
        let mut events = pin!(start(config).backoff(waits()));
        let mut listed: Option<Vec<K>> = None;
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => {
                    live.heard(kind).lists();
                    live.relists.fetch_add(1, Ordering::AcqRel);
                    listed = Some(Vec::new());
                }
                Ok(Event::InitApply(object)) => listed.get_or_insert_default().push(object),
                Ok(Event::InitDone) => {
                    replace(cluster, &keep, listed.take().unwrap_or_default(), &std::mem::take(&mut older));
                    live.heard(kind).has_listed();
                    delivered.add(kind);
                }
                Ok(Event::Apply(object)) => cluster.change(|index, changed| keep.put(cluster, index, object, changed)),
                Ok(Event::Delete(object)) => {
                    cluster.change(|index, changed| keep.remove(cluster, index, &object, changed));
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

fn replace<K: Resource>(cluster: &Cluster, keep: &impl Keep<Object = K>, objects: Vec<K>, older: &[String]) {
    let mut names = Names::new();
    for object in &objects {
        let metadata = object.meta();
        let name = metadata.name.clone().unwrap_or_default();
        let namespace = metadata.namespace.clone().unwrap_or_else(|| name.clone());
        names.entry(namespace).or_default().insert(name);
    }
    cluster.change(|index, changed| {
        keep.retain(index, &names, changed);
        for object in objects {
            keep.put(cluster, index, object, changed);
        }
        keep.listed(cluster, index, older, changed);
        index.sweep();
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

    fn put(&self, _: &Cluster, index: &mut Index, object: Self::Object, changed: &mut Changed) {
        let name = object.name_any();
        let differs = metadata(&object.metadata, |metadata| index.put_namespace(&name, metadata));
        note(changed, &name, differs);
    }

    fn remove(&self, _: &Cluster, index: &mut Index, object: &Self::Object, changed: &mut Changed) {
        let name = object.name_any();
        index.forget_namespace(&name);
        index.sweep_one(&name);
        note(changed, &name, true);
    }

    fn retain(&self, index: &mut Index, names: &Names, changed: &mut Changed) {
        for name in index.names().into_iter().filter(|name| !names.contains_key(name)) {
            note(changed, &name, index.get(&name).is_some());
            index.forget_namespace(&name);
        }
    }
}

struct Policies;

impl Policies {
    /// Notes how far the watch has come.
    fn come_to(index: &mut Index, version: u64, changed: &mut Changed) {
        changed.extend(index.policies_come_to(version));
    }
}

impl Keep for Policies {
    type Object = StoredPolicy;

    fn put(&self, cluster: &Cluster, index: &mut Index, object: Self::Object, changed: &mut Changed) {
        let namespace = object.namespace().unwrap_or_default();
        let policy = object.policy;
        let (uid, version) = (policy.uid.clone(), policy.version);
        let contents = index.contents_mut(&namespace);
        // A write from before a list that does not have the policy: it was deleted in between.
        let is_over = version <= contents.known_to() && contents.policy(&policy.name).is_none();
        let differs = !is_over && contents.put_policy(policy);
        note(changed, &namespace, differs);
        Self::come_to(index, version, changed);
        // Once the index has it, so that it counts all the time.
        cluster.reservations().seen(&namespace, &uid, version);
    }

    fn remove(&self, cluster: &Cluster, index: &mut Index, object: &Self::Object, changed: &mut Changed) {
        let namespace = object.namespace().unwrap_or_default();
        let version = version_of(&object.metadata);
        let removed = index.contents_mut(&namespace).remove_policy_at(&object.name_any(), version);
        index.sweep_one(&namespace);
        note(changed, &namespace, removed);
        Self::come_to(index, version, changed);
        cluster.reservations().seen(&namespace, &object.uid().unwrap_or_default(), version);
    }

    fn retain(&self, index: &mut Index, names: &Names, changed: &mut Changed) {
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

    fn listed(&self, cluster: &Cluster, index: &mut Index, older: &[String], changed: &mut Changed) {
        changed.extend(older.iter().filter(|name| index.policies_listed(name)).cloned());
        let mut reservations = cluster.reservations();
        for name in reservations.namespaces() {
            let namespace = index.contents(&name);
            reservations.listed(&name, namespace.iter().flat_map(|namespace| namespace.policies()));
        }
    }
}

struct HeldPods;

impl Keep for HeldPods {
    type Object = PartialObjectMeta<ApiPod>;

    fn put(&self, _: &Cluster, index: &mut Index, object: Self::Object, changed: &mut Changed) {
        let namespace = object.namespace().unwrap_or_default();
        let differs = index.contents_mut(&namespace).put_pod(&object.name_any(), held_pod(&object.metadata));
        note(changed, &namespace, differs);
    }

    // A pod that is held no more takes nothing with it: nobody has to know.
    fn remove(&self, _: &Cluster, index: &mut Index, object: &Self::Object, _: &mut Changed) {
        let name = object.namespace().unwrap_or_default();
        let namespace = index.contents_mut(&name);
        let uid = object.uid().unwrap_or_default();
        namespace.pods.retain(|name, pod| *name != object.name_any() || pod.uid != uid);
        index.sweep_one(&name);
    }

    fn retain(&self, index: &mut Index, names: &Names, _: &mut Changed) {
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
            let is_ahead = policy.version > index.policies_seen();
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
                metadata(&object.metadata, |metadata| index.put_namespace(&name, metadata));
            }
        });
    }

    /// Takes over a list of a namespace's policies that was begun when the namespace with this uid was known: it has
    /// everything that is there, and what is not in it is gone.
    ///
    /// # Errors
    /// Where the API server does not answer.
    pub(crate) async fn list_policies(&self, namespace: &Namespace) -> Result<(), Unavailable> {
        let Some(live) = self.as_live() else { return Ok(()) };
        let before: Vec<(String, u64)> =
            namespace.policies().map(|policy| (policy.name.clone(), policy.version)).collect();
        let relists = live.relists();
        let (found, at) = live.read_policies(namespace.name()).await?;
        self.change(|index, changed| {
            let name = namespace.name();
            // What a watch has listed meanwhile may be newer: the plan waits on, and asks again.
            if live.relists() != relists || index.get(name).is_none_or(|known| known.uid != namespace.uid) {
                return;
            }
            let seen = index.policies_seen();
            let contents = index.contents_mut(name);
            for (policy, version) in before {
                let is_there = found.iter().any(|object| object.policy.name == policy);
                // What was written since then is another one.
                if !is_there && contents.policy(&policy).is_some_and(|known| known.version == version) {
                    contents.remove_policy(&policy);
                }
            }
            for object in found {
                // What the watch has been past and the index does not know was deleted since.
                if object.policy.version > seen || contents.policy(&object.policy.name).is_some() {
                    contents.put_policy(object.policy);
                }
            }
            contents.policies_known_to(at);
            index.policies_listed(name);
            changed.insert(name.to_owned());
        });
        Ok(())
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
