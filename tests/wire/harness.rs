//! A server in this process, and a client that sends whatever bytes a test wants.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use ringfence::certs::dev;
use ringfence::certs::serving::Serving;
use ringfence::cluster::Cluster;
use ringfence::server::{self, App};
use ringfence::{controller, manifests};
use ringfence_core::config::Config;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

pub(crate) const SERVER_NAME: &str = "ringfence.ringfence-system.svc";

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) app: Arc<App>,
    pub(crate) ca: String,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// With the default configuration and an empty cluster.
pub(crate) fn server() -> Server {
    server_with(&json!({}), "")
}

/// With a configuration, and a cluster filled from manifests.
pub(crate) fn server_with(config: &Value, manifests: &str) -> Server {
    let config = Config::parse(config).unwrap();
    let cluster = Arc::new(Cluster::embedded(config));
    if !manifests.is_empty() {
        let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
        std::fs::write(file.path(), manifests).unwrap();
        let loaded = manifests::load(&[file.path().to_owned()]);
        assert_eq!(loaded.problems, []);
        assert_eq!(cluster.fill(&loaded.objects, "default"), []);
    }
    controller::embedded::reconcile_all(&cluster, jiff::Timestamp::now());
    cluster.set_synced();
    serve(cluster)
}

/// For a cluster that is not synced.
pub(crate) fn unsynced_server(cluster: Arc<Cluster>) -> Server {
    serve(cluster)
}

fn serve(cluster: Arc<Cluster>) -> Server {
    let pair = dev::issue().unwrap();
    let app = Arc::new(App::new(cluster));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let running = runtime
        .block_on(async {
            server::start(app.clone(), listener, Serving::new(pair.clone(), None, app.metrics().clone()).unwrap().tls())
        })
        .unwrap();
    Server { address: running.address(), app, ca: pair.ca, runtime: Some(runtime) }
}

/// The value of a metric that counts, in the text of all; 0 where it was never recorded.
pub(crate) fn value_of(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().unwrap())
}

/// Tries until there is a result, for three minutes: far more than it takes on a machine however loaded.
pub(crate) fn until<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    for _ in 0..1800 {
        if let Some(result) = attempt() {
            return result;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("it did not happen")
}

/// A connection to a server of another process, whose handshake begins with what is sent first.
pub(crate) fn connect_to(address: SocketAddr, ca: &str) -> Connection {
    connect_with(address, client_config(ca, &[b"http/1.1"]))
}

/// The same with all of the client's TLS configuration.
pub(crate) fn connect_with(address: SocketAddr, config: ClientConfig) -> Connection {
    let config = Arc::new(config);
    Connection { stream: open(address, config.clone()), read: Vec::new(), address, config, established: false }
}

/// How long a client waits: longer than the largest body takes on a machine however loaded.
const PATIENCE: Duration = Duration::from_secs(180);

fn open(address: SocketAddr, config: Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
    let tcp = TcpStream::connect(address).unwrap();
    tcp.set_nodelay(true).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp.set_write_timeout(Some(PATIENCE)).unwrap();
    StreamOwned::new(ClientConnection::new(config, ServerName::try_from(SERVER_NAME).unwrap()).unwrap(), tcp)
}

/// The CAs of a PEM text.
pub(crate) fn roots(ca: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    roots
}

pub(crate) fn client_config(ca: &str, alpn: &[&[u8]]) -> ClientConfig {
    let roots = roots(ca);
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config
}

/// One connection.
pub(crate) struct Connection {
    stream: StreamOwned<ClientConnection, TcpStream>,
    read: Vec<u8>,
    address: SocketAddr,
    config: Arc<ClientConfig>,
    /// Whether the server is known to have finished the handshake.
    established: bool,
}

/// What a call is told that waited too long for its turn.
pub(crate) const LATE: &str = "waited too long for its turn";

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// True if the call was shed since it waited too long for its turn: an API server asks again.
    pub(crate) fn is_late(&self) -> bool {
        self.status == 503 && self.text().contains(LATE)
    }

    /// The response of a review.
    pub(crate) fn response(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()["response"].clone()
    }
}

impl Server {
    /// One that a test has started in a runtime of its own.
    pub(crate) fn elsewhere(address: SocketAddr, app: Arc<App>, ca: String) -> Self {
        Self { address, app, ca, runtime: None }
    }

    /// A connection that is established.
    pub(crate) fn connect(&self) -> Connection {
        let mut connection = connect_to(self.address, &self.ca);
        connection.establish();
        connection
    }

    pub(crate) fn post(&self, path: &str, review: &Value) -> Reply {
        self.connect().post(path, review)
    }

    pub(crate) fn post_bytes(&self, path: &str, body: &[u8]) -> Reply {
        self.connect().post_bytes(path, body)
    }

    /// The response to a review.
    pub(crate) fn ask(&self, path: &str, request: &Value) -> Value {
        self.post(path, &review(request)).response()
    }

    pub(crate) fn decided(&self) -> u64 {
        self.app.reviews_decided()
    }

    pub(crate) fn metrics(&self) -> String {
        self.app.metrics_text().unwrap()
    }

    /// The value of a metric, named with its labels; 0 where it was never recorded.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        value_of(&self.metrics(), name)
    }
}

