//! The pure core of Ringfence.
//!
//! Data flows one way: watch → [`index`] → namespace view → decision ([`admission`]) → response, and on the
//! controller's side view → actions ([`plan`]). Everything is judged by one evaluator, [`policy`]. Pure means: no
//! runtime, no client, no clock (time is an argument), no environment or files, no metrics.

pub mod admission;
pub mod config;
pub mod index;
pub mod inventory;
pub mod meter;
pub mod object;
pub mod plan;
pub mod policy;
pub mod profile;
pub mod quarantine;
pub mod record;
pub mod text;
pub mod texts;
pub mod vocabulary;
