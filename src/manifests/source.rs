//! Reads sources into objects.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::value::RawValue;

use super::node::{Node, Position};
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
                Ok(_) => loaded.add("-", &text),
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
                // A link to a directory could lead in circles.
                if !(entry.is_dir() && entry.is_symlink()) {
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
        if let (Some(kind), Some(items)) =
            (node.get("kind").and_then(Node::text), node.get("items").and_then(Node::items))
            && kind.ends_with("List")
        {
            if depth == LIST_DEPTH {
                return self.problem(file, Some(at), format!("lists nest deeper than {LIST_DEPTH}"));
            }
            let items = items.to_vec();
            for item in items {
                self.add_node(file, item, depth + 1);
            }
            return;
        }
        match Object::new(file, node) {
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

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        with_snippet: false,
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
            max_reader_input_bytes: Some(1 << 30),
        },
    }
}

fn yaml(text: &[u8]) -> Vec<Document> {
    let mut reader = text;
    serde_saphyr::read_with_options::<_, Node>(&mut reader, options())
        .map(|document| {
            document.map_err(|error| (error.location().map(Position::from), without_place(&error.to_string())))
        })
        .collect()
}

/// The message without the place at its end, which is said in front.
fn without_place(message: &str) -> String {
    message.split(" at line ").next().unwrap_or(message).to_owned()
}

/// JSON documents one after another, each with its lines. JSON is YAML but for surrogate escapes; a document with those
/// is placed as a whole.
fn json(text: &[u8]) -> Vec<Document> {
    let Ok(text) = std::str::from_utf8(text) else { return yaml(text) };
    let mut documents = Vec::new();
    for raw in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>() {
        match raw {
            Ok(raw) => {
                let offset = raw.get().as_ptr() as usize - text.as_ptr() as usize;
                let above = text[..offset].matches('\n').count() as u64;
                documents.extend(yaml(raw.get().as_bytes()).into_iter().map(|document| match document {
                    Ok(mut node) => {
                        node.shift(above);
                        Ok(node)
                    }
                    Err((at, message)) => match serde_json::from_str(raw.get()) {
                        Ok(value) if !message.contains("duplicate") => {
                            Ok(Node::placed(value, Position { line: above + 1, column: 1 }))
                        }
                        _ => Err((at.map(|at| Position { line: at.line + above, ..at }), message)),
                    },
                }));
            }
            // What only begins like JSON is a YAML flow mapping, or `---` follows.
            Err(_) if documents.is_empty() => return yaml(text.as_bytes()),
            Err(error) => {
                let at = Position { line: error.line() as u64, column: error.column() as u64 };
                documents.push(Err((Some(at), without_place(&error.to_string()))));
                break;
            }
        }
    }
    documents
}
