//! A second evaluator, as simple as it can be, written after the text of the specification: it reads the policies as they
//! are written and tries every pod, every stranger, every address and every port that they could tell apart. It shares
//! nothing with the evaluator under test but the types in which answers are compared.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ringfence_core::policy::Direction;
use ringfence_core::policy::criteria::Criteria;
use ringfence_core::policy::holes::{Hole, Kind, Peers};
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

/// Whether an address is in an ipBlock and in none of its exceptions.
fn holds(ip_block: &Value, is_v6: bool, address: u128) -> bool {
    let inside = |cidr: &str| {
        let (v6, first, last) = block(cidr);
        v6 == is_v6 && first <= address && address <= last
    };
    inside(text(&ip_block["cidr"])) && !items(&ip_block["except"]).iter().any(|except| inside(text(except)))
}

/// Where the IPv4 addresses begin that IPv6 addresses stand for.
const EMBEDDED: [u128; 2] = [0x0064_ff9b_0000_0000_0000_0000_0000_0000, 0xffff_0000_0000];

fn is_embedded(address: u128) -> bool {
    EMBEDDED.iter().any(|first| (*first..=first + u128::from(u32::MAX)).contains(&address))
}

/// Whether a block of IPv6 holds more addresses that stand for themselves than one that is not wide: then it counts as IPv6
/// throughout.
fn is_wide_by_itself(ip_block: &Value, criteria: &Criteria) -> bool {
    let embedded = EMBEDDED.map(|first| (first, first + u128::from(u32::MAX)));
    let blocks = std::iter::once(&ip_block["cidr"]).chain(items(&ip_block["except"])).map(|cidr| block(text(cidr)));
    let ranges: Vec<(u128, u128)> = blocks.map(|(_, first, last)| (first, last)).chain(embedded).collect();
    // Between two of these, all addresses are alike.
    let mut cuts: Vec<u128> =
        ranges.iter().flat_map(|(first, last)| [Some(*first), last.checked_add(1)]).flatten().collect();
    cuts.sort_unstable();
    cuts.dedup();
    let alike = cuts.iter().enumerate().filter(|(_, first)| holds(ip_block, true, **first) && !is_embedded(**first));
    let size = |(index, first): (usize, &u128)| cuts.get(index + 1).map_or(u128::MAX - first, |next| next - first);
    alike.map(size).fold(0u128, u128::saturating_add)
        > 1u128.checked_shl(128 - u32::from(criteria.wide.ipv6)).unwrap_or(u128::MAX)
}

/// Whether a peer lets in an IPv4 address, also as the IPv6 address that stands for it.
fn lets_in_v4(peer: &Value, address: u128, criteria: &Criteria) -> bool {
    let ip_block = &peer["ipBlock"];
    !ip_block.is_null()
        && (holds(ip_block, false, address)
            || !is_wide_by_itself(ip_block, criteria)
                && EMBEDDED.iter().any(|first| holds(ip_block, true, first + address)))
}

/// Whether a peer lets in an IPv6 address that stands for itself.
fn lets_in_v6(peer: &Value, address: u128, criteria: &Criteria) -> bool {
    let ip_block = &peer["ipBlock"];
    !ip_block.is_null()
        && holds(ip_block, true, address)
        && (!is_embedded(address) || is_wide_by_itself(ip_block, criteria))
}

const NAME: &str = "kubernetes.io/metadata.name";
const FRESH: &str = "nobody-names-this";

/// Whether a selector matches the namespace that nobody names: no label but its name. Whatever it asks of a key of
/// Ringfence's counts as met, if anything can meet it.
fn matches_unnamed_namespace(selector: &Value) -> bool {
    let mut keys: Vec<&str> =
        items(&selector["matchExpressions"]).iter().map(|requirement| text(&requirement["key"])).collect();
    keys.extend(selector["matchLabels"].as_object().into_iter().flatten().map(|(key, _)| key.as_str()));
    let ours: Vec<(&str, &[&str], bool)> = keys
        .into_iter()
        .filter(|key| key.starts_with("ringfence.dev/"))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .map(|key| (key, &["x", "y", ""][..], false))
        .collect();
    every(&ours).into_iter().any(|mut labels| {
        labels.insert(NAME.to_owned(), FRESH.to_owned());
        matches(selector, &labels)
    })
}

