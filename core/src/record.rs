//! The record of when, under which rules and with which policies a namespace's baseline was last effective: the annotation
//! [`EFFECTIVE`](crate::vocabulary::EFFECTIVE).
//!
//! A hole can come about past the webhook. What changed since the record, under the same rules, brought it about; what
//! the record knows did not. The record survives a restart of the controller. It names a policy by its uid and generation,
//! which nobody chooses: a tenant can't make a policy of their own look old, or one of a colleague look new.

use std::collections::BTreeSet;
use std::hash::Hasher;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use serde::{Deserialize, Serialize};

use crate::index::{Namespace, is_excused};
use crate::policy::{Direction, NetworkPolicy};
use crate::profile::Profile;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    at: Timestamp,
    rules: String,
    policies: BTreeSet<u64>,
}

/// The record as it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    at: Timestamp,
    rules: String,
    #[serde(default, skip_serializing_if = "is_empty")]
    policies: ByteString,
}

fn is_empty(bytes: &ByteString) -> bool {
    bytes.0.is_empty()
}

impl Record {
    /// The record of a namespace that is effective now, judged by a profile.
    #[must_use]
    pub fn of(namespace: &Namespace, profile: &Profile, now: Timestamp) -> Self {
        let known = namespace.policies().filter(|policy| is_recorded(policy) && !is_excused(policy, now));
        Self { at: now, rules: rules(profile), policies: known.map(identity).collect() }
    }

    /// Reads what a namespace's annotation says; `None` where it says nothing that can be read.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let written: Written = serde_json::from_str(text).ok()?;
        let (identities, rest) = written.policies.0.as_chunks::<8>();
        rest.is_empty().then(|| Self {
            at: written.at,
            rules: written.rules,
            policies: identities.iter().map(|bytes| u64::from_be_bytes(*bytes)).collect(),
        })
    }

    /// The value of the annotation.
    #[must_use]
    pub fn to_text(&self) -> String {
        let policies = ByteString(self.policies.iter().flat_map(|identity| identity.to_be_bytes()).collect());
        let written = Written { at: self.at, rules: self.rules.clone(), policies };
        // A map of strings is always written.
        serde_json::to_string(&written).unwrap_or_default()
    }

    /// Whether the namespace was last effective under the rules that the profile stands for now.
    #[must_use]
    pub fn is_under(&self, profile: &Profile) -> bool {
        self.rules == rules(profile)
    }

    /// Whether the policy was there, as it is, when the namespace was last effective.
    #[must_use]
    pub fn knows(&self, policy: &NetworkPolicy) -> bool {
        self.policies.contains(&identity(policy))
    }

    /// Whether another record says the same, the time aside.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.rules == other.rules && self.policies == other.policies
    }
}

/// Managed policies are never quarantined, and one without rules opens nothing.
fn is_recorded(policy: &NetworkPolicy) -> bool {
    !policy.managed && Direction::BOTH.into_iter().any(|direction| policy.spec.has_rules(direction))
}

/// The write of a policy's spec. On an embedded cluster, which gives no uid, it is the name and what the policy says.
fn identity(policy: &NetworkPolicy) -> u64 {
    let mut hasher = fnv::FnvHasher::default();
    if policy.uid.is_empty() {
        hasher.write(policy.name.as_bytes());
        hasher.write(format!("{:?}", policy.spec).as_bytes());
    } else {
        hasher.write(policy.uid.as_bytes());
        hasher.write(&policy.generation.to_be_bytes());
    }
    hasher.finish()
}

/// What a verdict of effective depends on besides the policies: the profile's hole table, what counts as wide, the
/// cluster's networks, and the version of the semantics.
fn rules(profile: &Profile) -> String {
    let rules =
        serde_json::json!([crate::policy::criteria::SEMANTICS, profile.name(), profile.holes(), profile.criteria(),]);
    let mut hasher = fnv::FnvHasher::default();
    hasher.write(rules.to_string().as_bytes());
    format!("{:016x}", hasher.finish())
}
