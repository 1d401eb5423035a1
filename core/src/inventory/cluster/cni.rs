//! Which network plugins a cluster runs, and what they do with NetworkPolicies.
//!
//! Presence is not enforcement: some enforce only if they are told to. What could not be found out is `None`, and nothing
//! is said about it.

use std::fmt;
use std::str::FromStr;

use k8s_openapi::api::core::v1::ConfigMap;
use serde::Deserialize;
use serde_json::Value;

/// A network plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cni {
    /// Calico, also beside flannel (canal).
    Calico,
    /// Cilium.
    Cilium,
    /// Weave Net.
    Weave,
    /// Antrea.
    Antrea,
    /// kube-router.
    KubeRouter,
    /// OVN-Kubernetes.
    OvnKubernetes,
    /// flannel.
    Flannel,
    /// kindnet.
    Kindnet,
    /// The VPC CNI of AWS.
    AwsVpc,
    /// The Network Policy Manager of Azure.
    AzureNpm,
    /// Dataplane V2 of GKE.
    Gke,
    /// None that enforces anything.
    None,
}

impl Cni {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Calico,
        Self::Cilium,
        Self::Weave,
        Self::Antrea,
        Self::KubeRouter,
        Self::OvnKubernetes,
        Self::Flannel,
        Self::Kindnet,
        Self::AwsVpc,
        Self::AzureNpm,
        Self::Gke,
        Self::None,
    ];

    /// The name, as the command line takes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Calico => "calico",
            Self::Cilium => "cilium",
            Self::Weave => "weave",
            Self::Antrea => "antrea",
            Self::KubeRouter => "kube-router",
            Self::OvnKubernetes => "ovn-kubernetes",
            Self::Flannel => "flannel",
            Self::Kindnet => "kindnet",
            Self::AwsVpc => "aws-vpc",
            Self::AzureNpm => "azure-npm",
            Self::Gke => "gke",
            Self::None => "none",
        }
    }
}

impl fmt::Display for Cni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Cni {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|cni| cni.as_str() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            format!("no such network plugin is known; write one of {names}")
        })
    }
}

/// A network plugin, with what it does in this cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    /// Which.
    pub cni: Cni,
    /// Whether it enforces NetworkPolicies.
    pub enforces: Option<bool>,
    /// Whether it obeys `endPort`.
    pub end_port: Option<bool>,
    /// Whether it obeys rules for SCTP.
    pub sctp: Option<bool>,
    /// The namespace and name of the DaemonSet that it was recognised by.
    pub daemon_set: Option<(String, String)>,
}

impl Plugin {
    /// A plugin of which no more than the name is known.
    ///
    /// Sources: kubernetes.io and the plugins' own pages for what enforces; flannel has no policies
    /// (<https://github.com/flannel-io/flannel#networking-details>). Cilium obeys SCTP only where it is switched on
    /// (<https://docs.cilium.io/en/stable/configuration/sctp/>); kube-router does not
    /// (<https://github.com/cloudnativelabs/kube-router/issues/1019>); Weave Net reads no `endPort`
    /// (<https://github.com/weaveworks/weave/blob/master/npc/analyser.go>).
    #[must_use]
    pub fn named(cni: Cni) -> Self {
        let enforces = match cni {
            Cni::Flannel | Cni::None => Some(false),
            // By default not, but that it is there says nothing.
            Cni::AwsVpc => None,
            _ => Some(true),
        };
        let end_port = match cni {
            Cni::Weave => Some(false),
            Cni::Calico | Cni::Antrea => Some(true),
            _ => None,
        };
        let sctp = match cni {
            Cni::Cilium | Cni::KubeRouter => Some(false),
            Cni::Calico | Cni::Antrea => Some(true),
            _ => None,
        };
        Self { cni, enforces, end_port, sctp, daemon_set: None }
    }

    /// Takes over what something else says of the same plugin: one "no" is enough against enforcement, as `enable-policy:
    /// never` is, and one "yes" for a feature that is off unless it is switched on.
    pub fn merge(&mut self, other: Self) {
        self.enforces = match (self.enforces, other.enforces) {
            (Some(a), Some(b)) => Some(a && b),
            (a, b) => a.or(b),
        };
        let either = |a: Option<bool>, b: Option<bool>| match (a, b) {
            (Some(a), Some(b)) => Some(a || b),
            (a, b) => a.or(b),
        };
        self.end_port = either(self.end_port, other.end_port);
        self.sctp = either(self.sctp, other.sctp);
        self.daemon_set = self.daemon_set.take().or(other.daemon_set);
    }

