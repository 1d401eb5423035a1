//! Ringfence on the bed: its own chart installed by helm, and its process with the chart's own service account.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use ringfence::certs::pair::Pair;
use ringfence::certs::{dev, files};
use serde_json::{Value, json};

use super::process::{Launch, Process};
use super::shared::{Ends, Shared};
use super::{ADMIN, Bed, Counters, Front, Kubelet, Options, eventually, http, last_lines, lock, ports};

const NAMESPACE: &str = "ringfence-system";
const RELEASE: &str = "ringfence";
/// Where self-managed certificates are.
const SECRET: &str = "ringfence-certificates";

/// The installed chart. One a bed.
pub(crate) struct Installation {
    /// What the API servers reach as the Service: replicas that run stand behind it.
    pub(crate) front: Arc<Front>,
    /// Of the chart's service account.
    pub(crate) token: String,
    /// The configuration as the chart's `ConfigMap` has it.
    pub(crate) config: PathBuf,
    /// The webhook configurations as the chart's `ConfigMap` has them; `None` of a chart that has none.
    pub(crate) webhooks: Option<PathBuf>,
    /// Where the certificate is that the webhook configurations trust, where it is files; else Ringfence has its own.
    pub(crate) certificates: Option<PathBuf>,
    /// The CAs that the webhook configurations trust, once a replica has been ready.
    pub(crate) ca: OnceLock<String>,
}

/// How a replica is started.
#[derive(Clone)]
pub(crate) struct Replica {
    /// Its identity, as the Lease shows it.
    pub(crate) name: String,
    /// The API server that it talks to.
    pub(crate) server: usize,
    /// Where it reaches that one instead: a front's URL.
    pub(crate) via: Option<String>,
    /// Another configuration than the chart's.
    pub(crate) config: Option<PathBuf>,
    /// Further flags of `ringfence serve`.
    pub(crate) flags: Vec<String>,
    /// Waits until it is ready, and puts it behind the front.
    pub(crate) wait: bool,
}

impl Default for Replica {
    fn default() -> Self {
        Self { name: "replica-1".to_owned(), server: 0, via: None, config: None, flags: Vec::new(), wait: true }
    }
}

impl Replica {
    pub(crate) fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }
}

/// A running `ringfence serve`. Dropped, it is killed, and no longer behind the front.
pub(crate) struct Ringfence {
    /// Its process: signal it, or ask whether it runs.
    pub(crate) process: Process,
    /// Where its webhooks listen.
    pub(crate) address: SocketAddr,
    /// Where health and metrics listen.
    pub(crate) health: SocketAddr,
    pub(crate) metrics: SocketAddr,
    front: Arc<Front>,
}

