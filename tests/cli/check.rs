//! `ringfence check`: verdicts, exit codes, and the form of the JSON.

use std::path::Path;

use serde_json::{Value, json};

use crate::run::{self, Ran};

/// A deny-all lets no DNS through, which is an error of its own: here it is about states and reading.
const STATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/config/states.yaml");

fn ringfence_in(directory: &Path, arguments: &[&str], stdin: &str) -> Ran {
    run::ringfence_in(directory, &[arguments, &["--config", STATES]].concat(), stdin)
}

fn ringfence(arguments: &[&str]) -> Ran {
    ringfence_in(Path::new(env!("CARGO_MANIFEST_DIR")), arguments, "")
}

fn check(manifests: &str, arguments: &[&str]) -> Ran {
    ringfence_in(Path::new("."), &[&["check", "-"], arguments].concat(), manifests)
}

const DENY: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: team-a, annotations: {ringfence.dev/ignore-dns-missing: not what is tested}}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
";

fn namespace(name: &str, more: &str) -> String {
    format!("---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n{more}")
}

fn labelled(name: &str, labels: &str, annotations: &str) -> String {
    namespace(name, &format!("  labels: {{{labels}}}\n  annotations: {{{annotations}}}\n"))
}

/// The only namespace of a report.
fn only(report: &Value) -> &Value {
    assert_eq!(report["namespaces"].as_array().unwrap().len(), 1, "{report}");
    &report["namespaces"][0]
}

#[test]
fn the_guide_after_step_1_only_has_no_isolation_for_egress() {
    let ran = ringfence(&["check", "tests/fixtures/guide/step-1.yaml", "-o", "json"]);
    let report = ran.json();
    let backend = only(&report);
    assert_eq!(backend["name"], "backend");
    assert_eq!(backend["state"], "exposed");
    assert_eq!(backend["ingress"], json!({ "coverage": "complete", "witness": null, "holes": [] }));
    assert_eq!(backend["egress"], json!({ "coverage": "absent", "witness": null, "holes": [] }));
    assert_eq!(report["findings"][0]["id"], "baseline-incomplete");
    assert_eq!(ran.code, 1);
}

#[test]
fn the_guide_after_step_4_isolates_backend() {
    let steps = ["1", "2", "3", "4"].map(|step| format!("tests/fixtures/guide/step-{step}.yaml"));
    let mut arguments = vec!["check", "-o", "json"];
    arguments.extend(steps.iter().map(String::as_str));
    let ran = ringfence(&arguments);
    let report = ran.json();
    assert_eq!(only(&report)["state"], "isolated");
    assert_eq!(only(&report)["egress"]["holes"], json!([]), "DNS to kube-system, and one address, are no holes");
    assert_eq!(ran.code, 0);
}

#[test]
fn the_guide_after_step_5_isolates_production_with_dns_noted() {
    let ran = ringfence(&["check", "tests/fixtures/guide/step-5.yaml", "-o", "json"]);
    let report = ran.json();
    let production = only(&report);
    assert_eq!(production["state"], "isolated");
    assert_eq!(production["ingress"]["holes"], json!([]));
    assert_eq!(
        production["egress"]["holes"],
        json!([{ "kind": "PORTS", "some": false, "policies": ["allow-dns"], "witness": null,
            "ports": ["TCP/53", "UDP/53"], "peers": "any", "share": null }])
    );
    assert_eq!(ran.code, 0);
}

#[test]
fn the_whole_json_has_the_promised_form() {
    let manifests = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: p
  namespace: team-a
spec:
  podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [x]}]}
  policyTypes: [Ingress, Egress]
  egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: q, namespace: team-a}
