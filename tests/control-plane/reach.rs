//! `ringfence connect`, `matrix` and `diff` of a cluster: the same as of manifests with the same objects, with no more
//! rights than to read.

use std::process::Command;

use futures::StreamExt;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use crate::harness::{ADMIN, ALICE, BOB, Bed, Options, eventually};

crate::tests![
    a_cluster_answers_as_manifests_of_its_objects_do,
    a_list_of_more_than_a_page_is_read_to_its_end,
    who_may_not_list_is_told_and_gets_no_wrong_answer,
];

const GUIDE: [&str; 6] = [
    "tests/fixtures/guide/before.yaml",
    "tests/fixtures/guide/step-1.yaml",
    "tests/fixtures/guide/step-2.yaml",
    "tests/fixtures/guide/step-3.yaml",
    "tests/fixtures/guide/step-4.yaml",
    "tests/fixtures/guide/step-5.yaml",
];
const OR: &str = "tests/fixtures/guide/mistakes/or-for-and.yaml";

/// What a command printed, what it complained about, and its exit code.
fn ringfence(args: &[&str]) -> (String, String, i32) {
    let output = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_clear()
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code().unwrap())
}

fn of_cluster(bed: &Bed, user: &str, args: &[&str]) -> (String, String, i32) {
    let kubeconfig = bed.kubeconfig(0, user);
    ringfence(&[args, &["--kubeconfig", &kubeconfig.to_string_lossy()]].concat())
}

fn of_manifests(args: &[&str], files: &[&str]) -> (String, String, i32) {
    ringfence(&[args, &["--manifests"], files].concat())
}

/// A cluster without Ringfence, with the guide's objects and the pods that controllers make of them.
fn guide() -> Bed {
    let bed = Bed::start(&Options::whole());
    for file in GUIDE {
        let text = std::fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        // A pod can't be created before its namespace has a service account.
        eventually("the objects are there", || bed.kubectl_stdin(&["apply", "-f", "-"], &text).ok);
    }
    eventually("the controllers have made their pods", || {
        let pods = bed.kubectl(&["get", "pods", "-A", "-o", "name"]).expect_ok();
        pods.lines().count() == 6
    });
    bed
}

fn pod_of(bed: &Bed, selector: &str) -> String {
    let path = "jsonpath={.items[0].metadata.name}";
    bed.kubectl(&["get", "pods", "-n", "production", "-l", selector, "-o", path]).expect_ok()
}

