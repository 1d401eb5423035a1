//! The text of a source: its encoding, its lines, and the documents in it.

use std::ops::Range;

use super::node::Position;

/// How large a source may be, in bytes. 10,000 manifests are about 5 MB.
pub(super) const SIZE: u64 = 64 << 20;

type Wrong = (Option<Position>, String);

/// The text of bytes in UTF-8, or in UTF-16 if a mark says so; without the mark.
///
/// # Errors
/// What is wrong and where, for any other encoding.
pub(super) fn decode(bytes: Vec<u8>) -> Result<String, Wrong> {
    match bytes.as_slice() {
        [0xff, 0xfe, rest @ ..] => return utf_16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => return utf_16(rest, u16::from_be_bytes),
        _ => {}
    }
    // Text never holds one, and UTF-16 without a mark does.
    if let Some(zero) = bytes.iter().position(|byte| *byte == 0) {
        let before = String::from_utf8_lossy(bytes.get(..zero).unwrap_or_default());
        return wrong(&before, "a byte of zero: this is no text, or UTF-16 without a mark; write it in UTF-8");
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)),
        Err(error) => {
            let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
            wrong(&String::from_utf8_lossy(valid), "not UTF-8; write the file anew in that encoding")
        }
    }
}

fn utf_16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, Wrong> {
    let units = bytes.chunks(2).map(|pair| match pair {
        [first, second] => unit([*first, *second]),
        // Half a unit is no text, as half of a pair of units is none.
        _ => 0xd800,
    });
    let mut text = String::with_capacity(bytes.len() / 2);
    for char in char::decode_utf16(units) {
        match char {
            Ok(char) if char != '\0' => text.push(char),
            _ => return wrong(&text, "not UTF-16, as its mark says; write it anew in UTF-8"),
        }
    }
    Ok(text)
}

/// Something that is wrong after a text.
fn wrong(before: &str, message: &str) -> Result<String, Wrong> {
    Err((Some(end(before)), message.to_owned()))
}

/// The place after a text.
fn end(text: &str) -> Position {
    let mut at = Position { line: 1, column: 1 };
    advance(&mut at, text);
    at
}

/// Moves a place on, over a text. Lines end as they do in YAML: with a line feed, a carriage return, or both.
pub(super) fn advance(at: &mut Position, text: &str) {
    let breaks = text.bytes().filter(|byte| *byte == b'\n').count();
    let (breaks, last) = if text.contains('\r') {
        let alone =
            text.bytes().zip(text.bytes().skip(1).chain([b' '])).filter(|pair| pair.0 == b'\r' && pair.1 != b'\n');
        (breaks + alone.count(), text.rfind(['\n', '\r']))
    } else {
        (breaks, text.rfind('\n'))
    };
    at.line += breaks as u64;
    let (begun, rest) = match last {
        Some(last) => (1, text.get(last + 1..).unwrap_or_default()),
        None => (at.column, text),
    };
    at.column = begun + rest.chars().count() as u64;
}

/// The lines of a text with the line break that ends them.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let bytes = rest.as_bytes();
        let end = match bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            Some(at) if bytes.get(at..at + 2) == Some(b"\r\n") => at + 2,
            Some(at) => at + 1,
            None => bytes.len(),
        };
        let (line, more) = rest.split_at(end);
        rest = more;
        Some(line)
    })
}

/// A document of a source: where it is, and the place where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) range: Range<usize>,
    pub(super) at: Position,
}

/// Parts a source at its document markers. A line that begins with `---` or `...` is one wherever it stands, even in a
/// block or a quoted text (YAML 1.2, 9.1.2), so what is wrong in one document can't reach into another.
pub(super) fn documents(text: &str) -> impl Iterator<Item = Piece> {
    let mut lines = lines(text);
    let (mut offset, mut line) = (0, 1);
    let mut begun = Piece { range: 0..0, at: Position { line: 1, column: 1 } };
    // Whether comments and directives are all there is yet.
    let mut prologue = true;
    std::iter::from_fn(move || {
        for text in lines.by_ref() {
            // A mark may begin every document, as files that were put together have it.
            let bare = text.strip_prefix('\u{feff}').unwrap_or(text);
            let (opens, closes) = (is_marker(bare, "---"), is_marker(bare, "..."));
            let start = offset;
            offset += text.len();
            line += 1;
            if opens && !prologue {
                let done = Piece { range: begun.range.start..start, at: begun.at };
                begun = Piece { range: start..start, at: Position { line: line - 1, column: 1 } };
                return Some(done);
            }
            let rest = bare.trim_ascii();
            prologue &= !opens && (rest.is_empty() || rest.starts_with(['#', '%']));
            if closes {
                let done = Piece { range: begun.range.start..offset, at: begun.at };
                begun = Piece { range: offset..offset, at: Position { line, column: 1 } };
                prologue = true;
                return Some(done);
            }
        }
        let done = Piece { range: begun.range.start..offset, at: begun.at };
        begun.range = offset..offset;
        (!done.range.is_empty()).then_some(done)
    })
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\n', '\r']))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail like this")]

    use super::*;

    fn parts(text: &str) -> Vec<(&str, u64)> {
        documents(text).map(|piece| (text.get(piece.range).unwrap(), piece.at.line)).collect()
    }

    #[test]
    fn documents_are_parted_at_markers_that_begin_a_line() {
        assert_eq!(parts("a\n---\nb\n"), [("a\n", 1), ("---\nb\n", 2)]);
        assert_eq!(parts("---\na\n--- b\r\n---\tc"), [("---\na\n", 1), ("--- b\r\n", 3), ("---\tc", 4)]);
        assert_eq!(parts("a\n...\nb\n...\n"), [("a\n...\n", 1), ("b\n...\n", 3)]);
        assert_eq!(parts("a\r---\rb"), [("a\r", 1), ("---\rb", 2)], "a carriage return ends a line too");
        assert_eq!(parts("a\n\u{feff}---\nb"), [("a\n", 1), ("\u{feff}---\nb", 2)]);
        assert_eq!(parts(""), []);
    }

    #[test]
    fn what_only_looks_like_a_marker_parts_nothing() {
        for text in ["a: |\n  ---\n  b\n", "a\n---b\n", "a\n--\n", "# c\n%YAML 1.2\n---\na\n", "a\n....\n"] {
            assert_eq!(parts(text), [(text, 1)]);
        }
    }

    #[test]
    fn lines_end_with_a_line_feed_a_carriage_return_or_both() {
        let all: Vec<&str> = lines("a\r\nb\rc\n\nd").collect();
        assert_eq!(all, ["a\r\n", "b\r", "c\n", "\n", "d"]);
        assert_eq!(end("a\r\nb\rc\n\ndé"), Position { line: 5, column: 3 });
    }
}
