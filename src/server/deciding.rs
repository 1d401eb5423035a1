//! One decision, from what is known of the cluster: asking for permissions, reserving what it brings about, and deciding
//! again where something came in between.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use ringfence_core::admission::permission::Answers;
use ringfence_core::admission::review::Request as Review;
use ringfence_core::admission::{Context, Decision, Failure, Outcome, Webhook, decide};
use ringfence_core::index::reservations::{self, NotReserved, Reservation};
use ringfence_core::meter::Meter;

use super::App;
use super::refusal::Refusal;
use super::routes::aside;
use crate::cluster::{Unavailable, View};

/// How many permissions one decision may ask for, one after another. A namespace can deviate in its profile, its mode
/// and its exemption.
const QUESTIONS: usize = 8;

/// How often a decision is made for one request: each time but the first and one more, another request was decided
/// meanwhile, of which a namespace has no more at one time.
const DECISIONS: usize = reservations::LIMIT + 2;

/// A request that is being decided.
pub(super) struct Deciding<'a> {
    app: &'a App,
    webhook: Webhook,
    request: &'a Review<'a>,
    body: &'a [u8],
    peer: Option<IpAddr>,
    answers: Answers,
    meter: Meter,
}

fn unavailable(problem: &Unavailable) -> Refusal {
    Refusal::unavailable(problem.to_string())
}

impl<'a> Deciding<'a> {
    pub(super) fn new(
        app: &'a App,
        webhook: Webhook,
        request: &'a Review<'a>,
        body: &'a [u8],
        peer: Option<IpAddr>,
        meter: Meter,
    ) -> Self {
        Self { app, webhook, request, body, peer, answers: Answers::default(), meter }
    }

    /// Decides, and reserves what a policy may become by it. Where another change was reserved meanwhile, the decision is
    /// made again; and so is, once, a denial that may follow from what is not stored yet, by what the API server has then.
    pub(super) async fn decide(mut self) -> Result<(Decision, Option<Arc<Reservation>>), Refusal> {
        let cluster = self.app.cluster.clone();
        let mut view = cluster.view(self.request).await.map_err(|problem| unavailable(&problem))?;
        let mut is_anew = false;
        for _ in 0..DECISIONS {
            let mut decision = self.decide_by(&view).await?;
            if !decision.allowed && decision.hangs_on_pending && !is_anew {
                is_anew = true;
                if let Some(anew) =
                    cluster.view_anew(self.request, self.peer).await.map_err(|problem| unavailable(&problem))?
                {
                    view = anew;
                    continue;
                }
            }
            let Some(change) = decision.change.take().filter(|_| decision.allowed && !self.request.dry_run) else {
                return Ok((decision, None));
            };
            let budget = self.app.gate.lasting_budget(self.body.len());
            match cluster.reserve(&self.request.namespace, &view.pending, change, self.peer, budget) {
                Ok(reservation) => return Ok((decision, Some(reservation))),
                Err(NotReserved::Overtaken) => {
                    view = cluster.view(self.request).await.map_err(|problem| unavailable(&problem))?;
                    is_anew = false;
                }
                Err(NotReserved::Full) => break,
            }
        }
        Err(Refusal::unavailable("too many changes of this namespace's policies are being stored at one time"))
    }

    /// Decides by a view, asking for permissions as often as the decision depends on one.
    async fn decide_by(&mut self, view: &View) -> Result<Decision, Refusal> {
        let Some(controller) = self.app.cluster.controller() else {
            return Err(Refusal::unavailable("the API server has not said yet who the controller is"));
        };
        for _ in 0..QUESTIONS {
            let context = Context {
                config: self.app.cluster.config(),
                controller,
                now: Timestamp::now(),
                namespace: view.namespace.as_deref(),
                pending: &view.pending,
                answers: &self.answers,
            };
            let Self { webhook, request, meter, .. } = self;
            let outcome = aside(self.body, || meter.run_again(|| decide(*webhook, request, &context)));
            if let Some(why) = self.meter.exhausted() {
                return Err(self.app.gate.exhausted(why));
            }
            match outcome {
                Outcome::Decided(decision) => return Ok(decision),
                Outcome::Ask(asked) => {
                    let answer = self.app.cluster.may(&self.request.user_info, self.peer, &asked).await;
                    self.answers.insert(asked, answer);
                }
                Outcome::Failed(Failure::BadReview(problem)) => return Err(Refusal::bad_request(problem)),
                Outcome::Failed(Failure::Unknown(problem)) => return Err(Refusal::unavailable(problem)),
            }
        }
        Err(Refusal::internal("a decision asked for more permissions than there are"))
    }
}
