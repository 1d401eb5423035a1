//! The report as JSON. Its form is stable; `version` changes if it does not stay.

use ringfence_core::index::State;
use ringfence_core::policy::coverage::Coverage;
use ringfence_core::policy::holes::{Hole, Kind, Peers, Share};
use ringfence_core::policy::lint::Severity;
use ringfence_core::policy::selectors::Labels;
use ringfence_core::policy::verdict::Side;
use serde::Serialize;

use super::{Accepted, By, Judged, Placed, Report, docs, escaped};
use crate::manifests::Problem;

const VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    capped: bool,
    namespaces: Vec<NamespaceOut<'a>>,
    findings: Vec<FindingOut<'a>>,
    accepted: Vec<AcceptedOut<'a>>,
    problems: Vec<ProblemOut<'a>>,
}

#[derive(Serialize)]
struct NamespaceOut<'a> {
    name: &'a str,
    state: State,
    profile: &'a str,
    accepted: bool,
    ingress: SideOut<'a>,
    egress: SideOut<'a>,
}

#[derive(Serialize)]
struct SideOut<'a> {
    coverage: &'static str,
    witness: Option<&'a Labels>,
    holes: Vec<HoleOut<'a>>,
}

#[derive(Serialize)]
struct HoleOut<'a> {
    kind: Kind,
    some: bool,
    policies: &'a [String],
    witness: Option<&'a Labels>,
    ports: Option<Vec<String>>,
    /// Of PORTS alone: which class of strangers.
    peers: Option<Peers>,
    /// Of W4 and W6 alone: what part of the address family, from 0 to 1.
    share: Option<Share>,
}

#[derive(Serialize)]
struct FindingOut<'a> {
    id: &'a str,
    severity: Severity,
    object: ObjectOut<'a>,
    path: &'a str,
    message: &'a str,
    fix: &'a str,
    snippet: Option<&'a str>,
    docs: String,
    file: &'a str,
    line: u64,
    column: u64,
}

#[derive(Serialize)]
struct AcceptedOut<'a> {
    #[serde(flatten)]
    finding: FindingOut<'a>,
    by: &'static str,
    reason: Option<&'a str>,
}

/// Line and column are null where they are not known.
#[derive(Serialize)]
struct ProblemOut<'a> {
    message: &'a str,
    file: &'a str,
    line: Option<u64>,
    column: Option<u64>,
}

#[derive(Serialize)]
struct ObjectOut<'a> {
    kind: &'a str,
    namespace: &'a str,
    name: &'a str,
}

/// Writes the report.
///
/// # Errors
/// Where serde can't write it, which no report is known to bring about.
pub fn render(report: &Report) -> std::io::Result<String> {
    escaped::to_string(&Document {
        version: VERSION,
        capped: report.namespaces.iter().any(|namespace| namespace.verdict.capped),
        namespaces: report.namespaces.iter().map(namespace).collect(),
        findings: report.findings.iter().map(finding).collect(),
        accepted: report.accepted.iter().map(accepted).collect(),
        problems: report.problems.iter().map(problem).collect(),
    })
}

fn namespace(judged: &Judged) -> NamespaceOut<'_> {
    NamespaceOut {
        name: &judged.name,
        state: judged.state,
        profile: &judged.profile,
        accepted: judged.accepted,
        ingress: side(&judged.verdict.ingress),
        egress: side(&judged.verdict.egress),
    }
}

fn side(side: &Side) -> SideOut<'_> {
    let (coverage, witness) = match &side.coverage {
        Coverage::Complete => ("complete", None),
        Coverage::Partial(witness) => ("partial", witness.as_ref()),
        Coverage::Absent => ("absent", None),
    };
    SideOut { coverage, witness, holes: side.holes.iter().map(hole).collect() }
}

fn hole(hole: &Hole) -> HoleOut<'_> {
    HoleOut {
        kind: hole.kind,
        some: hole.some,
        policies: &hole.policies,
        witness: hole.witness.as_ref(),
        ports: hole.ports.as_ref().map(|ports| ports.iter().map(ToString::to_string).collect()),
        peers: hole.peers,
        share: hole.share,
    }
}

fn finding(placed: &Placed) -> FindingOut<'_> {
    let Placed { finding, file, at, .. } = placed;
    let object = &finding.object;
    FindingOut {
        id: finding.lint.id,
        severity: finding.severity,
        object: ObjectOut { kind: &object.kind, namespace: &object.namespace, name: &object.name },
        path: &finding.path,
        message: &finding.message,
        fix: &finding.help,
        snippet: finding.snippet.as_deref(),
        docs: docs(finding.lint),
        file,
        line: at.line,
        column: at.column,
    }
}

fn accepted(accepted: &Accepted) -> AcceptedOut<'_> {
    let (by, reason) = match &accepted.by {
        By::Baseline => ("baseline", None),
        By::Annotation(reason) => ("annotation", Some(reason.as_str())),
    };
    AcceptedOut { finding: finding(&accepted.placed), by, reason }
}

fn problem(problem: &Problem) -> ProblemOut<'_> {
    ProblemOut {
        message: &problem.message,
        file: &problem.file,
        line: problem.at.map(|at| at.line),
        column: problem.at.map(|at| at.column),
    }
}
