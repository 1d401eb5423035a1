//! Claims to deviate, and how they must be written: the exemption of a namespace, the exception of a policy. For the webhook, and
//! for `check`, which says beforehand what the webhook would refuse.

use jiff::Timestamp;

use crate::config::Duration;
use crate::index::Isolation;
use crate::object::{Exception, ExceptionError};
use crate::vocabulary::{EXCEPTION_REASON, EXCEPTION_UNTIL, EXEMPT_REASON, EXEMPT_UNTIL, Mode};

/// A claim that is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The annotation that is wrong or missing.
    pub annotation: &'static str,
    /// What is wrong, what it would have meant, and what to do.
    pub message: String,
}

/// Judges the exemption of a namespace that is labelled exempt; of any other there is nothing to judge. The name is quoted by
/// whoever asks, since one that is still to be generated is none.
///
/// # Errors
/// [`Refused`].
pub fn exemption(name: &str, isolation: &Isolation, now: Timestamp, longest: &Duration) -> Result<(), Refused> {
    if isolation.mode.as_deref() != Some(Mode::Exempt.as_str()) {
        return Ok(());
    }
    let exemption = isolation.exemption();
    let Err(wrong) = exemption.admit(now, longest) else { return Ok(()) };
    let annotation = if wrong == ExceptionError::NoReason { EXEMPT_REASON } else { EXEMPT_UNTIL };
    let value = if annotation == EXEMPT_UNTIL && !exemption.until.is_empty() {
        format!(" ({:?})", exemption.until)
    } else {
        String::new()
    };
    let message = format!(
        "namespace {name} can't be exempt: annotation {annotation}{value}: {wrong}; an exempt namespace is open to the whole \
         cluster, so say why in {EXEMPT_REASON} and until when in {EXEMPT_UNTIL}"
    );
    Err(Refused { annotation, message })
}

/// Judges the exception that a policy claims. `what` is done to the policy, such as `creating NetworkPolicy "p"`.
///
/// # Errors
/// [`Refused`].
pub fn exception(what: &str, claimed: &Exception, now: Timestamp, longest: &Duration) -> Result<(), Refused> {
    let Err(wrong) = claimed.admit(now, longest) else { return Ok(()) };
    let annotation = if wrong == ExceptionError::NoReason { EXCEPTION_REASON } else { EXCEPTION_UNTIL };
    let message = format!(
        "{what} is refused: annotation {annotation}: {wrong}; an exception accepts what the policy opens, so say why in \
         {EXCEPTION_REASON} and until when in {EXCEPTION_UNTIL}"
    );
    Err(Refused { annotation, message })
}
