//! `ringfence diff`: which connections appear and disappear.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use ringfence_core::inventory::Inventory;
use ringfence_core::policy::reach::{Diff, Matrix};
use ringfence_core::policy::{Direction, NetworkPolicy};

use super::KubeArgs;
use super::matrix::FilterArgs;
use super::source::{self, Defaults};
use crate::inventory;
use crate::manifests::Input;
use crate::report;
use crate::report::reach::{Filter, Naming, json, text};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The manifests before, and those after: a file or directory each, or for one of them - for standard input. With
    /// --cluster, the manifests to be applied alone.
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

impl Args {
    /// What is the same whatever is compared, as it is written on the command line.
    fn written(&self) -> String {
        self.defaults.written() + &self.filter.written()
    }

    /// What is there before, and afterwards.
    fn sides(&self, before: &PathBuf, after: &PathBuf) -> Result<(Inventory, Inventory)> {
        let is_stdin = |path: &PathBuf| path.as_os_str() == "-";
        let uses = [is_stdin(before), is_stdin(after), self.with.iter().any(is_stdin)];
        if uses.into_iter().filter(|used| *used).count() > 1 {
            bail!(
                "- is given for more than one of BEFORE, AFTER and --with, and standard input can be read but once: write \
                 what is in one of them into a file"
            );
        }
        let with = if self.with.is_empty() { "" } else { " --with with.yaml" };
        let mut input = Input::files(format!("ringfence diff before.yaml after.yaml{with}{}", self.written()));
        let mut read = |set| self.defaults.read(&[std::slice::from_ref(set), &self.with].concat(), &mut input);
        Ok((read(before)?, read(after)?))
    }
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    if !args.cluster && args.kube.is_given() {
        bail!("--kubeconfig and --context say which cluster, and there is none without --cluster");
    }
    let (mut before, mut after) = match (args.sets.as_slice(), args.cluster) {
        ([applied], true) => {
            let prune = if args.prune { " --prune" } else { "" };
            let mut input =
                Input::piped(format!("ringfence diff --cluster -{prune}{}{}", args.kube.written(), args.written()));
            let applied = args.defaults.read(std::slice::from_ref(applied), &mut input)?;
            let before = source::cluster(&args.kube)?;
            let mut after = before.clone();
            inventory::apply(&mut after, &applied, args.prune);
            (before, after)
        }
        ([before, after], false) => args.sides(before, after)?,
        ([_], false) => bail!("one set of manifests has nothing to be compared with; give a second one, or --cluster"),
        _ => bail!("--cluster takes one set of manifests: those to be applied"),
    };
    inventory::fold(&mut [&mut before, &mut after]);
    for set in [&before, &after] {
        source::say_unknown_labels(set, |_| true);
        source::say_labels_of_controllers(set);
    }
    let filter = args.filter.over(&[&before, &after])?;
    let (seen, unseen): (Vec<_>, Vec<_>) =
        changed(&before, &after, &filter).into_iter().partition(|changed| changed.has_workloads);
    let (narrower, other): (Vec<_>, Vec<_>) = unseen.into_iter().partition(|changed| changed.is_narrower);
    if let Some(places) = places(&narrower) {
        source::say(&format!(
            "NetworkPolicies are added in {places}, and neither side has a workload there: they let nothing new through, and \
             what they deny is not listed"
        ));
    }
    if let Some(places) = places(&other) {
        // A cluster shows what workloads there are, and a directory of policies may be without any.
        if args.cluster {
            source::say(&format!(
                "NetworkPolicies change in {places}, and the cluster has no workload there: no connection changes by that yet"
            ));
        } else {
            bail!(
                "NetworkPolicies differ in {places}, and neither side has a workload there: nothing could be compared, since \
                 connections are between workloads\n\
                 give the workloads' manifests too, with --with PATH or beside the policies; or compare with the cluster: \
                 ringfence diff --cluster PATH"
            );
        }
    }
    let (old, new) = (Matrix::new(&before), Matrix::new(&after));
    let (diff, naming) = (Diff::new(&old, &new), Naming::of(&[&before, &after]));
    if let Some(places) = places(&seen).filter(|_| diff.groups().next().is_none()) {
        source::say(&format!(
            "NetworkPolicies differ in {places}, and no connection of the workloads that are given changes by that; what \
             other pods and namespaces could reach is not listed"
        ));
    }
    // Before anything is written: whoever reads it may close the pipe, and the exit code counts all the same.
    let exposure = diff.groups().any(|group| group.exposure && !filter.changed(&group).is_empty());
    super::print(|out| match args.output {
        Output::Text => text::diff(out, &diff, &filter, &naming),
        Output::Json => json::diff(out, &diff, &filter, exposure),
    })?;
    Ok(if exposure { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A namespace with policies that do not mean the same on both sides.
struct Changed<'a> {
    namespace: &'a str,
    /// Whether it has a workload on either side.
    has_workloads: bool,
    /// The names of these policies.
    policies: Vec<&'a str>,
    /// Whether they let nothing through that was not let through before, whatever pods there are.
    is_narrower: bool,
}

fn places(all: &[Changed<'_>]) -> Option<String> {
    source::places(&all.iter().map(|changed| (changed.namespace, changed.policies.clone())).collect::<Vec<_>>())
}

fn changed<'a>(before: &'a Inventory, after: &'a Inventory, filter: &Filter) -> Vec<Changed<'a>> {
    let names: BTreeSet<&String> = before.namespaces.keys().chain(after.namespaces.keys()).collect();
    let wanted = names.into_iter().filter(|name| filter.has_namespace(name));
    let all = wanted.filter_map(|name| {
        let sides = [before, after].map(|side| side.namespaces.get(name));
        let has_workloads = sides.iter().flatten().any(|namespace| !namespace.workloads.is_empty());
        let [old, new] = sides.map(|side| -> BTreeMap<String, &NetworkPolicy> {
            let policies = side.into_iter().flat_map(|namespace| &namespace.policies);
            policies.map(|written| (report::said(&written.policy), &written.policy)).collect()
        });
        let only = |these: &BTreeMap<String, &'a NetworkPolicy>, others: &BTreeMap<String, &'a NetworkPolicy>| {
            let only = these.iter().filter(|(said, _)| !others.contains_key(*said));
            only.map(|(_, policy)| *policy).collect::<Vec<_>>()
        };
        let (gone, come) = (only(&old, &new), only(&new, &old));
        let changed: BTreeSet<&str> = gone.iter().chain(&come).map(|policy| policy.name.as_str()).collect();
        let allows = |policy: &&NetworkPolicy| {
            Direction::BOTH.iter().any(|direction| policy.spec.rules(*direction).is_some_and(|rules| !rules.is_empty()))
        };
        // Where nothing was denied a policy can only deny, and one without rules can nowhere do else.
        let is_narrower = gone.is_empty() && (old.is_empty() || !come.iter().any(allows));
        let policies: Vec<&str> = changed.into_iter().collect();
        (!policies.is_empty()).then_some(Changed { namespace: name, has_workloads, policies, is_narrower })
    });
    all.collect()
}
