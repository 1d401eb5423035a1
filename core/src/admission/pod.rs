//! Pods: held by a scheduling gate until their namespace's baseline is effective.

use serde::Deserialize;
use serde_json::json;

use super::patch;
use super::review::{Operation, Request, Resource};
use super::{Context, Decided, Decision, Reason};
use crate::config::{Pods, Treatment};
use crate::object::{ObjectMeta, nullable};
use crate::vocabulary::{GATE, HELD, MIRROR, Mode, NODES_GROUP};

crate::object::from_map_only!(Object<'a>, Spec, Gate);

/// A Pod, as far as it is needed (`v1.Pod`).
#[derive(Debug, Default, Deserialize)]
#[serde(default, remote = "Self")]
pub struct Object<'a> {
    #[serde(borrow)]
    metadata: Option<ObjectMeta<'a>>,
    spec: Option<Spec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", remote = "Self")]
struct Spec {
    scheduling_gates: Option<Vec<Gate>>,
    #[serde(deserialize_with = "nullable")]
    node_name: String,
    #[serde(deserialize_with = "nullable")]
    host_network: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, remote = "Self")]
struct Gate {
    #[serde(deserialize_with = "nullable")]
    name: String,
}

impl Object<'_> {
    fn has_gate(&self) -> bool {
        self.gates().into_iter().flatten().any(|gate| gate.name == GATE)
    }

    fn gates(&self) -> Option<&Vec<Gate>> {
        self.spec.as_ref()?.scheduling_gates.as_ref()
    }

    fn has_node(&self) -> bool {
        self.spec.as_ref().is_some_and(|spec| !spec.node_name.is_empty())
    }

    fn on_host_network(&self) -> bool {
        self.spec.as_ref().is_some_and(|spec| spec.host_network)
    }

    fn has_label(&self) -> bool {
        self.metadata.as_ref().and_then(|metadata| metadata.label(HELD)) == Some("true")
    }

    /// The mirror of a static pod. The annotation alone could be forged.
    fn is_mirror(&self, request: &Request<'_>) -> bool {
        self.metadata.as_ref().is_some_and(|metadata| metadata.annotation(MIRROR).is_some())
            && request.user_info.groups.iter().any(|group| group == NODES_GROUP)
    }

    /// What the index keeps of it.
    #[must_use]
    pub fn facts(&self) -> crate::index::Pod {
        crate::index::Pod {
            held: self.has_gate(),
            may_run: self.has_node() || !self.metadata.as_ref().is_some_and(ObjectMeta::is_deleting),
            host_network: self.on_host_network(),
            uid: self.metadata.as_ref().map(|metadata| metadata.uid.to_string()).unwrap_or_default(),
            version: self.metadata.as_ref().map(ObjectMeta::version).unwrap_or_default(),
            created: self.metadata.as_ref().and_then(ObjectMeta::created),
        }
    }
}

/// Adds gate and label. It does so whenever it is called for an enforced namespace: replicas and API servers learn at
/// different times that a namespace is isolated, and a pod that is held needlessly is lifted at once.
pub(super) fn mutate(request: &Request<'_>, context: &Context<'_>) -> Decided {
    request.expect_v1()?;
    if request.operation != Operation::Create {
        return Ok(Decision::allow(Reason::NotOurs));
    }
    if context.config.is_excluded(&request.namespace) {
        return Ok(Decision::allow(Reason::Excluded));
    }
    if context.mode() != Some(Mode::Enforce) || context.config.pods == Pods::Reject {
        return Ok(Decision::allow(Reason::Allowed));
    }
    let object: Object<'_> = request.new_as()?;
    // A gate on a pod with nodeName gets the API's 422 before our own message (tried).
    if object.has_node() {
        return Ok(Decision::allow(Reason::Allowed));
    }
    let mut decision = Decision::allow(Reason::Held);
    if !object.has_gate() {
        let gate = json!({ "name": GATE });
        decision.patch.push(match (&object.spec, object.gates()) {
            (_, Some(_)) => patch::add(&["spec", "schedulingGates", "-"], gate),
            (Some(_), None) => patch::add(&["spec", "schedulingGates"], json!([gate])),
            (None, None) => patch::add(&["spec"], json!({ "schedulingGates": [gate] })),
        });
    }
    if !object.has_label() {
        decision.patch.extend(patch::set_labels(object.metadata.as_ref(), &[(HELD, "true".to_owned())]));
    }
    Ok(decision)
}

pub(super) fn validate(request: &Request<'_>, context: &Context<'_>) -> Decided {
    request.expect_v1()?;
    if context.config.is_excluded(&request.namespace) {
        return Ok(Decision::allow(Reason::Excluded));
    }
    match (request.operation, request.resource()) {
        (Operation::Create, Resource::Pod) => create(request, context),
        (Operation::Update, _) => update(request, context),
        _ => Ok(Decision::allow(Reason::NotOurs)),
    }
}

