//! What an index hears: as `src/cluster/live/watch.rs` puts it there.

use ringfence_core::index::Index;
use ringfence_core::policy::NetworkPolicy;
use ringfence_core::policy::criteria::Criteria;
use ringfence_core::policy::verdict::judge;

use super::code::{Code, POD_NAMES, TEAM, known_pod};
use super::state::{Id, NAMES, Pending, Pod, Pods, Policies, Policy, Replica, State, Stored, Version, View};

/// What reaches an index: what a watch delivers, what a list brings, or what was just written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum News {
    Namespace(Option<Stored>),
    /// Name, the policy where it is there, and the write.
    Policy(u8, Option<Policy>, Version),
    /// Name, uid, and whether the pod is there and held.
    Pod(u8, Id, bool, Version),
    Namespaces(Option<Stored>),
    /// What is listed, and whether it is the first list of a process: that begins when the namespaces are known.
    Policies(Policies, bool),
    Pods(Pods),
    /// A list of the policies of the namespace with this uid: the newest write that it shows, what was known when it was
    /// asked for, and what is in it.
    Looked(Id, Version, Policies, Policies),
    WrittenNamespace(Stored),
    WrittenPolicy(u8, Policy),
    WrittenPod(u8, Pod),
}

impl Code {
    /// The index that a view stands for, whose watch of policies has come so far.
    pub(crate) fn index(&self, view: &View, newest_policy: Version) -> Index {
        let mut index = Index::default();
        if !view.entry {
            index.policies_come_to(newest_policy.into());
            return index;
        }
        let namespace = index.contents_mut(TEAM);
        for (slot, policy) in (0..).zip(view.policies) {
            policy.map(|policy| namespace.put_policy(self.policy(slot, policy)));
        }
        for (slot, pod) in view.pods.iter().enumerate() {
            pod.map(|pod| namespace.put_pod(POD_NAMES[slot], known_pod(pod)));
        }
        if let Some(stored) = view.stored {
            if view.behind != 0 {
                self.put_namespace(&mut index, Stored { version: view.behind, ..stored });
            }
            self.put_namespace(&mut index, stored);
            if view.behind == 0 {
                index.policies_listed(TEAM);
            }
        }
        index.policies_come_to(newest_policy.into());
        index
    }

    /// What an index holds. The write that a namespace was first seen with is not shown, but was heard.
    fn view(&self, mut index: Index, before: &View) -> View {
        let config = before.config;
        if index.names().is_empty() {
            return View { config, ..View::default() };
        }
        let known = index.get(TEAM);
        let is_behind = known.as_ref().is_some_and(|namespace| !namespace.is_caught_up());
        assert_eq!(is_behind, index.behind() == [TEAM]);
        let stored = known.map(|namespace| self.stored(&namespace));
        let behind = stored.filter(|_| is_behind).map_or(0, |stored| {
            let same = before.stored.is_some_and(|before| before.uid == stored.uid) && before.behind != 0;
            if same { before.behind } else { stored.version }
        });
        let contents = index.contents_mut(TEAM);
        let criteria = Criteria::default();
        assert_eq!(*contents.verdict(&criteria), judge(&contents.policies().collect::<Vec<_>>(), &criteria));
        let mut policies = Policies::default();
        for policy in contents.policies() {
            let slot = NAMES.iter().position(|name| *name == policy.name).unwrap();
            let bare = NetworkPolicy { version: 0, uid: String::new(), generation: 0, ..policy.clone() };
            let said = self.policies.iter().find(|((at, ..), parsed)| usize::from(*at) == slot && **parsed == bare);
            let ((_, says, quarantined), _) = said.unwrap();
            policies[slot] = Some(Policy {
                says: *says,
                version: u8::try_from(policy.version).unwrap(),
                uid: policy.uid.split_once('-').unwrap().1.parse().unwrap(),
                spec: u8::try_from(policy.generation).unwrap(),
                quarantined: *quarantined,
            });
        }
        let pods = POD_NAMES.map(|name| {
            let pod = contents.pods.get(name)?;
            Some(Pod { uid: pod.uid.parse().unwrap(), version: u8::try_from(pod.version).unwrap(), held: pod.held })
        });
        View { config, entry: true, stored, behind, listed: before.listed, policies, pods }
    }

    /// What a replica knows after its index has heard something.
    pub(crate) fn hear(&self, replica: &Replica, news: News) -> Replica {
        let asked = Replica { at: [0; 3], pending: Pending::default(), ..*replica };
        let heard = self.heard.get((asked, news), || self.hear_anew(&asked, news));
        Replica { at: replica.at, pending: replica.pending, ..heard }
    }

