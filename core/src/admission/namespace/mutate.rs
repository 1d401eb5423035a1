//! Injects the isolation labels into a new namespace, and puts back what an update strips.

use super::stored_name;
use crate::admission::patch;
use crate::admission::permission::{NONE, Use};
use crate::admission::review::Request;
use crate::admission::{Context, Decided, Decision, Reason, Stop};
use crate::object::{Object, ObjectMeta};
use crate::vocabulary::{CONTROLLERS_ANNOTATIONS, GUARDED, ISOLATED, MODE, Mode, PROFILE};

pub(in crate::admission) fn decide(request: &Request<'_>, context: &Context<'_>) -> Decided {
    super::decide(request, context, create, update)
}

fn create(request: &Request<'_>, context: &Context<'_>) -> Decided {
    let object: Object<'_> = request.new_as()?;
    let label = |key| object.metadata.as_ref().and_then(|metadata| metadata.label(key));
    let mut missing = Vec::new();
    if label(PROFILE).is_none() {
        missing.push((PROFILE, context.config.default_profile.clone()));
    }
    if label(MODE).is_none() {
        missing.push((MODE, context.config.default_mode.to_string()));
    }
    let mut decision = Decision::allow(if missing.is_empty() { Reason::Allowed } else { Reason::LabelsInjected });
    if label(ISOLATED).is_some() {
        decision.patch.push(patch::remove(&["metadata", "labels", ISOLATED]));
        decision = decision.warn(format!("the label {ISOLATED} was dropped: only Ringfence's controller sets it"));
    }
    let metadata = object.metadata.as_ref();
    for key in CONTROLLERS_ANNOTATIONS {
        if metadata.is_some_and(|metadata| metadata.annotation(key).is_some()) {
            decision.patch.push(patch::remove(&["metadata", "annotations", key]));
            decision = decision.warn(format!("the annotation {key} was dropped: only Ringfence's controller sets it"));
        }
    }
    decision.patch.extend(patch::set_labels(metadata, &missing));
    Ok(decision)
}

/// Puts back what the old object had. A namespace that never had the labels is not touched: an edit that has nothing to
/// do with them must not cut a running application off.
///
/// Stripping the labels is taken at its word only where the mode is not `enforce` any more and the user may use no mode
/// and no profile: so whoever un-adopts a namespace says it twice, and a manifest that is replaced by one without labels
/// says it by accident never.
fn update(request: &Request<'_>, context: &Context<'_>) -> Decided {
    let object: Object<'_> = request.new_as()?;
    let old = request.old_as::<Object<'_>>()?;
    if context.config.is_excluded(&stored_name(&old, request)) {
        return Ok(Decision::allow(Reason::Excluded));
    }
    let old = old.into_metadata();
    let terminating = object.metadata.as_ref().is_some_and(ObjectMeta::is_deleting);
    if terminating || context.is_controller(request) {
        return Ok(Decision::allow(Reason::Allowed));
    }
    let stripped: Vec<(&str, String)> = GUARDED
        .into_iter()
        .filter(|key| object.metadata.as_ref().and_then(|metadata| metadata.label(key)).is_none())
        .filter_map(|key| Some((key, old.label(key)?.to_owned())))
        .collect();
    // What is replaced by a manifest loses the annotations too. They are not the user's, so there is nothing to warn of.
    let annotations: Vec<(&str, String)> = CONTROLLERS_ANNOTATIONS
        .into_iter()
        .filter(|key| object.metadata.as_ref().and_then(|metadata| metadata.annotation(key)).is_none())
        .filter_map(|key| Some((key, old.annotation(key)?.to_owned())))
        .collect();
    if stripped.is_empty() || un_adopts(&old, &stripped, context)? {
        let patch = patch::set(object.metadata.as_ref(), &[], &annotations);
        return Ok(Decision { patch, ..Decision::allow(Reason::Allowed) });
    }
    let mut decision = Decision::allow(Reason::LabelsInjected);
    for (key, value) in &stripped {
        decision =
            decision.warn(format!("the label {key}={value} was put back: an update may change it, not strip it"));
    }
    decision.patch = patch::set(object.metadata.as_ref(), &stripped, &annotations);
    Ok(decision)
}

fn un_adopts(old: &ObjectMeta<'_>, stripped: &[(&str, String)], context: &Context<'_>) -> Result<bool, Stop> {
    let enforced = old.label(MODE).is_none_or(|mode| mode == Mode::Enforce.as_str());
    let both = [PROFILE, MODE].iter().all(|key| stripped.iter().any(|(other, _)| other == key));
    if enforced || !both || old.label(ISOLATED).is_some() {
        return Ok(false);
    }
    Ok(context.may(Use::Profile(NONE.to_owned()))? && context.may(Use::Mode(NONE.to_owned()))?)
}
