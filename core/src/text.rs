//! Text from outside, made fit to be shown.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_invisible_or_turns_the_writing_is_left() {
        let text = "a\u{202e}b\u{2066}c\u{200b}d\u{feff}e\u{e0041}f\u{1b}[31mg\u{85}h\u{ad}i\u{61c}j";
        assert_eq!(sanitised(text), "a b c d e f [31mg h i j");
        assert_eq!(sanitised("a\u{fffe}b\u{ffff}c\u{fdd0}d\u{1fffe}e\u{10ffff}f\u{fffd}"), "a b c d e f\u{fffd}");
        assert_eq!(sanitised("Grüße, 世界, 👍"), "Grüße, 世界, 👍");
    }
}
