//! What a finding is told by again in another run, wherever it stands by then.

use std::hash::Hasher;

use ringfence_core::policy::lint::Finding;
use serde::{Deserialize, Serialize};

use super::Placed;

/// What stays the same of a finding while lines, files and neighbours change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The namespace of the object.
    pub namespace: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The lint.
    pub id: String,
    /// The field, without the places in lists: a rule put in front changes them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The effect.
    pub message: String,
    /// What stands behind the words, as a digest; empty where the words are enough.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub meaning: String,
}

impl Identity {
    /// Of a finding.
    #[must_use]
    pub fn of(finding: &Finding) -> Self {
        let object = &finding.object;
        Self {
            namespace: object.namespace.clone(),
            kind: object.kind.clone(),
            name: object.name.clone(),
            id: finding.lint.id.to_owned(),
            path: without_indices(&finding.path),
            message: without_indices(&finding.message),
            meaning: String::new(),
        }
    }

    /// Of a finding, and of nothing that means more while it is said in the same words.
    #[must_use]
    pub fn strict(placed: &Placed) -> Self {
        Self { meaning: format!("{:016x}", placed.meaning.part), ..Self::of(&placed.finding) }
    }

    /// A short form of it, the same in every version of Ringfence that says the same.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        // What goes into a hash of the standard library may change between releases.
        let mut hash = fnv::FnvHasher::default();
        for part in [&self.namespace, &self.kind, &self.name, &self.id, &self.path, &self.message] {
            hash.write(part.as_bytes());
            hash.write(&[0]);
        }
        format!("{:016x}", hash.finish())
    }
}

/// A text with `[]` for `[12]`.
fn without_indices(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        kept.push_str(before);
        kept.push('[');
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        rest = match after.get(digits..) {
            Some(end) if digits > 0 && end.starts_with(']') => end,
            _ => after,
        };
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_lists_are_left_out_and_keys_stay() {
        assert_eq!(without_indices("spec.ingress[10].from[2]"), "spec.ingress[].from[]");
        assert_eq!(without_indices("metadata.labels[a/b] [1 [2"), "metadata.labels[a/b] [1 [2");
    }
}
