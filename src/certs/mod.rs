//! Certificates: issued for development ([`dev`]), and read from a directory ([`files`]).

pub mod dev;
pub mod files;
