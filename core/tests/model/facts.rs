//! What is true of a namespace, said apart from the code under test; and what of a view a plan or a decision may depend on.

use super::state::{Pods, Policies, Policy, Profile, Recorded, Says, Stored, Version, View, rules_of};

/// Whether these policies are a baseline that the profile accepts: said of the few that there are, apart from the code
/// under test.
pub(crate) fn is_effective(policies: &Policies, profile: Profile, clock: u8, config: u8) -> bool {
    let whole = |slot: usize| policies[slot].is_some_and(|policy| matches!(policy.says, Says::Managed | Says::Foreign));
    let covers_ingress = [0, 2, 5].into_iter().any(whole);
    let ingress = covers_ingress || policies[3].is_some() || policies[4].is_some();
    ingress && (whole(1) || whole(2)) && !has_denied_hole(policies, profile, clock, config)
}

/// Whether they let in what the profile denies.
pub(crate) fn has_denied_hole(policies: &Policies, profile: Profile, clock: u8, config: u8) -> bool {
    let opening = policies.iter().flatten().filter(|policy| policy.says.opens(clock));
    let halves = opening.clone().filter(|policy| policy.says == Says::Half).count();
    let everything = opening.clone().count() > halves;
    profile == Profile::Team && (everything || halves > usize::from(config == 0))
}

/// Whether what the profile says is there, under its own names or the one that stands in.
pub(crate) fn is_in_place(policies: &Policies, profile: Profile) -> bool {
    let says = |slot: usize| policies[slot].is_some_and(|policy| matches!(policy.says, Says::Managed | Says::Foreign));
    match profile {
        Profile::Team => (says(0) || says(5)) && says(1),
        Profile::Open => says(2),
    }
}

/// What the record of a namespace with these policies says.
pub(crate) fn recorded(policies: &Policies, profile: Profile, clock: u8, config: u8) -> Recorded {
    let known = |policy: Policy| policy.says.opens(clock).then_some((policy.uid, policy.spec));
    Recorded { rules: rules_of(profile, config), knows: policies.map(|policy| policy.and_then(known)) }
}

impl View {
    /// All that a plan may depend on: what tells one write from another is left out but for which policies are newer, and
    /// which the record knows.
    pub(crate) fn facts(mut self) -> Self {
        let versions: Vec<Version> = self.policies.iter().flatten().map(|policy| policy.version).collect();
        let rank = |version| u8::try_from(versions.iter().filter(|other| **other <= version).count()).unwrap();
        let known = self.policies.map(|policy| policy.map(|policy| (policy.uid, policy.spec)));
        for (slot, policy) in (1..).zip(&mut self.policies) {
            if let Some(policy) = policy {
                *policy = Policy { version: rank(policy.version), uid: slot, spec: slot, ..*policy };
            }
        }
        for pod in self.pods.iter_mut().flatten() {
            (pod.uid, pod.version) = (0, 0);
        }
        (self.behind, self.listed) = (self.behind.min(1), 0);
        if let Some(stored) = &mut self.stored {
            (stored.uid, stored.version) = (1, self.behind);
            for (slot, identity) in stored.effective.iter_mut().flat_map(|record| record.knows.iter_mut().enumerate()) {
                let (is_same, slot) = (*identity == known[slot], u8::try_from(slot).unwrap() + 1);
                *identity = identity.map(|_| if is_same { (slot, slot) } else { (slot, 0) });
            }
        }
        self
    }

    /// All that a decision may depend on: the same without pods, the record, and what is newer.
    pub(crate) fn for_decisions(&self) -> Self {
        let mut facts = Self { pods: Pods::default(), ..self.facts() };
        facts.policies.iter_mut().flatten().for_each(|policy| policy.version = 0);
        if let Some(stored) = &mut facts.stored {
            (stored.conflict, stored.effective) = (0, None);
        }
        facts
    }

    /// The record of these rules that knows these of the policies, a bit each.
    pub(crate) fn recorded(&self, known: u8) -> Recorded {
        let profile = self.stored.map_or(Profile::Team, |stored| stored.profile);
        let mut identities = self.policies.map(|policy| policy.map(|policy| (policy.uid, policy.spec)));
        for (slot, identity) in identities.iter_mut().enumerate() {
            *identity = identity.filter(|_| known & 1 << slot != 0);
        }
        Recorded { rules: rules_of(profile, self.config), knows: identities }
    }

    pub(crate) fn is_effective(&self, clock: u8) -> bool {
        self.stored.is_some_and(|stored| is_effective(&self.policies, stored.profile, clock, self.config))
    }

    /// Whether pods may run by it.
    pub(crate) fn is_isolating(&self, clock: u8) -> bool {
        let in_place = |stored: Stored| stored.isolated || is_in_place(&self.policies, stored.profile);
        self.behind == 0 && self.is_effective(clock) && self.stored.is_some_and(in_place)
    }

    pub(crate) fn is_enforced(&self, clock: u8) -> bool {
        self.stored.is_some_and(|stored| stored.is_enforced(clock))
    }
}
