//! Cases 30, 31 and 63, and memory, on a process of its own.

#![cfg(target_os = "linux")]

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use serde_json::{Value, json};

use crate::harness::*;
use crate::open_loop::Target;
use crate::run::{NAMESPACE, Process, serve, serve_with};
use crate::throttle::Throttle;

const MIB: usize = 1 << 20;

fn allowed() -> Value {
    review(&json!({ "name": "team-a", "namespace": "team-a", "object": adopted("team-a") }))
}

fn pid(process: &Process) -> Pid {
    Pid::from_raw(i32::try_from(process.child.0.id()).unwrap()).unwrap()
}

/// Descriptors for this process's side of 10,000 connections.
pub(crate) fn many_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    assert!(limit.maximum.is_none_or(|most| most >= 11_000), "ulimit -Hn is below 11000: {limit:?}");
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
}

/// Whether a connection is served: asked again, as an API server does, where it is put off on a busy machine.
fn is_served(connection: &mut Connection) -> bool {
    until(|| Some(connection.post("/validate", &allowed()).status).filter(|status| *status != 503)) == 200
}

#[test]
fn case_30_of_10_000_connections_as_many_are_kept_as_configured_and_established_ones_are_served() {
    const KEPT: usize = 2000;
    many_descriptors();
    let directory = tempfile::tempdir().unwrap();
    let process =
        serve(directory.path(), &format!("limits: {{connections: {KEPT}, handshakeTimeout: 1h, idleTimeout: 1h}}"));
    let mut established: Vec<Connection> = (0..20).map(|_| connect_to(process.address, &process.ca)).collect();
    for connection in &mut established {
        assert_eq!(connection.post("/validate", &allowed()).status, 200);
    }
    let (memory, descriptors) = (process.memory("VmRSS"), process.descriptors());
    let flood: Vec<TcpStream> =
        (0..10_000).map(|_| TcpStream::connect_timeout(&process.address, Duration::from_secs(30)).unwrap()).collect();
    let shed = || {
        ["connections", "handshake"]
            .iter()
            .map(|reason| process.metric(&format!("ringfence_shed_total{{reason=\"{reason}\"}}")))
            .sum::<u64>()
    };
    // The kernel itself drops some that come faster than they are accepted.
    let too_many = (10_000 - KEPT) as u64 * 4 / 5;
    until(|| (shed() >= too_many).then_some(()));
    assert!(process.descriptors() <= descriptors + KEPT + 10, "{}", process.descriptors());
    // What a connection may hold at most, before it has sent a body: 32 KiB of buffer, and as much again for TLS and tasks.
    let grown = process.memory("VmRSS").saturating_sub(memory);
    assert!(grown <= KEPT * 64 * 1024, "{grown} bytes for {KEPT} connections");
    assert!(established.iter_mut().all(is_served));
    assert_eq!(process.get("/livez").0, 200);
    // Those that are too many are told so at once.
    let mut last = flood.last().unwrap();
    last.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    assert!(matches!(last.read(&mut [0; 1]), Ok(0) | Err(_)));
    drop(flood);
    until(|| (process.descriptors() <= descriptors + 10).then_some(()));
    assert_eq!(connect_to(process.address, &process.ca).post("/validate", &allowed()).status, 200);
}

