//! JSON that remembers keys given twice, and what different readers make of them.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// JSON as it is written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Leaf(Value),
    List(Vec<Json>),
    Map(Vec<(String, Json)>),
}

/// What a reader makes of a key given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// The first value stays.
    First,
    /// The last value stays, as most libraries do it.
    Last,
    /// Maps are merged, of all else the last stays: what the API server does with structs (tried on 1.36).
    Merged,
}

impl Json {
    /// `None` where a value of `serde_json` does not hold it: a number out of range, half of a surrogate pair, or depth.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    pub(crate) fn has_duplicates(&self) -> bool {
        match self {
            Self::Leaf(_) => false,
            Self::List(items) => items.iter().any(Self::has_duplicates),
            Self::Map(entries) => {
                let keys: std::collections::BTreeSet<&str> = entries.iter().map(|(key, _)| key.as_str()).collect();
                keys.len() < entries.len() || entries.iter().any(|(_, value)| value.has_duplicates())
            }
        }
    }

    /// As a reader that keeps one of them sees it.
    pub(crate) fn resolved(&self, keep: Keep) -> Value {
        match self {
            Self::Leaf(value) => value.clone(),
            Self::List(items) => items.iter().map(|item| item.resolved(keep)).collect(),
            Self::Map(entries) => {
                let mut map = Map::new();
                for (key, value) in entries {
                    let value = value.resolved(keep);
                    match (map.get_mut(key), keep) {
                        (Some(_), Keep::First) => {}
                        (Some(there), Keep::Merged) => merge(there, value),
                        (Some(there), Keep::Last) => *there = value,
                        (None, _) => {
                            map.insert(key.clone(), value);
                        }
                    }
                }
                Value::Object(map)
            }
        }
    }
}

fn merge(there: &mut Value, later: Value) {
    match (there, later) {
        (Value::Object(there), Value::Object(later)) => {
            for (key, value) in later {
                match there.get_mut(&key) {
                    Some(there) => merge(there, value),
                    None => {
                        there.insert(key, value);
                    }
                }
            }
        }
        (there, later) => *there = later,
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Leaf(Value::Null))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Leaf(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
                Ok(Json::Leaf(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
                Ok(Json::Leaf(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
                Ok(Json::Leaf(value.into()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Json, E> {
                Ok(Json::Leaf(value.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Json::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Json::Map(entries))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
