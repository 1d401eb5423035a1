//! `ringfence config`: the whole configuration in force, as a file that could be given back.

use std::process::ExitCode;

use anyhow::Result;
use ringfence_core::config::Config;

use super::{DiscoveredConfig, yaml};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: DiscoveredConfig,
    /// Print a JSON schema of the configuration instead: for editors. The chart has the same.
    #[arg(long)]
    schema: bool,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    if args.schema {
        println!("{}", serde_json::to_string_pretty(&Config::json_schema()?)?);
        return Ok(ExitCode::SUCCESS);
    }
    print!("{}", yaml(&args.config.load()?.to_value())?);
    Ok(ExitCode::SUCCESS)
}
