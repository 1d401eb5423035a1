//! What workloads need, or get round, that the policies of their namespace say.
//!
//! A workload uses the API server where a `RoleBinding` or `ClusterRoleBinding` of the set names its service account, and its
//! token is mounted. A service account of its own alone says nothing: charts make one for every workload.

use super::catalogue::{APISERVER_EGRESS, HOSTNETWORK_BYPASS, WEBHOOK_METRICS_BLOCKED};
use super::{Finding, pods};
use crate::inventory::{Called, Caller, Inventory, Namespace, Port, Service, Workload};
use crate::policy::ports::{Ports, Protocol};
use crate::policy::selectors::{NAMESPACE_NAME_LABEL, Selector};
use crate::policy::{Direction, NetworkPolicy, Peer, Rule};

/// Where API servers listen behind their Service, and the Service itself: 6443 with kubeadm and most others, 8443 with
/// minikube, 16443 with `MicroK8s`.
const API_SERVER: [u16; 4] = [443, 6443, 8443, 16443];

/// `hostnetwork-bypass`, `apiserver-egress` and `webhook-metrics-blocked`.
pub(super) fn inventory(inventory: &Inventory, found: &mut Vec<Finding>) {
    for (name, namespace) in &inventory.namespaces {
        let callers: Vec<&Caller> = inventory.callers.iter().filter(|caller| calls_into(caller, name)).collect();
        for workload in &namespace.workloads {
            let selecting: Vec<&NetworkPolicy> = namespace
                .policies
                .iter()
                .map(|written| &written.policy)
                .filter(|policy| policy.spec.pods.matches(&workload.labels))
                .collect();
            let isolated = |direction| selecting.iter().any(|policy| pods::isolates(policy, direction));
            if workload.host_network {
                if isolated(Direction::Ingress) || isolated(Direction::Egress) {
                    found.push(host_network(name, workload));
                }
                continue;
            }
            if isolated(Direction::Egress) {
                found.extend(api_server(inventory, name, namespace, workload, &selecting));
            }
            if isolated(Direction::Ingress) {
                found.extend(called(&callers, name, namespace, workload, &selecting));
            }
        }
    }
}

fn host_network(namespace: &str, workload: &Workload) -> Finding {
    let path = pods::spec_path(&workload.kind);
    let message = format!(
        "pods of {} use their node's network, where most network plugins do not enforce policies: whatever {namespace}'s \
         policies say, everything can reach them, and they can reach everything",
        pods::name(workload)
    );
    Finding::new(&HOSTNETWORK_BYPASS, pods::object(namespace, workload), message).at(format!("{path}.hostNetwork"))
}

fn rules<'p>(selecting: &[&'p NetworkPolicy], direction: Direction) -> impl Iterator<Item = &'p Rule> {
    selecting.iter().flat_map(move |policy| policy.spec.rules(direction).unwrap_or_default())
}

