//! When `check` exits with 1.

use ringfence::report::Report;
use ringfence_core::policy::lint::{Severity, catalogue};

use crate::run::check;
use crate::sample;

const EXPOSED: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: team-a}\n";

#[test]
fn a_finding_fails_from_the_severity_on_that_is_given() {
    for (fail_on, passes) in [
        (Some(Severity::Info), false),
        (Some(Severity::Warning), false),
        (Some(Severity::Medium), true),
        (Some(Severity::Error), true),
        (None, true),
    ] {
        let findings = vec![sample::finding(&catalogue::AND_OR, "spec", 1, 1)];
        assert_eq!(Report { findings, fail_on, ..Report::default() }.passes(), passes, "{fail_on:?}");
    }
}

#[test]
fn a_namespace_that_is_not_isolated_fails_whatever_the_severity_but_never() {
    for (fail_on, code) in [("info", 1), ("high", 1), ("error", 1), ("never", 0)] {
        assert_eq!(check(EXPOSED, &["--fail-on", fail_on]).code, code, "{fail_on}");
    }
    assert_eq!(check("foo: [\n", &["--fail-on", "never"]).code, 2, "what can't be read is no finding");
    assert_eq!(check(EXPOSED, &["--fail-on", "grave"]).code, 2);
}
