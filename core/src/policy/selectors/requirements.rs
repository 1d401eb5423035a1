//! How requirements become a selector.

use std::convert::Infallible;

use super::Selector;
use super::key_set::KeySet;
use crate::meter::{self, Exhausted};
use crate::texts::{Texts, text_of};

/// The operator of a requirement (`k8s.io/apimachinery/pkg/apis/meta/v1.LabelSelectorOperator`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// The label is there, with one of the values.
    In,
    /// It is absent, or has none of the values.
    NotIn,
    /// It is there.
    Exists,
    /// It is absent.
    DoesNotExist,
}

impl Operator {
    /// The operator as the API writes it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "In" => Self::In,
            "NotIn" => Self::NotIn,
            "Exists" => Self::Exists,
            "DoesNotExist" => Self::DoesNotExist,
            _ => return None,
        })
    }

    /// Whether it has values.
    #[must_use]
    pub fn has_values(self) -> bool {
        matches!(self, Self::In | Self::NotIn)
    }

    /// Whether the key may be absent, and whether all values are admitted but those that are listed.
    fn admits(self) -> (bool, bool) {
        match self {
            Self::In => (false, false),
            Self::NotIn => (true, true),
            Self::Exists => (false, true),
            Self::DoesNotExist => (true, false),
        }
    }
}

/// Before the name of a key: how long the name is, how many values there are and how long they are together, and two flags.
const HEAD: usize = 2 + 4 + 4 + 1;
const ABSENT: u8 = 1;
const ALL_BUT: u8 = 2;

/// What a requirement takes at most in a selector, in bytes, where its values take so much in [`Texts`].
pub(in crate::policy) const fn packed_size(name: usize, values: usize) -> usize {
    HEAD + name + values
}

/// A name that is short enough to be kept. A key has at most 317 bytes; of a longer one, which is an error, nobody asks for the
/// meaning.
fn fitting(name: &str) -> &str {
    if name.len() > usize::from(u16::MAX) { "" } else { name }
}

/// The keys of a selector, with what each may hold.
#[derive(Clone, Debug)]
pub(super) struct Keys<'p>(pub(super) &'p [u8]);

impl<'p> Iterator for Keys<'p> {
    type Item = (&'p str, KeySet<'p>);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[n0, n1, c0, c1, c2, c3, l0, l1, l2, l3, flags], rest) = self.0.split_first_chunk::<HEAD>()?;
        let count = u32::from_le_bytes([c0, c1, c2, c3]) as usize;
        let (name, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([n0, n1])))?;
        let (ends, rest) = rest.split_at_checked(4 * count.saturating_sub(1))?;
        let (values, rest) = rest.split_at_checked(u32::from_le_bytes([l0, l1, l2, l3]) as usize)?;
        self.0 = rest;
        let (absent, all_but) = (flags & ABSENT != 0, flags & ALL_BUT != 0);
        Some((text_of(name), KeySet { values, ends, has_values: count > 0, absent, all_but }))
    }
}

/// Writes a key with its values, which are sorted and each there once.
fn write<'v>(
    packed: &mut Vec<u8>,
    name: &str,
    (absent, all_but): (bool, bool),
    values: impl ExactSizeIterator<Item = &'v [u8]> + Clone,
) {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
    let (name, count) = (fitting(name), values.len());
    packed.extend_from_slice(&u16::try_from(name.len()).unwrap_or_default().to_le_bytes());
    packed.extend_from_slice(&number(count));
    packed.extend_from_slice(&number(values.clone().map(<[u8]>::len).sum()));
    packed.push(if absent { ABSENT } else { 0 } | if all_but { ALL_BUT } else { 0 });
    packed.extend_from_slice(name.as_bytes());
    let mut end = 0;
    for value in values.clone().take(count.saturating_sub(1)) {
        end += value.len();
        packed.extend_from_slice(&number(end));
    }
    values.for_each(|value| packed.extend_from_slice(value));
}

/// Requirements that are to become one selector.
#[derive(Debug, Default)]
pub struct Requirements {
    /// As a selector has them, but in any order, and several may be on one key.
    packed: Vec<u8>,
}

impl Requirements {
    /// With room for so many bytes ([`packed_size`]).
    pub(in crate::policy) fn with_capacity(bytes: usize) -> Self {
        Self { packed: Vec::with_capacity(bytes) }
    }