#[test]
fn case_30_fewer_descriptors_than_connections_are_said_at_start_and_the_soft_limit_is_raised() {
    let directory = tempfile::tempdir().unwrap();
    // dash and bash know ulimit; the limit is inherited over exec.
    let start = |limits: &str| {
        let exec = format!("{limits}; exec \"$0\" \"$@\"");
        serve_with(directory.path(), "{}", NAMESPACE, |command| {
            let program = command.get_program().to_owned();
            let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
            let mut shell = std::process::Command::new("sh");
            shell.arg("-c").arg(&exec).arg(program).args(arguments);
            shell.current_dir(directory.path()).env("RUST_LOG", "debug");
            shell.stdin(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
            *command = shell;
        })
    };
    let few = start("ulimit -Sn 500; ulimit -Hn 1000");
    let soft = prlimit(Some(pid(&few)), Resource::Nofile, Rlimit { current: Some(1000), maximum: Some(1000) }).unwrap();
    assert_eq!(soft.current, Some(1000));
    assert!(few.started_with("fewer connections than limits.connections"), "{:?}", few.before);
    let enough = start("ulimit -Sn 500");
    assert!(!enough.started_with("fewer connections than limits.connections"), "{:?}", enough.before);
}

#[test]
fn case_31_without_descriptors_it_backs_off_serves_whom_it_has_and_recovers() {
    let directory = tempfile::tempdir().unwrap();
    let process = serve(directory.path(), "{}");
    let mut established: Vec<Connection> = (0..3).map(|_| connect_to(process.address, &process.ca)).collect();
    for connection in &mut established {
        assert_eq!(connection.post("/validate", &allowed()).status, 200);
    }
    let before = getrlimit(Resource::Nofile);
    let limit = |count: u64| {
        prlimit(Some(pid(&process)), Resource::Nofile, Rlimit { current: Some(count), maximum: before.maximum })
            .unwrap();
    };
    limit(process.descriptors() as u64);
    let mut waiting: Vec<Connection> = (0..20).map(|_| connect_to(process.address, &process.ca)).collect();
    let (cpu, began) = (process.cpu(), std::time::Instant::now());
    for _ in 0..30 {
        std::thread::sleep(Duration::from_millis(100));
        assert!(established.iter_mut().all(is_served));
    }
    // It tried all that time, every 50 ms. Without a pause it would have tried many thousands of times.
    let (used, took) = (process.cpu().saturating_sub(cpu), began.elapsed());
    println!("{used:?} of CPU in {took:?}");
    let refused = |line: &String| line.contains("connection not accepted");
    let tries = process.logs.try_iter().filter(refused).count() as u128;
    assert!(tries < 3 * took.as_millis() / 50, "{tries} in {took:?}");

    limit(before.maximum.unwrap_or(4096));
    for connection in &mut waiting {
        assert_eq!(connection.post("/validate", &allowed()).status, 200, "those that waited are served");
    }
    assert_eq!(process.get("/livez").0, 200);
}

#[test]
fn case_63_a_busy_and_throttled_process_answers_its_liveness_probe() {
    let directory = tempfile::tempdir().unwrap();
    let process = serve(directory.path(), "{}");
    let target = Target::new(process.address, &process.ca, "/validate", &allowed());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let capacity = runtime.block_on(target.capacity(4, Duration::from_secs(1)));
    let throttle = Throttle::new(process.child.0.id());
    // Far more than a tenth of a core can carry.
    let load = runtime.spawn(async move { target.load(capacity, Duration::from_secs(10), 25).await });
    // The chart's probe waits for 5 s, and six that fail in a row end the process.
    let mut failed_in_a_row = 0;
    for _ in 0..10 {
        match process.probe("/livez") {
            Ok((200, _)) => failed_in_a_row = 0,
            other => {
                failed_in_a_row += 1;
                println!("{other:?}");
            }
        }
        assert!(failed_in_a_row < 6, "liveness would have killed it, throttled by {}", throttle.means());
        std::thread::sleep(Duration::from_secs(1));
    }
    let outcomes = runtime.block_on(load).unwrap();
    println!("{} of {} answered", outcomes.iter().filter(|outcome| outcome.status.is_some()).count(), outcomes.len());
    drop(throttle);
    // And afterwards it is as it was.
    until(|| (connect_to(process.address, &process.ca).try_post("/validate", &allowed())?.status == 200).then_some(()));
}

#[test]
fn cases_05_and_32_reviews_of_27_mib_at_one_time_stay_within_the_charts_memory_limit() {
    let directory = tempfile::tempdir().unwrap();
    let process = serve(directory.path(), "{}");
    let mut object =
        json!({ "metadata": { "name": "mine" }, "spec": { "podSelector": {}, "policyTypes": ["Ingress"] } });
    object["metadata"]["annotations"] = json!({ "note": "<".repeat(27 * MIB / 2) });
    let body = serde_json::to_vec(&review(&json!({
        "operation": "UPDATE", "name": "mine", "namespace": "team-a", "resource": networkpolicies(),
        "object": object, "oldObject": object,
    })))
    .unwrap();
    let before = process.memory("VmHWM");
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let post = || {
            let mut connection = connect_to(process.address, &process.ca);
            connection
                .send(
                    head("/validate", &format!("Content-Type: application/json\r\nContent-Length: {}", body.len()))
                        .as_bytes(),
                )
                .unwrap();
            // One that is shed is closed before its end.
            let _ = connection.send(&body);
            connection.reply().map_or(0, |reply| reply.status)
        };
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(post)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert!(statuses.contains(&200), "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 503, 0].contains(status)), "{statuses:?}");
    let most = process.memory("VmHWM");
    println!("{} MiB before, {} MiB at most; {statuses:?}", before / MIB, most / MIB);
    // The budget is 96 MiB, and the chart's limit is 512 MiB.
    assert!(most < 512 * MIB, "{} MiB", most / MIB);
}

/// Sends a body as it is, and returns the status; 0 where the connection ended first.
fn status_of(address: std::net::SocketAddr, ca: &str, body: &str) -> (u16, bool) {
    let mut connection = connect_to(address, ca);
    connection.establish();
    let headers = format!("Content-Type: application/json\r\nContent-Length: {}", body.len());
    if connection.send(head("/validate", &headers).as_bytes()).is_err() {
        return (0, false);
    }
    // One that is shed is closed before its end.
    let _ = connection.send(body.as_bytes());
    connection.reply().map_or((0, false), |reply| (reply.status, reply.header("retry-after").is_some()))
}

/// Reviews that say little and mean much, by their shapes, with the status that each gets where it comes alone.
fn hostile_reviews() -> Vec<(&'static str, String, u16)> {
    const LARGE: usize = 27 * MIB;
    // Twice of this is what etcd stores.
    const STORED: usize = 1_380_000;
    // A list or map of as many of an item as make so many bytes; in a map `#` is another number each time.
    let many = |item: &str, bytes: usize| {
        let count = bytes / (item.len() + 8);
        (0..count).map(|number| item.replace('#', &number.to_string())).collect::<Vec<_>>().join(",")
    };
    let object = |metadata: &str, spec: &str| {
        format!(r#"{{"metadata":{{"name":"mine"{metadata}}},"spec":{{"podSelector":{{}}{spec}}}}}"#)
    };
    let review = |operation: &str, object: &str, old: &str| {
        format!(
            r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"u","resource":{{"group":"networking.k8s.io","version":"v1","resource":"networkpolicies"}},"name":"mine","namespace":"team-a","operation":"{operation}","userInfo":{{"username":"tina"}},"dryRun":true,"object":{object},"oldObject":{old}}}}}"#
        )
    };
    let created = |object: &str| review("CREATE", object, "null");
    let updated = |object: &str| review("UPDATE", object, object);
    let rules = |rules: &str| object("", &format!(r#","ingress":[{rules}]"#));
    let peers = |peers: &str| rules(&format!(r#"{{"from":[{peers}]}}"#));
    let nested = format!(r#""x#":{}[[[]]]{}"#, r#"{"a":"#.repeat(60), "}".repeat(60));
    vec![
        ("rules", created(&rules(&many("{}", LARGE))), 200),
        (
            "requirements",
            created(&peers(&format!(r#"{{"podSelector":{{"matchExpressions":[{}]}}}}"#, many("{}", LARGE)))),
            413,
        ),
        ("peers", updated(&peers(&many(r#"{"podSelector":{"matchLabels":{"a":"b"}}}"#, STORED))), 200),
        ("ports", updated(&rules(&format!(r#"{{"ports":[{}]}}"#, many(r#"{"port":1}"#, STORED)))), 200),
        (
            "except",
            updated(&peers(&format!(r#"{{"ipBlock":{{"cidr":"::/0","except":[{}]}}}}"#, many(r#""::/1""#, STORED)))),
            200,
        ),
        (
            "values",
            updated(&peers(&format!(
                r#"{{"podSelector":{{"matchExpressions":[{{"key":"k","operator":"In","values":[{}]}}]}}}}"#,
                many(r##""#""##, STORED)
            ))),
            200,
        ),
        ("labels", updated(&object(&format!(r#","labels":{{{}}}"#, many(r##""#":"""##, STORED)), "")), 200),
        ("annotations", updated(&object(&format!(r#","annotations":{{{}}}"#, many(r##""#":"""##, STORED)), "")), 200),
        ("managedFields", updated(&object(&format!(r#","managedFields":[{}]"#, many("{}", STORED)), "")), 200),
        ("nesting", updated(&object("", &format!(",{}", many(&nested, STORED)))), 200),
    ]
}

#[test]
fn cases_66_and_67_sixteen_hostile_reviews_at_one_time_stay_within_the_charts_memory_and_small_ones_are_answered() {
    const AT_ONE_TIME: usize = 16;
    let directory = tempfile::tempdir().unwrap();
    // What a peer may take to send its body is not the point.
    let process = serve(directory.path(), "limits: {bodyTimeout: 1h}\n");
    // No more than the chart's memory: an allocation past it would end the process.
    let memory = Some(512 * MIB as u64);
    prlimit(Some(pid(&process)), Resource::Data, Rlimit { current: memory, maximum: memory }).unwrap();
    let bodies = hostile_reviews();
    let (address, ca) = (process.address, process.ca.as_str());
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let small = scope.spawn(|| {
            let mut answered = 0;
            while answered < 3 || !over.load(std::sync::atomic::Ordering::Relaxed) {
                assert!(is_served(&mut connect_to(address, ca)), "a small one had no verdict");
                answered += 1;
            }
            answered
        });
        let storm: Vec<_> = (0..AT_ONE_TIME)
            .map(|number| {
                let (_, body, _) = &bodies[number % bodies.len()];
                scope.spawn(move || status_of(address, ca, body))
            })
            .collect();
        let statuses: Vec<(u16, bool)> = storm.into_iter().map(|client| client.join().unwrap()).collect();
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        println!("{} small ones answered; {statuses:?}", small.join().unwrap());
        for (status, retry) in statuses {
            // Decided; larger than it may be; or put off.
            assert!(matches!((status, retry), (200 | 413 | 0, false) | (503, true)), "{status}");
        }
    });
    // One after the other, each has an answer of its own.
    for (shape, body, expected) in &bodies {
        let status = until(|| Some(status_of(address, ca, body).0).filter(|status| ![0, 503].contains(status)));
        assert_eq!(status, *expected, "{shape}");
    }
    let most = process.memory("VmHWM");
    println!("{} MiB at most", most / MIB);
    assert!(most < 512 * MIB, "{} MiB", most / MIB);
    until(|| (process.metric("ringfence_reviews_bytes") == 0).then_some(()));
    until(|| (process.metric("ringfence_in_flight_bytes") == 0).then_some(()));
}
