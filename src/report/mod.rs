//! What `check` found, in one file per format.

pub mod explain;
pub mod json;
pub mod reach;
pub mod text;

use ringfence_core::index::State;
use ringfence_core::policy::lint::Finding;
use ringfence_core::policy::verdict::Verdict;

use crate::manifests::Position;

/// What was found out about a set of manifests.
#[derive(Debug)]
pub struct Report {
    /// Every namespace, by name.
    pub namespaces: Vec<Judged>,
    /// What is wrong, and how to mend it.
    pub findings: Vec<Placed>,
}

/// One namespace.
#[derive(Debug)]
pub struct Judged {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: State,
    /// The profile that it was judged by.
    pub profile: String,
    /// What its policies do.
    pub verdict: Verdict,
    /// Its pods that use their node's network, where no policy reaches them.
    pub host_network: Vec<String>,
}

/// Something that is wrong, and where it is written.
#[derive(Debug)]
pub struct Placed {
    /// What is wrong.
    pub finding: Finding,
    /// The file, or `-` for standard input.
    pub file: String,
    /// Where in it.
    pub at: Position,
}

impl Report {
    /// Whether every namespace is isolated, exempt or excluded.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.namespaces.iter().all(|namespace| namespace.state.passes())
    }
}
