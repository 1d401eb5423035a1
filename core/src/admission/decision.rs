//! What a decision says, and its stable reason code.

use std::collections::BTreeMap;
use std::fmt;

use json_patch::PatchOperation;

use crate::index::reservations::Change;
use crate::vocabulary::Mode;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Why a request is decided as it is. The names are stable: they stand in messages, audit annotations,
        /// metrics and logs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[$doc])* $name),* }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The code.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }
        }
    };
}

reasons! {
    /// Nothing speaks against it.
    Allowed,
    /// Not a resource or operation that Ringfence judges.
    NotOurs,
    /// The namespace is excluded.
    Excluded,
    /// The namespace is exempt.
    Exempt,
    /// The namespace never had the isolation labels.
    NotAdopted,
    /// Labels were injected or put back.
    LabelsInjected,
    /// A pod was held.
    Held,
    /// No deny-all baseline is guaranteed for the namespace.
    BaselineMissing,
    /// Coverage would become worse, or a hole that the profile denies would open.
    BaselineWeakened,
    /// A label or annotation that only the controller may change.
    LabelTampered,
    /// There is no such profile.
    ProfileUnknown,
    /// There is no such mode.
    ModeInvalid,
    /// An exemption without a reason, or without a valid end.
    ExemptionInvalid,
    /// An exception without a reason, or without a valid end.
    ExceptionInvalid,
    /// The user may not deviate in this way.
    NotPermitted,
    /// Only the controller may change a managed policy.
    ManagedPolicy,
    /// A pod without gate or label, in a namespace that is not isolated yet.
    NotHeld,
    /// A pod on its node's network, which NetworkPolicy does not reach.
    HostNetwork,
    /// A policy of a CNI of its own kind, which is not judged.
    VendorPolicy,
    /// The namespace has as many policies as it may have, or as large ones.
    TooManyPolicies,
    /// An object that the API server would reject.
    Invalid,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A decision on a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Whether the request goes on.
    pub allowed: bool,
    /// Why.
    pub reason: Reason,
    /// What the user is told of a denial: what was refused, why in terms of traffic, and what to do.
    pub message: String,
    /// What the user is told besides.
    pub warnings: Vec<String>,
    /// Audit annotations, by key. No key has a slash: the API server prefixes the webhook's name.
    pub audit: BTreeMap<&'static str, String>,
    /// The patch; empty where nothing changes, and always on `/validate`.
    pub patch: Vec<PatchOperation>,
    /// The change of a policy that is to be reserved before this is answered, where one is allowed.
    pub change: Option<Change>,
    /// Whether a denial may follow from changes that were admitted and not stored, or from an index that is behind them:
    /// to be made again once, with what a read brings.
    pub hangs_on_pending: bool,
}

/// Audit annotation: the reason code.
pub const AUDIT_REASON: &str = "reason";
/// Audit annotation: what would have been denied, were the mode `enforce`.
pub const AUDIT_WOULD_DENY: &str = "would-deny";

impl Decision {
    /// Lets the request go on.
    #[must_use]
    pub fn allow(reason: Reason) -> Self {
        Self {
            allowed: true,
            reason,
            message: String::new(),
            warnings: Vec::new(),
            audit: BTreeMap::from([(AUDIT_REASON, reason.to_string())]),
            patch: Vec::new(),
            change: None,
            hangs_on_pending: false,
        }
    }

    /// Refuses it.
    #[must_use]
    pub fn deny(reason: Reason, message: impl Into<String>) -> Self {
        Self { allowed: false, message: message.into(), ..Self::allow(reason) }
    }

    /// Adds a warning.
    #[must_use]
    pub fn warn(mut self, warning: impl Into<String>) -> Self {
        self.warnings.push(warning.into());
        self
    }

    /// What a mode makes of a denial: `enforce` keeps it, `warn` makes it a warning, `audit` an annotation, and
    /// `exempt` lets it go.
    #[must_use]
    pub fn in_mode(self, mode: Mode) -> Self {
        if self.allowed || mode == Mode::Enforce {
            return self;
        }
        let text = format!("{}: {}", self.reason, self.message);
        let mut decision = Self { allowed: true, message: String::new(), ..self };
        match mode {
            Mode::Warn => decision.warnings.insert(0, format!("would be denied in mode enforce: {text}")),
            Mode::Audit => {
                decision.audit.insert(AUDIT_WOULD_DENY, text);
            }
            Mode::Enforce | Mode::Exempt => {}
        }
        decision
    }
}
