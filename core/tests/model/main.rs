//! The life of a namespace (create, label, hold, apply, isolate, weaken, repair, exempt, expire, terminate), explored by a
//! model checker that runs the real code: [`plan`](ringfence_core::plan), the index, and admission on real reviews.
//!
//! A state ([`state`]) is what the API server stores; what is on its way of each watch, in order within a kind and not
//! between kinds; the API server's own copy of the namespace's labels, which decides whether the webhook is called; what
//! each replica's index holds; and how far the leader has carried out its plan. Moves ([`moves`]) are those of tenants
//! and administrators, of the clock, of watches, of the controller (each write may be refused, or its answer lost), and
//! faults: a replica restarts, another one leads, a watch lists anew. What the shell does around the code is done as it
//! does it: `src/cluster/live/watch.rs`, `src/controller/writer.rs`, and the selectors of the chart.
//!
//! What must hold ([`rules`]):
//!
//! 1. Nothing that lets a pod run (a plan that lifts it or sets `isolated`, the write itself, the webhook that admits it
//!    without the gate) is concluded from a view that is not effective. To this there is no exception. What is effective is
//!    said a second time, of the few policies that there are, in [`state::is_effective`].
//! 2. The view is not wrong: what is stored is effective too, unless the very change that ended it is on its way to whoever
//!    concluded, or is about to be answered by the controller. Such windows are collected, and are no others than
//!    [`WINDOWS`]; `docs/operations.md` tells of them.
//! 3. An up-to-date webhook never allows what ends a baseline, nor does the controller; a tenant without permission changes
//!    no isolation label, and lifts no pod.
//! 4. Progress: a replica that was told everything knows what is stored; from there the controller comes to rest, with an
//!    enforced namespace isolated and its pods lifted, or with a policy of somebody else's named on the namespace. From
//!    every state that point is reached by deliveries and writes alone, each of which is a move, and of which there is no
//!    endless row. An exemption is ended at its end, and nothing is planned for a namespace that terminates.
//!
//! Versions are numbered anew in each state, since only their order means anything. The tests find 1,028,293 states, each
//! its own; what they assert is a lower bound, and that what they are about has happened. Left out: modes `warn` and
//! `audit`, policies that a finalizer keeps, pods on the node's network, restorations that are given up, and an index that
//! is not believed. That the queue looks again at the right time is not modelled but for the plan's `again`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail like this, also in its helpers")]

mod code;
mod controller;
mod moves;
mod rules;
mod state;
mod webhook;

use code::Code;
use controller::Goes;
use moves::Move;
use state::{Says, State};
use stateright::{Checker, HasDiscoveries, Model, Property};
use webhook::Edit;

/// When a pod may run though the stored policies are not effective. The controller repairs each.
const WINDOWS: [&str; 16] = [
    "a pod is admitted unheld on a view that is behind: the policies come out of an exemption",
    "a pod is admitted unheld on a view that is behind: the policies had an exception that ended",
    "a pod is admitted unheld on a view that is behind: the policies have to meet another profile",
    "a pod is admitted unheld on a view that is behind: the policies were another namespace's of this name",
    "a pod is admitted unheld on a view that is behind: the policies were changed by two at one time",
    "a pod is admitted unheld on a view that is behind: the policies were changed past the webhook",
    "a pod is created without a call before the controller: the policies come out of an exemption",
    "a pod is created without a call before the controller: the policies had an exception that ended",
    "a pod is created without a call before the controller: the policies have to meet another profile",
    "a pod is created without a call before the controller: the policies were changed by two at one time",
    "a pod is created without a call before the controller: the policies were changed past the webhook",
    "a pod is created without a call: the API server's copy of the labels is behind",
    "isolated is set on a view that is behind: the policies come out of an exemption",
    "isolated is set on a view that is behind: the policies had an exception that ended",
    "isolated is set on a view that is behind: the policies were changed by two at one time",
    "isolated is set on a view that is behind: the policies were changed past the webhook",
];

