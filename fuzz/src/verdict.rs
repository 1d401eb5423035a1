//! Small sets of policies against the naive evaluator of the property tests, which tries every pod, peer and port.
//!
//! The bytes are choices among few labels, addresses and ports, so that policies meet.

#[allow(dead_code, reason = "shared with the property tests")]
#[path = "../../core/tests/support/agreement.rs"]
mod agreement;
#[allow(dead_code, reason = "shared with the property tests")]
#[path = "../../core/tests/support/naive.rs"]
mod naive;

use arbitrary::{Result, Unstructured};
use serde_json::{Map, Value, json};

/// Keys and the values that selectors name, as the naive evaluator knows them.
type Keys = [(&'static str, [&'static str; 2])];

const POD_KEYS: &Keys = &[("a", ["x", "y"]), ("b", ["x", ""]), ("c", ["x", "y"])];
const PEER_KEYS: &Keys = &[("a", ["x", "y"]), ("b", ["x", ""])];
const NAMESPACE_KEYS: &Keys =
    &[("env", ["x", "y"]), ("kubernetes.io/metadata.name", ["team-a", "team-b"]), ("ringfence.dev/mode", ["x", "y"])];

fn list<'a, T>(
    choices: &mut Unstructured<'a>,
    most: usize,
    mut one: impl FnMut(&mut Unstructured<'a>) -> Result<T>,
) -> Result<Vec<T>> {
    let count = choices.int_in_range(0..=most)?;
    (0..count).map(|_| one(choices)).collect()
}

fn requirement(choices: &mut Unstructured<'_>, keys: &Keys) -> Result<Value> {
    let (key, values) = choices.choose(keys)?;
    let listed = match choices.int_in_range(0..=2u8)? {
        0 => &values[..1],
        1 => &values[1..],
        _ => &values[..],
    };
    Ok(match choices.int_in_range(0..=3u8)? {
        0 => json!({ "key": key, "operator": "In", "values": listed }),
        1 => json!({ "key": key, "operator": "NotIn", "values": listed }),
        2 => json!({ "key": key, "operator": "Exists" }),
        _ => json!({ "key": key, "operator": "DoesNotExist" }),
    })
}

fn selector(choices: &mut Unstructured<'_>, keys: &Keys) -> Result<Value> {
    let labels: Map<String, Value> = list(choices, 1, |choices| {
        let (key, values) = choices.choose(keys)?;
        Ok(((*key).to_owned(), json!(choices.choose(values)?)))
    })?
    .into_iter()
    .collect();
    let expressions = list(choices, 2, |choices| requirement(choices, keys))?;
    Ok(json!({ "matchLabels": labels, "matchExpressions": expressions }))
}

fn peer(choices: &mut Unstructured<'_>) -> Result<Value> {
    const V4: &[&str] = &[
        "0.0.0.0/0",
        "0.0.0.0/1",
        "128.0.0.0/1",
        "10.0.0.0/8",
        "128.0.0.0/2",
        "192.0.0.0/2",
        "8.0.0.0/7",
        "12.0.0.0/7",
        "10.244.0.0/16",
    ];
    const V6: &[&str] =
        &["::/0", "::/1", "8000::/1", "8000::/2", "c000::/2", "64:ff9b::/96", "64:ff9b::800:0/103", "64:ff9b::/95"];
    Ok(match choices.int_in_range(0..=4u8)? {
        0 => json!({ "podSelector": selector(choices, PEER_KEYS)? }),
        1 => json!({ "namespaceSelector": selector(choices, NAMESPACE_KEYS)? }),
        2 => json!({
            "namespaceSelector": selector(choices, NAMESPACE_KEYS)?, "podSelector": selector(choices, PEER_KEYS)?,
        }),
        family => {
            let blocks = if family == 3 { V4 } else { V6 };
            let cidr = *choices.choose(blocks)?;
            let mut block = json!({ "cidr": cidr });
            if cidr == blocks[0] {
                block["except"] = json!(list(choices, 2, |choices| choices.choose(&blocks[1..]).copied())?);
            }
            json!({ "ipBlock": block })
        }
    })
}

