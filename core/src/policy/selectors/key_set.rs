//! What one key of a selector may hold.

use std::cmp::Ordering;
use std::fmt;

use crate::texts::text_of;

/// What one key may hold so that every requirement on it is met, as its selector keeps it.
///
/// All four operators are of this form, and the form is closed under intersection, so any number of
/// requirements on a key become one set.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct KeySet<'s> {
    /// The values, sorted and each once, one after another.
    pub(super) values: &'s [u8],
    /// Where each of them ends, but for the last, in four bytes each.
    pub(super) ends: &'s [u8],
    pub(super) has_values: bool,
    pub(super) absent: bool,
    /// Whether all other values are admitted, and not these.
    pub(super) all_but: bool,
}

impl<'s> KeySet<'s> {
    /// Where in the values the one with an index ends.
    fn end(self, index: usize) -> usize {
        match self.ends.get(4 * index..4 * index + 4) {
            Some(&[a, b, c, d]) => u32::from_le_bytes([a, b, c, d]) as usize,
            _ => self.values.len(),
        }
    }

    fn value(self, index: usize) -> &'s [u8] {
        let from = if index == 0 { 0 } else { self.end(index - 1) };
        self.values.get(from..self.end(index)).unwrap_or_default()
    }

    pub(super) fn has(self, value: &[u8]) -> bool {
        let (mut from, mut to) = (0, self.mentions());
        while from < to {
            let middle = from + (to - from) / 2;
            match self.value(middle).cmp(value) {
                Ordering::Less => from = middle + 1,
                Ordering::Greater => to = middle,
                Ordering::Equal => return true,
            }
        }
        false
    }

    pub(super) fn values(self) -> impl ExactSizeIterator<Item = &'s [u8]> + Clone {
        (0..self.mentions()).map(move |index| self.value(index))
    }

    /// Whether a key with this value, or without one, is admitted.
    #[must_use]
    pub fn admits(self, value: Option<&str>) -> bool {
        value.map_or(self.absent, |value| self.has(value.as_bytes()) != self.all_but)
    }

    /// The values that any requirement on the key names.
    pub fn mentioned(self) -> impl Iterator<Item = &'s str> {
        self.values().map(text_of)
    }

    /// How many values [`Self::mentioned`] lists.
    pub(in crate::policy) fn mentions(self) -> usize {
        self.ends.len() / 4 + usize::from(self.has_values)
    }

    /// Whether a value that no requirement names is admitted. A value that one names then is not, and the reverse.
    #[must_use]
    pub fn admits_unmentioned(self) -> bool {
        self.all_but
    }

    pub(super) fn is_empty(self) -> bool {
        !self.absent && !self.all_but && !self.has_values
    }

    /// Whether a label must be there, so that whoever lacks it is not admitted.
    #[must_use]
    pub fn needs_a_label(self) -> bool {
        !self.absent
    }

    /// Whether only values that are listed are admitted.
    #[must_use]
    pub fn is_a_list(self) -> bool {
        !self.absent && !self.all_but
    }

    /// Whether every name of a namespace is admitted: those are there and not empty.
    pub(super) fn is_every_name(self) -> bool {
        self.all_but && self.values().all(<[u8]>::is_empty)
    }

    /// Whether any name of a namespace is admitted.
    #[must_use]
    pub fn admits_a_name(self) -> bool {
        self.all_but || self.values().any(|value| !value.is_empty())
    }

    /// Whether whatever is admitted here is admitted there.
    #[must_use]
    pub fn is_within(self, other: Self) -> bool {
        let values_are = match (self.all_but, other.all_but) {
            (false, _) => self.values().all(|value| other.has(value) != other.all_but),
            (true, false) => false,
            (true, true) => other.values().all(|value| self.has(value)),
        };
        values_are && (!self.absent || other.absent)
    }

    /// Whether everything is admitted.
    pub(super) fn is_full(self) -> bool {
        self.absent && self.all_but && !self.has_values
    }
}

impl fmt::Debug for KeySet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The values of a set, with commas.
pub(super) struct Listed<'s>(pub(super) KeySet<'s>);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, value) in self.0.mentioned().enumerate() {
            write!(f, "{}{value}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl fmt::Display for KeySet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.absent, self.all_but) {
            (false, false) if self.mentions() == 1 => write!(f, "= {}", Listed(*self)),
            (false, false) => write!(f, "in ({})", Listed(*self)),
            (true, false) if !self.has_values => write!(f, "is absent"),
            (true, false) => write!(f, "is absent or in ({})", Listed(*self)),
            (false, true) if !self.has_values => write!(f, "is present"),
            (false, true) => write!(f, "is present and not in ({})", Listed(*self)),
            (true, true) => write!(f, "not in ({})", Listed(*self)),
        }
    }
}
