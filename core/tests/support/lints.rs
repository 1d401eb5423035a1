//! What must hold of the lints, whatever the policies.

use json_patch::jsonptr::PointerBuf;
use ringfence_core::inventory::Cluster;
use ringfence_core::policy::criteria::Criteria;
use ringfence_core::policy::holes::Kind;
use ringfence_core::policy::lint::{self, Finding, Fix, View};
use ringfence_core::policy::parse::{Source, noted};
use ringfence_core::policy::verdict::judge;
use serde_json::Value;

use super::agreement::NAMESPACE;

fn of_one(written: &Value) -> Vec<Finding> {
    let (policy, notes) = noted(written, Source::Cluster).unwrap();
    lint::policy(
        &policy,
        &notes,
        NAMESPACE,
        &Cluster { networks: vec!["10.0.0.0/8".parse().unwrap()], ..Cluster::default() },
    )
}

/// Findings of each policy and of all together, in this order.
fn findings(written: &[Value]) -> (Vec<Finding>, Vec<Finding>) {
    let policies: Vec<_> = written.iter().map(|object| noted(object, Source::Cluster).unwrap().0).collect();
    let policies: Vec<_> = policies.iter().collect();
    let verdict = judge(&policies, &Criteria::default());
    let cluster = Cluster::default();
    let view = View {
        namespace: NAMESPACE,
        policies: &policies,
        verdict: &verdict,
        profile: None,
        cluster: &cluster,
        inventory: None,
    };
    let together = lint::namespace(&view);
    let found = |id: &str| together.iter().any(|finding| finding.lint.id == id);
    let hole = |kinds: &[Kind]| verdict.holes().any(|(_, hole)| kinds.contains(&hole.kind));
    assert_eq!(found("baseline-incomplete"), !verdict.is_complete(), "{together:#?}");
    assert_eq!(found("allow-all"), hole(&[Kind::All]), "{verdict:#?} {together:#?}");
    // What opens everything is said once, and not again of each part of it.
    assert!(!found("open-world") || hole(&[Kind::W4, Kind::W6]), "{verdict:#?} {together:#?}");
    assert!(!found("open-cluster") || hole(&[Kind::Cluster]), "{verdict:#?} {together:#?}");
    if !hole(&[Kind::All]) {
        assert_eq!(found("open-world"), hole(&[Kind::W4, Kind::W6]), "{verdict:#?} {together:#?}");
        assert_eq!(found("open-cluster"), hole(&[Kind::Cluster]), "{verdict:#?} {together:#?}");
    }
    let of_each: Vec<Finding> = written.iter().flat_map(of_one).collect();
    let is =
        |one: &Finding, other: &Finding| (one.lint, &one.object, &one.path) == (other.lint, &other.object, &other.path);
    // What is everything by itself is not also called nearly everything.
    let mut alone = together.iter().filter(|finding| finding.message.ends_with("alone"));
    assert!(!alone.any(|other| of_each.iter().any(|one| is(one, other))), "{of_each:#?} {together:#?}");
    (of_each, together)
}

fn pointer(path: &str) -> PointerBuf {
    PointerBuf::from_tokens(path.split(['.', '[', ']']).filter(|token| !token.is_empty()))
}

/// Lints say what the verdict says, at fields that are there, and a fix mends what it is for.
pub(crate) fn check_lints(written: &[Value]) {
    let (of_each, together) = findings(written);
    for finding in of_each.iter().chain(&together).filter(|finding| finding.object.kind == "NetworkPolicy") {
        let object = written.iter().find(|object| object["metadata"]["name"] == *finding.object.name).unwrap();
        assert!(pointer(&finding.path).resolve(object).is_ok(), "{finding:#?} is nowhere in {object:#}");
        assert!(!finding.message.is_empty() && !finding.help.is_empty(), "{finding:#?}");
        let Some(Fix::Patch(patch)) = &finding.fix else { continue };
        let mut mended = object.clone();
        json_patch::patch(&mut mended, patch).unwrap();
        let left = of_one(&mended);
        let same = |other: &&Finding| other.lint == finding.lint && other.path == finding.path;
        assert!(!left.iter().any(|other| same(&other)), "{finding:#?} is not mended in {mended:#}");
    }
}
