//! NetworkPolicies: the namespace's policies are judged as they would be afterwards, together with what was admitted a
//! moment ago and is not stored yet. A change is denied if a pod is no longer isolated after it, or if the policy takes
//! part in a hole of a class that the profile denies, whether the hole was there before or not. An update that allows the
//! same or less is never denied, and a deletion opens nothing.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Deserialize;

use super::digest::Digest;
use super::linted;
use super::permission::Use;
use super::review::{Operation, Request};
use super::{Context, Decided, Decision, Failure, Reason, Stop, claims};
use crate::index::reservations::{self, Pending};
use crate::index::{Namespace, is_excused, unexcused};
use crate::object::{Object, counted, nullable};
use crate::policy::compare::allows_no_more;
use crate::policy::criteria::Criteria;
use crate::policy::holes::{Class, Hole, Part, part_of};
use crate::policy::lint::peers;
use crate::policy::parse::names::{is_dns_label, is_subdomain};
use crate::policy::parse::{Notes, ParseError, Source, noted_json};
use crate::policy::{Direction, NetworkPolicy, coverage, explain, holes};
use crate::profile::{Effect, Profile};
use crate::vocabulary::{MANAGED_BY, Mode, NAMESPACE_CONTROLLERS, QUARANTINED, RINGFENCE, stand_in};

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
    if let Some(denied) = quarantine_forged(&change, request)? {
        return Ok(denied);
    }
    if let Some(denied) = managed(&change, request)? {
        return Ok(denied.in_mode(mode));
    }
    if let Some(denied) = name_taken(&change, request, context) {
        return Ok(denied.in_mode(mode));
    }
    if change.leaves_the_spec() {
        return Ok(Decision::allow(Reason::Allowed));
    }
    let decision = judge_with_pending(&change, request, context);
    if decision.allowed && mode == Mode::Enforce {
        return Ok(Decision { change: Some(change.into_reserved(request)?), ..decision });
    }
    Ok(decision.in_mode(mode))
}

/// The longest uid or name that a policy has, in bytes.
const LONGEST_KEY: usize = 253;

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
        matches!((&self.old, &self.new), (Some(old), Some(new)) if old.means_the_same(new))
    }

    /// The change to keep until its outcome is known. The names that it is kept under are checked: a review need not come
    /// from an API server, which would have checked them.
    fn into_reserved(self, request: &Request<'_>) -> Result<reservations::Change, Stop> {
        let (key, base) = match (&self.old, &self.new) {
            (Some(old), _) => (reservations::key(old), old.version),
            (None, new) => (new.as_ref().map_or("", reservations::key), 0),
        };
        if !is_dns_label(&request.namespace) {
            return Err(bad("request.namespace is not the name of a namespace"));
        }
        if !is_subdomain(self.name()) || key.len() > LONGEST_KEY {
            return Err(bad("metadata.name or metadata.uid of the object is not one that an API server gives"));
        }
        let (uid, name) = (key.to_owned(), self.name().to_owned());
        Ok(reservations::Change { uid, base, name, outcome: self.new.map(Arc::new) })
    }

    /// Whether the stored policy is this one.
    fn is_of(&self, policy: &NetworkPolicy) -> bool {
        policy.name == self.name()
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

/// The namespace controller empties a namespace that terminates; and once no pod is left in one that runs or may still
/// run, its policies protect nothing. A pod with a long grace period would outlive its policy otherwise (tried).
fn may_be_deleted_by(request: &Request<'_>, context: &Context<'_>) -> bool {
    NAMESPACE_CONTROLLERS.contains(&request.user_info.username.as_ref())
        || context
            .namespace
            .is_some_and(|namespace| namespace.terminating && namespace.pods.values().all(|pod| !pod.may_run))
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

/// Whether somebody else than the controller writes the annotation of a quarantine. To remove it is allowed.
fn quarantine_forged(change: &Change, request: &Request<'_>) -> Result<Option<Decision>, Stop> {
    // Most policies have no such annotation, and need not be read again for it.
    if change.new.is_none() || request.object.is_none_or(|object| !object.get().contains(QUARANTINED)) {
        return Ok(None);
    }
    let said = |object: Object<'_>| object.into_metadata().annotation(QUARANTINED).map(str::to_owned);
    let was = if change.old.is_some() { said(request.old_as()?) } else { None };
    if said(request.new_as()?) == was {
        return Ok(None);
    }
    Ok(Some(Decision::deny(
        Reason::LabelTampered,
        format!(
            "{} in namespace {:?} is refused: only Ringfence's controller writes the annotation {QUARANTINED}, which says \
             that rules were removed because they opened a hole; leave the annotation as it is, or take it out",
            change.what(),
            request.namespace
        ),
    )))
}

/// Whether the change takes the name of one of the profile's policies for something else. A policy that had the name before
/// keeps it: Ringfence then stores its own under another name.
fn name_taken(change: &Change, request: &Request<'_>, context: &Context<'_>) -> Option<Decision> {
    let new = change.new.as_ref()?;
    let ours = profile(context)?.policies().iter().find(|policy| {
        (policy.name == new.name || stand_in(&policy.name) == new.name) && policy.parsed.spec != new.spec
    })?;
    let had_it = change.old.as_ref().is_some_and(|old| old.spec != ours.parsed.spec);
    if had_it {
        return None;
    }
    Some(Decision::deny(
        Reason::ManagedPolicy,
        format!(
            "{} in namespace {:?} is refused: the name belongs to a policy of the namespace's baseline, and this one says \
             something else; use another name, or the baseline's rules",
            change.what(),
            request.namespace
        ),
    ))
}

fn profile<'a>(context: &Context<'a>) -> Option<&'a Profile> {
    context.namespace.map_or_else(|| context.config.default_profile(), |ns| ns.profile(context.config))
}

