//! What must hold of every set of policies, and agreement with an evaluator that tries everything.
//!
//! `PROPTEST_CASES` sets how many sets are tried; what fails is kept as a plain test at the end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use proptest::prelude::*;
use ringfence_core::policy::Direction;
use ringfence_core::policy::coverage::{self, Coverage};
use ringfence_core::policy::criteria::Criteria;
use ringfence_core::policy::holes::Kind;
use ringfence_core::policy::verdict::judge;
use serde_json::{Value, json};
use support::agreement::{
    CRITERIA, check_added, check_allows_no_more, check_closing, check_coverage, check_holes, check_lost, check_opened,
    check_order, check_participants, criteria, parsed, refs,
};
use support::clusters::{change, cluster};
use support::generate::{narrowed, narrowing, policies, policy};
use support::hostile::{choices, hostile, share};
use support::lints::check_lints;
use support::naive;
use support::reach::{check_diff, check_reach};
use support::seen::check_coverage_and_holes;

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn adding_a_policy_never_lessens_coverage_and_never_closes_a_hole(
        written in policies(), added in policy(), which in 0..CRITERIA
    ) {
        check_added(&written, &added, &criteria(which));
    }

    #[test]
    fn the_order_of_policies_and_a_policy_given_twice_change_nothing(
        written in policies(), turn in 0..5usize, twice in 0..5usize, which in 0..CRITERIA
    ) {
        check_order(&written, turn, twice, &criteria(which));
    }

    #[test]
    fn coverage_is_what_trying_every_pod_says_and_a_witness_escapes_every_policy_that_counts(written in policies()) {
        check_coverage(&written);
    }

    #[test]
    fn holes_are_what_trying_every_pod_stranger_address_and_port_says_and_a_witness_has_them(
        written in policies(), which in 0..CRITERIA
    ) {
        check_holes(&written, &criteria(which));
    }

    #[test]
    fn a_policy_takes_part_in_a_hole_exactly_where_trying_every_pod_says_so(
        written in policies(), which in 0..CRITERIA, counted in 0..1024u16
    ) {
        check_participants(&written, &criteria(which), counted);
    }

    #[test]
    fn without_those_who_take_part_no_hole_that_counts_is_left(written in policies(), which in 0..CRITERIA) {
        check_closing(&written, &criteria(which));
    }

    #[test]
    fn an_update_allows_no_more_exactly_where_trying_every_pod_peer_and_port_says_so(old in policy(), new in policy()) {
        check_allows_no_more(&old, &new);
    }

    #[test]
    fn an_update_that_takes_something_away_allows_no_more(old in policy(), change in narrowing()) {
        check_allows_no_more(&old, &narrowed(&old, &change));
    }

    #[test]
    fn lints_say_what_the_verdict_says_at_fields_that_are_there_and_a_fix_mends(written in policies()) {
        check_lints(&written);
    }

    #[test]
    fn isolation_is_lost_exactly_where_a_pod_had_it_and_has_it_no_more(before in policies(), after in policies()) {
        check_lost(&before, &after);
    }

    #[test]
    fn isolation_is_lost_by_a_deletion_exactly_where_a_pod_had_it_and_has_it_no_more(
        before in policies(), gone in 0..5usize
    ) {
        let mut after = before.clone();
        if gone < after.len() {
            after.remove(gone);
        }
        check_lost(&before, &after);
    }

    #[test]
    fn coverage_and_holes_are_what_the_matrix_of_all_pods_says(mut written in policies()) {
        for policy in &mut written {
            policy["metadata"] = json!({ "name": policy["metadata"]["name"] });
        }
        check_coverage_and_holes(&written);
    }

    #[test]
    fn a_hole_is_opened_exactly_where_a_pod_has_it_and_did_not_have_it(
        before in policies(), after in policies(), which in 0..CRITERIA
    ) {
        check_opened(&before, &after, &criteria(which));
    }

    #[test]
    fn a_hole_is_opened_by_one_more_policy_exactly_where_a_pod_has_it_and_did_not_have_it(
        before in policies(), added in policy(), which in 0..CRITERIA
    ) {
        let after: Vec<Value> = before.iter().cloned().chain([added]).collect();
        check_opened(&before, &after, &criteria(which));
    }
}

