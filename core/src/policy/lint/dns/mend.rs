//! The policies that let pods resolve names, as they are advised and as `check --fix` adds them. Both findings that advise
//! one write the same, so that a namespace gets one, and what is written is no finding itself.

use std::collections::BTreeSet;

use k8s_openapi::api::networking::v1::{NetworkPolicyEgressRule, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::super::{View, pods, words};
use super::{Use, is_meant, is_open, resolving, used};
use crate::inventory::{Cluster, Resolver, Workload};
use crate::policy::coverage::coverage;
use crate::policy::ports::{Ports, Protocol};
use crate::policy::selectors::{NAMESPACE_NAME_LABEL, Selector};
use crate::policy::{Direction, NetworkPolicy, Rule};
use crate::profile::{self, ALLOW_DNS, Profile};

/// The rules that lead to where names are resolved.
pub(super) enum Ways {
    /// Those of the profile, whose author knew where that is.
    Profile(Vec<Value>),
    /// To a resolver.
    To(Resolver),
}

/// Where pods are to be let: by the profile's own rules if they lead to where this cluster resolves, to no other place and
/// on no other ports, and otherwise to the resolver that is known, or the usual one.
pub(super) fn ways(view: &View<'_>) -> Ways {
    let leads_there = |rule: &Rule| {
        let known = resolving::ports_of(rule, view.namespace, view.cluster);
        let is_of_dns = |entry: &Ports| {
            [Protocol::Udp, Protocol::Tcp].iter().any(|p| resolving::named_port(entry, *p, &known).is_some())
        };
        rule.peers.as_ref().is_some_and(|peers| !peers.iter().any(is_open))
            && rule.ports.as_ref().is_some_and(|entries| entries.iter().all(is_of_dns))
            && used(rule, view) == Use::Right
    };
    let rules = |policy: &profile::Policy| -> Vec<Value> {
        let written = policy.api.egress.iter().flatten().zip(policy.parsed.spec.egress.iter().flatten());
        let leading = written.filter(|(_, rule)| leads_there(rule));
        leading.filter_map(|(rule, _)| serde_json::to_value(with_tcp(rule)).ok()).collect()
    };
    let for_all = |policy: &&profile::Policy| policy.parsed.spec.pods.selects_all();
    let of_profile: Vec<Value> =
        view.profile.into_iter().flat_map(Profile::policies).filter(for_all).flat_map(rules).collect();
    if of_profile.is_empty() { Ways::To(resolver(view.cluster)) } else { Ways::Profile(of_profile) }
}

/// A rule with TCP beside UDP on the same ports, which another rule may have: answers that are cut come by TCP.
fn with_tcp(rule: &NetworkPolicyEgressRule) -> NetworkPolicyEgressRule {
    let mut rule = rule.clone();
    let ports = rule.ports.get_or_insert_default();
    let is_udp = |port: &&NetworkPolicyPort| {
        port.protocol.as_deref() == Some("UDP") && matches!(port.port, Some(IntOrString::Int(_)))
    };
    for port in ports.clone().iter().filter(is_udp) {
        let port = NetworkPolicyPort { protocol: Some("TCP".to_owned()), ..port.clone() };
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    rule
}

impl Ways {
    /// The items of `egress`.
    fn rules(&self) -> Vec<Value> {
        match self {
            Self::Profile(rules) => rules.clone(),
            Self::To(resolver) => vec![json!({ "to": resolver.peers(), "ports": ports_json(resolver) })],
        }
    }

    /// The same as YAML, indented by two.
    fn yaml(&self) -> String {
        match self {
            Self::Profile(rules) => words::yaml(rules).lines().flat_map(|line| ["  ", line, "\n"]).collect(),
            Self::To(resolver) => rule_yaml(resolver, 2),
        }
    }

    /// What to say of the resolver where it is only thought to be the usual one.
    fn unless_known(&self, view: &View<'_>) -> &'static str {
        match self {
            Self::Profile(_) => "",
            Self::To(_) => unless_known(view.cluster),
        }
    }

    /// What to do.
    pub(super) fn help(&self, view: &View<'_>) -> String {
        match self {
            Self::Profile(_) => "add a NetworkPolicy that allows DNS as the namespace's profile does".to_owned(),
            Self::To(resolver) => format!(
                "add a NetworkPolicy that allows UDP and TCP {} to the resolver{}",
                resolver.port(),
                self.unless_known(view)
            ),
        }
    }

    /// The policy for some pods.
    fn policy(&self, view: &View<'_>, name: &str, selector: &Value) -> Value {
        json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": { "name": name, "namespace": view.namespace },
            "spec": { "podSelector": selector, "policyTypes": ["Egress"], "egress": self.rules() },
        })
    }
}

/// The policy that is to be added beside a deny for the egress of every pod, where that would leave some without DNS that
/// nobody meant to leave without; and what to say of its resolver.
pub(in super::super) fn beside_deny(view: &View<'_>) -> Option<(Value, &'static str)> {
    let allows = |policy: &&NetworkPolicy| {
        let rules = policy.spec.rules(Direction::Egress).unwrap_or_default();
        pods::isolates(policy, Direction::Egress) && rules.iter().any(|rule| used(rule, view) != Use::Other)
    };
    let allowing: Vec<&NetworkPolicy> = view.policies.iter().copied().filter(allows).collect();
    let lacks = |workload: &&Workload| !allowing.iter().any(|policy| policy.spec.pods.matches(&workload.labels));
    let workloads: Vec<&Workload> = view.workloads().iter().filter(|workload| !workload.host_network).collect();
    // Where no workload is known that policies are about, any pod may come, with any labels.
    let some_lack = if workloads.is_empty() {
        !coverage(&allowing, Direction::Egress).0.is_complete()
    } else {
        workloads.iter().any(lacks)
    };
    if is_meant(view) || !some_lack {
        return None;
    }
    let ways = ways(view);
    let name = view.free_names(ALLOW_DNS).next()?;
    Some((ways.policy(view, &name, &json!({})), ways.unless_known(view)))
}

/// For the pods of each selector the policy that lets them resolve names, as YAML and as an object: one for all where one
/// selector can be written that isolates nothing besides.
pub(super) fn for_each(view: &View<'_>, selectors: &[&Selector], ways: &Ways) -> Vec<Option<(String, Value)>> {
    let mut names = view.free_names(ALLOW_DNS);
    let mut written = |selector: &Selector| {
        let selector = serde_json::to_value(selector.to_api()?).ok()?;
        let name = names.next()?;
        let snippet = format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: {name}\n  namespace: {}\nspec:\n  \
             podSelector: {selector}\n  policyTypes:\n  - Egress\n  egress:\n{}",
            pods::yaml(view.namespace),
            ways.yaml()
        );
        Some((snippet, ways.policy(view, &name, &selector)))
    };
    match common(view, selectors) {
        Some(common) => vec![written(&common); selectors.len()],
        None => selectors.iter().map(|selector| written(selector)).collect(),
    }
}

