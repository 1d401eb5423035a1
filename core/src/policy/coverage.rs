//! Which pods of a namespace are isolated, decided exactly.
//!
//! A pod is isolated in a direction when some policy with that direction among its effective types selects it. A policy
//! that is being deleted does not count: a finalizer that is cleared later would remove it without another DELETE.

use std::collections::HashSet;

use super::selectors::Labels;
use super::space::{Budget, Capped, Found, Outlook, Owner, Prefer, Requirements, Scope, Set, Space};
use super::{Direction, NetworkPolicy};

/// How much of a namespace is isolated in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// Every pod, whatever its labels.
    Complete,
    /// Some pods. A pod with the witness's labels is not isolated; past the cap there is no witness.
    Partial(Option<Labels>),
    /// No pod.
    Absent,
}

impl Coverage {
    /// Whether every pod is isolated.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self, Self::Complete)
    }
}

fn isolates(policy: &NetworkPolicy, direction: Direction) -> bool {
    !policy.deleting && policy.spec.rules(direction).is_some()
}

/// The pod selector of each policy, as the space takes it.
pub(super) fn pod_boxes<'a>(policies: &[&'a NetworkPolicy]) -> Vec<Requirements<'a>> {
    policies.iter().map(|policy| policy.spec.pods.keys().map(|(key, set)| (Owner::Pod, key, set)).collect()).collect()
}

/// The coverage of a direction, and whether the answer was capped.
#[must_use]
pub fn coverage(policies: &[&NetworkPolicy], direction: Direction) -> (Coverage, bool) {
    let isolating: Vec<&NetworkPolicy> =
        policies.iter().copied().filter(|policy| isolates(policy, direction)).collect();
    if isolating.iter().any(|policy| policy.spec.pods.selects_all()) {
        return (Coverage::Complete, false);
    }
    if isolating.iter().all(|policy| policy.spec.pods.is_unsatisfiable()) {
        return (Coverage::Absent, false);
    }
    // The first pod to try is one without labels: it escapes most sets that are not complete.
    let unlabelled = Labels::new();
    if !isolating.iter().any(|policy| policy.spec.pods.matches(&unlabelled)) {
        return (Coverage::Partial(Some(unlabelled)), false);
    }
    match escape(&isolating) {
        Ok(None) => (Coverage::Complete, false),
        Ok(Some(found)) => (Coverage::Partial(Some(found.pod)), false),
        Err(Capped) => (Coverage::Partial(None), true),
    }
}

fn escape(isolating: &[&NetworkPolicy]) -> Result<Option<Found>, Capped> {
    let mut budget = Budget::new();
    let space = Space::new(&pod_boxes(isolating), &mut budget)?;
    let mut all = Set::with_capacity(isolating.len());
    all.insert_range(..);
    space.escape(&all, &mut budget)
}

/// Labels of a pod that `before` isolates and `after` does not: `Some(None)` where the cap was met first, and the
/// worse must be assumed.
#[must_use]
pub fn lost(before: &[&NetworkPolicy], after: &[&NetworkPolicy], direction: Direction) -> Option<Option<Labels>> {
    if after.iter().any(|policy| isolates(policy, direction) && policy.spec.pods.selects_all()) {
        return None;
    }
    let after: Vec<_> = after.iter().copied().filter(|policy| isolates(policy, direction)).collect();
    // What stays as it is loses nobody. So a policy that is added is never worse, however entangled the others are.
    let kept: HashSet<*const NetworkPolicy> = after.iter().map(|policy| std::ptr::from_ref(*policy)).collect();
    let before: Vec<_> = before
        .iter()
        .copied()
        .filter(|policy| isolates(policy, direction) && !kept.contains(&std::ptr::from_ref(*policy)))
        .filter(|policy| !after.iter().any(|other| other.spec.pods == policy.spec.pods))
        .collect();
    if before.is_empty() {
        return None;
    }
    let joined: Vec<&NetworkPolicy> = before.iter().chain(&after).copied().collect();
    let is_before = |set: &Set| set.ones().any(|index| index < before.len());
    let is_after = |set: &Set| set.ones().any(|index| index >= before.len());
    let search = || -> Result<Option<Found>, Capped> {
        let mut budget = Budget::new();
        let space = Space::new(&pod_boxes(&joined), &mut budget)?;
        let mut all = Set::with_capacity(joined.len());
        all.insert_range(..);
        space.find(&all, Scope::All, Prefer::Neither, &mut budget, &mut |certain, possible, _| {
            Ok(if !is_before(possible) || is_after(certain) {
                Outlook::Never
            } else if is_before(certain) && !is_after(possible) {
                Outlook::Always
            } else {
                Outlook::Open
            })
        })
    };
    match search() {
        Ok(found) => found.map(|found| Some(found.pod)),
        Err(Capped) => Some(None),
    }
}
