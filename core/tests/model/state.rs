//! One state of the model: what is stored, what is on its way, and what each process knows.

use super::code::Code;

/// A resourceVersion. Only the order of those that are in a state matters: [`State::renumber`].
pub(crate) type Version = u8;

/// More versions than any state has.
const MOST: usize = 64;

/// The names that policies may have. The first two are the profile `team`'s, the third is the profile `open`'s.
pub(crate) const NAMES: [&str; 4] = ["deny-ingress", "deny-egress", "deny-both", "wide"];

/// Two moments: exemptions and exceptions end at the second.
pub(crate) const END: u8 = 1;

/// What a stored policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Says {
    /// What the profile says under this name, with the label of what Ringfence manages.
    Managed,
    /// With that label, but changed past the webhook: it selects some pods only.
    Narrowed,
    /// What the profile says, without the label.
    Foreign,
    /// Selects some pods only, without the label.
    Narrow,
    /// Lets everything in.
    Wide,
    /// The same, as an exception that ends at [`END`].
    Excused,
}

/// A stored policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Policy {
    pub(crate) says: Says,
    pub(crate) version: Version,
}

/// By name, in the order of [`NAMES`].
pub(crate) type Policies = [Option<Policy>; NAMES.len()];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Profile {
    /// Two policies, one for each direction; the default.
    Team,
    /// One policy, and everything may be let in.
    Open,
}

/// A stored namespace. Its uid is the version that it was created with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stored {
    pub(crate) uid: Version,
    pub(crate) version: Version,
    /// The label is `exempt`, with a reason and until [`END`]; else it is `enforce`.
    pub(crate) exempt: bool,
    pub(crate) profile: Profile,
    pub(crate) isolated: bool,
    pub(crate) terminating: bool,
    /// Which text the annotation holds; 0 where there is none.
    pub(crate) conflict: u8,
}

impl Stored {
    pub(crate) fn is_enforced(self, clock: u8) -> bool {
        !self.exempt || clock >= END
    }
}

/// A pod that is known: the only one that there is at one time. Its uid is the version that it was created with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pod {
    pub(crate) uid: Version,
    pub(crate) version: Version,
    pub(crate) held: bool,
}

/// How many pods there may be, by name.
pub(crate) const PODS: usize = 2;

pub(crate) type Pods = [Option<Pod>; PODS];

/// What a watch delivers. `tells` marks news that no view can do without (a fact for the properties, unknown to
/// Ringfence): another namespace, another mode or profile, or the end of the baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Event<T> {
    pub(crate) version: Version,
    pub(crate) now: T,
    pub(crate) tells: bool,
}

/// What an index holds of the namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct View {
    /// Whether the index has an entry at all.
    pub(crate) entry: bool,
    pub(crate) stored: Option<Stored>,
    /// When a predecessor was deleted.
    pub(crate) predecessor: Version,
    pub(crate) policies: Policies,
    pub(crate) pods: Pods,
}

/// A process of Ringfence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Replica {
    pub(crate) view: View,
    /// How far each watch has come in its log: namespaces, policies, held pods.
    pub(crate) at: [u8; 3],
    /// The newest write that the watch of policies has delivered.
    pub(crate) newest_policy: Version,
    /// Whether policies and held pods are to be listed anew.
    pub(crate) again: [bool; 2],
}

/// A plan that is being carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Run {
    /// What it was concluded from, and when.
    pub(crate) view: View,
    pub(crate) clock: u8,
    /// The next action.
    pub(crate) next: u8,
    /// Whether an action of the same kind has failed.
    pub(crate) failed: bool,
}

/// Why an enforced namespace's baseline is not effective.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Cause {
    /// It never was: the namespace is new, or was never seen effective.
    New,
    /// A change of policies past the webhook.
    Bypass,
    /// A change that was judged on a view that was behind: two changes at the same time.
    Raced,
    /// An exception has ended.
    Expired,
    /// Another profile.
    Profile,
    /// It was exempt, and is no more.
    Exempt,
    /// It terminates, and is emptied.
    Terminating,
    /// The webhook, on an up-to-date view.
    Webhook,
    /// The controller, on an up-to-date view.
    Controller,
}

