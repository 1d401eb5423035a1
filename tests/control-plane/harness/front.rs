//! A network that a test can break: it forwards TCP connections to whatever it is pointed at.
//!
//! It is what the API servers reach as the webhook's Service, and what can be put between Ringfence and an API server.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Bed, lock, ports};

/// One port. Dropped, it refuses, and its connections are cut.
pub(crate) struct Front {
    address: SocketAddr,
    runtime: Handle,
    state: Arc<State>,
    /// The task that accepts; none while it refuses.
    listening: Mutex<Option<JoinHandle<()>>>,
}

struct State {
    targets: Mutex<Vec<SocketAddr>>,
    accepted: AtomicU64,
    /// Whether bytes flow.
    flowing: watch::Sender<bool>,
    /// Changes when all connections there are must end.
    cut: watch::Sender<()>,
    /// The tasks that serve them.
    open: Mutex<Vec<JoinHandle<()>>>,
}

impl Bed {
    /// A front of the bed's own, pointed at these.
    pub(crate) fn front(&self, targets: &[SocketAddr]) -> Front {
        let state = State {
            targets: Mutex::new(targets.to_vec()),
            accepted: AtomicU64::new(0),
            flowing: watch::Sender::new(true),
            cut: watch::Sender::new(()),
            open: Mutex::default(),
        };
        let front = Front {
            address: ([127, 0, 0, 1], ports::free()).into(),
            runtime: self.runtime.handle().clone(),
            state: Arc::new(state),
            listening: Mutex::new(None),
        };
        front.accept();
        front
    }
}

impl Front {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// For a kubeconfig, where it stands before an API server.
    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// How many connections there have been.
    pub(crate) fn accepted(&self) -> u64 {
        self.state.accepted.load(Ordering::Relaxed)
    }

    /// Points it at these, in turn, one connection each. Connections that are there stay where they are: see
    /// [`Self::cut`].
    pub(crate) fn point_at(&self, targets: &[SocketAddr]) {
        *lock(&self.state.targets) = targets.to_vec();
    }

    pub(crate) fn add(&self, target: SocketAddr) {
        lock(&self.state.targets).push(target);
    }

    pub(crate) fn remove(&self, target: SocketAddr) {
        lock(&self.state.targets).retain(|other| *other != target);
    }

    /// A blackhole: connections stay open and new ones are accepted, and nothing is forwarded either way.
    pub(crate) fn stall(&self) {
        self.state.flowing.send_replace(false);
    }

    /// Forwards again after [`Self::stall`], also what was sent meanwhile; or listens again after [`Self::refuse`].
    pub(crate) fn resume(&self) {
        self.state.flowing.send_replace(true);
        self.accept();
    }

    /// Closes all connections. None of them is left when this returns, so that what is sent next goes by another one.
    pub(crate) fn cut(&self) {
        let mut open = lock(&self.state.open);
        self.state.cut.send_replace(());
        until_finished(open.drain(..));
    }

    /// Closes all connections, and refuses new ones.
    pub(crate) fn refuse(&self) {
        if let Some(task) = lock(&self.listening).take() {
            task.abort();
            // The port is closed when the task is gone, and not before.
            until_finished([task]);
        }
        self.cut();
    }

    fn accept(&self) {
        let mut listening = lock(&self.listening);
        if listening.is_some() {
            return;
        }
        let socket = std::net::TcpListener::bind(self.address).unwrap();
        socket.set_nonblocking(true).unwrap();
        let state = self.state.clone();
        *listening = Some(self.runtime.spawn(async move {
            let listener = TcpListener::from_std(socket).unwrap();
            while let Ok((client, _)) = listener.accept().await {
                state.accepted.fetch_add(1, Ordering::Relaxed);
                let mut open = lock(&state.open);
                open.retain(|task| !task.is_finished());
                // From here on and not from its first turn on: a cut waits for its end.
                let cut = state.cut.subscribe();
                open.push(tokio::spawn(serve(state.clone(), client, cut)));
            }
        }));
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.listening).take() {
            task.abort();
        }
        self.state.cut.send_replace(());
    }
}

fn until_finished(tasks: impl IntoIterator<Item = JoinHandle<()>>) {
    for task in tasks {
        while !task.is_finished() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

async fn serve(state: Arc<State>, client: TcpStream, mut cut: watch::Receiver<()>) {
    tokio::select! {
        // What flows again after it was cut off does not flow on this connection.
        biased;
        _ = cut.changed() => {}
        () = forward(&state, client) => {}
    }
}

async fn forward(state: &State, client: TcpStream) {
    let mut flowing = state.flowing.subscribe();
    if flowing.wait_for(|flows| *flows).await.is_err() {
        return;
    }
    let target = {
        let mut targets = lock(&state.targets);
        let Some(first) = targets.first().copied() else { return };
        targets.rotate_left(1);
        first
    };
    let Ok(server) = TcpStream::connect(target).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::join!(pump(from_client, to_server, flowing.clone()), pump(from_server, to_client, flowing));
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut flowing: watch::Receiver<bool>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if flowing.wait_for(|flows| *flows).await.is_err() || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
    // A close is news like any other: a blackhole does not pass it on.
    let _ = flowing.wait_for(|flows| *flows).await;
    let _ = to.shutdown().await;
}
