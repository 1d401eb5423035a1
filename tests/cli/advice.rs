//! What findings say, where the words depend on what is found.

use ringfence_core::inventory::Cluster;
use ringfence_core::policy::lint::{self, Severity};
use ringfence_core::policy::parse;
use serde_json::{Value, json};

use crate::run::check;

fn found(manifests: &str, id: &str) -> Vec<Value> {
    let report = check(manifests, &["-o", "json"]).json();
    let findings = report["findings"].as_array().unwrap().iter();
    findings.filter(|finding| finding["id"] == id).cloned().collect()
}

fn policy(spec: &Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": { "name": "p", "namespace": "shop" },
        "spec": spec,
    })
}

#[test]
fn another_way_of_writing_the_same_block_is_information_and_another_block_to_other_readers_a_warning() {
    // As in a cluster, that holds what its API server took before 1.36; in files the others are errors.
    let of = |cidr: &str| {
        let policy = policy(&json!({ "podSelector": {}, "ingress": [{ "from": [{ "ipBlock": { "cidr": cidr } }] }] }));
        let (policy, notes) = parse::noted(&policy, parse::Source::Cluster).unwrap();
        let found = lint::policy(&policy, &notes, "shop", &Cluster::default());
        let found = found.into_iter().find(|finding| finding.lint.id == "noncanonical-cidr").unwrap();
        (found.severity, found.message.contains("something else"))
    };
    for cidr in ["FE80::/10", "2001:DB8::/32", "2001:0db8:0::/32"] {
        assert_eq!(of(cidr), (Severity::Info, false), "{cidr}");
    }
    for cidr in ["10.0.0.1/8", "2001:DB8::1/32", "010.0.0.0/8", "10.0.0.0/08", "::ffff:10.0.0.0/104"] {
        assert_eq!(of(cidr), (Severity::Warning, true), "{cidr}");
    }
}

#[test]
fn a_port_of_that_name_and_another_protocol_is_told_as_such() {
    let policy = policy(&json!({
        "podSelector": { "matchLabels": { "app": "db" } },
        "ingress": [{ "from": [{ "podSelector": {} }], "ports": [{ "protocol": "TCP", "port": "pg" }] }],
    }));
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "db", "namespace": "shop", "labels": { "app": "db" } },
        "spec": { "containers": [{ "name": "db", "ports": [
            { "name": "admin", "containerPort": 8080 },
            { "name": "pg", "containerPort": 5432, "protocol": "UDP" },
        ] }] },
    });
    let found = found(&format!("{policy}\n---\n{pod}"), "named-port-unresolved");
    assert_eq!(found[0]["fix"], "the containers' port \"pg\" (5432) is UDP: write protocol: UDP");
    assert_eq!(found[0]["snippet"], "- protocol: UDP\n  port: pg\n");
}

#[test]
fn pods_are_many_in_the_words_of_types_missing() {
    for (selector, who) in [(json!({}), "all pods"), (json!({ "matchLabels": { "app": "db" } }), "pods with app = db")]
    {
        let found = found(&policy(&json!({ "podSelector": selector })).to_string(), "types-missing");
        let message = found[0]["message"].as_str().unwrap();
        assert!(message.ends_with(&format!(": {who} can reach all that they could before")), "{message}");
    }
}

#[test]
fn too_many_ports_are_not_called_selectors_that_are_entangled() {
    let ports: Vec<Value> = (0..32_500).map(|n| json!({ "protocol": "TCP", "port": 1 + 2 * n })).collect();
    let deny = policy(&json!({
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{ "from": [{ "namespaceSelector": {} }], "ports": ports }],
    }));
    let said = check(&deny.to_string(), &[]).stdout;
    assert!(said.contains("\n  capped: there are too many selectors, peers or ports to judge exactly"), "{said}");
}

