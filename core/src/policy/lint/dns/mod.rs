//! Whether the pods can resolve names.
//!
//! A rule is for DNS if it names a port that resolvers listen at, or if it lets every port through to where one may be. So
//! a rule for the own namespace is not, although it would let a lookup through that went there. Where the cluster's
//! resolvers are known, a rule is right if it reaches one of them.

mod mend;
mod own;
mod resolving;

use serde_json::json;

use super::catalogue::{DNS_ANY_DESTINATION, DNS_MISSING, DNS_UDP_ONLY, DNS_WRONG_TARGET};
use super::world::on_all_ports;
use super::{ENOUGH, FINDINGS, Finding, Fix, Object, View, pods};
use crate::inventory::cluster::dns::PORT;
use crate::inventory::{Cluster, Workload};
use crate::policy::coverage;
use crate::policy::ports::{Ports, Protocol};
use crate::policy::selectors::{NAMESPACE_NAME_LABEL, Selector};
use crate::policy::{Direction, NetworkPolicy, Peer, Rule};
pub(super) use mend::beside_deny;
use mend::{ports_json, resolver, rule_yaml, unless_known};
use resolving::{NOT_AUTOMATIC, by_missing_label, has_port, is_for_dns, named_port, names_port, ports_of, reaches};

/// How many policies of a namespace are compared with each other: every two are, and a tenant may have thousands.
const MANY: usize = 200;

/// `dns-any-destination`.
pub(super) fn policy(policy: &NetworkPolicy, namespace: &str, cluster: &Cluster, found: &mut Vec<Finding>) {
    let rules = policy.spec.rules(Direction::Egress).unwrap_or_default();
    // What is let through on every port of every protocol is a graver lint's.
    let is_asked = |rule: &Rule| {
        !on_all_ports(rule) && (names_port(rule, Protocol::Udp, namespace, cluster) || has_port(rule, Protocol::Udp))
    };
    let for_dns = rules.iter().enumerate().filter(|(_, rule)| is_asked(rule));
    let anywhere = for_dns.filter_map(|(i, rule)| match &rule.peers {
        None => Some((i, rule, format!("spec.egress[{i}]"))),
        Some(peers) => peers.iter().position(is_open).map(|j| (i, rule, format!("spec.egress[{i}].to[{j}]"))),
    });
    for (i, rule, path) in anywhere.take(ENOUGH) {
        let resolver = resolver(cluster);
        let known = ports_of(rule, namespace, cluster);
        let is_dns =
            |entry: &Ports| Protocol::ALL.into_iter().any(|protocol| named_port(entry, protocol, &known).is_some());
        let is_for_dns_alone = rule.ports.iter().flatten().all(is_dns);
        let leave_out = if is_for_dns_alone { "" } else { "leave port 53 out of this rule, and " };
        let mut finding = Finding::new(
            &DNS_ANY_DESTINATION,
            Object::policy(namespace, &policy.name),
            format!(
                "{} can look names up at any server anywhere, so that what they hold can leave in the names that are asked for",
                pods::who(&policy.spec.pods)
            ),
        )
        .at(path)
        .help(format!("{leave_out}let them reach the cluster's resolver alone{}", unless_known(cluster)))
        .snippet(format!("egress:\n{}", rule_yaml(&resolver, 0)));
        // Which resolver a cluster has is a person's knowledge unless it is stated, and so is where else a rule is to lead.
        if rule.peers.is_none()
            && is_for_dns_alone
            && !cluster.dns.is_empty()
            && let Some(patch) = pods::add(&format!("spec.egress[{i}].to"), &resolver.peers())
        {
            finding = finding.fix(Fix::Patch(patch));
        }
        found.push(finding);
    }
}

/// Whether a peer is all of an address family.
fn is_open(peer: &Peer) -> bool {
    matches!(peer, Peer::Block { cidr, .. } if cidr.prefix_len() == 0)
}

/// What a rule does for lookups.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// It is not for DNS.
    Other,
    /// It leads elsewhere.
    Wrong,
    /// It leads to a resolver, or may, for all that is known.
    Right,
}

/// `dns-missing`, `dns-wrong-target` and `dns-udp-only`.
pub(super) fn namespace(view: &View<'_>, found: &mut Vec<Finding>) {
    let isolating: Vec<&NetworkPolicy> =
        view.policies.iter().copied().filter(|policy| pods::isolates(policy, Direction::Egress)).collect();
    let with = |wanted: &dyn Fn(&Rule) -> bool| -> Vec<&NetworkPolicy> {
        let has = |policy: &&NetworkPolicy| policy.spec.rules(Direction::Egress).unwrap_or_default().iter().any(wanted);
        isolating.iter().copied().filter(has).collect()
    };
    let right = with(&|rule| used(rule, view) == Use::Right);
    let any = with(&|rule| used(rule, view) != Use::Other);
    let tcp = with(&|rule| is_for_dns(rule, Protocol::Tcp, view.namespace, view.cluster));
    if !is_meant(view) {
        missing(view, &isolating, &any, found);
    }
    for policy in any.iter().take(MANY) {
        let rules = policy.spec.rules(Direction::Egress).unwrap_or_default().iter().enumerate();
        for (i, rule) in rules.filter(|(_, rule)| used(rule, view) == Use::Wrong).take(ENOUGH) {
            wrong_target(view, policy, i, rule, &right, found);
        }
    }
    let udp = with(&|rule| names_port(rule, Protocol::Udp, view.namespace, view.cluster));
    for policy in leaving_out(view, &udp, &tcp) {
        let rules = policy.spec.rules(Direction::Egress).unwrap_or_default().iter().enumerate();
        for (i, rule) in
            rules.filter(|(_, rule)| names_port(rule, Protocol::Udp, view.namespace, view.cluster)).take(ENOUGH)
        {
            udp_only(view, policy, i, rule, found);
        }
    }
}

