//! What becomes of what the lints find: the configuration's severities, what a managed policy is let off, what annotations
//! switch off, and the order. In one place for `check`, the webhook and the audit.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};

use json_patch::{Patch, PatchOperation, RemoveOperation};
use serde::{Serialize, Serializer};
use serde_json::json;

use super::catalogue::{
    APISERVER_EGRESS, CNI_FEATURE, DANGLING_SELECTOR, DNS_WRONG_TARGET, IPBLOCK_CLUSTER, NAMED_PORT_UNRESOLVED,
    NAMESPACE_OMITTED, NO_ENFORCING_CNI, ONE_SIDED, UNUSED_SUPPRESSION, WEBHOOK_METRICS_BLOCKED,
};
use super::words::yaml;
use super::{ENOUGH, Finding, Fix, Lint, Object, Severity, limited};
use crate::inventory::{Namespace, Written};
use crate::object::Suppression;
use crate::profile::{self, Profile};
use crate::vocabulary::IGNORE;

/// What the configuration says of a lint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// It is not reported.
    Off,
    /// It has this severity, whatever its own.
    At(Severity),
}

impl Level {
    /// The level of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        if word == "off" {
            return Some(Self::Off);
        }
        Severity::ALL.into_iter().find(|severity| severity.as_str() == word).map(Self::At)
    }

    /// The word for it, as the configuration writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::At(severity) => severity.as_str(),
        }
    }
}

/// The levels that the configuration sets, by lint. The others have their own severity, which may depend on the finding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Levels(BTreeMap<&'static str, Level>);

impl Levels {
    /// Sets one.
    pub fn set(&mut self, lint: &Lint, level: Level) {
        self.0.insert(lint.id, level);
    }

    /// What is set for a lint.
    #[must_use]
    pub fn get(&self, lint: &Lint) -> Option<Level> {
        self.0.get(lint.id).copied()
    }
}

impl Serialize for Levels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(id, level)| (id, level.as_str())))
    }
}

/// An object that findings may be about, and what it says of them.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// The object.
    pub object: Object,
    /// Whether Ringfence manages it, so that its findings are no more than information.
    pub managed: bool,
    /// The lints that its annotations switch off.
    pub suppressions: &'a [Suppression],
    /// Whether every lint was asked about it, so that an annotation for which there is no finding has no use.
    pub judged: bool,
}

/// A namespace and what is in it. The profile is the one that it was judged by; `None` where it was not judged. Policies count
/// as managed that say what one of the profile's says, and have the label or the rest of the baseline beside them: `ringfence
/// render` prints them without the label, and in manifests anybody can write it.
pub fn subjects<'a>(
    name: &'a str,
    namespace: &'a Namespace,
    profile: Option<&'a Profile>,
) -> impl Iterator<Item = Subject<'a>> {
    let judged = profile.is_some();
    let subject = move |object, managed, suppressions| Subject { object, managed, suppressions, judged };
    let baseline = profile.map(Profile::policies).unwrap_or_default();
    let says = |written: &Written, ours: &profile::Policy| written.policy.spec == ours.parsed.spec;
    let whole = baseline.iter().all(|ours| namespace.policies.iter().any(|written| says(written, ours)));
    let policies = namespace.policies.iter().map(move |written| {
        subject(
            Object::policy(name, &written.policy.name),
            (written.policy.managed || whole) && baseline.iter().any(|ours| says(written, ours)),
            written.notes.suppressions.as_slice(),
        )
    });
    let workloads = namespace.workloads.iter().map(move |workload| {
        let (kind, namespace, name) = (workload.kind.clone(), name.to_owned(), workload.name.clone());
        subject(Object { kind, namespace, name }, false, workload.suppressions.as_slice())
    });
    let itself = subject(Object::namespace(name), false, namespace.suppressions.as_slice());
    std::iter::once(itself).chain(policies).chain(workloads)
}

