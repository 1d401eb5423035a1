//! From what is written to what it means: the API's defaults, and everything that its validation rejects.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/networking/v1/defaults.go` and `pkg/apis/networking/validation`.

use std::net::IpAddr;

use ipnet::IpNet;

use super::names::{is_label_value, is_port_name, is_qualified_name};
use super::wire::{self, IntOrString, LabelSelector, OrDefault};
use super::{FieldError, NOTED, Noncanonical, Notes, Source, shortened};
use crate::policy::ports::{PORTS, Ports, Protocol};
use crate::policy::selectors::{KeySet, Selector};
use crate::policy::{Direction, NetworkPolicy, Peer, Rule, Spec};

/// How many errors are reported of one object: a message has to be read, and must not outgrow the object.
const ERRORS: usize = 20;

/// Collects what is wrong, each with its path, and what is noted.
struct Errors {
    found: Vec<FieldError>,
    source: Source,
    notes: Notes,
}

impl Errors {
    fn add(&mut self, path: impl Into<String>, value: &str, problem: &str, fix: &str) {
        if self.found.len() >= ERRORS {
            return;
        }
        self.found.push(FieldError {
            path: shortened(path.into()),
            value: shortened(value.to_owned()),
            problem: problem.to_owned(),
            fix: fix.to_owned(),
        });
    }
}

pub(super) fn network_policy(
    object: wire::Object<'_>,
    source: Source,
) -> Result<(NetworkPolicy, Notes), Vec<FieldError>> {
    let metadata = object.metadata;
    let notes = Notes { suppressions: metadata.suppressions(), ..Notes::default() };
    let mut errors = Errors { found: Vec::new(), source, notes };
    let spec = spec(object.spec, &mut errors);
    if !errors.found.is_empty() {
        return Err(errors.found);
    }
    let policy = NetworkPolicy {
        version: metadata.version(),
        uid: metadata.uid.to_string(),
        generation: metadata.generation,
        quarantined: crate::quarantine::Quarantined::of(&metadata),
        managed: metadata.is_managed(),
        deleting: metadata.is_deleting(),
        exception: metadata.exception(),
        name: metadata.name.into_owned(),
        namespace: metadata.namespace.map(std::borrow::Cow::into_owned),
        finalizers: metadata.finalizers,
        spec,
    };
    Ok((policy, errors.notes))
}

fn spec(written: wire::Spec, errors: &mut Errors) -> Spec {
    errors.notes.empties_egress = written.egress.as_ref().is_some_and(Vec::is_empty);
    let pods = written.pod_selector.as_ref().map(|s| label_selector(s, "spec.podSelector", errors)).unwrap_or_default();
    let (ingress_type, egress_type) = policy_types(&written, errors);
    let egress = written.egress.unwrap_or_default();
    errors.notes.states_types = !written.policy_types.is_empty();
    for (direction, is_type, is_written) in [
        (Direction::Ingress, ingress_type, !written.ingress.is_empty()),
        (Direction::Egress, egress_type, !egress.is_empty()),
    ] {
        if is_written && !is_type {
            errors.notes.inert.push(direction);
        }
    }
    let ingress: Vec<Rule> = written
        .ingress
        .into_iter()
        .enumerate()
        .map(|(i, OrDefault(rule))| self::rule(rule.from, rule.ports, &format!("spec.ingress[{i}]"), "from", errors))
        .collect();
    let egress: Vec<Rule> = egress
        .into_iter()
        .enumerate()
        .map(|(i, OrDefault(rule))| self::rule(rule.to, rule.ports, &format!("spec.egress[{i}]"), "to", errors))
        .collect();
    Spec { pods, ingress: ingress_type.then_some(ingress), egress: egress_type.then_some(egress) }
}

/// Absent types are Ingress, and Egress where there is an egress rule.
fn policy_types(written: &wire::Spec, errors: &mut Errors) -> (bool, bool) {
    if written.policy_types.is_empty() {
        return (true, written.egress.as_ref().is_some_and(|egress| !egress.is_empty()));
    }
    if written.policy_types.len() > 2 {
        let count = written.policy_types.len().to_string();
        errors.add("spec.policyTypes", &count, "more than two policy types", "list Ingress, Egress, or both, once");
    }
    let (mut ingress, mut egress) = (false, false);
    for (i, OrDefault(kind)) in written.policy_types.iter().enumerate() {
        match kind.as_str() {
            "Ingress" => ingress = true,
            "Egress" => egress = true,
            _ => errors.add(format!("spec.policyTypes[{i}]"), kind, "no policy type", "use Ingress or Egress"),
        }
    }
    (ingress, egress)
}

