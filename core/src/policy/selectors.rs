//! Label selectors, reduced to one set of admitted values per key.
//!
//! Semantics: `k8s.io/apimachinery/pkg/apis/meta/v1.LabelSelector` and `pkg/labels.Requirement.Matches`.

use std::collections::BTreeMap;

use crate::meter::{self, Exhausted};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

/// A set of labels, as on a pod or a namespace.
pub type Labels = BTreeMap<String, String>;

/// The key that the API server sets on every namespace to its name
/// (<https://kubernetes.io/docs/reference/labels-annotations-taints/#kubernetes-io-metadata-name>).
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Texts one after another, in as little room as they take: a policy can list hundreds of thousands of short ones, and a
/// `String` has 24 bytes before its first letter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Texts {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<u32>,
}

impl Texts {
    pub(super) fn push(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
        // Nothing that is parsed is longer: a body has megabytes.
        self.ends.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
    }

    /// The same, of what a client sent: the memory for it is counted.
    pub(super) fn push_counted(&mut self, text: &str) -> Result<(), Exhausted> {
        let bytes = self.bytes.capacity();
        if self.bytes.len() + text.len() > bytes {
            let more = (bytes + bytes / 2).max(self.bytes.len() + text.len());
            // While it is moved, both are there.
            meter::charge(more)?;
            self.bytes.reserve_exact(more - self.bytes.len());
            meter::release(bytes);
        }
        meter::reserve_one(&mut self.ends)?;
        self.push(text);
        Ok(())
    }

    /// What it takes of the heap.
    pub(super) fn heap(&self) -> usize {
        self.bytes.len() + 4 * self.ends.len()
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn bytes_at(&self, index: usize) -> &[u8] {
        bytes_between(&self.bytes, &self.ends, index)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|index| text_of(self.bytes_at(index)))
    }
}

fn bytes_between<'a>(bytes: &'a [u8], ends: &[u32], index: usize) -> &'a [u8] {
    let from = index.checked_sub(1).map_or(0, |before| ends[before]) as usize;
    bytes.get(from..ends[index] as usize).unwrap_or_default()
}

/// A name that is short enough to be kept. A key has at most 317 bytes; of a longer one, which is an error, nobody asks for the
/// meaning.
fn fitting(name: &str) -> &str {
    if name.len() > usize::from(u16::MAX) { "" } else { name }
}

