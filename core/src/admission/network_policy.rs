//! NetworkPolicies: the namespace's policies are judged as they would be afterwards. Denied is what exists after the
//! request and not before it: a pod that is no longer isolated, a hole of a class that the profile denies.

use std::collections::HashSet;

use serde::Deserialize;

use super::digest::Digest;
use super::linted;
use super::permission::Use;
use super::review::{Operation, Request};
use super::{Context, Decided, Decision, Failure, Reason, Stop, claims};
use crate::index::{Namespace, unexcused};
use crate::object::{Object, counted, nullable};
use crate::policy::holes::Hole;
use crate::policy::lint::peers;
use crate::policy::parse::{Notes, ParseError, Source, noted_json};
use crate::policy::{Direction, NetworkPolicy, coverage, explain, holes};
use crate::profile::{Effect, Profile};
use crate::vocabulary::{MANAGED_BY, Mode, NAMESPACE_CONTROLLERS, RINGFENCE};

crate::object::from_map_only!(Owned, Owners, Owner, Rules);

pub(super) fn validate(request: &Request<'_>, context: &Context<'_>) -> Decided {
    request.expect_v1()?;
    if context.config.is_excluded(&request.namespace) {
        return Ok(Decision::allow(Reason::Excluded));
    }
    // Before anything is read: a namespace that terminates must be able to, whatever is stored in it.
    let goes = request.operation == Operation::Delete && may_be_deleted_by(request, context);
    if goes || context.is_controller(request) {
        return Ok(Decision::allow(Reason::Allowed));
    }
    let judged = match context.mode() {
        None => Err(Reason::NotAdopted),
        Some(Mode::Exempt) => Err(Reason::Exempt),
        Some(mode) => Ok(mode),
    };
    if let Err(reason) = judged
        && !claims_exception(request)
    {
        return Ok(Decision::allow(reason));
    }
    let change = match Change::read(request)? {
        Ok(change) => change,
        Err(invalid) => return Ok(invalid),
    };
    // First of all, because no mode softens it.
    if let Some(denied) = exception(&change, request, context)? {
        return Ok(denied);
    }
    let mode = match judged {
        Ok(mode) => mode,
        Err(reason) => return Ok(Decision::allow(reason)),
    };
    if let Some(denied) = managed(&change, request)? {
        return Ok(denied.in_mode(mode));
    }
    if change.leaves_the_spec() {
        return Ok(Decision::allow(Reason::Allowed));
    }
    Ok(judge(&change, request, context).in_mode(mode))
}

/// What the request does to one policy.
struct Change {
    old: Option<NetworkPolicy>,
    new: Option<NetworkPolicy>,
    /// How the new one is written.
    notes: Notes,
}

impl Change {
    /// Reads the objects. What the API server itself would reject is a denial that names the field.
    fn read(request: &Request<'_>) -> Result<Result<Self, Decision>, Stop> {
        let (wants_old, wants_new) = match request.operation {
            Operation::Create => (false, true),
            Operation::Update => (true, true),
            Operation::Delete => (true, false),
            Operation::Connect => {
                return Err(bad("request.operation CONNECT does not exist for networkpolicies"));
            }
        };
        let read = |wanted: bool, raw: Option<&serde_json::value::RawValue>, field: &str| match (wanted, raw) {
            (false, _) => Ok(Ok(None)),
            (true, None) => Err(bad(&format!("request.{field} is absent"))),
            (true, Some(raw)) => match noted_json(raw.get(), Source::Cluster) {
                Ok(policy) => Ok(Ok(Some(policy))),
                Err(invalid @ ParseError::Invalid(_)) => Ok(Err(invalid)),
                Err(malformed) => Err(bad(&format!("request.{field}.{malformed}"))),
            },
        };
        let old = read(wants_old, request.old_object, "oldObject")?;
        let new = read(wants_new, request.object, "object")?;
        match (old, new) {
            (Ok(old), Ok(new)) => {
                let (new, notes) = new.unzip();
                // The API server sends what it has defaulted, so what was left out can't be told here.
                let notes = Notes { states_types: true, ..notes.unwrap_or_default() };
                Ok(Ok(Self { old: old.map(|(old, _)| old), new, notes }))
            }
            // What is stored already and not understood can't be judged, but the request did not bring it about.
            (Err(stored), _) => Err(bad(&format!("request.oldObject: {stored}"))),
            (Ok(_), Err(invalid)) => Ok(Err(Decision::deny(
                Reason::Invalid,
                format!("the NetworkPolicy is not valid, so what it would open can't be judged: {invalid}"),
            ))),
        }
    }