#[test]
fn of_more_than_are_reported_it_is_said_that_there_are_more() {
    let deny = |peers: usize| {
        let item = |n| json!({ "namespaceSelector": { "matchLabels": { "team": format!("t{n}") } } });
        let from: Vec<Value> = (0..peers).map(item).collect();
        policy(&json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{ "from": from }] }))
    };
    let ports = |count: u16| {
        let ports: Vec<Value> = (0..count).map(|n| json!({ "port": 1 + n })).collect();
        policy(&json!({ "podSelector": {}, "ingress": [{ "from": [{ "podSelector": {} }], "ports": ports }] }))
    };
    for (id, exactly, more) in
        [("spoofable-namespace", deny(20), deny(21)), ("protocol-implicit", ports(20), ports(21))]
    {
        let line = format!("\nand more of {id} in NetworkPolicy p of shop, which are left out\n");
        for (policy, says) in [(exactly, 0), (more, 1)] {
            let found = found(&policy.to_string(), id);
            let saying = |finding: &&Value| finding["fix"].as_str().unwrap().contains("more like this are left out");
            assert_eq!((found.len(), found.iter().filter(saying).count()), (20, says), "{id}");
            let text = check(&policy.to_string(), &[]).stdout;
            assert_eq!(text.matches(&line).count(), says, "{text}");
        }
    }
}

#[test]
fn a_block_that_is_advised_is_of_the_family_that_is_open() {
    for (cidr, advised) in [("0.0.0.0/0", "cidr: 203.0.113.0/24"), ("::/0", "cidr: 2001:db8::/32")] {
        let open = policy(&json!({ "podSelector": {}, "ingress": [{ "from": [{ "ipBlock": { "cidr": cidr } }] }] }));
        let nearly = json!([{ "ipBlock": { "cidr": cidr, "except": [if cidr == "::/0" { "fd00::/8" } else { "10.0.0.0/8" }] } }]);
        let nearly = policy(&json!({ "podSelector": {}, "ingress": [{ "from": nearly }] }));
        for policy in [open, nearly] {
            let found = found(&policy.to_string(), "open-world");
            let snippet = found[0]["snippet"].as_str().unwrap();
            assert!(snippet.contains(advised), "{snippet}");
        }
    }
}

#[test]
fn pods_are_told_of_in_words() {
    let selecting = |operator: &str, values: &[&str]| {
        let mut app = json!({ "key": "app", "operator": operator });
        if !values.is_empty() {
            app["values"] = json!(values);
        }
        let from = json!([{ "namespaceSelector": {}, "podSelector": { "matchExpressions": [app] } }]);
        policy(&json!({ "podSelector": { "matchExpressions": [app] }, "ingress": [{ "from": from }] })).to_string()
    };
    let without = found(&selecting("DoesNotExist", &[]), "open-cluster");
    let message =
        "pods with no label \"app\" can be reached from pods with no label \"app\" of every namespace on every port";
    assert!(without[0]["message"].as_str().unwrap().starts_with(message), "{without:?}");
    let with = found(&selecting("Exists", &[]), "spoofable-pod");
    let message = "pods with a label \"app\" can be reached from pods with a label \"app\" of every namespace";
    assert!(with[0]["message"].as_str().unwrap().starts_with(message), "{with:?}");
}

#[test]
fn that_no_pod_resolves_names_is_said_so() {
    let to = json!([{ "namespaceSelector": { "matchLabels": { "name": "kube-system" } } }]);
    let egress = json!([{ "to": to, "ports": [{ "protocol": "UDP", "port": 53 }, { "protocol": "TCP", "port": 53 }] }]);
    for (selector, message) in [
        (json!({}), "no pod can look names up: "),
        (json!({ "matchLabels": { "app": "web" } }), "pods with app = web can't look names up: "),
    ] {
        let policy = policy(&json!({ "podSelector": selector, "policyTypes": ["Egress"], "egress": egress }));
        let found = found(&policy.to_string(), "dns-wrong-target");
        assert!(found[0]["message"].as_str().unwrap().starts_with(message), "{found:?}");
    }
}