fn port(choices: &mut Unstructured<'_>) -> Result<Value> {
    const RANGES: &[(u16, u16)] =
        &[(1, 65535), (1, 80), (81, 65535), (1, 32767), (32768, 65535), (80, 443), (443, 443), (65535, 65535)];
    let protocol = choices.choose(&["TCP", "UDP", "SCTP"])?;
    Ok(match choices.int_in_range(0..=4u8)? {
        0 => json!({ "protocol": protocol }),
        1 => json!({ "protocol": protocol, "port": choices.choose(RANGES)?.0 }),
        2 => json!({ "protocol": protocol, "port": choices.choose(&["http", "dns"])? }),
        3 => json!({ "port": choices.choose(RANGES)?.1 }),
        _ => {
            let (from, to) = choices.choose(RANGES)?;
            json!({ "protocol": protocol, "port": from, "endPort": to })
        }
    })
}

fn rules(choices: &mut Unstructured<'_>, peers: &str) -> Result<Vec<Value>> {
    list(choices, 2, |choices| Ok(json!({ peers: list(choices, 3, peer)?, "ports": list(choices, 3, port)? })))
}

fn policy(choices: &mut Unstructured<'_>) -> Result<Value> {
    const TYPES: [&[&str]; 5] = [&[], &["Ingress"], &["Egress"], &["Ingress", "Egress"], &["Egress", "Ingress"]];
    let mut object = json!({ "metadata": {}, "spec": {
        "podSelector": selector(choices, POD_KEYS)?,
        "policyTypes": choices.choose(&TYPES)?,
        "ingress": rules(choices, "from")?,
        "egress": rules(choices, "to")?,
    } });
    if choices.ratio(1, 8)? {
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    Ok(object)
}

fn policies(choices: &mut Unstructured<'_>) -> Result<Vec<Value>> {
    let mut policies = list(choices, 4, policy)?;
    for (index, policy) in policies.iter_mut().enumerate() {
        policy["metadata"]["name"] = json!(format!("p{index}"));
    }
    Ok(policies)
}

/// Choices of a question and of the sets of policies that it is about.
pub fn run(data: &[u8]) {
    let mut choices = Unstructured::new(data);
    let _ = ask(&mut choices);
}

fn ask(choices: &mut Unstructured<'_>) -> Result<()> {
    let criteria = agreement::criteria(choices.int_in_range(0..=agreement::CRITERIA - 1)?);
    match choices.int_in_range(0..=9u8)? {
        0 => agreement::check_coverage(&policies(choices)?),
        1 => agreement::check_holes(&policies(choices)?, &criteria),
        2 => {
            let (turn, twice) = (choices.int_in_range(0..=4usize)?, choices.int_in_range(0..=4usize)?);
            agreement::check_order(&policies(choices)?, turn, twice, &criteria);
        }
        3 => agreement::check_added(&policies(choices)?, &policy(choices)?, &criteria),
        4 => agreement::check_lost(&policies(choices)?, &policies(choices)?),
        5 => agreement::check_opened(&policies(choices)?, &policies(choices)?, &criteria),
        8 => agreement::check_participants(&policies(choices)?, &criteria, choices.int_in_range(0..=1023)?),
        9 => agreement::check_allows_no_more(&policy(choices)?, &policy(choices)?),
        // One policy comes or goes, as with most requests.
        question => {
            let few = policies(choices)?;
            let more: Vec<Value> = few.iter().cloned().chain([policy(choices)?]).collect();
            if question == 6 {
                agreement::check_opened(&few, &more, &criteria);
            } else {
                agreement::check_lost(&more, &few);
            }
        }
    }
    Ok(())
}
