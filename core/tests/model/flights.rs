//! Requests that change policies, from the moment that a replica looks until the API server has stored the change or not; and
//! the reservations of each replica. As `src/server/routes.rs`, `src/cluster/mod.rs` and the API server do it.

use std::sync::Arc;

use jiff::Timestamp;
use ringfence_core::index::reservations::{Change, DECIDED_AFTER, NotReserved, Reservations};
use ringfence_core::meter::unlimited;
use ringfence_core::policy::NetworkPolicy;

use super::code::{Code, TEAM, policy_uid};
use super::moves::{Move, wishes};
use super::numbers::Numbered;
use super::state::{
    Cause, Id, NAMES, Pending, Policies, Policy, RESERVED, Reserved, SLOTS, Says, State, Version, View,
};
use super::webhook::{By, PolicyChange, Verdict};

/// A request that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Flight {
    pub(crate) replica: u8,
    pub(crate) by: By,
    /// The policy as it was, and what is asked for.
    pub(crate) from: Option<(Says, bool)>,
    pub(crate) change: Reserved,
    pub(crate) stage: Stage,
    /// Why the change is wrong, if it is.
    pub(crate) cause: Cause,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// A replica has looked at what it knows, or at what is stored (`anew`), and has not decided.
    Looked { view: View, pending: Pending, overtaken: bool, anew: bool },
    /// It is allowed, and not stored.
    Admitted,
}

impl Numbered for Flight {
    fn numbers(&mut self, version: &mut dyn FnMut(&mut Version), id: &mut dyn FnMut(&mut Id)) {
        self.change.numbers(version, id);
        if let Stage::Looked { view, pending, .. } = &mut self.stage {
            view.numbers(version, id);
            pending.numbers(version, id);
        }
    }
}

impl Code {
    fn change_of(&self, reserved: Reserved) -> Change {
        let Reserved { slot, uid, base, to } = reserved;
        let outcome = |says| self.policy(slot, Policy { says, version: 0, uid, spec: 0, quarantined: false });
        Change {
            uid: policy_uid(slot, uid),
            base: base.into(),
            name: NAMES[usize::from(slot)].to_owned(),
            outcome: to.map(|says| Arc::new(outcome(says))),
        }
    }

    pub(crate) fn reservations<'a>(&self, pending: impl IntoIterator<Item = &'a Reserved>) -> Reservations {
        let mut all = Reservations::default();
        for reserved in pending {
            let known = all.of(TEAM);
            all.reserve(TEAM, &known, self.change_of(*reserved), None, Timestamp::UNIX_EPOCH, unlimited()).unwrap();
        }
        all
    }

    /// What is reserved still.
    fn left(&self, mut reservations: Reservations, pending: impl Iterator<Item = Reserved>) -> Pending {
        let left: Vec<_> = reservations.overdue(Timestamp::UNIX_EPOCH + DECIDED_AFTER);
        let is_left = |reserved: &Reserved| {
            let change = self.change_of(*reserved);
            left.iter().any(|(_, reservation)| reservation.change == change)
        };
        let mut left = pending.filter(is_left);
        let pending = std::array::from_fn(|_| left.next());
        assert!(left.next().is_none());
        pending
    }

    /// What is reserved once the watch has shown a write of a policy.
    pub(crate) fn pending_after_seen(&self, pending: Pending, (slot, uid): (u8, Id), version: Version) -> Pending {
        if pending[0].is_none() {
            return pending;
        }
        let mut reservations = self.reservations(pending.iter().flatten());
        reservations.seen(TEAM, &policy_uid(slot, uid), version.into());
        self.left(reservations, pending.into_iter().flatten())
    }

    /// The same once these were listed.
    pub(crate) fn pending_after_list(&self, pending: Pending, list: &Policies) -> Pending {
        if pending[0].is_none() {
            return pending;
        }
        let mut reservations = self.reservations(pending.iter().flatten());
        let list: Vec<NetworkPolicy> =
            (0..).zip(list).filter_map(|(slot, policy)| policy.map(|policy| self.policy(slot, policy))).collect();
        reservations.listed(TEAM, &list);
        self.left(reservations, pending.into_iter().flatten())
    }

    /// Reserves a change that was decided when all of this was reserved, or when something was not that is or was since.
    fn reserve(&self, pending: Pending, overtaken: bool, change: Reserved) -> Result<Pending, NotReserved> {
        let mut reservations = if overtaken {
            let mut reservations = self.reservations([&change]);
            let overdue = reservations.overdue(Timestamp::UNIX_EPOCH + DECIDED_AFTER);
            for (_, reservation) in &overdue {
                reservations.release(TEAM, reservation);
            }
            reservations
        } else {
            Reservations::default()
        };
        for reserved in pending.iter().flatten() {
            let known = reservations.of(TEAM);
            reservations.reserve(TEAM, &known, self.change_of(*reserved), None, Timestamp::UNIX_EPOCH, unlimited())?;
        }
        let known = if overtaken { Reservations::default().of(TEAM) } else { reservations.of(TEAM) };
        reservations.reserve(TEAM, &known, self.change_of(change), None, Timestamp::UNIX_EPOCH, unlimited())?;
        Ok(self.left(reservations, pending.into_iter().flatten().chain([change])))
    }
}

