//! A change of an object as edits of its text.

use json_patch::{Patch, PatchOperation};
use ringfence_core::policy::lint::Object;
use serde_json::{Map, Value};

use super::place::{FOREIGN, Place, Why, is_item};
use super::{identity, is_json, values, write};
use crate::manifests;

/// A document with a patch applied to one of its objects, every operation at its place in the text.
pub(super) fn apply(document: &str, object: &Object, patch: &Patch, default_namespace: &str) -> Result<String, Why> {
    let mut text = document.to_owned();
    let mut meant: Vec<Value> = values(document).ok_or(FOREIGN)?;
    for operation in &patch.0 {
        let read = manifests::read("", &text).objects;
        let (index, found) = read
            .iter()
            .enumerate()
            .find(|(_, found)| identity(found, default_namespace).as_ref() == Some(object))
            .ok_or("the object is not found in the file any more")?;
        let value = meant.get_mut(index).ok_or(FOREIGN)?;
        text = Editor { place: Place { text: &text, object: found, value: &value.clone() } }.operation(operation)?;
        json_patch::patch(value, std::slice::from_ref(operation)).map_err(|_| "the field is not there any more")?;
    }
    // Whatever was overlooked, such as an alias elsewhere in the document, shows here.
    if values(&text) == Some(meant) { Ok(text) } else { Err("a small edit of the text does not come to what is meant") }
}

struct Editor<'a> {
    place: Place<'a>,
}

