//! Ringfence on a real control plane: kube-apiserver, kube-controller-manager, kube-scheduler, etcd, kubectl and helm.
//!
//! A module has its tests in a `tests!` list. A test that needs a cluster with Ringfence and disturbs nothing of it takes
//! `World::shared()`, which is started once and only where a test that runs asks for it; one that stops, kills or overloads
//! something starts its own. Each works in namespaces of its own name.
//!
//! Rust's own test harness decides at compile time what is ignored; whether the programs are there shows when the tests
//! run. Hence `libtest_mimic`, which reads the same command line.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail like this, also in its helpers"
)]

mod account;
mod adopt;
mod arming;
mod ask;
mod bed;
mod break_glass;
mod bypasses;
mod certificates;
mod controller;
mod direct;
mod exhaustion;
mod faults;
mod guide;
mod harness;
mod history;
mod interloper;
mod leader;
mod load;
mod never_in_the_way;
mod orphans;
mod outlive;
mod permission;
mod quarantine;
mod race;
mod reach;
mod readme;
mod reservations;
mod reviews;
mod rights;
mod rollout;
mod scene;
mod soak;
mod steps;
mod tenant;
mod threats;
#[path = "../wire/throttle.rs"]
mod throttle;
mod upgrade;
mod watches;

use std::process::ExitCode;

use harness::programs::{Programs, Unavailable};
use libtest_mimic::{Arguments, Completion, Trial};

/// A test: its name is its sentence.
struct Test {
    module: &'static str,
    name: &'static str,
    run: fn(),
    /// Takes minutes, and runs only where it is asked for: `-- --ignored NAME`.
    ignored: bool,
}

/// The tests of a module. One that is not in the list is dead code, which the lints do not let pass.
macro_rules! tests {
    ($($name:ident),* $(,)? $(; ignored: $($ignored:ident),* $(,)?)?) => {
        pub(crate) fn tests() -> Vec<crate::Test> {
            vec![
                $(crate::Test { module: module_path!(), name: stringify!($name), run: $name, ignored: false },)*
                $($(crate::Test { module: module_path!(), name: stringify!($ignored), run: $ignored, ignored: true }),*)?
            ]
        }
    };
}
pub(crate) use tests;

fn main() -> ExitCode {
    if outlive::is_the_victim() {
        outlive::be_the_victim();
    }
    let mut arguments = Arguments::from_args();
    // Each test is several programs that mostly wait for each other: some more at once than a small machine has cores.
    arguments.test_threads.get_or_insert(4);
    let tests = [
        account::tests(),
        adopt::tests(),
        arming::tests(),
        bed::tests(),
        break_glass::tests(),
        bypasses::tests(),
        certificates::tests(),
        interloper::tests(),
        race::tests(),
        quarantine::tests(),
        reservations::tests(),
        orphans::tests(),
        tenant::tests(),
        threats::tests(),
        controller::tests(),
        exhaustion::tests(),
        never_in_the_way::tests(),
        faults::tests(),
        guide::tests(),
        leader::tests(),
        outlive::tests(),
        permission::tests(),
        reach::tests(),
        readme::tests(),
        rights::tests(),
        rollout::tests(),
        soak::tests(),
        upgrade::tests(),
        watches::tests(),
    ]
    .into_iter()
    .flatten();
    let conclusion = libtest_mimic::run(&arguments, tests.map(|test| trial(&test)).collect());
    harness::stop_everything();
    conclusion.exit_code()
}

fn trial(test: &Test) -> Trial {
    let module = test.module.split_once("::").map_or(test.module, |(_, module)| module);
    let run = test.run;
    let trial = Trial::ignorable_test(format!("{module}::{}", test.name), move || {
        match Programs::get() {
            Ok(_) => {}
            // Where a CI system runs, a test that does not run is a mistake that nobody would see.
            Err(Unavailable::Missing(line)) if !in_ci() => return Ok(Completion::ignored_with(line)),
            Err(Unavailable::Missing(line) | Unavailable::Broken(line)) => return Err(line.into()),
        }
        let failure = Failure;
        run();
        std::mem::forget(failure);
        Ok(Completion::Completed)
    });
    trial.with_ignored_flag(test.ignored)
}

fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !value.is_empty() && value != "false")
}

/// Notes a failure where it is dropped by a panic.
struct Failure;

impl Drop for Failure {
    fn drop(&mut self) {
        harness::note_failure();
    }
}
