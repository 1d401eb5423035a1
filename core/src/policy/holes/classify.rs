//! Asks of every set of pod labels what the union lets through, and gives each hole its class, its policies and a pod.

use std::collections::{BTreeSet, HashMap};

use super::union::{Counts, Union};
use super::{Hole, Kind, Peers, Share};
use crate::policy::cidr::Family;
use crate::policy::coverage::pod_boxes;
use crate::policy::criteria::Criteria;
use crate::policy::ports::{self, Ports};
use crate::policy::selectors::Labels;
use crate::policy::space::{Budget, Capped, Found, Outlook, Prefer, Scope, Set, Space};
use crate::policy::{Direction, NetworkPolicy};

/// What is asked of a set of policies. Each answer can only go from no to yes as policies are added.
#[derive(Clone, Copy, Debug)]
pub(super) enum Question {
    /// Are these peers let in on more than so many ports?
    Over(Peers, u32),
    /// Is some class let in on more than so many ports?
    SomeOver(u32),
    /// Are these peers let in on the ports of a group?
    On(Peers, usize),
}

impl Question {
    /// The peers and the group of ports that it is about.
    fn about(self) -> (Peers, Option<usize>) {
        match self {
            Self::Over(peers, _) => (peers, None),
            Self::SomeOver(_) => (Peers::Any, None),
            Self::On(peers, group) => (peers, Some(group)),
        }
    }

    /// Whether none of the policies could have a part in the answer, so that it is no. This is free, so that what nobody
    /// could open is never taken for a hole, even past the cap.
    fn is_helpless(self, union: &Union, set: &Set) -> bool {
        let (peers, group) = self.about();
        let mut helpers = union.helpers(peers, group);
        match self {
            Self::SomeOver(_) => helpers.all(|helpers| helpers.is_disjoint(set)),
            Self::Over(..) | Self::On(..) => helpers.any(|helpers| helpers.is_disjoint(set)),
        }
    }

    pub(super) fn ask(self, union: &mut Union, set: &Set, budget: &mut Budget) -> Result<bool, Capped> {
        if self.is_helpless(union, set) {
            return Ok(false);
        }
        Ok(match self {
            Self::Over(peers, ports) => union.counts(set, budget)?[peers as usize] > ports,
            Self::SomeOver(ports) => {
                let counts: Counts = union.counts(set, budget)?;
                Peers::EACH.into_iter().any(|peers| counts[peers as usize] > ports)
            }
            Self::On(peers, group) => union.on(group, set, budget)?.has(peers),
        })
    }

    /// Adds the policies that could have a part in the answer.
    pub(super) fn helpers(self, union: &Union, to: &mut Set) {
        let (peers, group) = self.about();
        for helpers in union.helpers(peers, group) {
            to.union_with(helpers);
        }
    }
}

/// What a pod is looked for that has a hole.
pub(super) struct Wanted<'q> {
    /// What the policies that select it let through.
    pub(super) yes: Question,
    /// What they do not let through, since the hole would be another one.
    pub(super) no: &'q [Question],
    /// Whether the policies of before must not have let it through.
    pub(super) is_new: bool,
}

/// A set of policies, and another that it is compared with, as they are asked about.
pub(super) struct Judgement<'a> {
    pub(super) policies: Vec<&'a NetworkPolicy>,
    /// The policies of each side that select some pod.
    before: Set,
    pub(super) after: Set,
    pub(super) union: Union,
    /// The pods that the policies can tell apart.
    pub(super) pods: Result<Space<'a>, Capped>,
    pub(super) budget: Budget,
    /// What the naming of policies may take: it must leave no less for the verdict.
    naming: Budget,
    capped: bool,
    /// How many ports are not more than some.
    pub(super) ports: u32,
}

pub(super) fn opened(
    before: &[&NetworkPolicy],
    after: &[&NetworkPolicy],
    direction: Direction,
    criteria: &Criteria,
) -> (Vec<Hole>, bool) {
    Judgement::new(before, after, direction, criteria)
        .map_or_else(|| (Vec::new(), false), |judgement| judgement.classify(before.is_empty()))
}