fn rule(
    peers: Vec<OrDefault<wire::Peer>>,
    ports: Vec<OrDefault<wire::Port>>,
    path: &str,
    field: &str,
    errors: &mut Errors,
) -> Rule {
    let (any_peer, any_port) = (peers.is_empty(), ports.is_empty());
    let peers: Vec<Peer> = peers
        .into_iter()
        .enumerate()
        .filter_map(|(i, OrDefault(peer))| self::peer(peer, &format!("{path}.{field}[{i}]"), errors))
        .collect();
    let ports: Vec<Ports> = ports
        .into_iter()
        .enumerate()
        .filter_map(|(i, OrDefault(port))| self::port(port, &format!("{path}.ports[{i}]"), errors))
        .collect();
    Rule { peers: (!any_peer).then_some(peers), ports: (!any_port).then_some(ports) }
}

fn peer(written: wire::Peer, path: &str, errors: &mut Errors) -> Option<Peer> {
    let selects = written.namespace_selector.is_some() || written.pod_selector.is_some();
    match written.ip_block {
        Some(_) if selects => {
            errors.add(path, "ipBlock", "an ipBlock stands beside a selector", "give each an item of its own");
            None
        }
        Some(block) => ip_block(&block, &format!("{path}.ipBlock"), errors),
        None if selects => Some(Peer::Pods {
            namespaces: written
                .namespace_selector
                .map(|s| label_selector(&s, &format!("{path}.namespaceSelector"), errors).of_namespaces()),
            pods: written.pod_selector.map(|s| label_selector(&s, &format!("{path}.podSelector"), errors)),
        }),
        None => {
            errors.add(path, "", "the peer names nothing", "give a podSelector, a namespaceSelector or an ipBlock");
            None
        }
    }
}

fn ip_block(block: &wire::IpBlock, path: &str, errors: &mut Errors) -> Option<Peer> {
    let cidr = cidr(&block.cidr, &format!("{path}.cidr"), errors)?;
    let mut except = Vec::with_capacity(block.except.len());
    for (i, OrDefault(text)) in block.except.iter().enumerate() {
        let path = format!("{path}.except[{i}]");
        let Some(taken) = self::cidr(text, &path, errors) else {
            continue;
        };
        if cidr.contains(&taken) && taken != cidr {
            except.push(taken);
        } else {
            errors.add(path, text, "not a strict subset of the block's cidr", "except a smaller block inside it");
        }
    }
    Some(Peer::Block { cidr, except })
}

/// A CIDR. Host bits, leading zeros and IPv4-mapped addresses were accepted by API servers before 1.36.
fn cidr(text: &str, path: &str, errors: &mut Errors) -> Option<IpNet> {
    let fix = "write network/length, such as 10.0.0.0/8 or 2001:db8::/32";
    let Some((net, canonical)) = lenient_cidr(text) else {
        errors.add(path, text, "no CIDR", fix);
        return None;
    };
    if !canonical && errors.source == Source::File {
        let fix = format!("write {net}");
        errors.add(path, text, "bits outside the mask, leading zeros or an IPv4-mapped address", &fix);
        return None;
    }
    if errors.notes.noncanonical.len() < NOTED && net.to_string() != text {
        errors.notes.noncanonical.push(Noncanonical {
            path: path.to_owned(),
            written: text.to_owned(),
            canonical: net,
        });
    }
    Some(net)
}

/// The block that a CIDR means, masked, and whether a current API server accepts it as it is written. What older ones
/// accepted is `ParseCIDRSloppy` of `k8s.io/utils/net`.
fn lenient_cidr(text: &str) -> Option<(IpNet, bool)> {
    let (address, length) = text.split_once('/')?;
    if !length.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let prefix: u8 = length.parse().ok()?;
    let mut canonical = length.len() == 1 || !length.starts_with('0');
    let address: IpAddr = if let Ok(address) = address.parse() {
        address
    } else {
        canonical = false;
        without_leading_zeros(address).parse().ok()?
    };
    let mapped = match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped(),
        IpAddr::V4(_) => None,
    };
    canonical &= mapped.is_none();
    let (address, prefix) = match (mapped, prefix.checked_sub(96)) {
        (Some(v4), Some(prefix)) => (IpAddr::V4(v4), prefix),
        _ => (address, prefix),
    };
    let net = IpNet::new(address, prefix).ok()?;
    let masked = net.trunc();
    Some((masked, canonical && masked.addr() == net.addr()))
}

/// An address without the zeros that its parts begin with, which older API servers read past, however many they were.
fn without_leading_zeros(address: &str) -> String {
    let parts = address.split_inclusive(['.', ':']).map(|part| {
        let rest = part.trim_start_matches('0');
        let only_zeros = rest.len() < part.len() && !rest.starts_with(|c: char| c.is_ascii_hexdigit());
        if only_zeros { &part[part.len() - rest.len() - 1..] } else { rest }
    });
    parts.collect()
}