/// A selector for all pods of several, and for none that are not isolated for egress already.
fn common(view: &View<'_>, selectors: &[&Selector]) -> Option<Selector> {
    let (first, rest) = selectors.split_first()?;
    if rest.iter().all(|selector| selector == first) {
        return Some((*first).clone());
    }
    if view.verdict.egress.coverage.is_complete() {
        return Some(Selector::default());
    }
    let (key, _) = first.keys().next()?;
    let mut values: BTreeSet<&str> = BTreeSet::new();
    for selector in selectors {
        let mut keys = selector.keys();
        let (Some((of, set)), None) = (keys.next(), keys.next()) else { return None };
        if of != key || !set.is_a_list() {
            return None;
        }
        values.extend(set.mentioned());
    }
    Some(Selector::one_of(key, values))
}

/// The resolver that is known, or what most clusters have.
pub(super) fn resolver(cluster: &Cluster) -> Resolver {
    cluster.dns.first().cloned().unwrap_or_else(Resolver::usual)
}

pub(super) fn unless_known(cluster: &Cluster) -> &'static str {
    if cluster.dns.is_empty() {
        " (kube-dns in kube-system in most clusters; --cluster-dns says where this one resolves)"
    } else {
        ""
    }
}

pub(super) fn ports_json(resolver: &Resolver) -> Value {
    let port = resolver.port();
    json!([{ "protocol": "UDP", "port": port }, { "protocol": "TCP", "port": port }])
}

/// A rule that leads to a resolver, as an item of `egress`, with each line indented by so many spaces.
pub(super) fn rule_yaml(resolver: &Resolver, indent: usize) -> String {
    let mut lines = vec!["- to:".to_owned()];
    match resolver {
        Resolver::Pods { namespace, labels, .. } => {
            lines.push("  - namespaceSelector:".to_owned());
            lines.push("      matchLabels:".to_owned());
            lines.push(format!("        {NAMESPACE_NAME_LABEL}: {}", pods::yaml(namespace)));
            if !labels.is_empty() {
                lines.push("    podSelector:".to_owned());
                lines.push("      matchLabels:".to_owned());
                lines.extend(labels.iter().map(|(key, value)| format!("        {key}: {}", pods::yaml(value))));
            }
        }
        Resolver::Address { address, .. } => {
            lines.push("  - ipBlock:".to_owned());
            lines.push(format!("      cidr: {}", ipnet::IpNet::from(*address)));
        }
    }
    lines.push("  ports:".to_owned());
    for protocol in ["UDP", "TCP"] {
        lines.push(format!("  - protocol: {protocol}"));
        lines.push(format!("    port: {}", resolver.port()));
    }
    let indent = " ".repeat(indent);
    lines.iter().flat_map(|line| [indent.as_str(), line, "\n"]).collect()
}
