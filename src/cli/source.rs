//! Where a command that asks who can reach whom has namespaces, policies and workloads from.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::Client;
use ringfence_core::inventory::{Inventory, Workload, workload};
use ringfence_core::policy::selectors::{NAMESPACE_NAME_LABEL, Selector};
use ringfence_core::policy::{Peer, Spec};
use ringfence_core::text::sanitised;

use super::KubeArgs;
use crate::inventory;
use crate::inventory::live::{self, Read, Scope};
use crate::manifests::{Input, Object, Problem, quoted};

/// How long the API server may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// The namespace of objects that do not state one, where nothing else is said.
const DEFAULT_NAMESPACE: &str = "default";

/// Manifests, or a cluster.
#[derive(clap::Args)]
pub(super) struct SourceArgs {
    /// Look at these manifests and not at a cluster: files, directories, or - for standard input.
    #[arg(long, value_name = "PATH", num_args = 1.., conflicts_with_all = ["kubeconfig", "context"])]
    pub(super) manifests: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) defaults: Defaults,
    #[command(flatten)]
    pub(super) kube: KubeArgs,
}

/// What manifests leave out.
#[derive(clap::Args)]
pub(super) struct Defaults {
    /// The namespace of manifests that do not state one.
    #[arg(long, value_name = "NAMESPACE", default_value = DEFAULT_NAMESPACE, value_parser = super::namespace)]
    default_namespace: String,
}

impl Defaults {
    /// As it is written on the command line, after a space.
    pub(super) fn written(&self) -> String {
        match self.default_namespace.as_str() {
            DEFAULT_NAMESPACE => String::new(),
            name => format!(" --default-namespace {}", quoted(name)),
        }
    }

    /// Reads manifests, what a workload has made besides the workload.
    ///
    /// # Errors
    /// Where anything can't be read: it could have been the policy that decides.
    pub(super) fn read(&self, paths: &[PathBuf], input: &mut Input) -> Result<Inventory> {
        let loaded = input.load(paths);
        let (inventory, unreadable) = inventory::unfolded(&loaded.objects, &self.default_namespace);
        let twice = self.twice(&loaded.objects);
        let problems: Vec<String> = [&loaded.problems, &unreadable, &twice]
            .into_iter()
            .flatten()
            .map(|problem| sanitised(&problem.to_string()))
            .collect();
        if !problems.is_empty() {
            bail!("the manifests have errors:\n{}", problems.join("\n"));
        }
        Ok(inventory)
    }

    /// The workloads that are there twice: which of the two is meant can't be known.
    fn twice(&self, objects: &[Object]) -> Vec<Problem> {
        let mut known = BTreeSet::new();
        let workloads = objects.iter().filter(|object| workload::is_workload(&object.api_version, &object.kind));
        // One whose name is still to be made is another one each time.
        let again = workloads.filter(|object| !object.name().is_empty()).filter(|object| {
            !known.insert((object.namespace(&self.default_namespace), object.kind.as_str(), object.name()))
        });
        again
            .map(|object| Problem {
                file: object.file.to_string(),
                at: Some(object.position_of("metadata.name")),
                message: format!(
                    "metadata.name: a second {} {:?} in namespace {:?}: only one of them could be stored; rename it",
                    object.kind,
                    object.name(),
                    object.namespace(&self.default_namespace).unwrap_or_default()
                ),
            })
            .collect()
    }
}

impl SourceArgs {
    /// All there is, one entry for each family of workloads. `command` is what is run, without the source.
    pub(super) fn read(&self, command: &str) -> Result<Inventory> {
        let mut inventory =
            if self.manifests.is_empty() { cluster(&self.kube)? } else { self.read_manifests(command)? };
        inventory::fold(&mut [&mut inventory]);
        Ok(inventory)
    }

    /// What the manifests hold, what a workload has made besides the workload.
    pub(super) fn read_manifests(&self, command: &str) -> Result<Inventory> {
        let command = format!("ringfence {command}{} --manifests -", self.defaults.written());
        self.defaults.read(&self.manifests, &mut Input::piped(command))
    }
}

/// A client that does not wait for ever.
pub(super) async fn client(kube: &KubeArgs) -> Result<Client> {
    let mut config = kube.load().await?;
    config.connect_timeout = Some(PATIENCE);
    config.read_timeout = Some(PATIENCE);
    Client::try_from(config).context("failed to make a client for the API server")
}

/// All of a cluster, what a workload has made besides the workload.
///
/// # Errors
/// Where pods can't be listed: those that nothing made would be left out. A kind of which that can't happen, since its
/// pods are there, is said to be missing.
pub(super) fn cluster(kube: &KubeArgs) -> Result<Inventory> {
    let Read { inventory, unlisted, remarks } = super::serve::runtime()?
        .block_on(async { anyhow::Ok(live::read(&client(kube).await?, Scope::Cluster).await?) })?;
    if let Some(said) = unlisted.get("Pod") {
        bail!("the pods of the cluster can't be listed, and those that no workload made would be left out: {said}");
    }
    for (kind, said) in &unlisted {
        say(&format!(
            "no {kind} can be listed: its pods stand for themselves, and one without pods is left out: {said}"
        ));
    }
    say_all(&remarks);
    Ok(inventory)
}

