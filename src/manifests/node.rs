//! A YAML or JSON document as a tree that knows its lines.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::Spanned;

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

    /// The text, if it is a string.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// Whether it is a map.
    #[must_use]
    pub fn is_map(&self) -> bool {
        matches!(self.kind, Kind::Map(_))
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

    /// A value whose places inside are not known.
    pub(super) fn placed(value: Value, at: Position) -> Self {
        let kind = match value {
            Value::Array(items) => Kind::List(items.into_iter().map(|item| Self::placed(item, at)).collect()),
            Value::Object(map) => {
                Kind::Map(map.into_iter().map(|(key, value)| (key, at, Self::placed(value, at))).collect())
            }
            scalar => Kind::Scalar(scalar),
        };
        Self { at, kind }
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
                let mut entries = Vec::new();
                while let Some(key) = map.next_key::<Spanned<String>>()? {
                    entries.push((key.value, key.referenced.into(), map.next_value()?));
                }
                Ok(Kind::Map(entries))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