    fn leaves_the_spec(&self) -> bool {
        matches!((&self.old, &self.new), (Some(old), Some(new))
            if old.spec == new.spec && old.deleting == new.deleting && old.exception == new.exception)
    }

    fn name(&self) -> &str {
        self.old.as_ref().or(self.new.as_ref()).map_or("", |policy| policy.name.as_str())
    }

    fn what(&self) -> String {
        let verb = match (&self.old, &self.new) {
            (None, _) => "creating",
            (Some(_), Some(_)) => "changing",
            (Some(_), None) => "deleting",
        };
        format!("{verb} NetworkPolicy {:?}", self.name())
    }
}

fn bad(problem: &str) -> Stop {
    Stop::Failed(Failure::BadReview(problem.to_owned()))
}

/// The namespace controller empties a namespace that terminates; and once no pod is left running in one, its policies
/// protect nothing. A pod with a long grace period would outlive its policy otherwise (tried).
fn may_be_deleted_by(request: &Request<'_>, context: &Context<'_>) -> bool {
    NAMESPACE_CONTROLLERS.contains(&request.user_info.username.as_ref())
        || context
            .namespace
            .is_some_and(|namespace| namespace.terminating && namespace.pods.values().all(|pod| !pod.running))
}

/// The fields of a policy that nothing but this file asks for.
#[derive(Debug, Default, Deserialize)]
#[serde(default, remote = "Self")]
struct Owned {
    #[serde(deserialize_with = "nullable")]
    metadata: Owners,
    #[serde(deserialize_with = "nullable")]
    spec: Rules,
}

