//! What a judgement costs: ordinary namespaces, and sets of policies made to be hard.
//!
//! The hard sets are what the cap in `ringfence_core::policy::space` is chosen by: each of them must stay below 10 ms.

#![allow(clippy::unwrap_used, reason = "the sets are well-formed")]
#![allow(clippy::needless_pass_by_value, reason = "a table reads better without a borrow at every json!")]
#![allow(missing_docs, reason = "criterion's macros write functions without")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use ringfence_core::policy::NetworkPolicy;
use ringfence_core::policy::criteria::Criteria;
use ringfence_core::policy::parse::{Source, network_policy};
use ringfence_core::policy::verdict::judge;
use ringfence_core::profile::built_in;
use serde_json::{Value, json};

const POLICIES: u64 = 100;
const KEYS: u64 = 20;

/// A small generator of numbers (`SplitMix64`), the same on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    fn distinct(&mut self, count: u64, end: u64) -> Vec<u64> {
        let mut all: Vec<u64> = (0..end).collect();
        for i in 0..count {
            let j = i + self.below(end - i);
            all.swap(usize::try_from(i).unwrap(), usize::try_from(j).unwrap());
        }
        all.truncate(usize::try_from(count).unwrap());
        all
    }
}

fn parse(specs: Vec<Value>) -> Vec<NetworkPolicy> {
    specs
        .into_iter()
        .enumerate()
        .map(|(i, spec)| {
            network_policy(json!({ "metadata": { "name": format!("p{i}") }, "spec": spec }), Source::Cluster).unwrap()
        })
        .collect()
}

fn requirement(key: u64, operator: &str, values: &[u64]) -> Value {
    let mut made = json!({ "key": format!("k{key}"), "operator": operator });
    if !values.is_empty() {
        made["values"] = values.iter().map(|v| format!("v{v}")).collect();
    }
    made
}

fn selector(requirements: Vec<Value>) -> Value {
    json!({ "matchExpressions": requirements })
}

/// A policy for the pods, which lets the world in on what `rules` says.
fn both(pods: Value, rules: &Value) -> Value {
    json!({ "podSelector": pods, "policyTypes": ["Ingress", "Egress"], "ingress": rules["ingress"], "egress": rules["egress"] })
}

fn rules(peers: &Value, ports: &Value) -> Value {
    json!({ "ingress": [{ "from": peers, "ports": ports }], "egress": [{ "to": peers, "ports": ports }] })
}

/// Rules of the i-th of a set's policies: nothing, everything, a port, a part of the world.
fn rules_of_kind(kind: &str, i: u64) -> Value {
    let half = |i: u64| if i.is_multiple_of(2) { ("0.0.0.0/1", "::/1") } else { ("128.0.0.0/1", "8000::/1") };
    match kind {
        "nothing" => json!({}),
        "everything" => rules(&json!([]), &json!([])),
        "a-port" => rules(&json!([]), &json!([{ "port": 443 }])),
        "own-port" => rules(&json!([]), &json!([{ "port": 1000 + i * 2 }])),
        "halves" => {
            let (v4, v6) = half(i);
            rules(&json!([{ "ipBlock": { "cidr": v4 } }, { "ipBlock": { "cidr": v6 } }]), &json!([]))
        }
        "slices" => rules(&json!([{ "ipBlock": { "cidr": format!("{}.0.0.0/6", (i % 64) * 4) } }]), &json!([])),
        "port-slices" => {
            let protocols = ["TCP", "UDP", "SCTP"].into_iter().cycle();
            let starts = (0..20).map(|n| 1 + (i * 97 + n * 3001) % 60_000);
            let ports: Vec<Value> = protocols
                .zip(starts)
                .map(|(protocol, start)| json!({ "protocol": protocol, "port": start, "endPort": start + 5000 }))
                .collect();
            rules(&json!([]), &json!(ports))
        }
        _ => {
            let namespaces: Vec<Value> = (0..5)
                .map(|n| {
                    json!({ "namespaceSelector": selector(vec![
                    requirement((i + n) % KEYS, "NotIn", &[n]), requirement((i * 7 + n + 1) % KEYS, "NotIn", &[i % 3]),
                ]) })
                })
                .collect();
            rules(&json!(namespaces), &json!([]))
        }
    }
}

