//! A second evaluator, as simple as it can be: it reads the policies as they are written and tries every pod, every
//! peer and every port that they could tell apart. It shares nothing with the evaluator under test but the types in
//! which answers are compared.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ringfence_core::policy::Direction;
use ringfence_core::policy::holes::{Hole, Kind};
use ringfence_core::policy::ports::{Ports, Protocol};
use serde_json::Value;

pub(crate) type Labels = BTreeMap<String, String>;

/// Whether an entry allows all of a class of ports.
pub(crate) fn includes(entry: &Ports, class: &Ports) -> bool {
    match (entry, class) {
        (Ports::Range(p, from, to), Ports::Range(q, a, b)) => p == q && from <= a && b <= to,
        (Ports::Range(p, ..), Ports::Named(q, _)) => p == q && *entry == Ports::every(*p),
        (Ports::Named(..), _) => entry == class,
    }
}

pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Whether a selector as it is written matches labels.
pub(crate) fn matches(selector: &Value, labels: &Labels) -> bool {
    let by_label = selector["matchLabels"]
        .as_object()
        .is_none_or(|map| map.iter().all(|(key, value)| labels.get(key).map(String::as_str) == Some(text(value))));
    by_label
        && items(&selector["matchExpressions"]).iter().all(|requirement| {
            let held = labels.get(text(&requirement["key"]));
            let listed = held.is_some_and(|held| items(&requirement["values"]).iter().any(|value| text(value) == held));
            match text(&requirement["operator"]) {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => held.is_some(),
                "DoesNotExist" => held.is_none(),
                other => panic!("{other}"),
            }
        })
}

/// Every set of labels over these keys: absent, each value, and one that nobody names.
fn every(keys: &[(&str, &[&str], bool)]) -> Vec<Labels> {
    let mut all = vec![Labels::new()];
    for (key, values, always) in keys {
        let mut longer = Vec::new();
        for labels in &all {
            if !always {
                longer.push(labels.clone());
            }
            for value in values.iter().chain(&["nobody-names-this"]) {
                let mut labels = labels.clone();
                labels.insert((*key).to_owned(), (*value).to_owned());
                longer.push(labels);
            }
        }
        all = longer;
    }
    all
}

/// Every pod of the namespace that the generated policies can tell apart.
pub(crate) fn pods() -> Vec<Labels> {
    every(&[("a", &["x", "y"], false), ("b", &["x", ""], false), ("c", &["x", "y"], false)])
}

fn peers() -> Vec<(Labels, Labels)> {
    let namespaces =
        every(&[("env", &["x", "y"], false), ("kubernetes.io/metadata.name", &["team-a", "team-b"], true)]);
    let pods = every(&[("a", &["x", "y"], false), ("b", &["x", ""], false)]);
    namespaces.iter().flat_map(|namespace| pods.iter().map(move |pod| (namespace.clone(), pod.clone()))).collect()
}

pub(crate) fn has_type(spec: &Value, direction: Direction) -> bool {
    let types = items(&spec["policyTypes"]);
    match direction {
        Direction::Ingress => types.is_empty() || types.iter().any(|kind| kind == "Ingress"),
        Direction::Egress if types.is_empty() => !items(&spec["egress"]).is_empty(),
        Direction::Egress => types.iter().any(|kind| kind == "Egress"),
    }
}

/// The fields of a direction's rules and of their peers.
pub(crate) fn fields(direction: Direction) -> (&'static str, &'static str) {
    match direction {
        Direction::Ingress => ("ingress", "from"),
        Direction::Egress => ("egress", "to"),
    }
}

/// Whether a policy counts for the coverage of a pod.
pub(crate) fn isolates(policy: &Value, direction: Direction, pod: &Labels) -> bool {
    policy["metadata"]["deletionTimestamp"].is_null()
        && has_type(&policy["spec"], direction)
        && matches(&policy["spec"]["podSelector"], pod)
}

