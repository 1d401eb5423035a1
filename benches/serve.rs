//! Requests per second of `/mutate`, beside a handler that reads the body and ignores it (the floor), and beside one
//! that parses it the way tutorials do (`AdmissionReview<DynamicObject>`); in one run, by turns, over the same TLS.
//!
//! `cargo bench --bench serve` prints a table; only its ratios mean anything beyond this machine. The server has one
//! thread, the client another.

// A bench is a test program: what is wrong shall stop it.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::post;
use axum_server::tls_rustls::RustlsConfig;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview};
use ringfence::certs::dev;
use ringfence::certs::serving::server_config;
use ringfence::cluster::Cluster;
use ringfence::controller;
use ringfence::server::{self, App};
use ringfence_core::config::Config;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};

const CONNECTIONS: usize = 8;
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(1500);

fn main() {
    let pair = dev::issue().unwrap();
    let tls = || RustlsConfig::from_config(Arc::new(server_config(&pair, None).unwrap()));
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (servers, clients) = (runtime(), runtime());

    let cluster = Arc::new(Cluster::embedded(Config::default()));
    controller::embedded::reconcile_all(&cluster, jiff::Timestamp::now());
    cluster.set_synced();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours =
        servers.block_on(async { server::start(Arc::new(App::new(cluster)), listener, tls()) }).unwrap().address();

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let others = listener.local_addr().unwrap();
    let router = Router::new().route("/floor", post(floor)).route("/tutorial", post(tutorial));
    servers.block_on(async {
        let server = axum_server::from_tcp_rustls(listener, tls()).unwrap();
        tokio::spawn(server.serve(router.into_make_service()));
    });

    for (name, body) in [
        ("pod, 9.6 KB", pod_review(9_600)),
        ("pod, 2 KB", pod_review(2_000)),
        ("namespace, 0.6 KB", namespace_review()),
    ] {
        let contestants = [
            ("floor (ignores the body)", others, "/floor"),
            ("ringfence /mutate", ours, "/mutate"),
            ("tutorial (DynamicObject)", others, "/tutorial"),
        ];
        let mut rates = vec![Vec::new(); contestants.len()];
        for round in 0..=ROUNDS {
            for (index, (_, address, path)) in contestants.iter().enumerate() {
                let rate = clients.block_on(load(*address, path, &pair.ca, &body));
                // The first round warms up.
                if round > 0 {
                    rates[index].push(rate);
                }
            }
        }
        let median = |rates: &mut Vec<f64>| {
            rates.sort_by(f64::total_cmp);
            rates[rates.len() / 2]
        };
        let medians: Vec<f64> = rates.iter_mut().map(median).collect();
        println!("\n{name} ({} bytes), median of {ROUNDS} rounds, {CONNECTIONS} connections", body.len());
        for ((contestant, _, _), rate) in contestants.iter().zip(&medians) {
            println!("  {contestant:26} {rate:9.0} requests/s  {:5.2} of the floor", rate / medians[0]);
        }
    }
    for (name, body) in [("pod, 9.6 KB", pod_review(9_600)), ("namespace, 0.6 KB", namespace_review())] {
        println!("\n{name}: the core alone (parse, decide, render) takes {:.1} µs", core_alone(&body));
    }
    servers.shutdown_background();
}

/// Microseconds for one review, from bytes to bytes, without the shell.
fn core_alone(body: &[u8]) -> f64 {
    use ringfence_core::admission::{
        Context, Outcome, Webhook, decide, permission::Answers, response, review::Request,
    };
    let config = Config::default();
    let (answers, pending) = (Answers::default(), ringfence_core::index::reservations::Pending::default());
    let once = || {
        let request = Request::parse(std::hint::black_box(body)).unwrap();
        let now = jiff::Timestamp::now();
        let context =
            Context { config: &config, controller: "c", now, namespace: None, pending: &pending, answers: &answers };
        let Outcome::Decided(decision) = decide(Webhook::Mutate, &request, &context) else { unreachable!() };
        std::hint::black_box(response::render(&request.uid, &decision).unwrap());
    };
    let rounds = 20_000;
    (0..rounds / 10).for_each(|_| once());
    let began = Instant::now();
    (0..rounds).for_each(|_| once());
    began.elapsed().as_secs_f64() * 1e6 / f64::from(rounds)
}

async fn floor(body: Bytes) -> impl IntoResponse {
    std::hint::black_box(body.len());
    let answer =
        r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"u","allowed":true}}"#;
    ([(header::CONTENT_TYPE, "application/json")], answer)
}

