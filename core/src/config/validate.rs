//! From what is written to what is in force. Whatever is wrong is an error with the path of its field.

use std::collections::BTreeMap;

use ipnet::IpNet;
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::Value;

use super::schema::{CertificatesFile, DnsFile, File, HolesFile, LimitsFile, ProfileFile, WideFile};
use super::{Certificates, Config, Limits};
use crate::meter;
use crate::policy::Direction;
use crate::policy::criteria::{Criteria, Wide};
use crate::policy::lint::settle::{Level, Levels};
use crate::policy::lint::{Lint, catalogue};
use crate::policy::parse::FieldError;
use crate::policy::parse::names::{is_dns_label, is_subdomain};
use crate::profile::{self, ALLOW_DNS, HoleTable, Policy, Profile, Profiles, built_in, classes};
use crate::vocabulary::stand_in;

type Errors = Vec<FieldError>;

/// Below this the server would close a connection while the API server still counts on it.
const IDLE_FLOOR: SignedDuration = SignedDuration::from_secs(91);

/// The shortest time in which an API server can be relied on to answer.
const SHORTEST: SignedDuration = SignedDuration::from_secs(3);

fn error(
    path: impl Into<String>,
    value: impl Into<String>,
    problem: impl Into<String>,
    fix: impl Into<String>,
) -> FieldError {
    FieldError { path: path.into(), value: value.into(), problem: problem.into(), fix: fix.into() }
}

pub(super) fn config(value: &Value) -> Result<Config, Errors> {
    let mut errors = Errors::new();
    let file = decode(value, &mut errors);
    let Some(file) = file else { return Err(errors) };

    let mut config = super::defaults::config();
    macro_rules! take {
        ($($field:ident),*) => { $(if let Some(value) = file.$field { config.$field = value; })* };
    }
    take!(default_profile, default_mode, existing, pods, host_network, vendor_policies, longest_exemption, staleness);
    take!(lease_duration, violations);
    for (field, value) in [("staleness", &config.staleness), ("leaseDuration", &config.lease_duration)] {
        if value.get() < SHORTEST {
            let problem = "so short that a slow answer of the API server would count as none";
            errors.push(error(field, value.to_string(), problem, "set at least 3s"));
        }
    }
    if let Some(excluded) = file.excluded {
        for (i, name) in excluded.into_iter().enumerate() {
            if !is_dns_label(&name) {
                let fix = "give the name of a namespace; patterns are not supported";
                errors.push(error(format!("excluded[{i}]"), &name, "not the name of a namespace", fix));
            }
            config.excluded.insert(name);
        }
    }
    config.certificates = certificates(file.certificates, &mut errors);
    config.limits = limits(file.limits, &mut errors);
    let config_cidrs = cluster_cidrs(&file.cluster_cidrs.unwrap_or_default(), &mut errors);
    config = config.with_cluster_cidrs(&config_cidrs);
    let mut profiles: Vec<Profile> = config.profiles.iter().cloned().collect();
    for (name, written) in file.profiles {
        if let Some(profile) = self::profile(&name, written, &config.cluster_cidrs, &mut errors) {
            profiles.push(profile);
        }
    }
    config.profiles = Profiles::new(profiles);
    config.lints = lints(&file.lints, &mut errors);
    if errors.is_empty() && config.default_profile().is_none() {
        let fix = format!("choose one of {}", config.profiles.names());
        errors.push(error("defaultProfile", &config.default_profile, "no such profile", fix));
    }
    if config.default_mode == crate::vocabulary::Mode::Exempt {
        let fix = "choose enforce, warn or audit; exempt single namespaces, or list them under excluded";
        errors.push(error("defaultMode", "exempt", "an exemption needs a reason and an end for each namespace", fix));
    }
    if errors.is_empty() { Ok(config) } else { Err(errors) }
}

