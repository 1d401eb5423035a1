//! The sources of findings, read again for the lines that are shown.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::manifests::Position;

/// How many characters of a line are shown at most: minified JSON is one line.
const WIDTH: usize = 160;
/// How many of them come before the place, where the line is longer.
const BEFORE: usize = 60;

/// Gives the text of a file; `None` where it can't be had any more.
type Reader<'r> = dyn Fn(&str) -> Option<Arc<str>> + 'r;

/// Gives lines of files. The last file alone is kept, since findings come in the order of files.
pub struct Sources<'r> {
    read: Box<Reader<'r>>,
    last: RefCell<Option<Source>>,
}

struct Source {
    file: String,
    text: Option<Arc<str>>,
    /// Where each line begins, in bytes.
    lines: Vec<usize>,
}

/// A line as it is shown, and what of it is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The line, or a part of it.
    pub line: String,
    /// The bytes of it that are meant.
    pub span: Range<usize>,
}

impl fmt::Debug for Sources<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

impl<'r> Sources<'r> {
    /// Files as a function gives them.
    pub fn new(read: impl Fn(&str) -> Option<Arc<str>> + 'r) -> Self {
        Self { read: Box::new(read), last: RefCell::new(None) }
    }

    /// The text of a file.
    #[must_use]
    pub fn text(&self, file: &str) -> Option<Arc<str>> {
        self.with(file, |source| source.text.clone())
    }

    /// What is shown of the line at a place; `None` where there is no such line.
    #[must_use]
    pub fn excerpt(&self, file: &str, at: Position) -> Option<Excerpt> {
        let number = usize::try_from(at.line).ok()?.checked_sub(1)?;
        let column = usize::try_from(at.column).ok()?.saturating_sub(1);
        self.with(file, |source| {
            let text = source.text.as_deref()?;
            let line = text.get(*source.lines.get(number)?..)?.split('\n').next()?;
            Some(excerpt(line.trim_end_matches('\r'), column))
        })
    }

    fn with<T>(&self, file: &str, then: impl FnOnce(&Source) -> T) -> T {
        let mut last = self.last.borrow_mut();
        let source = match last.take() {
            Some(source) if source.file == file => source,
            _ => Source::new(file, (self.read)(file)),
        };
        then(last.insert(source))
    }
}

impl Source {
    fn new(file: &str, text: Option<Arc<str>>) -> Self {
        let breaks = text.iter().flat_map(|text| text.match_indices('\n')).map(|(at, _)| at + 1);
        Self { file: file.to_owned(), lines: std::iter::once(0).chain(breaks).collect(), text }
    }
}

/// A line with the field at a column (in characters, from 0) marked; cut around it where it is long.
fn excerpt(line: &str, column: usize) -> Excerpt {
    let from = line.char_indices().nth(column).map_or(line.len(), |(at, _)| at);
    let rest = line.get(from..).unwrap_or_default();
    // What is not closed within what is shown is not looked for in a line of megabytes.
    let reach = rest.char_indices().nth(WIDTH).map_or(rest.len(), |(at, _)| at);
    let length = field(rest.get(..reach).unwrap_or_default());
    let start = if column > WIDTH - BEFORE { column.saturating_sub(BEFORE) } else { 0 };
    let characters = || line.chars().skip(start);
    let long = characters().nth(WIDTH).is_some();
    let mut shown = String::new();
    if start > 0 {
        shown.push('…');
    }
    let before: String = characters().take(column - start).collect();
    shown.push_str(&before);
    let begin = shown.len();
    shown.extend(characters().skip(column - start).take(WIDTH.saturating_sub(column - start)));
    let end = (begin + length).min(shown.len());
    if long {
        shown.push('…');
    }
    Excerpt { line: shown, span: begin..end.max(begin) }
}

/// How many bytes a field takes on its line: a key with what stands beside it, an item, or a bracket with what is in it.
fn field(text: &str) -> usize {
    let first = token(text);
    let Some(rest) = text.get(first..).and_then(|rest| rest.strip_prefix(':')) else { return first };
    let value = rest.trim_start_matches(' ');
    // Anchors, aliases, tags and block scalars go on somewhere else.
    if value.len() == rest.len() || value.is_empty() || value.starts_with(['#', '&', '*', '!', '|', '>']) {
        return first;
    }
    match token(value) {
        // An open bracket that is closed on another line says nothing.
        1 if value.starts_with(['{', '[']) => first,
        length => first + 1 + (rest.len() - value.len()) + length,
    }
}

