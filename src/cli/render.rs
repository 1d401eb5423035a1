//! `ringfence render`: a profile's policies for a namespace, for GitOps and for reading.

use std::process::ExitCode;

use anyhow::{Context, Result};

use super::{DiscoveredConfig, yaml};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: DiscoveredConfig,
    /// The profile; the default one where it is left out.
    #[arg(long)]
    profile: Option<String>,
    /// The namespace that the policies are for.
    #[arg(long, short, value_parser = super::namespace)]
    namespace: String,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let config = args.config.load()?;
    let name = args.profile.as_deref().unwrap_or(&config.default_profile);
    let profile = config
        .profiles
        .get(name)
        .with_context(|| format!("--profile {name:?}: no such profile; there are {}", config.profiles.names()))?;
    let policies = profile.policies().iter().map(|policy| yaml(&policy.object(&args.namespace)));
    let policies = policies.collect::<Result<Vec<String>>>()?.join("---\n");
    super::print(|out| out.write_all(policies.as_bytes()))?;
    Ok(ExitCode::SUCCESS)
}
