//! Which policies take part in the holes of a union.

use super::classify::{Judgement, Question, Wanted};
use super::{Class, Hole, Kind, Part, Participants, Peers, classify};
use crate::policy::criteria::Criteria;
use crate::policy::space::{Capped, Outlook, Prefer, Scope, Set};
use crate::policy::{Direction, NetworkPolicy};

/// A kind of hole whose class counts, and the pods with it that matter.
struct Counted {
    kind: Kind,
    peers: Peers,
    yes: Question,
    no: Vec<Question>,
    /// `None` where the budget ended before it was known whether there is such a hole.
    scope: Option<Scope>,
}

pub(super) fn participants(
    policies: &[&NetworkPolicy],
    direction: Direction,
    criteria: &Criteria,
    counts: &impl Fn(Class) -> bool,
) -> Participants {
    let Some(mut judgement) = Judgement::new(&[], policies, direction, criteria) else {
        return Participants::default();
    };
    let holes = judgement.counted(counts);
    let mut found = Participants::default();
    for (index, policy) in policies.iter().enumerate() {
        match judgement.takes_part(policy, &holes) {
            Ok(None) => {}
            Ok(Some(_)) => found.certain.push(index),
            Err(Capped) => found.undecided.push(index),
        }
    }
    found
}

pub(super) fn part_of(
    policies: &[&NetworkPolicy],
    index: usize,
    direction: Direction,
    criteria: &Criteria,
    counts: &impl Fn(Class) -> bool,
) -> Part {
    let Some(policy) = policies.get(index) else { return Part::None };
    // What lets no address and no stranger in has no part in anything, whatever is beside it.
    if !could_help(policy, direction) {
        return Part::None;
    }
    let Some(mut judgement) = Judgement::new(&[], policies, direction, criteria) else { return Part::None };
    let counted = judgement.counted(counts);
    let (kind, peers, some) = match judgement.takes_part(policy, &counted) {
        Ok(None) => return Part::None,
        Ok(Some(found)) => found,
        Err(Capped) => return Part::Undecided,
    };
    let (holes, _) = classify::opened(&[], policies, direction, criteria);
    let names = |hole: &Hole| hole.policies.contains(&policy.name);
    let mut of_kind: Vec<Hole> = holes.into_iter().filter(|hole| hole.kind == kind && counts(hole.class())).collect();
    of_kind.sort_by_key(|hole| (!names(hole), hole.some != some));
    let hole = of_kind.into_iter().next().unwrap_or_else(|| Hole {
        kind,
        some,
        policies: vec![policy.name.clone()],
        witness: None,
        ports: None,
        peers: (kind == Kind::Ports).then_some(peers),
        share: None,
        every_port: false,
    });
    Part::In(Box::new(hole))
}

fn could_help(policy: &NetworkPolicy, direction: Direction) -> bool {
    policy.spec.rules(direction).into_iter().flatten().any(|rule| {
        rule.peers.as_ref().is_none_or(|peers| {
            peers.iter().any(|peer| matches!(peer, crate::policy::Peer::Block { .. }) || super::lets_in_strangers(peer))
        })
    })
}

impl Judgement<'_> {
    /// The kinds of holes that are there in a class that counts.
    fn counted(&mut self, counts: &impl Fn(Class) -> bool) -> Vec<Counted> {
        let mut kinds: Vec<(Kind, Peers, Question, Vec<Question>)> = Vec::new();
        for ((kind, yes, no), peers) in Self::kinds(self.ports).into_iter().zip(Peers::ALL) {
            kinds.push((kind, peers, yes, no));
        }
        for peers in Peers::ALL {
            let (some, more) = (Question::Over(peers, 0), Question::Over(peers, self.ports));
            kinds.push((Kind::Ports, peers, some, vec![more]));
        }
        let mut counted = Vec::new();
        for (kind, peers, yes, no) in kinds {
            let [unstarred, starred] = [false, true].map(|some| counts(Class { kind, some }));
            if !unstarred && !starred {
                continue;
            }
            let scope = match self.search(&Wanted { yes, no: &no, is_new: false }, Scope::Unnamed) {
                // A hole has one class: that of the pods which nobody names, where there are such.
                Ok(Some(_)) if !unstarred => continue,
                Ok(Some(_)) if !starred => Some(Scope::Unnamed),
                Ok(None) if !starred => continue,
                Ok(_) => Some(Scope::All),
                Err(Capped) => None,
            };
            counted.push(Counted { kind, peers, yes, no, scope });
        }
        counted
    }

    /// A hole that the policy takes part in. [`Capped`] where it may take part in one, and is not known to in another.
    fn takes_part(&mut self, policy: &NetworkPolicy, holes: &[Counted]) -> Result<Option<(Kind, Peers, bool)>, Capped> {
        let Some(index) = self.policies.iter().position(|other| std::ptr::eq(*other, policy)) else {
            return Ok(None);
        };
        let mut is_capped = false;
        for hole in holes {
            match self.takes_part_in(index, hole) {
                Ok(false) => {}
                Ok(true) => return Ok(Some((hole.kind, hole.peers, hole.scope == Some(Scope::All)))),
                Err(Capped) => is_capped = true,
            }
        }
        if is_capped { Err(Capped) } else { Ok(None) }
    }

    fn takes_part_in(&mut self, index: usize, hole: &Counted) -> Result<bool, Capped> {
        let Self { after, union, pods, budget, policies, .. } = self;
        let mut after = after.clone();
        if let (Some(scope), Ok(space)) = (hole.scope, &*pods) {
            after.intersect_with(space.within(scope));
        }
        // Free, so that a policy without any part is never suspected.
        if !after.contains(index) || union.helpers(hole.peers, None).all(|helpers| !helpers.contains(index)) {
            return Ok(false);
        }
        let scope = hole.scope.ok_or(Capped)?;
        let pods = pods.as_ref().map_err(|capped| *capped)?;
        let is_alone = union.has_alone(hole.peers, index, budget)?;
        let mut relevant = Set::with_capacity(policies.len());
        for question in hole.no.iter().chain([&hole.yes]) {
            question.helpers(union, &mut relevant);
        }
        relevant.intersect_with(&after);
        let prefer = if is_alone && hole.no.is_empty() { Prefer::More } else { Prefer::Neither };
        let found = pods.find(&relevant, scope, prefer, budget, &mut |certain, possible, budget| {
            if !possible.contains(index) || !hole.yes.ask(union, possible, budget)? {
                return Ok(Outlook::Never);
            }
            let mut is_sure = certain.contains(index) && hole.yes.ask(union, certain, budget)?;
            for question in &hole.no {
                if question.ask(union, certain, budget)? {
                    return Ok(Outlook::Never);
                }
                is_sure = is_sure && !question.ask(union, possible, budget)?;
            }
            if !is_alone {
                if !union.loses(hole.peers, index, possible, certain, budget)? {
                    return Ok(Outlook::Never);
                }
                is_sure = is_sure && union.loses(hole.peers, index, certain, possible, budget)?;
            }
            Ok(if is_sure { Outlook::Always } else { Outlook::Open })
        })?;
        Ok(found.is_some())
    }
}
