//! What mends findings, as a patch of the files: small insertions and replacements at known places, so that comments and
//! all the rest stay as they are. Every edit is read again and left out where it does not come to exactly what was meant.

mod diff;
mod edit;
mod place;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use json_patch::{Patch, PatchOperation};
use ringfence_core::policy::lint::{Fix, Object};
use serde_json::{Map, Value};

use crate::manifests;
use crate::report::{Placed, Sources};

/// The mark that some editors put in front of UTF-8.
pub const MARK: char = '\u{feff}';

/// What came of it.
#[derive(Debug, Default)]
pub struct Fixes {
    /// A unified diff for `git apply` or `patch -p1`; empty where there is nothing to change.
    pub diff: String,
    /// How many findings it mends.
    pub mended: usize,
    /// How many findings there is no fix for that needs no decision of a person.
    pub without: usize,
    /// The objects that are added.
    pub added: Vec<Value>,
    /// Why a fix is not in the diff, a line each.
    pub left_out: Vec<String>,
}

/// What is to be done in a file.
#[derive(Default)]
struct Work<'a> {
    patches: BTreeMap<&'a Object, Vec<(&'a Placed, &'a Patch)>>,
    additions: Vec<(&'a Placed, &'a [Value])>,
}

/// A file that is changed.
struct File {
    name: String,
    /// Whether a mark is in front of the text, and stays there.
    is_marked: bool,
    text: Arc<str>,
    mended: String,
    /// The file for what is added to one that holds no more than one document, and whether it is there already.
    beside: Option<(String, bool)>,
    beside_text: String,
    stated: BTreeSet<String>,
}

/// Makes a patch of what mends findings. Objects that do not state a namespace are in `default_namespace`, and nothing is
/// added to that one where it `is_assumed`: it would hold for whichever is meant. What is `refused` is not added, for the
/// reason that is given.
#[must_use]
pub fn fixes(
    findings: &[Placed],
    sources: &Sources<'_>,
    default_namespace: &str,
    is_assumed: bool,
    refused: impl Fn(&Object) -> Option<&'static str>,
) -> Fixes {
    let mut by_file: BTreeMap<&str, Work<'_>> = BTreeMap::new();
    let mut fixes = Fixes::default();
    for placed in findings {
        let work = by_file.entry(placed.file.as_str()).or_default();
        match &placed.finding.fix {
            None => fixes.without += 1,
            Some(Fix::Patch(patch)) => work.patches.entry(&placed.finding.object).or_default().push((placed, patch)),
            Some(Fix::Add(objects)) => work.additions.push((placed, objects)),
        }
    }
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut changed: Vec<File> = Vec::new();
    let mut additions: Vec<(usize, &Placed, &[Value])> = Vec::new();
    for (file, work) in by_file {
        if work.patches.is_empty() && work.additions.is_empty() {
            continue;
        }
        let (written, name) = match patchable(file, sources, &mut taken) {
            Ok(patchable) => patchable,
            Err(why) => {
                let patches = work.patches.values().flatten().map(|(placed, _)| placed);
                for placed in patches.chain(work.additions.iter().map(|(placed, _)| placed)) {
                    fixes.leave_out(placed, why);
                }
                continue;
            }
        };
        let unmarked = written.strip_prefix(MARK);
        let is_marked = unmarked.is_some();
        let text = unmarked.map_or_else(|| written.clone(), Arc::from);
        let mended = fixes.patched(&text, work.patches, default_namespace);
        // Further documents would make it something else than one JSON document, which others read too.
        let beside = is_json(&mended).then(|| beside(&name)).map(|new| {
            let is_there = !work.additions.is_empty()
                && (Path::new(&new).symlink_metadata().is_ok() || !taken.insert(new.clone()));
            (new, is_there)
        });
        additions.extend(work.additions.into_iter().map(|(placed, objects)| (changed.len(), placed, objects)));
        let stated = stated_namespaces(&text);
        changed.push(File { name, is_marked, text, mended, beside, beside_text: String::new(), stated });
    }
    // What is for every pod makes others needless, so it comes first.
    additions.sort_by_key(|(_, _, objects)| !objects.iter().any(is_for_every_pod));
    for (file, placed, objects) in additions {
        let Some(file) = changed.get_mut(file) else { continue };
        if is_assumed && objects.iter().any(|object| is_unstated(object, default_namespace, &file.stated)) {
            fixes.leave_out(placed, "which namespace is meant is not said; give --namespace");
            continue;
        }
        if let Some((new, true)) = &file.beside {
            fixes.leave_out(placed, &format!("{new} is there already, and is left as it is"));
            continue;
        }
        let missing: Vec<&Value> =
            objects.iter().filter(|object| !fixes.added.iter().any(|added| makes_needless(added, object))).collect();
        let key = |object: &Value| (object.get("kind").cloned(), object.get("metadata").cloned());
        if missing.iter().any(|object| fixes.added.iter().any(|added| key(added) == key(object))) {
            fixes.leave_out(placed, "another fix adds an object of that name; apply this patch first, and try again");
            continue;
        }
        // What states no namespace goes wherever it is applied to, and what is added to it goes there too.
        let written: Vec<Value> =
            missing.iter().map(|object| unstated(object, default_namespace, &file.stated)).collect();
        let target = if file.beside.is_some() { &mut file.beside_text } else { &mut file.mended };
        match with_objects(target, &written, default_namespace, &refused) {
            Ok(with) => {
                *target = with;
                fixes.mended += 1;
                fixes.added.extend(missing.into_iter().cloned());
            }
            Err(why) => fixes.leave_out(placed, why),
        }
    }
    for file in changed {
        let mark = if file.is_marked { MARK.to_string() } else { String::new() };
        let [old, new] = [&*file.text, &file.mended].map(|text| format!("{mark}{text}"));
        fixes.diff.push_str(&diff::diff(&file.name, Some(&old), &new));
        if let Some((new, _)) = file.beside.filter(|_| !file.beside_text.is_empty()) {
            fixes.diff.push_str(&diff::diff(&new, None, file.beside_text.trim_start_matches("---\n")));
        }
    }
    fixes
}

