//! `/livez` and `/readyz`, on a port of their own, without TLS.
//!
//! Only the kubelet uses the port, and the process is killed where the kubelet gets no answer. So the port shares nothing
//! with the others that a peer could use up: it has a thread of its own, and places for connections of which no peer can
//! keep another one out. A connection gets one answer and is closed.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, Id, JoinSet};

use super::App;

/// How many connections there are at one time. A kubelet needs one or two.
pub(super) const PLACES: usize = 1024;

/// How many of them one address may have: so many that a connection is answered before as many have come after it.
const PLACES_OF_A_PEER: usize = 256;

/// How many connections the kernel keeps until they are accepted. Of more that come at once it drops some, whose peers try
/// again a second later.
const BACKLOG: u32 = 4096;

/// How long a connection may take from its first byte to the end of its answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest head of a request. The kubelet's has a few hundred bytes.
const HEAD: usize = 4096;

/// How often the runtime of the webhooks shows that it runs.
const BEAT: Duration = Duration::from_secs(1);

/// A runtime that has not shown that it runs for so long does not come back by itself. A process that has a tenth of a core
/// and too much to do is late by seconds.
const STANDSTILL: Duration = Duration::from_secs(60);

/// A server that is up. It ends when this is dropped.
pub struct Health {
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<io::Result<()>>,
}

impl Health {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the server ends, which by itself it only does by failing.
    ///
    /// # Errors
    /// Why it failed.
    pub async fn ended(&mut self) -> io::Result<()> {
        (&mut self.ended).await.map_err(io::Error::other)?
    }
}

/// Serves health at an address, from a thread of its own. Call it inside the runtime of the webhooks: `/livez` fails where
/// that stands still.
///
/// # Errors
/// Where nobody can listen there, or there is no thread.
pub fn start(app: Arc<App>, address: SocketAddr) -> io::Result<Health> {
    let pulse = Pulse::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _entered = runtime.enter();
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)?
    };
    let address = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel();
    let (ends, ended) = oneshot::channel();
    std::thread::Builder::new().name("health".to_owned()).spawn(move || {
        let served = runtime.block_on(async {
            tokio::select! {
                never = serve(&listener, &app, &pulse) => match never {},
                _ = stopped => Ok(()),
            }
        });
        // Nobody waits for it where the process ends.
        let _ = ends.send(served);
    })?;
    Ok(Health { address, _stop: stop, ended })
}

/// When the runtime of the webhooks last showed that it runs.
#[derive(Clone)]
struct Pulse {
    began: Instant,
    /// Milliseconds from `began` to the last beat.
    last: Arc<AtomicU64>,
}

impl Pulse {
    fn start() -> Self {
        let pulse = Self { began: Instant::now(), last: Arc::default() };
        let beating = Arc::downgrade(&pulse.last);
        let began = pulse.began;
        tokio::spawn(async move {
            while let Some(last) = beating.upgrade() {
                last.store(millis(began.elapsed()), Ordering::Relaxed);
                drop(last);
                tokio::time::sleep(BEAT).await;
            }
        });
        pulse
    }

