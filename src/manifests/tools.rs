//! Sources of Helm and Kustomize, which are no manifests but make them; and what is nothing of all that.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::files::bytes_of;
use super::input::Form;
use super::source::{Problem, parse_one};
use super::text;

fn has_name(path: &Path, names: &[&str]) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| names.contains(&name))
}

/// Whether a file makes its directory a Helm chart.
pub(super) fn is_chart(path: &Path) -> bool {
    has_name(path, &["Chart.yaml"])
}

/// Whether a file makes its directory one that Kustomize builds.
pub(super) fn is_kustomization(path: &Path) -> bool {
    has_name(path, &["kustomization.yaml", "kustomization.yml", "Kustomization"])
}

/// The chart that a directory is, or is the templates of.
pub(super) fn chart_around(path: &Path) -> Option<PathBuf> {
    if path.join("Chart.yaml").is_file() {
        return Some(path.to_owned());
    }
    let real = path.canonicalize().ok()?;
    (real.file_name()? == "templates" && real.parent()?.join("Chart.yaml").is_file())
        .then(|| path.parent().filter(|parent| parent.join("Chart.yaml").is_file()).map_or(real, Path::to_owned))
        .map(|path| if path.ends_with("templates") { path.parent().unwrap_or(&path).to_owned() } else { path })
}

/// The chart that a file is a template of.
pub(super) fn chart_of(path: &Path) -> Option<PathBuf> {
    let templates = path.ancestors().skip(1).find(|above| has_name(above, &["templates"]))?;
    templates.parent().filter(|chart| chart.join("Chart.yaml").is_file()).map(Path::to_owned)
}

/// What to do with a chart.
pub(super) fn helm(chart: &Path, form: &Form) -> String {
    let renders = format!("helm template {}", shown(chart));
    format!("a Helm chart is no manifest before it is rendered: {}", form.after(&renders))
}

/// What to do with a template.
pub(super) fn template(form: &Form) -> String {
    let run = form.after("helm template CHART");
    format!("this looks like a template, which is no manifest before it is rendered: {run}")
}

/// What to do with a kustomization.
pub(super) fn kustomize(directory: &Path, form: &Form) -> String {
    let renders = format!("kustomize build {}", shown(directory));
    format!("what Kustomize builds is judged, not what it is built from: {}", form.after(&renders))
}

/// A path as a shell takes it.
fn shown(path: &Path) -> String {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    quoted(&path.display().to_string())
}

/// A text as a shell takes it for one argument.
#[must_use]
pub fn quoted(text: &str) -> String {
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+@%:".contains(c)) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// The kustomizations of a directory.
#[derive(Debug, Default)]
pub(super) struct Kustomizations {
    found: Vec<PathBuf>,
    /// The directories that others are built from, links followed.
    used: BTreeSet<PathBuf>,
}

impl Kustomizations {
    pub(super) fn add(&mut self, directory: &Path, file: &Path) {
        self.found.push(directory.to_owned());
        let decoded = bytes_of(file).ok().and_then(|bytes| text::decode(bytes).ok()).unwrap_or_default();
        let Ok(Some(node)) = parse_one(&decoded.text) else { return };
        let value = node.to_value();
        let entries = ["resources", "bases", "components"].into_iter().filter_map(|key| value.get(key)?.as_array());
        for entry in entries.flatten().filter_map(Value::as_str) {
            self.used.extend(directory.join(entry).canonicalize());
        }
    }

    /// What to build: what no other is built from.
    pub(super) fn problems(self, form: &Form) -> Vec<Problem> {
        let is_used = |path: &PathBuf| path.canonicalize().is_ok_and(|path| self.used.contains(&path));
        let (used, roots): (Vec<PathBuf>, Vec<PathBuf>) = self.found.into_iter().partition(is_used);
        // In a circle there is none; Kustomize says so.
        let roots = if roots.is_empty() { used } else { roots };
        let problem = |path: PathBuf| {
            let file = path.display().to_string();
            Problem { file, at: None, message: kustomize(&path, form) }
        };
        roots.into_iter().map(problem).collect()
    }
}

/// What every object says.
const KEYS: [&str; 2] = ["apiVersion", "kind"];

/// Whether a file that nobody named may hold a manifest: one that has neither word can't, in UTF-16 too. What is written
/// with escapes is read to find out.
pub(super) fn may_be_manifest(bytes: &[u8]) -> bool {
    let without_zeros: Vec<u8>;
    let bytes = if bytes.contains(&0) {
        without_zeros = bytes.iter().copied().filter(|byte| *byte != 0).collect();
        without_zeros.as_slice()
    } else {
        bytes
    };
    let has = |word: &str| bytes.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word.as_bytes()));
    KEYS.into_iter().any(has) || bytes.contains(&b'\\')
}

/// Whether a text that can't be read was meant as a manifest: it has one of the two keys, in any case, at the beginning of
/// a line, whatever the indent, or of a map in braces.
pub(super) fn looks_like_manifest(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    KEYS.into_iter().any(|key| {
        let key = key.to_ascii_lowercase();
        lower.match_indices(&key).any(|(at, _)| {
            let before = lower.get(..at).unwrap_or_default();
            let bare = before.trim_end_matches(['"', '\'']);
            let after = lower.get(at + key.len()..).unwrap_or_default().trim_start_matches(['"', '\'', ' ', '\t']);
            after.starts_with(':') && (begins_line(bare) || begins_entry(bare, bare.len() < before.len()))
        })
    })
}

/// Whether nothing but an indent, marks of items and opening brackets comes after the last line break.
fn begins_line(before: &str) -> bool {
    let line = before.trim_end_matches([' ', '\t', '-', '[', '{', '\u{feff}', '"', '\'']);
    line.is_empty() || line.ends_with(['\n', '\r'])
}

/// Whether an entry of a map begins here. Text that is in no quotes has commas before blanks.
fn begins_entry(before: &str, quoted: bool) -> bool {
    let before = if quoted { before.trim_end() } else { before };
    before.ends_with(['{', ','])
}

/// Whether a value that is no object was meant as some: it has the two keys in another case, or is a list of objects.
pub(super) fn is_nearly_manifest(value: &Value) -> Option<&'static str> {
    let has = |value: &Value, key: &str| {
        value.as_object().is_some_and(|entries| entries.keys().any(|other| other.eq_ignore_ascii_case(key)))
    };
    if value.is_object() {
        return KEYS.into_iter().any(|key| has(value, key)).then_some(
            "this is no Kubernetes object: apiVersion and kind must be there, with capitals as here and no others",
        );
    }
    let is_list = value.as_array()?.iter().any(|item| KEYS.into_iter().all(|key| has(item, key)));
    is_list.then_some(
        "this is no Kubernetes object but a list of them, which kubectl does not take; write them one after another \
         with lines of --- between them",
    )
}
