//! What becomes of manifests once the patch of `check --fix` is applied.

use serde_json::Value;

use crate::fix::{git_apply, write};
use crate::run::{check, ringfence_in};

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

fn dns(selector: &str) -> String {
    policy(
        "allow-dns",
        &format!(
            "  podSelector: {selector}\n  policyTypes:\n  - Egress\n  egress:\n  - ports:\n    - protocol: UDP\n      port: 53\n    - \
             protocol: TCP\n      port: 53\n    to:\n    - namespaceSelector:\n        matchLabels:\n          \
             kubernetes.io/metadata.name: kube-system\n"
        ),
    )
}

fn deny(name: &str, app: &str) -> String {
    let spec = "  podSelector:\n    matchLabels:\n      app: APP\n  policyTypes:\n  - Ingress\n  - Egress\n";
    policy(name, &spec.replace("APP", app))
}

#[test]
fn a_namespace_whose_egress_is_denied_by_the_patch_resolves_names_unless_its_profile_does_not() {
    let ingress = policy("deny", "  podSelector: {}\n  policyTypes:\n  - Ingress\n");
    let for_web = dns("{matchLabels: {app: web}}");
    let for_others = dns("{matchExpressions: [{key: app, operator: NotIn, values: [web]}]}");
    for (manifests, arguments, policies) in [
        (ingress.clone(), vec![], 2),
        (namespace("strict"), vec![], 3),
        (ingress.clone(), vec!["--cluster-dns", "openshift"], 2),
        // Where no workload is known, any pod may come.
        (ingress.clone() + &for_web, vec![], 2),
        (for_web.clone(), vec![], 3),
        // What DNS is let out by already stays the only thing that lets it out, where it does for every pod.
        (ingress.clone() + &for_web + &for_others.replace("name: allow-dns", "name: others"), vec![], 0),
        (ingress.clone() + &for_web + &pod("web"), vec![], 1),
        (ingress.clone() + &for_web + &pod("web") + &pod("db"), vec![], 2),
        (namespace("deny-all") + &ingress, vec![], 1),
    ] {
        let (patch, before, after) = mended(&manifests, &arguments);
        assert_eq!(count(&before, "baseline-incomplete") > 0, policies > 0, "{manifests}");
        for id in ["baseline-incomplete", "dns-missing", "dns-wrong-target"] {
            assert_eq!(count(&after, id), 0, "{id}: {manifests}{patch}");
        }
        assert_eq!(patch.matches("+kind: NetworkPolicy").count(), policies, "{manifests}{patch}");
    }
}

#[test]
fn one_policy_lets_all_pods_resolve_names_that_can_not() {
    let web = deny("web", "web");
    let all = policy("all", "  podSelector: {}\n  policyTypes:\n  - Ingress\n  - Egress\n");
    let workloads = pod("web") + &pod("db");
    for (manifests, policies) in [
        (web.clone(), 3),
        (web.clone() + &deny("db", "db") + &deny("cache", "cache"), 3),
        (web.clone() + &deny("db", "db") + &workloads, 3),
        (all.clone() + &web + &workloads, 1),
        (web.clone() + &all + &workloads, 1),
        // Nobody else is isolated by it.
        (format!("{}{web}{}", ignoring("shop"), deny("db", "db")), 1),
    ] {
        let (patch, before, after) = mended(&manifests, &[]);
        assert!(count(&before, "dns-missing") > 0, "{manifests}");
        assert_eq!(after, Vec::<String>::new(), "{manifests}{patch}");
        assert_eq!(patch.matches("+kind: NetworkPolicy").count(), policies, "{manifests}{patch}");
        assert_eq!(patch.matches("+  name: allow-dns\n").count(), 1, "{manifests}{patch}");
        assert!(!check(&manifests, &[]).stdout.contains("allow-dns-2"), "{manifests}");
        let widens = manifests.contains("ignore-baseline") && patch.contains("+  podSelector: {}\n");
        assert!(!widens, "{manifests}{patch}");
    }
}

/// A namespace that is meant to be open.
fn ignoring(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  annotations:\n    \
         ringfence.dev/ignore-baseline-incomplete: others are told to be open\n---\n"
    )
}

#[test]
fn what_the_patch_adds_is_no_finding_itself_and_leads_to_where_names_are_resolved() {
    for (dns, leads_to) in [
        (None, "k8s-app: kube-dns"),
        (Some("nodelocal"), "cidr: 169.254.20.10/32"),
        (Some("10.9.8.7"), "cidr: 10.9.8.7/32"),
        (Some("openshift"), "port: 5353"),
    ] {
        let arguments: Vec<&str> = dns.iter().flat_map(|dns| ["--cluster-dns", dns]).collect();
        let (patch, _, after) = mended(&namespace("standard"), &arguments);
        assert_eq!(after, Vec::<String>::new(), "{patch}");
        assert!(patch.contains(leads_to), "{leads_to}: {patch}");
    }
}

