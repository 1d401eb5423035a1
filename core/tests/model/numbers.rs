//! Numbers versions and ids anew, so that states that differ in nothing else are one.

use super::state::{Id, Pod, Policy, Reserved, State, Stored, Version, View};

/// More versions, and more ids, than any state has.
const MOST: usize = 96;

/// Visits every version and every id.
pub(crate) trait Numbered {
    fn numbers(&mut self, version: &mut dyn FnMut(&mut Version), id: &mut dyn FnMut(&mut Id));
}

impl<T: Numbered> Numbered for Option<T> {
    fn numbers(&mut self, version: &mut dyn FnMut(&mut Version), id: &mut dyn FnMut(&mut Id)) {
        if let Some(inner) = self {
            inner.numbers(version, id);
        }
    }
}

impl<T: Numbered, const N: usize> Numbered for [T; N] {
    fn numbers(&mut self, version: &mut dyn FnMut(&mut Version), id: &mut dyn FnMut(&mut Id)) {
        for each in self {
            each.numbers(version, id);
        }
    }
}

impl Numbered for Policy {
    fn numbers(&mut self, version: &mut dyn FnMut(&mut Version), id: &mut dyn FnMut(&mut Id)) {
        version(&mut self.version);
        id(&mut self.uid);
        id(&mut self.spec);
    }
}

impl Numbered for Pod {
    fn numbers(&mut self, version: &mut dyn FnMut(&mut Version), id: &mut dyn FnMut(&mut Id)) {
        version(&mut self.version);
        id(&mut self.uid);
    }
}

impl Numbered for Stored {
    fn numbers(&mut self, version: &mut dyn FnMut(&mut Version), id: &mut dyn FnMut(&mut Id)) {
        version(&mut self.version);
        id(&mut self.uid);
        for (uid, spec) in self.effective.iter_mut().flat_map(|record| record.knows.iter_mut().flatten()) {
            id(uid);
            id(spec);
        }
    }
}

impl Numbered for View {
    fn numbers(&mut self, version: &mut dyn FnMut(&mut Version), id: &mut dyn FnMut(&mut Id)) {
        version(&mut self.behind);
        version(&mut self.listed);
        self.stored.numbers(version, id);
        self.policies.numbers(version, id);
        self.pods.numbers(version, id);
    }
}

impl Numbered for Reserved {
    fn numbers(&mut self, version: &mut dyn FnMut(&mut Version), id: &mut dyn FnMut(&mut Id)) {
        version(&mut self.base);
        id(&mut self.uid);
    }
}

impl Numbered for State {
    fn numbers(&mut self, version: &mut dyn FnMut(&mut Version), id: &mut dyn FnMut(&mut Id)) {
        self.stored.numbers(version, id);
        self.copy.numbers(version, id);
        self.policies.numbers(version, id);
        self.pods.numbers(version, id);
        for event in &mut self.namespace_log {
            version(&mut event.version);
            event.now.numbers(version, id);
        }
        for event in &mut self.policy_log {
            version(&mut event.version);
            id(&mut event.now.1);
            event.now.2.numbers(version, id);
        }
        for event in &mut self.pod_log {
            version(&mut event.version);
            id(&mut event.now.1);
        }
        for replica in &mut self.replicas {
            version(&mut replica.newest_policy);
            replica.view.numbers(version, id);
            replica.pending.numbers(version, id);
        }
        self.flights.iter_mut().for_each(|flight| flight.numbers(version, id));
        self.run.iter_mut().for_each(|run| run.view.numbers(version, id));
        if let Some(look) = &mut self.look {
            id(&mut look.uid);
            version(&mut look.at);
            look.before.numbers(version, id);
            look.found.numbers(version, id);
        }
        self.given_up.iter_mut().for_each(|given_up| id(&mut given_up.uid));
    }
}

impl State {
    /// The next version that a write gets.
    pub(crate) fn next_version(&mut self) -> Version {
        let mut newest = 0;
        self.numbers(&mut |version| newest = newest.max(*version), &mut |_| ());
        newest + 1
    }

    /// An id that nothing has.
    pub(crate) fn next_id(&mut self) -> Id {
        let mut newest = 0;
        self.numbers(&mut |_| (), &mut |id| newest = newest.max(*id));
        newest + 1
    }

    /// Forgets what every watch has delivered, numbers the versions from 1 in their order, and the ids as they come: what
    /// is compared is the same before and after, so states that differ in nothing else are one.
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
        self.numbers(&mut |version| numbers[usize::from(*version)] = 1, &mut |_| ());
        numbers[0] = 0;
        let mut count = 0;
        for number in numbers.iter_mut().filter(|number| **number > 0) {
            count += 1;
            *number = count;
        }
        let (mut ids, mut known) = ([0; MOST], 0);
        let number_id = &mut |id: &mut Id| {
            let number = &mut ids[usize::from(*id)];
            if *id != 0 && *number == 0 {
                known += 1;
                *number = known;
            }
            *id = *number;
        };
        self.numbers(&mut |version| *version = numbers[usize::from(*version)], number_id);
        self
    }
}