/// What is explored: from where, how far, and which moves.
struct Life {
    code: Code,
    replicas: usize,
    /// How many moves of tenants and administrators there are, and how many faults.
    moves: u8,
    faults: u8,
    from: &'static [Start],
    theme: fn(&Move) -> bool,
}

/// A namespace to begin with, known to everybody; no moves are spent on it.
#[derive(Clone, Copy)]
enum Start {
    Absent,
    Isolated,
    /// Isolated by a tenant's own policies, one of which has the name of the profile's.
    ByOthers,
    /// Exempt, and open to everything.
    Exempt,
    /// A tenant's policy that isolates some pods has the name of the profile's.
    InTheWay,
    /// Isolated, with a hole that is excepted.
    Excepted,
}

use Start::{Absent, ByOthers, Excepted, Exempt, InTheWay, Isolated};

impl Start {
    fn state(self, code: &Code, replicas: usize) -> State {
        use Says::{Excused, Foreign, Managed, Narrow, Wide};
        let (policies, exempt) = match self {
            Self::Absent => return State::empty(replicas),
            Self::Isolated => ([Some(Managed), Some(Managed), None, None], false),
            Self::ByOthers => ([Some(Foreign), Some(Managed), Some(Foreign), None], false),
            Self::Exempt => ([None, None, None, Some(Wide)], true),
            Self::InTheWay => ([Some(Narrow), Some(Managed), None, None], false),
            Self::Excepted => ([Some(Managed), Some(Managed), None, Some(Excused)], false),
        };
        State::settled(code, replicas, policies, exempt)
    }
}

impl Model for Life {
    type State = State;
    type Action = Move;

    fn init_states(&self) -> Vec<State> {
        let start = |start: &Start| start.state(&self.code, self.replicas);
        self.from.iter().map(|at| State { moves: self.moves, faults: self.faults, ..start(at) }).collect()
    }

    fn actions(&self, state: &State, moves: &mut Vec<Move>) {
        state.moves(&self.code, moves);
        moves.retain(self.theme);
    }

    fn next_state(&self, state: &State, chosen: Move) -> Option<State> {
        Some(state.after(&self.code, chosen))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("what is written follows from an effective view", |_, state: &State| {
                state.wrong.is_none()
            }),
            Property::always("what is admitted is held or on an effective view", |life: &Self, state: &State| {
                state.judge_people(&life.code).is_none()
            }),
            Property::always("at rest everything is as it should be", |life: &Self, state: &State| {
                state.judge_rest(&life.code).is_none()
            }),
            Property::always("it comes to rest", |life: &Self, state: &State| {
                !state.is_at_a_beginning() || state.settle(&life.code).is_none()
            }),
        ]
    }
}

impl Life {
    /// Explores all there is. No fewer than so many states must be found, and all of this must have happened.
    fn explore(self, at_least: usize, happens: &[&str]) {
        let checker = self.checker().finish_when(HasDiscoveries::Any).spawn_bfs().join();
        let (life, states) = (checker.model(), checker.unique_state_count());
        println!("{states} unique states, {} transitions, depth {}", checker.state_count(), checker.max_depth());
        if let Some((rule, path)) = checker.discoveries().into_iter().next() {
            println!("found after {states} states: it is not so that {rule}:");
            let path = path.into_vec();
            path.iter().filter_map(|(_, chosen)| *chosen).for_each(|chosen| println!("    {chosen:?}"));
            let (first, last) = (&path[0].0, &path[path.len() - 1].0);
            println!("from {first:#?}\nto {last:#?}");
            let rules = [
                last.wrong,
                last.judge_people(&life.code),
                last.judge_rest(&life.code),
                last.is_at_a_beginning().then(|| last.settle(&life.code)).flatten(),
            ];
            panic!("{rule}: {:?}", rules.iter().flatten().next());
        }
        assert!(states >= at_least, "{states}");
        let seen = life.code.seen();
        for what in happens {
            assert!(seen.contains(what), "it never happens that {what}");
        }
        for window in life.code.windows() {
            assert!(WINDOWS.contains(&window.as_str()), "{window}");
        }
    }
}