/// What was a text when it was put away.
fn text_of(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// What one key may hold so that every requirement on it is met.
///
/// All four operators are of this form, and the form is closed under intersection, so any number of
/// requirements on a key become one set.
#[derive(Clone)]
pub struct KeySet {
    /// The key's name, where a selector holds this; then where each value ends, but for the last, in four bytes; then the
    /// values, sorted and each once. One allocation, since most hold one value, of a few bytes.
    packed: Box<[u8]>,
    count: u32,
    /// How long the name is.
    name: u16,
    absent: bool,
    /// Whether all other values are admitted, and not these.
    all_but: bool,
}

impl KeySet {
    /// A requirement on the key of a name, which is empty where no selector holds it: these values or, where `all_but`, all
    /// others; and whether the key may be absent.
    pub(super) fn new(name: &str, absent: bool, all_but: bool, texts: &Texts) -> Self {
        let name = fitting(name);
        let mut order: Vec<u32> = (0..u32::try_from(texts.len()).unwrap_or(u32::MAX)).collect();
        let text = |index: &u32| texts.bytes_at(*index as usize);
        order.sort_unstable_by(|a, b| text(a).cmp(text(b)));
        order.dedup_by(|a, b| text(a) == text(b));
        let ends = order.len().saturating_sub(1);
        let whole: usize = order.iter().map(|index| text(index).len()).sum();
        let mut packed = Vec::with_capacity(name.len() + 4 * ends + whole);
        packed.extend_from_slice(name.as_bytes());
        let mut end = 0u32;
        for index in order.iter().take(ends) {
            end = end.saturating_add(u32::try_from(text(index).len()).unwrap_or(u32::MAX));
            packed.extend_from_slice(&end.to_le_bytes());
        }
        for index in &order {
            packed.extend_from_slice(text(index));
        }
        Self {
            packed: packed.into_boxed_slice(),
            count: u32::try_from(order.len()).unwrap_or(u32::MAX),
            name: u16::try_from(name.len()).unwrap_or_default(),
            absent,
            all_but,
        }
    }

    fn of(absent: bool, all_but: bool, values: impl IntoIterator<Item = String>) -> Self {
        let mut texts = Texts::default();
        values.into_iter().for_each(|value| texts.push(&value));
        Self::new("", absent, all_but, &texts)
    }

    /// The same, on a key of this name.
    fn renamed(self, name: &str) -> Self {
        let name = fitting(name);
        if self.name() == name {
            return self;
        }
        let packed = [name.as_bytes(), &self.packed[usize::from(self.name)..]].concat();
        Self { packed: packed.into_boxed_slice(), name: u16::try_from(name.len()).unwrap_or_default(), ..self }
    }

    fn name(&self) -> &str {
        text_of(&self.packed[..usize::from(self.name)])
    }

    fn has_no_values(&self) -> bool {
        self.count == 0
    }

    /// Where in the values the one with an index ends.
    fn end(&self, index: usize) -> usize {
        let at = usize::from(self.name) + 4 * index;
        match self.packed.get(at..at + 4) {
            Some(&[a, b, c, d]) if index + 1 < self.mentions() => u32::from_le_bytes([a, b, c, d]) as usize,
            _ => self.packed.len() - self.values_at(),
        }
    }

    fn values_at(&self) -> usize {
        usize::from(self.name) + 4 * self.mentions().saturating_sub(1)
    }

    fn value(&self, index: usize) -> &[u8] {
        let from = if index == 0 { 0 } else { self.end(index - 1) };
        self.packed[self.values_at()..].get(from..self.end(index)).unwrap_or_default()
    }

    fn has(&self, value: &[u8]) -> bool {
        let (mut from, mut to) = (0, self.mentions());
        while from < to {
            let middle = from + (to - from) / 2;
            match self.value(middle).cmp(value) {
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Greater => to = middle,
                std::cmp::Ordering::Equal => return true,
            }
        }
        false
    }

    fn values(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.mentions()).map(|index| self.value(index))
    }

    /// What several requirements on one key come to. A key may be named by thousands of them, with thousands of values.
    fn all(sets: &[Self]) -> Self {
        let Some(first) = sets.first() else { return Self::of(true, true, []) };
        let absent = sets.iter().all(|set| set.absent);
        let mut excluded = Texts::default();
        for value in sets.iter().filter(|set| set.all_but).flat_map(Self::values) {
            excluded.push(text_of(value));
        }
        let excluded = Self::new(first.name(), absent, true, &excluded);
        let lists: Vec<&Self> = sets.iter().filter(|set| !set.all_but).collect();
        let Some(shortest) = lists.iter().min_by_key(|list| list.mentions()) else { return excluded };
        let mut left = Texts::default();
        for value in shortest.values().filter(|value| !excluded.has(value) && lists.iter().all(|list| list.has(value)))
        {
            left.push(text_of(value));
        }
        Self::new(first.name(), absent, false, &left)
    }

    /// What it takes of the heap.
    fn heap(&self) -> usize {
        self.packed.len()
    }
}

impl PartialEq for KeySet {
    /// Whatever the key.
    fn eq(&self, other: &Self) -> bool {
        (self.absent, self.all_but, self.count) == (other.absent, other.all_but, other.count)
            && self.packed[usize::from(self.name)..] == other.packed[usize::from(other.name)..]
    }
}

impl Eq for KeySet {}

