//! The life of a namespace, explored by a model checker that runs the real code: [`plan`](ringfence_core::plan), the index,
//! the reservations, and admission on real reviews.
//!
//! A state ([`state`]) is what the API server stores; what is on its way of each watch, in order within a kind and not
//! between kinds; the API server's own copy of the namespace's labels, which decides whether the webhook is called; what
//! each replica's index holds, and which changes it has reserved; requests between their arrival and their being stored
//! ([`flights`]); and how far the leader has carried out its plan. Moves ([`moves`]) are those of tenants, owners and
//! administrators, of the clock, of watches, of the controller (each write may be refused, or its answer lost), and faults: a
//! replica restarts, also with another configuration, another one leads, a watch lists anew. The shell around the code is
//! repeated as it is: `src/cluster/mod.rs`, `src/cluster/live/watch.rs` and `read.rs` ([`hearing`]), `src/server/routes.rs`
//! ([`flights`]), `src/controller/queue.rs`, `writer.rs` and `quarantine.rs` ([`controller`]), and the selectors of the chart.
//!
//! What must hold ([`rules`]):
//!
//! 1. Nothing that lets a pod run (a plan that lifts it or sets `isolated`, the write itself, the webhook that admits it
//!    without the gate) is concluded from a view that is not isolated, or whose policies are not known for certain. This rule
//!    has no exception. [`facts`] says a second time what is effective, of the few policies that there are.
//! 2. The view is not wrong: the stored policies are effective too, unless the change that ended the baseline is on its way
//!    to the replica that concluded, or the controller is about to answer it. Such windows are collected, and are no others
//!    than [`WINDOWS`]; `docs/operations.md` lists them.
//! 3. A replica never allows changes that end a baseline, alone or together, where its view lacks nothing but changes that it
//!    has admitted itself, nor does the controller end one. A tenant without permission changes no isolation label and no record, and lifts no pod. The policies of a namespace that
//!    terminates can be deleted by a user only when no pod may run, whatever phase a pod says that it has.
//! 4. A policy is quarantined only if it changed since the namespace was last effective under the same rules, opens a denied
//!    hole, is not managed and not accepted, and is the latest such change.
//! 5. Progress: a replica that was told everything knows what is stored, and reserves nothing that is decided. From there the
//!    controller comes to rest: an enforced namespace is isolated and its pods are lifted, or the namespace names a policy
//!    that the controller must not touch, or whose quarantine is refused. From every state that point is reached by
//!    deliveries and writes alone, of which there is no endless row. An exemption is ended at its end, an exception's policy
//!    is quarantined, a quarantine ends when the rules are back, and nothing is planned for a namespace that terminates.
//!
//! Versions and uids are numbered anew in each state, since only their order, or which are the same, means anything. The tests
//! find 564,455 states; they assert a lower bound each, and that what they are about has happened. Left out: modes `warn` and
//! `audit`, policies that a finalizer keeps, holes of egress, pods on the node's network, restorations that are given up, a
//! namespace whose reservations are full, an index that is not believed, and how the shell reads the pods that may run. That
//! the queue looks again at the right time is not modelled but for the plan's `again` and `waits`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail like this, also in its helpers")]

