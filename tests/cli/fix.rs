//! `check --fix`, with the real `git apply`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use ringfence::fix::{Fixes, fixes};
use ringfence::manifests::{self, Position};
use ringfence::report::{Meaning, Placed, Sources};
use ringfence_core::policy::lint::{Finding, Fix, Object, catalogue};
use serde_json::{Value, json};

use crate::run::{check, ringfence_in};

const WEB: &str = "# The web.
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: team-a}
spec:
  podSelector: {matchLabels: {app: web}}   # only the web
  ingress:
  - from:
    - ipBlock:
        cidr: 0.0.0.0/0  # everyone
  - {}
  egress:
  - to:
    - ipBlock: {cidr: 0.0.0.0/0}
    ports:
    - port: 443
---
# Another.
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: other, namespace: team-a}
spec: {podSelector: {}}
";

pub(crate) fn write(directory: &Path, file: &str, text: &str) {
    let file = directory.join(file);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, text).unwrap();
}

/// Runs `git apply` with a patch on its standard input.
pub(crate) fn git_apply(directory: &Path, patch: &str) {
    use std::io::Write;
    let mut child = Command::new("git")
        .args(["apply", "--whitespace=nowarn", "-"])
        .current_dir(directory)
        // The directory is in no repository, whatever is around it.
        .env("GIT_CEILING_DIRECTORIES", directory.parent().unwrap())
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(patch.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}\n{patch}", String::from_utf8_lossy(&output.stderr));
}

fn placed(file: &str, name: &str, fix: Fix) -> Placed {
    let finding = Finding::new(&catalogue::TYPES_MISSING, Object::policy("team-a", name), "m").fix(fix);
    Placed { finding, file: file.to_owned(), at: Position { line: 1, column: 1 }, meaning: Meaning::default() }
}

fn patch(file: &str, name: &str, operations: Value) -> Placed {
    placed(file, name, Fix::Patch(serde_json::from_value(operations).unwrap()))
}

fn fixed(file: &str, text: &str, findings: &[Placed]) -> Fixes {
    let sources = Sources::new(|asked| (asked == file).then(|| Arc::from(text)));
    fixes(findings, &sources, "default", false, |_| None)
}

/// What a file is after the patch, by the real `git apply`.
fn applied(file: &str, text: &str, fixes: &Fixes) -> String {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), file, text);
    git_apply(directory.path(), &fixes.diff);
    std::fs::read_to_string(directory.path().join(file)).unwrap()
}

#[test]
fn several_fixes_of_one_file_are_one_patch_that_git_takes_and_comments_stay() {
    let file = "k8s/team a/web.yaml";
    let findings = [
        patch(file, "web", json!([{ "op": "remove", "path": "/spec/ingress/1" }])),
        patch(file, "web", json!([{ "op": "add", "path": "/spec/policyTypes", "value": ["Ingress", "Egress"] }])),
        patch(
            file,
            "web",
            json!([{ "op": "replace", "path": "/spec/ingress/0/from/0/ipBlock/cidr", "value": "10.0.0.0/8" }]),
        ),
        patch(
            file,
            "web",
            json!([{ "op": "add", "path": "/spec/egress/0/ports/-", "value": { "port": 53, "protocol": "UDP" } }]),
        ),
        patch(
            file,
            "web",
            json!([{ "op": "add", "path": "/spec/egress/0/ports/-", "value": { "port": 53, "protocol": "TCP" } }]),
        ),
        patch(
            file,
            "web",
            json!([{ "op": "add", "path": "/spec/egress/0/to/0/ipBlock/except", "value": ["169.254.169.254/32"] }]),
        ),
        patch(file, "other", json!([{ "op": "add", "path": "/spec/policyTypes", "value": ["Ingress"] }])),
    ];
    let fixes = fixed(file, WEB, &findings);
    assert_eq!((fixes.mended, fixes.without, fixes.left_out.as_slice()), (7, 0, &[] as &[String]));
    insta::assert_snapshot!(fixes.diff);
    let after = applied(file, WEB, &fixes);
    for comment in ["# The web.", "# only the web", "# everyone", "# Another."] {
        assert!(after.contains(comment), "{comment}: {after}");
    }
    let read = manifests::read(file, &after);
    assert!(read.problems.is_empty());
    assert_eq!(
        read.objects[0].to_value()["spec"],
        json!({
            "podSelector": { "matchLabels": { "app": "web" } },
            "ingress": [{ "from": [{ "ipBlock": { "cidr": "10.0.0.0/8" } }] }],
            "egress": [{
                "to": [{ "ipBlock": { "cidr": "0.0.0.0/0", "except": ["169.254.169.254/32"] } }],
                "ports": [{ "port": 443 }, { "port": 53, "protocol": "UDP" }, { "port": 53, "protocol": "TCP" }],
            }],
            "policyTypes": ["Ingress", "Egress"],
        })
    );
}