impl std::hash::Hash for KeySet {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.absent, self.all_but, self.count).hash(state);
        self.packed[usize::from(self.name)..].hash(state);
    }
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl KeySet {
    /// `In`: present and listed.
    pub fn one_of(values: impl IntoIterator<Item = String>) -> Self {
        Self::of(false, false, values)
    }

    /// `NotIn`: absent or not listed.
    pub fn none_of(values: impl IntoIterator<Item = String>) -> Self {
        Self::of(true, true, values)
    }

    /// `Exists`: present with any value.
    #[must_use]
    pub fn exists() -> Self {
        Self::of(false, true, [])
    }

    /// `DoesNotExist`: absent.
    #[must_use]
    pub fn does_not_exist() -> Self {
        Self::of(true, false, [])
    }

    /// Whether a key with this value, or without one, is admitted.
    #[must_use]
    pub fn admits(&self, value: Option<&str>) -> bool {
        value.map_or(self.absent, |value| self.has(value.as_bytes()) != self.all_but)
    }

    /// The values that any requirement on the key names.
    pub fn mentioned(&self) -> impl Iterator<Item = &str> {
        self.values().map(text_of)
    }

    /// How many values [`Self::mentioned`] lists.
    pub(super) fn mentions(&self) -> usize {
        self.count as usize
    }

    /// Whether a value that no requirement names is admitted. A value that one names then is not, and the reverse.
    #[must_use]
    pub fn admits_unmentioned(&self) -> bool {
        self.all_but
    }

    fn is_empty(&self) -> bool {
        !self.absent && !self.all_but && self.has_no_values()
    }

    /// Whether a label must be there, so that whoever lacks it is not admitted.
    #[must_use]
    pub fn needs_a_label(&self) -> bool {
        !self.absent
    }

    /// Whether only values that are listed are admitted.
    #[must_use]
    pub fn is_a_list(&self) -> bool {
        !self.absent && !self.all_but
    }

    /// Whether every name of a namespace is admitted: those are there and not empty.
    fn is_every_name(&self) -> bool {
        self.all_but && self.values().all(<[u8]>::is_empty)
    }

    /// Whether any name of a namespace is admitted.
    #[must_use]
    pub fn admits_a_name(&self) -> bool {
        self.all_but || self.values().any(|value| !value.is_empty())
    }

    /// Whether whatever is admitted here is admitted there.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        let values_are = match (self.all_but, other.all_but) {
            (false, _) => self.values().all(|value| other.has(value) != other.all_but),
            (true, false) => false,
            (true, true) => other.values().all(|value| self.has(value)),
        };
        values_are && (!self.absent || other.absent)
    }

    fn is_full(&self) -> bool {
        self.absent && self.all_but && self.has_no_values()
    }
}

/// A label selector: every key's requirements, ANDed.
#[derive(Clone, Default)]
pub struct Selector {
    /// Each with the name of its key, by which they are sorted. No map: a policy can have tens of thousands of selectors of one
    /// key, for each of which a map would take room for eleven.
    keys: Box<[KeySet]>,
}

impl PartialEq for Selector {
    fn eq(&self, other: &Self) -> bool {
        self.keys().eq(other.keys())
    }
}

impl Eq for Selector {}

impl std::hash::Hash for Selector {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.keys.len().hash(state);
        self.keys().for_each(|key| key.hash(state));
    }
}

impl std::fmt::Debug for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.keys()).finish()
    }
}

impl FromIterator<(String, KeySet)> for Selector {
    /// Requirements on the same key are ANDed.
    fn from_iter<T: IntoIterator<Item = (String, KeySet)>>(requirements: T) -> Self {
        Self::all_of(requirements.into_iter().map(|(key, set)| set.renamed(&key)).collect())
    }
}

impl Selector {
    /// Of requirements with the names of their keys, ANDed.
    pub(super) fn all_of(mut requirements: Vec<KeySet>) -> Self {
        requirements.sort_unstable_by(|a, b| a.name().cmp(b.name()));
        if requirements.windows(2).all(|pair| pair[0].name() != pair[1].name()) {
            requirements.retain(|set| !set.is_full());
            return Self { keys: requirements.into_boxed_slice() };
        }
        let merged = requirements.chunk_by(|a, b| a.name() == b.name()).map(|sets| match sets {
            [one] => one.clone(),
            several => KeySet::all(several),
        });
        Self { keys: merged.filter(|set| !set.is_full()).collect() }
    }

    /// What it takes of the heap.
    pub(super) fn heap(&self) -> usize {
        size_of_val(&*self.keys) + self.keys.iter().map(KeySet::heap).sum::<usize>()
    }
}

