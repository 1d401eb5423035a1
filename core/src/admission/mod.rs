//! Admission: review → [`decide`] → [`Decision`] → response.
//!
//! One file per resource, each with every decision about it: [`namespace`], [`network_policy`], [`pod`],
//! [`workload`], [`vendor`]. A decision reads nothing but its arguments. Where it hangs on whether the user may deviate,
//! it says what to ask ([`Outcome::Ask`]), and is made again with the answer.

pub mod claims;
mod decision;
mod digest;
mod linted;
pub mod namespace;
pub mod network_policy;
mod patch;
pub mod permission;
pub mod pod;
pub mod response;
pub mod review;
pub mod vendor;
pub mod warnings;
pub mod workload;

use jiff::Timestamp;

use crate::config::Config;
use crate::index::Namespace;
use crate::index::reservations::Pending;
use crate::policy::parse::ParseError;
use crate::vocabulary::Mode;
pub use decision::{AUDIT_REASON, AUDIT_WOULD_DENY, Decision, Reason};
use permission::{Answer, Answers, Use};
use review::{Request, Resource};

/// Which of the two webhooks is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Webhook {
    /// `/mutate`: may patch, never denies.
    Mutate,
    /// `/validate`: judges the final object, never patches.
    Validate,
}

/// What a decision is made of, besides the request.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The configuration in force.
    pub config: &'a Config,
    /// The user name of the controller.
    pub controller: &'a str,
    /// The time.
    pub now: Timestamp,
    /// The namespace that the request concerns ([`Request::namespace_concerned`]), where it is known.
    pub namespace: Option<&'a Namespace>,
    /// The changes of the namespace's policies that were admitted and are not decided yet.
    pub pending: &'a Pending,
    /// What is known of what the user may do.
    pub answers: &'a Answers,
}

/// What comes of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is decided.
    Decided(Decision),
    /// Ask whether the user may, add the answer to [`Context::answers`], and decide again.
    Ask(Use),
    /// It can't be decided; no denial, but an error of the call.
    Failed(Failure),
}

/// Why a request can't be decided.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The review holds something that the API server would not send.
    #[error("{0}")]
    BadReview(String),
    /// Whether the user may deviate is not known now.
    #[error("{0}")]
    Unknown(String),
}

/// Why a row of the table ends without a decision.
enum Stop {
    Ask(Use),
    Failed(Failure),
}

type Decided = Result<Decision, Stop>;

impl From<ParseError> for Stop {
    fn from(error: ParseError) -> Self {
        Self::Failed(Failure::BadReview(error.to_string()))
    }
}

/// Decides a request.
#[must_use]
pub fn decide(webhook: Webhook, request: &Request<'_>, context: &Context<'_>) -> Outcome {
    let decided = match (webhook, request.resource()) {
        (Webhook::Mutate, Resource::Namespace) => namespace::mutate::decide(request, context),
        (Webhook::Mutate, Resource::Pod) => pod::mutate(request, context),
        (Webhook::Validate, Resource::Namespace) => namespace::validate::decide(request, context),
        (Webhook::Validate, Resource::NamespaceSubresource) => namespace::validate::subresource(request, context),
        (Webhook::Validate, Resource::NetworkPolicy) => network_policy::validate(request, context),
        (Webhook::Validate, Resource::Pod | Resource::PodStatus) => pod::validate(request, context),
        (Webhook::Validate, Resource::Workload) => workload::validate(request, context),
        (Webhook::Validate, Resource::Vendor) => Ok(vendor::validate(request, context)),
        (Webhook::Mutate, _) | (Webhook::Validate, Resource::Other) => Ok(Decision::allow(Reason::NotOurs)),
    };
    match decided {
        Ok(decision) => Outcome::Decided(decision),
        Err(Stop::Ask(asked)) => Outcome::Ask(asked),
        Err(Stop::Failed(failure)) => Outcome::Failed(failure),
    }
}

impl Context<'_> {
    fn is_controller(&self, request: &Request<'_>) -> bool {
        request.user_info.username == self.controller
    }

    /// The mode in force in the namespace. One that is not known is taken for the strictest: it may have been created
    /// a moment ago, and nothing is allowed by accident.
    fn mode(&self) -> Option<Mode> {
        match self.namespace {
            Some(namespace) => namespace.mode(self.now),
            None => Some(Mode::Enforce),
        }
    }

    /// Whether the namespace's baseline is effective, as far as this process knows.
    fn is_effective(&self) -> bool {
        self.namespace.is_some_and(|namespace| namespace.is_isolating(self.config, self.now))
    }

    /// Whether the user may deviate in this way.
    fn may(&self, asked: Use) -> Result<bool, Stop> {
        match self.answers.get(&asked) {
            None => Err(Stop::Ask(asked)),
            Some(Answer::Allowed) => Ok(true),
            Some(Answer::Denied) => Ok(false),
            Some(Answer::Unknown(why)) => {
                let problem = format!("whether the user may use {asked} could not be found out: {why}");
                Err(Stop::Failed(Failure::Unknown(problem)))
            }
        }
    }
}
