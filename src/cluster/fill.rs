//! Manifests into an index.

use ringfence_core::admission::pod;
use ringfence_core::index::Index;
use serde::Deserialize;

use super::Cluster;
use crate::inventory;
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

/// Adds what manifests hold to an index. Any namespaced object makes its namespace appear.
pub fn fill(index: &mut Index, objects: &[Object], default_namespace: &str) -> Vec<Problem> {
    let (inventory, problems) = inventory::of(objects, default_namespace);
    inventory.fill(index);
    for object in objects.iter().filter(|object| object.is("v1", "Pod")) {
        // One that can't be read is among the problems already.
        if let Some(name) = object.namespace(default_namespace)
            && object.metadata_that_is_no_text().is_none()
            && let Ok(pod) = <pod::Object<'_> as Deserialize<'_>>::deserialize(object.value())
        {
            index.namespace_mut(name).pods.insert(object.name().to_owned(), pod.facts());
        }
    }
    problems
}
