//! JSON documents one after another: their values, and their places, which are exact.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::node::after_key;
use super::object::Type;
use super::value::Meter;
use super::yaml::in_our_words;

/// How many items a list may have.
const ITEMS: usize = 1_000_000;

/// What is wrong, and at which byte.
pub(super) type Wrong = (usize, String);

/// The documents of a text, each by its offset, and whatever ends them.
pub(super) fn documents(text: &str) -> impl Iterator<Item = Result<(usize, &str), Wrong>> {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    std::iter::from_fn(move || {
        Some(match stream.next()? {
            Ok(raw) => Ok((offset(text, raw), raw.get())),
            Err(error) => Err(wrong(text, &error)),
        })
    })
}

/// The value of one document.
///
/// # Errors
/// Where it is too deep or too large, or has a key twice.
pub(super) fn value(text: &str, meter: &Meter) -> Result<Value, Wrong> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    meter.deserialize(&mut deserializer).map_err(|error| wrong(text, &error))
}

/// The items of a list, by their offsets, and what they are where they do not say.
pub(super) type List<'t> = (Option<Type>, Vec<(usize, &'t str)>);

/// The items of a document that is a `List`; `None` for any other. So a long one is never in memory as a whole.
///
/// # Errors
/// Where it has a key twice, or more items than are read.
pub(super) fn items(text: &str) -> Result<Option<List<'_>>, Wrong> {
    if !text.starts_with('{') {
        return Ok(None);
    }
    let entries = read::<Entries<'_>>(text)?.0;
    let keys =
        entries.iter().filter_map(|(key, raw)| Some((serde_json::from_str::<String>(key.get()).ok()?, *key, *raw)));
    let entries: Vec<(String, &RawValue, &RawValue)> = keys.collect();
    let get = |wanted: &str| entries.iter().find(|(key, _, _)| key == wanted).map(|(_, _, raw)| *raw);
    let text_of = |key| get(key).and_then(|raw| serde_json::from_str::<String>(raw.get()).ok()).unwrap_or_default();
    let kind = text_of("kind");
    let Some(items) = get("items").filter(|raw| kind.ends_with("List") && raw.get().starts_with('[')) else {
        return Ok(None);
    };
    let mut known = HashSet::new();
    if let Some((key, place, _)) = entries.iter().find(|(key, _, _)| !known.insert(key)) {
        return Err((offset(text, place), format!("duplicate key {key:?}")));
    }
    let items = read::<Items<'_>>(items.get()).map_err(|(at, message)| (offset(text, items) + at, message))?;
    let of = Type::in_list(&text_of("apiVersion"), &kind);
    // Some resource of somebody's may be called a list, and be none of objects.
    if of.is_some() && items.0.iter().any(|raw| !raw.get().starts_with('{')) {
        return Ok(None);
    }
    Ok(Some((of, items.0.into_iter().map(|raw| (offset(text, raw), raw.get())).collect())))
}

/// At which byte of a document a field path leads, or as far as it can be followed. A map's entry is placed at its key.
pub(super) fn offset_of(text: &str, path: &str) -> usize {
    let (mut inner, mut at, mut rest) = (text, 0, path);
    while !rest.is_empty() {
        let step = if inner.starts_with('{') { entry(text, inner, rest) } else { item(text, inner, rest) };
        let Some((place, next, remaining)) = step else { break };
        at = place;
        inner = next;
        rest = remaining.strip_prefix('.').unwrap_or(remaining);
    }
    at
}

type Step<'t, 'p> = Option<(usize, &'t str, &'p str)>;

fn entry<'t, 'p>(text: &str, map: &'t str, path: &'p str) -> Step<'t, 'p> {
    let steps = read::<Entries<'_>>(map).ok()?.0.into_iter().filter_map(|(key, raw)| {
        let name: String = serde_json::from_str(key.get()).ok()?;
        Some((offset(text, key), raw.get(), after_key(path, &name)?))
    });
    steps.min_by_key(|(_, _, rest)| rest.len())
}

