//! Where values stand in a text, by the place of their key or their first character.

use serde_json::Value;

use crate::manifests::{Object, Position};
use crate::report::source::{brackets, token};

/// Why an edit is left out.
pub(super) type Why = &'static str;

pub(super) const FOREIGN: Why = "it is written with anchors, tags or block scalars, which are left alone";

/// An object in its text.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) text: &'a str,
    pub(super) object: &'a Object,
    pub(super) value: &'a Value,
}

impl<'a> Place<'a> {
    /// The value under a pointer's tokens.
    pub(super) fn get(&self, tokens: &[String]) -> Option<&'a Value> {
        tokens.iter().try_fold(self.value, |value, token| match value {
            Value::Object(map) => map.get(token),
            Value::Array(items) => items.get(token.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// Where an entry of a map (its key) or an item of a list begins, in bytes.
    pub(super) fn entry(&self, tokens: &[String]) -> Result<usize, Why> {
        let mut path = String::new();
        for (depth, token) in tokens.iter().enumerate() {
            let parent = self.get(tokens.get(..depth).unwrap_or_default()).ok_or("the field is not there any more")?;
            if parent.is_array() || token.contains(['.', '[']) {
                path.extend(["[", token, "]"]);
            } else {
                path.push_str(if path.is_empty() { "" } else { "." });
                path.push_str(token);
            }
        }
        offset(self.text, self.object.position_of(&path)).ok_or("its place is not known")
    }

    /// Where a value begins, in bytes.
    pub(super) fn start(&self, tokens: &[String]) -> Result<usize, Why> {
        let entry = self.entry(tokens)?;
        let is_item = match tokens.split_last() {
            None => true,
            Some((_, parent)) => self.get(parent).is_some_and(Value::is_array),
        };
        let start = if is_item { entry } else { self.after_key(entry, tokens)? };
        match self.text.get(start..).and_then(|rest| rest.chars().next()) {
            None | Some('&' | '*' | '!' | '|' | '>' | '?') => Err(FOREIGN),
            // A list begins with its first dash, and that is where an item was looked for.
            Some(_) => Ok(start),
        }
    }

    /// Where the value of the entry at a place begins.
    fn after_key(&self, entry: usize, tokens: &[String]) -> Result<usize, Why> {
        let colon = self.colon(entry, tokens)?;
        let mut at = colon + 1;
        for line in self.text.get(at..).unwrap_or_default().split_inclusive('\n') {
            let bare = line.trim_start();
            if !bare.is_empty() && !bare.starts_with('#') {
                return Ok(at + line.len() - bare.len());
            }
            at += line.len();
        }
        Err(FOREIGN)
    }

    /// Where the colon behind a key is.
    pub(super) fn colon(&self, entry: usize, tokens: &[String]) -> Result<usize, Why> {
        let rest = self.text.get(entry..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        let key = token(rest);
        let name = rest.get(..key).unwrap_or_default().trim_matches(['"', '\'']);
        let gap = rest.get(key..).map_or(0, |rest| rest.len() - rest.trim_start_matches(' ').len());
        let is_it = tokens.last().is_some_and(|token| token == name)
            && rest.get(key + gap..).is_some_and(|rest| rest.starts_with(':'));
        if is_it { Ok(entry + key + gap) } else { Err(FOREIGN) }
    }

    /// Whether a value stands inside of brackets: it, or what it is in, begins with one.
    pub(super) fn is_flow(&self, tokens: &[String]) -> Result<bool, Why> {
        for depth in 0..=tokens.len() {
            let start = self.start(tokens.get(..depth).unwrap_or_default())?;
            if self.text.get(start..).is_some_and(|rest| rest.starts_with(['{', '['])) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Where the line begins that a place is on, and how many columns before the place.
    pub(super) fn line(&self, at: usize) -> (usize, usize) {
        let begin = self.text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1);
        (begin, at - begin)
    }

    /// Where a block ends whose first line holds `at`: with the last line that goes on with what `belongs` there, told by
    /// its indentation and its text. Comments and blank lines behind it stay outside.
    pub(super) fn block_end(&self, at: usize, belongs: impl Fn(usize, &str) -> bool) -> usize {
        let (begin, _) = self.line(at);
        let (mut position, mut end) = (begin, begin);
        for (number, line) in self.text.get(begin..).unwrap_or_default().split_inclusive('\n').enumerate() {
            let bare = line.trim_start_matches(' ');
            let (indent, bare) = (line.len() - bare.len(), bare.trim_end());
            let blank = bare.is_empty() || bare.starts_with('#');
            let marker = indent == 0 && (bare.starts_with("---") || bare == "...");
            if number > 0 && !blank && (marker || !belongs(indent, bare)) {
                break;
            }
            position += line.len();
            if number == 0 || !blank {
                end = position;
            }
        }
        end
    }

    /// Where the value ends that begins at a place and is no block.
    pub(super) fn inline_end(&self, start: usize) -> Result<usize, Why> {
        let rest = self.text.get(start..).unwrap_or_default();
        if rest.starts_with(['{', '[']) {
            return brackets(rest).map(|length| start + length).ok_or(FOREIGN);
        }
        match token(rest.lines().next().unwrap_or_default()) {
            0 => Err(FOREIGN),
            length => Ok(start + length),
        }
    }
}

/// Whether a line is an item of a list.
pub(super) fn is_item(bare: &str) -> bool {
    bare == "-" || bare.starts_with("- ")
}

/// A place as bytes.
fn offset(text: &str, at: Position) -> Option<usize> {
    let line = usize::try_from(at.line).ok()?.checked_sub(1)?;
    let begin = match line {
        0 => 0,
        _ => text.match_indices('\n').nth(line - 1)?.0 + 1,
    };
    let column = usize::try_from(at.column).ok()?.checked_sub(1)?;
    let rest = text.get(begin..)?;
    Some(begin + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at))
}
