//! Coverage and holes against who can reach whom: two parts of the evaluator that share nothing but the parser.

use ringfence_core::policy::Direction;
use ringfence_core::policy::coverage;
use ringfence_core::policy::criteria::Criteria;
use ringfence_core::policy::holes::{self, Kind};
use ringfence_core::policy::reach::{Matrix, Party};
use serde_json::{Value, json};

use super::agreement::{NAMESPACE, parsed, refs};
use super::naive::{self, Labels, fields, has_type};
use super::reach::inventory;

/// Coverage and holes of a namespace, as [`super::agreement::NAMESPACE`], say what the matrix says among every pod that its
/// policies could tell apart, each in every namespace that they could tell apart: who has a hole is seen by a stranger, and
/// where one stranger, or all of a family, is seen on every port, there is a hole. None of the policies is being deleted.
pub(crate) fn check_coverage_and_holes(written: &[Value]) {
    for direction in Direction::BOTH {
        let (field, _) = fields(direction);
        let kind = if direction == Direction::Egress { "Egress" } else { "Ingress" };
        // Of this direction alone, so that the other holds nothing back.
        let policies: Vec<Value> = written
            .iter()
            .filter(|policy| has_type(&policy["spec"], direction))
            .map(|policy| {
                let spec = &policy["spec"];
                let mut alone = json!({ "podSelector": spec["podSelector"], "policyTypes": [kind] });
                alone[field] = spec[field].clone();
                json!({ "metadata": policy["metadata"], "spec": alone })
            })
            .collect();
        let parsed = parsed(&policies);
        let (coverage, _) = coverage::coverage(&refs(&parsed), direction);
        let (holes, capped) = holes::holes(&refs(&parsed), direction, &Criteria::default());
        assert!(!capped);
        let seen = PodsSeen::by_matrix(&policies, direction);
        let isolated: Vec<bool> = naive::pods()
            .iter()
            .map(|pod| policies.iter().any(|policy| naive::isolates(policy, direction, pod)))
            .collect();
        assert_eq!(coverage.is_complete(), isolated.iter().all(|isolated| *isolated));
        for (at, isolated) in isolated.iter().enumerate() {
            // Whoever is isolated by nothing has everything.
            assert!(*isolated || seen.on_every_port[at] == [true; 3]);
        }
        for (class, kind) in [Kind::Cluster, Kind::W4, Kind::W6].into_iter().enumerate() {
            let some = |has: &[[bool; 3]]| isolated.iter().zip(has).any(|(isolated, has)| *isolated && has[class]);
            let found = holes.iter().any(|hole| [Kind::All, kind].contains(&hole.kind));
            assert!(found || !some(&seen.on_every_port), "{direction} {kind} {holes:?}");
            // What is asked of Ringfence's labels counts as met; the matrix has no namespace with all of them.
            let asks_of_ringfence = json!(policies).to_string().contains("ringfence.dev/");
            assert!(!found || asks_of_ringfence || some(&seen.on_some_port), "{direction} {kind} {holes:?}");
        }
    }
}

/// Of every pod, whether a pod that nobody names, an address of IPv4 and one of IPv6 reaches it, or is reached: of a family,
/// every address on every port.
struct PodsSeen {
    on_every_port: Vec<[bool; 3]>,
    on_some_port: Vec<[bool; 3]>,
}

impl PodsSeen {
    fn by_matrix(policies: &[Value], direction: Direction) -> Self {
        const STRANGER: &str = "nobody-names-this";
        let own = naive::pods();
        let mut seen = Self { on_every_port: vec![[false; 3]; own.len()], on_some_port: vec![[false; 3]; own.len()] };
        let workload = |namespace: &str, name: String, labels: &Labels| {
            json!({ "namespace": namespace, "kind": "Deployment", "name": name, "labels": labels,
                "ports": [], "hostNetwork": false })
        };
        let namespace = |policies: &[Value]| json!({ "stated": true, "labels": {}, "policies": policies });
        let (mut workloads, mut namespaces) = (Vec::new(), json!({}));
        namespaces[NAMESPACE] = namespace(policies);
        namespaces[STRANGER] = namespace(&[]);
        for (at, labels) in own.iter().enumerate() {
            workloads.push(workload(NAMESPACE, format!("{at:03}"), labels));
            if labels.values().all(|value| value == STRANGER) {
                workloads.push(workload(STRANGER, format!("{at:03}"), labels));
            }
        }
        let inventory = inventory(&json!({ "namespaces": namespaces, "workloads": workloads }));
        let matrix = Matrix::new(&inventory);
        for connection in matrix.connections() {
            let (ours, theirs) = match direction {
                Direction::Egress => (connection.from, connection.to),
                Direction::Ingress => (connection.to, connection.from),
            };
            let Party::Workload(pod) = ours else { continue };
            if pod.namespace != NAMESPACE {
                continue;
            }
            let at: usize = pod.workload.name.parse().unwrap();
            let (class, is_whole) = match theirs {
                Party::Workload(other) if other.namespace == STRANGER => (0, true),
                Party::Workload(_) => continue,
                Party::Outside(block) => {
                    let block = block.to_string();
                    // An address of IPv6 can stand for one of IPv4.
                    seen.on_some_port[at][1] = true;
                    (if block.contains(':') { 2 } else { 1 }, block.ends_with("/0"))
                }
            };
            seen.on_some_port[at][class] = true;
            seen.on_every_port[at][class] |= is_whole && connection.ports.is_all();
        }
        seen
    }
}
