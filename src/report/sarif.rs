//! The report as SARIF 2.1.0, which code scanning reads
//! (<https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>). Only what is filled in is described.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ringfence_core::policy::lint::{Lint, Severity, catalogue};
use ringfence_core::text::sanitised;
use serde::Serialize;

use super::{By, Identity, Ordinals, Placed, Report, docs, escaped};
use crate::manifests::{Position, Problem};

/// What stays as it is in a segment of a path
/// ([RFC 3986, 2.3](https://www.rfc-editor.org/rfc/rfc3986#section-2.3)).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[derive(Serialize)]
struct Log {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    tool: Tool,
    invocations: [Invocation; 1],
    column_kind: &'static str,
    results: Vec<Result>,
}

#[derive(Serialize)]
struct Tool {
    driver: Driver,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Driver {
    name: &'static str,
    semantic_version: &'static str,
    rules: Vec<Rule>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    id: &'static str,
    short_description: Message,
    full_description: Message,
    help: Message,
    #[serde(skip_serializing_if = "Option::is_none")]
    help_uri: Option<String>,
    default_configuration: Configuration,
    properties: Properties,
}

#[derive(Serialize)]
struct Configuration {
    level: &'static str,
}

#[derive(Serialize)]
struct Properties {
    tags: [&'static str; 1],
    /// What GitHub sorts by: above 9.0 critical, 7.0 high, 4.0 medium.
    #[serde(rename = "security-severity")]
    security_severity: &'static str,
}

#[derive(Default, Serialize)]
struct Message {
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    markdown: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    execution_successful: bool,
    tool_execution_notifications: Vec<Notification>,
}

#[derive(Serialize)]
struct Notification {
    level: &'static str,
    message: Message,
    locations: Vec<Location>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Result {
    rule_id: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule_index: Option<usize>,
    level: &'static str,
    message: Message,
    locations: Vec<Location>,
    partial_fingerprints: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    suppressions: Vec<Suppression>,
}

#[derive(Serialize)]
struct Suppression {
    kind: &'static str,
    status: &'static str,
    justification: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    #[serde(skip_serializing_if = "Option::is_none")]
    physical_location: Option<PhysicalLocation>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logical_locations: Vec<LogicalLocation>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    artifact_location: ArtifactLocation,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<Region>,
}

#[derive(Serialize)]
struct ArtifactLocation {
    uri: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: u64,
    start_column: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogicalLocation {
    fully_qualified_name: String,
}

/// Writes the report.
///
/// # Errors
/// Where serde can't write it, which no report is known to bring about.
pub fn render(report: &Report) -> std::io::Result<String> {
    let mut ordinals = Ordinals::default();
    let left = report.findings.iter().map(|placed| (placed, None));
    let accepted = report.accepted.iter().map(|accepted| (&accepted.placed, Some(&accepted.by)));
    escaped::to_string(&Log {
        schema: "https://json.schemastore.org/sarif-2.1.0.json",
        version: "2.1.0",
        runs: [Run {
            tool: Tool {
                driver: Driver {
                    name: "ringfence",
                    semantic_version: env!("CARGO_PKG_VERSION"),
                    rules: catalogue::ALL.into_iter().map(rule).collect(),
                },
            },
            invocations: [Invocation {
                execution_successful: report.problems.is_empty(),
                tool_execution_notifications: report.problems.iter().map(notification).collect(),
            }],
            column_kind: "unicodeCodePoints",
            results: left.chain(accepted).map(|(placed, by)| result(placed, by, &mut ordinals)).collect(),
        }],
    })
}

/// The three levels of SARIF, and GitHub's.
pub(super) fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error | Severity::High => "error",
        Severity::Medium | Severity::Warning => "warning",
        Severity::Info => "note",
    }
}

fn rule(lint: &'static Lint) -> Rule {
    let page = docs(lint);
    Rule {
        id: lint.id,
        short_description: text(lint.summary),
        full_description: text(lint.effect),
        help: Message {
            text: format!("{} To mend it: {}.", lint.effect, lint.fix),
            markdown: Some(format!("{}\n\n**To mend it:** {}.", lint.effect, lint.fix)),
        },
        // A path in a repository that is not known is no address.
        help_uri: page.starts_with("https://").then_some(page),
        default_configuration: Configuration { level: level(lint.severity) },
        properties: Properties {
            tags: ["security"],
            security_severity: match lint.severity {
                Severity::Error => "9.1",
                Severity::High => "8.0",
                Severity::Medium => "5.0",
                Severity::Warning => "3.0",
                Severity::Info => "1.0",
            },
        },
    }
}

fn result(placed: &Placed, by: Option<&By>, ordinals: &mut Ordinals) -> Result {
    let Placed { finding, file, at, .. } = placed;
    let identity = Identity::of(finding);
    let fingerprint = identity.fingerprint();
    let object = &finding.object;
    let parts = [object.namespace.as_str(), object.kind.as_str(), object.name.as_str(), finding.path.as_str()];
    let name: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).map(sanitised).collect();
    Result {
        rule_id: finding.lint.id,
        rule_index: catalogue::ALL.iter().position(|lint| lint.id == finding.lint.id),
        level: level(finding.severity),
        message: message(placed),
        locations: vec![Location {
            physical_location: (at.line > 0).then(|| physical(file, Some(*at))).flatten(),
            logical_locations: vec![LogicalLocation { fully_qualified_name: name.join("/") }],
        }],
        partial_fingerprints: [("ringfence/v1", format!("{fingerprint}:{}", ordinals.next(identity)))].into(),
        suppressions: by.map(suppression).into_iter().collect(),
    }
}

/// What is wrong, what to do, and the YAML to write. GitHub shows the text alone of a result, and reads some Markdown in it,
/// where lines that are indented so are code.
fn message(placed: &Placed) -> Message {
    let finding = &placed.finding;
    let Message { mut text, .. } = text(&format!("{} Help: {}", sentence(&finding.message), sentence(&finding.help)));
    for (number, line) in placed.snippet().into_iter().enumerate() {
        text.push_str(if number == 0 { "\n\n    " } else { "\n    " });
        text.push_str(&line);
    }
    Message { text, markdown: None }
}

fn suppression(by: &By) -> Suppression {
    let (kind, justification) = match by {
        By::Baseline => ("external", "it is in the baseline file".to_owned()),
        By::Annotation(reason) => ("inSource", sanitised(reason)),
    };
    Suppression { kind, status: "accepted", justification }
}

fn notification(problem: &Problem) -> Notification {
    let physical_location = physical(&problem.file, problem.at);
    Notification {
        level: "error",
        message: text(&problem.message),
        locations: physical_location
            .map(|place| Location { physical_location: Some(place), logical_locations: Vec::new() })
            .into_iter()
            .collect(),
    }
}

/// A place in a file; standard input has no address.
fn physical(file: &str, at: Option<Position>) -> Option<PhysicalLocation> {
    let region = at.filter(|at| at.line > 0).map(|at| Region { start_line: at.line, start_column: at.column.max(1) });
    (file != "-").then(|| PhysicalLocation { artifact_location: ArtifactLocation { uri: uri(file) }, region })
}

/// A path as the reference of RFC 3986: relative paths stay so, since they are looked for in the repository.
fn uri(file: &str) -> String {
    let mut uri = String::new();
    for component in Path::new(file).components() {
        match component {
            Component::Prefix(_) | Component::CurDir => {}
            Component::RootDir => uri.push_str("file:///"),
            Component::ParentDir => uri.push_str("../"),
            Component::Normal(name) => {
                uri.extend(utf8_percent_encode(&name.to_string_lossy(), SEGMENT));
                uri.push('/');
            }
        }
    }
    uri.trim_end_matches('/').to_owned()
}

fn text(text: &str) -> Message {
    Message { text: sanitised(text), markdown: None }
}

/// With a full stop, where there is none.
fn sentence(text: &str) -> String {
    if text.ends_with('.') { text.to_owned() } else { format!("{text}.") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_references_that_an_address_can_hold() {
        assert_eq!(uri("./k8s/a b.yaml"), "k8s/a%20b.yaml");
        assert_eq!(uri("../Größe/100%.yaml"), "../Gr%C3%B6%C3%9Fe/100%25.yaml");
        assert_eq!(uri("/srv/a#b.yaml"), "file:///srv/a%23b.yaml");
    }
}
