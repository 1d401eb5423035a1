//! Cases 25 to 34 as far as one connection or a few show them: what they hold, and when they are cut.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use serde_json::json;

use crate::harness::*;

/// Sends a part of a body whose rest never comes, and returns once all of it is held. One that is shed instead, since it
/// waited too long for its turn, is sent again by another client.
fn hold(server: &Server, headers: &str, bytes: usize) -> Connection {
    let (held, shed) = ("ringfence_in_flight_bytes", "ringfence_shed_total{reason=\"late\"}");
    let all = server.metric(held) + bytes as u64;
    until(|| {
        let before = server.metric(shed);
        let mut client = server.connect();
        client.send(head("/validate", headers).as_bytes()).ok()?;
        client.send(&vec![b' '; bytes]).ok()?;
        let is_held = until(|| {
            if server.metric(shed) > before { Some(false) } else { (server.metric(held) == all).then_some(true) }
        });
        is_held.then_some(client)
    })
}

#[test]
fn case_33_what_a_client_that_is_gone_held_is_given_back() {
    let limit = 4 << 20;
    // Their time must not be up before both have sent their halves, on a machine however loaded.
    let limits =
        json!({ "bodyBytes": limit, "bytesInFlight": limit, "bodyTimeout": "1h", "firstRequestTimeout": "1h" });
    let server = server_with(&json!({ "limits": limits }), "");
    let headers = format!("Content-Type: application/json\r\nContent-Length: {limit}");
    // Nothing else is sent before they hold the whole budget: the least of it would have one of them refused.
    let clients: Vec<Connection> = (0..2).map(|_| hold(&server, &headers, limit / 2)).collect();
    assert_eq!(server.metric("ringfence_in_flight_bytes"), limit as u64);
    // Then others are shed rather than queued.
    let request = review(&json!({ "name": "team-a", "namespace": "team-a", "object": adopted("team-a") }));
    let shed =
        until(|| Some(server.post("/validate", &request)).filter(|reply| reply.text().contains("bytes in flight")));
    assert_eq!(shed.status, 503);
    assert_eq!(shed.header("retry-after"), Some("1"));
    assert!(server.metric("ringfence_shed_total{reason=\"bytes\"}") >= 1, "{}", server.metrics());

    // Without a word of TLS, and with a reset, since session tickets were left unread.
    drop(clients);
    let reply = until(|| Some(server.post("/validate", &request)).filter(|reply| reply.status == 200));
    assert_eq!(reply.response()["allowed"], true);
    until(|| (server.metric("ringfence_in_flight_bytes") == 0).then_some(()));
    until(|| (server.metric("ringfence_connections") == 0).then_some(()));
}