/// The rules as they are written, also those of a direction that is not among the policy types.
#[derive(Debug, Default, Deserialize)]
#[serde(default, remote = "Self")]
struct Rules {
    #[serde(deserialize_with = "nullable")]
    ingress: Digest,
    #[serde(deserialize_with = "nullable")]
    egress: Digest,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", remote = "Self")]
struct Owners {
    #[serde(deserialize_with = "counted")]
    owner_references: Vec<Owner>,
}

#[derive(Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default, remote = "Self")]
struct Owner {
    #[serde(deserialize_with = "nullable")]
    uid: String,
}

/// Whether the object claims an exception. A claim that nobody looks at while the namespace is exempt, or not adopted
/// yet, would excuse holes once it is enforced.
fn claims_exception(request: &Request<'_>) -> bool {
    request.object.is_some()
        && request.new_as::<Object<'_>>().is_ok_and(|object| object.into_metadata().exception().is_some())
}

/// What is done to a managed policy without changing what it means.
fn tampers_unseen(request: &Request<'_>) -> Result<Option<&'static str>, Stop> {
    let (is, was): (Owned, Owned) = (request.new_as()?, request.old_as()?);
    // What is written counts, and not what it means. The controller's apply would leave rules where they are that mean nothing
    // for now, as somebody else's, also once a profile adds their direction; and rules that repeat others mean nothing new.
    if is.spec.ingress != was.spec.ingress || is.spec.egress != was.spec.egress {
        return Ok(Some("adds rules to a baseline that Ringfence manages"));
    }
    // A table that is at least 7/16 full.
    crate::meter::charge(3 * size_of::<Owner>() * was.metadata.owner_references.len())
        .map_err(|exhausted| bad(&exhausted.to_string()))?;
    let known: HashSet<Owner> = was.metadata.owner_references.into_iter().collect();
    let gains_owner = is.metadata.owner_references.iter().any(|owner| !known.contains(owner));
    Ok(gains_owner.then_some("would have the garbage collector delete a baseline that Ringfence manages"))
}

fn managed(change: &Change, request: &Request<'_>) -> Result<Option<Decision>, Stop> {
    let tampering = match (&change.old, &change.new) {
        (None, Some(new)) => new.managed.then_some("takes the label that marks it as Ringfence's own"),
        (Some(old), Some(new)) if old.managed != new.managed => {
            Some("changes the label that marks it as Ringfence's own")
        }
        (Some(old), Some(new)) if old.managed && old.spec != new.spec => {
            Some("changes a baseline that Ringfence manages")
        }
        // Finalizers of a policy that is going already decide about nothing but when it is gone.
        (Some(old), Some(new)) if old.managed && !old.deleting && old.finalizers != new.finalizers => {
            Some("would delay or undo the deletion of a baseline that Ringfence manages")
        }
        (Some(old), Some(_)) if old.managed => tampers_unseen(request)?,
        (Some(old), None) => old.managed.then_some("removes part of the baseline that Ringfence manages"),
        _ => None,
    };
    Ok(tampering.map(|tampering| tampered(tampering, change, request)))
}

fn tampered(tampering: &str, change: &Change, request: &Request<'_>) -> Decision {
    let managed = change.old.as_ref().filter(|old| old.managed);
    let lets_through = |old: &NetworkPolicy| {
        Direction::BOTH.iter().any(|direction| old.spec.rules(*direction).is_some_and(|rules| !rules.is_empty()))
    };
    let stake = if managed.is_some_and(lets_through) {
        "and every pod of the namespace relies on what it lets through"
    } else {
        "and without the baseline every pod can be reached by, and can reach, everything"
    };
    let fix = match (managed, &change.new) {
        // Whoever brings the same manifest means no harm, and must not be sent to an administrator.
        (Some(old), Some(new)) if !new.managed && old.spec == new.spec => {
            "it says what you want it to say already, so leave it as it is, or keep the label (kubectl apply does, kubectl \
             replace does not)"
        }
        _ => {
            "add a policy of another name for what you need to allow, or have a cluster administrator choose another profile"
        }
    };
    Decision::deny(
        Reason::ManagedPolicy,
        format!(
            "{} in namespace {:?} is refused: it {tampering} ({MANAGED_BY}={RINGFENCE}), {stake}; {fix}",
            change.what(),
            request.namespace
        ),
    )
}

/// Whether an exception that the request claims, or that covers more than it did, may stand.
fn exception(change: &Change, request: &Request<'_>, context: &Context<'_>) -> Result<Option<Decision>, Stop> {
    let Some(new) = &change.new else {
        return Ok(None);
    };
    let Some(claimed) = &new.exception else {
        return Ok(None);
    };
    // One that is over excuses nothing any more, so what is left of it stands in the way of nothing.
    let covers_more = |old: &NetworkPolicy| old.spec != new.spec && claimed.is_in_force(context.now);
    if change.old.as_ref().is_some_and(|old| old.exception == new.exception && !covers_more(old)) {
        return Ok(None);
    }
    let longest = &context.config.longest_exemption;
    if let Err(refused) = claims::exception(&change.what(), claimed, context.now, longest) {
        return Ok(Some(Decision::deny(Reason::ExceptionInvalid, refused.message)));
    }
    let asked = Use::Exception { namespace: request.namespace.clone().into_owned(), name: new.name.clone() };
    if context.may(asked.clone())? {
        return Ok(None);
    }
    Ok(Some(Decision::deny(
        Reason::NotPermitted,
        format!(
            "{} with an exception is refused: you may not accept what it opens; leave the annotations out, or ask a cluster \
             administrator for the verb \"use\" on {asked}",
            change.what()
        ),
    )))
}

/// The namespace's policies before the request and after it. `oldObject` is what is stored, whatever the index knows.
fn before_and_after<'a>(
    change: &'a Change,
    namespace: Option<&'a Namespace>,
) -> (Vec<&'a NetworkPolicy>, Vec<&'a NetworkPolicy>) {
    let others: Vec<&NetworkPolicy> =
        namespace.into_iter().flat_map(Namespace::policies).filter(|policy| policy.name != change.name()).collect();
    (others.iter().copied().chain(&change.old).collect(), others.iter().copied().chain(&change.new).collect())
}

fn judge(change: &Change, request: &Request<'_>, context: &Context<'_>) -> Decision {
    let namespace = request.namespace.as_ref();
    let (before, after) = before_and_after(change, context.namespace);
    if let Some(denied) = too_many(change, namespace, &before, context) {
        return denied;
    }
    for direction in Direction::BOTH {
        if let Some(witness) = coverage::lost(&before, &after, direction) {
            return weakened_coverage(change, namespace, direction, witness.as_ref());
        }
    }
    let profile = context.namespace.map_or_else(|| context.config.default_profile(), |ns| ns.profile(context.config));
    let (unexcused_before, unexcused_after) =
        (unexcused(before.iter().copied(), context.now), unexcused(after.iter().copied(), context.now));
    // What the namespace's own profile lets through is nothing to warn of, whoever writes it.
    let is_the_profiles = profile
        .zip(change.new.as_ref())
        .is_some_and(|(profile, new)| profile.policies().iter().any(|policy| policy.parsed.spec == new.spec));
    let mut warnings = Vec::new();
    for direction in Direction::BOTH {
        let (opened, _) = holes::opened(&unexcused_before, &unexcused_after, namespace, direction);
        for hole in &opened {
            match profile.map_or(Effect::Deny, |profile: &Profile| profile.effect(direction, hole)) {
                Effect::Deny => return opened_hole(change, namespace, direction, hole),
                Effect::Warn if is_the_profiles => {}
                Effect::Warn => warnings.push(told(direction, hole)),
                Effect::Allow => {}
            }
        }
        // Without an exception in force afterwards, all that opens has been seen.
        if unexcused_after.len() < after.len() {
            let (with_excused, _) = holes::opened(&before, &after, namespace, direction);
            warnings.extend(
                with_excused
                    .iter()
                    .filter(|hole| !opened.contains(hole))
                    .map(|hole| format!("accepted as an exception: {}", told(direction, hole))),
            );
        }
    }
    if !is_the_profiles {
        let (name, new) = (change.name(), change.new.as_ref().map(|new| (new, &change.notes)));
        warnings.extend(linted::warnings(name, new, namespace, context, &after));
    }
    Decision { warnings, ..Decision::allow(Reason::Allowed) }
}

/// Whether a namespace would have more policies than it may, or larger ones. All of them are held in memory, for each decision.
/// Changes of what is there are never refused for that: a limit that was lowered must not stand in the way of a repair.
fn too_many(change: &Change, namespace: &str, before: &[&NetworkPolicy], context: &Context<'_>) -> Option<Decision> {
    let limits = &context.config.limits;
    let (count, most) = (before.len(), limits.policies_per_namespace);
    let new = change.new.as_ref().filter(|new| !new.managed)?;
    let size = |policies: &[&NetworkPolicy]| policies.iter().map(|policy| policy.size() as u64).sum::<u64>();
    let problem = if change.old.is_none() && count >= most {
        format!("the namespace has {count} policies, and may have {most} (limits.policiesPerNamespace)")
    } else {
        let grown = new.size() > change.old.as_ref().map_or(0, NetworkPolicy::size);
        let bytes =
            size(before).saturating_sub(change.old.as_ref().map_or(0, NetworkPolicy::size) as u64) + new.size() as u64;
        let most = limits.policy_bytes_per_namespace;
        // Nearly every policy is far below what could be too much, so most are not looked at.
        if !grown || bytes <= most {
            return None;
        }
        format!(
            "the namespace's policies would take {bytes} bytes of memory in each replica, and may take {most} \
             (limits.policyBytesPerNamespace)"
        )
    };
    Some(Decision::deny(
        Reason::TooManyPolicies,
        format!(
            "{} in namespace {namespace:?} is refused: {problem}, since all of them are held to judge its isolation; merge policies, delete what is not needed, or ask a cluster \
             administrator for a higher limit",
            change.what()
        ),
    ))
}

fn weakened_coverage(
    change: &Change,
    namespace: &str,
    direction: Direction,
    witness: Option<&crate::policy::selectors::Labels>,
) -> Decision {
    let pod = match witness {
        Some(labels) => format!("a pod with {}", explain::labels(labels)),
        None => "some pod (the selectors are too entangled to say which)".to_owned(),
    };
    let traffic = match direction {
        Direction::Ingress => "could be reached from everything in the cluster and beyond",
        Direction::Egress => "could reach everything in the cluster and beyond",
    };
    Decision::deny(
        Reason::BaselineWeakened,
        format!(
            "{} in namespace {namespace:?} is refused: afterwards no policy would isolate {pod} for {direction}, so it \
             {traffic}; first create a policy that selects every pod (podSelector: {{}}) with both policyTypes",
            change.what()
        ),
    )
}

/// What a hole lets through, naming so many policies at most that what comes behind them is still read.
fn told(direction: Direction, hole: &Hole) -> String {
    const NAMED: usize = 8;
    let more = hole.policies.len().saturating_sub(NAMED);
    if more == 0 {
        return explain::hole(direction, hole);
    }
    let policies = hole.policies.iter().take(NAMED).cloned().collect();
    format!("{} and {more} more policies", explain::hole(direction, &Hole { policies, ..hole.clone() }))
}

fn opened_hole(change: &Change, namespace: &str, direction: Direction, hole: &Hole) -> Decision {
    // What a slip makes of a narrow intention is the first thing to say.
    let slip = change
        .new
        .iter()
        .flat_map(|new| peers::and_or(new, namespace))
        .next()
        .map(|finding| format!(" ({}: {}; {})", finding.path, finding.message, finding.help))
        .unwrap_or_default();
    let fix = match direction {
        Direction::Ingress => {
            "name who may reach the pods: a namespaceSelector with a podSelector in one item of from, or a narrow ipBlock"
        }
        Direction::Egress => {
            "name what the pods may reach: a namespaceSelector with a podSelector in one item of to, or a narrow ipBlock"
        }
    };
    Decision::deny(
        Reason::BaselineWeakened,
        format!(
            "{} in namespace {namespace:?} is refused: it opens {}{slip}; {fix}",
            change.what(),
            told(direction, hole)
        ),
    )
}
