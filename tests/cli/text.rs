//! `check -o text`.

use std::sync::Arc;

use ringfence::manifests::Position;
use ringfence::report::{Report, Sources, text};
use ringfence_core::policy::lint::catalogue;

use crate::run::{check, ringfence};
use crate::sample;

#[test]
fn a_finding_looks_as_rustc_prints_its_own() {
    insta::assert_snapshot!(text::render(&sample::report(), &sample::sources(), false));
}

#[test]
fn the_line_is_shown_of_a_file_and_of_standard_input() {
    let file = "tests/fixtures/guide/step-1.yaml";
    for ran in [ringfence(&["check", file]), check(&std::fs::read_to_string(file).unwrap(), &[])] {
        assert!(ran.stdout.contains("\n2 | apiVersion: networking.k8s.io/v1\n  | ^^^^"), "{}", ran.stdout);
    }
}

#[test]
fn there_are_colours_only_where_they_are_asked_for() {
    let plain = text::render(&sample::report(), &sample::sources(), false);
    let styled = text::render(&sample::report(), &sample::sources(), true);
    assert!(!plain.contains('\u{1b}') && styled.contains("\u{1b}["));
    assert_eq!(anstream::adapter::strip_str(&styled).to_string(), plain);
    assert!(
        !ringfence(&["check", "tests/fixtures/guide/step-1.yaml"]).stdout.contains('\u{1b}'),
        "this is no terminal"
    );
}

#[test]
fn the_caret_is_below_the_field_after_tabs_and_wide_characters() {
    for (line, column, field) in
        [("\t\t\"é\":\t\"x\"", 3, "\"é\""), ("{\"世界\": {\"a\":1}}", 9, "\"a\":1"), ("a\u{202e}b: c", 1, "a b: c")]
    {
        let placed = sample::finding(&catalogue::ALLOW_ALL, "spec", 1, column);
        let report = Report { findings: vec![placed], ..Report::default() };
        let sources = Sources::new(|_| Some(Arc::from(line)));
        let shown = text::render(&report, &sources, false);
        let lines: Vec<&str> = shown.lines().collect();
        let at = lines.iter().position(|line| line.starts_with("1 | ")).unwrap();
        let before = lines[at].split(field).next().unwrap();
        // Each of these two takes two cells of a terminal.
        let cells = before.chars().map(|c| if "世界".contains(c) { 2 } else { 1 }).sum::<usize>();
        assert_eq!(lines[at + 1].find('^'), Some(cells), "{shown}");
    }
}

#[test]
fn a_line_of_megabytes_is_cut_around_the_field_and_its_column_is_right() {
    let text = format!("{{\"a\": \"{}\", \"spec\": 1}}", "x".repeat(3_000_000));
    let placed = sample::finding(&catalogue::ALLOW_ALL, "spec", 1, 3_000_011);
    let report = Report { findings: vec![placed], ..Report::default() };
    let shown = text::render(&report, &Sources::new(|_| Some(Arc::from(text.as_str()))), false);
    assert!(shown.len() < 2000, "{} bytes", shown.len());
    assert!(shown.contains(":1:3000011\n"), "{shown}");
    assert!(shown.contains("\"spec\": 1}\n"), "{shown}");
}

#[test]
fn what_manifests_say_can_not_forge_a_line() {
    let shown = text::render(&sample::hostile(), &sample::sources(), false);
    assert!(!shown.contains(|c: char| c != '\n' && c.is_control() || c == '\u{202e}' || c == '\u{200b}'), "{shown:?}");
    // GitHub takes such a line of any step's output for a command.
    assert!(!shown.lines().any(|line| line.trim_start().starts_with("::")) && !shown.contains("##["), "{shown}");
}

#[test]
fn of_thousands_of_namespaces_only_those_are_shown_that_do_not_pass_and_of_a_lint_the_first_findings() {
    let mut manifests = String::new();
    for i in 0..2000 {
        manifests.extend([format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: n{i}}}\n---\n")]);
        if i >= 100 {
            manifests.extend([format!(
                "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: deny, namespace: n{i}}}\nspec: \
                 {{podSelector: {{}}, policyTypes: [Ingress, Egress]}}\n---\n"
            )]);
        }
    }
    let ran = check(&manifests, &["--fail-on", "error", "--profile", "deny-all"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.contains("and 1900 namespaces that are isolated\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("1900 of 2000 namespaces"), "{}", ran.stdout);
    for exposed in 0..100 {
        assert!(ran.stdout.contains(&format!("\nn{exposed}  EXPOSED")) || exposed == 0, "n{exposed} is not named");
    }
    let findings = ran.stdout.lines().filter(|line| line.contains("error[baseline-incomplete]: n")).count();
    assert_eq!(findings, 200, "each is said");
    // Whatever else is found of so many is on a line each.
    let lines = ran.stdout.lines().filter(|line| !line.starts_with("-:")).count();
    assert!(lines < 900, "{lines} lines");
}

#[test]
fn whoever_reads_may_stop_and_the_exit_code_stays() {
    let shell = format!(
        "{} check tests/fixtures/guide/step-1.yaml | true; exit ${{PIPESTATUS[0]}}",
        env!("CARGO_BIN_EXE_ringfence")
    );
    let ran = std::process::Command::new("bash").args(["-c", &shell]).output().unwrap();
    assert_eq!(ran.status.code(), Some(1), "{}", String::from_utf8_lossy(&ran.stderr));
    assert!(!String::from_utf8_lossy(&ran.stderr).contains("panicked"));
}

#[test]
fn a_position_that_is_nowhere_has_no_arrow() {
    let mut placed = sample::finding(&catalogue::NO_ENFORCING_CNI, "", 0, 0);
    placed.at = Position::default();
    let shown = text::render(&Report { findings: vec![placed], ..Report::default() }, &sample::sources(), false);
    assert!(!shown.contains("-->"), "{shown}");
}
