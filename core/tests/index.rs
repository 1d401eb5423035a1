//! The index against watches of different kinds, which run ahead of and behind each other.

#![allow(clippy::unwrap_used, reason = "a test may fail like this, also in its helpers")]

use ringfence_core::index::{Index, Pod};
use ringfence_core::object::{Object, ObjectMeta};
use ringfence_core::policy::NetworkPolicy;
use ringfence_core::policy::criteria::Criteria;
use ringfence_core::policy::parse::{Source, network_policy};
use serde_json::json;

const TEAM: &str = "team-a";

fn put_namespace(index: &mut Index, uid: &str, version: u64, mode: &str) -> bool {
    let text = json!({ "metadata": { "name": TEAM, "uid": uid, "resourceVersion": version.to_string(),
        "labels": { "ringfence.dev/mode": mode } } })
    .to_string();
    let metadata: ObjectMeta<'_> = serde_json::from_str::<Object<'_>>(&text).unwrap().into_metadata();
    index.put_namespace(TEAM, &metadata)
}

fn policy(name: &str, version: u64, types: &[&str]) -> NetworkPolicy {
    let object = json!({ "metadata": { "name": name, "resourceVersion": version.to_string() },
        "spec": { "podSelector": {}, "policyTypes": types } });
    network_policy(&object, Source::Cluster).unwrap()
}

fn names(index: &Index) -> Vec<String> {
    index.get(TEAM).unwrap().policies().map(|policy| policy.name.clone()).collect()
}

#[test]
fn a_namespace_that_is_known_only_by_what_is_in_it_is_not_there() {
    let mut index = Index::default();
    assert!(index.contents_mut(TEAM).put_policy(policy("deny", 5, &["Ingress"])));
    assert!(index.get(TEAM).is_none());
    assert_eq!(index.iter().count(), 0);
    assert!(put_namespace(&mut index, "u1", 4, "enforce"));
    assert_eq!(names(&index), ["deny"]);
}

#[test]
fn what_is_older_than_what_is_known_changes_nothing() {
    let mut index = Index::default();
    assert!(put_namespace(&mut index, "u1", 10, "enforce"));
    assert!(!put_namespace(&mut index, "u1", 9, "warn"));
    assert!(!put_namespace(&mut index, "u1", 11, "enforce"), "nothing but the version has changed");
    assert_eq!(index.get(TEAM).unwrap().isolation.mode.as_deref(), Some("enforce"));
    let namespace = index.contents_mut(TEAM);
    assert!(namespace.put_policy(policy("deny", 20, &["Ingress", "Egress"])));
    assert!(namespace.verdict(&Criteria::default()).is_complete());
    assert!(!namespace.put_policy(policy("deny", 19, &["Ingress"])));
    assert!(namespace.verdict(&Criteria::default()).is_complete());
    assert!(namespace.put_policy(policy("deny", 21, &["Ingress"])));
    assert!(!namespace.verdict(&Criteria::default()).is_complete());
    let lifted = Pod { held: false, uid: "p".to_owned(), version: 31, ..Pod::default() };
    assert!(namespace.put_pod("web", lifted));
    assert!(!namespace.put_pod("web", Pod { held: true, uid: "p".to_owned(), version: 30, ..Pod::default() }));
    assert!(namespace.put_pod("web", Pod { held: true, uid: "q".to_owned(), version: 29, ..Pod::default() }));
}

/// The watch of policies may be behind the one of namespaces, or ahead of it, when a namespace is made anew. And contents can
/// outlive a namespace whose finalizers were emptied (case 70).
#[test]
fn case_70_what_is_known_of_a_policy_ends_with_its_own_deletion_only() {
    let mut index = Index::default();
    put_namespace(&mut index, "u1", 10, "enforce");
    index.contents_mut(TEAM).put_policy(policy("old", 11, &["Ingress", "Egress"]));
    index.forget_namespace(TEAM);
    index.sweep();
    assert!(index.get(TEAM).is_none());
    put_namespace(&mut index, "u2", 24, "enforce");
    assert_eq!(names(&index), ["old"]);
    // Until the watch of policies has come as far as the namespace, nothing is concluded from what is known.
    assert!(!index.get(TEAM).unwrap().is_caught_up());
    assert_eq!(index.policies_come_to(23), Vec::<String>::new());
    assert_eq!(index.behind(), [TEAM]);
    assert_eq!(index.policies_come_to(25), [TEAM]);
    assert!(index.get(TEAM).unwrap().is_caught_up() && index.behind().is_empty());
    assert_eq!(names(&index), ["old"]);
    assert!(index.contents_mut(TEAM).remove_policy_at("old", 26));
    // Another write of the same namespace changes nothing about it.
    put_namespace(&mut index, "u2", 30, "enforce");
    assert!(index.get(TEAM).unwrap().is_caught_up());
}

#[test]
fn a_namespace_is_judged_once_its_policies_were_listed_or_a_newer_write_was_delivered() {
    let mut index = Index::default();
    index.policies_come_to(50);
    put_namespace(&mut index, "u1", 40, "enforce");
    assert!(index.get(TEAM).unwrap().is_caught_up());
    put_namespace(&mut index, "u2", 60, "enforce");
    assert!(!index.get(TEAM).unwrap().is_caught_up());
    assert!(index.policies_listed(TEAM) && !index.policies_listed(TEAM));
    assert!(index.get(TEAM).unwrap().is_caught_up());
}

#[test]
fn the_late_news_of_a_deletion_does_not_take_away_what_was_made_since() {
    let mut index = Index::default();
    put_namespace(&mut index, "u1", 10, "enforce");
    let namespace = index.contents_mut(TEAM);
    namespace.put_policy(policy("deny", 30, &["Ingress"]));
    assert!(!namespace.remove_policy_at("deny", 20));
    assert!(namespace.remove_policy_at("deny", 31));
    assert!(!namespace.remove_policy_at("deny", 32));
}

#[test]
fn what_is_left_of_a_namespace_goes_with_the_last_of_its_contents() {
    let mut index = Index::default();
    put_namespace(&mut index, "u1", 10, "enforce");
    index.contents_mut(TEAM).put_policy(policy("deny", 11, &["Ingress"]));
    index.forget_namespace(TEAM);
    index.sweep();
    assert_eq!(index.names(), [TEAM]);
    assert!(index.contents_mut(TEAM).remove_policy_at("deny", 12));
    index.sweep_one(TEAM);
    assert_eq!(index.names(), Vec::<String>::new());
}