#[test]
fn the_patch_leads_to_the_resolver_that_the_profile_names_and_says_where_it_only_takes_the_usual_one() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "a.yaml", &namespace("standard"));
    let fix = || ringfence_in(directory.path(), &["check", "--fix", "a.yaml"], "");
    let usual = fix();
    assert!(
        usual.stdout.contains("k8s-app: kube-dns") && usual.stderr.contains("give --cluster-dns"),
        "{}",
        usual.stderr
    );
    let config = "profiles:\n  standard:\n    dns:\n      to:\n      - ipBlock:\n          cidr: 10.96.0.10/32\n";
    write(directory.path(), ".ringfence.yaml", config);
    let stated = fix();
    assert!(stated.stdout.contains("cidr: 10.96.0.10/32"), "{}{}", stated.stdout, stated.stderr);
    assert!(!stated.stdout.contains("kube-dns") && !stated.stderr.contains("--cluster-dns"), "{}", stated.stderr);
    // Where pods can't resolve names already, the same is advised.
    write(directory.path(), "a.yaml", &(namespace("standard") + &deny("web", "web")));
    let report = ringfence_in(directory.path(), &["check", "-o", "json", "a.yaml"], "").json();
    let mut found = report["findings"].as_array().unwrap().iter();
    let missing = found.find(|finding| finding["id"] == "dns-missing").unwrap();
    assert!(missing["snippet"].as_str().unwrap().contains("cidr: 10.96.0.10/32"), "{missing:#}");
    let fixed = fix();
    assert!(
        fixed.stdout.matches("+  name: allow-dns").count() == 1 && !fixed.stdout.contains("kube-dns"),
        "{}",
        fixed.stdout
    );
}

#[test]
fn what_is_advised_takes_no_name_that_another_policy_has() {
    let slip = policy("default-deny-egress", "  podSelector: {}\n  policyTypes:\n  - Ingress\n");
    let narrow =
        policy("default-deny-ingress", "  podSelector:\n    matchLabels:\n      app: x\n  policyTypes:\n  - Ingress\n");
    let misspelt = policy("default-deny-ingress", "  podSelector: {}\n  policyTypes:\n  - ingress\n");
    for (manifests, name, is_added) in [
        (slip, "default-deny-egress-2", true),
        (narrow, "default-deny-ingress-2", true),
        // What could not be read has a name, and may do what is missing once it can be.
        (misspelt, "default-deny-ingress-2", false),
    ] {
        let report = check(&manifests, &["-o", "json"]).json();
        let said =
            |finding: &Value| finding["snippet"].as_str().is_some_and(|text| text.contains(&format!("name: {name}\n")));
        assert!(report["findings"].as_array().unwrap().iter().any(said), "{report:#}");
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "a.yaml", &manifests);
        let ran = ringfence_in(directory.path(), &["check", "--fix", "a.yaml"], "");
        assert_eq!(ran.stdout.contains(&format!("+  name: {name}\n")), is_added, "{}{}", ran.stdout, ran.stderr);
        let says_why = ran.stderr.contains("a policy of that namespace could not be read");
        assert_eq!((ran.stdout.is_empty(), says_why, ran.code), (!is_added, !is_added, if is_added { 0 } else { 2 }));
    }
}

#[test]
fn what_the_patch_takes_of_a_profile_is_its_way_to_dns_and_no_other_port() {
    let directory = tempfile::tempdir().unwrap();
    let manifest = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n  labels:\n    ringfence.dev/profile: own\n";
    write(directory.path(), "a.yaml", manifest);
    let deny = "{name: default-deny-all, spec: {podSelector: {}, policyTypes: [Ingress, Egress]}}";
    let profile = |egress: &str| {
        let policy = format!("{{name: own, spec: {{podSelector: {{}}, policyTypes: [Egress], egress: [{egress}]}}}}");
        write(
            directory.path(),
            ".ringfence.yaml",
            &format!("profiles:\n  own:\n    policies:\n    - {deny}\n    - {policy}\n"),
        );
        let ran = ringfence_in(directory.path(), &["check", "--fix", "."], "");
        ran.stdout
            .split("name: allow-dns\n")
            .nth(1)
            .unwrap_or_else(|| panic!("{}{}", ran.stdout, ran.stderr))
            .to_owned()
    };
    // A rule for every port is not there for DNS, and would open what nobody asked for.
    let to_all_ports = profile("{to: [{ipBlock: {cidr: 10.0.0.0/8}}]}");
    assert!(to_all_ports.contains("k8s-app: kube-dns") && !to_all_ports.contains("10.0.0.0/8"), "{to_all_ports}");
    // UDP and TCP in a rule each, or UDP alone: where it leads is known, and answers that are cut come by TCP.
    let to = "to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: dns-system}}}]";
    let udp = format!("{{{to}, ports: [{{port: 53, protocol: UDP}}]}}");
    for egress in [udp.clone(), format!("{udp}, {{{to}, ports: [{{port: 53, protocol: TCP}}]}}")] {
        let there = profile(&egress);
        assert!(there.contains("dns-system") && !there.contains("kube-dns"), "{there}");
        assert!(["UDP", "TCP"].iter().all(|protocol| there.contains(&format!("protocol: {protocol}"))), "{there}");
    }
}

#[test]
fn in_the_resolver_s_own_namespace_the_patch_opens_its_port_alone() {
    let (patch, _, _) =
        mended("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n", &["--cluster-dns", "a/app=dns:53"]);
    let added = patch.split("name: allow-dns\n").nth(1).unwrap();
    assert!(added.contains("app: dns") && added.contains("port: 53"), "{patch}");
}

#[test]
fn pods_that_no_policy_concerns_do_not_keep_dns_from_the_others() {
    let host = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: host\n  namespace: shop\nspec:\n  selector:\n    \
                matchLabels:\n      app: host\n  template:\n    metadata:\n      labels:\n        app: host\n    spec:\n      \
                hostNetwork: true\n      containers:\n      - name: app\n        image: example.com/app\n";
    let (patch, _, _) = mended(&(namespace("standard") + host), &[]);
    assert!(patch.contains("+  name: allow-dns\n"), "{patch}");
}