spec: {podSelector: {}, policyTypes: [Ingress]}
";
    let ran = check(manifests, &["-o", "json"]);
    let fix = "add a NetworkPolicy with podSelector: {} and policyTypes: [Egress], and one that lets every pod reach the \
               cluster's resolver (kube-dns in kube-system in most clusters; --cluster-dns says where this one resolves); or all \
               of the baseline: ringfence render --profile standard --namespace team-a";
    let message = "team-a: egress is isolated for some pods only: a pod with labels app=x escapes every policy, it can reach \
                   anything in the cluster and beyond";
    let mut report = ran.json();
    // What the lints besides find of these policies is said by their fixtures.
    report["findings"].as_array_mut().unwrap().retain(|finding| finding["id"] == "baseline-incomplete");
    let snippet = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: default-deny-egress\n  namespace: \
                   team-a\nspec:\n  podSelector: {}\n  policyTypes:\n  - Egress\n";
    assert_eq!(
        report,
        json!({
            "version": 1,
            "capped": false,
            "namespaces": [{
                "name": "team-a", "state": "exposed", "profile": "standard", "accepted": false,
                "ingress": { "coverage": "complete", "witness": null, "holes": [] },
                "egress": { "coverage": "partial", "witness": { "app": "x" }, "holes": [
                    { "kind": "W4", "some": false, "policies": ["p"], "witness": {}, "ports": null, "peers": null,
                      "share": 1.0 },
                ] },
            }],
            "findings": [{
                "id": "baseline-incomplete", "severity": "error",
                "object": { "kind": "Namespace", "namespace": "team-a", "name": "team-a" },
                "path": "", "message": message, "fix": fix, "file": "-", "line": 1, "column": 1,
                "snippet": snippet, "docs": "docs/lints/baseline-incomplete.md",
            }],
            "accepted": [],
            "problems": [],
        })
    );
}

/// Each of these passed while only every peer on every port was a hole.
#[test]
fn case_72_nearly_everything_is_a_hole_and_fails() {
    let from_namespaces = |requirement: &str| {
        format!(
            "podSelector: {{}}, ingress: [{{from: [{{namespaceSelector: {{matchExpressions: [{{{requirement}}}]}}}}]}}]"
        )
    };
    for (name, spec, kind) in [
        (
            "the world but one address",
            "podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.1/32]}}]}]".to_owned(),
            "W4",
        ),
        (
            "every namespace but one",
            from_namespaces("key: kubernetes.io/metadata.name, operator: NotIn, values: [nope]"),
            "CLUSTER",
        ),
        ("governed namespaces", from_namespaces("key: ringfence.dev/mode, operator: Exists"), "CLUSTER"),
        (
            "pods without a label",
            "podSelector: {matchExpressions: [{key: nope, operator: DoesNotExist}]}, ingress: [{}]".to_owned(),
            "ALL",
        ),
        ("all of TCP", "podSelector: {}, ingress: [{ports: [{protocol: TCP}]}]".to_owned(), "ALL"),
    ] {
        let wide = DENY.replace("deny", "wide").replace("podSelector: {}, policyTypes: [Ingress, Egress]", &spec);
        assert!(wide.contains(&spec), "{wide}");
        let ran = check(&format!("{DENY}---\n{wide}"), &["-o", "json"]);
        let report = ran.json();
        let namespace = only(&report);
        assert_eq!(
            (namespace["ingress"]["holes"][0]["kind"].as_str(), ran.code),
            (Some(kind), 1),
            "{name}: {report:#}"
        );
        assert_eq!(namespace["state"], "exposed", "{name}");
    }
}

#[test]
fn the_networks_of_the_cluster_make_a_block_the_cluster() {
    let block = DENY.replace("deny", "block").replace(
        "policyTypes: [Ingress, Egress]",
        "policyTypes: [Ingress], ingress: [{from: [{ipBlock: {cidr: 10.244.0.0/16, except: [10.244.0.1/32]}}]}]",
    );
    let manifests = format!("{DENY}---\n{block}");
    let holes = |arguments: &[&str]| {
        let report = check(&manifests, &[&["-o", "json"], arguments].concat()).json();
        only(&report)["ingress"]["holes"].clone()
    };
    assert_eq!(holes(&[]), json!([]));
    assert_eq!(holes(&["--cluster-cidr", "10.244.0.0/16"])[0]["kind"], "CLUSTER");
    assert_eq!(holes(&["--cluster-cidr", "10.96.0.0/12"]), json!([]));
}

