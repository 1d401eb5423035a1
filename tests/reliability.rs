//! What `docs/reliability.md` and `docs/threat-model.md` say of tests is so: the tests are there, and none is left out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail like this")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// How many cases there are.
const CASES: usize = 80;

fn text(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The names of all tests in a source, and whether each runs only where it is asked for.
fn tests_of(source: &str) -> Vec<(String, bool)> {
    let mut tests = Vec::new();
    let mut attributes = Vec::new();
    for line in source.lines().map(str::trim_start) {
        let before_the_name = line.split("fn ").next().unwrap_or_default();
        if line.starts_with("#[") {
            attributes.push(line);
        } else if line.contains("fn ") && !before_the_name.contains("//") {
            let is_test = |attribute: &&str| {
                ["#[test]", "#[rstest]", "#[tokio::test"].iter().any(|kind| attribute.starts_with(kind))
            };
            let ignored = attributes.iter().any(|attribute| attribute.starts_with("#[ignore"));
            let name = line[before_the_name.len() + 3..].split(['(', '<']).next().unwrap_or_default();
            if attributes.iter().any(is_test) {
                tests.push((name.to_owned(), ignored));
            }
            attributes.clear();
        } else if !line.starts_with("//") && !attributes.is_empty() && line.ends_with([';', '}']) {
            attributes.clear();
        }
    }
    // Those of the control plane stand in a list of their module.
    for list in source.split("tests![").skip(1).filter_map(|rest| rest.split(']').next()) {
        let (always, ignored) = list.split_once("ignored:").unwrap_or((list, ""));
        for (names, ignored) in [(always, false), (ignored, true)] {
            let names = names.split([',', ';']).map(str::trim).filter(|name| !name.is_empty());
            tests.extend(names.map(|name| (name.to_owned(), ignored)));
        }
    }
    tests
}

/// All tests, and whether each runs only where it is asked for.
fn tests() -> BTreeMap<String, bool> {
    fn collect(directory: &Path, into: &mut BTreeMap<String, bool>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                into.extend(tests_of(&std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut tests = BTreeMap::new();
    for directory in ["tests", "core/tests", "core/src", "src"] {
        collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), &mut tests);
    }
    tests
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
    let (table, tests) = (text("docs/reliability.md"), tests());
    let mut expected: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
    for name in tests.keys() {
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
        let [_, done, happens, shown_by] = cells.as_slice() else { panic!("not four cells: {cells:?}") };
        assert!(!done.is_empty() && !happens.is_empty(), "case {case} says nothing");
        let expected = expected.remove(&case).unwrap_or_default();
        let named: BTreeSet<&str> = tests_named(shown_by).into_iter().collect();
        let complete = named == expected && named.iter().any(|name| tests.get(*name) == Some(&false));
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
    let tests = tests();
    for document in ["docs/reliability.md", "docs/threat-model.md"] {
        let text = text(document);
        let named = tests_named(&text);
        assert!(named.len() > 20, "{document} names {} tests", named.len());
        let missing: Vec<&str> = named.into_iter().filter(|name| !tests.contains_key(*name)).collect();
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
fn a_function_is_a_test_by_its_attribute_or_by_the_list_of_its_module() {
    let source = r"
crate::tests![in_the_list, in_it_too; ignored: only_where_asked_for,];
#[test]
#[ignore]
fn long() {}
#[rstest]
#[case(1)]
fn of_cases(#[case] _number: usize) {}
#[allow(dead_code)]
fn helper() {}
// fn no_function() {}
fn in_the_list() {}
";
    let found: BTreeMap<String, bool> = tests_of(source).into_iter().collect();
    let expected = [
        ("in_it_too", false),
        ("in_the_list", false),
        ("long", true),
        ("of_cases", false),
        ("only_where_asked_for", true),
    ];
    assert_eq!(found, expected.map(|(name, ignored)| (name.to_owned(), ignored)).into());
}

#[test]
fn the_names_say_which_cases_they_are_about() {
    assert_eq!(cases("case_27_tls_1_0_is_refused"), [27]);
    assert_eq!(cases("case_13_100_000_labels_are_handled"), [13]);
    assert_eq!(cases("cases_42_43_and_65_a_watch_that_breaks"), [42, 43, 65]);
    assert_eq!(cases("cases_05_and_32_reviews_of_27_mib"), [5, 32]);
    assert_eq!(cases("case_by_case"), Vec::<usize>::new());
}
