//! The certificate that the webhooks are served with.
//!
//! Where it comes from: Ringfence issues and rotates its own ([`rotate`]), somebody else writes files ([`files`]), or it
//! is made for development ([`dev`]). What is served is replaced while connections go on ([`serving`]). Whether the API
//! servers would accept it is seen in what the webhook configurations say that they trust ([`trust`]).

pub mod dev;
pub mod files;
pub mod pair;
pub mod rotate;
pub mod serving;
pub mod trust;