#[test]
fn exit_code_is_0_only_where_every_namespace_is_isolated_exempt_or_excluded() {
    let world = DENY.replace("deny", "world").replace(
        "policyTypes: [Ingress, Egress]",
        "policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]",
    );
    let public = DENY
        .replace("deny", "public")
        .replace("podSelector: {}", "podSelector: {matchLabels: {app: web}}")
        .replace("policyTypes: [Ingress, Egress]", "policyTypes: [Ingress], ingress: [{}]");
    let enforce = "ringfence.dev/mode: enforce, ringfence.dev/profile: standard";
    let until = "2026-01-01T00:00:00Z";
    let soon = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24)).to_string();
    let exempt = |annotations: &str| labelled("team-a", "ringfence.dev/mode: exempt", annotations);
    let cases = [
        (DENY.to_owned(), "isolated", 0),
        (format!("{DENY}---\n{world}"), "isolated", 0),
        (format!("{DENY}---\n{public}"), "weakened", 1),
        (namespace("team-a", ""), "exposed", 1),
        (labelled("team-a", enforce, ""), "pending", 1),
        (labelled("team-a", &format!("{enforce}, ringfence.dev/isolated: \"true\""), ""), "pending", 1),
        // Effective, and without what the profile has. A label that a manifest brings along counts for nothing.
        (format!("{DENY}{}", labelled("team-a", enforce, "")), "pending", 1),
        (
            format!("{DENY}{}", labelled("team-a", &format!("{enforce}, ringfence.dev/isolated: \"true\""), "")),
            "pending",
            1,
        ),
        (exempt(&format!("ringfence.dev/exempt-reason: why, ringfence.dev/exempt-until: \"{soon}\"")), "exempt", 0),
        (exempt(&format!("ringfence.dev/exempt-reason: why, ringfence.dev/exempt-until: \"{until}\"")), "pending", 1),
        (namespace("kube-system", ""), "excluded", 0),
        (labelled("team-a", "ringfence.dev/mode: warn", ""), "exposed", 1),
    ];
    for (manifests, state, code) in cases {
        let ran = check(&manifests, &["-o", "json"]);
        assert_eq!((only(&ran.json())["state"].as_str().unwrap(), ran.code), (state, code), "{manifests}");
    }
}

#[test]
fn exit_code_is_2_on_whatever_could_not_be_read_and_the_rest_is_judged_all_the_same() {
    for (manifests, says) in [
        (String::new(), "there is no object in it"),
        ("---\n# nothing\n---\n".to_owned(), "there is no object in it"),
        ("foo: [\n".to_owned(), "-:1:6: unclosed bracket"),
        (format!("{DENY}---\nfoo: bar\n"), "-:6:1: this is no Kubernetes object"),
        (DENY.replace("podSelector: {}", "podSelector: {a: b, a: c}"), "duplicate"),
        (DENY.replace("Egress]", "Egres]"), "spec.policyTypes[1]: \"Egres\": no policy type; use Ingress or Egress"),
        (DENY.replace("podSelector: {}", "podSelector: []"), "spec.podSelector: invalid type: sequence"),
        (format!("{DENY}---\n{DENY}"), "a second NetworkPolicy \"deny\""),
        (DENY.replace("name: deny, ", ""), "a NetworkPolicy needs a name"),
        (
            format!("{}---\n{}", labelled("team-a", "a: b", ""), labelled("team-a", "a: c", "")),
            "a second Namespace \"team-a\", with other labels or annotations",
        ),
        (
            DENY.replace("networking.k8s.io/v1", "extensions/v1beta1"),
            "apiVersion: no API server has this kind as \"extensions/v1beta1\"; write networking.k8s.io/v1",
        ),
        (
            DENY.replace("NetworkPolicy", "Networkpolicy"),
            "kind: \"Networkpolicy\" is none; write NetworkPolicy, of apiVersion networking.k8s.io/v1",
        ),
        (
            labelled("team-a", "ringfence.dev/profile: none-such", ""),
            "no such profile; choose one of deny-all, standard, strict",
        ),
    ] {
        let ran = check(&manifests, &[]);
        assert_eq!(ran.code, 2, "{manifests}");
        assert!(ran.stderr.contains(says), "{manifests}: {}", ran.stderr);
    }
    let ran = check(&format!("{DENY}---\na: 1\na: 2\n---\n{}", DENY.replace("team-a", "team-b")), &["-o", "json"]);
    assert_eq!(ran.code, 2);
    assert_eq!(ran.json()["namespaces"].as_array().unwrap().len(), 2, "one bad document does not hide the others");
    let ran = ringfence(&["check", "no/such/file.yaml"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("no/such/file.yaml: failed to read"), "{}", ran.stderr);
    assert_eq!(ringfence(&["check"]).code, 2);
    assert_eq!(ringfence(&["check", "x", "--profile", "none-such"]).code, 2);
    let ran = ringfence(&["check", "x", "-n", "Team A"]);
    assert!(ran.code == 2 && ran.stderr.contains("'Team A' for '--namespace <NAMESPACE>'"), "{}", ran.stderr);
    let twice = labelled("team-a", "a: b", "") + "---\n" + &labelled("team-a", "a: b", "") + "---\n" + DENY;
    assert_eq!(check(&twice, &["--profile", "deny-all"]).code, 0, "the same Namespace again says nothing else");
}

const OPEN: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: open, namespace: team-a, annotations: {ringfence.dev/ignore-unknown-field: anchors stand in them}}
";