fn lints(written: &BTreeMap<String, Value>, errors: &mut Errors) -> Levels {
    let mut levels = Levels::default();
    for (id, value) in written {
        let level = match value {
            Value::String(word) => Level::parse(word),
            Value::Bool(false) => Some(Level::Off),
            _ => None,
        };
        let path = format!("lints.{id}");
        match (Lint::find(id), level) {
            (Some(lint), Some(level)) => levels.set(lint, level),
            (None, _) => {
                let known: Vec<&str> = catalogue::ALL.iter().map(|lint| lint.id).collect();
                errors.push(error(path, id, "no such lint", format!("use one of {}", known.join(", "))));
            }
            (Some(_), None) => {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let fix = "use off, info, warning, medium, high or error";
                errors.push(error(path, value, "not what a lint can be set to", fix));
            }
        }
    }
    levels
}

/// Decodes, and reports fields that nobody reads: a misspelt one would silently leave its default in force.
fn decode(value: &Value, errors: &mut Errors) -> Option<File> {
    if value.is_null() {
        return Some(File::default());
    }
    let mut unknown = Vec::new();
    let decoded = {
        let mut track = serde_path_to_error::Track::new();
        let tracked = serde_path_to_error::Deserializer::new(value, &mut track);
        // The trait's: what serde derives is an inherent function of the same name, and reads lists too.
        let result = <File as Deserialize>::deserialize(serde_ignored::Deserializer::new(
            tracked,
            &mut |path: serde_ignored::Path<'_>| {
                unknown.push(path.to_string());
            },
        ));
        result.map_err(|problem| (track.path().to_string(), problem.to_string()))
    };
    for path in unknown {
        // serde_ignored writes list indices as .0 and options as .?
        let path = path.split('.').filter(|part| *part != "?").fold(String::new(), |path, part| {
            match (path.is_empty(), part.parse::<usize>()) {
                (true, _) => part.to_owned(),
                (false, Ok(index)) => format!("{path}[{index}]"),
                (false, Err(_)) => format!("{path}.{part}"),
            }
        });
        errors.push(error(path, "", "unknown field", "see `ringfence config` for the fields there are"));
    }
    match decoded {
        Ok(file) => Some(file),
        Err((path, problem)) => {
            errors.push(error(
                if path == "." { String::new() } else { path },
                "",
                problem,
                "see `ringfence config` for the form",
            ));
            None
        }
    }
}

/// A rotation waits twice, and begins when a third of the validity is left: so much of that third stays for a leader that
/// is away, or begins anew.
const ROTATIONS_IN_A_VALIDITY: i32 = 12;

/// The longest validity: what an issuer that can't be asked to revoke should give at most.
const LONGEST_VALIDITY: SignedDuration = SignedDuration::from_hours(90 * 24);

fn certificates(written: CertificatesFile, errors: &mut Errors) -> Certificates {
    let mut certificates = super::defaults::config().certificates;
    if let Some(validity) = written.validity {
        certificates.validity = validity;
    }
    if let Some(overlap) = written.overlap {
        certificates.overlap = overlap;
    }
    let (validity, overlap) = (certificates.validity.get(), certificates.overlap.get());
    if validity > LONGEST_VALIDITY {
        let problem = "longer than 90 days";
        let value = certificates.validity.to_string();
        errors.push(error("certificates.validity", value, problem, "set 30d to 90d"));
    }
    if overlap < SignedDuration::from_secs(1) {
        let problem = "shorter than anybody can learn of a new certificate in";
        let value = certificates.overlap.to_string();
        errors.push(error("certificates.overlap", value, problem, "set 5m, or at least 1s"));
    } else if overlap.checked_mul(ROTATIONS_IN_A_VALIDITY).is_none_or(|least| validity < least) {
        let problem = format!("shorter than {ROTATIONS_IN_A_VALIDITY} times certificates.overlap ({overlap:#})");
        let value = certificates.validity.to_string();
        errors.push(error("certificates.validity", value, problem, "set 30d to 90d, with an overlap of 5m"));
    }
    certificates
}

