//! Services, and what calls pods from elsewhere: directly, or through one.

use crate::policy::ports::Protocol;
use crate::policy::selectors::{Labels, Selector};

/// A port by its number or name (`intstr.IntOrString`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Port {
    /// A number.
    Number(u16),
    /// A name.
    Name(String),
}

/// A Service (`v1.Service`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its own labels.
    pub labels: Labels,
    /// The labels of the pods that it leads to; empty where it leads to none that are known.
    pub selector: Labels,
    /// Its ports.
    pub ports: Vec<ServicePort>,
}

/// One port of a Service (`v1.ServicePort`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name; empty where it has none.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number.
    pub number: u16,
    /// The pods' port that it leads to.
    pub target: Port,
}

impl Service {
    /// Whether it leads to pods with these labels.
    #[must_use]
    pub fn selects(&self, labels: &Labels) -> bool {
        !self.selector.is_empty() && self.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    /// The pods' port that one of its ports leads to.
    #[must_use]
    pub fn target(&self, port: &Port) -> Option<&Port> {
        let entry = self.ports.iter().find(|entry| match port {
            Port::Number(number) => entry.number == *number,
            Port::Name(name) => entry.name == *name,
        });
        entry.map(|entry| &entry.target)
    }
}

/// Something outside of a namespace that makes calls into it: an Ingress or a route by its gateway, a monitor by
/// Prometheus, a webhook configuration by the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its kind.
    pub kind: String,
    /// Its namespace; empty where it is in none.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What is called.
    pub called: Called,
    /// The ports: of the Service or Services, or of the pods; empty where that is not said.
    pub ports: Vec<Port>,
}

/// What is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Called {
    /// A Service.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Services by their labels (`ServiceMonitor`).
    Services(Namespaces, Selector),
    /// Pods by their labels (`PodMonitor`).
    Pods(Namespaces, Selector),
}

/// Some namespaces, or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    /// All.
    Any,
    /// These.
    Named(Vec<String>),
}

impl Namespaces {
    /// Whether a namespace is among them.
    #[must_use]
    pub fn includes(&self, namespace: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Named(names) => names.iter().any(|name| name == namespace),
        }
    }
}