impl State {
    /// What is stored, as a replica reads it at this moment.
    fn stored_view(&self) -> View {
        let nothing = View { config: self.config, ..View::default() };
        let stored = View { entry: true, stored: self.stored, policies: self.policies, ..nothing };
        if self.stored.is_some() { stored } else { nothing }
    }

    /// What a replica decides about policies by.
    fn view_for_policies(&self, replica: u8) -> View {
        let known = self.replicas[usize::from(replica)].view;
        if known.stored.is_some() && known.behind != 0 { self.stored_view() } else { known }
    }

    /// Whether a pod may run in the namespace, as the API server answers at this moment: one that has a node does, whatever
    /// its phase says (`src/cluster/live/read.rs`).
    pub(crate) fn may_run(&self) -> bool {
        self.bound || self.pods.iter().any(Option::is_some)
    }

    pub(crate) fn verdict(&self, code: &Code, view: &View, pending: Pending, change: PolicyChange, by: By) -> Verdict {
        let deletes = change.2.is_none() && view.stored.is_some_and(|stored| stored.terminating);
        code.decide_policy(view, pending, self.clock, change, by, deletes && self.may_run())
    }

    pub(crate) fn from(&self, slot: u8) -> Option<(Says, bool)> {
        self.policies[usize::from(slot)].map(|policy| (policy.says, policy.quarantined))
    }

    /// Why a change is wrong, if it is, that a replica allows by what it knows.
    fn cause_of(&self, replica: u8, view: &View) -> Cause {
        if self.stored.is_some_and(|stored| stored.exempt) {
            return Cause::Exempt;
        }
        let certain = *view == self.stored_view();
        self.missed_by(replica).filter(|_| !certain).unwrap_or(Cause::Admitted(replica))
    }

    /// Whether a change of a policy goes through that is decided and stored at one moment, what it counts as, and which
    /// replica reserves it.
    pub(crate) fn lets_change(
        &self,
        code: &Code,
        (slot, to): (u8, Option<Says>),
        by: By,
        replica: u8,
    ) -> Option<(Cause, Option<u8>)> {
        let (selected, _) = (self.selected()?, self.stored?);
        if selected.exempt && to != Some(Says::Excused) {
            return Some((Cause::Exempt, None));
        }
        let (mut view, mut pending) = (self.view_for_policies(replica), self.replicas[usize::from(replica)].pending);
        let change = (slot, self.from(slot), to);
        let mut verdict = self.verdict(code, &view, pending, change, by);
        if !verdict.allowed && verdict.hangs_on_pending {
            code.saw("a change is judged anew on what is stored");
            (view, pending) = (self.stored_view(), code.pending_after_list(pending, &self.policies));
            verdict = self.verdict(code, &view, pending, change, by);
        }
        if !verdict.allowed {
            code.saw("a change of a policy is refused");
            return None;
        }
        Some((self.cause_of(replica, &view), verdict.reserves.then_some(replica)))
    }

    /// Reserves a change that is allowed, and stored at the same moment.
    pub(crate) fn reserve(&mut self, code: &Code, replica: u8, change: Reserved) {
        let pending = &mut self.replicas[usize::from(replica)].pending;
        *pending = code.reserve(*pending, false, change).unwrap();
    }

    /// Another write comes in between what a request was decided by and its being stored.
    pub(crate) fn overtake_flights(&mut self, cause: Cause) {
        for flight in &mut self.flights {
            flight.cause = flight.cause.max(cause.to(flight.replica));
        }
    }

    pub(crate) fn moves_of_flights(&self, moves: &mut Vec<Move>) {
        let can_ask = self.moves > 0 && self.stored.is_some_and(|stored| !stored.terminating);
        for slot in (0..SLOTS).filter(|_| can_ask) {
            for (to, by) in wishes(slot, self.says(slot)) {
                let replicas = 0..u8::try_from(self.replicas.len()).unwrap();
                moves.extend(replicas.map(|replica| Move::Ask(slot, *to, *by, replica)));
            }
        }
        for (index, flight) in (0..).zip(&self.flights) {
            match flight.stage {
                Stage::Looked { .. } => moves.push(Move::Decide(index)),
                Stage::Admitted => moves.extend([Move::Store(index), Move::Drop(index)]),
            }
        }
        for (replica, known) in (0..).zip(&self.replicas) {
            for (index, reserved) in (0..RESERVED).zip(known.pending.iter().flatten()) {
                if !self.is_under_way(replica, *reserved) && self.is_shown(replica, reserved.slot) {
                    moves.push(Move::Overdue(replica, index));
                }
            }
        }
    }

