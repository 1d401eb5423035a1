//! `check --baseline` and `--write-baseline`.

use std::path::Path;

use crate::run::{Ran, ringfence, ringfence_in};

const FILE: &str = ".ringfence-baseline";

fn deny(namespace: &str, types: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: deny, namespace: {namespace}}}\nspec: \
         {{podSelector: {{}}, policyTypes: [{types}]}}\n---\n"
    )
}

fn world(namespace: &str, from: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: world, namespace: {namespace}}}\nspec: \
         {{podSelector: {{}}, policyTypes: [Ingress], ingress: [{from}]}}\n---\n"
    )
}

const W4: &str = "{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}";

/// `check` of one file.
fn run(directory: &Path, manifests: &str, arguments: &[&str]) -> Ran {
    std::fs::write(directory.join("all.yaml"), manifests).unwrap();
    ringfence_in(directory, &[&["check", "."], arguments].concat(), "")
}

#[test]
fn what_exists_is_accepted_and_counted_and_what_is_new_fails() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let team_a = deny("team-a", "Ingress");
    assert_eq!(run(directory, &team_a, &[]).code, 1);
    let written = run(directory, &team_a, &["--write-baseline", FILE]);
    assert_eq!((written.code, written.stderr.as_str()), (0, ""));
    insta::assert_snapshot!(std::fs::read_to_string(directory.join(FILE)).unwrap());

    let accepted = run(directory, &team_a, &["--baseline", FILE]);
    assert_eq!((accepted.code, accepted.stderr.as_str()), (0, ""), "{}", accepted.stdout);
    assert!(accepted.stdout.contains("1 accepted\n"), "{}", accepted.stdout);
    assert!(
        accepted.stdout.contains("team-a  exposed  (profile standard)  accepted as it is\n"),
        "{}",
        accepted.stdout
    );

    // Wherever it stands.
    let moved = run(directory, &format!("# one more line\n---\n{team_a}"), &["--baseline", FILE]);
    assert_eq!(moved.code, 0, "{}", moved.stdout);

    let with_more =
        run(directory, &format!("{team_a}{}", deny("team-b", "Ingress")), &["--baseline", FILE, "-o", "json"]);
    assert_eq!(with_more.code, 1);
    let report = with_more.json();
    assert!(report["findings"].as_array().unwrap().iter().all(|finding| finding["object"]["namespace"] == "team-b"));
    assert_eq!(report["accepted"][0]["by"], "baseline");
    assert_eq!(report["namespaces"][0]["accepted"], true);
    assert_eq!(report["namespaces"][1]["accepted"], false);
}

#[test]
fn an_accepted_namespace_may_become_better_and_not_worse() {
    let weakened = format!("{}{}", deny("a", "Ingress, Egress"), world("a", W4));
    let nothing = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\n".to_owned();
    let starred = weakened.replace(
        "name: world, namespace: a}\nspec: {podSelector: {}",
        "name: world, namespace: a}\nspec: {podSelector: {matchLabels: {b: c}}",
    );
    let whole = format!("{}{}", deny("a", "Ingress, Egress"), world("a", "{}"));
    let isolated = deny("a", "Ingress, Egress");
    for (accepted, now, code) in [
        (&weakened, &weakened, 0),
        (&weakened, &starred, 0),
        (&weakened, &isolated, 0),
        (&weakened, &nothing, 1),
        (&weakened, &whole, 1),
        (&starred, &weakened, 1),
        (&nothing, &weakened, 0),
        (&whole, &weakened, 0),
        (&whole, &nothing, 1),
        (&deny("a", "Egress"), &weakened, 0),
        (&deny("a", "Ingress"), &weakened, 1),
    ] {
        let directory = tempfile::tempdir().unwrap();
        run(directory.path(), accepted, &["--write-baseline", FILE]);
        // The findings of lints on holes are others with every change; here it is about the states.
        let file = directory.path().join(FILE);
        let ran = run(directory.path(), now, &["--baseline", FILE, "-o", "json"]);
        let report = ran.json();
        let is_fine = |namespace: &serde_json::Value| namespace["accepted"] == true || namespace["state"] == "isolated";
        let passed = report["namespaces"].as_array().unwrap().iter().all(is_fine);
        assert_eq!(passed, code == 0, "{}\n{now}", std::fs::read_to_string(file).unwrap());
    }
}

#[test]
fn entries_that_match_nothing_any_more_are_named_and_do_not_fail() {
    let directory = tempfile::tempdir().unwrap();
    run(directory.path(), &deny("team-a", "Ingress"), &["--write-baseline", FILE]);
    let mended = ringfence(&["render", "--profile", "standard", "--namespace", "team-a"]).stdout;
    let ran = run(directory.path(), &mended, &["--baseline", FILE]);
    assert_eq!(ran.code, 0, "{}", ran.stdout);
    assert!(ran.stderr.contains(".ringfence-baseline: 2 entries match nothing any more"), "{}", ran.stderr);
    assert!(ran.stderr.contains("  namespace team-a\n"), "{}", ran.stderr);
    assert!(ran.stderr.contains("  baseline-incomplete of Namespace \"team-a\": "), "{}", ran.stderr);
}

