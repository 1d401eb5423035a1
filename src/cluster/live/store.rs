//! What an API server sends, as the index keeps it.

use std::borrow::Cow;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::networking::v1::NetworkPolicy as ApiPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta as ApiMeta;
use kube::Resource;
use ringfence_core::index::Pod;
use ringfence_core::object::ObjectMeta;
use ringfence_core::policy::NetworkPolicy;
use ringfence_core::policy::parse::{self, Source};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A NetworkPolicy, compiled while it is read. As a tree of JSON, one of a megabyte would take a hundred: a tenant could
/// fill the memory with a few of them.
#[derive(Clone, Debug)]
pub(crate) struct StoredPolicy {
    /// Its names and its version, and nothing else.
    pub(super) metadata: ApiMeta,
    pub(super) policy: NetworkPolicy,
}

impl Resource for StoredPolicy {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        ApiPolicy::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        ApiPolicy::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        ApiPolicy::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        ApiPolicy::plural(&())
    }

    fn meta(&self) -> &ApiMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ApiMeta {
        &mut self.metadata
    }
}

impl<'de> Deserialize<'de> for StoredPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Named {
            metadata: Names,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Names {
            name: Option<String>,
            namespace: Option<String>,
            uid: Option<String>,
            resource_version: Option<String>,
        }
        // What is read of it, and how, is the parser's business.
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let Named { metadata: Names { name, namespace, uid, resource_version } } =
            serde_json::from_str(text.get()).map_err(serde::de::Error::custom)?;
        let metadata = ApiMeta { name, namespace, uid, resource_version, ..ApiMeta::default() };
        Ok(Self { policy: compiled(text.get(), &metadata), metadata })
    }
}

/// One that can't be read could do anything, so it counts as opening everything to every pod.
fn compiled(text: &str, metadata: &ApiMeta) -> NetworkPolicy {
    parse::network_policy_json(text, Source::Cluster).unwrap_or_else(|error| {
        let (namespace, name) = (&metadata.namespace, metadata.name.clone().unwrap_or_default());
        tracing::warn!(?namespace, ?name, %error, "a stored NetworkPolicy can't be read; it is taken to open everything");
        NetworkPolicy::opening_everything(name, version_of(metadata))
    })
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

/// A pod that carries the label of held pods. Its gate is not looked at: whoever lifts it removes both.
pub(super) fn held_pod(metadata: &ApiMeta) -> Pod {
    self::metadata(metadata, |metadata| Pod {
        held: true,
        may_run: true,
        host_network: false,
        uid: metadata.uid.to_string(),
        version: metadata.version(),
        created: metadata.created(),
    })
}
