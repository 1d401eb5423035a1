//! The code under test, called with what is in a state. What it answers to the same question is remembered: it reads
//! nothing but its arguments, and some hundred thousand states ask a few thousand different questions.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use ringfence_core::config::Config;
use ringfence_core::index::{Index, Namespace};
use ringfence_core::object::Object;
use ringfence_core::plan::{Action, plan};
use ringfence_core::policy::parse::{Source, network_policy};
use ringfence_core::policy::{Direction, NetworkPolicy};
use ringfence_core::record::Record;
use ringfence_core::vocabulary::Mode;
use serde_json::{Value, json};

use super::hearing::News;
use super::state::{NAMES, PODS, Pod, Policy, Profile, Recorded, Replica, SLOTS, Says, Stored, View, Wrong};

pub(crate) const TEAM: &str = "team-a";
const ENDS: &str = "2026-07-01T00:00:00Z";

pub(crate) fn time(clock: u8) -> Timestamp {
    ["2026-06-01T00:00:00Z", ENDS][usize::from(clock)].parse().unwrap()
}

/// An [`Action`], in the model's words: policies and pods by their slots, and a record by a bit for each policy that it
/// knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Do {
    Quarantine(u8),
    EndQuarantine(u8),
    Apply(u8),
    Prune(u8),
    Isolate(u8),
    DropIsolated,
    Record(Option<u8>),
    EndExemption,
    Report(u8),
    Lift(u8),
}

impl Do {
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Quarantine(_) => "a policy is quarantined",
            Self::EndQuarantine(_) => "a quarantine is over",
            Self::Apply(5) => "a policy stands in",
            Self::Apply(_) => "a policy is applied",
            Self::Prune(_) => "a policy is pruned",
            Self::Isolate(_) => "isolated is set",
            Self::DropIsolated => "isolated is dropped",
            Self::Record(None) => "a record is removed",
            Self::Record(Some(_)) => "a record is written",
            Self::EndExemption => "an exemption is ended",
            Self::Report(0) => "a conflict is over",
            Self::Report(_) => "a conflict is reported",
            Self::Lift(_) => "a pod is lifted",
        }
    }
}

/// A plan, in the model's words.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) actions: Vec<Do>,
    /// Whether it is to be made again at the end of something.
    pub(crate) again: bool,
    /// Whether it waits for what the policies are.
    pub(crate) waits: bool,
}

/// Answers to questions that were put before.
pub(crate) struct Memory<K, V>(Mutex<HashMap<K, V>>);

impl<K: Eq + Hash + Copy, V: Clone> Memory<K, V> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    pub(crate) fn get(&self, key: K, make: impl FnOnce() -> V) -> V {
        if let Some(known) = self.0.lock().unwrap().get(&key) {
            return known.clone();
        }
        let answer = make();
        self.0.lock().unwrap().insert(key, answer.clone());
        answer
    }
}

pub(crate) struct Code {
    /// The configuration, and another one that the process may be restarted with.
    pub(crate) configs: [Config; 2],
    pub(crate) policies: HashMap<(u8, Says, bool), NetworkPolicy>,
    /// What was reported; a state holds the place in here, counted from 1.
    texts: Mutex<Vec<String>>,
    /// The records that were written, as text and as the model has them.
    records: Memory<Recorded, Arc<str>>,
    recorded: Mutex<HashMap<String, Recorded>>,
    plans: Memory<(View, u8, u8), Arc<Planned>>,
    pub(crate) heard: Memory<(Replica, News), Replica>,
    lifted: Memory<(View, u8), bool>,
    /// What becomes of what a leader knows, when nothing is in its way.
    pub(crate) settled: Memory<(View, u8, u8), Option<Wrong>>,
    pub(crate) decided: super::webhook::Remembered,
    seen: Mutex<BTreeSet<&'static str>>,
    windows: Mutex<BTreeSet<String>>,
}

fn deny(types: &[&str]) -> Value {
    json!({ "podSelector": {}, "policyTypes": types })
}

/// What the profile says under a name.
fn of_profile(slot: u8) -> Value {
    deny([&["Ingress"][..], &["Egress"], &["Ingress", "Egress"], &[], &[], &["Ingress"]][usize::from(slot)])
}