impl<'a> Judgement<'a> {
    /// `None` where there can be no hole.
    pub(super) fn new(
        before: &[&'a NetworkPolicy],
        after: &[&'a NetworkPolicy],
        direction: Direction,
        criteria: &Criteria,
    ) -> Option<Self> {
        // A policy that stays as it is has one place on both sides.
        let mut policies: Vec<&NetworkPolicy> = Vec::new();
        let mut place: HashMap<*const NetworkPolicy, usize> = HashMap::new();
        let [before, after] = [before, after].map(|side| {
            let with_rules = side.iter().filter(|policy| policy.spec.has_rules(direction));
            let indices: Vec<usize> = with_rules
                .map(|policy| {
                    *place.entry(std::ptr::from_ref(*policy)).or_insert_with(|| {
                        policies.push(policy);
                        policies.len() - 1
                    })
                })
                .collect();
            indices
        });
        let union = Union::new(&policies, direction, criteria);
        if union.is_narrow() {
            return None;
        }
        let mut budget = Budget::new();
        let pods = Space::new(&pod_boxes(&policies), &mut budget);
        let [before, after] = [before, after].map(|indices| {
            let mut set = Set::with_capacity(policies.len());
            set.extend(indices);
            if let Ok(space) = &pods {
                set.intersect_with(space.within(Scope::All));
            }
            set
        });
        let (capped, naming, ports) = (union.capped, Budget::aside(), criteria.wide.ports);
        Some(Self { policies, before, after, union, pods, budget, naming, capped, ports })
    }

    /// The kinds of holes but [`Kind::Ports`], with what makes them one.
    pub(super) fn kinds(ports: u32) -> [(Kind, Question, Vec<Question>); 4] {
        let all = Question::Over(Peers::Any, ports);
        let one = |kind, peers| (kind, Question::Over(peers, ports), vec![all]);
        [
            (Kind::All, all, Vec::new()),
            one(Kind::Cluster, Peers::Cluster),
            one(Kind::W4, Peers::Ipv4),
            one(Kind::W6, Peers::Ipv6),
        ]
    }

    fn classify(mut self, is_first: bool) -> (Vec<Hole>, bool) {
        let mut holes = Vec::new();
        // What no policies could open together is no question, however little of the budget is left for it later.
        let mut kinds = Vec::new();
        for (kind, yes, no) in Self::kinds(self.ports) {
            if yes.ask(&mut self.union, &self.after, &mut self.budget).unwrap_or(true) {
                kinds.push((kind, yes, no));
            }
        }
        if !kinds.is_empty() && self.may_be_over() {
            for (kind, yes, no) in kinds {
                if let Some(hole) = self.hole(kind, &Wanted { yes, no: &no, is_new: !is_first }) {
                    // Nothing is left for the others to concern.
                    let all = kind == Kind::All && hole.witness.is_none() && !hole.some && is_first;
                    holes.push(hole);
                    if all {
                        return (holes, self.capped);
                    }
                }
            }
        }
        holes.extend(self.open_ports(is_first));
        (holes, self.capped)
    }

    /// Whether some pod may have some class on more than a few ports. One search says of most namespaces with many open
    /// ports that none has; it must leave no less for the others.
    fn may_be_over(&mut self) -> bool {
        let some = Wanted { yes: Question::SomeOver(self.ports), no: &[], is_new: false };
        let budget = std::mem::replace(&mut self.budget, Budget::aside());
        let found = self.search(&some, Scope::All);
        self.budget = budget;
        !matches!(found, Ok(None))
    }

    /// Ports that are open to strangers for which no more ports are open than a few. Those of the same strangers to the same
    /// pods become one hole.
    fn open_ports(&mut self, is_first: bool) -> Vec<Hole> {
        type Pods = (Peers, bool, Vec<String>, Option<Labels>);
        let mut place: HashMap<Pods, usize> = HashMap::new();
        let mut found: Vec<(Hole, BTreeSet<String>, Vec<Ports>)> = Vec::new();
        for group in 0..self.union.groups() {
            for peers in Peers::ALL {
                let mut no = vec![Question::Over(peers, self.ports)];
                if peers != Peers::Any {
                    no.push(Question::On(Peers::Any, group));
                }
                let wanted = Wanted { yes: Question::On(peers, group), no: &no, is_new: !is_first };
                let Some(hole) = self.hole(Kind::Ports, &wanted) else { continue };
                let policies = if hole.some { hole.policies.clone() } else { Vec::new() };
                let key = (peers, hole.some, policies, hole.witness.clone());
                let at = *place.entry(key).or_insert_with(|| {
                    found.push((Hole { peers: Some(peers), ..hole.clone() }, BTreeSet::new(), Vec::new()));
                    found.len() - 1
                });
                found[at].1.extend(hole.policies);
                found[at].2.extend_from_slice(self.union.ports(group));
            }
        }
        found
            .into_iter()
            .map(|(hole, policies, all)| Hole {
                ports: Some(ports::merge(all)),
                policies: policies.into_iter().collect(),
                ..hole
            })
            .collect()
    }

    /// A hole that some pod has, and its star.
    fn hole(&mut self, kind: Kind, wanted: &Wanted<'_>) -> Option<Hole> {
        let (some, found) = match self.search(wanted, Scope::Unnamed) {
            Ok(Some(found)) => (false, Some(found)),
            // Past the cap the more severe class is assumed: that pods are concerned which nobody names.
            Err(Capped) => (false, None),
            Ok(None) => match self.search(wanted, Scope::All) {
                Ok(None) => return None,
                Ok(Some(found)) => (true, Some(found)),
                Err(Capped) => (true, None),
            },
        };
        self.capped |= found.is_none();
        let policies = self.culprits(wanted.yes, some, found.as_ref());
        let share = match kind {
            Kind::W4 => Some(self.share(Family::V4, found.as_ref())),
            Kind::W6 => Some(self.share(Family::V6, found.as_ref())),
            _ => None,
        };
        let every_port = self.is_on_every_port(wanted.yes, found.as_ref());
        let witness = found.map(|found| found.pod).filter(|_| some || !self.concerns_every_pod(wanted.yes));
        Some(Hole { kind, some, policies, witness, ports: None, peers: None, share, every_port })
    }

    /// Whether the policies that select every pod let it through already.
    fn concerns_every_pod(&mut self, question: Question) -> bool {
        let mut set = Set::with_capacity(self.policies.len());
        set.extend(self.after.ones().filter(|&index| self.policies[index].spec.pods.selects_all()));
        question.ask(&mut self.union, &set, &mut self.naming).unwrap_or(false)
    }

    /// Whether it is open on every port for a pod; past the cap it is assumed to be.
    fn is_on_every_port(&mut self, question: Question, found: Option<&Found>) -> bool {
        let Question::Over(peers, _) = question else { return false };
        let mut set = self.after.clone();
        if let Some(found) = found {
            set.intersect_with(&found.exact);
        }
        let every = Question::Over(peers, self.union.total() - 1);
        every.ask(&mut self.union, &set, &mut self.naming).unwrap_or(true)
    }

    fn share(&mut self, family: Family, found: Option<&Found>) -> Share {
        let mut set = self.after.clone();
        if let Some(found) = found {
            set.intersect_with(&found.exact);
        }
        // Past the cap the most is assumed.
        let most = Share::new(family, if family == Family::V4 { 1 << 32 } else { u128::MAX });
        self.union.share(family, &set, &mut self.naming).unwrap_or(most)
    }

    /// A pod for which `after` lets through what is wanted and nothing that is not, and `before` did not where that
    /// counts.
    pub(super) fn search(&mut self, wanted: &Wanted<'_>, scope: Scope) -> Result<Option<Found>, Capped> {
        let Self { before, after, union, pods, budget, .. } = self;
        let within = |side: &Set| {
            let mut side = side.clone();
            if let Ok(space) = &*pods {
                side.intersect_with(space.within(scope));
            }
            side
        };
        let after_within = within(after);
        if wanted.yes.is_helpless(union, &after_within) {
            return Ok(None);
        }
        // What even all policies together do not let through, no pod's do: this answers most questions.
        if !wanted.yes.ask(union, after, budget)? {
            return Ok(None);
        }
        budget.spend(8 + after.len() / 16)?;
        let (after, before) = (after_within, within(before));
        if !wanted.yes.ask(union, &after, budget)? {
            return Ok(None);
        }
        let pods = pods.as_ref().map_err(|capped| *capped)?;
        let mut spoilers: Vec<(Question, &Set)> = Vec::with_capacity(wanted.no.len() + 1);
        let old = wanted.is_new.then_some((wanted.yes, &before));
        for (question, side) in wanted.no.iter().map(|question| (*question, &after)).chain(old) {
            if question.ask(union, side, budget)? {
                spoilers.push((question, side));
            }
        }
        let ask = |union: &mut Union, question: Question, set: &Set, side: &Set, budget: &mut Budget| {
            budget.spend(8 + side.len() / 32)?;
            let mut set = set.clone();
            set.intersect_with(side);
            question.ask(union, &set, budget)
        };
        let mut relevant = Set::with_capacity(self.policies.len());
        wanted.yes.helpers(union, &mut relevant);
        relevant.intersect_with(&after);
        // A policy that spoils it alone does not select the pod, so the others must let it through.
        let mut banned = Set::with_capacity(self.policies.len());
        if !spoilers.is_empty() {
            let mut alone = banned.clone();
            for index in relevant.ones() {
                alone.insert(index);
                for &(question, side) in &spoilers {
                    if ask(union, question, &alone, side, budget)? {
                        banned.insert(index);
                        break;
                    }
                }
                alone.remove(index);
            }
            let mut others = after.clone();
            others.difference_with(&banned);
            if !wanted.yes.ask(union, &others, budget)? {
                return Ok(None);
            }
        }
        // First a pod that has it, whatever it has besides: seldom does that spoil it, and far fewer policies matter.
        let prefer = if banned.is_clear() { Prefer::More } else { Prefer::Neither };
        let found = pods.find(&relevant, scope, prefer, budget, &mut |certain, possible, budget| {
            Ok(if !certain.is_disjoint(&banned) || !ask(union, wanted.yes, possible, &after, budget)? {
                Outlook::Never
            } else if possible.is_disjoint(&banned) && ask(union, wanted.yes, certain, &after, budget)? {
                Outlook::Always
            } else {
                Outlook::Open
            })
        })?;
        let Some(found) = found else { return Ok(None) };
        let mut is_spoilt = false;
        for &(question, side) in &spoilers {
            is_spoilt = is_spoilt || ask(union, question, &found.exact, side, budget)?;
        }
        if !is_spoilt {
            return Ok(Some(found));
        }
        for (question, _) in &spoilers {
            question.helpers(union, &mut relevant);
        }
        pods.find(&relevant, scope, Prefer::Neither, budget, &mut |certain, possible, budget| {
            let mut spoilt = false;
            for &(question, side) in &spoilers {
                if ask(union, question, certain, side, budget)? {
                    return Ok(Outlook::Never);
                }
                spoilt = spoilt || ask(union, question, possible, side, budget)?;
            }
            if !ask(union, wanted.yes, possible, &after, budget)? {
                return Ok(Outlook::Never);
            }
            let is_sure = !spoilt && ask(union, wanted.yes, certain, &after, budget)?;
            Ok(if is_sure { Outlook::Always } else { Outlook::Open })
        })
    }

    /// The policies to name: each that opens the hole by itself, else a smallest set that does so together. Where that
    /// is not known, all that could have a part in it.
    fn culprits(&mut self, question: Question, some: bool, found: Option<&Found>) -> Vec<String> {
        let mut together = Set::with_capacity(self.policies.len());
        question.helpers(&self.union, &mut together);
        together.intersect_with(&self.after);
        if let (false, Ok(space)) = (some, &self.pods) {
            together.intersect_with(space.within(Scope::Unnamed));
        }
        let to_name = match found {
            Some(found) => self.smallest(question, &together, found).unwrap_or(together),
            None => together,
        };
        let names: BTreeSet<String> = to_name.ones().map(|index| self.policies[index].name.clone()).collect();
        names.into_iter().collect()
    }

    fn smallest(&mut self, question: Question, among: &Set, found: &Found) -> Result<Set, Capped> {
        let mut named = Set::with_capacity(self.policies.len());
        let mut alone = named.clone();
        for index in among.ones() {
            alone.insert(index);
            if question.ask(&mut self.union, &alone, &mut self.naming)? {
                named.insert(index);
            }
            alone.remove(index);
        }
        if named.is_clear() {
            named.clone_from(among);
            named.intersect_with(&found.exact);
            for index in named.clone().ones() {
                named.remove(index);
                if !question.ask(&mut self.union, &named, &mut self.naming)? {
                    named.insert(index);
                }
            }
        }
        Ok(named)
    }
}
