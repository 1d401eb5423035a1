//! The configuration: built-in profiles, defaults that read back, and errors that name field and fix.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail like this, also in its helpers")]

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use ringfence_core::config::{Config, Existing, Pods, Treatment};
use ringfence_core::policy::Direction;
use ringfence_core::policy::criteria::{Criteria, Wide};
use ringfence_core::policy::lint::settle::Level;
use ringfence_core::policy::lint::{Severity, catalogue};
use ringfence_core::policy::verdict::judge;
use ringfence_core::profile::{BUILT_IN, Effect, HoleTable, built_in, classes};
use ringfence_core::vocabulary::Mode;
use rstest::rstest;
use serde_json::{Value, json};

#[track_caller]
fn errors(value: &Value) -> Vec<ringfence_core::policy::parse::FieldError> {
    Config::parse(value).unwrap_err()
}

/// The three policies that people were told to write by hand.
fn guide() -> Value {
    json!({
        "default-deny-all": { "podSelector": {}, "policyTypes": ["Ingress", "Egress"] },
        "allow-dns": {
            "podSelector": {},
            "policyTypes": ["Egress"],
            "egress": [{ "ports": [{ "protocol": "UDP", "port": 53 }, { "protocol": "TCP", "port": 53 }] }],
        },
        "allow-same-namespace": {
            "podSelector": {},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{ "from": [{ "podSelector": {} }] }],
            "egress": [{ "to": [{ "podSelector": {} }] }],
        },
    })
}

fn specs(profile: &str) -> Value {
    let config = Config::default();
    let policies = config.profiles.get(profile).unwrap().policies();
    policies.iter().map(|policy| (policy.name.clone(), serde_json::to_value(&policy.api).unwrap())).collect()
}

#[test]
fn standard_is_exactly_the_three_policies_of_the_guide() {
    assert_eq!(specs("standard"), guide());
}

#[test]
fn strict_allows_dns_to_the_clusters_resolver_alone_and_deny_all_not_even_that() {
    let mut less = guide();
    less.as_object_mut().unwrap().remove("allow-same-namespace");
    less["allow-dns"]["egress"][0]["to"] = json!([{
        "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "kube-system" } },
        "podSelector": { "matchLabels": { "k8s-app": "kube-dns" } },
    }]);
    assert_eq!(specs("strict"), less);
    less.as_object_mut().unwrap().remove("allow-dns");
    assert_eq!(specs("deny-all"), less);
}

#[test]
fn other_ports_for_dns_leave_the_resolver_of_strict_as_it_is() {
    let config = Config::parse(&json!({ "profiles": {
        "strict": { "dns": { "ports": [{ "protocol": "UDP", "port": 5353 }] } },
        "standard": { "dns": { "ports": [{ "protocol": "UDP", "port": 5353 }] } },
    } }))
    .unwrap();
    for name in ["strict", "standard"] {
        let policies = config.profiles.get(name).unwrap().policies();
        let dns = policies.iter().find(|policy| policy.name == "allow-dns").unwrap();
        let [rule] = dns.api.egress.as_deref().unwrap() else { panic!("{dns:?}") };
        assert_eq!(rule.to, built_in(name).unwrap()[1].1.egress.as_ref().unwrap()[0].to, "{name}");
        assert_eq!(rule.ports.as_ref().unwrap()[0].port, Some(IntOrString::Int(5353)));
    }
}

#[rstest]
#[case::a_pinned_resolver("strict", "standard", true)]
#[case::any_resolver("standard", "strict", false)]
#[case::less_without_dns("deny-all", "standard", true)]
#[case::dns("strict", "deny-all", false)]
#[case::starred_holes("deny-all", "strict", false)]
fn a_profile_is_as_strict_as_another_where_its_policies_and_its_table_allow_no_more(
    #[case] one: &str,
    #[case] other: &str,
    #[case] expected: bool,
) {
    let config = Config::default();
    let profile = |name: &str| config.profiles.get(name).unwrap();
    assert_eq!(profile(one).is_as_strict_as(profile(other), "team-a"), expected);
}

