//! Who can reach whom, found by trying every pair on every port, and the agreement of `policy::reach` with that.
//!
//! Reads clusters as they are written ([`super::clusters`]), and shares nothing with what is under test.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ringfence_core::inventory::{self, Inventory, workload};
use ringfence_core::policy::Direction;
use ringfence_core::policy::parse::{Source, noted};
use ringfence_core::policy::ports::Protocol;
use ringfence_core::policy::reach::{
    Diff, Endpoint, Group, Matrix, Member, Members, Miss, Party, Port, PortSet, Side, connect,
};
use serde_json::{Value, json};

use super::naive::{Labels, block, fields, has_type, items, matches, text};

/// What a cluster is to the evaluator.
pub(crate) fn inventory(cluster: &Value) -> Inventory {
    let mut inventory = Inventory::default();
    for (name, written) in cluster["namespaces"].as_object().unwrap() {
        let namespace = inventory.namespace_mut(name);
        if written["stated"] == true {
            namespace.state(name, labels(&written["labels"]));
        }
        for policy in items(&written["policies"]) {
            let (policy, notes) = noted(policy, Source::File).unwrap();
            namespace.policies.push(inventory::Written { policy, notes });
        }
    }
    for written in items(&cluster["workloads"]) {
        let pod = json!({ "hostNetwork": written["hostNetwork"], "containers": [{ "ports": written["ports"] }] });
        let object = if written["kind"] == "Pod" {
            json!({ "metadata": { "name": written["name"], "labels": written["labels"] }, "spec": pod })
        } else {
            let template = json!({ "metadata": { "labels": written["labels"] }, "spec": pod });
            json!({ "metadata": { "name": written["name"] }, "spec": { "template": template } })
        };
        let read = workload::read(text(&written["kind"]), &object).unwrap().unwrap();
        inventory.namespace_mut(text(&written["namespace"])).workloads.push(read);
    }
    inventory
}

fn labels(written: &Value) -> Labels {
    written.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), text(value).to_owned())).collect()
}

/// An end of a connection, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End<'c> {
    Workload(&'c Value),
    Address(IpAddr),
}

type Point = (Protocol, u16);

fn allows_peer(cluster: &Value, own: &str, rule: &Value, field: &str, other: End<'_>) -> bool {
    let peers = items(&rule[field]);
    peers.is_empty()
        || peers.iter().any(|peer| match other {
            End::Address(address) => {
                let number = |address| match address {
                    IpAddr::V4(v4) => (false, u128::from(u32::from(v4))),
                    IpAddr::V6(v6) => (true, u128::from(v6)),
                };
                let (v6, address) = number(address);
                let inside = |cidr: &Value| {
                    let (is_v6, first, last) = block(text(cidr));
                    is_v6 == v6 && first <= address && address <= last
                };
                let written = &peer["ipBlock"];
                !written.is_null() && inside(&written["cidr"]) && !items(&written["except"]).iter().any(inside)
            }
            End::Workload(pod) if pod["hostNetwork"] == true => false,
            End::Workload(pod) => {
                let namespace = text(&pod["namespace"]);
                let mut of_namespace = labels(&cluster["namespaces"][namespace]["labels"]);
                of_namespace.insert("kubernetes.io/metadata.name".to_owned(), namespace.to_owned());
                let in_namespace = match &peer["namespaceSelector"] {
                    Value::Null => namespace == own,
                    selector => matches(selector, &of_namespace),
                };
                peer["ipBlock"].is_null() && in_namespace && matches(&peer["podSelector"], &labels(&pod["labels"]))
            }
        })
}

fn allows_port(rule: &Value, to: End<'_>, (protocol, number): Point) -> bool {
    let entries = items(&rule["ports"]);
    entries.is_empty()
        || entries.iter().any(|entry| {
            entry["protocol"].as_str().unwrap_or("TCP") == protocol.to_string()
                && match &entry["port"] {
                    Value::Null => true,
                    Value::String(name) => match to {
                        End::Workload(pod) if pod["hostNetwork"] != true => items(&pod["ports"]).iter().any(|port| {
                            port["name"] == **name
                                && port["protocol"] == protocol.to_string()
                                && port["containerPort"] == number
                        }),
                        _ => false,
                    },
                    from => {
                        let last = if entry["endPort"].is_null() { from } else { &entry["endPort"] };
                        (from.as_u64().unwrap()..=last.as_u64().unwrap()).contains(&u64::from(number))
                    }
                }
        })
}

