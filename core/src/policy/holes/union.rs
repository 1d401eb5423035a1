//! What a set of policies together lets through: which classes of strangers, on which ports.

use std::collections::HashMap;

use super::{Peers, Share};
use crate::policy::cidr::{self, Family};
use crate::policy::criteria::{Criteria, Network};
use crate::policy::ports::{self, Ports, Protocol};
use crate::policy::selectors::{NAMESPACE_NAME_LABEL, Selector};
use crate::policy::space::{Budget, Capped, Set};
use crate::policy::{Direction, NetworkPolicy, Peer, Rule};
use crate::vocabulary::PREFIX;

/// The classes of strangers that are let in, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Classes(u8);

impl Classes {
    const CLUSTER: Self = Self(1);
    const V4: Self = Self(2);
    const V6: Self = Self(4);
    const ALL: Self = Self(7);

    fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether all that `peers` stands for are in.
    pub(super) fn has(self, peers: Peers) -> bool {
        let wanted = of(peers).0;
        self.0 & wanted == wanted
    }

    fn is_disjoint(self, other: Self) -> bool {
        self.0 & other.0 == 0
    }

    /// Those of `self` that are not in `other`.
    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// The classes that `peers` stands for.
fn of(peers: Peers) -> Classes {
    match peers {
        Peers::Any => Classes::ALL,
        Peers::Cluster => Classes::CLUSTER,
        Peers::Ipv4 => Classes::V4,
        Peers::Ipv6 => Classes::V6,
    }
}

/// The three classes, one by one.
const EACH: [Classes; 3] = [Classes::CLUSTER, Classes::V4, Classes::V6];

/// On how many ports each class, and all three together, are let in: by [`Peers`].
pub(super) type Counts = [u32; 4];

/// What one rule lets through on its ports.
struct Contribution {
    policy: usize,
    /// The classes that it has alone.
    alone: Classes,
    /// The classes that it has alone, or that its blocks can have together with those of other rules.
    part: Classes,
    /// The addresses of its blocks, merged. Empty where it has every class alone.
    v4: Vec<cidr::Range>,
    v6: Vec<cidr::Range>,
}

/// Ports that no rule can tell apart, with the rules that allow them.
struct Group {
    ports: Vec<Ports>,
    /// How many ports that are.
    count: u32,
    /// The rules that allow these ports and not all ports: those are [`Union::on_all_ports`].
    rules: Vec<usize>,
    /// For each class, the policies that could help to let it in.
    helpers: [Set; 3],
}

/// The union of what policies allow in one direction.
pub(super) struct Union {
    measures: Measures,
    contributions: Vec<Contribution>,
    on_all_ports: Vec<usize>,
    groups: Vec<Group>,
    /// For each policy, the groups of the rules that are not for all ports.
    groups_of: Vec<Vec<usize>>,
    /// How many ports all groups have.
    total: u32,
    /// For each class, the policies that could help to let it in on any ports.
    helpers: [Set; 3],
    /// The policies that could help with any class.
    helping: Set,
    /// Answers by the policies that help.
    memo: HashMap<Set, Counts>,
    /// Whether ports were not told apart because there are too many: all of them then count as open to every rule.
    pub(super) capped: bool,
}

/// How much of the addresses is wide.
struct Measures {
    v4: u128,
    v6: u128,
    networks: Vec<Network>,
}

/// How many pairs of a rule and a class of ports that it allows are looked at. Past it ports are not told apart.
const PORT_WORK: usize = 100_000;

/// Whether a selector of namespaces admits one that nobody names: it has a name that no selector mentions, and no other
/// label. What is asked of Ringfence's own labels names no namespace, so it counts as met.
pub(in crate::policy) fn admits_unnamed_namespace(namespaces: &Selector) -> bool {
    !namespaces.is_unsatisfiable()
        && namespaces.keys().all(|(key, set)| match key {
            NAMESPACE_NAME_LABEL => set.admits_unmentioned(),
            _ => key.starts_with(PREFIX) || set.admits(None),
        })
}

/// Whether a selector of pods admits one that nobody names: each key is absent, or has a value that no selector mentions.
fn admits_unnamed_pod(pods: &Selector) -> bool {
    pods.keys().all(|(_, set)| set.admits(None) || set.admits_unmentioned())
}

/// Whether a peer lets in pods that nobody names, of namespaces that nobody names.
pub(in crate::policy) fn lets_in_strangers(peer: &Peer) -> bool {
    // Without a selector of namespaces it is the own namespace, which has a name.
    matches!(peer, Peer::Pods { namespaces: Some(namespaces), pods }
        if admits_unnamed_namespace(namespaces) && pods.as_ref().is_none_or(admits_unnamed_pod))
}

/// Whether ranges of a family hold more addresses than a limit.
fn are_more(ranges: &[cidr::Range], limit: u128, family: Family) -> bool {
    // What is not reached even if nothing overlaps need not be sorted.
    let sum = ranges.iter().fold(0u128, |sum, (from, to)| sum.saturating_add(to - from).saturating_add(1));
    sum > limit && cidr::held(ranges.to_vec(), family.every()) > limit
}

impl Measures {
    fn new(criteria: &Criteria) -> Self {
        Self {
            v4: criteria.wide.addresses(Family::V4),
            v6: criteria.wide.addresses(Family::V6),
            networks: criteria.networks(),
        }
    }