/// As many clusters as `PROPTEST_CASES` says, else two thousand.
#[allow(clippy::disallowed_methods, reason = "as proptest itself does")]
fn thousands() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(2000);
    ProptestConfig { cases, ..config() }
}

proptest! {
    #![proptest_config(thousands())]

    #[test]
    fn one_connection_and_all_of_them_are_what_trying_every_pair_on_every_port_says(cluster in cluster()) {
        check_reach(&cluster);
    }

    #[test]
    fn what_changes_is_what_trying_every_pair_before_and_afterwards_says((before, after) in change()) {
        check_diff(&before, &after);
    }
}

fn selecting(requirements: &[(usize, &str)]) -> Value {
    let requirements: Vec<Value> = requirements
        .iter()
        .map(|(key, operator)| match *operator {
            "In" | "NotIn" => json!({ "key": format!("k{key}"), "operator": operator, "values": ["v"] }),
            _ => json!({ "key": format!("k{key}"), "operator": operator }),
        })
        .collect();
    json!({ "matchExpressions": requirements })
}

#[test]
fn selectors_too_entangled_to_decide_are_taken_for_the_worse_and_the_verdict_says_so() {
    let policies = parsed(&hostile());
    let verdict = judge(&refs(&policies), &Criteria::default());
    assert!(verdict.capped);
    for direction in Direction::BOTH {
        let side = verdict.side(direction);
        assert_eq!(side.coverage, Coverage::Partial(None), "{direction}");
        // Nobody can tell cheaply that no pod has them: they count, and for every pod.
        for kind in [Kind::W4, Kind::Ports] {
            assert!(side.holes.iter().any(|hole| hole.kind == kind && !hole.some), "{direction} {kind}");
        }
        // What no policy could open is not invented.
        assert!(!side.holes.iter().any(|hole| hole.kind == Kind::All), "{direction}");
        assert!(side.holes.iter().all(|hole| !hole.policies.is_empty()), "{direction}");
    }
}

#[test]
fn blocks_that_too_many_pods_have_differently_are_taken_for_wide_and_the_verdict_says_so() {
    let policies = parsed(&choices().into_iter().chain([share()]).collect::<Vec<_>>());
    let verdict = judge(&refs(&policies), &Criteria::default());
    assert!(verdict.capped && verdict.ingress.coverage.is_complete());
    assert!(verdict.ingress.holes.iter().any(|hole| hole.kind == Kind::W4), "{:?}", verdict.ingress.holes);
}

#[test]
fn beside_a_policy_for_every_pod_coverage_is_complete_however_entangled_the_others_are() {
    let deny = json!({ "metadata": { "name": "deny" }, "spec": { "policyTypes": ["Ingress", "Egress"] } });
    let policies = parsed(&hostile().into_iter().chain([deny]).collect::<Vec<_>>());
    let verdict = judge(&refs(&policies), &Criteria::default());
    assert!(verdict.is_complete() && verdict.capped);
}

#[test]
fn a_policy_beside_entangled_ones_is_added_without_a_loss_and_one_removed_is_assumed_to_be_one() {
    let policies = parsed(&hostile());
    for direction in Direction::BOTH {
        assert_eq!(coverage::lost(&refs(&policies[1..]), &refs(&policies), direction), None);
        assert!(coverage::lost(&refs(&policies), &refs(&policies[..policies.len() - 1]), direction).is_some());
    }
}

#[test]
fn a_namespace_with_two_hundred_ordinary_policies_is_decided_exactly() {
    let mut written: Vec<Value> = (0..200)
        .map(|i| {
            json!({ "metadata": { "name": format!("p{i}") }, "spec": {
                "podSelector": { "matchLabels": { "app": format!("app-{i}") } }, "policyTypes": ["Ingress"],
                "ingress": [{ "ports": [{ "port": 1000 + 2 * i }] }],
            } })
        })
        .collect();
    written[7]["spec"]["ingress"] = json!([{ "from": [{ "ipBlock": { "cidr": "0.0.0.0/0" } }] }]);
    let policies = parsed(&written);
    let verdict = judge(&refs(&policies), &Criteria::default());
    assert!(!verdict.capped);
    assert_eq!(verdict.ingress.coverage, Coverage::Partial(Some(naive::Labels::new())));
    let world = verdict.ingress.holes.iter().find(|hole| hole.kind == Kind::W4).unwrap();
    assert_eq!((world.class().to_string().as_str(), world.policies.as_slice()), ("W4*", ["p7".to_owned()].as_slice()));
    assert_eq!(verdict.ingress.holes.len(), 200);
}

