//! `ringfence uninstall`: what has to be undone before Ringfence goes, so that nothing waits for what never comes. The
//! chart runs it before `helm uninstall` deletes anything.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, DeleteParams, ListParams, PartialObjectMeta, Patch};
use kube::{Client, ResourceExt};
use ringfence_core::vocabulary::{CONTROLLERS_ANNOTATIONS, GATE, HELD, ISOLATED, RINGFENCE};
use serde_json::json;

use super::{KubeArgs, LeaseArgs};
use crate::controller::{as_ringfence, lease, lifting};
use crate::telemetry;

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    kube: KubeArgs,
    #[command(flatten)]
    lease: LeaseArgs,
}

/// How many objects are changed at one time.
const CONCURRENT: usize = 16;

/// How long controllers that still run are kept from writing: helm deletes them well before.
const KEPT: Duration = Duration::from_secs(300);

/// How long API servers may go on asking webhooks that are gone: the timeout of a call, and the time to learn of it.
const SETTLING: Duration = Duration::from_secs(8);

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    telemetry::init("info");
    super::serve::runtime()?.block_on(async {
        let client = Client::try_from(args.kube.load().await?).context("failed to make a client for the API server")?;
        let lease = &args.lease;
        lease::seize(client.clone(), &lease.lease_namespace, &lease.lease_name, "ringfence-uninstall", KEPT)
            .await
            .context("failed to take the Lease over, so that no controller undoes what is undone here")?;
        // Before anything that they would judge.
        unregister(&client).await.context("failed to delete the webhook configurations")?;
        let mut pods = lift(&client).await.context("failed to lift the held pods")?;
        let namespaces = unlabel(&client).await.context("failed to remove the isolated labels")?;
        // Until every API server has learnt that the webhooks are gone, and what it had asked them is answered, pods are
        // still created with the gate.
        tokio::time::sleep(SETTLING).await;
        pods += lift(&client).await.context("failed to lift the pods that were held meanwhile")?;
        tracing::info!(
            pods,
            namespaces,
            "nothing waits for Ringfence any more; the policies it made are left as they are"
        );
        Ok(ExitCode::SUCCESS)
    })
}

async fn unregister(client: &Client) -> kube::Result<()> {
    fn gone<T>(deleted: kube::Result<T>) -> kube::Result<()> {
        match deleted {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            deleted => deleted.map(drop),
        }
    }
    let mutating: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let validating: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let params = DeleteParams::default();
    gone(mutating.delete(RINGFENCE, &params).await)?;
    gone(validating.delete(RINGFENCE, &params).await)
}

/// What is gone by now needs nothing.
fn unless_gone<T>(patched: kube::Result<T>) -> kube::Result<()> {
    match patched {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        patched => patched.map(drop),
    }
}

/// Carries out all writes, and fails with the first error once all are done: one pod that another webhook does not let
/// go must not keep the others.
async fn all(writes: impl Iterator<Item = impl Future<Output = kube::Result<()>>>) -> kube::Result<()> {
    let results: Vec<kube::Result<()>> = futures::stream::iter(writes).buffer_unordered(CONCURRENT).collect().await;
    results.into_iter().collect()
}

async fn lift(client: &Client) -> kube::Result<usize> {
    let pods: Api<Pod> = Api::all(client.clone());
    // A pod with a gate has no node, and no other way to find gates is as cheap: somebody may have taken the label off.
    let waiting = pods.list(&ListParams::default().fields("spec.nodeName=,status.phase=Pending")).await?;
    let gated = |pod: &Pod| {
        let gates = pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_ref());
        gates.is_some_and(|gates| gates.iter().any(|gate| gate.name == GATE)) || pod.labels().contains_key(HELD)
    };
    let held: Vec<&Pod> = waiting.items.iter().filter(|pod| gated(pod)).collect();
    let writes = held.iter().map(|pod| async {
        let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
        let patch = lifting(pod.metadata.uid.as_deref().unwrap_or_default());
        unless_gone(api.patch_metadata(&pod.name_any(), &as_ringfence(), &patch).await)
    });
    all(writes).await?;
    Ok(held.len())
}

async fn unlabel(client: &Client) -> kube::Result<usize> {
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
    let found = api.list(&ListParams::default()).await?;
    let ours = |object: &PartialObjectMeta<Namespace>| {
        let annotated = CONTROLLERS_ANNOTATIONS.iter().any(|key| object.annotations().contains_key(*key));
        object.labels().contains_key(ISOLATED) || annotated
    };
    let labelled: Vec<_> = found.items.iter().filter(|object| ours(object)).collect();
    // With the record of when it was effective: an installation that comes later adopts the namespace anew.
    let annotations: serde_json::Map<String, serde_json::Value> =
        CONTROLLERS_ANNOTATIONS.iter().map(|key| ((*key).to_owned(), serde_json::Value::Null)).collect();
    let patch = Patch::Merge(json!({ "metadata": { "labels": { (ISOLATED): null }, "annotations": annotations } }));
    let writes = labelled
        .iter()
        .map(|object| async { unless_gone(api.patch_metadata(&object.name_any(), &as_ringfence(), &patch).await) });
    all(writes).await?;
    Ok(labelled.len())
}