/// Whether it is meant that no pod resolves names: whoever chose a profile without DNS, such as deny-all, knew.
fn is_meant(view: &View<'_>) -> bool {
    view.profile.is_some_and(|profile| {
        let mut rules = profile.policies().iter().flat_map(|policy| policy.parsed.spec.egress.iter().flatten());
        !rules.any(|rule| is_for_dns(rule, Protocol::Udp, view.namespace, view.cluster))
    })
}

fn missing(view: &View<'_>, isolating: &[&NetworkPolicy], any: &[&NetworkPolicy], found: &mut Vec<Finding>) {
    let mut policies: Vec<(&NetworkPolicy, String)> = Vec::new();
    if view.workloads().is_empty() {
        // One that concerns every pod says it for the others.
        if let Some(policy) = isolating.iter().find(|policy| policy.spec.pods.selects_all()) {
            if !shares_pods(policy, any) {
                policies.push((policy, "no pod can".to_owned()));
            }
        } else {
            let concerned = isolating.iter().take(MANY).filter(|policy| !shares_pods(policy, any));
            let words = |policy: &NetworkPolicy| format!("no pod with {} can", policy.spec.pods);
            policies.extend(concerned.take(FINDINGS).map(|policy| (*policy, words(policy))));
        }
    } else {
        let mut silent: Vec<&Workload> = without(view, isolating, any);
        for policy in isolating {
            let (selected, rest): (Vec<&Workload>, Vec<&Workload>) =
                silent.iter().partition(|workload| policy.spec.pods.matches(&workload.labels));
            silent = rest;
            if !selected.is_empty() {
                policies.push((policy, format!("pods of {} can't", pods::names(&selected))));
            }
        }
    }
    // In most namespaces, and what a profile leads to is not looked up for nothing.
    if policies.is_empty() {
        return;
    }
    let selectors: Vec<&Selector> = policies.iter().map(|(policy, _)| &policy.spec.pods).collect();
    let ways = mend::ways(view);
    let mut advised = mend::for_each(view, &selectors, &ways).into_iter();
    for (policy, whose) in policies {
        let mut finding = Finding::new(
            &DNS_MISSING,
            Object::policy(view.namespace, &policy.name),
            format!(
                "{}: {whose} resolve any name: {:?} isolates them for egress, and nothing lets them reach a DNS server",
                view.namespace, policy.name
            ),
        )
        .help(ways.help(view));
        if let Some((snippet, policy)) = advised.next().flatten() {
            finding = finding.snippet(snippet).fix(Fix::Add(vec![policy]));
        }
        found.push(finding);
    }
}

fn wrong_target(
    view: &View<'_>,
    policy: &NetworkPolicy,
    i: usize,
    rule: &Rule,
    right: &[&NetworkPolicy],
    found: &mut Vec<Finding>,
) {
    let reaches_none = if view.workloads().is_empty() {
        !shares_pods(policy, right)
    } else {
        !without(view, &[policy], right).is_empty()
    };
    if !reaches_none {
        return;
    }
    let unlabelled =
        rule.peers.iter().flatten().enumerate().find_map(|(j, peer)| by_missing_label(peer, view).map(|ns| (j, ns)));
    let misled = own::misled(rule, view);
    let who = match &policy.spec.pods {
        pods if pods.selects_all() => "no pod can".to_owned(),
        pods => format!("{} can't", pods::who(pods)),
    };
    let (path, message, help) = match (unlabelled, &misled) {
        (Some((j, namespace)), _) => (
            format!("spec.egress[{i}].to[{j}].namespaceSelector"),
            format!(
                "{who} look names up: no namespace carries the label {NOT_AUTOMATIC}={namespace} unless somebody has put \
                 it there, so this rule lets them reach nothing"
            ),
            format!("select by {NAMESPACE_NAME_LABEL}, which the API server sets on every namespace"),
        ),
        (None, Some(misled)) => {
            let (why, help) = own::words(misled, view);
            (format!("spec.egress[{i}].to[{}]", misled.peer), format!("{who} look names up: {why}"), help)
        }
        (None, None) => (
            format!("spec.egress[{i}]"),
            format!(
                "{who} look names up: this cluster resolves at {}, and the rule leads elsewhere",
                view.cluster.dns.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
            ),
            DNS_WRONG_TARGET.fix.to_owned(),
        ),
    };
    let meant = misled.and_then(|misled| misled.meant).filter(|_| view.cluster.dns.is_empty());
    let resolver = meant.unwrap_or_else(|| resolver(view.cluster));
    let mut finding = Finding::new(&DNS_WRONG_TARGET, Object::policy(view.namespace, &policy.name), message)
        .at(path)
        .help(help)
        .snippet(format!("egress:\n{}", rule_yaml(&resolver, 0)));
    if !view.cluster.dns.is_empty()
        && let Some(patch) =
            pods::add("spec.egress.-", &json!({ "to": resolver.peers(), "ports": ports_json(&resolver) }))
    {
        finding = finding.fix(Fix::Patch(patch));
    }
    found.push(finding);
}

