//! `ringfence diff`: what appears, what disappears, and what is newly exposed.

use std::path::Path;

use serde_json::{Value, json};

use crate::run::{Ran, ringfence, ringfence_in};

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

/// `diff` of what differs, with what is there before and after.
fn compared(before: &str, after: &str, with: &str) -> Ran {
    let directory = tempfile::tempdir().unwrap();
    let files = [("before.yaml", before), ("after.yaml", after), ("with.yaml", with)].map(|(name, text)| {
        let file = directory.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    });
    diff(&[&files[0], &files[1], "--with", &files[2]])
}

fn deployment(namespace: &str, name: &str) -> String {
    format!(
        "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{template: {{metadata: {{labels: {{app: {name}}}}}, spec: {{containers: [{{name: c}}]}}}}}}\n"
    )
}

fn namespace(name: &str, labels: &str) -> String {
    format!("---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n")
}

fn policy(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )
}

#[test]
fn a_new_workload_is_let_in_by_the_labels_that_its_namespace_had_before() {
    let to_team_x = "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: x}}}]}]}";
    let with = namespace("a", "") + &deployment("a", "db") + &policy("p", "a", to_team_x);
    let isolated = policy("deny", "b", "{podSelector: {}, policyTypes: [Ingress]}");
    let after = namespace("b", "team: x") + &deployment("b", "new") + &isolated;
    let ran = compared(&namespace("b", ""), &after, &with);
    assert_eq!(
        (ran.code, ran.stdout.contains("b/Deployment/new can reach a/Deployment/db")),
        (1, true),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
    // One that is new as a whole has always been expected by whoever lets in its labels.
    assert_eq!(compared(&namespace("c", ""), &after, &with).code, 0);
    // And one that had the label before let its pods be let in.
    assert_eq!(compared(&namespace("b", "team: x"), &after, &with).code, 0);
}

#[test]
fn a_pod_that_only_the_policies_of_one_side_tell_from_its_deployment_is_not_new() {
    let pod = "---
apiVersion: v1
kind: Pod
metadata:
  name: web-x
  namespace: a
  labels: {app: debug}
  ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web, controller: true, uid: x}]
spec: {containers: [{name: c}]}
";
    let deny = "{podSelector: {}, policyTypes: [Ingress, Egress], egress: [{to: [{podSelector: {}}]}]}";
    let with =
        namespace("a", "") + &deployment("a", "web") + &deployment("a", "other") + pod + &policy("deny", "a", deny);
    let open = "{podSelector: {matchLabels: {app: debug}}, ingress: [{from: [{podSelector: {}}]}]}";
    let ran = compared(&namespace("zz", ""), &policy("open-debug", "a", open), &with);
    assert_eq!(
        (ran.code, ran.stdout.contains("can reach a/Pod/web-x on every port  (newly exposed)")),
        (1, true),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
}

#[test]
fn a_job_that_is_let_in_by_its_name_is_exposure() {
    let job =
        "---\napiVersion: batch/v1\nkind: Job\nmetadata: {name: migrate, namespace: a}\nspec: {template: {spec: {}}}\n";
    let deny = policy("deny", "a", "{podSelector: {}}");
    let with = namespace("a", "") + &deployment("a", "db") + job + &deny;
    let by_name = "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {job-name: migrate}}}]}]}";
    let ran = compared(&namespace("zz", ""), &policy("by-name", "a", by_name), &with);
    assert_eq!(ran.code, 1, "{}{}", ran.stdout, ran.stderr);
    assert!(
        ran.stdout.contains("a/Job/migrate can reach every workload on every port  (newly exposed)"),
        "{}",
        ran.stdout
    );
    assert!(!ran.stderr.contains("a controller sets"), "{}", ran.stderr);
}

