//! What must hold of every quarantine, whatever got past the webhook before it.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::select;
use ringfence_core::plan::Action;
use ringfence_core::policy::NetworkPolicy;
use serde_json::{Value, json};

use crate::cluster::{Cluster, SOON, of_app};

/// The names of the tenant's policies.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// The names of a baseline's policies. A profile need not have all of them.
const BASELINE: [&str; 3] = ["default-deny-all", "allow-dns", "allow-same-namespace"];

/// What happens past the webhook.
#[derive(Clone, Debug)]
enum Change {
    /// A policy is created or changed.
    Put(Value),
    /// A policy is deleted, and created under the same name.
    Recreate(Value),
    Delete(&'static str),
    /// A policy of the baseline gets another spec, and keeps the label that marks it as managed, or loses it.
    EditBaseline {
        name: &'static str,
        spec: Value,
        keeps_label: bool,
    },
    /// The exceptions in force end.
    ExceptionsEnd,
}

impl Change {
    fn is_of_baseline(&self) -> bool {
        match self {
            Self::EditBaseline { .. } => true,
            Self::Delete(name) => BASELINE.contains(name),
            _ => false,
        }
    }

    fn happens(&self, cluster: &mut Cluster) {
        let is_there = |cluster: &Cluster, name: &str| cluster.namespace.policy(name).is_some();
        match self {
            Self::Recreate(object) if is_there(cluster, object["metadata"]["name"].as_str().unwrap()) => {
                cluster.recreate(object);
            }
            Self::Put(object) | Self::Recreate(object) => cluster.put(object),
            Self::Delete(name) if is_there(cluster, name) => cluster.delete(name),
            Self::EditBaseline { name, spec, keeps_label } if is_there(cluster, name) => {
                let mut object = json!({ "metadata": { "name": name }, "spec": spec });
                if *keeps_label && cluster.namespace.policy(name).unwrap().managed {
                    object["metadata"]["labels"] = json!({ "app.kubernetes.io/managed-by": "ringfence" });
                }
                cluster.put(&object);
            }
            Self::Delete(_) | Self::EditBaseline { .. } => {}
            Self::ExceptionsEnd => cluster.now = SOON.parse().unwrap(),
        }
    }
}

/// The block that a policy may open, of two that are a hole together. No two policies open the same block: behind one of them the
/// controller does not see that the other takes part, which is a fault
/// (`two_changed_policies_that_each_open_the_hole_are_both_quarantined`).
fn block_of(name: &str) -> Option<&'static str> {
    match name {
        "a" => Some("10.0.0.0/7"),
        "b" => Some("20.0.0.0/7"),
        _ => None,
    }
}

fn rules(peers: &'static str, block: Option<&'static str>) -> impl Strategy<Value = Value> {
    let own = json!({ peers: [{ "podSelector": {} }] });
    let block = block.map_or_else(|| own.clone(), |cidr| json!({ peers: [{ "ipBlock": { "cidr": cidr } }] }));
    let cluster = move |from: u16, to: u16| json!({ peers: [{ "namespaceSelector": {} }], "ports": [{ "port": from, "endPort": to }] });
    let rule = prop_oneof![
        1 => Just(json!({})),
        2 => Just(block),
        1 => Just(own),
        1 => Just(cluster(1, 100)),
        1 => Just(cluster(101, 200)),
    ];
    prop::collection::vec(rule, 0..3).prop_map(Value::Array)
}

fn spec(block: Option<&'static str>) -> impl Strategy<Value = Value> {
    let pods =
        select(vec![json!({}), json!({ "matchLabels": { "app": "x" } }), of_app("Exists"), of_app("DoesNotExist")]);
    (pods, rules("from", block), prop_oneof![2 => Just(json!([])), 1 => rules("to", block)]).prop_map(|(pods, ingress, egress)| {
        json!({ "podSelector": pods, "policyTypes": ["Ingress", "Egress"], "ingress": ingress, "egress": egress })
    })
}

