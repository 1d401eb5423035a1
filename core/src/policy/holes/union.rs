//! What a set of policies together lets through: which wide peers, on which ports.

use std::collections::HashMap;
use std::ops::Range;

use crate::policy::cidr::{self, Family};
use crate::policy::ports::{self, Ports, Protocol};
use crate::policy::selectors::{KeySet, NAMESPACE_NAME_LABEL, Selector};
use crate::policy::space::{self, Budget, Capped, Owner, Requirements, Set, Space};
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
    /// All three, the one that may take a search last.
    pub(super) const ALL: [Self; 3] = [Self::V4, Self::V6, Self::Cluster];
}

/// What one rule lets through on its ports.
struct Contribution {
    policy: usize,
    any: bool,
    /// Which of the union's boxes are this rule's.
    boxes: Range<usize>,
    /// Whether one of these boxes is every pod, and whether one admits a pod whose labels nobody mentions.
    every_pod: bool,
    unmentioned: bool,
    v4: Vec<cidr::Range>,
    v6: Vec<cidr::Range>,
}

/// Ports that no rule can tell apart, with the rules that allow them.
struct Group {
    ports: Vec<Ports>,
    /// The rules that allow these ports and not all ports: those are [`Union::on_all_ports`].
    rules: Vec<usize>,
    /// For each kind of wide peer, the policies that could help to let it through.
    helpers: [Set; 3],
}

impl Group {
    fn has_numbers(&self) -> bool {
        self.ports.iter().any(|ports| matches!(ports, Ports::Range(..)))
    }
}

/// The union of what policies allow in one direction.
pub(super) struct Union<'a> {
    contributions: Vec<Contribution>,
    on_all_ports: Vec<usize>,
    groups: Vec<Group>,
    /// For each kind of wide peer, the policies that could help to let it through on any ports.
    helpers: [Set; 3],
    /// For each kind of wide peer, the policies that decide whether it is let through on all ports, once asked for.
    deciding: [Option<Set>; 3],
    boxes: Vec<Requirements<'a>>,
    /// The space of the boxes, once it was needed.
    peers: Option<Result<Space<'a>, Capped>>,
    /// Answers by kind of peer, group (or all ports), and the policies that help.
    memo: HashMap<(Wide, Option<usize>, Set), bool>,
    /// Whether ports were not told apart because there are too many: all of them then count as open to every rule.
    pub(super) capped: bool,
}

/// How many pairs of a rule and a class of ports that it allows are looked at. Past it ports are not told apart.
const PORT_WORK: usize = 100_000;

/// The peers of policies that name no namespace: their own.
pub(super) fn own_namespace(namespace: &str) -> KeySet {
    KeySet::one_of([namespace.to_owned()])
}

fn contribution<'a>(policy: usize, rule: &'a Rule, own: &'a KeySet, boxes: &mut Vec<Requirements<'a>>) -> Contribution {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    let first = boxes.len();
    for peer in rule.peers.iter().flatten() {
        match peer {
            Peer::Pods { namespaces, pods } => {
                let mut selector: Requirements<'a> = match namespaces {
                    Some(namespaces) => namespaces.keys().map(|(key, set)| (Owner::Namespace, key, set)).collect(),
                    None => vec![(Owner::Namespace, NAMESPACE_NAME_LABEL, own)],
                };
                selector.extend(pods.iter().flat_map(Selector::keys).map(|(key, set)| (Owner::Pod, key, set)));
                boxes.push(selector);
            }
            Peer::Block { cidr: block, except } => match cidr::family(block) {
                Family::V4 => v4.extend(cidr::remaining(block, except)),
                Family::V6 => v6.extend(cidr::remaining(block, except)),
            },
        }
    }
    let mine = &boxes[first..];
    Contribution {
        policy,
        any: rule.peers.is_none(),
        every_pod: mine.iter().any(Vec::is_empty),
        unmentioned: mine.iter().any(space::admits_unmentioned),
        boxes: first..boxes.len(),
        v4,
        v6,
    }
}