/// Says which of the namespaces that count are not among the manifests, where a policy goes by labels of namespaces.
pub(super) fn say_unknown_labels(inventory: &Inventory, counts: impl Fn(&str) -> bool) {
    let unstated = inventory.namespaces.iter().filter(|(name, namespace)| !namespace.stated && counts(name));
    let names: Vec<String> = unstated.map(|(name, _)| format!("{name:?}")).collect();
    let policies = inventory.namespaces.values().flat_map(|namespace| &namespace.policies);
    let mut keys = policies.map(|written| &written.policy.spec).flat_map(namespace_keys);
    let (Some(key), Some(first)) = (keys.find(|key| *key != NAMESPACE_NAME_LABEL), names.first()) else { return };
    let others = match names.len() - 1 {
        0 => "is".to_owned(),
        more => format!("and {more} more are"),
    };
    say(&format!(
        "policies go by the label {key:?} of namespaces, and the Namespace {first} {others} not among the manifests: \
         without it, none of its labels is known but its name"
    ));
}

/// Says where policies go by a label that only pods have, since a controller sets it, and not the workloads that make them.
pub(super) fn say_labels_of_controllers(inventory: &Inventory) {
    let policies = inventory.namespaces.values().flat_map(|namespace| &namespace.policies);
    let mut keys = policies.flat_map(|written| pod_keys(&written.policy.spec));
    let is_unknown = |key: &str| {
        let kinds = workload::kinds_that_set(key);
        let lacks = |workload: &Workload| kinds.contains(&workload.kind.as_str()) && !workload.labels.contains_key(key);
        !kinds.is_empty() && inventory.namespaces.values().flat_map(|namespace| &namespace.workloads).any(lacks)
    };
    if let Some(key) = keys.find(|key| is_unknown(key)) {
        say(&format!(
            "policies go by the label {key:?} of pods, which a controller sets: what makes pods does not have it, and counts \
             as without"
        ));
    }
}

/// The labels by which a policy chooses pods.
fn pod_keys(spec: &Spec) -> impl Iterator<Item = &str> {
    let of_peers = selectors(spec).filter_map(|(_, pods)| pods);
    std::iter::once(&spec.pods).chain(of_peers).flat_map(|selector| selector.keys().map(|(key, _)| key))
}

/// The labels by which a policy chooses namespaces.
fn namespace_keys(spec: &Spec) -> impl Iterator<Item = &str> {
    selectors(spec).filter_map(|(namespaces, _)| namespaces).flat_map(|selector| selector.keys().map(|(key, _)| key))
}

/// Of each peer that is pods: the selectors of namespaces and of pods, where there are any.
fn selectors(spec: &Spec) -> impl Iterator<Item = (Option<&Selector>, Option<&Selector>)> {
    let rules = spec.ingress.iter().chain(&spec.egress).flatten();
    rules.flat_map(|rule| rule.peers.iter().flatten()).filter_map(|peer| match peer {
        Peer::Pods { namespaces, pods } => Some((namespaces.as_ref(), pods.as_ref())),
        Peer::Block { .. } => None,
    })
}

/// How many namespaces are named, and how many policies of each.
const NAMED: usize = 6;

/// Namespaces with policies in them, in words; `None` where there are none.
pub(super) fn places(places: &[(&str, Vec<&str>)]) -> Option<String> {
    fn listed(mut texts: Vec<String>) -> String {
        let more = texts.len().saturating_sub(NAMED);
        texts.truncate(NAMED);
        let and_more = if more == 0 { String::new() } else { format!(" and {more} more") };
        texts.join(", ") + &and_more
    }
    let place = |(namespace, policies): &(&str, Vec<&str>)| {
        let policies = policies.iter().map(|policy| format!("{policy:?}")).collect();
        format!("{namespace:?} ({})", listed(policies))
    };
    let word = if places.len() == 1 { "namespace" } else { "namespaces" };
    (!places.is_empty()).then(|| format!("{word} {}", listed(places.iter().map(place).collect())))
}

/// Says where manifests have policies and no workload, so that nothing shows what these policies let through.
pub(super) fn say_without_workloads(inventory: &Inventory, counts: impl Fn(&str) -> bool) {
    let counted = inventory.namespaces.iter().filter(|(name, _)| counts(name));
    let bare = counted.filter(|(_, namespace)| namespace.workloads.is_empty() && !namespace.policies.is_empty());
    let named: Vec<(&str, Vec<&str>)> = bare
        .map(|(name, namespace)| {
            (name.as_str(), namespace.policies.iter().map(|written| written.policy.name.as_str()).collect())
        })
        .collect();
    if let Some(places) = places(&named) {
        say(&format!(
            "NetworkPolicies stand in {places}, and the manifests have no workload there: what they let through is not \
             shown, since connections are between workloads; give the workloads' manifests too"
        ));
    }
}

/// Says something besides the answer.
pub(super) fn say(remark: &str) {
    eprintln!("ringfence: {}", sanitised(remark));
}

pub(super) fn say_all(remarks: &[String]) {
    for remark in remarks {
        say(remark);
    }
}