/// The values of each key that selectors of pods mention anywhere in these policies.
fn mentioned(policies: &[Value]) -> BTreeMap<String, BTreeSet<String>> {
    let mut mentioned: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut add = |selector: &Value| {
        for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
            mentioned.entry(key.clone()).or_default().insert(text(value).to_owned());
        }
        for requirement in items(&selector["matchExpressions"]) {
            let values = items(&requirement["values"]).iter().map(|value| text(value).to_owned());
            mentioned.entry(text(&requirement["key"]).to_owned()).or_default().extend(values);
        }
    };
    for policy in policies {
        add(&policy["spec"]["podSelector"]);
        for direction in Direction::BOTH {
            let (field, peers) = fields(direction);
            for rule in items(&policy["spec"][field]) {
                for peer in items(&rule[peers]) {
                    add(&peer["podSelector"]);
                }
            }
        }
    }
    mentioned
}

/// The first and last numbers of what lies between breakpoints.
fn intervals(breaks: &BTreeSet<u128>, last: u128) -> Vec<(u128, u128)> {
    let starts: Vec<u128> = breaks.iter().copied().filter(|start| *start <= last).collect();
    let ends = starts.iter().skip(1).map(|next| next - 1).chain([last]);
    starts.iter().copied().zip(ends).collect()
}

/// What is told apart, of addresses and of ports.
struct World {
    v4: Vec<(u128, u128)>,
    v6: Vec<(u128, u128)>,
    /// Numbers first, names after them.
    points: Vec<Ports>,
    numbers: usize,
    /// Pods that nobody names.
    strangers: Vec<Labels>,
}

impl World {
    fn new(policies: &[Value], direction: Direction, criteria: &Criteria) -> Self {
        let last = [u128::from(u32::MAX), u128::MAX];
        let mut breaks = [BTreeSet::from([0]), BTreeSet::from([0])];
        for first in EMBEDDED {
            breaks[1].extend([first, first + u128::from(u32::MAX) + 1]);
        }
        let mut add = |cidr: &str| {
            let (is_v6, first, end) = block(cidr);
            breaks[usize::from(is_v6)].extend([Some(first), end.checked_add(1)].into_iter().flatten());
            for base in EMBEDDED.into_iter().filter(|base| is_v6 && first >= *base && end <= base + last[0]) {
                breaks[0].extend([first - base, end - base + 1]);
            }
        };
        criteria.cluster_cidrs.iter().for_each(|cidr| add(&cidr.to_string()));
        let mut numbers: BTreeSet<u32> = BTreeSet::from([1]);
        let mut names = BTreeSet::new();
        let rules = policies
            .iter()
            .filter(|policy| has_type(&policy["spec"], direction))
            .flat_map(|policy| items(&policy["spec"][fields(direction).0]));
        for rule in rules {
            for peer in items(&rule[fields(direction).1]) {
                peer["ipBlock"]["cidr"].as_str().into_iter().for_each(&mut add);
                for except in items(&peer["ipBlock"]["except"]) {
                    add(text(except));
                }
            }
            for port in items(&rule["ports"]) {
                let number = |field: &str| port[field].as_u64().map(|port| u32::try_from(port).unwrap());
                if let Some(from) = number("port") {
                    numbers.extend([from, number("endPort").unwrap_or(from) + 1]);
                }
                let protocol = port["protocol"].as_str().unwrap_or("TCP");
                let protocol = Protocol::ALL.into_iter().find(|p| p.to_string() == protocol).unwrap();
                names.extend(port["port"].as_str().map(|name| Ports::Named(protocol, name.to_owned())));
            }
        }
        let numbers: BTreeSet<u128> = numbers.into_iter().map(u128::from).collect();
        let ranges = intervals(&numbers, 65535);
        let port = |number: u128| u16::try_from(number).unwrap();
        let mut points: Vec<Ports> = Protocol::ALL
            .into_iter()
            .flat_map(|protocol| ranges.iter().map(move |(from, to)| Ports::Range(protocol, port(*from), port(*to))))
            .collect();
        let numbers = points.len();
        points.extend(names);
        Self {
            v4: intervals(&breaks[0], last[0]),
            v6: intervals(&breaks[1], last[1]),
            points,
            numbers,
            strangers: every(&[("a", &[], false), ("b", &[], false)]),
        }
    }