#[test]
fn case_34_a_client_of_http_2_only_is_told_in_the_handshake_that_there_is_none() {
    let server = server();
    let connect = |alpn: &[&[u8]]| {
        let config = Arc::new(client_config(&server.ca, alpn));
        let mut tls = ClientConnection::new(config, ServerName::try_from(SERVER_NAME).unwrap()).unwrap();
        let mut tcp = TcpStream::connect(server.address).unwrap();
        let handshake = tls.complete_io(&mut tcp);
        (handshake, tls, tcp)
    };
    let error = connect(&[b"h2"]).0.unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");

    // Offered both, as the API server does with a url, HTTP/1.1 is chosen.
    let (handshake, tls, _) = connect(&[b"h2", b"http/1.1"]);
    handshake.unwrap();
    assert_eq!(tls.alpn_protocol(), Some(&b"http/1.1"[..]));

    // Without ALPN, an HTTP/2 preface gets no answer but the end of the connection.
    let (handshake, tls, tcp) = connect(&[]);
    handshake.unwrap();
    let mut stream = StreamOwned::new(tls, tcp);
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn case_27_plaintext_gets_no_answer() {
    let server = server();
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.write_all(b"POST /validate HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/"), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn many_reviews_go_over_one_connection() {
    let server = server();
    let mut connection = server.connect();
    for number in 0..50 {
        let name = format!("team-{number}");
        let request = json!({ "uid": name, "name": name, "namespace": name, "object": adopted(&name) });
        let reply = connection.post("/validate", &review(&request));
        assert_eq!(reply.json()["response"]["uid"], name.as_str());
        assert_eq!(reply.header("content-type"), Some("application/json"));
    }
}

#[test]
fn case_25_a_slow_body_is_cut_and_a_slow_first_head_too() {
    let limits = json!({ "limits": { "bodyTimeout": "1s", "firstRequestTimeout": "5s" } });
    let server = server_with(&limits, "");
    let mut slow_body = server.connect();
    slow_body.send(head("/validate", "Content-Type: application/json\r\nContent-Length: 100").as_bytes()).unwrap();
    assert_eq!(slow_body.reply().unwrap().status, 408);
    let mut slow_head = server.connect();
    slow_head.send(b"POST /validate HTTP/1.1\r\nHost: x\r\n").unwrap();
    assert!(slow_head.reply().is_none());
}

#[test]
fn case_32_a_review_too_many_is_shed_with_retry_after_and_its_connection_goes_on() {
    // One is worked on for as long as the API server does not answer.
    let (runtime, server, events) = server_before_a_deaf_api_server(&json!({ "limits": { "concurrentReviews": 1 } }));
    let request = review(&json!({ "name": "team-b", "namespace": "team-b", "object": adopted("team-b") }));
    let mut connection = server.connect();
    let shed = until(|| {
        let long = ask_what_is_not_answered(&server, &events);
        let reply = connection.post("/validate", &request);
        drop(long);
        assert_eq!(events.recv_timeout(Duration::from_secs(60)), Ok("gone"));
        // On a machine that stood still for two seconds it is over already.
        (reply.status == 503).then_some(reply)
    });
    assert_eq!((shed.header("retry-after"), shed.header("connection")), (Some("1"), None), "{}", shed.text());
    assert!(shed.text().contains("too many reviews"), "{}", shed.text());
    until(|| (connection.post("/validate", &request).status == 200).then_some(()));
    runtime.shutdown_background();
}

#[test]
fn case_32_what_is_announced_and_never_sent_holds_nothing_of_the_budget() {
    let server = server_with(&json!({ "limits": { "bodyTimeout": "1h" } }), "");
    let stalled: Vec<Connection> = ["Content-Length: 33554432", "Transfer-Encoding: chunked"]
        .iter()
        .cycle()
        .take(40)
        .map(|length| {
            let mut connection = server.connect();
            let headers = format!("Content-Type: application/json\r\n{length}");
            connection.send(head("/validate", &headers).as_bytes()).unwrap();
            connection.send(b"1\r\n{\r\n").unwrap();
            connection
        })
        .collect();
    let held = until(|| Some(server.metric("ringfence_in_flight_bytes")).filter(|held| *held >= 40));
    assert!(held < 4096, "{held} bytes are held where a few hundred came");
    let request = review(&json!({ "name": "team-a", "namespace": "team-a", "object": adopted("team-a") }));
    assert_eq!(server.post("/validate", &request).response()["allowed"], true);
    drop(stalled);
}

#[test]
fn case_32_large_bodies_leave_a_part_of_the_budget_to_small_ones() {
    let limits = json!({ "limits": { "bodyBytes": 1 << 20, "bytesInFlight": 8 << 20, "bodyTimeout": "1h", "firstRequestTimeout": "1h" } });
    let server = server_with(&limits, "");
    let headers = format!("Content-Type: application/json\r\nContent-Length: {}", 1 << 20);
    let _stalled: Vec<Connection> = (0..7).map(|_| hold(&server, &headers, (1 << 20) - 1)).collect();
    // For another one there is no room, unless it is shed for being late.
    until(|| {
        let mut connection = server.connect();
        let _ = connection.send(head("/validate", &headers).as_bytes());
        let _ = connection.send(&vec![b' '; (1 << 20) - 1]);
        let _ = connection.reply();
        (server.metric("ringfence_shed_total{reason=\"bytes\"}") >= 1).then_some(())
    });
    let request = review(&json!({ "name": "team-a", "namespace": "team-a", "object": adopted("team-a") }));
    assert_eq!(server.post("/validate", &request).response()["allowed"], true);
}

#[test]
fn case_27_tls_1_0_and_1_1_are_refused_in_the_handshake() {
    const ALERT: u8 = 21;
    const HANDSHAKE: u8 = 22;
    const PROTOCOL_VERSION: u8 = 70;
    let server = server();
    // What a ClientHello without supported_versions offers at most. That of 1.2 is answered.
    for (version, refused) in [([3, 1], true), ([3, 2], true), ([3, 3], false)] {
        let mut hello = version.to_vec();
        hello.extend([7; 32]);
        hello.push(0);
        // TLS_RSA_WITH_AES_128_CBC_SHA, as every client of that time has it, and one that we have too.
        hello.extend([0, 4, 0x00, 0x2f, 0xc0, 0x2b]);
        hello.extend([1, 0]);
        // signature_algorithms (ECDSA with SHA-256), supported_groups (x25519), ec_point_formats (uncompressed).
        let extensions = [0, 13, 0, 4, 0, 2, 4, 3, 0, 10, 0, 4, 0, 2, 0, 29, 0, 11, 0, 2, 1, 0];
        hello.extend([0, u8::try_from(extensions.len()).unwrap()]);
        hello.extend(extensions);
        let mut message = vec![1, 0, 0, u8::try_from(hello.len()).unwrap()];
        message.append(&mut hello);
        let mut record = vec![22, 3, 1, 0, u8::try_from(message.len()).unwrap()];
        record.append(&mut message);
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(&record).unwrap();
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).unwrap();
        if refused {
            assert_eq!((answer[0], answer[6]), (ALERT, PROTOCOL_VERSION), "{version:?}: {answer:?}");
        } else {
            assert_eq!(answer[0], HANDSHAKE, "{version:?}: {answer:?}");
        }
    }
}

#[test]
fn case_30_a_head_that_never_ends_is_cut_before_it_fills_the_memory() {
    let server = server_with(&json!({ "limits": { "firstRequestTimeout": "1h" } }), "");
    let mut connection = server.connect();
    let _ = connection.send(b"POST /validate HTTP/1.1\r\nHost: x\r\nX: ");
    // Fewer bytes than hyper would keep by itself.
    for _ in 0..100 {
        let _ = connection.send(&[b'x'; 1000]);
    }
    until(|| (server.metric("ringfence_connections") == 0).then_some(()));
    // A token of 16 KiB fits.
    let request = review(&json!({ "name": "team-a", "namespace": "team-a", "object": adopted("team-a") }));
    let body = serde_json::to_vec(&request).unwrap();
    let headers = format!(
        "Content-Type: application/json\r\nAuthorization: Bearer {}\r\nContent-Length: {}",
        "t".repeat(16 << 10),
        body.len()
    );
    let mut connection = server.connect();
    connection.send(head("/validate", &headers).as_bytes()).unwrap();
    connection.send(&body).unwrap();
    assert_eq!(connection.reply().unwrap().status, 200);
}

#[test]
fn case_29_a_peer_that_never_reads_its_answers_is_cut() {
    let server = server_with(&json!({ "limits": { "bodyTimeout": "1s" } }), "");
    let mut deaf = server.connect();
    deaf.tcp().set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let request = format!("{}{{}}", head("/validate", "Content-Type: application/json\r\nContent-Length: 2"));
    let many = request.repeat(64);
    // Until it takes no more, since nobody reads what it answers: then it is cut, whatever the idle timeout is.
    until(|| deaf.send(many.as_bytes()).is_err().then_some(()));
    assert!(server.metric("ringfence_http_refusals_total{code=\"400\"}") > 64);
    until(|| (server.metric("ringfence_connections") == 0).then_some(()));
}

#[cfg(target_os = "linux")]
#[test]
fn case_29_the_kernel_probes_a_silent_peer() {
    let server = server();
    let request = review(&json!({ "name": "team-a", "namespace": "team-a", "object": adopted("team-a") }));
    let mut connection = server.connect();
    assert_eq!(connection.post("/validate", &request).status, 200);
    // proc(5), /proc/net/tcp: local and remote address in hexadecimal, and among the fields which timer runs (2 is that of
    // keepalive) and for how long, in hundredths of a second.
    let client = connection.tcp().local_addr().unwrap().port();
    let remote = format!("0100007F:{client:04X}");
    let when = until(|| {
        let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let socket = sockets.lines().find(|line| line.split_whitespace().nth(2) == Some(&remote)).unwrap();
        let (kind, when) = socket.split_whitespace().nth(5).unwrap().split_once(':').unwrap();
        // For a moment it may be that of what is not acknowledged yet.
        (kind == "02").then(|| u64::from_str_radix(when, 16).unwrap())
    });
    assert!(when <= 4500, "{when}");
}

#[test]
fn case_26_a_connection_that_never_begins_its_handshake_is_cut() {
    let server = server_with(&json!({ "limits": { "handshakeTimeout": "1s" } }), "");
    let mut silent = TcpStream::connect(server.address).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    match silent.read(&mut [0; 1]) {
        Ok(read) => assert_eq!(read, 0),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}

#[test]
fn case_30_a_connection_too_many_is_dropped_and_the_established_one_still_served() {
    let server = server_with(&json!({ "limits": { "connections": 1, "handshakeTimeout": "5s" } }), "");
    let request = review(&json!({ "name": "team-a", "namespace": "team-a", "object": adopted("team-a") }));
    let mut established = server.connect();
    assert_eq!(established.post("/validate", &request).status, 200);
    let mut one_too_many = connect_to(server.address, &server.ca);
    assert!(one_too_many.send(b"POST").is_err(), "its handshake never begins");
    assert_eq!(established.post("/validate", &request).status, 200);
    drop(established);
    let reply = until(|| {
        let mut next = connect_to(server.address, &server.ca);
        next.send(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").ok()?;
        next.reply()
    });
    assert_eq!(reply.status, 404, "the place is given back");
}

/// An API server that says who asks, and answers nothing else; it tells when it was asked for the namespace team-a, and
/// when whoever asked has gone.
fn deaf_api_server() -> (std::net::SocketAddr, std::sync::mpsc::Receiver<&'static str>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, events) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                let count = stream.read(&mut buffer).unwrap_or(0);
                let request = String::from_utf8_lossy(&buffer[..count]).into_owned();
                if request.contains("/selfsubjectreviews") {
                    let body = json!({
                        "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview",
                        "status": { "userInfo": { "username": "controller" } },
                    });
                    let body = body.to_string();
                    let head = "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nConnection: close";
                    let _ = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                    return;
                }
                let concerned = request.starts_with("GET /api/v1/namespaces/team-a");
                if concerned {
                    let _ = sender.send("asked");
                }
                while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
                if concerned {
                    let _ = sender.send("gone");
                }
            });
        }
    });
    (address, events)
}