/// The policies of a direction that select an end.
fn selecting<'c>(cluster: &'c Value, own: End<'_>, direction: Direction) -> Vec<&'c Value> {
    let End::Workload(pod) = own else { return Vec::new() };
    let policies = items(&cluster["namespaces"][text(&pod["namespace"])]["policies"]);
    policies
        .iter()
        .filter(|_| pod["hostNetwork"] != true)
        .filter(|policy| has_type(&policy["spec"], direction))
        .filter(|policy| matches(&policy["spec"]["podSelector"], &labels(&pod["labels"])))
        .collect()
}

/// What one side lets through to or from the other, at each point.
fn side(cluster: &Value, from: End<'_>, to: End<'_>, direction: Direction, points: &[Point]) -> Vec<bool> {
    let (own, other) = if direction == Direction::Egress { (from, to) } else { (to, from) };
    let policies = selecting(cluster, own, direction);
    let End::Workload(pod) = own else { return vec![true; points.len()] };
    let (field, peers) = fields(direction);
    let rules = policies.iter().flat_map(|policy| items(&policy["spec"][field]));
    let mut open = vec![policies.is_empty(); points.len()];
    for rule in rules.filter(|rule| allows_peer(cluster, text(&pod["namespace"]), rule, peers, other)) {
        for (open, point) in open.iter_mut().zip(points) {
            *open |= allows_port(rule, to, *point);
        }
    }
    open
}

fn is_same_pod(from: End<'_>, to: End<'_>) -> bool {
    from == to && matches!(from, End::Workload(pod) if pod["kind"] == "Pod")
}

fn allowed(cluster: &Value, from: End<'_>, to: End<'_>, points: &[Point]) -> Vec<bool> {
    let egress = side(cluster, from, to, Direction::Egress, points);
    let ingress = side(cluster, from, to, Direction::Ingress, points);
    egress.iter().zip(ingress).map(|(out, into)| is_same_pod(from, to) || *out && into).collect()
}

/// The ports at which anything of the generated clusters begins or ends, and their neighbours.
fn points() -> Vec<Point> {
    const NUMBERS: [u16; 11] = [1, 2, 53, 79, 80, 81, 443, 444, 8080, 32768, 65535];
    Protocol::ALL.into_iter().flat_map(|protocol| NUMBERS.map(|number| (protocol, number))).collect()
}

/// Addresses that the generated blocks tell apart.
fn addresses() -> Vec<IpAddr> {
    ["9.255.255.255", "10.0.0.0", "127.255.255.255", "128.0.0.0", "192.0.0.0"]
        .into_iter()
        .chain(["::", "8000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"])
        .map(|address| address.parse().unwrap())
        .collect()
}

fn ends(cluster: &Value) -> Vec<End<'_>> {
    items(&cluster["workloads"]).iter().map(End::Workload).chain(addresses().into_iter().map(End::Address)).collect()
}

/// The pairs that count: a workload is one of them.
fn pairs<'c>(ends: &[End<'c>]) -> Vec<(End<'c>, End<'c>)> {
    let all = ends.iter().flat_map(|from| ends.iter().map(move |to| (*from, *to)));
    all.filter(|pair| !matches!(pair, (End::Address(_), End::Address(_)))).collect()
}

type Key = (String, String, String);

fn key(pod: &Value) -> Key {
    (text(&pod["namespace"]).to_owned(), text(&pod["name"]).to_owned(), text(&pod["kind"]).to_owned())
}

fn is_member(member: &Member<'_>, pod: &Value) -> bool {
    member.key() == (text(&pod["namespace"]), text(&pod["name"]), text(&pod["kind"]))
}

fn is(party: &Party<'_>, end: End<'_>) -> bool {
    match (party, end) {
        (Party::Workload(member), End::Workload(pod)) => is_member(member, pod),
        (Party::Outside(block), End::Address(address)) => block.contains(&address),
        _ => false,
    }
}