/// How many bytes the scalar or the brackets at the beginning of a text take; of brackets that stay open, the first.
pub(crate) fn token(text: &str) -> usize {
    match text.chars().next() {
        Some(quote @ ('"' | '\'')) => quoted(text, quote).unwrap_or(text.trim_end().len()),
        Some('{' | '[') => brackets(text).unwrap_or(1),
        _ => {
            let ends = |(at, c): &(usize, char)| {
                let after = text.get(at + c.len_utf8()..).unwrap_or_default();
                match c {
                    ':' => after.is_empty() || after.starts_with([' ', '\t']),
                    ',' | ']' | '}' => true,
                    ' ' => after.starts_with('#'),
                    _ => false,
                }
            };
            let end = text.char_indices().find(ends).map_or(text.len(), |(at, _)| at);
            text.get(..end).unwrap_or_default().trim_end().len()
        }
    }
}

/// Where a quoted scalar at the beginning of a text ends.
pub(crate) fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' if quote == '"' => {
                characters.next();
            }
            c if c == quote => {
                // In single quotes two of them are one.
                if quote == '\'' && characters.peek().is_some_and(|(_, next)| *next == '\'') {
                    characters.next();
                } else {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Where the bracket at the beginning of a text is closed.
pub(crate) fn brackets(text: &str) -> Option<usize> {
    let (mut depth, mut at, mut before) = (0_usize, 0, ' ');
    while let Some(c) = text.get(at..)?.chars().next() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.checked_sub(1)?,
            // A quote begins a scalar only where one can begin.
            '"' | '\'' if matches!(before, ' ' | '\n' | '{' | '[' | ',' | ':' | '\t') => {
                at += quoted(text.get(at..)?, c)? - 1;
            }
            '#' if matches!(before, ' ' | '\n' | '\t') => at += text.get(at..)?.find('\n')? - 1,
            _ => {}
        }
        at += c.len_utf8();
        if depth == 0 {
            return Some(at);
        }
        before = c;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(line: &str, column: usize) -> String {
        let Excerpt { line, span } = excerpt(line, column);
        line[span].to_owned()
    }

    #[test]
    fn a_key_is_marked_with_the_value_that_stands_beside_it() {
        assert_eq!(marked("  cidr: 0.0.0.0/0  # all", 2), "cidr: 0.0.0.0/0");
        assert_eq!(marked("  policyTypes: [Ingress, 'a]']  ", 2), "policyTypes: [Ingress, 'a]']");
        assert_eq!(marked("spec: {podSelector: {}, ingress: [{}]}", 24), "ingress: [{}]");
        assert_eq!(marked("  \"cidr\": \"0.0.0.0/0\",", 2), "\"cidr\": \"0.0.0.0/0\"");
        assert_eq!(marked("  ingress:", 2), "ingress");
        assert_eq!(marked("  ingress: [", 2), "ingress");
        assert_eq!(marked("  ingress: &rules", 2), "ingress");
        assert_eq!(marked("- Ingress # only", 2), "Ingress");
        assert_eq!(marked("- {a: b, c: 'it''s'}, d", 2), "{a: b, c: 'it''s'}");
        assert_eq!(marked("- 'a''b' c", 2), "'a''b'");
        assert_eq!(marked("- \"a\\\"b\"", 2), "\"a\\\"b\"");
        assert_eq!(marked("", 0), "");
        assert_eq!(marked("a", 9), "");
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let line = format!("{}{{\"é\": 1}}{}", "x".repeat(1_000_000), "y".repeat(1000));
        let shown = excerpt(&line, 1_000_000);
        assert!(shown.line.chars().count() <= WIDTH + 2, "{}", shown.line);
        assert_eq!(&shown.line[shown.span.clone()], "{\"é\": 1}");
        assert!(shown.line.starts_with("…x") && shown.line.ends_with("y…"), "{}", shown.line);
    }

    #[test]
    fn a_file_is_read_once_for_all_its_lines() {
        let reads = RefCell::new(0);
        let sources = Sources::new(|file| {
            *reads.borrow_mut() += 1;
            (file == "a").then(|| Arc::from("one: 1\r\ntwo: 2\n"))
        });
        let line = |file, line| sources.excerpt(file, Position { line, column: 1 }).map(|excerpt| excerpt.line);
        assert_eq!(line("a", 1).as_deref(), Some("one: 1"));
        assert_eq!(line("a", 2).as_deref(), Some("two: 2"));
        assert_eq!(line("a", 9), None);
        assert_eq!(line("a", 0), None);
        assert_eq!(*reads.borrow(), 1);
        assert_eq!(line("gone", 1), None);
    }
}
