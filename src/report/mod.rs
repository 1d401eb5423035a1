//! What `check` found, in one file per format.

mod baseline;
mod escaped;
pub mod explain;
pub mod github;
mod identity;
pub mod json;
pub mod junit;
mod meaning;
pub mod reach;
pub mod sarif;
pub mod source;
pub mod text;

use std::collections::HashMap;

use ringfence_core::index::State;
use ringfence_core::policy::lint::{Finding, Lint, Severity};
use ringfence_core::policy::verdict::Verdict;
use ringfence_core::text::sanitised;

use crate::manifests::{Position, Problem};
pub use baseline::Baseline;
pub use identity::Identity;
pub use meaning::{Extent, Meaning, Meanings, said};
pub use source::Sources;

/// What was found out about a set of manifests.
#[derive(Debug, Default)]
pub struct Report {
    /// Every namespace, by name.
    pub namespaces: Vec<Judged>,
    /// What is wrong, and how to mend it.
    pub findings: Vec<Placed>,
    /// What is wrong as well, and accepted.
    pub accepted: Vec<Accepted>,
    /// What could not be read.
    pub problems: Vec<Problem>,
    /// From which severity on a finding fails; none does where it is `None`, and no state.
    pub fail_on: Option<Severity>,
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
    /// How far its coverage and its holes go.
    pub extent: Extent,
    /// Its pods that use their node's network, where no policy reaches them.
    pub host_network: Vec<String>,
    /// What of the profile a pending namespace lacks, though the baseline is effective.
    pub missing: Vec<String>,
    /// Whether its state is accepted, although it does not pass.
    pub accepted: bool,
}

/// Something that is wrong, and where it is written.
#[derive(Debug)]
pub struct Placed {
    /// What is wrong.
    pub finding: Finding,
    /// The file, or `-` for standard input.
    pub file: String,
    /// Where in it; line 0 where it is written nowhere.
    pub at: Position,
    /// What it is about.
    pub meaning: Meaning,
}

/// A finding that does not count.
#[derive(Debug)]
pub struct Accepted {
    /// What is wrong.
    pub placed: Placed,
    /// What accepts it.
    pub by: By,
}

/// What accepts a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// The baseline file.
    Baseline,
    /// An annotation of the object, which says why.
    Annotation(String),
}

impl Report {
    /// Whether nothing is left that fails: a namespace that is neither isolated nor exempt, excluded or accepted, or a
    /// finding that is grave enough.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.fail_on.is_none()
            || self.namespaces.iter().all(Judged::passes) && !self.findings.iter().any(|placed| self.fails(placed))
    }

    /// Whether a finding is grave enough to fail.
    #[must_use]
    pub fn fails(&self, placed: &Placed) -> bool {
        self.fail_on.is_some_and(|fail_on| placed.finding.severity >= fail_on)
    }

    /// How many namespaces pass, in words.
    #[must_use]
    pub fn count_of_namespaces(&self) -> String {
        let passed = self.namespaces.iter().filter(|namespace| namespace.state.passes()).count();
        let accepted = self.namespaces.iter().filter(|namespace| namespace.accepted).count();
        let accepted = if accepted > 0 { format!(", {accepted} accepted as it is") } else { String::new() };
        format!("{passed} of {} namespaces isolated, exempt or excluded{accepted}", self.namespaces.len())
    }

    /// How many findings there are, in words; `None` where there are none.
    #[must_use]
    pub fn count_of_findings(&self) -> Option<String> {
        if self.findings.is_empty() && self.accepted.is_empty() {
            return None;
        }
        let of = |severity| self.findings.iter().filter(|placed| placed.finding.severity == severity).count();
        let each = Severity::ALL.into_iter().rev().map(|severity| (severity, of(severity)));
        let mut parts: Vec<String> =
            each.filter(|(_, count)| *count > 0).map(|(severity, count)| format!("{count} {severity}")).collect();
        if !self.accepted.is_empty() {
            parts.push(format!("{} accepted", self.accepted.len()));
        }
        Some(format!("findings: {}", parts.join(", ")))
    }
}

impl Judged {
    /// Why it is pending though every pod is isolated, where that is so.
    fn pending_for(&self) -> Option<String> {
        (!self.missing.is_empty()).then(|| {
            let names = self.missing.join(", ");
            format!(
                "the profile's policies are not in place: {names}; Ringfence adds them once the namespace is enforced"
            )
        })
    }

    /// Whether nothing is to be done about its state.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.accepted || self.state.passes()
    }
}

impl Placed {
    /// What to write, line by line, without characters that deceive; empty where that can't be said.
    fn snippet(&self) -> Vec<String> {
        self.finding.snippet.iter().flat_map(|snippet| snippet.lines()).map(sanitised).collect()
    }

    /// The object in words, such as `NetworkPolicy web of team-a`.
    #[must_use]
    pub fn object(&self) -> String {
        let object = &self.finding.object;
        match (object.kind.as_str(), object.namespace.as_str()) {
            ("Namespace", _) | (_, "") => format!("{} {}", object.kind, object.name),
            (kind, namespace) => format!("{kind} {} of {namespace}", object.name),
        }
    }
}

/// Where the page of a lint is: an address where the package has one, else a path in the repository.
#[must_use]
pub fn docs(lint: &Lint) -> String {
    let page = format!("docs/lints/{}.md", lint.id);
    match env!("CARGO_PKG_REPOSITORY") {
        "" => page,
        home => format!("{home}/blob/v{}/{page}", env!("CARGO_PKG_VERSION")),
    }
}

/// Numbers findings that are the same but for their place, from 1.
#[derive(Debug, Default)]
struct Ordinals(HashMap<Identity, usize>);

impl Ordinals {
    fn next(&mut self, identity: Identity) -> usize {
        let ordinal = self.0.entry(identity).or_default();
        *ordinal += 1;
        *ordinal
    }
}