fn endpoint<'a>(matrix: &Matrix<'a>, end: End<'_>) -> Endpoint<'a> {
    match end {
        End::Address(address) => Endpoint::Address(address),
        End::Workload(pod) => {
            Endpoint::Workload(*matrix.members().iter().find(|member| is_member(member, pod)).unwrap())
        }
    }
}

/// What all connections that concern a pair come to. No two of them may be on the same ports.
fn ports_of<'a>(
    connections: impl Iterator<Item = (&'a Party<'a>, &'a Party<'a>, &'a PortSet)>,
    (from, to): (End<'_>, End<'_>),
    points: &[Point],
) -> Vec<bool> {
    let meant: Vec<&PortSet> =
        connections.filter(|(a, b, _)| is(a, from) && is(b, to)).map(|(_, _, ports)| ports).collect();
    assert!(meant.len() <= 1, "{from:?} to {to:?}: {meant:?}");
    points.iter().map(|(protocol, number)| meant.iter().any(|ports| ports.contains(*protocol, *number))).collect()
}

/// `connect`, `matrix` and trying everything say the same.
pub(crate) fn check_reach(cluster: &Value) {
    let inventory = inventory(cluster);
    let matrix = Matrix::new(&inventory);
    let points = points();
    let connections: Vec<_> = matrix.connections().collect();
    assert!(connections.iter().all(|connection| !connection.ports.is_empty()));
    for (number, (from, to)) in pairs(&ends(cluster)).into_iter().enumerate() {
        let expected = allowed(cluster, from, to, &points);
        if !is_same_pod(from, to) {
            let listed = ports_of(connections.iter().map(|c| (&c.from, &c.to, &c.ports)), (from, to), &points);
            assert_eq!(listed, expected, "{from:?} to {to:?}");
        }
        // Each pair on a few ports, other ones for each.
        for at in (number % 5..points.len()).step_by(5) {
            check_connect(cluster, &inventory, &matrix, (from, to), points[at], expected[at]);
        }
    }
    check_lists(&matrix);
}

fn check_connect(
    cluster: &Value,
    inventory: &Inventory,
    matrix: &Matrix<'_>,
    (from, to): (End<'_>, End<'_>),
    point: Point,
    expected: bool,
) {
    let port = Port::Number(point.0, point.1);
    let answer = connect(inventory, &endpoint(matrix, from), &endpoint(matrix, to), &port).unwrap();
    assert_eq!(answer.allowed, expected, "{from:?} to {to:?} on {point:?}: {answer:?}");
    assert_eq!(answer.same_pod, is_same_pod(from, to));
    assert_eq!((answer.protocol, answer.number), point);
    assert_eq!(answer.allowed, answer.egress.allowed && answer.ingress.allowed);
    for (direction, told) in [(Direction::Egress, &answer.egress), (Direction::Ingress, &answer.ingress)] {
        let allowed = side(cluster, from, to, direction, &[point]) == [true];
        assert_eq!(told.allowed, allowed || answer.same_pod, "{direction} {told:?}");
        let own = if direction == Direction::Egress { from } else { to };
        let mut policies: Vec<&str> =
            selecting(cluster, own, direction).iter().map(|policy| text(&policy["metadata"]["name"])).collect();
        policies.sort_unstable();
        assert_eq!(told.policies, policies);
        assert_eq!(told.isolated, !policies.is_empty());
        assert_eq!(told.host_network, matches!(own, End::Workload(pod) if pod["hostNetwork"] == true));
        assert_eq!(told.rule.is_some(), told.isolated && allowed, "{told:?}");
        check_rule(cluster, told, (from, to), direction, point);
    }
}

