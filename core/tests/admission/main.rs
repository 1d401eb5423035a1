//! Every decision, as JSON reviews that go through the whole of admission: parse, decide, render.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail like this, also in its helpers")]

mod envelope;
mod exception;
#[allow(dead_code, reason = "some of it is for `properties` alone")]
#[path = "../support/generate.rs"]
mod generate;
#[path = "../support/hostile.rs"]
mod hostile;
mod lints;
mod modes;
mod namespace_create;
mod namespace_update;
mod narrowing;
mod network_policy;
mod patches;
mod pod;
mod public_charts;
mod races;
mod sequences;
mod support;
mod workload;
