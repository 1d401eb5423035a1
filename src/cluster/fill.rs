//! Manifests into an index.

use ringfence_core::admission::pod;
use ringfence_core::index::{Index, Isolation};
use ringfence_core::object::ObjectMeta;
use ringfence_core::policy::parse::{self, ParseError, Source};
use serde::Deserialize;
use serde_json::Value;

use super::Cluster;
use crate::manifests::{Object, Problem};

impl Cluster {
    /// Adds what manifests hold.
    #[must_use]
    pub fn fill(&self, objects: &[Object], default_namespace: &str) -> Vec<Problem> {
        self.change(|index, changed| {
            let problems = fill(index, objects, default_namespace);
            changed.extend(index.names());
            problems
        })
    }
}

/// Adds what manifests hold to an index. Any namespaced object makes its namespace appear. A label `isolated` is not
/// taken over: at start nothing is believed isolated until it is judged.
pub fn fill(index: &mut Index, objects: &[Object], default_namespace: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    for object in objects {
        if let Some(path) = object.metadata_that_is_no_text() {
            problems.push(problem(
                object,
                path,
                format!("{path}: this is no text; put it in quotes if it is meant so"),
            ));
            continue;
        }
        let Some(name) = object.namespace(default_namespace) else {
            if object.kind == "Namespace" {
                let message = format!("apiVersion: {:?} has no Namespace; write v1", object.api_version);
                problems.push(problem(object, "apiVersion", message));
            }
            continue;
        };
        if name.is_empty() {
            problems.push(problem(object, "metadata.name", "metadata.name: a Namespace needs a name".to_owned()));
            continue;
        }
        let namespace = index.namespace_mut(name);
        let value = object.to_value();
        if object.is("v1", "Namespace") {
            match metadata(&value) {
                Ok(metadata) => {
                    namespace.isolation = Isolation { isolated: None, ..Isolation::of(&metadata) };
                    namespace.terminating = metadata.is_deleting();
                }
                Err(message) => problems.push(problem(object, "metadata", message)),
            }
        } else if object.is_network_policy() {
            match parse::network_policy(&value, Source::File) {
                Ok(policy) if policy.name.is_empty() => {
                    let message = "metadata.name: a NetworkPolicy needs a name".to_owned();
                    problems.push(problem(object, "metadata.name", message));
                }
                Ok(policy) if namespace.policy(&policy.name).is_some() => {
                    let message = format!(
                        "metadata.name: a second NetworkPolicy {:?} in namespace {name:?}: only one of them could be \
                         stored; rename it",
                        policy.name
                    );
                    problems.push(problem(object, "metadata.name", message));
                }
                Ok(policy) => {
                    namespace.put_policy(policy);
                }
                Err(ParseError::Invalid(errors)) => {
                    problems.extend(errors.iter().map(|error| problem(object, &error.path, error.to_string())));
                }
                Err(malformed) => problems.push(problem(object, malformed.path(), malformed.to_string())),
            }
        } else if object.is("v1", "Pod") {
            match <pod::Object<'_> as Deserialize<'_>>::deserialize(&value) {
                Ok(pod) => {
                    namespace.pods.insert(object.name().to_owned(), pod.facts());
                }
                Err(error) => problems.push(problem(object, "spec", error.to_string())),
            }
        }
    }
    problems
}

fn metadata(value: &Value) -> Result<ObjectMeta<'_>, String> {
    match value.get("metadata") {
        Some(metadata) => {
            <ObjectMeta<'_> as Deserialize<'_>>::deserialize(metadata).map_err(|error| format!("metadata: {error}"))
        }
        None => Ok(ObjectMeta::default()),
    }
}

fn problem(object: &Object, path: &str, message: impl std::fmt::Display) -> Problem {
    let what = format!("{} {:?}: {message}", object.kind, object.name());
    Problem { file: object.file.to_string(), at: Some(object.position_of(path)), message: what }
}
