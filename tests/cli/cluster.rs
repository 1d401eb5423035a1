//! `--cluster-dns`, `--cni` and `--cluster-cidr`.

use crate::run::check;

const DENY: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: deny, namespace: a}\nspec: {podSelector: {}, \
                    policyTypes: [Ingress, Egress]}\n";

#[test]
fn what_is_no_resolver_plugin_or_network_exits_with_2_and_says_what_is_possible() {
    for (flag, value, said) in [
        ("--cluster-dns", "kube-dns", "coredns, openshift, nodelocal or gke"),
        ("--cluster-dns", "kube-system/k8s-app=kube-dns:dns", "kube-system/k8s-app=kube-dns:53"),
        ("--cni", "Calico", "calico, cilium"),
        ("--cluster-cidr", "10.0.0.0", "10.0.0.0/8"),
    ] {
        let ran = check(DENY, &[flag, value]);
        assert_eq!(ran.code, 2, "{flag} {value}: {}", ran.stderr);
        assert!(ran.stderr.contains(said) && ran.stderr.contains(flag), "{flag} {value}: {}", ran.stderr);
    }
}

#[test]
fn what_is_given_is_what_the_findings_name() {
    let ran = check(DENY, &["--cluster-dns", "openshift", "-o", "json"]);
    let report = ran.json();
    let finding = report["findings"].as_array().unwrap().iter().find(|finding| finding["id"] == "dns-missing");
    let fix = finding.unwrap()["fix"].as_str().unwrap();
    assert!(fix.contains("5353") && !fix.contains("kube-system"), "{fix}");
}

#[test]
fn one_of_several_resolvers_is_enough() {
    let allow = "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: dns, namespace: a}\nspec: {podSelector: \
                 {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 169.254.20.10/32}}], ports: [{protocol: UDP, port: 53}, \
                 {protocol: TCP, port: 53}]}]}\n";
    let found = |arguments: &[&str]| {
        let report = check(&format!("{DENY}{allow}"), &[arguments, &["-o", "json"]].concat()).json();
        report["findings"].as_array().unwrap().iter().any(|finding| finding["id"] == "dns-wrong-target")
    };
    assert!(found(&["--cluster-dns", "coredns"]));
    assert!(!found(&["--cluster-dns", "coredns", "--cluster-dns", "nodelocal"]));
}
