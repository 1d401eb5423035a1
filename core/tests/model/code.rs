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
use ringfence_core::policy::NetworkPolicy;
use ringfence_core::policy::criteria::Criteria;
use ringfence_core::policy::parse::{Source, network_policy};
use ringfence_core::policy::verdict::judge;
use ringfence_core::vocabulary::Mode;
use serde_json::{Value, json};

use super::state::{NAMES, PODS, Pod, Pods, Policies, Policy, Profile, Replica, Says, Stored, Version, View};

pub(crate) const TEAM: &str = "team-a";
const ENDS: &str = "2026-07-01T00:00:00Z";

pub(crate) fn time(clock: u8) -> Timestamp {
    ["2026-06-01T00:00:00Z", ENDS][usize::from(clock)].parse().unwrap()
}

/// An [`Action`], in the model's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Do {
    SetIsolated(bool),
    EndExemption,
    Apply(u8),
    Prune(u8),
    Lift(u8),
    Report(u8),
}

impl Do {
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::SetIsolated(true) => "isolated is set",
            Self::SetIsolated(false) => "isolated is dropped",
            Self::EndExemption => "an exemption is ended",
            Self::Apply(_) => "a policy is applied",
            Self::Prune(_) => "a policy is pruned",
            Self::Lift(_) => "a pod is lifted",
            Self::Report(0) => "a conflict is over",
            Self::Report(_) => "a conflict is reported",
        }
    }
}

/// A plan, in the model's words.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) actions: Vec<Do>,
    /// Whether it is to be made again at the end of something.
    pub(crate) again: bool,
}

/// What reaches an index: what a watch delivers, what a list brings, or what was just written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum News {
    Namespace(Option<Stored>, Version),
    Policy(u8, Option<Says>, Version),
    /// Name, uid, and whether the pod is there and held.
    Pod(u8, Version, bool, Version),
    Namespaces(Option<Stored>),
    Policies(Policies),
    Pods(Pods),
    WrittenNamespace(Stored),
    WrittenPolicy(u8, Policy),
    WrittenPod(u8, Pod),
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
    pub(crate) config: Config,
    policies: HashMap<(u8, Says), NetworkPolicy>,
    /// What was reported; a state holds the place in here, counted from 1.
    texts: Mutex<Vec<String>>,
    plans: Memory<(View, u8), Arc<Planned>>,
    heard: Memory<(Replica, News), Replica>,
    lifted: Memory<(View, u8), bool>,
    pub(crate) decided: super::webhook::Remembered,
    seen: Mutex<BTreeSet<&'static str>>,
    windows: Mutex<BTreeSet<String>>,
}

fn deny(types: &[&str]) -> Value {
    json!({ "podSelector": {}, "policyTypes": types })
}

/// What the profile says under a name.
fn of_profile(slot: u8) -> Value {
    deny([&["Ingress"][..], &["Egress"], &["Ingress", "Egress"], &[]][usize::from(slot)])
}