fn life(replicas: usize, moves: u8, faults: u8, from: &'static [Start], theme: fn(&Move) -> bool) -> Life {
    Life { code: Code::new(), replicas, moves, faults, from, theme }
}

const EVERYWHERE: &[Start] = &[Absent, Isolated, ByOthers, Exempt, InTheWay, Excepted];

#[test]
fn whatever_two_people_do_no_pod_runs_on_a_view_that_is_not_effective() {
    life(1, 2, 0, EVERYWHERE, |_| true).explore(
        600_000,
        &[
            "a change of a policy is refused",
            "a conflict is over",
            "a conflict is reported",
            "a pod is admitted unheld",
            "a pod is created without a call",
            "a pod is held",
            "a pod is lifted",
            "a pod is refused",
            "a policy is applied",
            "a policy is changed",
            "a policy is changed past the webhook",
            "a policy is changed while exempt",
            "a policy is changed, judged on a view that is behind",
            "a policy is pruned",
            "a watch delivers",
            "an exemption is ended",
            "exceptions and exemptions end",
            "isolated is dropped",
            "isolated is set",
            "the API server learns",
            "the controller writes",
            "the exemption is taken back",
            "the namespace is created",
            "the namespace is deleted",
            "the namespace is emptied",
            "the namespace is exempted",
            "the namespace is gone",
            "the profile is changed",
        ],
    );
}

#[test]
fn whatever_fails_no_pod_runs_on_a_view_that_is_not_effective() {
    life(1, 1, 1, EVERYWHERE, |_| true).explore(
        45_000,
        &[
            "a replica restarts",
            "a watch lists anew",
            "a watch lists anew because it is told to",
            "a write is not answered",
            "a write is refused",
        ],
    );
}

#[test]
fn a_namespace_that_is_made_anew_is_isolated_before_its_pods_run() {
    let theme = |chosen: &Move| {
        !matches!(chosen, Move::Change(..) | Move::Edit(_) | Move::Tick | Move::Act(Goes::Refused | Goes::Silent))
    };
    life(1, 3, 1, &[Isolated], theme).explore(
        45_000,
        &[
            "the namespace is gone",
            "the namespace is created",
            "a pod is lifted",
            "a watch lists anew because it is told to",
        ],
    );
}

#[test]
fn a_namespace_that_was_exempt_is_isolated_again() {
    let theme = |chosen: &Move| {
        !matches!(chosen, Move::Delete | Move::Hold | Move::Edit(Edit::Profile(_)))
            && !matches!(chosen, Move::Change(slot, ..) if *slot != 3)
    };
    life(1, 3, 0, &[Isolated], theme).explore(
        40_000,
        &[
            "the namespace is exempted",
            "the exemption is taken back",
            "an exemption is ended",
            "a policy is changed while exempt",
        ],
    );
}

#[test]
fn policies_that_are_changed_at_the_same_time_are_repaired() {
    let theme = |chosen: &Move| !matches!(chosen, Move::Delete | Move::Edit(_) | Move::Hold);
    life(1, 3, 0, &[ByOthers], theme).explore(
        120_000,
        &["a policy is changed, judged on a view that is behind", "a policy is changed past the webhook"],
    );
}

#[test]
fn a_replica_that_is_behind_admits_nothing_that_it_does_not_know_to_be_isolated() {
    life(2, 1, 0, EVERYWHERE, |_| true)
        .explore(85_000, &["a pod is held", "a pod is admitted unheld", "a pod is refused"]);
}

#[test]
fn a_replica_that_takes_over_the_lead_goes_on_from_what_it_knows() {
    let theme = |chosen: &Move| !matches!(chosen, Move::List(..) | Move::Act(Goes::Refused | Goes::Silent));
    life(2, 1, 1, &[Isolated, ByOthers], theme).explore(25_000, &["another replica leads", "a replica restarts"]);
}
