//! One end of a connection, as it is named on the command line, and the port.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use anyhow::{Result, bail};
use ringfence_core::inventory::workload::KINDS;
use ringfence_core::inventory::{Inventory, Workload};
use ringfence_core::policy::ports::Protocol;
use ringfence_core::policy::reach::{Endpoint, Member, Port};
use ringfence_core::text::sanitised;

/// The short names that kubectl takes for kinds.
const SHORT: [(&str, &str); 7] = [
    ("Pod", "po"),
    ("Deployment", "deploy"),
    ("StatefulSet", "sts"),
    ("DaemonSet", "ds"),
    ("ReplicaSet", "rs"),
    ("ReplicationController", "rc"),
    ("CronJob", "cj"),
];

/// How many names are listed where one is not found.
const LISTED: usize = 8;

/// How long a port's name can be (`IANA_SVC_NAME`).
const LONGEST_NAME: usize = 15;

/// One end, as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// An address outside of the cluster.
    Address(IpAddr),
    /// A workload; without a kind any, a Pod before others.
    Workload { namespace: String, kind: Option<&'static str>, name: String },
}

impl FromStr for End {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORMS: &str = "give NAMESPACE/POD, NAMESPACE/KIND/NAME such as team-a/Deployment/web, or an IP address";
        if let Ok(address) = text.parse::<IpAddr>() {
            // ::ffff:10.0.0.1 is 10.0.0.1 on the wire.
            let address = address.to_canonical();
            if address.is_loopback() || address.is_unspecified() {
                return Err("this is nowhere but where it is used; give an address of the other end".to_owned());
            }
            return Ok(Self::Address(address));
        }
        if text.parse::<ipnet::IpNet>().is_ok() {
            return Err("this is a block of addresses; give one address of it".to_owned());
        }
        let parts: Vec<&str> = text.split('/').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(FORMS.to_owned());
        }
        let (namespace, kind, name) = match parts.as_slice() {
            [namespace, name] => (namespace, None, name),
            [namespace, kind, name] => (namespace, Some(known_kind(kind)?), name),
            _ => return Err(FORMS.to_owned()),
        };
        Ok(Self::Workload { namespace: (*namespace).to_owned(), kind, name: (*name).to_owned() })
    }
}

fn known_kind(written: &str) -> Result<&'static str, String> {
    let written = written.to_ascii_lowercase();
    let is = |kind: &&str| {
        let lower = kind.to_ascii_lowercase();
        written == lower || written == format!("{lower}s") || SHORT.contains(&(*kind, written.as_str()))
    };
    let kinds = KINDS.map(|(_, kind)| kind);
    let known = kinds.into_iter().find(is);
    known.ok_or_else(|| format!("{written:?} is no kind that makes pods; there are {}", kinds.join(", ")))
}

impl End {
    pub(super) fn namespace(&self) -> Option<&str> {
        match self {
            Self::Address(_) => None,
            Self::Workload { namespace, .. } => Some(namespace),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Workload { namespace, kind: None, name } => write!(f, "{namespace}/{name}"),
            Self::Workload { namespace, kind: Some(kind), name } => write!(f, "{namespace}/{kind}/{name}"),
        }
    }
}