fn limits(written: LimitsFile, errors: &mut Errors) -> Limits {
    let mut limits = super::defaults::limits();
    macro_rules! take {
        ($($field:ident),*) => { $(if let Some(value) = written.$field { limits.$field = value; })* };
    }
    take!(
        body_bytes,
        bytes_in_flight,
        review_bytes,
        policies_per_namespace,
        policy_bytes_per_namespace,
        concurrent_reviews,
        connections,
        handshake_timeout,
        first_request_timeout,
        body_timeout,
        idle_timeout,
        drain,
        drain_deadline
    );
    if limits.bytes_in_flight < limits.body_bytes {
        let fix = format!("set at least {}, one whole body", limits.body_bytes);
        errors.push(error(
            "limits.bytesInFlight",
            limits.bytes_in_flight.to_string(),
            "less than limits.bodyBytes",
            fix,
        ));
    }
    // The semaphore behind the budget counts in u32.
    if limits.bytes_in_flight > u64::from(u32::MAX) {
        let problem = "more than the budget can count";
        errors.push(error(
            "limits.bytesInFlight",
            limits.bytes_in_flight.to_string(),
            problem,
            "set at most 4294967295",
        ));
    }
    let least = least_review_bytes(limits.body_bytes);
    if limits.review_bytes < least {
        let problem = "less than one body of limits.bodyBytes may take";
        errors.push(error(
            "limits.reviewBytes",
            limits.review_bytes.to_string(),
            problem,
            format!("set at least {least}"),
        ));
    }
    if limits.policy_bytes_per_namespace == 0 {
        let problem = "no policy would be accepted";
        errors.push(error("limits.policyBytesPerNamespace", "0", problem, "leave it out for 8 MiB"));
    }
    for (field, value) in [
        ("concurrentReviews", limits.concurrent_reviews),
        ("connections", limits.connections),
        ("policiesPerNamespace", limits.policies_per_namespace),
    ] {
        if value == 0 || value > 1_000_000 {
            let problem = "out of range";
            errors.push(error(format!("limits.{field}"), value.to_string(), problem, "set 1 to 1000000"));
        }
    }
    if limits.idle_timeout.get() < IDLE_FLOOR {
        let problem =
            "the API server keeps idle connections for 90s, and would find them closed in the middle of a call";
        let value = limits.idle_timeout.to_string();
        errors.push(error("limits.idleTimeout", value, problem, "set at least 91s"));
    }
    if limits.body_bytes == 0 {
        errors.push(error("limits.bodyBytes", "0", "no body would be accepted", "leave it out for 32 MiB"));
    }
    limits
}

/// The least that `limits.reviewBytes` may be for bodies of that size: of the whole, a quarter is kept for small ones.
pub(super) fn least_review_bytes(body_bytes: u64) -> u64 {
    let one = body_bytes.saturating_mul(meter::FACTOR as u64).saturating_add(meter::BASE as u64);
    one.saturating_add(one.div_ceil(3))
}

fn cluster_cidrs(written: &[String], errors: &mut Errors) -> Vec<IpNet> {
    let mut cidrs = Vec::with_capacity(written.len());
    for (i, text) in written.iter().enumerate() {
        let path = || format!("clusterCidrs[{i}]");
        match text.parse::<IpNet>() {
            Ok(cidr) if cidr.trunc() == cidr => cidrs.push(cidr),
            Ok(cidr) => {
                errors.push(error(path(), text, "host bits are set", format!("write {}", cidr.trunc())));
            }
            Err(_) => {
                let fix = "write network/length, such as 10.244.0.0/16 or fd00:10:244::/56";
                errors.push(error(path(), text, "not a CIDR", fix));
            }
        }
    }
    cidrs
}

/// The most that `wide.ports` may be. Every port of one protocol is always wide.
pub(super) const MOST_PORTS: u32 = 65_534;

fn wide(written: &WideFile, path: &str, errors: &mut Errors) -> Wide {
    let mut wide = Wide::default();
    let mut prefix = |field: &str, value: Option<u64>, longest: u8, to: &mut u8| {
        let Some(value) = value else { return };
        match u8::try_from(value) {
            Ok(prefix) if (1..=longest).contains(&prefix) => *to = prefix,
            _ => {
                let fix = format!("set 1 to {longest}; a hole that is to be accepted is set in the table of holes");
                errors.push(error(format!("{path}.wide.{field}"), value.to_string(), "not a prefix length", fix));
            }
        }
    };
    prefix("ipv4", written.ipv4, 32, &mut wide.ipv4);
    prefix("ipv6", written.ipv6, 128, &mut wide.ipv6);
    if let Some(value) = written.ports {
        match u32::try_from(value) {
            Ok(ports) if ports <= MOST_PORTS => wide.ports = ports,
            _ => {
                let fix = format!("set 0 to {MOST_PORTS}; every port of a protocol is always wide");
                errors.push(error(format!("{path}.wide.ports"), value.to_string(), "out of range", fix));
            }
        }
    }
    wide
}

