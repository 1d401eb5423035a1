//! Quarantine: the controller takes the rules of one direction out of a policy that opened a denied hole past the webhook.
//! The policy still isolates the pods that it selects, and every re-apply brings its rules back through admission, where
//! they are judged.
//!
//! Only policies that changed since the namespace was last effective under the same rules ([`crate::record`]) are
//! quarantined. Managed policies, and policies with an exception in force, never are.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::index::{Namespace, is_excused};
use crate::object::ObjectMeta;
use crate::policy::holes::{Part, part_of, participants};
use crate::policy::{Direction, NetworkPolicy, explain};
use crate::profile::Profile;
use crate::record::Record;
use crate::vocabulary::QUARANTINED;

/// How many policies one plan quarantines at most. The next plan goes on with the rest.
const AT_ONCE: usize = 64;

/// The directions in which a policy is quarantined, by its annotation [`QUARANTINED`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Quarantined {
    ingress: bool,
    egress: bool,
}

impl Quarantined {
    /// Of an object. An annotation that can't be read counts for both directions.
    #[must_use]
    pub fn of(metadata: &ObjectMeta<'_>) -> Self {
        #[derive(Default, Deserialize)]
        struct Directions {
            ingress: Option<IgnoredAny>,
            egress: Option<IgnoredAny>,
        }
        let Some(text) = metadata.annotation(QUARANTINED) else { return Self::default() };
        match serde_json::from_str::<Directions>(text) {
            Ok(found) => Self { ingress: found.ingress.is_some(), egress: found.egress.is_some() },
            Err(_) => Self { ingress: true, egress: true },
        }
    }

    /// Whether the policy is quarantined in this direction.
    #[must_use]
    pub fn has(self, direction: Direction) -> bool {
        match direction {
            Direction::Ingress => self.ingress,
            Direction::Egress => self.egress,
        }
    }

    /// The same, and this direction too.
    #[must_use]
    pub fn with(mut self, direction: Direction) -> Self {
        match direction {
            Direction::Ingress => self.ingress = true,
            Direction::Egress => self.egress = true,
        }
        self
    }

    /// Whether the annotation has nothing more to say: every direction that it names has rules again.
    #[must_use]
    pub fn is_over(self, policy: &NetworkPolicy) -> bool {
        let mut named = Direction::BOTH.into_iter().filter(|direction| self.has(*direction)).peekable();
        named.peek().is_some() && named.all(|direction| policy.spec.has_rules(direction))
    }
}

/// The value of the annotation [`QUARANTINED`] after another direction is quarantined. `before` is its value until then,
/// `rules` the removed rules as the API server holds them; `None` leaves them out.
///
/// # Errors
/// Where serde can't write it, which nothing is known to bring about.
pub fn annotation(
    before: Option<&str>,
    direction: Direction,
    at: Timestamp,
    reason: &str,
    rules: Option<&RawValue>,
) -> Result<String, serde_json::Error> {
    #[derive(Serialize)]
    struct Entry<'a> {
        at: Timestamp,
        reason: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        rules: Option<&'a RawValue>,
    }
    let mut whole: BTreeMap<String, Box<RawValue>> =
        before.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    whole.insert(direction.to_string(), to_raw_value(&Entry { at, reason, rules })?);
    serde_json::to_string(&whole)
}

/// A policy that is to be quarantined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// Its name.
    pub name: String,
    /// Its uid: only this object is meant.
    pub uid: String,
    /// The direction whose rules are removed.
    pub direction: Direction,
    /// What the policy takes part in.
    pub reason: String,
}

/// The policies to quarantine, in order, the latest change first, until no hole is left that the profile denies. `passed`
/// says which policies are left alone.
#[must_use]
pub fn suspects(
    namespace: &Namespace,
    profile: &Profile,
    now: Timestamp,
    record: &Record,
    passed: impl Fn(&str) -> bool,
) -> Vec<Suspect> {
    let mut policies: Vec<Cow<'_, NetworkPolicy>> =
        namespace.policies().filter(|policy| !is_excused(policy, now)).map(Cow::Borrowed).collect();
    let may_be = |policy: &NetworkPolicy| !policy.managed && !record.knows(policy) && !passed(&policy.name);
    let mut suspects = Vec::new();
    for direction in Direction::BOTH {
        while suspects.len() < AT_ONCE {
            let judged: Vec<&NetworkPolicy> = policies.iter().map(AsRef::as_ref).collect();
            let denies = |class| profile.denies(direction, class);
            let part = participants(&judged, direction, profile.criteria(), denies);
            let latest = |among: &[usize]| {
                let changed = among.iter().copied().filter(|&index| may_be(judged[index]));
                changed.max_by_key(|&index| (judged[index].version, index))
            };
            let Some(index) = latest(&part.certain).or_else(|| latest(&part.undecided)) else { break };
            let hole = explain_hole(&judged, index, profile, direction);
            suspects.push(Suspect {
                name: judged[index].name.clone(),
                uid: judged[index].uid.clone(),
                direction,
                reason: hole,
            });
            // It takes part by its rules, so that there are some.
            *policies[index].to_mut().spec.rules_mut(direction) = Some(Vec::new());
        }
    }
    suspects
}

fn explain_hole(judged: &[&NetworkPolicy], index: usize, profile: &Profile, direction: Direction) -> String {
    let denies = |class| profile.denies(direction, class);
    match part_of(judged, index, direction, profile.criteria(), denies) {
        Part::In(hole) => explain::hole(direction, &hole),
        Part::None | Part::Undecided => format!("the {direction} rules are too complex to judge"),
    }
}
