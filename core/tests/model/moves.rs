//! What may happen next, and what becomes of it.

use super::code::{Code, News};
use super::controller::Goes;
use super::state::{Cause, END, Event, Pod, Policy, Profile, Replica, Says, State, Stored, Version, Wrong};
use super::webhook::{By, Created, Edit};

/// One step of anybody. Those of people, and faults, are limited; a step that changes nothing is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Move {
    Tick,
    /// A pod is created, and held.
    Hold,
    /// A policy is changed: through the webhook, or past it.
    Change(u8, Option<Says>, Cause),
    /// An administrator changes the namespace's labels.
    Edit(Edit),
    /// Somebody creates the namespace, or deletes it.
    Create,
    Delete,
    /// The namespace controller empties what terminates, and lets it go.
    Empty,
    Gone,
    /// A watch delivers its next event to a replica.
    Deliver(u8, usize),
    /// The API server's own copy hears of the next change.
    DeliverCopy,
    /// The leader writes what it has planned, or plans and begins.
    Act(Goes),
    /// A replica loses all it knows, and lists everything.
    Restart(u8),
    /// Another replica becomes leader.
    Lead(u8),
    /// A watch is too far behind, and lists anew.
    List(u8, usize),
    /// A watch lists anew because the contents of another namespace are mixed with those of this one.
    ListAsTold(u8, usize),
}

impl Move {
    fn kind(self) -> &'static str {
        match self {
            Self::Tick => "exceptions and exemptions end",
            Self::Hold => "a pod is held",
            Self::Change(_, _, Cause::Bypass) => "a policy is changed past the webhook",
            Self::Change(_, _, Cause::Raced) => "a policy is changed, judged on a view that is behind",
            Self::Change(_, _, Cause::Exempt) => "a policy is changed while exempt",
            Self::Change(..) => "a policy is changed",
            Self::Edit(Edit::Exempt) => "the namespace is exempted",
            Self::Edit(Edit::Enforce) => "the exemption is taken back",
            Self::Edit(_) => "the profile is changed",
            Self::Create => "the namespace is created",
            Self::Delete => "the namespace is deleted",
            Self::Empty => "the namespace is emptied",
            Self::Gone => "the namespace is gone",
            Self::Deliver(..) => "a watch delivers",
            Self::DeliverCopy => "the API server learns",
            Self::Act(Goes::Well) => "the controller writes",
            Self::Act(Goes::Refused) => "a write is refused",
            Self::Act(Goes::Silent) => "a write is not answered",
            Self::Restart(_) => "a replica restarts",
            Self::Lead(_) => "another replica leads",
            Self::List(..) => "a watch lists anew",
            Self::ListAsTold(..) => "a watch lists anew because it is told to",
        }
    }
}

/// The directions that a policy isolates whole, and how wide a hole it opens.
fn strength(slot: u8, says: Option<Says>) -> (bool, bool, u8) {
    match says {
        None | Some(Says::Narrowed | Says::Narrow) => (false, false, 0),
        Some(Says::Managed | Says::Foreign) => (slot != 1, slot != 0, 0),
        Some(Says::Excused) => (true, false, 1),
        Some(Says::Wide) => (true, false, 2),
    }
}

/// Whether a policy does less than before, whatever the others do.
fn weakens(slot: u8, before: Option<Says>, after: Option<Says>) -> bool {
    let (was, is) = (strength(slot, before), strength(slot, after));
    was.0 && !is.0 || was.1 && !is.1 || is.2 > was.2
}

/// The changes of a policy that anybody would try, from what is there.
fn wishes(slot: u8, says: Option<Says>) -> &'static [(Option<Says>, By)] {
    use By::{Admin, Tenant};
    match (slot, says) {
        (0, None) => &[(Some(Says::Foreign), Tenant), (Some(Says::Narrow), Tenant)],
        (0, Some(Says::Foreign)) => &[(None, Tenant), (Some(Says::Narrow), Tenant)],
        (0, Some(Says::Narrow)) => &[(None, Tenant), (Some(Says::Foreign), Tenant)],
        (0 | 2, Some(Says::Managed)) => {
            &[(None, Tenant), (Some(Says::Narrowed), Tenant), (Some(Says::Foreign), Tenant)]
        }
        (2, None) => &[(Some(Says::Foreign), Tenant)],
        (3, None) => &[(Some(Says::Wide), Tenant), (Some(Says::Excused), Tenant), (Some(Says::Excused), Admin)],
        (3, Some(Says::Wide)) => &[(None, Tenant), (Some(Says::Excused), Admin)],
        (_, Some(_)) => &[(None, Tenant)],
        _ => &[],
    }
}