fn policy() -> impl Strategy<Value = Value> {
    let exception = |reason: &str, until: &str| json!({ "ringfence.dev/exception-reason": reason, "ringfence.dev/exception-until": until });
    let annotations = prop_oneof![
        6 => Just(json!({})),
        2 => Just(exception("legacy", SOON)),
        1 => Just(exception("legacy", "2026-05-01T00:00:00Z")),
        1 => Just(exception("", SOON)),
    ];
    select(&NAMES[..]).prop_flat_map(move |name| (Just(name), spec(block_of(name)), annotations.clone())).prop_map(
        |(name, spec, annotations)| json!({ "metadata": { "name": name, "annotations": annotations }, "spec": spec }),
    )
}

fn change() -> impl Strategy<Value = Change> {
    let deleted = prop_oneof![3 => select(&NAMES[..]), 1 => select(&BASELINE[..])];
    prop_oneof![
        8 => policy().prop_map(Change::Put),
        4 => policy().prop_map(Change::Recreate),
        2 => deleted.prop_map(Change::Delete),
        3 => (select(&BASELINE[..]), spec(None), prop::bool::weighted(0.7))
            .prop_map(|(name, spec, keeps_label)| Change::EditBaseline { name, spec, keeps_label }),
        1 => Just(Change::ExceptionsEnd),
    ]
}

/// Configurations whose default profile denies more and more.
fn config() -> impl Strategy<Value = Value> {
    let with = |standard: Value| json!({ "profiles": { "standard": standard } });
    let egress = json!({ "egress": { "ALL": "deny", "CLUSTER": "deny", "W4": "deny", "W6": "deny" } });
    let every: Value = ["ALL", "CLUSTER", "W4", "W6", "PORTS"]
        .into_iter()
        .flat_map(|kind| [kind.to_owned(), format!("{kind}*")])
        .map(|class| (class, json!("deny")))
        .collect();
    let deny =
        json!({ "name": "default-deny-all", "spec": { "podSelector": {}, "policyTypes": ["Ingress", "Egress"] } });
    select(vec![
        json!({}),
        with(json!({ "holes": egress })),
        with(json!({ "policies": [deny], "holes": { "ingress": every, "egress": every } })),
    ])
}

/// What no quarantine may touch: the uids of policies that were there when the namespace was last effective, with what each was.
fn untouchable(cluster: &Cluster) -> BTreeMap<String, NetworkPolicy> {
    let is_excused =
        |policy: &NetworkPolicy| policy.exception.as_ref().is_some_and(|claim| claim.is_in_force(cluster.now));
    let known = cluster.namespace.policies().filter(|policy| !policy.managed && !is_excused(policy));
    known.map(|policy| (policy.uid.clone(), policy.clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever gets past the webhook in a namespace that was effective, the controller leads the namespace back to that. It touches
    /// neither coverage nor a managed policy nor an exception in force ([`Cluster::settles`]), and no policy that did not change. The
    /// label goes only where the baseline itself was changed.
    #[test]
    fn quarantine_leads_to_an_effective_namespace(
        config in config(), rounds in prop::collection::vec(prop::collection::vec(change(), 1..5), 1..4)
    ) {
        let mut cluster = Cluster::with_config(&config);
        for changes in &rounds {
            let known = untouchable(&cluster);
            for change in changes {
                change.happens(&mut cluster);
            }
            let unchanged: Vec<NetworkPolicy> = cluster.namespace.policies()
                .filter(|policy| known.get(&policy.uid).is_some_and(|known| known.generation == policy.generation))
                .cloned()
                .collect();
            let actions = cluster.settles();
            let profile = cluster.namespace.profile(&cluster.config).unwrap();
            prop_assert!(cluster.namespace.is_effective(profile, cluster.now), "{actions:?}");
            prop_assert!(cluster.namespace.is_in_place(profile), "{actions:?}");
            prop_assert!(cluster.is_isolated(), "{actions:?}");
            let drops = actions.contains(&Action::DropIsolated);
            prop_assert!(!drops || changes.iter().any(Change::is_of_baseline), "{actions:?}");
            for before in unchanged {
                let after = cluster.namespace.policy(&before.name).unwrap();
                prop_assert!(after.uid == before.uid && after.spec == before.spec, "{} did not change: {actions:?}", before.name);
            }
        }
    }
}