impl Bed {
    /// Installs the chart with helm. `values` are dotted names; a value that is JSON is that, else text. The Service becomes an
    /// `ExternalName` of this machine, by which the API servers reach [`Installation::front`].
    pub(crate) fn install(&self, values: &[(&str, &str)]) -> Installation {
        let front = Arc::new(self.front(&[]));
        let mut all = json!({ "service": { "port": front.address().port() } });
        let certificates = values.contains(&("tls.mode", "files")).then(|| {
            let pair = dev::issue().unwrap();
            let certificates = self.path("ringfence-certificates");
            dev::write(&pair, &certificates).unwrap();
            all["webhook"] = json!({ "caBundle": k8s_openapi::ByteString(pair.ca.into_bytes()) });
            certificates
        });
        for (name, value) in values {
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(*value));
            let mut place = &mut all;
            for part in name.split('.') {
                place = &mut place[part];
            }
            *place = value;
        }
        let file = self.path("values.yaml");
        std::fs::write(&file, all.to_string()).unwrap();
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/ringfence");
        let (chart, file) = (chart.to_string_lossy(), file.to_string_lossy());
        self.helm(&["install", RELEASE, &chart, "-n", NAMESPACE, "--create-namespace", "-f", &file]).expect_ok();
        self.installed(front, certificates)
    }

    /// Makes a chart that somebody has installed reachable: its Service leads to the front.
    pub(crate) fn installed(&self, front: Arc<Front>, certificates: Option<PathBuf>) -> Installation {
        let external = r#"{"spec": {"type": "ExternalName", "externalName": "localhost"}}"#;
        self.kubectl(&["patch", "service", RELEASE, "-n", NAMESPACE, "--type=merge", "-p", external]).expect_ok();
        let token = self.kubectl(&["create", "token", RELEASE, "-n", NAMESPACE, "--duration=8h"]).expect_ok();
        let path = r"jsonpath={.data.config\.yaml}";
        let text = self.kubectl(&["get", "configmap", RELEASE, "-n", NAMESPACE, "-o", path]).expect_ok();
        let config = self.path("config.yaml");
        std::fs::write(&config, text).unwrap();
        let webhooks = self.webhooks_of_the_chart();
        Installation { front, token: token.trim().to_owned(), config, webhooks, certificates, ca: OnceLock::new() }
    }

    /// Writes down what the chart would have replicas mount: those that start from now on find it.
    pub(crate) fn webhooks_of_the_chart(&self) -> Option<PathBuf> {
        let map = ["get", "configmap", "ringfence-webhooks", "-n", NAMESPACE, "-o", "json", "--ignore-not-found"];
        let map: Value = serde_json::from_str(&self.kubectl(&map).expect_ok()).ok()?;
        let directory = self.path("webhooks");
        std::fs::create_dir_all(&directory).unwrap();
        for (name, text) in map["data"].as_object().unwrap() {
            std::fs::write(directory.join(name), text.as_str().unwrap()).unwrap();
        }
        Some(directory)
    }

    /// Starts `ringfence serve` as the chart would have it, with the rights of the chart's service account and no others.
    pub(crate) fn start_ringfence(&self, installation: &Installation, replica: &Replica) -> Ringfence {
        let name = &replica.name;
        let url = replica.via.clone().unwrap_or_else(|| self.server(replica.server).url());
        let kubeconfig = self.path(&format!("ringfence-{name}.kubeconfig"));
        // A replica that is started again may be somewhere else.
        let _ = std::fs::remove_file(&kubeconfig);
        let kubeconfig = self.kubeconfig_for(&format!("ringfence-{name}"), &url, &installation.token);
        let [address, health, metrics] =
            [ports::free(), ports::free(), ports::free()].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let shown = |path: &Path| path.to_string_lossy().into_owned();
        let process = Launch::new(env!("CARGO_BIN_EXE_ringfence"), self.path(&format!("ringfence-{name}.log")))
            .args(["serve", "--kubeconfig", &shown(&kubeconfig)])
            .args(["--config", &shown(replica.config.as_ref().unwrap_or(&installation.config))])
            .args(["--addr", &address.to_string()])
            .args(["--health-addr", &health.to_string(), "--metrics-addr", &metrics.to_string()])
            .args(match &installation.certificates {
                Some(directory) => ["--certificates=files".to_owned(), format!("--cert-dir={}", shown(directory))],
                None => ["--certificates=self-managed", "--secret-name=ringfence-certificates"].map(str::to_owned),
            })
            .args(installation.webhooks.iter().map(|directory| format!("--webhooks={}", shown(directory))))
            .args(["--lease-namespace", NAMESPACE, "--lease-name", RELEASE, "--identity", name])
            .args(replica.flags.clone())
            .env([("HOME", shown(&self.path("home"))), ("RUST_LOG", "info,ringfence=debug".to_owned())])
            .start();
        let mut ringfence = Ringfence { process, address, health, metrics, front: installation.front.clone() };
        if replica.wait {
            ringfence.wait_until_ready();
            installation.ca.get_or_init(|| {
                self.until_armed();
                installation.pair(self).ca
            });
        }
        ringfence
    }
}