/// What somebody changes past the webhook, from what is there.
fn bypasses(slot: u8, says: Option<Says>) -> &'static [Option<Says>] {
    match (slot, says) {
        (0, Some(Says::Managed)) => &[None, Some(Says::Narrowed)],
        (1 | 2, Some(Says::Managed | Says::Foreign)) => &[None],
        (3, None) => &[Some(Says::Wide)],
        _ => &[],
    }
}

impl State {
    pub(crate) fn says(&self, slot: u8) -> Option<Says> {
        self.policies[usize::from(slot)].map(|policy| policy.says)
    }

    /// The namespace as the API server selects by: its copy, or what is stored where it has none.
    pub(crate) fn selected(&self) -> Option<Stored> {
        self.copy.or(self.stored)
    }

    /// Changes what is stored, and notes why if that ends the baseline.
    fn change(&mut self, cause: Cause, weakens: bool, change: impl FnOnce(&mut Self)) {
        let before = self.is_bad();
        change(self);
        self.cause = match (before, self.is_bad()) {
            (_, false) => None,
            (false, true) => Some(cause),
            (true, true) if weakens && matches!(cause, Cause::Bypass | Cause::Raced | Cause::Expired) => Some(cause),
            (true, true) => self.cause,
        };
        if !before && matches!(self.cause, Some(Cause::Webhook | Cause::Controller)) {
            self.wrong.get_or_insert(Wrong::BaselineEnded);
        }
    }

    pub(crate) fn write_policy(&mut self, slot: u8, says: Option<Says>, cause: Cause) {
        let (version, before) = (self.next_version(), self.says(slot));
        let tells = weakens(slot, before, says);
        self.change(cause, tells, |state| {
            state.policies[usize::from(slot)] = says.map(|says| Policy { says, version });
        });
        self.policy_log.push(Event { version, now: (slot, says), tells });
    }

    /// Stores another state of the namespace; its version is given here.
    pub(crate) fn write_namespace(&mut self, stored: Option<Stored>, cause: Cause) {
        let version = self.next_version();
        let stored = stored.map(|stored| Stored { version, ..stored });
        let told = |stored: Option<Stored>| {
            stored.map(|stored| (stored.uid, stored.exempt, stored.profile, stored.terminating))
        };
        let tells = told(self.stored) != told(stored);
        self.change(cause, false, |state| state.stored = stored);
        self.namespace_log.push(Event { version, now: stored, tells });
    }

    /// Stores a pod that is held, or that there is none any more.
    pub(crate) fn write_pod(&mut self, slot: u8, held: bool) {
        let version = self.next_version();
        let there = &mut self.pods[usize::from(slot)];
        let uid = there.map_or(version, |pod| pod.uid);
        *there = held.then_some(Pod { uid, version, held });
        self.pod_log.push(Event { version, now: (slot, uid, held), tells: false });
    }

    pub(crate) fn breaks(&mut self, rule: Wrong) {
        self.wrong.get_or_insert(rule);
    }

