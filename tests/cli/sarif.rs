//! `check -o sarif`.

use ringfence::report::{Report, sarif};
use ringfence_core::policy::lint::catalogue;
use serde_json::Value;

use crate::run::ringfence;
use crate::sample;

/// A report as SARIF; what is wrong with it by the schema fails the test.
fn valid(printed: &str) -> Value {
    // One of its patterns holds a bracket that only JavaScript reads as it is meant.
    let schema = include_str!("../fixtures/schemas/sarif-schema-2.1.0.json").replace("{2}]?$", "{2}\\\\]?$");
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    let log: Value = serde_json::from_str(printed).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(&log).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
    log
}

#[test]
fn every_report_is_valid_by_the_schema_of_sarif() {
    for report in [sample::report(), sample::hostile(), Report::default()] {
        valid(&sarif::render(&report).unwrap());
    }
    valid(&ringfence(&["check", "tests/fixtures/guide/step-1.yaml", "-o", "sarif"]).stdout);
}

#[test]
#[should_panic(expected = "\"info\" is not one of")]
fn the_schema_refuses_a_level_that_there_is_not() {
    valid(&sarif::render(&sample::report()).unwrap().replace("\"level\":\"note\"", "\"level\":\"info\""));
}

#[test]
fn the_form_is_as_promised() {
    let mut log = valid(&sarif::render(&sample::report()).unwrap());
    let rules = log["runs"][0]["tool"]["driver"]["rules"].take();
    assert_eq!(rules.as_array().unwrap().len(), catalogue::ALL.len());
    insta::assert_snapshot!(serde_json::to_string_pretty(&log).unwrap());
    insta::assert_snapshot!("a_rule", serde_json::to_string_pretty(&rules[1]).unwrap());
}

#[test]
fn a_fingerprint_stays_when_lines_move_and_differs_between_findings() {
    let fingerprints = |text: &str| -> Vec<Value> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("a.yaml"), text).unwrap();
        let ran = ringfence(&["check", directory.path().to_str().unwrap(), "-o", "sarif"]);
        let results = valid(&ran.stdout)["runs"][0]["results"].take();
        results.as_array().unwrap().iter().map(|result| result["partialFingerprints"].clone()).collect()
    };
    let namespaces = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: b}\n";
    let before = fingerprints(namespaces);
    assert_eq!(before.len(), 4);
    for (i, fingerprint) in before.iter().enumerate() {
        assert!(!before[..i].contains(fingerprint), "{fingerprint} is there twice");
    }
    assert_eq!(fingerprints(&format!("# one\n# two\n---\n{namespaces}")), before);
}

#[test]
fn the_same_twice_is_numbered() {
    let twice = || sample::finding(&catalogue::ALLOW_ALL, "spec.ingress[3]", 1, 1);
    let report = Report { findings: vec![twice(), twice()], ..Report::default() };
    let log = valid(&sarif::render(&report).unwrap());
    let of =
        |i: usize| log["runs"][0]["results"][i]["partialFingerprints"]["ringfence/v1"].as_str().unwrap().to_owned();
    assert!(of(0).ends_with(":1") && of(1).ends_with(":2"), "{} {}", of(0), of(1));
}

#[test]
fn a_document_that_can_not_be_read_is_a_notification() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("bad.yaml"), "apiVersion: v1\nkind: Pod\nspec: [\n").unwrap();
    let ran = ringfence(&["check", directory.path().to_str().unwrap(), "-o", "sarif"]);
    assert_eq!(ran.code, 2);
    let log = valid(&ran.stdout);
    let invocation = &log["runs"][0]["invocations"][0];
    assert_eq!(invocation["executionSuccessful"], false);
    let notification = &invocation["toolExecutionNotifications"][0];
    assert!(notification["message"]["text"].as_str().unwrap().contains("unclosed"), "{notification}");
    let place = &notification["locations"][0]["physicalLocation"];
    assert!(place["artifactLocation"]["uri"].as_str().unwrap().ends_with("bad.yaml"));
    assert!(place["region"]["startLine"].as_u64().unwrap() >= 3, "{place}");
}

#[test]
fn what_to_write_is_in_the_message_line_by_line() {
    let ran = ringfence(&["check", "tests/fixtures/guide/step-1.yaml", "-o", "sarif"]);
    let log = valid(&ran.stdout);
    let report = ringfence(&["check", "tests/fixtures/guide/step-1.yaml", "-o", "json"]).json();
    let findings = report["findings"].as_array().unwrap();
    assert!(findings.iter().any(|finding| finding["snippet"].is_string()), "{report}");
    for (result, finding) in log["runs"][0]["results"].as_array().unwrap().iter().zip(findings) {
        assert_eq!(result["ruleId"], finding["id"]);
        let written = finding["snippet"].as_str().unwrap_or_default();
        let indented: Vec<String> = written.lines().map(|line| format!("    {line}")).collect();
        let said = result["message"]["text"].as_str().unwrap();
        let (_, shown) = said.split_once("\n\n").unwrap_or((said, ""));
        assert_eq!(shown, indented.join("\n"), "{said}");
    }
}