fn item<'t, 'p>(text: &str, list: &'t str, path: &'p str) -> Step<'t, 'p> {
    let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
    let items = read::<Items<'_>>(list).ok()?.0;
    let raw = items.get(index.parse::<usize>().ok()?)?;
    Some((offset(text, raw), raw.get(), rest))
}

/// Where a part of a text is in it.
fn offset(text: &str, part: &RawValue) -> usize {
    (part.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize)
}

fn wrong(text: &str, error: &serde_json::Error) -> Wrong {
    // serde_json counts columns in bytes, and lines by line feeds alone.
    let before = error.line().saturating_sub(1);
    let line: usize = text.split_inclusive('\n').take(before).map(str::len).sum();
    let column = line + error.column().saturating_sub(1);
    let mut at = if error.is_eof() { text.len() } else { column.min(text.len()) };
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    (at, in_our_words(&error.to_string()))
}

fn read<'t, T: Deserialize<'t>>(text: &'t str) -> Result<T, Wrong> {
    serde_json::from_str(text).map_err(|error| wrong(text, &error))
}

/// The entries of a map as they are written.
struct Entries<'t>(Vec<(&'t RawValue, &'t RawValue)>);

/// The items of a list as they are written.
struct Items<'t>(Vec<&'t RawValue>);

impl<'t> Deserialize<'t> for Entries<'t> {
    fn deserialize<D: Deserializer<'t>>(deserializer: D) -> Result<Self, D::Error> {
        struct Of;
        impl<'t> Visitor<'t> for Of {
            type Value = Entries<'t>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Entries<'t>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                    fits(entries.len())?;
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Of)
    }
}

impl<'t> Deserialize<'t> for Items<'t> {
    fn deserialize<D: Deserializer<'t>>(deserializer: D) -> Result<Self, D::Error> {
        struct Of;
        impl<'t> Visitor<'t> for Of {
            type Value = Items<'t>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'t>>(self, mut list: A) -> Result<Items<'t>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                    fits(items.len())?;
                }
                Ok(Items(items))
            }
        }
        deserializer.deserialize_seq(Of)
    }
}

fn fits<E: Error>(count: usize) -> Result<(), E> {
    if count > ITEMS { Err(E::custom(format_args!("more than {ITEMS} items; give them in parts"))) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail like this")]

    use super::*;

    #[test]
    fn a_path_leads_to_the_key_or_the_item_that_it_names() {
        let text = r#" {"a": {"b.c": [1, {"d\u00e9": "x"}]}, "x.y": 2}"#.trim_start();
        let at = |path: &str| text.get(offset_of(text, path)..).unwrap().chars().take(4).collect::<String>();
        assert_eq!(at("a.b.c[1].dé"), r#""d\u"#);
        assert_eq!(at("a.b.c[1]"), r#"{"d\"#);
        assert_eq!(at("a.b.c[7]"), r#""b.c"#);
        assert_eq!(at("x.y"), r#""x.y"#);
        assert_eq!(at("none"), r#"{"a""#);
        assert_eq!(at("a[b.c][0]"), "1, {");
    }

    #[test]
    fn a_list_is_taken_apart_and_nothing_else_is() {
        let text = r#"{"items": [{"a": 1}, 2], "kind": "List"}"#;
        assert_eq!(items(text).unwrap().unwrap().1, [(11, r#"{"a": 1}"#), (21, "2")]);
        let typed = r#"{"items": [{"a": 1}], "apiVersion": "v1", "kind": "PodList"}"#;
        assert_eq!(items(typed).unwrap().unwrap().1, [(11, r#"{"a": 1}"#)]);
        assert!(items(&typed.replace("}]", "}, 2]")).unwrap().is_none());
        assert!(items(r#"{"items": [1], "kind": "Pod"}"#).unwrap().is_none());
        assert!(items(r#"{"items": 1, "kind": "List"}"#).unwrap().is_none());
        assert!(items(r#"{"items": [1], "kind": "List", "items": []}"#).unwrap_err().1.contains("duplicate"));
    }
}
