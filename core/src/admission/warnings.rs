//! Warnings as the API server passes them on: at most 120 characters each by good manners, 4,096 in total before it
//! cuts, and one with a newline dropped whole (tried on 1.36).

use crate::text::sanitised;

const LINE: usize = 120;
const TOTAL: usize = 4096;

/// Text without control characters, of a length that a terminal, a log and an audit event can take: a policy of a
/// megabyte can be wrong in ten thousand places.
#[must_use]
pub fn cut(text: &str) -> String {
    let mut characters = text.chars();
    let mut kept = sanitised(&characters.by_ref().take(TOTAL).collect::<String>());
    if characters.next().is_some() {
        kept.push_str(" (there is more, which does not fit)");
    }
    kept
}

/// Breaks warnings into lines of at most 120 characters, at spaces where there are any, and stops with a note before
/// the total is too much.
#[must_use]
pub fn lines(warnings: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut total = 0;
    for warning in warnings {
        for line in wrapped(&sanitised(warning)) {
            total += line.len();
            if total > TOTAL - LINE {
                lines.push("there is more, which does not fit".to_owned());
                return lines;
            }
            lines.push(line);
        }
    }
    lines
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        for piece in letters.chunks(LINE - 2) {
            let first = length == 0;
            if !first && length + 1 + piece.len() > LINE {
                lines.push(std::mem::take(&mut line));
                line.push_str("  ");
                length = 2;
            } else if !first {
                line.push(' ');
                length += 1;
            }
            line.extend(piece);
            length += piece.len();
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_short_and_lose_nothing_that_fits() {
        let text = "word ".repeat(60);
        let lines = lines(&[text]);
        assert!(lines.iter().all(|line| line.chars().count() <= LINE), "{lines:?}");
        assert_eq!(lines.iter().flat_map(|line| line.split_whitespace()).count(), 60);
    }

    #[test]
    fn a_message_is_cut_and_says_so() {
        assert_eq!(cut("a\nb"), "a b");
        let long = cut(&"é".repeat(10_000));
        assert!(long.chars().count() < TOTAL + LINE && long.ends_with("(there is more, which does not fit)"));
    }

    #[test]
    fn a_newline_and_five_kilobytes_are_sanitised_and_cut() {
        let lines = lines(&[format!("a\nb\r{}", "x".repeat(5000)), "second".to_owned()]);
        assert!(lines.iter().all(|line| !line.contains(char::is_control)));
        assert!(lines.iter().map(String::len).sum::<usize>() <= TOTAL);
        assert!(lines.last().is_some_and(|line| line.contains("more")));
    }
}