#[rstest]
#[case("standard")]
#[case("strict")]
#[case("deny-all")]
fn a_built_in_profile_is_there_and_effective(#[case] name: &str) {
    assert!(BUILT_IN.contains(&name));
    let config = Config::default();
    let profile = config.profiles.get(name).unwrap();
    let parsed: Vec<_> = profile.policies().iter().map(|policy| &policy.parsed).collect();
    let verdict = judge(&parsed, &Criteria::default());
    assert!(profile.is_effective(&verdict) && !verdict.capped);
    assert_eq!(profile.shortfalls(&verdict), Vec::<String>::new());
    let object = serde_json::to_value(profile.policies()[0].managed_object("team-a")).unwrap();
    assert_eq!(object["metadata"]["labels"], json!({ "app.kubernetes.io/managed-by": "ringfence" }));
    let object = serde_json::to_value(profile.policies()[0].object("team-a")).unwrap();
    assert_eq!(object["metadata"], json!({ "name": "default-deny-all", "namespace": "team-a" }));
}

#[test]
fn the_default_table_denies_what_is_wide_at_ingress_and_strict_its_starred_forms_too() {
    let (default, config) = (HoleTable::default(), Config::default());
    let strict = config.profiles.get("strict").unwrap().holes();
    for class in classes() {
        let text = class.to_string();
        let is_wide = ["ALL", "CLUSTER", "W4", "W6"].contains(&text.trim_end_matches('*'));
        let (ingress, by_strict, egress) = match (is_wide, class.some) {
            (false, _) => (Effect::Allow, Effect::Allow, Effect::Allow),
            (true, false) => (Effect::Deny, Effect::Deny, Effect::Warn),
            (true, true) => (Effect::Warn, Effect::Deny, Effect::Allow),
        };
        assert_eq!(default.effect(Direction::Ingress, class), ingress, "ingress {text}");
        assert_eq!(strict.effect(Direction::Ingress, class), by_strict, "strict ingress {text}");
        for table in [&default, strict] {
            assert_eq!(table.effect(Direction::Egress, class), egress, "egress {text}");
        }
    }
}

#[test]
fn what_is_wide_is_set_for_each_profile_and_the_networks_of_the_cluster_for_all() {
    let config = Config::parse(&json!({
        "clusterCidrs": ["10.244.0.0/16", "fd00:10:244::/56"],
        "profiles": { "standard": { "wide": { "ipv4": 8, "ipv6": 32, "ports": 16 } }, "strict": { "wide": { "ports": 0 } } },
    }))
    .unwrap();
    let wide = |name: &str| config.profiles.get(name).unwrap().criteria().wide;
    assert_eq!(wide("standard"), Wide { ipv4: 8, ipv6: 32, ports: 16 });
    assert_eq!(wide("strict"), Wide { ports: 0, ..Wide::default() });
    assert_eq!(wide("deny-all"), Wide::default());
    for profile in config.profiles.iter() {
        let cidrs: Vec<String> = profile.criteria().cluster_cidrs.iter().map(ToString::to_string).collect();
        assert_eq!(cidrs, ["10.244.0.0/16", "fd00:10:244::/56"], "{}", profile.name());
    }
    assert_eq!(Config::parse(&config.to_value()).unwrap(), config);
}

#[rstest]
#[case::nothing(json!(null))]
#[case::an_empty_document(json!({}))]
fn what_is_left_out_is_the_default(#[case] value: Value) {
    assert_eq!(Config::parse(&value).unwrap(), Config::default());
}

#[test]
fn the_defaults_read_back_as_they_are() {
    let default = Config::default();
    assert_eq!(Config::parse(&default.to_value()).unwrap(), default);
}

