//! Cases 26, 30, 33 and 34, and what else a connection meets before its first review.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use serde_json::json;

use crate::harness::*;

#[test]
fn case_33_what_a_client_that_is_gone_held_is_given_back() {
    let limit = 4 << 20;
    let server = server_with(&json!({ "limits": { "bodyBytes": limit, "bytesInFlight": limit } }), "");
    let headers = format!("Content-Type: application/json\r\nContent-Length: {limit}");
    let mut first = server.connect();
    first.send(head("/validate", &headers).as_bytes()).unwrap();
    first.send(&vec![b' '; limit / 2]).unwrap();

    // While it holds the whole budget, others are shed rather than queued.
    let request = review(&json!({ "name": "team-a", "namespace": "team-a", "object": adopted("team-a") }));
    let shed = until(|| Some(server.post("/validate", &request)).filter(|reply| reply.status == 503));
    assert_eq!(shed.header("retry-after"), Some("1"));
    assert!(shed.text().contains("bytes in flight"), "{}", shed.text());

    drop(first);
    let reply = until(|| Some(server.post("/validate", &request)).filter(|reply| reply.status == 200));
    assert_eq!(reply.response()["allowed"], true);
}

/// Tries until there is a result, for at most 20 s.
fn until<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    for _ in 0..200 {
        if let Some(result) = attempt() {
            return result;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("it did not happen")
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
fn plaintext_gets_no_answer() {
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
fn a_slow_body_is_cut_and_a_slow_first_head_too() {
    let limits = json!({ "limits": { "bodyTimeout": "1s", "firstRequestTimeout": "1s" } });
    let server = server_with(&limits, "");
    let mut slow_body = server.connect();
    slow_body.send(head("/validate", "Content-Type: application/json\r\nContent-Length: 100").as_bytes()).unwrap();
    assert_eq!(slow_body.reply().unwrap().status, 408);
    let mut slow_head = server.connect();
    slow_head.send(b"POST /validate HTTP/1.1\r\nHost: x\r\n").unwrap();
    assert!(slow_head.reply().is_none());
}

#[test]
fn a_review_too_many_is_shed_with_retry_after() {
    let server = server_with(&json!({ "limits": { "concurrentReviews": 1 } }), "");
    let mut first = server.connect();
    first.send(head("/validate", "Content-Type: application/json\r\nContent-Length: 100").as_bytes()).unwrap();
    let request = review(&json!({ "name": "team-a", "namespace": "team-a", "object": adopted("team-a") }));
    let shed = until(|| Some(server.post("/validate", &request)).filter(|reply| reply.status == 503));
    assert_eq!(shed.header("retry-after"), Some("1"));
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
    let server = server_with(&json!({ "limits": { "connections": 1, "handshakeTimeout": "1s" } }), "");
    let request = review(&json!({ "name": "team-a", "namespace": "team-a", "object": adopted("team-a") }));
    let mut established = server.connect();
    assert_eq!(established.post("/validate", &request).status, 200);
    let mut one_too_many = server.connect();
    assert!(one_too_many.send(b"POST").is_err(), "its handshake never begins");
    assert_eq!(established.post("/validate", &request).status, 200);
    drop(established);
    let reply = until(|| {
        let mut next = server.connect();
        next.send(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").ok()?;
        next.reply()
    });
    assert_eq!(reply.status, 404, "the place is given back");
}
