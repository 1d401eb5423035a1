//! Small sets of NetworkPolicies, as JSON, over small domains: few labels, few addresses, few ports, so that brute force
//! can see everything, and so that policies meet.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

/// What the selectors of pods may name. The namespace is `team-a`.
const POD_VALUES: [(&str, [&str; 2]); 3] = [("a", ["x", "y"]), ("b", ["x", ""]), ("c", ["x", "y"])];
const NAMESPACE_VALUES: [(&str, [&str; 2]); 2] =
    [("env", ["x", "y"]), ("kubernetes.io/metadata.name", ["team-a", "team-b"])];
const RINGFENCE_VALUES: [(&str, [&str; 2]); 3] =
    [NAMESPACE_VALUES[0], NAMESPACE_VALUES[1], ("ringfence.dev/mode", ["x", "y"])];

fn requirement(keys: &'static [(&'static str, [&'static str; 2])]) -> impl Strategy<Value = Value> {
    (select(keys), 0..4u8, 1..4u8).prop_map(|((key, values), operator, which)| {
        let listed: Vec<&str> =
            values.iter().enumerate().filter(|(i, _)| which & (1 << i) != 0).map(|(_, value)| *value).collect();
        match operator {
            0 => json!({ "key": key, "operator": "In", "values": listed }),
            1 => json!({ "key": key, "operator": "NotIn", "values": listed }),
            2 => json!({ "key": key, "operator": "Exists" }),
            _ => json!({ "key": key, "operator": "DoesNotExist" }),
        }
    })
}

fn selector(keys: &'static [(&'static str, [&'static str; 2])]) -> impl Strategy<Value = Value> {
    let labels = prop::collection::vec((select(keys), 0..2usize), 0..2)
        .prop_map(|pairs| pairs.into_iter().map(|((key, values), i)| (key.to_owned(), json!(values[i]))).collect());
    prop_oneof![
        2 => Just(json!({})),
        4 => requirement(keys).prop_map(|one| json!({ "matchExpressions": [one] })),
        2 => (labels, prop::collection::vec(requirement(keys), 0..3)).prop_map(
            |(labels, expressions): (Map<String, Value>, _)| {
                json!({ "matchLabels": labels, "matchExpressions": expressions })
            }
        ),
    ]
}

fn block() -> impl Strategy<Value = Value> {
    const V4: [&str; 10] = [
        "0.0.0.0/0",
        "0.0.0.0/1",
        "128.0.0.0/1",
        "10.0.0.0/8",
        "128.0.0.0/2",
        "192.0.0.0/2",
        "8.0.0.0/7",
        "12.0.0.0/7",
        "10.244.0.0/16",
        "10.244.0.0/20",
    ];
    const V6: [&str; 9] = [
        "::/0",
        "::/1",
        "8000::/1",
        "8000::/2",
        "c000::/2",
        "64:ff9b::/96",
        "64:ff9b::800:0/103",
        "64:ff9b::/95",
        "fd00::/58",
    ];
    let of = |all: &'static [&'static str]| {
        (select(all), prop::option::weighted(0.25, select(&all[1..]))).prop_map(|(cidr, except)| match except {
            Some(except) if cidr == "0.0.0.0/0" || cidr == "::/0" => json!({ "cidr": cidr, "except": [except] }),
            _ => json!({ "cidr": cidr }),
        })
    };
    prop_oneof![of(&V4), of(&V6)].prop_map(|block| json!({ "ipBlock": block }))
}

fn peer() -> impl Strategy<Value = Value> {
    let pods = || selector(&POD_VALUES[..2]);
    let namespaces = || selector(&RINGFENCE_VALUES);
    prop_oneof![
        1 => pods().prop_map(|pods| json!({ "podSelector": pods })),
        3 => namespaces().prop_map(|namespaces| json!({ "namespaceSelector": namespaces })),
        2 => (namespaces(), pods()).prop_map(|(n, p)| json!({ "namespaceSelector": n, "podSelector": p })),
        3 => block(),
    ]
}

fn peers() -> impl Strategy<Value = Value> {
    let world = json!([{ "ipBlock": { "cidr": "0.0.0.0/0" } }, { "ipBlock": { "cidr": "::/0" } }]);
    prop_oneof![
        2 => Just(json!([])),
        1 => Just(world),
        1 => Just(json!([{ "namespaceSelector": {} }])),
        5 => prop::collection::vec(peer(), 1..4).prop_map(Value::Array),
    ]
}

fn port() -> impl Strategy<Value = Value> {
    let protocol = || select(&["TCP", "UDP", "SCTP"][..]);
    prop_oneof![
        2 => protocol().prop_map(|protocol| json!({ "protocol": protocol })),
        2 => (protocol(), select(&[1, 80, 443, 65535][..])).prop_map(|(protocol, port)| json!({ "protocol": protocol, "port": port })),
        2 => (protocol(), select(&[(1, 65535), (1, 80), (81, 65535), (1, 32767), (32768, 65535), (80, 443)][..])).prop_map(
            |(protocol, (from, to))| json!({ "protocol": protocol, "port": from, "endPort": to })
        ),
        1 => (protocol(), select(&["http", "dns"][..])).prop_map(|(protocol, name)| json!({ "protocol": protocol, "port": name })),
        1 => Just(json!({ "port": 443 })),
    ]
}

fn ports() -> impl Strategy<Value = Value> {
    let all = json!([{ "protocol": "TCP" }, { "protocol": "UDP" }, { "protocol": "SCTP" }]);
    prop_oneof![
        5 => Just(json!([])),
        1 => Just(all),
        4 => prop::collection::vec(port(), 1..4).prop_map(Value::Array),
    ]
}

fn rules(peers_field: &'static str) -> impl Strategy<Value = Value> {
    let rule = (peers(), ports()).prop_map(move |(peers, ports)| json!({ peers_field: peers, "ports": ports }));
    prop::collection::vec(rule, 0..3).prop_map(Value::Array)
}

/// One policy, as it is written.
pub(crate) fn policy() -> impl Strategy<Value = Value> {
    const TYPES: [&[&str]; 5] = [&[], &["Ingress"], &["Egress"], &["Ingress", "Egress"], &["Egress", "Ingress"]];
    let types = select(&TYPES[..]);
    (selector(&POD_VALUES), types, rules("from"), rules("to"), prop::bool::weighted(0.15)).prop_map(
        |(pods, types, ingress, egress, deleting)| {
            let mut object = json!({
                "metadata": { "name": "p" },
                "spec": { "podSelector": pods, "policyTypes": types, "ingress": ingress, "egress": egress },
            });
            if deleting {
                object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            object
        },
    )
}

/// A few policies, each with its own name.
pub(crate) fn policies() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(policy(), 0..5).prop_map(|mut policies| {
        for (index, policy) in policies.iter_mut().enumerate() {
            policy["metadata"]["name"] = json!(format!("p{index}"));
        }
        policies
    })
}

/// A change that takes something away from a policy, by numbers that are taken modulo what there is.
pub(crate) fn narrowing() -> impl Strategy<Value = (u8, usize, usize)> {
    (0..7u8, 0..4usize, 0..4usize)
}

/// The policy with the change made to it, in both directions.
pub(crate) fn narrowed(policy: &Value, (what, one, other): &(u8, usize, usize)) -> Value {
    let mut new = policy.clone();
    if *what == 0 {
        let requirement = json!({ "key": "c", "operator": "In", "values": ["x"] });
        match new["spec"]["podSelector"]["matchExpressions"].as_array_mut() {
            Some(expressions) => expressions.push(requirement),
            None => new["spec"]["podSelector"]["matchExpressions"] = json!([requirement]),
        }
    }
    for (field, peers) in [("ingress", "from"), ("egress", "to")] {
        let Some(rules) = new["spec"][field].as_array_mut().filter(|rules| !rules.is_empty()) else { continue };
        let count = rules.len();
        match what {
            1 => {
                rules.remove(one % count);
            }
            2 => rules.reverse(),
            _ => {
                let rule = &mut rules[one % count];
                let list = if *what < 5 { peers } else { "ports" };
                let Some(items) = rule[list].as_array_mut().filter(|items| items.len() > 1) else { continue };
                let at = other % items.len();
                match (what, items[at].get_mut("ipBlock")) {
                    (3, Some(block)) if block["cidr"] == "0.0.0.0/0" => {
                        block["except"] = json!(["0.0.0.0/1", "192.0.0.0/2"]);
                    }
                    (4 | 6, _) => items.reverse(),
                    _ => {
                        items.remove(at);
                    }
                }
            }
        }
    }
    new
}