    /// How many ports a point stands for.
    fn count(&self, point: usize) -> u32 {
        match &self.points[point] {
            Ports::Range(_, from, to) => u32::from(*to) - u32::from(*from) + 1,
            Ports::Named(..) => 1,
        }
    }

    /// The classes that these peers of rules let in on one port: cluster, IPv4, IPv6. `None` is a rule without peers.
    fn classes(&self, rules: &[&[Value]], criteria: &Criteria) -> [bool; 3] {
        if rules.iter().any(|peers| peers.is_empty()) {
            return [true; 3];
        }
        let peers = || rules.iter().flat_map(|peers| peers.iter());
        let held = |intervals: &[(u128, u128)], lets_in: fn(&Value, u128, &Criteria) -> bool, within: (u128, u128)| {
            intervals
                .iter()
                .filter(|(first, end)| within.0 <= *first && *end <= within.1)
                .filter(|(first, _)| peers().any(|peer| lets_in(peer, *first, criteria)))
                .fold(0u128, |sum, (first, end)| sum.saturating_add(end - first).saturating_add(1))
        };
        let v4 = held(&self.v4, lets_in_v4, (0, u128::MAX));
        let v6 = held(&self.v6, lets_in_v6, (0, u128::MAX));
        let by_selector = peers().any(|peer| {
            peer["ipBlock"].is_null()
                && !peer["namespaceSelector"].is_null()
                && matches_unnamed_namespace(&peer["namespaceSelector"])
                && self.strangers.iter().any(|pod| matches(&peer["podSelector"], pod))
        });
        let by_block = criteria.cluster_cidrs.iter().any(|cidr| {
            let (is_v6, first, end) = block(&cidr.to_string());
            let held =
                if is_v6 { held(&self.v6, lets_in_v6, (first, end)) } else { held(&self.v4, lets_in_v4, (first, end)) };
            held.saturating_mul(16) > end - first + 1
        });
        [by_selector || by_block, v4 > 1u128 << (32 - criteria.wide.ipv4), v6 > 1u128 << (128 - criteria.wide.ipv6)]
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

/// What one pod has: of each class, on which points it is let in, and the number of ports of all these.
#[derive(Clone, Debug)]
pub(crate) struct Has {
    /// For each point: cluster, IPv4, IPv6.
    open: Vec<[bool; 3]>,
    count: Vec<u32>,
    limit: u32,
}

impl Has {
    /// Whether some peers are let in on a point: any is all three.
    pub(crate) fn on(&self, peers: Peers, point: usize) -> bool {
        let [cluster, v4, v6] = self.open[point];
        match peers {
            Peers::Any => cluster && v4 && v6,
            Peers::Cluster => cluster,
            Peers::Ipv4 => v4,
            Peers::Ipv6 => v6,
        }
    }

    pub(crate) fn ports(&self, peers: Peers) -> u32 {
        (0..self.open.len()).filter(|point| self.on(peers, *point)).map(|point| self.count[point]).sum()
    }

    fn is_over(&self, peers: Peers) -> bool {
        self.ports(peers) > self.limit
    }

    /// Whether the pod has a hole of a kind, whatever else it has.
    pub(crate) fn kind(&self, kind: Kind) -> bool {
        self.is_over(peers_of(kind))
    }

    /// Whether the pod has a hole of a kind that is not swallowed.
    pub(crate) fn shows(&self, kind: Kind) -> bool {
        self.kind(kind) && (kind == Kind::All || !self.kind(Kind::All))
    }

    /// Whether some ports are open to these peers, and no more than a few.
    fn shows_ports(&self, peers: Peers) -> bool {
        self.ports(peers) > 0 && !self.is_over(peers)
    }

    /// Whether a point is open to peers of which fewer ports are open than make a hole of their class.
    pub(crate) fn is_port(&self, peers: Peers, point: usize) -> bool {
        self.on(peers, point) && !self.is_over(peers) && (peers == Peers::Any || !self.on(Peers::Any, point))
    }
}

/// The peers of which a kind is the class.
fn peers_of(kind: Kind) -> Peers {
    match kind {
        Kind::All => Peers::Any,
        Kind::Cluster => Peers::Cluster,
        Kind::W4 => Peers::Ipv4,
        Kind::W6 => Peers::Ipv6,
        Kind::Ports => panic!("a question of each point"),
    }
}

/// What a set of policies lets through.
pub(crate) struct Naive<'a> {
    world: World,
    direction: Direction,
    policies: &'a [Value],
    criteria: &'a Criteria,
    mentioned: BTreeMap<String, BTreeSet<String>>,
    known: HashMap<Vec<usize>, Has>,
}

impl<'a> Naive<'a> {
    /// `also` are policies whose boundaries are tried as well.
    pub(crate) fn new(policies: &'a [Value], also: &[Value], direction: Direction, criteria: &'a Criteria) -> Self {
        let both = [policies, also].concat();
        let world = World::new(&both, direction, criteria);
        Self { world, direction, policies, criteria, mentioned: mentioned(&both), known: HashMap::new() }
    }