/// The rule allows it, and the nearest one does not, for the reasons that are told.
fn check_rule(cluster: &Value, told: &Side, (from, to): (End<'_>, End<'_>), direction: Direction, point: Point) {
    let (own, other) = if direction == Direction::Egress { (from, to) } else { (to, from) };
    let (field, peers) = fields(direction);
    let End::Workload(pod) = own else { return assert!(told.nearest.is_none()) };
    let policies = selecting(cluster, own, direction);
    let rules: Vec<(String, &Value)> = policies
        .iter()
        .flat_map(|policy| {
            items(&policy["spec"][field]).iter().enumerate().map(move |(index, rule)| {
                (format!("{} spec.{direction}[{index}]", text(&policy["metadata"]["name"])), rule)
            })
        })
        .collect();
    let at = |place: &ringfence_core::policy::reach::Place| {
        rules.iter().find(|(name, _)| *name == format!("{} {}", place.policy, place.path)).unwrap().1
    };
    let peer = |rule| allows_peer(cluster, text(&pod["namespace"]), rule, peers, other);
    if let Some(place) = &told.rule {
        assert!(peer(at(place)) && allows_port(at(place), to, point), "{told:?}");
    }
    assert_eq!(told.nearest.is_some(), !told.allowed && !rules.is_empty(), "{told:?}");
    if let Some(nearest) = &told.nearest {
        let rule = at(&nearest.place);
        let is_port = |miss: &Miss| matches!(miss, Miss::Port(_) | Miss::Number(..) | Miss::NamedPort(_));
        assert_eq!(nearest.misses.iter().any(is_port), !allows_port(rule, to, point), "{told:?}");
        assert_eq!(nearest.misses.iter().any(|miss| !is_port(miss)), !peer(rule), "{told:?}");
        // Where some rule is short of nothing but the port, so is the nearest.
        let names_alone = |rule: &Value| {
            matches!(to, End::Address(_)) && items(&rule["ports"]).iter().all(|port| port["port"].is_string())
        };
        let short_of_port = rules.iter().any(|(_, rule)| peer(rule) && !names_alone(rule));
        assert!(!short_of_port || nearest.misses.len() == 1, "{told:?}");
    }
}

/// Lists and groups of a matrix say the same, and the lists are in order.
fn check_lists(matrix: &Matrix<'_>) {
    let line = |from: &Party<'_>, to: &Party<'_>, ports: &PortSet| format!("{from} {to} {ports}");
    let mut listed: Vec<String> = matrix.connections().map(|c| line(&c.from, &c.to, &c.ports)).collect();
    assert_eq!(matrix.count(), listed.len() as u64);
    let keys: Vec<_> = matrix
        .connections()
        .filter_map(|c| match (c.from, c.to) {
            (Party::Workload(from), Party::Workload(to)) => Some((from.key(), to.key())),
            _ => None,
        })
        .collect();
    assert!(keys.is_sorted());
    let mut grouped = Vec::new();
    for Group { from, to, ports } in matrix.groups() {
        expand(&from, &to, |from, to| grouped.push(line(&from, &to, &ports)));
    }
    listed.sort();
    grouped.sort();
    assert_eq!(listed, grouped);
}

fn expand<'a>(from: &Members<'_, 'a>, to: &Members<'_, 'a>, mut each: impl FnMut(Party<'a>, Party<'a>)) {
    let parties = |members: &Members<'_, 'a>| -> Vec<Party<'a>> {
        match members {
            Members::Workloads(members) => members.iter().copied().map(Party::Workload).collect(),
            Members::Outside(blocks) => blocks.iter().copied().map(Party::Outside).collect(),
        }
    };
    for from in parties(from) {
        for to in parties(to) {
            let same = matches!((from, to), (Party::Workload(a), Party::Workload(b)) if a.key() == b.key());
            if !(same && matches!(from, Party::Workload(member) if member.is_pod())) {
                each(from, to);
            }
        }
    }
}

fn workload_of(cluster: &Value, wanted: &Key) -> Option<Value> {
    items(&cluster["workloads"]).iter().find(|pod| key(pod) == *wanted).cloned()
}

type Written = BTreeMap<Key, (Option<Value>, Option<Value>)>;

fn end_of<'c>(written: &'c Written, who: &Result<&Key, IpAddr>, is_after: bool) -> Option<End<'c>> {
    match who {
        Err(address) => Some(End::Address(*address)),
        Ok(key) => {
            let (before, after) = &written[*key];
            if is_after { after } else { before }.as_ref().map(End::Workload)
        }
    }
}

