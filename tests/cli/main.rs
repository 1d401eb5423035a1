//! The commands, as a user runs them: arguments, standard streams, exit codes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail like this, also in its helpers"
)]

mod advice;
mod bad_input;
mod baseline;
mod check;
mod claims;
mod cluster;
mod commands;
mod connect;
mod diff;
mod fail_on;
mod fix;
mod github;
mod guide;
mod integrations;
mod junit;
mod lint_pages;
mod lints;
mod matrix;
mod mended;
mod mending;
mod places;
mod readme;
mod refused;
mod run;
mod sample;
mod sarif;
mod sources;
mod text;
mod unknown;
mod xsd;
