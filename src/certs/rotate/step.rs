//! What a rotation does next. Pure: what is known goes in, one step comes out, and it can be taken by whoever leads.
//!
//! | the Secret has | the API servers are told to trust | next |
//! |---|---|---|
//! | a pair | its CA | when two thirds of its life are over: issue the next pair |
//! | a pair, the next one | another bundle than the Secret's | tell them |
//! | a pair, the next one | both CAs, for as long as the overlap | serve the next pair |
//! | a pair, a CA of before | both CAs, for as long as the overlap | drop the CA of before |
//! | nothing, or what can't be used | whatever it is | put back what was there, or begin anew |
//!
//! How long something has been as it is, a leader counts from when it saw it first, by its own timer: a new leader waits
//! anew, and no two clocks are compared.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::state::{State, Stored};
use crate::certs::pair::{BACKDATED, CertificateError, Pair};

/// How often the calendar is looked at at least: timers do not count the time for which a machine sleeps.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// How certificates are issued and rotated.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// For which names.
    pub names: Vec<String>,
    /// For how long one is valid.
    pub validity: SignedDuration,
    /// How long each step of a rotation stays, for those who learn late.
    pub overlap: Duration,
}

/// What is known of a rotation.
pub struct Known<'a> {
    /// What the Secret says.
    pub stored: &'a Stored,
    /// What it said when it could last be used.
    pub last: Option<&'a State>,
    /// Whether every webhook configuration trusts exactly what the Secret says it should.
    pub trusted: bool,
    /// For how long all of this has been so.
    pub unchanged: Duration,
}

/// A step, by the leader alone.
pub enum Step {
    /// Nothing, for so long, if nothing changes.
    Wait(Duration),
    /// Have every webhook configuration trust the Secret's CAs.
    Trust,
    /// Write this into the Secret.
    Store(Box<State>, &'static str),
    /// Issue a pair, and announce it: the API servers are to trust its CA, too.
    Announce(Box<State>, &'static str),
    /// Issue a pair, and serve it at once: there is nothing that anybody accepts.
    Begin(&'static str),
}

impl Rotation {
    /// A fresh pair.
    ///
    /// # Errors
    /// Where it can't be issued.
    pub fn issue(&self, now: Timestamp) -> Result<Pair, rcgen::Error> {
        Pair::issue(&self.names, self.validity, now)
    }

    /// What comes next.
    ///
    /// # Errors
    /// Where a certificate of the Secret can't be read.
    pub fn next(&self, known: &Known<'_>, now: Timestamp) -> Result<Step, CertificateError> {
        let store = |state: State, why| Ok(Step::Store(Box::new(state), why));
        let state = match (known.stored, known.last) {
            (Stored::Good(state), _) => state,
            (_, Some(last)) => return store(last.clone(), "the Secret was lost: putting back what was in it"),
            (_, None) => return Ok(Step::Begin("there is no certificate")),
        };
        let announce = |why| Ok(Step::Announce(state.clone(), why));
        if state.serving.validity()?.not_after <= now {
            // Nobody accepts it any more, so there is nothing to be careful of.
            let is_good = |next: &Pair| next.validity().is_ok_and(|next| next.holds_at(now));
            return match state.switched().filter(|next| known.trusted && is_good(&next.serving)) {
                Some(switched) => store(switched, "the certificate has ended, and the next one is trusted"),
                None => Ok(Step::Begin("the certificate has ended")),
            };
        }
        if !known.trusted {
            return Ok(Step::Trust);
        }
        let left = self.overlap.saturating_sub(known.unchanged);
        if let Some(next) = &state.next {
            // It was left for long: its own rotation would be due.
            if due(next)? <= now {
                return announce("the next certificate has grown old");
            }
            return match state.switched().filter(|_| left.is_zero()) {
                Some(switched) => store(switched, "every API server trusts the next certificate"),
                None => Ok(Step::Wait(left)),
            };
        }
        if !state.retired.is_empty() {
            return if left.is_zero() {
                store(state.cleaned(), "no replica serves the certificate of before")
            } else {
                Ok(Step::Wait(left))
            };
        }
        match Duration::try_from(due(&state.serving)?.duration_since(now)) {
            Ok(wait) if !wait.is_zero() => Ok(Step::Wait(wait.min(LONGEST_WAIT))),
            _ => announce("two thirds of the certificate's life are over"),
        }
    }
}

/// By which time a certificate is dated. It is the API servers that check the dates, so it is theirs; but a clock that is
/// off would have everybody refuse what is issued, so two must agree, as closely as certificates are backdated.
///
/// # Errors
/// Where they do not.
pub fn agreed(theirs: Timestamp, ours: Timestamp) -> Result<Timestamp, ClocksDiffer> {
    if theirs.duration_since(ours).abs() < BACKDATED { Ok(theirs) } else { Err(ClocksDiffer { theirs, ours }) }
}

/// No certificate can be dated.
#[derive(Debug, thiserror::Error)]
#[error(
    "the API server's clock says {theirs}, and this node's {ours}: a certificate that is issued now could be refused by \
     everybody; set the clock that is wrong"
)]
pub struct ClocksDiffer {
    theirs: Timestamp,
    ours: Timestamp,
}

/// When a pair is to be rotated: when a third of its life is left, or a little earlier, by what its bytes happen to be, so
/// that clusters that were made together do not rotate together.
fn due(pair: &Pair) -> Result<Timestamp, CertificateError> {
    let validity = pair.validity()?;
    let life = validity.not_after.duration_since(validity.not_before).saturating_sub(BACKDATED);
    let seed = pem::parse(&pair.certificate).ok().and_then(|pem| pem.contents().last().copied()).unwrap_or_default();
    let jitter = life / 24 * i32::from(seed) / 256;
    Ok(validity.not_after.saturating_sub(life / 3 + jitter).unwrap_or(validity.not_after))
}
