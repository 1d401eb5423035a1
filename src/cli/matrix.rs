//! `ringfence matrix`: who can reach whom.

use std::process::ExitCode;

use anyhow::Result;
use ringfence_core::policy::reach::Matrix;

use super::endpoint;
use super::source::{self, SourceArgs};
use crate::manifests::quoted;
use crate::report::reach::{Filter, Naming, dot, json, text};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// The form: text and dot put together what can't be told apart, json lists every connection.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Which connections.
#[derive(clap::Args)]
pub(super) struct FilterArgs {
    /// Only connections with an end in this namespace; may be repeated.
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Vec<String>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Output {
    Text,
    Json,
    Dot,
}

impl FilterArgs {
    /// As it is written on the command line, after a space.
    pub(super) fn written(&self) -> String {
        let parts = self.namespace.iter().flat_map(|namespace| [" --namespace ".to_owned(), quoted(namespace)]);
        parts.collect()
    }

    /// The filter, where its namespaces are in one of the inventories.
    pub(super) fn over(&self, inventories: &[&ringfence_core::inventory::Inventory]) -> Result<Filter> {
        for namespace in &self.namespace {
            endpoint::namespace("--namespace", namespace, inventories)?;
        }
        Ok(Filter(self.namespace.iter().cloned().collect()))
    }
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let inventory = args.source.read(&format!("matrix{}", args.filter.written()))?;
    source::say_unknown_labels(&inventory, |_| true);
    source::say_labels_of_controllers(&inventory);
    let filter = args.filter.over(&[&inventory])?;
    // A cluster shows what workloads there are.
    if !args.source.manifests.is_empty() {
        source::say_without_workloads(&inventory, |namespace| filter.has_namespace(namespace));
    }
    let (matrix, naming) = (Matrix::new(&inventory), Naming::of(&[&inventory]));
    super::print(|out| match args.output {
        Output::Text => text::matrix(out, matrix.groups(), &filter, &naming),
        Output::Json => json::matrix(out, matrix.connections(), &filter),
        Output::Dot => dot::matrix(out, matrix.groups(), &filter, &naming),
    })?;
    Ok(ExitCode::SUCCESS)
}
