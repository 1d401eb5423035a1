//! Connections workload by workload, from what workloads of the same kind have in common.

use super::{Member, Party};
use crate::policy::Direction;

/// What each workload has with other parties, in order, and what is known of each pair. What a kind of workloads has is
/// found out once for as long as its members follow one another.
pub(super) struct Rows<'s, 'a, T, F> {
    members: &'s [Member<'a>],
    /// The kind of each member.
    kinds: &'s [usize],
    direction: Direction,
    /// The parties that a kind has, with what is known.
    of: F,
    /// The member at hand.
    at: usize,
    /// The kind of the row at hand, and the row.
    row: Option<(usize, Vec<(Party<'a>, T)>)>,
    /// The next of the row.
    next: usize,
}

impl<'s, 'a, T, F: FnMut(usize) -> Vec<(Party<'a>, T)>> Rows<'s, 'a, T, F> {
    /// Of a direction: members are sources for egress, and destinations for ingress.
    pub(super) fn new(members: &'s [Member<'a>], kinds: &'s [usize], direction: Direction, of: F) -> Self {
        Self { members, kinds, direction, of, at: 0, row: None, next: 0 }
    }
}

impl<'a, T: Clone, F: FnMut(usize) -> Vec<(Party<'a>, T)>> Iterator for Rows<'_, 'a, T, F> {
    /// The source, the destination, and what is known of the two.
    type Item = (Party<'a>, Party<'a>, T);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let own = Party::Workload(*self.members.get(self.at)?);
            let kind = *self.kinds.get(self.at)?;
            let row = match &mut self.row {
                Some((of, row)) if *of == kind => row,
                other => &mut other.insert((kind, (self.of)(kind))).1,
            };
            let Some((party, known)) = row.get(self.next) else {
                self.at += 1;
                self.next = 0;
                continue;
            };
            self.next += 1;
            if own.is_same_pod(party) {
                continue;
            }
            let (from, to) = match self.direction {
                Direction::Egress => (own, *party),
                Direction::Ingress => (*party, own),
            };
            return Some((from, to, known.clone()));
        }
    }
}
