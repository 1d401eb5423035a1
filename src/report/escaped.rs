//! JSON in which no character is written raw that a terminal or a reader could be deceived by. To a parser it is the same.

use std::io::{self, Write};

use ringfence_core::text::deceives;
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// Compact, as serde writes it by itself, but for such characters.
struct Escaped;

impl Formatter for Escaped {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut plain = fragment.split_inclusive(deceives);
        plain.try_for_each(|part| match part.chars().next_back().filter(|last| deceives(*last)) {
            None => writer.write_all(part.as_bytes()),
            Some(last) => {
                writer.write_all(part.as_bytes().get(..part.len() - last.len_utf8()).unwrap_or_default())?;
                last.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(writer, "\\u{unit:04x}"))
            }
        })
    }
}

/// Writes a value.
///
/// # Errors
/// Where it can't be written.
pub(super) fn to_writer(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    Ok(value.serialize(&mut Serializer::with_formatter(out, Escaped))?)
}

/// Writes a value into a text.
///
/// # Errors
/// Where serde can't write it, which no report is known to bring about.
pub(super) fn to_string(value: &impl Serialize) -> io::Result<String> {
    let mut out = Vec::new();
    to_writer(&mut out, value)?;
    String::from_utf8(out).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_deceives_is_escaped_and_read_back_the_same() {
        let text = "a\u{9b}31m\u{7f}b\u{202e}c\u{e0041}\u{ffff}\"\\\n\u{1b}Grüße 👍";
        let written = to_string(&text).unwrap();
        assert!(!written.contains(deceives), "{written}");
        assert!(
            written.contains("\\u009b31m\\u007fb\\u202ec\\udb40\\udc41") && written.contains("Grüße 👍"),
            "{written}"
        );
        assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
    }
}