fn a_cluster_answers_as_manifests_of_its_objects_do() {
    let bed = guide();
    for (from, to, port) in [
        ("frontend/web", "backend/db", "5432"),
        ("frontend/web", "backend/db", "80"),
        ("frontend/batch", "backend/db", "5432"),
        ("backend/db", "kube-system/deploy/coredns", "dns"),
        ("backend/db", "10.0.1.50", "5432"),
        ("production/shop", "production/sts/store", "80"),
        ("8.8.8.8", "production/shop", "http"),
    ] {
        for output in ["json", "text"] {
            let asked = ["connect", "--from", from, "--to", to, "--port", port, "-o", output];
            assert_eq!(of_cluster(&bed, ADMIN, &asked), of_manifests(&asked, &GUIDE), "{from} {to} {port}");
        }
    }
    for more in [&["-o", "json"][..], &["-o", "text"], &["-o", "dot"], &["-o", "json", "--namespace", "backend"]] {
        let asked = [&["matrix"], more].concat();
        assert_eq!(of_cluster(&bed, ADMIN, &asked), of_manifests(&asked, &GUIDE), "{more:?}");
    }

    // A pod that a Deployment made is found by its name, and an address that is a pod's by the pod.
    let shop = pod_of(&bed, "app=shop");
    let asked = ["connect", "--from", &format!("production/{shop}"), "--to", "8.8.8.8", "--port", "443"];
    let (said, _, code) = of_cluster(&bed, ADMIN, &asked);
    assert!(code == 1 && said.starts_with(&format!("denied: production/Pod/{shop} can't reach 8.8.8.8")), "{said}");
    let status = json!({ "status": { "podIP": "10.1.0.7", "podIPs": [{ "ip": "10.1.0.7" }] } }).to_string();
    bed.kubectl(&["patch", "pod", &shop, "-n", "production", "--subresource=status", "-p", &status]).expect_ok();
    let (_, said, code) =
        of_cluster(&bed, ADMIN, &["connect", "--from", "backend/db", "--to", "10.1.0.7", "--port", "80"]);
    assert!(
        code == 2 && said.contains(&format!("--to 10.1.0.7: this is the address of production/Pod/{shop}")),
        "{said}"
    );

    // What would be, were this applied: the same as between the manifests.
    let applied = GUIDE.map(|file| if file.ends_with("step-2.yaml") { OR } else { file });
    let directory = tempfile::tempdir().unwrap();
    let whole = |name: &str, files: &[&str]| {
        let read = |file: &&str| std::fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, files.iter().map(read).collect::<Vec<_>>().join("---\n")).unwrap();
        path.to_string_lossy().into_owned()
    };
    let (before, after) = (whole("before.yaml", &GUIDE), whole("after.yaml", &applied));
    let between = ringfence(&["diff", &before, &after]);
    let opened = "+ frontend/Pod/batch can reach backend/Pod/db on TCP/5432  (newly exposed)\n";
    assert_eq!(between, (opened.to_owned(), String::new(), 1));
    assert_eq!(of_cluster(&bed, ADMIN, &["diff", "--cluster", OR]), between);
    assert_eq!(of_cluster(&bed, ADMIN, &["diff", "--cluster", "--prune", &after]), between);
    let (said, _, code) = of_cluster(&bed, ADMIN, &["diff", "--cluster", &before]);
    assert_eq!((said.as_str(), code), ("the same connections before and after\n", 0));

    // A policy that is there and not in the manifests stays where they are applied, and goes where they are all there is.
    let extra = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": { "name": "by-hand", "namespace": "backend" }, "spec": { "podSelector": {}, "ingress": [{}] },
    });
    bed.apply(&extra.to_string());
    let (said, _, code) = of_cluster(&bed, ADMIN, &["diff", "--cluster", &before]);
    assert_eq!((said.as_str(), code), ("the same connections before and after\n", 0));
    let (said, _, code) = of_cluster(&bed, ADMIN, &["diff", "--cluster", "--prune", &before]);
    assert!(code == 0 && said.contains("- ") && said.ends_with("nothing is newly exposed\n"), "{said}");
}

fn a_list_of_more_than_a_page_is_read_to_its_end() {
    const COUNT: usize = 501;
    let bed = Bed::start(&Options::default());
    bed.kubectl(&["create", "namespace", "crowded"]).expect_ok();
    let api: Api<NetworkPolicy> = Api::namespaced(bed.client(0), "crowded");
    bed.run(async {
        let created = futures::stream::iter(0..COUNT).map(|index| {
            // The last one by its name is the one that lets something in.
            let ingress = if index == COUNT - 1 { json!([{ "ports": [{ "port": 80 }] }]) } else { json!([]) };
            let policy = json!({
                "metadata": { "name": format!("p-{index:04}") },
                "spec": { "podSelector": {}, "policyTypes": ["Ingress"], "ingress": ingress },
            });
            let (api, policy) = (api.clone(), serde_json::from_value(policy).unwrap());
            async move { api.create(&PostParams::default(), &policy).await.map(drop) }
        });
        let created: Vec<kube::Result<()>> = created.buffer_unordered(8).collect().await;
        created.into_iter().collect::<kube::Result<()>>().unwrap();
    });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web", "namespace": "crowded" },
        "spec": {
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "web", "image": "example.com/web" }] },
            },
        },
    });
    bed.apply(&deployment.to_string());
    let asked = ["connect", "--from", "1.1.1.1", "--to", "crowded/web", "--port", "80", "-o", "json"];
    let (said, complained, code) = of_cluster(&bed, ADMIN, &asked);
    assert_eq!(code, 0, "{said}{complained}");
    let answer: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(answer["ingress"]["policies"].as_array().unwrap().len(), COUNT);
    assert_eq!(answer["ingress"]["rule"]["policy"], "p-0500");
}

