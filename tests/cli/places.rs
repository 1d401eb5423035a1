//! Where fields are said to be: the line and column that an editor shows, in characters, for YAML and JSON.

use std::path::{Path, PathBuf};

use ringfence::manifests::{self, Origin};

use crate::run::{check, ringfence_in};

/// A text with `«` before each place that is looked for, in order; without the marks, and with the places.
fn marked(text: &str) -> (String, Vec<(u64, u64)>) {
    let (mut plain, mut places) = (String::new(), Vec::new());
    let (mut line, mut column) = (1, 1);
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '«' => {
                places.push((line, column));
                continue;
            }
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' | '\r' => (line, column) = (line + 1, 1),
            _ => column += 1,
        }
        plain.push(char);
    }
    (plain, places)
}

/// Where each path of each object is, once as the text is at hand and once as its file is read again.
fn places(name: &str, bytes: &[u8], paths: &[&str]) -> [Vec<(u64, u64)>; 2] {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(name);
    std::fs::write(&file, bytes).unwrap();
    let mut at_hand = Vec::new();
    let mut origins: Vec<Origin> = Vec::new();
    let read = manifests::each(&[file], |object| {
        at_hand.extend(paths.iter().map(|path| object.position_of(path)));
        origins.push(object.origin());
    });
    assert_eq!(read.problems, []);
    let wanted = origins.iter().flat_map(|origin| paths.iter().map(move |path| (origin, *path)));
    let again = read.sources.locate(wanted);
    [at_hand, again].map(|places| places.into_iter().map(|at| (at.line, at.column)).collect())
}

#[track_caller]
fn are_at_the_marks(name: &str, text: &str, paths: &[&str]) {
    let (plain, expected) = marked(text);
    for bytes in [plain.clone().into_bytes(), format!("\u{feff}{plain}").into_bytes()] {
        for found in places(name, &bytes, paths) {
            assert_eq!(found, expected, "{plain}");
        }
    }
}

#[test]
fn a_field_is_where_its_key_is_and_an_item_where_it_begins() {
    let text = "# comment
---
«apiVersion: v1
kind: X
«spec:
  «a:
  - b
  - «c: d
    «e: {«f.g/h: [1, «\"2\"]}
";
    let paths = ["", "spec", "spec.a", "spec.a[1]", "spec.a[1].e", "spec.a[1].e.f.g/h", "spec.a[1].e.f.g/h[1]"];
    are_at_the_marks("a.yaml", text, &paths);
}

#[test]
fn what_is_not_there_is_where_the_way_to_it_ends() {
    let text = "apiVersion: v1\nkind: X\n«spec:\n  «a:\n  - b\n";
    are_at_the_marks("a.yaml", text, &["spec.none.c", "spec.a[7].b"]);
}

#[test]
fn columns_count_characters_whatever_ends_the_lines() {
    for (end, marker) in [("\n", "\n---\n"), ("\r\n", "\r\n---\r\n"), ("\r", "\n---\n")] {
        let text = format!(
            "apiVersion: v1{end}kind: X{end}# 😀é{end}é: {{😀: 1, «b: 2}}{marker}{{apiVersion: v1, kind: X, é: {{ü: ß, «b: 1}}}}{end}"
        );
        are_at_the_marks("a.yaml", &text, &["é.b"]);
        let text = format!(
            "{{\"apiVersion\": \"v1\",{end}\t\"kind\": \"X\",{end}\t\"é\":\t{{\"😀\": \"\\ud83d\\ude00ü\", «\"b\": [1]}}}} {{\"apiVersion\": \"é\", \"kind\": \"X\", \"é\": {{«\"b\": 1}}}}{end}"
        );
        are_at_the_marks("a.json", &text, &["é.b"]);
    }
}

#[test]
fn json_documents_on_one_line_and_after_yaml_have_their_own_columns() {
    let text = "«{\"apiVersion\": \"v1\", \"kind\": \"X\"}«{\"apiVersion\": \"v1\", \"kind\": \"X\"}  «{\"apiVersion\":\n\"v1\", \"kind\": \"X\"}\n\n «{\"apiVersion\": \"v1\", \"kind\": \"X\"}\n---\n# c\n«apiVersion: v1\nkind: X\n--- «{\"apiVersion\": \"v1\", \"kind\": \"X\"}\n# the end\n";
    are_at_the_marks("a.yaml", text, &[""]);
}

#[test]
fn items_of_lists_in_lists_have_their_own_places_in_yaml_and_in_json() {
    let yaml = "kind: List
apiVersion: v1
items:
- «apiVersion: v1
  kind: X
  «a: 1
- apiVersion: v1
  kind: PodList
  items:
  - «{apiVersion: v1, kind: Pod, «a: 2}
";
    are_at_the_marks("a.yaml", yaml, &["", "a"]);
    let json = "{\"items\": [«{\"apiVersion\": \"v1\", \"kind\": \"X\",\n  «\"a\": 1},\n{\"kind\": \"PodList\", \"apiVersion\": \"v1\", \"items\":\n [«{\"apiVersion\": \"v1\", \"kind\": \"X\", «\"a\": 1}]}],\n\"kind\": \"List\", \"apiVersion\": \"v1\"}";
    are_at_the_marks("a.json", json, &["", "a"]);
}

#[test]
fn what_an_alias_stands_for_is_where_the_alias_is_and_what_is_in_it_at_the_anchor() {
    let text = "apiVersion: v1
kind: X
first: &peer
  «labels:
    «app: web
list:
- «*peer
- &item {«b: [1, «{c: d}]}
- «*item
«spec: *peer
";
    let (plain, marks) = marked(text);
    let [labels, app, alias, b, c, second, spec] = marks.try_into().unwrap();
    let paths = [
        ("spec", spec),
        ("spec.labels", labels),
        ("spec.labels.app", app),
        ("list[0]", alias),
        ("list[0].labels.app", app),
        ("list[2]", second),
        ("list[2].b", b),
        ("list[2].b[1]", c),
        ("first.labels.app", app),
    ];
    for (path, expected) in paths {
        for found in places("a.yaml", plain.as_bytes(), &[path]) {
            assert_eq!(found, [expected], "{path}");
        }
    }
}

#[test]
fn what_a_merge_key_takes_over_is_at_the_anchor_and_what_is_written_over_it_in_the_object() {
    let text = "apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: X
  base: &base {«a: {«b: 1}, c: 2}
- apiVersion: v1
  kind: X
  base:
    <<: *base
    «c: 3
";
    let (plain, marks) = marked(text);
    let [a, b, c] = marks.try_into().unwrap();
    for (path, expected) in [("base.a", a), ("base.a.b", b), ("base.c", c)] {
        for found in places("a.yaml", plain.as_bytes(), &[path]) {
            assert_eq!(found[1], expected, "{path}");
        }
    }
}

#[test]
fn a_problem_in_an_alias_is_said_of_the_object_that_uses_it_at_the_text_to_be_edited() {
    let ran = check(
        "apiVersion: v1
kind: List
items:
- apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: one, namespace: a}
  spec: {podSelector: {}, ingress: [{ports: &ports [{port: 0}]}]}
- apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: two, namespace: a}
  spec: {podSelector: {}, ingress: [{ports: *ports}]}
",
        &[],
    );
    for name in ["one", "two"] {
        assert!(ran.stderr.contains(&format!("-:7:54: NetworkPolicy \"{name}\"")), "{}", ran.stderr);
    }
}

