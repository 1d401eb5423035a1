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
