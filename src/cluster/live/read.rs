//! Asking the API server itself, for a request that can't be decided by the index: one GET and one LIST in the
//! namespace that it concerns.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace as ApiNamespace, Pod as ApiPod};
use kube::api::{Api, ListParams};
use ringfence_core::index::{Index, Namespace, Pod};

use super::Live;
use super::store::{StoredPolicy, metadata};
use crate::cluster::Unavailable;

/// The API server waits 5 s for a decision, and asks again a second after a 503 that says so: the second time on a new
/// connection, where the first one was on one that is dead.
const DEADLINE: Duration = Duration::from_secs(2);

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
        // Nothing can be asked of a namespace whose name is still to be generated.
        if name.is_empty() {
            return Ok(None);
        }
        let namespaces: Api<ApiNamespace> = Api::all(self.client.clone());
        let policies: Api<StoredPolicy> = Api::namespaced(self.client.clone(), name);
        let everything = ListParams::default();
        let read = async { tokio::try_join!(namespaces.get_metadata_opt(name), policies.list(&everything)) };
        let (object, policies) = self.bounded(&format!("namespace {name:?}"), read).await?;
        let Some(object) = object else { return Ok(None) };
        let mut index = Index::default();
        let namespace = index.namespace_mut(name);
        metadata(&object.metadata, |metadata| namespace.put_object(metadata));
        for object in policies.items {
            namespace.put_policy(object.policy);
        }
        Ok(index.get(name))
    }

    /// The namespace together with the pods that run in it: of these the index knows only the held ones. One is enough.
    pub(in crate::cluster) async fn with_pods(&self, namespace: &Namespace) -> Result<Arc<Namespace>, Unavailable> {
        let pods: Api<ApiPod> = Api::namespaced(self.client.clone(), namespace.name());
        let running = ListParams::default().fields("status.phase!=Succeeded,status.phase!=Failed").limit(1);
        let what = format!("the pods of namespace {:?}", namespace.name());
        let found = self.bounded(&what, pods.list_metadata(&running)).await?;
        let mut namespace = namespace.clone();
        namespace.pods.clear();
        for pod in found.items {
            let facts = Pod { running: true, ..Pod::default() };
            namespace.pods.insert(pod.metadata.name.unwrap_or_default(), facts);
        }
        Ok(Arc::new(namespace))
    }
}
