//! The controller: carries out what [`ringfence_core::plan`] says, one reconcile per namespace.
//!
//! On an embedded cluster that is done in memory ([`embedded`]). On a live one the replica that holds the Lease
//! ([`lease`]) takes namespaces from a queue ([`queue`]), plans, writes ([`writer`]), tells people ([`events`]), and
//! remembers what went wrong ([`standing`]).

pub mod embedded;
mod events;
pub mod lease;
mod quarantine;
pub mod queue;
mod standing;
mod writer;

use kube::api::{Patch, PatchParams};
use ringfence_core::plan::Action;
use ringfence_core::vocabulary::{GATE, HELD, RINGFENCE};
use serde_json::{Value, json};

/// How often a namespace is planned for at most in one reconcile. A plan carried out leads to an empty plan after two
/// rounds; more would be a plan that works against itself.
const ROUNDS: usize = 8;

/// Takes Ringfence's gate and label off the pod with this uid, and leaves gates of others.
#[must_use]
pub fn lifting(uid: &str) -> Patch<Value> {
    Patch::Strategic(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "uid": uid, "labels": { (HELD): null } },
        "spec": { "schedulingGates": [{ "$patch": "delete", "name": GATE }] },
    }))
}

/// How patches are sent that are no server-side applies.
#[must_use]
pub fn as_ringfence() -> PatchParams {
    PatchParams { field_manager: Some(RINGFENCE.to_owned()), ..PatchParams::default() }
}

/// An action in words, for logs and the demonstration.
#[must_use]
pub fn describe(action: &Action) -> String {
    match action {
        Action::Apply(policy) => format!("apply NetworkPolicy {}", policy.metadata.name.as_deref().unwrap_or_default()),
        Action::Prune(name) => format!("prune NetworkPolicy {name}"),
        Action::Quarantine(suspect) => format!("quarantine NetworkPolicy {} for {}", suspect.name, suspect.direction),
        Action::EndQuarantine(name, _) => format!("end the quarantine of NetworkPolicy {name}"),
        Action::Isolate(_) => "set isolated".to_owned(),
        Action::DropIsolated => "drop isolated".to_owned(),
        Action::Record(Some(_)) => "record that the baseline is effective".to_owned(),
        Action::Record(None) => "drop the record of when the baseline was effective".to_owned(),
        Action::EndExemption => "end the exemption".to_owned(),
        Action::Report(Some(conflict)) => format!("report: {conflict}"),
        Action::Report(None) => "report that nothing is in the way".to_owned(),
        Action::Lift(pod) => format!("lift Pod {pod}"),
    }
}