fn api_server(
    inventory: &Inventory,
    name: &str,
    namespace: &Namespace,
    workload: &Workload,
    selecting: &[&NetworkPolicy],
) -> Option<Finding> {
    let account = match workload.service_account.as_str() {
        "" => "default",
        account => account,
    };
    let binding = inventory.bound.get(&(name.to_owned(), account.to_owned()))?;
    if !workload.mounts_token.unwrap_or(!namespace.without_token.contains(account)) {
        return None;
    }
    // The API server is no pod, or one of its node's network: selectors never lead to it.
    let outside = |peer: &Peer| matches!(peer, Peer::Block { .. });
    let reaches = |rule: &Rule| {
        rule.peers.as_ref().is_none_or(|peers| peers.iter().any(outside))
            && API_SERVER.iter().any(|&port| lets(rule, Protocol::Tcp, &Port::Number(port)))
    };
    if rules(selecting, Direction::Egress).any(reaches) {
        return None;
    }
    let message = format!(
        "pods of {} can't reach the API server, which {binding} gives their service account {account:?} rights at: nothing \
         lets them out to an address on TCP 443, 6443, 8443 or 16443",
        pods::name(workload)
    );
    let labels: Vec<String> =
        workload.telling_labels().iter().map(|(key, value)| format!("\n      {key}: {}", pods::yaml(value))).collect();
    let pods = if labels.is_empty() { " {}".to_owned() } else { format!("\n    matchLabels:{}", labels.concat()) };
    let snippet = format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: allow-api-server\n  namespace: {}\nspec:\n  \
         podSelector:{pods}\n  policyTypes:\n  - Egress\n  egress:\n  - to:\n    - ipBlock:\n        cidr: ADDRESS/32 # kubectl get \
         endpointslices kubernetes\n    ports:\n    - protocol: TCP\n      port: 6443 # as listed there\n",
        pods::yaml(name)
    );
    Some(
        Finding::new(&APISERVER_EGRESS, pods::object(name, workload), message)
            .at(format!("{}.serviceAccountName", pods::spec_path(&workload.kind)))
            .help(
                "allow TCP to the API server's addresses, which kubectl -n default get endpointslices kubernetes lists: \
                 selectors never match them",
            )
            .snippet(snippet),
    )
}

/// Whether a rule lets a port of a protocol through; a name is compared as a name.
fn lets(rule: &Rule, protocol: Protocol, port: &Port) -> bool {
    let includes = |entry: &Ports| match (entry, port) {
        (Ports::Range(p, from, to), Port::Number(port)) => *p == protocol && (*from..=*to).contains(port),
        (Ports::Named(p, name), Port::Name(port)) => *p == protocol && name == port,
        _ => false,
    };
    rule.ports.as_ref().is_none_or(|ports| ports.iter().any(includes))
}

/// Who calls a workload, at which of its pods' ports.
struct Call {
    who: String,
    from: &'static str,
    example: &'static str,
    ports: Vec<Port>,
}

fn called(
    callers: &[&Caller],
    name: &str,
    namespace: &Namespace,
    workload: &Workload,
    selecting: &[&NetworkPolicy],
) -> Option<Finding> {
    let services: Vec<&Service> =
        namespace.services.iter().filter(|service| service.selects(&workload.labels)).collect();
    let mut calls: Vec<Call> = annotation(workload).into_iter().collect();
    calls.extend(callers.iter().filter_map(|caller| {
        let ports = reached(caller, workload, &services)?;
        let (from, example) = match caller.kind.as_str() {
            "ServiceMonitor" | "PodMonitor" => ("the monitoring", "monitoring"),
            "Ingress" | "HTTPRoute" | "GRPCRoute" => ("the ingress controller or gateway", "ingress-nginx"),
            _ => ("the API server", ""),
        };
        Some(Call { who: format!("{} {:?}", caller.kind, caller.name), from, example, ports })
    }));
    calls.retain(|call| !rules(selecting, Direction::Ingress).any(|rule| lets_in(rule, name, workload, &call.ports)));
    let first = calls.first()?;
    let ports: Vec<String> =
        first.ports.iter().filter_map(|port| number(workload, port)).map(|n| n.to_string()).collect();
    let at = if ports.is_empty() { String::new() } else { format!(" on TCP {}", ports.join(", ")) };
    let on_others = rules(selecting, Direction::Ingress).any(|rule| lets_in(rule, name, workload, &[]));
    let on_these = if on_others { " on these ports" } else { "" };
    let message = format!(
        "{} can't reach pods of {}{at}, although {} calls for it: nothing lets anybody in from outside of {name}{on_these}",
        first.from,
        pods::name(workload),
        calls.iter().map(|call| call.who.as_str()).collect::<Vec<_>>().join(", ")
    );
    let peer = if first.example.is_empty() {
        "    - ipBlock:\n        cidr: ADDRESS/32 # of each API server, or of the nodes\n".to_owned()
    } else {
        format!(
            "    - namespaceSelector:\n        matchLabels:\n          {NAMESPACE_NAME_LABEL}: {} # where it runs\n",
            first.example
        )
    };
    let ports: Vec<String> = ports.iter().map(|port| format!("    - protocol: TCP\n      port: {port}\n")).collect();
    let ports = if ports.is_empty() { String::new() } else { format!("    ports:\n{}", ports.concat()) };
    let help = if first.example.is_empty() {
        "allow the API server by its addresses: it is no pod that a selector matches".to_owned()
    } else {
        format!("allow {} by its namespace", first.from)
    };
    Some(
        Finding::new(&WEBHOOK_METRICS_BLOCKED, pods::object(name, workload), message)
            .at("metadata")
            .help(help)
            .snippet(format!("ingress:\n  - from:\n{peer}{ports}")),
    )
}

