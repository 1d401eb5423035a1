//! Events, for the people who look at a namespace. They are published when something has changed, never per retry; kube's
//! recorder makes a series of those that repeat.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use ringfence_core::admission::warnings::cut;
use ringfence_core::index::Namespace;
use ringfence_core::plan::{Action, Notice};
use ringfence_core::vocabulary::RINGFENCE;

/// The API's limit on an Event's note, in bytes.
const NOTE: usize = 1024;

/// Publishes Events about namespaces, in those namespaces, where their tenants see them.
pub(super) struct Events {
    recorder: Recorder,
}

/// What an Event is about: the namespace itself. It names the namespace twice so that the Event goes into it; one
/// without would go to `default`.
fn regarding(namespace: &Namespace) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Namespace".to_owned()),
        name: Some(namespace.name().to_owned()),
        namespace: Some(namespace.name().to_owned()),
        uid: Some(namespace.uid.clone()),
        ..ObjectReference::default()
    }
}

fn pod(namespace: &Namespace, name: &str, uid: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: Some(name.to_owned()),
        namespace: Some(namespace.name().to_owned()),
        uid: Some(uid.to_owned()),
        ..ObjectReference::default()
    }
}

/// What an Event says, cut to what the API takes.
fn note(text: &str) -> String {
    let mut text = cut(text);
    if text.len() > NOTE {
        let end = (0..=NOTE - 4).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        text.truncate(end);
        text.push('…');
    }
    text
}

impl Events {
    pub(super) fn new(client: Client, instance: &str) -> Self {
        let reporter =
            Reporter { controller: "ringfence.dev/controller".to_owned(), instance: Some(instance.to_owned()) };
        Self { recorder: Recorder::new(client, reporter) }
    }

    /// Publishes what an action has brought about, where people want to know.
    pub(super) async fn done(&self, namespace: &Namespace, action: &Action, why: &str) {
        let (kind, reason, text) = match action {
            Action::Quarantine(suspect) => (
                EventType::Warning,
                "PolicyQuarantined",
                format!(
                    "the {} rules of NetworkPolicy {} were removed, because the policy takes part in a hole that the profile \
                     denies: {}; the policy still isolates its pods; apply it again with narrower rules",
                    suspect.direction, suspect.name, suspect.reason
                ),
            ),
            Action::Isolate(_) => (EventType::Normal, "Isolated", "the deny-all baseline is effective".to_owned()),
            Action::DropIsolated => {
                (EventType::Warning, "NotIsolated", format!("the deny-all baseline is not in force any more: {why}"))
            }
            Action::EndExemption => {
                (EventType::Normal, "ExemptionEnded", "the exemption has ended; the mode is enforce again".to_owned())
            }
            Action::Report(Some(conflict)) => (
                EventType::Warning,
                "BaselineConflict",
                format!("the deny-all baseline can't be made effective, and new pods are held: {conflict}"),
            ),
            Action::Report(None)
            | Action::Apply(_)
            | Action::Prune(_)
            | Action::Lift(_)
            | Action::Record(_)
            | Action::EndQuarantine(..) => return,
        };
        self.publish(kind, reason, &text, &regarding(namespace), "Reconcile").await;
    }

    /// Announces what is about to end.
    pub(super) async fn ending(&self, namespace: &Namespace, notice: &Notice) {
        let (reason, what) = match &notice.policy {
            None => ("ExemptionEnds", "the exemption of this namespace".to_owned()),
            Some(policy) => ("ExceptionEnds", format!("the exception of NetworkPolicy {policy}")),
        };
        let text = format!(
            "{what} ends at {}; from then on policies that open a hole that the profile denies are quarantined",
            notice.ends
        );
        self.publish(EventType::Normal, reason, &text, &regarding(namespace), "Announce").await;
    }

    /// Names a pod that is held for long.
    pub(super) async fn held(&self, namespace: &Namespace, name: &str, uid: &str) {
        let why = namespace.conflict.as_deref().unwrap_or("its namespace's deny-all baseline is not effective");
        let text = format!("held for more than a minute: {why}");
        self.publish(EventType::Warning, "HeldForLong", &text, &pod(namespace, name, uid), "Hold").await;
    }

    /// An Event that can't be published is lost: nothing hangs on it, and what it says is in the log.
    async fn publish(&self, kind: EventType, reason: &str, text: &str, about: &ObjectReference, action: &str) {
        let event = Event {
            type_: kind,
            reason: reason.to_owned(),
            note: Some(note(text)),
            action: action.to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, about).await {
            tracing::debug!(controller = RINGFENCE, reason, %error, "an Event could not be published");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::note;

    #[test]
    fn a_note_fits_into_an_event_whatever_it_quotes() {
        assert_eq!(note("short\nlines"), "short lines");
        let long = note(&"é".repeat(4000));
        assert!(long.len() <= 1024 && long.ends_with('…'), "{}", long.len());
    }
}
