//! What is remembered of a namespace between reconciles: how often in a row it failed, and which of its policies somebody
//! else keeps changing back. Namespaces with neither are not remembered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

/// The first wait after a failure, and the longest, both with jitter.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// So many restorations of one policy within this time are a fight with another writer, not a mishap.
const RESTORATIONS: usize = 5;
const FIGHT: Duration = Duration::from_secs(60);

/// How long a policy that was fought over is left alone before it is tried again: this at first, doubled each time.
const TRUCE: Duration = Duration::from_secs(60);
const LONGEST_TRUCE: Duration = Duration::from_secs(1800);

/// What is remembered of one namespace.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// What was to be brought about: the namespace's uid and profile. Another one of the same name, or what another
    /// profile asks for, is not restored but made.
    aim: (String, Option<String>),
    waits: Option<ExponentialBackoff>,
    /// Not to be reconciled before, whatever happens in between.
    pub(super) not_before: Option<Instant>,
    restored: BTreeMap<String, VecDeque<Instant>>,
    truces: BTreeMap<String, (Instant, Duration)>,
}

impl Standing {
    /// Notes a failure. Returns how long to wait.
    pub(super) fn failed(&mut self, now: Instant) -> Duration {
        let waits = self.waits.get_or_insert_with(|| {
            ExponentialBuilder::default()
                .with_min_delay(FIRST_WAIT)
                .with_max_delay(LONGEST_WAIT)
                .without_max_times()
                .with_jitter()
                .build()
        });
        let wait = waits.next().unwrap_or(LONGEST_WAIT);
        self.not_before = Some(now + wait);
        wait
    }

    /// Notes that it is well again.
    pub(super) fn succeeded(&mut self) {
        self.waits = None;
        self.not_before = None;
    }

    /// Notes for which namespace, and by which profile, things are written from now on.
    pub(super) fn aims(&mut self, uid: &str, profile: Option<&str>) {
        if self.aim.0 != uid || self.aim.1.as_deref() != profile {
            self.aim = (uid.to_owned(), profile.map(str::to_owned));
            self.restored.clear();
            self.truces.clear();
        }
    }

    /// Notes that a policy was written.
    pub(super) fn wrote(&mut self, policy: &str, now: Instant) {
        let times = self.restored.entry(policy.to_owned()).or_default();
        times.push_back(now);
        while times.front().is_some_and(|at| now.duration_since(*at) > FIGHT) {
            times.pop_front();
        }
        if times.len() > RESTORATIONS {
            times.clear();
            self.refused(policy, now);
        }
    }

    /// Leaves a policy alone for a while, longer each time.
    pub(super) fn refused(&mut self, policy: &str, now: Instant) {
        let length = self.truces.get(policy).map_or(TRUCE, |(_, length)| length.saturating_mul(2).min(LONGEST_TRUCE));
        self.truces.insert(policy.to_owned(), (now + length, length));
    }

    /// The policies that are left alone at this time.
    pub(super) fn given_up(&self, now: Instant) -> BTreeSet<String> {
        self.truces.iter().filter(|(_, (until, _))| *until > now).map(|(name, _)| name.clone()).collect()
    }

    /// When the next policy that is left alone is to be tried again.
    pub(super) fn truce_ends(&self, now: Instant) -> Option<Instant> {
        self.truces.values().map(|(until, _)| *until).filter(|until| *until > now).min()
    }

    /// Whether there is anything to remember.
    pub(super) fn is_worth_keeping(&mut self, now: Instant) -> bool {
        self.restored.retain(|_, times| times.back().is_some_and(|at| now.duration_since(*at) <= FIGHT));
        // A truce is forgotten once the policy was left in peace for as long as it lasted.
        self.truces.retain(|_, (until, length)| *until + *length > now);
        self.waits.is_some() || !self.restored.is_empty() || !self.truces.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_is_changed_back_again_and_again_is_left_alone_for_longer_and_longer() {
        let mut standing = Standing::default();
        let mut now = Instant::now();
        for _ in 0..RESTORATIONS {
            standing.wrote("deny", now);
            assert!(standing.given_up(now).is_empty());
            now += Duration::from_secs(1);
        }
        standing.wrote("deny", now);
        assert_eq!(standing.given_up(now), ["deny".to_owned()].into());
        assert_eq!(standing.truce_ends(now), Some(now + TRUCE));
        now += TRUCE;
        assert!(standing.given_up(now).is_empty());
        for _ in 0..=RESTORATIONS {
            standing.wrote("deny", now);
        }
        assert_eq!(standing.truce_ends(now), Some(now + 2 * TRUCE));
        assert!(standing.is_worth_keeping(now + 3 * TRUCE));
        assert!(!standing.is_worth_keeping(now + 5 * TRUCE));
    }

    #[test]
    fn what_is_made_for_another_namespace_or_by_another_profile_is_no_fight() {
        let mut standing = Standing::default();
        let now = Instant::now();
        for round in 0..20 {
            standing.aims(&format!("uid-{}", round / 4), Some(if round % 4 < 2 { "standard" } else { "strict" }));
            standing.wrote("deny", now);
            assert!(standing.given_up(now).is_empty());
        }
        for _ in 0..=RESTORATIONS {
            standing.aims("uid", None);
            standing.wrote("deny", now);
        }
        assert_eq!(standing.given_up(now).len(), 1);
        standing.aims("uid", Some("strict"));
        assert!(standing.given_up(now).is_empty());
    }

    #[test]
    fn now_and_then_is_no_fight() {
        let mut standing = Standing::default();
        let mut now = Instant::now();
        for _ in 0..100 {
            standing.wrote("deny", now);
            now += FIGHT / 4;
            assert!(standing.given_up(now).is_empty());
        }
    }

    #[test]
    fn failures_wait_longer_and_longer_up_to_a_limit_until_one_succeeds() {
        let mut standing = Standing::default();
        let now = Instant::now();
        let waits: Vec<Duration> = (0..12).map(|_| standing.failed(now)).collect();
        assert!(waits[0] >= FIRST_WAIT && waits[0] <= 2 * FIRST_WAIT, "{waits:?}");
        assert!(waits[11] >= LONGEST_WAIT && waits[11] <= 2 * LONGEST_WAIT, "{waits:?}");
        assert!(standing.is_worth_keeping(now));
        standing.succeeded();
        assert_eq!(standing.not_before, None);
        assert!(standing.failed(now) <= 2 * FIRST_WAIT);
    }
}
