//! Who can reach whom as a graph in the language of graphviz (<https://graphviz.org/doc/info/lang.html>).

use std::io::{self, Write};

use ringfence_core::policy::reach::Group;
use ringfence_core::text::sanitised;

use super::table::Classes;
use super::{Filter, Line, Naming, Parties};

/// A quoted string: within one a quote ends it, and a backslash begins an escape.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Lines of a label.
fn label(names: &[String]) -> String {
    let lines: Vec<String> = names.iter().map(|name| quoted(&sanitised(name))).collect();
    // Parts of a string are joined by `+`; a line break is an escape that must not be quoted again.
    lines.join(" + \"\\n\" + ")
}

/// Writes a graph: a node for those that mean the same, an edge with the ports.
///
/// # Errors
/// Where it can't be written.
pub fn matrix<'m, 'a: 'm>(
    out: &mut dyn Write,
    groups: impl Iterator<Item = Group<'m, 'a>>,
    filter: &Filter,
    naming: &Naming<'_>,
) -> io::Result<()> {
    writeln!(out, "digraph ringfence {{\n  rankdir=LR;\n  node [shape=box];")?;
    let mut classes = Classes::default();
    for Line { from, to, ports } in groups.flat_map(|group| filter.lines(&group)) {
        let mut ends = [0; 2];
        for (end, parties) in ends.iter_mut().zip([from, to]) {
            let shape = if matches!(parties, Parties::Outside(_)) { ", shape=ellipse" } else { "" };
            let label = label(&naming.names(&[&parties]));
            let (number, new) = classes.number(parties);
            if new {
                writeln!(out, "  n{number} [label={label}{shape}];")?;
            }
            *end = number;
        }
        let [from, to] = ends;
        writeln!(out, "  n{from} -> n{to} [label={}];", quoted(&super::ports(&ports)))?;
    }
    writeln!(out, "}}")
}
