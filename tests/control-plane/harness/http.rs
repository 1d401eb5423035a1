//! The few plain requests that need no client: health and metrics.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Status and body; `None` where no answer comes in time.
pub(crate) fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    exchange(connect(address)?, &format!("GET {path}"), "", "")
}

/// The same for a POST of JSON.
pub(crate) fn post(address: SocketAddr, path: &str, body: &str) -> Option<(u16, String)> {
    let headers = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    exchange(connect(address)?, &format!("POST {path}"), &headers, body)
}

/// The same over TLS and with a token.
pub(crate) fn get_tls(address: SocketAddr, ca: &str, token: &str, path: &str) -> Option<(u16, String)> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = ClientConnection::new(Arc::new(config), address.ip().into()).unwrap();
    exchange(
        StreamOwned::new(tls, connect(address)?),
        &format!("GET {path}"),
        &format!("Authorization: Bearer {token}\r\n"),
        "",
    )
}

fn connect(address: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, TIMEOUT).ok()?;
    stream.set_read_timeout(Some(TIMEOUT)).ok()?;
    stream.set_write_timeout(Some(TIMEOUT)).ok()?;
    Some(stream)
}

/// In HTTP 1.0 the body is what comes until the end.
fn exchange(mut stream: impl Read + Write, what: &str, headers: &str, body: &str) -> Option<(u16, String)> {
    write!(stream, "{what} HTTP/1.0\r\nHost: localhost\r\n{headers}\r\n{body}").ok()?;
    stream.flush().ok()?;
    let mut answer = Vec::new();
    // A connection that ends without a TLS goodbye has still said all.
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => return None,
        _ => {}
    }
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}
