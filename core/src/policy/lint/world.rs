//! Rules that let through much more than a few peers: the Internet, the cluster, the cloud's metadata address.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde_json::{Value, json};

use super::catalogue::{METADATA_REACHABLE, OPEN_CLUSTER, OPEN_WORLD};
use super::words::{self, yaml};
use super::{Finding, Object, Severity, View, culprits, is_full};
use crate::policy::cidr::{self, Family};
use crate::policy::holes::Kind;
use crate::policy::ports::{self, Ports, Protocol};
use crate::policy::selectors::NAMESPACE_NAME_LABEL;
use crate::policy::{Direction, NetworkPolicy, Peer, Rule};

/// Where clouds serve a machine's metadata and credentials, over HTTP: AWS, Azure, Google Cloud and others.
const METADATA: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));
const METADATA_PORT: u16 = 80;

/// What is wide about one policy: the metadata address. Blocks and selectors are the holes of a namespace.
pub(super) fn policy(policy: &NetworkPolicy, namespace: &str, found: &mut Vec<Finding>) {
    let object = || Object::policy(namespace, &policy.name);
    let has_other_ways = is_let_through_by_name(policy);
    for (direction, index, rule) in words::rules(policy) {
        if direction == Direction::Egress {
            metadata(policy, index, rule, has_other_ways, &object, found);
        }
    }
}

/// The holes of a namespace: `open-world` and `open-cluster`.
pub(super) fn holes(view: &View<'_>, found: &mut Vec<Finding>) {
    for (direction, hole) in view.verdict.holes() {
        let lint = match hole.kind {
            Kind::W4 | Kind::W6 => &OPEN_WORLD,
            Kind::Cluster => &OPEN_CLUSTER,
            Kind::All | Kind::Ports => continue,
        };
        for culprit in culprits::of(view, direction, hole) {
            let object = Object::policy(view.namespace, &culprit.policy.name);
            let finding = Finding::new(lint, object, culprit.message(direction)).at(&culprit.path);
            found.push(match hole.kind {
                Kind::W4 => narrow(finding, direction, Family::V4),
                Kind::W6 => narrow(finding, direction, Family::V6),
                _ => named(finding, direction),
            });
        }
    }
}

fn narrow(finding: Finding, direction: Direction, family: Family) -> Finding {
    let severity = if direction == Direction::Ingress { Severity::High } else { Severity::Medium };
    // Networks that are set aside for documentation (RFC 5737, RFC 3849).
    let cidr = match family {
        Family::V4 => "203.0.113.0/24",
        Family::V6 => "2001:db8::/32",
    };
    let written =
        format!("{}:\n- ipBlock:\n    cidr: {cidr} # the addresses that are meant\n", words::peers(direction));
    Finding { severity, ..finding }.snippet(written)
}

fn named(finding: Finding, direction: Direction) -> Finding {
    let item = json!({ "namespaceSelector": { "matchLabels": { NAMESPACE_NAME_LABEL: "NAMESPACE" } } });
    finding.snippet(yaml(&json!({ words::peers(direction): [item] })))
}

/// Whether every port of every protocol is let through. What is open on some ports is `PORTS`, and no matter of lints.
pub(super) fn on_all_ports(rule: &Rule) -> bool {
    rule.ports.as_ref().is_none_or(|ports| {
        let merged = ports::merge(ports.clone());
        Protocol::ALL.into_iter().all(|protocol| merged.contains(&Ports::every(protocol)))
    })
}

/// More than three quarters of the Internet. Who leaves out the private networks leaves 99 of 100 addresses in.
pub(super) fn is_much(ranges: Vec<cidr::Range>, family: Family) -> bool {
    let internet = family.internet();
    cidr::held(ranges, internet) > (internet.1 - internet.0) / 4 * 3
}

/// Who can reach it on TCP 80 can ask for it; a rule for other ports can't.
fn is_for_metadata(rule: &Rule) -> bool {
    rule.ports.as_ref().is_none_or(|ports| {
        ports.iter().any(
            |entry| matches!(entry, Ports::Range(Protocol::Tcp, from, to) if (*from..=*to).contains(&METADATA_PORT)),
        )
    })
}

/// Whether the policy lets pods reach the metadata in a way that no exception takes away: by its very address, or by a rule
/// for every destination.
fn is_let_through_by_name(policy: &NetworkPolicy) -> bool {
    let is_it = |peer: &Peer| matches!(peer, Peer::Block { cidr, .. } if *cidr == IpNet::from(METADATA));
    let rules = words::rules(policy).filter(|(direction, _, _)| *direction == Direction::Egress);
    rules
        .filter(|(_, _, rule)| is_for_metadata(rule))
        .any(|(_, _, rule)| rule.peers.as_ref().is_none_or(|peers| peers.iter().any(is_it)))
}

fn metadata(
    policy: &NetworkPolicy,
    index: usize,
    rule: &Rule,
    has_other_ways: bool,
    object: &impl Fn() -> Object,
    found: &mut Vec<Finding>,
) {
    if !is_for_metadata(rule) || is_full(found, &METADATA_REACHABLE) {
        return;
    }
    let net = IpNet::from(METADATA);
    let text = net.to_string();
    let message = |through: &str| {
        format!(
            "{} can reach {METADATA}, where clouds hand out the node's credentials, {through}",
            words::pods(&policy.spec.pods)
        )
    };
    let excepting =
        |cidr: &str, except: Vec<Value>| yaml(&json!({ "to": [{ "ipBlock": { "cidr": cidr, "except": except } }] }));
    let Some(peers) = &rule.peers else {
        let through = "since this rule names no destination";
        found.push(
            Finding::new(&METADATA_REACHABLE, object(), message(through))
                .at(words::rule(Direction::Egress, index))
                .help(format!("name the destinations in to; if all of them are meant, all but {text}"))
                .snippet(excepting("0.0.0.0/0", vec![json!(text)])),
        );
        return;
    };
    for (j, peer) in peers.iter().enumerate() {
        let Peer::Block { cidr, except } = peer else { continue };
        if !cidr.contains(&net) || except.iter().any(|taken| taken.contains(&net)) {
            continue;
        }
        if is_full(found, &METADATA_REACHABLE) {
            return;
        }
        let path = format!("{}.ipBlock", words::peer(Direction::Egress, index, j));
        let finding = Finding::new(&METADATA_REACHABLE, object(), message(&format!("which is in {cidr}"))).at(&path);
        if *cidr == net {
            found.push(finding.help("take the block away"));
            continue;
        }
        let mut all: Vec<Value> = except.iter().map(|taken| json!(taken.to_string())).collect();
        all.push(json!(text));
        let finding = finding.snippet(excepting(&cidr.to_string(), all));
        // An exception alone would have no effect, and whether the address itself is meant is a person's decision.
        if has_other_ways {
            let help = format!("take {text} out with except, and away where this policy lets it through besides");
            found.push(finding.help(help));
            continue;
        }
        let fix = if except.is_empty() {
            words::set(&format!("{path}.except"), json!([text]))
        } else {
            words::set(&format!("{path}.except.-"), json!(text))
        };
        found.push(finding.help(format!("take {text} out with except")).fix(fix));
    }
}
