//! What may happen next, and what becomes of it.

use super::code::Code;
use super::controller::Goes;
use super::state::{Cause, END, Event, Id, Pod, Policy, Profile, Reserved, SLOTS, Says, State, Stored, Version, Wrong};
use super::webhook::{By, Created, Edit};

/// One step of anybody. Those of people, and faults, are limited; a step that changes nothing is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Move {
    Tick,
    /// A pod is created, and held.
    Hold,
    /// A policy is changed: through the webhook of a replica, which may reserve it, or past it.
    Change(u8, Option<Says>, Cause, Option<u8>),
    /// The same in steps: a replica looks, decides, and the change is stored or comes to nothing.
    Ask(u8, Option<Says>, By, u8),
    Decide(usize),
    Store(usize),
    Drop(usize),
    /// A read shows that a reservation of a replica came to nothing.
    Overdue(u8, usize),
    /// An administrator changes the namespace's labels.
    Edit(Edit),
    /// Somebody creates the namespace, or deletes it.
    Create,
    Delete,
    /// The namespace controller empties what terminates, and lets it go.
    Empty,
    Gone,
    /// Somebody empties the namespace's finalizers and deletes it. What is in it stays.
    Finalize,
    /// A user deletes a policy of a namespace that terminates.
    Clear(u8),
    /// The phase of the bound pod is set to one that says that it has ended, or the pod is gone.
    Lie,
    Unbind,
    /// A watch delivers its next event to a replica.
    Deliver(u8, usize),
    /// The API server's own copy hears of the next change.
    DeliverCopy,
    /// The leader writes what it has planned, or plans and begins.
    Act(Goes),
    /// The leader asks for the namespace's policies, and takes the answer.
    Look,
    TakeLook,
    /// A refused quarantine is tried again.
    TryAgain,
    /// A replica loses all it knows, and lists everything.
    Restart(u8),
    /// The same of all, with another configuration.
    Reconfigure,
    /// Another replica becomes leader.
    Lead(u8),
    /// A watch is too far behind, and lists anew.
    List(u8, usize),
}

impl Move {
    fn kind(self) -> &'static str {
        match self {
            Self::Tick => "exceptions and exemptions end",
            Self::Hold => "a pod is held",
            Self::Change(_, _, Cause::Admitted(_), _) => "a policy is changed",
            Self::Change(_, _, Cause::Bypass, None) => "a policy is changed past the webhook",
            Self::Change(_, _, Cause::Exempt, _) => "a policy is changed while exempt",
            Self::Change(..) => "a policy is changed, judged on a view that is behind",
            Self::Ask(..) => "a change is asked for",
            Self::Decide(_) => "a change is decided",
            Self::Store(_) => "a change is to be stored",
            Self::Drop(_) => "a change comes to nothing",
            Self::Overdue(..) => "a reservation is overdue",
            Self::Edit(Edit::Exempt) => "the namespace is exempted",
            Self::Edit(Edit::Enforce) => "the exemption is taken back",
            Self::Edit(_) => "the profile is changed",
            Self::Create => "the namespace is created",
            Self::Delete => "the namespace is deleted",
            Self::Empty => "the namespace is emptied",
            Self::Gone => "the namespace is gone",
            Self::Finalize => "the namespace is gone without its contents",
            Self::Clear(_) => "a policy of a namespace that terminates is deleted",
            Self::Lie => "a phase lies",
            Self::Unbind => "the bound pod is gone",
            Self::Deliver(..) => "a watch delivers",
            Self::DeliverCopy => "the API server learns",
            Self::Act(Goes::Well) => "the controller writes",
            Self::Act(Goes::Refused) => "a write is refused",
            Self::Act(Goes::Silent) => "a write is not answered",
            Self::Look => "the controller looks",
            Self::TakeLook => "the controller has looked",
            Self::TryAgain => "a refused quarantine is tried again",
            Self::Restart(_) => "a replica restarts",
            Self::Reconfigure => "the configuration is changed",
            Self::Lead(_) => "another replica leads",
            Self::List(..) => "a watch lists anew",
        }
    }

    /// Whether it is one of those that only some tests are about.
    pub(crate) fn is_special(&self) -> bool {
        matches!(
            self,
            Self::Ask(..)
                | Self::Finalize
                | Self::Clear(_)
                | Self::Lie
                | Self::Unbind
                | Self::Reconfigure
                | Self::Change(4, ..)
                | Self::Change(3, Some(Says::Half), ..)
        )
    }
}

/// The directions that a policy isolates whole, and how wide a hole it opens.
fn strength(slot: u8, says: Option<Says>) -> (bool, bool, u8) {
    match says {
        None | Some(Says::Narrowed | Says::Narrow) => (false, false, 0),
        Some(Says::Managed | Says::Foreign) => (slot != 1, slot != 0, 0),
        Some(Says::Emptied | Says::Spent) => (true, false, 0),
        Some(Says::Excused | Says::Half) => (true, false, 1),
        Some(Says::Wide) => (true, false, 2),
    }
}

