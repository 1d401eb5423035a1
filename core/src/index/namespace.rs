//! One namespace: what its labels ask for, what its policies do, and what follows.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use serde::Serialize;

use crate::config::Config;
use crate::object::{Exception, ObjectMeta};
use crate::policy::criteria::Criteria;
use crate::policy::holes::{Hole, Kind};
use crate::policy::verdict::{Side, Verdict, judge};
use crate::policy::{Direction, NetworkPolicy, Spec};
use crate::profile::Profile;
use crate::vocabulary::{CONFLICT, EFFECTIVE, EXEMPT_REASON, EXEMPT_UNTIL, ISOLATED, MODE, Mode, PROFILE, stand_in};

/// What a namespace's labels and annotations say, as they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Isolation {
    /// The label [`PROFILE`].
    pub profile: Option<String>,
    /// The label [`MODE`].
    pub mode: Option<String>,
    /// The label [`ISOLATED`].
    pub isolated: Option<String>,
    /// The annotation [`EXEMPT_REASON`].
    pub exempt_reason: Option<String>,
    /// The annotation [`EXEMPT_UNTIL`].
    pub exempt_until: Option<String>,
}

impl Isolation {
    /// Of an object.
    #[must_use]
    pub fn of(metadata: &ObjectMeta<'_>) -> Self {
        let label = |key| metadata.label(key).map(str::to_owned);
        let annotation = |key| metadata.annotation(key).map(str::to_owned);
        Self {
            profile: label(PROFILE),
            mode: label(MODE),
            isolated: label(ISOLATED),
            exempt_reason: annotation(EXEMPT_REASON),
            exempt_until: annotation(EXEMPT_UNTIL),
        }
    }

    /// The exemption that the annotations claim.
    #[must_use]
    pub fn exemption(&self) -> Exception {
        Exception {
            reason: self.exempt_reason.as_deref().unwrap_or_default().trim().to_owned(),
            until: self.exempt_until.clone().unwrap_or_default(),
        }
    }

    /// The mode in force; `None` for a namespace that was never adopted. An exemption that is not in force, and a
    /// mode that does not exist, are `enforce`.
    #[must_use]
    pub fn mode_in_force(&self, now: Timestamp) -> Option<Mode> {
        match Mode::parse(self.mode.as_deref()?) {
            Some(Mode::Exempt) if !self.exemption().is_in_force(now) => Some(Mode::Enforce),
            Some(mode) => Some(mode),
            None => Some(Mode::Enforce),
        }
    }
}

/// What is known of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Whether it carries Ringfence's scheduling gate.
    pub held: bool,
    /// Whether it may run: it has a node, or can still get one. Its phase says nothing: whoever may write `pods/status`
    /// chooses it.
    pub may_run: bool,
    /// Whether it uses its node's network, where NetworkPolicy does not reach it.
    pub host_network: bool,
    /// Its uid; empty on an embedded cluster.
    pub uid: String,
    /// Which write of it this is ([`ObjectMeta::version`]).
    pub version: u64,
    /// When it was created, where that is known.
    pub created: Option<Timestamp>,
}

/// The state of a namespace, for reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The baseline is effective.
    Isolated,
    /// Effective, with ALL, CLUSTER, W4 or W6 at ingress, starred too, that the profile only warns of or allows.
    Weakened,
    /// Mode `enforce`, not effective yet.
    Pending,
    /// Not effective otherwise.
    Exposed,
    /// Exempt, for a reason and until a date.
    Exempt,
    /// Not Ringfence's business.
    Excluded,
}

impl State {
    /// All six.
    pub const ALL: [Self; 6] =
        [Self::Isolated, Self::Weakened, Self::Pending, Self::Exposed, Self::Exempt, Self::Excluded];

    /// The word for it, as reports and metrics write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Isolated => "isolated",
            Self::Weakened => "weakened",
            Self::Pending => "pending",
            Self::Exposed => "exposed",
            Self::Exempt => "exempt",
            Self::Excluded => "excluded",
        }
    }

    /// Whether nothing is to be done about it.
    #[must_use]
    pub fn passes(self) -> bool {
        matches!(self, Self::Isolated | Self::Exempt | Self::Excluded)
    }
}

/// A namespace, its policies, and what they mean.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
    /// Whether the namespace itself is known, not only what is in it.
    pub(super) exists: bool,
    /// Its uid; empty on an embedded cluster.
    pub uid: String,
    /// Which write of it this is ([`ObjectMeta::version`]).
    pub version: u64,
    /// The write that it was first seen with, while its policies are not known for certain ([`super::Index::put_namespace`]).
    behind: Option<u64>,
    /// Up to which write a list of its policies is ahead of the watch.
    known_to: u64,
    /// What its labels and annotations say.
    pub isolation: Isolation,
    /// The annotation [`CONFLICT`], as the controller wrote it.
    pub conflict: Option<String>,
    /// The annotation [`EFFECTIVE`], as the controller wrote it.
    pub effective: Option<String>,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// The pods that are known, by name.
    pub pods: BTreeMap<String, Pod>,
    policies: BTreeMap<String, Arc<NetworkPolicy>>,
    /// Judged when first asked for after a change, so that filling an index judges each namespace once.
    verdict: OnceLock<(Criteria, Verdict)>,
}

