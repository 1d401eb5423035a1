//! Ringfence: no new pod of a Kubernetes namespace runs before the deny-all network baseline is effective.
//!
//! This crate is the shell around [`ringfence_core`], which is pure. Data flows one way:
//!
//! ```text
//!  manifests ─┐                     ┌─ server ── admission::decide ── response
//!             ├─ cluster (index) ───┤            (pure, in the core)
//!  stored  ───┘        ▲            └─ controller ── plan ── actions ─┐
//!                      └──────────────────────────────────────────────┘
//! ```
//!
//! [`cluster`] holds the index of namespaces and what their policies mean; [`server`] answers the API server's calls
//! from it; [`controller`] carries out what the plan says. The words used throughout are in
//! [`ringfence_core::vocabulary`].

pub mod certs;
pub mod cli;
pub mod cluster;
pub mod controller;
pub mod fix;
pub mod inventory;
pub mod manifests;
pub mod metrics;
mod pace;
pub mod report;
pub mod server;
pub mod shutdown;
pub mod telemetry;
pub mod webhooks;