    pub(crate) fn points(&self) -> &[Ports] {
        &self.world.points
    }

    pub(crate) fn numbers(&self) -> usize {
        self.world.numbers
    }

    /// Whether every key of the pod that a selector mentions has a value that none mentions.
    pub(crate) fn is_unnamed(&self, pod: &Labels) -> bool {
        pod.iter().all(|(key, value)| self.mentioned.get(key).is_none_or(|values| !values.contains(value)))
    }

    /// The policies that count for a pod.
    pub(crate) fn selecting(&self, pod: &Labels) -> Vec<usize> {
        let selects = |index: &usize| {
            let spec = &self.policies[*index]["spec"];
            has_type(spec, self.direction) && matches(&spec["podSelector"], pod)
        };
        (0..self.policies.len()).filter(selects).collect()
    }

    pub(crate) fn has(&mut self, pod: &Labels) -> Has {
        let active = self.selecting(pod);
        self.of(&active)
    }

    /// What some policies together let through, to a pod that all of them select.
    pub(crate) fn of(&mut self, active: &[usize]) -> Has {
        if let Some(has) = self.known.get(active) {
            return has.clone();
        }
        let (field, peers) = fields(self.direction);
        let rules: Vec<&Value> = active.iter().flat_map(|&index| items(&self.policies[index]["spec"][field])).collect();
        let open = self
            .world
            .points
            .iter()
            .map(|point| {
                let here = rules.iter().filter(|rule| rule_allows_port(items(&rule["ports"]), point));
                self.world.classes(&here.map(|rule| items(&rule[peers])).collect::<Vec<_>>(), self.criteria)
            })
            .collect();
        let count = (0..self.world.points.len()).map(|point| self.world.count(point)).collect();
        let has = Has { open, count, limit: self.criteria.wide.ports };
        self.known.insert(active.to_vec(), has.clone());
        has
    }
}

/// Holes as they are compared: whether each kind is there and starred, and the same of `PORTS` for each of its peers and
/// points.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holes {
    pub(crate) kinds: BTreeMap<Kind, bool>,
    pub(crate) ports: BTreeMap<(Peers, Ports), bool>,
}

