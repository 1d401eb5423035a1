//! Every set of labels that a number of selectors can tell apart, and an exact search among them.
//!
//! For each key that a selector mentions, the domain is: absent, each mentioned value, and one value that nobody
//! mentions. Any other set of labels behaves like one of these, so a search that finds nothing here proves that there
//! is nothing. The search branches on one key at a time and stops early wherever the answer no longer depends on the
//! keys that are left, so ordinary sets of policies take a handful of steps.

use fixedbitset::FixedBitSet;

use super::selectors::{KeySet, Labels, NAMESPACE_NAME_LABEL};

/// A set of selectors, by their index in the [`Space`].
pub type Set = FixedBitSet;

/// How many steps a question may take. A step is one selector, or one key, looked at.
///
/// Measured with `cargo bench --bench judge` (docs/performance.md): a judgement asks at most 14 questions, and at this
/// cap the worst sets we could construct (100 policies, 20 keys each) stay below 10 ms together, while the largest
/// sets found in the field use less than a hundredth of it.
pub const STEPS_PER_QUESTION: u64 = 60_000;

/// The steps that are left for a question.
#[derive(Debug)]
pub struct Budget {
    left: u64,
}

/// The question took more than [`STEPS_PER_QUESTION`]: whoever asked must assume the worse answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capped;

impl Budget {
    /// A fresh budget for one question.
    #[must_use]
    pub fn new() -> Self {
        Self { left: STEPS_PER_QUESTION }
    }

    /// Takes steps away.
    ///
    /// # Errors
    /// [`Capped`] where fewer are left.
    pub fn spend(&mut self, steps: usize) -> Result<(), Capped> {
        self.left = self.left.checked_sub(steps as u64).ok_or(Capped)?;
        Ok(())
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new()
    }
}

/// What is known of a goal when some selectors certainly match and others possibly do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// However the open selectors turn out, the goal is met.
    Always,
    /// However they turn out, it is not.
    Never,
    /// It depends.
    Open,
}

/// Whose labels a key belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// The pod's.
    Pod,
    /// Its namespace's.
    Namespace,
}

/// A selector as the space sees it: what each key of the pod or its namespace may hold.
pub type Box<'a> = Vec<(Owner, &'a str, &'a KeySet)>;

#[derive(Debug)]
struct Key {
    owner: Owner,
    name: String,
    /// The selectors that restrict this key.
    restricted: Set,
    candidates: Vec<Candidate>,
}

#[derive(Debug)]
struct Candidate {
    value: Option<String>,
    admitted: Set,
}

/// See the module.
#[derive(Debug)]
pub struct Space {
    keys: Vec<Key>,
    boxes: usize,
    /// For each selector, the keys that it restricts.
    keys_of: Vec<Vec<usize>>,
    satisfiable: Set,
}

/// Every namespace carries its name as a label, and a name is never empty.
fn always_present(owner: Owner, key: &str) -> bool {
    owner == Owner::Namespace && key == NAMESPACE_NAME_LABEL
}

/// Whether a selector matches labels of which none is mentioned by anybody: the first thing to try, since it answers
/// most questions without a space.
#[must_use]
pub fn admits_unmentioned(selector: &Box<'_>) -> bool {
    selector.iter().all(|(owner, key, set)| {
        if always_present(*owner, key) { set.admits(Some(&fresh(set.mentioned()))) } else { set.admits(None) }
    })
}

/// A valid label value that is none of these.
fn fresh<'a>(mentioned: impl Iterator<Item = &'a str>) -> String {
    let taken: std::collections::BTreeSet<&str> = mentioned.collect();
    let mut value = "other".to_owned();
    let mut number = 1u32;
    while taken.contains(value.as_str()) {
        number += 1;
        value = format!("other-{number}");
    }
    value
}

