//! What a team has accepted: a file that is written once, reviewed as any other, and shrinks from there.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use ringfence_core::index::State;
use ringfence_core::policy::Direction;
use ringfence_core::policy::coverage::Coverage;
use ringfence_core::policy::holes::Kind;
use serde::{Deserialize, Serialize};

use super::{Accepted, By, Identity, Judged, Report};

const VERSION: u32 = 1;

const HEAD: &str = "\
# What `ringfence check --baseline` accepts: whatever is not in here still fails. Written by --write-baseline; delete what
# is mended. Of findings with the same text as many are accepted as there are entries.
";

/// The file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    version: u32,
    #[serde(default)]
    namespaces: Vec<NotIsolated>,
    #[serde(default)]
    findings: Vec<Identity>,
}

/// A namespace that is not isolated.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NotIsolated {
    name: String,
    /// For people: what counts is `open`.
    state: String,
    /// What is open, such as `egress absent` and `ingress ALL*`. Less is accepted as well, more is not.
    #[serde(default)]
    open: BTreeSet<String>,
}

impl Baseline {
    /// Everything that a report finds.
    #[must_use]
    pub fn of(report: &Report) -> Self {
        let not_passing = report.namespaces.iter().filter(|judged| !judged.state.passes());
        let mut namespaces: Vec<NotIsolated> = not_passing
            .map(|judged| NotIsolated {
                name: judged.name.clone(),
                state: judged.state.as_str().to_owned(),
                open: open(judged).iter().map(ToString::to_string).collect(),
            })
            .collect();
        let mut findings: Vec<Identity> = report.findings.iter().map(|placed| Identity::of(&placed.finding)).collect();
        namespaces.sort();
        findings.sort();
        Self { version: VERSION, namespaces, findings }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// Where it is no baseline, with the line.
    pub fn parse(text: &str) -> Result<Self> {
        let baseline: Self = serde_saphyr::from_str(text).context("this is no baseline of ringfence check")?;
        if baseline.version != VERSION {
            bail!("version {}: this ringfence reads version {VERSION}", baseline.version);
        }
        Ok(baseline)
    }

    /// The file's text: sorted, an entry per line of a review.
    ///
    /// # Errors
    /// Where it can't be written as YAML, which none is known to bring about.
    pub fn to_yaml(&self) -> Result<String> {
        let yaml = serde_saphyr::to_string(self).context("failed to write YAML")?;
        Ok(format!("{HEAD}{yaml}"))
    }

    /// What is in it, in words.
    #[must_use]
    pub fn count(&self) -> String {
        format!("{} findings and {} namespaces", self.findings.len(), self.namespaces.len())
    }

    /// Takes out of a report what is accepted. What it does not need any more is given back, in words.
    #[must_use]
    pub fn apply(&self, report: &mut Report) -> Vec<String> {
        let mut left: BTreeMap<&Identity, usize> = BTreeMap::new();
        for entry in &self.findings {
            *left.entry(entry).or_default() += 1;
        }
        for placed in std::mem::take(&mut report.findings) {
            match left.get_mut(&Identity::of(&placed.finding)) {
                Some(count) if *count > 0 => {
                    *count -= 1;
                    report.accepted.push(Accepted { placed, by: By::Baseline });
                }
                _ => report.findings.push(placed),
            }
        }
        let namespaces: BTreeMap<&str, &NotIsolated> =
            self.namespaces.iter().map(|entry| (entry.name.as_str(), entry)).collect();
        let mut used: BTreeSet<&str> = BTreeSet::new();
        for judged in report.namespaces.iter_mut().filter(|judged| !judged.state.passes()) {
            let Some((name, entry)) = namespaces.get_key_value(judged.name.as_str()) else { continue };
            used.insert(name);
            judged.accepted = open(judged).iter().all(|gap| gap.is_within(&entry.open));
        }
        let unused = namespaces.keys().filter(|name| !used.contains(*name));
        let of_namespaces = unused.map(|name| format!("namespace {name}"));
        let of_findings = left.iter().filter(|(_, count)| **count > 0).map(|(entry, count)| {
            let times = if *count > 1 { format!(" ({count} times)") } else { String::new() };
            format!("{} of {} {:?}: {}{times}", entry.id, entry.kind, entry.name, entry.message)
        });
        of_namespaces.chain(of_findings).collect()
    }
}

/// Something that is open in a direction: `absent`, `partial`, or the class of a hole.
struct Gap {
    direction: Direction,
    what: String,
}

impl std::fmt::Display for Gap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.direction, self.what)
    }
}

impl Gap {
    /// Whether it is accepted, as itself or as a part of something greater.
    fn is_within(&self, accepted: &BTreeSet<String>) -> bool {
        let has = |what: &str| accepted.contains(&format!("{} {what}", self.direction));
        // Nothing is isolated in that direction: everything else would be less. And a star is less than none.
        has("absent") || has(&self.what) || has(self.what.trim_end_matches('*')) || self.what != "absent" && has("ALL")
    }
}

/// What is open in a namespace that does not pass.
fn open(judged: &Judged) -> Vec<Gap> {
    let mut gaps = Vec::new();
    for direction in Direction::BOTH {
        let side = judged.verdict.side(direction);
        let coverage = match side.coverage {
            Coverage::Complete => None,
            Coverage::Partial(_) => Some("partial".to_owned()),
            Coverage::Absent => Some("absent".to_owned()),
        };
        // Open ports alone make no namespace weakened: where they count, it is by the profile, and the state says so.
        let holes = side.holes.iter().filter(|hole| hole.kind != Kind::Ports || judged.state != State::Weakened);
        let holes = holes.map(|hole| hole.class().to_string());
        gaps.extend(coverage.into_iter().chain(holes).map(|what| Gap { direction, what }));
    }
    gaps
}