/// A rule that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wrong {
    /// The plan lifts a pod, or sets `isolated`, on a view that is not effective.
    PlannedOnIneffectiveView,
    /// A pod was lifted, or admitted unheld, on a view that is not effective.
    RanOnIneffectiveView,
    /// A pod was lifted or admitted unheld, or `isolated` set, where the stored policies are not effective, and no news of
    /// that was on its way to who did it.
    ConcludedWithoutNewsOnItsWay,
    /// A pod was created without a call where the stored policies are not effective, for no reason that is documented.
    RanUncalled,
    /// The webhook, on an up-to-date view, allowed what ends the baseline; or the controller did it.
    BaselineEnded,
    /// A tenant lifted a pod, or changed the isolation labels.
    TenantDecided,
    /// The controller acted on a view of a namespace that terminates.
    ActedWhileTerminating,
    /// Everything was delivered, and the view is not what is stored.
    ViewIsNotWhatIsStored,
    /// Nothing is left to do, and `isolated` does not follow from what is stored.
    IsolatedDoesNotFollow,
    /// Nothing is left to do, and a pod is held that must not be, or not held by a gap that is named.
    HeldForNoReason,
    /// Nothing is left to do, and the exemption is not ended.
    ExemptionDoesNotEnd,
    /// What ends by itself is not looked at again when it does.
    EndIsForgotten,
    /// The controller does not come to rest.
    NeverSettles,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) clock: u8,
    /// How many moves of tenants and administrators, and how many faults, are left.
    pub(crate) moves: u8,
    pub(crate) faults: u8,
    pub(crate) stored: Option<Stored>,
    pub(crate) policies: Policies,
    /// The pods that are held.
    pub(crate) pods: Pods,
    pub(crate) cause: Option<Cause>,
    pub(crate) namespace_log: Vec<Event<Option<Stored>>>,
    pub(crate) policy_log: Vec<Event<(u8, Option<Says>)>>,
    /// Name, uid, and whether the pod is there and held.
    pub(crate) pod_log: Vec<Event<(u8, Version, bool)>>,
    /// An API server's own copy of the namespace, and how far it has come.
    pub(crate) copy: Option<Stored>,
    pub(crate) copy_at: u8,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) leader: u8,
    pub(crate) run: Option<Run>,
    pub(crate) wrong: Option<Wrong>,
}

impl View {
    fn versions(&mut self, each: &mut impl FnMut(&mut Version)) {
        each(&mut self.predecessor);
        self.stored.iter_mut().for_each(|stored| stored.versions(each));
        self.policies.iter_mut().flatten().for_each(|policy| each(&mut policy.version));
        for pod in self.pods.iter_mut().flatten() {
            each(&mut pod.uid);
            each(&mut pod.version);
        }
    }

    /// The same, without what tells one write from another: all that a decision or a plan may hang on.
    pub(crate) fn facts(mut self) -> Self {
        self.versions(&mut |version| *version = 0);
        self
    }

    /// The same without pods, on which no decision hangs.
    pub(crate) fn without_pods(&self) -> Self {
        Self { pods: Pods::default(), ..self.facts() }
    }

    /// Whether these policies are a baseline: said of the few that there are, apart from the code under test.
    pub(crate) fn is_effective(&self, clock: u8) -> bool {
        self.stored.is_some_and(|stored| is_effective(self.policies, stored.profile, clock))
    }

    pub(crate) fn is_enforced(&self, clock: u8) -> bool {
        self.stored.is_some_and(|stored| stored.is_enforced(clock))
    }
}

pub(crate) fn is_effective(policies: Policies, profile: Profile, clock: u8) -> bool {
    let says = |slot: usize, wanted: &[Says]| policies[slot].is_some_and(|policy| wanted.contains(&policy.says));
    let whole = [Says::Managed, Says::Foreign];
    let ingress = says(0, &whole) || says(2, &whole) || policies[3].is_some();
    let egress = says(1, &whole) || says(2, &whole);
    let hole = says(3, &[Says::Wide]) || says(3, &[Says::Excused]) && clock >= END;
    ingress && egress && (!hole || profile == Profile::Open)
}

impl Stored {
    fn versions(&mut self, each: &mut impl FnMut(&mut Version)) {
        each(&mut self.uid);
        each(&mut self.version);
    }
}

impl State {
    fn versions(&mut self, each: &mut impl FnMut(&mut Version)) {
        self.stored.iter_mut().chain(&mut self.copy).for_each(|stored| stored.versions(each));
        self.policies.iter_mut().flatten().for_each(|policy| each(&mut policy.version));
        for pod in self.pods.iter_mut().flatten() {
            each(&mut pod.uid);
            each(&mut pod.version);
        }
        for event in &mut self.namespace_log {
            each(&mut event.version);
            event.now.iter_mut().for_each(|stored| stored.versions(each));
        }
        self.policy_log.iter_mut().for_each(|event| each(&mut event.version));
        for event in &mut self.pod_log {
            each(&mut event.version);
            each(&mut event.now.1);
        }
        for replica in &mut self.replicas {
            each(&mut replica.newest_policy);
            replica.view.versions(each);
        }
        self.run.iter_mut().for_each(|run| run.view.versions(each));
    }

