//! Rejects a namespace for which no deny-all baseline is guaranteed, and changes that would end the guarantee.
//!
//! It stands alone: a namespace can get past the mutating webhook's selector (generateName with a forged
//! `kubernetes.io/metadata.name`, tried), so nothing is taken for granted that the mutating webhook does.

use super::stored_name;
use crate::admission::permission::{NONE, Use};
use crate::admission::review::{Operation, Request};
use crate::admission::{Context, Decided, Decision, Reason, Stop, claims};
use crate::config::Existing;
use crate::index::Isolation;
use crate::object::{Entries, Object, ObjectMeta};
use crate::vocabulary::{CONTROLLERS_ANNOTATIONS, GROUP, ISOLATED, MODE, Mode, PROFILE};

pub(in crate::admission) fn decide(request: &Request<'_>, context: &Context<'_>) -> Decided {
    if request.operation == Operation::Create
        && context.config.excluded.contains(request.name.as_ref())
        && !context.may(Use::Mode(Mode::Exempt.to_string()))?
    {
        return Ok(excluded_name(&request.name));
    }
    super::decide(request, context, create, update)
}

/// An unused name that is excluded would be a namespace without a baseline for whoever takes it first.
fn excluded_name(name: &str) -> Decision {
    Decision::deny(
        Reason::NotPermitted,
        format!(
            "creating namespace {name:?} is refused: the configuration excludes this name, so no baseline would hold back what \
             runs in it; have a cluster administrator create it, or grant the rule \
             {{apiGroups: [{GROUP}], resources: [modes], resourceNames: [{}], verbs: [use]}}",
            Mode::Exempt
        ),
    )
}

/// `namespaces/status` and `namespaces/finalize`: labels can be changed through them without any other call (tried), by
/// whoever a custom role lets.
pub(in crate::admission) fn subresource(request: &Request<'_>, context: &Context<'_>) -> Decided {
    request.expect_v1()?;
    if request.operation != Operation::Update || context.is_controller(request) {
        return Ok(Decision::allow(Reason::Allowed));
    }
    if context.config.is_excluded(&request.name) {
        return Ok(Decision::allow(Reason::Excluded));
    }
    let new = request.new_as::<Object<'_>>()?.into_metadata();
    let old = request.old_as::<Object<'_>>()?;
    let name = stored_name(&old, request);
    if context.config.is_excluded(&name) {
        return Ok(Decision::allow(Reason::Excluded));
    }
    match first_difference(&old.into_metadata(), &new) {
        None => Ok(Decision::allow(Reason::Allowed)),
        Some(key) => Ok(Decision::deny(
            Reason::LabelTampered,
            format!(
                "changing {key} of namespace {name:?} through its {} is refused: it would change its isolation without being \
                 judged; change it on the namespace itself",
                request.sub_resource
            ),
        )),
    }
}

/// A label or annotation of Ringfence's that differs.
fn first_difference(old: &ObjectMeta<'_>, new: &ObjectMeta<'_>) -> Option<String> {
    let pairs = |metadata: &ObjectMeta<'_>| -> std::collections::BTreeMap<(u8, String), String> {
        let labels = metadata.labels.iter().flat_map(Entries::own).map(|pair| (0, pair));
        let annotations = metadata.annotations.iter().flat_map(Entries::own).map(|pair| (1, pair));
        labels.chain(annotations).map(|(kind, (key, value))| ((kind, key.to_owned()), value.to_owned())).collect()
    };
    let (old, new) = (pairs(old), pairs(new));
    old.iter()
        .filter(|(key, value)| new.get(*key) != Some(*value))
        .chain(new.iter().filter(|(key, _)| !old.contains_key(*key)))
        .map(|((_, key), _)| key.clone())
        .next()
}

fn create(request: &Request<'_>, context: &Context<'_>) -> Decided {
    let metadata = request.new_as::<Object<'_>>()?.into_metadata();
    let new = Isolation::of(&metadata);
    let name = if request.name.is_empty() { "with a generated name".to_owned() } else { format!("{:?}", request.name) };
    if new.isolated.is_some() {
        let why = "created with it, a namespace would count as isolated before any policy exists";
        return Ok(tampered(&name, "label", ISOLATED, why));
    }
    if let Some(denied) = annotations_tampered(&name, &ObjectMeta::default(), &metadata) {
        return Ok(denied);
    }
    if new.profile.is_none() || new.mode.is_none() {
        return Ok(missing(&name, &new, context));
    }
    if let Some(denied) = labels(&name, &new, context) {
        return Ok(denied);
    }
    if let Some(denied) = claimed(&name, &new, context) {
        return Ok(denied);
    }
    if let Some(denied) = deviation(&name, &Isolation::default(), &new, context)? {
        return Ok(denied);
    }
    Ok(Decision::allow(Reason::Allowed))
}

