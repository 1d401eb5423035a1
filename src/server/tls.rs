//! What a connection goes through before its first request: a place among the connections, TCP options, TLS.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum_server::accept::{Accept, TcpConfigAcceptor, TcpKeepaliveConfig, TcpSocketConfig};
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use ringfence_core::config::Limits;
use tokio::sync::Semaphore;
use tower_http::add_extension::AddExtension;

use super::connection::{Connection, Watched};

/// A peer that is gone without a word is noticed after about a minute and a half.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(45), Duration::from_secs(15), 3);

/// Accepts as many connections as there may be. One too many waits as long as a handshake may take.
#[derive(Clone)]
pub(super) struct Counted<A> {
    inner: A,
    places: Arc<Semaphore>,
    patience: Duration,
}

pub(super) fn acceptor(config: RustlsConfig, limits: &Limits) -> Counted<RustlsAcceptor<TcpConfigAcceptor>> {
    let (time, interval, retries) = KEEPALIVE;
    let keepalive = TcpKeepaliveConfig::new().time(time).interval(interval).retries(retries);
    let tcp = TcpConfigAcceptor::new(TcpSocketConfig::new().nodelay(true).keepalive(keepalive));
    let patience = limits.handshake_timeout.to_std();
    Counted {
        inner: RustlsAcceptor::new(config).handshake_timeout(patience).acceptor(tcp),
        places: Arc::new(Semaphore::new(limits.connections)),
        patience,
    }
}

type Accepted<T, S> = Pin<Box<dyn Future<Output = io::Result<(Watched<T>, AddExtension<S, Connection>)>> + Send>>;

impl<A, I, S> Accept<I, S> for Counted<A>
where
    A: Accept<I, S> + Clone + Send + Sync + 'static,
    A::Future: Send,
    I: Send + 'static,
    S: Send + 'static,
{
    type Stream = Watched<A::Stream>;
    type Service = AddExtension<A::Service, Connection>;
    type Future = Accepted<A::Stream, A::Service>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let Self { inner, places, patience } = self.clone();
        Box::pin(async move {
            let place = tokio::time::timeout(patience, places.acquire_owned())
                .await
                .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "too many connections"))?
                .map_err(io::Error::other)?;
            let (stream, service) = inner.accept(stream, service).await?;
            let connection = Connection::new(place);
            Ok((Watched::new(stream, connection.clone()), AddExtension::new(service, connection)))
        })
    }
}