/// Grants to a user, in a namespace or in all, and waits until it is known.
fn grant(bed: &Bed, user: &str, namespace: Option<&str>, rules: &Value, known_by: &[&str]) {
    let kind = if namespace.is_some() { "Role" } else { "ClusterRole" };
    let metadata = json!({ "name": format!("{user}-reads"), "namespace": namespace });
    let group = "rbac.authorization.k8s.io";
    bed.apply(
        &json!({ "apiVersion": "v1", "kind": "List", "items": [
            { "apiVersion": format!("{group}/v1"), "kind": kind, "metadata": metadata, "rules": rules },
            {
                "apiVersion": format!("{group}/v1"), "kind": format!("{kind}Binding"), "metadata": metadata,
                "roleRef": { "apiGroup": group, "kind": kind, "name": format!("{user}-reads") },
                "subjects": [{ "apiGroup": group, "kind": "User", "name": user }],
            },
        ] })
        .to_string(),
    );
    eventually("the right is known", || bed.kubectl_with(user, known_by).ok);
}

fn who_may_not_list_is_told_and_gets_no_wrong_answer() {
    let bed = guide();
    let connect = ["connect", "--from", "frontend/web", "--to", "backend/db", "--port", "5432"];
    let (said, complained, code) = of_cluster(&bed, ALICE, &connect);
    assert_eq!((said.as_str(), code), ("", 2));
    assert!(complained.contains("User \"alice\" cannot get resource \"namespaces\""), "{complained}");

    // The two namespaces alone, and their pods alone, are enough for one question.
    let rules = |namespace: &str| {
        json!([
            { "apiGroups": [""], "resources": ["namespaces"], "resourceNames": [namespace], "verbs": ["get"] },
            { "apiGroups": [""], "resources": ["pods"], "verbs": ["list"] },
            { "apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": ["list"] },
        ])
    };
    for namespace in ["frontend", "backend"] {
        grant(&bed, ALICE, Some(namespace), &rules(namespace), &["get", "netpol", "-n", namespace]);
    }
    assert_eq!(of_cluster(&bed, ALICE, &connect), of_manifests(&connect, &GUIDE));
    let deployment = ["connect", "--from", "frontend/deploy/web", "--to", "backend/db", "--port", "5432"];
    let (_, complained, code) = of_cluster(&bed, ALICE, &deployment);
    assert!(code == 2 && complained.contains("no Deployment can be listed: "), "{complained}");
    let outside = ["connect", "--from", "8.8.8.8", "--to", "backend/db", "--port", "5432"];
    let (said, complained, code) = of_cluster(&bed, ALICE, &outside);
    assert!(code == 1 && said.starts_with("denied: 8.8.8.8 can't reach"), "{said}{complained}");
    assert!(complained.contains("8.8.8.8 is taken for no pod's address"), "{complained}");
    let (said, complained, code) = of_cluster(&bed, ALICE, &["matrix"]);
    assert!(
        code == 2 && said.is_empty() && complained.contains("Namespaces of the cluster can't be listed"),
        "{complained}"
    );

    // Without pods some could be left out; without a kind that makes pods, its pods stand for themselves.
    let list = |core: &[&str]| {
        json!([
            { "apiGroups": [""], "resources": core, "verbs": ["list"] },
            { "apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": ["list"] },
            { "apiGroups": ["apps"], "resources": ["deployments", "replicasets"], "verbs": ["list"] },
        ])
    };
    grant(&bed, BOB, None, &list(&["namespaces"]), &["get", "deploy", "-A"]);
    let (said, complained, code) = of_cluster(&bed, BOB, &["matrix"]);
    assert!(
        code == 2 && said.is_empty() && complained.contains("the pods of the cluster can't be listed"),
        "{complained}"
    );
    grant(&bed, BOB, None, &list(&["namespaces", "pods"]), &["get", "pods", "-A"]);
    let (said, complained, code) = of_cluster(&bed, BOB, &["matrix", "-o", "json"]);
    assert_eq!(code, 0, "{complained}");
    assert!(complained.contains("no StatefulSet can be listed: its pods stand for themselves"), "{complained}");
    let whole = of_manifests(&["matrix", "-o", "json"], &GUIDE).0;
    let pod = whole.replace(
        r#""namespace":"production","kind":"StatefulSet","name":"store""#,
        r#""namespace":"production","kind":"Pod","name":"store-0""#,
    );
    let connections = |text: &str| {
        let report: Value = serde_json::from_str(text).unwrap();
        let mut all: Vec<String> = report["connections"].as_array().unwrap().iter().map(Value::to_string).collect();
        // That a pod reaches itself is not listed; that one of a StatefulSet's reaches another is.
        all.retain(|one| one.matches(r#""name":"store"#).count() < 2);
        all.sort();
        all
    };
    assert_eq!(connections(&said), connections(&pod));
}
