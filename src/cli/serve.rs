//! `ringfence serve`: the webhooks, for any client.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;

use super::ConfigArg;
use crate::certs::{dev, files};
use crate::cluster::Cluster;
use crate::server::{self, App};
use crate::{controller, manifests, shutdown, telemetry};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// Serve an embedded cluster, filled from these files, directories, or - for standard input.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    manifests: Vec<PathBuf>,
    /// Where the webhooks listen.
    #[arg(long, default_value = "127.0.0.1:8443", env = "RINGFENCE_ADDR")]
    addr: SocketAddr,
    /// Where health and metrics listen.
    #[arg(long, default_value = "127.0.0.1:8080", env = "RINGFENCE_ADMIN_ADDR")]
    admin_addr: SocketAddr,
    /// Where tls.crt and tls.key are.
    #[arg(long, value_name = "DIR", default_value = "certs", env = "RINGFENCE_CERT_DIR")]
    cert_dir: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    telemetry::init("info");
    let config = args.config.load()?;
    if args.manifests.is_empty() {
        bail!("serving a live cluster is not there yet: give --manifests PATH… to serve an embedded one");
    }
    let loaded = manifests::load(&args.manifests);
    let cluster = Arc::new(Cluster::embedded(config));
    let problems = [loaded.problems, cluster.fill(&loaded.objects, "default")].concat();
    if !problems.is_empty() {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        bail!("the manifests have errors:\n{}", lines.join("\n"));
    }
    let tls = files::server_config(&pair(&args.cert_dir)?)?;
    // At start nothing is believed isolated until it has been judged.
    controller::reconcile_all(&cluster, Timestamp::now());
    cluster.set_synced();
    runtime()?.block_on(serve(args, cluster, tls))
}

pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("failed to start the runtime")
}

/// The certificate of the directory; a fresh one for development where there is none.
fn pair(directory: &Path) -> Result<dev::Pair> {
    if !files::any_in(directory) {
        let pair = dev::issue().context("failed to issue a certificate")?;
        dev::write(&pair, directory).with_context(|| format!("failed to write into {}", directory.display()))?;
        tracing::info!(directory = ?directory, "there was no certificate: made one for development");
    }
    Ok(files::read(directory)?)
}

fn listen(address: SocketAddr, flag: &str) -> Result<TcpListener> {
    TcpListener::bind(address).with_context(|| format!("failed to listen on {flag} {address}"))
}

async fn serve(args: &Args, cluster: Arc<Cluster>, tls: rustls::ServerConfig) -> Result<ExitCode> {
    let app = Arc::new(App::new(cluster.clone()));
    let admin_listener = listen(args.admin_addr, "--admin-addr")?;
    let admin_address = admin_listener.local_addr()?;
    let admin = server::start_admin(app.clone(), admin_listener)?;
    let mut running = server::start(app, listen(args.addr, "--addr")?, tls)?;
    tracing::info!(address = %running.address(), admin = %admin_address, namespaces = cluster.namespaces().len(), "serving");
    let controlled = tokio::spawn(controller::run(cluster));
    tokio::select! {
        () = shutdown::requested() => {}
        // A background task that ends has failed, and a process that only looks healthy is worse than none.
        ended = running.ended() => bail!("the webhook server ended: {ended:?}"),
        ended = admin => bail!("the admin server ended: {ended:?}"),
        ended = controlled => bail!("the controller ended: {ended:?}"),
    }
    tracing::info!("draining");
    tokio::select! {
        ended = running.drain() => ended.context("the webhook server failed while draining")?,
        // Asked twice, it goes at once.
        () = shutdown::requested() => {}
    }
    Ok(ExitCode::SUCCESS)
}
