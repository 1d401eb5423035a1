//! JSON patches, each of which applies to the object it was made for (RFC 6902).

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, RemoveOperation};
use serde_json::{Map, Value, json};

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
    set(metadata, labels, &[])
}

/// Sets labels and annotations on an object that may have neither map, and no `metadata` either.
pub(super) fn set(
    metadata: Option<&ObjectMeta<'_>>,
    labels: &[(&str, String)],
    annotations: &[(&str, String)],
) -> Vec<PatchOperation> {
    let there = metadata.map(|metadata| [metadata.labels.is_some(), metadata.annotations.is_some()]);
    let fields = [("labels", labels), ("annotations", annotations)];
    let map = |entries: &[(&str, String)]| -> Value {
        entries.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect()
    };
    let Some(there) = there else {
        let maps: Map<String, Value> = fields
            .into_iter()
            .filter(|(_, entries)| !entries.is_empty())
            .map(|(field, entries)| (field.to_owned(), map(entries)))
            .collect();
        return if maps.is_empty() { Vec::new() } else { vec![add(&["metadata"], Value::Object(maps))] };
    };
    let mut operations = Vec::new();
    for ((field, entries), has_map) in fields.into_iter().zip(there).filter(|((_, entries), _)| !entries.is_empty()) {
        if has_map {
            operations.extend(entries.iter().map(|(key, value)| add(&["metadata", field, key], json!(value))));
        } else {
            operations.push(add(&["metadata", field], map(entries)));
        }
    }
    operations
}
