//! What fills an [`Inventory`]: manifests, or what an API server stores ([`live`]).

mod apply;
mod fold;
pub mod live;
mod manifests;
mod names;
mod origins;

use ringfence_core::index::Isolation;
use ringfence_core::inventory::Inventory;
use ringfence_core::object::ObjectMeta;
use ringfence_core::policy::selectors::Labels;
use serde::Deserialize;
use serde_json::Value;

pub use apply::apply;
pub use fold::fold;
pub use manifests::{Reading, of, unfolded};
pub use origins::Origins;

/// Takes over a Namespace by its metadata.
fn state(inventory: &mut Inventory, name: &str, metadata: &Value) -> serde_json::Result<()> {
    let known = Option::<ObjectMeta<'_>>::deserialize(metadata)?.unwrap_or_default();
    let labels = Option::<Labels>::deserialize(metadata.get("labels").unwrap_or(&Value::Null))?;
    let namespace = inventory.namespace_mut(name);
    namespace.isolation = Isolation::of(&known);
    namespace.terminating = known.is_deleting();
    namespace.suppressions = known.suppressions();
    namespace.state(name, labels.unwrap_or_default());
    Ok(())
}