fn create(request: &Request<'_>, context: &Context<'_>) -> Decided {
    let mode = match context.mode() {
        Some(Mode::Enforce) => Mode::Enforce,
        None => return Ok(Decision::allow(Reason::NotAdopted)),
        Some(Mode::Exempt) => return Ok(Decision::allow(Reason::Exempt)),
        Some(mode) => mode,
    };
    let object: Object<'_> = request.new_as()?;
    if object.is_mirror(request) {
        return Ok(Decision::allow(Reason::Allowed));
    }
    let host = host_network(&object, request, context).map(|decision| decision.in_mode(mode));
    if let Some(denied) = host.as_ref().filter(|decision| !decision.allowed) {
        return Ok(denied.clone());
    }
    // Outside of enforce nothing is applied, so there is nothing to wait for.
    let held = if mode == Mode::Enforce { not_held(&object, request, context) } else { None };
    Ok(held.or(host).unwrap_or_else(|| Decision::allow(Reason::Allowed)))
}

/// Denies the final object where it would run before the baseline is effective.
fn not_held(object: &Object<'_>, request: &Request<'_>, context: &Context<'_>) -> Option<Decision> {
    let namespace = &request.namespace;
    let (gate, label) = (object.has_gate(), object.has_label());
    if context.is_effective() {
        // The controller finds held pods by their label: without it, nobody would ever lift the gate.
        return (gate && !label).then(|| {
            Decision::deny(
                Reason::NotHeld,
                format!(
                    "a pod in namespace {namespace:?} is refused: it carries the scheduling gate {GATE} without the label \
                     {HELD}=true, so it would never be scheduled; have other mutating webhooks leave the label alone, or \
                     leave the gate out"
                ),
            )
        });
    }
    if context.config.pods == Pods::Reject {
        return Some(Decision::deny(
            Reason::BaselineMissing,
            format!(
                "a pod in namespace {namespace:?} is refused: the namespace's deny-all baseline is not effective yet, so the \
                 pod could reach, and be reached from, the whole cluster; try again in a moment"
            ),
        ));
    }
    let lacks = match (gate, label) {
        (true, true) => return None,
        (false, _) if object.has_node() => {
            "spec.nodeName places it on a node at once, so it can't be held; leave nodeName out, or wait until the namespace \
             is isolated"
                .to_owned()
        }
        (gate, label) => {
            let parts = [(!gate).then(|| format!("the scheduling gate {GATE}")), (!label).then(|| format!("the label {HELD}=true"))];
            let parts: Vec<String> = parts.into_iter().flatten().collect();
            format!(
                "it lacks {}, which Ringfence's mutating webhook adds and something took away; have other mutating webhooks \
                 leave them alone, or wait until the namespace is isolated",
                parts.join(" and ")
            )
        }
    };
    Some(Decision::deny(
        Reason::NotHeld,
        format!(
            "a pod in namespace {namespace:?} is refused: the deny-all baseline is not effective yet, so the pod could reach, \
             and be reached from, the whole cluster, and {lacks}"
        ),
    ))
}

fn host_network(object: &Object<'_>, request: &Request<'_>, context: &Context<'_>) -> Option<Decision> {
    if !object.on_host_network() {
        return None;
    }
    let effect = "uses its node's network (spec.hostNetwork): NetworkPolicies do not hold it back in most CNIs, so it can \
                  reach, and be reached from, the whole cluster";
    let namespace = &request.namespace;
    match context.config.host_network {
        Treatment::Allow => None,
        Treatment::Warn => {
            Some(Decision::allow(Reason::HostNetwork).warn(format!("a pod in namespace {namespace:?} {effect}")))
        }
        Treatment::Deny => Some(Decision::deny(
            Reason::HostNetwork,
            format!("a pod in namespace {namespace:?} is refused: it {effect}; leave hostNetwork out"),
        )),
    }
}

/// Only the controller lifts a pod, on the object or through its `status`.
fn update(request: &Request<'_>, context: &Context<'_>) -> Decided {
    let (new, old): (Object<'_>, Object<'_>) = (request.new_as()?, request.old_as()?);
    if !old.has_gate() || (new.has_gate() && (new.has_label() || !old.has_label())) || context.is_controller(request) {
        return Ok(Decision::allow(Reason::Allowed));
    }
    let name = old.metadata.as_ref().map(|metadata| metadata.name.as_ref()).unwrap_or_default();
    let what = if new.has_gate() { format!("the label {HELD}") } else { format!("the scheduling gate {GATE}") };
    Ok(Decision::deny(
        Reason::NotHeld,
        format!(
            "removing {what} from pod {name:?} in namespace {:?} is refused: it would run before its namespace's deny-all \
             baseline is effective; Ringfence lifts it the moment the baseline is",
            request.namespace
        ),
    ))
}
