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

/// How often a leader looks at the calendar at least.
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
    /// Nothing, for so long.
    Wait(Duration),
    /// Have every webhook configuration trust the Secret's CAs.
    Trust,
    /// Write this into the Secret.
    Store(Box<State>, &'static str),
}

/// Why no step can be taken.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// A certificate can't be issued.
    #[error("failed to issue a certificate: {0}")]
    Issue(#[from] rcgen::Error),
    /// A certificate of the Secret can't be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

impl Rotation {
    /// A fresh pair.
    ///
    /// # Errors
    /// Where it can't be issued.
    pub fn issue(&self, now: Timestamp) -> Result<Pair, rcgen::Error> {
        Pair::issue(&self.names, self.validity, now)
    }

    /// What comes next. `now` should be the API servers' time: it is they who find a certificate valid or not.
    ///
    /// # Errors
    /// Where a certificate can't be issued or read.
    pub fn next(&self, known: &Known<'_>, now: Timestamp) -> Result<Step, StepError> {
        let store = |state: State, why| Ok(Step::Store(Box::new(state), why));
        let state = match (known.stored, known.last) {
            (Stored::Good(state), _) => state,
            (_, Some(last)) => return store(last.clone(), "the Secret was lost: putting back what was in it"),
            (_, None) => return store(State::fresh(self.issue(now)?), "there is no certificate yet"),
        };
        if state.serving.validity()?.not_after <= now {
            // Nobody accepts it any more, so there is nothing to be careful of.
            return store(State::fresh(self.issue(now)?), "the certificate has ended");
        }
        if !known.trusted {
            return Ok(Step::Trust);
        }
        let left = self.overlap.saturating_sub(known.unchanged);
        if let Some(next) = &state.next {
            // It was left for long: its own rotation would be due.
            if due(next)? <= now {
                return store(state.announcing(self.issue(now)?), "the next certificate has grown old");
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
            _ => store(state.announcing(self.issue(now)?), "two thirds of the certificate's life are over"),
        }
    }
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
