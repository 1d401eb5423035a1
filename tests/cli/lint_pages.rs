//! The pages of the lints, and `ringfence explain`. `UPDATE_PAGES=1 cargo test --test cli lint_pages` writes the pages anew.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use ringfence::report::explain;
use ringfence_core::policy::lint::{Lint, catalogue};

use crate::lints::{fixtures, said};
use crate::run::ringfence;

/// A fixture as an example: without what only this test reads.
fn example(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("# finds: ") && !line.starts_with("# check: "));
    indented(lines)
}

/// Lines as a block of code.
fn indented<'t>(lines: impl Iterator<Item = &'t str>) -> String {
    lines.flat_map(|line| if line.is_empty() { ["", "", "\n"] } else { ["    ", line, "\n"] }).collect()
}

/// The shortest fixture of a kind, which shows the least besides.
fn shortest(id: &str, kind: &str) -> PathBuf {
    let of_kind = |file: &PathBuf| file.file_name().unwrap().to_str().unwrap().starts_with(kind);
    let length = |file: &PathBuf| std::fs::metadata(file).unwrap().len();
    let shortest = fixtures(id).into_iter().filter(of_kind).min_by_key(length);
    shortest.unwrap_or_else(|| panic!("{id}: no fixture that {kind}"))
}

/// The page of a lint, with what `check` really says of its shortest fixture.
fn page(lint: &Lint) -> String {
    let failing = shortest(lint.id, "fails");
    let text = std::fs::read_to_string(&failing).unwrap();
    let flags: Vec<&str> = said(&text, "check").collect();
    let mut arguments = vec!["check", failing.to_str().unwrap(), "-o", "json"];
    arguments.extend(flags.iter().flat_map(|flags| flags.split_whitespace()));
    let report = ringfence(&arguments).json();
    let finding = report["findings"].as_array().unwrap().iter().find(|finding| finding["id"] == lint.id);
    let finding = finding.unwrap_or_else(|| panic!("{} is not found in {}", lint.id, failing.display()));
    let told = |field: &str| finding[field].as_str().unwrap_or_default().to_owned();
    let place = if told("path").is_empty() { String::new() } else { format!(" (`{}`)", told("path")) };
    let snippet = match told("snippet") {
        none if none.is_empty() => String::new(),
        yaml => format!("\n{}", indented(yaml.lines())),
    };
    let flags = if flags.is_empty() { String::new() } else { format!(" {}", flags.join(" ")) };
    format!(
        "{}\n## An example\n\n{}\nHere `ringfence check{flags}` says{place}:\n\n> {}\n>\n> help: {}\n{snippet}\n## As it should \
         be\n\n{}\n{}",
        explain::lint(lint),
        example(&failing),
        told("message"),
        told("fix"),
        example(&shortest(lint.id, "passes")),
        explain::switching_off(lint)
    )
}

#[test]
fn every_lint_has_its_page_in_the_words_of_the_code() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/lints");
    let mut index = "# Lints\n\nWhat `ringfence check` finds, and the webhook warns of: mistakes that the API accepts. \
                     Severities, from the least: info, warning, medium, high, error.\n\n| lint | severity | what is found |\n|---|---|---|\n"
        .to_owned();
    let mut pages = Vec::new();
    for lint in catalogue::ALL {
        let Lint { id, severity, summary, .. } = lint;
        writeln!(index, "| [{id}]({id}.md) | {severity} | {summary} |").unwrap();
        pages.push((format!("{id}.md"), page(lint)));
    }
    pages.push(("README.md".to_owned(), index));
    if std::env::var_os("UPDATE_PAGES").is_some() {
        std::fs::create_dir_all(&directory).unwrap();
        for (name, text) in &pages {
            std::fs::write(directory.join(name), text).unwrap();
        }
    }
    for (name, text) in &pages {
        let written = std::fs::read_to_string(directory.join(name)).unwrap_or_default();
        assert!(
            written == *text,
            "docs/lints/{name} is not what the code says: UPDATE_PAGES=1 cargo test --test cli lint_pages"
        );
    }
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), pages.len(), "a page of no lint");
}

#[test]
fn explain_says_what_a_lint_is_about_and_lists_them_all() {
    let ran = ringfence(&["explain", "and-or"]);
    assert_eq!(ran.code, 0);
    assert!(ran.stdout.starts_with("# and-or\n\n**warning**: "), "{}", ran.stdout);
    assert!(ran.stdout.contains("ringfence.dev/ignore-and-or: "), "{}", ran.stdout);
    let all = ringfence(&["explain"]).stdout;
    assert_eq!(all.lines().count(), catalogue::ALL.len(), "{all}");
    let unknown = ringfence(&["explain", "and-and"]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.stderr.contains("\"and-and\": there is no such lint"), "{}", unknown.stderr);
}
