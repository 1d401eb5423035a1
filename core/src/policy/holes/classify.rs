//! Asks of every set of pod labels what the union lets through, and gives each hole its class, its policies and a pod.

use super::union::{Union, Wide, own_namespace};
use super::{Hole, Kind};
use crate::policy::coverage::pod_boxes;
use crate::policy::ports::{self, Ports};
use crate::policy::space::{Budget, Capped, Found, Outlook, Set, Space};
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
}

struct Classifier<'a> {
    policies: Vec<&'a NetworkPolicy>,
    before: Set,
    after: Set,
    union: Union<'a>,
    capped: bool,
}

pub(super) fn opened(
    before: &[&NetworkPolicy],
    after: &[&NetworkPolicy],
    namespace: &str,
    direction: Direction,
) -> (Vec<Hole>, bool) {
    let own = own_namespace(namespace);
    let policies: Vec<&NetworkPolicy> = before
        .iter()
        .chain(after)
        .copied()
        .filter(|policy| policy.spec.rules(direction).is_some_and(|rules| !rules.is_empty()))
        .collect();
    let first_after =
        before.iter().filter(|policy| policy.spec.rules(direction).is_some_and(|rules| !rules.is_empty())).count();
    let union = Union::new(&policies, &own, direction);
    if union.is_narrow() {
        return (Vec::new(), false);
    }
    let mut set_before = Set::with_capacity(policies.len());
    set_before.insert_range(..first_after);
    let mut set_after = Set::with_capacity(policies.len());
    set_after.insert_range(first_after..);
    let capped = union.capped;
    Classifier { policies, before: set_before, after: set_after, union, capped }.classify()
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

    /// Ports that are open to a wide peer for which not all ports are.
    fn ports(&mut self) -> Vec<Hole> {
        let mut found: Vec<(Hole, Vec<Ports>)> = Vec::new();
        for group in 0..self.union.groups() {
            let questions = Wide::ALL.map(|wide| (Question::Group(wide, group), Question::AllPorts(wide)));
            let ports = self.union.ports(group).to_vec();
            if let Some(hole) = self.hole(Kind::Ports, &questions, Question::AnyOnGroup(group)) {
                match found.iter_mut().find(|(other, _)| {
                    hole.some == other.some
                        && (!hole.some || (hole.policies == other.policies && hole.witness == other.witness))
                }) {
                    Some((other, all)) => {
                        all.extend(ports);
                        other.policies.extend(hole.policies);
                        other.policies.sort();
                        other.policies.dedup();
                    }
                    None => found.push((hole, ports)),
                }
            }
        }
        found.into_iter().map(|(hole, all)| Hole { ports: Some(ports::merge(all)), ..hole }).collect()
    }

    /// A hole, where some pod has one of `questions` answered yes by `after`, and neither its swallowing question by
    /// `after` nor itself by `before`.
    fn hole(&mut self, kind: Kind, questions: &[(Question, Question)], for_all: Question) -> Option<Hole> {
        let mut found = None;
        let mut culprit = for_all;
        for &(question, swallowed_by) in questions {
            match self.search(Some(question), &[swallowed_by], Some(question)) {
                Ok(None) => {}
                Ok(Some(labels)) => {
                    found = Some(Some(labels));
                    culprit = question;
                    break;
                }
                Err(Capped) => {
                    self.capped = true;
                    found = Some(None);
                    culprit = question;
                    break;
                }
            }
        }
        let found = found?;
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
        let mut budget = Budget::new();
        let (before, after, union) = (&self.before, &self.after, &mut self.union);
        // What even all policies together do not let through, no pod's do: this answers most questions.
        if let Some(question) = yes
            && !question.ask(union, after, &mut budget)?
        {
            return Ok(None);
        }
        let space = Space::new(&pod_boxes(&self.policies), &mut budget)?;
        let mut all = Set::with_capacity(self.policies.len());
        all.insert_range(..);
        space.find(&all, &mut budget, &mut |certain, possible, budget| {
            let only = |set: &Set, part: &Set| {
                let mut set = set.clone();
                set.intersect_with(part);
                set
            };
            let (certain_after, possible_after) = (only(certain, after), only(possible, after));
            let mut any_no = |after_set: &Set, before_set: &Set, budget: &mut Budget| -> Result<bool, Capped> {
                for question in no {
                    if question.ask(union, after_set, budget)? {
                        return Ok(true);
                    }
                }
                match not_before {
                    Some(question) => question.ask(union, before_set, budget),
                    None => Ok(false),
                }
            };
            if any_no(&certain_after, &only(certain, before), budget)? {
                return Ok(Outlook::Never);
            }
            let spoilt = any_no(&possible_after, &only(possible, before), budget)?;
            let Some(question) = yes else {
                return Ok(if spoilt { Outlook::Open } else { Outlook::Always });
            };
            if !question.ask(union, &possible_after, budget)? {
                return Ok(Outlook::Never);
            }
            Ok(if !spoilt && question.ask(union, &certain_after, budget)? { Outlook::Always } else { Outlook::Open })
        })
    }

    /// The policies to name: each that opens the hole by itself, else a smallest set that does so together.
    fn culprits(&mut self, question: Question, found: Option<&Found>) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        let mut budget = Budget::new();
        for index in self.after.ones().collect::<Vec<_>>() {
            let mut alone = Set::with_capacity(self.policies.len());
            alone.insert(index);
            if let Ok(true) = question.ask(&mut self.union, &alone, &mut budget) {
                names.push(self.policies[index].name.clone());
            }
        }
        if names.is_empty() {
            let mut together = self.after.clone();
            if let Some(found) = found {
                together.intersect_with(&found.possible);
            }
            for index in together.clone().ones() {
                together.remove(index);
                if !matches!(question.ask(&mut self.union, &together, &mut budget), Ok(true)) {
                    together.insert(index);
                }
            }
            names = together.ones().map(|index| self.policies[index].name.clone()).collect();
        }
        names.sort();
        names.dedup();
        names
    }
}
