//! `ringfence config`: the whole configuration in force, as a file that could be given back.

use std::process::ExitCode;

use anyhow::Result;

use super::{DiscoveredConfig, yaml};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: DiscoveredConfig,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    print!("{}", yaml(&args.config.load()?.to_value())?);
    Ok(ExitCode::SUCCESS)
}
