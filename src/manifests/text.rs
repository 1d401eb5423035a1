//! The text of a source: its encoding, its lines, and the documents in it.

use std::ops::Range;

use super::node::Position;

/// How large a source may be, in bytes. 10,000 manifests are about 5 MB.
pub(super) const SIZE: u64 = 64 << 20;

type Wrong = (Option<Position>, String);

/// A text, and what is wrong with it where it holds a NUL.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    pub(super) text: String,
    /// What each NUL stands for, where there is one: bytes that are no text. A document without one is whole.
    pub(super) wrong: Option<&'static str>,
}

/// What stands for bytes that are no text: a character that no YAML and no JSON holds.
pub(super) const NO_TEXT: char = '\0';

/// The text of bytes in UTF-8, without the mark that may begin it. What is no UTF-8 is as one NUL.
///
/// # Errors
/// What is wrong and where, for what a mark says is UTF-16: that was never UTF-8, and no part of it can be read.
pub(super) fn decode(bytes: Vec<u8>) -> Result<Decoded, Wrong> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let message = "this is UTF-16, which is not read; write it in UTF-8";
        return Err((Some(Position { line: 1, column: 1 }), message.to_owned()));
    }
    // Text never holds one, and UTF-16 without a mark does.
    let zero = bytes.contains(&0);
    let wrong = zero.then_some("a byte of zero: this is no text, or UTF-16 without a mark; write it in UTF-8");
    let (text, wrong) = match String::from_utf8(bytes) {
        Ok(text) => (text, wrong),
        Err(error) => {
            let bytes = error.as_bytes();
            let mut text = String::with_capacity(bytes.len());
            for chunk in bytes.utf8_chunks() {
                text.push_str(chunk.valid());
                text.extend((!chunk.invalid().is_empty()).then_some(NO_TEXT));
            }
            (text, wrong.or(Some("not UTF-8; write the file anew in that encoding")))
        }
    };
    Ok(Decoded { text: text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text), wrong })
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
    /// Where kubectl begins to drop it without a word, and why.
    pub(super) unread: Option<(Position, &'static str)>,
}

/// kubectl parts a stream at lines of `---` that end with line feeds, and takes the first YAML document of each part
/// (`k8s.io/apimachinery/pkg/util/yaml`, `YAMLReader`; tried with 1.32).
const AFTER_THE_END: &str =
    "kubectl reads only what stands before the line ... above this, and drops the rest; write a line --- before it";
const AFTER_A_RETURN: &str = "kubectl reads only what stands before this --- and drops the rest, since a carriage return \
                              alone ends no line for it; write --- on a line that begins and ends with a line feed";

/// Parts a source at its document markers. A line that begins with `---` or `...` is one wherever it stands, even in a
/// block or a quoted text (YAML 1.2, 9.1.2), so what is wrong in one document can't reach into another.
pub(super) fn documents(text: &str) -> impl Iterator<Item = Piece> {
    let mut lines = lines(text);
    let (mut offset, mut line) = (0, 1);
    let begins =
        |start: usize, line: u64| Piece { range: start..start, at: Position { line, column: 1 }, unread: None };
    let mut begun = begins(0, 1);
    let ends = |begun: Piece, end: usize| Piece { range: begun.range.start..end, ..begun };
    // Whether comments and directives are all there is yet, and whether that comes after the end of another document.
    let (mut prologue, mut after_end) = (true, false);
    // Whether the line before ends with a carriage return alone.
    let mut returned = false;
    std::iter::from_fn(move || {
        for text in lines.by_ref() {
            // A mark may begin every document, as files that were put together have it.
            let bare = text.strip_prefix('\u{feff}').unwrap_or(text);
            let (opens, closes) = (is_marker(bare, "---"), is_marker(bare, "..."));
            let (start, at) = (offset, Position { line, column: 1 });
            offset += text.len();
            line += 1;
            let returns = text.ends_with('\r');
            let unread = (returned || returns).then_some((at, AFTER_A_RETURN));
            returned = returns;
            if opens && !prologue {
                let done = ends(begun.clone(), start);
                begun = Piece { unread, ..begins(start, at.line) };
                after_end = false;
                return Some(done);
            }
            let rest = bare.trim_ascii();
            let goes_on = prologue && !opens && (rest.is_empty() || rest.starts_with(['#', '%']));
            let was_prologue = std::mem::replace(&mut prologue, goes_on);
            if after_end && was_prologue && !prologue && !closes {
                begun.unread = if opens { unread } else { Some((at, AFTER_THE_END)) };
            }
            if closes {
                let done = ends(begun.clone(), offset);
                begun = begins(offset, line);
                (prologue, after_end) = (true, true);
                return Some(done);
            }
        }
        let done = ends(begun.clone(), offset);
        begun = begins(offset, line);
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
    fn what_kubectl_drops_is_known_with_its_line() {
        let dropped = |text: &str| -> Vec<u64> {
            documents(text).filter_map(|piece| piece.unread).map(|(at, _)| at.line).collect()
        };
        assert_eq!(dropped("a\n...\n# c\nb\n...\nc\n"), [4, 6]);
        assert_eq!(dropped("a\r---\nb\n---\nc"), [2]);
        assert_eq!(dropped("a\n---\rb"), [2]);
        assert_eq!(dropped("a\n...\n# c\r---\nb"), [4]);
        for text in
            ["a\n...\n", "a\n...\n# c\n...\n---\nb", "a\n...\r\n%YAML 1.2\r\n---\r\nb", "# c\r---\nb", "a # c\rb"]
        {
            assert!(dropped(text).is_empty(), "{text:?}");
        }
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
        let mut end = Position { line: 1, column: 1 };
        advance(&mut end, "a\r\nb\rc\n\ndé");
        assert_eq!(end, Position { line: 5, column: 3 });
    }
}
