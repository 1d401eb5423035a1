//! `ringfence adopt`: gives namespaces that were there before Ringfence their isolation labels, and `--undo` takes them
//! away again. It writes what kubectl could write, as the user who runs it, and Ringfence's webhooks judge it.

mod cut;
mod undo;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Namespace as ApiNamespace;
use kube::api::{Api, ListParams, PartialObjectMeta, Patch, PatchParams};
use kube::{Client, ResourceExt};
use ringfence_core::config::Config;
use ringfence_core::vocabulary::{MODE, Mode, PROFILE};
use serde_json::json;

use super::{ConfigArg, KubeArgs};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    kube: KubeArgs,
    /// The namespaces.
    #[arg(value_name = "NAMESPACE", required_unless_present = "all")]
    namespaces: Vec<String>,
    /// Every namespace that has no isolation labels yet; with --undo, every one that has.
    #[arg(long, conflicts_with = "namespaces")]
    all: bool,
    /// The mode: enforce, warn or audit.
    #[arg(long, default_value = "enforce", value_parser = mode)]
    mode: Mode,
    /// The profile; without it the configuration's default.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Say what would be done and what the baseline would cut off, and have the API server judge it, but change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Give namespaces up: their labels and Ringfence's policies in them are removed, and everything may flow again.
    #[arg(long, conflicts_with_all = ["mode", "profile"])]
    undo: bool,
}

/// How long the API server may take for one answer.
const DEADLINE: Duration = Duration::from_secs(15);

fn mode(text: &str) -> Result<Mode, String> {
    match Mode::parse(text) {
        Some(Mode::Exempt) => Err("an exemption needs a reason and an end: adopt the namespace in mode warn, then \
                                   annotate it"
            .to_owned()),
        Some(mode) => Ok(mode),
        None => Err("choose enforce, warn or audit".to_owned()),
    }
}

/// What came of one namespace.
enum Outcome {
    /// What was to be done is done, or would be.
    Done(String),
    /// There is nothing to do.
    Nothing(String),
}

type Object = PartialObjectMeta<ApiNamespace>;

/// What every namespace is handled with.
struct Adoption<'a> {
    args: &'a Args,
    config: Config,
    client: Client,
    namespaces: Api<ApiNamespace>,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let config = args.config.load()?;
    if let Some(profile) = args.profile.as_deref().filter(|name| config.profiles.get(name).is_none()) {
        bail!("--profile {profile:?}: no such profile; choose one of {}", config.profiles.names());
    }
    super::serve::runtime()?.block_on(async {
        let mut kube = args.kube.load().await?;
        kube.read_timeout = Some(DEADLINE);
        let client = Client::try_from(kube).context("failed to make a client for the API server")?;
        let namespaces = Api::all(client.clone());
        Adoption { args, config, client, namespaces }.run().await
    })
}

impl Adoption<'_> {
    async fn run(&self) -> Result<ExitCode> {
        let chosen = self.chosen().await?;
        if chosen.is_empty() {
            println!("there is no namespace to {}", if self.args.undo { "give up" } else { "adopt" });
        }
        let mut refused = 0;
        for (name, object) in chosen {
            let object = match object {
                Ok(object) => object,
                Err(error) => {
                    refused += 1;
                    println!("{name}: refused: {error:#}");
                    continue;
                }
            };
            let outcome =
                if self.args.undo { self.undo(&name, &object).await } else { self.adopt(&name, &object).await };
            match outcome {
                Ok(Outcome::Done(what) | Outcome::Nothing(what)) => println!("{name}: {what}"),
                Err(error) => {
                    refused += 1;
                    println!("{name}: refused: {error:#}");
                }
            }
        }
        Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// The namespaces to work on, each with why it can't be where it can't.
    async fn chosen(&self) -> Result<Vec<(String, Result<Object>)>> {
        if !self.args.all {
            let mut chosen = Vec::new();
            for name in &self.args.namespaces {
                let object = self.namespaces.get_metadata_opt(name).await.map_err(told);
                let missing = || anyhow::anyhow!("there is no such namespace");
                chosen.push((name.clone(), object.and_then(|object| object.ok_or_else(missing))));
            }
            return Ok(chosen);
        }
        let all = self.namespaces.list_metadata(&ListParams::default()).await.map_err(told)?;
        let wanted = |object: &Object| {
            let adopted = object.labels().contains_key(MODE) || object.labels().contains_key(PROFILE);
            adopted == self.args.undo
                && object.metadata.deletion_timestamp.is_none()
                && !self.config.is_excluded(&object.name_any())
        };
        Ok(all.items.into_iter().filter(wanted).map(|object| (object.name_any(), Ok(object))).collect())
    }

    async fn adopt(&self, name: &str, object: &Object) -> Result<Outcome> {
        if self.config.is_excluded(name) {
            bail!("it is excluded: it is the system's, Ringfence's own, or in the configuration's list");
        }
        if let (Some(profile), Some(mode)) = (object.labels().get(PROFILE), object.labels().get(MODE)) {
            return Ok(Outcome::Nothing(format!("adopted already (profile {profile}, mode {mode})")));
        }
        let profile = self.args.profile.as_deref().unwrap_or(&self.config.default_profile);
        let mode = self.args.mode;
        if mode == Mode::Enforce {
            for line in cut::lines(&self.client, name).await? {
                println!("{name}: {line}");
            }
        }
        self.patch(object, json!({ "labels": { (PROFILE): profile, (MODE): mode } })).await?;
        let would = if self.args.dry_run { "would be " } else { "" };
        Ok(Outcome::Done(format!("{would}adopted (profile {profile}, mode {mode})")))
    }

    /// Writes metadata of the very namespace that was read.
    async fn patch(&self, object: &Object, mut metadata: serde_json::Value) -> Result<Object> {
        metadata["uid"] = json!(object.metadata.uid);
        let patch = Patch::Merge(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata }));
        let params = PatchParams {
            dry_run: self.args.dry_run,
            field_manager: Some("ringfence-adopt".to_owned()),
            ..PatchParams::default()
        };
        self.namespaces.patch_metadata(&object.name_any(), &params, &patch).await.map_err(told)
    }
}

/// An error as the API server words it, without what the client puts around it.
fn told(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => anyhow::anyhow!("{}", status.message),
        other => other.into(),
    }
}
