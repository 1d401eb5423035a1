//! Cases 1 to 24: input.

use serde_json::{Value, json};

use crate::harness::*;

fn namespace_request(name: &str) -> Value {
    json!({ "name": name, "namespace": name, "resource": namespaces(), "object": adopted(name) })
}

fn deny_all(name: &str) -> Value {
    json!({
        "metadata": { "name": name, "namespace": "team-a" },
        "spec": { "podSelector": {}, "policyTypes": ["Ingress", "Egress"] },
    })
}

#[test]
fn case_01_malformed_json_is_a_400() {
    let server = server();
    for body in ["", "{", "nul", "[]", "\"text\"", "{\"apiVersion\":}", "{}{}", "{\"request\": 1e999999}"] {
        let reply = server.post_bytes("/validate", body.as_bytes());
        assert_eq!(reply.status, 400, "{body}: {}", reply.text());
        assert!(reply.text().starts_with("ringfence: "), "{}", reply.text());
    }
    assert_eq!(server.decided(), 0);
}

#[test]
fn case_02_a_truncated_body_is_not_evaluated() {
    let server = server();
    let body = serde_json::to_vec(&review(&namespace_request("team-a"))).unwrap();
    let mut connection = server.connect();
    let head = head("/validate", &format!("Content-Type: application/json\r\nContent-Length: {}", body.len()));
    connection.send(head.as_bytes()).unwrap();
    connection.send(&body[..body.len() / 2]).unwrap();
    connection.finish_sending();
    if let Some(reply) = connection.reply() {
        assert_eq!(reply.status, 400, "{}", reply.text());
    }
    assert_eq!(server.decided(), 0);
    assert!(server.app.cluster().namespace("team-a").is_none());
}

#[test]
fn case_03_a_wrong_content_type_is_a_415() {
    let server = server();
    let body = serde_json::to_vec(&review(&namespace_request("team-a"))).unwrap();
    for (header, expected) in [
        ("X-Nothing: 1", 415),
        ("Content-Type: text/plain", 415),
        ("Content-Type: application/yaml", 415),
        ("Content-Type: application/json-patch+json", 415),
        ("Content-Type: application/json", 200),
        ("Content-Type: application/json; charset=utf-8", 200),
        ("content-type: Application/JSON", 200),
        ("Content-Type: application/json\r\nContent-Type: text/plain", 415),
    ] {
        let mut connection = server.connect();
        let head = head("/validate", &format!("{header}\r\nContent-Length: {}", body.len()));
        connection.send(head.as_bytes()).unwrap();
        connection.send(&body).unwrap();
        assert_eq!(connection.reply().unwrap().status, expected, "{header}");
    }
}

#[test]
fn case_04_a_gzip_body_is_a_415_and_never_inflated() {
    let server = server();
    let body = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0];
    for encodings in ["Content-Encoding: gzip", "Content-Encoding: identity\r\nContent-Encoding: gzip"] {
        let mut connection = server.connect();
        let headers = format!("Content-Type: application/json\r\n{encodings}\r\nContent-Length: {}", body.len());
        connection.send(head("/validate", &headers).as_bytes()).unwrap();
        connection.send(&body).unwrap();
        let reply = connection.reply().unwrap();
        assert_eq!(reply.status, 415);
        assert!(reply.text().contains("Content-Encoding"));
    }
}

/// A review with two policies that carry so many bytes of annotation between them.
fn large_update(bytes: usize) -> Vec<u8> {
    let mut object = deny_all("default-deny");
    object["metadata"]["annotations"] = json!({ "note": "<".repeat(bytes / 2) });
    serde_json::to_vec(&review(&json!({
        "operation": "UPDATE", "name": "default-deny", "namespace": "team-a", "resource": networkpolicies(),
        "object": object, "oldObject": object,
    })))
    .unwrap()
}

#[test]
fn case_05_reviews_of_8_and_27_mib_are_handled() {
    let server = server();
    for mib in [8, 27] {
        let body = large_update(mib << 20);
        assert!(body.len() > mib << 20);
        let response = server.post_bytes("/validate", &body).response();
        assert_eq!(response["allowed"], true);
    }
}

