//! A process of its own that serves, and what can be known of it from outside.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{until, value_of};

pub(crate) const NAMESPACE: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: team-a, labels: {ringfence.dev/mode: enforce, ringfence.dev/profile: standard}}\n";

/// A process that serves.
pub(crate) struct Process {
    pub(crate) child: Guard,
    pub(crate) address: SocketAddr,
    pub(crate) health: SocketAddr,
    pub(crate) metrics: SocketAddr,
    pub(crate) ca: String,
    /// What it logged before it served.
    pub(crate) before: Vec<String>,
    pub(crate) logs: mpsc::Receiver<String>,
}

/// Ends with the test, also where that fails.
pub(crate) struct Guard(pub(crate) Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn follow(stderr: ChildStderr) -> mpsc::Receiver<String> {
    let (sender, logs) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    logs
}

/// With a configuration and one namespace, team-a.
pub(crate) fn serve(directory: &Path, config: &str) -> Process {
    serve_with(directory, config, NAMESPACE, |_| {})
}

/// With manifests, and what else its command line gets.
pub(crate) fn serve_with(
    directory: &Path,
    config: &str,
    manifests: &str,
    prepare: impl FnOnce(&mut Command),
) -> Process {
    std::fs::write(directory.join("ns.yaml"), manifests).unwrap();
    std::fs::write(directory.join("config.yaml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
    command
        .current_dir(directory)
        .args(["serve", "--manifests", "ns.yaml", "--config", "config.yaml"])
        .args(["--addr", "127.0.0.1:0", "--health-addr", "127.0.0.1:0", "--metrics-addr", "127.0.0.1:0"])
        .env("RUST_LOG", "debug")
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    prepare(&mut command);
    let mut child = Guard(command.spawn().unwrap());
    let logs = follow(child.0.stderr.take().unwrap());
    let mut before = Vec::new();
    loop {
        let line = logs.recv_timeout(Duration::from_secs(180)).expect("it says that it serves");
        let event: Value = serde_json::from_str(&line).unwrap();
        if event["fields"]["message"] == "serving" {
            let address = |key: &str| event["fields"][key].as_str().unwrap().parse().unwrap();
            let (address, health, metrics) = (address("address"), address("health"), address("metrics"));
            let ca = std::fs::read_to_string(directory.join("certs/ca.crt")).unwrap();
            return Process { child, address, health, metrics, ca, before, logs };
        }
        before.push(line);
    }
}

/// What a port without TLS answers, or does not within as long as a kubelet waits.
pub(crate) fn ask(port: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let patience = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&port, patience)?;
    stream.set_read_timeout(Some(patience))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let parsed = answer
        .split_once("\r\n\r\n")
        .and_then(|(head, body)| Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned())));
    parsed.ok_or_else(|| std::io::Error::other(format!("no answer: {answer:?}")))
}

impl Process {
    /// What the port for health or for metrics answers, or does not within as long as a kubelet waits.
    pub(crate) fn probe(&self, path: &str) -> std::io::Result<(u16, String)> {
        ask(if path == "/metrics" { self.metrics } else { self.health }, path)
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        until(|| self.probe(path).ok())
    }

    /// Whether it said this before it served.
    pub(crate) fn started_with(&self, text: &str) -> bool {
        self.before.iter().any(|line| line.contains(text))
    }

    /// The value of a metric, named with its labels.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        value_of(&self.get("/metrics").1, name)
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.child.0.id())).unwrap()
    }

    /// The CPU time that it has used.
    pub(crate) fn cpu(&self) -> Duration {
        crate::throttle::cpu(self.child.0.id())
    }

    /// A size from its status, in bytes: `VmRSS` now, `VmHWM` at its largest.
    pub(crate) fn memory(&self, field: &str) -> usize {
        let status = self.file("status");
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
        line.trim().strip_suffix(" kB").unwrap().trim().parse::<usize>().unwrap() * 1024
    }

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.0.id())).unwrap().count()
    }

    /// The exit code, once it has ended by itself; it has a minute for that.
    pub(crate) fn end(&mut self) -> Option<i32> {
        for _ in 0..600 {
            if let Some(status) = self.child.0.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("it does not end")
    }

    pub(crate) fn signal(&self, name: &str) {
        let killed = Command::new("kill").args([name, &self.child.0.id().to_string()]).status().unwrap();
        assert!(killed.success());
    }
}
