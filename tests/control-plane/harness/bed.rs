//! A control plane of a test's own: etcd, one or two API servers, and what else the test asks for.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::credentials::{ADMIN, CONTROLLER_MANAGER, Credentials, SCHEDULER, kubeconfig, token_of};
use super::process::{Launch, Process};
use super::programs::{Programs, Unavailable};
use super::{PATIENCE, eventually, http, lock, ports};

/// What a bed has.
#[derive(Clone)]
pub(crate) struct Options {
    /// 1 or 2, on one etcd.
    pub(crate) api_servers: usize,
    pub(crate) controller_manager: bool,
    pub(crate) scheduler: bool,
    /// Whether the audit log has the objects, and the patches of webhooks: more to write, so only where a test looks.
    pub(crate) audit_bodies: bool,
    /// Further flags for each API server.
    pub(crate) api_server_flags: Vec<String>,
}

impl Default for Options {
    /// One API server alone.
    fn default() -> Self {
        let api_server_flags = Vec::new();
        Self { api_servers: 1, controller_manager: false, scheduler: false, audit_bodies: false, api_server_flags }
    }
}

impl Options {
    /// One API server, kube-controller-manager and kube-scheduler.
    pub(crate) fn whole() -> Self {
        Self { controller_manager: true, scheduler: true, ..Self::default() }
    }

    /// The same with two API servers.
    pub(crate) fn highly_available() -> Self {
        Self { api_servers: 2, ..Self::whole() }
    }
}

/// A running control plane. Dropped, or stopped, nothing is left of it; its logs are, where a test failed.
pub(crate) struct Bed {
    pub(super) runtime: Runtime,
    pub(super) credentials: Credentials,
    directory: PathBuf,
    servers: Vec<ApiServer>,
    etcd: Mutex<Option<Process>>,
    etcd_port: u16,
    others: Mutex<Vec<Process>>,
    /// Last, and so dropped last.
    kept: Mutex<Option<TempDir>>,
}

/// One of the API servers, which a test may stop, kill, pause, and start again on the same port.
pub(crate) struct ApiServer {
    launch: Box<dyn Fn() -> Launch + Send + Sync>,
    ca: String,
    port: u16,
    log: PathBuf,
    process: Mutex<Option<Process>>,
}

/// All but what is of no use without kubelets, volumes and clouds, and the one that would taint nodes that no kubelet
/// speaks for.
const CONTROLLERS: &str = "*,-node-lifecycle-controller,-taint-eviction-controller,-device-taint-eviction-controller,\
    -node-ipam-controller,-node-route-controller,-service-lb-controller,-cloud-node-lifecycle-controller,\
    -persistentvolume-attach-detach-controller,-persistentvolume-binder-controller,-persistentvolume-expander-controller,\
    -persistentvolume-protection-controller,-persistentvolumeclaim-protection-controller,-ephemeral-volume-controller,\
    -volumeattributesclass-protection-controller,-certificatesigningrequest-approving-controller,\
    -certificatesigningrequest-cleaner-controller,-certificatesigningrequest-signing-controller,\
    -horizontal-pod-autoscaler-controller,-resourceclaim-controller,-ttl-controller";

impl Bed {
    /// Starts one, and returns when it is ready.
    pub(crate) fn start(options: &Options) -> Self {
        let programs = match Programs::get() {
            Ok(programs) => programs,
            Err(Unavailable::Missing(why) | Unavailable::Broken(why)) => panic!("{why}"),
        };
        let kept = super::directory::fresh();
        let directory = kept.path().to_owned();
        let credentials = Credentials::issue(&directory.join("credentials"));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut bed = Self {
            runtime,
            credentials,
            directory,
            servers: Vec::new(),
            etcd: Mutex::new(None),
            etcd_port: 0,
            others: Mutex::new(Vec::new()),
            kept: Mutex::new(Some(kept)),
        };
        let etcd = bed.start_etcd(programs);
        bed.etcd_port = etcd;
        bed.write_audit_policy(options.audit_bodies);
        for index in 0..options.api_servers {
            let server = bed.api_server_at(index, programs, etcd, options);
            server.start_without_waiting();
            bed.servers.push(server);
            // The first to come up writes the roles and namespaces that each cluster has. Two at once get in each
            // other's way over them, which takes both longer.
            bed.servers[index].wait_until_ready();
        }
        bed.start_controllers(programs, options);
        bed
    }

    /// An API server; the first is 0.
    pub(crate) fn server(&self, index: usize) -> &ApiServer {
        &self.servers[index]
    }

    pub(crate) fn servers(&self) -> &[ApiServer] {
        &self.servers
    }