impl Contribution {
    /// Whether it could help to let a wide peer through. Pods that nobody names are let through by nobody unless by a
    /// selector that admits what nobody mentions; the other selectors then matter too.
    fn helps(&self, wide: Wide) -> bool {
        self.any
            || match wide {
                Wide::Cluster => !self.boxes.is_empty(),
                Wide::V4 => !self.v4.is_empty(),
                Wide::V6 => !self.v6.is_empty(),
            }
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

impl<'a> Union<'a> {
    /// The union of these policies. None are left out: which ones count is asked with each question.
    pub(super) fn new(policies: &[&'a NetworkPolicy], own: &'a KeySet, direction: Direction) -> Self {
        let rules: Vec<(usize, &'a Rule)> = policies
            .iter()
            .enumerate()
            .flat_map(|(index, policy)| {
                policy.spec.rules(direction).into_iter().flatten().map(move |rule| (index, rule))
            })
            .collect();
        let mut boxes = Vec::new();
        let contributions: Vec<Contribution> =
            rules.iter().map(|(policy, rule)| contribution(*policy, rule, own, &mut boxes)).collect();
        let classes = ports::classes(rules.iter().flat_map(|(_, rule)| rule.ports.iter().flatten()));
        let grouped = group(&rules, classes);
        let capped = grouped.is_none();
        let grouped =
            grouped.unwrap_or_else(|| vec![(Vec::new(), Protocol::ALL.into_iter().map(Ports::every).collect())]);
        let on_all_ports: Vec<usize> =
            (0..rules.len()).filter(|&index| capped || rules[index].1.ports.is_none()).collect();
        let help = |helpers: &mut [Set; 3], indices: &[usize]| {
            for contribution in indices.iter().map(|&index| &contributions[index]) {
                for wide in Wide::ALL.into_iter().filter(|wide| contribution.helps(*wide)) {
                    helpers[wide as usize].insert(contribution.policy);
                }
            }
        };
        let mut always = Wide::ALL.map(|_| Set::with_capacity(policies.len()));
        help(&mut always, &on_all_ports);
        let mut helpers = always.clone();
        let groups = grouped
            .into_iter()
            .map(|(rules, ports)| {
                help(&mut helpers, &rules);
                let mut here = always.clone();
                help(&mut here, &rules);
                Group { ports, rules, helpers: here }
            })
            .collect();
        let deciding = [None, None, None];
        Self {
            contributions,
            on_all_ports,
            groups,
            helpers,
            deciding,
            boxes,
            peers: None,
            memo: HashMap::new(),
            capped,
        }
    }

    /// How many groups of ports there are.
    pub(super) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// The ports of a group.
    pub(super) fn ports(&self, group: usize) -> &[Ports] {
        &self.groups[group].ports
    }

    /// The policies that could help to let a wide peer through on the ports of a group, or on any.
    pub(super) fn helpers(&self, wide: Wide, group: Option<usize>) -> &Set {
        let helpers = group.map_or(&self.helpers, |group| &self.groups[group].helpers);
        &helpers[wide as usize]
    }

    /// The policies that decide whether a wide peer is let through on all ports. Somebody must let it through on the
    /// ports where fewest could; where each of these does so on all ports, nobody else matters.
    pub(super) fn deciding_on_all_ports(&mut self, wide: Wide, budget: &mut Budget) -> Result<&Set, Capped> {
        let at = wide as usize;
        if self.deciding[at].is_none() {
            budget.spend(self.groups.len() * (1 + self.helpers[at].len() / 256))?;
            let with_numbers = self.groups.iter().filter(|group| group.has_numbers());
            let scarcest = with_numbers.map(|group| &group.helpers[at]).min_by_key(|set| set.count_ones(..)).cloned();
            let mut deciding = scarcest.unwrap_or_default();
            let mut alone = Set::with_capacity(deciding.len());
            for index in deciding.clone().ones() {
                alone.insert(index);
                if !self.lets_through_on_all_ports(wide, &alone, budget)? {
                    deciding.clone_from(&self.helpers[at]);
                    break;
                }
                alone.remove(index);
            }
            self.deciding[at] = Some(deciding);
        }
        Ok(self.deciding[at].as_ref().unwrap_or(&self.helpers[at]))
    }

    /// Whether nothing here can let any wide peer through, so that there is nothing to ask.
    pub(super) fn is_narrow(&self) -> bool {
        self.contributions.iter().all(|c| !c.any && c.v4.is_empty() && c.v6.is_empty() && !c.unmentioned)
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
        let helpers = &here.helpers[wide as usize];
        // Free, so that what nobody could open is never taken for a hole, even past the cap.
        if helpers.is_disjoint(policies) {
            return Ok(false);
        }
        budget.spend(8 + policies.len() / 64)?;
        let mut helping = helpers.clone();
        helping.intersect_with(policies);
        let asked = (wide, Some(group), helping);
        if let Some(known) = self.memo.get(&asked) {
            return Ok(*known);
        }
        budget.spend(self.on_all_ports.len() + here.rules.len())?;
        let counted: Vec<&Contribution> = self
            .on_all_ports
            .iter()
            .chain(&here.rules)
            .map(|&index| &self.contributions[index])
            .filter(|c| asked.2.contains(c.policy))
            .collect();
        let answer = counted.iter().any(|c| c.any)
            || match wide {
                Wide::Cluster => every_pod(&counted, &self.boxes, &mut self.peers, budget)?,
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
        let helpers = self.deciding[wide as usize].as_ref().unwrap_or(&self.helpers[wide as usize]);
        // Free, so that what nobody could open is never taken for a hole, even past the cap.
        if helpers.is_disjoint(policies) {
            return Ok(false);
        }
        budget.spend(8 + policies.len() / 64)?;
        let mut helping = helpers.clone();
        helping.intersect_with(policies);
        let asked = (wide, None, helping);
        if let Some(known) = self.memo.get(&asked) {
            return Ok(*known);
        }
        let mut answer = true;
        for group in 0..self.groups.len() {
            budget.spend(1)?;
            // A group of names only adds nothing to the numbers, which are all ports.
            if self.groups[group].has_numbers() && !self.lets_through(wide, group, policies, budget)? {
                answer = false;
                break;
            }
        }
        self.memo.insert(asked, answer);
        Ok(answer)
    }
}

fn every_pod<'a>(
    counted: &[&Contribution],
    boxes: &[Requirements<'a>],
    peers: &mut Option<Result<Space<'a>, Capped>>,
    budget: &mut Budget,
) -> Result<bool, Capped> {
    if counted.iter().any(|c| c.every_pod) {
        return Ok(true);
    }
    if !counted.iter().any(|c| c.unmentioned) {
        return Ok(false);
    }
    let space = peers.get_or_insert_with(|| Space::new(boxes, budget)).as_ref().map_err(|capped| *capped)?;
    budget.spend(boxes.len() / 8)?;
    let mut among = Set::with_capacity(boxes.len());
    for c in counted {
        among.insert_range(c.boxes.clone());
    }
    Ok(space.escape(&among, budget)?.is_none())
}

fn every_address(
    counted: &[&Contribution],
    ranges: impl for<'c> Fn(&'c Contribution) -> &'c Vec<cidr::Range>,
    family: Family,
    budget: &mut Budget,
) -> Result<bool, Capped> {
    budget.spend(4 * counted.iter().map(|c| ranges(c).len()).sum::<usize>())?;
    let ranges: Vec<cidr::Range> = counted.iter().flat_map(|c| ranges(c).iter().copied()).collect();
    Ok(cidr::cover(ranges, family))
}
