//! `ringfence adopt`: what it does with the rights of whoever runs it, and what it prints.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{ADMIN, ALICE, BOB, Bed, World, eventually};
use crate::steps::{
    STANDARD, create_before_ringfence, disturbed, get, isolated_namespace, labels, names, policies, policy,
    until_isolated,
};

crate::tests![
    it_says_what_the_baseline_would_cut_and_adopts,
    a_dry_run_says_the_same_and_changes_nothing,
    in_mode_warn_nothing_is_applied,
    undoing_takes_everything_away_and_leaves_what_is_not_ringfence_s,
    who_may_not_is_told_what_is_missing,
    it_refuses_what_can_t_be_adopted_and_goes_on_with_the_rest,
    all_adopts_every_namespace_that_is_not,
];

/// What the command printed, standard error after standard output, and its exit status.
fn adopt(bed: &Bed, user: &str, args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .arg("adopt")
        .args(["--kubeconfig", &bed.kubeconfig(0, user).to_string_lossy()])
        .args(args)
        .env_clear()
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let status = output.status.code().unwrap();
    format!("{}{}exit status {status}", text(&output.stdout), text(&output.stderr))
}

fn shared() -> &'static Bed {
    &World::shared().bed
}

/// A namespace that was there before, with something that other namespaces reach and something that reaches them.
fn legacy(bed: &Bed, name: &str) {
    create_before_ringfence(bed, name);
    bed.kubectl(&["run", "web", "-n", name, "--image=example.com/app", "--labels=app=web"]).expect_ok();
    bed.kubectl(&["run", "batch", "-n", name, "--image=example.com/app", "--labels=app=batch"]).expect_ok();
    bed.kubectl(&["create", "service", "clusterip", "web", "-n", name, "--tcp=80:8080", "--tcp=443:8443"]).expect_ok();
    // Cut off already: nothing is lost for it.
    let closed = json!({ "podSelector": { "matchLabels": { "app": "batch" } }, "policyTypes": ["Ingress", "Egress"] });
    bed.apply(&policy(name, "closed", &closed));
}

fn it_says_what_the_baseline_would_cut_and_adopts() {
    let bed = shared();
    legacy(bed, "legacy");
    let told = adopt(bed, ADMIN, &["legacy"]);
    insta::assert_snapshot!("adopt", told);
    until_isolated(bed, "legacy");
    assert_eq!(policies(bed, "legacy").len(), 4);
    insta::assert_snapshot!("adopt_again", adopt(bed, ADMIN, &["legacy"]));
}

fn a_dry_run_says_the_same_and_changes_nothing() {
    let bed = shared();
    legacy(bed, "legacy-dry");
    let told = adopt(bed, ADMIN, &["--dry-run", "legacy-dry"]);
    insta::assert_snapshot!("adopt_dry_run", told);
    assert_eq!(labels(bed, "legacy-dry"), json!({ "kubernetes.io/metadata.name": "legacy-dry" }));
    assert_eq!(policies(bed, "legacy-dry"), ["closed"]);

    isolated_namespace(bed, "adopted-dry");
    let before = get(bed, "adopted-dry", "namespace/adopted-dry")["metadata"].clone();
    insta::assert_snapshot!("undo_dry_run", adopt(bed, ADMIN, &["--undo", "--dry-run", "adopted-dry"]));
    assert_eq!(get(bed, "adopted-dry", "namespace/adopted-dry")["metadata"], before);
}

fn in_mode_warn_nothing_is_applied() {
    let bed = shared();
    legacy(bed, "legacy-warn");
    let told = adopt(bed, ADMIN, &["--mode=warn", "--profile=strict", "legacy-warn"]);
    insta::assert_snapshot!("adopt_warn", told);
    let labels = labels(bed, "legacy-warn");
    assert_eq!((&labels["ringfence.dev/mode"], &labels["ringfence.dev/profile"]), (&json!("warn"), &json!("strict")));
    assert_eq!(policies(bed, "legacy-warn"), ["closed"]);
    let wide = policy("legacy-warn", "wide", &crate::steps::opens_ingress());
    eventually("the mode is known", || {
        let said = bed.kubectl_stdin(&["create", "--dry-run=server", "-f", "-"], &wide);
        said.ok && said.stderr.contains("Warning")
    });
    let said = bed.kubectl_stdin(&["create", "-f", "-"], &wide);
    assert!(said.ok && said.stderr.contains("Warning"), "{said:?}");
}

fn undoing_takes_everything_away_and_leaves_what_is_not_ringfence_s() {
    let bed = shared();
    legacy(bed, "undone");
    adopt(bed, ADMIN, &["undone"]);
    until_isolated(bed, "undone");
    insta::assert_snapshot!("undo", adopt(bed, ADMIN, &["--undo", "undone"]));
    assert_eq!(labels(bed, "undone"), json!({ "kubernetes.io/metadata.name": "undone" }));
    assert_eq!(policies(bed, "undone"), ["closed"]);
    assert!(!get(bed, "undone", "namespace/undone")["metadata"].to_string().contains("ringfence.dev/conflict\":\""));
    insta::assert_snapshot!("undo_again", adopt(bed, ADMIN, &["--undo", "undone"]));
    // And back.
    adopt(bed, ADMIN, &["undone"]);
    until_isolated(bed, "undone");
}