impl Space {
    /// The space that these selectors span.
    ///
    /// # Errors
    /// [`Capped`] where even writing it down takes more than the budget.
    pub fn new(boxes: &[Box<'_>], budget: &mut Budget) -> Result<Self, Capped> {
        let mut mentions: std::collections::BTreeMap<(Owner, &str), Vec<(usize, &KeySet)>> =
            std::collections::BTreeMap::new();
        for (index, selector) in boxes.iter().enumerate() {
            budget.spend(1 + selector.len())?;
            for (owner, key, set) in selector {
                mentions.entry((*owner, key)).or_default().push((index, set));
            }
        }
        let words = boxes.len().div_ceil(64);
        let mut keys_of = vec![Vec::new(); boxes.len()];
        let mut keys = Vec::with_capacity(mentions.len());
        for ((owner, name), sets) in mentions {
            let required = always_present(owner, name);
            let values: std::collections::BTreeSet<&str> = sets.iter().flat_map(|(_, set)| set.mentioned()).collect();
            budget.spend((values.len() + 2) * (words + sets.len()))?;
            let unmentioned = fresh(values.iter().copied());
            let mut domain: Vec<Option<&str>> = Vec::with_capacity(values.len() + 2);
            if !required {
                domain.push(None);
            }
            domain.extend(values.into_iter().filter(|value| !(required && value.is_empty())).map(Some));
            domain.push(Some(&unmentioned));

            let mut restricted = Set::with_capacity(boxes.len());
            for (index, _) in &sets {
                restricted.insert(*index);
                keys_of[*index].push(keys.len());
            }
            let mut candidates: Vec<Candidate> = Vec::with_capacity(domain.len());
            for value in domain {
                let mut admitted = restricted.clone();
                admitted.toggle_range(..);
                for (index, set) in &sets {
                    if set.admits(value) {
                        admitted.insert(*index);
                    }
                }
                candidates.push(Candidate { value: value.map(str::to_owned), admitted });
            }
            keys.push(Key { owner, name: name.to_owned(), restricted, candidates });
        }
        // Two requirements that contradict each other leave a key with nothing, and the selector with no pod.
        let mut satisfiable = Set::with_capacity(boxes.len());
        for (index, of) in keys_of.iter().enumerate() {
            if of.iter().all(|&key: &usize| keys[key].candidates.iter().any(|c| c.admitted.contains(index))) {
                satisfiable.insert(index);
            }
        }
        Ok(Self { keys, boxes: boxes.len(), keys_of, satisfiable })
    }

    /// Labels for which the goal is met, if there are any. The goal is told which of `among` certainly match and which
    /// possibly do, and must be consistent: once `Always` or `Never`, it stays so as more is known.
    ///
    /// # Errors
    /// [`Capped`] where the budget ends first.
    pub fn find(
        &self,
        among: &Set,
        budget: &mut Budget,
        goal: &mut dyn FnMut(&Set, &Set, &mut Budget) -> Result<Outlook, Capped>,
    ) -> Result<Option<Found>, Capped> {
        let mut possible = among.clone();
        possible.intersect_with(&self.satisfiable);
        let mut search = Search {
            space: self,
            chosen: vec![None; self.keys.len()],
            open: self.keys_of.iter().map(Vec::len).collect(),
            budget,
            goal,
        };
        search.descend(&possible)
    }

    /// Labels that none of `among` matches, if there are any.
    ///
    /// # Errors
    /// [`Capped`] where the budget ends first.
    pub fn escape(&self, among: &Set, budget: &mut Budget) -> Result<Option<Found>, Capped> {
        self.find(among, budget, &mut |certain, possible, _| {
            Ok(if !certain.is_clear() {
                Outlook::Never
            } else if possible.is_clear() {
                Outlook::Always
            } else {
                Outlook::Open
            })
        })
    }
}

/// Labels that a search found, with what matches them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The pod's labels. Keys that do not matter are left out.
    pub pod: Labels,
    /// Selectors that certainly match these labels.
    pub certain: Set,
    /// Selectors that match them, or would if keys that do not matter were set.
    pub possible: Set,
}

struct Search<'a> {
    space: &'a Space,
    chosen: Vec<Option<usize>>,
    /// For each selector, how many of its keys are not chosen yet.
    open: Vec<usize>,
    budget: &'a mut Budget,
    goal: &'a mut dyn FnMut(&Set, &Set, &mut Budget) -> Result<Outlook, Capped>,
}

impl Search<'_> {
    // The depth is bounded by the budget: a node costs at least as many steps as there are keys, and goes no deeper
    // than there are keys, so no more than the root of the budget.
    fn descend(&mut self, possible: &Set) -> Result<Option<Found>, Capped> {
        self.budget.spend(1 + self.space.boxes + self.space.keys.len())?;
        let mut certain = Set::with_capacity(self.space.boxes);
        certain.extend(possible.ones().filter(|&index| self.open[index] == 0));
        match (self.goal)(&certain, possible, self.budget)? {
            Outlook::Never => return Ok(None),
            Outlook::Always => {
                return Ok(Some(Found { pod: self.pod_labels(), certain, possible: possible.clone() }));
            }
            Outlook::Open => {}
        }
        let Some(key) = self.next_key(possible) else {
            return Ok(None);
        };
        let space = self.space;
        for &index in &self.affected(key) {
            self.open[index] -= 1;
        }
        let mut tried: Vec<Set> = Vec::new();
        let mut found = None;
        for (number, candidate) in space.keys[key].candidates.iter().enumerate() {
            let mut narrowed = possible.clone();
            narrowed.intersect_with(&candidate.admitted);
            self.budget.spend(tried.len())?;
            if tried.contains(&narrowed) {
                continue;
            }
            self.chosen[key] = Some(number);
            found = self.descend(&narrowed)?;
            if found.is_some() {
                break;
            }
            tried.push(narrowed);
        }
        self.chosen[key] = None;
        for &index in &self.affected(key) {
            self.open[index] += 1;
        }
        Ok(found)
    }

    fn affected(&self, key: usize) -> Vec<usize> {
        self.space.keys[key].restricted.ones().collect()
    }

    /// A key of the selector that is nearest to being decided; among its keys, the one that most selectors restrict.
    fn next_key(&self, possible: &Set) -> Option<usize> {
        let nearest = possible.ones().filter(|&index| self.open[index] > 0).min_by_key(|&index| self.open[index])?;
        self.space.keys_of[nearest]
            .iter()
            .copied()
            .filter(|&key| self.chosen[key].is_none())
            .max_by_key(|&key| self.space.keys[key].restricted.intersection_count(possible))
    }

    fn pod_labels(&self) -> Labels {
        let mut labels = Labels::new();
        for (key, chosen) in self.space.keys.iter().zip(&self.chosen) {
            if let (Owner::Pod, Some(number)) = (key.owner, chosen)
                && let Some(value) = &key.candidates[*number].value
            {
                labels.insert(key.name.clone(), value.clone());
            }
        }
        labels
    }
}
