//! The webhook server: TLS, limits and routes around [`ringfence_core::admission::decide`], and the ports for health and
//! metrics.

mod connection;
mod deciding;
mod descriptors;
mod heads;
mod health;
mod limits;
mod metrics;
mod refusal;
mod routes;
mod tls;
mod turn;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use tokio::task::JoinHandle;

use crate::cluster::Cluster;
use crate::metrics::Metrics;
pub use health::{Health, start as start_health};
use limits::{Gate, Places};

/// How many connections the port of the metrics has. A few that scrape need a handful.
const METRICS_CONNECTIONS: usize = 256;

/// How long a connection of the port of the metrics may idle, or take for a request's head.
const METRICS_PATIENCE: Duration = Duration::from_secs(5);

/// The most that is kept of what a connection has sent and nobody has read yet; a request's head has to fit into it. The
/// API server's takes less than a kilobyte, plus a token where it has one for us. With hyper's own 400 KiB, peers that
/// never end their heads could fill the memory.
const BUFFER: usize = 32 * 1024;

/// What every request is handled with.
pub struct App {
    cluster: Arc<Cluster>,
    metrics: Arc<Metrics>,
    gate: Gate,
    listening: AtomicBool,
    places: Places,
    draining: AtomicBool,
}

impl App {
    /// For a cluster, under its configuration's limits.
    #[must_use]
    pub fn new(cluster: Arc<Cluster>) -> Self {
        let limits = &cluster.config().limits;
        let metrics: Arc<Metrics> = Arc::default();
        let gate = Gate::new(limits, metrics.clone());
        let places = Places::new(descriptors::for_connections(limits.connections));
        let (listening, draining) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { cluster, metrics, gate, listening, places, draining }
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// The metrics.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// How many reviews were decided so far.
    #[must_use]
    pub fn reviews_decided(&self) -> u64 {
        self.metrics.reviews_decided()
    }

    /// The metrics, as `/metrics` gives them.
    ///
    /// # Errors
    /// Where a metric can't be written as text.
    pub fn metrics_text(&self) -> Result<String, std::fmt::Error> {
        self.metrics.holds(self.places.taken(), self.gate.bytes_in_flight(), self.gate.built());
        self.metrics.encode(&self.cluster)
    }

    fn is_listening(&self) -> bool {
        self.listening.load(Ordering::Relaxed)
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// A server that is up.
pub struct Running {
    address: SocketAddr,
    handle: Handle<SocketAddr>,
    task: JoinHandle<std::io::Result<()>>,
    app: Arc<App>,
}

/// Serves the webhooks on a listener. Call it inside a runtime.
///
/// # Errors
/// Where the listener can't be used.
pub fn start(app: Arc<App>, listener: TcpListener, tls: RustlsConfig) -> std::io::Result<Running> {
    let address = listener.local_addr()?;
    let limits = app.cluster.config().limits.clone();
    let handle = Handle::new();
    let acceptor = tls::acceptor(tls, &limits, app.places.clone(), app.metrics.clone());
    let mut server = axum_server::from_tcp(listener)?
        .acceptor(acceptor)
        .handle(handle.clone())
        .first_request_timeout(limits.first_request_timeout.to_std())
        .accept_error_handler(|peer, error| tracing::debug!(?peer, %error, "connection not accepted"))
        .http1_only();
    // hyper ends idle connections by the same timer that it waits for headers with.
    server.http_builder().http1().header_read_timeout(limits.idle_timeout.to_std()).max_buf_size(BUFFER);
    let service = routes::router(app.clone()).into_make_service_with_connect_info::<SocketAddr>();
    app.listening.store(true, Ordering::Relaxed);
    let task = tokio::spawn(server.serve(service));
    Ok(Running { address, handle, task, app })
}

/// Serves the metrics, without TLS. Call it inside a runtime.
///
/// # Errors
/// Where the listener can't be used.
pub fn start_metrics(app: Arc<App>, listener: TcpListener) -> std::io::Result<JoinHandle<std::io::Result<()>>> {
    let acceptor =
        tls::plain_acceptor(&app.cluster.config().limits, Places::new(METRICS_CONNECTIONS), app.metrics.clone());
    let mut server = axum_server::from_tcp(listener)?.acceptor(acceptor).http1_only();
    server.http_builder().http1().header_read_timeout(METRICS_PATIENCE).max_buf_size(BUFFER);
    Ok(tokio::spawn(server.serve(metrics::router(app).into_make_service())))
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Drains: from now on it is not ready and answers with `Connection: close`, but goes on listening, since API
    /// servers learn by themselves that it is going; then it finishes what runs, and ends.
    ///
    /// # Errors
    /// Where the server had failed.
    pub async fn drain(mut self) -> std::io::Result<()> {
        let limits = &self.app.cluster.config().limits;
        self.app.draining.store(true, Ordering::Relaxed);
        tokio::time::sleep(limits.drain.to_std()).await;
        self.handle.graceful_shutdown(Some(limits.drain_deadline.to_std()));
        self.ended().await
    }

    /// Waits until the server ends, which by itself it only does by failing.
    ///
    /// # Errors
    /// Why it failed.
    pub async fn ended(&mut self) -> std::io::Result<()> {
        (&mut self.task).await.map_err(std::io::Error::other)?
    }

    /// Ends at once.
    pub fn abort(&self) {
        self.handle.shutdown();
    }
}