#[test]
fn where_a_policy_goes_by_a_label_that_a_controller_sets_it_is_said_that_workloads_count_as_without() {
    let with = namespace("a", "") + &deployment("a", "db").replace("Deployment", "StatefulSet");
    let of_one = "{podSelector: {matchLabels: {statefulset.kubernetes.io/pod-name: db-0}}}";
    let ran = compared(&namespace("zz", ""), &policy("of-one", "a", of_one), &with);
    assert!(
        ran.stderr.contains("\"statefulset.kubernetes.io/pod-name\" of pods, which a controller sets"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_status_that_somebody_wrote_hides_no_new_pod() {
    let pod = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: new, namespace: a}\nspec: {containers: []}\nstatus: {phase: Succeeded}\n";
    let ran = compared(&namespace("zz", ""), pod, &(namespace("a", "") + &deployment("b", "other")));
    assert_eq!(ran.code, 1, "{}{}", ran.stdout, ran.stderr);
    assert!(
        ran.stdout
            .contains("b/Deployment/other, every address outside can reach a/Pod/new on every port  (newly exposed)"),
        "{}",
        ran.stdout
    );
}

const DENY_ALL: &str = "{podSelector: {}, policyTypes: [Ingress, Egress]}";
const ALLOW_ALL: &str = "{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{}], egress: [{}]}";

#[test]
fn policies_that_differ_in_a_namespace_without_workloads_are_an_error_and_not_the_same_connections() {
    let (deny, allow) = (policy("deny", "a", DENY_ALL), policy("deny", "a", ALLOW_ALL));
    let elsewhere = namespace("b", "") + &deployment("b", "web");
    for (before, after, named) in [
        (deny.clone(), allow.clone(), "namespace \"a\" (\"deny\")"),
        (deny.clone(), deny.clone() + &policy("more", "a", ALLOW_ALL), "namespace \"a\" (\"more\")"),
        (deny.clone(), namespace("a", ""), "namespace \"a\" (\"deny\")"),
        (deny.clone() + &policy("more", "a", ALLOW_ALL), deny.clone(), "namespace \"a\" (\"more\")"),
        (
            deny.clone() + &policy("one", "c", DENY_ALL),
            allow.clone() + &policy("other", "c", ALLOW_ALL),
            "namespaces \"a\" (\"deny\"), \"c\" (\"one\", \"other\")",
        ),
    ] {
        let ran = compared(&before, &after, &elsewhere);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{named}");
        assert!(ran.stderr.contains(&format!("differ in {named}, and neither side has a workload")), "{}", ran.stderr);
        assert!(ran.stderr.contains("connections are between workloads"), "{}", ran.stderr);
        assert!(ran.stderr.contains("--with PATH") && ran.stderr.contains("diff --cluster PATH"), "{}", ran.stderr);
    }
    // With the workloads it is what it is.
    let ran = compared(&deny, &allow, &(elsewhere + &deployment("a", "web")));
    assert_eq!(ran.code, 1, "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn a_rule_for_pods_that_the_manifests_do_not_have_is_not_passed_over_in_silence() {
    let web = namespace("a", "") + &deployment("a", "web");
    let opened = "{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{from: [{namespaceSelector: {}}]}]}";
    let ran = compared(&policy("p", "a", DENY_ALL), &policy("p", "a", opened), &web);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "the same connections before and after\n"), "{}", ran.stderr);
    assert!(ran.stderr.contains("NetworkPolicies differ in namespace \"a\" (\"p\")"), "{}", ran.stderr);
    assert!(ran.stderr.contains("what other pods and namespaces could reach is not listed"), "{}", ran.stderr);
}

#[test]
fn policies_that_can_only_deny_more_expose_nothing_new_whatever_pods_there_are() {
    let elsewhere = namespace("b", "") + &deployment("b", "web");
    let (open, web) = (namespace("a", ""), policy("web", "a", "{podSelector: {}, ingress: [{ports: [{port: 80}]}]}"));
    for (before, after) in [
        (open.clone(), open.clone() + &policy("first", "a", ALLOW_ALL)),
        (web.clone(), web.clone() + &policy("deny", "a", DENY_ALL)),
    ] {
        let ran = compared(&before, &after, &elsewhere);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "the same connections before and after\n"), "{}", ran.stderr);
        assert!(ran.stderr.contains("NetworkPolicies are added in namespace \"a\""), "{}", ran.stderr);
    }
}

#[test]
fn policies_without_workloads_that_mean_the_same_on_both_sides_are_no_error() {
    let with = namespace("b", "") + &deployment("b", "web");
    let one = "{podSelector: {}, ingress: [{from: [{podSelector: {}}], ports: [{port: 80}, {port: 81}]}]}";
    let same = "{podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{port: 80, endPort: 81, protocol: TCP}], from: [{podSelector: {}}]}]}";
    for (before, after) in [(one, one), (one, same)] {
        let ran = compared(&policy("p", "a", before), &policy("q", "a", after), &with);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "the same connections before and after\n"), "{}", ran.stderr);
        let ran = compared(&policy("p", "a", before), &policy("q", "a", after), &namespace("b", ""));
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (0, "there is no workload, and so no connection, before or after\n"),
            "{}",
            ran.stderr
        );
    }
}

#[test]
fn a_namespace_that_goes_with_its_workloads_and_one_that_is_not_asked_for_are_compared() {
    let ran = compared(
        &(policy("deny", "a", DENY_ALL) + &deployment("a", "web")),
        &namespace("b", ""),
        &deployment("b", "db"),
    );
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let directory = tempfile::tempdir().unwrap();
    let files = [DENY_ALL, ALLOW_ALL].map(|spec| {
        let file = directory.path().join(format!("{}.yaml", spec.len()));
        std::fs::write(&file, policy("p", "a", spec) + &deployment("b", "db")).unwrap();
        file.to_str().unwrap().to_owned()
    });
    assert_eq!(diff(&[&files[0], &files[1], "--namespace", "b"]).code, 0);
    for form in ["text", "json"] {
        let ran = diff(&[&files[0], &files[1], "--namespace", "a", "-o", form]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{form}: {}", ran.stderr);
    }
}

#[test]
fn standard_input_is_read_once_for_what_is_there_before_and_after() {
    let before = std::fs::read_to_string(BEFORE).unwrap();
    let piped = |arguments: &[&str]| ringfence_in(Path::new("."), &[&["diff"], arguments].concat(), &before);
    let expected = diff(&[STEP_2, OR, "--with", BEFORE, STEP_1]);
    let ran = piped(&[STEP_2, OR, "--with", "-", STEP_1]);
    assert_eq!((ran.code, ran.stdout, ran.stderr), (1, expected.stdout, expected.stderr));
    let (one, two) = (diff(&[BEFORE, STEP_1]), piped(&["-", STEP_1]));
    assert_eq!((one.code, one.stdout), (two.code, two.stdout));
    for arguments in [&["-", "-"][..], &["-", STEP_1, "--with", "-"], &[BEFORE, "-", "--with", STEP_1, "-"]] {
        let ran = piped(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(ran.stderr.contains("standard input can be read but once"), "{arguments:?}: {}", ran.stderr);
    }
}
