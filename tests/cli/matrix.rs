//! `ringfence matrix`: its three forms, and that they stay readable.

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use ringfence::report::reach::{Filter, Naming, dot};
use ringfence::{inventory, manifests};
use ringfence_core::policy::reach::Matrix;
use serde_json::{Value, json};

use crate::run::{Ran, ringfence, ringfence_in};

const BEFORE: &str = "tests/fixtures/guide/before.yaml";
const STEP_2: &str = "tests/fixtures/guide/step-2.yaml";
const STEP_4: &str = "tests/fixtures/guide/step-4.yaml";

fn matrix(manifests: &str, arguments: &[&str]) -> Ran {
    ringfence_in(Path::new("."), &[&["matrix", "--manifests", "-"], arguments].concat(), manifests)
}

/// Namespaces `team-1`, `team-2`, …, each with the Deployments `web` and `db`, and these policies.
fn teams(count: usize, policies: &str) -> String {
    let mut text = String::new();
    for team in 1..=count {
        let namespace = format!("team-{team}");
        writeln!(text, "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}").unwrap();
        for name in ["web", "db"] {
            writeln!(
                text,
                "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
                 spec: {{template: {{metadata: {{labels: {{app: {name}}}}}}}}}"
            )
            .unwrap();
        }
        text.push_str(&policies.replace("NAMESPACE", &namespace));
    }
    text
}

const DENY_ALL: &str = "---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: NAMESPACE}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
";

const SAME_NAMESPACE: &str = "---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: same, namespace: NAMESPACE}
spec:
  podSelector: {}
  policyTypes: [Ingress, Egress]
  ingress: [{from: [{podSelector: {}}]}]
  egress: [{to: [{podSelector: {}}]}]
";

fn workload(namespace: &str, kind: &str, name: &str) -> Value {
    json!({ "namespace": namespace, "kind": kind, "name": name })
}

#[test]
fn the_json_lists_each_connection_with_its_ports() {
    let ran = ringfence(&["matrix", "--namespace", "backend", "-o", "json", "--manifests", BEFORE, STEP_2, STEP_4]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(
        ran.json(),
        json!({ "version": 1, "connections": [
            {
                "from": workload("backend", "Pod", "db"), "to": { "cidr": "10.0.1.50/32" },
                "ports": ["TCP/5432"],
            },
            {
                "from": workload("frontend", "Pod", "web"), "to": workload("backend", "Pod", "db"),
                "ports": ["TCP/5432"],
            },
        ] })
    );
}

#[test]
fn every_port_is_a_star_and_the_outside_is_blocks() {
    let report = matrix(&teams(1, ""), &["-o", "json"]).json();
    let connections = report["connections"].as_array().unwrap();
    let of = |from: &Value, to: &Value| {
        connections
            .iter()
            .find(|connection| connection["from"] == *from && connection["to"] == *to)
            .map(|it| &it["ports"])
    };
    let (web, db) = (workload("team-1", "Deployment", "web"), workload("team-1", "Deployment", "db"));
    for (from, to) in
        [(&web, &db), (&web, &web), (&db, &json!({ "cidr": "0.0.0.0/0" })), (&json!({ "cidr": "::/0" }), &db)]
    {
        assert_eq!(of(from, to), Some(&json!(["*"])), "{from} {to}");
    }
}

#[test]
fn nothing_is_listed_where_nobody_can_reach_anybody() {
    assert_eq!(matrix(&teams(2, DENY_ALL), &["-o", "json"]).json(), json!({ "version": 1, "connections": [] }));
    assert_eq!(matrix(&teams(2, DENY_ALL), &[]).stdout, "nobody can reach anybody\n");
}

#[test]
fn where_there_is_no_workload_nobody_is_said_to_be_kept_from_anybody() {
    let policies = SAME_NAMESPACE.replace("NAMESPACE", "alone");
    let remark = "NetworkPolicies stand in namespace \"alone\" (\"same\"), and the manifests have no workload there";
    for (manifests, arguments, said) in [
        (policies.clone(), vec![], "there is no workload, and so no connection\n"),
        (
            policies.clone() + &teams(2, ""),
            vec!["--namespace", "alone"],
            "there is no workload in alone, and so no connection\n",
        ),
        (
            policies.clone() + &teams(2, DENY_ALL),
            vec!["--namespace", "team-1", "--namespace", "alone"],
            "no connection begins or ends in alone, team-1\n",
        ),
        (policies + &teams(2, DENY_ALL), vec![], "nobody can reach anybody\n"),
    ] {
        let ran = matrix(&manifests, &arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, said));
        assert!(ran.stderr.contains(remark), "{arguments:?}: {}", ran.stderr);
    }
    assert_eq!(matrix(&teams(2, DENY_ALL), &[]).stderr, "");
}