impl Connection {
    /// The TCP connection under it.
    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.stream.sock
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Says that nothing more will be sent.
    pub(crate) fn finish_sending(&mut self) {
        self.stream.conn.send_close_notify();
        let _ = self.stream.flush();
        let _ = self.stream.sock.shutdown(std::net::Shutdown::Write);
    }

    pub(crate) fn post(&mut self, path: &str, review: &Value) -> Reply {
        self.post_bytes(path, &serde_json::to_vec(review).unwrap())
    }

    /// Sends a review as often as an API server would: again where it was shed since it waited too long for its turn, which
    /// a busy machine can make of any.
    pub(crate) fn post_bytes(&mut self, path: &str, body: &[u8]) -> Reply {
        self.establish();
        until(|| {
            let reply = self.try_post_bytes(path, body).expect("an answer");
            if reply.is_late() && reply.header("connection") == Some("close") {
                self.reopen();
            }
            (!reply.is_late()).then_some(reply)
        })
    }

    /// Finishes the handshake; again on a new connection where the server has closed it, since it waited too long for its
    /// turn.
    pub(crate) fn establish(&mut self) {
        if self.established {
            return;
        }
        until(|| {
            if self.handshake().is_err() {
                self.stream = open(self.address, self.config.clone());
                return None;
            }
            Some(())
        });
        self.established = true;
    }

    /// Goes on with a new connection.
    fn reopen(&mut self) {
        self.stream = open(self.address, self.config.clone());
        self.read.clear();
        self.established = false;
        self.establish();
    }

    /// The client is ready before the server is, which sends its tickets once it is.
    fn handshake(&mut self) -> std::io::Result<()> {
        let StreamOwned { conn, sock } = &mut self.stream;
        while conn.is_handshaking() {
            conn.complete_io(sock)?;
        }
        while conn.tls13_tickets_received() == 0 {
            if conn.read_tls(sock)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            conn.process_new_packets().map_err(std::io::Error::other)?;
        }
        Ok(())
    }

    /// As [`Self::post`]; `None` where the connection is closed without an answer, as one that is shed.
    pub(crate) fn try_post(&mut self, path: &str, review: &Value) -> Option<Reply> {
        self.try_post_bytes(path, &serde_json::to_vec(review).unwrap())
    }

    fn try_post_bytes(&mut self, path: &str, body: &[u8]) -> Option<Reply> {
        let headers = format!("Content-Type: application/json\r\nContent-Length: {}", body.len());
        self.send(head(path, &headers).as_bytes()).ok()?;
        // An answer may come before all of the body is taken.
        let _ = self.send(body);
        self.reply()
    }

    /// The next answer; `None` where the connection ends first.
    pub(crate) fn reply(&mut self) -> Option<Reply> {
        let mut reply = self.head_reply()?;
        let length: usize = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
        while self.read.len() < length {
            if !self.read_more() {
                return None;
            }
        }
        reply.body = self.read.drain(..length).collect();
        Some(reply)
    }

    /// The head of the next answer, where a body does not follow.
    pub(crate) fn head_reply(&mut self) -> Option<Reply> {
        let end = loop {
            if let Some(end) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            if !self.read_more() {
                return None;
            }
        };
        let head = String::from_utf8(self.read[..end].to_vec()).unwrap();
        self.read.drain(..end + 4);
        Some(Reply { status: head.split(' ').nth(1)?.parse().ok()?, head, body: Vec::new() })
    }

    fn read_more(&mut self) -> bool {
        let mut buffer = [0; 16384];
        match self.stream.read(&mut buffer) {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.read.extend_from_slice(&buffer[..count]);
                true
            }
        }
    }
}

pub(crate) fn head(path: &str, headers: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: {SERVER_NAME}\r\n{headers}\r\n\r\n")
}

/// A review around a request; what a request leaves out gets a usual value.
pub(crate) fn review(request: &Value) -> Value {
    let mut whole = json!({
        "uid": "u-1",
        "resource": { "group": "", "version": "v1", "resource": "namespaces" },
        "operation": "CREATE",
        "userInfo": { "username": "tina", "groups": ["system:authenticated"] },
        "dryRun": false,
    });
    for (key, value) in request.as_object().unwrap() {
        whole[key] = value.clone();
    }
    json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": whole })
}

pub(crate) fn namespaces() -> Value {
    json!({ "group": "", "version": "v1", "resource": "namespaces" })
}

pub(crate) fn pods() -> Value {
    json!({ "group": "", "version": "v1", "resource": "pods" })
}

pub(crate) fn networkpolicies() -> Value {
    json!({ "group": "networking.k8s.io", "version": "v1", "resource": "networkpolicies" })
}

pub(crate) fn admin() -> Value {
    json!({ "username": "admin", "groups": ["system:masters"] })
}

/// A namespace that has the isolation labels.
pub(crate) fn adopted(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": { "name": name, "labels": { "ringfence.dev/profile": "standard", "ringfence.dev/mode": "enforce" } },
    })
}

/// The patch of a response, decoded; `None` where there is none.
pub(crate) fn patch_of(response: &Value) -> Option<json_patch::Patch> {
    assert_eq!(response.get("patch").is_some(), response.get("patchType").is_some(), "both or neither: {response}");
    let patch = response.get("patch")?;
    let bytes: k8s_openapi::ByteString = serde_json::from_value(patch.clone()).unwrap();
    Some(serde_json::from_slice(&bytes.0).unwrap())
}
