//! Finds the places of what was read again, so that not every tree has to be kept for the few that something is wrong with.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use super::files;
use super::node::Position;
use super::source::Document;
use super::text;

/// Where an object came from: small, since there is one for each.
#[derive(Clone, Debug)]
pub struct Origin {
    file: Arc<str>,
    range: Range<usize>,
    at: Position,
    is_json: bool,
    items: Box<[usize]>,
    /// Of the document's text, which may be another when it is read again.
    hash: u64,
}

impl Origin {
    pub(super) fn new(file: &Arc<str>, document: &Document, items: &[usize]) -> Self {
        Self {
            file: file.clone(),
            range: document.range.clone(),
            at: document.at,
            is_json: document.is_json,
            items: items.into(),
            hash: hash(document.text()),
        }
    }

    /// The file, or `-` for standard input.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// The texts that were read, to look into again: files are read again whenever they are asked for.
#[derive(Debug, Default)]
pub struct Sources {
    /// What can't be read a second time, by name: standard input and pipes.
    pub(super) kept: HashMap<String, Arc<String>>,
}

impl Sources {
    /// The text of a file, or of standard input (`-`), as places count in it: without a mark of its encoding. `None` where
    /// it can't be read any more.
    #[must_use]
    pub fn text(&self, file: &str) -> Option<Arc<str>> {
        self.again(file).map(|text| Arc::from(text.as_str()))
    }

    /// Where the fields of objects are, in the order they are asked for. Each file and each document is read once.
    /// Where one changed since it was read, that is the place where the document was.
    #[must_use]
    pub fn locate<'a>(&self, wanted: impl IntoIterator<Item = (&'a Origin, &'a str)>) -> Vec<Position> {
        let wanted: Vec<(&Origin, &str)> = wanted.into_iter().collect();
        let mut places: Vec<Position> = wanted.iter().map(|(origin, _)| origin.at).collect();
        let mut files: BTreeMap<&str, BTreeMap<usize, Vec<usize>>> = BTreeMap::new();
        for (index, (origin, _)) in wanted.iter().enumerate() {
            files.entry(origin.file()).or_default().entry(origin.range.start).or_default().push(index);
        }
        for (file, documents) in files {
            let Some(source) = self.again(file) else { continue };
            for asked in documents.into_values() {
                let mut known: Option<Document> = None;
                for index in asked {
                    let Some((origin, path)) = wanted.get(index) else { continue };
                    let document = known.get_or_insert_with(|| {
                        Document::new(source.clone(), origin.range.clone(), origin.at, origin.is_json)
                    });
                    if document.range == origin.range
                        && hash(document.text()) == origin.hash
                        && let Some(place) = places.get_mut(index)
                    {
                        *place = document.position_of(&origin.items, path);
                    }
                }
            }
        }
        places
    }

    fn again(&self, file: &str) -> Option<Arc<String>> {
        match self.kept.get(file) {
            Some(text) => Some(text.clone()),
            None => text::decode(files::bytes_of(file.as_ref()).ok()?).ok().map(|decoded| Arc::new(decoded.text)),
        }
    }
}
