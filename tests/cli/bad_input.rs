//! What `check` says of what it can't read: the file, the line, the reason and exit code 2, within bounded memory and time;
//! and that nothing bad hides what is good.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::json;

use crate::run::{Ran, check, ringfence, ringfence_in};

/// A namespace with nothing in it, so that the report names it if it was read.
pub(crate) fn namespace(name: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n")
}

pub(crate) fn names(ran: &Ran) -> Vec<String> {
    ran.json()["namespaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|namespace| namespace["name"].as_str().unwrap().to_owned())
        .collect()
}

/// `check` of files in a directory of their own, which is what it is run on.
pub(crate) fn check_files(files: &[(&str, &[u8])]) -> Ran {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        write(directory.path(), name, bytes);
    }
    ringfence_in(directory.path(), &["check", ".", "-o", "json"], "")
}

pub(crate) fn write(directory: &Path, name: &str, bytes: &[u8]) {
    let path = directory.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[track_caller]
pub(crate) fn fails_with(ran: &Ran, says: &str) {
    assert_eq!(ran.code, 2, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains(says), "{says:?} is not in {}", ran.stderr);
}

#[test]
fn where_yaml_breaks_the_documents_after_the_next_marker_are_read_with_their_lines() {
    for broken in [
        "a: [\n",
        "a: \"never closed\nb: c\n",
        "a: 'never closed\n",
        "\ta: 1\n",
        "a: b: c\n",
        "a: *none\n",
        "a: &x\n  - b\n c: d\n",
        "- a\nb: c\n",
        "{a: b\n",
        "? [a]\n: b\n",
        "a: |\n  text\n wrong\n",
        "%BAD\na\n",
        "a: !<tag b\n",
        "\"\\x\"\n",
    ] {
        let manifests = format!("{}---\n{broken}---\n{}---\n{}", namespace("a"), namespace("b"), "kind: 5\n");
        let ran = check(&manifests, &["-o", "json"]);
        let lines = broken.lines().count() as u64;
        fails_with(&ran, &format!("-:{}:1: this is no Kubernetes object", 4 + lines + 5 + 1));
        assert_eq!(names(&ran), ["a", "b"], "{broken:?}: {}", ran.stderr);
        let report = ran.json();
        let of_b = report["findings"].as_array().unwrap().iter().find(|finding| finding["object"]["name"] == "b");
        assert_eq!(of_b.unwrap()["line"], 4 + lines + 2, "{broken:?}");
        let said: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("ringfence: -:")).collect();
        assert_eq!(said.len(), 2, "{broken:?}: {said:?}");
        let line: u64 = said.iter().filter_map(|line| line.split(':').nth(2)?.parse().ok()).min().unwrap();
        assert!((4..=5 + lines).contains(&line), "{broken:?}: {said:?}");
    }
}

#[test]
fn what_kubectl_drops_without_a_word_is_an_error_with_its_line_and_counts_for_nothing() {
    let [a, b, c] = ["a", "b", "c"].map(namespace);
    let returned = b.replace('\n', "\r");
    let json = |name: &str| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
    let json = format!("{}\n{}\n", json("d"), json("e"));
    for (text, line, read) in [
        (format!("{a}...\n{b}"), "-:5:1: ", vec!["a"]),
        (format!("{a}...\n# c\n\n{b}---\n{c}"), "-:7:1: ", vec!["a", "c"]),
        (format!("{}\r---\r{returned}---\n{c}", a.trim_end().replace('\n', "\r")), "-:4:1: ", vec!["a"]),
        (format!("{}\r---\n{b}---\n{c}", a.trim_end()), "-:4:1: ", vec!["a", "c"]),
        (format!("{a}...\n# c\r---\n{b}"), "-:6:1: ", vec!["a"]),
        (format!("{a}---\n{json}---\n{c}"), "-:6:1: ", vec!["a", "c", "d"]),
    ] {
        let ran = check(&text, &["-o", "json"]);
        fails_with(&ran, line);
        fails_with(&ran, "kubectl reads only ");
        fails_with(&ran, "---");
        assert_eq!(names(&ran), read, "{text:?}: {}", ran.stderr);
    }
    for text in [
        format!("{a}...\n"),
        format!("{a}...\n---\n{b}"),
        format!("{a}...\n# c\n---\n{b}"),
        format!("{a}...\n...\n\n# c\n"),
        json,
        format!("# c\r# d\r\n{a}# e\r# f\n---\r\n{b}"),
    ] {
        assert_eq!(check(&text, &[]).code, 1, "{text:?}");
    }
}

