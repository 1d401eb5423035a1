//! Reads sources into objects.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::value::RawValue;
use serde_saphyr::MergeKeyPolicy;

use super::node::{MERGE, Node, Position};
use super::object::Object;

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

/// What was read, and what could not be.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The objects, in the order they were found.
    pub objects: Vec<Object>,
    /// What could not be read.
    pub problems: Vec<Problem>,
    /// What standard input held, where it was read: it can't be read again.
    pub stdin: Option<Arc<str>>,
}

/// How deep items may nest: a `List` may hold a `List`.
const LIST_DEPTH: usize = 8;

/// Reads files, directories (every `.yaml`, `.yml` and `.json` in them, at any depth) and `-`, standard input. What is
/// empty is a problem, so that nothing passes because nothing was there.
#[must_use]
pub fn load(paths: &[PathBuf]) -> Loaded {
    let mut loaded = Loaded::default();
    for path in paths {
        let before = loaded.objects.len() + loaded.problems.len();
        if path.as_os_str() == "-" {
            let mut text = Vec::new();
            match std::io::stdin().lock().read_to_end(&mut text) {
                Ok(_) => {
                    loaded.add("-", &text);
                    loaded.stdin = String::from_utf8(text).ok().map(Arc::from);
                }
                Err(error) => loaded.problem("-", None, format!("failed to read standard input: {error}")),
            }
        } else {
            loaded.add_path(path, true);
        }
        if loaded.objects.len() + loaded.problems.len() == before {
            let message = "there is no object in it; give manifests, or what `helm template` prints".to_owned();
            loaded.problem(&path.display().to_string(), None, message);
        }
    }
    loaded
}

/// Reads a text that is at hand, under a name for its problems.
#[must_use]
pub fn read(name: &str, text: &str) -> Loaded {
    let mut loaded = Loaded::default();
    loaded.add(name, text.as_bytes());
    loaded
}

impl Loaded {
    fn problem(&mut self, file: &str, at: Option<Position>, message: String) {
        self.problems.push(Problem { file: file.to_owned(), at, message });
    }

    fn add_path(&mut self, path: &Path, named: bool) {
        let file = path.display().to_string();
        if path.is_dir() {
            let mut entries: Vec<PathBuf> = match std::fs::read_dir(path).and_then(|entries| {
                entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>()
            }) {
                Ok(entries) => entries,
                Err(error) => return self.problem(&file, None, format!("failed to read the directory: {error}")),
            };
            entries.sort();
            for entry in entries {
                // A link to a directory could lead in circles; and the kubelet keeps the files of a mounted ConfigMap in a
                // directory whose name begins with two dots, with links to them beside it.
                let kubelets = entry.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".."));
                let circular = entry.is_dir() && entry.is_symlink();
                if !kubelets && !circular {
                    self.add_path(&entry, false);
                }
            }
            return;
        }
        let is_manifest =
            path.extension().and_then(|end| end.to_str()).is_some_and(|end| matches!(end, "yaml" | "yml" | "json"));
        if !named && !is_manifest {
            return;
        }
        match std::fs::read(path) {
            Ok(text) => self.add(&file, &text),
            Err(error) => self.problem(&file, None, format!("failed to read: {error}")),
        }
    }

    /// Adds the documents of one source.
    fn add(&mut self, file: &str, text: &[u8]) {
        // UTF-16 is told by its mark.
        if let Err(error) = std::str::from_utf8(text)
            && !text.starts_with(&[0xff, 0xfe])
            && !text.starts_with(&[0xfe, 0xff])
        {
            let mut at = Position { line: 1, column: 1 };
            advance(&mut at, &String::from_utf8_lossy(&text[..error.valid_up_to()]));
            return self.problem(file, Some(at), "not UTF-8; write the file anew in that encoding".to_owned());
        }
        let name: Arc<str> = Arc::from(file);
        let documents = if starts_like_json(text) { json(text) } else { yaml(text) };
        for document in documents {
            match document {
                Ok(node) => self.add_node(&name, node, 0),
                Err((at, message)) => self.problem(file, at, message),
            }
        }
    }

    fn add_node(&mut self, file: &Arc<str>, node: Node, depth: usize) {
        let at = node.at;
        if node.get("kind").and_then(Node::text).is_some_and(|kind| kind.ends_with("List"))
            && node.get("items").and_then(Node::items).is_some()
        {
            if depth == LIST_DEPTH {
                return self.problem(file, Some(at), format!("lists nest deeper than {LIST_DEPTH}"));
            }
            for item in node.into_items("items") {
                self.add_node(file, item, depth + 1);
            }
            return;
        }
        match Object::new(file, node) {
            // An empty List may say so with null.
            Some(object) if object.is("v1", "List") => {
                if let Some(items) = object.node.get("items").filter(|items| !items.is_null()) {
                    self.problem(file, Some(items.at), "items: the items of a List must be a list".to_owned());
                }
            }
            Some(object) => self.objects.push(object),
            None => self.problem(
                file,
                Some(at),
                "this is no Kubernetes object: apiVersion and kind must be there, as text".to_owned(),
            ),
        }
    }
}