/// Lints that find something only where more is known than the object: of the cluster, or of what else is there. An
/// annotation for one of these may be of use elsewhere.
static HANG_ON_MORE: [&Lint; 10] = [
    &APISERVER_EGRESS,
    &CNI_FEATURE,
    &DANGLING_SELECTOR,
    &DNS_WRONG_TARGET,
    &IPBLOCK_CLUSTER,
    &NAMED_PORT_UNRESOLVED,
    &NAMESPACE_OMITTED,
    &NO_ENFORCING_CNI,
    &ONE_SIDED,
    &WEBHOOK_METRICS_BLOCKED,
];

/// Applies annotations and configuration to findings, adds `unused-suppression`, and sorts: the gravest first, then by
/// object and path. An annotation counts on the object that carries it alone, and with a reason alone.
#[must_use]
pub fn settle<'a>(
    found: Vec<Finding>,
    subjects: impl IntoIterator<Item = Subject<'a>>,
    levels: &Levels,
) -> Vec<Finding> {
    settled(found, subjects, levels).0
}

/// The same, and what annotations switch off, each with the reason that is given.
#[must_use]
pub fn settled<'a>(
    found: Vec<Finding>,
    subjects: impl IntoIterator<Item = Subject<'a>>,
    levels: &Levels,
) -> (Vec<Finding>, Vec<(Finding, String)>) {
    let mut known: HashMap<Object, Subject<'a>> = HashMap::new();
    for subject in subjects {
        // What is given twice is reported by whoever reads it.
        known.entry(subject.object.clone()).or_insert(subject);
    }
    let mut used: HashSet<(Object, &'static str)> = HashSet::new();
    let mut off = Vec::new();
    let mut left = Vec::with_capacity(found.len());
    for finding in found {
        match known.get(&finding.object).and_then(|subject| reason(subject, finding.lint)) {
            Some(reason) => {
                used.insert((finding.object.clone(), finding.lint.id));
                if levels.get(finding.lint) != Some(Level::Off) {
                    off.push((finding, reason.to_owned()));
                }
            }
            None => left.push(finding),
        }
    }
    let mut found = left;
    for subject in known.values().filter(|subject| reason(subject, &UNUSED_SUPPRESSION).is_none()) {
        let unused = subject.suppressions.iter().filter_map(|suppression| {
            let used = Lint::find(&suppression.lint).is_some_and(|l| used.contains(&(subject.object.clone(), l.id)));
            if used { None } else { unused(subject, suppression) }
        });
        // An object has room for thousands of annotations.
        found.extend(limited(unused.take(ENOUGH).collect()));
    }
    found.retain_mut(|finding| {
        match levels.get(finding.lint) {
            Some(Level::Off) => return false,
            Some(Level::At(severity)) => finding.severity = severity,
            None => {}
        }
        if known.get(&finding.object).is_some_and(|subject| subject.managed) {
            finding.severity = Severity::Info;
        }
        true
    });
    found.sort_by(|a, b| order(a).cmp(&order(b)));
    off.sort_by(|(a, _), (b, _)| order(a).cmp(&order(b)));
    (found, off)
}

/// Why an annotation switches a lint off; `None` where none does.
fn reason<'s>(subject: &'s Subject<'_>, lint: &Lint) -> Option<&'s str> {
    let reasons = subject.suppressions.iter().filter(|suppression| suppression.lint == lint.id);
    reasons.map(|suppression| suppression.reason.as_str()).find(|reason| !reason.is_empty())
}

fn unused(subject: &Subject<'_>, suppression: &Suppression) -> Option<Finding> {
    let Suppression { lint: id, reason } = suppression;
    let key = format!("{IGNORE}{id}");
    let lint = Lint::find(id);
    let (message, help) = match lint {
        None => (
            format!(
                "there is no lint {id:?}, so {key} switches nothing off: mistakes that it is meant for are reported"
            ),
            "write the id of a lint as reports show it, or take the annotation away".to_owned(),
        ),
        Some(_) if reason.is_empty() => (
            format!("{key} gives no reason, so it does not count and what {id} finds is reported"),
            "say why the traffic is meant to be like that, or take the annotation away".to_owned(),
        ),
        Some(lint) if subject.judged && !HANG_ON_MORE.contains(&lint) && lint.id != UNUSED_SUPPRESSION.id => (
            format!("{id} finds nothing here any more, and {key} would hide the next such mistake"),
            "take the annotation away".to_owned(),
        ),
        Some(_) => return None,
    };
    let remove = PatchOperation::Remove(RemoveOperation {
        path: json_patch::jsonptr::PointerBuf::from_tokens(["metadata", "annotations", &key]),
    });
    let finding = Finding::new(&UNUSED_SUPPRESSION, subject.object.clone(), message)
        .at(format!("metadata.annotations.{key}"))
        .help(help);
    Some(match lint {
        // What is misspelt is meant, and so is what only lacks its reason.
        None => finding,
        Some(_) if reason.is_empty() => finding.snippet(yaml(&json!({ "annotations": { key: "WHY" } }))),
        Some(_) => finding.fix(Fix::Patch(Patch(vec![remove]))),
    })
}

/// A step of a path: an index by its number, a key by its text.
type Step<'f> = (u64, &'f str);

