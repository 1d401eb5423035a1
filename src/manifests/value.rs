//! A value of YAML or JSON without its places, as the API server would get it: no key twice, and no more than fits.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// How many values one document may hold, keys among them.
const DOCUMENT: usize = 2_000_000;

/// How many all documents of a source may hold together, aliases written out: more than what is written without them.
const SOURCE: usize = 20_000_000;

/// How many bytes of text count as one more: an alias for a long one is short.
const TEXT: usize = 64;

/// As how many more a map counts, whose memory begins with room for some entries.
const MAP: usize = 3;

/// What may still be read.
#[derive(Debug)]
pub(super) struct Meter {
    document: Cell<usize>,
    source: Cell<usize>,
}

impl Meter {
    /// For a source.
    pub(super) fn new() -> Self {
        Self { document: Cell::new(DOCUMENT), source: Cell::new(SOURCE) }
    }

    /// A new document begins.
    pub(super) fn begin(&self) {
        self.document.set(DOCUMENT);
    }

    /// Whether nothing more may be read of the source.
    pub(super) fn is_used_up(&self) -> bool {
        self.source.get() == 0
    }

    fn count<E: Error>(&self, values: usize) -> Result<(), E> {
        for (left, what) in [(&self.document, "document"), (&self.source, "source")] {
            let fewer = left.get().checked_sub(values);
            left.set(fewer.unwrap_or(0));
            if fewer.is_none() {
                return Err(E::custom(format_args!("too much in one {what}; give it in parts")));
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for &Meter {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.count(1)?;
        deserializer.deserialize_any(Any(self))
    }
}

struct Any<'m>(&'m Meter);

impl<'de> Visitor<'de> for Any<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.0.count(value.len() / TEXT)?;
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        self.0.count(value.len() / TEXT)?;
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(self.0)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        self.0.count(MAP)?;
        let mut entries = Map::new();
        while let Some(key) = map.next_key_seed(self.0)? {
            let key = key_text(key).ok_or_else(|| Error::custom("a key that is no text"))?;
            // What is not the same for YAML may be for JSON: 1 and "1".
            if entries.contains_key(&key) {
                return Err(Error::custom(format_args!("duplicate key {key:?}")));
            }
            entries.insert(key, map.next_value_seed(self.0)?);
        }
        Ok(Value::Object(entries))
    }
}

/// The text of a map's key, as it is in the JSON that a client sends the API server.
pub(super) fn key_text(key: Value) -> Option<String> {
    match key {
        Value::String(text) => Some(text),
        Value::Bool(_) | Value::Number(_) => Some(key.to_string()),
        _ => None,
    }
}