#[test]
fn a_configuration_with_everything_set_reads_back_as_it_is() {
    let value = json!({
        "defaultProfile": "web", "defaultMode": "audit", "existing": "reject", "pods": "reject", "hostNetwork": "deny",
        "vendorPolicies": "allow", "excluded": ["calico-system", "tigera-operator"], "longestExemption": "2d 12h",
        "lints": { "and-or": "off", "open-world": "error", "spoofable-pod": false },
        "staleness": "90s", "certificates": { "validity": "30d", "overlap": "10m" },
        "profiles": {
            "web": {
                "wide": { "ipv4": 8, "ipv6": 32, "ports": 16 },
                "policies": [
                    { "name": "default-deny-all", "spec": { "podSelector": {}, "policyTypes": ["Ingress", "Egress"] } },
                    { "name": "v1.allow-web", "spec": {
                        "podSelector": { "matchExpressions": [{ "key": "app", "operator": "In", "values": ["a", "b"] }] },
                        "ingress": [{ "from": [{ "ipBlock": { "cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"] } }],
                                      "ports": [{ "port": 8000, "endPort": 8080 }, { "port": "http" }] }],
                    } },
                ],
                "holes": { "ingress": { "ALL*": "deny" }, "egress": { "PORTS": "allow" } },
            },
            "standard": { "dns": {
                "to": [{ "namespaceSelector": {}, "podSelector": { "matchLabels": { "k8s-app": "kube-dns" } } }],
                "ports": [{ "protocol": "UDP", "port": 5353 }],
            } },
        },
        "limits": {
            "bodyBytes": 1024, "bytesInFlight": 4096, "reviewBytes": 67_108_864, "policiesPerNamespace": 7,
            "policyBytesPerNamespace": 8192, "concurrentReviews": 2, "connections": 3, "handshakeTimeout": "1s",
            "firstRequestTimeout": "2s", "bodyTimeout": "3s", "idleTimeout": "4m", "drain": "5s", "drainDeadline": "6s",
        },
    });
    let config = Config::parse(&value).unwrap();
    assert_eq!(Config::parse(&config.to_value()).unwrap(), config);
    assert_eq!((config.default_mode, config.existing, config.pods), (Mode::Audit, Existing::Reject, Pods::Reject));
    assert_eq!((config.host_network, config.vendor_policies), (Treatment::Deny, Treatment::Allow));
    assert!(config.is_excluded("calico-system") && config.is_excluded("kube-system") && !config.is_excluded("team-a"));
    let printed = json!({ "and-or": "off", "open-world": "error", "spoofable-pod": "off" });
    assert_eq!(config.to_value()["lints"], printed);
    assert_eq!(config.lints.get(&catalogue::OPEN_WORLD), Some(Level::At(Severity::Error)));
    assert_eq!(config.lints.get(&catalogue::AND_OR), Some(Level::Off));
    assert_eq!(config.longest_exemption.to_std().as_secs(), 60 * 60 * 60);
    assert_eq!(config.default_profile().unwrap().policies().len(), 2);
    let dns = &config.profiles.get("standard").unwrap().policies()[1];
    assert_eq!(
        serde_json::to_value(&dns.api).unwrap()["egress"][0]["ports"],
        json!([{ "protocol": "UDP", "port": 5353 }])
    );
    assert_eq!(config.profiles.get("strict"), Config::default().profiles.get("strict"));
}

#[test]
fn a_built_in_profile_may_be_replaced_or_changed_in_part() {
    let holes = json!({ "ingress": { "PORTS": "deny" } });
    let config = Config::parse(&json!({ "profiles": { "standard": { "holes": holes } } })).unwrap();
    assert_eq!(config.default_profile().unwrap().policies().len(), 3);
    let only = json!([{ "name": "all", "spec": { "podSelector": {}, "policyTypes": ["Ingress", "Egress"] } }]);
    let config = Config::parse(&json!({ "profiles": { "standard": { "policies": only } } })).unwrap();
    assert_eq!(config.default_profile().unwrap().policies().len(), 1);
}

fn policies(list: &Value) -> Value {
    json!({ "profiles": { "web": { "policies": list } } })
}

fn one_policy(spec: &Value) -> Value {
    policies(&json!([{ "name": "p", "spec": spec }]))
}

fn deny_all() -> Value {
    json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] })
}

