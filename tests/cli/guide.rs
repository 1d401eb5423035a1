//! The guide that the specification is about, step by step, through `check`, `connect` and `diff`; and its common mistakes.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::run::{Ran, ringfence};

/// What there is after some steps of the guide, in one file.
struct Set {
    _directory: tempfile::TempDir,
    file: PathBuf,
}

impl Set {
    /// The guide's namespaces and pods, with these files of it.
    fn of(files: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/guide");
        let read = |file: &&str| std::fs::read_to_string(format!("{guide}/{file}.yaml")).unwrap();
        let texts: Vec<String> = std::iter::once(&"before").chain(files).map(read).collect();
        let file = directory.path().join("set.yaml");
        std::fs::write(&file, texts.join("---\n")).unwrap();
        Self { _directory: directory, file }
    }

    fn file(&self) -> &str {
        self.file.to_str().unwrap()
    }

    fn connect(&self, from: &str, to: &str, port: &str) -> Ran {
        ringfence(&["connect", "--from", from, "--to", to, "--port", port, "-o", "json", "--manifests", self.file()])
    }

    #[track_caller]
    fn reaches(&self, from: &str, to: &str, ports: &[&str]) {
        for port in ports {
            let ran = self.connect(from, to, port);
            assert_eq!(ran.code, 0, "{from} {to} {port}: {}{}", ran.stdout, ran.stderr);
            assert_eq!(ran.json()["allowed"], true);
        }
    }

    /// The side that denies, once it is known that there is one.
    #[track_caller]
    fn is_denied(&self, from: &str, to: &str, port: &str, direction: &str) -> Value {
        let ran = self.connect(from, to, port);
        assert_eq!(ran.code, 1, "{from} {to} {port}: {}{}", ran.stdout, ran.stderr);
        let answer = ran.json();
        assert_eq!((&answer["allowed"], &answer[direction]["allowed"]), (&json!(false), &json!(false)), "{answer}");
        answer[direction].clone()
    }

    /// What `check` says of a namespace, and the ids of its findings.
    fn check(&self, namespace: &str) -> (Value, Vec<String>) {
        let report = ringfence(&["check", "-o", "json", self.file()]).json();
        let of = report["namespaces"].as_array().unwrap().iter().find(|judged| judged["name"] == namespace).unwrap();
        let findings = report["findings"].as_array().unwrap().iter();
        let findings = findings.filter(|finding| finding["object"]["namespace"] == namespace);
        (of.clone(), findings.map(|finding| finding["id"].as_str().unwrap().to_owned()).collect())
    }

    fn coverage(&self, namespace: &str) -> (String, String) {
        let (of, _) = self.check(namespace);
        let coverage = |direction: &str| of[direction]["coverage"].as_str().unwrap().to_owned();
        (coverage("ingress"), coverage("egress"))
    }
}

/// The lines of the difference, and whether anything is newly exposed.
#[track_caller]
fn diff(before: &Set, after: &Set) -> (Vec<String>, bool) {
    let ran = ringfence(&["diff", before.file(), after.file()]);
    assert!(ran.code < 2, "{}", ran.stderr);
    let lines = ran.stdout.lines().filter(|line| line.starts_with(['+', '-']));
    (lines.map(str::to_owned).collect(), ran.code == 1)
}

const ANY_PORT: &[&str] = &["1", "80", "5432", "65535", "53/udp", "1/sctp"];

#[test]
fn before_step_1_web_reaches_db_on_any_port_and_after_it_on_none() {
    let (before, after) = (Set::of(&[]), Set::of(&["step-1"]));
    before.reaches("frontend/web", "backend/db", ANY_PORT);
    for port in ANY_PORT {
        let ingress = after.is_denied("frontend/web", "backend/db", port, "ingress");
        assert_eq!(ingress, json!({ "isolated": true, "allowed": false, "policies": ["default-deny-ingress"] }));
    }
    after.reaches("backend/db", "frontend/web", ANY_PORT);
    assert_eq!(before.coverage("backend"), ("absent".to_owned(), "absent".to_owned()));
    assert_eq!(after.coverage("backend"), ("complete".to_owned(), "absent".to_owned()));
    let (lines, exposure) = diff(&before, &after);
    assert!(!exposure && !lines.is_empty());
    assert!(lines.iter().all(|line| line.starts_with('-') && line.contains("can reach backend/Pod/db")), "{lines:?}");
}