fn update(request: &Request<'_>, context: &Context<'_>) -> Decided {
    let (new_metadata, old_object) = (request.new_as::<Object<'_>>()?.into_metadata(), request.old_as::<Object<'_>>()?);
    let plain = stored_name(&old_object, request);
    if context.config.is_excluded(&plain) {
        return Ok(Decision::allow(Reason::Excluded));
    }
    if context.is_controller(request) {
        return Ok(Decision::allow(Reason::Allowed));
    }
    let name = format!("{plain:?}");
    let old_metadata = old_object.into_metadata();
    let (new, old) = (Isolation::of(&new_metadata), Isolation::of(&old_metadata));
    if let Some(denied) = annotations_tampered(&name, &old_metadata, &new_metadata) {
        return Ok(denied);
    }
    if new == old {
        // Nothing of Ringfence's has changed; a terminating namespace must always be able to finish.
        let adopted = new.profile.is_some() && new.mode.is_some();
        return Ok(if adopted || new_metadata.is_deleting() {
            Decision::allow(Reason::Allowed)
        } else {
            existing(&plain, context)
        });
    }
    if new.isolated != old.isolated {
        return Ok(tampered(&name, "label", ISOLATED, "it follows from the policies, not the other way round"));
    }
    // Half of the isolation labels would look adopted without being so.
    if (new.profile.is_none() != new.mode.is_none()) && old.profile.is_none() && old.mode.is_none() {
        return Ok(missing(&name, &new, context));
    }
    let changed = Isolation {
        profile: new.profile.clone().filter(|_| new.profile != old.profile),
        mode: new.mode.clone().filter(|_| new.mode != old.mode),
        ..Isolation::default()
    };
    if let Some(denied) = labels(&name, &changed, context) {
        return Ok(denied);
    }
    if let Some(denied) = exemption(&name, &old, &new, context)? {
        return Ok(denied);
    }
    if let Some(denied) = deviation(&name, &old, &new, context)? {
        return Ok(denied);
    }
    Ok(Decision::allow(Reason::Allowed))
}

/// Whether an annotation that only the controller writes differs.
fn annotations_tampered(name: &str, old: &ObjectMeta<'_>, new: &ObjectMeta<'_>) -> Option<Decision> {
    // A namespace that terminates must be able to finish, whatever is written on it.
    let mut keys = CONTROLLERS_ANNOTATIONS.into_iter().filter(|_| !new.is_deleting());
    let key = keys.find(|key| old.annotation(key) != new.annotation(key))?;
    Some(tampered(
        name,
        "annotation",
        key,
        "it says what the controller found of the baseline, and is what the controller goes by",
    ))
}

fn tampered(name: &str, kind: &str, key: &str, why: &str) -> Decision {
    Decision::deny(
        Reason::LabelTampered,
        format!(
            "the {kind} {key} of namespace {name} is set by Ringfence's controller alone: {why}; leave it as it is"
        ),
    )
}

fn missing(name: &str, new: &Isolation, context: &Context<'_>) -> Decision {
    let lacks = match (&new.profile, &new.mode) {
        (None, None) => format!("the labels {PROFILE} and {MODE}"),
        (None, _) => format!("the label {PROFILE}"),
        _ => format!("the label {MODE}"),
    };
    Decision::deny(
        Reason::BaselineMissing,
        format!(
            "namespace {name} lacks {lacks}, so no deny-all baseline is guaranteed for it: every pod in it could reach, and \
             be reached from, the whole cluster; the mutating webhook adds them on creation and was bypassed, so set \
             {PROFILE}={} and {MODE}={}, or try again",
            context.config.default_profile, context.config.default_mode
        ),
    )
}

fn existing(name: &str, context: &Context<'_>) -> Decision {
    let how = format!("adopt it with: ringfence adopt {name}");
    match context.config.existing {
        Existing::Ignore => Decision::allow(Reason::NotAdopted),
        Existing::Warn => Decision::allow(Reason::NotAdopted)
            .warn(format!("namespace {name:?} has no deny-all network baseline; {how}")),
        Existing::Reject => Decision::deny(
            Reason::BaselineMissing,
            format!(
                "changing namespace {name:?} is refused: it has no deny-all baseline, so every pod in it can reach, and be \
                 reached from, the whole cluster, and this cluster refuses to change such namespaces; {how}"
            ),
        ),
    }
}