impl Selector {
    /// The same, of namespaces: each carries its name, so that what every name meets is no requirement.
    #[must_use]
    pub fn of_namespaces(self) -> Self {
        let is_one = |set: &KeySet| set.name() != NAMESPACE_NAME_LABEL || !set.is_every_name();
        if self.keys.iter().all(is_one) {
            return self;
        }
        Self { keys: self.keys.into_iter().filter(is_one).collect() }
    }

    /// Whether the selector selects everything, as `{}` does.
    #[must_use]
    pub fn selects_all(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether no set of labels can match.
    #[must_use]
    pub fn is_unsatisfiable(&self) -> bool {
        self.keys.iter().any(KeySet::is_empty)
    }

    /// The keys whose requirements contradict each other.
    pub fn contradictions(&self) -> impl Iterator<Item = &str> {
        self.keys().filter(|(_, set)| set.is_empty()).map(|(key, _)| key)
    }

    /// The selector as the API writes it, in its shortest form; `None` where no labels can match, which it may have no
    /// form for.
    #[must_use]
    pub fn to_api(&self) -> Option<LabelSelector> {
        if self.is_unsatisfiable() {
            return None;
        }
        let mut api = LabelSelector::default();
        for (key, set) in self.keys() {
            let values: Vec<String> = set.mentioned().map(str::to_owned).collect();
            let mut require = |operator: &str, values: &[String]| {
                api.match_expressions.get_or_insert_default().push(LabelSelectorRequirement {
                    key: key.to_owned(),
                    operator: operator.to_owned(),
                    values: (!values.is_empty()).then(|| values.to_vec()),
                });
            };
            match (set.absent, set.all_but) {
                (false, false) => match values.as_slice() {
                    [only] => {
                        api.match_labels.get_or_insert_default().insert(key.to_owned(), only.clone());
                    }
                    several => require("In", several),
                },
                (false, true) => {
                    require("Exists", &[]);
                    if !values.is_empty() {
                        require("NotIn", &values);
                    }
                }
                (true, true) => require("NotIn", &values),
                // What admits absence is NotIn and DoesNotExist alone, so nothing can be listed.
                (true, false) => require("DoesNotExist", &[]),
            }
        }
        Some(api)
    }

    /// Whether these labels match.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.keys().all(|(key, set)| set.admits(labels.get(key).map(String::as_str)))
    }

    /// What a key may hold; `None` where it is not restricted.
    #[must_use]
    pub fn key(&self, key: &str) -> Option<&KeySet> {
        self.keys.binary_search_by(|set| set.name().cmp(key)).ok().map(|at| &self.keys[at])
    }

    /// Whether every set of labels that matches this matches the other.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.is_unsatisfiable()
            || other.keys().all(|(key, theirs)| self.key(key).is_some_and(|mine| mine.is_within(theirs)))
    }

    /// The keys with what each may hold. Keys without a restriction are not listed.
    pub fn keys(&self) -> impl Iterator<Item = (&str, &KeySet)> {
        self.keys.iter().map(|set| (set.name(), set))
    }
}

/// The values of a set, with commas.
struct Listed<'a>(&'a KeySet);

impl std::fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, value) in self.0.mentioned().enumerate() {
            write!(f, "{}{value}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl std::fmt::Display for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.absent, self.all_but) {
            (false, false) if self.mentions() == 1 => write!(f, "= {}", Listed(self)),
            (false, false) => write!(f, "in ({})", Listed(self)),
            (true, false) if self.has_no_values() => write!(f, "is absent"),
            (true, false) => write!(f, "is absent or in ({})", Listed(self)),
            (false, true) if self.has_no_values() => write!(f, "is present"),
            (false, true) => write!(f, "is present and not in ({})", Listed(self)),
            (true, true) => write!(f, "not in ({})", Listed(self)),
        }
    }
}

impl std::fmt::Display for Selector {
    /// What follows "pods with" or "namespaces with".
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (key, set)) in self.keys().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            match (set.absent, set.all_but) {
                (true, false) if set.has_no_values() => write!(f, "no label {key:?}")?,
                (false, true) if set.has_no_values() => write!(f, "a label {key:?}")?,
                (false, true) => write!(f, "a label {key:?} not in ({})", Listed(set))?,
                _ => write!(f, "{key} {set}")?,
            }
        }
        Ok(())
    }
}
