//! Cases 25 and 29, with the server's own clock moved on: hours of waiting take no time.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use ringfence::certs::dev;
use ringfence::certs::serving::Serving;
use ringfence::cluster::Cluster;
use ringfence::server::{self, App};
use ringfence_core::config::Config;
use serde_json::json;

use crate::harness::*;

/// The clock of the server's timers: stands still until it is moved.
struct Clock {
    by: tokio::sync::mpsc::UnboundedSender<Duration>,
    moved: mpsc::Receiver<()>,
}

impl Clock {
    fn forward(&self, seconds: u64) {
        self.by.send(Duration::from_secs(seconds)).unwrap();
        self.moved.recv().unwrap();
    }
}

/// Runs a client against a server with the default limits.
fn with_clock(client: impl FnOnce(&Server, &Clock) + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let pair = dev::issue().unwrap();
        let cluster = Arc::new(Cluster::embedded(Config::default()));
        cluster.set_synced();
        let app = Arc::new(App::new(cluster));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let running = server::start(
            app.clone(),
            listener,
            Serving::new(pair.clone(), None, app.metrics().clone()).unwrap().tls(),
        )
        .unwrap();
        let server = Server::elsewhere(running.address(), app, pair.ca);
        let (by, mut asked) = tokio::sync::mpsc::unbounded_channel();
        let (done, moved) = mpsc::channel();
        // While it runs the clock does not move by itself.
        let mut client = tokio::task::spawn_blocking(move || client(&server, &Clock { by, moved }));
        loop {
            tokio::select! {
                ended = &mut client => break ended.unwrap(),
                Some(by) = asked.recv() => {
                    tokio::time::advance(by).await;
                    done.send(()).unwrap();
                }
            }
        }
    });
}

#[test]
fn case_25_an_idle_connection_outlives_the_api_servers_90_s_and_ends_after_idle_timeout() {
    with_clock(|server, clock| {
        let request = review(&json!({ "name": "team-a", "namespace": "team-a", "object": adopted("team-a") }));
        let mut connection = server.connect();
        for _ in 0..3 {
            assert_eq!(connection.post("/validate", &request).status, 200);
            clock.forward(95);
        }
        assert_eq!(connection.post("/validate", &request).status, 200);
        clock.forward(125);
        assert!(connection.reply().is_none(), "after idleTimeout (120 s) it is closed");
    });
}

#[test]
fn case_25_neither_a_slow_first_head_nor_a_slow_body_lives_longer_than_it_may() {
    with_clock(|server, clock| {
        let mut head_only = server.connect();
        head_only.send(b"POST /validate HTTP/1.1\r\n").unwrap();
        let mut body_only = server.connect();
        body_only.send(head("/validate", "Content-Type: application/json\r\nContent-Length: 100").as_bytes()).unwrap();
        body_only.send(b" ").unwrap();
        // Both are being read: the clock does not go on by itself.
        until(|| (server.metric("ringfence_in_flight_bytes") == 1).then_some(()));
        until(|| (server.metric("ringfence_connections") == 2).then_some(()));
        // A byte at a time is no excuse.
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(50));
            clock.forward(2);
            head_only.send(b"X: y\r\n").unwrap();
            body_only.send(b" ").unwrap();
        }
        std::thread::sleep(Duration::from_millis(50));
        clock.forward(5);
        assert!(head_only.reply().is_none());
        assert_eq!(body_only.reply().unwrap().status, 408);
    });
}

#[test]
fn case_29_a_peer_that_is_gone_without_a_word_is_reaped_whatever_it_was_doing() {
    with_clock(|server, clock| {
        let request = review(&json!({ "name": "team-a", "namespace": "team-a", "object": adopted("team-a") }));
        // From the server's side, a peer that vanished is one that is silent: in the handshake, before the first request, in
        // a body, and between two requests.
        let handshake = std::net::TcpStream::connect(server.address).unwrap();
        let mut silent = server.connect();
        silent.send(b"").unwrap();
        let mut body = server.connect();
        body.send(head("/validate", "Content-Type: application/json\r\nContent-Length: 100").as_bytes()).unwrap();
        body.send(b" ").unwrap();
        until(|| (server.metric("ringfence_in_flight_bytes") == 1).then_some(()));
        let mut idle = server.connect();
        assert_eq!(idle.post("/validate", &request).status, 200);
        until(|| (server.metric("ringfence_connections") == 4).then_some(()));
        // In small steps: what the server begins to wait for a moment later is waited for too.
        until(|| {
            clock.forward(1);
            (server.metric("ringfence_connections") == 1).then_some(())
        });
        until(|| {
            clock.forward(1);
            (server.metric("ringfence_connections") == 0).then_some(())
        });
        drop((handshake, silent, body, idle));
    });
}
