//! What the controller writes to the API server. Every write is idempotent, so that two controllers that overlap for a
//! moment do no harm, and says what it was concluded from: a namespace that has changed since is not labelled.

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace as ApiNamespace, Pod as ApiPod};
use k8s_openapi::api::networking::v1::NetworkPolicy as ApiPolicy;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use ringfence_core::index::Namespace;
use ringfence_core::plan::Action;
use ringfence_core::vocabulary::{CONFLICT, EFFECTIVE, ISOLATED, MODE, Mode, QUARANTINED, RINGFENCE};
use serde_json::json;

use super::lease::Leadership;
use super::{as_ringfence, lifting};
use crate::cluster::Cluster;
use crate::cluster::live::StoredPolicy;

/// How many writes of one namespace run at one time.
const CONCURRENT: usize = 8;

/// How long a write may take. A write that outlives the lease could meet those of the next leader.
const DEADLINE: Duration = Duration::from_secs(5);

/// Why an action was not carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// The API server refused it, or could not be reached.
    #[error("{what}: {source}")]
    Refused {
        what: String,
        #[source]
        source: kube::Error,
    },
    /// A quarantine failed.
    #[error("quarantining NetworkPolicy {policy}: {source}")]
    NotQuarantined {
        policy: String,
        #[source]
        source: Box<WriteError>,
    },
    /// No answer.
    #[error("{0}: no answer within {seconds} s", seconds = DEADLINE.as_secs())]
    Silence(String),
    /// Another replica leads.
    #[error("this replica does not lead any more")]
    NotLeading,
    /// What is known may be out of date.
    #[error("the API server has not been heard for too long to conclude anything")]
    Stale,
    /// The namespace is another one by now, of the same name.
    #[error("namespace {0:?} was deleted and made again")]
    Another(String),
    /// The API server takes what is written, and does not keep it: something changes it on its way.
    #[error("what was written is not what is there")]
    NotKept,
}

impl WriteError {
    /// Whether what was to be written to has changed or gone since it was planned: the watch brings the news, and the
    /// next plan is made of it.
    pub(super) fn is_overtaken(&self) -> bool {
        if let Self::NotQuarantined { source, .. } = self {
            return source.is_overtaken();
        }
        if matches!(self, Self::Another(_)) {
            return true;
        }
        let Self::Refused { source: kube::Error::Api(status), .. } = self else { return false };
        matches!(status.code, 404 | 409) || status.reason == "Forbidden" && status.message.contains("being terminated")
    }

    /// The policy that could not be quarantined.
    pub(super) fn policy(&self) -> Option<&str> {
        match self {
            Self::NotQuarantined { policy, .. } => Some(policy),
            _ => None,
        }
    }

    /// What the API server says against it, where it is the API server that does not want it.
    pub(super) fn refusal(&self) -> Option<String> {
        match self {
            Self::NotQuarantined { source, .. } => source.refusal(),
            Self::Refused { what, source: kube::Error::Api(status) } if (400..500).contains(&status.code) => {
                Some(format!("{what} is refused: {}", status.message))
            }
            _ => None,
        }
    }
}

/// Carries out actions on a live cluster.
pub(super) struct Writer {
    cluster: Arc<Cluster>,
    client: Client,
    leadership: Leadership,
}

impl Writer {
    pub(super) fn new(cluster: Arc<Cluster>, client: Client, leadership: Leadership) -> Self {
        Self { cluster, client, leadership }
    }

    /// Carries out actions of one kind, which do not depend on one another: where one fails the others are carried out
    /// all the same, and none is abandoned on its way. Results are in the order of the actions.
    pub(super) async fn all(&self, namespace: &Namespace, actions: &[Action]) -> Vec<Result<(), WriteError>> {
        // Collected first: the compiler can't name the lifetimes of a stream that borrows lazily.
        let writes: Vec<_> = actions.iter().map(|action| self.one(namespace, action).boxed()).collect();
        futures::stream::iter(writes).buffered(CONCURRENT).collect().await
    }

