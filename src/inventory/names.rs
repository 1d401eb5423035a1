//! Names, labels and annotations that the API server refuses (`k8s.io/apimachinery/pkg/api/validation`, `ObjectMeta`).

use ringfence_core::inventory::workload;
use ringfence_core::policy::parse::FieldError;
use ringfence_core::policy::parse::names::{is_dns_label, is_label_value, is_qualified_name, is_subdomain};
use serde_json::Value;

use crate::manifests::Object;

/// How many characters of a name are repeated: enough to find it.
const SHOWN: usize = 80;

const LABEL: &str = "use at most 63 lower-case letters, digits and '-', beginning and ending with a letter or digit";
const SUBDOMAIN: &str = "use at most 253 lower-case letters, digits, '-' and '.', each part between dots beginning and \
                         ending with a letter or digit";
const KEY: &str = "use [prefix/]name, the name of at most 63 letters, digits, '-', '_' and '.'";
const VALUE: &str = "use at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit";

/// What of an object's metadata the API server refuses, so that it would store no such object: the namespace of any; the
/// name, labels and annotations of what is judged.
pub(super) fn refused(object: &Object) -> Option<FieldError> {
    let namespace = object.stated_namespace().filter(|name| !is_dns_label(name));
    if let Some(name) = namespace {
        return Some(error("metadata.namespace".to_owned(), name, "no name of a namespace", LABEL));
    }
    let name = object.name();
    let is_workload = workload::is_workload(&object.api_version, &object.kind);
    if object.is("v1", "Namespace") {
        if !name.is_empty() && !is_dns_label(name) {
            return Some(error("metadata.name".to_owned(), name, "no name of a namespace", LABEL));
        }
    } else if !is_workload && !object.is_network_policy() {
        return None;
    } else if !name.is_empty() && !is_subdomain(name) {
        return Some(error("metadata.name".to_owned(), name, "no name that an object can have", SUBDOMAIN));
    }
    let value = object.value();
    metadata(value, "metadata").or_else(|| {
        let templates = ["spec.template", "spec.jobTemplate.spec.template"].into_iter().filter(|_| is_workload);
        templates.into_iter().find_map(|path| {
            let template = path.split('.').try_fold(value, |value, key| value.get(key))?;
            metadata(template, &format!("{path}.metadata"))
        })
    })
}

/// What is wrong with labels and annotations. Values that are no text are found where these are read.
fn metadata(object: &Value, path: &str) -> Option<FieldError> {
    let entries = |kind: &str| object.get("metadata")?.get(kind)?.as_object();
    let label = entries("labels").into_iter().flatten().find_map(|(key, value)| {
        let path = || format!("{path}.labels.{key}");
        if !is_qualified_name(key) {
            return Some(error(path(), key, "not a label key", KEY));
        }
        let value = value.as_str().filter(|value| !is_label_value(value))?;
        Some(error(path(), value, "not a label value", VALUE))
    });
    label.or_else(|| {
        // Their keys may have capitals in the prefix.
        let wrong = |key: &&String| !is_qualified_name(key) && !is_qualified_name(&key.to_lowercase());
        let key = entries("annotations").into_iter().flatten().map(|(key, _)| key).find(wrong)?;
        Some(error(format!("{path}.annotations.{key}"), key, "not a key of an annotation", KEY))
    })
}

fn error(path: String, value: &str, problem: &str, fix: &str) -> FieldError {
    let mut shown: String = value.chars().take(SHOWN).collect();
    if shown.len() < value.len() {
        shown.push('…');
    }
    FieldError { path, value: shown, problem: problem.to_owned(), fix: fix.to_owned() }
}
