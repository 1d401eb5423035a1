//! `ringfence check`: judges manifests.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use ringfence_core::config::Config;
use ringfence_core::index::{Index, Namespace, State};
use ringfence_core::inventory::{Inventory, Resolver};
use ringfence_core::policy::lint::{self, Finding, Severity};
use ringfence_core::profile::Profile;
use ringfence_core::text::sanitised;
use serde_json::Value;

use super::cluster_args::ClusterArgs;
use super::{DiscoveredConfig, FAILED, claims};
use crate::inventory::Origins;
use crate::manifests::{self, Origin, Problem};
use crate::report::{
    Accepted, Baseline, By, Extent, Judged, Meanings, Placed, Report, Sources, github, json, junit, sarif, text,
};
use crate::{fix, inventory};

/// How many entries of a baseline that match nothing are named.
const UNUSED: usize = 20;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Files, directories, or - for standard input.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The namespace of objects that do not state one. Where it is given, it is known where they go, and
    /// namespace-omitted is not reported [default: default].
    #[arg(long, short, value_parser = super::namespace)]
    namespace: Option<String>,
    /// Judge every namespace by this profile, whatever its label says.
    #[arg(long)]
    profile: Option<String>,
    /// The form of the report.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Exit with 1 on a finding of at least this severity, besides on a namespace that is not isolated; never: on neither.
    #[arg(long, value_enum, default_value_t = FailOn::Error, value_name = "SEVERITY")]
    fail_on: FailOn,
    /// Accept what is in this file: it is counted, and does not fail.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Write everything that is found into this file, to be accepted from now on, and exit with 0.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["baseline", "output"])]
    write_baseline: Option<PathBuf>,
    /// Print a patch that mends what needs no decision, for `git apply` or `patch -p1`, in place of the report.
    #[arg(long, conflicts_with_all = ["output", "write_baseline"])]
    fix: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    config: DiscoveredConfig,
}

impl Args {
    fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or("default")
    }
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// Everything, for programs.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// XML as of `JUnit`, for CI systems.
    Junit,
    /// Annotations of a pull request on GitHub.
    Github,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FailOn {
    Info,
    Warning,
    Medium,
    High,
    Error,
    Never,
}

