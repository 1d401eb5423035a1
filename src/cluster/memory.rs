//! What an embedded cluster stores: what is admitted, and what the controller does.

use std::sync::Arc;

use ringfence_core::admission::pod;
use ringfence_core::admission::review::{Operation, Request, Resource};
use ringfence_core::index::reservations::Reservation;
use ringfence_core::index::{Index, Namespace};
use ringfence_core::object::{Object, ObjectMeta};
use ringfence_core::plan::Action;
use ringfence_core::policy::NetworkPolicy;
use ringfence_core::policy::parse::{self, Source};
use ringfence_core::quarantine::{Quarantined, Suspect};
use ringfence_core::vocabulary::Mode;
use serde_json::value::RawValue;

use super::Cluster;

/// The metadata of an object; an empty one where it can't be read, which the decision before would have refused.
fn metadata(raw: Option<&RawValue>) -> ObjectMeta<'_> {
    raw.and_then(|raw| serde_json::from_str::<Object<'_>>(raw.get()).ok()).unwrap_or_default().into_metadata()
}

impl Cluster {
    /// Stores what a request brings about: on an embedded cluster an allowed `/validate` that is not a dry run is taken
    /// as stored.
    ///
    /// What was reserved for it is decided by that.
    pub fn store(&self, request: &Request<'_>, reservation: Option<&Arc<Reservation>>) {
        // What a live cluster stores, its watches say.
        if self.live.is_some() {
            return;
        }
        let raw = if request.operation == Operation::Delete { request.old_object } else { request.object };
        let metadata = metadata(raw);
        // With generateName the request has no name, and what validates has one already.
        let name = [request.name.as_ref(), metadata.name.as_ref(), request.uid.as_ref()]
            .into_iter()
            .find(|name| !name.is_empty())
            .unwrap_or_default();
        self.change(|index, changed| {
            store(index, request, raw, &metadata, name);
            let concerned =
                if request.resource() == Resource::Namespace { name } else { request.namespace_concerned() };
            changed.insert(concerned.to_owned());
        });
        if let Some(reservation) = reservation {
            self.reservations().release(&request.namespace, reservation);
        }
    }

    /// Carries out one action of the plan.
    pub fn apply(&self, namespace: &str, action: &Action) {
        self.change(|index, changed| {
            apply(index, namespace, action);
            changed.insert(namespace.to_owned());
        });
    }
}

/// A namespace to change, if it is there. In one that is not, the API server stores nothing; and one that appeared here
/// without its labels would be taken for one that was never adopted, where everything is allowed.
fn existing<'a>(index: &'a mut Index, name: &str) -> Option<&'a mut Namespace> {
    index.get(name)?;
    Some(index.namespace_mut(name))
}

fn store(index: &mut Index, request: &Request<'_>, raw: Option<&RawValue>, metadata: &ObjectMeta<'_>, name: &str) {
    match (request.resource(), request.operation) {
        (Resource::Namespace, Operation::Create | Operation::Update) => {
            index.namespace_mut(name);
            index.put_namespace(name, metadata);
            // No watch tells an embedded cluster of policies that are older than the namespace: there are none.
            index.policies_listed(name);
        }
        // No label of Ringfence's changes this way.
        (Resource::NamespaceSubresource, Operation::Update) => {
            if let Some(namespace) = existing(index, name) {
                namespace.terminating = metadata.is_deleting();
            }
        }
        (Resource::Namespace, Operation::Delete) => index.remove_namespace(name),
        (Resource::NetworkPolicy, operation) => {
            let policy = raw.map(|raw| parse::network_policy_json(raw.get(), Source::Cluster));
            let (Some(Ok(mut policy)), Some(namespace)) = (policy, existing(index, &request.namespace)) else { return };
            name.clone_into(&mut policy.name);
            policy.deleting |= operation == Operation::Delete;
            // The last finalizer that is cleared completes a deletion.
            if policy.deleting && policy.finalizers.is_empty() {
                namespace.remove_policy(name);
            } else {
                namespace.put_policy(policy);
            }
        }
        (Resource::Pod | Resource::PodStatus, Operation::Create | Operation::Update) => {
            let pod = raw.map(|raw| serde_json::from_str::<pod::Object<'_>>(raw.get()));
            if let (Some(Ok(pod)), Some(namespace)) = (pod, existing(index, &request.namespace)) {
                namespace.pods.insert(name.to_owned(), pod.facts());
            }
        }
        (Resource::Pod, Operation::Delete) => {
            if let Some(namespace) = existing(index, &request.namespace) {
                namespace.pods.remove(name);
            }
        }
        _ => {}
    }
}

/// Takes the rules of one direction out of a policy.
fn quarantine(namespace: &mut Namespace, suspect: &Suspect) {
    let Some(mut policy) = namespace.policy(&suspect.name).cloned() else { return };
    if let Some(rules) = policy.spec.rules_mut(suspect.direction) {
        rules.clear();
    }
    policy.quarantined = policy.quarantined.with(suspect.direction);
    namespace.put_policy(policy);
}

fn apply(index: &mut Index, namespace: &str, action: &Action) {
    // It may have been deleted since the plan was made.
    let Some(namespace) = existing(index, namespace) else { return };
    match action {
        Action::Apply(policy) => {
            // The objects of a profile parse: it could not have been made of them otherwise.
            let parsed = serde_json::to_value(policy).map(|value| parse::network_policy(&value, Source::Cluster));
            if let Ok(Ok(policy)) = parsed {
                namespace.put_policy(policy);
            }
        }
        Action::Prune(name) => {
            namespace.remove_policy(name);
        }
        Action::Quarantine(suspect) => quarantine(namespace, suspect),
        Action::EndQuarantine(name, _) => {
            if let Some(policy) = namespace.policy(name).cloned() {
                namespace.put_policy(NetworkPolicy { quarantined: Quarantined::default(), ..policy });
            }
        }
        Action::Isolate(record) => {
            namespace.isolation.isolated = Some("true".to_owned());
            namespace.effective = Some(record.clone());
        }
        Action::DropIsolated => namespace.isolation.isolated = None,
        Action::Record(record) => namespace.effective.clone_from(record),
        Action::EndExemption => namespace.isolation.mode = Some(Mode::Enforce.to_string()),
        Action::Report(text) => namespace.conflict.clone_from(text),
        Action::Lift(pod) => {
            if let Some(pod) = namespace.pods.get_mut(pod) {
                pod.held = false;
            }
        }
    }
}
