//! Lints as warnings of a change to a NetworkPolicy.

use super::Context;
use crate::index::Namespace;
use crate::inventory::Cluster;
use crate::policy::NetworkPolicy;
use crate::policy::criteria::Criteria;
use crate::policy::lint::settle::{Subject, settle};
use crate::policy::lint::{self, Finding, Object, Severity};
use crate::policy::parse::Notes;
use crate::policy::verdict::judge;
use crate::profile::Profile;
use crate::vocabulary::Mode;

/// What the lints find in the new policy, and in the namespace's policies together that they did not find before. What opens
/// holes is told already. Of annotations only the policy's own are known here.
pub(super) fn warnings(
    name: &str,
    new: Option<(&NetworkPolicy, &Notes)>,
    namespace: &str,
    context: &Context<'_>,
    after: &[&NetworkPolicy],
) -> impl Iterator<Item = String> {
    let cluster = Cluster::default();
    let own = Object::policy(namespace, name);
    let mut found = Vec::new();
    let subject = |policy: &NetworkPolicy, suppressions| {
        let object = Object::policy(namespace, &policy.name);
        Subject { object, managed: policy.managed, suppressions, judged: false }
    };
    let mut subjects: Vec<Subject<'_>> = Vec::new();
    if let Some((new, notes)) = new {
        found = lint::policy(new, notes, namespace, &cluster);
        subjects.push(subject(new, notes.suppressions.as_slice()));
    }
    subjects.extend(after.iter().filter(|policy| policy.managed).map(|policy| subject(policy, &[])));
    // What the profile has and the namespace lacks, the controller adds.
    let profile = context.namespace.map_or_else(|| context.config.default_profile(), |ns| ns.profile(context.config));
    let baseline: Vec<&NetworkPolicy> = match (context.mode(), profile) {
        (Some(Mode::Enforce), Some(profile)) => profile.policies().iter().map(|policy| &policy.parsed).collect(),
        _ => Vec::new(),
    };
    let together = |policies: &[&NetworkPolicy]| {
        let missing = baseline.iter().filter(|ours| !policies.iter().any(|policy| policy.name == ours.name));
        let policies: Vec<&NetworkPolicy> = policies.iter().chain(missing).copied().collect();
        lint::besides_holes(&lint::View {
            namespace,
            policies: &policies,
            verdict: &judge(&policies, profile.map_or(&Criteria::default(), Profile::criteria)),
            profile,
            cluster: &cluster,
            inventory: None,
        })
    };
    let afterwards = together(after);
    if !afterwards.is_empty() {
        let before = together(&context.namespace.into_iter().flat_map(Namespace::policies).collect::<Vec<_>>());
        // A gap of which another policy is now named was there before.
        let count = |found: &[Finding], lint| found.iter().filter(|finding| finding.lint == lint).count();
        let is_new = |finding: &&Finding| {
            let same = |other: &Finding| {
                (other.lint, &other.object, &other.path, &other.help)
                    == (finding.lint, &finding.object, &finding.path, &finding.help)
            };
            count(&afterwards, finding.lint) > count(&before, finding.lint) && !before.iter().any(same)
        };
        found.extend(afterwards.iter().filter(is_new).cloned());
    }
    let told = settle(found, subjects, &context.config.lints).into_iter();
    told.filter(|finding| finding.severity > Severity::Info).map(move |finding| {
        let Finding { object, path, message, help, lint, .. } = finding;
        let whose = match object.kind.as_str() {
            "NetworkPolicy" if object != own => format!("NetworkPolicy {:?}: ", object.name),
            _ => String::new(),
        };
        let place = if path.is_empty() { String::new() } else { format!("{path}: ") };
        format!("{whose}{place}{message}; {help} ({})", lint.id)
    })
}