/// The call that the pods ask for by annotations.
fn annotation(workload: &Workload) -> Option<Call> {
    if workload.scrape.get("scrape").map(String::as_str) != Some("true") {
        return None;
    }
    let port = workload.scrape.get("port").and_then(|port| port.parse().ok()).map(Port::Number);
    Some(Call {
        who: "prometheus.io/scrape".to_owned(),
        from: "the monitoring",
        example: "monitoring",
        ports: port.into_iter().collect(),
    })
}

fn calls_into(caller: &Caller, namespace: &str) -> bool {
    match &caller.called {
        Called::Service { namespace: of, .. } => of == namespace,
        Called::Services(namespaces, _) | Called::Pods(namespaces, _) => namespaces.includes(namespace),
    }
}

/// The pods' ports at which a caller calls a workload, if it does; empty where that is not known.
fn reached(caller: &Caller, workload: &Workload, services: &[&Service]) -> Option<Vec<Port>> {
    let wanted = |service: &&&Service| match &caller.called {
        Called::Service { name, .. } => service.name == *name,
        Called::Services(_, selector) => selector.matches(&service.labels),
        Called::Pods(..) => false,
    };
    if let Called::Pods(_, selector) = &caller.called {
        return selector.matches(&workload.labels).then(|| caller.ports.clone());
    }
    let services: Vec<&&Service> = services.iter().filter(wanted).collect();
    let targets = services.iter().flat_map(|service| caller.ports.iter().filter_map(|port| service.target(port)));
    (!services.is_empty()).then(|| targets.cloned().collect())
}

/// The number of a workload's port.
fn number(workload: &Workload, port: &Port) -> Option<u16> {
    match port {
        Port::Number(number) => Some(*number),
        Port::Name(name) => workload.ports.iter().find(|known| known.name == *name).map(|known| known.number),
    }
}

/// Whether a rule lets in somebody from outside of the namespace, at one of these ports; any port will do where none is
/// known.
fn lets_in(rule: &Rule, namespace: &str, workload: &Workload, ports: &[Port]) -> bool {
    let outside = |peer: &Peer| match peer {
        Peer::Block { .. } => true,
        Peer::Pods { namespaces: None, .. } => false,
        Peer::Pods { namespaces: Some(selector), .. } => !is_only(selector, namespace),
    };
    let lets = |port: &Port| {
        // A rule may name the port, and the caller number it, or the reverse.
        let numbered = number(workload, port).map(Port::Number);
        let named = workload.ports.iter().find(|known| Some(known.number) == number(workload, port));
        let named = named.map(|known| Port::Name(known.name.clone()));
        [Some(port.clone()), numbered, named].iter().flatten().any(|port| lets(rule, Protocol::Tcp, port))
    };
    rule.peers.as_ref().is_none_or(|peers| peers.iter().any(outside)) && (ports.is_empty() || ports.iter().any(lets))
}

/// Whether a selector of namespaces can match this one alone.
fn is_only(selector: &Selector, namespace: &str) -> bool {
    selector
        .keys()
        .any(|(key, set)| key == NAMESPACE_NAME_LABEL && !set.admits_unmentioned() && set.mentioned().eq([namespace]))
}