    /// The plugins that a DaemonSet runs: canal's runs two. A container that can't be read is passed over: that the
    /// DaemonSet is malformed is said where it is read as a workload.
    #[must_use]
    pub fn of_daemon_set(namespace: &str, object: &Value) -> Vec<Self> {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let containers = object.pointer("/spec/template/spec/containers").and_then(Value::as_array);
        let containers: Vec<Container> =
            containers.into_iter().flatten().filter_map(|container| Container::deserialize(container).ok()).collect();
        let recognised = match name {
            "calico-node" => Some(Cni::Calico),
            "cilium" => Some(Cni::Cilium),
            "weave-net" => Some(Cni::Weave),
            "antrea-agent" => Some(Cni::Antrea),
            "kube-router" => Some(Cni::KubeRouter),
            "kindnet" => Some(Cni::Kindnet),
            "aws-node" => Some(Cni::AwsVpc),
            "azure-npm" => Some(Cni::AzureNpm),
            "anetd" => Some(Cni::Gke),
            _ if name.starts_with("ovnkube-node") => Some(Cni::OvnKubernetes),
            _ if name.contains("flannel") => Some(Cni::Flannel),
            _ => None,
        };
        let canal =
            recognised.is_none() && containers.iter().any(|container| container.name.as_deref() == Some("calico-node"));
        recognised
            .into_iter()
            .chain(canal.then_some(Cni::Calico))
            .map(|cni| {
                let mut plugin = Self::named(cni);
                plugin.daemon_set = Some((namespace.to_owned(), name.to_owned()));
                plugin.look_into(&containers);
                plugin
            })
            .collect()
    }

    /// What the agent's arguments and image say.
    fn look_into(&mut self, containers: &[Container]) {
        let image = containers.first().and_then(|container| container.image.as_deref()).unwrap_or_default();
        match self.cni {
            Cni::KubeRouter => self.enforces = Some(flag(containers, "--run-firewall").unwrap_or(true)),
            Cni::AwsVpc => {
                let is_agent = |container: &&Container| container.name.as_deref() == Some("aws-eks-nodeagent");
                let agents = containers.iter().filter(is_agent);
                self.enforces = Some(flag(agents, "--enable-network-policy").unwrap_or(false));
            }
            // Images are tagged with the day on which they were built. Policies are part of them since kind 0.24
            // (<https://github.com/kubernetes-sigs/kind/releases/tag/v0.24.0>), for which this one was built.
            Cni::Kindnet => {
                let built = tag(image).and_then(|tag| tag.strip_prefix('v')?.get(..8)?.parse::<u32>().ok());
                self.enforces = built.map(|day| day >= 20_240_813);
            }
            // <https://github.com/cilium/cilium/issues/28684>: accepted, and not obeyed, until ranges came with 1.16.
            Cni::Cilium => self.end_port = minor(image).map(|minor| minor >= 16),
            _ => {}
        }
    }

    /// What the `ConfigMap` of Cilium says
    /// (<https://docs.cilium.io/en/stable/security/network/policyenforcement/>).
    #[must_use]
    pub fn of_cilium_config(object: &ConfigMap) -> Option<Self> {
        if object.metadata.name.as_deref() != Some("cilium-config") {
            return None;
        }
        let value = |key| object.data.as_ref().and_then(|data| data.get(key)).map(String::as_str);
        Some(Self {
            cni: Cni::Cilium,
            enforces: Some(value("enable-policy") != Some("never")),
            end_port: None,
            sctp: Some(value("enable-sctp") == Some("true")),
            daemon_set: None,
        })
    }
}

/// A container, as far as it says what a plugin does. The type of `k8s-openapi` does not take numbers for quantities, which
/// the API server does.
#[derive(Deserialize)]
struct Container {
    name: Option<String>,
    image: Option<String>,
    args: Option<Vec<String>>,
    command: Option<Vec<String>>,
}

/// What a boolean argument says, where it is given: `--flag`, `--flag=true`, `--flag=false`.
fn flag<'c>(containers: impl IntoIterator<Item = &'c Container>, flag: &str) -> Option<bool> {
    let arguments =
        containers.into_iter().flat_map(|container| container.args.iter().chain(&container.command)).flatten();
    arguments.filter_map(|argument| argument.strip_prefix(flag)).find_map(|rest| match rest {
        "" | "=true" => Some(true),
        "=false" => Some(false),
        _ => None,
    })
}

/// An image's tag.
fn tag(image: &str) -> Option<&str> {
    let image = image.split_once('@').map_or(image, |(image, _)| image);
    image.rsplit_once('/').map_or(image, |(_, name)| name).split_once(':').map(|(_, tag)| tag)
}

/// The minor version that an image's tag states, of version 1.
fn minor(image: &str) -> Option<u32> {
    tag(image)?.trim_start_matches('v').strip_prefix("1.")?.split('.').next()?.parse().ok()
}
