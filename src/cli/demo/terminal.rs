//! The story on a terminal: colour only there, and not where `NO_COLOR` is set (<https://no-color.org>).

use std::ffi::OsStr;
use std::io::IsTerminal;

const WIDTH: usize = 100;

/// Prints the story, and remembers whether each line was what it must be.
pub(super) struct Terminal {
    colour: bool,
    lines: usize,
    wrong: usize,
}

impl Terminal {
    pub(super) fn new() -> Self {
        let colour = wants_colour(std::io::stdout().is_terminal(), std::env::var_os("NO_COLOR").as_deref());
        Self { colour, lines: 0, wrong: 0 }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A new scene.
    pub(super) fn scene(&self, title: &str) {
        println!("\n{}", self.paint("1", title));
    }

    /// What a user types.
    pub(super) fn command(&self, command: &str) {
        println!("  {} {}", self.paint("2", "$"), self.paint("36", command));
    }

    /// What came of it, and whether it is what it must be.
    pub(super) fn line(&mut self, right: bool, text: &str) {
        self.lines += 1;
        if !right {
            self.wrong += 1;
        }
        let mark = if right { self.paint("32", "ok ") } else { self.paint("31;1", "BAD") };
        let mut rest = wrapped(text).into_iter();
        println!("  {mark} {}", rest.next().unwrap_or_default());
        for line in rest {
            println!("      {line}");
        }
    }

    /// The end; whether every line was right.
    pub(super) fn finish(&self) -> bool {
        let (lines, wrong) = (self.lines, self.wrong);
        if wrong == 0 {
            println!("\n{}", self.paint("32;1", &format!("All {lines} lines are what they must be.")));
        } else {
            println!("\n{}", self.paint("31;1", &format!("{wrong} of {lines} lines are not what they must be.")));
        }
        wrong == 0
    }
}

/// An empty `NO_COLOR` counts as not set.
fn wants_colour(terminal: bool, no_color: Option<&OsStr>) -> bool {
    terminal && no_color.is_none_or(OsStr::is_empty)
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::wants_colour;

    #[test]
    fn colour_is_for_terminals_alone_and_not_where_no_color_is_set() {
        assert!(wants_colour(true, None));
        assert!(wants_colour(true, Some(OsStr::new(""))));
        assert!(!wants_colour(true, Some(OsStr::new("1"))));
        assert!(!wants_colour(false, None));
    }
}
