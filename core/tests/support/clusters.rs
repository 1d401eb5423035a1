//! Small clusters, as JSON: a few namespaces with a few workloads and policies each, over the domains of [`super::generate`].

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use super::generate::policies;

/// The namespaces. No policy names the third.
pub(crate) const NAMESPACES: [&str; 3] = ["team-a", "team-b", "nobody-names-this"];

fn labels(keys: &'static [(&'static str, [&'static str; 3])]) -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::vec((select(keys), 0..3usize), 0..3)
        .prop_map(|pairs| pairs.into_iter().map(|((key, values), i)| (key.to_owned(), json!(values[i]))).collect())
}

fn container_port() -> impl Strategy<Value = Value> {
    (select(&["http", "dns", ""][..]), select(&["TCP", "UDP", "SCTP"][..]), select(&[1, 53, 80, 443, 8080][..]))
        .prop_map(|(name, protocol, port)| json!({ "name": name, "protocol": protocol, "containerPort": port }))
}

fn workload() -> impl Strategy<Value = Value> {
    const LABELS: [(&str, [&str; 3]); 3] = [("a", ["x", "y", "z"]), ("b", ["x", "", "z"]), ("c", ["x", "y", "z"])];
    let ports = prop::collection::vec(container_port(), 0..3);
    (select(&NAMESPACES[..]), prop::bool::ANY, labels(&LABELS), ports, prop::bool::weighted(0.1)).prop_map(
        |(namespace, pod, labels, ports, host_network)| {
            json!({
                "namespace": namespace, "kind": if pod { "Pod" } else { "Deployment" },
                "labels": labels, "ports": ports, "hostNetwork": host_network,
            })
        },
    )
}

fn namespace() -> impl Strategy<Value = Value> {
    const LABELS: [(&str, [&str; 3]); 1] = [("env", ["x", "y", "z"])];
    let policies = prop_oneof![1 => Just(Vec::new()), 2 => policies()];
    (policies, prop::bool::ANY, labels(&LABELS)).prop_map(
        |(policies, stated, labels)| json!({ "policies": policies, "stated": stated, "labels": if stated { labels } else { Map::new() } }),
    )
}

/// One cluster: `namespaces` by name, and `workloads`.
pub(crate) fn cluster() -> impl Strategy<Value = Value> {
    (namespace(), namespace(), namespace(), prop::collection::vec(workload(), 0..6)).prop_map(
        |(a, b, c, mut workloads)| {
            for (index, workload) in workloads.iter_mut().enumerate() {
                workload["name"] = json!(format!("w{index}"));
            }
            let [first, second, third] = NAMESPACES;
            json!({ "namespaces": { first: a, second: b, third: c }, "workloads": workloads })
        },
    )
}

/// A cluster, and what may become of it: any of its policies and workloads goes or changes, or stays.
pub(crate) fn change() -> impl Strategy<Value = (Value, Value)> {
    (cluster(), cluster(), prop::collection::vec(prop::bool::ANY, 3), prop::collection::vec(0..3u8, 12)).prop_map(
        |(before, other, kept, fates)| {
            let mut after = before.clone();
            for (namespace, kept) in NAMESPACES.iter().zip(kept) {
                if !kept {
                    after["namespaces"][namespace] = other["namespaces"][namespace].clone();
                }
            }
            let of = |cluster: &Value| cluster["workloads"].as_array().unwrap().clone();
            let (before_workloads, other_workloads) = (of(&before), of(&other));
            let mut workloads = Vec::new();
            for (index, fate) in fates.into_iter().enumerate() {
                // Stays; goes, or is another of the same name; or another one beside it.
                match fate {
                    0 => workloads.extend(before_workloads.get(index).cloned()),
                    1 => workloads.extend(other_workloads.get(index).cloned()),
                    _ => {
                        workloads.extend(before_workloads.get(index).cloned());
                        workloads.extend(other_workloads.get(index).cloned().map(|mut new| {
                            new["name"] = json!(format!("new{index}"));
                            new
                        }));
                    }
                }
            }
            after["workloads"] = Value::Array(workloads);
            (before, after)
        },
    )
}