#[test]
fn a_marker_inside_of_a_block_of_text_parts_nothing() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: b}\ndata:\n  x: |\n    ---\n    kind: 5\n  y: \"\n    ---\n    \"\n";
    let ran = check(text, &["-o", "json"]);
    assert_eq!((ran.code, names(&ran)), (1, vec!["b".to_owned()]), "{}", ran.stderr);
}

#[test]
fn what_is_cut_off_in_the_middle_is_an_error_at_its_end() {
    let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "a" } });
    let text = serde_json::to_string_pretty(&object).unwrap();
    for end in 1..text.len() {
        let ran = check(&text[..end], &[]);
        assert_eq!(ran.code, 2, "{}", &text[..end]);
        assert!(ran.stderr.starts_with("ringfence: -:"), "{}", ran.stderr);
    }
    let first = object.to_string();
    fails_with(
        &check(&format!("{first}{}", &first[..30]), &[]),
        &format!("-:1:{}: EOF while parsing", first.len() + 31),
    );
    let ran = check(&format!("{}---\n{first}\n{}", namespace("b"), &text[..40]), &["-o", "json"]);
    fails_with(&ran, "EOF while parsing");
    assert_eq!(names(&ran), ["a", "b"]);
}

#[test]
fn what_is_huge_is_refused_before_it_is_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "good.yaml", namespace("a").as_bytes());
    let huge = std::fs::File::create(directory.path().join("huge.yaml")).unwrap();
    huge.set_len(100 << 20).unwrap();
    let ran = ringfence_in(directory.path(), &["check", ".", "-o", "json"], "");
    fails_with(&ran, "huge.yaml: larger than 64 MiB");
    assert_eq!(names(&ran), ["a"]);
    let ran = check(&"# a comment\n".repeat(6 << 20), &[]);
    fails_with(&ran, "-: larger than 64 MiB");
}

#[test]
fn what_nests_deeply_is_refused_in_yaml_and_in_json() {
    let object = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: b}\ndata: ";
    let json =
        "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"a\",\"namespace\":\"b\"},\"data\":";
    for depth in [200, 100_000] {
        let flow = format!("{object}{}{}\n", "[".repeat(depth), "]".repeat(depth));
        let maps = format!("{object}{}{}\n", "{a: ".repeat(depth), "}".repeat(depth));
        let mut all = vec![flow, maps, format!("{object}\n{}a\n", "- ".repeat(depth))];
        if depth < 1_000 {
            all.push(format!("{object}\n{}", (1..depth).map(|i| " ".repeat(i) + "a:\n").collect::<String>()));
        }
        all.push(format!("{json}{}{}}}", "[".repeat(depth), "]".repeat(depth)));
        all.push(format!("{json}{}1{}}}", "{\"a\":".repeat(depth), "}".repeat(depth)));
        all.push(format!("{json}{}", "[".repeat(depth)));
        for text in all {
            let ran = check(&format!("{}---\n{text}", namespace("c")), &["-o", "json"]);
            fails_with(&ran, "ringfence: -:");
            assert_eq!(names(&ran), ["c"]);
        }
    }
}

#[test]
fn anchors_that_expand_to_very_much_are_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    let mut merges = "a0: &a0 {k: v}\n".to_owned();
    for level in 1..30 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(bomb, "a{level}: &a{level} [{aliases}]").unwrap();
        writeln!(merges, "a{level}: &a{level} {{<<: [{aliases}], k{level}: v}}").unwrap();
    }
    for text in [bomb, merges, "a: &a [*a]\n".to_owned()] {
        let ran = check(&format!("{text}---\n{}", namespace("c")), &["-o", "json"]);
        fails_with(&ran, "ringfence: -:");
        assert_eq!(names(&ran), ["c"], "{}", ran.stderr);
    }
}

