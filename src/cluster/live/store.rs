//! What an API server sends, as the index keeps it.

use k8s_openapi::api::networking::v1::NetworkPolicy as ApiPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta as ApiMeta;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject};
use ringfence_core::index::Pod;
use ringfence_core::object::ObjectMeta;
use ringfence_core::policy::NetworkPolicy;
use ringfence_core::policy::parse::{self, Source};
use serde::Deserialize;

/// NetworkPolicies as they are stored, with whatever fields there are: what is read of them is the parser's business.
pub(super) struct PolicyApi;

impl PolicyApi {
    pub(super) fn all(client: Client) -> Api<DynamicObject> {
        Api::all_with(client, &ApiResource::erase::<ApiPolicy>(&()))
    }

    pub(super) fn namespaced(client: &Client, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<ApiPolicy>(&()))
    }
}

/// Hands the part of an object's metadata that is judged to a function.
pub(super) fn metadata<T: Default>(metadata: &ApiMeta, read: impl FnOnce(&ObjectMeta<'_>) -> T) -> T {
    let value = serde_json::to_value(metadata).unwrap_or_default();
    match <ObjectMeta<'_> as Deserialize<'_>>::deserialize(&value) {
        Ok(metadata) => read(&metadata),
        Err(error) => {
            // Both are types of the same API; a namespace that stays unknown counts as enforced.
            tracing::error!(name = ?metadata.name, %error, "metadata from the API server could not be read");
            T::default()
        }
    }
}

/// The write that an object is of; of one that was deleted, the deletion itself.
pub(super) fn version_of(metadata: &ApiMeta) -> u64 {
    metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or_default()
}

/// A policy, compiled. One that can't be read could do anything, so it counts as opening everything to every pod.
pub(super) fn policy(object: &DynamicObject) -> NetworkPolicy {
    let name = object.metadata.name.clone().unwrap_or_default();
    let value = serde_json::to_value(object).unwrap_or_default();
    parse::network_policy(&value, Source::Cluster).unwrap_or_else(|error| {
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        tracing::warn!(?namespace, ?name, %error, "a stored NetworkPolicy can't be read; it is taken to open everything");
        NetworkPolicy::opening_everything(name, version_of(&object.metadata))
    })
}

/// A pod that carries the label of held pods. Its gate is not looked at: whoever lifts it removes both.
pub(super) fn held_pod(metadata: &ApiMeta) -> Pod {
    self::metadata(metadata, |metadata| Pod {
        held: true,
        running: true,
        host_network: false,
        uid: metadata.uid.to_string(),
        version: metadata.version(),
        created: metadata.created(),
    })
}
