//! The webhook server on the wire: real TLS, real HTTP, the cases of the abuse plan by number.

mod cases;
mod connections;
mod harness;
mod load;
mod patches;
mod process;
mod story;