/// A document for each of many, and how it is changed after it was read.
fn after(change: impl Fn(&Path)) -> Vec<(u64, u64)> {
    let directory = tempfile::tempdir().unwrap();
    let file: PathBuf = directory.path().join("a.yaml");
    std::fs::write(&file, "# 1\n---\napiVersion: v1\nkind: X\nspec: {a: 1}\n---\napiVersion: v1\nkind: X\nspec: 1\n")
        .unwrap();
    let mut origins = Vec::new();
    let read = manifests::each(std::slice::from_ref(&file), |object| origins.push(object.origin()));
    change(&file);
    let places = read.sources.locate(origins.iter().map(|origin| (origin, "spec")));
    places.into_iter().map(|at| (at.line, at.column)).collect()
}

#[test]
fn of_what_changed_since_it_was_read_the_document_is_all_that_is_said() {
    assert_eq!(after(|_| {}), [(5, 1), (9, 1)]);
    let write = |text: &'static str| move |file: &Path| std::fs::write(file, text).unwrap();
    assert_eq!(after(write("")), [(1, 1), (6, 1)]);
    assert_eq!(after(write("é")), [(1, 1), (6, 1)]);
    assert_eq!(after(write("éééééééééééééééééééééééééééééééééééééééé")), [(1, 1), (6, 1)]);
    assert_eq!(after(|file| std::fs::write(file, [0xff; 200]).unwrap()), [(1, 1), (6, 1)]);
    assert_eq!(after(|file| std::fs::remove_file(file).unwrap()), [(1, 1), (6, 1)]);
    let same_length = "# 1\n---\napiVersion: v1\nkind: X\nspec: {a: 1}\n---\napiVersion: v1\nkind: X\n\nabc: 1";
    assert_eq!(after(write(same_length)), [(5, 1), (6, 1)], "what did not change is still found");
}

#[test]
fn the_text_that_places_count_in_can_be_had_again() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.yaml");
    std::fs::write(&file, "\u{feff}apiVersion: v1\r\nkind: é\r\n").unwrap();
    let read = manifests::each(std::slice::from_ref(&file), |_| {});
    assert_eq!(read.sources.text(file.to_str().unwrap()).as_deref(), Some("apiVersion: v1\r\nkind: é\r\n"));
    assert_eq!(read.sources.text("none"), None);
}

#[test]
fn findings_are_placed_in_files_that_are_read_again_and_in_standard_input() {
    let text = "{\"apiVersion\": \"v1\", \"kind\": \"Namespace\", \"metadata\": {\"name\": \"b\"}} {\"apiVersion\": \"v1\", \"kind\": \"Namespace\", \"metadata\": {\"name\": \"c\"}}\n---\n# comment\napiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n";
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a.yaml"), text).unwrap();
    for (path, stdin) in [("a.yaml", ""), ("-", text)] {
        let report = ringfence_in(directory.path(), &["check", path, "-o", "json"], stdin).json();
        let found = report["findings"].as_array().unwrap().iter();
        let mut places: Vec<(u64, u64)> =
            found.map(|finding| (finding["line"].as_u64().unwrap(), finding["column"].as_u64().unwrap())).collect();
        places.dedup();
        assert_eq!(places, [(1, 1), (1, 70), (4, 1)]);
    }
}
