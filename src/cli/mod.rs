//! The command line: one file per subcommand.

mod certs;
mod check;
mod config;
mod demo;
mod render;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use ringfence_core::config::Config;

use crate::manifests::{self, Node, Position};

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
    /// Serve the webhooks.
    Serve(serve::Args),
    /// Judge manifests: which namespaces are isolated, and what is let through all the same.
    Check(check::Args),
    /// Print the policies of a profile for a namespace, as YAML that kubectl accepts.
    Render(render::Args),
    /// Write development certificates.
    Certs(certs::Args),
    /// Print the configuration in force, defaults included.
    Config(config::Args),
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
        Command::Render(args) => render::run(&args),
        Command::Certs(args) => certs::run(&args),
        Command::Config(args) => config::run(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("ringfence: {error:#}");
        ExitCode::from(FAILED)
    })
}

/// Prints a value as YAML.
fn yaml(value: &impl serde::Serialize) -> Result<String> {
    serde_saphyr::to_string(value).context("failed to write YAML")
}

/// What several commands take.
#[derive(clap::Args)]
struct ConfigArg {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "RINGFENCE_CONFIG")]
    config: Option<PathBuf>,
}

impl ConfigArg {
    /// The configuration of a file, or the default. Every error names its line.
    fn load(&self) -> Result<Config> {
        let Some(path) = &self.config else { return Ok(Config::default()) };
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
}
