//! Where pods resolve names.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use serde_json::{Value, json};

use crate::inventory::Service;
use crate::policy::ports::Protocol;
use crate::policy::selectors::{Labels, NAMESPACE_NAME_LABEL};

/// The port that a resolver is asked at unless something says otherwise.
pub const PORT: u16 = 53;

/// The namespaces in which clusters run their resolver: that of Kubernetes itself, and `OpenShift`'s.
pub const NAMESPACES: [&str; 2] = ["kube-system", "openshift-dns"];

/// One place where names are resolved, as a NetworkPolicy sees it: behind the Service's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolver {
    /// Pods.
    Pods {
        /// Their namespace.
        namespace: String,
        /// Their labels, as far as they are known.
        labels: Labels,
        /// The port that they listen at.
        port: u16,
    },
    /// An address, such as a node's own cache listens at.
    Address {
        /// The address.
        address: IpAddr,
        /// The port.
        port: u16,
    },
}

impl Resolver {
    /// What most clusters have: `CoreDNS` or kube-dns in kube-system
    /// (<https://kubernetes.io/docs/tasks/administer-cluster/dns-custom-nameservers/>).
    #[must_use]
    pub fn usual() -> Self {
        let labels = [("k8s-app".to_owned(), "kube-dns".to_owned())].into();
        Self::Pods { namespace: "kube-system".to_owned(), labels, port: PORT }
    }

    /// `OpenShift`'s: <https://docs.redhat.com/en/documentation/openshift_container_platform/4.18/html/networking_operators/dns-operator>
    /// runs pods that listen at 5353.
    #[must_use]
    pub fn openshift() -> Self {
        let labels = [("dns.operator.openshift.io/daemonset-dns".to_owned(), "default".to_owned())].into();
        Self::Pods { namespace: "openshift-dns".to_owned(), labels, port: 5353 }
    }

    /// The cache on every node: <https://kubernetes.io/docs/tasks/administer-cluster/nodelocaldns/>
    #[must_use]
    pub fn node_local() -> Self {
        Self::Address { address: IpAddr::from([169, 254, 20, 10]), port: PORT }
    }

    /// Cloud DNS of GKE: <https://cloud.google.com/kubernetes-engine/docs/how-to/cloud-dns>
    #[must_use]
    pub fn gke() -> Self {
        Self::Address { address: IpAddr::from([169, 254, 169, 254]), port: PORT }
    }

    /// The port that it listens at.
    #[must_use]
    pub fn port(&self) -> u16 {
        match self {
            Self::Pods { port, .. } | Self::Address { port, .. } => *port,
        }
    }

    /// The items of a rule's `to` that lead to it, for the API.
    #[must_use]
    pub fn peers(&self) -> Value {
        match self {
            Self::Pods { namespace, labels, .. } => {
                let namespaces = json!({ "matchLabels": { NAMESPACE_NAME_LABEL: namespace } });
                if labels.is_empty() {
                    json!([{ "namespaceSelector": namespaces }])
                } else {
                    json!([{ "namespaceSelector": namespaces, "podSelector": { "matchLabels": labels } }])
                }
            }
            Self::Address { address, .. } => json!([{ "ipBlock": { "cidr": IpNet::from(*address).to_string() } }]),
        }
    }

    /// The pods of a Service as a resolver, where that is what a cluster's Service for DNS looks like: it has UDP 53 and is
    /// in a namespace of the system. A named port is looked up with `number`.
    pub fn of_service(
        namespace: &str,
        service: &Service,
        number: impl Fn(&Labels, Protocol, &str) -> Option<u16>,
    ) -> Option<Self> {
        if !NAMESPACES.contains(&namespace) || service.selector.is_empty() {
            return None;
        }
        let entry = service.ports.iter().find(|port| port.protocol == Protocol::Udp && port.number == PORT)?;
        let port = match &entry.target {
            super::super::Port::Number(port) => *port,
            super::super::Port::Name(name) => number(&service.selector, Protocol::Udp, name)
                // What OpenShift names "dns" is 5353 there, and 53 elsewhere.
                .unwrap_or(if namespace == "openshift-dns" { 5353 } else { PORT }),
        };
        Some(Self::Pods { namespace: namespace.to_owned(), labels: service.selector.clone(), port })
    }
}

impl fmt::Display for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pods { namespace, labels, port } => {
                let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
                write!(f, "{namespace}/{}:{port}", labels.join(","))
            }
            Self::Address { address, port } => write!(f, "{}", SocketAddr::new(*address, *port)),
        }
    }
}

impl FromStr for Resolver {
    type Err = String;

    /// Reads `openshift`, `nodelocal`, `gke` or `coredns`, an address with or without a port, or
    /// `NAMESPACE/KEY=VALUE[,KEY=VALUE…][:PORT]`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "coredns" => return Ok(Self::usual()),
            "openshift" => return Ok(Self::openshift()),
            "nodelocal" => return Ok(Self::node_local()),
            "gke" => return Ok(Self::gke()),
            _ => {}
        }
        if let Ok(address) = text.parse::<SocketAddr>()
            && address.port() != 0
        {
            return Ok(Self::Address { address: address.ip(), port: address.port() });
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Address { address, port: PORT });
        }
        let problem = || {
            "write coredns, openshift, nodelocal or gke, an address such as 169.254.20.10, or pods such as \
             kube-system/k8s-app=kube-dns:53"
                .to_owned()
        };
        let (namespace, rest) = text.split_once('/').ok_or_else(problem)?;
        let (labels, port) = match rest.rsplit_once(':') {
            Some((labels, port)) => (labels, port.parse().ok().filter(|&port| port > 0).ok_or_else(problem)?),
            None => (rest, PORT),
        };
        let label = |pair: &str| {
            let (key, value) = pair.split_once('=')?;
            (!key.is_empty()).then(|| (key.to_owned(), value.to_owned()))
        };
        let labels: Option<Labels> = labels.split(',').map(label).collect();
        match labels {
            Some(labels) if !namespace.is_empty() => Ok(Self::Pods { namespace: namespace.to_owned(), labels, port }),
            _ => Err(problem()),
        }
    }
}
