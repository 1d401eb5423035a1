//! `ringfence demo`: the real webhook server on loopback, told as a story.
//!
//! The demonstration acts as the API server ([`api_server`]): it asks the webhooks over TLS, applies their patches,
//! stores what is admitted, and lets the controller work. Each line of the story ([`script`]) is printed from what
//! really came back, and fails the command where it is not what it must be.

mod api_server;
mod client;
mod script;
mod terminal;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use jiff::Timestamp;
use ringfence_core::config::Config;

use super::serve::runtime;
use crate::certs::dev;
use crate::certs::serving::Serving;
use crate::cluster::Cluster;
use crate::server::{self, App};
use crate::{controller, manifests, shutdown, telemetry};
use api_server::ApiServer;
use terminal::Terminal;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Keep the server up afterwards, and print curl lines to try it with.
    #[arg(long)]
    serve: bool,
    /// Where to listen with --serve.
    #[arg(long, default_value = "127.0.0.1:8443")]
    addr: SocketAddr,
    /// Where to write the CA for curl with --serve.
    #[arg(long, value_name = "DIR", default_value = "certs")]
    cert_dir: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    telemetry::init("off");
    runtime()?.block_on(tell(args))
}

async fn tell(args: &Args) -> Result<ExitCode> {
    let pair = dev::issue().context("failed to issue a certificate")?;
    let cluster = Arc::new(Cluster::embedded(Config::default()));
    let before = manifests::read("before.yaml", script::BEFORE);
    let problems = [before.problems, cluster.fill(&before.objects, "default")].concat();
    anyhow::ensure!(problems.is_empty(), "the story's own manifests have errors: {problems:?}");
    controller::embedded::reconcile_all(&cluster, Timestamp::now());
    cluster.set_synced();
    let app = Arc::new(App::new(cluster.clone()));
    let address = if args.serve { args.addr } else { SocketAddr::from(([127, 0, 0, 1], 0)) };
    let listener = TcpListener::bind(address).with_context(|| format!("failed to listen on {address}"))?;
    let mut running =
        server::start(app.clone(), listener, Serving::new(pair.clone(), None, app.metrics().clone())?.tls())?;
    let address = running.address();

    let mut api_server = ApiServer::connect(address, &pair.ca, app).await?;
    let mut terminal = Terminal::new();
    script::play(&mut api_server, &mut terminal, address).await?;
    let told = terminal.finish();

    if args.serve {
        let ca = args.cert_dir.join("demo-ca.crt");
        std::fs::create_dir_all(&args.cert_dir)
            .and_then(|()| std::fs::write(&ca, &pair.ca))
            .with_context(|| format!("failed to write {}", ca.display()))?;
        let mut stop = shutdown::Requests::listen().context("failed to listen for signals")?;
        script::print_curl_lines(address, &ca);
        let controlled = tokio::spawn(controller::embedded::run(cluster));
        tokio::select! {
            () = stop.next() => {}
            ended = running.ended() => ended.context("the server ended")?,
            ended = controlled => anyhow::bail!("the controller ended: {ended:?}"),
        }
    }
    running.abort();
    Ok(if told { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
