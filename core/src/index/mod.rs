//! The index: namespaces, and what their policies compile to. Filled by watches or from manifests; read by admission
//! and by the controller's plan.

mod namespace;
pub mod reservations;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

pub use namespace::{Isolation, Namespace, Pod, State};
pub(crate) use namespace::{is_excused, unexcused};

use crate::object::ObjectMeta;

/// Every namespace that is known, by name. A reader keeps a namespace as it was while the index goes on.
#[derive(Clone, Debug, Default)]
pub struct Index {
    namespaces: HashMap<String, Arc<Namespace>>,
    /// The newest write of a NetworkPolicy that the watch has delivered. A watch delivers in order, so nothing older is on
    /// its way any more.
    policies_seen: u64,
    /// Namespaces whose policies may still be those of a deleted namespace of the same name, by the write that the
    /// namespace was first seen with.
    behind: BTreeMap<u64, String>,
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

    /// Takes over what an object says of a namespace itself, unless it is older than what is known. Returns whether that
    /// changed anything but its version.
    ///
    /// What is in a new namespace is not judged before the watch of policies has delivered a write that is newer, or
    /// its policies were listed: until then policies of a deleted namespace of the same name may look as if they were there.
    pub fn put_namespace(&mut self, name: &str, metadata: &ObjectMeta<'_>) -> bool {
        let namespace = self.contents_mut(name);
        let was_behind = namespace.behind();
        let changed = namespace.put_object(metadata);
        let behind = namespace.behind();
        if behind != was_behind {
            was_behind.map(|version| self.behind.remove(&version));
            behind.map(|version| self.behind.insert(version, name.to_owned()));
            self.policies_come_to(0);
        }
        changed
    }

    /// Notes that the watch of policies has delivered the write `version`. Returns the namespaces whose policies are known
    /// from here on.
    pub fn policies_come_to(&mut self, version: u64) -> Vec<String> {
        self.policies_seen = self.policies_seen.max(version);
        let still_behind = self.behind.split_off(&self.policies_seen);
        let caught_up = std::mem::replace(&mut self.behind, still_behind);
        caught_up.into_values().filter(|name| self.confirm(name)).collect()
    }

    /// Notes that the policies of a namespace were listed. Returns whether that was still to be waited for.
    pub fn policies_listed(&mut self, name: &str) -> bool {
        self.behind.retain(|_, behind| behind != name);
        self.confirm(name)
    }

    /// The namespaces whose policies are not known for certain.
    #[must_use]
    pub fn behind(&self) -> Vec<String> {
        self.behind.values().cloned().collect()
    }

    /// The newest write of a policy that the watch has delivered.
    #[must_use]
    pub fn policies_seen(&self) -> u64 {
        self.policies_seen
    }

    fn confirm(&mut self, name: &str) -> bool {
        self.namespaces.get_mut(name).is_some_and(|namespace| Arc::make_mut(namespace).confirm())
    }

    /// What is known under a name, whether the namespace itself is known or not.
    #[must_use]
    pub fn contents(&self, name: &str) -> Option<&Namespace> {
        self.namespaces.get(name).map(AsRef::as_ref)
    }

    /// Forgets a namespace with all that is in it.
    pub fn remove_namespace(&mut self, name: &str) {
        self.namespaces.remove(name);
        self.behind.retain(|_, behind| behind != name);
    }

    /// Forgets that a namespace exists. What is known of its policies and pods ends with their own deletion only: a
    /// namespace whose finalizers were emptied leaves them behind (tried).
    pub fn forget_namespace(&mut self, name: &str) {
        if let Some(namespace) = self.namespaces.get_mut(name) {
            Arc::make_mut(namespace).forget();
            self.behind.retain(|_, behind| behind != name);
        }
    }

    /// The names under which anything is known, namespaces that are only known by their contents included.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.namespaces.keys().cloned().collect()
    }

    /// Drops a namespace that does not exist and has nothing in it.
    pub fn sweep_one(&mut self, name: &str) {
        if self.namespaces.get(name).is_some_and(|namespace| !namespace.exists && namespace.is_empty()) {
            self.namespaces.remove(name);
        }
    }

    /// Drops namespaces that do not exist and have nothing in them.
    pub fn sweep(&mut self) {
        self.namespaces.retain(|_, namespace| namespace.exists || !namespace.is_empty());
    }
}
