//! What a lint reports.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Lint;

/// How bad it is, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Probably not what was meant.
    Warning,
    /// Opens more than it seems to, within limits.
    Medium,
    /// Opens much more than it seems to.
    High,
    /// Does not do what it is for.
    Error,
}

impl Severity {
    /// All five, the least first.
    pub const ALL: [Self; 5] = [Self::Info, Self::Warning, Self::Medium, Self::High, Self::Error];

    /// The word for it, as reports and the configuration write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The object that a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object {
    /// Its kind, such as `NetworkPolicy`.
    pub kind: String,
    /// Its namespace; of a Namespace, itself; empty where it is about the cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Object {
    /// A NetworkPolicy.
    #[must_use]
    pub fn policy(namespace: &str, name: &str) -> Self {
        Self { kind: "NetworkPolicy".to_owned(), namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// A Namespace.
    #[must_use]
    pub fn namespace(name: &str) -> Self {
        Self { kind: "Namespace".to_owned(), namespace: name.to_owned(), name: name.to_owned() }
    }
}

/// What would mend it, for a machine.
#[derive(Clone, Debug, PartialEq)]
pub enum Fix {
    /// A change of the object ([RFC 6902](https://www.rfc-editor.org/rfc/rfc6902)).
    Patch(json_patch::Patch),
    /// Further objects to apply.
    Add(Vec<serde_json::Value>),
}

/// Something that is wrong, and how to mend it.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Which lint found it.
    pub lint: &'static Lint,
    /// How bad it is here: the lint's own severity, unless the configuration says otherwise or Ringfence manages the object.
    pub severity: Severity,
    /// The object that it is about.
    pub object: Object,
    /// The path of the field, such as `spec.ingress[0].from[1]`; empty where it is about the object as a whole.
    pub path: String,
    /// The effect in one sentence, in terms of traffic: who can reach whom.
    pub message: String,
    /// What to do, in one sentence.
    pub help: String,
    /// What to write, as YAML, where that can be said.
    pub snippet: Option<String>,
    /// What would mend it without a decision of a person, where that exists.
    pub fix: Option<Fix>,
    /// Whether there are more of the lint for this object, which are not reported.
    pub is_last_of_more: bool,
}

impl Finding {
    /// A finding with the lint's own severity, about an object as a whole, with the lint's own advice.
    #[must_use]
    pub fn new(lint: &'static Lint, object: Object, message: impl Into<String>) -> Self {
        Self {
            lint,
            severity: lint.severity,
            object,
            path: String::new(),
            message: message.into(),
            help: lint.fix.to_owned(),
            snippet: None,
            fix: None,
            is_last_of_more: false,
        }
    }

    /// At a field.
    #[must_use]
    pub fn at(self, path: impl Into<String>) -> Self {
        Self { path: path.into(), ..self }
    }

    /// With other advice than the lint's own.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: help.into(), ..self }
    }

    /// With what to write, as YAML.
    #[must_use]
    pub fn snippet(self, yaml: impl Into<String>) -> Self {
        Self { snippet: Some(yaml.into()), ..self }
    }

    /// With what mends it.
    #[must_use]
    pub fn fix(self, fix: Fix) -> Self {
        Self { fix: Some(fix), ..self }
    }
}
