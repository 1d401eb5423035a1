//! `ringfence connect`: who is meant, what is answered, exit codes.

use std::path::Path;

use serde_json::json;

use crate::run::{Ran, ringfence, ringfence_in};

const BEFORE: &str = "tests/fixtures/guide/before.yaml";
const STEP_1: &str = "tests/fixtures/guide/step-1.yaml";
const STEP_2: &str = "tests/fixtures/guide/step-2.yaml";
const STEP_5: &str = "tests/fixtures/guide/step-5.yaml";

fn asked(from: &str, to: &str, port: &str, more: &[&str], files: &[&str]) -> Ran {
    let arguments = [&["connect", "--from", from, "--to", to, "--port", port], more, &["--manifests"], files].concat();
    ringfence(&arguments)
}

/// The same of manifests on standard input.
fn asked_of(manifests: &str, from: &str, to: &str, port: &str) -> Ran {
    let arguments = ["connect", "--from", from, "--to", to, "--port", port, "--manifests", "-"];
    ringfence_in(Path::new("."), &arguments, manifests)
}

#[track_caller]
fn failed(ran: &Ran, said: &[&str]) {
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{}", ran.stderr);
    for said in said {
        assert!(ran.stderr.contains(said), "{said}\n{}", ran.stderr);
    }
}

/// A workload of a kind with a pod template.
fn workload(kind: &str, name: &str, spec: &str) -> String {
    let version = if matches!(kind, "Job" | "CronJob") { "batch/v1" } else { "apps/v1" };
    format!(
        "---\napiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}, namespace: a}}\n\
         spec: {{template: {{metadata: {{labels: {{app: {name}}}}}, spec: {{{spec}}}}}}}\n"
    )
}

fn pod(name: &str, status: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: a, labels: {{app: {name}}}}}\n\
         spec: {{containers: [{{name: c, image: i}}]}}\nstatus: {{{status}}}\n"
    )
}

#[test]
fn what_allows_it_is_named_on_both_sides_as_json() {
    let ran = asked("frontend/web", "backend/db", "5432", &["-o", "json"], &[BEFORE, STEP_1, STEP_2]);
    assert_eq!(ran.code, 0);
    assert_eq!(
        ran.json(),
        json!({
            "allowed": true,
            "egress": { "isolated": false, "allowed": true, "policies": [] },
            "ingress": {
                "isolated": true, "allowed": true, "policies": ["allow-frontend-to-db", "default-deny-ingress"],
                "rule": { "policy": "allow-frontend-to-db", "path": "spec.ingress[0]" },
            },
        })
    );
}

#[test]
fn what_came_nearest_is_named_with_what_misses_as_json() {
    let ran = asked("frontend/batch", "backend/db", "5432/tcp", &["-o", "json"], &[BEFORE, STEP_1, STEP_2]);
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.json()["ingress"],
        json!({
            "isolated": true, "allowed": false, "policies": ["allow-frontend-to-db", "default-deny-ingress"],
            "nearest": { "policy": "allow-frontend-to-db", "path": "spec.ingress[0]", "misses": ["label app=web"] },
        })
    );
}

#[test]
fn the_text_says_who_can_reach_whom_and_why_not() {
    let files = [BEFORE, STEP_1, STEP_2, STEP_5];
    let questions = [
        ("frontend/web", "backend/db", "5432"),
        ("frontend/web", "backend/db", "80"),
        ("frontend/batch", "backend/db", "5432"),
        ("frontend/web", "production/shop", "http"),
        ("production/store", "10.0.1.50", "443"),
        ("backend/db", "backend/db", "80"),
    ];
    let text: String =
        questions.iter().map(|(from, to, port)| asked(from, to, port, &[], &files).stdout + "\n").collect();
    insta::assert_snapshot!(text);
}

#[test]
fn a_workload_is_found_in_each_of_its_kind_s_names_and_by_its_bare_name() {
    for to in ["production/Deployment/shop", "production/deploy/shop", "production/DEPLOYMENTS/shop", "production/shop"]
    {
        let ran = asked("production/sts/store", to, "http", &[], &[BEFORE, STEP_5]);
        assert_eq!(ran.code, 0, "{to}: {}", ran.stderr);
        assert!(
            ran.stdout.starts_with(
                "allowed: production/StatefulSet/store can reach production/Deployment/shop on TCP/8080\n"
            )
        );
    }
}

