//! Policies past the cap of a search, as JSON.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

/// More pigeons than holes: every pod is selected, since nine keys cannot hold nine different ones of eight values, but
/// that takes a search through most of the ways to try. Each policy is open on a port, and to half of the world.
pub(crate) fn hostile() -> Vec<Value> {
    const PIGEONS: usize = 9;
    let holes: Vec<String> = (1..PIGEONS).map(|hole| format!("h{hole}")).collect();
    let requirement = |pigeon: usize, operator: &str, values: &[String]| json!({ "key": format!("k{pigeon}"), "operator": operator, "values": values });
    let mut selectors: Vec<Value> =
        (0..PIGEONS).map(|pigeon| json!({ "matchExpressions": [requirement(pigeon, "NotIn", &holes)] })).collect();
    for hole in holes.chunks(1) {
        for (a, b) in (0..PIGEONS).flat_map(|a| (0..a).map(move |b| (a, b))) {
            selectors.push(json!({ "matchExpressions": [requirement(a, "In", hole), requirement(b, "In", hole)] }));
        }
    }
    selectors
        .into_iter()
        .enumerate()
        .map(|(i, pods)| {
            let half = if i % 2 == 0 { "0.0.0.0/1" } else { "128.0.0.0/1" };
            json!({ "metadata": { "name": format!("p{i}") }, "spec": {
                "podSelector": pods, "policyTypes": ["Ingress", "Egress"],
                "ingress": [{ "ports": [{ "port": 1000 + i % 100 }] }, { "from": [{ "ipBlock": { "cidr": half } }] }],
                "egress": [{ "ports": [{ "port": 1000 + i % 100 }] }, { "to": [{ "ipBlock": { "cidr": half } }] }],
            } })
        })
        .collect()
}

/// Each pod is selected by one of two policies for each of twenty keys, and each policy opens 1/32 of what counts as wide. Together
/// with [`share`] every pod has just as much as may be open, but that takes a search through a million pods to find out.
pub(crate) fn choices() -> Vec<Value> {
    let policy = |number: u32| {
        let operator = if number.is_multiple_of(2) { "Exists" } else { "DoesNotExist" };
        let pods = json!({ "matchExpressions": [{ "key": format!("k{}", number / 2), "operator": operator }] });
        let block = json!({ "ipBlock": { "cidr": format!("{}/12", Ipv4Addr::from((64 + number) << 20)) } });
        json!({ "metadata": { "name": format!("choice{number}") }, "spec": {
            "podSelector": pods, "policyTypes": ["Ingress"], "ingress": [{ "from": [block] }],
        } })
    };
    (0..40).map(policy).collect()
}

/// Opens 12/32 of what counts as wide to every pod.
pub(crate) fn share() -> Value {
    let block = |cidr: &str| json!({ "ipBlock": { "cidr": cidr } });
    json!({ "metadata": { "name": "share" }, "spec": {
        "podSelector": {}, "policyTypes": ["Ingress"],
        "ingress": [{ "from": [block("32.0.0.0/9"), block("33.0.0.0/10")] }],
    } })
}
