//! From what is written to what it means: the API's defaults, and everything that its validation rejects.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/networking/v1/defaults.go` and `pkg/apis/networking/validation`.

use std::net::IpAddr;

use ipnet::IpNet;

use super::names::{is_label_value, is_port_name, is_qualified_name};
use super::stream::{self, Distinct};
use super::wire::{self, IntOrString, LabelSelector, OrDefault};
use super::{FieldError, NOTED, Noncanonical, Notes, Source, shortened};
use crate::meter::{self, Exhausted};
use crate::policy::ports::{PORTS, Ports, Protocol};
use crate::policy::selectors::{Operator, Requirements, Selector, packed_size};
use crate::policy::{Direction, NetworkPolicy, Peer, Spec};
use crate::texts::Texts;

/// How many errors are reported of one object: a message has to be read, and must not outgrow the object.
const ERRORS: usize = 20;

/// Collects what is wrong, each with its path, and what is noted.
pub(super) struct Errors {
    found: Vec<FieldError>,
    pub(super) source: Source,
    notes: Notes,
}

impl Errors {
    pub(super) fn new(source: Source) -> Self {
        Self { found: Vec::new(), source, notes: Notes::default() }
    }

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

/// What a policy comes to that was read to its end.
pub(super) fn network_policy(
    object: stream::Object<'_>,
) -> Result<Result<(NetworkPolicy, Notes), Vec<FieldError>>, Exhausted> {
    let stream::Object { metadata, spec: mut written } = object;
    let (ingress_type, egress_type) =
        policy_types(&written.policy_types, written.egress.are_written(), &mut written.errors);
    let Errors { mut found, mut notes, .. } = written.errors;
    if !found.is_empty() {
        // In whatever order the fields are written.
        let fields = ["spec.podSelector", "spec.policyTypes", "spec.ingress", "spec.egress"];
        found.sort_by_key(|error| fields.iter().position(|field| error.path.starts_with(field)));
        return Ok(Err(found));
    }
    notes.suppressions = metadata.suppressions();
    notes.empties_egress = written.egress.written == Some(0);
    notes.states_types = !written.policy_types.is_empty();
    for (direction, is_type, rules) in
        [(Direction::Ingress, ingress_type, &written.ingress), (Direction::Egress, egress_type, &written.egress)]
    {
        if rules.are_written() && !is_type {
            notes.inert.push(direction);
        }
    }
    let (ingress, egress) = (written.ingress.found.finish()?, written.egress.found.finish()?);
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
        spec: Spec {
            pods: written.pods.unwrap_or_default(),
            ingress: ingress_type.then_some(ingress),
            egress: egress_type.then_some(egress),
        },
    };
    Ok(Ok((policy, notes)))
}

/// Absent types are Ingress, and Egress where there is an egress rule.
fn policy_types(written: &Texts, writes_egress: bool, errors: &mut Errors) -> (bool, bool) {
    if written.is_empty() {
        return (true, writes_egress);
    }
    if written.len() > 2 {
        let count = written.len().to_string();
        errors.add("spec.policyTypes", &count, "more than two policy types", "list Ingress, Egress, or both, once");
    }
    let (mut ingress, mut egress) = (false, false);
    for (i, kind) in written.iter().enumerate() {
        match kind {
            "Ingress" => ingress = true,
            "Egress" => egress = true,
            _ => errors.add(format!("spec.policyTypes[{i}]"), kind, "no policy type", "use Ingress or Egress"),
        }
    }
    (ingress, egress)
}

pub(super) fn peer(written: wire::Peer, path: &str, errors: &mut Errors) -> Result<Option<Peer>, Exhausted> {
    let selects = written.namespace_selector.is_some() || written.pod_selector.is_some();
    Ok(match written.ip_block {
        Some(_) if selects => {
            errors.add(path, "ipBlock", "an ipBlock stands beside a selector", "give each an item of its own");
            None
        }
        Some(block) => ip_block(&block, &format!("{path}.ipBlock"), errors)?,
        None if selects => {
            let mut selector = |written: Option<LabelSelector>, field: &str| {
                written.map(|written| label_selector(&written, &format!("{path}.{field}"), errors)).transpose()
            };
            let namespaces = selector(written.namespace_selector, "namespaceSelector")?.map(Selector::of_namespaces);
            Some(Peer::Pods { namespaces, pods: selector(written.pod_selector, "podSelector")? })
        }
        None => {
            errors.add(path, "", "the peer names nothing", "give a podSelector, a namespaceSelector or an ipBlock");
            None
        }
    })
}