    fn stands_still(&self) -> bool {
        millis(self.began.elapsed()).saturating_sub(self.last.load(Ordering::Relaxed)) > millis(STANDSTILL)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

async fn serve(listener: &TcpListener, app: &Arc<App>, pulse: &Pulse) -> std::convert::Infallible {
    let mut connections = JoinSet::new();
    let mut places = Places::default();
    loop {
        tokio::select! {
            Some(ended) = connections.join_next_with_id() => {
                places.free(ended.map_or_else(|error| error.id(), |(id, ())| id));
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let (app, pulse) = (app.clone(), pulse.clone());
                    let connection = connections.spawn(async move {
                        // A peer that is slow, or gone, has no answer.
                        let _ = tokio::time::timeout(PATIENCE, answer(stream, &app, &pulse)).await;
                    });
                    places.take(peer.ip(), connection);
                    // However many come at once, those that are there have their turn between two of them.
                    tokio::task::yield_now().await;
                }
                // No descriptor is free, for one: that passes, and trying at once would be for nothing.
                Err(error) => {
                    tracing::debug!(%error, "health connection not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

/// Who has which place, the oldest first.
///
/// A new connection always gets a place. Where there is none, the oldest connection of the peer that has most loses its
/// own: it had more time than any other to ask, and an answer takes none.
#[derive(Default)]
struct Places(VecDeque<(IpAddr, AbortHandle)>);

impl Places {
    fn take(&mut self, peer: IpAddr, connection: AbortHandle) {
        let peer = network(peer);
        if self.held_by(peer) >= PLACES_OF_A_PEER {
            self.evict(peer);
        } else if self.0.len() >= PLACES {
            let most = self.0.iter().map(|(peer, _)| *peer).max_by_key(|peer| self.held_by(*peer));
            if let Some(most) = most {
                self.evict(most);
            }
        }
        self.0.push_back((peer, connection));
    }

    fn free(&mut self, connection: Id) {
        self.0.retain(|(_, other)| other.id() != connection);
    }

    fn held_by(&self, peer: IpAddr) -> usize {
        self.0.iter().filter(|(other, _)| *other == peer).count()
    }

    fn evict(&mut self, peer: IpAddr) {
        if let Some((_, oldest)) =
            self.0.iter().position(|(other, _)| *other == peer).and_then(|oldest| self.0.remove(oldest))
        {
            oldest.abort();
        }
    }
}

/// What counts as one peer: an IPv4 address, or the /64 of an IPv6 address, of which a host has all.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

async fn answer(mut stream: TcpStream, app: &App, pulse: &Pulse) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        if head.len() > HEAD || stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let (status, text) = answer_to(&head, app, pulse);
    let body = if head.starts_with(b"HEAD ") { "" } else { text };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        text.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // What the peer still sends would make the kernel reset the connection, and the answer be lost.
    let mut rest = [0; 512];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// The status line and the text for a request.
fn answer_to(head: &[u8], app: &App, pulse: &Pulse) -> (&'static str, &'static str) {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target, version) = (words.next(), words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if !version.starts_with(b"HTTP/1.") {
        return ("400 Bad Request", "this is no request of HTTP/1.1\n");
    }
    if !matches!(method, Some(b"GET" | b"HEAD")) {
        return ("405 Method Not Allowed", "ask with GET\n");
    }
    let problem = match target.split(|byte| *byte == b'?').next() {
        Some(b"/livez") => pulse.stands_still().then_some("the webhooks have not run for a minute\n"),
        Some(b"/readyz") => not_ready(app),
        _ => return ("404 Not Found", "there is nothing here; health is at /livez and /readyz\n"),
    };
    problem.map_or(("200 OK", "ok\n"), |problem| ("503 Service Unavailable", problem))
}

/// Ready once the webhooks are served and the index is complete and judged, until draining begins.
fn not_ready(app: &App) -> Option<&'static str> {
    if app.is_draining() {
        Some("draining\n")
    } else if !app.is_listening() {
        Some("there is no certificate to serve the webhooks with yet\n")
    } else if !app.cluster.is_synced() {
        Some("the namespaces and their policies are not known yet\n")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use tokio::task::JoinSet;

    use super::{PLACES, PLACES_OF_A_PEER, Places, network};

    #[tokio::test]
    async fn a_new_connection_takes_a_place_of_the_peer_that_has_most() {
        let mut tasks = JoinSet::new();
        let mut places = Places::default();
        let peer = |number: u8| IpAddr::V4(Ipv4Addr::new(192, 0, 2, number));
        let mut take = |places: &mut Places, peer| {
            let task = tasks.spawn(std::future::pending::<()>());
            places.take(peer, task.clone());
            task
        };
        let kubelet = take(&mut places, peer(0));
        for number in 1..=9 {
            for _ in 0..2 * PLACES_OF_A_PEER {
                take(&mut places, peer(number));
                assert!(places.0.len() <= PLACES && places.held_by(peer(number)) <= PLACES_OF_A_PEER);
            }
        }
        tokio::task::yield_now().await;
        assert!(!kubelet.is_finished(), "nine others have each tried to take everything");
        let newest = take(&mut places, peer(1));
        assert_eq!(places.0.back().unwrap().1.id(), newest.id());
        places.free(kubelet.id());
        assert_eq!(places.held_by(peer(0)), 0);
    }

    #[test]
    fn all_addresses_of_a_host_are_one_peer() {
        let [one, two, other] =
            ["2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"].map(|text| text.parse().unwrap());
        assert_eq!(network(one), network(two));
        assert_ne!(network(one), network(other));
        assert_eq!(network("::ffff:192.0.2.1".parse().unwrap()), network("192.0.2.1".parse().unwrap()));
    }
}
