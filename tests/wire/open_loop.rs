//! A client that sends as much as it was told to, whatever comes back, as an API server does whose users go on.
//!
//! Like Go's, it takes a connection that is idle, opens another one where none is, and keeps so many. The bench
//! `overload` uses it too.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// How long the API server waits, as the chart registers it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);

type Sender = SendRequest<Full<Bytes>>;

/// What is sent, and where to.
#[derive(Clone)]
pub(crate) struct Target {
    address: SocketAddr,
    connector: TlsConnector,
    path: &'static str,
    body: Bytes,
}

/// What came of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// `None` where the connection ended, or the deadline came.
    pub(crate) status: Option<u16>,
    pub(crate) retry_after: bool,
    /// From when it was due.
    pub(crate) took: Duration,
    /// Whether it had to open a connection.
    pub(crate) opened: bool,
}

impl Target {
    pub(crate) fn new(address: SocketAddr, ca: &str, path: &'static str, body: &serde_json::Value) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let body = Bytes::from(serde_json::to_vec(body).unwrap());
        Self { address, connector: TlsConnector::from(Arc::new(config)), path, body }
    }

    async fn connect(&self) -> Option<Sender> {
        let tcp = TcpStream::connect(self.address).await.ok()?;
        tcp.set_nodelay(true).ok()?;
        let name = ServerName::try_from("ringfence.ringfence-system.svc").ok()?;
        let (sender, connection) = handshake(TokioIo::new(self.connector.connect(name, tcp).await.ok()?)).await.ok()?;
        tokio::spawn(connection);
        Some(sender)
    }

    /// The status, and whether it says when to try again.
    async fn send(&self, sender: &mut Sender) -> Option<(u16, bool)> {
        let request = hyper::Request::post(self.path)
            .header("host", "ringfence.ringfence-system.svc")
            .header("content-type", "application/json")
            .body(Full::new(self.body.clone()))
            .ok()?;
        sender.ready().await.ok()?;
        let response = sender.send_request(request).await.ok()?;
        let came = (response.status().as_u16(), response.headers().contains_key("retry-after"));
        response.into_body().collect().await.ok()?;
        Some(came)
    }

    /// Decisions a second, with so many connections, each of which sends its next request when it has its answer.
    pub(crate) async fn capacity(&self, connections: usize, time: Duration) -> f64 {
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..connections {
            let target = self.clone();
            tasks.spawn(async move {
                let mut sender = None;
                let mut count = 0u32;
                // What is shed or closed, since others took the machine, does not count.
                while began.elapsed() < time {
                    let Some(connected) = &mut sender else {
                        sender = target.connect().await;
                        continue;
                    };
                    match target.send(connected).await {
                        Some((status, _)) => count += u32::from(status == 200),
                        None => sender = None,
                    }
                }
                count
            });
        }
        let count: u32 = tasks.join_all().await.into_iter().sum();
        f64::from(count) / began.elapsed().as_secs_f64()
    }

    /// Sends so many requests a second, evenly, and keeps so many connections where they are idle, which it has from the
    /// beginning.
    pub(crate) async fn load(&self, rate: f64, time: Duration, keep: usize) -> Vec<Outcome> {
        let idle: Arc<Mutex<Vec<Sender>>> = Arc::default();
        for _ in 0..keep {
            if let Some(sender) = self.connect().await {
                idle.lock().unwrap().push(sender);
            }
        }
        let mut tasks = JoinSet::new();
        let began = Instant::now();
        let mut sent = 0u32;
        while began.elapsed() < time {
            while f64::from(sent) < rate * began.elapsed().as_secs_f64() {
                let due = began + Duration::from_secs_f64(f64::from(sent) / rate);
                let (target, idle) = (self.clone(), idle.clone());
                tasks.spawn(async move { target.one(due, &idle, keep).await });
                sent += 1;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tasks.join_all().await
    }

    async fn one(&self, due: Instant, idle: &Mutex<Vec<Sender>>, keep: usize) -> Outcome {
        let mut opened = false;
        let attempt = async {
            let kept = loop {
                match idle.lock().unwrap().pop() {
                    Some(sender) if sender.is_closed() => {}
                    kept => break kept,
                }
            };
            opened = kept.is_none();
            let mut sender = if let Some(sender) = kept { sender } else { self.connect().await? };
            let came = self.send(&mut sender).await?;
            let mut idle = idle.lock().unwrap();
            if idle.len() < keep {
                idle.push(sender);
            }
            Some(came)
        };
        let came = tokio::time::timeout(DEADLINE, attempt).await.ok().flatten();
        Outcome {
            status: came.map(|came| came.0),
            retry_after: came.is_some_and(|came| came.1),
            took: due.elapsed(),
            opened,
        }
    }
}
