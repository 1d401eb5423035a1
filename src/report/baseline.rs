//! What a team has accepted: a file that is written once, reviewed as any other, and shrinks from there.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use ringfence_core::index::State;
use ringfence_core::policy::Direction;
use ringfence_core::policy::coverage::Coverage;
use ringfence_core::policy::holes::{Hole, Kind};
use ringfence_core::policy::lint::FINDINGS;
use serde::{Deserialize, Serialize};

use super::{Accepted, By, Identity, Judged, Placed, Report};

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
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    capped: BTreeSet<Capped>,
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
    /// Digests of the selectors that isolate: where only some pods are, all of them must stay.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    isolating: BTreeSet<String>,
    /// Digests of the pods and ports that holes are for: where those are only some, there must be no others.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    opening: BTreeSet<String>,
}

/// An object of whose findings of one lint there may be more than are reported.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Capped {
    namespace: String,
    kind: String,
    name: String,
    id: String,
    /// A digest of everything that it says.
    whole: String,
}

impl Capped {
    fn of(placed: &Placed) -> Self {
        let object = &placed.finding.object;
        Self {
            namespace: object.namespace.clone(),
            kind: object.kind.clone(),
            name: object.name.clone(),
            id: placed.finding.lint.id.to_owned(),
            whole: format!("{:016x}", placed.meaning.whole),
        }
    }
}

/// Which objects have as many findings of one lint as are reported at most.
fn capped(findings: &[Placed]) -> BTreeSet<Capped> {
    let mut counts: BTreeMap<Capped, usize> = BTreeMap::new();
    for placed in findings {
        *counts.entry(Capped::of(placed)).or_default() += 1;
    }
    counts.into_iter().filter(|(_, count)| *count >= FINDINGS).map(|(capped, _)| capped).collect()
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
                isolating: judged.extent.isolating.clone(),
                opening: judged.extent.opening.clone(),
            })
            .collect();
        let mut findings: Vec<Identity> = report.findings.iter().map(Identity::strict).collect();
        namespaces.sort();
        findings.sort();
        Self { version: VERSION, namespaces, findings, capped: capped(&report.findings) }
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
        // Behind those that are reported there may be others, which nobody has accepted.
        let unknown: BTreeSet<Capped> = capped(&report.findings).difference(&self.capped).cloned().collect();
        for placed in std::mem::take(&mut report.findings) {
            if unknown.contains(&Capped::of(&placed)) {
                report.findings.push(placed);
                continue;
            }
            match left.get_mut(&Identity::strict(&placed)) {
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
            judged.accepted = open(judged).iter().all(|gap| gap.is_within(entry, judged));
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
    fn is_within(&self, accepted: &NotIsolated, judged: &Judged) -> bool {
        let has = |what: &str| accepted.open.contains(&format!("{} {what}", self.direction));
        let of = |texts: &BTreeSet<String>, what: &str| -> BTreeSet<String> {
            let start = format!("{} {what}", self.direction);
            texts.iter().filter(|text| text.starts_with(&start)).cloned().collect()
        };
        // Nothing is isolated in that direction: everything else would be less.
        if has("absent") || self.what != "absent" && has("ALL") {
            return true;
        }
        if self.what == "partial" {
            return has("partial") && of(&accepted.isolating, "").is_subset(&of(&judged.extent.isolating, ""));
        }
        // A star is less than none.
        let unstarred = self.what.trim_end_matches('*');
        if unstarred != "PORTS" && unstarred != "absent" && has(unstarred) {
            return true;
        }
        let what = format!("{} ", self.what);
        has(&self.what) && of(&judged.extent.opening, &what).is_subset(&of(&accepted.opening, &what))
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
        // Open ports and egress make no namespace weakened: where they count, it is by the profile, and the state says so.
        let weakens = |hole: &&Hole| direction == Direction::Ingress && hole.kind != Kind::Ports;
        let holes = side.holes.iter().filter(|hole| judged.state != State::Weakened || weakens(hole));
        let holes = holes.map(|hole| hole.class().to_string());
        gaps.extend(coverage.into_iter().chain(holes).map(|what| Gap { direction, what }));
    }
    gaps
}