    /// The next version that a write gets.
    pub(crate) fn next_version(&mut self) -> Version {
        let mut newest = 0;
        self.versions(&mut |version| newest = newest.max(*version));
        newest + 1
    }

    /// Forgets what every watch has delivered, and numbers the versions from 1 in their order: what is compared is the
    /// same before and after, so states that differ in nothing else are one.
    pub(crate) fn renumber(mut self) -> Self {
        let least = |kind: usize| self.replicas.iter().map(|replica| replica.at[kind]).min().unwrap_or(0);
        let done = [least(0).min(self.copy_at), least(1), least(2)];
        self.namespace_log.drain(..usize::from(done[0]));
        self.policy_log.drain(..usize::from(done[1]));
        self.pod_log.drain(..usize::from(done[2]));
        self.copy_at -= done[0];
        for replica in &mut self.replicas {
            for (at, done) in replica.at.iter_mut().zip(done) {
                *at -= done;
            }
        }
        let mut numbers = [0; MOST];
        self.versions(&mut |version| numbers[usize::from(*version)] = 1);
        numbers[0] = 0;
        let mut count = 0;
        for number in numbers.iter_mut().filter(|number| **number > 0) {
            count += 1;
            *number = count;
        }
        self.versions(&mut |version| *version = numbers[usize::from(*version)]);
        self
    }

    /// How far each log goes.
    pub(crate) fn ends(&self) -> [u8; 3] {
        [self.namespace_log.len(), self.policy_log.len(), self.pod_log.len()]
            .map(|length| u8::try_from(length).unwrap())
    }

    /// Whether a replica has heard everything.
    pub(crate) fn is_up_to_date(&self, replica: usize) -> bool {
        self.replicas[replica].at == self.ends() && self.replicas[replica].again == [false; 2]
    }

    /// Whether what a replica knows of the namespace and its policies is what is stored.
    pub(crate) fn knows(&self, view: &View) -> bool {
        let says = |policies: &Policies| policies.map(|policy| policy.map(|policy| policy.says));
        let labels = |stored: Option<Stored>| {
            stored.map(|stored| (stored.uid, stored.exempt, stored.profile, stored.terminating))
        };
        says(&view.policies) == says(&self.policies) && labels(view.stored) == labels(self.stored)
    }

    /// Whether news that it can't do without is on its way to a replica.
    pub(crate) fn has_news_for(&self, replica: usize) -> bool {
        let replica = &self.replicas[replica];
        self.namespace_log[usize::from(replica.at[0])..].iter().any(|event| event.tells)
            || self.policy_log[usize::from(replica.at[1])..].iter().any(|event| event.tells)
    }

    /// Whether the namespace should keep its pods back now.
    pub(crate) fn is_bad(&self) -> bool {
        self.stored.is_some_and(|stored| {
            stored.is_enforced(self.clock) && !is_effective(self.policies, stored.profile, self.clock)
        })
    }

    /// A namespace with these policies, which is labelled as it should be and known to everybody.
    pub(crate) fn settled(code: &Code, replicas: usize, policies: [Option<Says>; 4], exempt: bool) -> Self {
        let stored = Stored {
            uid: 1,
            version: 1,
            exempt,
            profile: Profile::Team,
            isolated: false,
            terminating: false,
            conflict: 0,
        };
        let mut state = Self::empty(replicas);
        state.stored = Some(stored);
        for (slot, says) in policies.into_iter().enumerate() {
            let version = state.next_version();
            state.policies[slot] = says.map(|says| Policy { says, version });
        }
        let effective = is_effective(state.policies, Profile::Team, 0);
        state.cause = (!exempt && !effective).then_some(Cause::New);
        state.stored = Some(Stored { isolated: effective && !exempt, ..stored });
        state.copy = state.stored;
        for replica in 0..replicas {
            (0..3).for_each(|kind| state.list(code, replica, kind));
        }
        state.renumber()
    }

    /// No namespace yet.
    pub(crate) fn empty(replicas: usize) -> Self {
        Self {
            clock: 0,
            moves: 0,
            faults: 0,
            stored: None,
            policies: [None; 4],
            pods: [None; 2],
            cause: None,
            namespace_log: Vec::new(),
            policy_log: Vec::new(),
            pod_log: Vec::new(),
            copy: None,
            copy_at: 0,
            replicas: vec![Replica::default(); replicas],
            leader: 0,
            run: None,
            wrong: None,
        }
    }
}
