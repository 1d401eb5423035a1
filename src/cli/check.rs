//! `ringfence check`: judges manifests.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use jiff::Timestamp;
use ringfence_core::config::Config;
use ringfence_core::index::{Index, Namespace, State};
use ringfence_core::policy::{Direction, explain};
use ringfence_core::profile::Profile;

use super::{ConfigArg, FAILED};
use crate::cluster;
use crate::manifests::{self, Object, Problem};
use crate::report::{Finding, Judged, Report, json, text};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Files, directories, or - for standard input.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The namespace of objects that do not state one.
    #[arg(long, short, default_value = "default")]
    namespace: String,
    /// Judge every namespace by this profile, whatever its label says.
    #[arg(long)]
    profile: Option<String>,
    /// The form of the report.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    config: ConfigArg,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Output {
    Text,
    Json,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let config = args.config.load()?;
    if let Some(name) = &args.profile
        && config.profiles.get(name).is_none()
    {
        bail!("--profile {name:?}: no such profile; there are {}", config.profiles.names());
    }
    let manifests::Loaded { objects, mut problems } = manifests::load(&args.paths);
    let mut index = Index::default();
    problems.extend(cluster::fill(&mut index, &objects, &args.namespace));
    let report = judge(&index, &objects, args, &config, &mut problems);
    match args.output {
        Output::Text => print!("{}", text::render(&report)),
        Output::Json => println!("{}", json::render(&report)?),
    }
    for problem in &problems {
        eprintln!("ringfence: {problem}");
    }
    // What could not be read could have been anything, so it counts more than what was judged.
    Ok(if !problems.is_empty() {
        ExitCode::from(FAILED)
    } else if report.passes() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn judge(index: &Index, objects: &[Object], args: &Args, config: &Config, problems: &mut Vec<Problem>) -> Report {
    let now = Timestamp::now();
    // The object that made a namespace appear: the Namespace itself where it is there.
    let mut origins: BTreeMap<&str, &Object> = BTreeMap::new();
    for object in objects {
        if let Some(name) = object.namespace(&args.namespace) {
            let place = origins.entry(name).or_insert(object);
            if object.is("v1", "Namespace") {
                *place = object;
            }
        }
    }
    let mut report = Report { namespaces: Vec::new(), findings: Vec::new() };
    for (name, origin) in origins {
        let Some(namespace) = index.get(name) else { continue };
        let Some(profile) = profile(&namespace, origin, args, config, problems) else { continue };
        let state = namespace.state(config, profile, now);
        if !matches!(state, State::Exempt | State::Excluded) {
            report.findings.extend(incomplete(&namespace, profile, origin));
        }
        report.namespaces.push(Judged {
            name: name.to_owned(),
            state,
            profile: profile.name().to_owned(),
            verdict: namespace.verdict().clone(),
            host_network: namespace
                .pods
                .iter()
                .filter(|(_, pod)| pod.host_network && pod.running)
                .map(|(name, _)| name.clone())
                .collect(),
        });
    }
    report
}

/// The profile that a namespace is judged by. A label that names none would be refused at admission.
fn profile<'c>(
    namespace: &Namespace,
    origin: &Object,
    args: &Args,
    config: &'c Config,
    problems: &mut Vec<Problem>,
) -> Option<&'c Profile> {
    if let Some(name) = &args.profile {
        return config.profiles.get(name);
    }
    if let Some(label) = &namespace.isolation.profile
        && config.profiles.get(label).is_none()
    {
        let path = format!("metadata.labels.{}", ringfence_core::vocabulary::PROFILE);
        problems.push(Problem {
            file: origin.file.to_string(),
            at: Some(origin.position_of(&path)),
            message: format!("{path}: {label:?}: no such profile; choose one of {}", config.profiles.names()),
        });
    }
    namespace.profile(config)
}

fn incomplete(namespace: &Namespace, profile: &Profile, origin: &Object) -> Vec<Finding> {
    Direction::BOTH
        .into_iter()
        .filter_map(|direction| {
            let gap = explain::gap(direction, &namespace.verdict().side(direction).coverage)?;
            let kind = match direction {
                Direction::Ingress => "Ingress",
                Direction::Egress => "Egress",
            };
            Some(Finding {
                id: "baseline-incomplete",
                severity: "error",
                kind: "Namespace".to_owned(),
                namespace: namespace.name().to_owned(),
                name: namespace.name().to_owned(),
                path: String::new(),
                message: format!("{}: {gap}", namespace.name()),
                fix: format!(
                    "add a NetworkPolicy with podSelector: {{}} and policyTypes: [{kind}], or all of the baseline: ringfence \
                     render --profile {} --namespace {}",
                    profile.name(),
                    namespace.name()
                ),
                file: origin.file.to_string(),
                at: origin.node.at,
            })
        })
        .collect()
}
