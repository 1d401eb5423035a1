//! What the baseline would cut off in a namespace, from its pods, Services and policies as they are.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Pod as ApiPod, Service as ApiService, ServicePort};
use k8s_openapi::api::networking::v1::NetworkPolicy as ApiPolicy;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use ringfence_core::policy::NetworkPolicy;
use ringfence_core::policy::cut::{Pod, Service, cut};
use ringfence_core::policy::parse::{self, Source};

use super::told;

/// How many pods are named.
const NAMED: usize = 10;

/// What is to be said before a namespace is tightened, a line each.
pub(super) async fn lines(client: &Client, namespace: &str) -> Result<Vec<String>> {
    let everything = ListParams::default();
    let running = ListParams::default().fields("status.phase!=Succeeded,status.phase!=Failed");
    let policies: Api<ApiPolicy> = Api::namespaced(client.clone(), namespace);
    let pods: Api<ApiPod> = Api::namespaced(client.clone(), namespace);
    let services: Api<ApiService> = Api::namespaced(client.clone(), namespace);
    let (policies, pods, services) =
        tokio::try_join!(policies.list(&everything), pods.list(&running), services.list(&everything))
            .map_err(told)
            .context("failed to read its policies, pods and Services")?;
    let policies: Vec<NetworkPolicy> = policies
        .items
        .iter()
        // One that can't be read isolates nobody, as far as is known here: then more is said to be cut, not less.
        .filter_map(|policy| parse::network_policy(&serde_json::to_value(policy).ok()?, Source::Cluster).ok())
        .collect();
    let host_network = |pod: &ApiPod| pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true));
    let pods: Vec<Pod> = pods
        .items
        .iter()
        .filter(|pod| !host_network(pod))
        .map(|pod| Pod { name: pod.name_any(), labels: pod.labels().clone() })
        .collect();
    let services: Vec<Service> = services.items.iter().map(service).collect();
    let cut = cut(&policies.iter().collect::<Vec<_>>(), &pods, &services);
    let mut lines = Vec::new();
    if !cut.services.is_empty() {
        let named = cut.services.iter().map(|service| format!("{} ({})", service.name, service.ports.join(", ")));
        lines.push(format!("Services that other namespaces could not reach any more: {}", list(named)));
    }
    let names = |pods: &[&Pod]| list(pods.iter().map(|pod| pod.name.clone()));
    if !cut.reachable.is_empty() {
        lines.push(format!("pods that other namespaces could not reach any more: {}", names(&cut.reachable)));
    }
    if !cut.reaching.is_empty() {
        lines.push(format!(
            "pods that could not reach other namespaces and the outside any more, but for what the profile allows: {}",
            names(&cut.reaching)
        ));
    }
    Ok(lines)
}

fn service(service: &ApiService) -> Service {
    let spec = service.spec.clone().unwrap_or_default();
    let port = |port: &ServicePort| format!("{} {}", port.protocol.as_deref().unwrap_or("TCP"), port.port);
    Service {
        name: service.name_any(),
        ports: spec.ports.iter().flatten().map(port).collect(),
        selector: spec.selector.unwrap_or_default(),
    }
}

fn list(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(NAMED);
    let text = names.take(NAMED).collect::<Vec<_>>().join(", ");
    if more == 0 { text } else { format!("{text} and {more} more") }
}