async fn tutorial(body: Bytes) -> impl IntoResponse {
    let review: AdmissionReview<DynamicObject> = serde_json::from_slice(&body).unwrap();
    let request: AdmissionRequest<DynamicObject> = review.try_into().unwrap();
    let mut response = AdmissionResponse::from(&request);
    let object = request.object.unwrap();
    if object.metadata.labels.is_none_or(|labels| !labels.contains_key("ringfence.dev/held")) {
        let patch = json_patch::Patch(vec![json_patch::PatchOperation::Add(json_patch::AddOperation {
            path: json_patch::jsonptr::PointerBuf::from_tokens(["metadata", "labels", "ringfence.dev/held"]),
            value: json!("true"),
        })]);
        response = response.with_patch(patch).unwrap();
    }
    ([(header::CONTENT_TYPE, "application/json")], serde_json::to_vec(&response.into_review()).unwrap())
}

async fn load(address: SocketAddr, path: &'static str, ca: &str, body: &[u8]) -> f64 {
    let began = Instant::now();
    let deadline = began + ROUND;
    let tasks: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (ca, body) = (ca.to_owned(), Bytes::copy_from_slice(body));
            tokio::spawn(async move {
                let mut sender = connect(address, &ca).await;
                let mut count = 0u32;
                while Instant::now() < deadline {
                    let request = hyper::Request::post(path)
                        .header(header::HOST, "localhost")
                        .header(header::CONTENT_TYPE, "application/json")
                        .body(Full::new(body.clone()))
                        .unwrap();
                    sender.ready().await.unwrap();
                    let response = sender.send_request(request).await.unwrap();
                    assert_eq!(response.status(), 200);
                    let answer = response.into_body().collect().await.unwrap().to_bytes();
                    assert!(answer.len() > 50);
                    count += 1;
                }
                count
            })
        })
        .collect();
    let mut total = 0;
    for task in tasks {
        total += task.await.unwrap();
    }
    f64::from(total) / began.elapsed().as_secs_f64()
}

async fn connect(address: SocketAddr, ca: &str) -> hyper::client::conn::http1::SendRequest<Full<Bytes>> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap();
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn review(resource: &str, name: &str, object: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": { "group": "", "version": "v1", "kind": object["kind"] },
            "resource": { "group": "", "version": "v1", "resource": resource },
            "requestKind": { "group": "", "version": "v1", "kind": object["kind"] },
            "requestResource": { "group": "", "version": "v1", "resource": resource },
            "name": name, "namespace": "team-a", "operation": "CREATE",
            "userInfo": { "username": "system:serviceaccount:kube-system:replicaset-controller", "uid": "a",
                "groups": ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"] },
            "object": object, "oldObject": null, "dryRun": false,
            "options": { "kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1" },
        },
    })
}

fn namespace_review() -> Vec<u8> {
    let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "team-a", "labels": {} }, "spec": {}, "status": {} });
    serde_json::to_vec(&review("namespaces", "team-a", &object)).unwrap()
}

/// A pod as a ReplicaSet makes it: containers with environment, probes and mounts, until the review is this long.
fn pod_review(bytes: usize) -> Vec<u8> {
    let mut containers = Vec::new();
    loop {
        let object = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "generateName": "web-7d4b9c6f5-", "namespace": "team-a", "creationTimestamp": null,
                "labels": { "app": "web", "pod-template-hash": "7d4b9c6f5" },
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7d4b9c6f5", "uid": "b", "controller": true }],
            },
            "spec": { "containers": containers, "restartPolicy": "Always", "serviceAccountName": "default", "schedulerName": "default-scheduler" },
            "status": { "phase": "Pending" },
        });
        let body = serde_json::to_vec(&review("pods", "", &object)).unwrap();
        if body.len() >= bytes {
            return body;
        }
        let number = containers.len();
        containers.push(json!({
            "name": format!("c{number}"), "image": format!("registry.example/app-{number}@sha256:0123456789abcdef"),
            "env": [{ "name": "POD_IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } }, { "name": "MODE", "value": "a \"quoted\" value" }],
            "ports": [{ "containerPort": 8080, "protocol": "TCP" }],
            "livenessProbe": { "httpGet": { "path": "/livez", "port": 8080, "scheme": "HTTP" }, "periodSeconds": 10 },
            "volumeMounts": [{ "name": "token", "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount" }],
        }));
    }
}