impl Editor<'_> {
    fn operation(&self, operation: &PatchOperation) -> Result<String, Why> {
        let tokens: Vec<String> = operation.path().tokens().map(|token| token.decoded().into_owned()).collect();
        match operation {
            PatchOperation::Add(add) => self.add(&tokens, &add.value),
            PatchOperation::Replace(replace) => self.replace(&tokens, &replace.value),
            PatchOperation::Remove(_) => self.remove(&tokens),
            PatchOperation::Move(_) | PatchOperation::Copy(_) | PatchOperation::Test(_) => {
                Err("it is no change that is made by itself")
            }
        }
    }

    fn add(&self, tokens: &[String], value: &Value) -> Result<String, Why> {
        let (last, parent) = tokens.split_last().ok_or(FOREIGN)?;
        match self.place.get(parent).ok_or("the field is not there any more")? {
            Value::Object(map) if map.contains_key(last) => self.replace(tokens, value),
            Value::Object(map) if self.place.is_flow(parent)? => self.to_braces(parent, last, value, map.is_empty()),
            Value::Object(_) => self.to_map(parent, last, value),
            Value::Array(items) => {
                let index = if last == "-" { items.len() } else { last.parse::<usize>().map_err(|_| FOREIGN)? };
                if self.place.is_flow(parent)? {
                    self.to_brackets(parent, index, value, items.len())
                } else if index < items.len() {
                    self.before_item(tokens, value)
                } else {
                    self.after_items(parent, value)
                }
            }
            _ => Err(FOREIGN),
        }
    }

    /// `{a: b}` → `{a: b, key: value}`.
    fn to_braces(&self, map: &[String], key: &str, value: &Value, empty: bool) -> Result<String, Why> {
        let start = self.place.start(map)? + 1;
        let end = self.place.inline_end(start - 1)? - 1;
        let entry = write::entry(key, value, self.is_json());
        if empty {
            return Ok(self.replaced(start, end, &entry));
        }
        let inner = self.place.text.get(start..end).unwrap_or_default().trim_end();
        let (comma, gap) = (if inner.ends_with(',') { "" } else { "," }, self.gap(start)?);
        let gap = if gap.is_empty() { " " } else { gap };
        let at = start + inner.len();
        Ok(self.replaced(at, at, &format!("{comma}{gap}{entry}")))
    }

    /// `[a]` → `[a, value]`.
    fn to_brackets(&self, list: &[String], index: usize, value: &Value, length: usize) -> Result<String, Why> {
        let start = self.place.start(list)? + 1;
        let item = write::inline(value, self.is_json());
        if length == 0 {
            return Ok(self.replaced(start, self.place.inline_end(start - 1)? - 1, &item));
        }
        if index == 0 {
            return Ok(self.replaced(start, start, &self.in_front(start, &item)?));
        }
        let before = [list, &[(index.min(length) - 1).to_string()]].concat();
        let end = self.place.inline_end(self.place.start(&before)?)?;
        let gap = self.gap(start)?;
        let gap = if gap.is_empty() { " " } else { gap };
        Ok(self.replaced(end, end, &format!(",{gap}{item}")))
    }

    /// What stands before the first entry inside of a bracket, where that is only room.
    fn gap(&self, start: usize) -> Result<&str, Why> {
        let rest = self.place.text.get(start..).unwrap_or_default();
        let gap = rest.get(..rest.len() - rest.trim_start().len()).unwrap_or_default();
        if rest.trim_start().starts_with('#') { Err(FOREIGN) } else { Ok(gap) }
    }

    /// A new first entry with the room around it that the one before it had.
    fn in_front(&self, start: usize, entry: &str) -> Result<String, Why> {
        let gap = self.gap(start)?;
        Ok(if gap.contains('\n') {
            format!("{gap}{entry},")
        } else {
            format!("{gap}{entry}{}", if gap.is_empty() { ", " } else { "," })
        })
    }

    /// A new last entry of a block.
    fn to_map(&self, map: &[String], key: &str, value: &Value) -> Result<String, Why> {
        let start = self.place.start(map)?;
        let (_, column) = self.place.line(start);
        let end = self.place.block_end(start, |indent, _| indent >= column);
        let entry = Value::Object(Map::from_iter([(key.to_owned(), value.clone())]));
        self.with_lines(end, &entry, column, "")
    }

    /// A new last item of a block.
    fn after_items(&self, list: &[String], value: &Value) -> Result<String, Why> {
        let (_, column) = self.dash(self.place.entry(&[list, &["0".to_owned()]].concat())?)?;
        let start = self.place.start(list)?;
        let end = self.place.block_end(start, |indent, bare| indent > column || indent == column && is_item(bare));
        self.with_lines(end, value, column, "- ")
    }

    fn before_item(&self, item: &[String], value: &Value) -> Result<String, Why> {
        let (line, column) = self.dash(self.place.entry(item)?)?;
        self.with_lines(line, value, column, "- ")
    }

    fn with_lines(&self, at: usize, value: &Value, indent: usize, prefix: &str) -> Result<String, Why> {
        let newline = write::newline(self.place.text);
        let lines = write::block(value, indent, prefix, newline).ok_or(FOREIGN)?;
        let unfinished = self.place.text.get(..at).is_some_and(|before| !before.is_empty() && !before.ends_with('\n'));
        Ok(self.replaced(at, at, &format!("{}{lines}", if unfinished { newline } else { "" })))
    }

    /// The line of an item of a block, and the column of its dash.
    fn dash(&self, item: usize) -> Result<(usize, usize), Why> {
        let (line, column) = self.place.line(item);
        let before = self.place.text.get(line..item).unwrap_or_default();
        match before.trim_end().strip_suffix('-') {
            Some(room) if room.trim().is_empty() => Ok((line, room.len())),
            // Where an item is a list, its place is that of its own dash or of this one.
            _ if self.place.text.get(item..).is_some_and(is_item_of) && before.trim().is_empty() => Ok((line, column)),
            _ => Err(FOREIGN),
        }
    }

    fn replace(&self, tokens: &[String], value: &Value) -> Result<String, Why> {
        let old = self.place.get(tokens).ok_or("the field is not there any more")?;
        let start = self.place.start(tokens)?;
        let inline = !(old.is_object() || old.is_array()) || self.place.is_flow(tokens)?;
        if inline {
            let end = self.place.inline_end(start)?;
            return Ok(self.replaced(start, end, &write::inline(value, self.is_json())));
        }
        let (key, parent) = tokens.split_last().ok_or(FOREIGN)?;
        let newline = write::newline(self.place.text);
        let entry = self.place.entry(tokens)?;
        if self.place.get(parent).is_some_and(Value::is_array) {
            let (line, column) = self.dash(entry)?;
            let end = self.place.block_end(entry, |indent, _| indent > column);
            let lines = write::block(value, column, "- ", newline).ok_or(FOREIGN)?;
            return Ok(self.replaced(line, end, &lines));
        }
        let (_, column) = self.place.line(entry);
        let end = self.entry_end(entry, column);
        let whole = Value::Object(Map::from_iter([(key.clone(), value.clone())]));
        let lines = write::block(&whole, column, "", newline).ok_or(FOREIGN)?;
        Ok(self.replaced(entry, end, lines.trim_start_matches(' ')))
    }

    fn remove(&self, tokens: &[String]) -> Result<String, Why> {
        let (_, parent) = tokens.split_last().ok_or(FOREIGN)?;
        let siblings = match self.place.get(parent) {
            Some(Value::Array(items)) => items.len(),
            Some(Value::Object(map)) => map.len(),
            _ => return Err(FOREIGN),
        };
        let is_list = self.place.get(parent).is_some_and(Value::is_array);
        if siblings == 1 {
            let empty = if is_list { Value::Array(Vec::new()) } else { Value::Object(Map::new()) };
            return self.replace(parent, &empty);
        }
        let entry = self.place.entry(tokens)?;
        if self.place.is_flow(parent)? {
            return self.remove_inside(entry, self.place.inline_end(self.place.start(tokens)?)?);
        }
        if is_list {
            let (line, column) = self.dash(entry)?;
            let end = self.place.block_end(line, |indent, _| indent > column);
            return Ok(self.replaced(line, end, ""));
        }
        let (line, column) = self.place.line(entry);
        let end = self.entry_end(entry, column);
        if self.place.text.get(line..entry).is_some_and(|before| before.trim().is_empty()) {
            return Ok(self.replaced(line, end, ""));
        }
        // The first entry of an item: the next takes its place behind the dash.
        let rest = self.place.text.get(end..).unwrap_or_default();
        let room = rest.len() - rest.trim_start_matches(' ').len();
        if room == column { Ok(self.replaced(entry, end + room, "")) } else { Err(FOREIGN) }
    }

    /// Where the entry of a block ends whose key is at a column.
    fn entry_end(&self, entry: usize, column: usize) -> usize {
        self.place.block_end(entry, |indent, bare| indent > column || indent == column && is_item(bare))
    }

    /// Takes something out from between commas.
    fn remove_inside(&self, start: usize, end: usize) -> Result<String, Why> {
        let rest = self.place.text.get(end..).unwrap_or_default();
        if let Some(behind) = rest.trim_start().strip_prefix(',') {
            let next = self.place.text.len() - behind.trim_start().len();
            return Ok(self.replaced(start, next, ""));
        }
        let before = self.place.text.get(..start).unwrap_or_default().trim_end();
        match before.strip_suffix(',') {
            Some(before) => Ok(self.replaced(before.len(), end, "")),
            None => Err(FOREIGN),
        }
    }

    fn is_json(&self) -> bool {
        is_json(self.place.text.trim_start_matches("---"))
    }

    fn replaced(&self, start: usize, end: usize, with: &str) -> String {
        let part = |range| self.place.text.get(range).unwrap_or_default();
        [part(0..start), with, part(end..self.place.text.len())].concat()
    }
}

