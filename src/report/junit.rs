//! The report as the XML of `JUnit`, which nearly every CI system shows: a case per namespace, finding and problem.

use quick_junit::{NonSuccessKind, Report as Junit, SerializeError, TestCase, TestCaseStatus, TestSuite};
use ringfence_core::policy::{Direction, explain};
use ringfence_core::text::sanitised;

use super::{Accepted, By, Judged, Placed, Report, text};
use crate::manifests::Problem;

/// Writes the report.
///
/// # Errors
/// Where it can't be written, which no report is known to bring about.
pub fn render(report: &Report) -> Result<String, SerializeError> {
    let mut namespaces = TestSuite::new("namespaces");
    namespaces.add_test_cases(report.namespaces.iter().map(|judged| namespace(judged, report)));
    let mut findings = TestSuite::new("findings");
    findings.add_test_cases(report.findings.iter().map(|placed| finding(placed, report.fails(placed))));
    findings.add_test_cases(report.accepted.iter().map(accepted));
    let mut manifests = TestSuite::new("manifests");
    manifests.add_test_cases(report.problems.iter().map(problem));
    let mut junit = Junit::new("ringfence");
    junit.add_test_suites([namespaces, findings, manifests]);
    let printed = junit.to_string()?;
    // The library counts what is skipped at the outermost element too, where the schema of Jenkins has no such attribute.
    let (outer, inner) = printed.split_once("<testsuite ").unwrap_or((&printed, ""));
    let skipped = format!(" skipped=\"{}\"", junit.test_suites.iter().map(|suite| suite.skipped).sum::<usize>());
    Ok(format!("{}<testsuite {inner}", outer.replacen(&skipped, "", 1)))
}

fn case(class: &str, name: &str, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(sanitised(name), status);
    case.set_classname(sanitised(class));
    case
}

fn failure(kind: NonSuccessKind, ty: &str, message: &str, description: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(ty).set_message(sanitised(message)).set_description(lines(description));
    status
}

fn namespace(judged: &Judged, report: &Report) -> TestCase {
    let state = judged.state.as_str();
    let status = if judged.state.passes() {
        TestCaseStatus::success()
    } else if judged.accepted || report.fail_on.is_none() {
        skipped(&format!("{state}, and accepted as it is"))
    } else {
        let mut why = Vec::new();
        for direction in Direction::BOTH {
            let side = judged.verdict.side(direction);
            why.extend(explain::gap(direction, &side.coverage));
            why.extend(side.holes.iter().map(|hole| explain::hole(direction, hole)));
        }
        why.extend(judged.pending_for());
        // Each is a line, whatever the names in it hold.
        let why: Vec<String> = why.iter().map(|line| sanitised(line)).collect();
        let message = format!("{} is {state} (profile {})", judged.name, judged.profile);
        failure(NonSuccessKind::Failure, state, &message, &why.join("\n"))
    };
    case("namespace", &judged.name, status)
}

fn finding(placed: &Placed, fails: bool) -> TestCase {
    let finding = &placed.finding;
    let mut said = format!("{}\nhelp: {}\n", text::short(placed), sanitised(&finding.help));
    said.push_str(finding.snippet.as_deref().unwrap_or_default());
    if fails {
        let status = failure(NonSuccessKind::Failure, finding.severity.as_str(), &finding.message, &said);
        return case(finding.lint.id, &name(placed), status);
    }
    // What is not grave enough to fail is shown with the cases that passed.
    let mut case = case(finding.lint.id, &name(placed), TestCaseStatus::success());
    case.set_system_out(lines(&said));
    case
}

fn accepted(Accepted { placed, by }: &Accepted) -> TestCase {
    let why = match by {
        By::Baseline => "accepted: it is in the baseline file",
        By::Annotation(reason) => &format!("accepted: {reason}"),
    };
    case(placed.finding.lint.id, &name(placed), skipped(why))
}

fn problem(problem: &Problem) -> TestCase {
    let status = failure(NonSuccessKind::Error, "unreadable", &problem.message, &sanitised(&problem.to_string()));
    case("manifest", &problem.file, status)
}

/// Which object, and which field of it.
fn name(placed: &Placed) -> String {
    let path = &placed.finding.path;
    if path.is_empty() { placed.object() } else { format!("{}: {path}", placed.object()) }
}

fn skipped(why: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::skipped();
    status.set_message(sanitised(why));
    status
}

/// Several lines, each without characters that deceive, and none that is a command to what prints the file.
fn lines(text: &str) -> String {
    text::no_commands(text.lines().map(sanitised).collect::<Vec<_>>().join("\n"))
}
