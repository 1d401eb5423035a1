//! Files, directories and standard input: which of them are manifests, and which are something that makes manifests.

use std::collections::{BTreeMap, HashSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::input::{Form, Input, Read, decoded};
use super::object::Object;
use super::places::Sources;
use super::source::{self, Problem};
use super::text::SIZE;
use super::tools::{self, Kustomizations};

/// What was read, besides the objects.
#[derive(Debug, Default)]
pub struct Reading {
    /// What could not be read.
    pub problems: Vec<Problem>,
    /// The files and directories that were left out, with the reason: below a directory, what is no Kubernetes object.
    pub skipped: Vec<(String, &'static str)>,
    /// The texts, to find places in them again.
    pub sources: Sources,
}

/// What was read, all of it in memory.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The objects, in the order they were found.
    pub objects: Vec<Object>,
    /// What could not be read.
    pub problems: Vec<Problem>,
}

/// Reads files, directories (every `.yaml`, `.yml` and `.json` in them, at any depth) and `-`, standard input, and gives
/// each object as it comes. What is empty is a problem, so that nothing passes because nothing was there; and so are
/// sources of Helm and Kustomize, with the command that makes manifests of them. In a directory, files are skipped whose
/// documents have neither `apiVersion` nor `kind`, as far as they can be read.
pub fn each(paths: &[PathBuf], mut on: impl FnMut(Object)) -> Reading {
    Input::default().each(paths, &mut on)
}

pub(super) fn walk(paths: &[PathBuf], input: &mut Input, on: &mut dyn FnMut(Object)) -> Reading {
    let mut walk = Walk {
        reading: Reading::default(),
        objects: 0,
        input,
        on,
        kustomizations: Kustomizations::default(),
        files: HashSet::new(),
        again: 0,
    };
    for path in paths {
        walk.named(path);
    }
    walk.reading
}

/// A line on what was skipped, if anything was.
#[must_use]
pub fn skipped(skipped: &[(String, &'static str)]) -> Option<String> {
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (file, reason) in skipped {
        reasons.entry(reason).or_default().push(file);
    }
    let parts = reasons.iter().map(|(reason, files)| {
        let named = files.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
        let more = match files.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("{} ({reason}): {named}{more}", files.len())
    });
    (!skipped.is_empty()).then(|| format!("skipped {}", parts.collect::<Vec<_>>().join("; ")))
}

/// How many of the files that were skipped are named.
const NAMED: usize = 3;

/// Reads files as [`each`] does, and keeps all objects.
#[must_use]
pub fn load(paths: &[PathBuf]) -> Loaded {
    Input::default().load(paths)
}

/// Reads a text that is at hand, under a name for its problems.
#[must_use]
pub fn read(name: &str, text: &str) -> Loaded {
    let mut objects = Vec::new();
    let (text, wrong) = match decoded(text.as_bytes().to_vec()) {
        Ok(decoded) => decoded,
        Err((at, message)) => {
            return Loaded { objects, problems: vec![Problem { file: name.to_owned(), at, message }] };
        }
    };
    let mut rest = source::read(name, (&text, wrong), &Form::check(), &mut |object| objects.push(object));
    rest.problems.append(&mut rest.others);
    Loaded { objects, problems: rest.problems }
}

/// The bytes of a file, as far as it is not too large.
pub(super) fn bytes_of(path: &Path) -> Result<Vec<u8>, String> {
    let file = std::fs::File::open(path).map_err(|error| format!("failed to read: {error}"))?;
    let size = file.metadata().map_or(0, |known| known.len());
    if size > SIZE {
        return Err(too_large());
    }
    bytes_from(file, usize::try_from(size).unwrap_or(0))
}

/// The bytes of standard input, in the same way.
pub(super) fn stdin() -> Result<Vec<u8>, String> {
    bytes_from(std::io::stdin().lock(), 0)
}

fn bytes_from(reader: impl std::io::Read, size: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(size + 1);
    reader.take(SIZE + 1).read_to_end(&mut bytes).map_err(|error| format!("failed to read: {error}"))?;
    if bytes.len() as u64 > SIZE { Err(too_large()) } else { Ok(bytes) }
}

fn too_large() -> String {
    format!("larger than {} MiB; give it in parts, such as a file for each namespace", SIZE >> 20)
}

struct Walk<'a> {
    reading: Reading,
    objects: usize,
    input: &'a mut Input,
    on: &'a mut dyn FnMut(Object),
    kustomizations: Kustomizations,
    /// The files that were read, by their canonical paths: one may be given by name and by its directory. And standard
    /// input.
    files: HashSet<PathBuf>,
    /// How many were met again.
    again: usize,
}

impl Walk<'_> {
    fn problem(&mut self, file: &str, message: String) {
        self.reading.problems.push(Problem { file: file.to_owned(), at: None, message });
    }

    fn skip(&mut self, file: String, reason: &'static str) {
        self.reading.skipped.push((file, reason));
    }

    fn named(&mut self, path: &Path) {
        let before = self.objects + self.reading.problems.len() + self.again;
        let skipped = self.reading.skipped.len();
        let file = path.display().to_string();
        if path.as_os_str() == "-" {
            if !self.files.insert(path.to_owned()) {
                // It ends but once.
                self.again += 1;
                return;
            }
            let read = self.input.stdin();
            self.add(&file, read, true, true);
        } else {
            self.named_path(path, &file);
        }
        for problem in std::mem::take(&mut self.kustomizations).problems(&self.input.form) {
            self.reading.problems.push(problem);
        }
        if self.objects + self.reading.problems.len() + self.again == before {
            let others = match self.reading.skipped.len() - skipped {
                0 => String::new(),
                count => format!(" ({count} skipped, which hold none)"),
            };
            let message = format!("there is no object in it{others}; give manifests, or what `helm template` prints");
            self.problem(&file, message);
        }
    }

    fn named_path(&mut self, path: &Path, file: &str) {
        match std::fs::metadata(path) {
            Ok(known) if known.is_dir() => match tools::chart_around(path) {
                Some(chart) => self.problem(file, tools::helm(&chart, &self.input.form)),
                None => self.directory(path, false),
            },
            Ok(_) if tools::is_kustomization(path) => {
                let directory = path.parent().unwrap_or(path);
                self.problem(file, tools::kustomize(directory, &self.input.form));
            }
            Ok(_) if tools::is_chart(path) => {
                let directory = path.parent().unwrap_or(path);
                self.problem(file, tools::helm(directory, &self.input.form));
            }
            Ok(known) => self.file(path, &known, true),
            Err(error) => self.problem(file, format!("failed to read: {error}")),
        }
    }

    /// All that is below a directory. What is below a kustomization belongs to it, and may be no whole object.
    fn directory(&mut self, path: &Path, mut kustomized: bool) {
        let file = path.display().to_string();
        let entries: std::io::Result<Vec<PathBuf>> =
            std::fs::read_dir(path).and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect());
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(error) => return self.problem(&file, format!("failed to read the directory: {error}")),
        };
        entries.sort();
        if !kustomized && entries.iter().any(|entry| tools::is_chart(entry)) {
            return self.problem(&file, tools::helm(path, &self.input.form));
        }
        if let Some(made) = entries.iter().find(|entry| tools::is_kustomization(entry)) {
            self.kustomizations.add(path, made);
            kustomized = true;
        }
        for entry in entries {
            self.entry(&entry, kustomized);
        }
    }

    fn entry(&mut self, path: &Path, kustomized: bool) {
        // The kubelet keeps the files of a mounted ConfigMap in a directory whose name begins with two dots, with links
        // to them beside it.
        let name = path.file_name().map_or(&b""[..], |name| name.as_encoded_bytes());
        if name.starts_with(b"..") || name == b".git" {
            return;
        }
        let file = path.display().to_string();
        let is_manifest =
            path.extension().and_then(|end| end.to_str()).is_some_and(|end| matches!(end, "yaml" | "yml" | "json"));
        match std::fs::metadata(path) {
            // It could lead in circles.
            Ok(known) if known.is_dir() && path.is_symlink() => self.skip(file, "a link to a directory"),
            Ok(known) if known.is_dir() => self.directory(path, kustomized),
            _ if kustomized || !is_manifest => {}
            Ok(known) => self.file(path, &known, false),
            Err(error) => self.problem(&file, format!("failed to read: {error}")),
        }
    }

    fn file(&mut self, path: &Path, known: &std::fs::Metadata, named: bool) {
        let file = path.display().to_string();
        // A shell gives a command's output this way: ringfence check <(helm template chart).
        let streamed = named && ["/dev/fd/", "/proc/self/fd/", "/dev/stdin"].iter().any(|open| file.starts_with(open));
        if !known.is_file() && !streamed {
            let message = format!(
                "neither a file nor a directory, but a pipe, a socket or a device; to read from it: {}",
                self.input.form.of_stream()
            );
            return self.problem(&file, message);
        }
        if let Ok(canonical) = path.canonicalize()
            && !streamed
            && !self.files.insert(canonical)
        {
            self.again += 1;
            return;
        }
        match bytes_of(path) {
            Ok(bytes) if !named && !tools::may_be_manifest(&bytes) => self.skip(file, "no Kubernetes object"),
            Ok(bytes) => self.add(&file, decoded(bytes), named, streamed),
            Err(message) => self.problem(&file, message),
        }
    }

    /// Adds the objects of one source.
    fn add(&mut self, file: &str, read: Read, named: bool, keep: bool) {
        let (text, wrong) = match read {
            Ok(read) => read,
            Err((at, message)) => {
                return self.reading.problems.push(Problem { file: file.to_owned(), at, message });
            }
        };
        if keep {
            self.reading.sources.kept.insert(file.to_owned(), text.clone());
        }
        let mut rest = source::read(file, (&text, wrong), &self.input.form, self.on);
        self.objects += rest.objects;
        let found = rest.objects > 0 || rest.partly;
        if !named && !found {
            return self.skip(
                file.to_owned(),
                if rest.problems.is_empty() { "no Kubernetes object" } else { "not YAML, and no Kubernetes object" },
            );
        }
        // One problem says what a template is, and where.
        if text.contains("{{") && rest.objects == 0 && !rest.problems.is_empty() {
            rest.problems.truncate(1);
            rest.others.clear();
            if let (Some(problem), Some(chart)) = (rest.problems.first_mut(), tools::chart_of(file.as_ref())) {
                problem.message = format!("a template; {}", tools::helm(&chart, &self.input.form));
            }
        }
        self.reading.problems.append(&mut rest.problems);
        self.reading.problems.append(&mut rest.others);
    }
}
