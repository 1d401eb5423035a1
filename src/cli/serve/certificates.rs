//! Where the certificate of `ringfence serve` comes from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use tokio::task::JoinHandle;

use crate::certs::pair::Pair;
use crate::certs::rotate::Rotator;
use crate::certs::rotate::state::State;
use crate::certs::serving::Serving;
use crate::certs::{dev, files, trust};
use crate::cluster::Cluster;
use crate::controller::lease::Leadership;
use crate::metrics::Metrics;
use crate::webhooks::registrar::{Bundle, Registrar};
use crate::webhooks::template::Templates;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Ringfence issues and rotates its own, in a Secret, and writes what the webhook configurations trust.
    SelfManaged,
    /// Somebody else writes tls.crt and tls.key into --cert-dir, such as cert-manager by way of a mounted Secret.
    Files,
    /// The same, but one that is missing is made.
    Dev,
}

#[derive(clap::Args)]
pub(super) struct CertificateArgs {
    /// Where the certificate comes from.
    #[arg(long, value_enum, value_name = "MODE", default_value = "dev", env = "RINGFENCE_CERTIFICATES")]
    certificates: Mode,
    /// Where tls.crt and tls.key are.
    #[arg(long, value_name = "DIR", default_value = "certs", env = "RINGFENCE_CERT_DIR")]
    cert_dir: PathBuf,
    /// The Secret of self-managed certificates, in the namespace of the Lease.
    #[arg(long, value_name = "NAME", default_value = "ringfence-certificates")]
    secret_name: String,
    /// Accept only clients with a certificate that a CA of this file (PEM) has signed: the API servers', and nobody else.
    #[arg(long, value_name = "FILE")]
    client_ca: Option<PathBuf>,
    /// Where the webhook configurations are, as mutating.yaml and validating.yaml: while this replica leads, it makes them
    /// and keeps them so. Without it they are left alone.
    #[arg(long, value_name = "DIR", required_if_eq("certificates", "self-managed"))]
    webhooks: Option<PathBuf>,
}

/// What is served, and what replaces it.
pub(super) struct Certificates {
    pub(super) serving: Arc<Serving>,
    rotator: Option<(Rotator, State)>,
    directory: PathBuf,
    client_ca: Option<PathBuf>,
    webhooks: Option<Templates>,
}

impl CertificateArgs {
    /// Reads, makes or waits for what is served first.
    pub(super) async fn begin(
        &self,
        cluster: &Cluster,
        namespace: &str,
        metrics: &Arc<Metrics>,
    ) -> Result<Certificates> {
        let clients =
            self.client_ca.as_deref().map(files::read_file).transpose().context("failed to read --client-ca")?;
        let webhooks =
            self.webhooks.as_deref().map(Templates::read).transpose().context("failed to read --webhooks")?;
        let (pair, rotator) = match (self.certificates, cluster.as_live()) {
            (Mode::SelfManaged, None) => bail!(
                "--certificates self-managed needs a live cluster, where the Secret is: leave --manifests out, or use \
                 --certificates dev"
            ),
            (Mode::SelfManaged, Some(live)) => {
                let (client, config) = (live.client().clone(), cluster.config());
                let rotator = Rotator::new(client, live.watching(), namespace, &self.secret_name, config);
                let begun = rotator.begin().await;
                (begun.serving.clone(), Some((rotator, begun)))
            }
            (Mode::Files, _) => (files::read(&self.cert_dir)?, None),
            (Mode::Dev, _) => (made(&self.cert_dir)?, None),
        };
        let serving = Arc::new(Serving::new(pair, clients, metrics.clone())?);
        let (directory, client_ca) = (self.cert_dir.clone(), self.client_ca.clone());
        Ok(Certificates { serving, rotator, directory, client_ca, webhooks })
    }
}

impl Certificates {
    /// Follows whatever may replace what is served. `leadership` is that of a live cluster.
    pub(super) fn follow(
        self,
        cluster: &Arc<Cluster>,
        namespace: &str,
        metrics: &Arc<Metrics>,
        leadership: Option<Leadership>,
    ) -> Vec<(&'static str, JoinHandle<()>)> {
        let Self { serving, rotator, directory, client_ca, webhooks } = self;
        let mut tasks = Vec::new();
        if let (Some(live), Some(templates), Some(leadership)) = (cluster.as_live(), webhooks, leadership.clone()) {
            let bundle = rotator.as_ref().map_or(Bundle::Others, |(rotator, _)| Bundle::Own(rotator.bundle()));
            let (client, metrics) = (live.client().clone(), metrics.clone());
            let registrar = Registrar::new(client, live.watching(), templates, bundle, metrics);
            tasks.push(("the registration of the webhooks", tokio::spawn(registrar.run(leadership))));
        }
        if let Some(path) = client_ca {
            let serving = serving.clone();
            let followed = async move { files::follow_clients(&serving, &path).await };
            tasks.push(("the reading of the CA of clients", tokio::spawn(followed)));
        }
        if let (Some((rotator, begun)), Some(leadership)) = (rotator, leadership) {
            let rotated = async move { rotator.run(begun, &serving, leadership).await };
            tasks.push(("the rotation of certificates", tokio::spawn(rotated)));
            return tasks;
        }
        if let Some(live) = cluster.as_live() {
            let (client, watching) = (live.client().clone(), live.watching());
            let (serving, name) = (serving.clone(), trust::server_name(namespace));
            let followed = async move { trust::follow(&client, watching, &serving, &name).await };
            tasks.push(("the watch of the CA bundles", tokio::spawn(followed)));
        }
        tasks.push((
            "the reading of certificates",
            tokio::spawn(async move { files::follow(&serving, &directory).await }),
        ));
        tasks
    }
}

/// The certificate of a directory; a fresh one for development where there is none.
fn made(directory: &Path) -> Result<Pair> {
    if !files::any_in(directory) {
        let pair = dev::issue().context("failed to issue a certificate")?;
        dev::write(&pair, directory).with_context(|| format!("failed to write into {}", directory.display()))?;
        tracing::info!(directory = ?directory, "there was no certificate: made one for development");
    }
    Ok(files::read(directory)?)
}
