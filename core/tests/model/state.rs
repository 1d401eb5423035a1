//! One state of the model: what is stored, what is on its way, and what each process knows.

use super::code::Code;
use super::facts::{is_effective, is_in_place, recorded};
use super::flights::Flight;

/// A resourceVersion. Only the order of those that are in a state matters: [`State::renumber`].
pub(crate) type Version = u8;

/// A uid, or a generation. Only which of those that are in a state are the same matters.
pub(crate) type Id = u8;

/// The names that policies may have. The first two are the profile `team`'s, the third is the profile `open`'s, and the last
/// stands in for the first.
pub(crate) const NAMES: [&str; 6] =
    ["deny-ingress", "deny-egress", "deny-both", "wide", "half", "deny-ingress-ringfence"];

pub(crate) const SLOTS: u8 = 6;

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
    /// Lets in as many addresses as are not wide; others under each name.
    Half,
    /// One of these two once its rules were removed.
    Emptied,
    /// The exception once its rules were removed.
    Spent,
}

impl Says {
    /// All that a policy of a name may say.
    pub(crate) fn of(slot: u8) -> &'static [Self] {
        match slot {
            3 | 4 => &[Self::Wide, Self::Excused, Self::Half, Self::Emptied, Self::Spent],
            _ => &[Self::Managed, Self::Narrowed, Self::Foreign, Self::Narrow],
        }
    }

    pub(crate) fn is_managed(self) -> bool {
        matches!(self, Self::Managed | Self::Narrowed)
    }

    /// Whether the policy has rules, and they are not accepted as an exception.
    pub(crate) fn opens(self, clock: u8) -> bool {
        matches!(self, Self::Wide | Self::Half) || self == Self::Excused && clock >= END
    }

    /// What is left when the rules of ingress are removed.
    pub(crate) fn emptied(self) -> Self {
        match self {
            Self::Wide | Self::Half => Self::Emptied,
            Self::Excused => Self::Spent,
            other => other,
        }
    }

    /// Whether the spec differs from another's: the API server raises the generation.
    fn has_another_spec(self, other: Self) -> bool {
        let spec = |says| match says {
            Self::Managed | Self::Foreign => 0,
            Self::Narrowed | Self::Narrow => 1,
            Self::Wide | Self::Excused => 2,
            Self::Half => 3,
            Self::Emptied | Self::Spent => 4,
        };
        spec(self) != spec(other)
    }
}

/// A stored policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Policy {
    pub(crate) says: Says,
    pub(crate) version: Version,
    pub(crate) uid: Id,
    /// Its generation.
    pub(crate) spec: Id,
    /// Whether it has the annotation that says so.
    pub(crate) quarantined: bool,
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

/// The annotation that says when a namespace was last effective.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Recorded {
    /// Under which rules: [`rules_of`].
    pub(crate) rules: u8,
    /// Uid and generation of the policies that it knows, by name.
    pub(crate) knows: [Option<(Id, Id)>; NAMES.len()],
}

/// The rules of a profile: the second version of the configuration has others for the profile `team`.
pub(crate) fn rules_of(profile: Profile, config: u8) -> u8 {
    match profile {
        Profile::Team => config,
        Profile::Open => 2,
    }
}

/// A stored namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stored {
    pub(crate) uid: Id,
    pub(crate) version: Version,
    /// The label is `exempt`, with a reason and until [`END`]; else it is `enforce`.
    pub(crate) exempt: bool,
    pub(crate) profile: Profile,
    pub(crate) isolated: bool,
    pub(crate) terminating: bool,
    /// Which text the annotation holds; 0 where there is none.
    pub(crate) conflict: u8,
    pub(crate) effective: Option<Recorded>,
}

impl Stored {
    pub(crate) fn new(uid: Id, version: Version) -> Self {
        Self {
            uid,
            version,
            exempt: false,
            profile: Profile::Team,
            isolated: false,
            terminating: false,
            conflict: 0,
            effective: None,
        }
    }

    pub(crate) fn is_enforced(self, clock: u8) -> bool {
        !self.exempt || clock >= END
    }

    /// What the API server selects webhooks by.
    pub(crate) fn selectable(self) -> Self {
        Self { version: 0, conflict: 0, effective: None, ..self }
    }
}

/// A pod that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pod {
    pub(crate) uid: Id,
    pub(crate) version: Version,
    pub(crate) held: bool,
}

/// How many pods there may be, by name.
pub(crate) const PODS: usize = 2;

pub(crate) type Pods = [Option<Pod>; PODS];

/// What a watch delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Event<T> {
    pub(crate) version: Version,
    pub(crate) now: T,
    /// Marks news that no view can do without (a fact for the properties, unknown to Ringfence): another namespace, another
    /// mode or profile, or a policy that isolates less or opens more. What was concluded without it went wrong for this
    /// reason.
    pub(crate) tells: Option<Cause>,
}

