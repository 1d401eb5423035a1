//! What fills an [`Inventory`](ringfence_core::inventory::Inventory): manifests.

mod manifests;

pub use manifests::of;