    pub(crate) fn moves(&self, code: &Code, moves: &mut Vec<Move>) {
        if self.wrong.is_some() {
            return;
        }
        let replicas = u8::try_from(self.replicas.len()).unwrap();
        let ends = self.ends();
        for replica in 0..replicas {
            let known = &self.replicas[usize::from(replica)];
            let waiting = (0..3).filter(|kind| known.at[*kind] < ends[*kind]);
            // The watches of the first replica run ahead of each other; those of others hear of all in order.
            let next = |kind: &usize| self.next_of(*kind, known.at[*kind]);
            let first = waiting.clone().min_by_key(next);
            let heard = waiting.clone().filter(|kind| replica == 0 || Some(*kind) == first);
            moves.extend(heard.map(|kind| Move::Deliver(replica, kind)));
            if self.faults > 0 {
                moves.extend(waiting.map(|kind| Move::List(replica, kind)));
                moves.push(Move::Restart(replica));
                if replica != self.leader {
                    moves.push(Move::Lead(replica));
                }
            }
            let told = [1, 2].into_iter().filter(|kind| known.again[kind - 1]);
            moves.extend(told.map(|kind| Move::ListAsTold(replica, kind)));
        }
        if self.copy_at < ends[0] {
            moves.push(Move::DeliverCopy);
        }
        let leading = &self.replicas[usize::from(self.leader)].view;
        if self.run.is_some() || !code.plan(leading, self.clock).actions.is_empty() {
            moves.push(Move::Act(Goes::Well));
            if self.faults > 0 {
                moves.extend([Move::Act(Goes::Refused), Move::Act(Goes::Silent)]);
            }
        }
        if self.clock < END {
            moves.push(Move::Tick);
        }
        match self.stored {
            None if self.moves > 0 => moves.push(Move::Create),
            None => {}
            Some(stored) if stored.terminating => {
                let empty = self.policies.iter().all(Option::is_none);
                moves.push(if empty { Move::Gone } else { Move::Empty });
            }
            Some(_) => self.moves_of_people(code, moves),
        }
    }

    fn moves_of_people(&self, code: &Code, moves: &mut Vec<Move>) {
        if self.moves == 0 {
            return;
        }
        moves.push(Move::Delete);
        let is_free = self.pods.contains(&None);
        moves.extend(
            self.pods_created(code).filter(|made| is_free && made.2 == Created::Held).map(|_| Move::Hold).next(),
        );
        let edits = [Edit::Exempt, Edit::Enforce, Edit::Profile(Profile::Open), Edit::Profile(Profile::Team)];
        moves.extend(edits.into_iter().filter(|edit| self.edited(code, *edit, By::Admin).is_some()).map(Move::Edit));
        for slot in 0..4 {
            let says = self.says(slot);
            for (to, by) in wishes(slot, says) {
                for judges in 0..self.replicas.len() {
                    if let Some(cause) = self.lets_change(code, (slot, *to), *by, judges) {
                        moves.push(Move::Change(slot, *to, cause));
                    }
                }
            }
            moves.extend(bypasses(slot, says).iter().map(|to| Move::Change(slot, *to, Cause::Bypass)));
        }
    }

    /// What becomes of a pod that is created now, by the replica that validates it and its view's rule: one that the
    /// webhook has mutated on any replica, or one that another webhook has taken the gate off. Nothing where none is called.
    pub(crate) fn pods_created<'a>(&'a self, code: &'a Code) -> impl Iterator<Item = (usize, bool, Created)> + 'a {
        let is_called = self.selected().is_some_and(|selected| !selected.exempt && !selected.isolated);
        let replicas = if is_called { self.replicas.len() } else { 0 };
        let ways = (0..replicas)
            .flat_map(move |validates| (0..replicas).map(Some).chain([None]).map(move |mutates| (validates, mutates)));
        ways.map(move |(validates, mutates)| {
            let mutates_view = mutates.map(|replica| &self.replicas[replica].view);
            let created = code.create_pod(mutates_view, &self.replicas[validates].view, self.clock);
            (validates, mutates.is_none(), created)
        })
    }

    /// Whether a change of a policy goes through, and what it counts as.
    fn lets_change(&self, code: &Code, (slot, to): (u8, Option<Says>), by: By, judges: usize) -> Option<Cause> {
        let (selected, stored) = (self.selected()?, self.stored?);
        let view = &self.replicas[judges].view;
        if selected.exempt && to != Some(Says::Excused) {
            return Some(Cause::Exempt);
        }
        if !code.lets_policy(view, self.clock, (slot, self.says(slot), to), by) {
            code.saw("a change of a policy is refused");
            return None;
        }
        Some(if self.knows(view) && !stored.exempt { Cause::Webhook } else { Cause::Raced })
    }

    /// The namespace after an edit, where it goes through and changes something.
    pub(crate) fn edited(&self, code: &Code, edit: Edit, by: By) -> Option<Stored> {
        let stored = self.stored?;
        let (exempt, profile, isolated) = code.edit(Some(stored), edit, self.clock, by)?;
        Some(Stored { exempt, profile, isolated, ..stored }).filter(|edited| *edited != stored)
    }

