//! Every set of labels that a number of selectors can tell apart, and an exact search among them.
//!
//! For each key that a selector mentions, the domain is: absent, each mentioned value, and one value that nobody
//! mentions. Any other set of labels behaves like one of these, so a search that finds nothing here proves that there
//! is nothing. The search branches on one key at a time, stops early wherever the answer no longer depends on the keys
//! that are left, and skips values that cannot do better than one already tried, so ordinary sets of policies take a
//! handful of steps.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use fixedbitset::FixedBitSet;

use super::selectors::{KeySet, Labels, NAMESPACE_NAME_LABEL};

/// A set of selectors, by their index in the [`Space`].
pub type Set = FixedBitSet;

/// How many steps a question may take. A step is about what looking at one selector, or at one key, costs.
///
/// A judgement asks four questions, the coverage and the holes of either direction, so the cap bounds the judgement
/// however many ports and kinds of holes there are. Measured with `cargo bench --bench judge` on one core of a small
/// server: of 120 sets made to be hard (most of 100 policies over 20 keys) the worst takes 6 to 7 ms, and most that are
/// capped about 4 ms; a set of 20 policies as tenants write them takes 0.03 ms, of 400 0.7 ms, and is not capped.
pub const STEPS_PER_QUESTION: u64 = 250_000;

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

    /// A smaller one, for what only explains an answer.
    #[must_use]
    pub fn aside() -> Self {
        Self { left: STEPS_PER_QUESTION / 8 }
    }

    /// Takes steps away. To be called before the work is done.
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

/// Which of two sets of matching selectors, of which one includes the other, is at least as good for a goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefer {
    /// The smaller: the goal is that something does not match.
    Fewer,
    /// The larger: the goal is that something matches.
    More,
    /// Neither: the goal is of both kinds.
    Neither,
}

/// Whose labels a key belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// The pod's.
    Pod,
    /// Its namespace's.
    Namespace,
}

/// A selector as the space sees it: what each key of the pod or its namespace may hold. No key is listed twice.
pub type Requirements<'a> = Vec<(Owner, &'a str, KeySet<'a>)>;

#[derive(Debug)]
struct Key<'a> {
    owner: Owner,
    name: &'a str,
    /// The selectors that restrict this key.
    restricted: Set,
    candidates: Vec<Candidate<'a>>,
    /// The candidates that are not mentioned by a selector: absent, where that is possible, and some other value.
    unmentioned: Vec<usize>,
}

/// What a selector says of a key: the candidates that it mentions. It takes the others all the same way, but for absence.
#[derive(Debug)]
struct Restriction {
    key: usize,
    mentions: Vec<usize>,
}

#[derive(Debug)]
struct Candidate<'a> {
    value: Option<Cow<'a, str>>,
    admitted: Set,
}

/// See the module.
#[derive(Debug)]
pub struct Space<'a> {
    keys: Vec<Key<'a>>,
    boxes: usize,
    /// How many words a set of selectors takes.
    words: usize,
    /// For each selector, the keys that it restricts, in their order.
    keys_of: Vec<Vec<Restriction>>,
    satisfiable: Set,
    /// The selectors that match labels of which no value is mentioned.
    unnamed: Set,
}

/// Which labels a search looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All that there can be.
    All,
    /// Those that nobody names: each key is absent, or has a value that no selector mentions.
    Unnamed,
}

/// Every namespace carries its name as a label, and a name is never empty.
fn always_present(owner: Owner, key: &str) -> bool {
    owner == Owner::Namespace && key == NAMESPACE_NAME_LABEL
}

/// A valid label value that is none of these.
fn fresh(taken: &BTreeMap<&str, Vec<usize>>) -> String {
    let mut value = "other".to_owned();
    let mut number = 1u32;
    while taken.contains_key(value.as_str()) {
        number += 1;
        value = format!("other-{number}");
    }
    value
}

