//! `except-readded`: policies are a union, so an exception holds only where nobody else lets its addresses through.

use ipnet::IpNet;
use serde_json::json;

use super::catalogue::EXCEPT_READDED;
use super::pods::overlap;
use super::words::{self, yaml};
use super::{Finding, Object, View};
use crate::policy::cidr::{self, Range};
use crate::policy::ports::{self, Ports, Protocol};
use crate::policy::{Direction, NetworkPolicy, Peer, Rule, explain};

/// How many pairs of an exception and a block, with its own exceptions, are looked at. Past it what is left is not looked at:
/// that takes hundreds of blocks with exceptions, and this is a warning.
const PAIRS: usize = 100_000;

/// A block, or any destination, with the rule that lets it through.
struct Source<'a> {
    policy: &'a NetworkPolicy,
    rule: &'a Rule,
    path: String,
    /// `None` for every address.
    block: Option<(&'a IpNet, &'a [IpNet])>,
}

/// An exception without any effect: other blocks let through all of its addresses, on all ports that its rule is for, to pods
/// that both policies select. A part that is let through again may be the very purpose of the other rule.
pub(super) fn namespace(view: &View<'_>, found: &mut Vec<Finding>) {
    let mut pairs = 0usize;
    for direction in Direction::BOTH {
        let sources = sources(view, direction);
        let cost: usize = sources.iter().map(|source| 1 + source.block.map_or(0, |(_, except)| except.len())).sum();
        for (at, source) in sources.iter().enumerate() {
            let Some((cidr, except)) = source.block else { continue };
            for (k, taken) in except.iter().enumerate() {
                pairs = pairs.saturating_add(cost);
                if pairs > PAIRS {
                    return;
                }
                let others = sources.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, other)| other);
                let by = readded(source, taken, others);
                if by.is_empty() {
                    continue;
                }
                let message = format!(
                    "{} {} {taken} all the same: {cidr} leaves it out here, and it is let through by {}",
                    words::pods(&source.policy.spec.pods),
                    explain::reach(direction),
                    named(&source.policy.name, &by),
                );
                found.push(
                    Finding::new(&EXCEPT_READDED, Object::policy(view.namespace, &source.policy.name), message)
                        .at(format!("{}.ipBlock.except[{k}]", source.path))
                        .help(format!("take {taken} out of the other block too, or the exception away"))
                        .snippet(yaml(&json!({ "except": [taken.to_string()] }))),
                );
            }
        }
    }
}

fn sources<'a>(view: &View<'a>, direction: Direction) -> Vec<Source<'a>> {
    let mut sources = Vec::new();
    for &policy in view.policies {
        for (_, i, rule) in words::rules(policy).filter(|(of, _, _)| *of == direction) {
            let Some(peers) = &rule.peers else {
                sources.push(Source { policy, rule, path: words::rule(direction, i), block: None });
                continue;
            };
            for (j, peer) in peers.iter().enumerate() {
                if let Peer::Block { cidr, except } = peer {
                    let block = Some((cidr, &**except));
                    sources.push(Source { policy, rule, path: words::peer(direction, i, j), block });
                }
            }
        }
    }
    sources
}

/// Who lets all of the addresses through again; empty where nobody does.
fn readded<'s, 'a: 's>(
    source: &Source<'a>,
    taken: &IpNet,
    others: impl Iterator<Item = &'s Source<'a>>,
) -> Vec<&'s Source<'a>> {
    let (first, last) = cidr::range(taken);
    let mut ranges: Vec<Range> = Vec::new();
    let mut by = Vec::new();
    for other in others {
        let meeting: Vec<Range> = match other.block {
            None => vec![(first, last)],
            Some((cidr, except)) if cidr::family(cidr) == cidr::family(taken) => {
                let whole = cidr::range(cidr);
                if whole.0 > last || first > whole.1 {
                    continue;
                }
                cidr::remaining(cidr, except).into_iter().filter(|(from, to)| *from <= last && first <= *to).collect()
            }
            Some(_) => continue,
        };
        if !meeting.is_empty() && is_for_all_ports_of(other.rule, source.rule) && share_a_pod(other, source) {
            ranges.extend(meeting);
            by.push(other);
        }
    }
    if cidr::held(ranges, (first, last)) == (last - first).saturating_add(1) { by } else { Vec::new() }
}

fn share_a_pod(one: &Source<'_>, other: &Source<'_>) -> bool {
    let (one, other) = (&one.policy.spec.pods, &other.policy.spec.pods);
    one == other || overlap(one, other)
}

fn is_for_all_ports_of(rule: &Rule, of: &Rule) -> bool {
    let Some(ports) = &rule.ports else { return true };
    let ports = ports::merge(ports.clone());
    let whole = |protocol: Protocol| ports.contains(&Ports::every(protocol));
    match &of.ports {
        None => Protocol::ALL.into_iter().all(whole),
        Some(wanted) => wanted.iter().all(|wanted| match wanted {
            Ports::Range(protocol, from, to) => {
                ports.iter().any(|has| matches!(has, Ports::Range(p, a, b) if p == protocol && a <= from && to <= b))
            }
            Ports::Named(protocol, _) => whole(*protocol) || ports.contains(wanted),
        }),
    }
}

fn named(own: &str, by: &[&Source<'_>]) -> String {
    const NAMED: usize = 3;
    let named: Vec<String> = by
        .iter()
        .take(NAMED)
        .map(|source| match source.policy.name.as_str() {
            name if name == own => source.path.clone(),
            name => format!("{} of policy {name:?}", source.path),
        })
        .collect();
    let more = if by.len() > NAMED { " and more" } else { "" };
    format!("{}{more}", named.join(", "))
}