#[rstest]
#[case::at_the_top(json!({ "defaultProfil": "x" }), "defaultProfil")]
#[case::in_wide(json!({ "profiles": { "standard": { "wide": { "ipv5": 1 } } } }), "profiles.standard.wide.ipv5")]
#[case::in_limits(json!({ "limits": { "bodyBites": 1 } }), "limits.bodyBites")]
#[case::in_a_profile(json!({ "profiles": { "standard": { "polices": [] } } }), "profiles.standard.polices")]
#[case::in_holes(json!({ "profiles": { "standard": { "holes": { "inbound": {} } } } }), "profiles.standard.holes.inbound")]
#[case::in_dns(json!({ "profiles": { "standard": { "dns": { "port": 53 } } } }), "profiles.standard.dns.port")]
#[case::in_a_peer_of_dns(
    json!({ "profiles": { "standard": { "dns": { "to": [{ "podSelector": {}, "podselector": {} }] } } } }),
    "profiles.standard.dns.to[0].podselector"
)]
#[case::in_a_policy(
    policies(&json!([{ "name": "p", "spec": deny_all(), "metadata": {} }])),
    "profiles.web.policies[0].metadata"
)]
#[case::in_a_spec(
    one_policy(&json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"], "policytypes": [] })),
    "profiles.web.policies[0].spec.policytypes"
)]
#[case::in_a_rule(
    one_policy(&json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{ "form": [] }] })),
    "profiles.web.policies[0].spec.ingress[0].form"
)]
#[case::in_a_selector(
    one_policy(&json!({ "podSelector": { "matchLabel": {} }, "policyTypes": ["Ingress", "Egress"] })),
    "profiles.web.policies[0].spec.podSelector.matchLabel"
)]
#[case::in_a_block(
    one_policy(&json!({ "podSelector": {}, "ingress": [{ "from": [{ "ipBlock": { "cidr": "10.0.0.0/8", "exept": [] } }] }] })),
    "profiles.web.policies[0].spec.ingress[0].from[0].ipBlock.exept"
)]
fn an_unknown_field_is_an_error_at_every_level(#[case] value: Value, #[case] path: &str) {
    let errors = errors(&value);
    let error = errors.iter().find(|error| error.path == path).unwrap_or_else(|| panic!("{errors:#?}"));
    assert_eq!(error.problem, "unknown field");
    assert!(error.fix.contains("ringfence config"));
}

#[rstest]
#[case::the_document(json!([]), "")]
#[case::a_profile_name(json!({ "defaultProfile": 5 }), "defaultProfile")]
#[case::a_mode(json!({ "defaultMode": "Enforce" }), "defaultMode")]
#[case::existing(json!({ "existing": "deny" }), "existing")]
#[case::pods(json!({ "pods": true }), "pods")]
#[case::host_network(json!({ "hostNetwork": "hold" }), "hostNetwork")]
#[case::vendor_policies(json!({ "vendorPolicies": "" }), "vendorPolicies")]
#[case::cluster_cidrs(json!({ "clusterCidrs": "10.0.0.0/8" }), "clusterCidrs")]
#[case::wide(json!({ "profiles": { "standard": { "wide": [] } } }), "profiles.standard.wide")]
#[case::a_prefix(json!({ "profiles": { "standard": { "wide": { "ipv4": "/7" } } } }), "profiles.standard.wide.ipv4")]
#[case::lints_as_a_list(json!({ "lints": ["and-or"] }), "lints")]
#[case::excluded(json!({ "excluded": "kube-system" }), "excluded")]
#[case::an_item_of_excluded(json!({ "excluded": ["a", 1] }), "excluded[1]")]
#[case::a_limit(json!({ "limits": { "bodyBytes": "32Mi" } }), "limits.bodyBytes")]
#[case::a_negative_limit(json!({ "limits": { "connections": -1 } }), "limits.connections")]
#[case::a_profile(json!({ "profiles": { "web": [] } }), "profiles.web")]
#[case::limits(json!({ "limits": [1024] }), "limits")]
#[case::holes(json!({ "profiles": { "standard": { "holes": [] } } }), "profiles.standard.holes")]
#[case::dns(json!({ "profiles": { "standard": { "dns": [] } } }), "profiles.standard.dns")]
#[case::a_policy(policies(&json!([["p", {}]])), "profiles.web.policies[0]")]
#[case::a_spec(one_policy(&json!([])), "profiles.web.policies[0].spec")]
#[case::a_peer_of_dns(
    json!({ "profiles": { "standard": { "dns": { "to": [[]] } } } }),
    "profiles.standard.dns.to[0]"
)]
#[case::a_policy_without_a_name(policies(&json!([{ "spec": {} }])), "profiles.web.policies[0]")]
#[case::a_policy_without_a_spec(policies(&json!([{ "name": "p" }])), "profiles.web.policies[0]")]
#[case::a_policy_type(
    one_policy(&json!({ "podSelector": {}, "policyTypes": "Ingress" })),
    "profiles.web.policies[0].spec.policyTypes"
)]
#[case::an_effect(
    json!({ "profiles": { "standard": { "holes": { "ingress": { "ALL": "reject" } } } } }),
    "profiles.standard.holes.ingress.ALL"
)]
fn a_value_of_the_wrong_type_is_an_error(#[case] value: Value, #[case] path: &str) {
    let errors = errors(&value);
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert_eq!(errors[0].path, path, "{errors:#?}");
    assert!(!errors[0].problem.is_empty() && errors[0].fix.contains("ringfence config"), "{errors:#?}");
}

