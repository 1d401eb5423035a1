//! Sequences of requests on one replica (cases 56 and 69). Writes that were admitted are stored in any order, fail, and are seen
//! late. Whatever of them is stored, no denied hole is open that was not there before, and every pod stays isolated.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, LazyLock};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use proptest::sample::select;
use ringfence_core::admission::{Decision, Outcome, Webhook};
use ringfence_core::config::Config;
use ringfence_core::index::reservations::Reservations;
use ringfence_core::meter::unlimited;
use ringfence_core::policy::coverage::coverage;
use ringfence_core::policy::parse::{Source, network_policy};
use ringfence_core::policy::{Direction, NetworkPolicy, holes};
use ringfence_core::profile::{Profile, built_in};
use serde_json::{Value, json};

use crate::support::{Review, TEAM, World, creates, deletes, deny_all, managed, namespace, policy, updates, world};

/// The names of the policies that clients write. The last two can isolate pods beside the baseline.
const NAMES: [&str; 5] = ["a", "b", "c", "beside-1", "beside-2"];

/// How many requests may be under way for every subset of them to be judged.
const FEW: usize = 4;

/// One step of a sequence. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    /// A client creates the policy, or changes the policy that is stored.
    Put(&'static str, Value),
    /// A client deletes the policy.
    Delete(&'static str),
    /// The API server stores a request that is under way. Where its precondition does not hold, the request fails.
    Store(usize),
    /// A request that is under way fails.
    Fail(usize),
    /// The watch delivers so many writes.
    Watch(usize),
    /// So many seconds pass. Each request that has been under way for a minute is stored or fails, by its bit, since an API server ends
    /// a request then. Reservations are settled afterwards.
    Wait(i64, u8),
}

/// What the namespace is at the beginning.
#[derive(Clone, Debug)]
struct Start {
    profile: &'static str,
    /// Whether the controller owns the baseline, and no client can delete it.
    is_managed: bool,
    /// The specs of the policies that isolate beside the baseline.
    beside: Vec<Value>,
    /// A policy that was stored past the webhook, and opens a hole.
    hole: Option<Value>,
}

/// A policy as the API server stores it. Two with the same number are the same write.
struct Stored {
    number: u64,
    object: Value,
    policy: NetworkPolicy,
}

impl Stored {
    fn new(number: u64, mut object: Value) -> Self {
        object["metadata"]["resourceVersion"] = json!(number.to_string());
        let policy = network_policy(&object, Source::Cluster).unwrap();
        Self { number, object, policy }
    }
}

type Policies = BTreeMap<String, Arc<Stored>>;

/// A request that was admitted, and is neither stored nor failed.
#[derive(Clone)]
struct UnderWay {
    name: &'static str,
    /// The write that the request changes; `None` of a creation.
    base: Option<u64>,
    /// The policy afterwards; `None` where the request deletes it.
    outcome: Option<Arc<Stored>>,
    /// The number of the write, if the request is stored.
    number: u64,
    admitted: Timestamp,
}

impl UnderWay {
    /// Stores the request, if the API server would: a name is taken once, and only the write that admission saw is changed.
    fn store(&self, policies: &mut Policies) -> bool {
        if policies.get(self.name).map(|there| there.number) != self.base {
            return false;
        }
        policies.remove(self.name);
        if let Some(stored) = &self.outcome {
            policies.insert(self.name.to_owned(), stored.clone());
        }
        true
    }
}

/// An API server, one replica, and the watch between them.
struct Cluster {
    /// What the replica knows.
    replica: World,
    reservations: Reservations,
    stored: Policies,
    under_way: Vec<UnderWay>,
    /// The writes that the watch has not delivered: of this name, with this uid and number.
    unseen: VecDeque<(String, String, u64, Option<NetworkPolicy>)>,
    number: u64,
    clock: Timestamp,
    /// What was stored when nothing was under way and the replica knew everything. A hole of it is no new one.
    before: Policies,
    /// The sets that are judged already, by the numbers of their writes.
    judged: BTreeSet<Vec<u64>>,
}

fn every_class_denied() -> Value {
    let classes =
        ["ALL", "CLUSTER", "W4", "W6", "PORTS"].into_iter().flat_map(|kind| [kind.to_owned(), format!("{kind}*")]);
    let denied: Value = classes.map(|class| (class, json!("deny"))).collect();
    json!({ "policies": [{ "name": "default-deny-all", "spec": deny_all() }], "holes": { "ingress": denied, "egress": denied } })
}

/// The same for every sequence.
static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let config = json!({ "clusterCidrs": ["10.244.0.0/16"], "profiles": { "closed": every_class_denied() } });
    Config::parse(&config).unwrap()
});

