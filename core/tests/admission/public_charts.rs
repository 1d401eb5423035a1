//! The NetworkPolicies of 20 popular charts, created one after the other in an isolated namespace under the defaults.
//!
//! `docs/public-charts.md` judges each outcome as the chart's owner would.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{Reply, World, creates, isolated, updates, with_profile};

/// Chart, policy, outcome.
const EXPECTED: [(&str, &str, &str); 58] = [
    ("airflow", "demo-airflow-redis-policy", "silent"),
    ("airflow", "demo-airflow-scheduler-policy", "silent"),
    ("airflow", "demo-airflow-statsd-policy", "silent"),
    ("airflow", "demo-airflow-triggerer-policy", "silent"),
    ("airflow", "demo-airflow-webserver-policy", "silent"),
    ("airflow", "demo-airflow-worker-policy", "silent"),
    ("argo-cd", "demo-argocd-application-controller", "silent"),
    ("argo-cd", "demo-argocd-notifications-controller", "silent"),
    ("argo-cd", "demo-argocd-repo-server", "silent"),
    ("argo-cd", "demo-argocd-server", "warned: ingress ALL*"),
    ("argo-cd", "demo-argocd-dex-server", "silent"),
    ("argo-cd", "demo-argocd-redis", "silent"),
    ("cert-manager", "demo-cert-manager-cainjector-allow-ingress", "silent"),
    ("cert-manager", "demo-cert-manager-cainjector-allow-egress", "warned: metadata-reachable, dns-any-destination"),
    ("cert-manager", "demo-cert-manager-allow-ingress", "silent"),
    ("cert-manager", "demo-cert-manager-allow-egress", "warned: metadata-reachable, dns-any-destination"),
    ("cert-manager", "demo-cert-manager-webhook-allow-ingress", "silent"),
    ("cert-manager", "demo-cert-manager-webhook-allow-egress", "warned: metadata-reachable, dns-any-destination"),
    ("flux2", "allow-egress", "warned: egress ALL, metadata-reachable"),
    ("flux2", "allow-scraping", "silent"),
    ("flux2", "allow-webhooks", "warned: ingress CLUSTER*"),
    ("grafana", "demo-grafana", "silent"),
    ("ingress-nginx", "demo-ingress-nginx-controller", "warned: metadata-reachable"),
    ("ingress-nginx", "demo-ingress-nginx-defaultbackend", "silent"),
    ("ingress-nginx", "demo-ingress-nginx-admission", "warned: metadata-reachable"),
    ("jenkins", "demo-jenkins-controller", "silent"),
    ("jenkins", "demo-jenkins-agent", "silent"),
    ("jupyterhub", "hub", "warned: metadata-reachable, except-readded"),
    ("jupyterhub", "proxy", "warned: metadata-reachable, except-readded"),
    ("jupyterhub", "singleuser", "silent"),
    ("kafka", "demo-kafka-controller", "warned: metadata-reachable"),
    ("keda", "keda-operator", "warned: spoofable-pod"),
    ("keda", "keda-operator-metrics-apiserver", "warned: spoofable-pod"),
    ("keda", "keda-admission-webhooks", "warned: spoofable-pod"),
    ("keycloakx", "demo-keycloakx", "silent"),
    ("kube-prometheus-stack", "demo-kube-prometheus-stack-alertmanager", "silent"),
    ("kube-prometheus-stack", "demo-kube-prometheus-stack-operator", "warned: metadata-reachable"),
    ("kube-prometheus-stack", "demo-kube-prometheus-stack-prometheus", "silent"),
    ("kube-prometheus-stack", "demo-kube-prometheus-stack-admission-create", "warned: metadata-reachable"),
    ("kube-prometheus-stack", "demo-kube-prometheus-stack-admission-patch", "warned: metadata-reachable"),
    ("kube-prometheus-stack", "demo-kube-state-metrics", "silent"),
    ("kube-prometheus-stack", "demo-prometheus-node-exporter", "silent"),
    ("kyverno", "kyverno-admission-controller", "warned: ingress ALL*"),
    ("kyverno", "kyverno-background-controller", "warned: ingress ALL*"),
    ("kyverno", "kyverno-cleanup-controller", "warned: ingress ALL*"),
    ("kyverno", "kyverno-reports-controller", "warned: ingress ALL*"),
    ("loki", "demo-loki-namespace-only", "silent"),
    ("loki", "demo-loki-egress-dns", "silent"),
    ("loki", "demo-loki-ingress", "silent"),
    ("loki", "demo-loki-ingress-metrics", "silent"),
    ("loki", "demo-loki-egress-alertmanager", "silent"),
    ("minio", "demo-minio-console", "warned: metadata-reachable"),
    ("minio", "demo-minio", "warned: metadata-reachable"),
    ("postgresql", "demo-postgresql", "warned: metadata-reachable"),
    ("prometheus", "demo-prometheus-server", "silent"),
    ("rabbitmq", "demo-rabbitmq", "warned: metadata-reachable"),
    ("redis", "demo-redis", "warned: metadata-reachable"),
    ("vault", "demo-vault", "silent"),
];

