//! Admission as the API server asks for it: real reviews, through the mutating webhook and the validating one.

use ringfence_core::admission::permission::{Answer, Answers};
use ringfence_core::admission::review::Request;
use ringfence_core::admission::{Context, Decision, Outcome, Webhook, decide};
use ringfence_core::vocabulary::EMBEDDED_CONTROLLER;
use serde_json::{Value, json};

use super::code::{Code, Memory, POD_NAMES, TEAM, policy_object, profile_name, time};
use super::state::{NAMES, Profile, Says, Stored, View};

/// Who asks: one who may deviate in no way, or one who may in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum By {
    Tenant,
    Admin,
}

/// What becomes of a pod that is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Created {
    Held,
    Running,
    Refused,
}

/// A change of a namespace's labels and annotations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Edit {
    /// Created, with nothing said of Ringfence, or with the label that only the controller sets.
    Plain,
    ClaimingIsolated,
    Exempt,
    Enforce,
    Profile(Profile),
    /// Replaced by a manifest without the labels.
    Strip,
    SetIsolated,
    DropIsolated,
}

/// From what to what a policy is changed.
pub(crate) type PolicyChange = (u8, Option<Says>, Option<Says>);

/// Whether a namespace is exempt, its profile, and whether it is labelled as isolated.
pub(crate) type Labels = (bool, Profile, bool);

/// The answers so far.
pub(crate) struct Remembered {
    pods: Memory<(Option<View>, View, u8), Created>,
    policies: Memory<(View, u8, PolicyChange, By), bool>,
    namespaces: Memory<(Option<Stored>, Edit, u8, By), Option<Labels>>,
    lifts: Memory<(View, u8), bool>,
}

impl Remembered {
    pub(crate) fn new() -> Self {
        Self { pods: Memory::new(), policies: Memory::new(), namespaces: Memory::new(), lifts: Memory::new() }
    }
}

struct Asked<'a> {
    operation: &'a str,
    resource: (&'a str, &'a str),
    name: &'a str,
    old: Value,
    new: Value,
    by: By,
}