fn profile(name: &str, written: ProfileFile, cluster_cidrs: &[IpNet], errors: &mut Errors) -> Option<Profile> {
    let path = format!("profiles.{name}");
    let before = errors.len();
    if !is_dns_label(name) {
        let fix = "use lower-case letters, digits and hyphens: the name is a label's value and an RBAC resource name";
        errors.push(error(&path, name, "not a profile name", fix));
    }
    let mut policies: Vec<Policy> = Vec::new();
    match written.policies {
        Some(list) => {
            for (i, policy) in list.into_iter().enumerate() {
                let path = format!("{path}.policies[{i}]");
                if policies.iter().any(|other| other.name == policy.name) {
                    errors.push(error(
                        format!("{path}.name"),
                        &policy.name,
                        "a second policy of this name",
                        "rename it",
                    ));
                }
                // Under another name the API server would never take it.
                if !is_subdomain(&policy.name) || !is_subdomain(&stand_in(&policy.name)) {
                    let fix = "use at most 243 lower-case letters, digits, hyphens and dots, beginning and ending with a letter or digit";
                    errors.push(error(format!("{path}.name"), &policy.name, "not the name of a NetworkPolicy", fix));
                }
                match profile::policy(&policy.name, policy.spec, &path) {
                    Ok(policy) => policies.push(policy),
                    Err(wrong) => errors.extend(wrong),
                }
            }
        }
        None => match built_in(name) {
            Some(built_in) => {
                policies.extend(built_in.into_iter().filter_map(|(name, spec)| Policy::new(name, spec).ok()));
            }
            None if written.dns.is_none() => {
                let fix = "list its policies, each with name and spec";
                errors.push(error(format!("{path}.policies"), "", "a profile needs policies", fix));
            }
            None => {}
        },
    }
    if let Some(dns) = written.dns {
        self::dns(name, dns, &path, &mut policies, errors);
    }
    let holes = self::holes(name, &written.holes, &path, errors);
    let criteria = Criteria { wide: wide(&written.wide, &path, errors), cluster_cidrs: cluster_cidrs.to_vec() };
    if errors.len() > before {
        return None;
    }
    match Profile::new(name, policies, holes, criteria) {
        Ok(profile) => Some(profile),
        Err(not_effective) => {
            let fix = "add a policy with podSelector: {}, policyTypes: [Ingress, Egress] and no rules, and take out what opens a denied hole";
            errors.push(error(format!("{path}.policies"), "", not_effective.to_string(), fix));
            None
        }
    }
}

fn dns(profile: &str, dns: DnsFile, path: &str, policies: &mut Vec<Policy>, errors: &mut Errors) {
    let to = dns.to.or_else(|| profile::resolvers(profile));
    match Policy::new(ALLOW_DNS, profile::allow_dns(to, dns.ports)) {
        Ok(policy) => match policies.iter_mut().find(|other| other.name == ALLOW_DNS) {
            Some(other) => *other = policy,
            None => policies.push(policy),
        },
        Err(wrong) => {
            let inner = wrong.path().trim_start_matches("spec.egress[0].").to_owned();
            let fix = "to takes the items of a NetworkPolicy's to, ports those of its ports";
            errors.push(error(format!("{path}.dns.{inner}"), "", wrong.to_string(), fix));
        }
    }
}

fn holes(name: &str, written: &HolesFile, path: &str, errors: &mut Errors) -> HoleTable {
    let mut table = super::defaults::holes(name);
    for (direction, side) in [(Direction::Ingress, &written.ingress), (Direction::Egress, &written.egress)] {
        for (class, effect) in side {
            if !table.set(direction, class, *effect) {
                let known: Vec<String> = classes().map(|class| class.to_string()).collect();
                let fix = format!("use one of {}", known.join(", "));
                errors.push(error(format!("{path}.holes.{direction}.{class}"), class, "no class of hole", fix));
            }
        }
    }
    table
}
