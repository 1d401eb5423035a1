//! What a set of policies together lets through: which wide peers, on which ports.

use std::collections::HashMap;

use crate::policy::cidr::{self, Family};
use crate::policy::ports::{self, Ports, Protocol};
use crate::policy::selectors::{KeySet, NAMESPACE_NAME_LABEL, Selector};
use crate::policy::space::{self, Box, Budget, Capped, Owner, Set, Space};
use crate::policy::{Direction, NetworkPolicy, Peer, Rule};

/// A kind of peer that nobody names one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Wide {
    /// Every pod of every namespace.
    Cluster,
    /// Every IPv4 address.
    V4,
    /// Every IPv6 address.
    V6,
}

impl Wide {
    pub(super) const ALL: [Self; 3] = [Self::Cluster, Self::V4, Self::V6];
}

/// What one rule lets through on the ports of its group.
struct Contribution<'a> {
    policy: usize,
    any: bool,
    pods: Vec<Box<'a>>,
    v4: Vec<cidr::Range>,
    v6: Vec<cidr::Range>,
}

/// Ports that no rule can tell apart, with the rules that allow them.
struct Group<'a> {
    ports: Vec<Ports>,
    contributions: Vec<Contribution<'a>>,
    /// For each kind of wide peer, the policies that could help to let it through.
    helpers: [Set; 3],
}

/// The union of what policies allow in one direction.
pub(super) struct Union<'a> {
    groups: Vec<Group<'a>>,
    memo: HashMap<(Wide, usize, Set), bool>,
    /// Whether ports were not told apart because there are too many: all of them then count as open to every rule.
    pub(super) capped: bool,
}

/// How many entries of `ports` times classes of ports are looked at. Past it ports are not told apart: a thousand
/// entries that name a thousand distinct ports still are.
const PORT_WORK: usize = 4_000_000;

/// The peers of policies that name no namespace: their own.
pub(super) fn own_namespace(namespace: &str) -> KeySet {
    KeySet::one_of([namespace.to_owned()])
}

fn contribution<'a>(policy: usize, rule: &'a Rule, own: &'a KeySet) -> Contribution<'a> {
    let mut made = Contribution { policy, any: rule.peers.is_none(), pods: Vec::new(), v4: Vec::new(), v6: Vec::new() };
    for peer in rule.peers.iter().flatten() {
        match peer {
            Peer::Pods { namespaces, pods } => {
                let mut selector: Box<'a> = match namespaces {
                    Some(namespaces) => namespaces.keys().map(|(key, set)| (Owner::Namespace, key, set)).collect(),
                    None => vec![(Owner::Namespace, NAMESPACE_NAME_LABEL, own)],
                };
                selector.extend(pods.iter().flat_map(Selector::keys).map(|(key, set)| (Owner::Pod, key, set)));
                made.pods.push(selector);
            }
            Peer::Block { cidr: block, except } => match cidr::family(block) {
                Family::V4 => made.v4.extend(cidr::remaining(block, except)),
                Family::V6 => made.v6.extend(cidr::remaining(block, except)),
            },
        }
    }
    made
}