impl FailOn {
    fn severity(self) -> Option<Severity> {
        match self {
            Self::Info => Some(Severity::Info),
            Self::Warning => Some(Severity::Warning),
            Self::Medium => Some(Severity::Medium),
            Self::High => Some(Severity::High),
            Self::Error => Some(Severity::Error),
            Self::Never => None,
        }
    }
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let mut config = args.config.load()?;
    if let Some(cluster_cidrs) = args.cluster.cidrs() {
        config = config.with_cluster_cidrs(&cluster_cidrs);
    }
    if let Some(name) = &args.profile
        && config.profiles.get(name).is_none()
    {
        bail!("--profile {name:?}: no such profile; there are {}", config.profiles.names());
    }
    let baseline =
        args.baseline.as_deref().map(|file| Ok::<_, anyhow::Error>((file, read_baseline(file)?))).transpose()?;
    let (mut reading, mut origins) = (inventory::Reading::new(args.namespace()), Origins::default());
    let manifests::Reading { mut problems, skipped, sources } = manifests::each(&args.paths, |object| {
        reading.add(&object);
        origins.add(&object, args.namespace());
    });
    let (mut inventory, unreadable) = reading.finish();
    inventory.assumes_namespace = args.namespace.is_none();
    args.cluster.apply(&mut inventory.cluster);
    problems.extend(unreadable);
    let now = Timestamp::now();
    problems.extend(claims::refused(&mut inventory, (&origins, &sources), &config, now));
    let mut report = Report {
        namespaces: Vec::new(),
        findings: Vec::new(),
        accepted: Vec::new(),
        problems,
        fail_on: args.fail_on.severity(),
    };
    judge(&inventory, (&origins, &sources), args, (&config, now), &mut report);
    if let Some(file) = &args.write_baseline {
        write_baseline(file, &report)?;
    } else {
        if let Some((file, baseline)) = &baseline {
            accept(file, baseline, &mut report);
        }
        if args.fix {
            fix(&report, &sources, &inventory, args.namespace())?;
        } else {
            print(&report, &Sources::new(|file| sources.text(file)), args.output)?;
        }
    }
    // GitHub's runner reads both streams for commands, and a terminal shows both.
    if let Some(note) = manifests::skipped(&skipped) {
        eprintln!("ringfence: {}", sanitised(&note));
    }
    for problem in &report.problems {
        eprintln!("ringfence: {}", sanitised(&problem.to_string()));
    }
    // What could not be read could have been anything, so it counts more than what was judged.
    Ok(if !report.problems.is_empty() {
        ExitCode::from(FAILED)
    } else if report.passes() || args.write_baseline.is_some() || args.fix {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn read_baseline(file: &Path) -> Result<Baseline> {
    let text = std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
    Baseline::parse(&text).with_context(|| file.display().to_string())
}

fn write_baseline(file: &Path, report: &Report) -> Result<()> {
    if !report.problems.is_empty() {
        eprintln!("ringfence: no baseline is written, since something could not be read");
        return Ok(());
    }
    let baseline = Baseline::of(report);
    std::fs::write(file, baseline.to_yaml()?).with_context(|| format!("failed to write {}", file.display()))?;
    println!("{}: {} are accepted from now on", file.display(), baseline.count());
    Ok(())
}

fn accept(file: &Path, baseline: &Baseline, report: &mut Report) {
    let unused = baseline.apply(report);
    if unused.is_empty() {
        return;
    }
    eprintln!("ringfence: {}: {} entries match nothing any more; take them out:", file.display(), unused.len());
    for entry in unused.iter().take(UNUSED) {
        eprintln!("  {}", sanitised(entry));
    }
    if unused.len() > UNUSED {
        eprintln!("  and {} more; or write the file anew with --write-baseline", unused.len() - UNUSED);
    }
}

fn fix(report: &Report, sources: &manifests::Sources, inventory: &Inventory, namespace: &str) -> Result<()> {
    let refused = |object: &lint::Object| {
        if object.kind != "NetworkPolicy" {
            return None;
        }
        if inventory.unread.contains_key(&object.namespace) {
            return Some("a policy of that namespace could not be read, and may do what is missing; mend it first");
        }
        let policies = inventory.namespaces.get(&object.namespace).map(|namespace| namespace.policies.as_slice());
        let is_there = policies.into_iter().flatten().any(|known| known.policy.name == object.name);
        is_there.then_some("an object of that name is there already; the report says what to write")
    };
    // A patch fits a file as it is, with the mark in front of it. One with a byte of zero is no text.
    let as_it_is = |file: &str| {
        let text = sources.text(file).filter(|text| !text.contains('\0'))?;
        let bytes = std::fs::read(file).ok()?;
        if bytes == text.as_bytes() {
            return Some(text);
        }
        let marked = format!("{}{text}", fix::MARK);
        (bytes == marked.as_bytes()).then(|| Arc::from(marked))
    };
    let sources = Sources::new(as_it_is);
    let fixes = fix::fixes(&report.findings, &sources, namespace, inventory.assumes_namespace, refused);
    super::print(|out| out.write_all(fixes.diff.as_bytes()))?;
    for line in &fixes.left_out {
        eprintln!("ringfence: left out: {}", sanitised(line));
    }
    let usual = Resolver::usual().peers();
    let to_usual = |object: &Value| object.pointer("/spec/egress/0/to") == Some(&usual);
    if inventory.cluster.dns.is_empty() && fixes.added.iter().any(to_usual) {
        eprintln!(
            "ringfence: what allows DNS leads to kube-dns in kube-system, as in most clusters; where this one resolves \
             elsewhere, give --cluster-dns"
        );
    }
    let (mended, of) = (fixes.mended, report.findings.len());
    eprintln!("ringfence: the patch mends {mended} of {of} findings; {} need a decision of yours", fixes.without);
    Ok(())
}

fn print(report: &Report, sources: &Sources<'_>, output: Output) -> Result<()> {
    // Colours are for a terminal that wants them (NO_COLOR, CLICOLOR, TERM=dumb).
    let mut out = anstream::AutoStream::auto(io::stdout().lock());
    let styled = out.current_choice() != anstream::ColorChoice::Never;
    let result = match output {
        Output::Text => write!(out, "{}", text::render(report, sources, styled)),
        Output::Json => writeln!(out, "{}", json::render(report)?),
        Output::Sarif => writeln!(out, "{}", sarif::render(report)?),
        Output::Junit => write!(out, "{}", junit::render(report)?),
        Output::Github => write!(out, "{}", github::render(report)),
    };
    match result.and_then(|()| out.flush()) {
        // Whoever reads has seen enough (`| head`); the exit code still says how it ends.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

fn judge(
    inventory: &Inventory,
    (origins, sources): (&Origins, &manifests::Sources),
    args: &Args,
    (config, now): (&Config, Timestamp),
    report: &mut Report,
) {
    let mut index = Index::default();
    inventory.fill(&mut index);
    let mut judged = lint::Judged::new();
    for (name, origin) in &origins.namespaces {
        let Some(namespace) = index.get(name) else { continue };
        let Some(profile) = profile(&namespace, (origin, sources), args, config, &mut report.problems) else {
            continue;
        };
        let state = namespace.state(config, profile, now);
        if !matches!(state, State::Exempt | State::Excluded) {
            judged.insert(name.as_str(), (namespace.clone(), profile));
        }
        let verdict = namespace.verdict(profile.criteria());
        report.namespaces.push(Judged {
            name: name.to_owned(),
            state,
            profile: profile.name().to_owned(),
            extent: Extent::of(inventory, name, &verdict),
            verdict: verdict.into_owned(),
            host_network: inventory
                .namespaces
                .get(name)
                .iter()
                .flat_map(|namespace| &namespace.workloads)
                .filter(|workload| workload.host_network)
                .map(|workload| workload.name.clone())
                .collect(),
            missing: if state == State::Pending && namespace.is_effective(profile, now) {
                namespace.missing_of(profile).map(str::to_owned).collect()
            } else {
                Vec::new()
            },
            accepted: false,
        });
    }
    let (findings, switched_off) = lint::everything(inventory, &judged, &config.lints);
    let mut meanings = Meanings::new(inventory);
    let mut placed = |findings: Vec<Finding>| -> Vec<Placed> {
        let places = origins.locate(sources, &findings);
        let place = |(finding, (file, at))| Placed { meaning: meanings.of(&finding), finding, file, at };
        findings.into_iter().zip(places).map(place).collect()
    };
    report.findings.extend(placed(findings));
    let (switched_off, reasons): (Vec<Finding>, Vec<String>) = switched_off.into_iter().unzip();
    let accepted = placed(switched_off).into_iter().zip(reasons);
    report.accepted.extend(accepted.map(|(placed, reason)| Accepted { placed, by: By::Annotation(reason) }));
    // As the files are read: by file, and in it from the top.
    report.findings.sort_by(|a, b| {
        let key = |placed: &Placed| (placed.at, std::cmp::Reverse(placed.finding.severity), placed.finding.lint.id);
        a.file.cmp(&b.file).then_with(|| key(a).cmp(&key(b)))
    });
}

/// The profile that a namespace is judged by. A label that names none would be refused at admission.
fn profile<'c>(
    namespace: &Namespace,
    (origin, sources): (&Origin, &manifests::Sources),
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
            file: origin.file().to_owned(),
            at: sources.locate([(origin, path.as_str())]).first().copied(),
            message: format!("{path}: {label:?}: no such profile; choose one of {}", config.profiles.names()),
        });
    }
    namespace.profile(config)
}
