//! Workloads: what makes pods, seen through its pod template.

use serde::Deserialize;

use crate::object::{Suppression, nullable, suppression};
use crate::policy::parse::{ParseError, decode};
use crate::policy::ports::Protocol;
use crate::policy::selectors::Labels;

/// A named or unnamed port of a container (`v1.ContainerPort`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerPort {
    /// Its name; empty where it has none.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number, from 1 to 65535.
    pub number: u16,
}

/// A Deployment, StatefulSet, DaemonSet, ReplicaSet, ReplicationController, Job, CronJob or bare Pod, by the pods that it
/// makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The kind and name of the workload that made it, if one did.
    pub owner: Option<(String, String)>,
    /// The labels of its pods.
    pub labels: Labels,
    /// The ports of its containers that have a number, those of init containers that keep running (sidecars) included.
    pub ports: Vec<ContainerPort>,
    /// Whether its pods use their node's network, where NetworkPolicy does not reach them in most CNIs.
    pub host_network: bool,
    /// The addresses of its pods, where they are known.
    pub addresses: Vec<std::net::IpAddr>,
    /// The service account of its pods; empty for the default one.
    pub service_account: String,
    /// Whether the service account's token is mounted into its pods, where the template says so; otherwise the service
    /// account says it, and it is unless that says no.
    pub mounts_token: Option<bool>,
    /// Whether it states its namespace.
    pub states_namespace: bool,
    /// Whether it is written to make no pod at present (`replicas: 0`).
    pub is_idle: bool,
    /// The annotations of its pods by which they ask to be scraped, without their prefix `prometheus.io/`.
    pub scrape: Labels,
    /// The lints that its annotations switch off.
    pub suppressions: Vec<Suppression>,
}

impl Workload {
    /// The labels by which somebody would select its pods: those of its template, or where it has none those that a
    /// controller sets.
    #[must_use]
    pub fn telling_labels(&self) -> Labels {
        let mut written = self.labels.clone();
        written.retain(|key, _| !is_set_by_a_controller(key));
        if written.is_empty() { self.labels.clone() } else { written }
    }
}

/// What annotations of pods begin with that Prometheus' usual configuration reads. Source: the example for Kubernetes,
/// <https://github.com/prometheus/prometheus/blob/main/documentation/examples/prometheus-kubernetes.yml>
const SCRAPE: &str = "prometheus.io/";

/// The labels with the Job's name that the API server adds to the template of one
/// (`k8s.io/kubernetes/pkg/registry/batch/job`, `generateSelector`).
const JOB_NAME: [&str; 2] = ["batch.kubernetes.io/job-name", "job-name"];

/// Whether a label is set by a controller when it makes a pod, so that no template has it; but for a Job's name, which is
/// known.
#[must_use]
pub fn is_set_by_a_controller(key: &str) -> bool {
    !kinds_that_set(key).is_empty()
}

/// The kinds whose controllers set a label on the pods that come of them:
/// <https://kubernetes.io/docs/reference/labels-annotations-taints/>
#[must_use]
pub fn kinds_that_set(key: &str) -> &'static [&'static str] {
    match key {
        "statefulset.kubernetes.io/pod-name" | "apps.kubernetes.io/pod-index" => &["StatefulSet"],
        "pod-template-hash" => &["Deployment", "ReplicaSet"],
        "controller-revision-hash" => &["StatefulSet", "DaemonSet"],
        "pod-template-generation" => &["DaemonSet"],
        "job-name" | "controller-uid" => &["Job", "CronJob"],
        _ if key.starts_with("batch.kubernetes.io/") => &["Job", "CronJob"],
        _ => &[],
    }
}

