//! A YAML or JSON document as a tree that knows its lines.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::Spanned;

/// The key by which YAML 1.1 takes over the entries of another map.
pub(super) const MERGE: &str = "<<";

/// A line and a column of a source, both from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
}

impl From<serde_saphyr::Location> for Position {
    fn from(location: serde_saphyr::Location) -> Self {
        Self { line: location.line(), column: location.column() }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A value with the place it stands at. Where an alias is used, that is the place of the alias.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it begins.
    pub at: Position,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Scalar(Value),
    List(Vec<Node>),
    Map(Vec<(String, Position, Node)>),
}

impl Node {
    /// The value, without its places.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Scalar(value) => value.clone(),
            Kind::List(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            Kind::Map(entries) => {
                Value::Object(entries.iter().map(|(key, _, value)| (key.clone(), value.to_value())).collect())
            }
        }
    }

    /// The value of a map's key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        match &self.kind {
            Kind::Map(entries) => entries.iter().find(|(name, _, _)| name == key).map(|(_, _, value)| value),
            _ => None,
        }
    }

    /// The items, if it is a list.
    #[must_use]
    pub fn items(&self) -> Option<&[Self]> {
        match &self.kind {
            Kind::List(items) => Some(items),
            _ => None,
        }
    }

    /// The items of the list under a map's key; none where there is no such list.
    pub(super) fn into_items(self, key: &str) -> Vec<Self> {
        let Kind::Map(entries) = self.kind else { return Vec::new() };
        match entries.into_iter().find(|(name, _, _)| name == key).map(|(_, _, value)| value.kind) {
            Some(Kind::List(items)) => items,
            _ => Vec::new(),
        }
    }

    /// The text, if it is a string.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// Whether it is null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self.kind, Kind::Scalar(Value::Null))
    }

    /// Where a field path such as `spec.egress[0].to` leads, or as far as it can be followed. A map's entry is placed
    /// at its key.
    #[must_use]
    pub fn position_of(&self, path: &str) -> Position {
        let mut node = self;
        let mut at = self.at;
        let mut rest = path;
        while !rest.is_empty() {
            let step = match &node.kind {
                Kind::Scalar(_) => None,
                Kind::List(items) => rest
                    .strip_prefix('[')
                    .and_then(|rest| rest.split_once(']'))
                    .and_then(|(index, rest)| Some((items.get(index.parse::<usize>().ok()?)?, rest)))
                    .map(|(item, rest)| (item.at, item, rest)),
                // Keys may hold dots, so the longest key that the path begins with is the one meant.
                Kind::Map(entries) => {
                    let bracketed = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
                    entries
                        .iter()
                        .filter_map(|(key, at, value)| match bracketed {
                            Some((name, rest)) => (name == key).then_some((*at, value, rest)),
                            None => rest
                                .strip_prefix(key.as_str())
                                .filter(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
                                .map(|rest| (*at, value, rest)),
                        })
                        .min_by_key(|(_, _, rest)| rest.len())
                }
            };
            let Some((position, next, remaining)) = step else { return at };
            at = position;
            node = next;
            rest = remaining.strip_prefix('.').unwrap_or(remaining);
        }
        at
    }

    /// Moves every place down, for a document that begins further down in its source.
    pub(super) fn shift(&mut self, lines: u64) {
        self.at.line += lines;
        match &mut self.kind {
            Kind::Scalar(_) => {}
            Kind::List(items) => items.iter_mut().for_each(|item| item.shift(lines)),
            Kind::Map(entries) => {
                for (_, at, value) in entries {
                    at.line += lines;
                    value.shift(lines);
                }
            }
        }
    }

    /// Where a merge key (`<<`) comes after other keys, in a document that was read with such keys left as they are.
    pub(super) fn late_merge(&self) -> Option<Position> {
        match &self.kind {
            Kind::Scalar(_) => None,
            Kind::List(items) => items.iter().find_map(Self::late_merge),
            Kind::Map(entries) => {
                let late = entries.iter().skip(1).find(|(key, _, _)| key == MERGE).map(|(_, at, _)| *at);
                late.or_else(|| entries.iter().find_map(|(_, _, value)| value.late_merge()))
            }
        }
    }

    /// The text of a map's key, as it is in the JSON that a client sends the API server.
    fn into_key(self) -> Option<String> {
        match self.kind {
            Kind::Scalar(Value::String(text)) => Some(text),
            Kind::Scalar(value @ (Value::Bool(_) | Value::Number(_))) => Some(value.to_string()),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Kind>::deserialize(deserializer)?;
        Ok(Self { at: spanned.referenced.into(), kind: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Kind;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_unit<E>(self) -> Result<Kind, E> {
                Ok(Kind::Scalar(Value::Null))
            }

            fn visit_none<E>(self) -> Result<Kind, E> {
                Ok(Kind::Scalar(Value::Null))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
                Ok(Kind::Scalar(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
                Ok(Kind::Scalar(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Kind, E> {
                Ok(Kind::Scalar(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Kind, E> {
                Ok(Kind::Scalar(value.into()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Kind, E> {
                Ok(Kind::Scalar(value.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Kind, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Kind::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
                let (mut entries, mut keys) = (Vec::new(), HashSet::new());
                while let Some(key) = map.next_key::<Node>()? {
                    let at = key.at;
                    let key = key.into_key().ok_or_else(|| Error::custom("a key that is no text"))?;
                    // What is not the same for YAML may be for JSON: 1 and "1".
                    if !keys.insert(key.clone()) {
                        return Err(Error::custom(format_args!("duplicate key {key:?}")));
                    }
                    entries.push((key, at, map.next_value()?));
                }
                Ok(Kind::Map(entries))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
