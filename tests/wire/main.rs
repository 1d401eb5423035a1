//! The webhook server on the wire: real TLS, real HTTP, the cases of the abuse plan by number.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail like this, also in its helpers"
)]

mod cases;
mod certificates;
mod connections;
mod contract;
mod embedded;
mod harness;
mod load;
mod patches;
mod process;
mod story;