/// The holes of `after` that concern a pod for which `before` did not have them.
pub(crate) fn opened(before: &[Value], after: &[Value], direction: Direction, criteria: &Criteria) -> Holes {
    let mut of_before = Naive::new(before, after, direction, criteria);
    let mut of_after = Naive::new(after, before, direction, criteria);
    let pods: Vec<(bool, Has, Has)> =
        pods().iter().map(|pod| (of_after.is_unnamed(pod), of_before.has(pod), of_after.has(pod))).collect();
    // Starred where no pod that nobody names is concerned.
    let star = |opens: &dyn Fn(&Has, &Has) -> bool| {
        let mut concerned = pods.iter().filter(|(_, before, after)| opens(before, after)).peekable();
        concerned.peek().is_some().then(|| concerned.all(|(is_unnamed, _, _)| !is_unnamed))
    };
    let mut holes = Holes::default();
    for kind in [Kind::All, Kind::Cluster, Kind::W4, Kind::W6] {
        if let Some(some) = star(&|before, after| after.shows(kind) && !before.kind(kind)) {
            holes.kinds.insert(kind, some);
        }
    }
    for (at, point) in of_after.points().iter().enumerate() {
        for peers in Peers::ALL {
            if let Some(some) = star(&|before, after| after.is_port(peers, at) && !before.on(peers, at)) {
                holes.kinds.entry(Kind::Ports).and_modify(|all| *all &= some).or_insert(some);
                holes.ports.insert((peers, point.clone()), some);
            }
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
            if let Some(peers) = hole.peers
                && hole.ports.iter().flatten().any(|ports| includes(ports, point))
            {
                seen.ports.entry((peers, point.clone())).and_modify(|all| *all &= hole.some).or_insert(hole.some);
            }
        }
    }
    forget_implied_names(&mut seen, naive);
    seen
}

/// A name adds nothing where all numbers of its protocol are there for at least as many pods.
fn forget_implied_names(holes: &mut Holes, naive: &Naive<'_>) {
    let mut whole: Vec<(Peers, Protocol, bool)> = Vec::new();
    for peers in Peers::ALL {
        for protocol in Protocol::ALL {
            let some = naive.points()[..naive.numbers()]
                .iter()
                .filter(|point| matches!(point, Ports::Range(p, ..) if *p == protocol))
                .try_fold(false, |some, point| holes.ports.get(&(peers, point.clone())).map(|here| some | here));
            whole.extend(some.map(|some| (peers, protocol, some)));
        }
    }
    holes.ports.retain(|(peers, point), some| {
        let implied = |(of, protocol, all): &(Peers, Protocol, bool)| {
            matches!(point, Ports::Named(p, _) if protocol == p) && of == peers && *all <= *some
        };
        !whole.iter().any(implied)
    });
}

/// Whether a pod has a hole that the evaluator reports, all of it.
pub(crate) fn pod_has(naive: &mut Naive<'_>, pod: &Labels, hole: &Hole) -> bool {
    let has = naive.has(pod);
    let (Some(ports), Some(peers)) = (&hole.ports, hole.peers) else {
        return has.shows(hole.kind);
    };
    let numbers = naive.numbers();
    naive
        .points()
        .iter()
        .enumerate()
        // Names may be implied by numbers.
        .filter(|(index, point)| *index < numbers || ports.contains(point))
        .filter(|(_, point)| ports.iter().any(|listed| includes(listed, point)))
        .all(|(index, _)| has.on(peers, index))
}