    /// Adds one.
    pub fn add<'v>(&mut self, key: &str, operator: Operator, values: impl IntoIterator<Item = &'v str>) {
        // No list of slices: there can be hundreds of thousands.
        let mut texts = Texts::default();
        values.into_iter().for_each(|value| texts.push(value));
        let text = |index: &u32| texts.get(*index as usize).as_bytes();
        let mut order: Vec<u32> = (0..u32::try_from(texts.len()).unwrap_or(u32::MAX)).collect();
        order.sort_unstable_by(|a, b| text(a).cmp(text(b)));
        order.dedup_by(|a, b| text(a) == text(b));
        write(&mut self.packed, key, operator.admits(), order.iter().map(text));
    }

    /// Adds what a selector asks of a key.
    pub(super) fn add_set(&mut self, key: &str, set: KeySet<'_>) {
        write(&mut self.packed, key, (set.absent, set.all_but), set.values());
    }

    /// The selector of labels that meet all of them.
    #[must_use]
    pub fn into_selector(self) -> Selector {
        let Ok(selector) = self.build::<Infallible>(|_| Ok(()));
        selector
    }

    /// The same, of what a client sent: what it takes besides the requirements themselves is counted.
    pub(in crate::policy) fn counted(self) -> Result<Selector, Exhausted> {
        let mark = meter::used();
        let selector = self.build(meter::charge)?;
        meter::release_to(mark);
        Ok(selector)
    }

    fn build<E>(self, charge: impl Fn(usize) -> Result<(), E>) -> Result<Selector, E> {
        let mut keys = Keys(&self.packed);
        if keys.clone().is_sorted_by(|(a, _), (b, _)| a < b) && !keys.clone().any(|(_, set)| set.is_full()) {
            return Ok(Selector { packed: self.packed.into_boxed_slice() });
        }
        let count = keys.clone().count();
        charge(self.packed.len() + size_of::<u32>() * count)?;
        // Where each begins.
        let mut order: Vec<u32> = Vec::with_capacity(count);
        for _ in 0..count {
            order.extend(u32::try_from(self.packed.len() - keys.0.len()));
            keys.next();
        }
        let entry = |at: &u32| Keys(self.packed.get(*at as usize..).unwrap_or_default()).next().unwrap_or_default();
        order.sort_by(|a, b| entry(a).0.cmp(entry(b).0));
        let mut merged = Self::with_capacity(self.packed.len());
        for group in order.chunk_by(|a, b| entry(a).0 == entry(b).0) {
            let Some(&(name, one)) = group.first().map(entry).as_ref() else { continue };
            if let [_] = group {
                if !one.is_full() {
                    merged.add_set(name, one);
                }
                continue;
            }
            charge(group.len() * size_of::<KeySet<'_>>())?;
            let sets: Vec<KeySet<'_>> = group.iter().map(|at| entry(at).1).collect();
            let (absent, all_but, values) = intersection(&sets, &charge)?;
            if !(absent && all_but && values.is_empty()) {
                write(&mut merged.packed, name, (absent, all_but), values.iter().copied());
            }
        }
        Ok(Selector { packed: merged.packed.into_boxed_slice() })
    }
}

/// What several requirements on one key come to: whether it may be absent, whether all values are admitted but those that are
/// listed, and the values in their order. A key may be named by thousands of requirements, with thousands of values.
fn intersection<'p, E>(
    sets: &[KeySet<'p>],
    charge: &impl Fn(usize) -> Result<(), E>,
) -> Result<(bool, bool, Vec<&'p [u8]>), E> {
    charge(sets.iter().map(|set| set.mentions()).sum::<usize>() * size_of::<&[u8]>())?;
    let absent = sets.iter().all(|set| set.absent);
    let mut excluded: Vec<&[u8]> = sets.iter().filter(|set| set.all_but).flat_map(|set| set.values()).collect();
    excluded.sort_unstable();
    excluded.dedup();
    let lists: Vec<&KeySet<'_>> = sets.iter().filter(|set| !set.all_but).collect();
    let Some(shortest) = lists.iter().min_by_key(|list| list.mentions()) else {
        return Ok((absent, true, excluded));
    };
    let is_admitted =
        |value: &&[u8]| excluded.binary_search(value).is_err() && lists.iter().all(|list| list.has(value));
    Ok((absent, false, shortest.values().filter(is_admitted).collect()))
}