#[test]
fn case_06_a_body_over_the_limit_is_a_413_announced_or_chunked_and_is_not_taken_in() {
    let limit = 1 << 20;
    let server = server_with(&json!({ "limits": { "bodyBytes": limit } }), "");
    let mut connection = server.connect();
    let headers = format!("Content-Type: application/json\r\nContent-Length: {}", limit + 1);
    connection.send(head("/validate", &headers).as_bytes()).unwrap();
    let reply = connection.reply().expect("an answer before the body");
    assert_eq!(reply.status, 413);
    assert_eq!(reply.header("connection"), Some("close"));

    let mut connection = server.connect();
    let headers = "Content-Type: application/json\r\nTransfer-Encoding: chunked";
    connection.send(head("/validate", headers).as_bytes()).unwrap();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let mut sent = 0;
    while sent < 64 << 20 && connection.send(chunk.as_bytes()).is_ok() {
        sent += 0x10000;
    }
    // What was taken beyond the limit is what fits into the buffers of two sockets.
    assert!(sent < limit + (16 << 20), "{sent} bytes were taken");
    if let Some(reply) = connection.reply() {
        assert_eq!(reply.status, 413);
    }
    assert!(server.metrics().contains("ringfence_http_refusals_total{code=\"413\"} 2"), "{}", server.metrics());
    // Exactly the limit is not over it.
    let mut body = serde_json::to_vec(&review(&namespace_request("team-a"))).unwrap();
    body.resize(limit, b' ');
    assert_eq!(server.post_bytes("/validate", &body).status, 200);
}

#[test]
fn case_07_nesting_of_100_000_is_a_400_wherever_it_stands() {
    let server = server();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let objects = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    for nested in [&deep, &objects] {
        for body in [
            nested.clone(),
            format!("{{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\",\"new\":{nested}}}"),
            serde_json::to_string(&review(&json!({ "name": "a", "object": "HERE" })))
                .unwrap()
                .replace("\"HERE\"", nested),
            serde_json::to_string(&review(&json!({ "name": "a", "object": { "metadata": { "labels": "HERE" } } })))
                .unwrap()
                .replace("\"HERE\"", nested),
        ] {
            let reply = server.post_bytes("/mutate", body.as_bytes());
            assert_eq!(reply.status, 400, "{}", reply.text());
        }
    }
}

#[test]
fn case_08_duplicate_keys_never_lead_to_a_verdict() {
    let server = server();
    let namespace = serde_json::to_string(&review(&namespace_request("team-a"))).unwrap();
    let policy = serde_json::to_string(&review(&json!({
        "name": "p", "namespace": "team-a", "resource": networkpolicies(),
        "object": { "metadata": { "name": "p" }, "spec": {
            "podSelector": { "matchLabels": { "a": "b" } }, "policyTypes": ["Ingress"], "ingress": [],
        } },
    })))
    .unwrap();
    let cases = [
        (&namespace, "\"uid\":", "\"uid\":\"u-2\","),
        (&namespace, "\"object\":", "\"object\":{},"),
        (&namespace, "\"operation\":", "\"operation\":\"DELETE\","),
        (&namespace, "\"labels\":", "\"labels\":{},"),
        (&namespace, "\"ringfence.dev/mode\":", "\"ringfence.dev/mode\":\"exempt\","),
        (&namespace, "\"metadata\":", "\"metadata\":{},"),
        (&policy, "\"spec\":", "\"spec\":{},"),
        (&policy, "\"podSelector\":", "\"podSelector\":{},"),
        (&policy, "\"matchLabels\":", "\"matchLabels\":{},"),
        (&policy, "\"a\":", "\"a\":\"c\","),
        (&policy, "\"policyTypes\":", "\"policyTypes\":[\"Egress\"],"),
        (&policy, "\"ingress\":", "\"ingress\":[{}],"),
    ];
    for (text, key, twice) in cases {
        assert!(text.contains(key), "{key}");
        let body = text.replacen(key, &format!("{twice}{key}"), 1);
        let reply = server.post_bytes("/validate", body.as_bytes());
        assert_eq!(reply.status, 400, "{key}: {}", reply.text());
        assert!(reply.text().contains("duplicate"), "{key}: {}", reply.text());
    }
    assert_eq!(server.decided(), 0);
    // A duplicate in what no verdict reads makes no difference to one.
    let body = namespace.replacen("\"kind\":\"Namespace\"", "\"kind\":\"Namespace\",\"new\":1,\"new\":2", 1);
    assert_eq!(server.post_bytes("/validate", body.as_bytes()).response()["allowed"], true);
}