/// What appears and disappears is what trying everything before and afterwards says, and so are the exposures.
pub(crate) fn check_diff(before: &Value, after: &Value) {
    let (inventory_before, inventory_after) = (inventory(before), inventory(after));
    let (of_before, of_after) = (Matrix::new(&inventory_before), Matrix::new(&inventory_after));
    let diff = Diff::new(&of_before, &of_after);
    let changes: Vec<_> = diff.changes().collect();
    let points = points();
    let keys: BTreeSet<Key> =
        [before, after].iter().flat_map(|cluster| items(&cluster["workloads"]).iter().map(key)).collect();
    let written: Written =
        keys.iter().map(|key| (key.clone(), (workload_of(before, key), workload_of(after, key)))).collect();
    let everyone: Vec<Result<&Key, IpAddr>> = keys.iter().map(Ok).chain(addresses().into_iter().map(Err)).collect();
    for from in &everyone {
        for to in everyone.iter().filter(|to| from.is_ok() || to.is_ok()) {
            let end = |who: &Result<&Key, IpAddr>, is_after: bool| end_of(&written, who, is_after);
            let open = |cluster: &Value, is_after: bool| match (end(from, is_after), end(to, is_after)) {
                (Some(from), Some(to)) if !is_same_pod(from, to) => allowed(cluster, from, to, &points),
                _ => vec![false; points.len()],
            };
            let (was, is_now) = (open(before, false), open(after, true));
            let (Some(a), Some(b)) = (end(from, true).or(end(from, false)), end(to, true).or(end(to, false))) else {
                panic!("nobody");
            };
            for appears in [true, false] {
                let expected: Vec<bool> =
                    was.iter().zip(&is_now).map(|(was, is)| if appears { *is && !was } else { *was && !is }).collect();
                let meant = || changes.iter().filter(|change| change.appears == appears);
                let listed = ports_of(meant().map(|c| (&c.from, &c.to, &c.ports)), (a, b), &points);
                assert_eq!(listed, expected, "{from:?} to {to:?}, appears {appears}");
                let Some(change) = meant().find(|change| is(&change.from, a) && is(&change.to, b)) else { continue };
                let newly = |who: &Result<&Key, IpAddr>| end(who, false).is_none();
                let exposure = appears
                    && match (from, to) {
                        (_, Err(_)) => !newly(from),
                        (Ok(source), Ok(target)) if newly(to) => source.0 != target.0,
                        (Ok(source), Ok(target)) if newly(from) => {
                            // The source as it is now, knocking at what was there; its namespace with the labels that it
                            // had, if it was there.
                            let mut then = before.clone();
                            let namespace = &mut then["namespaces"][&source.0];
                            if namespace["stated"] != true {
                                namespace["labels"] = after["namespaces"][&source.0]["labels"].clone();
                            }
                            let (Some(newcomer), Some(target)) = (&written[*source].1, &written[*target].0) else {
                                panic!("nobody");
                            };
                            let (newcomer, target) = (End::Workload(newcomer), End::Workload(target));
                            let let_in = side(&then, newcomer, target, Direction::Ingress, &points);
                            expected.iter().zip(let_in).any(|(appears, was_let_in)| *appears && !was_let_in)
                        }
                        _ => true,
                    };
                assert_eq!(change.exposure, exposure, "{change:?}");
            }
        }
    }
    let line = |appears: bool, from: &Party<'_>, to: &Party<'_>, ports: &PortSet, exposure: bool| {
        format!("{appears} {from} {to} {ports} {exposure}")
    };
    let mut listed: Vec<String> =
        changes.iter().map(|c| line(c.appears, &c.from, &c.to, &c.ports, c.exposure)).collect();
    assert!(changes.is_sorted_by_key(|change| !change.appears));
    let mut grouped = Vec::new();
    let mut count = 0;
    for group in diff.groups() {
        count += group.count();
        expand(&group.from, &group.to, |from, to| {
            grouped.push(line(group.appears, &from, &to, &group.ports, group.exposure));
        });
    }
    assert_eq!(count, listed.len() as u64);
    listed.sort();
    grouped.sort();
    assert_eq!(listed, grouped);
}