#[test]
fn a_block_with_an_exception_is_said_as_the_policy_says_it() {
    let manifests = teams(1, DENY_ALL)
        + &SAME_NAMESPACE
            .replace("NAMESPACE", "team-1")
            .replace(
                "{podSelector: {}}]}]\n  egress",
                "{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16, 10.9.0.0/16]}}]}]\n  egress",
            )
            .replace("to: [{podSelector: {}}", "to: [{ipBlock: {cidr: 0.0.0.0/0, except: [169.254.169.254/32]}}");
    assert_eq!(
        matrix(&manifests, &[]).stdout,
        "every workload can reach\n  on every port: 0.0.0.0/0 except 169.254.169.254/32\n\
         10.0.0.0/8 except 10.1.0.0/16 and 10.9.0.0/16 can reach\n  on every port: every workload\n"
    );
    let report = matrix(&manifests, &["-o", "json"]).json();
    assert!(report["connections"].as_array().unwrap().len() > 30, "{report}");
}

#[test]
fn the_text_of_the_guide_is_readable() {
    let steps = ["1", "2", "3", "4", "5"].map(|step| format!("tests/fixtures/guide/step-{step}.yaml"));
    let mut arguments = vec!["matrix", "--manifests", BEFORE];
    arguments.extend(steps.iter().map(String::as_str));
    insta::assert_snapshot!(ringfence(&arguments).stdout);
}

#[test]
fn the_text_takes_a_few_lines_for_a_cluster_of_any_size_flat_or_isolated() {
    let lines = |manifests: &str| matrix(manifests, &[]).stdout.lines().count();
    assert!(lines(&teams(10, "")) < 10);
    assert_eq!(lines(&teams(10, "")), lines(&teams(40, "")));
    let text = matrix(&teams(40, SAME_NAMESPACE), &[]).stdout;
    assert_eq!(text, "every workload can reach\n  on every port: each its own namespace\n");
    let text = matrix(&teams(1, SAME_NAMESPACE), &["--namespace", "team-1"]).stdout;
    assert_eq!(text, "every workload can reach\n  on every port: every workload\n");
    let of_two = teams(1, SAME_NAMESPACE) + &teams(1, "").replace("team-1", "open");
    let text = matrix(&of_two, &["--namespace", "team-1"]).stdout;
    assert_eq!(text, "team-1/* can reach\n  on every port: team-1/*\n");
}

#[test]
fn a_namespace_that_is_asked_for_is_at_one_end_of_each_line() {
    let manifests = teams(5, "");
    let report = matrix(&manifests, &["-o", "json", "--namespace", "team-3"]).json();
    let connections = report["connections"].as_array().unwrap();
    let is_in = |end: &Value| end["namespace"] == "team-3";
    assert!(connections.iter().all(|connection| is_in(&connection["from"]) || is_in(&connection["to"])));
    // To and from 8 of the others, 4 within, and to and from both families outside.
    assert_eq!(connections.len(), 2 * 2 * 8 + 4 + 2 * 2 * 2);
    let text = matrix(&manifests, &["--namespace", "team-3"]).stdout;
    assert_eq!(
        text,
        "team-1/*, team-2/*, team-4/*, team-5/*, every address outside can reach\n  on every port: team-3/*\n\
         team-3/* can reach\n  on every port: every workload, every address outside\n"
    );
    let ran = matrix(&manifests, &["--namespace", "team3"]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("--namespace team3: there is no namespace \"team3\"; there are team-3, "),
        "{}",
        ran.stderr
    );
}

/// The statements of a graph: what graphviz's grammar allows of them here. Source: <https://graphviz.org/doc/info/lang.html>
fn statements(dot: &str) -> Vec<&str> {
    let body = dot.strip_prefix("digraph ringfence {\n").unwrap().strip_suffix("}\n").unwrap();
    body.lines().map(|line| line.strip_prefix("  ").unwrap().strip_suffix(';').unwrap()).collect()
}

/// A text without its quoted strings, of which each must end.
fn unquoted(statement: &str) -> String {
    let (mut left, mut characters) = (String::new(), statement.chars());
    while let Some(c) = characters.next() {
        if c != '"' {
            left.push(c);
            continue;
        }
        left.push('_');
        loop {
            match characters.next().expect("a string ends") {
                '"' => break,
                '\\' => {
                    characters.next().expect("an escape is whole");
                }
                _ => {}
            }
        }
    }
    left
}

