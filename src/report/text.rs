//! The report for people: a paragraph per namespace, and each finding as rustc prints its own.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write};
use std::ops::Range;

use annotate_snippets::renderer::DEFAULT_LINE_NUM_STYLE;
use annotate_snippets::{AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet};
use ringfence_core::index::State;
use ringfence_core::policy::coverage::Coverage;
use ringfence_core::policy::lint::Severity;
use ringfence_core::policy::{Direction, explain};
use ringfence_core::text::sanitised;

use super::source::Excerpt;
use super::{Judged, Placed, Report, Sources};

/// Up to how many namespaces each gets its paragraph. Of more, only those do that do not pass, and these up to as many;
/// what comes then has a line.
const NAMESPACES: usize = 40;
/// How many findings of a lint are shown in full; what comes then has a line.
const FINDINGS: usize = 10;
/// Lines are cut before they are shown, so nothing here is to be.
const TERM_WIDTH: usize = 400;

/// Writes the report, with the escape sequences of colours where it is `styled`.
#[must_use]
pub fn render(report: &Report, sources: &Sources<'_>, styled: bool) -> String {
    let mut text = Text(String::new());
    namespaces(report, &mut text);
    let mut shown: HashMap<&str, usize> = HashMap::new();
    for placed in &report.findings {
        let before = shown.entry(placed.finding.lint.id).or_default();
        let first = *before == 0;
        *before += 1;
        if *before <= FINDINGS {
            text.line(format_args!("\n{}", full(placed, sources, styled, first)));
        } else {
            if *before == FINDINGS + 1 {
                text.line(format_args!("\nmore of {}:", placed.finding.lint.id));
            }
            text.line(format_args!("{}", short(placed)));
            if placed.finding.is_last_of_more {
                let object = sanitised(&placed.object());
                text.line(format_args!("and more of {} in {object}, which are left out", placed.finding.lint.id));
            }
        }
    }
    text.line(format_args!(""));
    if let Some(count) = report.count_of_findings() {
        text.line(format_args!("{count}"));
    }
    text.line(format_args!("{}", report.count_of_namespaces()));
    no_commands(text.0)
}

/// A text in which GitHub's runner finds no command: it looks at the lines of every step's output for `::` at their
/// beginning, and for an older form anywhere.
pub(super) fn no_commands(text: String) -> String {
    if !text.contains("##[") && !text.lines().any(|line| line.trim_start().starts_with("::")) {
        return text;
    }
    let mut kept = String::with_capacity(text.len());
    for line in text.lines() {
        let (indent, rest) = line.split_at(line.len() - line.trim_start().len());
        kept.push_str(indent);
        let rest = rest.strip_prefix("::").map_or_else(|| rest.to_owned(), |rest| format!(": :{rest}"));
        kept.push_str(&rest.replace("##[", "# #["));
        kept.push('\n');
    }
    kept
}

/// A finding on one line.
pub(super) fn short(placed: &Placed) -> String {
    let Placed { finding, file, at, .. } = placed;
    let place = if at.line == 0 { String::new() } else { format!("{file}:{at}: ") };
    sanitised(&format!("{place}{}[{}]: {}", finding.severity, finding.lint.id, finding.message))
}

struct Text(String);

impl Text {
    fn line(&mut self, line: fmt::Arguments<'_>) {
        // Writing to a String can't fail.
        let _ = writeln!(self.0, "{line}");
    }
}

fn namespaces(report: &Report, text: &mut Text) {
    let many = report.namespaces.len() > NAMESPACES;
    let mut in_full = 0;
    let mut left_out: BTreeMap<State, usize> = BTreeMap::new();
    for namespace in &report.namespaces {
        // Manifests may be a stranger's, and what they say must not act on the terminal or the log of a CI system.
        let (name, profile) = (sanitised(&namespace.name), sanitised(&namespace.profile));
        if many && namespace.passes() {
            *left_out.entry(namespace.state).or_default() += 1;
            continue;
        }
        let accepted = if namespace.accepted { "  accepted as it is" } else { "" };
        text.line(format_args!("{name}  {}  (profile {profile}){accepted}", state(namespace)));
        in_full += 1;
        if namespace.state != State::Excluded && (!many || in_full <= NAMESPACES) {
            what_its_policies_do(namespace, text);
        }
    }
    for (state, count) in left_out {
        text.line(format_args!("and {count} namespaces that are {}", state.as_str()));
    }
}

