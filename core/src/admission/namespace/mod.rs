//! Namespaces: the isolation labels are injected by [`mutate`], and judged by [`validate`].

pub mod mutate;
pub mod validate;

use serde::Deserialize;

use crate::admission::review::Request;
use crate::object::ObjectMeta;

crate::object::from_map_only!(Object<'a>);

/// A Namespace, as far as it is needed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, remote = "Self")]
struct Object<'a> {
    #[serde(borrow)]
    metadata: Option<ObjectMeta<'a>>,
}

impl<'a> Object<'a> {
    /// The namespace that an UPDATE is about: the one that is stored, whatever the request's name says.
    fn name(&self, request: &Request<'_>) -> String {
        match self.metadata.as_ref().map(|metadata| metadata.name.as_ref()) {
            Some(name) if !name.is_empty() => name.to_owned(),
            _ => request.name.clone().into_owned(),
        }
    }

    fn into_metadata(self) -> ObjectMeta<'a> {
        self.metadata.unwrap_or_default()
    }
}
