//! One YAML document: its value, and its places.

use serde::Deserialize;
use serde::de::DeserializeSeed;
use serde_json::Value;
use serde_saphyr::{MergeKeyPolicy, Options, with_deserializer_from_str_with_options};

use super::node::{MERGE, Node, Position};
use super::value::Meter;

/// What is wrong, and where in the document, if that is known.
pub(super) type Wrong = (Option<Position>, String);

/// How deep values may nest, in YAML and in JSON.
pub(super) const DEPTH: usize = 128;

fn options(merge_keys: MergeKeyPolicy) -> Options {
    serde_saphyr::options! {
        with_snippet: false,
        merge_keys: merge_keys,
        // As Kubernetes' own YAML library reads 0644.
        legacy_octal_numbers: true,
        // How much there may be of it is the meter's to say, and what aliases expand to has a limit of its own.
        budget: serde_saphyr::budget! {
            max_events: usize::MAX,
            max_nodes: usize::MAX,
            max_depth: DEPTH,
            max_total_scalar_bytes: usize::MAX,
            max_total_comment_bytes: usize::MAX,
            simple_key_max_lookahead: 1 << 16,
        },
    }
}

/// The value of a document.
///
/// # Errors
/// Where it does not parse, has a key twice, or is read differently by different readers.
pub(super) fn value(text: &str, meter: &Meter) -> Result<Value, Wrong> {
    let value =
        with_deserializer_from_str_with_options(text, options(MergeKeyPolicy::Merge), |de| meter.deserialize(de))
            .map_err(|error| wrong(&error))?;
    // What clients send the API server has been read by a library to which a later merge key is more than an earlier
    // entry (tried with sigs.k8s.io/yaml 1.6); to YAML it is less. What comes first is the same to both.
    if text.contains(MERGE)
        && let Some(at) = tree(text, MergeKeyPolicy::AsOrdinary)?.late_merge()
    {
        let message =
            "a merge key (<<) after other keys, which it overwrites for kubectl and not for others; put it first";
        return Err((Some(at), message.to_owned()));
    }
    Ok(value)
}

/// A document with its places.
///
/// # Errors
/// Where it does not parse.
pub(super) fn places(text: &str) -> Result<Node, Wrong> {
    tree(text, MergeKeyPolicy::Merge)
}

fn tree(text: &str, merge_keys: MergeKeyPolicy) -> Result<Node, Wrong> {
    with_deserializer_from_str_with_options(text, options(merge_keys), |de| Node::deserialize(de))
        .map_err(|error| wrong(&error))
}

fn wrong(error: &serde_saphyr::Error) -> Wrong {
    (error.location().map(Position::from), in_our_words(&error.to_string()))
}

/// The message without the place at its end, which is said in front, and without advice for whoever calls the parser.
pub(super) fn in_our_words(message: &str) -> String {
    let message = message.split(" at line ").next().unwrap_or(message);
    let message = message.split(", set DuplicateKeyPolicy").next().unwrap_or(message);
    if message.contains("breached: Depth") || message.contains("recursion limit") {
        return format!("values nest deeper than {DEPTH}");
    }
    if message.contains("budget breached") || message.contains("alias replay") {
        return "anchors, aliases and merge keys stand for too much; write it out".to_owned();
    }
    message.strip_prefix("line ").and_then(|rest| rest.split_once(": ")).map_or(message, |(_, rest)| rest).to_owned()
}