    fn hear_anew(&self, replica: &Replica, news: News) -> Replica {
        let mut index = self.index(&replica.view, replica.newest_policy);
        let mut listed = replica.view.listed;
        if replica.view.entry {
            // Judged before it changes: what is remembered must not outlive the change.
            let _ = index.contents_mut(TEAM).verdict(&Criteria::default());
        }
        match news {
            News::Namespace(Some(object)) => self.put_namespace(&mut index, object),
            News::Namespace(None) => {
                index.forget_namespace(TEAM);
                index.sweep();
            }
            News::Namespaces(list) => {
                if list.is_none() {
                    index.names().iter().for_each(|name| index.forget_namespace(name));
                }
                if let Some(object) = list {
                    self.put_namespace(&mut index, object);
                }
                index.sweep();
            }
            News::Policy(slot, policy, version) => {
                let namespace = index.contents_mut(TEAM);
                let is_over = version <= listed && namespace.policy(NAMES[usize::from(slot)]).is_none();
                if let Some(policy) = policy.filter(|_| !is_over) {
                    namespace.put_policy(self.policy(slot, policy));
                } else if policy.is_none() {
                    namespace.remove_policy_at(NAMES[usize::from(slot)], version.into());
                    index.sweep_one(TEAM);
                }
                index.policies_come_to(version.into());
            }
            News::Policies(list, first) => self.hear_policies(&mut index, &list, first),
            News::Pod(slot, uid, held, version) => {
                let (name, namespace) = (POD_NAMES[usize::from(slot)], index.contents_mut(TEAM));
                if held {
                    namespace.put_pod(name, known_pod(Pod { uid, version, held }));
                } else {
                    namespace.pods.retain(|pod, known| pod != name || known.uid != uid.to_string());
                    index.sweep_one(TEAM);
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
                index.sweep();
            }
            News::Looked(uid, at, before, found) => {
                if replica.view.stored.is_some_and(|known| known.uid == uid) {
                    listed = at;
                    self.hear_looked(&mut index, before, found);
                }
            }
            News::WrittenNamespace(object) => {
                if replica.view.stored.is_some_and(|known| known.uid == object.uid) {
                    self.put_namespace(&mut index, object);
                }
            }
            News::WrittenPolicy(slot, policy) => {
                let is_ahead = u64::from(policy.version) > index.policies_seen();
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
        index.sweep_one(TEAM);
        let newest_policy = u8::try_from(index.policies_seen()).unwrap();
        let mut view = self.view(index, &replica.view);
        view.listed = if view.entry && newest_policy < listed { listed } else { 0 };
        Replica { view, newest_policy, ..*replica }
    }

    fn hear_policies(&self, index: &mut Index, list: &Policies, first: bool) {
        let older = if first { index.behind() } else { Vec::new() };
        for name in index.names() {
            let namespace = index.contents_mut(&name);
            for (slot, _) in list.iter().enumerate().filter(|(_, policy)| policy.is_none()) {
                namespace.remove_policy(NAMES[slot]);
            }
        }
        for (slot, policy) in (0..).zip(list) {
            let Some(policy) = policy else { continue };
            index.contents_mut(TEAM).put_policy(self.policy(slot, *policy));
            index.policies_come_to(policy.version.into());
        }
        for name in older {
            index.policies_listed(&name);
        }
        index.sweep();
    }

    fn hear_looked(&self, index: &mut Index, before: Policies, found: Policies) {
        let contents = index.contents_mut(TEAM);
        for (slot, policy) in before.iter().enumerate() {
            let Some(policy) = policy.filter(|_| found[slot].is_none()) else { continue };
            let version = u64::from(policy.version);
            if contents.policy(NAMES[slot]).is_some_and(|known| known.version == version) {
                contents.remove_policy(NAMES[slot]);
            }
        }
        let seen = index.policies_seen();
        let contents = index.contents_mut(TEAM);
        for (slot, policy) in (0..).zip(found) {
            let Some(policy) = policy else { continue };
            // What the watch has been past and does not know was deleted since.
            if u64::from(policy.version) > seen || contents.policy(NAMES[usize::from(slot)]).is_some() {
                contents.put_policy(self.policy(slot, policy));
            }
        }
        index.policies_listed(TEAM);
    }
}

impl State {
    /// A watch delivers its next event to a replica.
    pub(crate) fn deliver(&mut self, code: &Code, replica: usize, kind: usize) {
        let known = self.replicas[replica];
        let at = usize::from(known.at[kind]);
        let news = match kind {
            0 => News::Namespace(self.namespace_log[at].now),
            1 => News::Policy(self.policy_log[at].now.0, self.policy_log[at].now.2, self.policy_log[at].version),
            _ => {
                let event = &self.pod_log[at];
                News::Pod(event.now.0, event.now.1, event.now.2, event.version)
            }
        };
        let mut heard = code.hear(&known, news);
        heard.at[kind] += 1;
        if kind == 1 {
            let event = &self.policy_log[at];
            heard.pending = code.pending_after_seen(known.pending, (event.now.0, event.now.1), event.version);
        }
        self.replicas[replica] = heard;
    }

    /// A watch lists anew.
    pub(crate) fn list(&mut self, code: &Code, replica: usize, kind: usize) {
        let news = match kind {
            0 => News::Namespaces(self.stored),
            1 => News::Policies(self.policies, false),
            _ => News::Pods(self.pods),
        };
        self.take_list(code, replica, kind, news);
    }

    fn take_list(&mut self, code: &Code, replica: usize, kind: usize, news: News) {
        let mut heard = code.hear(&self.replicas[replica], news);
        heard.at[kind] = self.ends()[kind];
        if kind == 1 {
            heard.pending = code.pending_after_list(heard.pending, &heard.view.policies);
            if replica == usize::from(self.leader) {
                self.look.iter_mut().for_each(|look| look.relisted = true);
            }
        }
        self.replicas[replica] = heard;
    }

    /// A replica loses all that it knows, and lists everything. The policies are listed once the namespaces are known.
    pub(crate) fn restart(&mut self, code: &Code, replica: usize) {
        let view = View { config: self.config, ..View::default() };
        self.replicas[replica] = Replica { view, ..Replica::default() };
        self.take_list(code, replica, 0, News::Namespaces(self.stored));
        self.take_list(code, replica, 1, News::Policies(self.policies, true));
        self.take_list(code, replica, 2, News::Pods(self.pods));
        if replica == usize::from(self.leader) {
            self.forget_plans();
        }
    }

    /// What a process that begins to lead does not know of the one before.
    pub(crate) fn forget_plans(&mut self) {
        (self.run, self.look, self.given_up) = (None, None, None);
    }
}
