//! `ringfence diff`: which connections appear and disappear.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use ringfence_core::policy::reach::{Diff, Matrix};

use super::KubeArgs;
use super::matrix::FilterArgs;
use super::source::{self, Defaults};
use crate::inventory;
use crate::report::reach::{Naming, json, text};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The manifests before, and those after: a file, a directory, or - for standard input each. With --cluster, the
    /// manifests to be applied alone.
    #[arg(required = true, num_args = 1..=2, value_names = ["BEFORE", "AFTER"])]
    sets: Vec<PathBuf>,
    /// Manifests that are there before and after, such as workloads that do not change.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    with: Vec<PathBuf>,
    /// Compare a cluster as it is with the same cluster once the manifests are applied.
    #[arg(long, conflicts_with = "with")]
    cluster: bool,
    /// Take the manifests for all that their namespaces will hold: other policies and workloads there are gone.
    #[arg(long, requires = "cluster")]
    prune: bool,
    #[command(flatten)]
    defaults: Defaults,
    #[command(flatten)]
    kube: KubeArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// The form: text puts together what can't be told apart, json lists every connection.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Output {
    Text,
    Json,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    if !args.cluster && args.kube.is_given() {
        bail!("--kubeconfig and --context say which cluster, and there is none without --cluster");
    }
    let (mut before, mut after) = match (args.sets.as_slice(), args.cluster) {
        ([applied], true) => {
            let applied = args.defaults.read(std::slice::from_ref(applied))?;
            let before = source::cluster(&args.kube)?;
            let mut after = before.clone();
            inventory::apply(&mut after, &applied, args.prune);
            (before, after)
        }
        ([before, after], false) => {
            let read = |set: &PathBuf| args.defaults.read(&[std::slice::from_ref(set), &args.with].concat());
            (read(before)?, read(after)?)
        }
        ([_], false) => bail!("one set of manifests has nothing to be compared with; give a second one, or --cluster"),
        _ => bail!("--cluster takes one set of manifests: those to be applied"),
    };
    inventory::fold(&mut [&mut before, &mut after]);
    for set in [&before, &after] {
        source::say_unknown_labels(set, |_| true);
        source::say_labels_of_controllers(set);
    }
    let filter = args.filter.over(&[&before, &after])?;
    let (old, new) = (Matrix::new(&before), Matrix::new(&after));
    let (diff, naming) = (Diff::new(&old, &new), Naming::of(&[&before, &after]));
    // Before anything is written: whoever reads it may close the pipe, and the exit code counts all the same.
    let exposure = diff.groups().any(|group| group.exposure && !filter.changed(&group).is_empty());
    super::print(|out| match args.output {
        Output::Text => text::diff(out, &diff, &filter, &naming),
        Output::Json => json::diff(out, &diff, &filter, exposure),
    })?;
    Ok(if exposure { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
