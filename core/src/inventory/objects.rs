//! Objects other than Namespaces, policies and workloads, as far as the lints need them.
//!
//! What the API server itself serves must decode, but for Nodes, which nobody writes by hand. Of kinds that come with an add-on, such as `ServiceMonitor`, what does
//! not look as it is known to is left out.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ServiceReference, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1::{Ingress, IngressBackend, ServiceCIDR};
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Deserialize;
use serde_json::Value;

use super::{Called, Caller, Inventory, Namespaces, Plugin, Port, Resolver, Service, ServicePort};
use crate::policy::parse::{ParseError, decode};
use crate::policy::ports::Protocol;
use crate::policy::selectors::{Operator, Requirements, Selector};

/// Whether [`Inventory::add`] reads objects of this kind. `DaemonSets` are workloads as well.
#[must_use]
pub fn concerns(api_version: &str, kind: &str) -> bool {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    match kind {
        "Service" | "ServiceAccount" | "Node" | "ConfigMap" => api_version == "v1",
        "DaemonSet" => api_version == "apps/v1",
        "RoleBinding" | "ClusterRoleBinding" => api_version == "rbac.authorization.k8s.io/v1",
        "Ingress" | "ServiceCIDR" => api_version == "networking.k8s.io/v1",
        "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration" => {
            api_version == "admissionregistration.k8s.io/v1"
        }
        "HTTPRoute" | "GRPCRoute" => group == "gateway.networking.k8s.io",
        "ServiceMonitor" | "PodMonitor" => group == "monitoring.coreos.com",
        "IPPool" => group.ends_with("projectcalico.org"),
        _ => false,
    }
}

