//! Workloads that mean the same, and what each of them reaches.
//!
//! A workload's meaning here is what its own policies let through, whichever they are and however they are written; which
//! peers of rules select it; and what the names of ports that rules use stand for at it. So pods of a thousand namespaces
//! with the same baseline are one class, and what is decided is decided once for each pair of classes that meet at all.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use ipnet::IpNet;

use super::index::{Index, Item, Scope};
use super::outside::{self, Open};
use super::{Member, PortSet};
use crate::inventory::{Inventory, Workload};
use crate::policy::ports::{Ports, Protocol};
use crate::policy::selectors::Labels;
use crate::policy::{Direction, NetworkPolicy, Peer, Rule};

/// Numbers things that are equal once.
#[derive(Debug)]
struct Interned<T> {
    known: HashMap<T, usize>,
    all: Vec<T>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self { known: HashMap::new(), all: Vec::new() }
    }
}

impl<T: Clone + Eq + Hash> Interned<T> {
    fn add(&mut self, thing: T) -> usize {
        *self.known.entry(thing).or_insert_with_key(|thing| {
            self.all.push(thing.clone());
            self.all.len() - 1
        })
    }
}

/// The `ports` of a rule: those with numbers, and the names, which stand for something at the destination.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct RulePorts<'a> {
    numbers: PortSet,
    names: Vec<&'a Ports>,
}

impl<'a> RulePorts<'a> {
    fn all() -> Self {
        Self { numbers: PortSet::all(), names: Vec::new() }
    }

    fn of(rule: &'a Rule) -> Self {
        let numbers = PortSet::at(rule.ports.as_deref(), None);
        let mut names: Vec<&Ports> = Vec::new();
        if !numbers.is_all() {
            names.extend(rule.ports.iter().flatten().filter(|entry| matches!(entry, Ports::Named(..))));
            names.sort_unstable();
            names.dedup();
        }
        Self { numbers, names }
    }

    fn at(&self, destination: Option<&Workload>) -> PortSet {
        if self.names.is_empty() {
            return self.numbers.clone();
        }
        let named = |entry: &&Ports| PortSet::at(Some(std::slice::from_ref(*entry)), destination);
        let sets: Vec<PortSet> = self.names.iter().map(named).chain([self.numbers.clone()]).collect();
        PortSet::together(&sets)
    }
}

/// What rules of one direction let through: numbers of [`Classes::ports`], beside those of what they are open to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Rules {
    /// To every peer.
    wide: Vec<usize>,
    /// To the pods of an item.
    items: Vec<(usize, usize)>,
    /// To a block of addresses.
    blocks: Vec<(usize, usize)>,
}

impl Rules {
    fn extend(&mut self, other: &Self) {
        self.wide.extend(&other.wide);
        self.items.extend(&other.items);
        self.blocks.extend(&other.blocks);
    }

    /// In the one form that all lists of the same things have.
    fn settled(mut self) -> Self {
        if self.wide.contains(&ALL) {
            return Self { wide: vec![ALL], ..Self::default() };
        }
        self.wide.sort_unstable();
        self.wide.dedup();
        for pairs in [&mut self.items, &mut self.blocks] {
            pairs.sort_unstable();
            pairs.dedup();
        }
        self
    }
}

/// The number of all ports.
const ALL: usize = 0;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Meaning {
    egress: Rules,
    ingress: Rules,
    /// The items that select it.
    items: Vec<usize>,
    /// What each name stands for at it that rules use.
    names: Vec<(Protocol, usize, u16)>,
}

/// Workloads that mean the same.
#[derive(Debug)]
pub(super) struct Class<'a> {
    /// In order; at least one.
    pub(super) members: Vec<usize>,
    sample: Member<'a>,
    meaning: Meaning,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Classes<'a> {
    pub(super) all: Vec<Class<'a>>,
    /// The class of each workload.
    pub(super) of: Vec<usize>,
    ports: Interned<RulePorts<'a>>,
    items: Interned<Item<'a>>,
    blocks: Interned<(IpNet, &'a [IpNet])>,
    /// The classes that each item selects.
    selected: Vec<Vec<usize>>,
    /// The classes that let in pods of each item.
    letting_in: Vec<Vec<usize>>,
    /// The classes that let in every peer on some port.
    open: Vec<usize>,
}

/// A policy, with what its rules come to.
struct Compiled<'a> {
    policy: &'a NetworkPolicy,
    egress: Option<Rules>,
    ingress: Option<Rules>,
}

