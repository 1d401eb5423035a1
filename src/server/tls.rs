//! What a connection goes through before its first request: a place among the connections, TCP options, TLS.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum_server::accept::{Accept, TcpConfigAcceptor, TcpKeepaliveConfig, TcpSocketConfig};
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use ringfence_core::config::Limits;
use tokio::sync::Semaphore;
use tower_http::add_extension::AddExtension;

use super::connection::{Connection, Watched};
use super::limits::{HANDSHAKE_PATIENCE, Places};
use super::turn::Turn;
use crate::metrics::{Metrics, Shed};

/// A peer that is gone without a word is noticed after about a minute and a half.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(45), Duration::from_secs(15), 3);

/// Accepts as many connections as there may be, and lets no flood of handshakes starve the connections that are there.
/// What can't be served is closed at once: a connection that waits helps nobody, whose deadline runs.
#[derive(Clone)]
pub(super) struct Counted<A> {
    inner: A,
    places: Places,
    lanes: Arc<Semaphore>,
    patience: Duration,
    metrics: Arc<Metrics>,
}

/// For the webhooks. Call it inside a runtime.
pub(super) fn acceptor(
    config: RustlsConfig,
    limits: &Limits,
    places: Places,
    metrics: Arc<Metrics>,
) -> Counted<RustlsAcceptor<TcpConfigAcceptor>> {
    let tls = RustlsAcceptor::new(config).handshake_timeout(limits.handshake_timeout.to_std()).acceptor(tcp());
    Counted::new(tls, limits, places, metrics)
}

/// For metrics. Call it inside a runtime.
pub(super) fn plain_acceptor(limits: &Limits, places: Places, metrics: Arc<Metrics>) -> Counted<TcpConfigAcceptor> {
    Counted::new(tcp(), limits, places, metrics)
}

fn tcp() -> TcpConfigAcceptor {
    let (time, interval, retries) = KEEPALIVE;
    let keepalive = TcpKeepaliveConfig::new().time(time).interval(interval).retries(retries);
    TcpConfigAcceptor::new(TcpSocketConfig::new().nodelay(true).keepalive(keepalive))
}

impl<A> Counted<A> {
    fn new(inner: A, limits: &Limits, places: Places, metrics: Arc<Metrics>) -> Self {
        // One for each thread of the runtime: enough for any rate of handshakes while there is nothing else to do.
        let lanes = Arc::new(Semaphore::new(tokio::runtime::Handle::current().metrics().num_workers()));
        Self { inner, places, lanes, patience: limits.body_timeout.to_std(), metrics }
    }
}

type Accepted<T, S> = Pin<Box<dyn Future<Output = io::Result<(Watched<T>, AddExtension<S, Connection>)>> + Send>>;

impl<A, I, S> Accept<I, S> for Counted<A>
where
    A: Accept<I, S> + Clone + Send + Sync + 'static,
    A::Future: Send,
    A::Stream: Send,
    A::Service: Send,
    I: Send + 'static,
    S: Send + 'static,
{
    type Stream = Watched<A::Stream>;
    type Service = AddExtension<A::Service, Connection>;
    type Future = Accepted<A::Stream, A::Service>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let Self { inner, places, lanes, patience, metrics } = self.clone();
        Box::pin(async move {
            let Some(place) = places.take() else {
                metrics.shed(Shed::Connections);
                return Err(io::Error::other("too many connections"));
            };
            let Some((accepted, waited)) = in_turn(inner.accept(stream, service), &lanes).await else {
                metrics.shed(Shed::Handshake);
                return Err(io::Error::other("the handshake waited too long for its turn"));
            };
            let (stream, service) = accepted?;
            let connection = Connection::new(place);
            Ok((Watched::new(stream, connection.clone(), waited, patience), AddExtension::new(service, connection)))
        })
    }
}

/// Runs a handshake so that each round of the runtime's run queue, in which everything else has its turn once, has only
/// as many steps of handshakes as there are lanes: one costs as much as ten requests. A lane is held for a step, never
/// while the peer is waited for. Returns what came of it and how long it waited for its turns; `None` where that was too
/// long.
async fn in_turn<F: Future>(handshake: F, lanes: &Semaphore) -> Option<(F::Output, Duration)> {
    let mut handshake = pin!(handshake);
    let turn = Turn::new();
    let mut waited = Duration::ZERO;
    for number in 0.. {
        let since = turn.come().await;
        let lane = lanes.acquire().await.ok()?;
        waited += since.elapsed();
        // The second step at the latest does what costs: given up later, it would have been done for nothing.
        if waited > HANDSHAKE_PATIENCE && number < 2 {
            return None;
        }
        let step = poll_fn(|cx| Poll::Ready(turn.poll(cx, |cx| handshake.as_mut().poll(cx)))).await;
        tokio::task::yield_now().await;
        drop(lane);
        if let Poll::Ready(done) = step {
            return Some((done, waited));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::{HANDSHAKE_PATIENCE, in_turn};

    /// Keeps its thread busy for two milliseconds at each of three polls.
    async fn handshake(done: Arc<AtomicUsize>) {
        for _ in 0..3 {
            std::thread::sleep(std::time::Duration::from_millis(2));
            tokio::task::yield_now().await;
        }
        done.fetch_add(1, Ordering::Relaxed);
    }

    #[tokio::test]
    async fn others_have_their_turn_between_two_steps_of_handshakes() {
        let lanes = Arc::new(Semaphore::new(1));
        let done = Arc::new(AtomicUsize::new(0));
        let handshakes: Vec<_> = (0..20)
            .map(|_| {
                let (lanes, done) = (lanes.clone(), done.clone());
                tokio::spawn(async move { in_turn(handshake(done), &lanes).await.is_some() })
            })
            .collect();
        // Each round runs this once, and one step of one handshake.
        for _ in 0..12 {
            tokio::task::yield_now().await;
        }
        assert!(done.load(Ordering::Relaxed) <= 4, "{done:?} handshakes came before what was there");
        for handshake in handshakes {
            assert!(handshake.await.unwrap(), "none of them waited for {HANDSHAKE_PATIENCE:?}");
        }
    }

    #[tokio::test]
    async fn a_handshake_that_waited_too_long_is_given_up_before_it_costs_anything() {
        let lanes = Semaphore::new(1);
        let held = lanes.acquire().await.unwrap();
        let done = Arc::new(AtomicUsize::new(0));
        let late = in_turn(handshake(done.clone()), &lanes);
        let free = async {
            tokio::time::sleep(HANDSHAKE_PATIENCE + HANDSHAKE_PATIENCE / 8).await;
            drop(held);
        };
        assert!(tokio::join!(late, free).0.is_none());
        assert_eq!(done.load(Ordering::Relaxed), 0);
    }
}