fn is_item_of(rest: &str) -> bool {
    is_item(rest.split('\n').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HEAD: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: ns}\n";

    /// What becomes of a policy whose text below `metadata` is given, or why nothing does.
    fn edited(text: &str, operation: &Value) -> Result<String, Why> {
        let patch: Patch = serde_json::from_value(json!([operation])).unwrap();
        let document = format!("{HEAD}{text}");
        let edited = apply(&document, &Object::policy("ns", "p"), &patch, "default")?;
        Ok(edited.strip_prefix(HEAD).unwrap().to_owned())
    }

    fn add(path: &str, value: impl Into<Value>) -> Value {
        let value: Value = value.into();
        json!({ "op": "add", "path": path, "value": value })
    }

    fn replace(path: &str, value: impl Into<Value>) -> Value {
        let value: Value = value.into();
        json!({ "op": "replace", "path": path, "value": value })
    }

    fn remove(path: &str) -> Value {
        json!({ "op": "remove", "path": path })
    }

    #[test]
    fn an_entry_is_added_at_the_end_of_its_map() {
        for (before, after) in [
            ("spec:\n  podSelector: {} # all\n", "spec:\n  podSelector: {} # all\n  policyTypes:\n  - Ingress\n"),
            (
                "spec:\n  ingress:\n  - from: []\n    # why\n\n# end\n",
                "spec:\n  ingress:\n  - from: []\n  policyTypes:\n  - Ingress\n    # why\n\n# end\n",
            ),
            ("spec:\n    podSelector: {}", "spec:\n    podSelector: {}\n    policyTypes:\n    - Ingress\n"),
            (
                "spec: # what\n  podSelector:\n    a: b\n",
                "spec: # what\n  podSelector:\n    a: b\n  policyTypes:\n  - Ingress\n",
            ),
            ("spec: {}\n", "spec: {policyTypes: [Ingress]}\n"),
            ("spec: {podSelector: {}}  # all\n", "spec: {podSelector: {}, policyTypes: [Ingress]}  # all\n"),
            ("spec: { podSelector: {} }\n", "spec: { podSelector: {}, policyTypes: [Ingress] }\n"),
            ("spec: {\n  podSelector: {}}\n", "spec: {\n  podSelector: {},\n  policyTypes: [Ingress]}\n"),
            ("spec:\r\n  podSelector: {}\r\n", "spec:\r\n  podSelector: {}\r\n  policyTypes:\r\n  - Ingress\r\n"),
        ] {
            assert_eq!(edited(before, &add("/spec/policyTypes", json!(["Ingress"]))).as_deref(), Ok(after), "{before}");
        }
    }

    #[test]
    fn an_item_is_added_to_its_list() {
        for (path, before, after) in [
            (
                "/spec/l/-",
                "spec:\n  l:\n  - a: 1 # one\n    b: 2\n  m: 3\n",
                "spec:\n  l:\n  - a: 1 # one\n    b: 2\n  - x: z\n  m: 3\n",
            ),
            ("/spec/l/-", "spec:\n  l:\n    -   a: 1\n", "spec:\n  l:\n    -   a: 1\n    - x: z\n"),
            ("/spec/l/0", "spec:\n  l:\n  - a: 1\n", "spec:\n  l:\n  - x: z\n  - a: 1\n"),
            ("/spec/l/-", "spec:\n  l: [{a: 1}]\n", "spec:\n  l: [{a: 1}, {x: z}]\n"),
            ("/spec/l/-", "spec:\n  l: [a, 'b, ]', ]\n", "spec:\n  l: [a, 'b, ]', {x: z}, ]\n"),
            ("/spec/l/0", "spec:\n  l: [a]\n", "spec:\n  l: [{x: z}, a]\n"),
            ("/spec/l/-", "spec:\n  l: []\n", "spec:\n  l: [{x: z}]\n"),
            ("/spec/l/-", "spec:\n  l: [\n    a\n  ]\n", "spec:\n  l: [\n    a,\n    {x: z}\n  ]\n"),
            (
                "/spec/r/0/l/-",
                "spec:\n  r:\n  - l:\n    - 1\n    m: 2\n  - l: []\n",
                "spec:\n  r:\n  - l:\n    - 1\n    - x: z\n    m: 2\n  - l: []\n",
            ),
        ] {
            assert_eq!(edited(before, &add(path, json!({ "x": "z" }))).as_deref(), Ok(after), "{before}");
        }
    }

    #[test]
    fn a_value_is_replaced_and_what_stands_beside_it_stays() {
        for (path, value, before, after) in [
            ("/spec/c", json!("10.0.0.0/8"), "spec:\n  c: 0.0.0.0/0 # all\n", "spec:\n  c: 10.0.0.0/8 # all\n"),
            ("/spec/c", json!("10.0.0.0/8"), "spec:\n  c: \"0.0.0.0/0\"\n", "spec:\n  c: 10.0.0.0/8\n"),
            ("/spec/c", json!("no"), "spec: {c: 'it''s', d: 1}\n", "spec: {c: \"no\", d: 1}\n"),
            ("/spec/c/0/d", json!(80), "spec:\n  c:\n    - d: http\n", "spec:\n  c:\n    - d: 80\n"),
            (
                "/spec/c/1",
                json!("b"),
                "spec:\n  c:\n  - a # one\n  - x # two\n",
                "spec:\n  c:\n  - a # one\n  - b # two\n",
            ),
            ("/spec/c", json!(["a"]), "spec:\n  c:\n  - x\n  - y\n  d: 1\n", "spec:\n  c:\n  - a\n  d: 1\n"),
            (
                "/spec/c/0",
                json!({"a": 1, "b": 2}),
                "spec:\n  c:\n  - x: 1\n  - y\n",
                "spec:\n  c:\n  - a: 1\n    b: 2\n  - y\n",
            ),
            (
                "/spec/c",
                json!({"e": []}),
                "spec:\n  - a\n".replace("- a", "c: {d: [1]}").leak(),
                "spec:\n  c: {e: []}\n",
            ),
        ] {
            assert_eq!(edited(before, &replace(path, value)).as_deref(), Ok(after), "{before}");
        }
    }

    #[test]
    fn what_is_removed_leaves_no_trace() {
        for (path, before, after) in [
            ("/spec/a", "spec:\n  a:\n  - 1\n  # of b\n  b: 2\n", "spec:\n  # of b\n  b: 2\n"),
            ("/spec/b", "spec:\n  a: 1\n  b:\n    c: 2\n", "spec:\n  a: 1\n"),
            ("/spec/l/0/a", "spec:\n  l:\n  - a: 1\n    b: 2\n", "spec:\n  l:\n  - b: 2\n"),
            ("/spec/l/0", "spec:\n  l:\n  - a: 1\n    b: 2\n  - c\n", "spec:\n  l:\n  - c\n"),
            ("/spec/l/0", "spec:\n  l:\n  - a: 1\n", "spec:\n  l: []\n"),
            ("/spec/l/0", "spec: {l: [a, b]}\n", "spec: {l: [b]}\n"),
            ("/spec/l/1", "spec: {l: [a, b]}\n", "spec: {l: [a]}\n"),
            ("/spec/l/0", "spec: {l: [a]}\n", "spec: {l: []}\n"),
            ("/spec/l", "spec: {l: [a], m: 1}\n", "spec: {m: 1}\n"),
        ] {
            assert_eq!(edited(before, &remove(path)).as_deref(), Ok(after), "{before}");
        }
    }

    #[test]
    fn json_stays_json() {
        let text = |spec: &str| {
            format!(
                "{{\n  \"apiVersion\": \"networking.k8s.io/v1\",\n  \"kind\": \"NetworkPolicy\",\n  \"metadata\": {{\"name\": \"p\", \"namespace\": \"ns\"}},\n  \"spec\": {spec}\n}}\n"
            )
        };
        for (operation, before, after) in [
            (
                add("/spec/policyTypes", json!(["Ingress"])),
                "{\n    \"podSelector\": {}\n  }",
                "{\n    \"podSelector\": {},\n    \"policyTypes\": [\"Ingress\"]\n  }",
            ),
            (add("/spec/l/-", json!({"a": "b"})), "{\"l\":[1]}", "{\"l\":[1, {\"a\": \"b\"}]}"),
            (replace("/spec/c", json!("10.0.0.0/8")), "{\"c\" : \"0.0.0.0/0\"}", "{\"c\" : \"10.0.0.0/8\"}"),
            (remove("/spec/l/0"), "{\"l\":[1,2]}", "{\"l\":[2]}"),
        ] {
            let patch: Patch = serde_json::from_value(json!([operation])).unwrap();
            let edited = apply(&text(before), &Object::policy("ns", "p"), &patch, "default").unwrap();
            assert_eq!(edited, text(after));
            serde_json::from_str::<Value>(&edited).unwrap();
        }
    }

    #[test]
    fn what_a_small_edit_can_not_do_is_left_as_it_is() {
        for (operation, text) in [
            // Both users of an anchor would change.
            (replace("/spec/a/c", json!(2)), "x: &x {c: 1}\nspec: {a: *x, b: *x}\n"),
            (add("/spec/a/d", json!(2)), "spec:\n  a: &x\n    c: 1\n  b: *x\n"),
            (replace("/spec/a", json!("y")), "spec:\n  a: |\n    x\n"),
            (replace("/spec/a", json!("y")), "spec:\n  a: !!str x\n"),
            (replace("/spec/c", json!(2)), "x: &x {c: 1}\nspec:\n  <<: *x\n  d: 1\n"),
            (add("/spec/b", json!(2)), "spec:\n  a: |\n    text\n    # of the text\n"),
            (replace("/spec/gone", json!(2)), "spec: {a: 1}\n"),
        ] {
            let why = edited(text, &operation).unwrap_err();
            assert!(!why.contains("object"), "{why}: {text}");
        }
    }
}