/// Judges a change by what is stored, and then by what may be stored in a moment.
fn judge_with_pending(change: &Change, request: &Request<'_>, context: &Context<'_>) -> Decision {
    let decision = judge(change, request, context, &Pending::default());
    if context.pending.is_empty() {
        return decision;
    }
    if !decision.allowed {
        // What is known may be behind what was admitted.
        return Decision { hangs_on_pending: true, ..decision };
    }
    let pending = judge(change, request, context, context.pending);
    if pending.allowed {
        return decision;
    }
    let names: Vec<String> = context.pending.names().into_iter().map(|name| format!("{name:?}")).collect();
    let message = format!(
        "{}; it is judged together with what was admitted a moment ago and may not be stored yet (NetworkPolicy {}), so try \
         again in a minute if that was not stored",
        pending.message,
        names.join(", ")
    );
    Decision { message, hangs_on_pending: true, ..pending }
}

fn judge(change: &Change, request: &Request<'_>, context: &Context<'_>, pending: &Pending) -> Decision {
    let namespace = request.namespace.as_ref();
    // `oldObject` is what is stored, whatever the index knows; and of one policy only one spec is stored at a time.
    let stored: Vec<&NetworkPolicy> =
        context.namespace.into_iter().flat_map(Namespace::policies).filter(|policy| !change.is_of(policy)).collect();
    let certain = pending.certain(&stored);
    let before: Vec<&NetworkPolicy> = certain.iter().map(AsRef::as_ref).chain(&change.old).collect();
    let after: Vec<&NetworkPolicy> = certain.iter().map(AsRef::as_ref).chain(&change.new).collect();
    for direction in Direction::BOTH {
        if let Some(witness) = coverage::lost(&before, &after, direction) {
            return weakened_coverage(change, namespace, direction, witness.as_ref());
        }
    }
    let others: Vec<&NetworkPolicy> =
        pending.possible(&stored).into_iter().filter(|policy| !change.is_of(policy)).collect();
    let there: Vec<&NetworkPolicy> = others.iter().copied().chain(&change.old).collect();
    if let Some(denied) = too_many(change, namespace, &there, context) {
        return denied;
    }
    if let Some(denied) = change.new.as_ref().and_then(|new| takes_part(change, new, &others, namespace, context)) {
        return denied;
    }
    let warnings = warnings(change, &others, namespace, context);
    Decision { warnings, ..Decision::allow(Reason::Allowed) }
}

/// Whether the policy takes part in a hole that the profile denies, as it would be among the others.
fn takes_part(
    change: &Change,
    new: &NetworkPolicy,
    others: &[&NetworkPolicy],
    namespace: &str,
    context: &Context<'_>,
) -> Option<Decision> {
    if is_excused(new, context.now) || is_no_more(change, new, namespace, context) {
        return None;
    }
    let profile = profile(context);
    let unknown = Criteria::default();
    let criteria = profile.map_or(&unknown, Profile::criteria);
    let after: Vec<&NetworkPolicy> = unexcused(others.iter().copied(), context.now).into_iter().chain([new]).collect();
    for direction in Direction::BOTH {
        let denies = |class: Class| profile.is_none_or(|profile| profile.denies(direction, class));
        // A hole that is there may be gone in a moment, and until then hides the part that others take in a hole.
        let open = holes::participants(&after[..after.len() - 1], direction, criteria, denies).certain;
        let rest = after.iter().enumerate().filter(|(index, _)| !open.contains(index)).map(|(_, policy)| *policy);
        let rest: Vec<&NetworkPolicy> = if open.is_empty() { Vec::new() } else { rest.collect() };
        for among in [&after, &rest].into_iter().filter(|among| !among.is_empty()) {
            match part_of(among, among.len() - 1, direction, criteria, denies) {
                Part::None => {}
                Part::In(hole) => return Some(opened_hole(change, namespace, direction, &hole)),
                Part::Undecided => return Some(too_complex(change, namespace, direction)),
            }
        }
    }
    None
}