/// Whether the profile and the mode exist, where they are given.
fn labels(name: &str, new: &Isolation, context: &Context<'_>) -> Option<Decision> {
    if let Some(profile) = &new.profile
        && context.config.profiles.get(profile).is_none()
    {
        return Some(Decision::deny(
            Reason::ProfileUnknown,
            format!(
                "the label {PROFILE} of namespace {name} is {profile:?}, which is no profile, so no baseline would be \
                 applied; choose one of {}",
                context.config.profiles.names()
            ),
        ));
    }
    if let Some(mode) = &new.mode
        && Mode::parse(mode).is_none()
    {
        let message = format!(
            "the label {MODE} of namespace {name} is {mode:?}, which is no mode, so nothing would say whether its pods \
             are isolated; choose enforce, warn, audit or exempt"
        );
        return Some(Decision::deny(Reason::ModeInvalid, message));
    }
    None
}

/// Whether an exemption, where one is claimed, is written as it must be.
fn claimed(name: &str, new: &Isolation, context: &Context<'_>) -> Option<Decision> {
    let refused = claims::exemption(name, new, context.now, &context.config.longest_exemption).err()?;
    Some(Decision::deny(Reason::ExemptionInvalid, refused.message))
}

/// Whether what changed of an exemption may stand.
fn exemption(name: &str, old: &Isolation, new: &Isolation, context: &Context<'_>) -> Result<Option<Decision>, Stop> {
    let exempt = new.mode.as_deref() == Some(Mode::Exempt.as_str());
    let annotations_changed = new.exempt_reason != old.exempt_reason || new.exempt_until != old.exempt_until;
    if (annotations_changed || new.mode != old.mode)
        && let Some(denied) = claimed(name, new, context)
    {
        return Ok(Some(denied));
    }
    // Clearing away what is left of an exemption that is over is nobody's deviation, nor is ending one earlier.
    let cleared = !exempt && new.exempt_reason.is_none() && new.exempt_until.is_none();
    let shortened = exempt
        && new.exempt_reason == old.exempt_reason
        && matches!((new.exemption().end(), old.exemption().end()), (Ok(new), Ok(old)) if new <= old);
    if annotations_changed && !cleared && !shortened && !context.may(Use::Mode(Mode::Exempt.to_string()))? {
        return Ok(Some(not_permitted(
            name,
            "adding, extending or changing an exemption",
            AT_DEFAULT,
            &Use::Mode("exempt".to_owned()),
        )));
    }
    Ok(None)
}

/// Whether the user may make this change: choose another value than the default, remove a label, or go back from a stricter
/// value to the default.
fn deviation(name: &str, old: &Isolation, new: &Isolation, context: &Context<'_>) -> Result<Option<Decision>, Stop> {
    let asks = [
        (
            PROFILE,
            &old.profile,
            &new.profile,
            context.config.default_profile.as_str(),
            Use::Profile as fn(String) -> Use,
        ),
        (MODE, &old.mode, &new.mode, context.config.default_mode.as_str(), Use::Mode as fn(String) -> Use),
    ];
    for (key, old, new, default, asked) in asks {
        if old == new {
            continue;
        }
        let (asked, what, instead) = match new.as_deref() {
            Some(value) if value != default => {
                let what = format!("setting {key}={value}, which is not the default ({default})");
                (asked(value.to_owned()), what, AT_DEFAULT)
            }
            Some(value) => {
                let Some(stricter) = old.as_deref().filter(|old| is_stricter(key, old, value, name, context)) else {
                    continue;
                };
                let what = format!("setting {key}={value} in place of {stricter}, which allows less,");
                (asked(value.to_owned()), what, "leave it as it is")
            }
            None => (asked(NONE.to_owned()), format!("removing {key}"), AT_DEFAULT),
        };
        if !context.may(asked.clone())? {
            return Ok(Some(not_permitted(name, &what, instead, &asked)));
        }
    }
    Ok(None)
}

/// True if a profile or mode may allow less than another in a namespace. An unknown name is not stricter, since the default
/// takes its place.
fn is_stricter(key: &str, one: &str, than: &str, namespace: &str, context: &Context<'_>) -> bool {
    if key == MODE {
        return matches!((Mode::parse(one), Mode::parse(than)), (Some(one), Some(than)) if one < than);
    }
    let profile = |name| context.config.profiles.get(name);
    matches!((profile(one), profile(than)), (Some(one), Some(than)) if !than.is_as_strict_as(one, namespace))
}

/// The advice where a change departs from the default.
const AT_DEFAULT: &str = "leave the default";

fn not_permitted(name: &str, what: &str, instead: &str, asked: &Use) -> Decision {
    Decision::deny(
        Reason::NotPermitted,
        format!(
            "{what} on namespace {name} is refused: it can leave its pods open to the cluster, and you may not; {instead}, \
             or ask a cluster administrator for the verb \"use\" on {asked}"
        ),
    )
}