/// The kinds of workloads with the versions that they have.
pub const KINDS: [(&str, &str); 8] = [
    ("v1", "Pod"),
    ("v1", "ReplicationController"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("apps/v1", "ReplicaSet"),
    ("batch/v1", "Job"),
    ("batch/v1", "CronJob"),
];

/// Whether objects of this kind make pods, or are pods.
#[must_use]
pub fn is_workload(api_version: &str, kind: &str) -> bool {
    KINDS.contains(&(api_version, kind))
}

crate::object::from_map_only!(Object, Metadata, Spec, Container, Port, Owner, Status, Address, Condition);

/// An object, or the template of one.
#[derive(Debug, Default, Deserialize)]
#[serde(default, remote = "Self")]
struct Object {
    #[serde(deserialize_with = "nullable")]
    metadata: Metadata,
    #[serde(deserialize_with = "nullable")]
    spec: Spec,
    #[serde(deserialize_with = "nullable")]
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", remote = "Self")]
struct Metadata {
    #[serde(deserialize_with = "nullable")]
    name: String,
    #[serde(deserialize_with = "nullable")]
    namespace: String,
    #[serde(deserialize_with = "nullable")]
    annotations: std::collections::BTreeMap<String, Option<String>>,
    #[serde(deserialize_with = "nullable")]
    labels: std::collections::BTreeMap<String, Option<String>>,
    #[serde(deserialize_with = "nullable")]
    owner_references: Vec<Owner>,
    #[serde(deserialize_with = "nullable")]
    resource_version: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, remote = "Self")]
struct Owner {
    #[serde(deserialize_with = "nullable")]
    kind: String,
    #[serde(deserialize_with = "nullable")]
    name: String,
    #[serde(deserialize_with = "nullable")]
    controller: bool,
}

/// The spec of any of the kinds: that of a pod, or one with a template, or one with a template of such.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", remote = "Self")]
struct Spec {
    replicas: Option<i64>,
    /// Of a Job: whether the API server adds no label of its own.
    #[serde(deserialize_with = "nullable")]
    manual_selector: bool,
    template: Option<Box<Object>>,
    job_template: Option<Box<Object>>,
    #[serde(deserialize_with = "nullable")]
    host_network: bool,
    #[serde(deserialize_with = "nullable")]
    service_account_name: String,
    automount_service_account_token: Option<bool>,
    #[serde(deserialize_with = "nullable")]
    containers: Vec<Container>,
    #[serde(deserialize_with = "nullable")]
    init_containers: Vec<Container>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", remote = "Self")]
struct Container {
    #[serde(deserialize_with = "nullable")]
    restart_policy: String,
    #[serde(deserialize_with = "nullable")]
    ports: Vec<Port>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", remote = "Self")]
struct Port {
    #[serde(deserialize_with = "nullable")]
    name: String,
    protocol: Option<String>,
    #[serde(rename = "containerPort", deserialize_with = "port_number")]
    number: u16,
}

/// Decodes a port, and says what one is; null is none, 0.
fn port_number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    struct Number;
    impl serde::de::Visitor<'_> for Number {
        type Value = u16;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a port from 1 to 65535")
        }

        fn visit_unit<E>(self) -> Result<u16, E> {
            Ok(0)
        }

        fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<u16, E> {
            u16::try_from(number).map_err(|_| E::invalid_value(serde::de::Unexpected::Unsigned(number), &self))
        }

        fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<u16, E> {
            u16::try_from(number).map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(number), &self))
        }
    }
    deserializer.deserialize_any(Number)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", remote = "Self")]
struct Status {
    #[serde(deserialize_with = "nullable")]
    phase: String,
    #[serde(rename = "podIPs", deserialize_with = "nullable")]
    pod_ips: Vec<Address>,
    #[serde(rename = "podIP", deserialize_with = "nullable")]
    pod_ip: String,
    #[serde(deserialize_with = "nullable")]
    conditions: Vec<Condition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, remote = "Self")]
struct Condition {
    #[serde(rename = "type", deserialize_with = "nullable")]
    kind: String,
    #[serde(deserialize_with = "nullable")]
    status: String,
}