impl Cluster {
    fn new(start: &Start) -> Self {
        let labels = json!({ "ringfence.dev/profile": start.profile, "ringfence.dev/mode": "enforce" });
        let mut cluster = Self {
            replica: world().namespace(TEAM, &namespace(TEAM, &labels)),
            reservations: Reservations::default(),
            stored: Policies::new(),
            under_way: Vec::new(),
            unseen: VecDeque::new(),
            number: 0,
            clock: Timestamp::UNIX_EPOCH,
            before: Policies::new(),
            judged: BTreeSet::new(),
        };
        cluster.replica.config = CONFIG.clone();
        let baseline = match built_in(start.profile) {
            Some(specs) => specs.into_iter().map(|(name, spec)| (name, serde_json::to_value(spec).unwrap())).collect(),
            None => vec![("default-deny-all", deny_all())],
        };
        for (name, spec) in baseline {
            cluster.write(if start.is_managed { managed(name, &spec) } else { policy(name, &spec) });
        }
        for (name, spec) in NAMES[3..].iter().zip(&start.beside) {
            cluster.write(policy(name, spec));
        }
        if let Some(spec) = &start.hole {
            cluster.write(policy(NAMES[0], spec));
        }
        cluster.see(usize::MAX);
        cluster.settled();
        cluster
    }

    /// Stores a policy past the webhook.
    fn write(&mut self, mut object: Value) {
        self.number += 1;
        object["metadata"]["uid"] = json!(format!("uid-{}", self.number));
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let stored = Stored::new(self.number, object);
        self.unseen.push_back((name.clone(), stored.policy.uid.clone(), self.number, Some(stored.policy.clone())));
        self.stored.insert(name, Arc::new(stored));
    }

