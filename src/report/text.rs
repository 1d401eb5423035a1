//! The report for people.

use std::fmt::Write;

use ringfence_core::admission::warnings::sanitised;
use ringfence_core::index::State;
use ringfence_core::policy::coverage::Coverage;
use ringfence_core::policy::{Direction, explain};

use super::{Placed, Report};

/// Writes the report, a paragraph per namespace.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a String can't fail.
    let mut line = |text_line: std::fmt::Arguments<'_>| {
        let _ = writeln!(text, "{text_line}");
    };
    for namespace in &report.namespaces {
        // Manifests may be a stranger's, and what they say must not act on the terminal or the log of a CI system.
        let (name, profile) = (sanitised(&namespace.name), sanitised(&namespace.profile));
        line(format_args!("{name}  {}  (profile {profile})", state(namespace.state)));
        if namespace.state == State::Excluded {
            continue;
        }
        for direction in Direction::BOTH {
            let side = namespace.verdict.side(direction);
            match (&side.coverage, explain::gap(direction, &side.coverage)) {
                (Coverage::Complete, _) | (_, None) => line(format_args!("  {direction}: every pod is isolated")),
                (_, Some(gap)) => line(format_args!("  {direction}: NOT ISOLATED: {gap}")),
            }
            for hole in &side.holes {
                line(format_args!("  {}", explain::hole(direction, hole)));
            }
        }
        if !namespace.host_network.is_empty() {
            let pods = explain::names(&namespace.host_network);
            line(format_args!("  hostNetwork: NetworkPolicies do not hold back {pods} in most CNIs"));
        }
        if namespace.verdict.capped {
            line(format_args!("  capped: the selectors are too entangled to judge exactly, so the worse was assumed"));
        }
    }
    for Placed { finding, file, at } in &report.findings {
        line(format_args!(
            "\n{}[{}]: {}\n  --> {}:{at}\n  fix: {}",
            finding.severity,
            finding.lint.id,
            sanitised(&finding.message),
            sanitised(file),
            sanitised(&finding.help)
        ));
    }
    let passed = report.namespaces.iter().filter(|namespace| namespace.state.passes()).count();
    line(format_args!("\n{passed} of {} namespaces isolated, exempt or excluded", report.namespaces.len()));
    text
}

/// What is to be done something about is loud.
fn state(state: State) -> String {
    if state.passes() { state.as_str().to_owned() } else { state.as_str().to_uppercase() }
}