#[test]
fn a_bare_name_means_the_pod_and_else_must_not_be_ambiguous() {
    let both = workload("Deployment", "web", "") + &workload("StatefulSet", "web", "") + &pod("other", "");
    failed(
        &asked_of(&both, "a/web", "a/other", "80"),
        &[
            "--from a/web: there is more than one workload of that name; give one of a/Deployment/web, a/StatefulSet/web",
        ],
    );
    let with_pod = both + &pod("web", "");
    let ran = asked_of(&with_pod, "a/web", "a/other", "80");
    assert!(ran.stdout.starts_with("allowed: a/Pod/web can reach a/Pod/other on TCP/80\n"), "{}", ran.stdout);
}

#[test]
fn what_is_not_there_is_named_with_its_flag_and_what_there_is() {
    let wrong = |from, to, port| asked(from, to, port, &[], &[BEFORE]);
    failed(
        &wrong("fronted/web", "backend/db", "1"),
        &["--from fronted/web: there is no namespace \"fronted\"; there are frontend, "],
    );
    failed(
        &wrong("frontend/web", "backend/dc", "1"),
        &["--to backend/dc: there is no workload \"dc\" in namespace \"backend\"; there are Pod/db\n"],
    );
    failed(
        &wrong("frontend/sts/web", "backend/db", "1"),
        &["--from frontend/StatefulSet/web: there is no StatefulSet \"web\"", "Pod/web, Pod/batch"],
    );
    failed(
        &wrong("frontend/web", "production/shop", "grpc"),
        &["--port grpc: production/Deployment/shop has no container port with the name \"grpc\"; it has http"],
    );
    failed(
        &wrong("frontend/web", "backend/db", "grpc/udp"),
        &["--port grpc/udp: backend/Pod/db has no container port with the name \"grpc\"; "],
    );
    failed(&wrong("frontend/web", "10.0.0.1", "http"), &["--port http: ", "give a number"]);
    failed(&wrong("1.1.1.1", "fd00::1", "80"), &["--from 1.1.1.1 --to fd00::1: both are outside"]);
}

#[test]
fn bad_input_names_the_flag_the_value_and_what_is_possible() {
    let wrong = |from, to, port| asked(from, to, port, &[], &[BEFORE]);
    failed(&wrong("web", "backend/db", "1"), &["'web' for '--from <END>'", "NAMESPACE/POD"]);
    failed(&wrong("frontend/web", "10.0.0.0/8", "1"), &["'10.0.0.0/8' for '--to <END>'", "one address of it"]);
    failed(&wrong("frontend/svc/db", "backend/db", "1"), &["'frontend/svc/db' for '--from <END>'", "CronJob"]);
    failed(&wrong("frontend/web", "backend/db", "65536"), &["'65536' for '--port <PORT>'", "1 to 65535"]);
    failed(&wrong("frontend/web", "backend/db", "53/icmp"), &["'53/icmp' for '--port <PORT>'", "tcp, udp or sctp"]);
}

#[test]
fn the_address_of_a_pod_is_refused_and_that_of_its_node_is_not() {
    let manifests = pod("web", "podIPs: [{ip: 10.1.0.7}, {ip: \"fd00::7\"}]")
        + &pod("node-agent", "podIPs: [{ip: 192.168.0.1}]").replace("spec: {", "spec: {hostNetwork: true, ");
    for address in ["10.1.0.7", "fd00::7"] {
        failed(
            &asked_of(&manifests, "a/node-agent", address, "80"),
            &[&format!("--to {address}: this is the address of a/Pod/web")],
        );
    }
    assert_eq!(asked_of(&manifests, "a/web", "192.168.0.1", "80").code, 0);
}

#[test]
fn errors_in_the_manifests_name_file_line_and_reason_and_nothing_is_answered() {
    let policy = "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: a}\n\
                  spec:\n  podSelector: {}\n  policyTypes: [Ingres]\n";
    let manifests = pod("web", "") + &pod("db", "") + policy;
    failed(&asked_of(&manifests, "a/web", "a/db", "80"), &["-:19:17: NetworkPolicy \"p\": spec.policyTypes[0]"]);
    failed(&asked("a/web", "a/db", "80", &[], &["none-such.yaml"]), &["none-such.yaml: failed to read"]);
    failed(&asked_of("", "a/web", "a/db", "80"), &["-: there is no object in it"]);
}

