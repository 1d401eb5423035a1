//! What `docs/reliability.md` and `docs/threat-model.md` say of tests is so: the tests are there, and none is left out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail like this")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// How many cases there are.
const CASES: usize = 80;

fn text(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The names of all functions in the sources of tests, and in those that have tests inside.
fn functions() -> BTreeSet<String> {
    fn collect(directory: &Path, into: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source = std::fs::read_to_string(&path).unwrap();
                let names = source.lines().filter_map(|line| line.trim_start().split_once("fn "));
                let names = names.filter(|(before, _)| !before.contains("//")).map(|(_, rest)| rest);
                into.extend(names.filter_map(|rest| rest.split(['(', '<']).next()).map(str::to_owned));
            }
        }
    }
    let mut functions = BTreeSet::new();
    for directory in ["tests", "core/tests", "core/src", "src"] {
        collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), &mut functions);
    }
    functions
}

/// The cases that a test's name says it is about: `case_27_…`, or `cases_42_43_and_65_…`.
fn cases(name: &str) -> Vec<usize> {
    let number = |word: &str| word.parse().ok().filter(|_| word.len() == 2);
    if let Some(rest) = name.strip_prefix("case_") {
        return rest.split('_').next().and_then(number).into_iter().collect();
    }
    let words = name.strip_prefix("cases_").unwrap_or_default().split('_').filter(|word| *word != "and");
    words.map_while(number).collect()
}

/// What is in backticks and looks like a test: a sentence of some words.
fn tests_named(text: &str) -> Vec<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    let is_name = |name: &&str| {
        name.matches('_').count() >= 3 && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    quoted.filter(is_name).collect()
}

#[test]
fn every_case_has_one_row_with_its_tests_and_every_test_with_a_number_is_in_its_row() {
    let (table, functions) = (text("docs/reliability.md"), functions());
    let mut expected: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
    for name in &functions {
        for case in cases(name) {
            expected.entry(case).or_default().insert(name);
        }
    }
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|line| line.split(" | ").collect::<Vec<_>>())
        .filter(|cells| cells[0].parse::<usize>().is_ok())
        .collect();
    let numbers: Vec<usize> = rows.iter().map(|cells| cells[0].parse().unwrap()).collect();
    assert_eq!(numbers, (1..=CASES).collect::<Vec<_>>(), "every case once, and in order");
    let mut wrong = Vec::new();
    for (case, cells) in numbers.into_iter().zip(&rows) {
        let [_, done, happens, tests] = cells.as_slice() else { panic!("not four cells: {cells:?}") };
        assert!(!done.is_empty() && !happens.is_empty(), "case {case} says nothing");
        let expected = expected.remove(&case).unwrap_or_default();
        let named: BTreeSet<&str> = tests_named(tests).into_iter().collect();
        let complete = named == expected && !named.is_empty();
        if !complete {
            let cell: Vec<String> = expected.iter().map(|name| format!("`{name}`")).collect();
            wrong.push(format!("| {case} | {done} | {happens} | {} |", cell.join(", ")));
        }
    }
    assert!(wrong.is_empty(), "by the names of the tests these rows would be\n{}", wrong.join("\n"));
    assert!(expected.is_empty(), "there are no such cases: {expected:?}");
}

#[test]
fn every_test_that_the_documents_name_is_there() {
    let functions = functions();
    for document in ["docs/reliability.md", "docs/threat-model.md"] {
        let text = text(document);
        let named = tests_named(&text);
        assert!(named.len() > 20, "{document} names {} tests", named.len());
        let missing: Vec<&str> = named.into_iter().filter(|name| !functions.contains(*name)).collect();
        assert!(missing.is_empty(), "{document} names tests that are not there: {missing:#?}");
    }
}

#[test]
fn a_row_of_the_threat_model_that_is_answered_names_a_test() {
    let text = text("docs/threat-model.md");
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what ")).collect();
    assert!(rows.len() > 20, "{} rows", rows.len());
    for row in rows {
        assert!(!tests_named(row).is_empty() || row.contains("not covered"), "nothing shows this: {row}");
    }
}

#[test]
fn the_names_say_which_cases_they_are_about() {
    assert_eq!(cases("case_27_tls_1_0_is_refused"), [27]);
    assert_eq!(cases("case_13_100_000_labels_are_handled"), [13]);
    assert_eq!(cases("cases_42_43_and_65_a_watch_that_breaks"), [42, 43, 65]);
    assert_eq!(cases("cases_05_and_32_reviews_of_27_mib"), [5, 32]);
    assert_eq!(cases("case_by_case"), Vec::<usize>::new());
}
