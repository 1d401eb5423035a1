//! Admission as the API server asks for it: real reviews, through the mutating webhook and the validating one.

use ringfence_core::admission::permission::{Answer, Answers};
use ringfence_core::admission::review::Request;
use ringfence_core::admission::{Context, Decision, Outcome, Webhook, decide};
use ringfence_core::index::Pod;
use ringfence_core::index::reservations::Pending as Admitted;
use ringfence_core::vocabulary::EMBEDDED_CONTROLLER;
use serde_json::{Value, json};

use super::code::{Code, Memory, POD_NAMES, TEAM, policy_object, policy_uid, profile_name, time};
use super::state::{NAMES, Pending, Policy, Profile, RESERVED, Reserved, Says, Stored, View};

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
    /// The record of when it was effective is written, or taken away.
    SetRecord,
    DropRecord,
}

/// From what to what a policy is changed; of what is stored, also whether it is quarantined.
pub(crate) type PolicyChange = (u8, Option<(Says, bool)>, Option<Says>);

/// What a replica says to a change of a policy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdict {
    pub(crate) allowed: bool,
    /// Whether it is to be reserved.
    pub(crate) reserves: bool,
    /// Whether a refusal may follow from what is not stored yet.
    pub(crate) hangs_on_pending: bool,
}

/// What is reserved, as far as a decision depends on it: by name, whether the policy is the known one, and what it may become.
type Possible = [Option<(u8, bool, Option<Says>)>; RESERVED];

/// Whether a namespace is exempt, its profile, whether it is labelled as isolated, and whether its record has changed.
pub(crate) type Labels = (bool, Profile, bool, bool);

/// The answers so far.
pub(crate) struct Remembered {
    pods: Memory<(Option<View>, View, u8), Created>,
    policies: Memory<(View, Possible, u8, PolicyChange, By, bool), Verdict>,
    namespaces: Memory<(Option<Stored>, Edit, u8, By), Option<Labels>>,
    lifts: Memory<(View, u8), bool>,
    /// By exempt, profile, isolated, and the time.
    tenants: Memory<(bool, Profile, bool, u8), bool>,
}

impl Remembered {
    pub(crate) fn new() -> Self {
        Self {
            pods: Memory::new(),
            policies: Memory::new(),
            namespaces: Memory::new(),
            lifts: Memory::new(),
            tenants: Memory::new(),
        }
    }
}

