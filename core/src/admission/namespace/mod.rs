//! Namespaces: the isolation labels are injected by [`mutate`], and judged by [`validate`].

pub mod mutate;
pub mod validate;

use crate::admission::review::{Operation, Request};
use crate::admission::{Context, Decided, Decision, Reason};
use crate::object::Object;

/// The name of the namespace that an UPDATE is about: the one that is stored, whatever the request's name says.
fn stored_name(old: &Object<'_>, request: &Request<'_>) -> String {
    match old.metadata.as_ref().map(|metadata| metadata.name.as_ref()) {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => request.name.clone().into_owned(),
    }
}

/// What becomes of a creation, or of an update.
type Row = fn(&Request<'_>, &Context<'_>) -> Decided;

/// What both webhooks begin with. Exclusion is by the request's name, which the API server has validated: a label that
/// says the same can be forged.
fn decide(request: &Request<'_>, context: &Context<'_>, create: Row, update: Row) -> Decided {
    request.expect_v1()?;
    if context.config.is_excluded(&request.name) {
        return Ok(Decision::allow(Reason::Excluded));
    }
    match request.operation {
        Operation::Create => create(request, context),
        Operation::Update => update(request, context),
        Operation::Delete | Operation::Connect => Ok(Decision::allow(Reason::NotOurs)),
    }
}