/// Whether a policy does less than before, whatever the others do.
fn weakens(slot: u8, before: Option<Says>, after: Option<Says>) -> bool {
    let (was, is) = (strength(slot, before), strength(slot, after));
    was.0 && !is.0 || was.1 && !is.1 || is.2 > was.2
}

/// The changes of a policy that anybody would try, from what is there.
pub(crate) fn wishes(slot: u8, says: Option<Says>) -> &'static [(Option<Says>, By)] {
    use By::{Admin, Tenant};
    match (slot, says) {
        (0, None) => &[(Some(Says::Foreign), Tenant), (Some(Says::Narrow), Tenant)],
        (0, Some(Says::Foreign)) => &[(None, Tenant), (Some(Says::Narrow), Tenant)],
        (0, Some(Says::Narrow)) => &[(None, Tenant), (Some(Says::Foreign), Tenant)],
        (0 | 2, Some(Says::Managed)) => {
            &[(None, Tenant), (Some(Says::Narrowed), Tenant), (Some(Says::Foreign), Tenant)]
        }
        (2, None) => &[(Some(Says::Foreign), Tenant)],
        (3, None) => &[
            (Some(Says::Wide), Tenant),
            (Some(Says::Excused), Tenant),
            (Some(Says::Excused), Admin),
            (Some(Says::Half), Tenant),
        ],
        (3, Some(Says::Wide)) => &[(None, Tenant), (Some(Says::Excused), Admin)],
        // The file is applied again, or another one.
        (3, Some(Says::Emptied)) => &[(None, Tenant), (Some(Says::Wide), Tenant), (Some(Says::Half), Tenant)],
        (3, Some(Says::Spent)) => &[(None, Tenant), (Some(Says::Excused), Tenant)],
        (4, None | Some(Says::Emptied)) => &[(Some(Says::Half), Tenant)],
        (_, Some(_)) => &[(None, Tenant)],
        _ => &[],
    }
}

