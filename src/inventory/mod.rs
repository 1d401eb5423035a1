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
use ringfence_core::policy::parse::{ParseError, decode};
use serde_json::Value;

pub use apply::apply;
pub use fold::fold;
pub use manifests::{Reading, of, unfolded};
pub use origins::Origins;

/// Takes over a Namespace by its metadata.
fn state(inventory: &mut Inventory, name: &str, metadata: &Value) -> Result<(), ParseError> {
    let known = decode::<Option<ObjectMeta<'_>>, _>(metadata).map_err(|error| match error {
        ParseError::Malformed { path, problem } if path.is_empty() => {
            ParseError::Malformed { path: "metadata".to_owned(), problem }
        }
        ParseError::Malformed { path, problem } => ParseError::Malformed { path: format!("metadata.{path}"), problem },
        other @ ParseError::Invalid(_) => other,
    })?;
    let known = known.unwrap_or_default();
    // That they are texts, or null, which the API server takes for an empty one, has been seen above.
    let labels = metadata.get("labels").and_then(Value::as_object).into_iter().flatten();
    let labels = labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect();
    let namespace = inventory.namespace_mut(name);
    namespace.isolation = Isolation::of(&known);
    namespace.terminating = known.is_deleting();
    namespace.suppressions = known.suppressions();
    namespace.state(name, labels);
    Ok(())
}
