//! Coverage and holes against who can reach whom: two parts of the evaluator that share nothing but the parser.

use ringfence_core::policy::Direction;
use ringfence_core::policy::coverage;
use ringfence_core::policy::holes::{self, Kind};
use ringfence_core::policy::reach::{Matrix, Party};
use serde_json::{Value, json};

use super::agreement::{NAMESPACE, parsed, refs};
use super::naive::{self, Labels, fields, has_type};
use super::reach::inventory;

/// Coverage and holes of a namespace, as [`super::agreement::NAMESPACE`], say what the matrix says among every pod that its
/// policies could tell apart, each in every namespace that they could tell apart. None of the policies is being deleted.
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
        let (holes, capped) = holes::holes(&refs(&parsed), NAMESPACE, direction);
        assert!(!capped);
        let seen = PodsSeen::by_matrix(&policies, direction);
        let isolated: Vec<bool> = naive::pods()
            .iter()
            .map(|pod| policies.iter().any(|policy| naive::isolates(policy, direction, pod)))
            .collect();
        assert_eq!(coverage.is_complete(), isolated.iter().all(|isolated| *isolated));
        for (at, isolated) in isolated.iter().enumerate() {
            // Whoever is isolated by nothing has everything.
            assert!(*isolated || (seen.cluster[at] && seen.v4[at] && seen.v6[at]));
        }
        let some = |has: &[bool]| isolated.iter().zip(has).any(|(isolated, has)| *isolated && *has);
        let found = |kinds: &[Kind]| holes.iter().any(|hole| kinds.contains(&hole.kind));
        assert_eq!(found(&[Kind::All, Kind::Cluster]), some(&seen.cluster), "{direction} {holes:?}");
        assert_eq!(found(&[Kind::All, Kind::W4]), some(&seen.v4), "{direction} {holes:?}");
        assert_eq!(found(&[Kind::All, Kind::W6]), some(&seen.v6), "{direction} {holes:?}");
    }
}

/// Of every pod: whether it is reached by, or reaches, every other pod on every port, all of IPv4, all of IPv6.
struct PodsSeen {
    cluster: Vec<bool>,
    v4: Vec<bool>,
    v6: Vec<bool>,
}

impl PodsSeen {
    fn by_matrix(policies: &[Value], direction: Direction) -> Self {
        let own = naive::pods();
        let mut seen = Self { cluster: vec![true; own.len()], v4: vec![false; own.len()], v6: vec![false; own.len()] };
        let workload = |namespace: &str, name: String, labels: &Labels| {
            json!({ "namespace": namespace, "kind": "Deployment", "name": name, "labels": labels,
                "ports": [], "hostNetwork": false })
        };
        for env in [None, Some("x"), Some("y"), Some("nobody-names-this")] {
            let labels = env.map_or_else(|| json!({}), |env| json!({ "env": env }));
            let namespace = |policies: &[Value]| json!({ "stated": true, "labels": labels, "policies": policies });
            let (mut workloads, mut namespaces) = (Vec::new(), json!({}));
            namespaces[NAMESPACE] = namespace(policies);
            for (at, labels) in own.iter().enumerate() {
                workloads.push(workload(NAMESPACE, format!("{at:03}"), labels));
                for name in ["team-b", "nobody-names-this"] {
                    workloads.push(workload(name, format!("{at:03}"), labels));
                    namespaces[name] = namespace(&[]);
                }
            }
            let others = own.len() * 3;
            let inventory = inventory(&json!({ "namespaces": namespaces, "workloads": workloads }));
            let matrix = Matrix::new(&inventory);
            let mut open = vec![0; own.len()];
            for connection in matrix.connections() {
                let (ours, theirs) = match direction {
                    Direction::Egress => (connection.from, connection.to),
                    Direction::Ingress => (connection.to, connection.from),
                };
                let Party::Workload(pod) = ours else { continue };
                if pod.namespace != NAMESPACE || !connection.ports.is_all() {
                    continue;
                }
                let at: usize = pod.workload.name.parse().unwrap();
                match theirs {
                    Party::Workload(_) => open[at] += 1,
                    Party::Outside(block) if block.to_string() == "0.0.0.0/0" => seen.v4[at] = true,
                    Party::Outside(block) if block.to_string() == "::/0" => seen.v6[at] = true,
                    Party::Outside(_) => {}
                }
            }
            for (cluster, open) in seen.cluster.iter_mut().zip(open) {
                *cluster &= open == others;
            }
        }
        seen
    }
}