#[test]
fn of_very_many_problems_in_one_file_a_thousand_are_told_and_the_others_are_counted() {
    let ran = check(&"---\na: [\n".repeat(1_500), &[]);
    fails_with(&ran, "500 more problems in this source are not listed");
    assert_eq!(ran.stderr.lines().count(), 1_001);
}

#[test]
fn wrong_kinds_and_types_are_errors_at_their_fields() {
    let policy = |more: &str| {
        format!("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: c}}\n{more}\n")
    };
    for (text, says) in [
        ("kind: Namespace\nmetadata: {name: a}\n".to_owned(), "-:5:1: this is no Kubernetes object"),
        ("apiVersion: v1\nkind: [Namespace]\n".to_owned(), "-:5:1: this is no Kubernetes object"),
        ("apiVersion: 1\nkind: Namespace\n".to_owned(), "-:5:1: this is no Kubernetes object"),
        ("- apiVersion: v1\n  kind: Namespace\n".to_owned(), "-:5:1: this is no Kubernetes object"),
        ("only text\n".to_owned(), "-:5:1: this is no Kubernetes object"),
        ("true\n".to_owned(), "-:5:1: this is no Kubernetes object"),
        (policy("spec: yes"), "-:8:1: NetworkPolicy \"p\": spec: "),
        (
            policy("spec: {podSelector: {}, ingress: [{from: [{podSelector: 5}]}]}"),
            "-:8:44: NetworkPolicy \"p\": spec.ingress[0].from[0].podSelector",
        ),
        (
            policy("spec:\n  podSelector: {}\n  ingress:\n  - ports:\n    - port: \"80\""),
            "-:12:7: NetworkPolicy \"p\": spec.ingress[0].ports[0].port",
        ),
        (
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d, namespace: c}\nspec: {template: []}\n"
                .to_owned(),
            "-:8:8: Deployment \"d\": spec.template",
        ),
        (
            "apiVersion: v1\nkind: Namespace\nmetadata: {labels: {a: [b]}, name: c}\n".to_owned(),
            "Namespace \"c\": metadata",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: c}\nspec:\n  containers:\n  - ports:\n    - containerPort: 70000\n".to_owned(),
            "-:11:7: Pod \"p\": spec.containers[0].ports[0].containerPort: invalid value: integer `70000`, expected a \
             port from 1 to 65535",
        ),
    ] {
        let ran = check(&format!("{}---\n{text}", namespace("other")), &["-o", "json"]);
        fails_with(&ran, says);
        assert!(names(&ran).contains(&"other".to_owned()));
    }
}

#[test]
fn a_policy_of_calico_or_cilium_isolates_nothing_even_beside_one_of_kubernetes_with_its_name() {
    let own = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: deny, namespace: a}\nspec: {podSelector: {}, policyTypes: [Ingress]}\n";
    for (version, kind) in [
        ("crd.projectcalico.org/v1", "NetworkPolicy"),
        ("projectcalico.org/v3", "NetworkPolicy"),
        ("cilium.io/v2", "CiliumNetworkPolicy"),
    ] {
        let foreign = format!(
            "apiVersion: {version}\nkind: {kind}\nmetadata: {{name: deny, namespace: a}}\nspec: {{selector: all(), order: 5}}\n"
        );
        for manifests in [format!("{foreign}---\n{own}"), format!("{own}---\n{foreign}")] {
            let ran = check(&manifests, &["-o", "json"]);
            let report = ran.json();
            assert_eq!(ran.code, 1, "{}", ran.stderr);
            assert_eq!(report["namespaces"][0]["ingress"]["coverage"], "complete");
            assert_eq!(report["namespaces"][0]["egress"]["coverage"], "absent");
        }
        assert_eq!(check(&foreign, &["-o", "json"]).json()["namespaces"][0]["ingress"]["coverage"], "absent");
    }
}

