//! A real control plane on loopback, without containers, for tests and benches.
//!
//! [`Bed`] is etcd, API servers, kube-controller-manager and kube-scheduler; [`Bed::install`] puts Ringfence on it with its own
//! chart; [`Front`] is a network between them that can be cut. Everything is synchronous, as tests are;
//! [`Bed::run`] runs what is not.

#![allow(dead_code, unused_imports, reason = "the tests and the benches each use a part of it")]

mod access;
mod audit;
mod bed;
mod chart;
mod counters;
mod credentials;
mod directory;
mod front;
mod http;
mod kubelet;
mod ports;
pub(crate) mod process;
pub(crate) mod programs;
mod shared;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(crate) use access::Output;
pub(crate) use access::{TRIES, is_closed_webhook, is_late_webhook};
pub(crate) use audit::{Event, Mark};
pub(crate) use bed::{ApiServer, Bed, Options, start_etcd};
pub(crate) use chart::{Installation, Replica, Ringfence, World};
pub(crate) use counters::Counters;
pub(crate) use credentials::{ADMIN, ALICE, BOB, KUBELET, token_of};
pub(crate) use directory::fresh as fresh_directory;
pub(crate) use front::Front;
pub(crate) use http::get as http_get;
pub(crate) use kubelet::Kubelet;
pub(crate) use shared::{Ends, Shared, note_failure, stop_everything};

/// For anything that happens in the end, on a machine however loaded: far more than it needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// Waits until something holds, and fails with what it waited for where it does not within [`PATIENCE`].
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    eventually_some(what, || holds().then_some(()));
}

/// Waits until there is something, and returns it.
#[track_caller]
pub(crate) fn eventually_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let found = within(PATIENCE, &mut look);
    found.unwrap_or_else(|| panic!("waited {} s in vain for this: {what}", PATIENCE.as_secs()))
}

/// Waits for a time at most until there is something, and returns it.
pub(crate) fn within<T>(time: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + time;
    let mut pause = Duration::from_millis(5);
    loop {
        // Looked at once more after the deadline: on a loaded machine the pause may have taken all of it.
        let late = Instant::now() > deadline;
        let found = look();
        if found.is_some() || late {
            return found;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// The end of a log, for the message of a failure.
pub(crate) fn last_lines(log: &Path) -> String {
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

/// A test that panicked while it held a lock has failed already; the others, and the end of the bed, go on.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