impl Code {
    fn ask(&self, webhook: Webhook, view: &View, clock: u8, asked: &Asked<'_>) -> Decision {
        let (group, resource) = asked.resource;
        let user = if asked.by == By::Tenant { "jane" } else { "root" };
        let body = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "u-1", "resource": { "group": group, "version": "v1", "resource": resource },
            "name": asked.name, "namespace": TEAM, "operation": asked.operation,
            "userInfo": { "username": user, "groups": ["system:authenticated"] },
            "object": asked.new, "oldObject": asked.old, "dryRun": false,
        } })
        .to_string();
        let request = Request::parse(body.as_bytes()).unwrap();
        let known = self.index(view).get(TEAM);
        let mut answers = Answers::default();
        loop {
            let context = Context {
                config: &self.config,
                controller: EMBEDDED_CONTROLLER,
                now: time(clock),
                namespace: known.as_deref(),
                answers: &answers,
            };
            match decide(webhook, &request, &context) {
                Outcome::Decided(decision) => return decision,
                Outcome::Ask(asks) => {
                    let answer = if asked.by == By::Tenant { Answer::Denied } else { Answer::Allowed };
                    answers.insert(asks, answer);
                }
                Outcome::Failed(failure) => panic!("{failure}: {body}"),
            }
        }
    }

    /// A pod's way through both webhooks: two replicas, each with its view. Without the first, another webhook has taken
    /// gate and label off in between.
    pub(crate) fn create_pod(&self, mutates: Option<&View>, validates: &View, clock: u8) -> Created {
        let mutates = mutates.map(View::without_pods);
        let validates = validates.without_pods();
        self.decided.pods.get((mutates, validates, clock), || {
            let object = json!({ "metadata": { "name": POD_NAMES[0] }, "spec": { "containers": [] } });
            let mut asked = Asked {
                operation: "CREATE",
                resource: ("", "pods"),
                name: POD_NAMES[0],
                old: Value::Null,
                new: object,
                by: By::Tenant,
            };
            if let Some(view) = &mutates {
                let decision = self.ask(Webhook::Mutate, view, clock, &asked);
                assert!(decision.allowed, "{decision:?}");
                json_patch::patch(&mut asked.new, &decision.patch).unwrap();
            }
            let decision = self.ask(Webhook::Validate, &validates, clock, &asked);
            match (decision.allowed, asked.new["spec"]["schedulingGates"].is_array()) {
                (true, true) => Created::Held,
                (true, false) => Created::Running,
                (false, _) => Created::Refused,
            }
        })
    }

    /// Whether the webhook lets a tenant take the gate off a pod.
    pub(crate) fn lets_tenant_lift(&self, view: &View, clock: u8) -> bool {
        let facts = view.without_pods();
        self.decided.lifts.get((facts, clock), || {
            let name = POD_NAMES[0];
            let old = json!({ "metadata": { "name": name, "labels": { "ringfence.dev/held": "true" } },
                "spec": { "schedulingGates": [{ "name": "ringfence.dev/baseline" }] } });
            let new = json!({ "metadata": { "name": name }, "spec": {} });
            let asked = Asked { operation: "UPDATE", resource: ("", "pods"), name, old, new, by: By::Tenant };
            self.ask(Webhook::Validate, &facts, clock, &asked).allowed
        })
    }

    /// Whether the webhook lets a policy be created, changed or deleted.
    pub(crate) fn lets_policy(&self, view: &View, clock: u8, change: PolicyChange, by: By) -> bool {
        let facts = view.without_pods();
        self.decided.policies.get((facts, clock, change, by), || {
            let (slot, old, new) = change;
            let object = |says: Option<Says>| says.map_or(Value::Null, |says| policy_object(slot, says, 0));
            let operation = match (old, new) {
                (None, _) => "CREATE",
                (_, None) => "DELETE",
                _ => "UPDATE",
            };
            let resource = ("networking.k8s.io", "networkpolicies");
            let name = NAMES[usize::from(slot)];
            let asked = Asked { operation, resource, name, old: object(old), new: object(new), by };
            self.ask(Webhook::Validate, &facts, clock, &asked).allowed
        })
    }

    /// What is stored of a namespace's mode (whether it is exempt), profile and `isolated` after both webhooks, if it is
    /// let through.
    pub(crate) fn edit(&self, old: Option<Stored>, edit: Edit, clock: u8, by: By) -> Option<Labels> {
        let bare = old.map(|old| Stored { uid: 0, version: 0, conflict: 0, ..old });
        self.decided.namespaces.get((bare, edit, clock, by), || {
            let before = bare.map_or(Value::Null, |stored| self.namespace_object(stored));
            let mut after = if before.is_null() { json!({ "metadata": { "name": TEAM } }) } else { before.clone() };
            self.change(&mut after["metadata"], edit);
            let mut asked = Asked {
                operation: if before.is_null() { "CREATE" } else { "UPDATE" },
                resource: ("", "namespaces"),
                name: TEAM,
                old: before,
                new: after,
                by,
            };
            let nothing = View::default();
            let decision = self.ask(Webhook::Mutate, &nothing, clock, &asked);
            json_patch::patch(&mut asked.new, &decision.patch).unwrap();
            if !self.ask(Webhook::Validate, &nothing, clock, &asked).allowed {
                return None;
            }
            let labels = &asked.new["metadata"]["labels"];
            let profile = match labels["ringfence.dev/profile"].as_str() {
                Some("team") => Profile::Team,
                Some("open") => Profile::Open,
                other => panic!("a namespace of profile {other:?} was let through"),
            };
            let exempt = match labels["ringfence.dev/mode"].as_str() {
                Some("enforce") => false,
                Some("exempt") => true,
                other => panic!("a namespace of mode {other:?} was let through"),
            };
            Some((exempt, profile, !labels["ringfence.dev/isolated"].is_null()))
        })
    }

    fn change(&self, metadata: &mut Value, edit: Edit) {
        let exemption = self.namespace_object(Stored {
            uid: 0,
            version: 0,
            exempt: true,
            profile: Profile::Team,
            isolated: false,
            terminating: false,
            conflict: 0,
        })["metadata"]["annotations"]
            .clone();
        match edit {
            Edit::Plain => {}
            Edit::ClaimingIsolated => metadata["labels"] = json!({ "ringfence.dev/isolated": "true" }),
            Edit::Exempt => {
                metadata["labels"]["ringfence.dev/mode"] = json!("exempt");
                metadata["annotations"] = exemption;
            }
            Edit::Enforce => {
                metadata["labels"]["ringfence.dev/mode"] = json!("enforce");
                metadata["annotations"] = json!({});
            }
            Edit::Profile(profile) => metadata["labels"]["ringfence.dev/profile"] = json!(profile_name(profile)),
            Edit::Strip => metadata["labels"] = json!({}),
            Edit::SetIsolated => metadata["labels"]["ringfence.dev/isolated"] = json!("true"),
            Edit::DropIsolated => {
                metadata["labels"].as_object_mut().unwrap().remove("ringfence.dev/isolated");
            }
        }
    }
}