#[test]
fn utf_16_is_an_error_with_a_mark_and_without_and_hides_no_other_file() {
    let text = format!("# ä\n{}", namespace("a"));
    let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for (mark, bytes) in [([0xff, 0xfe], &little), ([0xfe, 0xff], &big)] {
        let marked = [&mark[..], bytes].concat();
        let ran = check_files(&[("a.yaml", &marked), ("b.yaml", namespace("b").as_bytes())]);
        fails_with(&ran, "a.yaml:1:1: this is UTF-16, which is not read; write it in UTF-8");
        assert_eq!(names(&ran), ["b"]);
        assert!(ran.json()["findings"].as_array().is_some_and(|found| !found.is_empty()), "{}", ran.stdout);
    }
    let values: Vec<u8> = "\u{feff}replicas: 2\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let ran = check_files(&[("values.yaml", &values), ("b.yaml", namespace("b").as_bytes())]);
    assert_eq!((ran.code, names(&ran)), (1, vec!["b".to_owned()]), "{}", ran.stderr);
    assert!(ran.stderr.contains("skipped 1 (no Kubernetes object)"), "{}", ran.stderr);
    let ran = check_files(&[("a.yaml", &little), ("b.yaml", namespace("b").as_bytes())]);
    fails_with(&ran, "a.yaml:1:2: a byte of zero");
    assert_eq!(names(&ran), ["b"]);
    fails_with(&check_files(&[("a.yaml", &big)]), "a.yaml:1:1: a byte of zero");
    fails_with(&check(&format!("{}# \0\n", namespace("a")), &[]), "-:4:3: a byte of zero");
}

#[test]
fn bytes_that_are_no_text_hide_only_the_document_that_they_are_in() {
    let [a, b, c] = ["a", "b", "c"].map(namespace);
    for (byte, says) in [(&b"\xe9"[..], "not UTF-8"), (b"\0", "a byte of zero")] {
        let broken =
            [a.as_bytes(), b"---\n", b.as_bytes(), b"# caf", byte, b"\n---\n# \xc3\xa9\n", c.as_bytes()].concat();
        let ran = check_files(&[("a.yaml", &broken)]);
        fails_with(&ran, &format!("a.yaml:8:6: {says}"));
        assert_eq!(ran.stderr.lines().filter(|line| line.contains("a.yaml")).count(), 1, "{}", ran.stderr);
        assert_eq!(names(&ran), ["a", "c"]);
        let report = ran.json();
        let found = report["findings"].as_array().unwrap().iter().map(|finding| finding["line"].as_u64().unwrap());
        assert!(found.clone().any(|line| line == 1) && found.clone().any(|line| line == 11), "{report}");
    }
}

#[test]
fn a_key_twice_two_objects_without_a_marker_and_tabs_are_errors_with_their_lines() {
    let twice = format!("{}{}", namespace("a"), namespace("b"));
    fails_with(&check(&twice, &[]), "-:4:1: duplicate");
    fails_with(&check(&twice, &[]), "is a line with --- missing before the second object?");
    fails_with(&check("apiVersion: v1\nkind: Namespace\nmetadata:\n\tname: a\n", &[]), "-:4:");
    let json = "{\"apiVersion\": \"v1\",\n \"kind\": \"Namespace\", \"metadata\": {\"name\": \"é\", \"name\": \"b\"}}";
    fails_with(&check(json, &[]), "-:2:");
    fails_with(&check(json, &[]), "duplicate key \"name\"");
    fails_with(
        &check("{\"kind\": \"List\", \"apiVersion\": \"v1\", \"items\": [], \"items\": []}", &[]),
        "-:1:51: duplicate",
    );
}

