//! Whether the cluster's network plugin does what the policies say.

use super::catalogue::{CNI_FEATURE, NO_ENFORCING_CNI};
use super::{ENOUGH, Finding, Object};
use crate::inventory::{Cluster, Cni, Inventory, Plugin};
use crate::policy::ports::{PORTS, Ports, Protocol};
use crate::policy::{Direction, NetworkPolicy};

/// `no-enforcing-cni`: once, at the DaemonSet where that is there, otherwise at the first policy that is in vain.
pub(super) fn inventory(inventory: &Inventory, found: &mut Vec<Finding>) {
    if inventory.cluster.enforces() != Some(false) {
        return;
    }
    let policies = || {
        let namespaces = inventory.namespaces.iter();
        namespaces.flat_map(|(name, namespace)| namespace.policies.iter().map(move |written| (name, &written.policy)))
    };
    let Some((namespace, first)) = policies().next() else { return };
    let daemon_set = inventory.cluster.cni.iter().find_map(|plugin| plugin.daemon_set.as_ref());
    let object = match daemon_set {
        Some((namespace, name)) => {
            Object { kind: "DaemonSet".to_owned(), namespace: namespace.clone(), name: name.clone() }
        }
        None => Object::policy(namespace, &first.name),
    };
    let names: Vec<&str> = inventory.cluster.cni.iter().map(|plugin| plugin.cni.as_str()).collect();
    let plugin = match names.as_slice() {
        ["none"] => "no network plugin of this cluster enforces".to_owned(),
        names => format!("the network plugin {} does not enforce", names.join(" and ")),
    };
    let count = policies().count();
    let message = format!(
        "{plugin} NetworkPolicies here: everybody can reach everybody, as if {} not there",
        if count == 1 { "this policy were".to_owned() } else { format!("these {count} policies were") }
    );
    let help = match inventory.cluster.cni.first().map(|plugin| plugin.cni) {
        Some(Cni::AwsVpc) => "set enableNetworkPolicy to \"true\" in the configuration of the VPC CNI",
        Some(Cni::KubeRouter) => "run kube-router with --run-firewall=true",
        Some(Cni::Cilium) => "take enable-policy: never out of the ConfigMap cilium-config",
        Some(Cni::Flannel) => {
            "install Calico beside flannel (canal), or another plugin that enforces, such as Calico or Cilium"
        }
        _ => NO_ENFORCING_CNI.fix,
    };
    found.push(Finding::new(&NO_ENFORCING_CNI, object, message).help(help));
}

/// The plugin that would have to obey, if none is known that does.
fn lacking(cluster: &Cluster, feature: impl Fn(&Plugin) -> Option<bool>) -> Option<Cni> {
    let enforcing = || cluster.cni.iter().filter(|plugin| plugin.enforces != Some(false));
    let first = enforcing().next()?;
    enforcing().all(|plugin| feature(plugin) == Some(false)).then_some(first.cni)
}

/// `cni-feature`.
pub(super) fn policy(policy: &NetworkPolicy, namespace: &str, cluster: &Cluster, found: &mut Vec<Finding>) {
    let without_ranges = lacking(cluster, |plugin| plugin.end_port);
    let without_sctp = lacking(cluster, |plugin| plugin.sctp);
    if without_ranges.is_none() && without_sctp.is_none() {
        return;
    }
    let mut of_policy = Vec::new();
    for direction in Direction::BOTH {
        for (i, rule) in policy.spec.rules(direction).unwrap_or_default().iter().enumerate() {
            for (j, entry) in rule.ports.iter().flatten().enumerate() {
                let path = format!("spec.{direction}[{i}].ports[{j}]");
                let object = || Object::policy(namespace, &policy.name);
                if let (Some(cni), Ports::Range(protocol, from, to)) = (without_ranges, entry)
                    && from < to
                    && (*from, *to) != PORTS
                {
                    let message = format!(
                        "{cni} does not read endPort: of {protocol} {from} to {to} it lets port {from} through, and no other"
                    );
                    of_policy.push(
                        Finding::new(&CNI_FEATURE, object(), message)
                            .at(format!("{path}.endPort"))
                            .help("list the ports one by one")
                            .snippet(format!(
                                "- protocol: {protocol}\n  port: {from}\n- protocol: {protocol}\n  port: {}\n# and so on, to {to}\n",
                                from.saturating_add(1)
                            )),
                    );
                }
                if let (Some(cni), Ports::Range(Protocol::Sctp, ..) | Ports::Named(Protocol::Sctp, _)) =
                    (without_sctp, entry)
                {
                    let message = format!("{cni} does not let SCTP through by policies here, whatever this rule says");
                    let help = match cni {
                        Cni::Cilium => "switch SCTP on in Cilium with sctp.enabled=true, or use TCP",
                        _ => "use TCP, or a network plugin that knows SCTP, such as Calico",
                    };
                    of_policy
                        .push(Finding::new(&CNI_FEATURE, object(), message).at(format!("{path}.protocol")).help(help));
                }
            }
        }
    }
    of_policy.truncate(ENOUGH);
    found.append(&mut of_policy);
}