const RULES: [&str; 8] =
    ["nothing", "everything", "a-port", "own-port", "halves", "slices", "port-slices", "namespaces"];

/// Selectors, each of which names `width` of the keys, one of two values in each.
fn clauses(seed: u64, width: u64, count: u64) -> Vec<Value> {
    let mut random = Random(seed);
    (0..count)
        .map(|_| {
            let keys = random.distinct(width, KEYS);
            selector(
                keys.into_iter()
                    .map(|key| {
                        let operator = if random.below(2) == 0 { "In" } else { "NotIn" };
                        requirement(key, operator, &[0])
                    })
                    .collect(),
            )
        })
        .collect()
}

/// Selectors over all keys, with several values each.
fn wide(seed: u64) -> Vec<Value> {
    let mut random = Random(seed);
    (0..POLICIES)
        .map(|_| {
            selector(
                (0..KEYS)
                    .map(|key| {
                        let values = random.distinct(1 + random.0 % 2, 6);
                        requirement(key, "NotIn", &values)
                    })
                    .collect(),
            )
        })
        .collect()
}

/// More pigeons than holes: a pod without label escapes only if every key has a value that no other key has.
fn pigeonhole(pigeons: u64, holes: u64) -> Vec<Value> {
    let every_hole: Vec<u64> = (0..holes).collect();
    let homeless = (0..pigeons).map(|p| selector(vec![requirement(p, "NotIn", &every_hole)]));
    let together = (0..holes).flat_map(|hole| {
        (0..pigeons).flat_map(move |p| {
            (0..p).map(move |q| selector(vec![requirement(p, "In", &[hole]), requirement(q, "In", &[hole])]))
        })
    });
    homeless.chain(together).collect()
}

/// Neighbouring keys differ all the way round an odd ring, in chains of three: no pod escapes, which takes both values
/// of most keys to see.
fn parity(seed: u64) -> Vec<Value> {
    let mut random = Random(seed);
    let mut made = Vec::new();
    while made.len() + 4 <= usize::try_from(POLICIES).unwrap() {
        let keys = random.distinct(3, KEYS);
        let odd = random.below(2);
        for bits in 0..8u64 {
            if u64::from(bits.count_ones()) % 2 == odd {
                let of = |i: u64| {
                    let operator = if bits >> i & 1 == 1 { "In" } else { "NotIn" };
                    requirement(keys[usize::try_from(i).unwrap()], operator, &[0])
                };
                made.push(selector(vec![of(0), of(1), of(2)]));
            }
        }
    }
    made
}

/// One policy beside a deny, with many entangled peers.
fn many_peers(seed: u64, peers: u64, width: u64) -> Vec<Value> {
    let mut random = Random(seed);
    let peers: Vec<Value> = (0..peers)
        .map(|_| {
            let keys = random.distinct(width, KEYS);
            json!({ "namespaceSelector": selector(keys.into_iter().map(|key| {
                let operator = if random.below(2) == 0 { "In" } else { "NotIn" };
                requirement(key, operator, &[0])
            }).collect()) })
        })
        .collect();
    vec![both(json!({}), &json!({})), both(json!({}), &rules(&json!(peers), &json!([])))]
}

/// Policies with entangled pods, each with entangled peers, on ports of their own.
fn everything_at_once(seed: u64) -> Vec<Value> {
    let pods = clauses(seed, 4, POLICIES);
    let peers = clauses(seed + 1, 3, POLICIES * 5);
    pods.into_iter()
        .enumerate()
        .map(|(i, pods)| {
            let mine: Vec<Value> =
                peers[i * 5..i * 5 + 5].iter().map(|peer| json!({ "namespaceSelector": peer })).collect();
            let from = 1 + i * 600;
            both(pods, &rules(&json!(mine), &json!([{ "port": from, "endPort": from + 5000 }, { "protocol": "UDP" }])))
        })
        .collect()
}