    /// The addresses of the blocks of some peers, as IPv4 and IPv6. Addresses of IPv6 that stand for IPv4 count as that,
    /// but for a block of which the others are wide by themselves: it is for IPv6. What counts is what its exceptions leave.
    fn addresses<'p>(&self, peers: impl Iterator<Item = &'p Peer>) -> (Vec<cidr::Range>, Vec<cidr::Range>) {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for peer in peers {
            let Peer::Block { cidr: block, except } = peer else { continue };
            let remaining = cidr::remaining(block, except);
            match cidr::family(block) {
                Family::V4 => v4.extend(remaining),
                Family::V6 => {
                    let (itself, embedded) = cidr::embedded(&remaining);
                    if are_more(&itself, self.v6, Family::V6) {
                        v6.extend(remaining);
                    } else {
                        v6.extend(itself);
                        v4.extend(embedded);
                    }
                }
            }
        }
        (cidr::merged(v4), cidr::merged(v6))
    }

    /// The classes that addresses have. They need not be merged.
    fn classes(&self, v4: &[cidr::Range], v6: &[cidr::Range]) -> Classes {
        let mut classes = Classes::default();
        if are_more(v4, self.v4, Family::V4) {
            classes.add(Classes::V4);
        }
        if are_more(v6, self.v6, Family::V6) {
            classes.add(Classes::V6);
        }
        let lets_in = |network: &Network| {
            let ranges = if network.family == Family::V4 { v4 } else { v6 };
            cidr::held(ranges.to_vec(), network.range) > network.limit
        };
        if self.networks.iter().any(lets_in) {
            classes.add(Classes::CLUSTER);
        }
        classes
    }

    /// The classes that addresses can have a part in.
    fn part(&self, v4: &[cidr::Range], v6: &[cidr::Range]) -> Classes {
        let mut part = Classes::default();
        if !v4.is_empty() {
            part.add(Classes::V4);
        }
        if !v6.is_empty() {
            part.add(Classes::V6);
        }
        let meets = |network: &Network| {
            let ranges = if network.family == Family::V4 { v4 } else { v6 };
            ranges.iter().any(|(from, to)| *from <= network.range.1 && network.range.0 <= *to)
        };
        if self.networks.iter().any(meets) {
            part.add(Classes::CLUSTER);
        }
        part
    }

