//! What `check` says of what it can't read: the file, the line, the reason and exit code 2, within bounded memory and time;
//! and that nothing bad hides what is good.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::json;

use crate::run::{Ran, check, ringfence, ringfence_in};

/// A namespace with nothing in it, so that the report names it if it was read.
fn namespace(name: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n")
}

fn names(ran: &Ran) -> Vec<String> {
    ran.json()["namespaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|namespace| namespace["name"].as_str().unwrap().to_owned())
        .collect()
}

/// `check` of files in a directory of their own, which is what it is run on.
fn check_files(files: &[(&str, &[u8])]) -> Ran {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        write(directory.path(), name, bytes);
    }
    ringfence_in(directory.path(), &["check", ".", "-o", "json"], "")
}

fn write(directory: &Path, name: &str, bytes: &[u8]) {
    let path = directory.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[track_caller]
fn fails_with(ran: &Ran, says: &str) {
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
fn utf_16_is_read_with_a_mark_and_said_to_be_none_without() {
    let text = namespace("ä");
    let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for (mark, bytes) in [([0xff, 0xfe], &little), ([0xfe, 0xff], &big)] {
        let marked = [&mark[..], bytes].concat();
        let ran = check_files(&[("a.yaml", &marked)]);
        assert_eq!((ran.code, names(&ran)), (1, vec!["ä".to_owned()]), "{}", ran.stderr);
        fails_with(&check_files(&[("a.yaml", &marked[..marked.len() - 1])]), "a.yaml:3:20: not UTF-16");
    }
    let ran = check_files(&[("a.yaml", &little), ("b.yaml", namespace("b").as_bytes())]);
    fails_with(&ran, "a.yaml:1:2: a byte of zero");
    assert_eq!(names(&ran), ["b"]);
    fails_with(&check_files(&[("a.yaml", &big)]), "a.yaml:1:1: a byte of zero");
    fails_with(&check(&format!("{}# \0\n", namespace("a")), &[]), "-:4:3: a byte of zero");
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

#[cfg(unix)]
#[test]
fn what_is_no_file_is_never_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    write(directory.path(), "good.yaml", namespace("a").as_bytes());
    let _socket = std::os::unix::net::UnixListener::bind(path("socket.yaml")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(path("fifo.yaml")).status().unwrap();
    assert!(made.success());
    std::os::unix::fs::symlink("loop.yaml", path("loop.yaml")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", path("device.yaml")).unwrap();
    let ran = ringfence_in(directory.path(), &["check", ".", "-o", "json"], "");
    for name in ["socket", "fifo", "device"] {
        fails_with(&ran, &format!("{name}.yaml: neither a file nor a directory"));
    }
    fails_with(&ran, "loop.yaml: failed to read");
    assert_eq!(names(&ran), ["a"]);
    for named in ["socket.yaml", "fifo.yaml", "device.yaml", "loop.yaml"] {
        fails_with(&ringfence_in(directory.path(), &["check", named], ""), named);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_output_of_a_command_is_read_where_a_shell_gives_it_as_a_file() {
    let ran = ringfence_in(Path::new("."), &["check", "/dev/stdin", "-o", "json"], &namespace("a"));
    assert_eq!((ran.code, names(&ran)), (1, vec!["a".to_owned()]), "{}", ran.stderr);
    let findings = ran.json()["findings"].clone();
    assert_eq!(findings[0]["line"], 1, "{findings}");
}

#[cfg(unix)]
#[test]
fn a_directory_that_can_not_be_read_is_an_error_and_the_others_are_read() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "good.yaml", namespace("a").as_bytes());
    write(directory.path(), "closed/hidden.yaml", namespace("b").as_bytes());
    let closed = directory.path().join("closed");
    let mode = |mode| std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o000);
    let ran = ringfence_in(directory.path(), &["check", ".", "-o", "json"], "");
    // To root nothing is closed.
    if std::fs::read_dir(&closed).is_ok() {
        assert_eq!(names(&ran), ["a", "b"]);
    } else {
        fails_with(&ran, "closed: failed to read the directory");
        assert_eq!(names(&ran), ["a"]);
    }
    mode(0o755);
}

#[test]
fn below_a_directory_what_is_no_kubernetes_object_is_skipped_and_counted() {
    let ran = check_files(&[
        ("deploy/a.yaml", namespace("a").as_bytes()),
        (".github/workflows/ci.yaml", b"on: push\njobs: {test: {runs-on: x}}\n"),
        ("docker-compose.yml", b"services:\n  web: {image: x}\n"),
        ("mkdocs.yml", b"a: !!python/name:x.y\nb: [\n"),
        ("package.json", b"{\"name\": \"x\", \"private\": true}"),
        ("tsconfig.json", b"{\n  // a comment\n  \"a\": 1,\n}"),
        ("kinds.yaml", b"of: [kind, apiVersion]\nall: {kind: x}\n"),
        ("list.json", b"[1, \"\\u0061\"]"),
        ("empty.yaml", b""),
        ("README.md", b"kind: x"),
    ]);
    assert_eq!((ran.code, names(&ran)), (1, vec!["a".to_owned()]), "{}", ran.stderr);
    assert!(ran.stderr.contains("skipped") && ran.stderr.contains("ci.yaml"), "{}", ran.stderr);
}

#[test]
fn below_a_directory_what_looks_like_a_broken_manifest_is_an_error() {
    for broken in [
        "apiVersion: v1\n",
        "kind: NetworkPolicy\nmetadata: [\n",
        "\"apiVersion\": v1\nkind: x\na: [\n",
        "{\"a\": 1, \"kind\": \"Pod\"}",
        "{\"kind\" : \"Pod\"",
        "{\"\\u0061piVersion\": \"v1\"}",
        "a: 1\n---\nkind: Pod\n",
    ] {
        let ran = check_files(&[("a.yaml", namespace("a").as_bytes()), ("b.yaml", broken.as_bytes())]);
        fails_with(&ran, "b.yaml:");
        assert_eq!(names(&ran), ["a"]);
    }
}

#[test]
fn nothing_passes_because_nothing_was_read() {
    fails_with(&check_files(&[("values.yaml", b"a: 1\n")]), ".: there is no object in it (1 skipped");
    fails_with(&check_files(&[("README.md", b"")]), ".: there is no object in it");
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "values.yaml", b"a: 1\n");
    fails_with(
        &ringfence_in(directory.path(), &["check", "values.yaml"], ""),
        "values.yaml:1:1: this is no Kubernetes object",
    );
}

const TEMPLATE: &[u8] =
    b"apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {{ .Values.name }}\n{{- if .Values.x }}\n{{- end }}\n";

#[test]
fn a_helm_chart_is_told_how_to_be_rendered_and_the_plain_manifests_beside_it_are_judged() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = (namespace("a"), namespace("b"));
    let files: [(&str, &[u8]); 6] = [
        ("plain/a.yaml", a.as_bytes()),
        ("charts/my app/Chart.yaml", b"apiVersion: v2\nname: app\nversion: 1.0.0\n"),
        ("charts/my app/Chart.lock", b"digest: x\n"),
        ("charts/my app/values.yaml", b"kind: Deployment\n"),
        ("charts/my app/templates/ns.yaml", TEMPLATE),
        ("charts/my app/crds/b.yaml", b.as_bytes()),
    ];
    for (name, bytes) in files {
        write(directory.path(), name, bytes);
    }
    let run = |path: &str| ringfence_in(directory.path(), &["check", path, "-o", "json"], "");
    let ran = run(".");
    fails_with(&ran, "helm template './charts/my app' | ringfence check -");
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    assert_eq!(names(&ran), ["a"]);
    for path in ["", "/Chart.yaml", "/templates", "/templates/ns.yaml"] {
        fails_with(&run(&format!("charts/my app{path}")), "helm template 'charts/my app' | ringfence check -");
    }
    let inside = directory.path().join("charts/my app/templates");
    fails_with(&ringfence_in(&inside, &["check", "."], ""), "helm template");
}

#[test]
fn a_template_outside_of_a_chart_is_said_to_be_one_once() {
    let twice = [TEMPLATE, b"---\n", TEMPLATE].concat();
    let ran = check_files(&[("a.yaml", namespace("a").as_bytes()), ("b.yaml", &twice)]);
    fails_with(&ran, "b.yaml:4:");
    fails_with(&ran, "this looks like a template");
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    // Text with braces in quotes is a manifest as any other.
    let quoted = namespace("a").replace("{name: a}", "{name: a, annotations: {x: \"{{name}}\"}}");
    assert_eq!(check(&quoted, &[]).code, 1);
}

#[test]
fn kustomizations_are_told_how_to_be_built_and_what_others_are_built_from_is_not() {
    let patch = b"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 3}\n";
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = (namespace("a"), namespace("b"));
    let files: [(&str, &[u8]); 8] = [
        ("plain/a.yaml", a.as_bytes()),
        ("app/base/kustomization.yaml", b"resources: [b.yaml]\n"),
        ("app/base/b.yaml", b.as_bytes()),
        ("app/overlays/dev/kustomization.yml", b"resources:\n- ../../base\npatches: [{path: patches/web.yaml}]\n"),
        ("app/overlays/dev/patches/web.yaml", patch),
        ("app/overlays/prod/Kustomization", b"bases:\n- ../../base/\n"),
        ("app/overlays/prod/web.yaml", patch),
        ("app/overlays/prod/patch.json", b"[{\"op\": \"remove\", \"path\": \"/kind\"}]"),
    ];
    for (name, bytes) in files {
        write(directory.path(), name, bytes);
    }
    let run = |path: &str| ringfence_in(directory.path(), &["check", path, "-o", "json"], "");
    let ran = run(".");
    fails_with(&ran, "kustomize build ./app/overlays/dev | ringfence check -");
    fails_with(&ran, "kustomize build ./app/overlays/prod | ringfence check -");
    assert_eq!(ran.stderr.lines().count(), 2, "{}", ran.stderr);
    assert_eq!(names(&ran), ["a"]);
    fails_with(&run("app/base/kustomization.yaml"), "kustomize build app/base | ringfence check -");
    fails_with(&run("app/base"), "kustomize build app/base | ringfence check -");
    assert_eq!(names(&run("app/base/b.yaml")), ["b"], "a file that is named is judged as it is");
}

#[test]
fn tools_own_files_make_no_namespace_appear() {
    for (version, kind) in [
        ("kind.x-k8s.io/v1alpha4", "Cluster"),
        ("skaffold/v4beta11", "Config"),
        ("kubeadm.k8s.io/v1beta4", "ClusterConfiguration"),
        ("kubelet.config.k8s.io/v1beta1", "KubeletConfiguration"),
        ("audit.k8s.io/v1", "Policy"),
        ("v1", "Config"),
    ] {
        let own = format!("apiVersion: {version}\nkind: {kind}\n");
        let ran = check(&format!("{own}---\n{}", namespace("a")), &["-o", "json"]);
        assert_eq!(names(&ran), ["a"], "{version}");
    }
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
    // It can't end before its report is taken away, so its status is there while it writes.
    let status = || std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let mut most = 0;
    let high = |status: String| -> Option<u64> {
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok())
    };
    while let Some(now) = high(status()) {
        most = most.max(now);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let code = child.wait_with_output().unwrap().status.code().unwrap();
    (code, most >> 10)
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
fn what_a_file_is_called_acts_on_no_terminal_and_on_no_runner() {
    let directory = tempfile::tempdir().unwrap();
    let bad = "a\n::error file=x,line=1::pwned\u{1b}[31m.yaml";
    std::fs::write(directory.path().join(bad), "apiVersion: v1\nkind: Pod\nspec: [\n").unwrap();
    std::fs::write(directory.path().join("s\u{1b}]0;title\u{7}\n::warning::skipped.yaml"), "foo: 1\n").unwrap();
    for arguments in [
        vec!["check", "."],
        vec!["check", bad],
        vec!["check", ".", "--baseline", bad],
        vec!["check", ".", "--config", bad],
    ] {
        let ran = ringfence_in(directory.path(), &arguments, "");
        assert_eq!(ran.code, 2);
        assert!(!ran.stderr.contains('\u{1b}') && !ran.stderr.contains('\u{7}'), "{:?}", ran.stderr);
        assert!(!ran.stderr.lines().any(|line| line.trim_start().starts_with("::")), "{:?}", ran.stderr);
    }
}

#[test]
fn a_file_that_is_given_by_name_and_by_its_directory_is_read_once() {
    let directory = tempfile::tempdir().unwrap();
    let rendered = ringfence(&["render", "--namespace", "team-a"]).stdout;
    std::fs::write(directory.path().join("a.yaml"), rendered).unwrap();
    for paths in [["a.yaml", "./a.yaml"], [".", "a.yaml"], ["a.yaml", "."]] {
        let ran = ringfence_in(directory.path(), &["check", paths[0], paths[1]], "");
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
}

#[test]
fn standard_input_that_is_given_twice_is_read_once() {
    let rendered = ringfence(&["render", "--namespace", "team-a"]).stdout;
    let ran = ringfence_in(Path::new("."), &["check", "-", "-"], &rendered);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}