#[test]
fn a_pod_that_very_many_policies_select_takes_one_line() {
    let policy = |index: usize| {
        format!(
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p{index}, namespace: a}}\n\
             spec: {{podSelector: {{}}}}\n"
        )
    };
    let manifests = (0..9).fold(pod("web", "") + &pod("db", ""), |text, index| text + &policy(index));
    let said = asked_of(&manifests, "a/web", "a/db", "80").stdout;
    assert!(said.contains(r#"isolated by "p0", "p1", "p2", "p3", "p4", "p5" and 3 more policies"#), "{said}");
}

#[test]
fn a_workload_that_is_there_twice_is_an_error() {
    let twice = workload("Deployment", "web", "") + &workload("Deployment", "web", "hostNetwork: true");
    failed(
        &asked_of(&twice, "a/web", "a/web", "80"),
        &["-:9:12: metadata.name: a second Deployment \"web\" in namespace \"a\""],
    );
}

#[test]
fn a_namespace_whose_labels_a_policy_goes_by_must_be_there_or_it_is_said() {
    let policy = |key: &str| {
        format!(
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: a}}\n\
             spec: {{podSelector: {{}}, ingress: [{{from: [{{namespaceSelector: {{matchLabels: {{{key}: b}}}}}}]}}]}}\n"
        )
    };
    let pods = pod("web", "") + &pod("web", "").replace("namespace: a", "namespace: b");
    let asked = |more: &str| asked_of(&(pods.clone() + more), "b/web", "a/web", "80");
    assert_eq!(asked(&policy("kubernetes.io/metadata.name")).stderr, "");
    let ran = asked(&policy("team"));
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr
            .contains("policies go by the label \"team\" of namespaces, and the Namespace \"a\" and 1 more are not"),
        "{}",
        ran.stderr
    );
    let stated = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Namespace\n\
                  metadata: {name: b, labels: {team: b}}\n";
    let ran = asked(&(policy("team") + stated));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
}

#[test]
fn the_pods_of_a_listing_have_their_addresses() {
    let owned = pod("web-1", "podIPs: [{ip: 10.1.0.7}]").replace(
        "labels: {app: web-1}",
        "labels: {app: web}, ownerReferences: [{kind: Deployment, name: web, controller: true}]",
    );
    let ran = asked_of(&(workload("Deployment", "web", "") + &owned), "a/web", "10.1.0.7", "80");
    failed(&ran, &["this is the address of a/Pod/web-1"]);
}

#[test]
fn a_pod_with_its_node_s_network_is_not_held_back() {
    let agent = "tests/fixtures/guide/mistakes/host-network.yaml";
    let ran = asked("production/ds/agent", "10.0.0.1", "443", &[], &[BEFORE, STEP_5, agent]);
    assert_eq!(ran.code, 0);
    assert!(ran.stdout.contains("it uses its node's network (hostNetwork)"), "{}", ran.stdout);
}

#[test]
fn a_port_s_name_leads_to_no_pod_with_its_node_s_network_and_it_is_said_why() {
    let by_name = "---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: by-name, namespace: a}
spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}
";
    let agent = workload(
        "DaemonSet",
        "agent",
        "hostNetwork: true, containers: [{name: c, ports: [{name: http, containerPort: 80}]}]",
    );
    let ran = asked_of(&(pod("web", "") + &agent + by_name), "a/web", "a/agent", "http");
    assert!(
        ran.code == 1 && ran.stdout.contains("the name \"http\" stands for nothing at a pod with hostNetwork"),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
}

#[test]
fn manifests_that_state_no_namespace_are_where_the_flag_says() {
    let arguments =
        ["connect", "--from", "x/web", "--to", "x/web", "--port", "80", "--default-namespace", "x", "--manifests", "-"];
    let manifest = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: []}\n";
    assert_eq!(ringfence_in(Path::new("."), &arguments, manifest).code, 0);
}

