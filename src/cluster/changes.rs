//! Which namespaces have changed: a set, so that however much happens, no more is remembered than there are namespaces.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(super) struct Changes {
    names: Mutex<BTreeSet<String>>,
    added: Notify,
}

impl Changes {
    pub(super) fn add(&self, names: BTreeSet<String>) {
        if names.is_empty() {
            return;
        }
        self.names.lock().unwrap_or_else(PoisonError::into_inner).extend(names);
        self.added.notify_one();
    }

    /// Waits until there are any, and takes them.
    pub(super) async fn next(&self) -> BTreeSet<String> {
        loop {
            let names = std::mem::take(&mut *self.names.lock().unwrap_or_else(PoisonError::into_inner));
            if !names.is_empty() {
                return names;
            }
            self.added.notified().await;
        }
    }
}
