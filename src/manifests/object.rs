//! One object of a manifest.

use std::sync::Arc;

use serde_json::Value;

use super::node::Position;
use super::places::Origin;
use super::scope::{self, Scope};
use super::source::Document;

/// What the items of a list are that do not say it themselves: `kubectl get --raw` prints such lists, and the API's clients
/// read them so (`k8s.io/apimachinery/pkg/apis/meta/v1/unstructured`, `decodeToList`).
#[derive(Clone, Debug)]
pub(super) struct Type {
    api_version: String,
    kind: String,
}

impl Type {
    /// Of the items of a list of this kind; `None` for a `List` of anything.
    pub(super) fn in_list(api_version: &str, kind: &str) -> Option<Self> {
        let kind = kind.strip_suffix("List").filter(|kind| !kind.is_empty())?;
        Some(Self { api_version: api_version.to_owned(), kind: kind.to_owned() })
    }

    /// Puts it into an item that has neither.
    pub(super) fn put_into(&self, item: &mut Value) {
        if let Some(item) = item.as_object_mut()
            && !item.contains_key("apiVersion")
            && !item.contains_key("kind")
        {
            item.insert("apiVersion".to_owned(), self.api_version.clone().into());
            item.insert("kind".to_owned(), self.kind.clone().into());
        }
    }
}

/// An object, with where it came from.
#[derive(Clone, Debug)]
pub struct Object {
    /// The file, or `-` for standard input.
    pub file: Arc<str>,
    /// `apiVersion`.
    pub api_version: String,
    /// `kind`.
    pub kind: String,
    document: Arc<Document>,
    /// Which item of which list in it, if it is one.
    items: Vec<usize>,
    value: Value,
}

impl Object {
    /// The items' path is given back where it is none.
    pub(super) fn new(
        file: &Arc<str>,
        document: &Arc<Document>,
        items: Vec<usize>,
        value: Value,
    ) -> Result<Self, Vec<usize>> {
        let text = |key| value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
        let (Some(api_version), Some(kind)) = (text("apiVersion"), text("kind")) else { return Err(items) };
        Ok(Self { file: file.clone(), api_version, kind, document: document.clone(), items, value })
    }

    /// `metadata.name`; empty where there is none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.metadata("name").unwrap_or_default()
    }

    /// `metadata.namespace`, where it is stated.
    #[must_use]
    pub fn stated_namespace(&self) -> Option<&str> {
        self.metadata("namespace").filter(|name| !name.is_empty())
    }

    /// Whether `metadata` can hold a name and a namespace: where it is no map, nobody knows what they are.
    #[must_use]
    pub fn has_metadata(&self) -> bool {
        self.value.get("metadata").is_none_or(|metadata| metadata.is_object() || metadata.is_null())
    }

    /// The path of a name or namespace that YAML reads as something else than text, such as `no` or `5`. The API server
    /// refuses it.
    #[must_use]
    pub fn metadata_that_is_no_text(&self) -> Option<&'static str> {
        [("name", "metadata.name"), ("namespace", "metadata.namespace")].into_iter().find_map(|(key, path)| {
            let written = self.value.get("metadata")?.get(key)?;
            (!written.is_string() && !written.is_null()).then_some(path)
        })
    }

    /// The namespace that the object is in, or is; `None` for what is not in any, or can't say. One that does not say takes `default`,
    /// unless its kind comes with an add-on and could be in none.
    #[must_use]
    pub fn namespace<'a>(&'a self, default: &'a str) -> Option<&'a str> {
        if !self.has_metadata() {
            return None;
        }
        if self.is("v1", "Namespace") {
            return Some(self.name());
        }
        let stated = self.stated_namespace();
        match scope::of(&self.api_version, &self.kind) {
            Scope::Cluster => None,
            Scope::Unknown => stated,
            Scope::Namespaced => Some(stated.unwrap_or(default)),
        }
    }

    /// Whether it is of this version and kind.
    #[must_use]
    pub fn is(&self, api_version: &str, kind: &str) -> bool {
        self.api_version == api_version && self.kind == kind
    }

    /// Whether it is a NetworkPolicy that is judged (`networking.k8s.io/v1`; others have kinds of the same name).
    #[must_use]
    pub fn is_network_policy(&self) -> bool {
        self.is("networking.k8s.io/v1", "NetworkPolicy")
    }

    /// Where a field is written. What an alias or a merge key (`<<`) stands for is written at the anchor.
    #[must_use]
    pub fn position_of(&self, path: &str) -> Position {
        self.document.position_of(&self.items, path)
    }

    /// Where it came from, to find its places again when the object is gone.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin::new(&self.file, &self.document, &self.items)
    }

    /// The object without its places.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The same, to keep.
    #[must_use]
    pub fn to_value(&self) -> Value {
        self.value.clone()
    }

    fn metadata(&self, key: &str) -> Option<&str> {
        self.value.get("metadata")?.get(key)?.as_str()
    }
}
