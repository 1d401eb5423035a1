//! What the controller does for a namespace: level-triggered, from the namespace as it is to what it should be.
//!
//! The plan is idempotent: carried out, it leads to a namespace whose plan is empty. Whoever carries it out, an API
//! server's client or the memory of an embedded cluster, does the actions in order, stops at the first that fails, and
//! plans again.

use std::collections::BTreeSet;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::networking::v1::NetworkPolicy as ApiPolicy;

use crate::config::Config;
use crate::index::Namespace;
use crate::profile::Profile;
use crate::vocabulary::{CONFLICT, Mode};

/// How long before the end of an exemption or exception it is announced.
pub const NOTICE: SignedDuration = SignedDuration::from_hours(24);

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Apply a policy of the profile.
    Apply(Box<ApiPolicy>),
    /// Delete a managed policy that the profile does not have, by name.
    Prune(String),
    /// Set the label `isolated` to `true`, or remove it.
    SetIsolated(bool),
    /// Set the mode of a namespace whose exemption has ended back to `enforce`.
    EndExemption,
    /// Write down on the namespace what keeps its baseline from being effective, or that nothing does any more.
    Report(Option<String>),
    /// Lift the gate of a held pod, by name.
    Lift(String),
}

/// Why a policy of the profile is not as the profile says, and stays so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Conflict {
    /// It is not Ringfence's, so it is judged and not overwritten.
    NotOurs,
    /// Somebody changes it back whenever it is restored.
    Fought,
}

/// Something that is about to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The policy whose exception it is; `None` where it is the namespace's exemption.
    pub policy: Option<String>,
    /// When it ends.
    pub ends: Timestamp,
}

/// What is to be done for one namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The steps, in order.
    pub actions: Vec<Action>,
    /// Policies that keep the baseline from being effective, and that Ringfence leaves as they are.
    pub conflicts: Vec<(String, Conflict)>,
    /// What ends within [`NOTICE`].
    pub notices: Vec<Notice>,
    /// When to plan again, though nothing changes until then: exemptions and exceptions end by themselves.
    pub again: Option<Timestamp>,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotOurs => "is not managed by Ringfence, and is not overwritten",
            Self::Fought => "is changed back by somebody whenever Ringfence restores it",
        })
    }
}