mod code;
mod controller;
mod facts;
mod flights;
mod hearing;
mod moves;
mod numbers;
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
const WINDOWS: [&str; 20] = [
    "a pod is admitted unheld on a view that is behind: the policies come out of an exemption",
    "a pod is admitted unheld on a view that is behind: the policies had an exception that ended",
    "a pod is admitted unheld on a view that is behind: the policies were another namespace's of this name",
    "a pod is admitted unheld on a view that is behind: the policies were changed by two at one time",
    "a pod is admitted unheld on a view that is behind: the policies were changed past the webhook",
    "a pod is admitted unheld on a view that is behind: the policies were changed while the controller pruned",
    "a pod is created without a call before the controller: the policies come out of an exemption",
    "a pod is created without a call before the controller: the policies had an exception that ended",
    "a pod is created without a call before the controller: the policies have to meet other rules",
    "a pod is created without a call before the controller: the policies were changed by two at one time",
    "a pod is created without a call before the controller: the policies were changed past the webhook",
    "a pod is created without a call before the controller: the policies were changed while the controller pruned",
    "a pod is created without a call: the API server's copy of the labels is behind",
    "a pod is lifted on a view that is behind: the policies are cleared away",
    "a pod is lifted on a view that is behind: the policies had an exception that ended",
    "a pod is lifted on a view that is behind: the policies were changed past the webhook",
    "isolated is set on a view that is behind: the policies come out of an exemption",
    "isolated is set on a view that is behind: the policies had an exception that ended",
    "isolated is set on a view that is behind: the policies were changed past the webhook",
    "isolated is set on a view that is behind: the policies were changed while the controller pruned",
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
#[derive(Clone, Copy, PartialEq)]
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
    /// Isolated, with half of a hole.
    Half,
    /// Isolated by a tenant's own policies, and a pod runs.
    Running,
    /// Enforced, and open to everything since before.
    Adopted,
}

use Start::{Absent, Adopted, ByOthers, Excepted, Exempt, Half, InTheWay, Isolated, Running};

impl Start {
    fn state(self, code: &Code, replicas: usize) -> State {
        use Says::{Excused, Foreign, Managed, Narrow, Wide};
        let (baseline, others, exempt) = match self {
            Self::Absent => return State::empty(replicas),
            Self::Isolated => ([Some(Managed), Some(Managed), None], [None; 3], false),
            Self::ByOthers | Self::Running => ([Some(Foreign), Some(Managed), Some(Foreign)], [None; 3], false),
            Self::Exempt => ([None; 3], [Some(Wide), None, None], true),
            Self::InTheWay => ([Some(Narrow), Some(Managed), None], [None; 3], false),
            Self::Excepted => ([Some(Managed), Some(Managed), None], [Some(Excused), None, None], false),
            Self::Half => ([Some(Managed), Some(Managed), None], [Some(Says::Half), None, None], false),
            Self::Adopted => ([Some(Managed), Some(Managed), None], [Some(Wide), None, None], false),
        };
        let [ingress, egress, both] = baseline;
        let [wide, half, stand_in] = others;
        let policies = [ingress, egress, both, wide, half, stand_in];
        State { bound: self == Self::Running, ..State::settled(code, replicas, policies, exempt) }
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
        life.code.windows().iter().for_each(|window| println!("    {window}"));
        let unknown: Vec<_> =
            life.code.windows().into_iter().filter(|window| !WINDOWS.contains(&window.as_str())).collect();
        assert!(unknown.is_empty(), "{unknown:#?}");
        // One replica reserves what it admits.
        let raced = life.code.windows().into_iter().find(|window| window.contains("by two at one time"));
        assert!(life.replicas > 1 || raced.is_none(), "{raced:?}");
    }
}

fn life(replicas: usize, moves: u8, faults: u8, from: &'static [Start], theme: fn(&Move) -> bool) -> Life {
    Life { code: Code::new(), replicas, moves, faults, from, theme }
}

const EVERYWHERE: &[Start] = &[Absent, Isolated, ByOthers, Exempt, InTheWay, Excepted];

#[test]
fn whatever_two_people_do_no_pod_runs_on_a_view_that_is_not_effective() {
    // The beginning and the end of a namespace, exemptions and other profiles have tests of their own.
    let theme = |chosen: &Move| !chosen.is_special() && !matches!(chosen, Move::Delete | Move::Edit(_));
    life(1, 2, 0, &[Isolated, InTheWay], theme).explore(
        150_000,
        &[
            "a change of a policy is refused",
            "a conflict is reported",
            "a pod is admitted unheld",
            "a pod is created without a call",
            "a pod is held",
            "a pod is lifted",
            "a policy is applied",
            "a policy is changed",
            "a policy is changed past the webhook",
            "a policy is changed, judged on a view that is behind",
            "a policy stands in",
            "a watch delivers",
            "exceptions and exemptions end",
            "isolated is dropped",
            "isolated is set",
            "the API server learns",
            "the controller writes",
        ],
    );
}