#[test]
fn case_09_a_review_without_request_or_uid_is_a_400() {
    let server = server();
    let envelope = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview" });
    let mut null_request = envelope.clone();
    null_request["request"] = Value::Null;
    let mut no_uid = review(&namespace_request("team-a"));
    no_uid["request"].as_object_mut().unwrap().remove("uid");
    let mut empty_uid = review(&namespace_request("team-a"));
    empty_uid["request"]["uid"] = json!("");
    for (body, says) in
        [(envelope, "no request"), (null_request, "no request"), (no_uid, "no uid"), (empty_uid, "no uid")]
    {
        let reply = server.post("/validate", &body);
        assert_eq!(reply.status, 400);
        assert!(reply.text().contains(says), "{}", reply.text());
    }
}

#[test]
fn case_10_an_unknown_kind_is_explicitly_not_ours_and_an_unknown_path_is_not_found_both_counted() {
    let server = server();
    let request = json!({ "name": "x", "namespace": "team-a", "resource": { "group": "", "version": "v1", "resource": "secrets" } });
    for path in ["/mutate", "/validate"] {
        let response = server.ask(path, &request);
        assert_eq!((&response["allowed"], &response["auditAnnotations"]["reason"]), (&json!(true), &json!("NotOurs")));
    }
    assert_eq!(server.post("/mutated", &review(&request)).status, 404);
    let metrics = server.metrics();
    assert!(
        metrics.contains("resource=\"other\",operation=\"create\",allowed=\"true\",reason=\"NotOurs\"} 1"),
        "{metrics}"
    );
    assert!(metrics.contains("ringfence_http_refusals_total{code=\"404\"} 1"), "{metrics}");
}

#[test]
fn case_11_v1beta1_is_a_400() {
    let server = server();
    for (key, value) in [("apiVersion", "admission.k8s.io/v1beta1"), ("kind", "Review")] {
        let mut body = review(&namespace_request("team-a"));
        body[key] = json!(value);
        let reply = server.post("/validate", &body);
        assert_eq!(reply.status, 400);
        assert!(reply.text().contains("admission.k8s.io/v1, AdmissionReview"), "{}", reply.text());
    }
}

#[test]
fn case_12_invalid_utf_8_is_a_400_even_where_nobody_reads() {
    let server = server();
    let mut request = namespace_request("team-a");
    request["object"]["metadata"]["annotations"] = json!({ "note": "HERE" });
    let text = serde_json::to_vec(&review(&request)).unwrap();
    let at = text.windows(4).position(|window| window == b"HERE").unwrap();
    for bad in [&[0xff_u8, 0xfe][..], &[0xc3][..], &[0xed, 0xa0, 0x80][..]] {
        let mut body = text.clone();
        body.splice(at..at + 4, bad.iter().copied());
        let reply = server.post_bytes("/validate", &body);
        assert_eq!(reply.status, 400);
        assert!(reply.text().contains("UTF-8"), "{}", reply.text());
    }
}

#[test]
fn what_is_said_of_a_malformed_review_is_one_line_of_bearable_length_whatever_stands_in_it() {
    let server = server();
    let malformed = [
        ("/request/operation", "x\ny\u{1b}[31m\u{2028}z".to_owned()),
        ("/request/operation", "x".repeat(1 << 20)),
        ("/apiVersion", "\"".repeat(1 << 20)),
        ("/request/resource/version", "v\u{85}9".to_owned()),
    ];
    for (field, value) in malformed {
        let mut body = review(&namespace_request("team-a"));
        *body.pointer_mut(field).unwrap() = json!(value);
        let reply = server.post("/validate", &body);
        assert_eq!(reply.status, 400, "{field}");
        let text = reply.text();
        let line = text.strip_suffix('\n').unwrap();
        assert!(!line.contains(|c: char| c.is_control() || c == '\u{2028}'), "{line:?}");
        assert!(line.len() < 5000, "{} bytes", line.len());
    }
}

