//! The command line: one file per subcommand.

mod adopt;
mod certs;
mod check;
mod claims;
mod cluster_args;
mod config;
mod connect;
mod demo;
mod diff;
mod endpoint;
mod explain;
mod matrix;
mod render;
mod serve;
mod source;
mod uninstall;

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use kube::config::{KubeConfigOptions, Kubeconfig};
use ringfence_core::config::Config;
use ringfence_core::policy::parse::names::is_dns_label;
use ringfence_core::text::sanitised;
use ringfence_core::vocabulary::OWN_NAMESPACE;

use crate::manifests::{self, Node, Position, quoted};

/// Nothing runs in a Kubernetes namespace without an effective deny-all network baseline.
#[derive(Parser)]
#[command(name = "ringfence", version, about, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show what Ringfence does: the real webhook on loopback, without a cluster.
    Demo(demo::Args),
    /// Serve the webhooks, and make baselines effective.
    Serve(serve::Args),
    /// Label namespaces that were there before Ringfence, so that they get their baseline; or give them up.
    Adopt(adopt::Args),
    /// Judge manifests: which namespaces are isolated, and what is let through all the same.
    Check(check::Args),
    /// Say what a lint of `check` is about, what it does to traffic, and how to mend it.
    Explain(explain::Args),
    /// Say whether one end reaches a port of another, and which policy decides. Exits with 0 where it does, 1 where it does
    /// not, 2 where that can't be said.
    Connect(connect::Args),
    /// Print who can reach whom: between workloads, and to and from the outside.
    Matrix(matrix::Args),
    /// Print which connections appear and disappear between two sets of manifests, or where one is applied to a cluster.
    /// Exits with 1 where anything is newly exposed, 0 where nothing is, 2 where that can't be said.
    Diff(diff::Args),
    /// Print the policies of a profile for a namespace, as YAML that kubectl accepts.
    Render(render::Args),
    /// Write development certificates.
    Certs(certs::Args),
    /// Print the configuration in force, defaults included.
    Config(config::Args),
    /// Lift held pods and remove labels and webhook configurations, before Ringfence is uninstalled.
    Uninstall(uninstall::Args),
}

/// The exit code of a command that could not do its work: bad input, or something that failed.
const FAILED: u8 = 2;

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Connect(args) => connect::run(&args),
        Command::Matrix(args) => matrix::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Render(args) => render::run(&args),
        Command::Certs(args) => certs::run(&args),
        Command::Config(args) => config::run(&args),
        Command::Adopt(args) => adopt::run(&args),
        Command::Uninstall(args) => uninstall::run(&args),
    };
    result.unwrap_or_else(|error| {
        // An error in the configuration has several lines; none begins with what somebody named a file.
        for line in format!("{error:#}").lines() {
            eprintln!("ringfence: {}", sanitised(line));
        }
        ExitCode::from(FAILED)
    })
}

/// Writes to standard output, piece by piece. Whoever reads it and has had enough may close it.
fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            // What is left is not tried again when it is dropped.
            let _ = out.into_parts();
            Ok(())
        }
        written => written.context("failed to write to standard output"),
    }
}

/// A namespace's name as a value of a flag, where namespaces need not be there yet.
fn namespace(text: &str) -> Result<String, String> {
    if is_dns_label(text) {
        return Ok(text.to_owned());
    }
    Err("this can't be a namespace's name; give at most 63 lowercase letters, digits and -, with a letter or digit at \
         both ends"
        .to_owned())
}

/// Prints a value as YAML.
fn yaml(value: &impl serde::Serialize) -> Result<String> {
    serde_saphyr::to_string(value).context("failed to write YAML")
}

/// What the commands of a cluster take.
#[derive(clap::Args)]
struct ConfigArg {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "RINGFENCE_CONFIG")]
    config: Option<PathBuf>,
}

/// What the commands take that work on a repository.
#[derive(clap::Args)]
struct DiscoveredConfig {
    /// The configuration file; without it the nearest .ringfence.yaml, here or in a directory above, up to the one that
    /// holds .git.
    #[arg(long, value_name = "FILE", env = "RINGFENCE_CONFIG")]
    config: Option<PathBuf>,
}

