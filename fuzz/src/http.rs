//! Any bytes on a TLS connection to a server in this process: answers are well-formed and of the documented statuses, what
//! is a request beyond doubt gets the one that it must get, nothing else is decided, and the server goes on serving.
//!
//! The byte 0x1e is not sent: what comes after it is a write of its own.

#[allow(dead_code, reason = "shared with the tests of the wire")]
#[path = "../../tests/wire/harness.rs"]
mod harness;
mod model;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::{Value, json};

use super::review::is_one_line_of_bearable_length;
use harness::{Connection, SERVER_NAME, Server, adopted, review};
use model::{Expected, Status, expected};

/// Between two writes.
const NEXT_WRITE: u8 = 0x1e;

/// What a call may be answered with; each is a row of `docs/reliability.md` or HTTP's own.
const STATUSES: [u16; 10] = [100, 200, 400, 404, 405, 408, 413, 414, 415, 431];

struct Edge {
    server: Server,
    client: Arc<ClientConfig>,
    /// A connection that is kept, as the API server keeps its own.
    kept: Mutex<Option<Connection>>,
}

fn edge() -> &'static Edge {
    static EDGE: OnceLock<Edge> = OnceLock::new();
    EDGE.get_or_init(|| {
        let server = harness::server();
        let client = Arc::new(harness::client_config(&server.ca, &[b"http/1.1"]));
        Edge { server, client, kept: Mutex::default() }
    })
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

/// The stream, and what was read from it and not looked at yet.
struct Wire {
    stream: StreamOwned<ClientConnection, TcpStream>,
    unread: Vec<u8>,
    /// A HEAD's answer has the length of a body and no body.
    maybe_head: bool,
    /// Whether the connection ended otherwise than by its end, which can cut an answer in two.
    reset: bool,
}

impl Wire {
    fn open(edge: &Edge, maybe_head: bool) -> Self {
        let tcp = TcpStream::connect(edge.server.address).unwrap();
        tcp.set_nodelay(true).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        tcp.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
        let tls = ClientConnection::new(edge.client.clone(), ServerName::try_from(SERVER_NAME).unwrap()).unwrap();
        Self { stream: StreamOwned::new(tls, tcp), unread: Vec::new(), maybe_head, reset: false }
    }

    /// Whether anything came.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.unread.extend_from_slice(&buffer[..count]);
                true
            }
            Err(error) => {
                let waited = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                assert!(!waited, "neither an answer nor the end of the connection");
                self.reset = true;
                false
            }
        }
    }

    /// The next answer; `None` where the connection ended before it.
    fn answer(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            if !self.read() {
                let rest = String::from_utf8_lossy(&self.unread);
                assert!(self.reset || rest.is_empty(), "half an answer: {rest:?}");
                return None;
            }
        };
        let head = String::from_utf8(self.unread.drain(..end + 4).collect()).expect("a head is text");
        let mut answer = Answer { status: status(&head), head, body: Vec::new() };
        let length: usize = answer.header("content-length").map_or(0, |length| length.parse().expect("a length"));
        while self.unread.len() < length {
            if !self.read() {
                let bodiless = self.maybe_head && self.unread.is_empty();
                assert!(self.reset || bodiless, "half a body: {}", answer.head);
                return bodiless.then_some(answer);
            }
        }
        if !(self.maybe_head && self.unread.starts_with(b"HTTP/1.")) {
            answer.body = self.unread.drain(..length).collect();
        }
        Some(answer)
    }

    fn finish_sending(&mut self) {
        self.stream.conn.send_close_notify();
        let _ = self.stream.flush();
        let _ = self.stream.sock.shutdown(std::net::Shutdown::Write);
    }
}