impl<'a> Classes<'a> {
    /// `members` are those of the inventory, in order.
    pub(super) fn new(inventory: &'a Inventory, members: &[Member<'a>]) -> Self {
        let mut classes = Self::default();
        classes.ports.add(RulePorts::all());
        let mut sides: Vec<[Rules; 2]> = Vec::with_capacity(members.len());
        for of in members.chunk_by(|a, b| a.namespace == b.namespace) {
            let Some(namespace) = of.first().map(|member| member.namespace) else { continue };
            let written = inventory.namespaces.get(namespace).into_iter().flat_map(|found| &found.policies);
            let policies: Vec<Compiled<'a>> =
                written.map(|written| classes.compile(namespace, &written.policy)).collect();
            sides.extend(of.iter().map(|member| {
                let selects = |policy: &&Compiled<'_>| policy.policy.spec.pods.matches(&member.workload.labels);
                let own: Vec<&Compiled<'_>> =
                    policies.iter().filter(|_| !member.workload.host_network).filter(selects).collect();
                let side = |rules: &mut dyn Iterator<Item = &Rules>| {
                    let sum = rules.fold(None, |sum: Option<Rules>, rules| {
                        let mut sum = sum.unwrap_or_default();
                        sum.extend(rules);
                        Some(sum)
                    });
                    sum.unwrap_or_else(|| Rules { wide: vec![ALL], ..Rules::default() }).settled()
                };
                [
                    side(&mut own.iter().filter_map(|policy| policy.egress.as_ref())),
                    side(&mut own.iter().filter_map(|policy| policy.ingress.as_ref())),
                ]
            }));
        }
        classes.group(inventory, members, sides);
        classes
    }

    fn compile(&mut self, namespace: &'a str, policy: &'a NetworkPolicy) -> Compiled<'a> {
        let mut rules = |direction| {
            policy.spec.rules(direction).map(|written| {
                let mut rules = Rules::default();
                for rule in written {
                    self.rule(namespace, rule, &mut rules);
                }
                rules
            })
        };
        Compiled { policy, egress: rules(Direction::Egress), ingress: rules(Direction::Ingress) }
    }

    fn rule(&mut self, namespace: &'a str, rule: &'a Rule, rules: &mut Rules) {
        let ports = self.ports.add(RulePorts::of(rule));
        let Some(peers) = &rule.peers else { return rules.wide.push(ports) };
        for peer in peers {
            match peer {
                Peer::Pods { namespaces, pods } => {
                    let scope = namespaces.as_ref().map_or(Scope::Own(namespace), Scope::Selected);
                    let pods = pods.as_ref().filter(|pods| !pods.selects_all());
                    rules.items.push((self.items.add(Item { scope, pods }), ports));
                }
                Peer::Block { cidr, except } => {
                    rules.blocks.push((self.blocks.add((*cidr, &**except)), ports));
                }
            }
        }
    }

    fn group(&mut self, inventory: &'a Inventory, members: &[Member<'a>], sides: Vec<[Rules; 2]>) {
        let labels = |name: &str| inventory.namespaces.get(name).map(|namespace| &namespace.labels);
        let items = self.selecting(members, labels);
        let names: HashMap<&Ports, usize> = {
            let used: HashSet<&Ports> = self.ports.all.iter().flat_map(|ports| ports.names.iter().copied()).collect();
            used.into_iter().enumerate().map(|(number, name)| (name, number)).collect()
        };
        let mut known: HashMap<Meaning, usize> = HashMap::new();
        for (at, ((member, [egress, ingress]), items)) in members.iter().zip(sides).zip(items).enumerate() {
            let meaning = Meaning { egress, ingress, items, names: stands_for(member.workload, &names) };
            let class = *known.entry(meaning).or_insert_with_key(|meaning| {
                self.all.push(Class { members: Vec::new(), sample: *member, meaning: meaning.clone() });
                self.all.len() - 1
            });
            self.of.push(class);
            if let Some(class) = self.all.get_mut(class) {
                class.members.push(at);
            }
        }
        self.selected = vec![Vec::new(); self.items.all.len()];
        self.letting_in = vec![Vec::new(); self.items.all.len()];
        for (number, class) in self.all.iter().enumerate() {
            for &item in &class.meaning.items {
                if let Some(selected) = self.selected.get_mut(item) {
                    selected.push(number);
                }
            }
            for &(item, _) in &class.meaning.ingress.items {
                // Of an item with several ports, once.
                if let Some(letting_in) = self.letting_in.get_mut(item).filter(|list| list.last() != Some(&number)) {
                    letting_in.push(number);
                }
            }
            if !class.meaning.ingress.wide.is_empty() {
                self.open.push(number);
            }
        }
    }

    /// The items that select each workload, which may be of another inventory; in order. `labels` are those of their
    /// namespaces.
    pub(super) fn selecting(
        &self,
        members: &[Member<'a>],
        labels: impl Fn(&'a str) -> Option<&'a Labels>,
    ) -> Vec<Vec<usize>> {
        let mut index = Index::new(members, labels);
        let mut selecting = vec![Vec::new(); members.len()];
        for (number, item) in self.items.all.iter().enumerate() {
            for at in index.matching(item) {
                if let Some(items) = selecting.get_mut(at) {
                    items.push(number);
                }
            }
        }
        selecting
    }

    /// What the rules of a side let through to or from pods that the items select, at a destination.
    fn open_to(&self, rules: &Rules, items: &[usize], destination: &Workload) -> PortSet {
        let meant = rules.items.iter().filter(|(item, _)| items.binary_search(item).is_ok()).map(|(_, ports)| ports);
        let mut numbers: Vec<usize> = rules.wide.iter().copied().chain(meant.copied()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let ports = numbers.into_iter().filter_map(|number| self.ports.all.get(number));
        PortSet::together(&ports.map(|ports| ports.at(Some(destination))).collect::<Vec<_>>())
    }

    /// The ports on which a class lets in pods that the items select.
    pub(super) fn lets_in(&self, class: usize, items: &[usize]) -> PortSet {
        self.all
            .get(class)
            .map_or_else(PortSet::none, |class| self.open_to(&class.meaning.ingress, items, class.sample.workload))
    }

    /// The classes that a class reaches, each with the ports, in order.
    pub(super) fn reached(&self, class: usize) -> Vec<(usize, PortSet)> {
        let Some(from) = self.all.get(class) else { return Vec::new() };
        let egress = &from.meaning.egress;
        let lists = |of: &'_ [Vec<usize>], items: &mut dyn Iterator<Item = usize>| -> Vec<usize> {
            items.filter_map(|item| of.get(item)).flatten().copied().collect()
        };
        let size = |of: &[Vec<usize>], items: &mut dyn Iterator<Item = usize>| -> usize {
            items.filter_map(|item| of.get(item)).map(Vec::len).sum()
        };
        // Whichever is less: those that it may send to, or those that let it in.
        let targets = || egress.items.iter().map(|(item, _)| *item);
        let own = || from.meaning.items.iter().copied();
        let in_reach = if egress.wide.is_empty() { size(&self.selected, &mut targets()) } else { usize::MAX };
        let mut among = if in_reach <= self.open.len() + size(&self.letting_in, &mut own()) {
            lists(&self.selected, &mut targets())
        } else {
            let mut among = lists(&self.letting_in, &mut own());
            among.extend(&self.open);
            among
        };
        among.sort_unstable();
        among.dedup();
        let between = |class: usize| {
            let to = self.all.get(class)?;
            let ingress = self.open_to(&to.meaning.ingress, &from.meaning.items, to.sample.workload);
            if ingress.is_empty() {
                return None;
            }
            let ports = self.open_to(egress, &to.meaning.items, to.sample.workload).intersection(&ingress);
            (!ports.is_empty()).then_some((class, ports))
        };
        among.into_iter().filter_map(between).collect()
    }

    /// What a class reaches outside of the cluster, or is reached from there.
    pub(super) fn outside(&self, class: usize, direction: Direction) -> Vec<Open> {
        let Some(class) = self.all.get(class) else { return Vec::new() };
        let (rules, destination) = match direction {
            Direction::Egress => (&class.meaning.egress, None),
            Direction::Ingress => (&class.meaning.ingress, Some(class.sample.workload)),
        };
        let ports = |number: usize| self.ports.all.get(number).map(|ports| ports.at(destination));
        let mut open: Vec<Open> = rules
            .wide
            .iter()
            .filter_map(|&number| ports(number))
            .flat_map(|ports| outside::everywhere(&ports))
            .collect();
        for &(block, number) in &rules.blocks {
            if let (Some((cidr, except)), Some(ports)) = (self.blocks.all.get(block), ports(number)) {
                open.extend(outside::block(cidr, except, &ports));
            }
        }
        open.retain(|(.., ports)| !ports.is_empty());
        open
    }
}

/// What the names that rules use stand for at a workload, by the numbers of the names.
fn stands_for(workload: &Workload, names: &HashMap<&Ports, usize>) -> Vec<(Protocol, usize, u16)> {
    if workload.host_network || names.is_empty() {
        return Vec::new();
    }
    let mut stands: Vec<(Protocol, usize, u16)> = workload
        .ports
        .iter()
        .filter_map(|port| {
            let name = names.get(&Ports::Named(port.protocol, port.name.clone()))?;
            Some((port.protocol, *name, port.number))
        })
        .collect();
    stands.sort_unstable();
    stands.dedup();
    stands
}