/// Finds what an end names.
///
/// # Errors
/// Where there is none or more than one, with what there is; where the address is a pod's.
pub(super) fn find<'i>(flag: &str, end: &End, inventory: &'i Inventory) -> Result<Endpoint<'i>> {
    let (namespace, kind, name) = match end {
        End::Address(address) => {
            if let Some((namespace, pod)) = pod_of(*address, inventory) {
                bail!("{flag} {}", is_a_pods(*address, namespace, &pod.kind, &pod.name));
            }
            if let Some(network) = inventory.cluster.networks.iter().find(|network| network.contains(address)) {
                bail!(
                    "{flag} {address}: this is an address of the cluster's own pods, Services or nodes ({network}), and what \
                     an ipBlock says of these depends on the network plugin; give the pod or workload that is meant"
                );
            }
            return Ok(Endpoint::Address(*address));
        }
        End::Workload { namespace, kind, name } => (namespace, *kind, name),
    };
    let Some((known, place)) = inventory.namespaces.get_key_value(namespace) else {
        bail!("{flag} {end}: {}", no_namespace(namespace, &[inventory]));
    };
    let is_meant = |workload: &&Workload| workload.name == *name && kind.is_none_or(|kind| workload.kind == kind);
    let named: Vec<&Workload> = place.workloads.iter().filter(is_meant).collect();
    let chosen = match named.as_slice() {
        [one] => *one,
        [] => {
            let is_ended = |(of, named): &&(String, String)| named == name && kind.is_none_or(|kind| of == kind);
            if let Some((of, _)) = place.ended.iter().find(is_ended) {
                bail!(
                    "{flag} {end}: this {of} has ended, so that it has no connections and no policy concerns it; give one \
                     that runs, or the workload that makes such pods"
                );
            }
            let what = kind.map_or_else(|| "workload".to_owned(), str::to_owned);
            // Of the other kinds too: who has mistaken the kind sees the name.
            let there: Vec<String> =
                place.workloads.iter().map(|workload| format!("{}/{}", workload.kind, workload.name)).collect();
            let wanted = format!("{}/{name}", kind.unwrap_or_default());
            bail!(
                "{flag} {end}: there is no {what} {name:?} in namespace {namespace:?}; {}",
                nearest(&wanted, there.iter().map(String::as_str).collect())
            );
        }
        // NAMESPACE/POD means the pod.
        several => match several.iter().find(|workload| workload.kind == "Pod") {
            Some(pod) => *pod,
            None => bail!(
                "{flag} {end}: there is more than one workload of that name; give one of {}",
                several
                    .iter()
                    .map(|workload| format!("{namespace}/{}/{}", workload.kind, workload.name))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        },
    };
    Ok(Endpoint::Workload(Member { namespace: known, workload: chosen }))
}

/// That a namespace is in one of the inventories.
///
/// # Errors
/// Where it is not, with what there is.
pub(super) fn namespace(flag: &str, name: &str, inventories: &[&Inventory]) -> Result<()> {
    if inventories.iter().any(|inventory| inventory.namespaces.contains_key(name)) {
        return Ok(());
    }
    bail!("{flag} {name}: {}", no_namespace(name, inventories))
}

fn no_namespace(name: &str, inventories: &[&Inventory]) -> String {
    let names: BTreeSet<&str> =
        inventories.iter().flat_map(|inventory| inventory.namespaces.keys().map(String::as_str)).collect();
    format!("there is no namespace {name:?}; {}", nearest(name, names.into_iter().collect()))
}

fn pod_of(address: IpAddr, inventory: &Inventory) -> Option<(&str, &Workload)> {
    inventory.namespaces.iter().find_map(|(namespace, place)| {
        // One that uses its node's network has the address of the node.
        let its = |workload: &&Workload| !workload.host_network && workload.addresses.contains(&address);
        Some((namespace.as_str(), place.workloads.iter().find(its)?))
    })
}

/// What is said to an address that is a pod's.
pub(super) fn is_a_pods(address: IpAddr, namespace: &str, kind: &str, name: &str) -> String {
    sanitised(&format!(
        "{address}: this is the address of {namespace}/{kind}/{name}, which policies know by its labels; give that instead"
    ))
}

/// What there is, the most alike first.
fn nearest(wanted: &str, mut names: Vec<&str>) -> String {
    if names.is_empty() {
        return "there is none at all".to_owned();
    }
    names.sort_by_cached_key(|name| (strsim::damerau_levenshtein(wanted, name), *name));
    let more = names.len().saturating_sub(LISTED);
    names.truncate(LISTED);
    let and_more = if more == 0 { String::new() } else { format!(" and {more} more") };
    // Names in manifests may be a stranger's.
    format!("there are {}{and_more}", sanitised(&names.join(", ")))
}

