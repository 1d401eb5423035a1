//! Manifests: files, directories and standard input, as objects whose fields can be found again in them.
//!
//! Taken are multi-document YAML and JSON, `List` kinds, and what `helm template` and `kubectl get -o yaml` print. A
//! document that does not parse is reported and does not hide the others. Nothing has to stay in memory: [`each`] gives
//! the objects one after another, and [`Sources`] finds the place of a field by reading its file again.

mod files;
mod input;
mod json;
mod node;
mod object;
mod places;
mod scope;
mod source;
mod text;
mod tools;
mod value;
mod yaml;

pub use files::{Loaded, Reading, each, load, read, skipped};
pub use input::Input;
pub use node::{Node, Position};
pub use object::Object;
pub use places::{Origin, Sources};
pub use source::{Problem, parse_one};
pub use tools::quoted;
