//! Namespaces: the isolation labels are injected by [`mutate`], and judged by [`validate`].

pub mod mutate;
pub mod validate;

use serde::Deserialize;

use crate::object::ObjectMeta;

/// A Namespace, as far as it is needed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Object<'a> {
    #[serde(borrow)]
    metadata: Option<ObjectMeta<'a>>,
}

impl<'a> Object<'a> {
    fn into_metadata(self) -> ObjectMeta<'a> {
        self.metadata.unwrap_or_default()
    }
}
