//! What must hold of Ringfence whatever bytes it is given: one module a target, each with a `run` that panics where a
//! property does not hold.
//!
//! libfuzzer calls them from `fuzz_targets/`, and `tests/corpus.rs` of the root package takes this file in as a module
//! and calls them with every file of the corpus: nothing here knows of libfuzzer.

#![forbid(unsafe_code)]
#![allow(clippy::missing_panics_doc, reason = "to panic is how a target says that a property does not hold")]

mod duplicates;
pub mod http;
pub mod patch;
pub mod policies;
pub mod review;
pub mod selectors;
pub mod verdict;