    pub(crate) fn is_under_way(&self, replica: u8, reserved: Reserved) -> bool {
        self.flights.iter().any(|flight| flight.replica == replica && flight.change == reserved)
    }

    /// Whether a read of a policy finds what the replica knows of it.
    pub(crate) fn is_shown(&self, replica: u8, slot: u8) -> bool {
        let known = self.replicas[usize::from(replica)].view.policies[usize::from(slot)];
        let identity = |policy: Option<Policy>| policy.map(|policy| (policy.uid, policy.version));
        identity(known) == identity(self.policies[usize::from(slot)])
    }

    /// A request arrives at a replica, which looks at what it knows.
    pub(crate) fn ask(&mut self, (slot, to): (u8, Option<Says>), by: By, replica: u8) {
        self.moves -= 1;
        let (fresh, stored) = (self.next_id(), self.policies[usize::from(slot)]);
        let (uid, base) = stored.map_or((fresh, 0), |policy| (policy.uid, policy.version));
        let (view, pending) = (self.view_for_policies(replica), self.replicas[usize::from(replica)].pending);
        let cause = self.cause_of(replica, &view);
        let stage = Stage::Looked { view, pending, overtaken: false, anew: false };
        self.flights.push(Flight {
            replica,
            by,
            from: self.from(slot),
            change: Reserved { slot, uid, base, to },
            stage,
            cause,
        });
    }

    /// The replica decides, and reserves what it allows.
    pub(crate) fn decide(&mut self, code: &Code, index: usize) {
        let mut flight = self.flights.remove(index);
        let Stage::Looked { view, pending, overtaken, anew } = flight.stage else { return };
        let replica = usize::from(flight.replica);
        let change = (flight.change.slot, flight.from, flight.change.to);
        let verdict = self.verdict(code, &view, pending, change, flight.by);
        if !verdict.allowed {
            if verdict.hangs_on_pending && !anew {
                code.saw("a change is judged anew on what is stored");
                let pending = code.pending_after_list(self.replicas[replica].pending, &self.policies);
                flight.stage = Stage::Looked { view: self.stored_view(), pending, overtaken: false, anew: true };
                flight.cause = Cause::Admitted(flight.replica);
                self.flights.insert(index, flight);
            } else {
                code.saw("a change of a policy is refused");
            }
            return;
        }
        flight.stage = Stage::Admitted;
        if verdict.reserves {
            match code.reserve(self.replicas[replica].pending, overtaken, flight.change) {
                Ok(pending) => {
                    self.replicas[replica].pending = pending;
                    for other in &mut self.flights {
                        if let (Stage::Looked { overtaken, .. }, true) =
                            (&mut other.stage, usize::from(other.replica) == replica)
                        {
                            *overtaken = true;
                        }
                    }
                }
                Err(NotReserved::Overtaken) => {
                    code.saw("a decision is overtaken");
                    let (view, pending) = (self.view_for_policies(flight.replica), self.replicas[replica].pending);
                    flight.cause = self.cause_of(flight.replica, &view);
                    flight.stage = Stage::Looked { view, pending, overtaken: false, anew: false };
                }
                Err(NotReserved::Full) => panic!("{self:?}"),
            }
        }
        self.flights.insert(index, flight);
    }

    /// The API server stores a change, unless the policy is not the one any more that was judged.
    pub(crate) fn store(&mut self, code: &Code, index: usize) {
        let flight = self.flights.remove(index);
        let Reserved { slot, uid, base, to } = flight.change;
        let there = self.policies[usize::from(slot)];
        let is_same = there.map_or(base == 0, |there| there.uid == uid && there.version == base);
        if is_same {
            code.saw("a change is stored");
            self.write_policy(slot, to, Some(uid), flight.cause);
        } else {
            code.saw("a change is overtaken");
        }
    }

    /// A read finds what the replica knows, when no request can still be stored: whatever came of the change.
    pub(crate) fn overdue(&mut self, code: &Code, replica: u8, index: usize) {
        let pending = &mut self.replicas[usize::from(replica)].pending;
        let change = code.change_of(pending[index].unwrap());
        let mut reservations = code.reservations(pending.iter().flatten());
        let overdue = reservations.overdue(Timestamp::UNIX_EPOCH + DECIDED_AFTER);
        for (name, reservation) in overdue.iter().filter(|(_, reservation)| reservation.change == change) {
            reservations.release(name, reservation);
        }
        *pending = code.left(reservations, pending.iter().flatten().copied());
    }
}

impl Cause {
    /// The same for a replica: what it has admitted itself it knows.
    pub(crate) fn to(self, replica: u8) -> Self {
        match self {
            Self::Admitted(other) if other != replica => Self::Raced,
            cause => cause,
        }
    }
}
