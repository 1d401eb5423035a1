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
use crate::policy::selectors::{NAMESPACE_NAME_LABEL, Selector};
use crate::policy::{Direction, NetworkPolicy, Peer, Rule, explain};

/// Where clouds serve a machine's metadata and credentials, over HTTP: AWS, Azure, Google Cloud and others.
const METADATA: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));
const METADATA_PORT: u16 = 80;

/// What is wide about one policy: near-world and near-all peers, the metadata address.
pub(super) fn policy(policy: &NetworkPolicy, namespace: &str, found: &mut Vec<Finding>) {
    let object = || Object::policy(namespace, &policy.name);
    let has_other_ways = is_let_through_by_name(policy);
    for (direction, index, rule) in words::rules(policy) {
        if on_all_ports(rule) && !is_full(found, &OPEN_WORLD) {
            near_world(policy, (direction, index, rule), &object, found);
        }
        if on_all_ports(rule) {
            near_all(policy, (direction, index, rule), &object, found);
        }
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
            let message = format!("{}{}", explain::traffic(direction, hole), culprit.by());
            let finding = Finding::new(lint, object, message).at(&culprit.path);
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

type At<'a> = (Direction, usize, &'a Rule);

/// Nearly all of the Internet, and not all of it: that is a hole.
fn near_world(
    policy: &NetworkPolicy,
    (direction, index, rule): At<'_>,
    object: &impl Fn() -> Object,
    found: &mut Vec<Finding>,
) {
    for (family, name) in [(Family::V4, "IPv4"), (Family::V6, "IPv6")] {
        let blocks: Vec<(usize, &IpNet, Vec<cidr::Range>)> = rule
            .peers
            .iter()
            .flatten()
            .enumerate()
            .filter_map(|(j, peer)| match peer {
                Peer::Block { cidr, except } if cidr::family(cidr) == family => {
                    Some((j, cidr, cidr::remaining(cidr, except)))
                }
                _ => None,
            })
            .collect();
        let ranges: Vec<cidr::Range> = blocks.iter().flat_map(|(_, _, ranges)| ranges.iter().copied()).collect();
        if !is_much(ranges.clone(), family) || cidr::cover(ranges, family) {
            continue;
        }
        let alone = blocks.iter().find(|(_, _, ranges)| is_much(ranges.clone(), family));
        let (path, what) = match alone {
            Some((j, cidr, _)) => (words::peer(direction, index, *j), block(cidr, rule.peers.iter().flatten().nth(*j))),
            None => (words::rule(direction, index), "what the blocks of this rule come to together".to_owned()),
        };
        let message = format!(
            "{} {} nearly all of {name} on every port: {what}",
            words::pods(&policy.spec.pods),
            explain::reach(direction)
        );
        found.push(narrow(Finding::new(&OPEN_WORLD, object(), message).at(path), direction, family));
    }
}

/// More than three quarters of the Internet. Who leaves out the private networks leaves 99 of 100 addresses in.
pub(super) fn is_much(ranges: Vec<cidr::Range>, family: Family) -> bool {
    let internet = family.internet();
    cidr::held(ranges, internet) > (internet.1 - internet.0) / 4 * 3
}

fn block(cidr: &IpNet, peer: Option<&Peer>) -> String {
    match peer {
        Some(Peer::Block { except, .. }) if !except.is_empty() => {
            let except: Vec<String> = except.iter().map(ToString::to_string).collect();
            words::short(&format!("{cidr} except {}", except.join(", ")))
        }
        _ => cidr.to_string(),
    }
}

/// Whether a selector of namespaces says at most which ones it leaves out.
pub(super) fn leaves_out(namespaces: &Selector) -> bool {
    namespaces.keys().all(
        |(key, set)| {
            if key == NAMESPACE_NAME_LABEL { set.admits_unmentioned() } else { !set.needs_a_label() }
        },
    )
}

/// Near-all peers: every namespace but some, or every pod but some.
fn near_all(
    policy: &NetworkPolicy,
    (direction, index, rule): At<'_>,
    object: &impl Fn() -> Object,
    found: &mut Vec<Finding>,
) {
    for (j, peer) in rule.peers.iter().flatten().enumerate() {
        let Peer::Pods { namespaces: Some(namespaces), pods } = peer else { continue };
        let pods_left_out = pods.as_ref().filter(|pods| !pods.selects_all());
        if !leaves_out(namespaces)
            || pods_left_out.is_some_and(|pods| pods.keys().any(|(_, set)| set.needs_a_label()))
            || (namespaces.selects_all() && pods_left_out.is_none())
            || is_full(found, &OPEN_CLUSTER)
        {
            continue;
        }
        let pods = pods_left_out.map_or_else(|| "every pod".to_owned(), words::pods);
        let message = format!(
            "{} {} {pods} {} on every port: these are all but a few, and any that is made tomorrow is among them",
            words::pods(&policy.spec.pods),
            explain::reach(direction),
            words::of_namespaces(namespaces),
        );
        let finding = Finding::new(&OPEN_CLUSTER, object(), message).at(words::peer(direction, index, j));
        found.push(named(finding, direction));
    }
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