fn what_its_policies_do(namespace: &Judged, text: &mut Text) {
    for direction in Direction::BOTH {
        let side = namespace.verdict.side(direction);
        match (&side.coverage, explain::gap(direction, &side.coverage)) {
            (Coverage::Complete, _) | (_, None) => text.line(format_args!("  {direction}: every pod is isolated")),
            (_, Some(gap)) => text.line(format_args!("  {direction}: NOT ISOLATED: {}", sanitised(&gap))),
        }
        for hole in &side.holes {
            text.line(format_args!("  {}", sanitised(&explain::hole(direction, hole))));
        }
    }
    if !namespace.host_network.is_empty() {
        let pods = sanitised(&explain::names(&namespace.host_network));
        text.line(format_args!("  hostNetwork: NetworkPolicies do not hold back {pods} in most CNIs"));
    }
    if let Some(why) = namespace.pending_for() {
        text.line(format_args!("  pending: {}", sanitised(&why)));
    }
    if namespace.verdict.capped {
        text.line(format_args!(
            "  capped: there are too many selectors, peers or ports to judge exactly, so the worse was assumed"
        ));
    }
}

/// What is to be done something about is loud.
fn state(namespace: &Judged) -> String {
    let state = namespace.state.as_str();
    if namespace.passes() { state.to_owned() } else { state.to_uppercase() }
}

fn full(placed: &Placed, sources: &Sources<'_>, styled: bool, first: bool) -> String {
    let Placed { finding, file, at, .. } = placed;
    let level = match finding.severity {
        Severity::Error | Severity::High => Level::ERROR,
        Severity::Medium | Severity::Warning => Level::WARNING,
        Severity::Info => Level::NOTE,
    };
    let title = level.with_name(finding.severity.as_str()).primary_title(sanitised(&finding.message));
    let mut elements: Vec<Element<'_>> = Vec::new();
    // The place stands above the line. The renderer would count the column of what is left of a line that was cut.
    let mut above = None;
    if let (Ok(line), Ok(column)) = (usize::try_from(at.line), usize::try_from(at.column))
        && line > 0
    {
        if let Some(excerpt) = sources.excerpt(file, *at) {
            let label = if finding.path.is_empty() { placed.object() } else { finding.path.clone() };
            let (shown, span) = visible(&excerpt);
            let annotation = AnnotationKind::Primary.span(span).label(sanitised(&label));
            elements.push(Snippet::source(shown).line_start(line).annotation(annotation).into());
            let (arrow, width) = (DEFAULT_LINE_NUM_STYLE, line.to_string().len());
            let place = format!("{}:{at}", sanitised(file));
            above = Some(if styled {
                format!("{:width$}{arrow}--> {arrow:#}{place}", "")
            } else {
                format!("{:width$}--> {place}", "")
            });
        } else {
            elements.push(Origin::path(sanitised(file)).line(line).char_column(column).into());
        }
    }
    // What is true of every finding of a lint is said once.
    if first {
        elements.push(Level::NOTE.message(finding.lint.effect).into());
    }
    let mut help = sanitised(&finding.help);
    for line in placed.snippet() {
        help.push('\n');
        help.push_str(&line);
    }
    elements.push(Level::HELP.message(help).into());
    let group: Group<'_> = title.id(finding.lint.id).elements(elements);
    let mut rendered = renderer(styled).render(&[group]);
    if let (Some(above), Some(end)) = (above, rendered.find('\n')) {
        rendered.insert_str(end + 1, &(above + "\n"));
    }
    rendered
}

/// A line without characters that deceive. Tabs stay: whoever prints the line widens them, and moves the caret with them.
fn visible(excerpt: &Excerpt) -> (String, Range<usize>) {
    let clean = |text: &str| text.split('\t').map(sanitised).collect::<Vec<_>>().join("\t");
    let part = |range: Range<usize>| clean(excerpt.line.get(range).unwrap_or_default());
    let Range { start, end } = excerpt.span;
    let (before, meant, after) = (part(0..start), part(start..end), part(end..excerpt.line.len()));
    let span = before.len()..before.len() + meant.len();
    (before + &meant + &after, span)
}

fn renderer(styled: bool) -> Renderer {
    if styled { Renderer::styled() } else { Renderer::plain() }.term_width(TERM_WIDTH)
}