#[rstest]
#[case::a_lint_that_does_not_exist(json!({ "and-and": "off" }), ["lints.and-and", "and-and", "and-or, spoofable-namespace"])]
#[case::a_level_that_does_not_exist(json!({ "and-or": "on" }), ["lints.and-or", "on", "off, info, warning"])]
#[case::a_level_that_is_no_word(json!({ "and-or": true }), ["lints.and-or", "true", "off, info, warning"])]
#[case::nothing(json!({ "and-or": null }), ["lints.and-or", "null", "off, info, warning"])]
fn what_a_lint_can_not_be_set_to_is_an_error(#[case] lints: Value, #[case] says: [&str; 3]) {
    let [path, value, fix] = says;
    let errors = errors(&json!({ "lints": lints }));
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert_eq!((errors[0].path.as_str(), errors[0].value.as_str()), (path, value));
    assert!(errors[0].fix.contains(fix), "{errors:#?}");
}

#[rstest]
#[case::no_unit("90")]
#[case::words("three days")]
#[case::nothing("")]
#[case::zero("0s")]
#[case::negative("-1h")]
#[case::a_month_which_has_no_length("1mo")]
#[case::a_year_which_has_none_either("1y")]
#[case::more_than_there_is("99999999999999999999h")]
fn a_length_of_time_that_is_none_is_an_error(#[case] text: &str) {
    for (value, path) in [
        (json!({ "longestExemption": text }), "longestExemption"),
        (json!({ "staleness": text }), "staleness"),
        (json!({ "limits": { "drain": text } }), "limits.drain"),
    ] {
        let errors = errors(&value);
        assert_eq!(errors[0].path, path, "{errors:#?}");
        assert!(errors[0].problem.contains("length of time") || errors[0].problem.contains("longer than nothing"));
    }
}

#[rstest]
#[case::weeks("2w", 14 * 24)]
#[case::days("90d", 90 * 24)]
#[case::hours("12h", 12)]
#[case::several("1d 1h", 25)]
fn a_length_of_time_is_printed_as_it_was_written(#[case] text: &str, #[case] hours: u64) {
    let config = Config::parse(&json!({ "longestExemption": text })).unwrap();
    assert_eq!(config.longest_exemption.to_std().as_secs(), hours * 3600);
    assert_eq!(config.to_value()["longestExemption"], text);
}