#[test]
fn after_step_2_only_web_of_frontend_reaches_db_and_only_on_5432() {
    let (before, after) = (Set::of(&["step-1"]), Set::of(&["step-1", "step-2"]));
    after.reaches("frontend/web", "backend/db", &["5432"]);
    let misses = |from: &str, port: &str| {
        let ingress = after.is_denied(from, "backend/db", port, "ingress");
        assert_eq!(ingress["nearest"]["policy"], "allow-frontend-to-db");
        assert_eq!(ingress["nearest"]["path"], "spec.ingress[0]");
        ingress["nearest"]["misses"].clone()
    };
    assert_eq!(misses("frontend/web", "80"), json!(["port TCP/5432"]));
    assert_eq!(misses("frontend/web", "5432/udp"), json!(["port TCP/5432"]));
    assert_eq!(misses("frontend/batch", "5432"), json!(["label app=web"]));
    assert_eq!(
        misses("production/shop", "5432"),
        json!(["namespace label kubernetes.io/metadata.name=frontend", "label app=web"])
    );
    assert_eq!(after.coverage("backend"), ("complete".to_owned(), "absent".to_owned()));
    assert_eq!(
        diff(&before, &after),
        (vec!["+ frontend/Pod/web can reach backend/Pod/db on TCP/5432  (newly exposed)".to_owned()], true)
    );
}

#[test]
fn an_or_taken_for_an_and_lets_in_what_the_and_does_not() {
    let (and, or) = (Set::of(&["step-1", "step-2"]), Set::of(&["step-1", "mistakes/or-for-and"]));
    or.reaches("frontend/web", "backend/db", &["5432"]);
    or.reaches("frontend/batch", "backend/db", &["5432"]);
    and.is_denied("frontend/batch", "backend/db", "5432", "ingress");
    or.is_denied("production/shop", "backend/db", "5432", "ingress");
    assert_eq!(
        diff(&and, &or),
        (vec!["+ frontend/Pod/batch can reach backend/Pod/db on TCP/5432  (newly exposed)".to_owned()], true)
    );
}

#[test]
fn after_step_3_db_resolves_names_only_where_the_dns_policy_is_there_too() {
    let before = Set::of(&["step-1", "step-2"]);
    let without = Set::of(&["step-1", "step-2", "mistakes/no-dns-egress"]);
    let with = Set::of(&["step-1", "step-2", "step-3"]);
    let coredns = "kube-system/deploy/coredns";
    before.reaches("backend/db", coredns, ANY_PORT);
    for port in ["dns", "dns-tcp", "53/udp", "53"] {
        let egress = without.is_denied("backend/db", coredns, port, "egress");
        assert_eq!(egress["policies"], json!(["default-deny-egress"]));
        with.reaches("backend/db", coredns, &[port]);
    }
    let egress = with.is_denied("backend/db", coredns, "443", "egress");
    assert_eq!(egress["nearest"]["misses"], json!(["port UDP/53 or TCP/53"]));
    with.is_denied("backend/db", "frontend/web", "53/udp", "egress");
    // What may reach it still does: replies need no rule.
    with.reaches("frontend/web", "backend/db", &["5432"]);
    assert_eq!(with.coverage("backend"), ("complete".to_owned(), "complete".to_owned()));
    let (lines, exposure) = diff(&before, &without);
    assert!(!exposure && lines.iter().all(|line| line.starts_with("- backend/Pod/db can reach")), "{lines:?}");
    assert_eq!(
        diff(&without, &with).0,
        ["+ backend/Pod/db can reach kube-system/Deployment/coredns on TCP/53, UDP/53  (newly exposed)"]
    );
}

