//! One source, of whatever name: its bytes into objects.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use super::input::Form;
use super::node::{Node, Position};
use super::object::{Object, Type};
use super::text::{self, NO_TEXT, advance};
use super::value::Meter;
use super::{json, tools, yaml};

/// Something that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, or `-` for standard input.
    pub file: String,
    /// Where in it, if that is known.
    pub at: Option<Position>,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(at) = self.at {
            write!(f, ":{at}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// How deep items may nest: a `List` may hold a `List`.
const LIST_DEPTH: usize = 8;

/// How many problems of one source are told one by one.
const PROBLEMS: usize = 1_000;

/// A document, or the item of a JSON list: a part of a source that can be read by itself.
#[derive(Debug)]
pub(super) struct Document {
    source: Arc<String>,
    pub(super) range: Range<usize>,
    pub(super) at: Position,
    pub(super) is_json: bool,
    /// Its places, once they were asked for.
    tree: OnceLock<Option<Node>>,
}

impl Document {
    pub(super) fn new(source: Arc<String>, range: Range<usize>, at: Position, is_json: bool) -> Self {
        Self { source, range, at, is_json, tree: OnceLock::new() }
    }

    pub(super) fn text(&self) -> &str {
        self.source.get(self.range.clone()).unwrap_or_default()
    }

    /// Where a field of an item is in the source.
    pub(super) fn position_of(&self, items: &[usize], path: &str) -> Position {
        if self.is_json {
            let mut at = self.at;
            advance(&mut at, self.text().get(..json::offset_of(self.text(), path)).unwrap_or_default());
            return at;
        }
        let tree = self.tree.get_or_init(|| yaml::places(self.text()).ok());
        let within = tree.as_ref().map_or(Position { line: 1, column: 1 }, |tree| tree.position_in(items, path));
        self.shifted(within)
    }

    /// A place in the document as one of the source; a document begins with a line.
    fn shifted(&self, within: Position) -> Position {
        Position { line: self.at.line + within.line - 1, ..within }
    }
}

/// What is in a source besides objects.
#[derive(Debug, Default)]
pub(super) struct Rest {
    pub(super) problems: Vec<Problem>,
    /// The documents that have neither `apiVersion` nor `kind`.
    pub(super) others: Vec<Problem>,
    /// Whether a document had one of the two, or looks as if it was to have.
    pub(super) partly: bool,
    /// How many objects there were.
    pub(super) objects: usize,
}

/// Reads a source. `wrong` is what a NUL in it stands for.
pub(super) fn read(
    name: &str,
    (source, wrong): (&Arc<String>, Option<&'static str>),
    form: &Form,
    on: &mut dyn FnMut(Object),
) -> Rest {
    let mut reader = Reader {
        form,
        file: Arc::from(name),
        source: source.clone(),
        is_json_stream: source.trim_start().starts_with('{'),
        meter: Meter::new(),
        on,
        rest: Rest::default(),
        untold: 0,
    };
    for piece in text::documents(source) {
        let Some(text) = source.get(piece.range.clone()) else { continue };
        // Millions of them are soon read.
        if text.trim_ascii() == "---" {
            continue;
        }
        // Text in another encoding may be anything, and what of it counts can't be known.
        if let Some((message, valid)) = wrong.and_then(|message| Some((message, text.split_once(NO_TEXT)?.0))) {
            let mut at = piece.at;
            advance(&mut at, valid);
            reader.rest.partly = true;
            reader.problem(Some(at), message.to_owned());
            continue;
        }
        if let Some((at, message)) = piece.unread.filter(|_| !is_empty(text)) {
            reader.rest.partly |= tools::looks_like_manifest(text);
            reader.problem(Some(at), message.to_owned());
            continue;
        }
        match json_of(text) {
            Some(begins) => reader.json(piece.range.start + begins..piece.range.end, piece),
            None => reader.yaml(piece),
        }
        if reader.meter.is_used_up() {
            break;
        }
    }
    if reader.untold > 0 {
        let message = format!("{} more problems in this source are not listed", reader.untold);
        reader.rest.problems.push(Problem { file: name.to_owned(), at: None, message });
    }
    reader.rest
}

/// Where the JSON of a document begins, if it looks like JSON.
fn json_of(text: &str) -> Option<usize> {
    let bare = text.strip_prefix('\u{feff}').unwrap_or(text);
    let bare = bare.strip_prefix("---").unwrap_or(bare).trim_start();
    bare.starts_with('{').then(|| text.len() - bare.len())
}

const SECOND_JSON: &str = "kubectl reads only the first JSON object before this and drops the rest, since what it is given \
                           does not begin with one; write a line --- before each";

/// Whether a text holds comments and nothing else.
fn is_comment(text: &str) -> bool {
    text.lines().all(|line| matches!(line.trim_start().chars().next(), None | Some('#')))
}

/// Whether a document holds nothing.
fn is_empty(text: &str) -> bool {
    text::lines(text).all(|line| matches!(line.trim_ascii(), "" | "---" | "..." | "\u{feff}") || is_comment(line))
}

struct Reader<'a> {
    form: &'a Form,
    file: Arc<str>,
    source: Arc<String>,
    /// Whether kubectl reads it as one JSON value after another: otherwise it takes one of each part between lines of `---`
    /// (`k8s.io/apimachinery/pkg/util/yaml`, `GuessJSONStream`; tried with 1.32).
    is_json_stream: bool,
    meter: Meter,
    on: &'a mut dyn FnMut(Object),
    rest: Rest,
    untold: usize,
}

impl Reader<'_> {
    fn problem(&mut self, at: Option<Position>, message: String) {
        if self.rest.problems.len() < PROBLEMS {
            self.rest.problems.push(Problem { file: self.file.to_string(), at, message });
        } else {
            self.untold += 1;
        }
    }

    fn yaml(&mut self, piece: text::Piece) {
        let document = Arc::new(Document::new(self.source.clone(), piece.range, piece.at, false));
        self.meter.begin();
        match yaml::value(document.text(), &self.meter) {
            Ok(Value::Null) => {}
            Ok(value) => self.add(&document, Vec::new(), value),
            Err((at, message)) => {
                let at = at.map_or(document.at, |at| document.shifted(at));
                self.rest.partly |= tools::looks_like_manifest(document.text());
                self.problem(Some(at), self.in_context(message, document.text()));
            }
        }
    }

    /// Documents of JSON. What only begins like JSON is a YAML flow mapping, or a comment follows.
    fn json(&mut self, range: Range<usize>, piece: text::Piece) {
        let source = self.source.clone();
        let Some(text) = source.get(range.clone()) else { return };
        let (mut at, mut read) = (piece.at, piece.range.start);
        let mut move_to = |offset: usize| {
            advance(&mut at, source.get(read..offset).unwrap_or_default());
            read = offset;
            at
        };
        let mut end = 0;
        for (count, document) in json::documents(text).enumerate() {
            match document {
                Ok((offset, inner)) => {
                    let start = range.start + offset;
                    let at = move_to(start);
                    if count > 0 && !self.is_json_stream {
                        self.rest.partly |= tools::looks_like_manifest(text);
                        return self.problem(Some(at), SECOND_JSON.to_owned());
                    }
                    self.json_document(start..start + inner.len(), at, None, 0);
                    end = offset + inner.len();
                }
                Err((offset, message)) => {
                    if count > 0 && is_comment(text.get(end..).unwrap_or_default()) {
                        return;
                    }
                    let quoted = text.get(1..).is_some_and(|rest| rest.trim_start().starts_with(['"', '}']));
                    if count == 0 && (!quoted || yaml::value(self.piece(&piece), &Meter::new()).is_ok()) {
                        return self.yaml(piece);
                    }
                    let at = move_to(range.start + offset);
                    self.rest.partly |= tools::looks_like_manifest(text);
                    return self.problem(Some(at), message);
                }
            }
        }
    }

    /// What is often behind an error.
    fn in_context(&self, message: String, text: &str) -> String {
        let twice =
            |key: &str| message.contains("duplicate") && message.trim_end_matches(['"', '\'', '`']).ends_with(key);
        if text.contains("{{") {
            format!("{message}; {}", tools::template(self.form))
        } else if twice("apiVersion") || twice("kind") {
            format!("{message}; is a line with --- missing before the second object?")
        } else {
            message
        }
    }

    fn piece(&self, piece: &text::Piece) -> &str {
        self.source.get(piece.range.clone()).unwrap_or_default()
    }

    fn json_document(&mut self, range: Range<usize>, at: Position, of: Option<&Type>, depth: usize) {
        let source = self.source.clone();
        let Some(text) = source.get(range.clone()) else { return };
        let place = |offset: usize| {
            let mut place = at;
            advance(&mut place, text.get(..offset).unwrap_or_default());
            place
        };
        match json::items(text) {
            Ok(Some(_)) if depth == LIST_DEPTH => self.too_deep(at),
            Ok(Some((of, items))) => {
                let (mut place, mut read) = (at, 0);
                for (offset, item) in items {
                    advance(&mut place, text.get(read..offset).unwrap_or_default());
                    read = offset;
                    let start = range.start + offset;
                    self.json_document(start..start + item.len(), place, of.as_ref(), depth + 1);
                }
            }
            Ok(None) => {
                self.meter.begin();
                match json::value(text, &self.meter) {
                    Ok(Value::Null) if depth == 0 => {}
                    Ok(mut value) => {
                        if let Some(of) = of {
                            of.put_into(&mut value);
                        }
                        let document = Arc::new(Document::new(source.clone(), range, at, true));
                        self.add(&document, Vec::new(), value);
                    }
                    Err((offset, message)) => self.json_problem(text, place(offset), message),
                }
            }
            Err((offset, message)) => self.json_problem(text, place(offset), message),
        }
    }

    fn json_problem(&mut self, text: &str, at: Position, message: String) {
        self.rest.partly |= tools::looks_like_manifest(text);
        self.problem(Some(at), message);
    }

    fn too_deep(&mut self, at: Position) {
        self.problem(Some(at), format!("lists nest deeper than {LIST_DEPTH}"));
    }

    fn add(&mut self, document: &Arc<Document>, items: Vec<usize>, mut value: Value) {
        let text = |key| value.get(key).and_then(Value::as_str).unwrap_or_default();
        let kind = text("kind");
        let (is_list, of) = (kind.ends_with("List"), Type::in_list(text("apiVersion"), kind));
        if is_list
            && let Some(list) = value.get_mut("items").and_then(Value::as_array_mut)
            // Some resource of somebody's may be called a list, and be none of objects.
            && (of.is_none() || list.iter().all(Value::is_object))
        {
            if items.len() == LIST_DEPTH {
                return self.too_deep(document.position_of(&items, ""));
            }
            for (index, mut item) in std::mem::take(list).into_iter().enumerate() {
                if let Some(of) = &of {
                    of.put_into(&mut item);
                }
                self.add(document, items.iter().copied().chain([index]).collect(), item);
            }
            return;
        }
        let mut is_other = value.get("apiVersion").is_none() && value.get("kind").is_none();
        let mut message = "this is no Kubernetes object: apiVersion and kind must be there, as text";
        if is_other && let Some(nearly) = tools::is_nearly_manifest(&value) {
            (is_other, message) = (false, nearly);
        }
        // A comment that YAML does not know makes one text of all that follows.
        if value.is_string() && tools::looks_like_manifest(document.text()) {
            is_other = false;
        }
        match Object::new(&self.file, document, items, value) {
            // An empty List may say so with null.
            Ok(object) if object.is("v1", "List") => {
                if object.value().get("items").is_some_and(|items| !items.is_null()) {
                    let at = object.position_of("items");
                    self.problem(Some(at), "items: the items of a List must be a list".to_owned());
                }
            }
            Ok(object) => {
                self.rest.objects += 1;
                (self.on)(object);
            }
            Err(items) => {
                let at = document.position_of(&items, "");
                let message = message.to_owned();
                if is_other && self.rest.others.len() < PROBLEMS {
                    self.rest.others.push(Problem { file: self.file.to_string(), at: Some(at), message });
                } else {
                    self.rest.partly |= !is_other;
                    self.problem(Some(at), message);
                }
            }
        }
    }
}

/// The one document of a text, with its places; `None` where there is nothing in it.
///
/// # Errors
/// Where it does not parse, or holds more than one.
pub fn parse_one(text: &str) -> Result<Option<Node>, (Option<Position>, String)> {
    let mut one = None;
    for piece in text::documents(text) {
        let shift = |at: Position| Position { line: at.line + piece.at.line - 1, ..at };
        let wrong = |(at, message): yaml::Wrong| (at.map(shift), message);
        let inner = text.get(piece.range.clone()).unwrap_or_default();
        if yaml::value(inner, &Meter::new()).map_err(wrong)?.is_null() {
            continue;
        }
        let node = yaml::places(inner).map_err(wrong)?;
        if one.is_some() {
            let message = "a second document; there can be only one here".to_owned();
            return Err((Some(shift(node.at())), message));
        }
        one = Some(node.shifted(piece.at.line - 1));
    }
    Ok(one)
}
