//! Nodes that are objects only, and what a kubelet would do for the pods on them.

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::Bed;
use super::credentials::KUBELET;

/// A kubelet for all nodes, as long as it is not dropped.
pub(crate) struct Kubelet(JoinHandle<()>);

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A pod that a node has.
const BOUND: &str = "spec.nodeName!=";

impl Bed {
    /// Adds nodes `node-1`… that are ready and have room for thousands of pods, so that the scheduler binds to them.
    pub(crate) fn add_nodes(&self, count: usize) {
        let nodes: Api<Node> = Api::all(self.client_as(0, KUBELET));
        for index in 1..=count {
            let name = format!("node-{index}");
            let room = json!({ "cpu": "1000", "memory": "4Ti", "ephemeral-storage": "4Ti", "pods": "5000" });
            let node: Node = serde_json::from_value(json!({
                "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name, "kubernetes.io/os": "linux" } },
                "status": {
                    "allocatable": room, "capacity": room,
                    "conditions": [{ "type": "Ready", "status": "True", "reason": "KubeletReady" }],
                },
            }))
            .unwrap();
            self.run(nodes.create(&PostParams::default(), &node)).unwrap();
        }
    }

    /// Ends the pods that are being deleted and that a node has, as its kubelet would; how many. Without it, or
    /// [`Self::play_kubelet`], they and their namespaces stay.
    pub(crate) fn finish_deletions(&self) -> usize {
        let client = self.client_as(0, KUBELET);
        let all: Api<Pod> = Api::all(client.clone());
        let bound = self.run(all.list(&ListParams::default().fields(BOUND))).unwrap();
        let terminating: Vec<Pod> = bound.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_some()).collect();
        for pod in &terminating {
            self.run(finish_deletion(&client, pod));
        }
        terminating.len()
    }

    /// Says that a pod's containers have all ended well.
    pub(crate) fn succeed(&self, namespace: &str, pod: &str) {
        self.run(set_status(&self.client_as(0, KUBELET), namespace, pod, json!({ "phase": "Succeeded" }))).unwrap();
    }

    /// Plays kubelet for all nodes: pods that are bound run and are ready, and those that are deleted end at once.
    pub(crate) fn play_kubelet(&self) -> Kubelet {
        let client = self.client_as(0, KUBELET);
        let pods: Api<Pod> = Api::all(client.clone());
        let bound = watcher(pods, watcher::Config::default().fields(BOUND)).default_backoff().applied_objects();
        Kubelet(self.runtime.spawn(bound.for_each_concurrent(32, move |pod| {
            let client = client.clone();
            async move {
                if let Ok(pod) = pod {
                    play(&client, &pod).await;
                }
            }
        })))
    }
}

async fn play(client: &Client, pod: &Pod) {
    if pod.metadata.deletion_timestamp.is_some() {
        return finish_deletion(client, pod).await;
    }
    if pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Pending") {
        let condition = |kind: &str| json!({ "type": kind, "status": "True" });
        let conditions = ["Initialized", "PodReadyToStartContainers", "ContainersReady", "Ready"].map(condition);
        let status = json!({ "phase": "Running", "conditions": conditions });
        let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
        again(|| set_status(client, &namespace, &name, status.clone())).await;
    }
}

async fn finish_deletion(client: &Client, pod: &Pod) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    // A finalizer may keep it all the same.
    let (name, at_once) = (pod.name_any(), DeleteParams::default().grace_period(0));
    again(|| pods.delete(&name, &at_once)).await;
}

/// Writes something, again where the API server was too busy for it. The object may be gone meanwhile.
async fn again<T, F: Future<Output = kube::Result<T>>>(write: impl Fn() -> F) {
    for _ in 0..10 {
        match write().await {
            Ok(_) => return,
            Err(kube::Error::Api(status)) if status.is_not_found() => return,
            Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
}

async fn set_status(client: &Client, namespace: &str, pod: &str, status: Value) -> kube::Result<Pod> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let patch = Patch::Strategic(json!({ "status": status }));
    pods.patch_status(pod, &PatchParams::default(), &patch).await
}
