//! Manifests: files, directories and standard input, as objects with the lines they stand on.
//!
//! Taken are multi-document YAML and JSON, `List` kinds, and what `helm template` and `kubectl get -o yaml` print. A
//! document that does not parse is reported and does not hide the others.

mod node;
mod object;
mod scope;
mod source;

pub use node::{Node, Position};
pub use object::Object;
pub use source::{Loaded, Problem, load, parse_one, read};
