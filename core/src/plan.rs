//! What the controller does for a namespace: level-triggered, from the namespace as it is to what it should be.
//!
//! The plan is idempotent: carried out, it leads to a namespace whose plan is empty. Whoever carries it out, an API
//! server's client or the memory of an embedded cluster, does the actions in order, stops at the first that fails, and
//! plans again.

use std::collections::BTreeSet;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::networking::v1::NetworkPolicy as ApiPolicy;

use crate::config::{Config, Violations};
use crate::index::Namespace;
use crate::profile::Profile;
use crate::quarantine::{self, Suspect};
use crate::record::Record;
use crate::vocabulary::{CONFLICT, Mode, stand_in};

/// How long before the end of an exemption or exception it is announced.
pub const NOTICE: SignedDuration = SignedDuration::from_hours(24);

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Remove the rules of one direction from a policy that opened a denied hole.
    Quarantine(Suspect),
    /// Remove the annotation of a quarantine that is over from the policy with this name and uid.
    EndQuarantine(String, String),
    /// Apply a policy of the profile.
    Apply(Box<ApiPolicy>),
    /// Delete a managed policy that the profile does not have, by name.
    Prune(String),
    /// Set the label `isolated`, and the record of when the baseline was last effective, in one write.
    Isolate(String),
    /// Remove the label `isolated`.
    DropIsolated,
    /// Set the record alone, or remove it.
    Record(Option<String>),
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
    /// It is not Ringfence's, so it is judged and not overwritten; Ringfence's own has the name that stands in.
    NameTaken,
    /// The name that stands in for it is taken too.
    NotOurs,
    /// Another writer changes it back whenever it is restored.
    Fought,
    /// The API server refuses the quarantine.
    NotQuarantined,
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
    /// Policies that Ringfence leaves as they are, though the profile has others in their place.
    pub conflicts: Vec<(String, Conflict)>,
    /// What ends within [`NOTICE`].
    pub notices: Vec<Notice>,
    /// When to plan again, though nothing changes until then: exemptions and exceptions end by themselves.
    pub again: Option<Timestamp>,
    /// Whether nothing is concluded because the namespace's policies are not known for certain yet
    /// ([`Namespace::is_caught_up`]).
    pub waits: bool,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NameTaken => {
                "is not managed by Ringfence and says something else than the profile; Ringfence keeps its own policy \
                 under the same name with -ringfence at the end"
            }
            Self::NotOurs => "is not managed by Ringfence, and is not overwritten",
            Self::Fought => "is changed back by another writer whenever Ringfence restores it",
            Self::NotQuarantined => "opens a hole that the profile denies, and the API server refuses to quarantine it",
        })
    }
}

/// Plans for a namespace. The policies that were given up on, because another writer changes them back whenever they are
/// restored or because their quarantine is refused, are left as they are; so is what is written down on the namespace,
/// where [`CONFLICT`] is among them.
#[must_use]
pub fn plan(namespace: &Namespace, config: &Config, now: Timestamp, given_up: &BTreeSet<String>) -> Plan {
    let mut plan = Plan::default();
    // Nothing is done inside a namespace that terminates.
    if namespace.terminating {
        return plan;
    }
    endings(&mut plan, namespace, now);
    // One that has become excluded is left alone from then on, but not with what Ringfence had put there to wait for it.
    let excluded = config.is_excluded(namespace.name());
    let mode = namespace.mode(now).filter(|_| !excluded);
    match namespace.profile(config).filter(|_| mode == Some(Mode::Enforce)) {
        Some(profile) => governed(&mut plan, namespace, profile, config, now, given_up),
        None => left_alone(&mut plan, namespace, mode, given_up),
    }
    plan
}

/// A namespace in which nothing is enforced.
fn left_alone(plan: &mut Plan, namespace: &Namespace, mode: Option<Mode>, given_up: &BTreeSet<String>) {
    if namespace.isolation.isolated.is_some() {
        plan.actions.push(Action::DropIsolated);
    }
    // After an exemption, what opened holes meanwhile has changed since the record. A namespace that comes back from
    // another mode is adopted anew.
    if namespace.effective.is_some() && mode != Some(Mode::Exempt) {
        plan.actions.push(Action::Record(None));
    }
    plan.actions.extend(lifts(namespace));
    plan.actions.extend(report(namespace, &[], given_up));
}