    fn profile(&self) -> &Profile {
        self.replica.index.get(TEAM).unwrap().profile(&self.replica.config).unwrap()
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Put(name, spec) => self.put(name, spec),
            Step::Delete(name) => self.delete(name),
            Step::Store(which) => self.end(*which, true),
            Step::Fail(which) => self.end(*which, false),
            Step::Watch(count) => self.see(*count),
            Step::Wait(seconds, bits) => self.wait(*seconds, *bits),
        }
        self.settled();
        self.check();
    }

    fn put(&mut self, name: &'static str, spec: &Value) {
        if self.is_hidden_from(name) {
            return;
        }
        let mut object = policy(name, spec);
        self.number += 1;
        let (review, base) = if let Some(old) = self.stored.get(name) {
            object["metadata"]["uid"] = old.object["metadata"]["uid"].clone();
            object["metadata"]["resourceVersion"] = old.object["metadata"]["resourceVersion"].clone();
            (updates(&old.object, &object), Some(old.number))
        } else {
            object["metadata"]["uid"] = json!(format!("uid-{}", self.number));
            (creates(&object), None)
        };
        let outcome = Some(Arc::new(Stored::new(self.number, object)));
        self.request(&review, UnderWay { name, base, outcome, number: self.number, admitted: self.clock });
    }

    fn delete(&mut self, name: &'static str) {
        let Some(old) = self.stored.get(name) else { return };
        self.number += 1;
        let (review, base) = (deletes(&old.object), Some(old.number));
        self.request(&review, UnderWay { name, base, outcome: None, number: self.number, admitted: self.clock });
    }

    /// Decides a request as the server does, and reserves what it brings about.
    fn request(&mut self, review: &Review, then: UnderWay) {
        let known = self.reservations.of(TEAM);
        self.replica.pending = known.clone();
        let mut decision = self.decide(review);
        if !decision.allowed && decision.hangs_on_pending {
            // Once more, by what a live read says.
            let mut live = self.replica.index.clone();
            let contents = live.namespace_mut(TEAM);
            let names: Vec<String> = contents.policies().map(|policy| policy.name.clone()).collect();
            for name in names {
                contents.remove_policy(&name);
            }
            for stored in self.stored.values() {
                contents.put_policy(stored.policy.clone());
            }
            self.replica.pending.listed(self.stored.values().map(|stored| &stored.policy));
            std::mem::swap(&mut self.replica.index, &mut live);
            decision = self.decide(review);
            std::mem::swap(&mut self.replica.index, &mut live);
        }
        if !decision.allowed {
            return;
        }
        let reserved = decision
            .change
            .map(|change| self.reservations.reserve(TEAM, &known, change, None, self.clock, unlimited()));
        if reserved.is_none_or(|reserved| reserved.is_ok()) {
            self.under_way.push(then);
        }
    }

    /// Whether what may be stored opens a denied hole together, though only a part of it can be stored: two writes of one policy
    /// exclude each other. A policy that opens the hole with either of them is admitted behind it, which is a fault: see
    /// [`a_policy_that_opens_a_hole_with_each_of_two_writes_that_exclude_each_other_is_refused`].
    fn is_hidden_from(&self, name: &str) -> bool {
        let profile = self.profile();
        let index = self.replica.index.get(TEAM).unwrap();
        let pending = self.reservations.of(TEAM);
        let known: Vec<&NetworkPolicy> = index.policies().collect();
        let possible: Vec<&NetworkPolicy> =
            pending.possible(&known).into_iter().filter(|policy| policy.name != name).collect();
        let before: Vec<&NetworkPolicy> = self.before.values().map(|stored| &stored.policy).collect();
        Direction::BOTH.into_iter().any(|direction| {
            let (opened, _) = holes::opened(&before, &possible, direction, profile.criteria());
            opened.iter().any(|hole| profile.denies(direction, hole.class()))
        })
    }

    fn decide(&self, review: &Review) -> Decision {
        match self.replica.outcome(Webhook::Validate, review) {
            Outcome::Decided(decision) => decision,
            other => panic!("{other:?}"),
        }
    }

    fn end(&mut self, which: usize, is_stored: bool) {
        if self.under_way.is_empty() {
            return;
        }
        let request = self.under_way.remove(which % self.under_way.len());
        let uid = self.stored.get(request.name).map(|old| old.policy.uid.clone());
        if is_stored && request.store(&mut self.stored) {
            let new = self.stored.get(request.name).map(|new| new.policy.clone());
            let uid = new.as_ref().map(|new| new.uid.clone()).or(uid).unwrap();
            self.unseen.push_back((request.name.to_owned(), uid, request.number, new));
        }
    }

    fn see(&mut self, count: usize) {
        for (name, uid, number, new) in self.unseen.drain(..count.min(self.unseen.len())) {
            let contents = self.replica.index.namespace_mut(TEAM);
            match new {
                Some(policy) => contents.put_policy(policy),
                None => contents.remove_policy_at(&name, number),
            };
            self.reservations.seen(TEAM, &uid, number);
        }
    }

    fn wait(&mut self, seconds: i64, bits: u8) {
        self.clock += SignedDuration::from_secs(seconds);
        // In the order of their admission.
        while let Some(first) = self.under_way.first()
            && self.clock.duration_since(first.admitted) >= SignedDuration::from_mins(1)
        {
            self.end(0, bits >> (first.number % 8) & 1 == 1);
        }
        for (_, reservation) in self.reservations.overdue(self.clock) {
            let name = &reservation.change.name;
            let of = |policy: &NetworkPolicy| (policy.uid.clone(), policy.version);
            let found = self.stored.get(name).map(|stored| of(&stored.policy));
            let known = self.replica.index.get(TEAM).unwrap().policy(name).map(of);
            if known == found {
                self.reservations.release(TEAM, &reservation);
            }
        }
    }

    /// Takes what is stored for what was there before, where nothing else can be.
    fn settled(&mut self) {
        if self.under_way.is_empty() && self.unseen.is_empty() && self.reservations.of(TEAM).is_empty() {
            self.before = self.stored.clone();
            self.judged.clear();
        }
    }

    /// Every set of policies that may be stored: with few requests under way, by each subset of them in each order; with many, by
    /// all together, and by each alone.
    fn reachable(&self) -> Vec<Policies> {
        if self.under_way.len() > FEW {
            let mut all = self.stored.clone();
            let mut sets: Vec<Policies> = Vec::new();
            for request in &self.under_way {
                request.store(&mut all);
                let mut alone = self.stored.clone();
                request.store(&mut alone);
                sets.push(alone);
            }
            sets.extend([self.stored.clone(), all]);
            return sets;
        }
        let mut sets = vec![(0u32, self.stored.clone())];
        let mut at = 0;
        while let Some((used, policies)) = sets.get(at).cloned() {
            for (bit, request) in self.under_way.iter().enumerate().filter(|(bit, _)| used >> bit & 1 == 0) {
                let mut more = policies.clone();
                if request.store(&mut more) {
                    sets.push((used | 1 << bit, more));
                }
            }
            at += 1;
        }
        sets.into_iter().map(|(_, policies)| policies).collect()
    }

    fn check(&mut self) {
        let mut sets = self.reachable();
        sets.retain(|set| self.judged.insert(set.values().map(|stored| stored.number).collect()));
        let profile = self.profile();
        let before: Vec<&NetworkPolicy> = self.before.values().map(|stored| &stored.policy).collect();
        for set in sets {
            let policies: Vec<&NetworkPolicy> = set.values().map(|stored| &stored.policy).collect();
            let said = || set.values().map(|stored| stored.object.to_string()).collect::<Vec<_>>().join("\n");
            for direction in Direction::BOTH {
                assert!(coverage(&policies, direction).0.is_complete(), "{direction} is not complete:\n{}", said());
                let (opened, capped) = holes::opened(&before, &policies, direction, profile.criteria());
                assert!(!capped);
                let denied = opened.iter().find(|hole| profile.denies(direction, hole.class()));
                assert!(
                    denied.is_none(),
                    "{} at {direction} under {}:\n{}",
                    denied.unwrap().class(),
                    profile.name(),
                    said()
                );
            }
        }
    }
}