/// Every hard set, by name.
fn hard() -> Vec<(String, Vec<NetworkPolicy>)> {
    let mut selectors: Vec<(String, Vec<Value>)> = vec![
        ("parity".to_owned(), parity(7)),
        ("wide".to_owned(), wide(11)),
        ("pigeons-6-5".to_owned(), pigeonhole(6, 5)),
        ("pigeons-20-1".to_owned(), pigeonhole(20, 1)),
        ("pigeons-8-3".to_owned(), pigeonhole(8, 3)),
    ];
    for width in [2, 3, 4, 5, 6, 8, 12, 20] {
        selectors.push((format!("clauses-of-{width}"), clauses(width, width, POLICIES)));
    }
    let mut sets: Vec<(String, Vec<Value>)> = Vec::new();
    for (name, selectors) in selectors {
        for kind in RULES {
            let policies = selectors.iter().cloned().zip(0..).map(|(pods, i)| both(pods, &rules_of_kind(kind, i)));
            sets.push((format!("{name}/{kind}"), policies.collect()));
        }
    }
    for width in [2, 3, 4, 6, 10] {
        sets.push((format!("100-peers-of-{width}"), many_peers(width, 100, width)));
        sets.push((format!("2000-peers-of-{width}"), many_peers(width, 2000, width)));
    }
    for seed in 0..4 {
        sets.push((format!("everything-{seed}"), everything_at_once(seed)));
    }
    let ports: Vec<Value> =
        (0..2000).map(|n| json!({ "port": 1 + n * 17, "endPort": 1 + n * 17 + (n % 40) * 40 })).collect();
    sets.push(("many-ports".to_owned(), vec![both(json!({}), &rules(&json!([]), &json!(ports)))]));
    let spread: Vec<Value> = clauses(3, 3, POLICIES)
        .into_iter()
        .zip(0..)
        .map(|(pods, i)| {
            let ports: Vec<Value> = (0..20).map(|n| json!({ "port": 1 + n * 3000 + i * 13 })).collect();
            both(pods, &rules(&json!([]), &json!(ports)))
        })
        .collect();
    sets.push(("2000-groups-of-ports".to_owned(), spread));
    sets.into_iter().map(|(name, specs)| (name, parse(specs))).collect()
}

/// A namespace as tenants write them: the built-in policies, and one or two policies for each of their applications.
fn tenant(count: u64) -> Vec<NetworkPolicy> {
    let mut specs: Vec<Value> =
        built_in("standard").unwrap().into_iter().map(|(_, spec)| serde_json::to_value(spec).unwrap()).collect();
    for i in 0..count.saturating_sub(3) {
        let pods = json!({ "matchLabels": { "app": format!("app-{}", i / 2) } });
        specs.push(match i % 5 {
            0 => json!({ "podSelector": pods, "policyTypes": ["Ingress"], "ingress": [{
                "from": [{ "podSelector": { "matchLabels": { "app": format!("app-{}", i + 1) } } }],
                "ports": [{ "port": 8080 + i }] }] }),
            1 => json!({ "podSelector": pods, "policyTypes": ["Egress"], "egress": [{
                "to": [{ "ipBlock": { "cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "169.254.169.254/32"] } }],
                "ports": [{ "port": 443 }] }] }),
            2 => json!({ "podSelector": pods, "policyTypes": ["Ingress"], "ingress": [{
                "from": [{ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "monitoring" } } }],
                "ports": [{ "port": "metrics" }] }] }),
            3 => {
                json!({ "podSelector": pods, "policyTypes": ["Ingress"], "ingress": [{ "ports": [{ "port": 8443 }] }] })
            }
            _ => json!({ "podSelector": pods, "policyTypes": ["Egress"], "egress": [{
                "to": [{ "ipBlock": { "cidr": "0.0.0.0/0" } }], "ports": [{ "port": 443 }, { "port": 5432 + i }] }] }),
        });
    }
    parse(specs)
}

fn bench(criterion: &mut Criterion) {
    let criteria = Criteria::default();
    let mut group = criterion.benchmark_group("judge");
    for (name, policies) in
        [("built-in", tenant(3)), ("tenant-20", tenant(20)), ("tenant-100", tenant(100)), ("tenant-400", tenant(400))]
    {
        let policies: Vec<&NetworkPolicy> = policies.iter().collect();
        assert!(!judge(&policies, &criteria).capped, "{name} is ordinary");
        group.bench_function(name, |bencher| bencher.iter(|| judge(black_box(&policies), &criteria)));
    }
    // Enough to see which exceed the limit; there are many.
    group.sample_size(10).warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(300));
    for (name, policies) in hard() {
        let policies: Vec<&NetworkPolicy> = policies.iter().collect();
        group.bench_function(format!("hard/{name}"), |bencher| bencher.iter(|| judge(black_box(&policies), &criteria)));
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