type Document = Result<Node, (Option<Position>, String)>;

/// The one document of a text; `None` where there is nothing in it.
///
/// # Errors
/// Where it does not parse, or holds more than one.
pub fn parse_one(text: &str) -> Result<Option<Node>, (Option<Position>, String)> {
    let mut documents = yaml(text.as_bytes()).into_iter();
    let first = documents.next().transpose()?;
    match documents.next().transpose()? {
        Some(second) => Err((Some(second.at), "a second document; there can be only one here".to_owned())),
        None => Ok(first),
    }
}

fn starts_like_json(text: &[u8]) -> bool {
    text.iter().find(|byte| !byte.is_ascii_whitespace()).is_some_and(|byte| *byte == b'{')
}

fn options(merge_keys: MergeKeyPolicy) -> serde_saphyr::Options {
    serde_saphyr::options! {
        with_snippet: false,
        merge_keys: merge_keys,
        // As Kubernetes' own YAML library reads 0644.
        legacy_octal_numbers: true,
        // Thousands of documents in one file are ordinary: `helm template` and `kubectl get -A` print them. What guards
        // against bombs is the limit on what aliases expand to.
        budget: serde_saphyr::budget! {
            max_documents: 1_000_000,
            max_events: 200_000_000,
            max_nodes: 100_000_000,
            max_depth: 128,
            max_total_scalar_bytes: 1 << 30,
            simple_key_max_lookahead: 1 << 16,
            max_reader_input_bytes: Some(1 << 30),
        },
    }
}

fn yaml(text: &[u8]) -> Vec<Document> {
    let mut documents = yaml_with(text, MergeKeyPolicy::Merge);
    // What clients send the API server has been read by a library to which a later merge key is more than an earlier
    // entry (tried with sigs.k8s.io/yaml 1.6); to YAML it is less. What comes first is the same to both.
    if text.windows(MERGE.len()).any(|window| window == MERGE.as_bytes()) {
        for (document, unmerged) in documents.iter_mut().zip(yaml_with(text, MergeKeyPolicy::AsOrdinary)) {
            match unmerged.map(|node| node.late_merge()) {
                Ok(None) => {}
                Ok(at @ Some(_)) => {
                    let message = "a merge key (<<) after other keys, which it overwrites for kubectl and not for \
                                   others; put it first";
                    *document = Err((at, message.to_owned()));
                }
                Err(error) => *document = Err(error),
            }
        }
    }
    documents
}

fn yaml_with(text: &[u8], merge_keys: MergeKeyPolicy) -> Vec<Document> {
    let mut reader = text;
    serde_saphyr::read_with_options::<_, Node>(&mut reader, options(merge_keys))
        .map(|document| {
            document.map_err(|error| (error.location().map(Position::from), in_our_words(&error.to_string())))
        })
        .collect()
}

/// The message without the place at its end, which is said in front, and without advice for whoever calls the parser.
fn in_our_words(message: &str) -> String {
    let message = message.split(" at line ").next().unwrap_or(message);
    message.split(", set DuplicateKeyPolicy").next().unwrap_or(message).to_owned()
}

/// Moves a place on, over a text.
fn advance(at: &mut Position, text: &str) {
    at.line += text.matches('\n').count() as u64;
    let (last, column) = text.rsplit_once('\n').map_or((text, at.column), |(_, last)| (last, 1));
    at.column = column + last.chars().count() as u64;
}

/// JSON documents one after another, each with its lines.
fn json(text: &[u8]) -> Vec<Document> {
    let Ok(text) = std::str::from_utf8(text) else { return yaml(text) };
    let mut documents = Vec::new();
    let (mut at, mut read) = (Position { line: 1, column: 1 }, 0);
    for raw in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>() {
        match raw {
            Ok(raw) => {
                let offset = raw.get().as_ptr() as usize - text.as_ptr() as usize;
                advance(&mut at, &text[read..offset]);
                read = offset;
                documents.extend(yaml(escaped(raw.get()).as_bytes()).into_iter().map(|document| match document {
                    Ok(mut node) => {
                        node.shift(at.line - 1);
                        Ok(node)
                    }
                    Err((place, message)) => {
                        Err((place.map(|place| Position { line: place.line + at.line - 1, ..place }), message))
                    }
                }));
            }
            Err(error) => {
                // What only begins like JSON is a YAML flow mapping, or `---` or a comment follows.
                let whole = yaml(text.as_bytes());
                if documents.is_empty() || whole.iter().all(Result::is_ok) {
                    return whole;
                }
                let at = Position { line: error.line() as u64, column: error.column() as u64 };
                documents.push(Err((Some(at), in_our_words(&error.to_string()))));
                break;
            }
        }
    }
    documents
}

/// JSON that is YAML too: characters that only JSON's strings may hold as they are, as escapes.
fn escaped(json: &str) -> Cow<'_, str> {
    let only_json = |c: char| {
        c.is_control() && !c.is_ascii_whitespace()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
    };
    if !json.contains(only_json) {
        return Cow::Borrowed(json);
    }
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if only_json(c) {
            // Writing into a String does not fail.
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        } else {
            text.push(c);
        }
    }
    Cow::Owned(text)
}
