//! Mistakes that the API accepts, explained in terms of traffic: one file per family of lints.
//!
//! [`catalogue`] lists them, [`finding`] is what each reports. [`policy`] looks at one policy, [`namespace`] at what a
//! namespace's policies come to together, and [`inventory`] at whole manifests or a whole cluster; the latter asks the
//! former two. [`settle`] then says what becomes of the findings. `check`, the webhook's warnings and the audit all ask
//! here, so the words are the same everywhere.

pub mod catalogue;
mod cidr;
mod cni;
mod culprits;
mod dangling;
mod dns;
mod except;
pub mod finding;
mod isolation;
mod omitted;
mod one_sided;
pub(crate) mod peers;
mod pods;
mod ports;
mod selectors;
pub mod settle;
mod unknown;
mod words;
mod workloads;
mod world;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::verdict::Verdict;
use super::{NetworkPolicy, parse};
use crate::index;
use crate::inventory::{Cluster, Inventory, Workload};
use crate::profile::Profile;
pub use catalogue::Lint;
pub use finding::{Finding, Fix, Object, Severity};

/// How many findings a lint reports of one policy: each has to be read.
pub const FINDINGS: usize = 20;

/// How many it looks for: one more, so that it is known whether some are left out.
const ENOUGH: usize = FINDINGS + 1;

/// A namespace as a lint sees it: what its policies do together, and what is known of the cluster.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The namespace's name.
    pub namespace: &'a str,
    /// Its policies.
    pub policies: &'a [&'a NetworkPolicy],
    /// What they do together.
    pub verdict: &'a Verdict,
    /// The profile that it is judged by, where there is one.
    pub profile: Option<&'a Profile>,
    /// What is around it; `None` where that is not known, as at admission, and then any pod is thought of.
    pub inventory: Option<&'a Inventory>,
    /// What is known of the cluster.
    pub cluster: &'a Cluster,
}

impl<'a> View<'a> {
    /// The namespace's workloads; empty where none are known.
    #[must_use]
    pub fn workloads(&self) -> &'a [Workload] {
        let namespace = self.inventory.and_then(|inventory| inventory.namespaces.get(self.namespace));
        namespace.map_or(&[], |namespace| &namespace.workloads)
    }

    /// Names for a policy that is advised: one that none of the namespace's policies has, so that it takes no other's place,
    /// and further ones. What could not be read has its name all the same.
    fn free_names(&self, name: &str) -> impl Iterator<Item = String> {
        let names = (1..).map(move |n| if n == 1 { name.to_owned() } else { format!("{name}-{n}") });
        let unread = self.inventory.and_then(|inventory| inventory.unread.get(self.namespace));
        names.filter(move |name| {
            !self.policies.iter().any(|policy| policy.name == *name)
                && !unread.is_some_and(|names| names.contains(name))
        })
    }
}