/// A server whose API server answers nothing, so that each decision that hangs on it waits; the runtime of what asks; and
/// what the API server sees of it.
fn server_before_a_deaf_api_server(
    config: &serde_json::Value,
) -> (tokio::runtime::Runtime, Server, std::sync::mpsc::Receiver<&'static str>) {
    let (api, events) = deaf_api_server();
    let kube = kube::Config::new(format!("http://{api}").parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let entered = runtime.enter();
    let config = ringfence_core::config::Config::parse(config).unwrap();
    let cluster = Arc::new(ringfence::cluster::Cluster::live(config, &kube).unwrap());
    drop(entered);
    runtime.spawn(ringfence::cluster::live::watch::run(cluster.clone()));
    until(|| cluster.controller().map(drop));
    // Nothing is synced.
    (runtime, unsynced_server(cluster), events)
}

/// Has the server ask the API server for the namespace team-a, and returns once it does.
fn ask_what_is_not_answered(server: &Server, events: &std::sync::mpsc::Receiver<&'static str>) -> Connection {
    let request = review(&json!({
        "name": "mine", "namespace": "team-a", "resource": networkpolicies(),
        "object": { "metadata": { "name": "mine" }, "spec": { "podSelector": {} } },
    }));
    let body = serde_json::to_vec(&request).unwrap();
    let headers = format!("Content-Type: application/json\r\nContent-Length: {}", body.len());
    until(|| {
        let mut client = server.connect();
        client.send(head("/validate", &headers).as_bytes()).ok()?;
        client.send(&body).ok()?;
        // One that is shed, since it waited too long for its turn, asks nothing.
        let asked = (0..2).any(|_| events.recv_timeout(Duration::from_secs(5)) == Ok("asked"));
        asked.then_some(client)
    })
}

#[test]
fn case_33_what_a_client_that_is_gone_had_asked_for_is_not_pursued() {
    let (runtime, server, events) = server_before_a_deaf_api_server(&json!({}));
    // Had it been pursued to its end, there would be an answer: a 503 that nobody reads. So there is where the machine stood
    // still for two seconds before the client was gone, but not each time.
    until(|| {
        let client = ask_what_is_not_answered(&server, &events);
        let refused = || server.metric("ringfence_http_refusals_total{code=\"503\"}");
        let before = refused();
        drop(client);
        assert_eq!(events.recv_timeout(Duration::from_secs(60)), Ok("gone"));
        until(|| (server.metric("ringfence_connections") == 0).then_some(()));
        std::thread::sleep(Duration::from_secs(3));
        (refused() == before).then_some(())
    });
    runtime.shutdown_background();
}