/// What somebody changes past the webhook, from what is there.
fn bypasses(slot: u8, says: Option<Says>) -> &'static [Option<Says>] {
    match (slot, says) {
        (0, Some(Says::Managed)) => &[None, Some(Says::Narrowed)],
        (1 | 2, Some(Says::Managed | Says::Foreign)) => &[None],
        (3, None | Some(Says::Emptied)) => &[Some(Says::Wide)],
        (4, None | Some(Says::Emptied)) => &[Some(Says::Half)],
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
    pub(crate) fn change(&mut self, cause: Cause, weakens: bool, change: impl FnOnce(&mut Self)) {
        let before = self.is_bad();
        change(self);
        self.cause = match (before, self.is_bad()) {
            (_, false) => None,
            (false, true) => Some(cause),
            (true, true)
                if weakens
                    && matches!(
                        cause,
                        Cause::Bypass | Cause::Raced | Cause::Pruned | Cause::Expired | Cause::Rules
                    ) =>
            {
                Some(cause)
            }
            (true, true) => self.cause,
        };
        if !before && matches!(self.cause, Some(Cause::Admitted(_) | Cause::Controller)) {
            self.wrong.get_or_insert(Wrong::BaselineEnded);
        }
    }

    /// Stores another state of a policy; a new one gets this uid, if one was given already.
    pub(crate) fn write_policy(&mut self, slot: u8, says: Option<Says>, uid: Option<Id>, cause: Cause) {
        let (version, before) = (self.next_version(), self.policies[usize::from(slot)]);
        let after = says.map(|says| {
            let written = self.rewritten(slot, says, version);
            Policy { uid: uid.filter(|_| before.is_none()).unwrap_or(written.uid), ..written }
        });
        self.put_policy(slot, after, version, cause);
    }

    pub(crate) fn put_policy(&mut self, slot: u8, after: Option<Policy>, version: Version, cause: Cause) {
        let before = self.policies[usize::from(slot)];
        let says = |policy: Option<Policy>| policy.map(|policy| policy.says);
        let weakens = weakens(slot, says(before), says(after));
        self.change(cause, weakens, |state| state.policies[usize::from(slot)] = after);
        let uid = before.or(after).map_or(0, |policy| policy.uid);
        // What a decision lacks that does not know of it.
        let tells = weakens.then_some(if cause == Cause::Controller { Cause::Pruned } else { cause });
        self.policy_log.push(Event { version, now: (slot, uid, after), tells });
        if let Some(cause) = tells {
            self.overtake_flights(cause);
        }
    }

    /// Stores another state of the namespace; its version is given here.
    pub(crate) fn write_namespace(&mut self, stored: Option<Stored>, cause: Cause) {
        let version = self.next_version();
        let stored = stored.map(|stored| Stored { version, ..stored });
        let told = |stored: Option<Stored>| {
            stored.map(|stored| (stored.uid, stored.exempt, stored.profile, stored.terminating))
        };
        let tells = (told(self.stored) != told(stored)).then_some(cause);
        self.change(cause, false, |state| state.stored = stored);
        self.namespace_log.push(Event { version, now: stored, tells });
        if let Some(cause) = tells {
            self.overtake_flights(cause);
        }
    }

    /// Stores a pod that is held, or that there is none any more.
    pub(crate) fn write_pod(&mut self, slot: u8, held: bool) {
        let (version, fresh) = (self.next_version(), self.next_id());
        let there = &mut self.pods[usize::from(slot)];
        let uid = there.map_or(fresh, |pod| pod.uid);
        *there = held.then_some(Pod { uid, version, held });
        self.pod_log.push(Event { version, now: (slot, uid, held), tells: None });
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
        }
        if self.copy_at < ends[0] {
            moves.push(Move::DeliverCopy);
        }
        self.moves_of_controller(code, moves);
        self.moves_of_flights(moves);
        if self.clock < END {
            moves.push(Move::Tick);
        }
        if self.faults > 0 && self.config == 0 {
            moves.push(Move::Reconfigure);
        }
        match self.stored {
            None if self.moves > 0 => moves.push(Move::Create),
            None => {}
            Some(stored) if stored.terminating => {
                let empty = self.policies.iter().all(Option::is_none);
                moves.push(if empty { Move::Gone } else { Move::Empty });
                self.moves_while_terminating(code, moves);
            }
            Some(_) => self.moves_of_people(code, moves),
        }
    }

    fn moves_of_controller(&self, code: &Code, moves: &mut Vec<Move>) {
        let leading = &self.replicas[usize::from(self.leader)].view;
        if self.look.is_some() {
            return moves.push(Move::TakeLook);
        }
        let planned = code.plan(leading, self.clock, self.given_up(leading));
        if self.run.is_some() || !planned.actions.is_empty() {
            moves.push(Move::Act(Goes::Well));
            if self.faults > 0 {
                moves.extend([Move::Act(Goes::Refused), Move::Act(Goes::Silent)]);
            }
        } else if planned.waits {
            moves.push(Move::Look);
        }
        if self.run.is_none() && self.given_up(leading) != 0 {
            moves.push(Move::TryAgain);
        }
    }

    fn moves_while_terminating(&self, code: &Code, moves: &mut Vec<Move>) {
        if self.bound {
            moves.push(Move::Unbind);
            if !self.lies && self.moves > 0 {
                moves.push(Move::Lie);
            }
        }
        if self.moves > 0 {
            moves.push(Move::Finalize);
            let cleared = |slot: &u8| {
                self.says(*slot).is_some() && self.lets_change(code, (*slot, None), By::Tenant, 0).is_some()
            };
            moves.extend((0..SLOTS).filter(cleared).map(Move::Clear));
        }
    }

    fn moves_of_people(&self, code: &Code, moves: &mut Vec<Move>) {
        if self.moves == 0 {
            return;
        }
        moves.extend([Move::Delete, Move::Finalize]);
        if self.bound && !self.lies {
            moves.push(Move::Lie);
        }
        let is_free = self.pods.contains(&None);
        moves.extend(
            self.pods_created(code).filter(|made| is_free && made.2 == Created::Held).map(|_| Move::Hold).next(),
        );
        let edits = [Edit::Exempt, Edit::Enforce, Edit::Profile(Profile::Open), Edit::Profile(Profile::Team)];
        moves.extend(edits.into_iter().filter(|edit| self.edited(code, *edit, By::Admin).is_some()).map(Move::Edit));
        for slot in 0..SLOTS {
            let says = self.says(slot);
            for (to, by) in wishes(slot, says) {
                for judges in 0..u8::try_from(self.replicas.len()).unwrap() {
                    if let Some((cause, reserves)) = self.lets_change(code, (slot, *to), *by, judges) {
                        moves.push(Move::Change(slot, *to, cause, reserves));
                    }
                }
            }
            moves.extend(bypasses(slot, says).iter().map(|to| Move::Change(slot, *to, Cause::Bypass, None)));
        }
    }

    /// What becomes of a pod that is created now, by the replica that validates it and its view's rule: one that the
    /// webhook has mutated on any replica, or one that another webhook has taken the gate off. Nothing where none is called.
    pub(crate) fn pods_created<'a>(&'a self, code: &'a Code) -> impl Iterator<Item = (u8, bool, Created)> + 'a {
        let is_called = self.selected().is_some_and(|selected| !selected.exempt && !selected.isolated);
        let replicas = if is_called { u8::try_from(self.replicas.len()).unwrap() } else { 0 };
        let ways = (0..replicas)
            .flat_map(move |validates| (0..replicas).map(Some).chain([None]).map(move |mutates| (validates, mutates)));
        ways.map(move |(validates, mutates)| {
            let mutates_view = mutates.map(|replica: u8| &self.replicas[usize::from(replica)].view);
            let created = code.create_pod(mutates_view, &self.replicas[usize::from(validates)].view, self.clock);
            (validates, mutates.is_none(), created)
        })
    }

    /// The namespace after an edit, where it goes through and changes something.
    pub(crate) fn edited(&self, code: &Code, edit: Edit, by: By) -> Option<Stored> {
        let stored = self.stored?;
        let (exempt, profile, isolated, _) = code.edit(Some(stored), edit, self.clock, by)?;
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
                let expires = (0..SLOTS).any(|slot| self.says(slot) == Some(Says::Excused));
                state.change(cause, expires, |state| state.clock += 1);
                state.overtake_flights(cause);
            }
            Move::Hold => {
                state.moves -= 1;
                let slot = state.pods.iter().position(Option::is_none).unwrap();
                state.write_pod(u8::try_from(slot).unwrap(), true);
            }
            Move::Change(slot, to, cause, reserves) => {
                state.moves -= 1;
                let (fresh, before) = (state.next_id(), self.policies[usize::from(slot)]);
                let (uid, base) = before.map_or((fresh, 0), |policy| (policy.uid, policy.version));
                state.write_policy(slot, to, Some(uid), cause);
                if let Some(replica) = reserves {
                    state.reserve(code, replica, Reserved { slot, uid, base, to });
                }
            }
            Move::Ask(slot, to, by, replica) => state.ask((slot, to), by, replica),
            Move::Decide(index) => state.decide(code, index),
            Move::Store(index) => state.store(code, index),
            Move::Drop(index) => drop(state.flights.remove(index)),
            Move::Overdue(replica, index) => state.overdue(code, replica, index),
            Move::Edit(edit) => {
                state.moves -= 1;
                let exempt = self.stored.is_some_and(|stored| stored.exempt);
                let cause = if exempt { Cause::Exempt } else { Cause::Profile };
                state.write_namespace(self.edited(code, edit, By::Admin), cause);
            }
            Move::Create => {
                state.moves -= 1;
                let (exempt, profile, isolated, _) = code.edit(None, Edit::Plain, state.clock, By::Tenant).unwrap();
                let stored = Stored { exempt, profile, isolated, ..Stored::new(state.next_id(), 0) };
                state.write_namespace(Some(stored), Cause::New);
            }
            Move::Delete => {
                state.moves -= 1;
                let stored = state.stored.map(|stored| Stored { terminating: true, ..stored });
                state.write_namespace(stored, Cause::Terminating);
            }
            Move::Empty => {
                for slot in (0..SLOTS).filter(|slot| self.says(*slot).is_some()) {
                    state.write_policy(slot, None, None, Cause::Terminating);
                }
            }
            Move::Gone => {
                for slot in (0..self.pods.len()).filter(|slot| self.pods[*slot].is_some()) {
                    state.write_pod(u8::try_from(slot).unwrap(), false);
                }
                state.write_namespace(None, Cause::Terminating);
            }
            Move::Finalize => {
                state.moves -= 1;
                state.write_namespace(None, Cause::Terminating);
            }
            Move::Clear(slot) => {
                state.moves -= 1;
                state.write_policy(slot, None, None, Cause::Terminating);
            }
            Move::Lie => {
                state.moves -= 1;
                state.lies = true;
            }
            Move::Unbind => (state.bound, state.lies) = (false, false),
            Move::Deliver(replica, kind) => state.deliver(code, usize::from(replica), kind),
            Move::DeliverCopy => {
                state.copy = state.namespace_log[usize::from(state.copy_at)].now.map(Stored::selectable);
                state.copy_at += 1;
            }
            Move::Act(goes) => state.act(code, goes),
            Move::Look => state.look(),
            Move::TakeLook => state.take_look(code),
            Move::TryAgain => state.given_up = None,
            Move::Restart(replica) => {
                state.faults -= 1;
                state.restart(code, usize::from(replica));
            }
            Move::Reconfigure => {
                state.faults -= 1;
                state.change(Cause::Rules, true, |state| state.config = 1);
                (0..self.replicas.len()).for_each(|replica| state.restart(code, replica));
            }
            Move::Lead(replica) => {
                state.faults -= 1;
                state.leader = replica;
                state.forget_plans();
            }
            Move::List(replica, kind) => {
                state.faults -= 1;
                state.list(code, usize::from(replica), kind);
            }
        }
        state.renumber()
    }
}