fn of_app(operator: &str) -> Value {
    json!({ "matchExpressions": [{ "key": "app", "operator": operator }] })
}

fn pods() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => Just(json!({})),
        1 => Just(of_app("Exists")),
        1 => Just(of_app("DoesNotExist")),
        1 => Just(json!({ "matchLabels": { "app": "x" } })),
    ]
}

/// Blocks as wide as may be opened, and half as wide.
fn blocks() -> impl Strategy<Value = Value> {
    const WIDEST: [&[&str]; 3] = [
        &["20.0.0.0/7", "40.0.0.0/7", "60.0.0.0/7", "20.0.0.0/8", "80.0.0.0/8"],
        &["2000::/20", "3000::/20", "4000::/20", "2000::/21"],
        &["10.244.0.0/20", "10.244.16.0/20", "10.244.32.0/21"],
    ];
    select(&WIDEST[..]).prop_flat_map(select).prop_map(|cidr| json!([{ "ipBlock": { "cidr": cidr } }]))
}

fn strangers() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!([])),
        Just(json!([{ "namespaceSelector": {} }])),
        Just(json!([{ "namespaceSelector": of_app("DoesNotExist") }])),
        Just(json!([{ "namespaceSelector": {}, "podSelector": of_app("Exists") }])),
    ]
}

