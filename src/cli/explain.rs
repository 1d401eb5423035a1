//! `ringfence explain`: what a lint is about.

use std::process::ExitCode;

use anyhow::{Result, bail};
use ringfence_core::policy::lint::Lint;

use crate::report::explain;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The lint's id, as reports name it; without it, all are listed.
    lint: Option<String>,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    match &args.lint {
        None => print!("{}", explain::list()),
        Some(id) => {
            let Some(lint) = Lint::find(id) else {
                bail!("{id:?}: there is no such lint; `ringfence explain` lists them");
            };
            print!("{}\n{}", explain::lint(lint), explain::switching_off(lint));
        }
    }
    Ok(ExitCode::SUCCESS)
}