/// Which cluster, as kubectl finds it.
#[derive(clap::Args)]
struct KubeArgs {
    /// The kubeconfig file; without it the usual places are looked in ($KUBECONFIG, ~/.kube/config, the pod's own
    /// service account).
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; without it the current one.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

/// Which Lease says who writes.
#[derive(clap::Args)]
struct LeaseArgs {
    /// The namespace of the Lease.
    #[arg(long, value_name = "NAMESPACE", default_value = OWN_NAMESPACE)]
    lease_namespace: String,
    /// The name of the Lease.
    #[arg(long, value_name = "NAME", default_value = "ringfence")]
    lease_name: String,
}

impl KubeArgs {
    /// As it is written on the command line, after a space.
    fn written(&self) -> String {
        let kubeconfig =
            self.kubeconfig.as_ref().map(|file| format!(" --kubeconfig {}", quoted(&file.to_string_lossy())));
        let context = self.context.as_ref().map(|name| format!(" --context {}", quoted(name)));
        kubeconfig.unwrap_or_default() + &context.unwrap_or_default()
    }

    /// Whether anything is said about it.
    fn is_given(&self) -> bool {
        self.kubeconfig.is_some() || self.context.is_some()
    }

    async fn load(&self) -> Result<kube::Config> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        match &self.kubeconfig {
            Some(path) => {
                let failed = || format!("failed to use the kubeconfig {}", path.display());
                let read = Kubeconfig::read_from(path).with_context(failed)?;
                kube::Config::from_custom_kubeconfig(read, &options).await.with_context(failed)
            }
            None if self.context.is_some() => {
                kube::Config::from_kubeconfig(&options).await.context("failed to use the kubeconfig")
            }
            None => kube::Config::infer().await.context(
                "there is neither a kubeconfig nor a pod's service account; give --kubeconfig FILE, or --manifests \
                 PATH… to do without a cluster",
            ),
        }
    }
}

impl ConfigArg {
    /// The configuration of the file, or the default.
    fn load(&self) -> Result<Config> {
        self.config.as_deref().map_or_else(|| Ok(Config::default()), read_config)
    }
}

impl DiscoveredConfig {
    /// The configuration of the file that is given or found, or the default. Which one was found is said, since nobody
    /// named it.
    fn load(&self) -> Result<Config> {
        if let Some(path) = &self.config {
            return read_config(path);
        }
        let here = std::env::current_dir().context("failed to find out the current directory")?;
        let Some(path) = discovered(&here) else { return Ok(Config::default()) };
        eprintln!("ringfence: the configuration is {}", path.display());
        read_config(&path)
    }
}

/// The nearest configuration, from a directory up to the root of its repository. Outside of a repository only the directory
/// itself is looked into: what lies above it is nobody's business.
fn discovered(here: &Path) -> Option<PathBuf> {
    const NAME: &str = ".ringfence.yaml";
    let levels = here.ancestors().position(|directory| directory.join(".git").exists()).map_or(1, |root| root + 1);
    here.ancestors().take(levels).map(|directory| directory.join(NAME)).find(|path| path.exists())
}

/// Reads a configuration. Every error names its line.
fn read_config(path: &Path) -> Result<Config> {
    let file = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("failed to read {file}"))?;
    let document = match manifests::parse_one(&text) {
        Ok(document) => document,
        Err((at, message)) => bail!("{file}:{}: {message}", at.unwrap_or_default()),
    };
    let value = document.as_ref().map(Node::to_value).unwrap_or_default();
    Config::parse(&value).map_err(|errors| {
        let place =
            |path: &str| document.as_ref().map_or(Position { line: 1, column: 1 }, |node| node.position_of(path));
        let mut lines: Vec<(Position, String)> =
            errors.iter().map(|error| (place(&error.path), error.to_string())).collect();
        lines.sort();
        let lines: Vec<String> = lines.into_iter().map(|(at, error)| format!("{file}:{at}: {error}")).collect();
        anyhow::anyhow!("the configuration has errors:\n{}", lines.join("\n"))
    })
}