fn order(finding: &Finding) -> (Reverse<Severity>, &Object, Vec<Step<'_>>, &'static str, &str) {
    let steps = finding.path.split(['.', '[', ']']);
    let place = steps.map(|step| step.parse().map_or((0, step), |index| (index, ""))).collect();
    (Reverse(finding.severity), &finding.object, place, finding.lint.id, &finding.message)
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::{ALLOW_ALL, AND_OR, OPEN_WORLD};
    use super::*;

    fn object(name: &str) -> Object {
        Object::policy("team-a", name)
    }

    fn finding(lint: &'static Lint, name: &str, path: &str) -> Finding {
        Finding::new(lint, object(name), "x can reach y").at(path)
    }

    fn ignored(pairs: &[(&str, &str)]) -> Vec<Suppression> {
        pairs.iter().map(|(lint, reason)| Suppression { lint: (*lint).into(), reason: (*reason).into() }).collect()
    }

    fn subject<'a>(name: &str, suppressions: &'a [Suppression]) -> Subject<'a> {
        Subject { object: object(name), managed: false, suppressions, judged: true }
    }

    /// Severity, lint and path of what is left.
    fn left(found: &[Finding]) -> Vec<(Severity, &str, &str)> {
        found.iter().map(|finding| (finding.severity, finding.lint.id, finding.path.as_str())).collect()
    }

    #[test]
    fn the_gravest_come_first_and_then_objects_and_paths_in_their_order() {
        let found = vec![
            finding(&AND_OR, "p", "spec.ingress[10]"),
            finding(&AND_OR, "p", "spec.ingress[9].from[1]"),
            finding(&AND_OR, "a", "spec.ingress[9]"),
            finding(&AND_OR, "p", "spec.ingress[9]"),
            finding(&ALLOW_ALL, "z", "spec.egress[0]"),
        ];
        let settled = settle(found, [], &Levels::default());
        let order: Vec<_> = settled.iter().map(|f| (f.object.name.as_str(), f.path.as_str())).collect();
        let expected = [
            ("z", "spec.egress[0]"),
            ("a", "spec.ingress[9]"),
            ("p", "spec.ingress[9]"),
            ("p", "spec.ingress[9].from[1]"),
            ("p", "spec.ingress[10]"),
        ];
        assert_eq!(order, expected);
    }

    #[test]
    fn the_configuration_sets_a_severity_or_switches_off() {
        let mut levels = Levels::default();
        levels.set(&AND_OR, Level::Off);
        levels.set(&OPEN_WORLD, Level::At(Severity::Error));
        let found = vec![finding(&AND_OR, "p", ""), finding(&OPEN_WORLD, "p", "")];
        assert_eq!(left(&settle(found, [], &levels)), [(Severity::Error, "open-world", "")]);
    }

    #[test]
    fn what_ringfence_manages_itself_is_info_whatever_is_configured() {
        let mut levels = Levels::default();
        levels.set(&OPEN_WORLD, Level::At(Severity::Error));
        let found = vec![finding(&AND_OR, "p", ""), finding(&OPEN_WORLD, "p", ""), finding(&AND_OR, "q", "")];
        let subjects = [Subject { managed: true, ..subject("p", &[]) }, subject("q", &[])];
        let expected =
            [(Severity::Warning, "and-or", ""), (Severity::Info, "and-or", ""), (Severity::Info, "open-world", "")];
        assert_eq!(left(&settle(found, subjects, &levels)), expected);
    }

    #[test]
    fn an_annotation_with_a_reason_switches_off_one_lint_on_its_own_object() {
        let suppressions = ignored(&[("and-or", "both are meant")]);
        let found = vec![finding(&AND_OR, "p", "a"), finding(&OPEN_WORLD, "p", "b"), finding(&AND_OR, "q", "c")];
        let settled = settle(found, [subject("p", &suppressions), subject("q", &[])], &Levels::default());
        assert_eq!(left(&settled), [(Severity::High, "open-world", "b"), (Severity::Warning, "and-or", "c")]);
    }

    #[test]
    fn an_annotation_without_a_reason_does_not_count_and_is_reported() {
        let suppressions = ignored(&[("and-or", "")]);
        let settled = settle(vec![finding(&AND_OR, "p", "a")], [subject("p", &suppressions)], &Levels::default());
        let path = "metadata.annotations.ringfence.dev/ignore-and-or";
        assert_eq!(
            left(&settled),
            [(Severity::Warning, "and-or", "a"), (Severity::Warning, "unused-suppression", path)]
        );
        assert_eq!(settled[1].fix, None, "whoever wrote it knows the reason");
    }

    #[test]
    fn an_annotation_for_nothing_is_reported_and_can_be_taken_away() {
        let suppressions = ignored(&[("and-or", "it was"), ("and-and", "a slip")]);
        let settled = settle(Vec::new(), [subject("p", &suppressions)], &Levels::default());
        let ids = ["ringfence.dev/ignore-and-and", "ringfence.dev/ignore-and-or"];
        let paths: Vec<&str> = settled.iter().map(|finding| finding.path.as_str()).collect();
        assert_eq!(paths, ids.map(|id| format!("metadata.annotations.{id}")));
        assert!(settled[0].message.contains("no lint \"and-and\"") && settled[0].fix.is_none());
        let Some(Fix::Patch(patch)) = &settled[1].fix else { panic!("{settled:#?}") };
        let mut object =
            serde_json::json!({ "metadata": { "annotations": { "ringfence.dev/ignore-and-or": "it was" } } });
        json_patch::patch(&mut object, patch).unwrap();
        assert_eq!(object, serde_json::json!({ "metadata": { "annotations": {} } }));
    }

    #[test]
    fn what_may_be_of_use_elsewhere_is_not_called_unused() {
        let elsewhere = ignored(&[("dns-wrong-target", "the cluster has its own")]);
        assert!(settle(Vec::new(), [subject("p", &elsewhere)], &Levels::default()).is_empty());
        let not_judged = ignored(&[("and-or", "both are meant")]);
        let subject = Subject { judged: false, ..subject("p", &not_judged) };
        assert!(settle(Vec::new(), [subject], &Levels::default()).is_empty());
    }

    #[test]
    fn an_annotation_is_used_also_where_the_configuration_switches_its_lint_off() {
        let suppressions = ignored(&[("and-or", "both are meant")]);
        let mut levels = Levels::default();
        levels.set(&AND_OR, Level::Off);
        assert!(settle(vec![finding(&AND_OR, "p", "")], [subject("p", &suppressions)], &levels).is_empty());
    }

    #[test]
    fn reports_of_unused_annotations_can_be_switched_off_like_others() {
        let suppressions = ignored(&[("and-or", "kept for later"), ("unused-suppression", "kept for later")]);
        assert!(settle(Vec::new(), [subject("p", &suppressions)], &Levels::default()).is_empty());
    }
}
