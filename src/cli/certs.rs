//! `ringfence certs`: development certificates.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::certs::dev;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Where to write them.
    #[arg(long, value_name = "DIR", default_value = "certs")]
    cert_dir: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let pair = dev::issue().context("failed to issue a certificate")?;
    dev::write(&pair, &args.cert_dir).with_context(|| format!("failed to write into {}", args.cert_dir.display()))?;
    println!(
        "wrote tls.crt, tls.key and ca.crt into {}: valid for 90 days, for localhost and ringfence.ringfence-system.svc; \
         for development only, and the CA's key is thrown away",
        args.cert_dir.display()
    );
    Ok(ExitCode::SUCCESS)
}