impl Namespace {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            exists: false,
            uid: String::new(),
            version: 0,
            behind: None,
            known_to: 0,
            isolation: Isolation::default(),
            conflict: None,
            effective: None,
            terminating: false,
            pods: BTreeMap::new(),
            policies: BTreeMap::new(),
            verdict: OnceLock::new(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes over what an object says of the namespace itself, unless it is older than what is known. Returns whether
    /// that changed anything but its version.
    pub fn put_object(&mut self, metadata: &ObjectMeta<'_>) -> bool {
        let (version, uid) = (metadata.version(), metadata.uid.as_ref());
        if version != 0 && version < self.version {
            return false;
        }
        let is_new = !self.exists || uid != self.uid;
        // An embedded cluster has no versions, and no watches that run behind.
        if is_new {
            self.behind = (version != 0).then_some(version);
        }
        let annotation = |key| metadata.annotation(key).map(str::to_owned);
        let now = (Isolation::of(metadata), annotation(CONFLICT), annotation(EFFECTIVE), metadata.is_deleting());
        let before = (
            std::mem::take(&mut self.isolation),
            self.conflict.take(),
            self.effective.take(),
            std::mem::take(&mut self.terminating),
        );
        let changed = is_new || before != now;
        self.exists = true;
        self.version = version;
        uid.clone_into(&mut self.uid);
        // Another profile can have other criteria.
        if before.0.profile != now.0.profile {
            self.verdict.take();
        }
        (self.isolation, self.conflict, self.effective, self.terminating) = now;
        changed
    }

    pub(super) fn behind(&self) -> Option<u64> {
        self.behind
    }

    pub(super) fn confirm(&mut self) -> bool {
        self.behind.take().is_some()
    }

    /// Notes that its policies were listed, and which write the list shows.
    pub fn policies_known_to(&mut self, version: u64) {
        self.known_to = version;
    }

    /// The newest write that a list of its policies has shown; 0 where there was none.
    #[must_use]
    pub fn known_to(&self) -> u64 {
        self.known_to
    }

    /// Whether its policies are known for certain to be its own.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.behind.is_none()
    }

    pub(super) fn forget(&mut self) {
        let (policies, pods) = (std::mem::take(&mut self.policies), std::mem::take(&mut self.pods));
        *self = Self { pods, policies, ..Self::new(&self.name) };
    }

    pub(super) fn is_empty(&self) -> bool {
        self.policies.is_empty() && self.pods.is_empty()
    }

    /// Stores a policy, in place of one of the same name, unless it is older than that one. Returns whether anything
    /// changed that is judged or planned by.
    pub fn put_policy(&mut self, policy: NetworkPolicy) -> bool {
        let known = self.policies.get(&policy.name);
        if known.is_some_and(|known| policy.version != 0 && policy.version < known.version) {
            return false;
        }
        let changed =
            known.is_none_or(|known| NetworkPolicy { version: policy.version, ..(**known).clone() } != policy);
        if changed {
            self.verdict.take();
        }
        self.policies.insert(policy.name.clone(), Arc::new(policy));
        changed
    }

    /// Forgets a policy whose deletion was the write `version`, unless what is known of it is newer: one of the same name
    /// that was made since. Returns whether it was there.
    pub fn remove_policy_at(&mut self, name: &str, version: u64) -> bool {
        self.policies.get(name).is_some_and(|known| known.version <= version) && self.remove_policy(name)
    }

    /// Forgets a policy. Returns whether it was there.
    pub fn remove_policy(&mut self, name: &str) -> bool {
        let removed = self.policies.remove(name).is_some();
        if removed {
            self.verdict.take();
        }
        removed
    }

    /// Stores a pod, unless what is known of it is newer. Returns whether anything changed.
    pub fn put_pod(&mut self, name: &str, pod: Pod) -> bool {
        let known = self.pods.get(name);
        if known.is_some_and(|known| known.uid == pod.uid && pod.version < known.version) {
            return false;
        }
        let changed = known.is_none_or(|known| known.held != pod.held || known.uid != pod.uid);
        self.pods.insert(name.to_owned(), pod);
        changed
    }

    /// A policy.
    #[must_use]
    pub fn policy(&self, name: &str) -> Option<&NetworkPolicy> {
        self.policies.get(name).map(AsRef::as_ref)
    }

    /// Its policies, by name.
    pub fn policies(&self) -> impl Iterator<Item = &NetworkPolicy> {
        self.policies.values().map(AsRef::as_ref)
    }