/// Lets a user change namespaces, and read and delete what is in them, but not deviate.
fn namespace_keeper(bed: &Bed, user: &str) {
    let rules = json!([
        { "apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list", "patch"] },
        { "apiGroups": [""], "resources": ["pods", "services"], "verbs": ["list"] },
        { "apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": ["list", "delete"] },
    ]);
    let version = "rbac.authorization.k8s.io/v1";
    let (kind, metadata) = ("ClusterRole", json!({ "name": "namespace-keeper" }));
    bed.apply(&json!({ "apiVersion": version, "kind": kind, "metadata": metadata, "rules": rules }).to_string());
    let binding = format!("namespace-keeper-{user}");
    let bind = ["create", "clusterrolebinding", &binding, "--clusterrole=namespace-keeper", "--user", user];
    bed.kubectl(&bind).expect_ok();
    eventually("the right is known", || {
        bed.kubectl_with(user, &["auth", "can-i", "delete", "networkpolicies", "-A"]).ok
    });
}

fn who_may_not_is_told_what_is_missing() {
    let bed = shared();
    legacy(bed, "guarded");
    insta::assert_snapshot!("adopt_without_rights", adopt(bed, ALICE, &["guarded"]));
    insta::assert_snapshot!("adopt_all_without_rights", adopt(bed, ALICE, &["--all"]));
    namespace_keeper(bed, BOB);
    insta::assert_snapshot!("adopt_warn_not_permitted", adopt(bed, BOB, &["--mode=warn", "guarded"]));
    assert_eq!(labels(bed, "guarded"), json!({ "kubernetes.io/metadata.name": "guarded" }));
    // Who enforces the default deviates from nothing.
    let told = adopt(bed, BOB, &["guarded"]);
    assert!(told.ends_with("guarded: adopted (profile standard, mode enforce)\nexit status 0"), "{told}");
    until_isolated(bed, "guarded");
    let before = labels(bed, "guarded");
    insta::assert_snapshot!("undo_not_permitted", adopt(bed, BOB, &["--undo", "guarded"]));
    assert_eq!((labels(bed, "guarded"), policies(bed, "guarded").len()), (before, 4));
    // With the right to mode warn and no more, it ends there, and says so.
    let role =
        ["create", "clusterrole", "may-warn", "--verb=use", "--resource=modes.ringfence.dev", "--resource-name=warn"];
    let said = bed.kubectl(&role);
    if !said.ok {
        let rules = json!([{ "apiGroups": ["ringfence.dev"], "resources": ["modes"], "resourceNames": ["warn"], "verbs": ["use"] }]);
        let metadata = json!({ "name": "may-warn" });
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": metadata, "rules": rules,
        });
        bed.apply(&role.to_string());
    }
    bed.kubectl(&["create", "clusterrolebinding", "may-warn", "--clusterrole=may-warn", "--user=bob"]).expect_ok();
    let mut told = String::new();
    eventually("the right is known", || {
        told = adopt(bed, BOB, &["--undo", "guarded"]);
        labels(bed, "guarded")["ringfence.dev/mode"] == "warn"
    });
    insta::assert_snapshot!("undo_half_permitted", told);
    assert_eq!(labels(bed, "guarded")["ringfence.dev/mode"], "warn");
}

fn it_refuses_what_can_t_be_adopted_and_goes_on_with_the_rest() {
    let bed = shared();
    create_before_ringfence(bed, "one-of-many");
    insta::assert_snapshot!("adopt_many", adopt(bed, ADMIN, &["kube-system", "missing", "one-of-many"]));
    until_isolated(bed, "one-of-many");
    assert_eq!(policies(bed, "one-of-many"), STANDARD);
    insta::assert_snapshot!("adopt_unknown_profile", adopt(bed, ADMIN, &["--profile=none-such", "one-of-many"]));
    insta::assert_snapshot!("adopt_exempt", adopt(bed, ADMIN, &["--mode=exempt", "one-of-many"]));
    insta::assert_snapshot!("adopt_nothing", adopt(bed, ADMIN, &[]));
}

fn all_adopts_every_namespace_that_is_not() {
    let (world, _turn) = disturbed();
    let bed = &world.bed;
    // Others use this bed, too: what they left is in the list, and is not what this is about.
    let lines = |told: &str| {
        let ours = |line: &&str| {
            ["everyone-", "default:", "kube-", "ringfence-", "exit"].iter().any(|start| line.starts_with(start))
        };
        told.lines().filter(ours).collect::<Vec<_>>().join("\n")
    };
    for name in ["everyone-1", "everyone-2"] {
        create_before_ringfence(bed, name);
    }
    isolated_namespace(bed, "everyone-3");
    insta::assert_snapshot!("all_dry_run", lines(&adopt(bed, ADMIN, &["--all", "--dry-run", "--mode=audit"])));
    insta::assert_snapshot!("all", lines(&adopt(bed, ADMIN, &["--all", "--mode=audit"])));
    let adopted = |namespace: &Value| namespace["metadata"]["labels"]["ringfence.dev/mode"].is_string();
    let all = get(bed, "default", "namespaces");
    let not: Value = all["items"].as_array().unwrap().iter().filter(|namespace| !adopted(namespace)).cloned().collect();
    let system = ["kube-node-lease", "kube-public", "kube-system", "ringfence-system"];
    assert_eq!(names(&json!({ "items": not })), system);
    assert_eq!(labels(bed, "everyone-2")["ringfence.dev/mode"], "audit");
    insta::assert_snapshot!("all_again", adopt(bed, ADMIN, &["--all", "--mode=audit"]));
    // The other direction, by name: --all would give up what other tests have here.
    insta::assert_snapshot!(
        "undo_many",
        adopt(bed, ADMIN, &["--undo", "everyone-1", "everyone-2", "everyone-3", "default"])
    );
    for name in ["everyone-1", "everyone-2", "everyone-3"] {
        assert_eq!(labels(bed, name), json!({ "kubernetes.io/metadata.name": name }));
        bed.kubectl(&["delete", "namespace", name, "--wait=false"]).expect_ok();
    }
}
