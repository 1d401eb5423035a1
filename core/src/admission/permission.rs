//! Who may deviate: whether the user may `use` a profile, a mode or an exception, as Kubernetes RBAC says it.
//!
//! The answer is an input of a decision. Source of the pattern: `use` on `podsecuritypolicies`, and
//! `authorization.k8s.io/v1.SubjectAccessReview`.

use std::collections::BTreeMap;
use std::fmt;

use crate::vocabulary::GROUP;

/// What removing an isolation label asks for: the use of no profile, or no mode.
pub const NONE: &str = "none";

/// Something that a user may be allowed to `use`: a resource of the API group [`GROUP`], by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Use {
    /// `profiles`, by the profile's name or [`NONE`].
    Profile(String),
    /// `modes`, by the mode's name or [`NONE`].
    Mode(String),
    /// `exceptions`, by the policy's name, in its namespace.
    Exception {
        /// The namespace.
        namespace: String,
        /// The policy.
        name: String,
    },
}

impl Use {
    /// The resource, in the plural.
    #[must_use]
    pub fn resource(&self) -> &'static str {
        match self {
            Self::Profile(_) => "profiles",
            Self::Mode(_) => "modes",
            Self::Exception { .. } => "exceptions",
        }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Profile(name) | Self::Mode(name) | Self::Exception { name, .. } => name,
        }
    }
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{GROUP}/{}", self.resource(), self.name())
    }
}

/// Whether the user may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Yes.
    Allowed,
    /// No.
    Denied,
    /// It could not be found out, and why: an error of the call, not a denial.
    Unknown(String),
}

/// What is known so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers(BTreeMap<Use, Answer>);

impl Answers {
    /// An answer, if the question was put.
    #[must_use]
    pub fn get(&self, asked: &Use) -> Option<&Answer> {
        self.0.get(asked)
    }

    /// Adds an answer.
    pub fn insert(&mut self, asked: Use, answer: Answer) {
        self.0.insert(asked, answer);
    }
}
