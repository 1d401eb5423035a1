//! Lints as warnings of NetworkPolicies: the same findings as `check` reports, where nothing else says so already.

use serde_json::{Value, json};

use crate::support::{Reply, creates, deletes, deny_all, isolated, managed, pending, policy, updates};

fn from(peers: &Value) -> Value {
    json!({ "podSelector": { "matchLabels": { "app": "db" } }, "policyTypes": ["Ingress"], "ingress": [{ "from": peers }] })
}

fn slip() -> Value {
    from(&json!([
        { "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "frontend" } } },
        { "podSelector": { "matchLabels": { "app": "web" } } },
    ]))
}

fn ignoring(mut object: Value, lint: &str, reason: &str) -> Value {
    object["metadata"]["annotations"] = json!({ format!("ringfence.dev/ignore-{lint}"): reason });
    object
}

/// The ids that the warnings end with, in their order.
fn ids(reply: &Reply) -> Vec<String> {
    let all = reply.warnings.join(" ");
    let words = all.split(['(', ')']).skip(1).step_by(2);
    words
        .filter(|word| word.contains('-') && word.chars().all(|c| c == '-' || c.is_ascii_lowercase()))
        .map(Into::into)
        .collect()
}

#[test]
fn what_the_lints_find_is_a_warning_with_its_place_its_help_and_its_id() {
    let reply = isolated().validate(&creates(&policy("slip", &slip()))).passes("Allowed");
    assert_eq!(ids(&reply), ["and-or"]);
    reply.warns(&["spec.ingress[0].from[1]: two items are ORed", "put both selectors in one item (and-or)"]);
}

#[test]
fn the_gravest_comes_first() {
    let peers = json!([
        { "namespaceSelector": {}, "podSelector": { "matchLabels": { "app": "x" } } },
        { "namespaceSelector": { "matchLabels": { "team": "b" } } },
        { "podSelector": { "matchLabels": { "app": "web" } } },
    ]);
    let reply = isolated().validate(&creates(&policy("p", &from(&peers)))).passes("Allowed");
    assert_eq!(ids(&reply), ["spoofable-namespace", "spoofable-pod", "and-or"]);
}

#[test]
fn a_hole_is_reported_once_by_its_class() {
    let world = json!({ "podSelector": { "matchLabels": { "a": "b" } }, "policyTypes": ["Ingress"],
        "ingress": [{ "from": [{ "ipBlock": { "cidr": "0.0.0.0/0" } }] }] });
    let reply = isolated().validate(&creates(&policy("world", &world))).passes("Allowed").warns(&["ingress W4*"]);
    assert_eq!(ids(&reply), [""; 0], "{reply:?}");
    let mut nearly = world;
    nearly["ingress"][0]["from"][0]["ipBlock"]["except"] = json!(["10.0.0.0/8"]);
    let reply = isolated().validate(&creates(&policy("world", &nearly))).passes("Allowed").warns(&["ingress W4*"]);
    assert_eq!(ids(&reply), [""; 0], "{reply:?}");
}

#[test]
fn of_the_namespace_only_what_the_change_brings_about_is_told() {
    let to = |block: Value| json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": [{ "to": [{ "ipBlock": block }] }] });
    let outside = policy("outside", &to(json!({ "cidr": "192.168.0.0/16", "except": ["192.168.1.0/24"] })));
    let inside = policy("inside", &to(json!({ "cidr": "192.168.1.0/24" })));
    let narrow = policy("narrow", &to(json!({ "cidr": "203.0.113.0/24" })));
    let world = isolated().policy(&outside);
    let reply = world.validate(&creates(&inside)).passes("Allowed");
    assert_eq!(ids(&reply), ["except-readded"]);
    let reply = reply.warns(&["NetworkPolicy \"outside\": spec.egress[0].to[0].ipBlock.except[0]: "]);
    assert!(!reply.warnings.is_empty());
    let world = world.policy(&inside);
    world.validate(&creates(&narrow)).passes_silently("Allowed");
    world
        .validate(&updates(&inside, &policy("inside", &to(json!({ "cidr": "203.0.113.0/24" })))))
        .passes_silently("Allowed");
    world.validate(&deletes(&inside)).passes_silently("Allowed");
}

#[test]
fn a_namespace_that_loses_dns_is_told_and_one_that_had_none_is_not() {
    let dns = json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": [{ "ports": [
        { "port": 53, "protocol": "UDP" }, { "port": 53, "protocol": "TCP" },
    ] }] });
    let (deny, dns, spare) = (policy("deny", &deny_all()), policy("dns", &dns), policy("spare", &deny_all()));
    let warned = || pending().in_mode("warn");
    let world = warned().policy(&deny).policy(&dns);
    assert_eq!(ids(&world.validate(&deletes(&dns)).passes("Allowed")), ["dns-missing"]);
    let world = warned().policy(&deny).policy(&spare);
    world.validate(&deletes(&deny)).passes_silently("Allowed");
    // Where it is enforced, the controller puts the profile's own in its place.
    pending().policy(&deny).policy(&dns).validate(&deletes(&dns)).passes_silently("Allowed");
}