#[test]
fn what_is_mended_by_fix_passes_afterwards() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "k8s/ns.yaml", "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: team-a # the first");
    write(directory.path(), "k8s/deny.json", &json!({ "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": { "name": "deny", "namespace": "team-b" }, "spec": { "podSelector": {} } }).to_string());
    let exposed = |ran: &crate::run::Ran| {
        let report = ran.json();
        let states = report["namespaces"].as_array().unwrap().iter().filter(|ns| ns["state"] == "exposed");
        states.count()
    };
    assert_eq!(exposed(&ringfence_in(directory.path(), &["check", "k8s", "-o", "json"], "")), 2);
    let ran = ringfence_in(directory.path(), &["check", "--fix", "k8s"], "");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("the patch mends "), "{}", ran.stderr);
    git_apply(directory.path(), &ran.stdout);
    let again = ringfence_in(directory.path(), &["check", "k8s", "-o", "json"], "");
    assert_eq!(exposed(&again), 0, "{}{}", again.stdout, ran.stdout);
    assert!(std::fs::read_to_string(directory.path().join("k8s/ns.yaml")).unwrap().contains("# the first\n---\n"));
    // A JSON file stays one document: what is added is in a file beside it.
    assert!(directory.path().join("k8s/deny-ringfence.yaml").exists());
    // What was added is not added again.
    let ran = ringfence_in(directory.path(), &["check", "--fix", "k8s"], "");
    assert!(!ran.stdout.contains("+  name: default-deny"), "{}", ran.stdout);
}

#[test]
fn git_and_patch_take_files_without_a_last_line_break_and_with_windows_line_breaks() {
    let operations = || json!([{ "op": "add", "path": "/spec/policyTypes", "value": ["Ingress"] }]);
    for text in [WEB.trim_end().to_owned(), WEB.replace('\n', "\r\n")] {
        let fixes =
            fixed("a.yaml", &text, &[patch("a.yaml", "web", operations()), patch("a.yaml", "other", operations())]);
        assert_eq!(fixes.left_out, Vec::<String>::new());
        let after = applied("a.yaml", &text, &fixes);
        assert_eq!(after.matches("policyTypes").count(), 2, "{after}");
        assert!(!text.contains('\r') || !after.replace("\r\n", "").contains('\n'), "{after:?}");
    }
}

#[test]
fn a_fix_that_a_small_edit_can_not_make_is_left_out_and_said_and_the_others_are_made() {
    let text = "x: &all {cidr: 0.0.0.0/0}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: team-a}
spec:
  podSelector: {}
  egress:
  - to:
    - ipBlock: *all
  ingress:
  - from:
    - ipBlock: *all
";
    let findings = [
        patch(
            "a.yaml",
            "web",
            json!([{ "op": "replace", "path": "/spec/egress/0/to/0/ipBlock/cidr", "value": "10.0.0.0/8" }]),
        ),
        patch("a.yaml", "web", json!([{ "op": "add", "path": "/spec/policyTypes", "value": ["Ingress"] }])),
        patch("a.yaml", "web", json!([{ "op": "add", "path": "/spec/policyTypes", "value": ["Egress"] }])),
        patch("a.yaml", "gone", json!([{ "op": "remove", "path": "/spec/a" }])),
    ];
    let fixes = fixed("a.yaml", text, &findings);
    assert_eq!(fixes.mended, 1);
    assert_eq!(fixes.left_out.len(), 3, "{:?}", fixes.left_out);
    assert!(
        fixes
            .left_out
            .iter()
            .any(|line| line.starts_with("a.yaml:1:1: types-missing of NetworkPolicy web of team-a: "))
    );
    assert!(
        fixes.left_out.iter().any(|line| line.contains("another fix changes the same field")),
        "{:?}",
        fixes.left_out
    );
    assert_eq!(applied("a.yaml", text, &fixes), format!("{text}  policyTypes:\n  - Ingress\n"));
}