fn governed(
    plan: &mut Plan,
    namespace: &Namespace,
    profile: &Profile,
    config: &Config,
    now: Timestamp,
    given_up: &BTreeSet<String>,
) {
    let labelled = namespace.isolation.isolated.is_some();
    let effective = namespace.is_effective(profile, now);
    let record = namespace.effective.as_deref().and_then(Record::parse);
    let suspects = match &record {
        Some(record) if !effective && namespace.is_caught_up() && record.is_under(profile) => {
            quarantine::suspects(namespace, profile, now, record, |name| {
                config.violations == Violations::Report || given_up.contains(name)
            })
        }
        _ => Vec::new(),
    };
    // First of all: from here on new pods are held again. What a quarantine closes at once costs no label.
    if labelled && !effective && (suspects.is_empty() || !namespace.verdict(profile.criteria()).is_complete()) {
        plan.actions.push(Action::DropIsolated);
    }
    if !effective {
        let refused = namespace.policies().filter(|policy| !policy.managed && given_up.contains(&policy.name));
        plan.conflicts.extend(refused.map(|policy| (policy.name.clone(), Conflict::NotQuarantined)));
    }
    let quarantines = !suspects.is_empty();
    plan.actions.extend(suspects.into_iter().map(Action::Quarantine));
    if namespace.isolation.mode.as_deref() == Some(Mode::Exempt.as_str()) {
        plan.actions.push(Action::EndExemption);
    }
    let over = namespace.policies().filter(|policy| policy.quarantined.is_over(policy));
    plan.actions.extend(over.map(|policy| Action::EndQuarantine(policy.name.clone(), policy.uid.clone())));
    let (mut changes, names) = restore(plan, namespace, profile, given_up);
    let stale: Vec<&str> = namespace
        .policies()
        .filter(|present| present.managed && !present.deleting && !names.contains(&present.name))
        .map(|present| present.name.as_str())
        .collect();
    // What the profile lacks goes once all that it has is there, and only if nothing depends on it: the policy that should
    // take its place may be another user's, and say something else.
    let needed = effective && !stale.is_empty() && !is_effective_without(namespace, &stale, profile, now);
    if changes.is_empty() && !quarantines && !needed && namespace.is_caught_up() {
        changes.extend(stale.iter().map(|name| Action::Prune((*name).to_owned())));
    }
    // What these change is judged before anything is concluded from it.
    let settled = changes.is_empty() && !quarantines;
    plan.actions.extend(changes);
    if !settled {
        return;
    }
    if !namespace.is_caught_up() {
        plan.waits = true;
        return;
    }
    let isolated = namespace.is_isolated_by(profile, now);
    if isolated {
        let now_known = Record::of(namespace, profile, now);
        // One that says the same stays to the letter: two plans for the same namespace are the same.
        let recorded = record.filter(|record| record.says_the_same(&now_known));
        let is_recorded = recorded.is_some();
        let text = recorded.unwrap_or(now_known).to_text();
        if namespace.isolation.isolated.as_deref() != Some("true") {
            plan.actions.push(Action::Isolate(text));
        } else if !is_recorded {
            plan.actions.push(Action::Record(Some(text)));
        }
        plan.actions.extend(lifts(namespace));
        if !needed {
            plan.conflicts.retain(|(_, conflict)| *conflict == Conflict::NameTaken);
        }
    }
    // Any other value says nothing.
    if !isolated && labelled && effective && namespace.isolation.isolated.as_deref() != Some("true") {
        plan.actions.push(Action::DropIsolated);
    }
    let obstacles = obstacles(plan, namespace, profile, now, stale.iter().filter(|_| needed));
    plan.actions.extend(report(namespace, &obstacles, given_up));
}

/// What brings the profile's policies into place, and the names that they have. Where a name is taken by a policy of
/// another meaning, that policy is left alone, and a name stands in.
fn restore(
    plan: &mut Plan,
    namespace: &Namespace,
    profile: &Profile,
    given_up: &BTreeSet<String>,
) -> (Vec<Action>, BTreeSet<String>) {
    let (mut changes, mut names) = (Vec::new(), BTreeSet::new());
    for policy in profile.policies() {
        let says_another = |name: &str| {
            namespace.policy(name).is_some_and(|present| !present.managed && present.spec != policy.parsed.spec)
        };
        let mut name = policy.name.clone();
        if says_another(&name) {
            plan.conflicts.push((name.clone(), Conflict::NameTaken));
            name = stand_in(&name);
        }
        let conflict = match namespace.policy(&name) {
            Some(_) if says_another(&name) => Some(Conflict::NotOurs),
            Some(present) if !present.managed || present.deleting || present.spec == policy.parsed.spec => None,
            _ if given_up.contains(&name) => Some(Conflict::Fought),
            _ => {
                let mut object = policy.managed_object(namespace.name());
                object.metadata.name = Some(name.clone());
                changes.push(Action::Apply(Box::new(object)));
                None
            }
        };
        plan.conflicts.extend(conflict.map(|conflict| (name.clone(), conflict)));
        names.insert(name);
    }
    (changes, names)
}

/// What stands in the way of the baseline, or is to be known of it, a sentence each.
fn obstacles<'a>(
    plan: &mut Plan,
    namespace: &Namespace,
    profile: &Profile,
    now: Timestamp,
    kept: impl Iterator<Item = &'a &'a str>,
) -> Vec<String> {
    let conflicts = plan.conflicts.iter().map(|(name, conflict)| format!("NetworkPolicy {name} {conflict}"));
    let shortfalls = profile.shortfalls(&namespace.decisive_verdict(profile.criteria(), now));
    let kept = kept.map(|name| {
        format!("NetworkPolicy {name} is not of this profile, and stays: without it the baseline is not effective")
    });
    conflicts.chain(shortfalls).chain(kept).collect()
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