#[test]
fn case_13_100_000_labels_are_handled() {
    let server = server();
    for prefix in ["example.com/", "ringfence.dev/"] {
        let labels: serde_json::Map<String, Value> =
            (0..100_000).map(|number| (format!("{prefix}label-{number}"), json!("value"))).collect();
        let object = json!({ "metadata": { "name": "many", "labels": labels } });
        let request = json!({ "name": "many", "object": object });
        let mut patched = object.clone();
        json_patch::patch(&mut patched, &patch_of(&server.ask("/mutate", &request)).unwrap()).unwrap();
        assert_eq!(patched["metadata"]["labels"].as_object().unwrap().len(), 100_002);
    }
}

#[test]
fn case_14_null_objects_are_fine_where_the_operation_has_none_and_a_400_where_it_needs_one() {
    let server = server_with(
        &json!({}),
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: team-a, labels: {ringfence.dev/mode: enforce, ringfence.dev/profile: standard}}\n",
    );
    let policy = deny_all("mine");
    let base = |operation: &str, object: &Value, old: &Value| {
        json!({
            "operation": operation, "name": "mine", "namespace": "team-a", "resource": networkpolicies(),
            "object": object, "oldObject": old,
        })
    };
    assert_eq!(server.ask("/validate", &base("CREATE", &policy, &Value::Null))["allowed"], true);
    assert_eq!(server.ask("/validate", &base("DELETE", &Value::Null, &policy))["allowed"], true);
    for (operation, object, old, field) in [
        ("CREATE", &Value::Null, &policy, "object"),
        ("DELETE", &policy, &Value::Null, "oldObject"),
        ("UPDATE", &policy, &Value::Null, "oldObject"),
    ] {
        let reply = server.post("/validate", &review(&base(operation, object, old)));
        assert_eq!(reply.status, 400, "{operation}");
        assert!(reply.text().contains(&format!("request.{field} is absent")), "{}", reply.text());
    }
}

#[test]
fn case_15_connect_and_subresources_are_explicitly_not_ours() {
    let server = server();
    let exec = json!({ "operation": "CONNECT", "name": "web", "namespace": "team-a", "resource": pods(), "subResource": "exec",
        "object": { "kind": "PodExecOptions", "command": ["sh"] } });
    let scale = json!({ "operation": "UPDATE", "name": "web", "namespace": "team-a", "subResource": "scale",
        "resource": { "group": "apps", "version": "v1", "resource": "deployments" }, "object": {}, "oldObject": {} });
    let binding = json!({ "operation": "CREATE", "name": "web", "namespace": "team-a", "resource": pods(), "subResource": "binding", "object": {} });
    for request in [exec, scale, binding] {
        for path in ["/mutate", "/validate"] {
            let response = server.ask(path, &request);
            assert_eq!(response["allowed"], true);
            assert_eq!(response["auditAnnotations"]["reason"], "NotOurs", "{request}");
        }
    }
}

#[test]
fn case_16_generated_and_empty_names_work() {
    let server = server();
    let object =
        json!({ "metadata": { "generateName": "team-", "labels": { "kubernetes.io/metadata.name": "kube-system" } } });
    let request = json!({ "name": "", "namespace": "", "object": object });
    let mut patched = object.clone();
    json_patch::patch(&mut patched, &patch_of(&server.ask("/mutate", &request)).unwrap()).unwrap();
    assert_eq!(patched["metadata"]["labels"]["ringfence.dev/mode"], "enforce");
    // The forged name does not exclude it from validation either.
    let response = server.ask("/validate", &request);
    assert_eq!(response["allowed"], false);
    assert!(response["status"]["message"].as_str().unwrap().starts_with("BaselineMissing"));
    let pod = json!({ "name": null, "namespace": "team-a", "resource": pods(), "object": { "metadata": { "generateName": "web-" }, "spec": {} } });
    assert!(patch_of(&server.ask("/mutate", &pod)).is_some());
}