#[test]
fn what_manifests_say_can_not_act_on_a_terminal() {
    let hostile = "x\\e[31m\\u202e\\nforged";
    let manifests = pod("web", "").replace("namespace: a", &format!("namespace: \"{hostile}\""))
        + &pod("db", "").replace("{name: db", &format!("{{name: \"{hostile}\""))
        + &pod("db", "")
        + &format!(
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: \"{hostile}\", namespace: a}}\n\
             spec: {{podSelector: {{}}, ingress: [{{from: [{{podSelector: {{matchLabels: {{a: b}}}}}}]}}]}}\n"
        );
    for (from, to) in [("none/web", "a/db"), ("a/none", "a/db"), ("1.1.1.1", "a/db")] {
        let ran = asked_of(&manifests, from, to, "80");
        let said = ran.stdout + &ran.stderr;
        assert!(said.contains("[31m"), "{said}");
        assert!(
            !said.contains(['\u{1b}', '\u{202e}']) && !said.lines().any(|line| line.starts_with("forged")),
            "{said:?}"
        );
    }
}

#[test]
fn an_ipv4_address_written_as_ipv6_is_that_of_the_pod() {
    let manifests = pod("web", "podIP: 10.1.0.7") + &workload("Deployment", "db", "");
    let as_written = |address: &str| asked_of(&manifests, "a/db", address, "80").stderr;
    assert!(as_written("10.1.0.7").contains("web"), "{}", as_written("10.1.0.7"));
    assert_eq!(as_written("::ffff:10.1.0.7"), as_written("10.1.0.7"));
}

#[test]
fn addresses_of_the_cluster_itself_are_no_outside() {
    let service =
        "---\napiVersion: v1\nkind: Service\nmetadata: {name: db, namespace: a}\nspec: {clusterIP: 10.96.0.77}\n";
    let node = "---\napiVersion: v1\nkind: Node\nmetadata: {name: node}\nstatus: {addresses: [{type: InternalIP, address: 192.168.9.9}]}\n";
    let manifests = pod("web", "") + service + node;
    let to_service = asked_of(&manifests, "a/web", "10.96.0.77", "80");
    failed(
        &to_service,
        &["--to 10.96.0.77: this is an address of the cluster's own pods, Services or nodes (10.96.0.77/32)"],
    );
    failed(&asked_of(&manifests, "192.168.9.9", "a/web", "80"), &["--from 192.168.9.9: this is an address"]);
    assert_eq!(asked_of(&manifests, "a/web", "192.0.2.1", "80").code, 0);
    failed(&asked_of(&manifests, "127.0.0.1", "a/web", "80"), &["'127.0.0.1' for '--from <END>'"]);
}

#[test]
fn a_node_s_pod_that_is_denied_is_said_to_reach_its_own_node_s_pods() {
    let deny = "---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: a}
spec: {podSelector: {}}
";
    let manifests = pod("web", "") + &workload("DaemonSet", "agent", "hostNetwork: true") + deny;
    let ran = asked_of(&manifests, "a/agent", "a/web", "80");
    assert!(ran.code == 1 && ran.stdout.contains("a node always reaches the pods that run on it"), "{}", ran.stdout);
}

#[test]
fn the_nearest_rule_is_none_that_nothing_could_meet() {
    let policies = "---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: a}
spec:
  podSelector: {}
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{podSelector: {matchExpressions: [{key: zone, operator: Exists}, {key: zone, operator: DoesNotExist}]}}]
  - from: [{podSelector: {matchLabels: {app: shop, tier: front}}}]
  egress:
  - ports: [{port: http}]
  - to: [{ipBlock: {cidr: 10.0.0.0/8}}]
";
    let manifests = pod("web", "") + &pod("db", "") + policies;
    let ran = asked_of(&manifests, "a/db", "a/web", "80");
    assert!(ran.stdout.contains("nearest is spec.ingress[1]"), "{}{}", ran.stdout, ran.stderr);
    let ran = asked_of(&manifests, "a/db", "192.0.2.1", "80");
    assert!(ran.stdout.contains("nearest is spec.egress[1]"), "{}", ran.stdout);
}

#[test]
fn a_pod_that_has_ended_is_said_to_have_and_not_to_be_missing() {
    let ended = pod("done", "phase: Succeeded").replace("name: done,", "name: done, resourceVersion: \"7\",");
    let manifests = ended + &pod("web", "");
    for to in ["a/done", "a/pod/done"] {
        let ran = asked_of(&manifests, "a/web", to, "80");
        failed(&ran, &["done: this Pod has ended, so that it has no connections and no policy concerns it"]);
    }
    failed(&asked_of(&manifests, "a/web", "a/deploy/done", "80"), &["there is no Deployment \"done\""]);
}