/// What an index holds of the namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct View {
    /// Which version of the configuration it is judged by.
    pub(crate) config: u8,
    /// Whether the index has an entry at all.
    pub(crate) entry: bool,
    pub(crate) stored: Option<Stored>,
    /// The write that the namespace was first seen with, while its policies are not known for certain.
    pub(crate) behind: Version,
    /// Up to which write a list of the namespace's policies is ahead of the watch.
    pub(crate) listed: Version,
    pub(crate) policies: Policies,
    pub(crate) pods: Pods,
}

/// How many reservations one replica has in any state.
pub(crate) const RESERVED: usize = 3;

/// A change that a replica has admitted, and whose outcome its watch has not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reserved {
    pub(crate) slot: u8,
    pub(crate) uid: Id,
    /// The write that is changed; 0 of a creation.
    pub(crate) base: Version,
    pub(crate) to: Option<Says>,
}

/// Those of one replica, in their order.
pub(crate) type Pending = [Option<Reserved>; RESERVED];

/// A process of Ringfence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Replica {
    pub(crate) view: View,
    /// How far each watch has come in its log: namespaces, policies, held pods.
    pub(crate) at: [u8; 3],
    /// The newest write that the watch of policies has delivered.
    pub(crate) newest_policy: Version,
    pub(crate) pending: Pending,
}

/// A plan that is being carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Run {
    /// What it was concluded from, and when.
    pub(crate) view: View,
    pub(crate) clock: u8,
    pub(crate) given_up: u8,
    /// The next action.
    pub(crate) next: u8,
    /// Whether an action of the same kind has failed.
    pub(crate) failed: bool,
}

/// A list of the namespace's policies that the controller has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Look {
    pub(crate) uid: Id,
    /// The newest write that it shows, and what was known when it was asked for.
    pub(crate) at: Version,
    pub(crate) before: Policies,
    pub(crate) found: Policies,
    /// Whether a watch has listed anew since.
    pub(crate) relisted: bool,
}

/// Policies whose quarantine the API server has refused; of which namespace, and under which profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct GivenUp {
    pub(crate) slots: u8,
    pub(crate) uid: Id,
    pub(crate) profile: Profile,
}

/// Why an enforced namespace's baseline is not effective. Those that come later say more of what was concluded without
/// several news.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Cause {
    /// The webhook of a replica, that knew everything but what it had admitted itself.
    Admitted(u8),
    /// The controller, on an up-to-date view.
    Controller,
    /// A change that was judged without another one that another replica had admitted.
    Raced,
    /// A change that was judged while the controller pruned a policy, or the other way round.
    Pruned,
    /// It never was: the namespace is new, or was never seen effective.
    New,
    /// Another profile.
    Profile,
    /// An exception has ended.
    Expired,
    /// Another configuration.
    Rules,
    /// It was exempt, and is no more.
    Exempt,
    /// It terminates, and is emptied.
    Terminating,
    /// A change of policies past the webhook.
    Bypass,
}

/// A rule that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wrong {
    /// The plan lifts a pod, or sets `isolated`, on a view that is not isolating.
    PlannedOnIneffectiveView,
    /// A pod was lifted, or admitted unheld, on a view that is not isolating.
    RanOnIneffectiveView,
    /// A pod was lifted or admitted unheld, or `isolated` set, where the stored policies are not effective, and no news of
    /// that was on its way to the replica that did it.
    ConcludedWithoutNewsOnItsWay,
    /// A pod was created without a call where the stored policies are not effective, for no reason that is documented.
    RanUncalled,
    /// The webhook allowed what ends the baseline, on a view that lacked nothing but what the same replica had admitted; or
    /// the controller did it.
    BaselineEnded,
    /// A tenant lifted a pod, or changed the isolation labels or the record.
    TenantDecided,
    /// The controller acted on a view of a namespace that terminates.
    ActedWhileTerminating,
    /// Everything was delivered, and the view is not what is stored.
    ViewIsNotWhatIsStored,
    /// Everything was delivered, and a change that was decided is reserved still.
    ReservationStays,
    /// The plan quarantines a managed policy, an accepted one, one that opens nothing, or one that did not change since the
    /// namespace was last effective under the same rules; or not the latest change.
    QuarantinedWithoutNeed,
    /// The record that is written is not what the policies are.
    RecordedWrongly,
    /// A user may delete what isolates a pod of a namespace that terminates, or may not once no pod can run.
    TerminatesWrongly,
    /// Nothing is left to do, and a policy that opened a denied hole since the namespace was effective has its rules still.
    NotQuarantined,
    /// Nothing is left to do, and a policy says that it is quarantined though it has its rules back.
    QuarantineDoesNotEnd,
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
    /// The version of the configuration.
    pub(crate) config: u8,
    /// How many moves of tenants and administrators, and how many faults, are left.
    pub(crate) moves: u8,
    pub(crate) faults: u8,
    pub(crate) stored: Option<Stored>,
    pub(crate) policies: Policies,
    /// The pods that are held.
    pub(crate) pods: Pods,
    /// Whether a pod is bound to a node, and whether its phase says that it has ended.
    pub(crate) bound: bool,
    pub(crate) lies: bool,
    pub(crate) cause: Option<Cause>,
    pub(crate) namespace_log: Vec<Event<Option<Stored>>>,
    /// Name, uid, and the policy where it is there.
    pub(crate) policy_log: Vec<Event<(u8, Id, Option<Policy>)>>,
    /// Name, uid, and whether the pod is there and held.
    pub(crate) pod_log: Vec<Event<(u8, Id, bool)>>,
    /// An API server's own copy of the namespace, and how far it has come.
    pub(crate) copy: Option<Stored>,
    pub(crate) copy_at: u8,
    pub(crate) replicas: Vec<Replica>,
    /// Requests that change policies and are under way.
    pub(crate) flights: Vec<Flight>,
    pub(crate) leader: u8,
    pub(crate) run: Option<Run>,
    pub(crate) look: Option<Look>,
    pub(crate) given_up: Option<GivenUp>,
    pub(crate) wrong: Option<Wrong>,
}

