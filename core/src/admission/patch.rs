//! JSON patches, each of which applies to the object it was made for (RFC 6902).

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, RemoveOperation};
use serde_json::{Value, json};

use crate::object::ObjectMeta;

fn pointer(path: &[&str]) -> PointerBuf {
    PointerBuf::from_tokens(path.iter().copied())
}

/// Adds a value at a path whose parent exists.
pub(super) fn add(path: &[&str], value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation { path: pointer(path), value })
}

/// Removes what is at a path.
pub(super) fn remove(path: &[&str]) -> PatchOperation {
    PatchOperation::Remove(RemoveOperation { path: pointer(path) })
}

/// Sets labels on an object that may have no `labels` map, and no `metadata` either.
pub(super) fn set_labels(metadata: Option<&ObjectMeta<'_>>, labels: &[(&str, String)]) -> Vec<PatchOperation> {
    let map = || -> Value { labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect() };
    match metadata {
        _ if labels.is_empty() => Vec::new(),
        None => vec![add(&["metadata"], json!({ "labels": map() }))],
        Some(metadata) if metadata.labels.is_none() => vec![add(&["metadata", "labels"], map())],
        Some(_) => labels.iter().map(|(key, value)| add(&["metadata", "labels", key], json!(value))).collect(),
    }
}