impl Inventory {
    /// Adds what an object of one of these kinds says ([`concerns`]); others are passed over. `namespace` is the one that
    /// it is in, or empty.
    ///
    /// # Errors
    /// Where it does not decode, with the path of the field.
    pub fn add(&mut self, api_version: &str, kind: &str, namespace: &str, object: &Value) -> Result<(), ParseError> {
        if !concerns(api_version, kind) {
            return Ok(());
        }
        match kind {
            "Service" => self.service(namespace, decode(object)?),
            "ServiceAccount" => self.service_account(namespace, decode(object)?),
            "Node" => self.node(object),
            "ConfigMap" if name_of(object) == "cilium-config" => {
                if let Some(plugin) = Plugin::of_cilium_config(&decode(object)?) {
                    self.cluster.add_plugin(plugin);
                }
            }
            "DaemonSet" => {
                for plugin in Plugin::of_daemon_set(namespace, object) {
                    self.cluster.add_plugin(plugin);
                }
            }
            "RoleBinding" => {
                let binding: RoleBinding = decode(object)?;
                self.bind(kind, &binding.metadata, binding.subjects, namespace);
            }
            "ClusterRoleBinding" => {
                let binding: ClusterRoleBinding = decode(object)?;
                self.bind(kind, &binding.metadata, binding.subjects, "");
            }
            "Ingress" => self.ingress(namespace, decode(object)?),
            "ServiceCIDR" => {
                let cidrs = decode::<ServiceCIDR, _>(object)?.spec.and_then(|spec| spec.cidrs).unwrap_or_default();
                self.networks(&cidrs);
            }
            "ValidatingWebhookConfiguration" => {
                let configuration: ValidatingWebhookConfiguration = decode(object)?;
                let clients = configuration.webhooks.into_iter().flatten().map(|webhook| webhook.client_config.service);
                self.webhooks(kind, &configuration.metadata, clients.flatten());
            }
            "MutatingWebhookConfiguration" => {
                let configuration: MutatingWebhookConfiguration = decode(object)?;
                let clients = configuration.webhooks.into_iter().flatten().map(|webhook| webhook.client_config.service);
                self.webhooks(kind, &configuration.metadata, clients.flatten());
            }
            "HTTPRoute" | "GRPCRoute" => {
                if let Ok(route) = Route::deserialize(object) {
                    self.route(kind, namespace, name_of(object), route);
                }
            }
            "ServiceMonitor" | "PodMonitor" => {
                if let Ok(monitor) = Monitor::deserialize(object) {
                    self.monitor(kind, namespace, name_of(object), monitor);
                }
            }
            "IPPool" => {
                if let Some(cidr) = object.pointer("/spec/cidr").and_then(Value::as_str) {
                    self.networks(&[cidr.to_owned()]);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Concludes from all that was added: to be called once everything is there, and before
    /// workloads are left out that another one made. What is known already of the resolvers stays.
    pub fn conclude(&mut self) {
        self.cluster.networks = IpNet::aggregate(&self.cluster.networks);
        if !self.cluster.dns.is_empty() {
            return;
        }
        let mut found: Vec<Resolver> = Vec::new();
        for name in super::cluster::dns::NAMESPACES {
            let Some(namespace) = self.namespaces.get(name) else { continue };
            // Where a node has its own cache, that is what its pods ask.
            if namespace.workloads.iter().any(|workload| workload.name == "node-local-dns") {
                found = vec![Resolver::node_local()];
                break;
            }
            for service in &namespace.services {
                let number = |selector: &crate::policy::selectors::Labels, protocol, wanted: &str| {
                    let selected = namespace
                        .workloads
                        .iter()
                        .filter(|workload| selector.iter().all(|(key, value)| workload.labels.get(key) == Some(value)));
                    let mut ports = selected.flat_map(|workload| &workload.ports);
                    ports.find(|port| port.protocol == protocol && port.name == wanted).map(|port| port.number)
                };
                let resolver = Resolver::of_service(name, service, number);
                found.extend(resolver.filter(|resolver| !found.contains(resolver)));
            }
        }
        self.cluster.dns = found;
    }

    fn networks(&mut self, cidrs: &[String]) {
        for network in cidrs.iter().filter_map(|cidr| cidr.parse().ok()) {
            self.cluster.add_network(network);
        }
    }

    fn service(&mut self, namespace: &str, object: core::Service) {
        let spec = object.spec.unwrap_or_default();
        let addresses = spec.cluster_ips.into_iter().flatten().chain(spec.cluster_ip);
        for address in addresses.filter_map(|address| address.parse::<IpAddr>().ok()) {
            self.cluster.add_address(address);
        }
        let ports = spec.ports.into_iter().flatten().filter_map(|port| {
            let number = u16::try_from(port.port).ok()?;
            Some(ServicePort {
                name: port.name.unwrap_or_default(),
                protocol: protocol(port.protocol.as_deref())?,
                number,
                target: match port.target_port {
                    None | Some(IntOrString::Int(0)) => Port::Number(number),
                    Some(target) => self::port(target)?,
                },
            })
        });
        let service = Service {
            name: object.metadata.name.unwrap_or_default(),
            labels: object.metadata.labels.unwrap_or_default(),
            selector: spec.selector.unwrap_or_default(),
            ports: ports.collect(),
        };
        self.namespace_mut(namespace).services.push(service);
    }

    fn service_account(&mut self, namespace: &str, object: core::ServiceAccount) {
        if object.automount_service_account_token == Some(false) {
            self.namespace_mut(namespace).without_token.insert(object.metadata.name.unwrap_or_default());
        }
    }

    fn node(&mut self, object: &Value) {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let list = |path: &str| object.pointer(path).and_then(Value::as_array).into_iter().flatten();
        let networks: Vec<String> =
            list("/spec/podCIDRs").chain(object.pointer("/spec/podCIDR")).filter_map(text).collect();
        self.networks(&networks);
        for address in list("/status/addresses").filter(|address| address["type"] == "InternalIP") {
            if let Some(address) = address["address"].as_str().and_then(|address| address.parse().ok()) {
                self.cluster.add_address(address);
            }
        }
    }

    fn bind(&mut self, kind: &str, metadata: &ObjectMeta, subjects: Option<Vec<Subject>>, namespace: &str) {
        let binding = format!("{kind} {:?}", metadata.name.as_deref().unwrap_or_default());
        for subject in subjects.into_iter().flatten().filter(|subject| subject.kind == "ServiceAccount") {
            let namespace = subject.namespace.unwrap_or_else(|| namespace.to_owned());
            self.bound.entry((namespace, subject.name)).or_insert_with(|| binding.clone());
        }
    }

    fn ingress(&mut self, namespace: &str, object: Ingress) {
        let spec = object.spec.unwrap_or_default();
        let paths = spec.rules.into_iter().flatten().filter_map(|rule| rule.http).flat_map(|http| http.paths);
        let backends = paths.map(|path| path.backend).chain(spec.default_backend);
        let services = backends.filter_map(|IngressBackend { service, .. }| service);
        let name = object.metadata.name.unwrap_or_default();
        for service in services {
            let port = service.port.and_then(|port| match (port.name, port.number) {
                (Some(name), _) if !name.is_empty() => Some(Port::Name(name)),
                (_, number) => number.and_then(|number| u16::try_from(number).ok()).map(Port::Number),
            });
            self.calls("Ingress", namespace, &name, (namespace, service.name), port.into_iter().collect());
        }
    }

    fn webhooks(&mut self, kind: &str, metadata: &ObjectMeta, services: impl Iterator<Item = ServiceReference>) {
        let name = metadata.name.as_deref().unwrap_or_default();
        for service in services {
            let port = u16::try_from(service.port.unwrap_or(443)).ok().map(Port::Number);
            self.calls(kind, "", name, (&service.namespace, service.name), port.into_iter().collect());
        }
    }

    fn route(&mut self, kind: &str, namespace: &str, name: &str, route: Route) {
        for backend in route.spec.rules.into_iter().flat_map(|rule| rule.backend_refs) {
            if backend.kind.as_deref().is_some_and(|kind| kind != "Service") {
                continue;
            }
            let to = backend.namespace.unwrap_or_else(|| namespace.to_owned());
            let ports = backend.port.map(Port::Number).into_iter().collect();
            self.calls(kind, namespace, name, (&to, backend.name), ports);
        }
    }

    fn monitor(&mut self, kind: &str, namespace: &str, name: &str, monitor: Monitor) {
        let spec = monitor.spec;
        let namespaces = match spec.namespace_selector {
            Some(NamespaceSelector { any: true, .. }) => Namespaces::Any,
            Some(NamespaceSelector { match_names: Some(names), .. }) if !names.is_empty() => Namespaces::Named(names),
            _ => Namespaces::Named(vec![namespace.to_owned()]),
        };
        let selector = selector(&spec.selector.unwrap_or_default());
        let endpoints = spec.endpoints.into_iter().flatten().chain(spec.pod_metrics_endpoints.into_iter().flatten());
        let ports = endpoints.filter_map(|endpoint| endpoint.port).map(Port::Name).collect();
        let called = match kind {
            "PodMonitor" => Called::Pods(namespaces, selector),
            _ => Called::Services(namespaces, selector),
        };
        self.callers.push(Caller {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            called,
            ports,
        });
    }

    fn calls(&mut self, kind: &str, namespace: &str, name: &str, service: (&str, String), ports: Vec<Port>) {
        let caller = Caller {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            called: Called::Service { namespace: service.0.to_owned(), name: service.1 },
            ports,
        };
        if !self.callers.contains(&caller) {
            self.callers.push(caller);
        }
    }
}

fn name_of(object: &Value) -> &str {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

fn protocol(name: Option<&str>) -> Option<Protocol> {
    match name {
        None | Some("TCP") => Some(Protocol::Tcp),
        Some("UDP") => Some(Protocol::Udp),
        Some("SCTP") => Some(Protocol::Sctp),
        Some(_) => None,
    }
}

fn port(port: IntOrString) -> Option<Port> {
    match port {
        IntOrString::Int(number) => u16::try_from(number).ok().map(Port::Number),
        IntOrString::String(name) => Some(Port::Name(name)),
    }
}

fn selector(selector: &LabelSelector) -> Selector {
    let mut requirements = Requirements::default();
    for (key, value) in selector.match_labels.iter().flatten() {
        requirements.add(key, Operator::In, [value.as_str()]);
    }
    for one in selector.match_expressions.iter().flatten() {
        let operator = Operator::parse(&one.operator).unwrap_or(Operator::In);
        let values = one.values.iter().flatten().filter(|_| operator.has_values());
        requirements.add(&one.key, operator, values.map(String::as_str));
    }
    requirements.into_selector()
}

/// `HTTPRoute` and `GRPCRoute` (<https://gateway-api.sigs.k8s.io/reference/spec/>).
#[derive(Deserialize)]
struct Route {
    spec: RouteSpec,
}

#[derive(Deserialize)]
struct RouteSpec {
    #[serde(default)]
    rules: Vec<RouteRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RouteRule {
    #[serde(default)]
    backend_refs: Vec<BackendRef>,
}

#[derive(Deserialize)]
struct BackendRef {
    kind: Option<String>,
    name: String,
    namespace: Option<String>,
    port: Option<u16>,
}

/// `ServiceMonitor` and `PodMonitor` (<https://prometheus-operator.dev/docs/api-reference/api/>).
#[derive(Deserialize)]
struct Monitor {
    spec: MonitorSpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MonitorSpec {
    selector: Option<LabelSelector>,
    namespace_selector: Option<NamespaceSelector>,
    endpoints: Option<Vec<Endpoint>>,
    pod_metrics_endpoints: Option<Vec<Endpoint>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NamespaceSelector {
    #[serde(default)]
    any: bool,
    match_names: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Endpoint {
    port: Option<String>,
}