/// Reads a port.
///
/// # Errors
/// Where it is none, with what is one.
pub(super) fn port(text: &str) -> Result<Port, String> {
    let (port, protocol) = match text.split_once('/') {
        None => (text, None),
        Some((port, protocol)) => {
            let known = Protocol::ALL.into_iter().find(|known| known.to_string().eq_ignore_ascii_case(protocol));
            let known = known.ok_or_else(|| format!("{protocol:?} is no protocol; choose tcp, udp or sctp"))?;
            (port, Some(known))
        }
    };
    if port.is_empty() {
        return Err("give a number such as 5432, with /tcp, /udp or /sctp behind it, or a port's name".to_owned());
    }
    if port.bytes().all(|byte| byte.is_ascii_digit()) {
        return match port.parse() {
            Ok(number) if number > 0 => Ok(Port::Number(protocol.unwrap_or(Protocol::Tcp), number)),
            _ => Err(format!("{port} is no port; ports are from 1 to 65535")),
        };
    }
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if port.len() > LONGEST_NAME || !port.bytes().all(is_name) {
        return Err(format!(
            "{port:?} is no port; give a number from 1 to 65535, or a port's name: lowercase letters, digits and -, at \
             most {LONGEST_NAME}"
        ));
    }
    Ok(Port::Named(protocol, port.to_owned()))
}

/// A port as it is given.
pub(super) fn written(port: &Port) -> String {
    let protocol = |protocol: Protocol| protocol.to_string().to_ascii_lowercase();
    match port {
        Port::Number(Protocol::Tcp, number) => number.to_string(),
        Port::Number(other, number) => format!("{number}/{}", protocol(*other)),
        Port::Named(None, name) => name.clone(),
        Port::Named(Some(of), name) => format!("{name}/{}", protocol(*of)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(kind: Option<&'static str>) -> End {
        End::Workload { namespace: "a".to_owned(), kind, name: "web".to_owned() }
    }

    #[test]
    fn ends_are_pods_workloads_of_a_kind_in_any_of_its_names_and_addresses() {
        assert_eq!("a/web".parse(), Ok(workload(None)));
        for kind in ["Deployment", "deployment", "deployments", "deploy", "DEPLOY"] {
            assert_eq!(format!("a/{kind}/web").parse(), Ok(workload(Some("Deployment"))), "{kind}");
        }
        for (short, kind) in [("po", "Pod"), ("sts", "StatefulSet"), ("ds", "DaemonSet"), ("rs", "ReplicaSet")] {
            assert_eq!(format!("a/{short}/web").parse(), Ok(workload(Some(kind))));
        }
        assert_eq!("a/cj/web".parse(), Ok(workload(Some("CronJob"))));
        assert_eq!("10.0.0.1".parse(), Ok(End::Address([10, 0, 0, 1].into())));
        assert_eq!("fd00::1".parse::<End>().unwrap().namespace(), None);
        for bad in ["web", "", "/", "a/", "a//web", "a/b/c/d", "10.0.0.0/8", "a/Service/web", "a/ /web"] {
            assert!(bad.parse::<End>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ports_are_numbers_with_a_protocol_or_names() {
        assert_eq!(port("5432"), Ok(Port::Number(Protocol::Tcp, 5432)));
        assert_eq!(port("53/udp"), Ok(Port::Number(Protocol::Udp, 53)));
        assert_eq!(port("53/SCTP"), Ok(Port::Number(Protocol::Sctp, 53)));
        assert_eq!(port("http"), Ok(Port::Named(None, "http".to_owned())));
        assert_eq!(port("dns/udp"), Ok(Port::Named(Some(Protocol::Udp), "dns".to_owned())));
        for bad in
            ["", "0", "65536", "99999999999", "-1x_", "53/icmp", "/tcp", "Http", "a b", "53/", "a-name-too-long-"]
        {
            assert!(port(bad).is_err(), "{bad}");
        }
    }
}
