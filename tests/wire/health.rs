//! Case 68: the port for health, and who can't take it from the kubelet.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::until;
use crate::run::{ask, serve};

#[test]
fn the_port_for_health_has_health_and_nothing_else_and_closes_after_each_answer() {
    let directory = tempfile::tempdir().unwrap();
    let process = serve(directory.path(), "{}");
    assert_eq!(process.get("/livez"), (200, "ok\n".to_owned()));
    assert_eq!(process.get("/readyz?verbose"), (200, "ok\n".to_owned()));
    for path in ["/metrics", "/validate", "/", "livez", "/livez/"] {
        assert_eq!(ask(process.health, path).unwrap().0, 404, "{path}");
    }
    let raw = |request: &[u8]| {
        let mut stream = TcpStream::connect(process.health).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = String::new();
        // It ends although the client keeps its side open.
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let head = raw(b"HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(raw(b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}").starts_with("HTTP/1.1 405 "));
    assert!(raw(b"x\r\n\r\n").starts_with("HTTP/1.1 400 "));
    assert!(raw(b"GET /livez HTTP/1.1\r\n\r\nGET /livez HTTP/1.1\r\n\r\n").matches("HTTP/1.1 ").count() == 1);
}

/// The address of the kubelet, which asks from where the process runs, and that of a peer that is somebody else.
const KUBELET: Ipv4Addr = Ipv4Addr::LOCALHOST;
const PEER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

async fn connect(from: Ipv4Addr, to: SocketAddr) -> std::io::Result<tokio::net::TcpStream> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(to).await
}

/// Opens so many connections to a port and sends no more than a byte on each; one that is closed is opened again. The byte
/// is for the kernel: of a connection that it has dropped, since too many came at once, the client hears by that alone.
fn hold(runtime: &tokio::runtime::Runtime, from: Ipv4Addr, port: SocketAddr, count: usize) {
    for _ in 0..count {
        runtime.spawn(async move {
            loop {
                if let Ok(mut stream) = connect(from, port).await {
                    let _ = stream.write_all(&[0x16]).await;
                    let _ = stream.read(&mut [0; 16]).await;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
    }
}

/// Has so many clients ask for health once a second, each on a connection that it would keep.
fn ask_all_the_time(runtime: &tokio::runtime::Runtime, from: Ipv4Addr, port: SocketAddr, count: usize) {
    for _ in 0..count {
        runtime.spawn(async move {
            loop {
                if let Ok(mut stream) = connect(from, port).await {
                    while stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.is_ok()
                        && stream.read(&mut [0; 1024]).await.is_ok_and(|count| count > 0)
                    {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
    }
}

/// Probes as the chart has the kubelet do it. How long the slowest took is printed: less than a second, but on a machine that
/// has other things to do. Fails where the kubelet would kill the process or take it out of the Service, and where a probe is
/// closed without an answer though no other connection comes from its address.
fn expect_probes_to_be_answered(process: &crate::run::Process, alone: bool) {
    const ROUNDS: usize = 20;
    let mut slowest = Duration::ZERO;
    let mut answered = 0;
    for (path, failures) in [("/livez", 6), ("/readyz", 2)] {
        let mut failed_in_a_row = 0;
        for _ in 0..ROUNDS {
            let began = std::time::Instant::now();
            match process.probe(path) {
                Ok((200, _)) => {
                    (failed_in_a_row, answered) = (0, answered + 1);
                    slowest = slowest.max(began.elapsed());
                }
                other => {
                    println!("{path}: {other:?}");
                    let late = matches!(&other, Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
                    assert!(late || !alone, "{path}: {other:?}");
                    failed_in_a_row += 1;
                }
            }
            assert!(failed_in_a_row < failures, "{failures} probes of {path} in a row had no answer");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    println!("{answered} of {} probes were answered, the slowest in {slowest:?}", 2 * ROUNDS);
}

#[cfg(target_os = "linux")]
#[test]
fn case_68_no_flood_of_any_port_takes_the_kubelets_probe_an_answer() {
    const WEBHOOK: usize = 4096;
    crate::faults::many_descriptors();
    let directory = tempfile::tempdir().unwrap();
    let process = serve(directory.path(), "limits: {handshakeTimeout: 1h}\n");
    let before = process.descriptors();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    hold(&runtime, PEER, process.address, WEBHOOK);
    // Each of them tries until it is in, and nothing ends it.
    until(|| (process.descriptors() >= before + WEBHOOK).then_some(()));
    hold(&runtime, PEER, process.metrics, 1000);
    // At most 256 of these are kept, each for 5 s, and whoever is closed comes again.
    until(|| (process.descriptors() >= before + WEBHOOK + 200).then_some(()));
    ask_all_the_time(&runtime, PEER, process.health, 300);
    hold(&runtime, PEER, process.health, 500);
    expect_probes_to_be_answered(&process, true);
    // Where they come from the kubelet's own address, they can take a probe's place now and then, but not so many in a row that
    // the kubelet would kill the process, or take it out of the Service.
    ask_all_the_time(&runtime, KUBELET, process.health, 300);
    hold(&runtime, KUBELET, process.health, 500);
    expect_probes_to_be_answered(&process, false);
    assert!(process.descriptors() <= before + WEBHOOK + 256 + 1024 + 16, "{}", process.descriptors());
    runtime.shutdown_background();
    // And all is given back.
    until(|| (process.descriptors() <= before + 16).then_some(()));
}
