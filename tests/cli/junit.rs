//! `check -o junit`.

use ringfence::report::{Report, junit};

use crate::bad_input::write;
use crate::run::{ringfence, ringfence_in};
use crate::{sample, xsd};

fn valid(printed: &str) -> Vec<String> {
    xsd::errors(include_str!("../fixtures/schemas/junit-10.xsd"), printed)
}

#[test]
fn every_report_is_valid_by_the_schema_of_junit() {
    let none: [String; 0] = [];
    for report in [sample::report(), sample::hostile(), Report::default()] {
        let printed = junit::render(&report).unwrap();
        assert_eq!(valid(&printed), none, "{printed}");
    }
    let ran = ringfence(&["check", "tests/fixtures/guide", "-o", "junit"]);
    assert_eq!(valid(&ran.stdout), none, "{}", ran.stdout);
}

#[test]
fn the_schema_refuses_what_it_does_not_know() {
    let printed = junit::render(&sample::report()).unwrap();
    for (was, becomes, error) in [
        ("classname=", "class=", "testcase: no attribute class"),
        ("<skipped ", "<passed ", "testcase: no element passed in it"),
        ("<testcase name=", "<testcase classname2=", "testcase: the attribute name is missing"),
        ("<testsuite ", "text<testsuite ", "testsuites: no text in it"),
    ] {
        let errors = valid(&printed.replace(was, becomes));
        assert!(errors.iter().any(|found| found == error), "{error}: {errors:?}");
    }
}

#[test]
fn there_is_a_case_per_namespace_finding_and_problem() {
    insta::assert_snapshot!(junit::render(&sample::report()).unwrap());
}

#[test]
fn what_does_not_fail_is_no_failure() {
    let report = Report { fail_on: None, problems: Vec::new(), ..sample::report() };
    assert!(!junit::render(&report).unwrap().contains("<failure"));
}

#[test]
fn what_a_file_or_a_name_holds_begins_no_line() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "a\n::error::pwned.yaml", b"apiVersion: v1\nkind: [\n");
    let ran = ringfence_in(directory.path(), &["check", ".", "-o", "junit"], "");
    let printed = junit::render(&sample::hostile()).unwrap();
    for text in [&ran.stdout, &printed] {
        assert!(!text.lines().any(|line| line.trim_start().starts_with("::")), "{text}");
    }
    assert!(ran.stdout.contains("::error::pwned.yaml:2:7"), "{}", ran.stdout);
}
