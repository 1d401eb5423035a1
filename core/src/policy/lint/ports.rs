//! Ports: `protocol-implicit`, how they are written; `named-port-unresolved`, names that stand for none.

use serde_json::json;

use super::catalogue::{NAMED_PORT_UNRESOLVED, PROTOCOL_IMPLICIT};
use super::{ENOUGH, Finding, Fix, Object, dangling, pods};
use crate::inventory::{ContainerPort, Inventory, Workload};
use crate::policy::parse::Notes;
use crate::policy::ports::{Ports, Protocol};
use crate::policy::{Direction, NetworkPolicy, Peer, Rule};

/// `protocol-implicit`.
pub(super) fn policy(policy: &NetworkPolicy, notes: &Notes, namespace: &str, found: &mut Vec<Finding>) {
    for path in &notes.implicit_protocols {
        let mut finding = Finding::new(
            &PROTOCOL_IMPLICIT,
            Object::policy(namespace, &policy.name),
            "the port has no protocol, so it means TCP alone: UDP and SCTP to it are not let through",
        )
        .at(path.clone())
        .snippet("protocol: TCP\n");
        if let Some(patch) = pods::add(&format!("{path}.protocol"), &json!("TCP")) {
            finding = finding.fix(Fix::Patch(patch));
        }
        found.push(finding);
    }
}

/// `named-port-unresolved`, over all policies of an inventory.
///
/// A name is judged where pods are known that the rule leads to, and none of them has a port of this name and protocol;
/// in a namespace without workloads, or where not every namespace is known that is selected, it is not. To addresses a name never leads.
pub(super) fn inventory(inventory: &Inventory, found: &mut Vec<Finding>) {
    for (name, namespace) in &inventory.namespaces {
        for written in &namespace.policies {
            let policy = &written.policy;
            let mut of_policy = Vec::new();
            for direction in Direction::BOTH {
                for (i, rule) in policy.spec.rules(direction).unwrap_or_default().iter().enumerate() {
                    for (j, entry) in rule.ports.iter().flatten().enumerate() {
                        if let Ports::Named(protocol, port) = entry {
                            let place = Place { inventory, namespace: name, policy, direction, i, j };
                            place.judge(rule, *protocol, port, &mut of_policy);
                        }
                    }
                }
            }
            of_policy.truncate(ENOUGH);
            found.append(&mut of_policy);
        }
    }
}

struct Place<'a> {
    inventory: &'a Inventory,
    namespace: &'a str,
    policy: &'a NetworkPolicy,
    direction: Direction,
    i: usize,
    j: usize,
}

impl Place<'_> {
    fn judge(&self, rule: &Rule, protocol: Protocol, port: &str, found: &mut Vec<Finding>) {
        let Self { direction, i, j, .. } = self;
        let path = format!("spec.{direction}[{i}].ports[{j}].port");
        let peers = rule.peers.as_deref().unwrap_or_default();
        if *direction == Direction::Egress
            && let Some(block) = peers.iter().position(|peer| matches!(peer, Peer::Block { .. }))
        {
            let message = format!(
                "the port is named {port:?}, and names belong to pods: {} can't reach the addresses of to[{block}] by it",
                pods::who(&self.policy.spec.pods)
            );
            found.push(self.finding(path.clone(), message, "give the port's number".to_owned(), None));
            if peers.iter().all(|peer| matches!(peer, Peer::Block { .. })) {
                return;
            }
        }
        let reached = self.reached(peers);
        if reached.is_empty() || reached.iter().any(|workload| has(workload, protocol, port)) {
            return;
        }
        // Some pods may have the port all the same that the inventory does not hold, so this is said of those that it does.
        let message = format!(
            "no container of {} has a {protocol} port named {port:?}, so this lets nothing through to {}",
            pods::names(&reached),
            if reached.len() == 1 { "it" } else { "them" }
        );
        let mut others: Vec<(String, u16)> = reached
            .iter()
            .flat_map(|workload| &workload.ports)
            .filter(|known| known.protocol == protocol)
            .map(|known| (known.name.clone(), known.number))
            .collect();
        others.sort();
        others.dedup();
        let of_protocol = |known: &&ContainerPort| known.name == port && known.protocol != protocol;
        let other_protocol = reached.iter().flat_map(|workload| &workload.ports).find(of_protocol);
        if let Some(known) = other_protocol {
            let has = known.protocol;
            let help = format!("the containers' port {port:?} ({}) is {has}: write protocol: {has}", known.number);
            let snippet = format!("- protocol: {has}\n  port: {}\n", pods::yaml(port));
            found.push(self.finding(path, message, help, Some(snippet)));
            return;
        }
        let help = if others.is_empty() {
            format!("give the containers a port named {port:?}, or write the port's number")
        } else {
            let others: Vec<String> = others
                .iter()
                .take(5)
                .map(|(name, number)| if name.is_empty() { number.to_string() } else { format!("{name} ({number})") })
                .collect();
            format!("the containers have {}; write one of these", others.join(", "))
        };
        // With one port to choose from there is nothing to decide for the eye, but it may be the other side that is wrong.
        let snippet = others.first().map(|(name, number)| {
            let port = if name.is_empty() { number.to_string() } else { name.clone() };
            format!("- protocol: {protocol}\n  port: {port}\n")
        });
        found.push(self.finding(path, message, help, snippet));
    }

    /// The workloads that the rule leads to; none where it leads to others too that are not known, which the name may be
    /// meant for.
    fn reached(&self, peers: &[Peer]) -> Vec<&Workload> {
        let own = self.inventory.namespaces.get(self.namespace);
        if self.direction == Direction::Ingress {
            let selected = own.iter().flat_map(|namespace| &namespace.workloads);
            return selected.filter(|workload| self.policy.spec.pods.matches(&workload.labels)).collect();
        }
        let mut reached: Vec<&Workload> = Vec::new();
        for peer in peers {
            let Peer::Pods { namespaces: selector, pods } = peer else { continue };
            let selects = |workload: &&Workload| pods.as_ref().is_none_or(|pods| pods.matches(&workload.labels));
            match selector {
                None => {
                    let there = own.iter().flat_map(|namespace| &namespace.workloads);
                    reached.extend(there.filter(selects));
                }
                Some(selector) if !dangling::are_known(self.inventory, selector) => return Vec::new(),
                Some(selector) => {
                    let there = self.inventory.selected(selector).into_iter();
                    reached.extend(there.flat_map(|(_, namespace)| &namespace.workloads).filter(selects));
                }
            }
        }
        reached
    }

    fn finding(&self, path: String, message: String, help: String, snippet: Option<String>) -> Finding {
        let object = Object::policy(self.namespace, &self.policy.name);
        let finding = Finding::new(&NAMED_PORT_UNRESOLVED, object, message).at(path).help(help);
        Finding { snippet, ..finding }
    }
}

fn has(workload: &Workload, protocol: Protocol, name: &str) -> bool {
    workload.ports.iter().any(|port| port.protocol == protocol && port.name == name)
}