impl Status {
    /// Whether a Pod or Job of this status has ended. Other kinds have no such status, and what is written there means
    /// nothing.
    fn has_ended(&self, kind: &str) -> bool {
        match kind {
            "Pod" => matches!(self.phase.as_str(), "Succeeded" | "Failed"),
            "Job" => self.conditions.iter().any(|condition| {
                matches!(condition.kind.as_str(), "Complete" | "Failed") && condition.status == "True"
            }),
            _ => false,
        }
    }

    /// The addresses of a Pod, each once.
    fn addresses(&self, kind: &str) -> Vec<std::net::IpAddr> {
        if kind != "Pod" {
            return Vec::new();
        }
        let mut addresses: Vec<std::net::IpAddr> = Vec::new();
        let written = self.pod_ips.iter().map(|address| &address.ip).chain([&self.pod_ip]);
        for address in written.filter_map(|address| address.parse().ok()) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, remote = "Self")]
struct Address {
    #[serde(deserialize_with = "nullable")]
    ip: String,
}

impl Port {
    fn known(self) -> Option<ContainerPort> {
        let protocol = match self.protocol.as_deref() {
            None | Some("TCP") => Protocol::Tcp,
            Some("UDP") => Protocol::Udp,
            Some("SCTP") => Protocol::Sctp,
            Some(_) => return None,
        };
        (self.number > 0).then_some(ContainerPort { name: self.name, protocol, number: self.number })
    }
}

/// Reads a workload. `None` for a pod or Job that has ended: it does not count any more.
///
/// # Errors
/// Where it does not decode, with the path of the field.
pub fn read<'de, D>(kind: &str, object: D) -> Result<Option<Workload>, ParseError>
where
    D: serde::Deserializer<'de>,
{
    let object: Object = decode(object)?;
    // A status counts where an API server wrote it: it drops that of an object which is created, and creates none with a
    // resourceVersion (https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions).
    if object.status.has_ended(kind) && !object.metadata.resource_version.is_empty() {
        return Ok(None);
    }
    let annotations = object.metadata.annotations.iter();
    let suppressions =
        annotations.filter_map(|(key, reason)| suppression(key, reason.as_deref().unwrap_or_default())).collect();
    let name = object.metadata.name.clone();
    let states_namespace = !object.metadata.namespace.is_empty();
    let owner = object.metadata.owner_references.iter().find(|owner| owner.controller);
    let owner = owner.map(|owner| (owner.kind.clone(), owner.name.clone()));
    let addresses = object.status.addresses(kind);
    let is_idle = object.spec.replicas == Some(0);
    let job_name = (kind == "Job" && !object.spec.manual_selector && !name.is_empty()).then(|| name.clone());
    // A field that the kind does not have is dropped by the API server.
    let template = |object: Object| object.spec.template.map(|template| *template).unwrap_or_default();
    let pod = match kind {
        "Pod" => object,
        "CronJob" => template(object.spec.job_template.map(|template| *template).unwrap_or_default()),
        _ => template(object),
    };
    let annotations = pod.metadata.annotations.into_iter();
    let scrape = annotations
        .filter_map(|(key, value)| Some((key.strip_prefix(SCRAPE)?.to_owned(), value.unwrap_or_default())))
        .collect();
    let sidecars = pod.spec.init_containers.into_iter().filter(|container| container.restart_policy == "Always");
    let ports = pod.spec.containers.into_iter().chain(sidecars).flat_map(|container| container.ports);
    let mut labels: Labels =
        pod.metadata.labels.into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect();
    if let Some(name) = job_name {
        labels.extend(JOB_NAME.map(|key| (key.to_owned(), name.clone())));
    }
    Ok(Some(Workload {
        kind: kind.to_owned(),
        name,
        owner,
        labels,
        ports: ports.filter_map(Port::known).collect(),
        host_network: pod.spec.host_network,
        addresses,
        service_account: pod.spec.service_account_name,
        mounts_token: pod.spec.automount_service_account_token,
        states_namespace,
        is_idle,
        scrape,
        suppressions,
    }))
}