/// A policy as the API server sends it.
pub(crate) fn policy_object(slot: u8, says: Says, version: Version) -> Value {
    let manager = if matches!(says, Says::Managed | Says::Narrowed) { "ringfence" } else { "jane" };
    let spec = match says {
        Says::Managed | Says::Foreign => of_profile(slot),
        Says::Narrowed | Says::Narrow => {
            json!({ "podSelector": { "matchLabels": { "a": "b" } }, "policyTypes": ["Ingress", "Egress"] })
        }
        Says::Wide | Says::Excused => json!({ "podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}] }),
    };
    let mut metadata = json!({ "name": NAMES[usize::from(slot)], "namespace": TEAM,
        "labels": { "app.kubernetes.io/managed-by": manager }, "resourceVersion": version.to_string() });
    if says == Says::Excused {
        metadata["annotations"] =
            json!({ "ringfence.dev/exception-reason": "legacy", "ringfence.dev/exception-until": ENDS });
    }
    json!({ "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec })
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
        let config = json!({ "defaultProfile": "team", "profiles": {
            "team": { "policies": named(&[0, 1]) },
            "open": { "policies": named(&[2]), "holes": { "ingress": { "ALL": "warn" } } },
        } });
        let says = [Says::Managed, Says::Narrowed, Says::Foreign, Says::Narrow, Says::Wide, Says::Excused];
        let parsed = |slot, says| network_policy(policy_object(slot, says, 0), Source::Cluster).unwrap();
        Self {
            config: Config::parse(&config).unwrap(),
            policies: (0..4).flat_map(|slot| says.map(|says| ((slot, says), parsed(slot, says)))).collect(),
            texts: Mutex::default(),
            plans: Memory::new(),
            heard: Memory::new(),
            lifted: Memory::new(),
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

    fn policy(&self, slot: u8, policy: Policy) -> NetworkPolicy {
        NetworkPolicy { version: policy.version.into(), ..self.policies[&(slot, policy.says)].clone() }
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
        object
    }

    fn put_namespace(&self, namespace: &mut Namespace, stored: Stored) {
        let text = self.namespace_object(stored).to_string();
        namespace.put_object(&serde_json::from_str::<Object<'_>>(&text).unwrap().into_metadata());
    }

    /// The index that a view stands for.
    pub(crate) fn index(&self, view: &View) -> Index {
        let mut index = Index::default();
        if !view.entry {
            return index;
        }
        index.contents_mut(TEAM);
        if view.predecessor != 0 {
            index.forget_namespace(TEAM, view.predecessor.into());
        }
        let namespace = index.contents_mut(TEAM);
        for (slot, policy) in (0..).zip(view.policies) {
            policy.map(|policy| namespace.put_policy(self.policy(slot, policy)));
        }
        for (slot, pod) in view.pods.iter().enumerate() {
            pod.map(|pod| namespace.put_pod(POD_NAMES[slot], known_pod(pod)));
        }
        if let Some(stored) = view.stored {
            self.put_namespace(namespace, stored);
        }
        index
    }

    /// What an index holds. What it does not show of itself is what was done to it.
    fn view(&self, mut index: Index, predecessor: Version, stored: Option<Stored>) -> View {
        if index.names().is_empty() {
            return View::default();
        }
        let known = index.get(TEAM).map(|namespace| {
            let isolation = &namespace.isolation;
            Stored {
                uid: namespace.uid.trim_start_matches("uid-").parse().unwrap(),
                version: u8::try_from(namespace.version).unwrap(),
                exempt: isolation.mode.as_deref() == Some("exempt"),
                profile: if isolation.profile.as_deref() == Some("open") { Profile::Open } else { Profile::Team },
                isolated: isolation.isolated.is_some(),
                terminating: namespace.terminating,
                conflict: namespace.conflict.as_deref().map_or(0, |text| self.place_of(text)),
            }
        });
        assert!(known.is_none() || stored.is_some(), "a namespace that nobody told of");
        let contents = index.contents_mut(TEAM);
        let criteria = Criteria::default();
        assert_eq!(*contents.verdict(&criteria), judge(&contents.policies().collect::<Vec<_>>(), &criteria));
        let mut policies = Policies::default();
        for policy in contents.policies() {
            let slot = NAMES.iter().position(|name| *name == policy.name).unwrap();
            let bare = NetworkPolicy { version: 0, ..policy.clone() };
            let said = self.policies.iter().find(|((at, _), parsed)| usize::from(*at) == slot && **parsed == bare);
            let ((_, says), _) = said.unwrap();
            policies[slot] = Some(Policy { says: *says, version: u8::try_from(policy.version).unwrap() });
        }
        let pods = POD_NAMES.map(|name| {
            let pod = contents.pods.get(name)?;
            Some(Pod { uid: pod.uid.parse().unwrap(), version: u8::try_from(pod.version).unwrap(), held: pod.held })
        });
        View { entry: true, stored: known, predecessor, policies, pods }
    }

    /// What an index holds after it has heard something: as `src/cluster/live/watch.rs` puts it there.
    pub(crate) fn hear(&self, replica: &Replica, news: News) -> Replica {
        let asked = Replica { at: [0; 3], ..*replica };
        let heard = self.heard.get((asked, news), || self.hear_anew(&asked, news));
        Replica { at: replica.at, ..heard }
    }

    fn hear_namespace(&self, index: &mut Index, object: Stored, again: &mut [bool; 2]) {
        let namespace = index.contents_mut(TEAM);
        let is_another = !namespace.uid.is_empty() && namespace.uid != format!("uid-{}", object.uid);
        if is_another && namespace.clear() {
            *again = [true; 2];
        }
        self.put_namespace(namespace, object);
    }

    fn hear_anew(&self, replica: &Replica, news: News) -> Replica {
        let mut after = *replica;
        let mut predecessor = replica.view.predecessor;
        let mut stored = replica.view.stored;
        let mut index = self.index(&replica.view);
        if replica.view.entry {
            // Judged before it changes: what is remembered must not outlive the change.
            let _ = index.contents_mut(TEAM).verdict(&Criteria::default());
        }
        match news {
            News::Namespace(Some(object), _) => {
                self.hear_namespace(&mut index, object, &mut after.again);
                stored = Some(object);
            }
            News::Namespace(None, version) => {
                index.forget_namespace(TEAM, version.into());
                predecessor = version;
                index.sweep(replica.newest_policy.into());
            }
            News::Namespaces(list) => {
                if list.is_none() {
                    for name in index.names() {
                        index.forget_namespace(&name, 0);
                        predecessor = 0;
                        if index.contents_mut(&name).clear() {
                            after.again = [true; 2];
                        }
                    }
                }
                if let Some(object) = list {
                    self.hear_namespace(&mut index, object, &mut after.again);
                    stored = Some(object);
                }
                index.sweep(replica.newest_policy.into());
            }
            News::Policy(slot, says, version) => {
                after.newest_policy = after.newest_policy.max(version);
                let namespace = index.contents_mut(TEAM);
                match says {
                    Some(says) => namespace.put_policy(self.policy(slot, Policy { says, version })),
                    None => namespace.remove_policy_at(NAMES[usize::from(slot)], version.into()),
                };
            }
            News::Policies(list) => {
                for name in index.names() {
                    let namespace = index.contents_mut(&name);
                    for (slot, _) in list.iter().enumerate().filter(|(_, policy)| policy.is_none()) {
                        namespace.remove_policy(NAMES[slot]);
                    }
                }
                for (slot, policy) in (0..).zip(list) {
                    let Some(policy) = policy else { continue };
                    after.newest_policy = after.newest_policy.max(policy.version);
                    index.contents_mut(TEAM).put_policy(self.policy(slot, policy));
                }
                index.sweep(after.newest_policy.into());
                after.again[0] = false;
            }
            News::Pod(slot, uid, held, version) => {
                let (name, namespace) = (POD_NAMES[usize::from(slot)], index.contents_mut(TEAM));
                if held {
                    namespace.put_pod(name, known_pod(Pod { uid, version, held }));
                } else {
                    namespace.pods.retain(|pod, known| pod != name || known.uid != uid.to_string());
                }
            }
            News::Pods(list) => {
                for name in index.names() {
                    let there = |pod: &str| POD_NAMES.iter().zip(list).any(|(name, at)| *name == pod && at.is_some());
                    index.contents_mut(&name).pods.retain(|pod, _| there(pod));
                }
                for (slot, pod) in list.iter().enumerate() {
                    pod.map(|pod| index.contents_mut(TEAM).put_pod(POD_NAMES[slot], known_pod(pod)));
                }
                index.sweep(replica.newest_policy.into());
                after.again[1] = false;
            }
            News::WrittenNamespace(object) => {
                if replica.view.stored.is_some_and(|known| known.uid == object.uid) {
                    self.put_namespace(index.contents_mut(TEAM), object);
                    stored = Some(object);
                }
            }
            News::WrittenPolicy(slot, policy) => {
                let is_ahead = policy.version > replica.newest_policy;
                if is_ahead && index.get(TEAM).is_some() {
                    index.contents_mut(TEAM).put_policy(self.policy(slot, policy));
                }
            }
            News::WrittenPod(slot, pod) => {
                let (name, namespace) = (POD_NAMES[usize::from(slot)], index.contents_mut(TEAM));
                if namespace.pods.contains_key(name) {
                    namespace.put_pod(name, known_pod(pod));
                }
            }
        }
        after.view = self.view(index, predecessor, stored);
        after
    }

    pub(crate) fn plan(&self, view: &View, clock: u8) -> Arc<Planned> {
        let facts = view.facts();
        self.plans.get((facts, clock), || {
            let Some(namespace) = self.index(&facts).get(TEAM) else {
                return Arc::new(Planned { actions: Vec::new(), again: false });
            };
            let plan = plan(&namespace, &self.config, time(clock), &BTreeSet::new());
            let slot = |name: &str| u8::try_from(NAMES.iter().position(|known| *known == name).unwrap()).unwrap();
            let actions = plan.actions.iter().map(|action| match action {
                Action::SetIsolated(isolated) => Do::SetIsolated(*isolated),
                Action::EndExemption => Do::EndExemption,
                Action::Apply(policy) => {
                    let applied = network_policy(serde_json::to_value(policy).unwrap(), Source::File).unwrap();
                    let slot = slot(&applied.name);
                    let expected = &self.policies[&(slot, Says::Managed)];
                    assert!(applied.managed && applied.spec == expected.spec, "{applied:?}");
                    Do::Apply(slot)
                }
                Action::Prune(name) => Do::Prune(slot(name)),
                Action::Lift(pod) => {
                    Do::Lift(u8::try_from(POD_NAMES.iter().position(|name| name == pod).unwrap()).unwrap())
                }
                Action::Report(text) => Do::Report(text.as_deref().map_or(0, |text| self.place_of(text))),
            });
            Arc::new(Planned { actions: actions.collect(), again: plan.again.is_some() })
        })
    }

    /// Whether pods are to be lifted still, asked right before each is: as `src/controller/writer.rs` does.
    pub(crate) fn is_lifted_still(&self, view: &View, clock: u8) -> bool {
        let facts = view.facts();
        self.lifted.get((facts, clock), || {
            self.index(&facts).get(TEAM).is_some_and(|namespace| {
                namespace.mode(time(clock)) != Some(Mode::Enforce)
                    || self.config.is_excluded(TEAM)
                    || namespace.is_isolating(&self.config, time(clock))
            })
        })
    }
}

pub(crate) const POD_NAMES: [&str; PODS] = ["web", "job"];

fn known_pod(pod: Pod) -> ringfence_core::index::Pod {
    ringfence_core::index::Pod {
        held: pod.held,
        running: true,
        uid: pod.uid.to_string(),
        version: pod.version.into(),
        ..Default::default()
    }
}