impl State {
    /// How far each log goes.
    pub(crate) fn ends(&self) -> [u8; 3] {
        [self.namespace_log.len(), self.policy_log.len(), self.pod_log.len()]
            .map(|length| u8::try_from(length).unwrap())
    }

    /// Whether a replica has heard everything.
    pub(crate) fn is_up_to_date(&self, replica: usize) -> bool {
        self.replicas[replica].at == self.ends()
    }

    /// Whether what a replica knows of the namespace and its policies is what is stored.
    pub(crate) fn knows(&self, view: &View) -> bool {
        let says = |policies: &Policies| policies.map(|policy| policy.map(|policy| policy.says));
        let labels = |stored: Option<Stored>| {
            stored.map(|stored| (stored.uid, stored.exempt, stored.profile, stored.terminating))
        };
        says(&view.policies) == says(&self.policies) && labels(view.stored) == labels(self.stored)
    }

    /// Why something goes wrong that a replica concludes without the news that are on their way to it.
    pub(crate) fn missed_by(&self, replica: u8) -> Option<Cause> {
        let known = &self.replicas[usize::from(replica)];
        let namespaces = self.namespace_log[usize::from(known.at[0])..].iter().filter_map(|event| event.tells);
        let policies = self.policy_log[usize::from(known.at[1])..].iter().filter_map(|event| event.tells);
        namespaces.chain(policies).map(|cause| cause.to(replica)).max()
    }

    /// Whether the namespace should keep its pods back now.
    pub(crate) fn is_bad(&self) -> bool {
        self.stored.is_some_and(|stored| {
            stored.is_enforced(self.clock) && !is_effective(&self.policies, stored.profile, self.clock, self.config)
        })
    }

    /// What is stored of a policy that says something else from now on.
    pub(crate) fn rewritten(&mut self, slot: u8, says: Says, version: Version) -> Policy {
        let (fresh, before) = (self.next_id(), self.policies[usize::from(slot)]);
        let Some(before) = before else {
            return Policy { says, version, uid: fresh, spec: fresh, quarantined: false };
        };
        let spec = if says.has_another_spec(before.says) { fresh } else { before.spec };
        Policy { says, version, spec, ..before }
    }

    /// A namespace with these policies, which is labelled as it should be and known to everybody.
    pub(crate) fn settled(code: &Code, replicas: usize, policies: [Option<Says>; NAMES.len()], exempt: bool) -> Self {
        let stored = Stored { exempt, ..Stored::new(1, 1) };
        let mut state = Self::empty(replicas);
        state.stored = Some(stored);
        for (slot, says) in (0..).zip(policies) {
            let version = state.next_version();
            state.policies[usize::from(slot)] = says.map(|says| state.rewritten(slot, says, version));
        }
        let effective =
            is_effective(&state.policies, Profile::Team, 0, 0) && is_in_place(&state.policies, Profile::Team);
        state.cause = (!exempt && state.is_bad()).then_some(Cause::New);
        let isolated = effective && !exempt;
        let record = isolated.then(|| recorded(&state.policies, Profile::Team, 0, 0));
        state.stored = Some(Stored { isolated, effective: record, ..stored });
        state.copy = state.stored.map(Stored::selectable);
        (0..replicas).for_each(|replica| state.restart(code, replica));
        state.renumber()
    }

    /// No namespace yet.
    pub(crate) fn empty(replicas: usize) -> Self {
        Self {
            clock: 0,
            config: 0,
            moves: 0,
            faults: 0,
            stored: None,
            policies: [None; NAMES.len()],
            pods: [None; PODS],
            bound: false,
            lies: false,
            cause: None,
            namespace_log: Vec::new(),
            policy_log: Vec::new(),
            pod_log: Vec::new(),
            copy: None,
            copy_at: 0,
            replicas: vec![Replica::default(); replicas],
            flights: Vec::new(),
            leader: 0,
            run: None,
            look: None,
            given_up: None,
            wrong: None,
        }
    }
}
