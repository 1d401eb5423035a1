//! Exemptions and exceptions in manifests, which `check` believes only as far as the webhook does.

use serde_json::Value;

use crate::run::{Ran, check};

const NO_END: &str = "ringfence.dev/exempt-until: no end is given";

fn in_days(days: i64) -> String {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days)).to_string()
}

/// Annotations with a prefix (`exempt`, `exception`), one on each line from the fifth.
fn annotations(prefix: &str, reason: Option<&str>, until: Option<&str>) -> String {
    let line = |key: &str, value: &str| format!("    ringfence.dev/{prefix}-{key}: {value:?}\n");
    let lines = [reason.map(|reason| line("reason", reason)), until.map(|until| line("until", until))];
    let lines: String = lines.into_iter().flatten().collect();
    if lines.is_empty() { String::new() } else { format!("  annotations:\n{lines}") }
}

fn exempt(name: &str, reason: Option<&str>, until: Option<&str>) -> Ran {
    let annotations = annotations("exempt", reason, until);
    let manifest = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n{annotations}  name: {name}\n  labels: {{ringfence.dev/mode: exempt}}\n"
    );
    check(&manifest, &["-o", "json"])
}

fn excepted(namespace: &str, reason: Option<&str>, until: Option<&str>) -> Ran {
    let annotations = annotations("exception", reason, until);
    let policy = format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n{annotations}  name: wide\n  namespace: {namespace}\n\
         spec: {{podSelector: {{}}, policyTypes: [Ingress, Egress], ingress: [{{}}]}}\n"
    );
    check(&policy, &["-o", "json"])
}

fn state(report: &Value) -> &str {
    report["namespaces"][0]["state"].as_str().unwrap()
}

#[track_caller]
fn is_refused(ran: &Ran, expected: &str, at: u64, says: &str) {
    let report = ran.json();
    let problems = report["problems"].as_array().unwrap();
    assert_eq!((problems.len(), ran.code, state(&report)), (1, 2, expected), "{report:#}");
    assert_eq!((&problems[0]["line"], &problems[0]["column"]), (&at.into(), &5.into()), "{report:#}");
    let message = problems[0]["message"].as_str().unwrap();
    assert!(message.contains(says), "{message}");
}

#[test]
fn an_exemption_that_ends_later_than_is_allowed_is_told_in_the_words_of_the_webhook() {
    let far = in_days(91);
    let says = format!(
        "namespace \"team-a\" can't be exempt: annotation ringfence.dev/exempt-until ({far:?}): {far} is further away than the \
         longest that is allowed, 90d; "
    );
    is_refused(&exempt("team-a", Some("ok"), Some(&far)), "pending", 6, &says);
}

#[test]
fn an_exemption_without_a_reason_or_with_an_end_that_is_no_time_is_refused() {
    let soon = in_days(1);
    is_refused(
        &exempt("team-a", Some(" "), Some(&soon)),
        "pending",
        5,
        "ringfence.dev/exempt-reason: no reason is given",
    );
    is_refused(&exempt("team-a", Some("ok"), Some("soon")), "pending", 6, "\"soon\" is not a time");
    for nothing in
        [exempt("team-a", Some("ok"), None), exempt("team-a", None, Some(&soon)), exempt("team-a", None, None)]
    {
        assert_eq!((nothing.code, state(&nothing.json())), (2, "pending"), "{}", nothing.stdout);
    }
    assert!(exempt("team-a", Some("ok"), None).stderr.contains(NO_END));
}

#[test]
fn an_exemption_in_force_or_over_is_no_problem() {
    for (until, expected, code) in [(in_days(89), "exempt", 0), (in_days(-1), "pending", 1)] {
        let ran = exempt("team-a", Some("ok"), Some(&until));
        let report = ran.json();
        assert_eq!((state(&report), ran.code, &report["problems"]), (expected, code, &serde_json::json!([])));
    }
}

#[test]
fn an_exception_of_a_policy_that_the_webhook_would_refuse_accepts_nothing() {
    let (soon, far) = (in_days(1), in_days(91));
    let says = format!(
        "creating NetworkPolicy \"wide\" is refused: annotation ringfence.dev/exception-until: {far} is further away than the \
         longest that is allowed, 90d; an exception accepts what the policy opens"
    );
    is_refused(&excepted("team-a", Some("ok"), Some(&far)), "exposed", 6, &says);
    is_refused(&excepted("team-a", Some(""), Some(&soon)), "exposed", 5, "exception-reason: no reason is given");
    is_refused(&excepted("team-a", Some("ok"), Some("2026-13-01")), "exposed", 6, "is not a time");
    let ran = excepted("team-a", Some("ok"), Some(&soon));
    assert_eq!((state(&ran.json()), ran.code), ("weakened", 1));
    let over = excepted("team-a", Some("ok"), Some(&in_days(-1)));
    assert_eq!((state(&over.json()), over.code), ("exposed", 1));
}

#[test]
fn where_the_webhook_judges_nothing_no_claim_is_refused() {
    let far = in_days(91);
    assert_eq!(exempt("kube-system", Some("ok"), Some(&far)).code, 0);
    assert_eq!(excepted("kube-system", Some("ok"), Some(&far)).json()["problems"], serde_json::json!([]));
}
