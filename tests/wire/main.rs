//! The webhook server on the wire: real TLS, real HTTP, the cases of `docs/reliability.md` by number.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail like this, also in its helpers"
)]

mod cases;
mod certificates;
mod clock;
mod connections;
mod contract;
mod embedded;
mod faults;
mod harness;
mod health;
mod load;
mod open_loop;
mod overload;
mod patches;
mod process;
mod run;
mod story;
mod throttle;
