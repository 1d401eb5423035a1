//! `ringfence serve`: the webhooks and the controller, for a live cluster or an embedded one.

mod certificates;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use ringfence_core::config::Config;
use tokio::task::JoinHandle;

use super::{ConfigArg, KubeArgs, LeaseArgs};
use certificates::{CertificateArgs, Certificates};

use crate::cluster::{Cluster, live};
use crate::controller::lease::{Candidate, Elector};
use crate::controller::{embedded, queue};
use crate::manifests::Input;
use crate::server::{self, App};
use crate::{shutdown, telemetry};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    kube: KubeArgs,
    #[command(flatten)]
    lease: LeaseArgs,
    /// Serve an embedded cluster, filled from these files, directories, or - for standard input, instead of a live one.
    #[arg(long, value_name = "PATH", num_args = 1.., conflicts_with_all = ["kubeconfig", "context"])]
    manifests: Vec<PathBuf>,
    /// Where the webhooks listen.
    #[arg(long, default_value = "127.0.0.1:8443", env = "RINGFENCE_ADDR")]
    addr: SocketAddr,
    /// Where /metrics listens.
    #[arg(long, default_value = "127.0.0.1:8080", env = "RINGFENCE_METRICS_ADDR", alias = "admin-addr")]
    metrics_addr: SocketAddr,
    /// Where /livez and /readyz listen, for the kubelet alone.
    #[arg(long, default_value = "127.0.0.1:8081", env = "RINGFENCE_HEALTH_ADDR")]
    health_addr: SocketAddr,
    #[command(flatten)]
    certificates: CertificateArgs,
    /// What this replica writes into the Lease. No two replicas may have the same.
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    identity: Option<String>,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    telemetry::init("info");
    let config = args.config.load()?;
    if args.manifests.is_empty() {
        return runtime()?.block_on(serve_live(args, config));
    }
    let loaded = Input::piped("ringfence serve --manifests -".to_owned()).load(&args.manifests);
    let cluster = Arc::new(Cluster::embedded(config));
    let problems = [loaded.problems, cluster.fill(&loaded.objects, "default")].concat();
    if !problems.is_empty() {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        bail!("the manifests have errors:\n{}", lines.join("\n"));
    }
    // At start nothing is believed isolated until it has been judged.
    embedded::reconcile_all(&cluster, Timestamp::now());
    cluster.set_synced();
    runtime()?.block_on(async {
        let servers = Servers::start(args, &cluster)?;
        let namespace = &args.lease.lease_namespace;
        let certificates = args.certificates.begin(&cluster, namespace, servers.app.metrics()).await?;
        let running = servers.start_webhooks(args, &certificates)?;
        let mut tasks = certificates.follow(&cluster, namespace, servers.app.metrics(), None);
        tasks.push(("the controller", tokio::spawn(embedded::run(cluster))));
        until_asked_to_stop(servers, running, tasks, async {}).await
    })
}

async fn serve_live(args: &Args, config: Config) -> Result<ExitCode> {
    let kube = args.kube.load().await?;
    let candidate = Candidate {
        namespace: args.lease.lease_namespace.clone(),
        name: args.lease.lease_name.clone(),
        identity: args.identity.clone().unwrap_or_else(some_identity),
        duration: config.lease_duration.to_std(),
    };
    let server = kube.cluster_url.to_string();
    let cluster = Arc::new(Cluster::live(config, &kube).context("failed to make a client for the API server")?);
    tracing::info!(server, identity = ?candidate.identity, "a live cluster");
    let mut servers = Servers::start(args, &cluster)?;
    let watched = tokio::spawn(live::watch::run(cluster.clone()));
    let namespace = &args.lease.lease_namespace;
    let metrics = servers.app.metrics().clone();
    let certificates = tokio::select! {
        begun = args.certificates.begin(&cluster, namespace, &metrics) => begun?,
        // Nobody calls yet.
        () = servers.stop.next() => return Ok(ExitCode::SUCCESS),
    };
    let running = servers.start_webhooks(args, &certificates)?;
    let instance = candidate.identity.clone();
    let client = cluster.as_live().map(|live| live.client().clone()).context("the cluster is not a live one")?;
    let (mut elector, leadership) = Elector::new(client, candidate);
    let mut tasks = certificates.follow(&cluster, namespace, &metrics, Some(leadership.clone()));
    let controlled = {
        let cluster = cluster.clone();
        tokio::spawn(async move { queue::run(cluster, leadership, metrics, &instance).await })
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    // Dropped when the election ends in whatever way.
    let (elects, election) = tokio::sync::oneshot::channel::<()>();
    let elected = tokio::spawn(async move {
        let _elects = elects;
        // Whoever can't serve yet does not lead yet.
        cluster.synced().await;
        tokio::select! {
            () = elector.run() => {}
            _ = stopped => {
                if let Err(error) = elector.release().await {
                    tracing::warn!(%error, "the Lease could not be released; it ends by itself");
                }
            }
        }
    });
    let election = tokio::spawn(async move {
        let _ = election.await;
    });
    tasks.extend([("the watches", watched), ("the controller", controlled), ("the election", election)]);
    let release = async move {
        // First of all, so that another replica goes on while this one drains.
        drop(stop);
        let _ = tokio::time::timeout(std::time::Duration::from_secs(3), elected).await;
    };
    until_asked_to_stop(servers, running, tasks, release).await
}

/// An identity for a process that was not given one: what else tells processes on one machine apart.
fn some_identity() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "ringfence".to_owned());
    format!("{host}-{}-{}", std::process::id(), Timestamp::now().as_millisecond())
}

pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("failed to start the runtime")
}

fn listen(address: SocketAddr, flag: &str) -> Result<TcpListener> {
    TcpListener::bind(address).with_context(|| format!("failed to listen on {flag} {address}"))
}

/// What every way of serving has: the application, and its ports for health and metrics.
struct Servers {
    app: Arc<App>,
    health: server::Health,
    metrics: JoinHandle<std::io::Result<()>>,
    metrics_address: SocketAddr,
    stop: shutdown::Requests,
}

impl Servers {
    fn start(args: &Args, cluster: &Arc<Cluster>) -> Result<Self> {
        let app = Arc::new(App::new(cluster.clone()));
        let health = server::start_health(app.clone(), args.health_addr)
            .with_context(|| format!("failed to listen on --health-addr {}", args.health_addr))?;
        let listener = listen(args.metrics_addr, "--metrics-addr")?;
        let metrics_address = listener.local_addr()?;
        let metrics = server::start_metrics(app.clone(), listener)?;
        let stop = shutdown::Requests::listen().context("failed to listen for signals")?;
        Ok(Self { app, health, metrics, metrics_address, stop })
    }

    fn start_webhooks(&self, args: &Args, certificates: &Certificates) -> Result<server::Running> {
        let tls = certificates.serving.tls();
        let running = server::start(self.app.clone(), listen(args.addr, "--addr")?, tls)?;
        let namespaces = self.app.cluster().namespaces().len();
        let (address, health, metrics) = (running.address(), self.health.address(), self.metrics_address);
        tracing::info!(%address, %health, %metrics, namespaces, "serving");
        Ok(running)
    }
}

/// Serves until the process is asked to stop, and drains. A background task that ends has failed, and a process that only
/// looks healthy is worse than none.
async fn until_asked_to_stop(
    mut servers: Servers,
    mut running: server::Running,
    tasks: Vec<(&'static str, JoinHandle<()>)>,
    before_draining: impl Future<Output = ()>,
) -> Result<ExitCode> {
    let ended = futures::future::select_all(tasks.into_iter().map(|(name, task)| {
        Box::pin(async move {
            let ended = task.await;
            (name, ended)
        })
    }));
    tokio::select! {
        () = servers.stop.next() => {}
        ended = running.ended() => bail!("the webhook server ended: {ended:?}"),
        ended = servers.health.ended() => bail!("the health server ended: {ended:?}"),
        ended = servers.metrics => bail!("the metrics server ended: {ended:?}"),
        ((name, ended), _, _) = ended => bail!("{name} ended: {ended:?}"),
    }
    tracing::info!("draining");
    tokio::select! {
        ended = async { tokio::join!(running.drain(), before_draining).0 } => {
            ended.context("the webhook server failed while draining")?;
        }
        // Asked twice, it goes at once.
        () = servers.stop.next() => {}
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::dev;
    use crate::certs::serving::Serving;

    #[tokio::test(flavor = "multi_thread")]
    async fn case_53_a_panic_in_a_background_task_ends_the_process_with_an_error() {
        let listener = || TcpListener::bind("127.0.0.1:0").unwrap();
        let app = Arc::new(App::new(Arc::new(Cluster::embedded(Config::default()))));
        let health = server::start_health(app.clone(), ([127, 0, 0, 1], 0).into()).unwrap();
        let metrics = server::start_metrics(app.clone(), listener()).unwrap();
        let stop = shutdown::Requests::listen().unwrap();
        let serving = Serving::new(dev::issue().unwrap(), None, app.metrics().clone()).unwrap();
        let running = server::start(app.clone(), listener(), serving.tls()).unwrap();
        let servers = Servers { app, health, metrics, metrics_address: running.address(), stop };
        let panics = tokio::spawn(async { panic!("as a bug would") });
        let goes_on = tokio::spawn(std::future::pending());
        let tasks = vec![("the controller", goes_on), ("the watches", panics)];
        let error = until_asked_to_stop(servers, running, tasks, async {}).await.unwrap_err();
        assert!(error.to_string().starts_with("the watches ended: "), "{error}");
    }
}
