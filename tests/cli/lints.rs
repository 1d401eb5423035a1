//! Every lint by its fixtures: `tests/fixtures/lint/ID/` holds manifests that `check` finds it in (`fails-….yaml`) and
//! manifests that it does not (`passes-….yaml`). A comment `# finds: PATH` in a failing one says at which field, once per
//! finding, and `# check: ARGUMENTS` what `check` is run with. What else is found there does not matter.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ringfence_core::policy::lint::catalogue;
use serde_json::Value;

use crate::run::{check, ringfence};

pub(crate) fn fixtures(id: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lint").join(id);
    let Ok(entries) = std::fs::read_dir(&directory) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// What the comments of a fixture say after a word.
pub(crate) fn said<'t>(text: &'t str, word: &'t str) -> impl Iterator<Item = &'t str> {
    text.lines().filter_map(move |line| line.strip_prefix("# ")?.strip_prefix(word)?.strip_prefix(": ")).map(str::trim)
}

fn wrong_with(id: &str, file: &Path) -> Option<String> {
    let name = file.file_stem().unwrap().to_str().unwrap();
    let text = std::fs::read_to_string(file).unwrap();
    let path = file.to_str().unwrap();
    let mut arguments = vec!["check", path, "-o", "json"];
    arguments.extend(said(&text, "check").flat_map(str::split_whitespace));
    let ran = ringfence(&arguments);
    if ran.code == 2 {
        return Some(format!("{path}: {}", ran.stderr));
    }
    let report = ran.json();
    let found: Vec<&Value> =
        report["findings"].as_array().unwrap().iter().filter(|finding| finding["id"] == id).collect();
    let paths: BTreeSet<&str> = found.iter().map(|finding| finding["path"].as_str().unwrap()).collect();
    if name.starts_with("passes") {
        return (!found.is_empty()).then(|| format!("{path}: {id} is found at {paths:?}"));
    }
    assert!(name.starts_with("fails"), "{path}: neither passes-… nor fails-…");
    let expected: BTreeSet<&str> =
        said(&text, "finds").map(|path| if path == "the object" { "" } else { path }).collect();
    assert!(!expected.is_empty(), "{path}: no comment \"# finds: PATH\", or \"# finds: the object\"");
    if paths != expected {
        return Some(format!("{path}: {id} is found at {paths:?} and not at {expected:?}: {:#}", report["findings"]));
    }
    // A finding is of use only with a place, an effect and a way out.
    let blank =
        |finding: &&Value| finding["line"] == 0 || ["message", "fix", "file"].iter().any(|field| finding[field] == "");
    found.into_iter().find(blank).map(|finding| format!("{path}: something is missing: {finding:#}"))
}

#[test]
fn every_lint_finds_what_its_fixtures_show_and_nothing_in_those_that_are_right() {
    let mut wrong = Vec::new();
    for lint in catalogue::ALL {
        let files = fixtures(lint.id);
        for kind in ["fails", "passes"] {
            if !files.iter().any(|file| file.file_name().unwrap().to_str().unwrap().starts_with(kind)) {
                wrong.push(format!("{}: no fixture that {kind}", lint.id));
            }
        }
        wrong.extend(files.iter().filter_map(|file| wrong_with(lint.id, file)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_an_annotation_switches_off_is_told_with_its_reason() {
    let manifests = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lint/unused-suppression/passes-used.yaml"),
    );
    let manifests = manifests.unwrap();
    let report = check(&manifests, &["-o", "json"]).json();
    let accepted = report["accepted"].as_array().unwrap();
    assert!(!accepted.is_empty() && accepted.iter().all(|one| one.to_string().contains("annotation")), "{report:#}");
    let sarif = check(&manifests, &["-o", "sarif"]).json();
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let justified = results.iter().filter(|result| result["suppressions"][0]["justification"].is_string()).count();
    assert_eq!(justified, accepted.len(), "{sarif:#}");
}

#[test]
fn a_selector_that_every_namespace_meets_is_judged_as_an_empty_one() {
    let findings = |selector: &str, rest: &str| {
        let manifests = format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: p\n  namespace: team-a\nspec:\n  podSelector: \
             {{}}\n  policyTypes:\n  - Ingress\n  - Egress\n  ingress:\n  - from:\n    - namespaceSelector: {selector}\n{rest}"
        );
        let mut report = check(&manifests, &["-o", "json"]).json();
        report["findings"].take()
    };
    let name = |rest: &str| format!("{{matchExpressions: [{{key: kubernetes.io/metadata.name, operator: {rest}}}]}}");
    for rest in [
        "",
        "    ports:\n    - protocol: TCP\n      port: 80\n",
        "      podSelector:\n        matchLabels:\n          app: web\n",
        "    - podSelector:\n        matchLabels:\n          app: web\n",
    ] {
        let empty = findings("{}", rest);
        assert_eq!(findings(&name("Exists"), rest), empty, "{rest}");
        assert_eq!(findings(&name("NotIn, values: ['']"), rest), empty, "{rest}");
    }
}
