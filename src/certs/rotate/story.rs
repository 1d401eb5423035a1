//! Rotations in a world of a few lines: API servers and replicas that learn late, and leaders that are killed at every
//! step. Time is a number here, so that months pass in a moment. What is trusted and served is real.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use super::state::{State, Stored};
use super::step::{Known, Rotation, Step, agreed};
use crate::certs::trust::same_cas;

const NAME: &str = "ringfence.ringfence-system.svc";
const OVERLAP: Duration = Duration::from_secs(300);
const TICK: Duration = Duration::from_secs(60);
const VALIDITY: SignedDuration = SignedDuration::from_hours(60 * 24);

/// Something that changes, and is seen late.
struct History<T>(Vec<(Duration, T)>);

impl<T: Clone + PartialEq> History<T> {
    fn now(&self) -> &T {
        &self.0.last().unwrap().1
    }

    fn set(&mut self, at: Duration, value: T) {
        if *self.now() != value {
            self.0.push((at, value));
        }
    }

    /// As somebody sees it who is so late.
    fn seen(&self, now: Duration, late: Duration) -> &T {
        let then = now.saturating_sub(late);
        &self.0.iter().rev().find(|(at, _)| *at <= then).unwrap_or(&self.0[0]).1
    }
}

type Data = Option<BTreeMap<String, ByteString>>;

/// What a leader remembers, and loses when it is killed.
struct Leader {
    led: Duration,
    seen: Option<(Data, [String; 2])>,
    changed: Duration,
    last: Option<State>,
}

struct World {
    rotation: Rotation,
    began: Timestamp,
    now: Duration,
    secret: History<Data>,
    bundles: [History<String>; 2],
    leader: Leader,
    /// How late API servers and replicas are.
    late: [Duration; 2],
    writes: usize,
    /// The write at which the leader is killed, and whether before it or after.
    killed: Option<(usize, bool)>,
    /// What was found acceptable: each is looked at many times.
    accepted: RefCell<BTreeSet<(String, String)>>,
    read: RefCell<BTreeMap<Vec<u8>, Stored>>,
}

impl World {
    fn new(late: [Duration; 2]) -> Self {
        let leader = Leader { led: Duration::ZERO, seen: None, changed: Duration::ZERO, last: None };
        let nothing = || History(vec![(Duration::ZERO, String::new())]);
        let mut world = Self {
            rotation: Rotation { names: vec![NAME.to_owned()], validity: VALIDITY, overlap: OVERLAP },
            began: "2026-01-01T00:00:00Z".parse().unwrap(),
            now: Duration::ZERO,
            secret: History(vec![(Duration::ZERO, None)]),
            bundles: [nothing(), nothing()],
            leader,
            late,
            writes: 0,
            killed: None,
            accepted: RefCell::default(),
            read: RefCell::default(),
        };
        // The first certificate: nobody is served before.
        while !matches!(world.step(), Some(wait) if wait > OVERLAP) {
            world.now += TICK;
        }
        world.now += OVERLAP;
        world
    }

    fn stored(&self, data: &Data) -> Stored {
        let secret = Secret { data: data.clone(), ..Secret::default() };
        let text = serde_json::to_vec(&secret).unwrap();
        self.read.borrow_mut().entry(text).or_insert_with(|| Stored::of(Some(&secret))).clone()
    }

    fn clock(&self) -> Timestamp {
        self.began + SignedDuration::try_from(self.now).unwrap()
    }

    /// What the leader does now; `None` where it wrote, or was killed.
    fn step(&mut self) -> Option<Duration> {
        let now = self.now;
        let view = (self.secret.now().clone(), self.bundles.each_ref().map(|bundle| bundle.now().clone()));
        if self.leader.seen.as_ref() != Some(&view) {
            self.leader.changed = now;
        }
        let stored = self.stored(&view.0);
        if let Stored::Good(state) = &stored {
            self.leader.last = Some((**state).clone());
        }
        let bundle = match &stored {
            Stored::Good(state) => state.bundle(),
            Stored::Missing | Stored::Broken(_) => String::new(),
        };
        let known = Known {
            stored: &stored,
            last: self.leader.last.as_ref(),
            trusted: view.1.iter().all(|live| same_cas(live.as_bytes(), bundle.as_bytes())),
            unchanged: now.saturating_sub(self.leader.led.max(self.leader.changed)),
        };
        let step = self.rotation.next(&known, self.clock()).unwrap();
        self.leader.seen = Some(view);
        let write = |world: &mut Self, change: &mut dyn FnMut(&mut Self)| {
            world.writes += 1;
            let killed = world.killed.filter(|(at, _)| *at == world.writes).map(|(_, after)| after);
            if killed != Some(false) {
                change(world);
            }
            if killed.is_some() {
                world.leader = Leader { led: now, seen: None, changed: now, last: None };
            }
            killed.is_some()
        };
        let issued = || self.rotation.issue(self.clock()).unwrap();
        let state = match step {
            Step::Wait(wait) => return Some(wait),
            Step::Trust => {
                for which in 0..2 {
                    if write(self, &mut |world| world.bundles[which].set(now, bundle.clone())) {
                        break;
                    }
                }
                return None;
            }
            Step::Store(state, _) => *state,
            Step::Announce(state, _) => state.announcing(issued()),
            Step::Begin(_) => State::fresh(issued(), Vec::new()),
        };
        let killed = write(self, &mut |world| world.secret.set(now, Some(state.to_data())));
        if !killed {
            self.leader.last = Some(state);
        }
        None
    }

