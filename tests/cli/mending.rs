//! What becomes of manifests once the patch of `check --fix` is applied.

use serde_json::Value;

use crate::fix::{git_apply, write};
use crate::run::ringfence_in;

/// The patch for a manifest, and the ids that are found before and after it.
fn mended(manifests: &str, arguments: &[&str]) -> (String, Vec<String>, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "a.yaml", manifests);
    let ids = || {
        let report =
            ringfence_in(directory.path(), &[&["check", "-o", "json", "a.yaml"], arguments].concat(), "").json();
        let id = |finding: &Value| finding["id"].as_str().unwrap().to_owned();
        report["findings"].as_array().unwrap().iter().map(id).collect::<Vec<_>>()
    };
    let before = ids();
    let ran = ringfence_in(directory.path(), &[&["check", "--fix", "a.yaml"], arguments].concat(), "");
    if !ran.stdout.is_empty() {
        git_apply(directory.path(), &ran.stdout);
    }
    (ran.stdout, before, ids())
}

fn count(ids: &[String], id: &str) -> usize {
    ids.iter().filter(|found| *found == id).count()
}

fn egress(to: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: p\n  namespace: shop\nspec:\n  podSelector: \
         {{}}\n  policyTypes:\n  - Ingress\n  - Egress\n  egress:\n  - to:\n{to}"
    )
}

#[test]
fn the_metadata_address_is_not_excepted_where_it_is_let_through_all_the_same() {
    let wide = "    - ipBlock:\n        cidr: 169.254.0.0/16\n";
    let itself = "    - ipBlock:\n        cidr: 169.254.169.254/32\n";
    let anywhere = "  - ports:\n    - protocol: TCP\n      port: 80\n";
    for (to, excepted) in
        [(wide.to_owned(), true), (format!("{itself}{wide}"), false), (format!("{wide}{anywhere}"), false)]
    {
        let (patch, before, after) = mended(&egress(&to), &[]);
        assert_eq!(patch.contains("except"), excepted, "{to}{patch}");
        assert_eq!(count(&after, "except-readded"), 0, "{to}{patch}");
        let left = if excepted { 0 } else { count(&before, "metadata-reachable") };
        assert_eq!(count(&after, "metadata-reachable"), left, "{to}{patch}");
    }
}

fn policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: {name}\n  namespace: shop\nspec:\n{spec}---\n"
    )
}

fn namespace(profile: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  labels:\n    ringfence.dev/profile: {profile}\n---\n"
    )
}

fn pod(app: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {app}\n  namespace: shop\n  labels:\n    app: {app}\nspec:\n  containers:\n  - \
         name: a\n---\n"
    )
}

#[test]
fn a_namespace_whose_egress_is_denied_by_the_patch_resolves_names_as_its_profile_does() {
    let ingress = policy("deny", "  podSelector: {}\n  policyTypes:\n  - Ingress\n");
    let web =
        policy("web", "  podSelector:\n    matchLabels:\n      app: web\n  policyTypes:\n  - Ingress\n  - Egress\n");
    let dns = |selector: &str| {
        policy(
            "allow-dns",
            &format!(
                "  podSelector: {selector}\n  policyTypes:\n  - Egress\n  egress:\n  - ports:\n    - protocol: UDP\n      port: 53\n    - \
                 protocol: TCP\n      port: 53\n    to:\n    - namespaceSelector:\n        matchLabels:\n          \
                 kubernetes.io/metadata.name: kube-system\n"
            ),
        )
    };
    let for_web = dns("{matchLabels: {app: web}}");
    for (manifests, arguments, policies) in [
        (ingress.clone(), vec![], 2),
        (namespace("strict"), vec![], 3),
        (ingress.clone(), vec!["--cluster-dns", "openshift"], 2),
        // What DNS is let out by already stays the only thing that lets it out, where it does for every pod.
        (ingress.clone() + &for_web, vec![], 1),
        (ingress.clone() + &for_web + &pod("web"), vec![], 1),
        (ingress.clone() + &for_web + &pod("web") + &pod("db"), vec![], 2),
        (web, vec![], 4),
        (namespace("deny-all") + &ingress, vec![], 1),
    ] {
        let (patch, before, after) = mended(&manifests, &arguments);
        assert!(count(&before, "baseline-incomplete") > 0, "{manifests}");
        for id in ["baseline-incomplete", "dns-missing", "dns-wrong-target"] {
            assert_eq!(count(&after, id), 0, "{id}: {manifests}{patch}");
        }
        assert_eq!(patch.matches("+kind: NetworkPolicy").count(), policies, "{manifests}{patch}");
    }
}