/// What `strict` denies, of the same policies.
const DENIED_BY_STRICT: [(&str, &str, &str); 6] = [
    ("argo-cd", "demo-argocd-server", "denied: BaselineWeakened ingress ALL*"),
    ("flux2", "allow-webhooks", "denied: BaselineWeakened ingress CLUSTER*"),
    ("kyverno", "kyverno-admission-controller", "denied: BaselineWeakened ingress ALL*"),
    ("kyverno", "kyverno-background-controller", "denied: BaselineWeakened ingress ALL*"),
    ("kyverno", "kyverno-cleanup-controller", "denied: BaselineWeakened ingress ALL*"),
    ("kyverno", "kyverno-reports-controller", "denied: BaselineWeakened ingress ALL*"),
];

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/public-charts")
}

/// The policies of a chart in the order in which they are stored, with what the API server adds before it asks a webhook.
#[allow(clippy::disallowed_methods, reason = "the core reads no files; a test may read its fixtures")]
fn policies(chart: &str) -> Vec<Value> {
    let text = fs::read_to_string(fixtures().join(format!("{chart}.yaml"))).unwrap();
    let mut policies: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    policies.iter_mut().for_each(add_defaults);
    policies
}

fn add_defaults(policy: &mut Value) {
    let spec = &mut policy["spec"];
    if spec.get("policyTypes").is_none() {
        let egress = spec.get("egress").is_some_and(|rules| rules != &json!([]));
        spec["policyTypes"] = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
    }
    for direction in ["ingress", "egress"] {
        let rules = spec.get_mut(direction).and_then(Value::as_array_mut);
        for port in rules.into_iter().flatten().filter_map(|rule| rule.get_mut("ports")?.as_array_mut()).flatten() {
            port.as_object_mut().unwrap().entry("protocol").or_insert_with(|| json!("TCP"));
        }
    }
}

/// `silent`, `warned: …` with the lints and hole classes, or `denied: …` with the reason code and the hole class.
fn outcome(reply: &Reply) -> String {
    if !reply.allowed {
        return format!("denied: {} {}", reply.reason, class(&reply.message));
    }
    let mut said: Vec<String> = Vec::new();
    for message in messages(&reply.warnings) {
        let said_of_it = lint(&message).map_or_else(|| class(&message), str::to_owned);
        if !said.contains(&said_of_it) {
            said.push(said_of_it);
        }
    }
    if said.is_empty() { "silent".to_owned() } else { format!("warned: {}", said.join(", ")) }
}

/// A warning that is too long continues on indented lines: one message for each that starts without an indent.
fn messages(warnings: &[String]) -> Vec<String> {
    let mut messages: Vec<String> = Vec::new();
    for line in warnings {
        match messages.last_mut().filter(|_| line.starts_with(' ')) {
            Some(message) => *message += line,
            None => messages.push(line.clone()),
        }
    }
    messages
}

/// The lint's id with which a finding ends.
fn lint(message: &str) -> Option<&str> {
    let id = message.strip_suffix(')')?.rsplit_once('(')?.1;
    id.chars().all(|c| c == '-' || c.is_ascii_lowercase()).then_some(id)
}

/// The direction and the class of the hole that a message is about.
fn class(message: &str) -> String {
    let words: Vec<&str> = message.split([' ', ':']).collect();
    let found = words.windows(2).find(|pair| ["ingress", "egress"].contains(&pair[0]));
    found.map_or_else(|| message.to_owned(), |pair| pair.join(" "))
}