/// The family, and the first and last address of a block.
pub(crate) fn block(cidr: &str) -> (bool, u128, u128) {
    let (address, length) = cidr.split_once('/').unwrap();
    let length: u32 = length.parse().unwrap();
    let (v6, first, bits) = match address.parse::<IpAddr>().unwrap() {
        IpAddr::V4(v4) => (false, u128::from(u32::from(v4)), 32 - length),
        IpAddr::V6(v6) => (true, u128::from(v6), 128 - length),
    };
    let size_less_one = if bits == 128 { u128::MAX } else { (1u128 << bits) - 1 };
    (v6, first, first + size_less_one)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Wide {
    Cluster,
    V4,
    V6,
}

pub(crate) const WIDE: [Wide; 3] = [Wide::Cluster, Wide::V4, Wide::V6];

/// The peers of each wide kind that are tried.
struct World {
    pods: Vec<(Labels, Labels)>,
    v4: Vec<u128>,
    v6: Vec<u128>,
    /// Numbers first, names after them.
    points: Vec<Ports>,
    numbers: usize,
}

impl World {
    fn new(policies: &[Value], direction: Direction) -> Self {
        let mut v4 = BTreeSet::from([0, u128::from(u32::MAX)]);
        let mut v6 = BTreeSet::from([0, u128::MAX]);
        let mut numbers = BTreeSet::from([1u16, 65535]);
        let mut names = BTreeSet::new();
        let rules = policies
            .iter()
            .filter(|policy| has_type(&policy["spec"], direction))
            .flat_map(|policy| items(&policy["spec"][fields(direction).0]));
        for rule in rules {
            for peer in items(&rule[fields(direction).1]) {
                let blocks = peer["ipBlock"]["cidr"].as_str().into_iter();
                for cidr in blocks.chain(items(&peer["ipBlock"]["except"]).iter().map(text)) {
                    let (is_v6, first, last) = block(cidr);
                    let (set, end) = if is_v6 { (&mut v6, u128::MAX) } else { (&mut v4, u128::from(u32::MAX)) };
                    set.extend([first, last, first.saturating_sub(1), last.saturating_add(1).min(end)]);
                }
            }
            for port in items(&rule["ports"]) {
                let from = port["port"].as_u64().and_then(|port| u16::try_from(port).ok());
                let to = port["endPort"].as_u64().and_then(|port| u16::try_from(port).ok());
                for edge in from.into_iter().chain(to) {
                    numbers.extend([edge, edge.saturating_sub(1).max(1), edge.saturating_add(1)]);
                }
                let protocol = port["protocol"].as_str().unwrap_or("TCP");
                let protocol = Protocol::ALL.into_iter().find(|p| p.to_string() == protocol).unwrap();
                names.extend(port["port"].as_str().map(|name| Ports::Named(protocol, name.to_owned())));
            }
        }
        let mut points: Vec<Ports> = Protocol::ALL
            .into_iter()
            .flat_map(|protocol| numbers.iter().map(move |port| Ports::Range(protocol, *port, *port)))
            .collect();
        let numbers = points.len();
        points.extend(names);
        Self { pods: peers(), v4: v4.into_iter().collect(), v6: v6.into_iter().collect(), points, numbers }
    }

    fn peers(&self, wide: Wide) -> usize {
        match wide {
            Wide::Cluster => self.pods.len(),
            Wide::V4 => self.v4.len(),
            Wide::V6 => self.v6.len(),
        }
    }

    fn rule_allows_peer(&self, peers: &[Value], wide: Wide, index: usize) -> bool {
        peers.is_empty()
            || peers.iter().any(|peer| match (wide, &peer["ipBlock"]) {
                (Wide::Cluster, Value::Null) => {
                    let (namespace, pod) = &self.pods[index];
                    let in_namespace = match &peer["namespaceSelector"] {
                        Value::Null => namespace["kubernetes.io/metadata.name"] == "team-a",
                        selector => matches(selector, namespace),
                    };
                    in_namespace && matches(&peer["podSelector"], pod)
                }
                (Wide::Cluster, _) | (_, Value::Null) => false,
                (family, ip_block) => {
                    let (is_v6, address) =
                        if family == Wide::V6 { (true, self.v6[index]) } else { (false, self.v4[index]) };
                    let inside = |cidr: &str| {
                        let (v6, first, last) = block(cidr);
                        v6 == is_v6 && first <= address && address <= last
                    };
                    inside(text(&ip_block["cidr"])) && !items(&ip_block["except"]).iter().any(|e| inside(text(e)))
                }
            })
    }
}

fn rule_allows_port(ports: &[Value], point: &Ports) -> bool {
    ports.is_empty()
        || ports.iter().any(|entry| {
            let protocol = entry["protocol"].as_str().unwrap_or("TCP");
            let from = entry["port"].as_u64().unwrap_or(1);
            let to = match (&entry["port"], &entry["endPort"]) {
                (Value::Null, _) => 65535,
                (_, Value::Null) => from,
                (_, end) => end.as_u64().unwrap(),
            };
            match point {
                Ports::Range(p, number, _) => {
                    p.to_string() == protocol && !entry["port"].is_string() && (from..=to).contains(&u64::from(*number))
                }
                Ports::Named(p, name) => {
                    let whole = !entry["port"].is_string() && (from, to) == (1, 65535);
                    p.to_string() == protocol && (whole || entry["port"].as_str() == Some(name))
                }
            }
        })
}

/// What one pod has: for each wide kind, whether each point is open.
#[derive(Clone, Debug)]
pub(crate) struct Has {
    open: [Vec<bool>; 3],
    numbers: usize,
}

impl Has {
    fn all_ports(&self, wide: Wide) -> bool {
        self.open[wide as usize][..self.numbers].iter().all(|open| *open)
    }

    fn all(&self) -> bool {
        WIDE.into_iter().all(|wide| self.all_ports(wide))
    }

    fn any_at(&self, point: usize) -> bool {
        WIDE.into_iter().any(|wide| self.open[wide as usize][point])
    }

    pub(crate) fn kind(&self, kind: Kind) -> bool {
        match kind {
            Kind::All => self.all(),
            Kind::Cluster => self.all_ports(Wide::Cluster),
            Kind::W4 => self.all_ports(Wide::V4),
            Kind::W6 => self.all_ports(Wide::V6),
            Kind::Ports => panic!("a question of each point"),
        }
    }
}

/// Whether a rule allows each point, and for each wide kind each peer.
type RuleAllows = (Vec<bool>, [Vec<bool>; 3]);

/// What a set of policies lets through.
pub(crate) struct Naive<'a> {
    world: World,
    direction: Direction,
    policies: &'a [Value],
    /// Each policy's rules.
    rules: Vec<Vec<RuleAllows>>,
    known: HashMap<Vec<usize>, Has>,
}