/// Whether a policy selects every pod of its namespace.
fn is_for_every_pod(object: &Value) -> bool {
    object.pointer("/spec/podSelector").and_then(Value::as_object).is_some_and(Map::is_empty)
}

/// Whether what is added does already what an object is for: it is the same, or says the same of every pod.
fn makes_needless(added: &Value, object: &Value) -> bool {
    let says = |policy: &Value| {
        let mut spec = policy.get("spec")?.as_object()?.clone();
        spec.remove("podSelector")?;
        Some((policy.pointer("/metadata/namespace")?.clone(), spec))
    };
    added == object || is_for_every_pod(added) && says(added).is_some() && says(added) == says(object)
}

/// The text of a file that a patch can change, and its name there.
fn patchable(
    file: &str,
    sources: &Sources<'_>,
    taken: &mut BTreeSet<String>,
) -> Result<(Arc<str>, String), &'static str> {
    if file == "-" {
        return Err("it is in no file that could be changed");
    }
    let text = sources.text(file).ok_or("its file is not UTF-8, or has changed since it was read")?;
    let name = diff::name(file)?;
    diff::lines(&text)?;
    if !taken.insert(name.clone()) {
        return Err("its file is in the patch already, under another name");
    }
    Ok((text, name))
}

/// The file beside one that is not to be added to.
fn beside(name: &str) -> String {
    let stem = [".json", ".yaml", ".yml"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
    format!("{stem}-ringfence.yaml")
}

impl Fixes {
    fn leave_out(&mut self, placed: &Placed, why: &str) {
        let finding = &placed.finding;
        self.left_out.push(format!("{}:{}: {} of {}: {why}", placed.file, placed.at, finding.lint.id, placed.object()));
    }

    /// The text with its objects patched.
    fn patched(
        &mut self,
        text: &str,
        mut patches: BTreeMap<&Object, Vec<(&Placed, &Patch)>>,
        default_namespace: &str,
    ) -> String {
        let mut whole = String::with_capacity(text.len());
        for range in documents(text) {
            let mut document = text.get(range).unwrap_or_default().to_owned();
            let objects: Vec<Object> =
                if patches.is_empty() { Vec::new() } else { objects(&document, default_namespace) };
            for object in objects {
                let Some(wanted) = patches.remove(&object) else { continue };
                let wanted = in_order(wanted);
                let mut touched: Vec<(Vec<String>, bool)> = Vec::new();
                let mut applied: Vec<&Patch> = Vec::new();
                for (placed, patch) in wanted {
                    if applied.contains(&patch) {
                        self.mended += 1;
                        continue;
                    }
                    let targets: Vec<(Vec<String>, bool)> = patch.0.iter().map(target).collect();
                    if targets.iter().any(|(path, appends)| {
                        touched.iter().any(|other| overlap((path, *appends), (&other.0, other.1)))
                    }) {
                        self.leave_out(
                            placed,
                            "another fix changes the same field; apply this patch first, and try again",
                        );
                        continue;
                    }
                    match edit::apply(&document, &object, patch, default_namespace) {
                        Ok(edited) => {
                            document = edited;
                            touched.extend(targets);
                            applied.push(patch);
                            self.mended += 1;
                        }
                        Err(why) => self.leave_out(placed, &format!("{why}; the report says what to write")),
                    }
                }
            }
            whole.push_str(&document);
        }
        for (placed, _) in patches.into_values().flatten() {
            self.leave_out(placed, "the object is not found in the file any more");
        }
        whole
    }
}

/// What a fix changes, and whether it only adds to the end of a list.
fn target(operation: &PatchOperation) -> (Vec<String>, bool) {
    let tokens: Vec<String> = operation.path().tokens().map(|token| token.decoded().into_owned()).collect();
    let appends = tokens.last().is_some_and(|last| last == "-");
    (tokens, appends)
}

fn overlap(a: (&[String], bool), b: (&[String], bool)) -> bool {
    let within = |outer: &[String], inner: &[String]| inner.starts_with(outer);
    // Two items at the end of one list are no contradiction.
    !(a.1 && b.1) && (within(a.0, b.0) || within(b.0, a.0))
}

/// Fixes were made for the object as it is, so those come last that move the items of a list, the hindmost first.
fn in_order<'a>(mut fixes: Vec<(&'a Placed, &'a Patch)>) -> Vec<(&'a Placed, &'a Patch)> {
    let key = |patch: &Patch| -> Vec<(usize, String)> {
        let moves = |operation: &&PatchOperation| {
            let last = target(operation).0.pop().unwrap_or_default();
            last.parse::<usize>().is_ok() && !matches!(operation, PatchOperation::Replace(_))
        };
        let first = patch.0.iter().find(moves).map(|operation| target(operation).0).unwrap_or_default();
        first.into_iter().map(|token| (token.parse().unwrap_or(0), token)).collect()
    };
    fixes.sort_by_cached_key(|(_, patch)| {
        let key = key(patch);
        (!key.is_empty(), std::cmp::Reverse(key))
    });
    fixes
}

