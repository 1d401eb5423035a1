//! Which files `check` reads, of those that it is given or finds, and what it says of the others: directories, charts,
//! kustomizations, pipes, standard input.

use std::path::Path;

use crate::bad_input::{check_files, fails_with, names, namespace, write};
use crate::run::{check, ringfence, ringfence_in};

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
        ("patch.json", b"[{\"op\": \"remove\", \"path\": \"/kind\"}]"),
        ("values.yaml", b"of:\n  kind: x\n  apiVersion: y\nkinds:\n- kind: z\n"),
        ("prose.yml", b"a: [\nthis, kind: of text\nmankind: x\n"),
        (".git/a.yaml", b"kind: x\n"),
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
        "  apiVersion: networking.k8s.io/v1\n kind: NetworkPolicy\n metadata: {name: p}\n",
        "\tapiVersion: networking.k8s.io/v1\n\tkind: NetworkPolicy\n",
        "- apiVersion: networking.k8s.io/v1\n  kind: NetworkPolicy\n  x: [",
        "- apiVersion: networking.k8s.io/v1\n  kind: NetworkPolicy\n",
        "[{\"apiVersion\": \"v1\", \"kind\": \"Pod\"}]",
        "[\n  {\n    \"apiVersion\": \"v1\",\n    \"kind\": \"Pod\"\n",
        "apiversion: v1\nKind: Pod\n",
        "Kind: Pod\nmetadata: [\n",
        "// c\n{\"apiVersion\":\"v1\",\"kind\":\"Pod\"}\n",
        "// c\n{\n  \"apiVersion\": \"v1\",\n  \"kind\": \"Pod\"\n}\n",
        "{\"a\": 1, \"kind\": \"Pod\"",
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

#[test]
fn what_comes_with_an_add_on_and_may_be_in_no_namespace_makes_none_appear_unless_it_states_it() {
    let object = |version: &str, kind: &str, metadata: &str| {
        format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x{metadata}}}\n---\n{}", namespace("a"))
    };
    for (version, kind) in [
        ("gateway.networking.k8s.io/v1", "GatewayClass"),
        ("karpenter.sh/v1", "NodePool"),
        ("cilium.io/v2", "CiliumClusterwideNetworkPolicy"),
        ("config.openshift.io/v1", "DNS"),
        ("crd.projectcalico.org/v1", "IPPool"),
        ("cert-manager.io/v1", "ClusterIssuer"),
    ] {
        assert_eq!(names(&check(&object(version, kind, ""), &["-o", "json"])), ["a"], "{kind}");
    }
    for (version, kind, metadata, named) in [
        ("postgresql.cnpg.io/v1", "Cluster", ", namespace: db", "db"),
        ("cert-manager.io/v1", "Certificate", ", namespace: tls", "tls"),
        ("monitoring.coreos.com/v1", "ServiceMonitor", "", "default"),
        ("gateway.networking.k8s.io/v1", "HTTPRoute", "", "default"),
        ("v1", "ConfigMap", "", "default"),
        ("batch/v1", "Job", "", "default"),
    ] {
        assert_eq!(names(&check(&object(version, kind, metadata), &["-o", "json"])), ["a", named], "{kind}");
    }
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

#[test]
fn what_to_run_on_what_is_rendered_is_the_command_that_was_run() {
    let directory = tempfile::tempdir().unwrap();
    let template = namespace("a").replace("name: a", "name: {{ .Values.name }}");
    for (name, bytes) in [
        ("chart/Chart.yaml", &b"apiVersion: v2\nname: app\nversion: 1.0.0\n"[..]),
        ("built/kustomization.yaml", b"resources: [b.yaml]\n"),
        ("plain/a.yaml", namespace("a").as_bytes()),
        ("templates/a.yaml", template.as_bytes()),
    ] {
        write(directory.path(), name, bytes);
    }
    let connect = "ringfence connect --from a/Deployment/web --to 'b/it'\\''s' --port 53/udp --manifests -";
    let matrix = "ringfence matrix --namespace a --default-namespace shop --manifests -";
    let diff =
        "render each into a file, as with kustomize build built > FILE, then ringfence diff before.yaml after.yaml";
    let cluster = "helm template chart | ringfence diff --cluster - --prune";
    for (arguments, says) in [
        (
            "connect --from a/deploy/web --to b/it's --port 53/udp --manifests chart",
            format!("helm template chart | {connect}"),
        ),
        (
            "connect --from a/deploy/web --to b/it's --port 53/udp --manifests /dev/null",
            format!("to read from it: {connect} < PATH"),
        ),
        (
            "matrix --manifests built --default-namespace shop --namespace a",
            format!("kustomize build built | {matrix}"),
        ),
        ("matrix --manifests templates", "helm template CHART | ringfence matrix --manifests -\n".to_owned()),
        ("diff built plain", format!("{diff}\n")),
        ("diff plain built", format!("{diff}\n")),
        ("diff plain plain --with built", format!("{diff} --with with.yaml\n")),
        ("diff /dev/null plain", "cat PATH > FILE, then ringfence diff before.yaml after.yaml\n".to_owned()),
        ("diff --cluster --prune chart", cluster.to_owned()),
        (
            "diff --cluster --prune chart --kubeconfig k --context prod",
            format!("{cluster} --kubeconfig k --context prod"),
        ),
        ("serve --manifests chart", "helm template chart | ringfence serve --manifests -".to_owned()),
    ] {
        let ran = ringfence_in(directory.path(), &arguments.split(' ').collect::<Vec<_>>(), "");
        fails_with(&ran, &says);
    }
}