    /// Checks that each API server accepts what each replica serves.
    fn check(&self) {
        for late_replica in [Duration::ZERO, self.late[1]] {
            let Stored::Good(state) = self.stored(self.secret.seen(self.now, late_replica)) else {
                panic!("nothing to serve")
            };
            for late_server in [Duration::ZERO, self.late[0]] {
                for bundle in &self.bundles {
                    let bundle = bundle.seen(self.now, late_server);
                    let pair = &state.serving;
                    assert!(self.clock() < pair.validity().unwrap().not_after);
                    if self.accepted.borrow_mut().insert((pair.certificate.clone(), bundle.clone())) {
                        let accepted = pair.accepted_by(bundle.as_bytes(), NAME, self.clock());
                        accepted.unwrap_or_else(|error| panic!("after {:?}: {error}", self.now));
                    }
                }
            }
        }
    }

    /// Lives on until a rotation is over.
    fn rotate(&mut self) {
        let before = self.state().serving.certificate;
        let mut waits = 0;
        let is_over = |world: &Self| {
            let state = world.state();
            state.serving.certificate != before
                && world.bundles.iter().all(|live| same_cas(live.now().as_bytes(), state.serving.ca.as_bytes()))
        };
        while !is_over(self) {
            self.check();
            let wait = self.step();
            self.check();
            self.now += match wait {
                Some(wait) if wait > OVERLAP => wait,
                _ => TICK,
            };
            waits += 1;
            assert!(waits < 2000, "a rotation does not come, or does not end");
        }
        self.check();
    }

    fn state(&self) -> State {
        match self.stored(self.secret.now()) {
            Stored::Good(state) => *state,
            Stored::Broken(problem) => panic!("{problem}"),
            Stored::Missing => panic!("there is none"),
        }
    }
}

const NOT_LATE: [Duration; 2] = [Duration::ZERO; 2];
/// As late as anybody may be.
const LATE: [Duration; 2] = [Duration::from_secs(299), Duration::from_secs(299)];

#[test]
fn case_36_three_rotations_and_api_servers_that_learn_late_accept_each_certificate_all_along() {
    for late in [NOT_LATE, LATE, [LATE[0], Duration::ZERO], [Duration::ZERO, LATE[1]]] {
        let mut world = World::new(late);
        let mut certificates = vec![world.state().serving.certificate];
        for _ in 0..3 {
            world.rotate();
            certificates.push(world.state().serving.certificate);
        }
        certificates.dedup();
        assert_eq!(certificates.len(), 4);
        // Each began at two thirds of the life of the one before, or a little earlier.
        let days = world.now.as_secs() / 86400;
        assert!((3 * 37..=3 * 41).contains(&days), "{days} days");
        // Nothing is left of those before.
        assert_eq!(world.state().bundle().matches("BEGIN").count(), 1);
    }
}

#[test]
fn whoever_is_later_than_the_overlap_would_see_failures() {
    // Else the tests here could not fail.
    for late in [[2 * OVERLAP, Duration::ZERO], [Duration::ZERO, 2 * OVERLAP]] {
        let mut world = World::new(NOT_LATE);
        world.late = late;
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.rotate()));
        assert!(failed.is_err());
    }
}

#[test]
fn a_leader_that_is_killed_at_any_step_leaves_a_rotation_that_the_next_one_ends() {
    let mut whole = World::new(NOT_LATE);
    let first = whole.writes;
    whole.rotate();
    let writes = whole.writes - first;
    // The Secret three times, and both configurations after the first and the last.
    assert_eq!(writes, 7);
    for at in 1..=writes {
        for after in [false, true] {
            let mut world = World::new(LATE);
            world.killed = Some((world.writes + at, after));
            world.rotate();
        }
    }
}

