//! Label selectors, reduced to one set of admitted values per key.
//!
//! Semantics: `k8s.io/apimachinery/pkg/apis/meta/v1.LabelSelector` and `pkg/labels.Requirement.Matches`.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

/// A set of labels, as on a pod or a namespace.
pub type Labels = BTreeMap<String, String>;

/// The key that the API server sets on every namespace to its name
/// (<https://kubernetes.io/docs/reference/labels-annotations-taints/#kubernetes-io-metadata-name>).
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// What one key may hold so that every requirement on it is met.
///
/// All four operators are of this form, and the form is closed under intersection, so any number of
/// requirements on a key become one set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeySet {
    absent: bool,
    values: Values,
}

/// Sorted, and each once. No set: most hold one value, and a set takes room for eleven.
type Texts = Box<[String]>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Values {
    Only(Texts),
    AllBut(Texts),
}

fn has(texts: &[String], value: &str) -> bool {
    texts.binary_search_by(|text| text.as_str().cmp(value)).is_ok()
}

fn texts(values: impl IntoIterator<Item = String>) -> Texts {
    let mut texts: Vec<String> = values.into_iter().collect();
    texts.sort_unstable();
    texts.dedup();
    texts.into_boxed_slice()
}

impl KeySet {
    /// `In`: present and listed.
    pub fn one_of(values: impl IntoIterator<Item = String>) -> Self {
        Self { absent: false, values: Values::Only(texts(values)) }
    }

    /// `NotIn`: absent or not listed.
    pub fn none_of(values: impl IntoIterator<Item = String>) -> Self {
        Self { absent: true, values: Values::AllBut(texts(values)) }
    }

    /// `Exists`: present with any value.
    #[must_use]
    pub fn exists() -> Self {
        Self { absent: false, values: Values::AllBut(Texts::default()) }
    }

    /// `DoesNotExist`: absent.
    #[must_use]
    pub fn does_not_exist() -> Self {
        Self { absent: true, values: Values::Only(Texts::default()) }
    }

    /// Whether a key with this value, or without one, is admitted.
    #[must_use]
    pub fn admits(&self, value: Option<&str>) -> bool {
        match (value, &self.values) {
            (None, _) => self.absent,
            (Some(value), Values::Only(set)) => has(set, value),
            (Some(value), Values::AllBut(set)) => !has(set, value),
        }
    }

    /// The values that any requirement on the key names.
    pub fn mentioned(&self) -> impl Iterator<Item = &str> {
        let (Values::Only(set) | Values::AllBut(set)) = &self.values;
        set.iter().map(String::as_str)
    }

    /// How many values [`Self::mentioned`] lists.
    pub(super) fn mentions(&self) -> usize {
        let (Values::Only(set) | Values::AllBut(set)) = &self.values;
        set.len()
    }

    /// Whether a value that no requirement names is admitted. A value that one names then is not, and the reverse.
    #[must_use]
    pub fn admits_unmentioned(&self) -> bool {
        matches!(self.values, Values::AllBut(_))
    }

    fn is_empty(&self) -> bool {
        !self.absent && matches!(&self.values, Values::Only(set) if set.is_empty())
    }

    /// Whether a label must be there, so that whoever lacks it is not admitted.
    #[must_use]
    pub fn needs_a_label(&self) -> bool {
        !self.absent
    }

    /// Whether only values that are listed are admitted.
    #[must_use]
    pub fn is_a_list(&self) -> bool {
        !self.absent && matches!(self.values, Values::Only(_))
    }

    /// Whether every name of a namespace is admitted: those are there and not empty.
    fn is_every_name(&self) -> bool {
        matches!(&self.values, Values::AllBut(texts) if texts.iter().all(String::is_empty))
    }

    /// Whether any name of a namespace is admitted.
    #[must_use]
    pub fn admits_a_name(&self) -> bool {
        match &self.values {
            Values::Only(texts) => texts.iter().any(|text| !text.is_empty()),
            Values::AllBut(_) => true,
        }
    }

    /// Whether every value that is admitted here is admitted there, absence aside.
    fn values_are_within(&self, other: &Self) -> bool {
        match (&self.values, &other.values) {
            (Values::Only(mine), Values::Only(theirs)) => mine.iter().all(|value| has(theirs, value)),
            (Values::Only(mine), Values::AllBut(theirs)) => !mine.iter().any(|value| has(theirs, value)),
            (Values::AllBut(_), Values::Only(_)) => false,
            (Values::AllBut(mine), Values::AllBut(theirs)) => theirs.iter().all(|value| has(mine, value)),
        }
    }

    /// Whether whatever is admitted here is admitted there.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        (!self.absent || other.absent) && self.values_are_within(other)
    }

    fn is_full(&self) -> bool {
        self.absent && matches!(&self.values, Values::AllBut(set) if set.is_empty())
    }
}

/// What several requirements on one key come to, while they are added up.
enum Sum {
    Only(BTreeSet<String>),
    AllBut(BTreeSet<String>),
}

impl Sum {
    fn of(values: Values) -> Self {
        match values {
            Values::Only(texts) => Self::Only(texts.into_iter().collect()),
            Values::AllBut(texts) => Self::AllBut(texts.into_iter().collect()),
        }
    }