/// Plans for a namespace. The policies that were given up on, because somebody changes them back whenever they are
/// restored, are left as they are; so is what is written down on the namespace, where [`CONFLICT`] is among them.
#[must_use]
pub fn plan(namespace: &Namespace, config: &Config, now: Timestamp, given_up: &BTreeSet<String>) -> Plan {
    let mut plan = Plan::default();
    // Nothing is done inside a namespace that terminates.
    if namespace.terminating {
        return plan;
    }
    endings(&mut plan, namespace, now);
    let labelled = namespace.isolation.isolated.is_some();
    // One that has become excluded is left alone from then on, but not with what Ringfence had put there to wait for it.
    let excluded = config.is_excluded(namespace.name());
    let enforced = namespace.mode(now) == Some(Mode::Enforce) && !excluded;
    let Some(profile) = namespace.profile(config).filter(|_| enforced) else {
        if labelled {
            plan.actions.push(Action::SetIsolated(false));
        }
        plan.actions.extend(lifts(namespace));
        plan.actions.extend(report(namespace, &[], given_up));
        return plan;
    };
    let effective = namespace.is_effective(profile, now);
    // First of all: from here on new pods are held again.
    if labelled && !effective {
        plan.actions.push(Action::SetIsolated(false));
    }
    if namespace.isolation.mode.as_deref() == Some(Mode::Exempt.as_str()) {
        plan.actions.push(Action::EndExemption);
    }
    let mut changes = Vec::new();
    for policy in profile.policies() {
        let conflict = match namespace.policy(&policy.name) {
            Some(present) if !present.managed => (present.spec != policy.parsed.spec).then_some(Conflict::NotOurs),
            Some(present) if present.deleting || present.spec == policy.parsed.spec => None,
            _ if given_up.contains(&policy.name) => Some(Conflict::Fought),
            _ => {
                changes.push(Action::Apply(Box::new(policy.managed_object(namespace.name()))));
                None
            }
        };
        plan.conflicts.extend(conflict.map(|conflict| (policy.name.clone(), conflict)));
    }
    let stale: Vec<&str> = namespace
        .policies()
        .filter(|present| present.managed && !present.deleting)
        .filter(|present| profile.policies().iter().all(|policy| policy.name != present.name))
        .map(|present| present.name.as_str())
        .collect();
    // What the profile lacks goes once all that it has is there, and only if nothing hangs on it: the policy that should
    // take its place may be somebody else's, and say something else.
    let needed = effective && !stale.is_empty() && !is_effective_without(namespace, &stale, profile, now);
    if changes.is_empty() && !needed {
        changes.extend(stale.iter().map(|name| Action::Prune((*name).to_owned())));
    }
    if effective && !needed {
        plan.conflicts.clear();
    }
    // What these change is judged before anything is concluded from it.
    let settled = changes.is_empty();
    plan.actions.extend(changes);
    if settled {
        if effective {
            if namespace.isolation.isolated.as_deref() != Some("true") {
                plan.actions.push(Action::SetIsolated(true));
            }
            plan.actions.extend(lifts(namespace));
        }
        let shortfalls =
            if effective { Vec::new() } else { profile.shortfalls(&namespace.verdict(profile.criteria())) };
        let conflicts = plan.conflicts.iter().map(|(name, conflict)| format!("NetworkPolicy {name} {conflict}"));
        let kept = stale.iter().filter(|_| needed).map(|name| {
            format!("NetworkPolicy {name} is not of this profile, and stays: without it the baseline is not effective")
        });
        let obstacles: Vec<String> = conflicts.chain(shortfalls).chain(kept).collect();
        plan.actions.extend(report(namespace, &obstacles, given_up));
    }
    plan
}

/// Whether the baseline would still be effective without some policies.
fn is_effective_without(namespace: &Namespace, policies: &[&str], profile: &Profile, now: Timestamp) -> bool {
    let mut rest = namespace.clone();
    for policy in policies {
        rest.remove_policy(policy);
    }
    rest.is_effective(profile, now)
}

/// What ends by itself: when it is to be announced, and when to look again.
fn endings(plan: &mut Plan, namespace: &Namespace, now: Timestamp) {
    let exempt = namespace.isolation.mode.as_deref() == Some(Mode::Exempt.as_str());
    let exemption = exempt.then(|| (None, namespace.isolation.exemption()));
    let exceptions =
        namespace.policies().filter_map(|policy| Some((Some(policy.name.clone()), policy.exception.clone()?)));
    for (policy, ending) in exemption.into_iter().chain(exceptions) {
        if !ending.is_in_force(now) {
            continue;
        }
        let Ok(ends) = ending.end() else { continue };
        let announced = ends.saturating_sub(NOTICE).unwrap_or(ends);
        let next = if announced <= now {
            plan.notices.push(Notice { policy, ends });
            ends
        } else {
            announced
        };
        plan.again = Some(plan.again.map_or(next, |again| again.min(next)));
    }
}

/// What the namespace's annotation should say, where it says something else. What keeps the baseline from being
/// effective need not be a conflict: a tenant's policy may have been there before the namespace was adopted.
fn report(namespace: &Namespace, obstacles: &[String], given_up: &BTreeSet<String>) -> Option<Action> {
    let text = (!obstacles.is_empty()).then(|| obstacles.join("; "));
    (namespace.conflict != text && !given_up.contains(CONFLICT)).then_some(Action::Report(text))
}

fn lifts(namespace: &Namespace) -> impl Iterator<Item = Action> {
    namespace.pods.iter().filter(|(_, pod)| pod.held).map(|(name, _)| Action::Lift(name.clone()))
}