fn udp_only(view: &View<'_>, policy: &NetworkPolicy, i: usize, rule: &Rule, found: &mut Vec<Finding>) {
    let ports = rule.ports.as_deref().unwrap_or_default();
    let known = ports_of(rule, view.namespace, view.cluster);
    let udp = ports.iter().enumerate().find_map(|(j, entry)| Some((j, named_port(entry, Protocol::Udp, &known)?)));
    let Some((j, port)) = udp else { return };
    let port = match port {
        Ports::Range(_, from, to) if (*from..=*to).contains(&PORT) => json!(PORT),
        Ports::Range(_, from, _) => json!(from),
        // The name of the TCP port is not known; CoreDNS calls it dns-tcp.
        Ports::Named(..) => json!(PORT),
    };
    let mut finding = Finding::new(
        &DNS_UDP_ONLY,
        Object::policy(view.namespace, &policy.name),
        format!(
            "{} can ask a DNS server over UDP and not over TCP: answers that do not fit into a datagram never arrive",
            pods::who(&policy.spec.pods)
        ),
    )
    .at(format!("spec.egress[{i}].ports[{j}]"))
    .help(format!("add TCP {port} beside it"))
    .snippet(format!("ports:\n- protocol: UDP\n  port: {port}\n- protocol: TCP\n  port: {port}\n"));
    if let Some(patch) = pods::add(&format!("spec.egress[{i}].ports.-"), &json!({ "protocol": "TCP", "port": port })) {
        finding = finding.fix(Fix::Patch(patch));
    }
    found.push(finding);
}

/// The workloads that are isolated for egress, and that none of `others` selects.
fn without<'v>(view: &View<'v>, isolating: &[&NetworkPolicy], others: &[&NetworkPolicy]) -> Vec<&'v Workload> {
    let selects = |policies: &[&NetworkPolicy], workload: &Workload| {
        policies.iter().any(|policy| policy.spec.pods.matches(&workload.labels))
    };
    view.workloads()
        .iter()
        .filter(|workload| !workload.host_network && selects(isolating, workload) && !selects(others, workload))
        .collect()
}

/// Whether some pod can be selected by `policy` and by one of `others`, or it selects none at all.
fn shares_pods(policy: &NetworkPolicy, others: &[&NetworkPolicy]) -> bool {
    let pods = &policy.spec.pods;
    pods.is_unsatisfiable()
        || others.iter().any(|other| other.spec.pods.selects_all() || other.spec.pods == *pods)
        || others.len() > MANY
        || others.iter().any(|other| pods::overlap(pods, &other.spec.pods))
}

/// Those of `policies` that select pods that none of `others` does: of the workloads where some are known, otherwise any.
fn leaving_out<'p>(
    view: &View<'_>,
    policies: &[&'p NetworkPolicy],
    others: &[&NetworkPolicy],
) -> Vec<&'p NetworkPolicy> {
    let policies = policies.iter().copied().take(MANY);
    if !view.workloads().is_empty() {
        return policies.filter(|policy| !without(view, &[policy], others).is_empty()).collect();
    }
    let policies: Vec<&NetworkPolicy> = policies.collect();
    // One question for all of them, since it may take long. One that is given up is none to worry somebody with.
    match coverage::lost(&policies, others, Direction::Egress) {
        Some(Some(pod)) => policies.into_iter().filter(|policy| policy.spec.pods.matches(&pod)).collect(),
        Some(None) | None => Vec::new(),
    }
}

fn used(rule: &Rule, view: &View<'_>) -> Use {
    if !is_for_dns(rule, Protocol::Udp, view.namespace, view.cluster) {
        return Use::Other;
    }
    let right = if view.cluster.dns.is_empty() {
        let peers = rule.peers.as_deref();
        peers.is_none_or(|peers| peers.iter().any(|peer| by_missing_label(peer, view).is_none()))
            && own::misled(rule, view).is_none()
    } else {
        view.cluster.dns.iter().any(|resolver| reaches(rule, resolver, view)) || own::has_resolver(rule, view)
    };
    if right { Use::Right } else { Use::Wrong }
}