    /// A path in the bed's own directory, which goes with the bed.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Where the processes' logs are.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Runs a future on the bed's runtime, which is where its clients live.
    pub(crate) fn run<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Ends every process. Where a test failed the logs stay, and standard error says where.
    pub(super) fn end(&self, failed: bool) {
        lock(&self.others).clear();
        for server in &self.servers {
            server.kill();
        }
        *lock(&self.etcd) = None;
        if let Some(kept) = lock(&self.kept).take() {
            super::directory::finish(kept, failed);
        }
    }

    /// etcd's process id.
    pub(crate) fn etcd_pid(&self) -> u32 {
        lock(&self.etcd).as_ref().unwrap().pid()
    }

    /// Has etcd forget every state but the present one, as API servers have it do every five minutes.
    pub(crate) fn compact(&self) {
        let ask = |path: &str, body: &str| {
            let (status, text) = http::post(([127, 0, 0, 1], self.etcd_port).into(), path, body).expect("etcd answers");
            assert_eq!(status, 200, "{text}");
            serde_json::from_str::<serde_json::Value>(&text).unwrap()
        };
        let now = ask("/v3/kv/range", r#"{"key": "AA=="}"#)["header"]["revision"].clone();
        ask("/v3/kv/compaction", &serde_json::json!({ "revision": now }).to_string());
    }

    /// Sends a signal to etcd.
    pub(crate) fn signal_etcd(&self, signal: &str) {
        lock(&self.etcd).as_mut().unwrap().signal(signal);
    }

    fn start_etcd(&self, programs: &Programs) -> u16 {
        let (process, port) = start_etcd(programs, &self.directory);
        *lock(&self.etcd) = Some(process);
        port
    }

    fn write_audit_policy(&self, bodies: bool) {
        let rules = if bodies {
            // The bodies of what the harness and the control plane do for themselves are only noise.
            serde_json::json!([
                { "level": "Metadata", "users": ["kubelet", "system:apiserver", "system:kube-scheduler"] },
                { "level": "RequestResponse" },
            ])
        } else {
            serde_json::json!([{ "level": "Metadata" }])
        };
        let policy = serde_json::json!({
            "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": rules,
        });
        std::fs::write(self.path("audit-policy.yaml"), policy.to_string()).unwrap();
    }

    fn api_server_at(&self, index: usize, programs: &Programs, etcd: u16, options: &Options) -> ApiServer {
        let file = |name: &str| self.credentials.file(name);
        let here = |name: &str| self.path(name).to_string_lossy().into_owned();
        let port = ports::free();
        let mut flags = vec![
            format!("--etcd-servers=http://127.0.0.1:{etcd}"),
            format!("--secure-port={port}"),
            "--bind-address=127.0.0.1".to_owned(),
            // Never dialled: it may not be loopback, and nothing serves as an endpoint of the Service `kubernetes`.
            "--advertise-address=10.255.255.1".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            format!("--cert-dir={}", here(&format!("certificates-{index}"))),
            format!("--tls-cert-file={}", file("tls.crt")),
            format!("--tls-private-key-file={}", file("tls.key")),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", file("sa.pub")),
            format!("--service-account-signing-key-file={}", file("sa.key")),
            "--authorization-mode=RBAC".to_owned(),
            format!("--token-auth-file={}", file("tokens.csv")),
            // No kubelet would mount a token, and nobody takes the taint away that a new node otherwise gets.
            "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition".to_owned(),
            format!("--audit-policy-file={}", here("audit-policy.yaml")),
            format!("--audit-log-path={}", self.audit_log(index).display()),
            "--audit-log-maxsize=0".to_owned(),
            "--allow-privileged=true".to_owned(),
        ];
        flags.extend(options.api_server_flags.iter().cloned());
        let (program, log) =
            (programs.path("kube-apiserver").to_owned(), self.path(&format!("kube-apiserver-{index}.log")));
        let home = here("home");
        let own = log.clone();
        let launch = move || Launch::new(&program, &log).args(flags.clone()).env([("HOME", home.clone())]);
        ApiServer {
            launch: Box::new(launch),
            ca: self.credentials.ca.clone(),
            port,
            log: own,
            process: Mutex::new(None),
        }
    }

    pub(super) fn audit_log(&self, index: usize) -> PathBuf {
        self.path(&format!("audit-{index}.log"))
    }

    fn start_controllers(&self, programs: &Programs, options: &Options) {
        let start = |name: &'static str, flags: Vec<String>| {
            let kubeconfig = format!("--kubeconfig={}", self.kubeconfig(0, name).display());
            // Their default is 20 requests a second, which would be what a test with a thousand pods measures.
            let common = ["--leader-elect=false", "--kube-api-qps=1000", "--kube-api-burst=2000"].map(str::to_owned);
            let launch = Launch::new(programs.path(name), self.path(&format!("{name}.log")))
                .args(common.into_iter().chain([kubeconfig]).chain(flags))
                .env([("HOME", self.path("home").to_string_lossy())]);
            lock(&self.others).push(launch.start());
        };
        if options.controller_manager {
            let file = |name: &str| self.credentials.file(name);
            start(
                CONTROLLER_MANAGER,
                vec![
                    "--secure-port=0".to_owned(),
                    format!("--service-account-private-key-file={}", file("sa.key")),
                    format!("--root-ca-file={}", file("ca.crt")),
                    "--use-service-account-credentials=true".to_owned(),
                    format!("--controllers={CONTROLLERS}"),
                ],
            );
        }
        if options.scheduler {
            start(SCHEDULER, vec!["--secure-port=0".to_owned()]);
        }
        if options.controller_manager {
            // The first thing that it visibly does: every namespace gets this account.
            let client = self.client(0);
            let accounts = kube::Api::<k8s_openapi::api::core::v1::ServiceAccount>::namespaced(client, "default");
            eventually("kube-controller-manager made the account `default`", || {
                self.run(accounts.get_opt("default")).is_ok_and(|account| account.is_some())
            });
        }
    }