impl Bed {
    /// Waits until a leader has armed the webhooks, and each API server calls them.
    pub(crate) fn until_armed(&self) {
        eventually("the webhooks are armed", || {
            ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"].iter().all(|kind| {
                let path = "jsonpath={.webhooks[*].failurePolicy}";
                self.kubectl(&["get", kind, RELEASE, "-o", path, "--ignore-not-found"]).stdout.contains("Fail")
            })
        });
        let dry = ["create", "namespace", "asks-the-webhooks", "--dry-run=server", "-o", "json"];
        for server in 0..self.servers().len() {
            eventually("the API server calls them", || {
                self.kubectl_at(server, ADMIN, &dry, "").stdout.contains("ringfence.dev/mode")
            });
        }
    }
}

impl Installation {
    /// What is served, and what the webhook configurations trust.
    pub(crate) fn pair(&self, bed: &Bed) -> Pair {
        let Some(directory) = &self.certificates else {
            let get = ["get", "secret", SECRET, "-n", NAMESPACE, "-o", "json"];
            let secret: Secret = serde_json::from_str(&bed.kubectl(&get).expect_ok()).unwrap();
            let data = secret.data.unwrap();
            let text = |key: &str| String::from_utf8(data[key].0.clone()).unwrap();
            return Pair { certificate: text("tls.crt"), key: text("tls.key"), ca: text("ca.crt") };
        };
        files::read(directory).unwrap()
    }
}

impl Ringfence {
    /// Waits until it says that it is ready, and puts it behind the front, as a Service does.
    pub(crate) fn wait_until_ready(&mut self) {
        eventually("ringfence is ready", || {
            assert!(self.process.is_running(), "ringfence ended; its last words:\n{}", last_lines(self.process.log()));
            self.is_ready()
        });
        self.front.remove(self.address);
        self.front.add(self.address);
    }

    pub(crate) fn is_ready(&self) -> bool {
        http::get(self.health, "/readyz").is_some_and(|(status, _)| status == 200)
    }

    /// Its own metrics; `None` where it does not answer.
    pub(crate) fn counters(&self) -> Option<Counters> {
        http::get(self.metrics, "/metrics").map(|(_, text)| Counters::parse(&text))
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.process.log()).unwrap_or_default()
    }

    /// Asks it to end, and returns its exit status.
    pub(crate) fn stop(mut self) -> Option<i32> {
        self.process.signal("TERM");
        self.process.wait(Duration::from_secs(120))
    }
}

impl Drop for Ringfence {
    fn drop(&mut self) {
        self.front.remove(self.address);
    }
}

/// A whole cluster with Ringfence: nodes, a kubelet, the chart, and one replica. For tests that disturb nothing of that there
/// is one for all, [`World::shared`]; the others start their own.
pub(crate) struct World {
    pub(crate) bed: Bed,
    pub(crate) installation: Installation,
    pub(crate) ringfence: Mutex<Option<Ringfence>>,
    kubelet: Mutex<Option<Kubelet>>,
}

impl World {
    pub(crate) fn start(options: &Options, values: &[(&str, &str)]) -> Self {
        let bed = Bed::start(options);
        bed.add_nodes(3);
        let kubelet = Mutex::new(Some(bed.play_kubelet()));
        let installation = bed.install(values);
        let ringfence = Mutex::new(Some(bed.start_ringfence(&installation, &Replica::default())));
        Self { bed, installation, ringfence, kubelet }
    }

    /// The one for all tests that leave Ringfence, the control plane and other tests' namespaces alone.
    pub(crate) fn shared() -> &'static Self {
        static WORLD: Shared<World> = Shared::new(|| World::start(&Options::whole(), &[]));
        WORLD.get()
    }
}

impl Ends for World {
    fn end(&self, failed: bool) {
        *lock(&self.kubelet) = None;
        *lock(&self.ringfence) = None;
        self.bed.end(failed);
    }
}