#[test]
fn case_17_unknown_fields_are_kept_and_change_no_verdict() {
    let server = server();
    let object = json!({
        "apiVersion": "v1", "kind": "Pod", "newTop": { "a": [1, null] },
        "metadata": { "name": "web", "newMeta": true },
        "spec": { "newSpec": { "x": 1 }, "schedulingGates": [{ "name": "other", "newGate": 1 }] },
    });
    let mut body = review(&json!({ "name": "web", "namespace": "team-a", "resource": pods(), "object": object }));
    body["newEnvelope"] = json!([{}]);
    body["request"]["newRequest"] = json!({ "deep": [1] });
    let response = server.post("/mutate", &body).response();
    let mut patched = object.clone();
    json_patch::patch(&mut patched, &patch_of(&response).unwrap()).unwrap();
    let mut expected = object;
    expected["metadata"]["labels"] = json!({ "ringfence.dev/held": "true" });
    expected["spec"]["schedulingGates"].as_array_mut().unwrap().push(json!({ "name": "ringfence.dev/baseline" }));
    assert_eq!(patched, expected);

    let server = server_with(
        &json!({}),
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: team-a, labels: {ringfence.dev/mode: enforce, ringfence.dev/profile: standard}}\n",
    );
    let open = json!({ "metadata": { "name": "open" }, "spec": { "podSelector": {}, "newSpec": 1, "ingress": [{ "newRule": {}, "From": [{}] }] } });
    let response = server.ask(
        "/validate",
        &json!({ "name": "open", "namespace": "team-a", "resource": networkpolicies(), "object": open }),
    );
    assert_eq!(response["allowed"], false, "a field of a wrong case is no field: the rule allows everything");
}

#[test]
fn case_19_a_second_call_has_nothing_left_to_patch() {
    let server = server();
    for (resource, mut object) in [
        (namespaces(), json!({ "metadata": { "name": "team-a" } })),
        (pods(), json!({ "metadata": { "name": "web" }, "spec": { "schedulingGates": [{ "name": "other" }] } })),
    ] {
        let request =
            |object: &Value| json!({ "name": "team-a", "namespace": "team-a", "resource": resource, "object": object });
        let patch = patch_of(&server.ask("/mutate", &request(&object))).unwrap();
        json_patch::patch(&mut object, &patch).unwrap();
        // Another webhook may have changed something in between.
        object["metadata"]["annotations"] = json!({ "other": "webhook" });
        assert_eq!(patch_of(&server.ask("/mutate", &request(&object))), None);
    }
}

#[test]
fn case_20_a_dry_run_gets_the_same_verdict_and_stores_nothing() {
    let server = server();
    let mut request = namespace_request("team-a");
    request["dryRun"] = json!(true);
    let dry = server.ask("/validate", &request);
    assert!(server.app.cluster().namespace("team-a").is_none());
    request["dryRun"] = json!(false);
    assert_eq!(server.ask("/validate", &request), dry);
    assert!(server.app.cluster().namespace("team-a").is_some());
}