#[test]
fn a_namespace_of_another_profile_is_isolated_by_its_policies() {
    let theme = |chosen: &Move| match chosen {
        Move::Edit(edit) => matches!(edit, Edit::Profile(_)),
        Move::Delete => false,
        other => !other.is_special(),
    };
    life(1, 2, 0, &[Isolated], theme)
        .explore(20_000, &["a policy is pruned", "a policy is changed", "the profile is changed", "isolated is set"]);
}

#[test]
fn whatever_fails_no_pod_runs_on_a_view_that_is_not_effective() {
    life(1, 1, 1, EVERYWHERE, |chosen| !chosen.is_special()).explore(
        90_000,
        &["a replica restarts", "a watch lists anew", "a write is not answered", "a write is refused"],
    );
}

#[test]
fn a_namespace_that_is_made_anew_is_isolated_before_its_pods_run() {
    let theme = |chosen: &Move| match chosen {
        Move::Edit(_) | Move::Tick | Move::Change(..) | Move::Act(Goes::Refused | Goes::Silent) => false,
        Move::Finalize => true,
        other => !other.is_special(),
    };
    life(1, 3, 1, &[Isolated], theme).explore(
        45_000,
        &[
            "a pod is lifted",
            "the controller looks",
            "the namespace is created",
            "the namespace is deleted",
            "the namespace is emptied",
            "the namespace is gone",
        ],
    );
}

#[test]
fn policies_of_a_namespace_of_the_same_name_before_are_seen() {
    let theme = |chosen: &Move| {
        matches!(
            chosen,
            Move::Finalize
                | Move::Create
                | Move::Look
                | Move::TakeLook
                | Move::Act(Goes::Well)
                | Move::Deliver(..)
                | Move::DeliverCopy
                | Move::Change(0 | 3 | 4, ..)
        )
    };
    life(1, 3, 0, &[Half], theme).explore(
        16_000,
        &[
            "the namespace is gone without its contents",
            "the namespace is created",
            "isolated is set",
            "the controller looks",
        ],
    );
}

#[test]
fn a_namespace_that_was_exempt_is_isolated_again() {
    let theme = |chosen: &Move| match chosen {
        Move::Delete | Move::Hold | Move::Edit(Edit::Profile(_)) => false,
        Move::Change(slot, ..) => *slot == 3 && !chosen.is_special(),
        other => !other.is_special(),
    };
    life(1, 3, 0, &[Isolated], theme).explore(
        20_000,
        &[
            "the namespace is exempted",
            "the exemption is taken back",
            "an exemption is ended",
            "a policy is changed while exempt",
            "a policy is quarantined",
        ],
    );
}

#[test]
fn policies_that_are_changed_at_the_same_time_are_repaired() {
    let theme = |chosen: &Move| !matches!(chosen, Move::Delete | Move::Edit(_) | Move::Hold) && !chosen.is_special();
    life(1, 3, 0, &[ByOthers], theme).explore(
        12_000,
        &["a policy is changed, judged on a view that is behind", "a policy is changed past the webhook"],
    );
}

#[test]
fn a_replica_that_is_behind_admits_nothing_that_it_does_not_know_to_be_isolated() {
    life(2, 1, 0, &[Isolated, ByOthers, InTheWay], |chosen| !chosen.is_special())
        .explore(85_000, &["a pod is held", "a pod is admitted unheld", "a pod is refused"]);
}

#[test]
fn a_replica_that_takes_over_the_lead_goes_on_from_what_it_knows() {
    let theme = |chosen: &Move| {
        !matches!(chosen, Move::List(..) | Move::Act(Goes::Refused | Goes::Silent)) && !chosen.is_special()
    };
    life(2, 1, 1, &[Isolated, ByOthers], theme).explore(25_000, &["another replica leads", "a replica restarts"]);
}

