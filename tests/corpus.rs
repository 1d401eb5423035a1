//! Every input that fuzzing has kept, through the same code that it was found with: `fuzz/corpus/` are seeds and what
//! reached something new, `fuzz/regressions/` what once failed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail like this, also in its helpers"
)]

#[path = "../fuzz/src/lib.rs"]
pub mod fuzz;

use std::path::{Path, PathBuf};

/// The files of a directory, which must have some.
fn inputs(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", directory.display());
    files
}

fn replay(target: &str, run: fn(&[u8])) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let regressions = fuzz.join("regressions").join(target);
    let mut files = inputs(&fuzz.join("corpus").join(target));
    // There are none of a target that has not failed yet.
    if regressions.exists() {
        files.extend(inputs(&regressions));
    }
    for file in files {
        // Where a run panics, this says with what.
        eprintln!("{}", file.display());
        run(&std::fs::read(&file).unwrap());
    }
}

#[test]
fn the_corpus_of_reviews_holds_what_is_asked_of_any_bytes() {
    replay("review", fuzz::review::run);
}

#[test]
fn the_corpus_of_manifests_is_read_again_as_it_was_and_obeys_the_rules_of_policies() {
    replay("policies", fuzz::policies::run);
}

#[test]
fn the_corpus_of_small_sets_of_policies_agrees_with_the_naive_evaluator() {
    replay("verdict", fuzz::verdict::run);
}

#[test]
fn the_corpus_of_selectors_and_blocks_agrees_with_readers_written_after_the_api_server() {
    replay("selectors", fuzz::selectors::run);
}

#[test]
fn the_corpus_of_objects_is_patched_to_what_was_meant() {
    replay("patch", fuzz::patch::run);
}

#[test]
fn the_corpus_of_bytes_on_a_connection_is_answered_as_documented() {
    replay("http", fuzz::http::run);
}