/// A policy as the API server sends it.
pub(crate) fn policy_object(slot: u8, policy: Policy) -> Value {
    let manager = if policy.says.is_managed() { "ringfence" } else { "jane" };
    let ingress = |from: Value| json!({ "podSelector": {}, "policyTypes": ["Ingress"], "ingress": [from] });
    let spec = match policy.says {
        Says::Managed | Says::Foreign => of_profile(slot),
        Says::Narrowed | Says::Narrow => {
            json!({ "podSelector": { "matchLabels": { "a": "b" } }, "policyTypes": ["Ingress", "Egress"] })
        }
        Says::Wide | Says::Excused => ingress(json!({})),
        // A /7 each, and more than one of them is wide.
        Says::Half => {
            let block = if slot == 3 { "2.0.0.0/7" } else { "4.0.0.0/7" };
            ingress(json!({ "from": [{ "ipBlock": { "cidr": block } }] }))
        }
        Says::Emptied | Says::Spent => deny(&["Ingress"]),
    };
    let mut annotations = serde_json::Map::new();
    if matches!(policy.says, Says::Excused | Says::Spent) {
        annotations.insert("ringfence.dev/exception-reason".to_owned(), json!("legacy"));
        annotations.insert("ringfence.dev/exception-until".to_owned(), json!(ENDS));
    }
    if policy.quarantined {
        annotations.insert("ringfence.dev/quarantined".to_owned(), json!("{\"ingress\":{}}"));
    }
    let metadata = json!({ "name": NAMES[usize::from(slot)], "namespace": TEAM, "annotations": annotations,
        "uid": policy_uid(slot, policy.uid), "generation": policy.spec,
        "labels": { "app.kubernetes.io/managed-by": manager }, "resourceVersion": policy.version.to_string() });
    json!({ "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec })
}

/// A uid as text. With the slot, so that no two policies of different states have one record.
pub(crate) fn policy_uid(slot: u8, uid: u8) -> String {
    format!("{slot}-{uid}")
}

pub(crate) fn profile_name(profile: Profile) -> &'static str {
    match profile {
        Profile::Team => "team",
        Profile::Open => "open",
    }
}

impl Code {
    pub(crate) fn new() -> Self {
        let named = |slots: &[u8]| -> Vec<Value> {
            slots.iter().map(|slot| json!({ "name": NAMES[usize::from(*slot)], "spec": of_profile(*slot) })).collect()
        };
        let config = |wide: u8| {
            let config = json!({ "defaultProfile": "team", "profiles": {
                "team": { "policies": named(&[0, 1]), "wide": { "ipv4": wide } },
                "open": { "policies": named(&[2]), "holes": { "ingress": { "ALL": "warn", "W4": "warn" } } },
            } });
            Config::parse(&config).unwrap()
        };
        let parsed = |slot, says, quarantined| {
            let policy = Policy { says, version: 0, uid: 0, spec: 0, quarantined };
            let parsed = network_policy(policy_object(slot, policy), Source::Cluster).unwrap();
            ((slot, says, quarantined), NetworkPolicy { uid: String::new(), ..parsed })
        };
        let all = (0..SLOTS).flat_map(|slot| {
            Says::of(slot).iter().flat_map(move |says| [false, true].map(|quarantined| (slot, *says, quarantined)))
        });
        Self {
            configs: [config(7), config(8)],
            policies: all.map(|(slot, says, quarantined)| parsed(slot, says, quarantined)).collect(),
            texts: Mutex::default(),
            records: Memory::new(),
            recorded: Mutex::default(),
            plans: Memory::new(),
            heard: Memory::new(),
            lifted: Memory::new(),
            settled: Memory::new(),
            decided: super::webhook::Remembered::new(),
            seen: Mutex::default(),
            windows: Mutex::default(),
        }
    }

    /// Notes that something has happened.
    pub(crate) fn saw(&self, what: &'static str) {
        self.seen.lock().unwrap().insert(what);
    }

    /// Notes in which circumstances a pod may run before what is stored is effective.
    pub(crate) fn found_window(&self, what: String) {
        self.windows.lock().unwrap().insert(what);
    }

    pub(crate) fn windows(&self) -> BTreeSet<String> {
        self.windows.lock().unwrap().clone()
    }

    pub(crate) fn seen(&self) -> BTreeSet<&'static str> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn policy(&self, slot: u8, policy: Policy) -> NetworkPolicy {
        NetworkPolicy {
            version: policy.version.into(),
            uid: policy_uid(slot, policy.uid),
            generation: policy.spec.into(),
            ..self.policies[&(slot, policy.says, policy.quarantined)].clone()
        }
    }

    fn place_of(&self, text: &str) -> u8 {
        let mut texts = self.texts.lock().unwrap();
        let at = texts.iter().position(|known| known == text).unwrap_or_else(|| {
            texts.push(text.to_owned());
            texts.len() - 1
        });
        u8::try_from(at + 1).unwrap()
    }

    pub(crate) fn text(&self, place: u8) -> String {
        place.checked_sub(1).map(|at| self.texts.lock().unwrap()[usize::from(at)].clone()).unwrap_or_default()
    }

    /// A record as the code writes it: of a namespace that has just these policies.
    fn record_text(&self, recorded: Recorded) -> Arc<str> {
        self.records.get(recorded, || {
            let (config, profile) = match recorded.rules {
                2 => (0, Profile::Open),
                config => (usize::from(config), Profile::Team),
            };
            let mut index = Index::default();
            let namespace = index.contents_mut(TEAM);
            for (slot, identity) in (0..).zip(recorded.knows) {
                let Some((uid, spec)) = identity else { continue };
                let policy = Policy { says: Says::Wide, version: 0, uid, spec, quarantined: false };
                namespace.put_policy(self.policy(slot, policy));
            }
            let profile = self.configs[config].profiles.get(profile_name(profile)).unwrap();
            let text = Record::of(namespace, profile, time(0)).to_text();
            self.recorded.lock().unwrap().insert(text.clone(), recorded);
            text.into()
        })
    }

    /// What a record says that was written as text.
    fn recorded(&self, text: &str) -> Recorded {
        self.recorded.lock().unwrap()[text]
    }

    /// A namespace as the API server sends it.
    pub(crate) fn namespace_object(&self, stored: Stored) -> Value {
        let mut object = json!({ "metadata": { "name": TEAM, "uid": format!("uid-{}", stored.uid),
            "resourceVersion": stored.version.to_string(),
            "labels": {
                "ringfence.dev/profile": profile_name(stored.profile),
                "ringfence.dev/mode": if stored.exempt { "exempt" } else { "enforce" },
            },
            "annotations": {} } });
        let metadata = &mut object["metadata"];
        if stored.exempt {
            metadata["annotations"] =
                json!({ "ringfence.dev/exempt-reason": "migration", "ringfence.dev/exempt-until": ENDS });
        }
        if stored.isolated {
            metadata["labels"]["ringfence.dev/isolated"] = json!("true");
        }
        if stored.terminating {
            metadata["deletionTimestamp"] = json!("2026-06-01T00:00:00Z");
        }
        if stored.conflict != 0 {
            metadata["annotations"]["ringfence.dev/conflict"] = json!(self.text(stored.conflict));
        }
        if let Some(recorded) = stored.effective {
            metadata["annotations"]["ringfence.dev/effective"] = json!(&*self.record_text(recorded));
        }
        object
    }

    pub(crate) fn put_namespace(&self, index: &mut Index, stored: Stored) {
        let text = self.namespace_object(stored).to_string();
        index.put_namespace(TEAM, &serde_json::from_str::<Object<'_>>(&text).unwrap().into_metadata());
    }

    /// What an index says of the namespace itself.
    pub(crate) fn stored(&self, namespace: &Namespace) -> Stored {
        let isolation = &namespace.isolation;
        Stored {
            uid: namespace.uid.trim_start_matches("uid-").parse().unwrap(),
            version: u8::try_from(namespace.version).unwrap(),
            exempt: isolation.mode.as_deref() == Some("exempt"),
            profile: if isolation.profile.as_deref() == Some("open") { Profile::Open } else { Profile::Team },
            isolated: isolation.isolated.is_some(),
            terminating: namespace.terminating,
            conflict: namespace.conflict.as_deref().map_or(0, |text| self.place_of(text)),
            effective: namespace.effective.as_deref().map(|text| self.recorded(text)),
        }
    }

    pub(crate) fn plan(&self, view: &View, clock: u8, given_up: u8) -> Arc<Planned> {
        let facts = view.facts();
        self.plans.get((facts, clock, given_up), || {
            let Some(namespace) = self.index(&facts, 0).get(TEAM) else {
                return Arc::new(Planned { actions: Vec::new(), again: false, waits: false });
            };
            let left = (0..SLOTS).filter(|slot| given_up & 1 << slot != 0);
            let left = left.map(|slot| NAMES[usize::from(slot)].to_owned()).collect();
            let plan = plan(&namespace, &self.configs[usize::from(view.config)], time(clock), &left);
            let actions = plan.actions.iter().map(|action| self.in_words(action, &namespace, &facts));
            Arc::new(Planned { actions: actions.collect(), again: plan.again.is_some(), waits: plan.waits })
        })
    }

    fn in_words(&self, action: &Action, namespace: &Namespace, view: &View) -> Do {
        let slot = |name: &str| u8::try_from(NAMES.iter().position(|known| *known == name).unwrap()).unwrap();
        let meant = |name: &str, uid: &str| {
            assert_eq!(namespace.policy(name).unwrap().uid, uid, "{action:?}");
            slot(name)
        };
        match action {
            Action::Quarantine(suspect) => {
                assert_eq!(suspect.direction, Direction::Ingress, "{suspect:?}");
                Do::Quarantine(meant(&suspect.name, &suspect.uid))
            }
            Action::EndQuarantine(name, uid) => Do::EndQuarantine(meant(name, uid)),
            Action::Isolate(record) => Do::Isolate(self.known_to(record, namespace, view)),
            Action::DropIsolated => Do::DropIsolated,
            Action::Record(record) => {
                Do::Record(record.as_deref().map(|record| self.known_to(record, namespace, view)))
            }
            Action::EndExemption => Do::EndExemption,
            Action::Apply(policy) => {
                let applied = network_policy(serde_json::to_value(policy).unwrap(), Source::File).unwrap();
                let slot = slot(&applied.name);
                let expected = &self.policies[&(slot, Says::Managed, false)];
                assert!(applied.managed && applied.spec == expected.spec, "{applied:?}");
                Do::Apply(slot)
            }
            Action::Prune(name) => Do::Prune(slot(name)),
            Action::Lift(pod) => {
                Do::Lift(u8::try_from(POD_NAMES.iter().position(|name| name == pod).unwrap()).unwrap())
            }
            Action::Report(text) => Do::Report(text.as_deref().map_or(0, |text| self.place_of(text))),
        }
    }

    /// Which policies of a namespace a record knows. It must know no others, and be of the rules in force.
    fn known_to(&self, text: &str, namespace: &Namespace, view: &View) -> u8 {
        let record = Record::parse(text).unwrap();
        let known = namespace.policies().filter(|policy| record.knows(policy)).map(|policy| &*policy.name);
        let slots = known.map(|name| NAMES.iter().position(|other| *other == name).unwrap());
        let known = slots.fold(0, |known, slot| known | 1 << slot);
        let meant = self.record_text(view.recorded(known));
        assert!(record.says_the_same(&Record::parse(&meant).unwrap()), "{text} of {view:?}");
        known
    }

    /// Whether pods are to be lifted still, asked right before each is: as `src/controller/writer.rs` does.
    pub(crate) fn is_lifted_still(&self, view: &View, clock: u8) -> bool {
        let facts = view.facts();
        self.lifted.get((facts, clock), || {
            let config = &self.configs[usize::from(view.config)];
            self.index(&facts, 0).get(TEAM).is_some_and(|namespace| {
                namespace.mode(time(clock)) != Some(Mode::Enforce)
                    || config.is_excluded(TEAM)
                    || namespace.is_isolating(config, time(clock))
            })
        })
    }
}

pub(crate) const POD_NAMES: [&str; PODS] = ["web", "job"];

/// A held pod, as a watch shows it.
pub(crate) fn known_pod(pod: Pod) -> ringfence_core::index::Pod {
    ringfence_core::index::Pod {
        held: pod.held,
        may_run: true,
        uid: pod.uid.to_string(),
        version: pod.version.into(),
        ..Default::default()
    }
}