#[test]
fn items_are_removed_by_their_place_before_any_fix_moved_them() {
    let text = format!(
        "{}\n  ingress: [{{ports: [{{port: 1}}]}}, {{ports: [{{port: 2}}]}}, {{ports: [{{port: 3}}]}}]\n",
        WEB.split("\n  ingress").next().unwrap()
    );
    let remove =
        |index: usize| patch("a.yaml", "web", json!([{ "op": "remove", "path": format!("/spec/ingress/{index}") }]));
    let replace =
        patch("a.yaml", "web", json!([{ "op": "replace", "path": "/spec/ingress/1/ports/0/port", "value": 9 }]));
    let fixes = fixed("a.yaml", &text, &[remove(0), remove(2), replace]);
    let after = applied("a.yaml", &text, &fixes);
    assert!(after.contains("ingress: [{ports: [{port: 9}]}]"), "{after}{:?}", fixes.left_out);
}

#[test]
fn nothing_is_added_that_is_there_already_or_twice() {
    let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "c", "namespace": "team-a" } });
    let add = || placed("a.yaml", "web", Fix::Add(vec![object.clone()]));
    let twice = fixed("a.yaml", WEB, &[add(), add()]);
    assert_eq!((twice.mended, applied("a.yaml", WEB, &twice).matches("ConfigMap").count()), (2, 1));
    let sources = Sources::new(|_| Some(Arc::from(WEB)));
    let known = fixes(&[add()], &sources, "default", false, |object| (object.name == "c").then_some("it is there"));
    assert_eq!(known.diff, "");
    assert!(known.left_out[0].contains("it is there"), "{:?}", known.left_out);
}

#[test]
fn what_is_added_states_a_namespace_only_where_what_is_there_states_one_and_is_left_out_where_nobody_says_which() {
    let deny = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: deny\nspec:\n  podSelector: {}\n  \
                policyTypes: [Ingress]\n";
    let stated = deny.replace("name: deny", "name: deny\n  namespace: default");
    let namespace = format!("{deny}---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: default\n");
    for (manifests, arguments, states) in [
        (deny, vec![], None),
        (deny, vec!["--namespace", "default"], Some(false)),
        (&stated, vec![], Some(true)),
        (&namespace, vec![], Some(true)),
    ] {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "a.yaml", manifests);
        let ran = ringfence_in(directory.path(), &[&["check", "--fix", "a.yaml"], &arguments[..]].concat(), "");
        let adds = ran.stdout.contains("\n+  name: default-deny-egress\n");
        assert_eq!(adds, states.is_some(), "{}{}", ran.stdout, ran.stderr);
        let Some(says) = states else {
            assert_eq!(ran.stdout, "");
            let why =
                "baseline-incomplete of Namespace default: which namespace is meant is not said; give --namespace\n";
            assert!(ran.stderr.contains(why), "{}", ran.stderr);
            continue;
        };
        assert_eq!(ran.stdout.contains("\n+  namespace: default\n"), says, "{}", ran.stdout);
        git_apply(directory.path(), &ran.stdout);
    }
}

#[test]
fn standard_input_is_no_file_to_patch() {
    let ran = check("apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n", &["--fix"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""));
    assert!(ran.stderr.contains("it is in no file that could be changed"), "{}", ran.stderr);
    assert_eq!(check("foo: [\n", &["--fix"]).code, 2);
    assert_eq!(check("", &["--fix", "-o", "json"]).code, 2);
}

#[test]
fn a_mark_in_front_of_the_text_stays_there() {
    let directory = tempfile::tempdir().unwrap();
    // The patch is at the first line too.
    let text = format!("\u{feff}{}", "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: team-a\n");
    write(directory.path(), "a.yaml", &text);
    let ran = ringfence_in(directory.path(), &["check", "--fix", "a.yaml"], "");
    assert!(ran.stderr.contains("the patch mends 2 of 2 findings"), "{}", ran.stderr);
    git_apply(directory.path(), &ran.stdout);
    let after = std::fs::read_to_string(directory.path().join("a.yaml")).unwrap();
    assert!(after.starts_with(&text) && after.matches('\u{feff}').count() == 1, "{after:?}");
    assert_eq!(ringfence_in(directory.path(), &["check", "a.yaml"], "").code, 0, "{after}");
}