#[test]
fn after_step_4_db_reaches_one_address_outside_on_5432() {
    let steps = ["step-1", "step-2", "step-3", "step-4"];
    let (before, after) = (Set::of(&steps[..3]), Set::of(&steps));
    before.is_denied("backend/db", "10.0.1.50", "5432", "egress");
    after.reaches("backend/db", "10.0.1.50", &["5432"]);
    let egress = after.is_denied("backend/db", "10.0.1.50", "443", "egress");
    assert_eq!(egress["nearest"]["misses"], json!(["port TCP/5432"]));
    let egress = after.is_denied("backend/db", "10.0.1.51", "5432", "egress");
    assert_eq!(egress["nearest"]["misses"], json!(["an address of 10.0.1.50/32"]));
    let (backend, _) = after.check("backend");
    assert_eq!((&backend["state"], &backend["egress"]["holes"]), (&json!("isolated"), &json!([])));
    assert_eq!(
        diff(&before, &after),
        (vec!["+ backend/Pod/db can reach 10.0.1.50/32 on TCP/5432  (newly exposed)".to_owned()], true)
    );
}

#[test]
fn after_step_5_production_talks_within_itself_and_else_resolves_names_alone() {
    let (before, after) = (Set::of(&[]), Set::of(&["step-5"]));
    after.reaches("production/shop", "production/store", ANY_PORT);
    after.reaches("production/store", "production/deploy/shop", &["http"]);
    for (from, port) in
        [("frontend/web", "80"), ("backend/db", "53/udp"), ("kube-system/coredns", "443"), ("8.8.8.8", "80")]
    {
        before.reaches(from, "production/shop", &[port]);
        after.is_denied(from, "production/shop", port, "ingress");
    }
    for to in ["frontend/web", "kube-system/coredns", "8.8.8.8", "2001:db8::1"] {
        after.reaches("production/shop", to, &["53", "53/udp"]);
        for port in ["443", "53/sctp", "54/udp"] {
            after.is_denied("production/shop", to, port, "egress");
        }
    }
    let (production, _) = after.check("production");
    assert_eq!(production["state"], "isolated");
    let (lines, exposure) = diff(&before, &after);
    assert!(!exposure && lines.iter().all(|line| line.starts_with('-')), "{lines:?}");
}

#[test]
fn a_pod_with_its_node_s_network_is_outside_of_step_5() {
    let set = Set::of(&["step-5", "mistakes/host-network"]);
    set.reaches("production/agent", "8.8.8.8", ANY_PORT);
    set.reaches("frontend/web", "production/agent", ANY_PORT);
    set.is_denied("production/shop", "8.8.8.8", "443", "egress");
    // To the pods beside it, it is its node and none of theirs.
    set.is_denied("production/agent", "production/shop", "http", "ingress");
}

#[test]
fn without_policy_types_an_egress_deny_denies_nothing() {
    let set = Set::of(&["mistakes/missing-policy-types"]);
    set.is_denied("frontend/web", "backend/db", "80", "ingress");
    set.reaches("backend/db", "8.8.8.8", ANY_PORT);
    assert_eq!(set.coverage("backend"), ("complete".to_owned(), "absent".to_owned()));
}

/// Each of the guide's common mistakes, with the lint that tells of it; and what is right, where none of them does.
#[test]
fn check_finds_each_of_the_four_common_mistakes_and_none_where_the_guide_is_followed() {
    for (files, namespace, lint) in [
        (vec!["step-1", "step-2", "mistakes/no-dns-egress"], "backend", "dns-missing"),
        (vec!["step-1", "mistakes/or-for-and"], "backend", "and-or"),
        (vec!["step-5", "mistakes/host-network"], "production", "hostnetwork-bypass"),
        (vec!["mistakes/missing-policy-types"], "backend", "types-missing"),
    ] {
        let (_, found) = Set::of(&files).check(namespace);
        assert!(found.iter().any(|id| id == lint), "{files:?}: {lint} is not among {found:?}");
        let followed = Set::of(&["step-1", "step-2", "step-3", "step-4", "step-5"]);
        let (_, found) = followed.check(namespace);
        assert!(!found.iter().any(|id| id == lint), "{lint}: {found:?}");
    }
}
