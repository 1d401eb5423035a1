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
use serde_json::Value;

use crate::manifests;
use crate::report::{Placed, Sources};

/// What came of it.
#[derive(Debug, Default)]
pub struct Fixes {
    /// A unified diff for `git apply` or `patch -p1`; empty where there is nothing to change.
    pub diff: String,
    /// How many findings it mends.
    pub mended: usize,
    /// How many findings there is no fix for that needs no decision of a person.
    pub without: usize,
    /// Why a fix is not in the diff, a line each.
    pub left_out: Vec<String>,
}

/// What is to be done in a file.
#[derive(Default)]
struct Work<'a> {
    patches: BTreeMap<&'a Object, Vec<(&'a Placed, &'a Patch)>>,
    additions: Vec<(&'a Placed, &'a [Value])>,
}

/// Makes a patch of what mends findings. Objects that do not state a namespace are in `default_namespace`, and nothing is
/// added to that one where it `is_assumed`: it would hold for whichever is meant. An object that is `known` already is not
/// added.
#[must_use]
pub fn fixes(
    findings: &[Placed],
    sources: &Sources<'_>,
    default_namespace: &str,
    is_assumed: bool,
    known: impl Fn(&Object) -> bool,
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
    for (file, work) in by_file {
        if work.patches.is_empty() && work.additions.is_empty() {
            continue;
        }
        let (text, name) = match patchable(file, sources, &mut taken) {
            Ok(patchable) => patchable,
            Err(why) => {
                let patches = work.patches.values().flatten().map(|(placed, _)| placed);
                for placed in patches.chain(work.additions.iter().map(|(placed, _)| placed)) {
                    fixes.leave_out(placed, why);
                }
                continue;
            }
        };
        let mut mended = fixes.patched(&text, work.patches, default_namespace);
        // Further documents would make it something else than one JSON document, which others read too.
        let beside_name = is_json(&mended).then(|| beside(&name));
        let is_there = beside_name.as_deref().is_some_and(|new| {
            !work.additions.is_empty() && (Path::new(new).symlink_metadata().is_ok() || !taken.insert(new.to_owned()))
        });
        let mut beside = String::new();
        let mut added: BTreeSet<String> = BTreeSet::new();
        let stated = stated_namespaces(&text);
        for (placed, objects) in work.additions {
            if is_assumed && objects.iter().any(|object| is_unstated(object, default_namespace, &stated)) {
                fixes.leave_out(placed, "which namespace is meant is not said; give --namespace");
                continue;
            }
            if let Some(new) = beside_name.as_deref().filter(|_| is_there) {
                fixes.leave_out(placed, &format!("{new} is there already, and is left as it is"));
                continue;
            }
            let target = if beside_name.is_some() { &mut beside } else { &mut mended };
            // What states no namespace goes wherever it is applied to, and what is added to it goes there too.
            let objects: Vec<Value> =
                objects.iter().map(|object| unstated(object, default_namespace, &stated)).collect();
            match with_objects(target, &objects, &mut added, default_namespace, &known) {
                Ok(with) => {
                    *target = with;
                    fixes.mended += 1;
                }
                Err(why) => fixes.leave_out(placed, why),
            }
        }
        fixes.diff.push_str(&diff::diff(&name, Some(&text), &mended));
        if let Some(new) = beside_name.filter(|_| !beside.is_empty()) {
            fixes.diff.push_str(&diff::diff(&new, None, beside.trim_start_matches("---\n")));
        }
    }
    fixes
}

/// The text of a file that a patch can change, and its name there.
fn patchable(
    file: &str,
    sources: &Sources<'_>,
    taken: &mut BTreeSet<String>,
) -> Result<(Arc<str>, String), &'static str> {
    let text = sources.text(file).filter(|_| file != "-").ok_or("it is in no file that could be changed")?;
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
    added: &mut BTreeSet<String>,
    default_namespace: &str,
    known: impl Fn(&Object) -> bool,
) -> Result<String, &'static str> {
    let last = documents(text).pop().unwrap_or_default();
    let mut with = text.to_owned();
    let newline = write::newline(text);
    let mut news = Vec::new();
    for object in objects.iter().filter(|object| !added.contains(&object.to_string())) {
        let yaml = serde_saphyr::to_string(object).map_err(|_| "it can't be written as YAML")?;
        if self::objects(&yaml, default_namespace).iter().any(&known) {
            return Err("an object of that name is there already; the report says what to write");
        }
        if values(&yaml).as_deref() != Some(std::slice::from_ref(object)) {
            return Err("it would not be read again as it is meant");
        }
        if !with.is_empty() && !with.ends_with('\n') {
            with.push_str(newline);
        }
        with.push_str(&format!("---\n{}\n", yaml.trim_end()).replace('\n', newline));
        news.push(object.to_string());
    }
    // A line break at its end can be part of the last value.
    let end = text.len().max(last.start) + with.get(text.len()..).map_or(0, |rest| rest.find("---").unwrap_or(0));
    if !text.is_empty()
        && values(text.get(last.clone()).unwrap_or_default()) != values(with.get(last.start..end).unwrap_or_default())
    {
        return Err("the file's last document would be another");
    }
    added.extend(news);
    Ok(with)
}