#[test]
fn files_that_a_patch_can_not_name_or_must_not_follow_are_left_out_and_not_counted() {
    let directory = tempfile::tempdir().unwrap();
    let policy = |name: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: {name}\n  namespace: team-a\nspec:\n  \
             podSelector: {{}}\n  policyTypes: [Ingress]\n  ingress:\n  - from:\n    - podSelector: {{}}\n    ports:\n    - port: 80\n"
        )
    };
    let here = directory.path().join("here");
    let injected = "a\n--- a/victim\n+++ b/victim\n@@ -1 +1 @@\n-old\n+new\n.yaml";
    let names = [injected, "q\"x.yaml", "it's.yaml", "back\\slash.yaml", "tab\tx.yaml"];
    // A directory of that name would be what the slashes in it make.
    for (i, name) in names.into_iter().enumerate() {
        write(&here, name, &policy(&format!("bad{i}")));
    }
    write(&here, "lone.yaml", &policy("lone").replace("spec:", "# one\r# two\nspec:"));
    write(&here, "two words.yaml", &policy("good"));
    write(&here, "plain.yaml", &policy("plain"));
    write(directory.path(), "outside.yaml", &policy("outside"));
    write(directory.path(), "target.yaml", &policy("linked"));
    std::os::unix::fs::symlink("../target.yaml", here.join("link.yaml")).unwrap();
    let all =
        [&names[..], &["lone.yaml", "two words.yaml", "sub/.././plain.yaml", "../outside.yaml", "link.yaml"]].concat();
    std::fs::create_dir(here.join("sub")).unwrap();
    let ran = ringfence_in(&here, &[&["check", "--fix", "--namespace", "team-a"], &all[..]].concat(), "");
    for (file, why) in [
        ("q\"x.yaml", "a patch can't hold"),
        ("it's.yaml", "a patch can't hold"),
        ("back", "a patch can't hold"),
        ("tab", "a patch can't hold"),
        ("+++ b/victim", "a patch can't hold"),
        ("lone.yaml", "a carriage return alone"),
        ("../outside.yaml", "outside of the current directory"),
        ("link.yaml", "a symbolic link"),
    ] {
        let said = |line: &str| line.starts_with("ringfence: left out: ") && line.contains(file) && line.contains(why);
        assert!(ran.stderr.lines().any(said), "{file}: {}", ran.stderr);
    }
    let headers: Vec<&str> = ran.stdout.lines().filter(|line| line.starts_with("+++ ")).collect();
    assert_eq!(headers, ["+++ b/plain.yaml", "+++ b/two words.yaml\t"], "{}", ran.stderr);
    git_apply(&here, &ran.stdout);
    assert!(std::fs::read_to_string(here.join("two words.yaml")).unwrap().contains("protocol: TCP"));
}

#[test]
fn what_would_go_beside_a_file_that_is_there_already_is_not_counted() {
    let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "c", "namespace": "team-a" } });
    let add = |file: &str| placed(file, "web", Fix::Add(vec![object.clone()]));
    let flow = "{apiVersion: v1, kind: Namespace, metadata: {name: team-a}}\n";
    for file in ["k8s/flow.yaml", "k8s/flow.yml", "k8s/flow.json"] {
        let fixes = fixed(file, flow, &[add(file)]);
        assert_eq!(fixes.mended, 1);
        assert!(fixes.diff.contains("+++ b/k8s/flow-ringfence.yaml\n"), "{}", fixes.diff);
    }
    let sources = Sources::new(|_| Some(Arc::from(flow)));
    let both = fixes(&[add("flow.json"), add("flow.yaml")], &sources, "default", false, |_| None);
    assert_eq!((both.mended, both.diff.matches("+++ ").count()), (1, 1), "{}", both.diff);
    assert!(both.left_out[0].contains("flow-ringfence.yaml is there already"), "{:?}", both.left_out);
}