    fn contribution(&self, policy: usize, rule: &Rule) -> Contribution {
        let Some(peers) = &rule.peers else {
            return Contribution {
                policy,
                alone: Classes::ALL,
                part: Classes::ALL,
                v4: vec![Family::V4.every()],
                v6: vec![Family::V6.every()],
            };
        };
        let (v4, v6) = self.addresses(peers.iter());
        let mut alone = self.classes(&v4, &v6);
        if peers.iter().any(lets_in_strangers) {
            alone.add(Classes::CLUSTER);
        }
        let mut part = self.part(&v4, &v6);
        part.add(alone);
        Contribution { policy, alone, part, v4, v6 }
    }
}

/// Classes of ports put together that the same rules allow, each with these rules, where rules for all ports are left
/// out; `None` past [`PORT_WORK`].
fn group(rules: &[(usize, &Rule)], classes: Vec<Ports>) -> Option<Vec<(Vec<usize>, Vec<Ports>)>> {
    let mut allowed: Vec<(usize, usize)> = Vec::new();
    let mut last_rule = vec![usize::MAX; classes.len()];
    let mut work = 0usize;
    for (index, (_, rule)) in rules.iter().enumerate() {
        for entry in rule.ports.iter().flatten() {
            let included = ports::included(&classes, entry);
            work += 8 + included[0].len() + included[1].len();
            if work > PORT_WORK {
                return None;
            }
            for class in included.into_iter().flatten() {
                if last_rule[class] != index {
                    last_rule[class] = index;
                    allowed.push((class, index));
                }
            }
        }
    }
    // Stable, so that the rules of each class stay in their order.
    allowed.sort_by_key(|(class, _)| *class);
    let mut rest = allowed.as_slice();
    let mut place: HashMap<Vec<usize>, usize> = HashMap::new();
    let mut grouped: Vec<(Vec<usize>, Vec<Ports>)> = Vec::new();
    let mut here: Vec<usize> = Vec::new();
    for (number, class) in classes.into_iter().enumerate() {
        let (of_class, others) = rest.split_at(rest.partition_point(|(class, _)| *class <= number));
        rest = others;
        here.clear();
        here.extend(of_class.iter().map(|(_, rule)| *rule));
        if let Some(&at) = place.get(&here) {
            grouped[at].1.push(class);
        } else {
            place.insert(here.clone(), grouped.len());
            grouped.push((here.clone(), vec![class]));
        }
    }
    Some(grouped)
}

/// How many ports these are. A name is one.
fn count(ports: &[Ports]) -> u32 {
    ports
        .iter()
        .map(|ports| match ports {
            Ports::Range(_, from, to) => u32::from(*to) - u32::from(*from) + 1,
            Ports::Named(..) => 1,
        })
        .sum()
}

impl Union {
    /// The union of these policies. None are left out: which ones count is asked with each question.
    pub(super) fn new(policies: &[&NetworkPolicy], direction: Direction, criteria: &Criteria) -> Self {
        let measures = Measures::new(criteria);
        let rules: Vec<(usize, &Rule)> = policies
            .iter()
            .enumerate()
            .flat_map(|(index, policy)| {
                policy.spec.rules(direction).into_iter().flatten().map(move |rule| (index, rule))
            })
            .collect();
        let contributions: Vec<Contribution> =
            rules.iter().map(|(policy, rule)| measures.contribution(*policy, rule)).collect();
        let classes = ports::classes(rules.iter().flat_map(|(_, rule)| rule.ports.iter().flatten()));
        let grouped = group(&rules, classes);
        let capped = grouped.is_none();
        let grouped =
            grouped.unwrap_or_else(|| vec![(Vec::new(), Protocol::ALL.into_iter().map(Ports::every).collect())]);
        let on_all_ports: Vec<usize> =
            (0..rules.len()).filter(|&index| capped || rules[index].1.ports.is_none()).collect();
        let help = |helpers: &mut [Set; 3], indices: &[usize]| {
            for contribution in indices.iter().map(|&index| &contributions[index]) {
                for (helpers, class) in helpers.iter_mut().zip(EACH) {
                    if !contribution.part.is_disjoint(class) {
                        helpers.insert(contribution.policy);
                    }
                }
            }
        };
        let mut always = EACH.map(|_| Set::with_capacity(policies.len()));
        help(&mut always, &on_all_ports);
        let mut helpers = always.clone();
        let mut groups_of: Vec<Vec<usize>> = vec![Vec::new(); policies.len()];
        let groups: Vec<Group> = grouped
            .into_iter()
            .enumerate()
            .map(|(number, (rules, ports))| {
                help(&mut helpers, &rules);
                let mut here = always.clone();
                help(&mut here, &rules);
                for rule in &rules {
                    let groups = &mut groups_of[contributions[*rule].policy];
                    if groups.last() != Some(&number) {
                        groups.push(number);
                    }
                }
                Group { count: count(&ports), ports, rules, helpers: here }
            })
            .collect();
        let mut helping = helpers[0].clone();
        helping.union_with(&helpers[1]);
        helping.union_with(&helpers[2]);
        let total = groups.iter().map(|group| group.count).sum();
        let memo = HashMap::new();
        Self { measures, contributions, on_all_ports, groups, groups_of, total, helpers, helping, memo, capped }
    }