    /// The version of an event of a log.
    fn next_of(&self, kind: usize, at: u8) -> Version {
        let at = usize::from(at);
        match kind {
            0 => self.namespace_log[at].version,
            1 => self.policy_log[at].version,
            _ => self.pod_log[at].version,
        }
    }

    /// The state after a move.
    pub(crate) fn after(&self, code: &Code, chosen: Move) -> Self {
        let mut state = self.clone();
        code.saw(chosen.kind());
        match chosen {
            Move::Tick => {
                let exempt = state.stored.is_some_and(|stored| stored.exempt);
                let cause = if exempt { Cause::Exempt } else { Cause::Expired };
                let expires = (0..4).any(|slot| self.says(slot) == Some(Says::Excused));
                state.change(cause, expires, |state| state.clock += 1);
            }
            Move::Hold => {
                state.moves -= 1;
                let slot = state.pods.iter().position(Option::is_none).unwrap();
                state.write_pod(u8::try_from(slot).unwrap(), true);
            }
            Move::Change(slot, to, cause) => {
                state.moves -= 1;
                state.write_policy(slot, to, cause);
            }
            Move::Edit(edit) => {
                state.moves -= 1;
                let exempt = self.stored.is_some_and(|stored| stored.exempt);
                let cause = if exempt { Cause::Exempt } else { Cause::Profile };
                state.write_namespace(self.edited(code, edit, By::Admin), cause);
            }
            Move::Create => {
                state.moves -= 1;
                let (exempt, profile, isolated) = code.edit(None, Edit::Plain, state.clock, By::Tenant).unwrap();
                let uid = state.next_version();
                let stored = Stored { uid, version: uid, exempt, profile, isolated, terminating: false, conflict: 0 };
                state.write_namespace(Some(stored), Cause::New);
            }
            Move::Delete => {
                state.moves -= 1;
                let stored = state.stored.map(|stored| Stored { terminating: true, ..stored });
                state.write_namespace(stored, Cause::Terminating);
            }
            Move::Empty => {
                for slot in (0..4).filter(|slot| self.says(*slot).is_some()) {
                    state.write_policy(slot, None, Cause::Terminating);
                }
            }
            Move::Gone => {
                for slot in (0..self.pods.len()).filter(|slot| self.pods[*slot].is_some()) {
                    state.write_pod(u8::try_from(slot).unwrap(), false);
                }
                state.write_namespace(None, Cause::Terminating);
            }
            Move::Deliver(replica, kind) => state.deliver(code, usize::from(replica), kind),
            Move::DeliverCopy => {
                state.copy = state.namespace_log[usize::from(state.copy_at)].now;
                state.copy_at += 1;
            }
            Move::Act(goes) => state.act(code, goes),
            Move::Restart(replica) => {
                state.faults -= 1;
                state.replicas[usize::from(replica)] = Replica::default();
                (0..3).for_each(|kind| state.list(code, usize::from(replica), kind));
                if replica == state.leader {
                    state.run = None;
                }
            }
            Move::Lead(replica) => {
                state.faults -= 1;
                state.leader = replica;
                state.run = None;
            }
            Move::List(replica, kind) => {
                state.faults -= 1;
                state.list(code, usize::from(replica), kind);
            }
            Move::ListAsTold(replica, kind) => state.list(code, usize::from(replica), kind),
        }
        state.renumber()
    }

    pub(crate) fn deliver(&mut self, code: &Code, replica: usize, kind: usize) {
        let known = self.replicas[replica];
        let at = usize::from(known.at[kind]);
        let news = match kind {
            0 => News::Namespace(self.namespace_log[at].now, self.namespace_log[at].version),
            1 => News::Policy(self.policy_log[at].now.0, self.policy_log[at].now.1, self.policy_log[at].version),
            _ => {
                let event = &self.pod_log[at];
                News::Pod(event.now.0, event.now.1, event.now.2, event.version)
            }
        };
        let mut heard = code.hear(&known, news);
        heard.at[kind] += 1;
        self.replicas[replica] = heard;
    }

    pub(crate) fn list(&mut self, code: &Code, replica: usize, kind: usize) {
        let news = match kind {
            0 => News::Namespaces(self.stored),
            1 => News::Policies(self.policies),
            _ => News::Pods(self.pods),
        };
        let mut heard = code.hear(&self.replicas[replica], news);
        heard.at[kind] = self.ends()[kind];
        self.replicas[replica] = heard;
    }
}