#[test]
fn case_21_a_newline_and_5_kb_in_a_warning_are_sanitised_and_cut() {
    let server = server();
    let name = format!("a\nb\u{2028}\u{7}\u{1b}[31m\u{202e}\u{200b}\u{2066}{}", "x".repeat(5000));
    let request = json!({ "name": name, "namespace": "team-a", "object": {},
        "resource": { "group": "cilium.io", "version": "v2", "resource": "ciliumnetworkpolicies" } });
    let response = server.ask("/validate", &request);
    let warnings: Vec<&str> =
        response["warnings"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert!(
        warnings.iter().all(|line| line.chars().count() <= 120 && !line.contains(char::is_control)),
        "{warnings:?}"
    );
    assert!(warnings.iter().map(|line| line.len()).sum::<usize>() <= 4096);
    assert!(!response.to_string().contains(['\u{2028}', '\u{202e}', '\u{200b}', '\u{2066}']), "{response}");
    // A denial's message and the audit annotations are texts as well.
    let request = json!({ "name": "team-a", "namespace": "team-a", "object": {
        "metadata": { "name": "team-a", "labels": { "ringfence.dev/profile": name, "ringfence.dev/mode": "enforce" } } } });
    let response = server.ask("/validate", &request);
    assert_eq!(response["allowed"], false);
    let text = response.to_string();
    assert!(!text.contains(['\u{2028}', '\u{202e}', '\u{200b}', '\u{2066}']) && !text.contains("\\u001b"), "{text}");
    assert!(response["status"]["message"].as_str().unwrap().chars().count() < 4300);
}

#[test]
fn case_23_only_post_and_only_two_paths_and_no_redirects() {
    let server = server();
    for method in ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"] {
        let mut connection = server.connect();
        let request = format!("{method} /mutate HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        connection.send(request.as_bytes()).unwrap();
        let reply = if method == "HEAD" { connection.head_reply() } else { connection.reply() }.unwrap();
        assert_eq!(reply.status, 405, "{method}");
        assert_eq!(reply.header("allow"), Some("POST"), "{method}");
    }
    for path in ["/", "/mutate/", "/Mutate", "//mutate", "/validate/x", "/../mutate", "/metrics", "/livez"] {
        assert_eq!(server.post(path, &review(&namespace_request("a"))).status, 404, "{path}");
    }
    // A query changes nothing: the API server sends ?timeout=5s.
    assert_eq!(server.post("/validate?timeout=5s", &review(&namespace_request("a"))).status, 200);
}

#[test]
fn case_24_two_lengths_in_one_request_are_refused() {
    let server = server();
    let body = serde_json::to_string(&review(&namespace_request("team-a"))).unwrap();
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    for lengths in [
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked", chunked.len()),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {}", chunked.len()),
        "Content-Length: 4\r\nTransfer-Encoding: chunked".to_owned(),
    ] {
        let mut connection = server.connect();
        connection.send(head("/validate", &format!("Content-Type: application/json\r\n{lengths}")).as_bytes()).unwrap();
        let _ = connection.send(chunked.as_bytes());
        let reply = connection.reply().unwrap();
        assert_eq!(reply.status, 400, "{lengths}");
        assert!(connection.reply().is_none(), "the connection ends");
    }
    for lengths in ["Content-Length: 5\r\nContent-Length: 6", "Transfer-Encoding: xchunked", "Content-Length: +5"] {
        let mut connection = server.connect();
        connection.send(head("/validate", &format!("Content-Type: application/json\r\n{lengths}")).as_bytes()).unwrap();
        let _ = connection.send(chunked.as_bytes());
        assert!(connection.reply().is_none_or(|reply| reply.status == 400), "{lengths}");
    }
    assert_eq!(server.decided(), 0);
    // One length of either kind is fine.
    let mut connection = server.connect();
    connection
        .send(head("/validate", "Content-Type: application/json\r\nTransfer-Encoding: chunked").as_bytes())
        .unwrap();
    connection.send(chunked.as_bytes()).unwrap();
    let reply = connection.reply().unwrap();
    assert_eq!(reply.status, 200);
    // Where a body in chunks ends is not followed, so nothing comes after it.
    assert_eq!(reply.header("connection"), Some("close"));
    assert!(connection.reply().is_none());
}

#[test]
fn case_24_a_length_padded_out_of_sight_hides_no_second_length_after_it() {
    let server = server();
    let body = serde_json::to_string(&review(&namespace_request("team-a"))).unwrap();
    let hiding = "Content-Length: 99999999\r\n\r\n";
    let mut connection = server.connect();
    let padded = format!("Content-Type: application/json\r\nContent-Length: {}{}", "0".repeat(70), hiding.len());
    connection.send(format!("{}{hiding}", head("/validate", &padded)).as_bytes()).unwrap();
    let reply = connection.reply().unwrap();
    assert_eq!(reply.status, 400);
    assert!(reply.text().contains("ambiguous"), "{}", reply.text());
    let both =
        format!("Content-Type: application/json\r\nContent-Length: {}\r\nTransfer-Encoding: chunked", body.len());
    let _ = connection.send(format!("{}{:x}\r\n{body}\r\n0\r\n\r\n", head("/validate", &both), body.len()).as_bytes());
    assert!(connection.reply().is_none(), "the connection has ended");
    assert_eq!(server.decided(), 0);
}