#[test]
fn the_graph_is_one_for_graphviz_whatever_names_hold() {
    // No manifest has such a name, and an API server may have stored it long ago. Nobody reaches it, so it is a node of
    // its own.
    let hostile = r#"a"b\c]; evil -> worse [label=""#;
    let manifests = teams(2, "")
        + "---\napiVersion: v1\nkind: Pod\nmetadata: {name: hostile, namespace: team-1, labels: {app: x}}\nspec: {}\n---\n\
           apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: team-1}\n\
           spec: {podSelector: {matchLabels: {app: x}}, policyTypes: [Ingress]}\n";
    let (mut inventory, problems) = inventory::of(&manifests::read("-", &manifests).objects, "default");
    assert_eq!(problems, []);
    let workloads = &mut inventory.namespaces.get_mut("team-1").unwrap().workloads;
    let pod = workloads.iter_mut().find(|workload| workload.name == "hostile").unwrap();
    hostile.clone_into(&mut pod.name);
    let mut printed = Vec::new();
    let matrix = Matrix::new(&inventory);
    dot::matrix(&mut printed, matrix.groups(), &Filter::default(), &Naming::of(&[&inventory])).unwrap();
    let printed = String::from_utf8(printed).unwrap();
    let mut nodes = 0;
    for statement in statements(&printed) {
        let bare = unquoted(statement);
        let form: String = bare.chars().filter(|c| !c.is_ascii_digit()).collect();
        nodes += usize::from(form.starts_with("n [label"));
        let known = ["rankdir=LR", "node [shape=box]", "n [label=_]", "n [label=_, shape=ellipse]", "n -> n [label=_]"];
        assert!(known.contains(&form.as_str()) || form.starts_with("n [label=_ + _"), "{statement}");
    }
    assert!(nodes > 1 && printed.contains(r#"a\"b\\c]; evil -> worse"#), "{printed}");
}

#[test]
fn a_reader_that_has_had_enough_is_no_error() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("teams.yaml");
    std::fs::write(&file, teams(60, "")).unwrap();
    for output in ["json", "text", "dot"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringfence"))
            .args(["matrix", "-o", output, "--manifests"])
            .arg(&file)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!((ended.status.code(), said.as_str()), (Some(0), ""), "{output}");
    }
}

#[test]
fn errors_in_the_manifests_are_said_and_nothing_is_listed() {
    let ran = matrix("apiVersion: v1\nkind: Namespace\nmetadata: {}\n", &["-o", "json"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.contains("-:3:1: Namespace \"\": metadata.name"), "{}", ran.stderr);
}

#[test]
fn without_manifests_and_without_a_cluster_it_says_what_to_give() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in [
        &["matrix"][..],
        &["connect", "--from", "a/b", "--to", "a/c", "--port", "80"],
        &["diff", "--cluster", "tests/fixtures/guide/before.yaml"],
    ] {
        let ran = Command::new(env!("CARGO_BIN_EXE_ringfence"))
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env_clear()
            .env("HOME", directory.path())
            .output()
            .unwrap();
        let said = String::from_utf8(ran.stderr).unwrap();
        assert_eq!((ran.status.code(), ran.stdout.as_slice()), (Some(2), &b""[..]));
        assert!(said.contains("give --kubeconfig FILE, or --manifests PATH"), "{said}");
    }
}

#[test]
fn an_owner_reference_to_another_deployment_hides_nothing() {
    let owned =
        "metadata: {name: db, namespace: team-1, ownerReferences: [{kind: Deployment, name: web, controller: true}]}";
    let manifests = teams(1, SAME_NAMESPACE).replace("metadata: {name: db, namespace: team-1}", owned);
    let said = matrix(&manifests, &["-o", "json"]).json();
    let expected = json!([
        { "from": workload("team-1", "Deployment", "db"), "to": workload("team-1", "Deployment", "db"), "ports": ["*"] },
        { "from": workload("team-1", "Deployment", "db"), "to": workload("team-1", "Deployment", "web"), "ports": ["*"] },
        { "from": workload("team-1", "Deployment", "web"), "to": workload("team-1", "Deployment", "db"), "ports": ["*"] },
        { "from": workload("team-1", "Deployment", "web"), "to": workload("team-1", "Deployment", "web"), "ports": ["*"] },
    ]);
    assert_eq!(said["connections"], expected);
}

#[test]
fn pods_whose_name_is_still_to_be_made_are_not_one_pod() {
    let pod =
        "---\napiVersion: v1\nkind: Pod\nmetadata: {generateName: g-, namespace: team-1}\nspec: {containers: []}\n";
    let manifests = pod.repeat(2) + &SAME_NAMESPACE.replace("NAMESPACE", "team-1");
    let said = matrix(&manifests, &["-o", "json"]).json();
    // From each to each: of either there may be several.
    assert_eq!(said["connections"].as_array().unwrap().len(), 4);
}
