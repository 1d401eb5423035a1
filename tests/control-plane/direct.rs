//! Asking a replica itself, as an API server does: what it answers where it does not decide, an API server does not pass
//! on. And what a replica asks of the API servers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

use crate::harness::{Bed, Event, Installation, Mark, Ringfence, eventually_some};
use crate::steps::CONTROLLER;

/// Ends what goes on beside a test, also where the test fails: whoever waits for it would wait without end.
pub(crate) struct Over<'a>(pub(crate) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a replica answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Whether it says when to ask again.
    pub(crate) retry_after: bool,
    /// The review's response, or the text of an error.
    pub(crate) body: Value,
}

impl Reply {
    pub(crate) fn allows(&self) -> bool {
        self.status == 200 && self.body["allowed"] == true
    }

    pub(crate) fn denies(&self) -> bool {
        self.status == 200 && self.body["allowed"] == false
    }

    /// An error that the API server tries again, and no decision.
    pub(crate) fn puts_off(&self) -> bool {
        self.status == 503 && self.retry_after
    }
}

/// Sends a replica a review to `/validate` with the user alice.
pub(crate) fn ask(installation: &Installation, replica: &Ringfence, request: &Value) -> Reply {
    ask_at(installation.ca.get().unwrap(), replica.address, request)
}

/// What it decides: asked again, as an API server does, where it puts that off.
pub(crate) fn decide(installation: &Installation, replica: &Ringfence, request: &Value) -> Reply {
    eventually_some("it decides", || Some(ask(installation, replica, request)).filter(|reply| !reply.puts_off()))
}

/// The same as [`ask`], for a thread of its own.
pub(crate) fn ask_at(ca: &str, address: SocketAddr, request: &Value) -> Reply {
    let mut whole = json!({
        "uid": "u-1", "dryRun": false, "userInfo": { "username": "alice", "groups": ["system:authenticated"] },
    });
    whole.as_object_mut().unwrap().extend(request.as_object().unwrap().clone());
    let review =
        json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": whole }).to_string();
    let mut stream = begin(ca, address, review.len());
    stream.write_all(review.as_bytes()).unwrap();
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => panic!("no answer: {error}"),
        _ => {}
    }
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap_or_else(|_| json!({ "response": body }));
    Reply {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        retry_after: head.to_ascii_lowercase().contains("\r\nretry-after: "),
        body: body["response"].clone(),
    }
}

/// Begins a review whose body has so many bytes, none of which are sent yet.
pub(crate) fn begin(ca: &str, address: SocketAddr, length: usize) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("ringfence.ringfence-system.svc").unwrap();
    let tcp = TcpStream::connect(address).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut stream = StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), tcp);
    let head =
        "POST /validate?timeout=5s HTTP/1.1\r\nHost: ringfence\r\nConnection: close\r\nContent-Type: application/json";
    write!(stream, "{head}\r\nContent-Length: {length}\r\n\r\n").unwrap();
    stream
}

/// Deleting a namespace's `default-deny-all`, which hangs on what the namespace is.
pub(crate) fn deletion_of_the_baseline(namespace: &str) -> Value {
    let labels = json!({ "app.kubernetes.io/managed-by": "ringfence" });
    let name = "default-deny-all";
    json!({
        "operation": "DELETE", "namespace": namespace, "name": name,
        "resource": { "group": "networking.k8s.io", "version": "v1", "resource": "networkpolicies" },
        "oldObject": {
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": { "name": name, "namespace": namespace, "labels": labels },
            "spec": { "podSelector": {}, "policyTypes": ["Ingress", "Egress"] },
        },
    })
}

/// Creating a namespace in a mode, which hangs on no other object.
pub(crate) fn creation_of_a_namespace(mode: &str) -> Value {
    let labels = json!({ "ringfence.dev/profile": "standard", "ringfence.dev/mode": mode });
    json!({
        "operation": "CREATE", "name": "asked",
        "resource": { "group": "", "version": "v1", "resource": "namespaces" },
        "object": { "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "asked", "labels": labels } },
    })
}

/// What Ringfence has asked of the API servers since a place in their logs: each watch once.
pub(crate) fn asked(bed: &Bed, mark: &Mark) -> Vec<Event> {
    let mut events = bed.audit_since(mark);
    events.retain(|event| event.user == CONTROLLER && (event.verb != "watch" || event.stage != "ResponseComplete"));
    events
}

/// Of these what changes something, its Lease and Events aside.
pub(crate) fn changes(events: &[Event]) -> Vec<&Event> {
    let changes = |event: &&Event| {
        !matches!(event.verb.as_str(), "get" | "list" | "watch")
            && !matches!(event.resource.as_str(), "leases" | "events")
            && !event.resource.ends_with("reviews")
    };
    events.iter().filter(changes).collect()
}

/// Of these the watches that list everything anew, of one resource.
pub(crate) fn relists(events: &[Event], resource: &str) -> usize {
    let lists = |event: &&Event| {
        let uri = event.whole["requestURI"].as_str().unwrap_or_default();
        event.resource == resource && (event.verb == "list" || uri.contains("sendInitialEvents=true"))
    };
    events.iter().filter(lists).count()
}
