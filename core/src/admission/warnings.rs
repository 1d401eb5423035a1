//! Warnings as the API server passes them on: at most 120 characters each by good manners, 4,096 in total before it
//! cuts, and one with a newline dropped whole (tried on 1.36).

const LINE: usize = 120;
const TOTAL: usize = 4096;

/// Whether a character could make a log, a terminal or a reader see another text than is written: control characters and
/// line breaks, what is invisible or turns the direction of writing (most of Unicode's category Cf), and noncharacters, of
/// which XML can't hold U+FFFE and U+FFFF.
#[must_use]
pub fn deceives(c: char) -> bool {
    c.is_control()
        || u32::from(c) & 0xfffe == 0xfffe
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{fdd0}'..='\u{fdef}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Text without characters that deceive: control characters, which could forge a line of a log or of a terminal, and those
/// that are invisible or turn the direction of writing.
#[must_use]
pub fn sanitised(text: &str) -> String {
    text.chars().map(|c| if deceives(c) { ' ' } else { c }).collect()
}

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
    fn nothing_that_is_invisible_or_turns_the_writing_is_left() {
        let text = "a\u{202e}b\u{2066}c\u{200b}d\u{feff}e\u{e0041}f\u{1b}[31mg\u{85}h\u{ad}i\u{61c}j";
        assert_eq!(sanitised(text), "a b c d e f [31mg h i j");
        assert_eq!(sanitised("a\u{fffe}b\u{ffff}c\u{fdd0}d\u{1fffe}e\u{10ffff}f\u{fffd}"), "a b c d e f\u{fffd}");
        assert_eq!(sanitised("Grüße, 世界, 👍"), "Grüße, 世界, 👍");
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