/// The policies of every chart, each with what is said of its creation. What is denied is not stored.
fn admitted(isolated: impl Fn() -> World) -> Vec<(String, String, String)> {
    let files = fs::read_dir(fixtures()).unwrap().map(|entry| entry.unwrap().path());
    let charts: BTreeSet<String> = files.map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    let mut rows = Vec::new();
    for chart in charts {
        let mut world = isolated();
        for policy in policies(&chart) {
            let reply = world.validate(&creates(&policy));
            let name = policy["metadata"]["name"].as_str().unwrap().to_owned();
            rows.push((chart.clone(), name, outcome(&reply)));
            if reply.allowed {
                world = world.policy(&policy);
            }
        }
    }
    rows
}

fn borrowed(rows: &[(String, String, String)]) -> Vec<(&str, &str, &str)> {
    rows.iter().map(|(chart, policy, outcome)| (chart.as_str(), policy.as_str(), outcome.as_str())).collect()
}

#[test]
fn public_charts_under_the_defaults_are_silent_or_warned() {
    let rows = admitted(isolated);
    for (number, (row, expected)) in borrowed(&rows).iter().zip(&EXPECTED).enumerate() {
        assert_eq!(row, expected, "row {}", number + 1);
    }
    assert_eq!(rows.len(), EXPECTED.len());
    let count = |outcome: &str| EXPECTED.iter().filter(|row| row.2.starts_with(outcome)).count();
    let charts: BTreeSet<&str> = EXPECTED.iter().map(|row| row.0).collect();
    assert_eq!((charts.len(), count("denied"), count("warned"), count("silent")), (20, 0, 26, 32));
}

#[test]
fn public_charts_under_strict_are_denied_where_a_rule_names_neither_peers_nor_ports() {
    let mut rows = admitted(|| with_profile("strict"));
    rows.retain(|row| row.2.starts_with("denied"));
    assert_eq!(borrowed(&rows), DENIED_BY_STRICT);
}

/// What `docs/public-charts.md` says to write instead.
#[test]
fn public_charts_with_the_ports_named_are_silent_under_standard_and_strict() {
    let any_peer = |ports: &[u16]| json!([{ "ports": ports.iter().map(|port| json!({ "protocol": "TCP", "port": port })).collect::<Vec<_>>() }]);
    let cases = [
        ("argo-cd", "demo-argocd-server", any_peer(&[8080, 8083])),
        ("flux2", "allow-webhooks", any_peer(&[9090, 9292])),
        ("kyverno", "kyverno-admission-controller", any_peer(&[9443, 8000])),
        ("kyverno", "kyverno-background-controller", any_peer(&[8000])),
        ("kyverno", "kyverno-cleanup-controller", any_peer(&[9443, 8000])),
        ("kyverno", "kyverno-reports-controller", any_peer(&[8000])),
    ];
    assert_eq!(cases.each_ref().map(|case| case.1), DENIED_BY_STRICT.map(|row| row.1));
    for (chart, name, ingress) in cases {
        let mut policy = policies(chart).into_iter().find(|policy| policy["metadata"]["name"] == name).unwrap();
        policy["spec"]["ingress"] = ingress;
        isolated().validate(&creates(&policy)).passes_silently("Allowed");
        with_profile("strict").validate(&creates(&policy)).passes_silently("Allowed");
    }
}

/// The value that the Bitnami charts offer against `metadata-reachable` leads to the next warning.
#[test]
fn bitnami_postgresql_without_external_egress_is_warned_of_its_dns_rule() {
    let mut policy = policies("postgresql").remove(0);
    let dns = json!([{ "protocol": "UDP", "port": 53 }, { "protocol": "TCP", "port": 53 }]);
    let replicas = json!({ "matchLabels": {
        "app.kubernetes.io/instance": "demo", "app.kubernetes.io/name": "postgresql", "app.kubernetes.io/component": "read",
    } });
    policy["spec"]["egress"] = json!([
        { "ports": dns },
        { "to": [{ "podSelector": replicas }], "ports": [{ "protocol": "TCP", "port": 5432 }] },
    ]);
    let reply = isolated().validate(&creates(&policy));
    assert_eq!(outcome(&reply), "warned: dns-any-destination");
}

#[test]
fn public_charts_applied_again_are_silent() {
    let files = EXPECTED.iter().map(|row| row.0).collect::<BTreeSet<_>>();
    for chart in files {
        let stored = policies(chart);
        let world = stored.iter().fold(isolated(), World::policy);
        for policy in &stored {
            world.validate(&updates(policy, policy)).passes_silently("Allowed");
        }
    }
}
