//! Lists of texts in little memory.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

use crate::meter::{self, Exhausted};

/// Texts one after another, in as little room as they take: a client can list hundreds of thousands of short ones, and a
/// `String` has 24 bytes before its first letter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<u32>,
}

impl Texts {
    pub(crate) fn push(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
        // Nothing that is parsed is longer: a body has megabytes.
        self.ends.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
    }

    /// The same, of what a client sent: the memory for it is counted.
    pub(crate) fn push_counted(&mut self, text: &str) -> Result<(), Exhausted> {
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

    /// What it takes of the heap, in bytes.
    pub(crate) fn heap(&self) -> usize {
        self.bytes.capacity() + size_of::<u32>() * self.ends.capacity()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The one with an index.
    pub(crate) fn get(&self, index: usize) -> &str {
        let from = index.checked_sub(1).map_or(0, |before| self.ends[before]) as usize;
        text_of(self.bytes.get(from..self.ends[index] as usize).unwrap_or_default())
    }

    /// Each of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|index| self.get(index))
    }
}

/// What was a text when it was put away.
pub(crate) fn text_of(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

impl<'de> Deserialize<'de> for Texts {
    /// Null is an empty text, as the API server takes it.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Packed;
        impl<'de> Visitor<'de> for Packed {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut list = Texts::default();
                while let Some(text) = seq.next_element::<Option<String>>()? {
                    list.push_counted(&text.unwrap_or_default()).map_err(serde::de::Error::custom)?;
                }
                list.bytes.shrink_to_fit();
                list.ends.shrink_to_fit();
                Ok(list)
            }
        }
        deserializer.deserialize_seq(Packed)
    }
}
