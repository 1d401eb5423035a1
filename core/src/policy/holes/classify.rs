//! Asks of every set of pod labels what the union lets through, and gives each hole its class, its policies and a pod.

use std::collections::{BTreeSet, HashMap};

use super::union::{Union, Wide, own_namespace};
use super::{Hole, Kind};
use crate::policy::coverage::pod_boxes;
use crate::policy::ports::{self, Ports};
use crate::policy::selectors::Labels;
use crate::policy::space::{Budget, Capped, Found, Outlook, Prefer, Set, Space};
use crate::policy::{Direction, NetworkPolicy};

/// What is asked of a set of policies. Each answer can only go from no to yes as policies are added.
#[derive(Clone, Copy)]
enum Question {
    Never,
    All,
    AllPorts(Wide),
    Group(Wide, usize),
    AnyOnGroup(usize),
}

impl Question {
    fn ask(self, union: &mut Union<'_>, set: &Set, budget: &mut Budget) -> Result<bool, Capped> {
        match self {
            Self::Never => Ok(false),
            Self::All => {
                for wide in Wide::ALL {
                    if !union.lets_through_on_all_ports(wide, set, budget)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::AllPorts(wide) => union.lets_through_on_all_ports(wide, set, budget),
            Self::Group(wide, group) => union.lets_through(wide, group, set, budget),
            Self::AnyOnGroup(group) => {
                for wide in Wide::ALL {
                    if union.lets_through(wide, group, set, budget)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }

    /// Adds the policies that could have a part in the answer.
    fn helpers(self, union: &Union<'_>, to: &mut Set) {
        let mut add = |wides: &[Wide], group| wides.iter().for_each(|wide| to.union_with(union.helpers(*wide, group)));
        match self {
            Self::Never => {}
            Self::All => add(&Wide::ALL, None),
            Self::AllPorts(wide) => add(&[wide], None),
            Self::Group(wide, group) => add(&[wide], Some(group)),
            Self::AnyOnGroup(group) => add(&Wide::ALL, Some(group)),
        }
    }

    /// Adds the policies that can make a difference to the answer, which may be fewer.
    fn deciding(self, union: &mut Union<'_>, to: &mut Set, budget: &mut Budget) -> Result<(), Capped> {
        let on_all_ports = match self {
            Self::All => Wide::ALL.to_vec(),
            Self::AllPorts(wide) => vec![wide],
            _ => Vec::new(),
        };
        if on_all_ports.is_empty() {
            self.helpers(union, to);
        }
        for wide in on_all_ports {
            to.union_with(union.deciding_on_all_ports(wide, budget)?);
        }
        Ok(())
    }
}

struct Classifier<'a> {
    policies: Vec<&'a NetworkPolicy>,
    /// The policies of each side that select some pod.
    before: Set,
    after: Set,
    union: Union<'a>,
    /// The pods that the policies can tell apart.
    pods: Result<Space<'a>, Capped>,
    budget: Budget,
    /// What the naming of policies may take: it must leave no less for the verdict.
    naming: Budget,
    capped: bool,
}

pub(super) fn opened(
    before: &[&NetworkPolicy],
    after: &[&NetworkPolicy],
    namespace: &str,
    direction: Direction,
) -> (Vec<Hole>, bool) {
    let own = own_namespace(namespace);
    // A policy that stays as it is has one place on both sides.
    let mut policies: Vec<&NetworkPolicy> = Vec::new();
    let mut place: HashMap<*const NetworkPolicy, usize> = HashMap::new();
    let [before, after] = [before, after].map(|side| {
        let with_rules = side.iter().filter(|p| p.spec.rules(direction).is_some_and(|rules| !rules.is_empty()));
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
    let union = Union::new(&policies, &own, direction);
    if union.is_narrow() {
        return (Vec::new(), false);
    }
    let mut budget = Budget::new();
    let pods = Space::new(&pod_boxes(&policies), &mut budget);
    let [before, after] = [before, after].map(|indices| {
        let mut set = Set::with_capacity(policies.len());
        set.extend(indices);
        if let Ok(space) = &pods {
            set.intersect_with(space.satisfiable());
        }
        set
    });
    let capped = union.capped;
    Classifier { policies, before, after, union, pods, budget, naming: Budget::aside(), capped }.classify()
}

impl Classifier<'_> {
    fn classify(mut self) -> (Vec<Hole>, bool) {
        let mut holes = Vec::new();
        let kinds = [
            (Kind::All, Question::All, Question::Never),
            (Kind::Cluster, Question::AllPorts(Wide::Cluster), Question::All),
            (Kind::W4, Question::AllPorts(Wide::V4), Question::All),
            (Kind::W6, Question::AllPorts(Wide::V6), Question::All),
        ];
        for (kind, question, swallowed_by) in kinds {
            if let Some(hole) = self.hole(kind, &[(question, swallowed_by)], question) {
                // Nothing is left for the others to concern.
                let all = kind == Kind::All && !hole.some;
                holes.push(hole);
                if all {
                    return (holes, self.capped);
                }
            }
        }
        holes.extend(self.ports());
        (holes, self.capped)
    }

    /// Ports that are open to a wide peer for which not all ports are. What concerns every pod becomes one hole; what
    /// concerns some becomes one for each pod and set of policies.
    fn ports(&mut self) -> Vec<Hole> {
        type Pods = (Vec<String>, Option<Labels>);
        let mut place: HashMap<Option<Pods>, usize> = HashMap::new();
        let mut found: Vec<(Hole, BTreeSet<String>, Vec<Ports>)> = Vec::new();
        for group in 0..self.union.groups() {
            let questions = Wide::ALL.map(|wide| (Question::Group(wide, group), Question::AllPorts(wide)));
            let Some(hole) = self.hole(Kind::Ports, &questions, Question::AnyOnGroup(group)) else {
                continue;
            };
            let key = hole.some.then(|| (hole.policies.clone(), hole.witness.clone()));
            let at = *place.entry(key).or_insert_with(|| {
                found.push((hole.clone(), BTreeSet::new(), Vec::new()));
                found.len() - 1
            });
            found[at].1.extend(hole.policies);
            found[at].2.extend_from_slice(self.union.ports(group));
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

    /// A hole, where some pod has one of `questions` answered yes by `after`, and neither its swallowing question by
    /// `after` nor itself by `before`.
    fn hole(&mut self, kind: Kind, questions: &[(Question, Question)], for_all: Question) -> Option<Hole> {
        let mut found = None;
        for &(question, swallowed_by) in questions {
            match self.search(Some(question), &[swallowed_by], Some(question)) {
                Ok(None) => {}
                Ok(Some(labels)) => {
                    found = Some((question, Some(labels)));
                    break;
                }
                Err(Capped) => {
                    self.capped = true;
                    found = Some((question, None));
                    break;
                }
            }
        }
        let (culprit, found) = found?;
        // Past the cap the graver class is assumed: that every pod is concerned.
        let some = if let Ok(other) = self.search(None, &[for_all], None) {
            other.is_some()
        } else {
            self.capped = true;
            false
        };
        let policies = self.culprits(culprit, found.as_ref());
        let witness = if some { found.map(|found| found.pod) } else { None };
        Some(Hole { kind, some, policies, witness, ports: None })
    }

    /// A pod for which `after` answers `yes` with yes, every one of `no` with no, and `before` answers `not_before`
    /// with no.
    fn search(
        &mut self,
        yes: Option<Question>,
        no: &[Question],
        not_before: Option<Question>,
    ) -> Result<Option<Found>, Capped> {
        let Self { before, after, union, pods, budget, .. } = self;
        // What even all policies together do not let through, no pod's do: this answers most questions.
        if let Some(question) = yes
            && !question.ask(union, after, budget)?
        {
            return Ok(None);
        }
        let mut relevant = Set::with_capacity(self.policies.len());
        let mut spoilers: Vec<(Question, &Set)> = Vec::with_capacity(no.len() + 1);
        for (question, side) in
            no.iter().map(|question| (*question, &*after)).chain(not_before.map(|question| (question, &*before)))
        {
            if question.ask(union, side, budget)? {
                question.deciding(union, &mut relevant, budget)?;
                spoilers.push((question, side));
            }
        }
        if let Some(question) = yes {
            question.deciding(union, &mut relevant, budget)?;
        }
        let prefer = match (yes, spoilers.as_slice()) {
            (None, _) => Prefer::Fewer,
            (Some(_), []) => Prefer::More,
            _ => Prefer::Neither,
        };
        let words = relevant.len().div_ceil(64);
        let pods = pods.as_ref().map_err(|capped| *capped)?;
        pods.find(&relevant, prefer, budget, &mut |certain, possible, budget| {
            let mut ask = |question: Question, set: &Set, side: &Set, budget: &mut Budget| {
                budget.spend(4 + words)?;
                let mut set = set.clone();
                set.intersect_with(side);
                question.ask(union, &set, budget)
            };
            let mut spoilt = false;
            for &(question, side) in &spoilers {
                if ask(question, certain, side, budget)? {
                    return Ok(Outlook::Never);
                }
                spoilt = spoilt || ask(question, possible, side, budget)?;
            }
            let Some(question) = yes else {
                return Ok(if spoilt { Outlook::Open } else { Outlook::Always });
            };
            if !ask(question, possible, after, budget)? {
                return Ok(Outlook::Never);
            }
            Ok(if !spoilt && ask(question, certain, after, budget)? { Outlook::Always } else { Outlook::Open })
        })
    }

    /// The policies to name: each that opens the hole by itself, else a smallest set that does so together. Where that
    /// is not known, all that could have a part in it.
    fn culprits(&mut self, question: Question, found: Option<&Found>) -> Vec<String> {
        let mut together = Set::with_capacity(self.policies.len());
        question.helpers(&self.union, &mut together);
        together.intersect_with(&self.after);
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
            named.intersect_with(&found.possible);
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
