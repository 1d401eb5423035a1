//! Talking to the bed: kubectl and helm as a user runs them, and clients.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::bed::Bed;
use super::credentials::{ADMIN, kubeconfig, token_of};
use super::process::Launch;
use super::programs::Programs;
use super::{Counters, PATIENCE, eventually_some, http};

/// What a command said.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) ok: bool,
    /// For the message of a failure.
    command: String,
}

impl Output {
    /// What it wrote to standard output; fails with what it complained about where it failed.
    #[track_caller]
    pub(crate) fn expect_ok(self) -> String {
        assert!(self.ok, "{} failed: {}{}", self.command, self.stdout, self.stderr);
        self.stdout
    }

    /// What it complained about; fails where it succeeded.
    #[track_caller]
    pub(crate) fn expect_error(self) -> String {
        assert!(!self.ok, "{} succeeded: {}{}", self.command, self.stdout, self.stderr);
        self.stderr
    }
}

/// How often something is said to an API server where a webhook lets its five seconds pass. On a machine that stands still
/// for so long that is nobody's fault, and nothing was stored; whoever has it happen each time has it for a reason.
pub(crate) const TRIES: usize = 10;

/// Whether this is the error of a webhook that did not answer in time: at the API server's deadline, or before that, where a
/// handshake waited so long for its turn that Ringfence closed the connection ([`is_closed_webhook`]).
pub(crate) fn is_late_webhook(error: &str) -> bool {
    error.contains("failed calling webhook") && error.contains("deadline exceeded") || is_closed_webhook(error)
}

/// Whether this is the error of a webhook that closed the connection before it answered.
pub(crate) fn is_closed_webhook(error: &str) -> bool {
    error.contains("failed calling webhook")
        && (error.trim_end().ends_with("EOF") || error.contains("connection reset by peer"))
}

impl Bed {
    /// kubectl as cluster admin.
    pub(crate) fn kubectl(&self, args: &[&str]) -> Output {
        self.kubectl_with(ADMIN, args)
    }

    /// kubectl as a user of the bed. For users that it does not have there is impersonation: `--as` as admin.
    pub(crate) fn kubectl_with(&self, user: &str, args: &[&str]) -> Output {
        self.kubectl_at(0, user, args, "")
    }

    /// kubectl as cluster admin, with something on standard input, such as manifests for `apply -f -`.
    pub(crate) fn kubectl_stdin(&self, args: &[&str], stdin: &str) -> Output {
        self.kubectl_at(0, ADMIN, args, stdin)
    }

    /// kubectl with all that can be chosen: the API server, the user, and standard input.
    pub(crate) fn kubectl_at(&self, server: usize, user: &str, args: &[&str], stdin: &str) -> Output {
        let say = || self.command("kubectl", &self.kubeconfig(server, user), args, stdin);
        let mut output = say();
        for _ in 1..TRIES {
            if !is_late_webhook(&output.stderr) {
                break;
            }
            output = say();
        }
        output
    }

    /// Applies manifests, YAML or JSON, as cluster admin; fails where that fails.
    pub(crate) fn apply(&self, manifests: &str) -> String {
        self.kubectl_stdin(&["apply", "-f", "-"], manifests).expect_ok()
    }

    /// helm as cluster admin.
    pub(crate) fn helm(&self, args: &[&str]) -> Output {
        self.command("helm", &self.admin_kubeconfig(), args, "")
    }

    /// The helm before that one.
    pub(crate) fn helm3(&self, args: &[&str]) -> Output {
        self.command("helm3", &self.admin_kubeconfig(), args, "")
    }

    /// Runs a script as somebody would at a prompt, as cluster admin: kubectl, helm and ringfence are on the PATH, and the
    /// repository's charts in the working directory, which is the bed's own.
    pub(crate) fn shell(&self, script: &str) -> Output {
        let programs = Programs::get().unwrap_or_else(|_| panic!("a bed that runs has its programs"));
        let charts = self.path("charts");
        if !charts.exists() {
            let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
            std::os::unix::fs::symlink(repository.join("charts"), charts).unwrap();
        }
        let ringfence = Path::new(env!("CARGO_BIN_EXE_ringfence"));
        let places = [programs.path("kubectl"), programs.path("helm"), ringfence].map(|file| file.parent().unwrap());
        let before = std::env::var_os("PATH").unwrap_or_default();
        let path = places.iter().map(|place| place.to_path_buf()).chain(std::env::split_paths(&before));
        let output = Command::new("bash")
            .args(["-c", script])
            .current_dir(self.directory())
            .env("PATH", std::env::join_paths(path).unwrap())
            .env("KUBECONFIG", self.admin_kubeconfig())
            .env("HOME", self.path("home"))
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        Output { stdout, stderr, ok: output.status.success(), command: script.to_owned() }
    }

    fn command(&self, name: &str, kubeconfig: &std::path::Path, args: &[&str], stdin: &str) -> Output {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let file = |kind: &str| self.path(&format!("{name}-{count}.{kind}"));
        std::fs::write(file("in"), stdin).unwrap();
        let programs = Programs::get().unwrap_or_else(|_| panic!("a bed that runs has its programs"));
        let kubeconfig = kubeconfig.to_string_lossy();
        let mut process = Launch::new(programs.path(name), file("out"))
            .args(["--kubeconfig", &kubeconfig].iter().chain(args).copied())
            // Caches and plugins of its own, not the developer's.
            .env([("HOME", self.path("home").to_string_lossy())])
            .stdin(file("in"))
            .stderr(file("err"))
            .start();
        let status = process.wait(PATIENCE * 3);
        let read = |kind: &str| String::from_utf8_lossy(&std::fs::read(file(kind)).unwrap_or_default()).into_owned();
        let command = format!("{name} {}", args.join(" "));
        let output = Output { stdout: read("out"), stderr: read("err"), ok: status == Some(0), command };
        assert!(status.is_some(), "it does not end: {output:?}");
        for kind in ["in", "out", "err"] {
            let _ = std::fs::remove_file(file(kind));
        }
        output
    }

    /// A client as cluster admin, of one API server. Use it in [`Bed::run`].
    pub(crate) fn client(&self, server: usize) -> Client {
        self.client_as(server, ADMIN)
    }

    /// A client as a user of the bed.
    pub(crate) fn client_as(&self, server: usize, user: &str) -> Client {
        self.client_for(server, &token_of(user))
    }

    /// A client for any token, such as a service account's.
    pub(crate) fn client_for(&self, server: usize, token: &str) -> Client {
        self.client_at(&self.server(server).url(), token)
    }

    /// A client for any address at which an API server is reached, such as a front's.
    pub(crate) fn client_at(&self, url: &str, token: &str) -> Client {
        let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig(url, &self.credentials.ca, token)).unwrap();
        self.run(async {
            let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
            Client::try_from(config.unwrap()).unwrap()
        })
    }

    /// What an API server counts, as of now.
    pub(crate) fn counters(&self, server: usize) -> Counters {
        let (address, token) = (self.server(server).address(), token_of(ADMIN));
        eventually_some("the API server has metrics", || {
            let (status, text) = http::get_tls(address, &self.credentials.ca, &token, "/metrics")?;
            (status == 200).then(|| Counters::parse(&text))
        })
    }
}