/// The memory that a run took at most, in MiB.
#[cfg(target_os = "linux")]
fn peak(manifests: &[u8]) -> (i32, u64) {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(["check", "-", "-o", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let _ = stdin.write_all(manifests);
    drop(stdin);
    // Whatever it says is taken away, so that it ends. Once it has, its status says nothing of memory.
    let mut said = child.stdout.take().unwrap();
    let taken = std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
    let status = || std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let mut most = 0;
    let high = |status: String| -> Option<u64> {
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok())
    };
    while let Some(now) = high(status()) {
        most = most.max(now);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    taken.join().unwrap().unwrap();
    (child.wait().unwrap().code().unwrap(), most >> 10)
}

#[cfg(target_os = "linux")]
#[test]
fn memory_is_bounded_whatever_one_document_holds() {
    let hostile = [
        format!("apiVersion: v1\nkind: ConfigMap\ndata: [{}]\n", "0,".repeat(3 << 20)),
        format!("{{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"data\": [{}0]}}", "0,".repeat(16 << 20)),
        format!("{{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [{}0]}}", "0,".repeat(16 << 20)),
    ];
    for text in hostile {
        let (code, mebibytes) = peak(text.as_bytes());
        assert_eq!(code, 2);
        assert!(mebibytes < 400, "{mebibytes} MiB");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn policies_of_very_many_ports_that_meet_are_judged_in_bounded_memory() {
    let policy = |name: &str, kind: &str, ports: &str| {
        format!(
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: a}}\n\
             spec: {{podSelector: {{}}, policyTypes: [{kind}], {}: [{{{}: [{{podSelector: {{}}}}], ports: [{ports}]}}]}}\n",
            kind.to_lowercase(),
            if kind == "Egress" { "to" } else { "from" },
        )
    };
    let ports =
        |from: usize| (from..30_000).step_by(2).map(|port| format!("{{port: {port}}}")).collect::<Vec<_>>().join(",");
    let pod = |name: &str| {
        format!("---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: a, labels: {{app: {name}}}}}\n")
    };
    let manifests = pod("web") + &pod("db") + &policy("out", "Egress", &ports(1)) + &policy("in", "Ingress", &ports(2));
    let (code, mebibytes) = peak(manifests.as_bytes());
    assert_eq!(code, 1);
    assert!(mebibytes < 400, "{mebibytes} MiB");
}

#[test]
fn a_long_text_that_stands_for_itself_very_often_is_refused_in_bounded_memory() {
    let aliases = vec!["*a"; 40_000].join(",");
    let bomb = format!("a: &a \"{}\"\nb: [{aliases}]\nkind: X\napiVersion: v1\n", "x".repeat(100_000));
    let ran =
        check(&format!("{bomb}---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: team-a}}\n"), &["-o", "json"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("too much in one document"), "{}", ran.stderr);
    assert_eq!(ran.json()["namespaces"][0]["name"], "team-a");
}

#[test]
fn the_items_of_a_typed_list_are_what_the_list_says() {
    let item = r#"{"metadata":{"name":"open","namespace":"a"},"spec":{"podSelector":{},"ingress":[{}]}}"#;
    let json = format!(
        r#"{{"kind":"NetworkPolicyList","apiVersion":"networking.k8s.io/v1","metadata":{{}},"items":[{item}]}}"#
    );
    let yaml = format!("kind: NetworkPolicyList\napiVersion: networking.k8s.io/v1\nitems:\n- {item}\n");
    for (name, text) in [("list.json", json), ("list.yaml", yaml)] {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(name), text).unwrap();
        let ran = ringfence(&["check", directory.path().to_str().unwrap(), "-o", "json"]);
        assert_eq!(ran.code, 1, "{name}: {}{}", ran.stdout, ran.stderr);
        let found = ran.json()["findings"].as_array().unwrap().iter().any(|finding| finding["id"] == "allow-all");
        assert!(found, "{name}: {}", ran.stdout);
    }
    let other = "apiVersion: example.com/v1\nkind: AllowList\nmetadata: {name: a}\nitems: [10.0.0.0/8]\n";
    let ran = check(&format!("{other}---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: a}}\n"), &[]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
}

#[test]
fn an_object_whose_metadata_is_no_map_is_in_no_namespace() {
    let good = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: team-a\n";
    for head in [
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy",
        "apiVersion: apps/v1\nkind: Deployment",
        "apiVersion: v1\nkind: ConfigMap",
    ] {
        for metadata in ["hello", "[a, b]", "7"] {
            let ran = check(&format!("{head}\nmetadata: {metadata}\nspec: {{}}\n---\n{good}"), &["-o", "json"]);
            assert_eq!(ran.code, 2, "{head} {metadata}: {}", ran.stderr);
            assert!(
                ran.stderr.contains("-:3:1: ") && ran.stderr.contains("metadata: this is no map"),
                "{}",
                ran.stderr
            );
            let namespaces = ran.json()["namespaces"].as_array().unwrap().len();
            assert_eq!(namespaces, 1, "{head} {metadata}: {}", ran.stdout);
        }
    }
}
