//! Objects that no API server would store, or that are not there all the time: they count for nothing.

use crate::bad_input::{fails_with, names};
use crate::run::{check, ringfence};

fn isolated() -> String {
    ringfence(&["render", "--namespace", "team-a"]).stdout
}

#[test]
fn a_policy_that_the_api_server_refuses_for_its_metadata_does_not_isolate() {
    let long = "a".repeat(254);
    let with = |metadata: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {metadata}\nspec: {{podSelector: {{}}, policyTypes: [Ingress, Egress]}}\n"
        )
    };
    for (metadata, path) in [
        ("{namespace: a, name: Default_Deny}", "metadata.name: \"Default_Deny\""),
        ("{namespace: a, name: 'a b'}", "metadata.name"),
        ("{namespace: a, name: -x}", "metadata.name"),
        ("{namespace: a, name: a..b}", "metadata.name"),
        ("{namespace: a, name: \"deny\\n\"}", "metadata.name"),
        (&format!("{{namespace: a, name: {long}}}"), "metadata.name"),
        ("{name: deny, namespace: Shop_1}", "metadata.namespace: \"Shop_1\""),
        ("{name: deny, namespace: a.b}", "metadata.namespace"),
        ("{name: deny, namespace: s/../t}", "metadata.namespace"),
        ("{name: deny, namespace: a, labels: {\"bad key!\": x}}", "metadata.labels.bad key!: "),
        ("{name: deny, namespace: a, labels: {a: \"b c\"}}", "metadata.labels.a: \"b c\""),
        ("{name: deny, namespace: a, annotations: {a b: c}}", "metadata.annotations.a b: "),
    ] {
        let ran = check(&with(metadata), &["-o", "json"]);
        fails_with(&ran, path);
        assert!(ran.stderr.starts_with("ringfence: -:3:"), "{}", ran.stderr);
        assert_eq!(ran.json()["namespaces"].as_array().unwrap().len(), 0, "{metadata}");
    }
    let good = "{name: 0.a-b, namespace: a-1, labels: {a.c/D_e: x, f: \"\"}, annotations: {EXAMPLE.com/A_b: \"c d\"}}";
    assert_eq!(check(&with(good), &["-o", "json"]).json()["namespaces"][0]["state"], "isolated");
}

#[test]
fn names_and_labels_of_namespaces_and_workloads_are_what_the_api_server_takes() {
    let workload = |kind: &str, spec: &str| format!("apiVersion: batch/v1\nkind: {kind}\n{spec}\n");
    for (manifests, says) in [
        (
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a.b\n".to_owned(),
            "-:4:3: Namespace \"a.b\": metadata.name",
        ),
        (
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n  labels:\n    b: a b\n".to_owned(),
            "-:6:5: Namespace",
        ),
        (
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n  labels:\n    b: c\n    ver: 1\n".to_owned(),
            "-:7:5: Namespace \"a\": metadata.labels.ver: invalid type: integer `1`, expected a string",
        ),
        (
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n  labels: [b]\n".to_owned(),
            "-:5:3: Namespace \"a\": metadata.labels: invalid type: sequence",
        ),
        (
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n  annotations:\n    b: true\n".to_owned(),
            "-:6:5: Namespace \"a\": metadata.annotations.b: invalid type: boolean",
        ),
        ("apiVersion: v1\nkind: Pod\nmetadata:\n  name: A\n".to_owned(), "-:4:3: Pod \"A\": metadata.name"),
        (
            workload("Job", "metadata: {name: j}\nspec:\n  template:\n    metadata:\n      labels:\n        a: b c"),
            "-:8:9: Job \"j\": spec.template.metadata.labels.a",
        ),
        (
            workload(
                "CronJob",
                "metadata: {name: j}\nspec: {jobTemplate: {spec: {template: {metadata: {labels: {a b: c}}}}}}",
            ),
            "spec.jobTemplate.spec.template.metadata.labels.a b",
        ),
        ("apiVersion: example.com/v1\nkind: X\nmetadata: {name: x, namespace: A}\n".to_owned(), "metadata.namespace"),
    ] {
        let ran = check(&format!("{manifests}---\n{}", isolated()), &["-o", "json"]);
        fails_with(&ran, says);
        assert_eq!(names(&ran), ["team-a"]);
    }
    let others = "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: 'system::a', namespace: team-a, labels: {a: b}}\n";
    let made = "apiVersion: v1\nkind: Pod\nmetadata: {generateName: web-, namespace: team-a}\n";
    assert_eq!(check(&format!("{others}---\n{made}---\n{}", isolated()), &[]).code, 0);
}

#[test]
fn a_policy_that_is_there_during_helm_test_alone_does_not_isolate() {
    let hooked = |hook: &str| {
        isolated().replace(
            "kind: NetworkPolicy\nmetadata:\n",
            &format!("kind: NetworkPolicy\nmetadata:\n  annotations: {{helm.sh/hook: '{hook}'}}\n"),
        )
    };
    for hook in ["test", "test-success, test-failure"] {
        let ran = check(&hooked(hook), &["-o", "json"]);
        fails_with(
            &ran,
            "metadata.annotations.helm.sh/hook: Helm puts this policy there for the time of `helm test` alone",
        );
        fails_with(&ran, "helm template --skip-tests");
        assert_eq!(ran.json()["namespaces"][0]["ingress"]["coverage"], "absent", "{hook}");
    }
    for hook in ["pre-install,test", "post-install", ""] {
        assert_eq!(check(&hooked(hook), &[]).code, 0, "{hook}");
    }
}