    /// How many groups of ports there are.
    pub(super) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// How many ports there are, with the names that some rule has.
    pub(super) fn total(&self) -> u32 {
        self.total
    }

    /// The ports of a group.
    pub(super) fn ports(&self, group: usize) -> &[Ports] {
        &self.groups[group].ports
    }

    /// For each of the classes that `peers` stands for, the policies that could help to let it in, on the ports of a group
    /// or on any.
    pub(super) fn helpers(&self, peers: Peers, group: Option<usize>) -> impl Iterator<Item = &Set> {
        let helpers = group.map_or(&self.helpers, |group| &self.groups[group].helpers);
        helpers.iter().zip(EACH).filter(move |(_, class)| !class.is_disjoint(of(peers))).map(|(set, _)| set)
    }

    /// Whether nothing here can let a stranger in, even all of it together on one port: then there is nothing to ask.
    pub(super) fn is_narrow(&self) -> bool {
        if self.contributions.iter().any(|contribution| contribution.alone != Classes::default()) {
            return false;
        }
        let all = |ranges: fn(&Contribution) -> &Vec<cidr::Range>| -> Vec<cidr::Range> {
            self.contributions.iter().flat_map(|contribution| ranges(contribution).iter().copied()).collect()
        };
        self.measures.classes(&all(|c| &c.v4), &all(|c| &c.v6)) == Classes::default()
    }

    /// Whether a policy has a class that `peers` stands for on some port, by itself.
    pub(super) fn has_alone(&mut self, peers: Peers, policy: usize, budget: &mut Budget) -> Result<bool, Capped> {
        let mut alone = Set::with_capacity(self.groups_of.len());
        alone.insert(policy);
        let counts = self.counts(&alone, budget)?;
        let stands_for = |class: &Peers| !of(*class).is_disjoint(of(peers));
        Ok(Peers::EACH.into_iter().filter(stands_for).any(|class| counts[class as usize] > 0))
    }

    /// The classes that these policies let in on the ports of a group.
    pub(super) fn on(&self, group: usize, policies: &Set, budget: &mut Budget) -> Result<Classes, Capped> {
        self.of_rules(&self.groups[group].rules, policies, budget)
    }

    fn of_rules(&self, rules: &[usize], policies: &Set, budget: &mut Budget) -> Result<Classes, Capped> {
        budget.spend(2 + (self.on_all_ports.len() + rules.len()) / 4)?;
        let counted = || {
            self.on_all_ports
                .iter()
                .chain(rules)
                .map(|&index| &self.contributions[index])
                .filter(|contribution| policies.contains(contribution.policy))
        };
        let (mut classes, mut part) = (Classes::default(), Classes::default());
        let (mut sum, mut several) = (0, 0);
        for contribution in counted() {
            classes.add(contribution.alone);
            part.add(contribution.part);
            sum += contribution.v4.len() + contribution.v6.len();
            several += 1;
        }
        // Blocks of several rules can come to more than each of them.
        if several > 1 && part.without(classes) != Classes::default() {
            budget.spend(4 * sum)?;
            let v4: Vec<cidr::Range> = counted().flat_map(|contribution| contribution.v4.iter().copied()).collect();
            let v6: Vec<cidr::Range> = counted().flat_map(|contribution| contribution.v6.iter().copied()).collect();
            classes.add(self.measures.classes(&v4, &v6));
        }
        Ok(classes)
    }