    // In place, and by no more than the requirement's own size: a key may be named by thousands of requirements, with
    // thousands of values.
    fn and(self, other: Values) -> Self {
        match (self, other) {
            (Self::Only(mut sum), Values::Only(texts)) if sum.len() <= texts.len() => {
                sum.retain(|value| has(&texts, value));
                Self::Only(sum)
            }
            (Self::Only(sum), Values::Only(texts)) => {
                Self::Only(texts.into_iter().filter(|value| sum.contains(value)).collect())
            }
            (Self::Only(mut sum), Values::AllBut(texts)) => {
                for value in &texts {
                    sum.remove(value);
                }
                Self::Only(sum)
            }
            (Self::AllBut(sum), Values::Only(texts)) => {
                Self::Only(texts.into_iter().filter(|value| !sum.contains(value)).collect())
            }
            (Self::AllBut(mut sum), Values::AllBut(texts)) => {
                sum.extend(texts);
                Self::AllBut(sum)
            }
        }
    }

    fn values(self) -> Values {
        match self {
            Self::Only(sum) => Values::Only(sum.into_iter().collect()),
            Self::AllBut(sum) => Values::AllBut(sum.into_iter().collect()),
        }
    }
}

/// A label selector: every key's requirements, ANDed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    /// By key. No map: a policy can have tens of thousands of selectors of one key, for each of which a map would take
    /// room for eleven.
    keys: Box<[(String, KeySet)]>,
}

impl FromIterator<(String, KeySet)> for Selector {
    /// Requirements on the same key are ANDed.
    fn from_iter<T: IntoIterator<Item = (String, KeySet)>>(requirements: T) -> Self {
        enum Merged {
            One(KeySet),
            More(bool, Sum),
        }
        let mut keys: BTreeMap<String, Merged> = BTreeMap::new();
        for (key, set) in requirements {
            let merged = match keys.remove(&key) {
                None => Merged::One(set),
                Some(Merged::One(one)) => Merged::More(one.absent && set.absent, Sum::of(one.values).and(set.values)),
                Some(Merged::More(absent, sum)) => Merged::More(absent && set.absent, sum.and(set.values)),
            };
            keys.insert(key, merged);
        }
        let keys = keys.into_iter().map(|(key, merged)| match merged {
            Merged::One(set) => (key, set),
            Merged::More(absent, sum) => (key, KeySet { absent, values: sum.values() }),
        });
        Self { keys: keys.filter(|(_, set)| !set.is_full()).collect() }
    }
}

impl Selector {
    /// The same, of namespaces: each carries its name, so that what every name meets is no requirement.
    #[must_use]
    pub fn of_namespaces(self) -> Self {
        let is_one = |(key, set): &(String, KeySet)| key != NAMESPACE_NAME_LABEL || !set.is_every_name();
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
        self.keys.iter().any(|(_, set)| set.is_empty())
    }

    /// The keys whose requirements contradict each other.
    pub fn contradictions(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().filter(|(_, set)| set.is_empty()).map(|(key, _)| key.as_str())
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
            let mut require = |operator: &str, values: &[String]| {
                api.match_expressions.get_or_insert_default().push(LabelSelectorRequirement {
                    key: key.to_owned(),
                    operator: operator.to_owned(),
                    values: (!values.is_empty()).then(|| values.to_vec()),
                });
            };
            match (set.absent, &set.values) {
                (false, Values::Only(texts)) => match &**texts {
                    [only] => {
                        api.match_labels.get_or_insert_default().insert(key.to_owned(), only.clone());
                    }
                    several => require("In", several),
                },
                (false, Values::AllBut(texts)) => {
                    require("Exists", &[]);
                    if !texts.is_empty() {
                        require("NotIn", texts);
                    }
                }
                (true, Values::AllBut(texts)) => require("NotIn", texts),
                // What admits absence is NotIn and DoesNotExist alone, so nothing can be listed.
                (true, Values::Only(_)) => require("DoesNotExist", &[]),
            }
        }
        Some(api)
    }

    /// Whether these labels match.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.keys.iter().all(|(key, set)| set.admits(labels.get(key).map(String::as_str)))
    }

    /// What a key may hold; `None` where it is not restricted.
    #[must_use]
    pub fn key(&self, key: &str) -> Option<&KeySet> {
        self.keys.binary_search_by(|(other, _)| other.as_str().cmp(key)).ok().map(|at| &self.keys[at].1)
    }

    /// Whether every set of labels that matches this matches the other.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.is_unsatisfiable()
            || other.keys().all(|(key, theirs)| self.key(key).is_some_and(|mine| mine.is_within(theirs)))
    }

    /// The keys with what each may hold. Keys without a restriction are not listed.
    pub fn keys(&self) -> impl Iterator<Item = (&str, &KeySet)> {
        self.keys.iter().map(|(key, set)| (key.as_str(), set))
    }
}

impl std::fmt::Display for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |set: &Texts| set.join(", ");
        match (self.absent, &self.values) {
            (false, Values::Only(set)) if set.len() == 1 => write!(f, "= {}", list(set)),
            (false, Values::Only(set)) => write!(f, "in ({})", list(set)),
            (true, Values::Only(set)) if set.is_empty() => write!(f, "is absent"),
            (true, Values::Only(set)) => write!(f, "is absent or in ({})", list(set)),
            (false, Values::AllBut(set)) if set.is_empty() => write!(f, "is present"),
            (false, Values::AllBut(set)) => write!(f, "is present and not in ({})", list(set)),
            (true, Values::AllBut(set)) => write!(f, "not in ({})", list(set)),
        }
    }
}

impl std::fmt::Display for Selector {
    /// What follows "pods with" or "namespaces with".
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (key, set)) in self.keys.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            match (set.absent, &set.values) {
                (true, Values::Only(texts)) if texts.is_empty() => write!(f, "no label {key:?}")?,
                (false, Values::AllBut(texts)) if texts.is_empty() => write!(f, "a label {key:?}")?,
                (false, Values::AllBut(texts)) => write!(f, "a label {key:?} not in ({})", texts.join(", "))?,
                _ => write!(f, "{key} {set}")?,
            }
        }
        Ok(())
    }
}