/// The status of a head, every line of which is as HTTP writes it.
fn status(head: &str) -> u16 {
    let mut lines = head.trim_end_matches("\r\n").split("\r\n");
    let first = lines.next().unwrap_or_default();
    let rest = first.strip_prefix("HTTP/1.1 ").or(first.strip_prefix("HTTP/1.0 ")).expect("a status line");
    for line in lines {
        let (name, value) = line.split_once(':').expect("a header");
        assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{line:?}");
        assert!(!value.contains(|c: char| c.is_control() && c != '\t'), "{line:?}");
    }
    rest.split(' ').next().and_then(|code| code.parse().ok()).expect("a status")
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    fn is_documented(&self) {
        assert!(STATUSES.contains(&self.status), "{}", self.head);
        assert!(self.header("location").is_none(), "no redirects");
        if self.status == 200 {
            let review: Value = serde_json::from_slice(&self.body).expect("a review");
            let response = &review["response"];
            assert!(response["uid"].as_str().is_some_and(|uid| !uid.is_empty()), "{review}");
            assert!(response["allowed"].is_boolean(), "{review}");
        } else if !self.body.is_empty() {
            let text = std::str::from_utf8(&self.body).expect("text");
            let line =
                text.strip_prefix("ringfence: ").and_then(|text| text.strip_suffix('\n')).expect("our own words");
            is_one_line_of_bearable_length(line);
        }
    }
}

fn count(data: &[u8], text: &[u8]) -> u64 {
    data.windows(text.len()).filter(|window| *window == text).count() as u64
}

/// Any bytes on a connection.
pub fn run(data: &[u8]) {
    let edge = edge();
    let sent: Vec<u8> = data.iter().copied().filter(|byte| *byte != NEXT_WRITE).collect();
    let before = edge.server.decided();
    let mut wire = Wire::open(edge, count(&sent, b"HEAD") > 0);
    for part in data.split(|byte| *byte == NEXT_WRITE) {
        // The server may have seen enough already.
        if wire.stream.write_all(part).and_then(|()| wire.stream.flush()).is_err() {
            break;
        }
    }
    let mut ok = 0;
    let mut see = |answer: &Answer| {
        answer.is_documented();
        ok += u64::from(answer.status == 200);
    };
    let expected = expected(&sent);
    let is_review = |expected: &&Expected| {
        matches!(expected, Expected::Answer(Status::Review) | Expected::AnswerOrEnd(Status::Review))
    };
    let mut possible = if expected.contains(&Expected::Unclear) {
        count(&sent, b"POST ").min(count(&sent, b"/mutate") + count(&sent, b"/validate"))
    } else {
        expected.iter().filter(is_review).count() as u64
    };
    let mut closed = false;
    for (index, next) in expected.iter().enumerate() {
        let (status, certain) = match next {
            Expected::Answer(status) => (status, true),
            Expected::AnswerOrEnd(status) => (status, false),
            Expected::Unclear => break,
        };
        let Some(answer) = wire.answer() else {
            assert!(!certain, "no answer, where {status:?} was expected");
            break;
        };
        assert!(status.is(answer.status), "{status:?} was expected: {}", answer.head);
        see(&answer);
        if answer.closes() {
            closed = true;
            // What comes after it on this connection is not read.
            possible = expected[..=index].iter().filter(is_review).count() as u64;
            break;
        }
    }
    wire.finish_sending();
    while let Some(answer) = wire.answer() {
        assert!(!closed, "an answer after the last one: {}", answer.head);
        see(&answer);
    }
    let decided = edge.server.decided() - before;
    assert!(ok <= decided, "{ok} of {decided}");
    assert!(decided <= possible, "{decided} of {possible}");
    still_serves(edge);
}

fn still_serves(edge: &Edge) {
    let mut kept = edge.kept.lock().unwrap_or_else(PoisonError::into_inner);
    let connection = kept.get_or_insert_with(|| edge.server.connect());
    let request = json!({ "uid": "still-there", "name": "team-a", "namespace": "team-a", "dryRun": true, "object": adopted("team-a") });
    let response = connection.post("/validate", &review(&request)).response();
    assert_eq!((&response["uid"], &response["allowed"]), (&json!("still-there"), &json!(true)));
}