/// The policies that take part in a hole whose class `counts`, as the definition says it: by trying every pod.
pub(crate) fn participants(
    policies: &[Value],
    direction: Direction,
    criteria: &Criteria,
    counts: impl Fn(Kind, bool) -> bool,
) -> BTreeSet<usize> {
    let mut naive = Naive::new(policies, &[], direction, criteria);
    let pods: Vec<(bool, Vec<usize>, Has)> =
        pods().iter().map(|pod| (naive.is_unnamed(pod), naive.selecting(pod), naive.has(pod))).collect();
    let wide = [Kind::All, Kind::Cluster, Kind::W4, Kind::W6].map(|kind| (kind, peers_of(kind)));
    let ports = Peers::ALL.map(|peers| (Kind::Ports, peers));
    let mut found = BTreeSet::new();
    for (kind, peers) in wide.into_iter().chain(ports) {
        let shows = |has: &Has| if kind == Kind::Ports { has.shows_ports(peers) } else { has.shows(kind) };
        let having: Vec<_> = pods.iter().filter(|(_, _, has)| shows(has)).collect();
        if !counts(kind, having.iter().all(|(is_unnamed, _, _)| !is_unnamed)) {
            continue;
        }
        let classes = if peers == Peers::Any { Peers::EACH.to_vec() } else { vec![peers] };
        for (_, active, has) in having.into_iter().filter(|(is_unnamed, _, _)| *is_unnamed || counts(kind, true)) {
            for &policy in active {
                let without: Vec<usize> = active.iter().copied().filter(|other| *other != policy).collect();
                let (alone, without) = (naive.of(&[policy]), naive.of(&without));
                let loses = |class| (0..has.open.len()).any(|at| has.on(class, at) && !without.on(class, at));
                if classes.iter().any(|class| alone.ports(*class) > 0 || loses(*class)) {
                    found.insert(policy);
                }
            }
        }
    }
    found
}

/// Whether one policy allows a pod, a peer and a port that another does not, of all that they can tell apart.
pub(crate) fn allows_more(old: &Value, new: &Value, direction: Direction) -> bool {
    let both = [old.clone(), new.clone()];
    let world = World::new(&both, direction, &Criteria::default());
    let namespaces = every(&[
        ("env", &["x", "y"], false),
        (NAME, &["team-a", "team-b"], true),
        ("ringfence.dev/mode", &["x", "y"], false),
    ]);
    let peers = every(&[("a", &["x", "y"], false), ("b", &["x", ""], false)]);
    let (field, peers_field) = fields(direction);
    let rules = |policy: &Value| -> Vec<Value> {
        if has_type(&policy["spec"], direction) { items(&policy["spec"][field]).to_vec() } else { Vec::new() }
    };
    let (old_rules, new_rules) = (rules(old), rules(new));
    let selects = |policy: &Value, pod: &Labels| matches(&policy["spec"]["podSelector"], pod);
    let only_new = pods().iter().any(|pod| selects(new, pod) && !selects(old, pod));
    let both_select = pods().iter().any(|pod| selects(new, pod) && selects(old, pod));
    let allows = |rules: &[Value], point: &Ports, lets_in: &dyn Fn(&[Value]) -> bool| {
        rules.iter().any(|rule| rule_allows_port(items(&rule["ports"]), point) && lets_in(items(&rule[peers_field])))
    };
    let more = |point: &Ports, lets_in: &dyn Fn(&[Value]) -> bool| {
        let new = allows(&new_rules, point, lets_in);
        new && (only_new || both_select && !allows(&old_rules, point, lets_in))
    };
    world.points.iter().any(|point| {
        let every_peer = more(point, &|peers| peers.is_empty());
        let by_pods = namespaces.iter().any(|namespace| {
            peers.iter().any(|pod| {
                more(point, &|items: &[Value]| {
                    items.is_empty()
                        || items.iter().any(|peer| {
                            peer["ipBlock"].is_null()
                                && match &peer["namespaceSelector"] {
                                    Value::Null => namespace[NAME] == "team-a",
                                    selector => matches(selector, namespace),
                                }
                                && matches(&peer["podSelector"], pod)
                        })
                })
            })
        });
        let by_address = [(false, &world.v4), (true, &world.v6)].into_iter().any(|(is_v6, intervals)| {
            intervals.iter().any(|(first, _)| {
                more(point, &|items: &[Value]| {
                    items.is_empty()
                        || items.iter().any(|peer| !peer["ipBlock"].is_null() && holds(&peer["ipBlock"], is_v6, *first))
                })
            })
        });
        every_peer || by_pods || by_address
    })
}