impl<'a> Naive<'a> {
    /// `also` are policies whose boundaries are tried as well.
    pub(crate) fn new(policies: &'a [Value], also: &[Value], direction: Direction) -> Self {
        let world = World::new(&[policies, also].concat(), direction);
        let (field, peers_field) = fields(direction);
        let rules = policies
            .iter()
            .map(|policy| {
                items(&policy["spec"][field])
                    .iter()
                    .map(|rule| {
                        let points =
                            world.points.iter().map(|point| rule_allows_port(items(&rule["ports"]), point)).collect();
                        let peers = WIDE.map(|wide| {
                            (0..world.peers(wide))
                                .map(|i| world.rule_allows_peer(items(&rule[peers_field]), wide, i))
                                .collect()
                        });
                        (points, peers)
                    })
                    .collect()
            })
            .collect();
        Self { world, direction, policies, rules, known: HashMap::new() }
    }

    pub(crate) fn points(&self) -> &[Ports] {
        &self.world.points
    }

    pub(crate) fn numbers(&self) -> usize {
        self.world.numbers
    }

    pub(crate) fn has(&mut self, pod: &Labels) -> Has {
        let active: Vec<usize> = (0..self.policies.len())
            .filter(|&index| {
                let spec = &self.policies[index]["spec"];
                has_type(spec, self.direction) && matches(&spec["podSelector"], pod)
            })
            .collect();
        if let Some(has) = self.known.get(&active) {
            return has.clone();
        }
        let rules: Vec<_> = active.iter().flat_map(|&index| &self.rules[index]).collect();
        let open = WIDE.map(|wide| {
            (0..self.world.points.len())
                .map(|point| {
                    let here: Vec<_> = rules.iter().filter(|rule| rule.0[point]).collect();
                    (0..self.world.peers(wide)).all(|peer| here.iter().any(|rule| rule.1[wide as usize][peer]))
                })
                .collect()
        });
        let has = Has { open, numbers: self.world.numbers };
        self.known.insert(active, has.clone());
        has
    }
}