    /// The process of `kube-controller-manager` or `kube-scheduler`: signal it, or ask whether it runs.
    pub(crate) fn with_process<T>(&self, name: &str, act: impl FnOnce(&mut Process) -> T) -> T {
        let mut others = lock(&self.others);
        act(others.iter_mut().find(|process| process.name() == name).unwrap_or_else(|| panic!("the bed has no {name}")))
    }

    /// A kubeconfig of a user of the bed for one of its API servers.
    pub(crate) fn kubeconfig(&self, server: usize, user: &str) -> PathBuf {
        self.kubeconfig_for(&format!("{user}-{server}"), &self.servers[server].url(), &token_of(user))
    }

    /// A kubeconfig for any address at which an API server is reached, such as a front's, and any token.
    pub(crate) fn kubeconfig_for(&self, name: &str, url: &str, token: &str) -> PathBuf {
        let path = self.path(&format!("{name}.kubeconfig"));
        if !path.exists() {
            // Several tests may share the bed: whoever finds the file finds it whole.
            let mut file = tempfile::NamedTempFile::new_in(&self.directory).unwrap();
            file.write_all(kubeconfig(url, &self.credentials.ca, token).to_string().as_bytes()).unwrap();
            file.persist(&path).unwrap();
        }
        path
    }

    pub(super) fn admin_kubeconfig(&self) -> PathBuf {
        self.kubeconfig(0, ADMIN)
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.end(std::thread::panicking());
    }
}

impl ApiServer {
    /// Where its log is.
    pub(crate) fn log(&self) -> PathBuf {
        self.log.clone()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Asks it to end, as an orderly restart does, and waits until it has.
    pub(crate) fn stop(&self) {
        if let Some(mut process) = lock(&self.process).take() {
            process.signal("TERM");
            assert!(process.wait(PATIENCE).is_some(), "kube-apiserver does not end");
        }
    }

    /// Kills it.
    pub(crate) fn kill(&self) {
        *lock(&self.process) = None;
    }

    /// Stops it in its tracks: its connections stay open, and nothing answers.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on after [`Self::pause`].
    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    pub(crate) fn signal(&self, signal: &str) {
        lock(&self.process).as_mut().expect("the API server runs").signal(signal);
    }

    /// Starts it again, on the same port, and waits until it is ready.
    pub(crate) fn start(&self) {
        self.start_without_waiting();
        self.wait_until_ready();
    }

    pub(crate) fn start_without_waiting(&self) {
        let mut process = lock(&self.process);
        assert!(process.is_none(), "the API server runs already");
        *process = Some((self.launch)().start());
    }

    pub(crate) fn wait_until_ready(&self) {
        eventually("kube-apiserver is ready", || {
            if let Some(process) = lock(&self.process).as_mut()
                && !process.is_running()
            {
                panic!("kube-apiserver ended; its last words:\n{}", super::last_lines(process.log()));
            }
            http::get_tls(self.address(), &self.ca, &token_of(ADMIN), "/readyz")
                .is_some_and(|(status, _)| status == 200)
        });
    }
}

/// etcd alone, its data and log in a directory: for a bed, and for the test that shows that it never outlives its test.
pub(crate) fn start_etcd(programs: &Programs, directory: &Path) -> (Process, u16) {
    let (port, peer) = (ports::free(), ports::free());
    let client = format!("http://127.0.0.1:{port}");
    let mut process = Launch::new(programs.path("etcd"), directory.join("etcd.log"))
        .args([
            format!("--data-dir={}", directory.join(super::directory::ETCD_DATA).display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
            "--unsafe-no-fsync".to_owned(),
        ])
        .env([("HOME", directory.to_string_lossy())])
        .start();
    eventually("etcd is healthy", || {
        assert!(process.is_running(), "etcd ended; its last words:\n{}", super::last_lines(process.log()));
        http::get(([127, 0, 0, 1], port).into(), "/health").is_some_and(|(status, _)| status == 200)
    });
    (process, port)
}