/// Whether the policy allows what it did, or less: no update is refused for what others do.
fn is_no_more(change: &Change, new: &NetworkPolicy, namespace: &str, context: &Context<'_>) -> bool {
    change.old.as_ref().is_some_and(|old| {
        // What an exception accepted until now counts from now on.
        !is_excused(old, context.now)
            && Direction::BOTH.into_iter().all(|direction| allows_no_more(old, new, namespace, direction))
    })
}

fn warnings(change: &Change, others: &[&NetworkPolicy], namespace: &str, context: &Context<'_>) -> Vec<String> {
    let profile = profile(context);
    // What the namespace's own profile lets through needs no warning, whoever writes it.
    let is_the_profiles = |new: &NetworkPolicy| {
        profile.is_some_and(|profile| profile.policies().iter().any(|policy| policy.parsed.spec == new.spec))
    };
    if change.new.as_ref().is_some_and(is_the_profiles) {
        return Vec::new();
    }
    let before: Vec<&NetworkPolicy> = others.iter().copied().chain(&change.old).collect();
    let after: Vec<&NetworkPolicy> = others.iter().copied().chain(&change.new).collect();
    let (unexcused_before, unexcused_after) =
        (unexcused(before.iter().copied(), context.now), unexcused(after.iter().copied(), context.now));
    let unknown = Criteria::default();
    let criteria = profile.map_or(&unknown, Profile::criteria);
    let mut warnings = Vec::new();
    // A deletion opens nothing.
    for direction in Direction::BOTH.into_iter().filter(|_| change.new.is_some()) {
        let (opened, _) = holes::opened(&unexcused_before, &unexcused_after, direction, criteria);
        let warns = |hole: &&Hole| profile.is_some_and(|profile| profile.effect(direction, hole) == Effect::Warn);
        warnings.extend(opened.iter().filter(warns).map(|hole| told(direction, hole)));
        // Without an exception in force afterwards, all that opens has been seen.
        if unexcused_after.len() < after.len() {
            let (with_excused, _) = holes::opened(&before, &after, direction, criteria);
            let excused = with_excused.iter().filter(|hole| !opened.contains(hole));
            warnings.extend(excused.map(|hole| format!("accepted as an exception: {}", told(direction, hole))));
        }
    }
    let (name, new) = (change.name(), change.new.as_ref().map(|new| (new, &change.notes)));
    warnings.extend(linted::warnings(name, new, namespace, context, &after));
    warnings
}

fn too_complex(change: &Change, namespace: &str, direction: Direction) -> Decision {
    Decision::deny(
        Reason::BaselineWeakened,
        format!(
            "{} in namespace {namespace:?} is refused: together with the namespace's other policies it is too complex to judge \
             for {direction}, so it could let everything through; use fewer labels, selectors or policies",
            change.what()
        ),
    )
}

/// Whether a namespace would have more policies than it may, or larger ones. All of them are held in memory, for each decision.
/// Changes of what is there are never refused for that: a limit that was lowered must not stand in the way of a repair.
fn too_many(change: &Change, namespace: &str, before: &[&NetworkPolicy], context: &Context<'_>) -> Option<Decision> {
    let limits = &context.config.limits;
    let new = change.new.as_ref().filter(|new| !new.managed)?;
    let (count, most) = (before.len(), limits.policies_per_namespace);
    let problem = if change.old.is_none() && count >= most {
        format!("the namespace has {count} policies, and may have {most} (limits.policiesPerNamespace)")
    } else {
        let (old, new) = (change.old.as_ref().map_or(0, NetworkPolicy::size), new.size());
        if new <= old {
            return None;
        }
        let bytes = (before.iter().map(|policy| policy.size()).sum::<usize>().saturating_sub(old) + new) as u64;
        let most = limits.policy_bytes_per_namespace;
        if bytes <= most {
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
            "{} in namespace {namespace:?} is refused: {problem}, since all of them are held to judge its isolation; merge \
             policies, delete what is not needed, or ask a cluster administrator for a higher limit",
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
    let traffic = match direction {
        Direction::Ingress => "could be reached from everything in the cluster and beyond",
        Direction::Egress => "could reach everything in the cluster and beyond",
    };
    let why = match witness {
        Some(labels) => {
            let pod = explain::labels(labels);
            format!("afterwards no policy would isolate a pod with {pod} for {direction}, so it {traffic}")
        }
        None => format!(
            "whether every pod would still be isolated for {direction} is too complex to judge, and a pod that is not {traffic}"
        ),
    };
    Decision::deny(
        Reason::BaselineWeakened,
        format!(
            "{} in namespace {namespace:?} is refused: {why}; first create a policy that selects every pod (podSelector: {{}}) \
             with both policyTypes",
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