impl<'a> Union<'a> {
    /// The union of these policies. None are left out: which ones count is asked with each question.
    pub(super) fn new(policies: &[&'a NetworkPolicy], own: &'a KeySet, direction: Direction) -> Self {
        let every: Vec<Ports> = Protocol::ALL.into_iter().map(Ports::every).collect();
        let rules: Vec<(usize, &'a Rule)> = policies
            .iter()
            .enumerate()
            .flat_map(|(index, policy)| {
                policy.spec.rules(direction).into_iter().flatten().map(move |rule| (index, rule))
            })
            .collect();
        let entries: usize = rules.iter().map(|(_, rule)| rule.ports.as_ref().map_or(1, Vec::len)).sum();
        let mut classes = ports::classes(rules.iter().flat_map(|(_, rule)| rule.ports.iter().flatten()));
        let capped = entries.saturating_mul(classes.len()) > PORT_WORK;
        if capped {
            classes.clone_from(&every);
        }
        let mut grouped: Vec<(Vec<usize>, Vec<Ports>)> = Vec::new();
        let mut place: HashMap<Vec<usize>, usize> = HashMap::new();
        for class in classes {
            let active: Vec<usize> = rules
                .iter()
                .enumerate()
                .filter(|(_, (_, rule))| {
                    capped || rule.ports.as_ref().is_none_or(|ports| ports.iter().any(|entry| entry.includes(&class)))
                })
                .map(|(index, _)| index)
                .collect();
            let at = *place.entry(active.clone()).or_insert_with(|| {
                grouped.push((active, Vec::new()));
                grouped.len() - 1
            });
            grouped[at].1.push(class);
        }
        let groups = grouped
            .into_iter()
            .map(|(active, ports)| {
                let contributions: Vec<_> = active
                    .into_iter()
                    .map(|index| {
                        let (policy, rule) = rules[index];
                        contribution(policy, rule, own)
                    })
                    .collect();
                let helpers = Wide::ALL.map(|wide| {
                    let mut set = Set::with_capacity(policies.len());
                    set.extend(contributions.iter().filter(|c| c.any || c.helps(wide)).map(|c| c.policy));
                    set
                });
                Group { ports, contributions, helpers }
            })
            .collect();
        Self { groups, memo: HashMap::new(), capped }
    }

    /// How many groups of ports there are.
    pub(super) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// The ports of a group.
    pub(super) fn ports(&self, group: usize) -> &[Ports] {
        &self.groups[group].ports
    }

    /// Whether nothing here can let any wide peer through, so that there is nothing to ask.
    pub(super) fn is_narrow(&self) -> bool {
        self.groups.iter().all(|group| {
            group
                .contributions
                .iter()
                .all(|c| !c.any && c.v4.is_empty() && c.v6.is_empty() && !c.pods.iter().any(space::admits_unmentioned))
        })
    }

    /// Whether these policies together let a wide peer through on the ports of a group.
    pub(super) fn lets_through(
        &mut self,
        wide: Wide,
        group: usize,
        policies: &Set,
        budget: &mut Budget,
    ) -> Result<bool, Capped> {
        let here = &self.groups[group];
        let mut helping = here.helpers[wide as usize].clone();
        helping.intersect_with(policies);
        budget.spend(1 + here.contributions.len())?;
        if helping.is_clear() {
            return Ok(false);
        }
        let asked = (wide, group, helping);
        if let Some(known) = self.memo.get(&asked) {
            return Ok(*known);
        }
        let counted: Vec<&Contribution<'_>> =
            here.contributions.iter().filter(|c| asked.2.contains(c.policy)).collect();
        let answer = counted.iter().any(|c| c.any)
            || match wide {
                Wide::Cluster => every_pod(&counted, budget)?,
                Wide::V4 => every_address(&counted, |c| &c.v4, Family::V4, budget)?,
                Wide::V6 => every_address(&counted, |c| &c.v6, Family::V6, budget)?,
            };
        self.memo.insert(asked, answer);
        Ok(answer)
    }

    /// Whether these policies together let a wide peer through on every port.
    pub(super) fn lets_through_on_all_ports(
        &mut self,
        wide: Wide,
        policies: &Set,
        budget: &mut Budget,
    ) -> Result<bool, Capped> {
        for group in 0..self.groups.len() {
            // A group of names only adds nothing to the numbers, which are all ports.
            let numbers = self.groups[group].ports.iter().any(|ports| matches!(ports, Ports::Range(..)));
            if numbers && !self.lets_through(wide, group, policies, budget)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Contribution<'_> {
    fn helps(&self, wide: Wide) -> bool {
        match wide {
            Wide::Cluster => !self.pods.is_empty(),
            Wide::V4 => !self.v4.is_empty(),
            Wide::V6 => !self.v6.is_empty(),
        }
    }
}

fn every_pod(counted: &[&Contribution<'_>], budget: &mut Budget) -> Result<bool, Capped> {
    let boxes: Vec<Box<'_>> = counted.iter().flat_map(|c| c.pods.iter().cloned()).collect();
    if boxes.iter().any(Vec::is_empty) {
        return Ok(true);
    }
    budget.spend(boxes.len())?;
    if !boxes.iter().any(space::admits_unmentioned) {
        return Ok(false);
    }
    let space = Space::new(&boxes, budget)?;
    let mut all = Set::with_capacity(boxes.len());
    all.insert_range(..);
    Ok(space.escape(&all, budget)?.is_none())
}

fn every_address(
    counted: &[&Contribution<'_>],
    ranges: impl for<'c> Fn(&'c Contribution<'_>) -> &'c Vec<cidr::Range>,
    family: Family,
    budget: &mut Budget,
) -> Result<bool, Capped> {
    let ranges: Vec<cidr::Range> = counted.iter().flat_map(|c| ranges(c).iter().copied()).collect();
    budget.spend(ranges.len() / 16)?;
    Ok(cidr::cover(ranges, family))
}
