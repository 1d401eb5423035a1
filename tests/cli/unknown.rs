//! Fields that the API does not have, as `check` tells of them.

use serde_json::Value;

use crate::run::{Ran, check};

/// What is found, as line, column and path; nothing else is looked for.
fn found(ran: &Ran) -> Vec<(u64, u64, String)> {
    let report = ran.json();
    let of_lint = report["findings"].as_array().unwrap().iter().filter(|finding| finding["id"] == "unknown-field");
    let number = |finding: &Value, key: &str| finding[key].as_u64().unwrap();
    of_lint
        .map(|finding| {
            (number(finding, "line"), number(finding, "column"), finding["path"].as_str().unwrap().to_owned())
        })
        .collect()
}

/// A baseline that has its DNS beside what is judged, so that nothing else is wrong with it.
fn with_baseline(metadata: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: p, namespace: team-a{metadata}}}
spec: {spec}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: deny, namespace: team-a}}
spec:
  podSelector: {{}}
  policyTypes: [Ingress, Egress]
  egress:
  - to: [{{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: kube-system}}}}}}]
    ports: [{{port: 53, protocol: UDP}}, {{port: 53, protocol: TCP}}]
"
    )
}

const SLIP: &str = "{podSelector: {app: web}, policyTypes: [Ingress]}";

#[test]
fn a_field_that_is_none_fails_at_its_key_and_the_verdict_stays_that_of_what_is_stored() {
    let ran = check(&with_baseline("", SLIP), &["-o", "json"]);
    assert_eq!((ran.code, ran.json()["namespaces"][0]["state"].as_str()), (1, Some("isolated")), "{}", ran.stdout);
    assert_eq!(found(&ran), [(4, 22, "spec.podSelector.app".to_owned())]);
    let as_json = r#"{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "p", "namespace": "a"},
  "spec": {"podSelector": {}, "ingres": [{}]}, "x-note": 1}"#;
    let paths = [(2, 31, "spec.ingres".to_owned()), (2, 48, "x-note".to_owned())];
    assert_eq!(found(&check(as_json, &["-o", "json"])), paths);
}

#[test]
fn it_is_switched_off_like_any_other_lint_and_mended_by_no_machine() {
    let manifests = with_baseline(", annotations: {ringfence.dev/ignore-unknown-field: read by another tool}", SLIP);
    let ran = check(&manifests, &["-o", "json"]);
    assert_eq!((ran.code, found(&ran)), (0, vec![]), "{}", ran.stdout);
    assert_eq!(ran.json()["accepted"].as_array().map(Vec::len), Some(1));
    let fixed = check(&with_baseline("", SLIP), &["--fix"]);
    assert_eq!(fixed.stdout, "");
    let misnamed = with_baseline(", annotations: {ringfence.dev/ignore-unknown-fields: read by another tool}", SLIP);
    assert_eq!(check(&misnamed, &[]).code, 1);
}

#[test]
fn a_policy_that_no_api_server_takes_names_the_field_that_it_may_come_from() {
    let ran = check(&with_baseline("", "{podSelector: {}, ingress: [{from: [{podSelectr: {}}]}]}"), &["-o", "json"]);
    assert_eq!(ran.code, 2);
    let message = &ran.json()["problems"][0]["message"];
    assert!(message.as_str().unwrap().ends_with("\"podSelectr\" is no field there"), "{message}");
}