/// Requests in flight, and what the controller does about them.
fn only_flights(chosen: &Move) -> bool {
    matches!(
        chosen,
        Move::Ask(..)
            | Move::Decide(_)
            | Move::Store(_)
            | Move::Drop(_)
            | Move::Overdue(..)
            | Move::Deliver(..)
            | Move::DeliverCopy
            | Move::Act(Goes::Well)
    )
}

#[test]
fn two_requests_in_flight_on_one_replica_open_nothing_together() {
    life(1, 2, 0, &[ByOthers, Half], only_flights).explore(
        2_500,
        &[
            "a change comes to nothing",
            "a change is judged anew on what is stored",
            "a change is overtaken",
            "a change is stored",
            "a change of a policy is refused",
            "a decision is overtaken",
            "a reservation is overdue",
        ],
    );
}

#[test]
fn two_requests_in_flight_on_two_replicas_are_closed_by_the_controller() {
    life(2, 2, 0, &[ByOthers, Half], only_flights)
        .explore(19_000, &["a change is stored", "a policy is applied", "a policy is quarantined"]);
}

#[test]
fn policies_that_opened_a_hole_past_the_webhook_are_quarantined_and_no_others() {
    let theme = |chosen: &Move| {
        matches!(
            chosen,
            Move::Change(3 | 4, ..) | Move::Act(_) | Move::TryAgain | Move::Deliver(..) | Move::DeliverCopy
        )
    };
    life(1, 2, 1, &[Isolated, Half], theme).explore(
        9_000,
        &[
            "a policy is quarantined",
            "a quarantine is over",
            "a refused quarantine is tried again",
            "a write is not answered",
            "a write is refused",
            "isolated is dropped",
        ],
    );
}

#[test]
fn halves_that_are_admitted_beside_a_wider_hole_are_quarantined() {
    let theme = |chosen: &Move| {
        matches!(
            chosen,
            Move::Change(3, Some(Says::Wide), ..)
                | Move::Change(3 | 4, Some(Says::Half), ..)
                | Move::Act(Goes::Well | Goes::Silent)
                | Move::Deliver(..)
                | Move::DeliverCopy
        )
    };
    life(1, 3, 1, &[Isolated], theme)
        .explore(1_700, &["a policy is changed", "a policy is quarantined", "a write is not answered"]);
}

#[test]
fn the_policy_of_an_exception_that_ended_is_quarantined() {
    let theme = |chosen: &Move| {
        matches!(
            chosen,
            Move::Change(3 | 4, ..)
                | Move::Act(_)
                | Move::Tick
                | Move::Hold
                | Move::TryAgain
                | Move::Deliver(..)
                | Move::DeliverCopy
                | Move::Restart(_)
        )
    };
    life(1, 1, 1, &[Excepted, Half], theme)
        .explore(4_000, &["exceptions and exemptions end", "a policy is quarantined", "isolated is set"]);
}

#[test]
fn policies_stay_while_a_pod_may_run_whatever_its_phase_says() {
    let theme = |chosen: &Move| {
        matches!(
            chosen,
            Move::Delete
                | Move::Lie
                | Move::Unbind
                | Move::Clear(_)
                | Move::Empty
                | Move::Create
                | Move::Hold
                | Move::Look
                | Move::TakeLook
                | Move::Deliver(..)
                | Move::DeliverCopy
                | Move::Act(Goes::Well)
        )
    };
    life(1, 3, 0, &[Running, Absent], theme).explore(
        12_000,
        &[
            "a phase lies",
            "a policy of a namespace that terminates is deleted",
            "a policy of a pod that seems to have ended is not deleted",
            "the bound pod is gone",
        ],
    );
}

#[test]
fn another_configuration_quarantines_nothing_that_was_there() {
    let theme = |chosen: &Move| {
        matches!(
            chosen,
            Move::Change(3 | 4, ..)
                | Move::Reconfigure
                | Move::Hold
                | Move::Act(Goes::Well)
                | Move::Deliver(..)
                | Move::DeliverCopy
        )
    };
    life(1, 2, 1, &[Half, Adopted], theme)
        .explore(16_000, &["the configuration is changed", "a conflict is reported", "a conflict is over"]);
}