#[test]
fn merge_keys_count_where_everyone_reads_them_alike_and_are_refused_where_kubectl_reads_more() {
    let anchors = "open: &open {ingress: [{}]}\nnone: &none {ingress: []}\n";
    for (spec, code) in [
        ("{<<: *open, podSelector: {}}", 1),
        ("{<<: [*none, *open], podSelector: {}}", 0),
        ("{<<: *open, ingress: []}", 0),
        ("{\"<<\": *open, podSelector: {}}", 0),
        ("{ingress: [], <<: *open}", 2),
        ("{<<: *none, <<: *open}", 2),
    ] {
        let ran = check(&format!("{DENY}---\n{anchors}{OPEN}spec: {spec}\n"), &[]);
        assert_eq!(ran.code, code, "{spec}: {}", ran.stderr);
        assert!(code != 2 || ran.stderr.starts_with("ringfence: -:11:"), "{}", ran.stderr);
    }
}

#[test]
fn json_with_a_key_twice_is_refused_whatever_else_is_in_it() {
    for text in ["x", "\u{7f}", "\u{2028}", "\\ud83d\\ude00"] {
        let once = format!(
            "{{\"apiVersion\":\"networking.k8s.io/v1\",\"kind\":\"NetworkPolicy\",\"metadata\":{{\"name\":\"deny\",\"namespace\":\
             \"team-a\",\"annotations\":{{\"x\":\"{text}\"}}}},\"spec\":{{\"policyTypes\":[\"Ingress\",\"Egress\"]}}}}"
        );
        assert_eq!(check(&once, &["--profile", "deny-all"]).code, 0, "{text:?}");
        // The API server merges the two, and stores a policy that lets everything in.
        let ran = check(&once.replace("\"spec\":", "\"spec\":{\"ingress\":[{}]},\"spec\":"), &[]);
        assert_eq!(ran.code, 2, "{text:?}");
        assert!(ran.stderr.contains("duplicate"), "{}", ran.stderr);
    }
}

#[test]
fn keys_that_are_one_for_the_api_server_are_duplicates() {
    let selector = "spec: {podSelector: {matchLabels: {1: a, \"1\": b}}}";
    let ran = check(&format!("{DENY}---\n{OPEN}{selector}\n"), &[]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("duplicate key \"1\""), "{}", ran.stderr);
}

#[test]
fn after_json_may_come_a_comment_or_another_yaml_document_but_nothing_else() {
    let json = "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"team-a\"}}";
    assert_eq!(check(&format!("{json}\n# the rest\n---\n{DENY}"), &[]).code, 0);
    let ran = check(&format!("{json}\nrest\n"), &[]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("-:2:1: expected value"), "{}", ran.stderr);
}