    async fn one(&self, namespace: &Namespace, action: &Action) -> Result<(), WriteError> {
        match action {
            Action::Apply(policy) => self.apply(namespace, policy).await,
            Action::Prune(name) => self.prune(namespace, name).await,
            Action::Quarantine(suspect) => self.quarantine(namespace, suspect).await.map_err(|source| {
                WriteError::NotQuarantined { policy: suspect.name.clone(), source: Box::new(source) }
            }),
            Action::EndQuarantine(name, uid) => {
                let patch = json!({ "metadata": { "uid": uid, "annotations": { (QUARANTINED): null } } });
                self.patch_policy(namespace, name, &patch, "ending the quarantine of").await
            }
            Action::Isolate(record) => self.isolate(namespace, record).await,
            // To lose it waits for nothing.
            Action::DropIsolated => {
                let labels = json!({ (ISOLATED): null });
                self.patch(namespace, false, json!({ "labels": labels }), "dropping isolated").await
            }
            Action::Record(record) => {
                let annotations = json!({ (EFFECTIVE): record });
                let what = "recording when the baseline was effective";
                self.patch(namespace, false, json!({ "annotations": annotations }), what).await
            }
            Action::EndExemption => {
                // Whatever else changes: writes of others to the namespace must not be able to put the end off.
                let labels = json!({ (MODE): Mode::Enforce });
                self.patch(namespace, false, json!({ "labels": labels }), "ending the exemption").await
            }
            Action::Report(text) => {
                let text = text.as_deref().map(ringfence_core::admission::warnings::cut);
                let annotations = json!({ (CONFLICT): text });
                self.patch(namespace, false, json!({ "annotations": annotations }), "reporting what is in the way")
                    .await
            }
            Action::Lift(pod) => self.lift(namespace, pod).await,
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// How often a watch began anew, which is to be asked before a write ([`Cluster::written_policy`]).
    pub(super) fn relists(&self) -> u64 {
        self.cluster.as_live().map_or(0, crate::cluster::live::Live::relists)
    }

    /// Runs a write if this replica leads, for no longer than it does.
    pub(super) async fn bounded<T>(
        &self,
        what: impl FnOnce() -> String,
        write: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, WriteError> {
        let Some(left) = self.leadership.left() else { return Err(WriteError::NotLeading) };
        match tokio::time::timeout(DEADLINE.min(left), write).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(source)) => Err(WriteError::Refused { what: what(), source }),
            Err(_) => Err(WriteError::Silence(what())),
        }
    }

    async fn apply(&self, namespace: &Namespace, policy: &ApiPolicy) -> Result<(), WriteError> {
        let name = policy.metadata.name.as_deref().unwrap_or_default();
        // What is Ringfence's own is restored whoever has changed it. What is not known to be there is not forced: had
        // somebody created it meanwhile, it would be theirs.
        let restores = namespace.policy(name).is_some_and(|present| present.managed);
        let params = PatchParams { force: restores, ..PatchParams::apply(RINGFENCE) };
        let api: Api<StoredPolicy> = Api::namespaced(self.client.clone(), namespace.name());
        let relists = self.relists();
        let what = || format!("applying NetworkPolicy {name}");
        let policy = spelled_out(policy);
        let patch = Patch::Apply(&policy);
        let written = self.bounded(what, api.patch(name, &params, &patch)).await?;
        self.cluster.written_policy(written, relists);
        Ok(())
    }

    async fn prune(&self, namespace: &Namespace, name: &str) -> Result<(), WriteError> {
        let api: Api<ApiPolicy> = Api::namespaced(self.client.clone(), namespace.name());
        // Only the object that was seen to be managed and not in the profile.
        let version = namespace.policy(name).map(|policy| policy.version).filter(|version| *version != 0);
        let preconditions =
            version.map(|version| Preconditions { resource_version: Some(version.to_string()), uid: None });
        let params = DeleteParams { preconditions, ..DeleteParams::default() };
        self.bounded(|| format!("pruning NetworkPolicy {name}"), api.delete(name, &params)).await?;
        Ok(())
    }

    async fn isolate(&self, namespace: &Namespace, record: &str) -> Result<(), WriteError> {
        // It must be concluded from the namespace as it is now, and from policies that the API server has confirmed not long
        // ago.
        if !self.cluster.is_believed() {
            return Err(WriteError::Stale);
        }
        let metadata = json!({ "labels": { (ISOLATED): "true" }, "annotations": { (EFFECTIVE): record } });
        self.patch(namespace, true, metadata, "setting isolated").await
    }

    async fn patch(
        &self,
        namespace: &Namespace,
        unchanged: bool,
        mut metadata: serde_json::Value,
        what: &str,
    ) -> Result<(), WriteError> {
        // Another namespace of the same name is not meant.
        metadata["uid"] = json!(namespace.uid);
        if unchanged {
            metadata["resourceVersion"] = json!(namespace.version.to_string());
        }
        let api: Api<ApiNamespace> = Api::all(self.client.clone());
        let patch = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata });
        let params = as_ringfence();
        let patch = Patch::Merge(&patch);
        let write = api.patch_metadata(namespace.name(), &params, &patch);
        let written = self.bounded(|| what.to_owned(), write).await?;
        self.cluster.written_namespace(&written);
        Ok(())
    }

    /// Makes sure that a namespace is still the one that was planned for. The watch of held pods may be ahead of the others:
    /// a pod of the next namespace of this name would be lifted by what is known of the one before.
    pub(super) async fn confirm(&self, namespace: &Namespace) -> Result<(), WriteError> {
        let api: Api<ApiNamespace> = Api::all(self.client.clone());
        let what = || "looking whether the namespace is still the same".to_owned();
        let found = self.bounded(what, api.get_metadata(namespace.name())).await?;
        if found.metadata.uid.as_ref() == Some(&namespace.uid) {
            Ok(())
        } else {
            Err(WriteError::Another(namespace.name().to_owned()))
        }
    }

    /// Whether pods of a namespace are to be lifted, as far as is known at this moment.
    fn is_lifted_still(&self, name: &str) -> bool {
        let (config, now) = (self.cluster.config(), Timestamp::now());
        self.cluster.namespace(name).is_some_and(|namespace| {
            namespace.mode(now) != Some(Mode::Enforce)
                || config.is_excluded(name)
                || namespace.is_isolating(config, now)
        })
    }

    /// Takes the gate and the label off a pod, and leaves gates of others.
    async fn lift(&self, namespace: &Namespace, pod: &str) -> Result<(), WriteError> {
        let Some(known) = namespace.pods.get(pod) else { return Ok(()) };
        // There may be thousands: the first may have been lifted long before the last one is.
        if !self.cluster.is_believed() {
            return Err(WriteError::Stale);
        }
        if !self.is_lifted_still(namespace.name()) {
            return Ok(());
        }
        let api: Api<ApiPod> = Api::namespaced(self.client.clone(), namespace.name());
        let (params, patch) = (as_ringfence(), lifting(&known.uid));
        let write = api.patch_metadata(pod, &params, &patch);
        match self.bounded(|| format!("lifting Pod {pod}"), write).await {
            Ok(written) => self.cluster.written_pod(&written),
            // Gone, or another pod of the same name: there is nothing left to lift.
            Err(error) if error.is_overtaken() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// A policy with every field of its spec. Applying leaves alone what is not mentioned, so that a rule that somebody added
/// where the profile has none would stay.
fn spelled_out(policy: &ApiPolicy) -> ApiPolicy {
    let mut policy = policy.clone();
    let spec = policy.spec.get_or_insert_default();
    spec.pod_selector.get_or_insert_default();
    spec.ingress.get_or_insert_default();
    let has_egress = !spec.egress.get_or_insert_default().is_empty();
    // What the API server would make of none, or of an empty list.
    if spec.policy_types.as_ref().is_none_or(Vec::is_empty) {
        let types = ["Ingress", "Egress"].into_iter().take(if has_egress { 2 } else { 1 });
        spec.policy_types = Some(types.map(str::to_owned).collect());
    }
    policy
}

/// Actions in groups that may run at one time, in order: what isolates is written before what allows is taken away, and
/// pods are lifted last.
pub(super) fn groups(actions: &[Action]) -> impl Iterator<Item = &[Action]> {
    actions.chunk_by(|a, b| std::mem::discriminant(a) == std::mem::discriminant(b))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::networking::v1::NetworkPolicy;
    use serde_json::{Value, json};

    use super::spelled_out;

    fn applied(spec: &Value) -> Value {
        let policy: NetworkPolicy = serde_json::from_value(json!({ "spec": spec })).unwrap();
        serde_json::to_value(spelled_out(&policy)).unwrap()["spec"].clone()
    }

    #[test]
    fn what_is_applied_mentions_every_field_so_that_nothing_of_another_writer_stays() {
        let (all, ports) = (json!([{}]), json!([{ "ports": [{ "port": 53 }] }]));
        for (spec, expected) in [
            (json!({}), json!({ "podSelector": {}, "ingress": [], "egress": [], "policyTypes": ["Ingress"] })),
            (
                json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": ports }),
                json!({ "podSelector": {}, "ingress": [], "egress": ports, "policyTypes": ["Egress"] }),
            ),
            (
                json!({ "policyTypes": [], "ingress": all, "egress": all }),
                json!({ "podSelector": {}, "ingress": all, "egress": all, "policyTypes": ["Ingress", "Egress"] }),
            ),
        ] {
            assert_eq!(applied(&spec), expected, "{spec}");
        }
    }
}