fn ip_block(block: &wire::IpBlock, path: &str, errors: &mut Errors) -> Result<Option<Peer>, Exhausted> {
    let Some(cidr) = cidr(&block.cidr, &format!("{path}.cidr"), errors) else { return Ok(None) };
    let mut except = Distinct::new(errors.source);
    for (i, text) in block.except.iter().enumerate() {
        let path = format!("{path}.except[{i}]");
        let Some(taken) = self::cidr(text, &path, errors) else {
            continue;
        };
        if cidr.contains(&taken) && taken != cidr {
            except.push(taken)?;
        } else {
            errors.add(path, text, "not a strict subset of the block's cidr", "except a smaller block inside it");
        }
    }
    Ok(Some(Peer::Block { cidr, except: except.finish()?.into_boxed_slice() }))
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

pub(super) fn port(written: wire::Port, path: &str, errors: &mut Errors) -> Option<Ports> {
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

pub(super) fn label_selector(written: &LabelSelector, path: &str, errors: &mut Errors) -> Result<Selector, Exhausted> {
    let labels = written.match_labels.iter().map(|(key, value)| packed_size(key.len(), value.len()));
    let expressions = written.match_expressions.0.iter();
    let expressions = expressions.map(|OrDefault(one)| packed_size(one.key.len(), one.values.heap()));
    let size = labels.chain(expressions).sum();
    // Most of that is used; the rest is given back, and then both are there.
    meter::charge(2 * size)?;
    let mut requirements = Requirements::with_capacity(size);
    let key_fix = "use [prefix/]name, the name of at most 63 letters, digits, '-', '_' and '.'";
    let value_fix = "use at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit";
    for (key, value) in written.match_labels.iter() {
        if !is_qualified_name(key) {
            errors.add(format!("{path}.matchLabels"), key, "not a label key", key_fix);
        }
        if !is_label_value(value) {
            errors.add(format!("{path}.matchLabels[{key}]"), value, "not a label value", value_fix);
        }
        requirements.add(key, Operator::In, [value]);
    }
    for (i, OrDefault(requirement)) in written.match_expressions.0.iter().enumerate() {
        let path = format!("{path}.matchExpressions[{i}]");
        if !is_qualified_name(&requirement.key) {
            errors.add(format!("{path}.key"), &requirement.key, "not a label key", key_fix);
        }
        // API servers keep values stored long ago that they would not take today, on every update. No pod has one.
        let stored = errors.source == Source::Cluster;
        let values = &requirement.values;
        for (j, value) in values.iter().enumerate().filter(|_| !stored) {
            if !is_label_value(value) {
                errors.add(format!("{path}.values[{j}]"), value, "not a label value", value_fix);
            }
        }
        let Some(operator) = Operator::parse(&requirement.operator) else {
            let fix = "use In, NotIn, Exists or DoesNotExist";
            errors.add(format!("{path}.operator"), &requirement.operator, "no operator of a selector", fix);
            continue;
        };
        if operator.has_values() && values.is_empty() {
            let problem = format!("{} without values", requirement.operator);
            errors.add(format!("{path}.values"), "", &problem, "list one value at least");
        } else if !operator.has_values() && !values.is_empty() {
            let problem = format!("{} with values", requirement.operator);
            errors.add(format!("{path}.values"), "", &problem, "leave values out, or use In or NotIn");
        }
        // Those that can match, and their order.
        let mark = meter::used();
        meter::charge(3 * values.heap())?;
        let valid = values.iter().filter(|value| operator.has_values() && is_label_value(value));
        requirements.add(&requirement.key, operator, valid);
        meter::release_to(mark);
    }
    requirements.counted()
}