#[test]
fn what_is_not_utf_8_is_said_to_be_so_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        std::fs::write(directory.path().join(name), bytes).unwrap();
        ringfence_in(directory.path(), &["check", name], "")
    };
    let ran = file("latin-1.yaml", &[DENY.as_bytes(), b"# caf\xe9\n"].concat());
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("latin-1.yaml:5:6: not UTF-8"), "{}", ran.stderr);
    let utf_16: Vec<u8> = format!("\u{feff}{DENY}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let ran = file("utf-16.yaml", &utf_16);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("utf-16.yaml:1:1: this is UTF-16, which is not read; write it in UTF-8"),
        "{}",
        ran.stderr
    );
    assert_eq!(file("marked.yaml", format!("\u{feff}{DENY}").as_bytes()).code, 0);
}

#[test]
fn what_the_api_server_has_no_place_for_is_not_passed_over() {
    for (object, says) in [
        (
            "apiVersion: v2\nkind: Namespace\nmetadata: {name: team-a}\n",
            "-:6:1: Namespace \"team-a\": apiVersion: no API server has this kind as \"v2\"; write v1",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: no}\n",
            "-:8:21: Pod \"a\": metadata.namespace: this is no text",
        ),
        ("apiVersion: v1\nkind: List\nitems: {a: b}\n", "-:8:1: items: the items of a List must be a list"),
    ] {
        let ran = check(&format!("{DENY}---\n{object}"), &[]);
        assert_eq!(ran.code, 2, "{object}");
        assert!(ran.stderr.contains(says), "{}", ran.stderr);
    }
    assert_eq!(check(&format!("{DENY}---\napiVersion: v1\nkind: List\nitems: null\n"), &[]).code, 0);
}

#[cfg(unix)]
#[test]
fn a_link_to_a_directory_is_not_followed_and_a_link_to_nothing_is_said() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("deny.yaml"), DENY).unwrap();
    std::os::unix::fs::symlink(".", directory.path().join("circle")).unwrap();
    let check = || ringfence_in(directory.path(), &["check", "."], "");
    assert_eq!(check().code, 0);
    std::os::unix::fs::symlink("gone", directory.path().join("gone.yaml")).unwrap();
    assert_eq!(check().code, 2);
    assert!(check().stderr.contains("gone.yaml: failed to read"));
}

#[test]
fn any_namespaced_object_makes_its_namespace_appear_and_one_without_takes_n_else_default() {
    let names = |manifests: &str, arguments: &[&str]| -> Vec<String> {
        let report = check(manifests, &[arguments, &["-o", "json"]].concat()).json();
        report["namespaces"].as_array().unwrap().iter().map(|ns| ns["name"].as_str().unwrap().to_owned()).collect()
    };
    let set = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: team-c}\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: b}\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: c}\n---\napiVersion: cert-manager.io/v1\nkind: ClusterIssuer\nmetadata: {name: d}\n";
    assert_eq!(names(set, &[]), ["default", "team-c"]);
    assert_eq!(names(set, &["-n", "mine"]), ["mine", "team-c"]);
}

#[test]
fn json_lists_and_several_json_documents_are_read_and_placed() {
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "team-a" } },
        { "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": { "name": "d", "namespace": "team-a" },
          "spec": { "podSelector": {}, "policyTypes": ["Ingress", "Egress"] } },
    ] });
    let ran = check(&serde_json::to_string_pretty(&list).unwrap(), &["-o", "json", "--profile", "deny-all"]);
    assert_eq!((only(&ran.json())["state"].as_str(), ran.code), (Some("isolated"), 0));
    let two = "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"a\"}}\n\n{\"apiVersion\":\"v1\",\n  \"kind\":\"Namespace\",\"metadata\":{\"name\":\"b\"}}\n";
    let report = check(two, &["-o", "json"]).json();
    let lines: Vec<&Value> = report["findings"].as_array().unwrap().iter().map(|finding| &finding["line"]).collect();
    assert_eq!(lines, [1, 1, 3, 3]);
}

#[test]
fn json_keys_may_be_long_and_its_strings_may_hold_surrogates() {
    let text = format!(
        "{{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{{\"name\":\"a\",\"namespace\":\"b\"}},\"data\":{{\"{}\":\"\\ud83d\\ude00\"}}}}",
        "k".repeat(2000)
    );
    let ran = check(&text, &["-o", "json"]);
    assert_eq!((only(&ran.json())["name"].as_str(), ran.code), (Some("b"), 1), "{}", ran.stderr);
}

