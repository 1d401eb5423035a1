//! The index: namespaces, and what their policies compile to. Filled by watches or from manifests; read by admission
//! and by the controller's plan.

mod namespace;

use std::collections::HashMap;
use std::sync::Arc;

pub(crate) use namespace::unexcused;
pub use namespace::{Isolation, Namespace, Pod, State};

/// Every namespace that is known, by name. A reader keeps a namespace as it was while the index goes on.
#[derive(Clone, Debug, Default)]
pub struct Index {
    namespaces: HashMap<String, Arc<Namespace>>,
}

impl Index {
    /// A namespace, as it is now.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Namespace>> {
        self.namespaces.get(name).cloned()
    }

    /// All namespaces, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Namespace>> {
        self.namespaces.values()
    }

    /// A namespace to change; made, without labels, where it is new.
    pub fn namespace_mut(&mut self, name: &str) -> &mut Namespace {
        let entry = self.namespaces.entry(name.to_owned()).or_insert_with(|| Arc::new(Namespace::new(name)));
        Arc::make_mut(entry)
    }

    /// Forgets a namespace with all that is in it.
    pub fn remove_namespace(&mut self, name: &str) {
        self.namespaces.remove(name);
    }
}