/// One thing that is wrong: the path of its field, and words of the problem and the fix.
#[rstest]
#[case::an_unknown_default_profile(
    json!({ "defaultProfile": "nonsense" }),
    ("defaultProfile", "no such profile", "deny-all, standard, strict")
)]
#[case::a_default_exemption(json!({ "defaultMode": "exempt" }), ("defaultMode", "needs a reason", "enforce, warn or audit"))]
#[case::a_pattern_among_the_excluded(json!({ "excluded": ["calico-*"] }), ("excluded[0]", "not the name", "patterns are not"))]
#[case::an_empty_name_among_the_excluded(json!({ "excluded": ["a", ""] }), ("excluded[1]", "not the name", "the name of"))]
#[case::a_budget_below_one_body(
    json!({ "limits": { "bytesInFlight": 10 } }),
    ("limits.bytesInFlight", "less than limits.bodyBytes", "at least 33554432")
)]
#[case::a_budget_that_can_not_be_counted(
    json!({ "limits": { "bytesInFlight": 4_294_967_296_u64 } }),
    ("limits.bytesInFlight", "more than", "at most 4294967295")
)]
#[case::a_validity_that_is_too_long(
    json!({ "certificates": { "validity": "91d" } }),
    ("certificates.validity", "longer than 90 days", "30d to 90d")
)]
#[case::a_validity_that_leaves_no_room_for_a_rotation(
    json!({ "certificates": { "validity": "1h", "overlap": "5m 1s" } }),
    ("certificates.validity", "shorter than 12 times", "an overlap of 5m")
)]
#[case::no_overlap(
    json!({ "certificates": { "overlap": "10ms" } }),
    ("certificates.overlap", "shorter than", "at least 1s")
)]
#[case::a_prefix_of_nothing(
    json!({ "profiles": { "standard": { "wide": { "ipv4": 0 } } } }),
    ("profiles.standard.wide.ipv4", "not a prefix length", "1 to 32")
)]
#[case::a_prefix_that_is_too_long(
    json!({ "profiles": { "standard": { "wide": { "ipv6": 129 } } } }),
    ("profiles.standard.wide.ipv6", "not a prefix length", "1 to 128")
)]
#[case::more_ports_than_a_protocol_has(
    json!({ "profiles": { "standard": { "wide": { "ports": 65535 } } } }),
    ("profiles.standard.wide.ports", "out of range", "0 to 65534")
)]
#[case::no_cidr(json!({ "clusterCidrs": ["10.0.0.0/8", "pods"] }), ("clusterCidrs[1]", "not a CIDR", "10.244.0.0/16"))]
#[case::a_cidr_with_host_bits(
    json!({ "clusterCidrs": ["10.244.1.0/16"] }), ("clusterCidrs[0]", "host bits", "write 10.244.0.0/16")
)]
#[case::no_body(json!({ "limits": { "bodyBytes": 0 } }), ("limits.bodyBytes", "no body", "32 MiB"))]
#[case::no_reviews(json!({ "limits": { "concurrentReviews": 0 } }), ("limits.concurrentReviews", "out of range", "1 to"))]
#[case::too_many_connections(
    json!({ "limits": { "connections": 1_000_001 } }),
    ("limits.connections", "out of range", "1 to 1000000")
)]
#[case::a_profile_name_that_is_no_label(
    json!({ "profiles": { "My Profile": { "policies": [] } } }),
    ("profiles.My Profile", "not a profile name", "lower-case")
)]
#[case::a_profile_of_nothing(json!({ "profiles": { "web": {} } }), ("profiles.web.policies", "needs policies", "name and spec"))]
#[case::an_empty_list(policies(&json!([])), ("profiles.web.policies", "not effective by itself", "podSelector: {}"))]
#[case::one_direction_only(
    one_policy(&json!({ "podSelector": {}, "policyTypes": ["Ingress"] })),
    ("profiles.web.policies", "no policy isolates any pod for egress", "policyTypes: [Ingress, Egress]")
)]
#[case::some_pods_only(
    one_policy(&json!({ "podSelector": { "matchLabels": { "a": "b" } }, "policyTypes": ["Ingress", "Egress"] })),
    ("profiles.web.policies", "escapes every policy", "add a policy")
)]
#[case::a_hole_that_it_denies_itself(
    one_policy(&json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}] })),
    ("profiles.web.policies", "ingress ALL", "take out what opens a denied hole")
)]
#[case::a_built_in_that_its_table_denies(
    json!({ "profiles": { "standard": { "holes": { "egress": { "PORTS": "deny" } } } } }),
    ("profiles.standard.policies", "egress PORTS", "take out")
)]
#[case::dns_alone(
    json!({ "profiles": { "web": { "dns": {} } } }),
    ("profiles.web.policies", "not effective", "add a policy")
)]
#[case::a_bad_selector(
    one_policy(&json!({ "podSelector": { "matchLabels": { "a": "-b-" } }, "policyTypes": ["Ingress", "Egress"] })),
    ("profiles.web.policies[0].spec.podSelector.matchLabels[a]", "not a label value", "63 letters")
)]
#[case::a_bad_operator(
    one_policy(&json!({ "podSelector": { "matchExpressions": [{ "key": "a", "operator": "Is" }] } })),
    ("profiles.web.policies[0].spec.podSelector.matchExpressions[0].operator", "no operator", "In, NotIn")
)]
#[case::a_bad_policy_type(
    one_policy(&json!({ "podSelector": {}, "policyTypes": ["ingress"] })),
    ("profiles.web.policies[0].spec.policyTypes[0]", "no policy type", "use Ingress or Egress")
)]
#[case::a_bad_block_of_dns(
    json!({ "profiles": { "standard": { "dns": { "to": [{ "ipBlock": { "cidr": "10.0.0.1" } }] } } } }),
    ("profiles.standard.dns.to[0].ipBlock.cidr", "no CIDR", "to takes the items")
)]
#[case::a_second_policy_of_a_name(
    policies(&json!([{ "name": "p", "spec": deny_all() }, { "name": "p", "spec": deny_all() }])),
    ("profiles.web.policies[1].name", "a second policy", "rename it")
)]
#[case::a_policy_without_a_name(
    policies(&json!([{ "name": "", "spec": deny_all() }])),
    ("profiles.web.policies[0].name", "not the name of a NetworkPolicy", "lower-case")
)]
#[case::a_policy_name_in_capitals(
    policies(&json!([{ "name": "Deny_All", "spec": deny_all() }])),
    ("profiles.web.policies[0].name", "not the name of a NetworkPolicy", "lower-case")
)]
#[case::a_class_that_does_not_exist(
    json!({ "profiles": { "standard": { "holes": { "egress": { "WORLD": "deny" } } } } }),
    ("profiles.standard.holes.egress.WORLD", "no class of hole", "ALL, ALL*, CLUSTER, CLUSTER*, W4, W4*, W6, W6*, PORTS, PORTS*")
)]
fn what_is_wrong_names_the_field_and_the_fix(#[case] value: Value, #[case] expected: (&str, &str, &str)) {
    let errors = errors(&value);
    let (path, problem, fix) = expected;
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert_eq!(errors[0].path, path);
    assert!(errors[0].problem.contains(problem), "{:?}", errors[0].problem);
    assert!(errors[0].fix.contains(fix), "{:?}", errors[0].fix);
    assert!(errors[0].to_string().contains(path));
}

#[test]
fn everything_that_is_wrong_is_reported_at_once() {
    let value = json!({
        "defaultMode": "exempt", "excluded": ["*"], "limits": { "connections": 0 }, "unknown": 1,
        "profiles": { "web": { "policies": [{ "name": "p", "spec": { "podSelector": {}, "policyTypes": ["in", "out"] } }] } },
    });
    assert_eq!(errors(&value).len(), 6, "{:#?}", errors(&value));
}

#[test]
fn an_empty_section_is_like_none() {
    let empty = json!({ "profiles": null, "limits": null, "excluded": null });
    assert_eq!(Config::parse(&empty).unwrap(), Config::default());
    let profile = json!({ "profiles": { "standard": { "holes": null, "dns": null } } });
    assert_eq!(Config::parse(&profile).unwrap(), Config::default());
}

#[test]
fn an_idle_timeout_below_the_api_servers_own_is_refused() {
    let [error] = <[_; 1]>::try_from(errors(&json!({ "limits": { "idleTimeout": "90s" } }))).unwrap();
    assert_eq!((error.path.as_str(), error.fix.as_str()), ("limits.idleTimeout", "set at least 91s"));
}
