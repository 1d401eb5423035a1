//! The report as workflow commands, which GitHub shows beside the lines of a pull request
//! (<https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands#setting-an-error-message>).

use std::collections::HashMap;
use std::fmt::Write;

use ringfence_core::policy::lint::Severity;
use ringfence_core::text::sanitised;

use super::{Placed, Report, sarif, text};
use crate::manifests::Position;

/// GitHub shows no more of each level, of one step.
const SHOWN: usize = 10;

/// How many characters of a message GitHub's runner keeps, since version 2.305.0 (seen, not documented).
const LONGEST: usize = 4096;

/// Writes the report: what does not fit among the annotations is in the log alone.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut out = Out { text: String::new(), shown: HashMap::new() };
    for problem in &report.problems {
        if !out.annotation("error", "ringfence", &problem.file, problem.at, &problem.message) {
            out.line(&sanitised(&problem.to_string()));
        }
    }
    let mut gravest_first: Vec<&Placed> = report.findings.iter().collect();
    gravest_first.sort_by_key(|placed| std::cmp::Reverse(placed.finding.severity));
    let mut in_the_log = 0;
    for placed in gravest_first {
        let Placed { finding, file, at, .. } = placed;
        let title = format!("{}[{}]", finding.severity, finding.lint.id);
        let mut message = format!("{}\nhelp: {}", finding.message, finding.help);
        let snippet = placed.snippet().join("\n");
        // A part of it would be other YAML.
        if !snippet.is_empty() && message.chars().count() + 1 + snippet.chars().count() <= LONGEST {
            message.push('\n');
            message.push_str(&snippet);
        }
        let level = if finding.severity == Severity::Info { "notice" } else { sarif::level(finding.severity) };
        let at = (at.line > 0).then_some(*at);
        if !out.annotation(level, &title, file, at, &message) {
            out.line(&text::short(placed));
            in_the_log += 1;
        }
    }
    for namespace in report.namespaces.iter().filter(|namespace| !namespace.passes()) {
        out.line(&sanitised(&format!("namespace {} is {}", namespace.name, namespace.state.as_str())));
    }
    if in_the_log > 0 {
        out.line(&format!("{in_the_log} findings are in this log alone: GitHub shows {SHOWN} of each level"));
    }
    if let Some(count) = report.count_of_findings() {
        out.line(&count);
    }
    out.line(&report.count_of_namespaces());
    out.text
}

struct Out {
    text: String,
    shown: HashMap<&'static str, usize>,
}

impl Out {
    /// A line of the log.
    fn line(&mut self, line: &str) {
        self.text.push_str(&text::no_commands(format!("{line}\n")));
    }

    /// An annotation; `false` where GitHub would not show it any more.
    fn annotation(
        &mut self,
        level: &'static str,
        title: &str,
        file: &str,
        at: Option<Position>,
        message: &str,
    ) -> bool {
        let shown = self.shown.entry(level).or_default();
        if *shown == SHOWN {
            return false;
        }
        *shown += 1;
        let mut properties = Vec::new();
        // What came through standard input stands in no file of the repository.
        if file != "-" {
            properties.push(format!("file={}", property(&sanitised(file.strip_prefix("./").unwrap_or(file)))));
            properties.extend(at.map(|at| format!("line={},col={}", at.line, at.column)));
        }
        properties.push(format!("title={}", property(title)));
        let message: Vec<String> = message.lines().map(sanitised).collect();
        let command = format!("{level} {}::{}", properties.join(","), data(&message.join("\n")));
        // Writing to a String can't fail.
        let _ = writeln!(self.text, "::{}", command.replace("##[", "# #["));
        true
    }
}

/// As `@actions/core` escapes what stands after the second `::`.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// As `@actions/core` escapes the value of a property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_property_or_a_line_is_escaped() {
        assert_eq!(property("a,b:c%d\r\n"), "a%2Cb%3Ac%25d%0D%0A");
        assert_eq!(data("a,b:c%d\r\n"), "a,b:c%25d%0D%0A");
    }
}
