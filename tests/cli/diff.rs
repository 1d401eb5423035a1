//! `ringfence diff`: what appears, what disappears, and what is newly exposed.

use serde_json::{Value, json};

use crate::run::{Ran, ringfence};

const BEFORE: &str = "tests/fixtures/guide/before.yaml";
const STEP_1: &str = "tests/fixtures/guide/step-1.yaml";
const STEP_2: &str = "tests/fixtures/guide/step-2.yaml";
const OR: &str = "tests/fixtures/guide/mistakes/or-for-and.yaml";

fn diff(arguments: &[&str]) -> Ran {
    ringfence(&[&["diff"], arguments].concat())
}

fn ends(connections: &Value) -> Vec<(String, String)> {
    let name = |end: &Value| match end["cidr"].as_str() {
        Some(cidr) => cidr.to_owned(),
        None => format!("{}/{}", end["namespace"].as_str().unwrap(), end["name"].as_str().unwrap()),
    };
    connections
        .as_array()
        .unwrap()
        .iter()
        .map(|connection| (name(&connection["from"]), name(&connection["to"])))
        .collect()
}

#[test]
fn the_same_manifests_have_the_same_connections() {
    let ran = diff(&[BEFORE, BEFORE]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "the same connections before and after\n"));
    let ran = diff(&[BEFORE, BEFORE, "-o", "json"]);
    assert_eq!(ran.json(), json!({ "version": 1, "exposure": false, "appears": [], "disappears": [] }));
}

#[test]
fn what_an_or_opens_that_the_and_did_not_appears_and_is_newly_exposed() {
    let ran = diff(&[STEP_2, OR, "--with", BEFORE, STEP_1]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (1, "+ frontend/Pod/batch can reach backend/Pod/db on TCP/5432  (newly exposed)\n")
    );
    let report = diff(&[STEP_2, OR, "--with", BEFORE, STEP_1, "-o", "json"]).json();
    assert_eq!(
        report,
        json!({
            "version": 1, "exposure": true, "disappears": [],
            "appears": [{
                "from": { "namespace": "frontend", "kind": "Pod", "name": "batch" },
                "to": { "namespace": "backend", "kind": "Pod", "name": "db" },
                "ports": ["TCP/5432"], "exposure": true,
            }],
        })
    );
}

#[test]
fn the_other_way_round_it_disappears_and_nothing_is_exposed() {
    let ran = diff(&[OR, STEP_2, "--with", BEFORE, STEP_1]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (0, "- frontend/Pod/batch can reach backend/Pod/db on TCP/5432\nnothing is newly exposed\n")
    );
    let report = diff(&[OR, STEP_2, "--with", BEFORE, STEP_1, "-o", "json"]).json();
    assert_eq!(ends(&report["disappears"]), [("frontend/batch".to_owned(), "backend/db".to_owned())]);
    assert_eq!((&report["exposure"], &report["appears"]), (&json!(false), &json!([])));
}

#[test]
fn what_opens_in_part_is_listed_with_the_ports_that_are_new() {
    let directory = tempfile::tempdir().unwrap();
    let wider = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/guide/step-2.yaml"))
        .unwrap()
        .replace("port: 5432", "port: 5000\n          endPort: 6000");
    let file = directory.path().join("wider.yaml");
    std::fs::write(&file, wider).unwrap();
    let ran = diff(&[STEP_2, file.to_str().unwrap(), "--with", BEFORE, STEP_1]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (1, "+ frontend/Pod/web can reach backend/Pod/db on TCP/5000-5431, TCP/5433-6000  (newly exposed)\n")
    );
}

#[test]
fn a_namespace_that_is_asked_for_decides_what_counts() {
    let ran = diff(&[STEP_2, OR, "--with", BEFORE, STEP_1, "--namespace", "production"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "the same connections before and after\n"));
    let ran = diff(&[STEP_2, OR, "--with", BEFORE, STEP_1, "--namespace", "prod"]);
    assert!(ran.code == 2 && ran.stderr.contains("--namespace prod: "), "{}", ran.stderr);
}

#[test]
fn bad_input_exits_with_2_and_says_what_to_give() {
    for (arguments, said) in [
        (vec![BEFORE], "give a second one, or --cluster"),
        (vec![BEFORE, STEP_1, "--cluster"], "--cluster takes one set"),
        (vec![BEFORE, "none-such.yaml"], "none-such.yaml: failed to read"),
        (vec![BEFORE, STEP_1, "--prune"], "--cluster"),
        (vec![BEFORE, STEP_1, "--context", "home"], "there is none without --cluster"),
    ] {
        let ran = diff(&arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(ran.stderr.contains(said), "{arguments:?}: {}", ran.stderr);
    }
}