/// The write of the policy that is changed, where there is one.
const BASE: u8 = 7;
/// The uid of a policy that is created.
const FRESH: u8 = 100;

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
        self.ask_with(webhook, view, &Admitted::default(), false, clock, asked)
    }

    /// The same where changes of policies are pending, and a pod may run or not.
    fn ask_with(
        &self,
        webhook: Webhook,
        view: &View,
        pending: &Admitted,
        may_run: bool,
        clock: u8,
        asked: &Asked<'_>,
    ) -> Decision {
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
        let mut index = self.index(view, 0);
        if may_run {
            let pod = Pod { may_run, ..Pod::default() };
            index.contents_mut(TEAM).pods.insert(POD_NAMES[0].to_owned(), pod);
        }
        let known = index.get(TEAM);
        let mut answers = Answers::default();
        loop {
            let context = Context {
                config: &self.configs[usize::from(view.config)],
                controller: EMBEDDED_CONTROLLER,
                now: time(clock),
                namespace: known.as_deref(),
                pending,
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
        let mutates = mutates.map(View::for_decisions);
        let validates = validates.for_decisions();
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
        let facts = view.for_decisions();
        self.decided.lifts.get((facts, clock), || {
            let name = POD_NAMES[0];
            let old = json!({ "metadata": { "name": name, "labels": { "ringfence.dev/held": "true" } },
                "spec": { "schedulingGates": [{ "name": "ringfence.dev/baseline" }] } });
            let new = json!({ "metadata": { "name": name }, "spec": {} });
            let asked = Asked { operation: "UPDATE", resource: ("", "pods"), name, old, new, by: By::Tenant };
            self.ask(Webhook::Validate, &facts, clock, &asked).allowed
        })
    }

    /// What the webhook says to a policy's being created, changed or deleted, and whether it reserves that as it should.
    pub(crate) fn decide_policy(
        &self,
        view: &View,
        pending: Pending,
        clock: u8,
        change: PolicyChange,
        by: By,
        may_run: bool,
    ) -> Verdict {
        let known = |reserved: &Reserved| {
            view.policies[usize::from(reserved.slot)].is_some_and(|policy| policy.uid == reserved.uid)
        };
        let mut possible = pending.map(|reserved| reserved.map(|one| (one.slot, known(&one), one.to)));
        possible.sort_unstable();
        let facts = view.for_decisions();
        self.decided.policies.get((facts, possible, clock, change, by, may_run), || {
            let (slot, old, new) = change;
            let uid = if old.is_some() { slot + 1 } else { FRESH };
            let version = if old.is_some() { BASE } else { 0 };
            let quarantined = old.is_some_and(|(_, quarantined)| quarantined);
            let object = |says: Option<Says>| {
                says.map_or(Value::Null, |says| {
                    policy_object(slot, Policy { says, version, uid, spec: 1, quarantined })
                })
            };
            let operation = match (old, new) {
                (None, _) => "CREATE",
                (_, None) => "DELETE",
                _ => "UPDATE",
            };
            let resource = ("networking.k8s.io", "networkpolicies");
            let name = NAMES[usize::from(slot)];
            let asked = Asked { operation, resource, name, old: object(old.map(|old| old.0)), new: object(new), by };
            let reserved: Vec<Reserved> = (FRESH + 1..).zip(possible.into_iter().flatten()).map(reserved).collect();
            let pending = self.reservations(&reserved).of(TEAM);
            let decision = self.ask_with(Webhook::Validate, &facts, &pending, may_run, clock, &asked);
            if let Some(change) = &decision.change {
                let outcome = change.outcome.as_ref().map(|policy| &policy.spec);
                let meant = new.map(|says| self.policies[&(slot, says, false)].spec.clone());
                assert!(decision.allowed && change.uid == policy_uid(slot, uid) && change.base == u64::from(version));
                assert_eq!((&*change.name, outcome), (name, meant.as_ref()));
            }
            Verdict {
                allowed: decision.allowed,
                reserves: decision.change.is_some(),
                hangs_on_pending: decision.hangs_on_pending,
            }
        })
    }

    /// Whether the webhook lets a tenant change what a namespace says of its isolation.
    pub(crate) fn lets_tenant_edit(&self, stored: Stored, clock: u8) -> bool {
        self.decided.tenants.get((stored.exempt, stored.profile, stored.isolated, clock), || {
            let edits = [
                Edit::Strip,
                Edit::SetIsolated,
                Edit::DropIsolated,
                Edit::Exempt,
                Edit::Profile(Profile::Open),
                Edit::SetRecord,
                Edit::DropRecord,
            ];
            let before = (stored.exempt, stored.profile, stored.isolated, false);
            edits
                .into_iter()
                .filter_map(|edit| self.edit(Some(stored), edit, clock, By::Tenant))
                .any(|after| after != before)
        })
    }

    /// What is stored of a namespace's mode (whether it is exempt), profile and `isolated` after both webhooks, if it is
    /// let through.
    pub(crate) fn edit(&self, old: Option<Stored>, edit: Edit, clock: u8, by: By) -> Option<Labels> {
        let bare = old.map(|old| Stored { uid: 0, version: 0, conflict: 0, effective: None, ..old });
        self.decided.namespaces.get((bare, edit, clock, by), || {
            let mut before = bare.map_or(Value::Null, |stored| self.namespace_object(stored));
            if edit == Edit::DropRecord {
                before["metadata"]["annotations"]["ringfence.dev/effective"] = json!("{}");
            }
            let mut after = if before.is_null() { json!({ "metadata": { "name": TEAM } }) } else { before.clone() };
            self.change(&mut after["metadata"], edit);
            let mut asked = Asked {
                operation: if before.is_null() { "CREATE" } else { "UPDATE" },
                resource: ("", "namespaces"),
                name: TEAM,
                old: before.clone(),
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
            let record = &asked.new["metadata"]["annotations"]["ringfence.dev/effective"];
            let is_another = record != &before["metadata"]["annotations"]["ringfence.dev/effective"];
            Some((exempt, profile, !labels["ringfence.dev/isolated"].is_null(), is_another))
        })
    }

    fn change(&self, metadata: &mut Value, edit: Edit) {
        let exempt = Stored { exempt: true, ..Stored::new(0, 0) };
        let exemption = self.namespace_object(exempt)["metadata"]["annotations"].clone();
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
            Edit::SetRecord => metadata["annotations"]["ringfence.dev/effective"] = json!("{}"),
            Edit::DropRecord => {
                metadata["annotations"].as_object_mut().unwrap().remove("ringfence.dev/effective");
            }
        }
    }
}

/// A reservation that a decision may depend on.
fn reserved((other, (slot, known, to)): (u8, (u8, bool, Option<Says>))) -> Reserved {
    Reserved { slot, uid: if known { slot + 1 } else { other }, base: 0, to }
}