    /// What its policies do together, judged by the criteria of a profile.
    #[must_use]
    pub fn verdict(&self, criteria: &Criteria) -> Cow<'_, Verdict> {
        let judged = || judge(&self.policies().collect::<Vec<_>>(), criteria);
        let (by, verdict) = self.verdict.get_or_init(|| (criteria.clone(), judged()));
        // Others than those of its own profile are asked for where another profile is chosen.
        if by == criteria { Cow::Borrowed(verdict) } else { Cow::Owned(judged()) }
    }

    /// What decides about it: which pods all its policies isolate, and what those open that have no exception in force.
    #[must_use]
    pub fn decisive_verdict(&self, criteria: &Criteria, now: Timestamp) -> Verdict {
        let all = self.verdict(criteria);
        let counting = unexcused(self.policies(), now);
        if counting.len() == self.policies.len() {
            return all.into_owned();
        }
        let opened = judge(&counting, criteria);
        let side = |all: &Side, opened: Side| Side { coverage: all.coverage.clone(), holes: opened.holes };
        Verdict {
            ingress: side(&all.ingress, opened.ingress),
            egress: side(&all.egress, opened.egress),
            capped: all.capped || opened.capped,
        }
    }

    /// The mode in force; `None` where it was never adopted.
    #[must_use]
    pub fn mode(&self, now: Timestamp) -> Option<Mode> {
        self.isolation.mode_in_force(now)
    }

    /// The profile that it is judged by: the one its label names, else the default.
    #[must_use]
    pub fn profile<'c>(&self, config: &'c Config) -> Option<&'c Profile> {
        self.isolation
            .profile
            .as_deref()
            .and_then(|name| config.profiles.get(name))
            .or_else(|| config.default_profile())
    }

    /// Whether the baseline is effective: every pod isolated in both directions, and no hole that the profile denies,
    /// what policies with an exception in force open aside.
    #[must_use]
    pub fn is_effective(&self, profile: &Profile, now: Timestamp) -> bool {
        let criteria = profile.criteria();
        if profile.is_effective(&self.verdict(criteria)) {
            return true;
        }
        let any_excused = self.policies().any(|policy| is_excused(policy, now));
        any_excused && profile.is_effective(&self.decisive_verdict(criteria, now))
    }

    /// Whether every policy of the profile is there, managed by Ringfence or not, under its own name or under the one
    /// that stands in for it ([`stand_in`]).
    #[must_use]
    pub fn is_in_place(&self, profile: &Profile) -> bool {
        self.missing_of(profile).next().is_none()
    }

    /// The names of the profile's policies that are not in place.
    pub fn missing_of<'a>(&'a self, profile: &'a Profile) -> impl Iterator<Item = &'a str> {
        let says =
            |name: &str, spec: &Spec| self.policy(name).is_some_and(|there| !there.deleting && there.spec == *spec);
        let is_missing = move |policy: &&crate::profile::Policy| {
            let spec = &policy.parsed.spec;
            !says(&policy.name, spec) && !says(&stand_in(&policy.name), spec)
        };
        profile.policies().iter().filter(is_missing).map(|policy| policy.name.as_str())
    }

    /// Whether a governed namespace is isolated, judged by a profile: the baseline is effective and the profile's policies
    /// are in place. While Ringfence restores one of them, an effective namespace that is labelled stays isolated. This,
    /// and nothing else, decides about the label, the lifting of pods, the metric and reports.
    #[must_use]
    pub fn is_isolated_by(&self, profile: &Profile, now: Timestamp) -> bool {
        let labelled = self.isolation.isolated.as_deref() == Some("true");
        self.is_caught_up() && self.is_effective(profile, now) && (labelled || self.is_in_place(profile))
    }

    /// The same, judged by the profile that its label names.
    #[must_use]
    pub fn is_isolating(&self, config: &Config, now: Timestamp) -> bool {
        self.profile(config).is_some_and(|profile| self.is_isolated_by(profile, now))
    }

    /// Its state, judged by a profile.
    #[must_use]
    pub fn state(&self, config: &Config, profile: &Profile, now: Timestamp) -> State {
        let mode = self.mode(now);
        if config.is_excluded(&self.name) {
            State::Excluded
        } else if mode == Some(Mode::Exempt) {
            State::Exempt
        } else if self.is_isolated_by(profile, now) || (mode != Some(Mode::Enforce) && self.is_effective(profile, now))
        {
            let is_wide =
                |(direction, hole): (Direction, &Hole)| direction == Direction::Ingress && hole.kind != Kind::Ports;
            if self.verdict(profile.criteria()).holes().any(is_wide) { State::Weakened } else { State::Isolated }
        } else if mode == Some(Mode::Enforce) {
            State::Pending
        } else {
            State::Exposed
        }
    }
}

/// Whether a policy has an exception in force: whatever it opens is accepted.
pub(crate) fn is_excused(policy: &NetworkPolicy, now: Timestamp) -> bool {
    policy.exception.as_ref().is_some_and(|exception| exception.is_in_force(now))
}

/// The policies that have no exception in force.
pub(crate) fn unexcused<'a>(
    policies: impl Iterator<Item = &'a NetworkPolicy>,
    now: Timestamp,
) -> Vec<&'a NetworkPolicy> {
    policies.filter(|policy| !is_excused(policy, now)).collect()
}