fn is_json(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

/// The documents of a text, each with the `---` before it.
fn documents(text: &str) -> Vec<Range<usize>> {
    let mut starts = vec![0];
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let marker =
            line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        if marker && at > 0 {
            starts.push(at);
        }
        at += line.len();
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]).collect::<Vec<_>>();
    starts.into_iter().zip(ends).map(|(start, end)| start..end).collect()
}

/// Which object a manifest is about.
fn identity(object: &manifests::Object, default_namespace: &str) -> Option<Object> {
    let namespace = object.namespace(default_namespace)?.to_owned();
    Some(Object { kind: object.kind.clone(), namespace, name: object.name().to_owned() })
}

fn objects(document: &str, default_namespace: &str) -> Vec<Object> {
    manifests::read("", document).objects.iter().filter_map(|object| identity(object, default_namespace)).collect()
}

/// The namespaces that the objects of a text are or state.
fn stated_namespaces(text: &str) -> BTreeSet<String> {
    let objects = manifests::read("", text).objects;
    let stated = objects.iter().filter_map(|object| match object.kind.as_str() {
        "Namespace" => Some(object.name()),
        _ => object.stated_namespace(),
    });
    stated.map(str::to_owned).collect()
}

/// Whether an object is for the default namespace, and nothing beside it states that one.
fn is_unstated(object: &Value, default_namespace: &str, stated: &BTreeSet<String>) -> bool {
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str);
    !stated.contains(default_namespace) && namespace == Some(default_namespace)
}

/// An object without its namespace, where that is the default one and was not stated.
fn unstated(object: &Value, default_namespace: &str, stated: &BTreeSet<String>) -> Value {
    let mut object = object.clone();
    if is_unstated(&object, default_namespace, stated)
        && let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
    {
        metadata.remove("namespace");
    }
    object
}

fn values(document: &str) -> Option<Vec<Value>> {
    let read = manifests::read("", document);
    read.problems.is_empty().then(|| read.objects.iter().map(manifests::Object::to_value).collect())
}

/// A text with further documents at its end.
fn with_objects(
    text: &str,
    objects: &[Value],
    default_namespace: &str,
    refused: impl Fn(&Object) -> Option<&'static str>,
) -> Result<String, &'static str> {
    let last = documents(text).pop().unwrap_or_default();
    let mut with = text.to_owned();
    let newline = write::newline(text);
    for object in objects {
        let yaml = serde_saphyr::to_string(object).map_err(|_| "it can't be written as YAML")?;
        if let Some(why) = self::objects(&yaml, default_namespace).iter().find_map(&refused) {
            return Err(why);
        }
        if values(&yaml).as_deref() != Some(std::slice::from_ref(object)) {
            return Err("it would not be read again as it is meant");
        }
        if !with.is_empty() && !with.ends_with('\n') {
            with.push_str(newline);
        }
        with.push_str(&format!("---\n{}\n", yaml.trim_end()).replace('\n', newline));
    }
    // A line break at its end can be part of the last value.
    let end = text.len().max(last.start) + with.get(text.len()..).map_or(0, |rest| rest.find("---").unwrap_or(0));
    if !text.is_empty()
        && values(text.get(last.clone()).unwrap_or_default()) != values(with.get(last.start..end).unwrap_or_default())
    {
        return Err("the file's last document would be another");
    }
    Ok(with)
}