#[test]
fn the_configuration_switches_a_lint_off_or_makes_it_info_and_then_nothing_is_told() {
    for level in ["off", "info"] {
        let world = isolated().configured(&json!({ "lints": { "and-or": level } }));
        world.validate(&creates(&policy("slip", &slip()))).passes_silently("Allowed");
    }
}

#[test]
fn an_annotation_with_a_reason_switches_a_warning_off_and_one_without_is_told_of() {
    let world = isolated();
    let meant = ignoring(policy("slip", &slip()), "and-or", "both are meant");
    world.validate(&creates(&meant)).passes_silently("Allowed");
    let unreasoned = world.validate(&creates(&ignoring(policy("slip", &slip()), "and-or", " "))).passes("Allowed");
    assert_eq!(ids(&unreasoned), ["unused-suppression", "and-or"]);
    // What else is there to be ignored is not known here.
    let unused = ignoring(policy("own", &from(&json!([{ "podSelector": {} }]))), "dns-missing", "no names are needed");
    world.validate(&creates(&unused)).passes_silently("Allowed");
}

#[test]
fn no_annotation_softens_a_denial() {
    let everything = json!({ "podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}] });
    let ignored = ignoring(policy("all", &everything), "allow-all", "we want it");
    isolated().validate(&creates(&ignored)).refused("BaselineWeakened", &["ingress ALL"]);
    let mine = policy("mine", &deny_all());
    let world = pending().policy(&mine);
    let narrow = json!({ "podSelector": { "matchLabels": { "app": "db" } }, "policyTypes": ["Ingress", "Egress"] });
    let ignored = ignoring(policy("mine", &narrow), "baseline-incomplete", "we want it");
    world.validate(&updates(&mine, &ignored)).refused("BaselineWeakened", &["no policy would isolate"]);
}

#[test]
fn what_the_controller_writes_and_what_a_profile_says_gets_no_warning() {
    for (name, spec) in ringfence_core::profile::built_in("standard").unwrap() {
        let spec = serde_json::to_value(spec).unwrap();
        pending().validate(&creates(&managed(name, &spec)).by_controller()).passes_silently("Allowed");
        pending().validate(&creates(&policy("mine", &spec))).passes_silently("Allowed");
    }
}

#[test]
fn thousands_of_mistakes_become_a_few_lines() {
    let peers: Vec<Value> =
        (0..5_000).map(|i| json!({ "namespaceSelector": { "matchLabels": { format!("k{i}"): "v" } } })).collect();
    let reply = isolated().validate(&creates(&policy("p", &from(&json!(peers))))).passes("Allowed");
    assert!(reply.warnings.iter().map(String::len).sum::<usize>() <= 4096);
    assert!(reply.warnings.last().unwrap().contains("there is more"));
}