/// Ports as many as may be opened, or fewer.
fn ports() -> impl Strategy<Value = Value> {
    let range = |from: u16, to: u16| json!([{ "port": from, "endPort": to }]);
    prop_oneof![
        Just(range(1, 128)),
        Just(range(1, 64)),
        Just(range(65, 128)),
        Just(range(101, 200)),
        Just(json!([{ "protocol": "UDP", "port": 53 }])),
        Just(json!([{ "port": "http" }])),
    ]
}

/// A rule as `(peers, ports)`: most are fine alone, and open a hole with others.
fn rule() -> impl Strategy<Value = (Value, Value)> {
    prop_oneof![
        5 => blocks().prop_map(|peers| (peers, json!([]))),
        4 => (strangers(), ports()),
        2 => (blocks(), ports()),
        1 => strangers().prop_map(|peers| (peers, json!([]))),
        1 => Just((json!([{ "podSelector": {} }]), json!([]))),
    ]
}

fn rules(peers_field: &'static str) -> impl Strategy<Value = Value> {
    let rule = rule().prop_map(move |(peers, ports)| json!({ peers_field: peers, "ports": ports }));
    prop::collection::vec(rule, 1..3).prop_map(Value::Array)
}

fn spec() -> impl Strategy<Value = Value> {
    let opening = prop_oneof![
        3 => rules("from").prop_map(|ingress| json!({ "policyTypes": ["Ingress"], "ingress": ingress })),
        2 => rules("to").prop_map(|egress| json!({ "policyTypes": ["Egress"], "egress": egress })),
        1 => (rules("from"), rules("to"))
            .prop_map(|(ingress, egress)| json!({ "policyTypes": ["Ingress", "Egress"], "ingress": ingress, "egress": egress })),
    ];
    let isolating = select(vec![json!(["Ingress"]), json!(["Egress"]), json!(["Ingress", "Egress"])])
        .prop_map(|types| json!({ "policyTypes": types }));
    (pods(), prop_oneof![6 => opening.boxed(), 1 => isolating.boxed()]).prop_map(|(pods, mut spec)| {
        spec["podSelector"] = pods;
        spec
    })
}

fn step() -> impl Strategy<Value = Step> {
    let name = || select(&NAMES[..]);
    let deleted = select(&["a", "b", "c", "beside-1", "beside-2", "default-deny-all", "default-deny-all"][..]);
    prop_oneof![
        6 => (name(), spec()).prop_map(|(name, spec)| Step::Put(name, spec)),
        2 => deleted.prop_map(Step::Delete),
        2 => (0..8usize).prop_map(Step::Store),
        1 => (0..8usize).prop_map(Step::Fail),
        2 => (1..4usize).prop_map(Step::Watch),
        1 => (select(&[20, 40, 65][..]), any::<u8>()).prop_map(|(seconds, bits)| Step::Wait(seconds, bits)),
    ]
}

fn start() -> impl Strategy<Value = Start> {
    let isolating = |pods: Value| json!({ "podSelector": pods, "policyTypes": ["Ingress", "Egress"] });
    let beside = prop_oneof![
        Just(Vec::new()),
        Just(vec![isolating(json!({}))]),
        Just(vec![isolating(of_app("Exists")), isolating(of_app("DoesNotExist"))]),
    ];
    let wide = |peers: Value| json!({ "podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{ "from": peers }] });
    let hole = prop_oneof![
        6 => Just(None),
        1 => Just(Some(wide(json!([{ "ipBlock": { "cidr": "0.0.0.0/0" } }])))),
        1 => Just(Some(wide(json!([{ "namespaceSelector": {} }])))),
    ];
    (select(&["standard", "strict", "deny-all", "closed", "closed"][..]), any::<bool>(), beside, hole)
        .prop_map(|(profile, is_managed, beside, hole)| Start { profile, is_managed, beside, hole })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_admitted_requests_on_one_replica_opens_a_denied_hole_or_ends_isolation(
        start in start(), steps in prop::collection::vec(step(), 4..16)
    ) {
        let mut cluster = Cluster::new(&start);
        for step in &steps {
            cluster.take(step);
        }
    }
}
