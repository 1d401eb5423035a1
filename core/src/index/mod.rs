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
    /// A namespace, as it is now. One of which only contents are known is not there: without its labels it would be
    /// taken for one that was never adopted, where everything is allowed.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Namespace>> {
        self.namespaces.get(name).filter(|namespace| namespace.exists).cloned()
    }

    /// All namespaces, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Namespace>> {
        self.namespaces.values().filter(|namespace| namespace.exists)
    }

    /// A namespace to change; made, without labels, where it is new.
    pub fn namespace_mut(&mut self, name: &str) -> &mut Namespace {
        let namespace = self.contents_mut(name);
        namespace.exists = true;
        namespace
    }

    /// What is in a namespace, to change it, whether the namespace itself is known yet or not: watches of different
    /// kinds run ahead of each other.
    pub fn contents_mut(&mut self, name: &str) -> &mut Namespace {
        let entry = self.namespaces.entry(name.to_owned()).or_insert_with(|| Arc::new(Namespace::new(name)));
        Arc::make_mut(entry)
    }

    /// Forgets a namespace with all that is in it.
    pub fn remove_namespace(&mut self, name: &str) {
        self.namespaces.remove(name);
    }

    /// Forgets that a namespace exists, and what was in it when the deletion was written (`version`). What is newer
    /// belongs to a new namespace of the same name, whose contents their own watches have brought already.
    pub fn forget_namespace(&mut self, name: &str, version: u64) {
        if let Some(namespace) = self.namespaces.get_mut(name) {
            Arc::make_mut(namespace).forget(version);
        }
    }

    /// The names under which anything is known, namespaces that are only known by their contents included.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.namespaces.keys().cloned().collect()
    }

    /// Drops what is left of namespaces that do not exist and have nothing in them, once the watch of their contents has
    /// come as far as their deletion.
    pub fn sweep(&mut self, come: u64) {
        self.namespaces.retain(|_, namespace| namespace.exists || !namespace.is_done_with(come));
    }
}
