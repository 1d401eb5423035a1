//! A YAML or JSON document as a tree that knows its lines.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::Spanned;

use super::value::key_text;

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

/// A value with the place it stands at.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it is used: the place of the alias for all that an alias stands for.
    used: Position,
    /// Where it is written.
    written: Position,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Scalar(Value),
    List(Vec<Node>),
    Map(Vec<(String, Position, Node)>),
}

/// A place on the way along a path.
struct Step<'a> {
    node: &'a Node,
    at: Position,
    /// Whether the way has led through an alias.
    aliased: bool,
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

    /// Where it begins.
    #[must_use]
    pub fn at(&self) -> Position {
        self.used
    }

    /// Where a field path such as `spec.egress[0].to` leads, or as far as it can be followed. A map's entry is placed
    /// at its key. What an alias stands for begins where the alias is, which tells the object; what is inside of it is
    /// where it is written, at the anchor, since that is what has to be edited. The same holds of merged keys (`<<`).
    #[must_use]
    pub fn position_of(&self, path: &str) -> Position {
        self.start().follow(path).at
    }

    /// The same, of an item of a list in a list.
    pub(super) fn position_in(&self, items: &[usize], path: &str) -> Position {
        let mut step = self.start();
        for index in items {
            step = step.follow("items").follow(&format!("[{index}]"));
        }
        step.follow(path).at
    }

    /// With every place moved down, for a document that begins further down in its source.
    pub(super) fn shifted(mut self, lines: u64) -> Self {
        self.shift(lines);
        self
    }

    fn shift(&mut self, lines: u64) {
        self.used.line += lines;
        self.written.line += lines;
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

    fn start(&self) -> Step<'_> {
        Step { node: self, at: self.used, aliased: false }
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
}

impl<'a> Step<'a> {
    fn follow(self, path: &str) -> Self {
        let mut step = self;
        let mut rest = path;
        while !rest.is_empty() {
            let Some((next, remaining)) = step.next(rest) else { break };
            step = next;
            rest = remaining.strip_prefix('.').unwrap_or(remaining);
        }
        step
    }

    fn next<'p>(&self, path: &'p str) -> Option<(Step<'a>, &'p str)> {
        let to = |node: &'a Node, at| Step { node, at, aliased: self.aliased || node.used != node.written };
        match &self.node.kind {
            Kind::Scalar(_) => None,
            Kind::List(items) => {
                let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
                let item = items.get(index.parse::<usize>().ok()?)?;
                Some((to(item, if self.aliased { item.written } else { item.used }), rest))
            }
            Kind::Map(entries) => entries
                .iter()
                .filter_map(|(key, at, value)| Some((to(value, *at), after_key(path, key)?)))
                .min_by_key(|(_, rest)| rest.len()),
        }
    }
}

/// What is left of a path after a key that it may begin with. Keys may hold dots, so of all of a map's keys the one that
/// leaves the least is meant.
pub(super) fn after_key<'p>(path: &'p str, key: &str) -> Option<&'p str> {
    match path.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, rest)) => (name == key).then_some(rest),
        None => path.strip_prefix(key).filter(|rest| rest.is_empty() || rest.starts_with(['.', '['])),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Kind>::deserialize(deserializer)?;
        Ok(Self { used: spanned.referenced.into(), written: spanned.defined.into(), kind: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

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
        while let Some(key) = map.next_key::<Node>()? {
            let at = key.written;
            let key = key_text(key.to_value()).ok_or_else(|| Error::custom("a key that is no text"))?;
            entries.push((key, at, map.next_value()?));
        }
        Ok(Kind::Map(entries))
    }
}