/// The namespaces that are judged, by name, each with the profile that it is judged by.
pub type Judged<'a> = BTreeMap<&'a str, (Arc<index::Namespace>, &'a Profile)>;

/// All that is wrong with what is judged, settled. Namespaces that are not judged, since they are exempt or excluded, are
/// seen by others and not told of themselves. Then what annotations switch off, with the reasons.
#[must_use]
pub fn everything(
    inventory: &Inventory,
    judged: &Judged<'_>,
    levels: &settle::Levels,
) -> (Vec<Finding>, Vec<(Finding, String)>) {
    let cluster = &inventory.cluster;
    let mut found = self::inventory(inventory);
    found.retain(|finding| {
        let namespace = finding.object.namespace.as_str();
        // The network plugin runs in a namespace that is excluded, and concerns all others.
        namespace.is_empty() || judged.contains_key(namespace) || finding.lint == &catalogue::NO_ENFORCING_CNI
    });
    for (name, (known, profile)) in judged {
        let policies: Vec<&NetworkPolicy> = known.policies().collect();
        let (verdict, profile) = (&known.verdict(profile.criteria()), Some(*profile));
        let view = View { namespace: name, policies: &policies, verdict, profile, inventory: Some(inventory), cluster };
        found.extend(namespace(&view));
        for written in inventory.namespaces.get(*name).iter().flat_map(|namespace| &namespace.policies) {
            found.extend(policy(&written.policy, &written.notes, name, cluster));
        }
    }
    let profile = |name: &str| judged.get(name).map(|(_, profile)| *profile);
    let subjects =
        inventory.namespaces.iter().flat_map(|(name, namespace)| settle::subjects(name, namespace, profile(name)));
    settle::settled(found, subjects, levels)
}

/// What is wrong with one policy, whatever is beside it.
#[must_use]
pub fn policy(policy: &NetworkPolicy, notes: &parse::Notes, namespace: &str, cluster: &Cluster) -> Vec<Finding> {
    let mut found = Vec::new();
    isolation::policy(policy, notes, namespace, &mut found);
    world::policy(policy, namespace, &mut found);
    cidr::policy(policy, notes, namespace, cluster, &mut found);
    peers::policy(policy, namespace, &mut found);
    selectors::policy(policy, namespace, &mut found);
    dns::policy(policy, namespace, cluster, &mut found);
    ports::policy(policy, notes, namespace, &mut found);
    cni::policy(policy, namespace, cluster, &mut found);
    unknown::policy(policy, notes, namespace, &mut found);
    limited(found)
}

/// What is wrong with a namespace's policies together.
#[must_use]
pub fn namespace(view: &View<'_>) -> Vec<Finding> {
    let mut found = besides_holes(view);
    isolation::allow_all(view, &mut found);
    world::holes(view, &mut found);
    limited(found)
}

/// The same without what only explains the verdict's holes: for who tells of these already.
#[must_use]
pub fn besides_holes(view: &View<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    isolation::namespace(view, &mut found);
    except::namespace(view, &mut found);
    dns::namespace(view, &mut found);
    limited(found)
}

/// Whether a lint has found more than it may report of one policy, so that others need not be put into words: a policy can
/// have tens of thousands of peers.
fn is_full(found: &[Finding], lint: &Lint) -> bool {
    found.iter().filter(|finding| std::ptr::eq(finding.lint, lint)).take(ENOUGH).count() == ENOUGH
}

/// At most [`FINDINGS`] of each lint for each object; where there are more, the last of them says so.
fn limited(found: Vec<Finding>) -> Vec<Finding> {
    let mut seen: HashMap<(&'static str, Object), usize> = HashMap::new();
    let mut last: HashMap<(&'static str, Object), usize> = HashMap::new();
    let mut kept: Vec<Finding> = Vec::with_capacity(found.len());
    let more = format!("; more like this are left out: {FINDINGS} of one object are reported");
    for finding in found {
        let key = (finding.lint.id, finding.object.clone());
        let count = seen.entry(key.clone()).or_default();
        *count += 1;
        if *count < FINDINGS {
            kept.push(finding);
        } else if *count == FINDINGS {
            last.insert(key, kept.len());
            kept.push(finding);
        } else if let Some(at) = last.remove(&key)
            && let Some(last) = kept.get_mut(at)
        {
            last.is_last_of_more = true;
            last.help.push_str(&more);
        }
    }
    kept
}

/// What is wrong with the workloads of an inventory, and between its namespaces. What [`policy`] and [`namespace`] find is
/// not repeated.
#[must_use]
pub fn inventory(inventory: &Inventory) -> Vec<Finding> {
    let mut found = Vec::new();
    dangling::inventory(inventory, &mut found);
    omitted::inventory(inventory, &mut found);
    ports::inventory(inventory, &mut found);
    workloads::inventory(inventory, &mut found);
    cni::inventory(inventory, &mut found);
    one_sided::inventory(inventory, &mut found);
    limited(found)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_policy_that_is_wrong_in_many_places_is_told_of_twenty_of_each_kind() {
        let from: Vec<Value> = (0..30)
            .flat_map(|i| {
                let team = json!({ "matchLabels": { "team": i.to_string() } });
                let nobody = json!({ "matchExpressions": [
                    { "key": "a", "operator": "Exists" }, { "key": "a", "operator": "DoesNotExist" },
                ] });
                let web = json!({ "matchLabels": { "app": "web" } });
                [("namespaceSelector", team), ("podSelector", web), ("podSelector", nobody)]
                    .map(|(key, selector)| json!({ key: selector }))
            })
            .collect();
        let object =
            json!({ "metadata": { "name": "p" }, "spec": { "podSelector": {}, "ingress": [{ "from": from }] } });
        let (policy, notes) = parse::noted(&object, parse::Source::Cluster).unwrap();
        let found = super::policy(&policy, &notes, "team-a", &Cluster::default());
        for id in ["and-or", "spoofable-namespace", "unsatisfiable-selector"] {
            let found: Vec<&Finding> = found.iter().filter(|finding| finding.lint.id == id).collect();
            assert_eq!(found.len(), FINDINGS, "{id}");
            let says_so = |finding: &Finding| finding.is_last_of_more && finding.help.contains("are left out");
            let saying: Vec<usize> = (0..found.len()).filter(|&index| says_so(found[index])).collect();
            assert_eq!(saying, [FINDINGS - 1], "{id}");
        }
    }
}
