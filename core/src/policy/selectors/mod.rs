//! Label selectors, reduced to one set of admitted values per key.
//!
//! Semantics: `k8s.io/apimachinery/pkg/apis/meta/v1.LabelSelector` and `pkg/labels.Requirement.Matches`.

mod key_set;
mod requirements;

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

pub use key_set::KeySet;
use key_set::Listed;
use requirements::Keys;
pub(super) use requirements::packed_size;
pub use requirements::{Operator, Requirements};

/// A set of labels, as on a pod or a namespace.
pub type Labels = BTreeMap<String, String>;

/// The key that the API server sets on every namespace to its name
/// (<https://kubernetes.io/docs/reference/labels-annotations-taints/#kubernetes-io-metadata-name>).
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// A label selector: every key's requirements, ANDed.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    /// For each key, sorted by name, its name and what it may hold, in as few bytes as that takes ([`Keys`]): a policy can
    /// have tens of thousands of selectors of one key, or one of tens of thousands.
    packed: Box<[u8]>,
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.keys()).finish()
    }
}

impl<'s> FromIterator<(&'s str, KeySet<'s>)> for Selector {
    /// Of all of these, ANDed.
    fn from_iter<T: IntoIterator<Item = (&'s str, KeySet<'s>)>>(keys: T) -> Self {
        let mut requirements = Requirements::default();
        keys.into_iter().for_each(|(key, set)| requirements.add_set(key, set));
        requirements.into_selector()
    }
}

impl Selector {
    /// Of a key that has one of these values.
    #[must_use]
    pub fn one_of<'v>(key: &str, values: impl IntoIterator<Item = &'v str>) -> Self {
        let mut requirements = Requirements::default();
        requirements.add(key, Operator::In, values);
        requirements.into_selector()
    }

    /// Of what both select.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        self.keys().chain(other.keys()).collect()
    }

    /// What it takes of the heap.
    pub(super) fn heap(&self) -> usize {
        self.packed.len()
    }

    /// The same, of namespaces: each carries its name, so that what every name meets is no requirement.
    #[must_use]
    pub fn of_namespaces(self) -> Self {
        let is_nothing = |(key, set): (&str, KeySet<'_>)| key == NAMESPACE_NAME_LABEL && set.is_every_name();
        if self.keys().any(is_nothing) { self.keys().filter(|key| !is_nothing(*key)).collect() } else { self }
    }

    /// Whether the selector selects everything, as `{}` does.
    #[must_use]
    pub fn selects_all(&self) -> bool {
        self.packed.is_empty()
    }

    /// Whether no set of labels can match.
    #[must_use]
    pub fn is_unsatisfiable(&self) -> bool {
        self.keys().any(|(_, set)| set.is_empty())
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
    pub fn key(&self, key: &str) -> Option<KeySet<'_>> {
        self.keys().find(|(name, _)| *name == key).map(|(_, set)| set)
    }

    /// Whether every set of labels that matches this matches the other.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        // Both are sorted.
        let mut mine = self.keys().peekable();
        let is_met = |(key, theirs): (&str, KeySet<'_>)| {
            while mine.next_if(|(name, _)| *name < key).is_some() {}
            mine.next_if(|(name, _)| *name == key).is_some_and(|(_, mine)| mine.is_within(theirs))
        };
        self.is_unsatisfiable() || other.keys().all(is_met)
    }

    /// The keys with what each may hold. Keys without a restriction are not listed.
    pub fn keys(&self) -> impl Iterator<Item = (&str, KeySet<'_>)> {
        Keys(&self.packed)
    }
}

impl fmt::Display for Selector {
    /// What follows "pods with" or "namespaces with".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, set)) in self.keys().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            match (set.absent, set.all_but) {
                (true, false) if !set.has_values => write!(f, "no label {key:?}")?,
                (false, true) if !set.has_values => write!(f, "a label {key:?}")?,
                (false, true) => write!(f, "a label {key:?} not in ({})", Listed(set))?,
                _ => write!(f, "{key} {set}")?,
            }
        }
        Ok(())
    }
}