fn port(written: wire::Port, path: &str, errors: &mut Errors) -> Option<Ports> {
    if written.protocol.is_none() && errors.notes.implicit_protocols.len() < NOTED {
        errors.notes.implicit_protocols.push(path.to_owned());
    }
    let protocol = match written.protocol.as_deref() {
        None | Some("TCP") => Protocol::Tcp,
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        Some(other) => {
            errors.add(format!("{path}.protocol"), other, "no such protocol", "use TCP, UDP or SCTP, or leave it out");
            return None;
        }
    };
    let number = |value: i32| u16::try_from(value).ok().filter(|&value| value >= PORTS.0);
    let range_fix = "use a number from 1 to 65535";
    match (written.port, written.end_port) {
        (None, None) => Some(Ports::every(protocol)),
        (None, Some(end)) => {
            let end = end.to_string();
            errors.add(
                format!("{path}.endPort"),
                &end,
                "an endPort without a port",
                "give port, where the range begins",
            );
            None
        }
        (Some(IntOrString::Int(from)), None) => {
            let checked = number(from);
            if checked.is_none() {
                errors.add(format!("{path}.port"), &from.to_string(), "not a port number", range_fix);
            }
            checked.map(|from| Ports::Range(protocol, from, from))
        }
        (Some(IntOrString::Int(from)), Some(to)) => match (number(from), number(to)) {
            (Some(a), Some(b)) if a <= b => Some(Ports::Range(protocol, a, b)),
            (None, _) => {
                errors.add(format!("{path}.port"), &from.to_string(), "not a port number", range_fix);
                None
            }
            _ => {
                let fix = "use a number from port to 65535";
                errors.add(format!("{path}.endPort"), &to.to_string(), "below port, or not a port number", fix);
                None
            }
        },
        (Some(IntOrString::String(name)), end) => {
            if !is_port_name(&name) {
                let fix = if name.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty() {
                    "write the number without quotes"
                } else {
                    "use at most 15 lower-case letters, digits and single hyphens, with a letter among them"
                };
                errors.add(format!("{path}.port"), &name, "not a port name", fix);
                return None;
            }
            if let Some(end) = end {
                let fix = "give port as a number, or leave endPort out";
                errors.add(format!("{path}.endPort"), &end.to_string(), "an endPort beside a port name", fix);
                return None;
            }
            Some(Ports::Named(protocol, name))
        }
    }
}

fn label_selector(written: &LabelSelector, path: &str, errors: &mut Errors) -> Selector {
    let mut requirements = Vec::with_capacity(written.match_labels.0.len() + written.match_expressions.len());
    let key_fix = "use [prefix/]name, the name of at most 63 letters, digits, '-', '_' and '.'";
    let value_fix = "use at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit";
    for (key, value) in &written.match_labels.0 {
        if !is_qualified_name(key) {
            errors.add(format!("{path}.matchLabels"), key, "not a label key", key_fix);
        }
        if !is_label_value(value) {
            errors.add(format!("{path}.matchLabels[{key}]"), value, "not a label value", value_fix);
        }
        requirements.push((key.clone(), KeySet::one_of([value.clone()])));
    }
    for (i, OrDefault(requirement)) in written.match_expressions.iter().enumerate() {
        let path = format!("{path}.matchExpressions[{i}]");
        if !is_qualified_name(&requirement.key) {
            errors.add(format!("{path}.key"), &requirement.key, "not a label key", key_fix);
        }
        // API servers keep values stored long ago that they would not take today, on every update. No pod has one.
        let stored = errors.source == Source::Cluster;
        for (j, OrDefault(value)) in requirement.values.iter().enumerate().filter(|_| !stored) {
            if !is_label_value(value) {
                errors.add(format!("{path}.values[{j}]"), value, "not a label value", value_fix);
            }
        }
        let values = || requirement.values.iter().map(|OrDefault(value)| value.clone()).filter(|v| is_label_value(v));
        let (wants_values, set) = match requirement.operator.as_str() {
            "In" => (true, KeySet::one_of(values())),
            "NotIn" => (true, KeySet::none_of(values())),
            "Exists" => (false, KeySet::exists()),
            "DoesNotExist" => (false, KeySet::does_not_exist()),
            other => {
                let fix = "use In, NotIn, Exists or DoesNotExist";
                errors.add(format!("{path}.operator"), other, "no operator of a selector", fix);
                continue;
            }
        };
        if wants_values && requirement.values.is_empty() {
            let problem = format!("{} without values", requirement.operator);
            errors.add(format!("{path}.values"), "", &problem, "list one value at least");
        } else if !wants_values && !requirement.values.is_empty() {
            let problem = format!("{} with values", requirement.operator);
            errors.add(format!("{path}.values"), "", &problem, "leave values out, or use In or NotIn");
        }
        requirements.push((requirement.key.clone(), set));
    }
    requirements.into_iter().collect()
}