#[test]
fn a_policy_of_another_api_group_does_not_count() {
    let ran = check(&DENY.replace("networking.k8s.io/v1", "crd.projectcalico.org/v1"), &["-o", "json"]);
    assert_eq!(only(&ran.json())["state"], "exposed");
}

#[test]
fn a_hostile_set_is_said_to_be_capped_and_counts_as_exposed() {
    // Nine pigeons do not fit into eight holes, so every pod is selected, but that takes long to find out.
    let holes: Vec<String> = (1..9).map(|hole| format!("h{hole}")).collect();
    let is = |pigeon: usize, operator: &str, values: &[String]| json!({ "key": format!("k{pigeon}"), "operator": operator, "values": values });
    let homeless = (0..9).map(|pigeon| vec![is(pigeon, "NotIn", &holes)]);
    let pairs = (0..9).flat_map(|a| (0..a).map(move |b| (a, b)));
    let crowded =
        holes.chunks(1).flat_map(|hole| pairs.clone().map(move |(a, b)| vec![is(a, "In", hole), is(b, "In", hole)]));
    let items: Vec<Value> = homeless
        .chain(crowded)
        .enumerate()
        .map(|(i, requirements)| {
            json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                "metadata": { "name": format!("p{i}"), "namespace": "team-a" },
                "spec": { "podSelector": { "matchExpressions": requirements }, "policyTypes": ["Ingress", "Egress"] },
            })
        })
        .collect();
    let ran = check(&json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string(), &["-o", "json"]);
    let report = ran.json();
    assert_eq!(report["capped"], true);
    assert_eq!(only(&report)["ingress"], json!({ "coverage": "partial", "witness": null, "holes": [] }));
    assert_eq!((only(&report)["state"].as_str(), ran.code), (Some("exposed"), 1));
}

#[test]
fn vector_47_a_pod_on_the_host_network_changes_no_verdict_and_is_reported() {
    let pod = |name: &str, phase: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: team-a, resourceVersion: \"7\"}}\nspec: {{hostNetwork: true}}\nstatus: {{phase: {phase}}}\n"
        )
    };
    let ran = check(&format!("{DENY}{}{}", pod("node-agent", "Running"), pod("done", "Succeeded")), &[]);
    assert_eq!(ran.code, 0);
    assert!(
        ran.stdout.contains("hostNetwork: NetworkPolicies do not hold back \"node-agent\" in most CNIs"),
        "{}",
        ran.stdout
    );
}

#[cfg(unix)]
#[test]
fn a_mounted_config_map_is_read_once() {
    let directory = tempfile::tempdir().unwrap();
    let real = directory.path().join("..2026_11_22");
    std::fs::create_dir(&real).unwrap();
    std::fs::write(real.join("deny.yaml"), DENY).unwrap();
    std::os::unix::fs::symlink("..2026_11_22", directory.path().join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/deny.yaml", directory.path().join("deny.yaml")).unwrap();
    let ran = ringfence(&["check", directory.path().to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn the_text_says_it_in_terms_of_traffic() {
    let ran = ringfence(&["check", "tests/fixtures/guide/step-1.yaml"]);
    insta::assert_snapshot!(ran.stdout);
}

#[test]
fn what_manifests_say_can_not_act_on_a_terminal() {
    let hostile = "a\\e[31m\\u202e\\nforged";
    let manifests = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: \"{hostile}\"}}\n---\n\
         apiVersion: v1\nkind: Namespace\nmetadata: {{name: b, labels: {{ringfence.dev/profile: \"{hostile}\"}}}}\n---\n\
         apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: \"{hostile}\", namespace: c}}\n\
         spec: {{podSelector: {{}}, ingress: [{{}}]}}\n---\n\
         apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: d, namespace: c}}\n\
         spec: {{podSelector: {{matchLabels: {{\"{hostile}\": v}}}}}}\n"
    );
    let ran = ringfence_in(Path::new("."), &["check", "-"], &manifests);
    let said = ran.stdout + &ran.stderr;
    assert!(said.contains("[31m"), "{said}");
    assert!(!said.contains(['\u{1b}', '\u{202e}']) && !said.lines().any(|line| line.starts_with("forged")), "{said:?}");
}
