//! Asking the API server itself, for a request that can't be decided by the index: one GET and one LIST in the
//! namespace that it concerns.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace as ApiNamespace, Pod as ApiPod};
use k8s_openapi::api::networking::v1::NetworkPolicy as ApiPolicy;
use kube::api::{Api, ListParams, PartialObjectMeta};
use ringfence_core::index::{Index, Namespace, Pod};
use ringfence_core::policy::parse::names::is_dns_label;

use super::Live;
use super::store::{StoredPolicy, metadata, version_of};
use crate::cluster::Unavailable;

/// The API server waits 5 s for a decision, and asks again a second after a 503 that says so: the second time on a new
/// connection, where the first one was on one that is dead.
const DEADLINE: Duration = Duration::from_secs(2);

/// How many pods without a node are looked at.
const WAITING: u32 = 500;

impl Live {
    async fn bounded<T>(&self, what: &str, read: impl Future<Output = kube::Result<T>>) -> Result<T, Unavailable> {
        let bounded = async {
            // It is never closed.
            let _place = self.reads.acquire().await;
            read.await
        };
        let problem = match tokio::time::timeout(DEADLINE, bounded).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => format!("{what} could not be read from the API server: {error}"),
            Err(_) => format!("{what} could not be read from the API server within {} s", DEADLINE.as_secs()),
        };
        tracing::warn!(problem, "a request could not be decided");
        Err(Unavailable(problem))
    }

    /// A namespace with its policies, as the API server knows them at this moment.
    pub(in crate::cluster) async fn read_namespace(&self, name: &str) -> Result<Option<Arc<Namespace>>, Unavailable> {
        // One whose name is still to be generated can't be asked for, nor one of a name that no namespace can have.
        if !is_dns_label(name) {
            return Ok(None);
        }
        let namespaces: Api<ApiNamespace> = Api::all(self.client.clone());
        let policies: Api<StoredPolicy> = Api::namespaced(self.client.clone(), name);
        let everything = ListParams::default();
        let read = async { tokio::try_join!(namespaces.get_metadata_opt(name), policies.list(&everything)) };
        let (object, policies) = self.bounded(&format!("namespace {name:?}"), read).await?;
        let Some(object) = object else { return Ok(None) };
        let mut index = Index::default();
        index.namespace_mut(name);
        metadata(&object.metadata, |metadata| index.put_namespace(name, metadata));
        let namespace = index.namespace_mut(name);
        for object in policies.items {
            namespace.put_policy(object.policy);
        }
        index.policies_listed(name);
        Ok(index.get(name))
    }

    /// The policies of a namespace, as the API server knows them at this moment, and the newest write that the list shows.
    pub(crate) async fn read_policies(&self, name: &str) -> Result<(Vec<StoredPolicy>, u64), Unavailable> {
        let policies: Api<StoredPolicy> = Api::namespaced(self.client.clone(), name);
        let everything = ListParams::default();
        let read = policies.list(&everything);
        let list = self.bounded(&format!("the policies of namespace {name:?}"), read).await?;
        let at = list.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or_default();
        Ok((list.items, at))
    }

    /// A policy as the API server knows it at this moment: its uid and its version.
    pub(in crate::cluster) async fn read_policy(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<(String, u64)>, Unavailable> {
        let policies: Api<ApiPolicy> = Api::namespaced(self.client.clone(), namespace);
        // A list of one: the right to list is there anyway, and a list is never served from a cache that is behind.
        let this = ListParams::default().fields(&format!("metadata.name={name}"));
        let found = self.bounded(&format!("NetworkPolicy {name:?}"), policies.list_metadata(&this)).await?;
        let found = found.items.into_iter().next();
        Ok(found.map(|found| (found.metadata.uid.clone().unwrap_or_default(), version_of(&found.metadata))))
    }

    /// The namespace together with the pods that may run in it: of these the index knows only the held ones. One is
    /// enough. A pod with a node counts whatever its phase says, which whoever may write `pods/status` chooses; a pod without
    /// one counts unless it is being deleted, since no scheduler places it then.
    pub(in crate::cluster) async fn with_pods(&self, namespace: &Namespace) -> Result<Arc<Namespace>, Unavailable> {
        let pods: Api<ApiPod> = Api::namespaced(self.client.clone(), namespace.name());
        let placed = ListParams::default().fields("spec.nodeName!=").limit(1);
        let waiting = ListParams::default().fields("spec.nodeName=").limit(WAITING);
        let what = format!("the pods of namespace {:?}", namespace.name());
        let mut found = self.bounded(&what, pods.list_metadata(&placed)).await?.items;
        if found.is_empty() {
            let waiting = self.bounded(&what, pods.list_metadata(&waiting)).await?;
            // Where there are more, nobody looks at each.
            let more = waiting.metadata.continue_.is_some_and(|token| !token.is_empty());
            let counts = |pod: &PartialObjectMeta<ApiPod>| more || pod.metadata.deletion_timestamp.is_none();
            found.extend(waiting.items.into_iter().filter(counts));
        }
        let mut namespace = namespace.clone();
        namespace.pods.clear();
        for pod in found {
            let facts = Pod { may_run: true, ..Pod::default() };
            namespace.pods.insert(pod.metadata.name.unwrap_or_default(), facts);
        }
        Ok(Arc::new(namespace))
    }
}
