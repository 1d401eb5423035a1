//! Many reviews at one time: each gets its own answer. (A webhook in the field mixes them up under load.)

use std::sync::Arc;

use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Barrier, Semaphore};
use tokio_rustls::TlsConnector;

use crate::harness::*;

const REVIEWS: usize = 1000;

#[test]
fn each_of_1000_concurrent_reviews_gets_its_own_uid_and_verdict_back() {
    let server = server_with(
        &json!({ "limits": { "concurrentReviews": REVIEWS, "handshakeTimeout": "60s", "bodyTimeout": "10m" } }),
        "",
    );
    let connector = TlsConnector::from(Arc::new(client_config(&server.ca, &[b"http/1.1"])));
    let barrier = Arc::new(Barrier::new(REVIEWS));
    // More handshakes at one time than it can carry would be shed.
    let handshakes = Arc::new(Semaphore::new(2));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..REVIEWS)
            .map(|number| {
                let (connector, barrier, handshakes) = (connector.clone(), barrier.clone(), handshakes.clone());
                let address = server.address;
                tokio::spawn(async move {
                    let handshake = handshakes.acquire().await.unwrap();
                    let tcp = TcpStream::connect(address).await.unwrap();
                    let name = ServerName::try_from(SERVER_NAME).unwrap();
                    let mut stream = connector.connect(name, tcp).await.unwrap();
                    drop(handshake);
                    let body = serde_json::to_vec(&request(number)).unwrap();
                    let head = head(
                        "/validate",
                        &format!(
                            "Content-Type: application/json\r\nConnection: close\r\nContent-Length: {}",
                            body.len()
                        ),
                    );
                    stream.write_all(head.as_bytes()).await.unwrap();
                    stream.write_all(&body[..body.len() / 2]).await.unwrap();
                    stream.flush().await.unwrap();
                    // All are under way before any of them is whole.
                    barrier.wait().await;
                    stream.write_all(&body[body.len() / 2..]).await.unwrap();
                    stream.flush().await.unwrap();
                    let mut answer = Vec::new();
                    let _ = stream.read_to_end(&mut answer).await;
                    (number, String::from_utf8(answer).unwrap())
                })
            })
            .collect();
        for task in tasks {
            let (number, answer) = task.await.unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{number}: {answer:?}"));
            // On a machine that stood still for a moment: an API server asks again.
            let response = if head.starts_with("HTTP/1.1 503") && body.contains(LATE) {
                server.post("/validate", &request(number)).response()
            } else {
                assert!(head.starts_with("HTTP/1.1 200"), "{head}");
                serde_json::from_str::<Value>(body).unwrap()["response"].clone()
            };
            assert_eq!(response["uid"], format!("uid-{number}"));
            assert_eq!(response["allowed"], number % 2 == 0);
            if number % 2 == 1 {
                let message = response["status"]["message"].as_str().unwrap();
                assert!(message.contains(&format!("\"team-{number}\"")), "{message}");
            }
        }
    });
    assert_eq!(server.decided(), REVIEWS as u64);
}

/// Every other namespace names a profile that does not exist.
fn request(number: usize) -> Value {
    let name = format!("team-{number}");
    let mut object = adopted(&name);
    if number % 2 == 1 {
        object["metadata"]["labels"]["ringfence.dev/profile"] = json!("none-such");
    }
    review(&json!({ "uid": format!("uid-{number}"), "name": name, "namespace": name, "object": object }))
}