    /// The groups that some of these policies have rules for which are not for all ports.
    fn touched(&self, policies: &Set, budget: &mut Budget) -> Result<Vec<usize>, Capped> {
        budget.spend(policies.ones().map(|policy| 1 + self.groups_of[policy].len()).sum())?;
        let mut touched: Vec<usize> =
            policies.ones().flat_map(|policy| self.groups_of[policy].iter().copied()).collect();
        touched.sort_unstable();
        touched.dedup();
        Ok(touched)
    }

    /// On how many ports these policies together let each class in.
    pub(super) fn counts(&mut self, policies: &Set, budget: &mut Budget) -> Result<Counts, Capped> {
        budget.spend(8 + policies.len() / 32)?;
        let mut helping = policies.clone();
        helping.intersect_with(&self.helping);
        if let Some(known) = self.memo.get(&helping) {
            return Ok(*known);
        }
        let mut counts = Counts::default();
        let mut add = |classes: Classes, count: u32| {
            for peers in Peers::ALL {
                if classes.has(peers) {
                    counts[peers as usize] += count;
                }
            }
        };
        let mut rest = self.total;
        for group in self.touched(&helping, budget)? {
            let count = self.groups[group].count;
            rest -= count;
            add(self.on(group, &helping, budget)?, count);
        }
        add(self.of_rules(&[], &helping, budget)?, rest);
        self.memo.insert(helping, counts);
        Ok(counts)
    }

    /// The most that these policies let in of a family on any one port.
    pub(super) fn share(&self, family: Family, policies: &Set, budget: &mut Budget) -> Result<Share, Capped> {
        let mut most = 0;
        let mut rules: Vec<&[usize]> = vec![&[]];
        rules.extend(self.touched(policies, budget)?.into_iter().map(|group| self.groups[group].rules.as_slice()));
        for rules in rules {
            let ranges = |contribution: &Contribution| match family {
                Family::V4 => contribution.v4.clone(),
                Family::V6 => contribution.v6.clone(),
            };
            budget.spend(2 + self.on_all_ports.len() + rules.len())?;
            let counted = self.on_all_ports.iter().chain(rules).map(|&index| &self.contributions[index]);
            let held: Vec<cidr::Range> =
                counted.filter(|contribution| policies.contains(contribution.policy)).flat_map(ranges).collect();
            budget.spend(4 * held.len())?;
            most = most.max(cidr::held(held, family.every()));
        }
        Ok(Share::new(family, most))
    }

    /// Whether a class that `peers` stands for is let in on some port by `more`, and not by `fewer` without the policy. Only
    /// the ports that the policy has rules for are looked at.
    pub(super) fn loses(
        &self,
        peers: Peers,
        policy: usize,
        more: &Set,
        fewer: &Set,
        budget: &mut Budget,
    ) -> Result<bool, Capped> {
        let mut without = fewer.clone();
        without.remove(policy);
        let for_all = self.on_all_ports.iter().any(|&index| self.contributions[index].policy == policy);
        let (groups, rest) = if for_all {
            let mut all = more.clone();
            all.union_with(fewer);
            (self.touched(&all, budget)?, true)
        } else {
            (self.groups_of[policy].clone(), false)
        };
        let lost = |rules: &[usize], budget: &mut Budget| {
            let (with, without) = (self.of_rules(rules, more, budget)?, self.of_rules(rules, &without, budget)?);
            Ok(!with.without(without).is_disjoint(of(peers)))
        };
        if rest && lost(&[], budget)? {
            return Ok(true);
        }
        for group in groups {
            if lost(&self.groups[group].rules, budget)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