#[test]
fn the_first_certificate_comes_about_wherever_its_leader_is_killed() {
    for at in 1..=3 {
        for after in [false, true] {
            let mut world = World::new(NOT_LATE);
            world.secret = History(vec![(Duration::ZERO, None)]);
            world.bundles = [(); 2].map(|()| History(vec![(Duration::ZERO, String::new())]));
            world.leader.last = None;
            world.killed = Some((world.writes + at, after));
            for _ in 0..10 {
                world.step();
                world.now += TICK;
            }
            world.check();
        }
    }
}

#[test]
fn case_38_a_secret_that_is_deleted_or_spoilt_is_put_back_as_it_was_at_any_step() {
    let spoilt = |data: &Data, key: &str| {
        let mut data = data.clone().unwrap();
        data.insert(key.to_owned(), ByteString(b"nonsense".to_vec()));
        Some(data)
    };
    // Before, in the middle of, and after a rotation.
    let mut world = World::new(NOT_LATE);
    world.now += Duration::from_secs(45 * 86400);
    for _ in 0..20 {
        world.step();
        world.now += TICK;
        let before = world.secret.now().clone();
        for lost in [None, spoilt(&before, "tls.key"), spoilt(&before, "tls.crt"), spoilt(&before, "ca.crt")] {
            world.secret.0.push((world.now, lost));
            assert!(world.step().is_none());
            assert!(*world.secret.now() == before);
        }
    }
    // The wait began anew each time.
    assert!(world.state().next.is_some());
    world.rotate();
}

#[test]
fn case_39_a_bundle_that_is_blanked_is_restored_and_the_wait_begins_anew() {
    let mut world = World::new(LATE);
    world.now += Duration::from_secs(50 * 86400);
    while world.state().next.is_none() || world.step().is_none() {
        world.step();
    }
    world.now += OVERLAP.saturating_sub(TICK);
    world.bundles[1].set(world.now, String::new());
    assert!(world.step().is_none(), "it is restored at once");
    assert_eq!(*world.bundles[1].now(), world.state().bundle());
    let blanked = world.now;
    let before = world.state().serving.certificate;
    while world.state().serving.certificate == before {
        world.step();
        world.now += TICK;
    }
    assert!(world.now >= blanked + OVERLAP);
}

#[test]
fn what_has_ended_is_replaced_at_once_and_what_was_announced_long_ago_is_issued_anew() {
    let mut world = World::new(NOT_LATE);
    world.now += Duration::from_secs(61 * 86400);
    let before = world.state().serving.certificate;
    assert!(world.step().is_none());
    assert_ne!(world.state().serving.certificate, before);
    assert!(world.step().is_none());
    world.check();

    let mut world = World::new(NOT_LATE);
    world.now += Duration::from_secs(45 * 86400);
    while world.state().next.is_none() {
        world.step();
    }
    let next = world.state().next.unwrap();
    // Nobody leads for a long time, but the certificate is still good. It was issued for longer than usual.
    let mut state = world.state();
    state.serving = crate::certs::pair::Pair::issue(&[NAME.to_owned()], VALIDITY * 2, world.clock()).unwrap();
    world.secret.set(world.now, Some(state.to_data()));
    world.now += Duration::from_secs(55 * 86400);
    while world.state().next.is_some_and(|now| now.certificate == next.certificate) {
        world.step();
        world.now += TICK;
    }
    assert!(world.state().next.is_some());
}

#[test]
fn an_announced_certificate_is_served_at_once_where_the_one_before_has_ended() {
    let mut world = World::new(NOT_LATE);
    world.now += Duration::from_secs(45 * 86400);
    while world.state().next.is_none() || world.step().is_none() {
        world.step();
    }
    let next = world.state().next.unwrap().certificate;
    world.now += Duration::from_secs(15 * 86400 + 3600);
    assert!(world.step().is_none());
    assert!(world.state().serving.certificate == next);
    world.check();
}

#[test]
fn what_nobody_would_accept_is_not_issued_nor_is_anything_thrown_away_by_a_clock_that_is_off() {
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    for minutes in [0, 59, -59] {
        assert!(agreed(now, now + SignedDuration::from_mins(minutes)).unwrap() == now);
    }
    for hours in [1, -1, 24 * 365] {
        let differ = agreed(now, now + SignedDuration::from_hours(hours)).unwrap_err().to_string();
        assert!(differ.contains("2026-01-01T00:00:00Z") && differ.contains("set the clock"), "{differ}");
    }
    // A leader whose clock is a year ahead finds that its certificate has ended. It has to issue another one before it
    // writes anything, and that is where the clocks are compared.
    let world = World::new(NOT_LATE);
    let stored = world.stored(world.secret.now());
    let known = Known { stored: &stored, last: None, trusted: true, unchanged: OVERLAP };
    let ahead = world.clock() + SignedDuration::from_hours(24 * 365);
    assert!(matches!(world.rotation.next(&known, ahead).unwrap(), Step::Begin(_)));
}
