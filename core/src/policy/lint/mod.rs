//! Mistakes that the API accepts, explained.

pub mod peers;