/// Holes as they are compared: whether each kind is there and starred, and the same for each point of `PORTS`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holes {
    pub(crate) kinds: BTreeMap<Kind, bool>,
    pub(crate) ports: BTreeMap<Ports, bool>,
}

/// The holes of `after` that concern a pod for which `before` did not have them.
pub(crate) fn opened(before: &[Value], after: &[Value], direction: Direction) -> Holes {
    let (mut of_before, mut of_after) = (Naive::new(before, after, direction), Naive::new(after, before, direction));
    let pods: Vec<(Has, Has)> = pods().iter().map(|pod| (of_before.has(pod), of_after.has(pod))).collect();
    let mut holes = Holes::default();
    for kind in [Kind::All, Kind::Cluster, Kind::W4, Kind::W6] {
        let swallowed = |has: &Has| kind != Kind::All && has.all();
        if pods.iter().any(|(before, after)| after.kind(kind) && !swallowed(after) && !before.kind(kind)) {
            holes.kinds.insert(kind, pods.iter().any(|(_, after)| !after.kind(kind)));
        }
    }
    for (index, point) in of_after.points().iter().enumerate() {
        let opens = |before: &Has, after: &Has| {
            WIDE.into_iter().any(|wide| {
                let open = |has: &Has| has.open[wide as usize][index];
                open(after) && !after.all_ports(wide) && !open(before)
            })
        };
        if pods.iter().any(|(before, after)| opens(before, after)) {
            let some = pods.iter().any(|(_, after)| !after.any_at(index));
            holes.kinds.entry(Kind::Ports).and_modify(|all| *all &= some).or_insert(some);
            holes.ports.insert(point.clone(), some);
        }
    }
    forget_implied_names(&mut holes, &of_after);
    holes
}

/// The holes that the evaluator found, at the same points.
pub(crate) fn seen(holes: &[Hole], naive: &Naive<'_>) -> Holes {
    let mut seen = Holes::default();
    for hole in holes {
        seen.kinds.entry(hole.kind).and_modify(|all| *all &= hole.some).or_insert(hole.some);
        for point in naive.points() {
            if hole.ports.iter().flatten().any(|ports| includes(ports, point)) {
                seen.ports.entry(point.clone()).and_modify(|all| *all &= hole.some).or_insert(hole.some);
            }
        }
    }
    forget_implied_names(&mut seen, naive);
    seen
}

/// A name adds nothing where all numbers of its protocol are there for at least as many pods.
fn forget_implied_names(holes: &mut Holes, naive: &Naive<'_>) {
    let whole: Vec<(Protocol, bool)> = Protocol::ALL
        .into_iter()
        .filter_map(|protocol| {
            naive.points()[..naive.numbers()]
                .iter()
                .filter(|point| matches!(point, Ports::Range(p, ..) if *p == protocol))
                .try_fold(false, |some, point| holes.ports.get(point).map(|here| some | here))
                .map(|some| (protocol, some))
        })
        .collect();
    holes.ports.retain(|point, some| {
        !matches!(point, Ports::Named(p, _) if whole.iter().any(|(protocol, all)| protocol == p && *all <= *some))
    });
}

/// Whether a pod has a hole that the evaluator reports, all of it.
pub(crate) fn pod_has(naive: &mut Naive<'_>, pod: &Labels, hole: &Hole) -> bool {
    let has = naive.has(pod);
    match &hole.ports {
        None => has.kind(hole.kind),
        Some(ports) => {
            let numbers = naive.numbers();
            naive
                .points()
                .iter()
                .enumerate()
                // Names may be implied by numbers.
                .filter(|(index, point)| *index < numbers || ports.contains(point))
                .filter(|(_, point)| ports.iter().any(|listed| includes(listed, point)))
                .all(|(index, _)| has.any_at(index))
        }
    }
}