impl<'a> Key<'a> {
    /// The next key with its domain, and for each value of it the selectors that admit the value.
    fn new(
        (owner, name): (Owner, &'a str),
        number: usize,
        sets: &[(usize, KeySet<'a>)],
        keys_of: &mut [Vec<Restriction>],
        budget: &mut Budget,
    ) -> Result<Self, Capped> {
        let boxes = keys_of.len();
        budget.spend(40 + sets.iter().map(|(_, set)| 8 + 12 * set.mentions()).sum::<usize>())?;
        let mut mentioned_by: BTreeMap<&'a str, Vec<usize>> = BTreeMap::new();
        for (index, set) in sets {
            for value in set.mentioned() {
                mentioned_by.entry(value).or_default().push(*index);
            }
        }
        budget.spend((mentioned_by.len() + 2) * (10 + boxes.div_ceil(64)))?;
        let mut restricted = Set::with_capacity(boxes);
        restricted.extend(sets.iter().map(|(index, _)| *index));
        let mut unrestricted = restricted.clone();
        unrestricted.toggle_range(..);

        for (index, set) in sets {
            keys_of[*index].push(Restriction { key: number, mentions: Vec::with_capacity(set.mentions()) });
        }
        let mut candidates: Vec<Candidate<'a>> = Vec::with_capacity(mentioned_by.len() + 2);
        let required = always_present(owner, name);
        if !required {
            let mut admitted = unrestricted.clone();
            admitted.extend(sets.iter().filter(|(_, set)| set.admits(None)).map(|(index, _)| *index));
            candidates.push(Candidate { value: None, admitted });
        }
        let mut unmentioned = unrestricted;
        unmentioned.extend(sets.iter().filter(|(_, set)| set.admits_unmentioned()).map(|(index, _)| *index));
        let other = Cow::Owned(fresh(&mentioned_by));
        for (value, by) in mentioned_by {
            if required && value.is_empty() {
                continue;
            }
            let mut admitted = unmentioned.clone();
            for index in by {
                admitted.toggle(index);
                if let Some(restriction) = keys_of[index].last_mut() {
                    restriction.mentions.push(candidates.len());
                }
            }
            candidates.push(Candidate { value: Some(Cow::Borrowed(value)), admitted });
        }
        candidates.push(Candidate { value: Some(other), admitted: unmentioned });
        let unmentioned = if required { vec![candidates.len() - 1] } else { vec![0, candidates.len() - 1] };
        Ok(Self { owner, name, restricted, candidates, unmentioned })
    }
}

impl<'a> Space<'a> {
    /// The space that these selectors span.
    ///
    /// # Errors
    /// [`Capped`] where even writing it down takes more than the budget.
    pub fn new(boxes: &[Requirements<'a>], budget: &mut Budget) -> Result<Self, Capped> {
        let mut mentions: BTreeMap<(Owner, &'a str), Vec<(usize, KeySet<'a>)>> = BTreeMap::new();
        for (index, selector) in boxes.iter().enumerate() {
            budget.spend(1 + 24 * selector.len())?;
            for &(owner, key, set) in selector {
                mentions.entry((owner, key)).or_default().push((index, set));
            }
        }
        let mut keys_of: Vec<Vec<Restriction>> = boxes.iter().map(|keys| Vec::with_capacity(keys.len())).collect();
        let mut keys: Vec<Key<'a>> = Vec::with_capacity(mentions.len());
        for (key, sets) in mentions {
            keys.push(Key::new(key, keys.len(), &sets, &mut keys_of, budget)?);
        }
        // Two requirements that contradict each other leave a key with nothing, and the selector with no pod.
        let mut satisfiable = Set::with_capacity(boxes.len());
        satisfiable.insert_range(..);
        let mut unnamed = satisfiable.clone();
        for key in &keys {
            budget.spend((key.candidates.len() + 4) * boxes.len().div_ceil(64))?;
            let mut admitted = Set::with_capacity(boxes.len());
            for &number in &key.unmentioned {
                admitted.union_with(&key.candidates[number].admitted);
            }
            unnamed.intersect_with(&admitted);
            for candidate in &key.candidates {
                admitted.union_with(&candidate.admitted);
            }
            satisfiable.intersect_with(&admitted);
        }
        Ok(Self { keys, boxes: boxes.len(), words: boxes.len().div_ceil(64), keys_of, satisfiable, unnamed })
    }

    /// The selectors that match some labels in the scope.
    #[must_use]
    pub fn within(&self, scope: Scope) -> &Set {
        match scope {
            Scope::All => &self.satisfiable,
            Scope::Unnamed => &self.unnamed,
        }
    }

    /// The selectors that match some labels.
    #[must_use]
    pub fn satisfiable(&self) -> &Set {
        &self.satisfiable
    }

    /// Labels for which the goal is met, if there are any. The goal is told which of `among` certainly match and which
    /// possibly do, and must be consistent: once `Always` or `Never`, it stays so as more is known. It must also hold
    /// what `prefer` says of it.
    ///
    /// # Errors
    /// [`Capped`] where the budget ends first.
    pub fn find(
        &self,
        among: &Set,
        scope: Scope,
        prefer: Prefer,
        budget: &mut Budget,
        goal: &mut dyn FnMut(&Set, &Set, &mut Budget) -> Result<Outlook, Capped>,
    ) -> Result<Option<Found>, Capped> {
        budget.spend(16 + (self.keys.len() + self.boxes) / 8)?;
        let mut possible = among.clone();
        possible.intersect_with(self.within(scope));
        let mut search = Search {
            space: self,
            scope,
            prefer,
            chosen: vec![None; self.keys.len()],
            open: self.keys_of.iter().map(Vec::len).collect(),
            budget,
            goal,
        };
        search.descend(&possible, 0)
    }

    /// Labels that none of `among` matches, if there are any.
    ///
    /// # Errors
    /// [`Capped`] where the budget ends first.
    pub fn escape(&self, among: &Set, budget: &mut Budget) -> Result<Option<Found>, Capped> {
        self.find(among, Scope::All, Prefer::Fewer, budget, &mut |certain, possible, _| {
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
    /// Every selector of the space that matches them, where keys that are left out are absent.
    pub exact: Set,
}

struct Search<'s> {
    space: &'s Space<'s>,
    scope: Scope,
    prefer: Prefer,
    chosen: Vec<Option<usize>>,
    /// For each selector that is still possible, how many of its keys are not chosen yet.
    open: Vec<usize>,
    budget: &'s mut Budget,
    goal: &'s mut dyn FnMut(&Set, &Set, &mut Budget) -> Result<Outlook, Capped>,
}

impl Search<'_> {
    // Each node costs its depth, so that the budget bounds the depth, and with it the stack, by twice its root.
    fn descend(&mut self, possible: &Set, depth: usize) -> Result<Option<Found>, Capped> {
        let space = self.space;
        self.budget.spend(8 + depth + 4 * space.words)?;
        self.budget.spend(possible.count_ones(..))?;
        let mut certain = Set::with_capacity(space.boxes);
        certain.extend(possible.ones().filter(|&index| self.open[index] == 0));
        match (self.goal)(&certain, possible, self.budget)? {
            Outlook::Never => return Ok(None),
            Outlook::Always => {
                let exact = self.exact()?;
                return Ok(Some(Found { pod: self.pod_labels(), certain, possible: possible.clone(), exact }));
            }
            Outlook::Open => {}
        }
        let Some(number) = self.next_key(possible)? else {
            return Ok(None);
        };
        let mut affected = space.keys[number].restricted.clone();
        affected.intersect_with(possible);
        for index in affected.ones() {
            self.open[index] -= 1;
        }
        let mut found = None;
        for (candidate, narrowed) in self.branches(number, possible, &affected)? {
            self.chosen[number] = Some(candidate);
            found = self.descend(&narrowed, depth + 1)?;
            if found.is_some() {
                break;
            }
        }
        self.chosen[number] = None;
        for index in affected.ones() {
            self.open[index] += 1;
        }
        Ok(found)
    }

    /// The values of a key that are worth trying, each with the selectors that it leaves possible.
    fn branches(&mut self, number: usize, possible: &Set, affected: &Set) -> Result<Vec<(usize, Set)>, Capped> {
        let space = self.space;
        let key = &space.keys[number];
        let mut worth = key.unmentioned.clone();
        let named = self.scope == Scope::All;
        for restrictions in affected.ones().filter(|_| named).map(|index| &space.keys_of[index]) {
            if let Ok(at) = restrictions.binary_search_by_key(&number, |restriction| restriction.key) {
                self.budget.spend(1 + restrictions[at].mentions.len())?;
                worth.extend_from_slice(&restrictions[at].mentions);
            }
        }
        worth.sort_unstable();
        worth.dedup();
        self.budget.spend(worth.len() * (8 + 2 * space.words))?;
        let mut seen = HashSet::with_capacity(worth.len());
        let mut distinct: Vec<(usize, Set)> = Vec::with_capacity(worth.len());
        for number in worth {
            let mut narrowed = possible.clone();
            narrowed.intersect_with(&key.candidates[number].admitted);
            if !seen.contains(&narrowed) {
                seen.insert(narrowed.clone());
                distinct.push((number, narrowed));
            }
        }
        match self.prefer {
            Prefer::Neither => return Ok(distinct),
            Prefer::Fewer => distinct.sort_by_cached_key(|(_, set)| set.count_ones(..)),
            Prefer::More => distinct.sort_by_cached_key(|(_, set)| std::cmp::Reverse(set.count_ones(..))),
        }
        let mut best: Vec<(usize, Set)> = Vec::new();
        // Of two different sets that are equally large, neither includes the other.
        let (mut last, mut others) = (usize::MAX, 0);
        for (number, narrowed) in distinct {
            let size = narrowed.count_ones(..);
            if size != last {
                (last, others) = (size, best.len());
            }
            let mut beaten = false;
            for (_, other) in &best[..others] {
                self.budget.spend(1 + self.space.words / 4)?;
                beaten = match self.prefer {
                    Prefer::Fewer => other.is_subset(&narrowed),
                    _ => narrowed.is_subset(other),
                };
                if beaten {
                    break;
                }
            }
            if !beaten {
                best.push((number, narrowed));
            }
        }
        Ok(best)
    }

    /// A key of the selector that is nearest to being decided; among its keys, the one that most selectors restrict.
    fn next_key(&mut self, possible: &Set) -> Result<Option<usize>, Capped> {
        let Some(nearest) = possible.ones().filter(|&index| self.open[index] > 0).min_by_key(|&index| self.open[index])
        else {
            return Ok(None);
        };
        let keys = &self.space.keys_of[nearest];
        self.budget.spend(keys.len() * (1 + self.space.words / 2))?;
        Ok(keys
            .iter()
            .map(|restriction| restriction.key)
            .filter(|&key| self.chosen[key].is_none())
            .max_by_key(|&key| self.space.keys[key].restricted.intersection_count(possible)))
    }

    /// Every selector that matches what is chosen. A pod lacks the keys that are not.
    fn exact(&mut self) -> Result<Set, Capped> {
        self.budget.spend(self.space.keys.len() * (1 + self.space.words / 4))?;
        let mut exact = Set::with_capacity(self.space.boxes);
        exact.insert_range(..);
        for (key, chosen) in self.space.keys.iter().zip(&self.chosen) {
            if let Some(number) = chosen.or_else(|| key.unmentioned.first().copied()) {
                exact.intersect_with(&key.candidates[number].admitted);
            }
        }
        Ok(exact)
    }

    fn pod_labels(&self) -> Labels {
        let mut labels = Labels::new();
        for (key, chosen) in self.space.keys.iter().zip(&self.chosen) {
            if let (Owner::Pod, Some(number)) = (key.owner, chosen)
                && let Some(value) = &key.candidates[*number].value
            {
                labels.insert(key.name.to_owned(), value.clone().into_owned());
            }
        }
        labels
    }
}