#[test]
fn what_is_no_baseline_is_refused_before_anything_is_judged() {
    let directory = tempfile::tempdir().unwrap();
    for (text, says) in [
        ("version: 2\n", "version 2: this ringfence reads version 1"),
        ("version: 1\nfindngs: []\n", "findngs"),
        ("- a\n", "no baseline"),
    ] {
        std::fs::write(directory.path().join(FILE), text).unwrap();
        let ran = run(directory.path(), &deny("a", "Ingress"), &["--baseline", FILE]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{text}");
        assert!(ran.stderr.contains(says) && ran.stderr.contains(FILE), "{}", ran.stderr);
    }
    let ran = run(directory.path(), &deny("a", "Ingress"), &["--baseline", "none"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("failed to read none"), "{}", ran.stderr);
}

#[test]
fn no_baseline_is_written_while_something_can_not_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let ran = run(directory.path(), "foo: [\n", &["--write-baseline", FILE]);
    assert_eq!(ran.code, 2);
    assert!(!directory.path().join(FILE).exists());
}

/// A policy `p` of `a`, with what is isolated otherwise.
fn policy(selector: &str, rest: &str) -> String {
    let deny = deny("a", "Ingress, Egress");
    format!(
        "{deny}apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: a}}\nspec: \
         {{podSelector: {selector}, {rest}}}\n---\n"
    )
}

/// What fails of other manifests than were accepted.
fn fails(accepted: &str, now: &str) -> bool {
    let directory = tempfile::tempdir().unwrap();
    run(directory.path(), accepted, &["--write-baseline", FILE]);
    let same = run(directory.path(), accepted, &["--baseline", FILE, "--fail-on", "info"]);
    assert_eq!((same.code, same.stderr.as_str()), (0, ""), "{}", same.stdout);
    run(directory.path(), now, &["--baseline", FILE, "--fail-on", "info"]).code == 1
}

#[test]
fn what_is_said_in_the_same_words_and_opens_more_is_not_accepted() {
    let spoofable = "{namespaceSelector: {matchLabels: {team: x}}}";
    let excepts: Vec<String> = (0..30).map(|i| format!("10.{i}.0.0/16")).collect();
    let except = |count: usize| {
        format!(
            "policyTypes: [Egress], egress: [{{to: [{{ipBlock: {{cidr: 0.0.0.0/0, except: [{}]}}}}]}}]",
            excepts[..count].join(", ")
        )
    };
    let all = "policyTypes: [Ingress], ingress: [{}]";
    let ports = |ports: &str| format!("policyTypes: [Ingress], ingress: [{{from: [{spoofable}]{ports}}}]");
    for (accepted, now) in [
        (policy("{}", &ports(", ports: [{port: 443, protocol: TCP}]")), policy("{}", &ports(""))),
        (policy("{}", &except(30)), policy("{}", &except(29))),
        (
            policy("{matchLabels: {app: x}}", all),
            policy("{matchExpressions: [{key: app, operator: In, values: [x, z]}]}", all),
        ),
    ] {
        assert!(fails(&accepted, &now), "{accepted}{now}");
    }
    // The order is no meaning.
    let two = |ports: &str| {
        policy("{}", &format!("policyTypes: [Ingress], ingress: [{{from: [{spoofable}], ports: {ports}}}]"))
    };
    assert!(!fails(
        &two("[{port: 1, protocol: TCP}, {port: 5, protocol: TCP}]"),
        &two("[{port: 5, protocol: TCP}, {port: 1, protocol: TCP}]")
    ));
}

#[test]
fn where_some_pods_are_isolated_all_of_them_must_stay() {
    let some = |pods: &str| {
        deny("a", "Ingress, Egress").replace(
            "podSelector: {}",
            &format!("podSelector: {{matchExpressions: [{{key: app, operator: In, values: [{pods}]}}]}}"),
        )
    };
    let directory = tempfile::tempdir().unwrap();
    let accepted = |now: &str| {
        let report = run(directory.path(), now, &["--baseline", FILE, "-o", "json"]).json();
        report["namespaces"][0]["accepted"] == true
    };
    run(directory.path(), &some("one, two, three"), &["--write-baseline", FILE]);
    assert!(accepted(&some("three, two, one")));
    assert!(accepted(&format!("{}{}", some("one, two, three"), some("four").replace("name: deny", "name: more"))));
    assert!(!accepted(&some("one")));
}

#[test]
fn a_hole_for_some_pods_is_accepted_for_no_others() {
    let some = |pods: &str| {
        let pods = format!("{{matchExpressions: [{{key: app, operator: In, values: [{pods}]}}]}}");
        policy(&pods, "policyTypes: [Ingress], ingress: [{}]")
    };
    let directory = tempfile::tempdir().unwrap();
    let accepted = |now: &str| {
        let report = run(directory.path(), now, &["--baseline", FILE, "-o", "json"]).json();
        report["namespaces"][0]["accepted"] == true
    };
    run(directory.path(), &some("one"), &["--write-baseline", FILE]);
    assert!(accepted(&some("one")));
    assert!(!accepted(&some("one, two")));
}

#[test]
fn where_there_may_be_more_than_is_reported_nothing_new_is_accepted() {
    let many = |count: usize| {
        let rules: Vec<String> =
            (0..count).map(|i| format!("{{from: [{{namespaceSelector: {{matchLabels: {{team: t{i}}}}}}}]}}")).collect();
        policy("{}", &format!("policyTypes: [Ingress], ingress: [{}]", rules.join(", ")))
    };
    assert!(fails(&many(20), &many(21)));
    assert!(!fails(&many(21), &many(21)));
    assert!(!fails(&many(19), &many(18)));
}