#[test]
fn policies_as_large_as_a_request_may_be_do_not_overflow_the_stack() {
    let many = |n: usize, operator: &str| selecting(&(0..n).map(|key| (key, operator)).collect::<Vec<_>>());
    let each = |n: usize| (0..n).map(|key| selecting(&[(key, "Exists")])).collect::<Vec<_>>();
    let peers: Vec<Value> =
        (0..5000).map(|key| json!({ "namespaceSelector": selecting(&[(key, "NotIn"), (key + 1, "NotIn")]) })).collect();
    let policy = |pods: &Value, rules: Value| json!({ "metadata": { "name": "p" }, "spec": { "podSelector": pods, "policyTypes": ["Ingress"], "ingress": rules } });
    for written in [
        vec![policy(&many(25_000, "NotIn"), json!([{}])), policy(&many(25_000, "In"), json!([{}]))],
        each(2000).iter().map(|pods| policy(pods, json!([{}]))).collect(),
        vec![policy(&json!({}), json!([{ "from": peers }]))],
    ] {
        let policies = parsed(&written);
        let verdict = judge(&refs(&policies), &Criteria::default());
        assert!(verdict.capped || verdict.ingress.coverage.is_complete());
    }
}

#[test]
fn a_policy_that_selects_no_pod_is_not_named_for_what_others_open() {
    let open = |name: &str, pods: Value| json!({ "metadata": { "name": name }, "spec": { "podSelector": pods, "policyTypes": ["Ingress"], "ingress": [{}] } });
    let written = [
        open("nobody", selecting(&[(0, "In"), (0, "DoesNotExist")])),
        open("everybody", json!({})),
        json!({ "metadata": { "name": "deny" } }),
    ];
    let policies = parsed(&written);
    let holes = judge(&refs(&policies), &Criteria::default()).ingress.holes;
    assert_eq!(
        (holes[0].class().to_string().as_str(), holes[0].policies.as_slice()),
        ("ALL", ["everybody".to_owned()].as_slice())
    );
    check_holes(&written, &Criteria::default());
}

#[test]
fn some_pods_may_have_one_class_and_the_others_another() {
    let policy = |name: &str, pods: Value, rule: Value| json!({ "metadata": { "name": name }, "spec": { "podSelector": pods, "policyTypes": ["Ingress"], "ingress": [rule] } });
    let with = |operator: &str| json!({ "matchExpressions": [{ "key": "a", "operator": operator }] });
    let world = |cidr: &str| json!({ "from": [{ "ipBlock": { "cidr": cidr } }], "ports": [{ "protocol": "TCP" }] });
    let few = vec![policy("v4", with("Exists"), world("0.0.0.0/0")), policy("v6", with("DoesNotExist"), world("::/0"))];
    let classes = |written: &[Value]| -> Vec<String> {
        let holes = judge(&refs(&parsed(written)), &Criteria::default()).ingress.holes;
        holes.iter().map(|hole| hole.class().to_string()).collect()
    };
    assert_eq!(classes(&few), ["W4", "W6"]);
    for (ports, expected) in [
        (json!([{ "protocol": "UDP", "port": 53 }]), &["W4", "W6", "PORTS"][..]),
        (json!([{ "protocol": "UDP" }, { "protocol": "SCTP" }]), &["ALL"][..]),
    ] {
        let more: Vec<Value> =
            few.iter().cloned().chain([policy("rest", json!({}), json!({ "ports": ports }))]).collect();
        assert_eq!(classes(&more), expected);
        check_holes(&more, &Criteria::default());
    }
}
