//! The process itself: what it logs, that it drains, and what its metrics say.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::*;
use crate::run::{ask, serve};

#[test]
fn case_22_foreign_text_can_forge_no_log_line_and_objects_are_never_logged() {
    let directory = tempfile::tempdir().unwrap();
    let process = serve(directory.path(), "{}");
    let forged = "x\n{\"level\":\"INFO\",\"fields\":{\"message\":\"forged\"}}\r\n\u{1b}[31m";
    let mut connection = connect_to(process.address, &process.ca);
    let request = json!({
        "uid": forged, "name": forged, "namespace": "team-a", "resource": networkpolicies(),
        "userInfo": { "username": forged },
        "object": {
            "metadata": { "name": "open", "annotations": { "note": "s3cr3t-in-an-annotation" }, "labels": { "pass": "s3cr3t" } },
            "spec": { "podSelector": {}, "ingress": [{}] },
        },
    });
    let reply = connection.post("/validate", &review(&request));
    assert_eq!(reply.response()["allowed"], false);
    // A review that does not parse is not repeated in the log either.
    connection.post_bytes("/validate", b"{\"s3cr3t\": ");

    let mut denied = None;
    // The denial comes, however late; then whatever follows it.
    while let Ok(line) = process.logs.recv_timeout(Duration::from_secs(if denied.is_none() { 180 } else { 2 })) {
        let event: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not one JSON object a line: {line}"));
        assert!(!line.contains("s3cr3t"), "{line}");
        assert!(!line.contains('\u{1b}'), "{line}");
        assert_ne!(event["fields"]["message"], "forged");
        if event["fields"]["reason"] == "BaselineWeakened" {
            denied = Some(event);
        }
    }
    let denied = denied.expect("the denial is logged, with its reason");
    assert_eq!(denied["fields"]["user"], format!("{forged:?}"));
}

#[test]
fn sigterm_drains_the_server_answers_on_with_connection_close_and_exits_with_0() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = serve(directory.path(), "limits: {drain: 60s, drainDeadline: 60s}\n");
    assert_eq!(process.get("/readyz").0, 200);
    assert_eq!(process.get("/livez").0, 200);
    let request = review(&json!({ "name": "team-b", "namespace": "team-b", "object": adopted("team-b") }));
    let mut connection = connect_to(process.address, &process.ca);
    assert_eq!(connection.post("/validate", &request).header("connection"), None);

    process.signal("-TERM");
    until(|| (process.get("/readyz").0 == 503).then_some(()));
    assert_eq!(process.get("/livez").0, 200, "a draining process is alive");
    // Both the connection that was there and a new one are answered, and closed after it.
    for mut connection in [connection, connect_to(process.address, &process.ca)] {
        let reply = connection.post("/validate", &request);
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("connection"), Some("close"));
        assert!(connection.reply().is_none());
    }
    process.signal("-TERM");
    assert_eq!(process.end(), Some(0));
}

#[test]
fn a_second_sigterm_ends_the_draining_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = serve(directory.path(), "limits: {drain: 1h}\n");
    process.signal("-TERM");
    until(|| (process.get("/readyz").0 == 503).then_some(()));
    process.signal("-TERM");
    assert_eq!(process.end(), Some(0));
}

#[test]
fn neither_an_idle_connection_nor_a_request_that_never_ends_keeps_a_drained_process() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = serve(directory.path(), "limits: {drain: 1s, drainDeadline: 1s, bodyTimeout: 1h}\n");
    let mut idle = connect_to(process.address, &process.ca);
    idle.post("/validate", &review(&json!({ "name": "b", "namespace": "b", "object": {} })));
    let mut endless = connect_to(process.address, &process.ca);
    endless.send(head("/validate", "Content-Type: application/json\r\nContent-Length: 100").as_bytes()).unwrap();
    process.signal("-TERM");
    assert_eq!(process.end(), Some(0));
}

#[test]
fn what_is_admitted_is_reconciled_without_being_asked() {
    let directory = tempfile::tempdir().unwrap();
    let process = serve(directory.path(), "{}");
    let request = review(&json!({ "name": "team-b", "namespace": "team-b", "object": adopted("team-b") }));
    assert_eq!(connect_to(process.address, &process.ca).post("/validate", &request).response()["allowed"], true);
    let isolated = "ringfence_namespaces{state=\"isolated\"} 2";
    until(|| process.get("/metrics").1.contains(isolated).then_some(()));
}

#[test]
fn the_port_for_metrics_has_metrics_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let process = serve(directory.path(), "{}");
    let mut connection = connect_to(process.address, &process.ca);
    connection.post("/validate", &review(&json!({ "name": "b", "namespace": "b", "object": {} })));
    let (status, metrics) = process.get("/metrics");
    assert_eq!(status, 200);
    assert!(metrics.contains("ringfence_namespaces{state=\"isolated\"} 1"), "{metrics}");
    assert!(metrics.contains("reason=\"BaselineMissing\"} 1"), "{metrics}");
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    for path in ["/livez", "/readyz", "/validate", "/"] {
        assert_eq!(ask(process.metrics, path).unwrap().0, 404, "{path}");
    }
}

#[test]
fn no_text_of_a_request_becomes_a_label_of_a_metric() {
    let directory = tempfile::tempdir().unwrap();
    let process = serve(directory.path(), "{}");
    let mut connection = connect_to(process.address, &process.ca);
    // What a busy machine adds: a call that waited too long for its turn is answered with 503.
    let is_late = |line: &str| line.contains("reason=\"late\"") || line.contains("code=\"503\"");
    let series = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !is_late(line));
        lines.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
    };
    let mut first = BTreeSet::new();
    // The files of the certificate are read for the first time soon after the start.
    until(|| process.get("/metrics").1.contains("ringfence_certificate_source_refused{").then_some(()));
    for round in 0..50 {
        let hostile = format!("h0st1le-{round}\"}} 1\nforged{{a=\"");
        for resource in [
            json!({ "group": "", "version": "v1", "resource": "namespaces" }),
            json!({ "group": hostile, "version": hostile, "resource": hostile }),
            networkpolicies(),
        ] {
            let labels = json!({ "ringfence.dev/profile": hostile, "ringfence.dev/mode": hostile });
            let request = json!({
                "uid": hostile, "name": hostile, "namespace": hostile, "resource": resource, "subResource": hostile,
                "kind": { "group": hostile, "version": hostile, "kind": hostile },
                "userInfo": { "username": hostile, "groups": [hostile] },
                "object": { "metadata": { "name": hostile, "labels": labels }, "spec": { "podSelector": {} } },
            });
            connection.post("/validate", &review(&request));
            connection.post("/mutate", &review(&request));
        }
        let operation = review(&json!({ "operation": hostile }));
        assert_eq!(connection.post("/validate", &operation).status, 400);
        if round == 0 {
            first = series(&process.get("/metrics").1);
        }
    }
    let text = process.get("/metrics").1;
    assert!(!text.contains("h0st1le") && !text.contains("forged"), "{text}");
    let more: Vec<_> = series(&text).difference(&first).cloned().collect();
    assert!(more.is_empty(), "{more:?}");
}
