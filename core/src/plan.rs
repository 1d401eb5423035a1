//! What the controller does for a namespace: level-triggered, from the namespace as it is to what it should be.
//!
//! The plan is idempotent: carried out, it leads to a namespace whose plan is empty. Whoever carries it out, an API
//! server's client or the memory of an embedded cluster, does the actions in order, stops at the first that fails, and
//! plans again.

use jiff::Timestamp;
use k8s_openapi::api::networking::v1::NetworkPolicy as ApiPolicy;

use crate::config::Config;
use crate::index::Namespace;
use crate::vocabulary::Mode;

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
    /// Lift the gate of a held pod, by name.
    Lift(String),
}

/// What is to be done for one namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The steps, in order.
    pub actions: Vec<Action>,
    /// Policies that have a name of the profile's, are not Ringfence's, and keep the baseline from being effective.
    /// They are not overwritten.
    pub conflicts: Vec<String>,
}

/// Plans for a namespace.
#[must_use]
pub fn plan(namespace: &Namespace, config: &Config, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    // Nothing is done inside a namespace that terminates.
    if namespace.terminating {
        return plan;
    }
    let labelled = namespace.isolation.isolated.is_some();
    // One that has become excluded is left alone from then on, but not with what Ringfence had put there to wait for it.
    let excluded = config.is_excluded(namespace.name());
    let Some(Mode::Enforce) = namespace.mode(now).filter(|_| !excluded) else {
        if labelled {
            plan.actions.push(Action::SetIsolated(false));
        }
        plan.actions.extend(lifts(namespace));
        return plan;
    };
    if namespace.isolation.mode.as_deref() == Some(Mode::Exempt.as_str()) {
        plan.actions.push(Action::EndExemption);
    }
    let Some(profile) = namespace.profile(config) else {
        return plan;
    };
    let effective = namespace.is_effective(profile, now);
    if labelled && !effective {
        plan.actions.push(Action::SetIsolated(false));
    }
    let mut changes = Vec::new();
    for policy in profile.policies() {
        match namespace.policy(&policy.name) {
            Some(present) if !present.managed => {
                if !effective && present.spec != policy.parsed.spec {
                    plan.conflicts.push(policy.name.clone());
                }
            }
            Some(present) if present.deleting || present.spec == policy.parsed.spec => {}
            _ => changes.push(Action::Apply(Box::new(policy.managed_object(namespace.name())))),
        }
    }
    let stale = namespace
        .policies()
        .filter(|present| present.managed && !present.deleting)
        .filter(|present| profile.policies().iter().all(|policy| policy.name != present.name));
    changes.extend(stale.map(|present| Action::Prune(present.name.clone())));
    // What these change is judged before anything is concluded from it.
    let settled = changes.is_empty();
    plan.actions.extend(changes);
    if settled && effective {
        if namespace.isolation.isolated.as_deref() != Some("true") {
            plan.actions.push(Action::SetIsolated(true));
        }
        plan.actions.extend(lifts(namespace));
    }
    plan
}

fn lifts(namespace: &Namespace) -> impl Iterator<Item = Action> {
    namespace.pods.iter().filter(|(_, pod)| pod.held).map(|(name, _)| Action::Lift(name.clone()))
}
