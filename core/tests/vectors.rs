//! The vectors of the specification: what each set of policies means. Vector 64 is not among them: policies for the whole
//! cluster are not read yet.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail like this, also in its helpers")]
#![allow(clippy::needless_pass_by_value, reason = "a table reads better without a borrow at every json!")]

use ringfence_core::policy::coverage::Coverage;
use ringfence_core::policy::criteria::Criteria;
use ringfence_core::policy::holes::Peers;
use ringfence_core::policy::parse::{Source, network_policy};
use ringfence_core::policy::verdict::{Side, judge};
use ringfence_core::policy::{Direction, NetworkPolicy};
use rstest::rstest;
use serde_json::{Value, json};

/// Coverage and holes as the table writes them: `C`, `P`, `A`, then `+KIND` or `+KIND*`, and of PORTS which strangers.
fn short(side: &Side) -> String {
    let coverage = match &side.coverage {
        Coverage::Complete => "C",
        Coverage::Partial(_) => "P",
        Coverage::Absent => "A",
    };
    side.holes.iter().fold(coverage.to_owned(), |text, hole| {
        let peers = match hole.peers {
            None => "",
            Some(Peers::Any) => "(any)",
            Some(Peers::Cluster) => "(cluster)",
            Some(Peers::Ipv4) => "(ipv4)",
            Some(Peers::Ipv6) => "(ipv6)",
        };
        format!("{text}+{}{peers}", hole.class())
    })
}

fn parse(spec: &Value, index: usize, source: Source) -> NetworkPolicy {
    let mut object = json!({ "metadata": { "name": format!("p{index}") } });
    match spec {
        Value::Object(map) if map.contains_key("metadata") => object = spec.clone(),
        Value::Null => {}
        spec => object["spec"] = spec.clone(),
    }
    network_policy(&object, source).unwrap()
}

fn verdict_of(specs: &Value, source: Source) -> ringfence_core::policy::verdict::Verdict {
    verdict_by(specs, source, &Criteria::default())
}

fn verdict_by(specs: &Value, source: Source, criteria: &Criteria) -> ringfence_core::policy::verdict::Verdict {
    let policies: Vec<NetworkPolicy> =
        specs.as_array().unwrap().iter().enumerate().map(|(i, spec)| parse(spec, i, source)).collect();
    judge(&policies.iter().collect::<Vec<_>>(), criteria)
}

fn witness(specs: &Value, direction: Direction) -> Option<Value> {
    match &verdict_of(specs, Source::File).side(direction).coverage {
        Coverage::Partial(Some(labels)) => Some(json!(labels)),
        _ => None,
    }
}

fn app(operator: &str, key: &str, values: Value) -> Value {
    let mut requirement = json!({ "key": key, "operator": operator });
    if !values.is_null() {
        requirement["values"] = values;
    }
    json!({ "matchExpressions": [requirement] })
}

fn selecting(selector: Value) -> Value {
    json!({ "podSelector": selector, "policyTypes": ["Ingress"] })
}

fn deny() -> Value {
    json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] })
}

fn deny_ingress() -> Value {
    selecting(json!({}))
}

fn open(selector: Value) -> Value {
    json!({ "podSelector": selector, "policyTypes": ["Ingress"], "ingress": [{}] })
}

fn from(peers: Value) -> Value {
    json!({ "podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{ "from": peers }] })
}

fn to(cidr: &str, except: Value) -> Value {
    let mut block = json!({ "cidr": cidr });
    if !except.is_null() {
        block["except"] = except;
    }
    json!({ "ipBlock": block })
}

fn egress_to(peers: Value) -> Value {
    json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": [{ "to": peers }] })
}

fn ports(direction: &str, ports: Value) -> Value {
    let (kind, field) = if direction == "egress" { ("Egress", "egress") } else { ("Ingress", "ingress") };
    json!({ "podSelector": {}, "policyTypes": [kind], field: [{ "ports": ports }] })
}

/// Blocks of IPv6 that hold all addresses but those of one block.
fn all_but(address: u128, length: u32) -> Value {
    let sibling = |bits: u32| (address ^ (1 << (128 - bits))) & (u128::MAX << (128 - bits));
    (1..=length).map(|bits| format!("{}/{bits}", std::net::Ipv6Addr::from(sibling(bits)))).collect()
}

const NAME: &str = "kubernetes.io/metadata.name";
const LOW: &str = "0.0.0.0/1";
const HIGH: &str = "128.0.0.0/1";

#[rstest]
#[case::v01_none(1, json!([]), "A", "A")]
#[case::v02_spec_missing(2, json!([null]), "C", "A")]
#[case::v03_types_absent(3, json!([{ "egress": [] }]), "C", "A")]
#[case::v03_types_empty(3, json!([{ "policyTypes": [], "egress": [] }]), "C", "A")]
#[case::v04_both_types(4, json!([deny()]), "C", "C")]
#[case::v05_both_types_in_two(5, json!([{ "policyTypes": ["Ingress"] }, { "policyTypes": ["Egress"] }]), "C", "C")]
#[case::v06_a_type_twice(6, json!([{ "policyTypes": ["Ingress", "Ingress"] }]), "C", "A")]
#[case::v07_inert_ingress_rule(7, json!([{ "policyTypes": ["Egress"], "ingress": [{}] }]), "A", "C")]
#[case::v08_inert_egress_rule(8, json!([{ "policyTypes": ["Ingress"], "egress": [{}] }]), "C", "A")]
#[case::v09_egress_rule_makes_the_type(9, json!([{ "egress": [{}] }]), "C", "C+ALL")]
#[case::v10_empty_rule(10, json!([open(json!({}))]), "C+ALL", "A")]
#[case::v11_empty_from(11, json!([from(json!([]))]), "C+ALL", "A")]
#[case::v12_null_rule(12, json!([{ "ingress": [null] }]), "C+ALL", "A")]
#[case::v13_own_namespace_only(13, json!([from(json!([{ "podSelector": {} }]))]), "C", "A")]
#[case::v14_the_name_means_nothing(
    14,
    json!([{ "metadata": { "name": "default-deny-all" }, "spec": selecting(json!({ "matchLabels": { "app": "x" } })) }]),
    "P", "A"
)]
#[case::v15_in_and_not_in(15, json!([selecting(app("In", "app", json!(["a"]))), selecting(app("NotIn", "app", json!(["a"])))]), "C", "A")]
#[case::v16_exists_and_not(16, json!([selecting(app("Exists", "app", Value::Null)), selecting(app("DoesNotExist", "app", Value::Null))]), "C", "A")]
#[case::v17_exists_and_not_in(17, json!([selecting(app("Exists", "t", Value::Null)), selecting(app("NotIn", "t", json!(["x"])))]), "C", "A")]
#[case::v18_two_not_in(18, json!([selecting(app("NotIn", "t", json!(["a"]))), selecting(app("NotIn", "t", json!(["b"])))]), "C", "A")]
#[case::v19_not_in(19, json!([selecting(app("NotIn", "t", json!(["x"])))]), "P", "A")]
#[case::v20_in_and_exists(20, json!([selecting(app("In", "t", json!(["a"]))), selecting(app("Exists", "t", Value::Null))]), "P", "A")]
#[case::v21_contradiction(
    21,
    json!([selecting(json!({ "matchExpressions": [
        { "key": "t", "operator": "In", "values": ["a"] }, { "key": "t", "operator": "DoesNotExist" }
    ] }))]),
    "A", "A"
)]
#[case::v22_empty_value(22, json!([selecting(json!({ "matchLabels": { "a": "" } }))]), "P", "A")]
#[case::v23_empty_value_and_the_rest(23, json!([selecting(json!({ "matchLabels": { "a": "" } })), selecting(app("NotIn", "a", json!([""])))]), "C", "A")]
#[case::v24_some_pods_open(24, json!([deny_ingress(), open(json!({ "matchLabels": { "app": "x" } }))]), "C+ALL*", "A")]
#[case::v25_no_pod_open(
    25,
    json!([deny_ingress(), open(json!({ "matchLabels": { "t": "a" }, "matchExpressions": [{ "key": "t", "operator": "DoesNotExist" }] }))]),
    "C", "A"
)]
#[case::v26_all_pods_open_in_two(
    26,
    json!([deny_ingress(), open(app("Exists", "a", Value::Null)), open(app("DoesNotExist", "a", Value::Null))]),
    "C+ALL", "A"
)]
#[case::v28_every_namespace(28, json!([from(json!([{ "namespaceSelector": {} }]))]), "C+CLUSTER", "A")]
#[case::v29_every_namespace_has_a_name(29, json!([from(json!([{ "namespaceSelector": app("Exists", "kubernetes.io/metadata.name", Value::Null) }]))]), "C+CLUSTER", "A")]
#[case::v30_near_all(30, json!([from(json!([{ "namespaceSelector": app("DoesNotExist", "foo", Value::Null) }]))]), "C+CLUSTER", "A")]
#[case::v31_two_halves_of_the_cluster(
    31,
    json!([from(json!([
        { "namespaceSelector": app("DoesNotExist", "foo", Value::Null) },
        { "namespaceSelector": app("Exists", "foo", Value::Null) },
    ]))]),
    "C+CLUSTER", "A"
)]
#[case::v32_null_namespace_selector(32, json!([from(json!([{ "namespaceSelector": null, "podSelector": {} }]))]), "C", "A")]
#[case::v33_labelled_pods_anywhere(33, json!([from(json!([{ "namespaceSelector": {}, "podSelector": { "matchLabels": { "app": "x" } } }]))]), "C", "A")]
#[case::v34_world(34, json!([egress_to(json!([to("0.0.0.0/0", Value::Null)]))]), "A", "C+W4")]
#[case::v36_world_6(36, json!([egress_to(json!([to("0::0/0", Value::Null)]))]), "A", "C+W6")]
#[case::v37_both_halves(37, json!([egress_to(json!([to(LOW, Value::Null), to(HIGH, Value::Null)]))]), "A", "C+W4")]
#[case::v38_both_halves_in_two(38, json!([egress_to(json!([to(LOW, Value::Null)])), egress_to(json!([to(HIGH, Value::Null)]))]), "A", "C+W4")]
#[case::v39_nothing_left(39, json!([egress_to(json!([to("0.0.0.0/0", json!([LOW, HIGH]))]))]), "A", "C")]
#[case::v40_except_added_back(
    40,
    json!([
        egress_to(json!([to("0.0.0.0/0", json!(["10.0.0.0/8"]))])),
        egress_to(json!([to("0.0.0.0/0", json!(["192.168.0.0/16"]))])),
    ]),
    "A", "C+W4"
)]
#[case::v41_near_world(41, json!([egress_to(json!([to("0.0.0.0/0", json!(["10.0.0.0/8"]))]))]), "A", "C+W4")]
#[case::v42_a_port(42, json!([ports("ingress", json!([{ "port": 443 }]))]), "C+PORTS(any)", "A")]
#[case::v43_all_tcp(43, json!([ports("ingress", json!([{}]))]), "C+ALL", "A")]
#[case::v44_three_protocols(44, json!([ports("ingress", json!([{ "protocol": "TCP" }, { "protocol": "UDP" }, { "protocol": "SCTP" }]))]), "C+ALL", "A")]
#[case::v45_two_halves_of_the_ports(
    45,
    json!([ports("ingress", json!([
        { "protocol": "TCP", "port": 1, "endPort": 32767 }, { "protocol": "TCP", "port": 32768, "endPort": 65535 },
        { "protocol": "UDP", "port": 1, "endPort": 32767 }, { "protocol": "UDP", "port": 32768, "endPort": 65535 },
        { "protocol": "SCTP", "port": 1, "endPort": 32767 }, { "protocol": "SCTP", "port": 32768, "endPort": 65535 },
    ]))]),
    "C+ALL", "A"
)]
#[case::v46_dns(46, json!([ports("egress", json!([{ "protocol": "UDP", "port": 53 }]))]), "A", "C+PORTS(any)")]
#[case::v47_policies_do_not_see_host_network(47, json!([deny()]), "C", "C")]
#[case::v48_deleting_does_not_cover(
    48,
    json!([{ "metadata": { "name": "d", "deletionTimestamp": "2026-01-01T00:00:00Z" }, "spec": deny() }]),
    "A", "A"
)]
#[case::v48_deleting_still_opens(
    48,
    json!([deny(), { "metadata": { "name": "d", "deletionTimestamp": "2026-01-01T00:00:00Z" }, "spec": open(json!({})) }]),
    "C+ALL", "C"
)]
#[case::v49_the_world_but_one(49, json!([from(json!([to("0.0.0.0/0", json!(["10.0.0.1/32"]))]))]), "C+W4", "A")]
#[case::v50_every_namespace_but_one(
    50, json!([from(json!([{ "namespaceSelector": app("NotIn", NAME, json!(["nope"])) }]))]), "C+CLUSTER", "A"
)]
#[case::v51_governed_namespaces(
    51, json!([from(json!([{ "namespaceSelector": app("Exists", "ringfence.dev/mode", Value::Null) }]))]), "C+CLUSTER", "A"
)]
#[case::v52_pods_without_a_label(52, json!([deny_ingress(), open(app("DoesNotExist", "nope", Value::Null))]), "C+ALL", "A")]
#[case::v53_pods_with_any_value(53, json!([deny_ingress(), open(app("Exists", "app", Value::Null))]), "C+ALL", "A")]
#[case::v54_pods_by_value(54, json!([deny_ingress(), open(app("In", "app", json!(["a", "b"])))]), "C+ALL*", "A")]
#[case::v55_128_ports(55, json!([ports("ingress", json!([{ "port": 1, "endPort": 128 }]))]), "C+PORTS(any)", "A")]
#[case::v56_129_ports(56, json!([ports("ingress", json!([{ "port": 1, "endPort": 129 }]))]), "C+ALL", "A")]
#[case::v57_a_private_network(57, json!([from(json!([to("10.0.0.0/8", Value::Null)]))]), "C", "A")]
#[case::v58_every_private_network(
    58,
    json!([
        from(json!([to("10.0.0.0/8", Value::Null)])),
        from(json!([to("172.16.0.0/12", Value::Null)])),
        from(json!([to("192.168.0.0/16", Value::Null)])),
    ]),
    "C", "A"
)]
#[case::v58_a_slash_6(58, json!([from(json!([to("0.0.0.0/6", Value::Null)]))]), "C+W4", "A")]
#[case::v59_the_cluster_on_a_port(
    59,
    json!([{ "ingress": [{ "from": [{ "namespaceSelector": {} }], "ports": [{ "port": 9100 }] }] }]),
    "C+PORTS(cluster)", "A"
)]
#[case::v60_namespaces_with_a_label(
    60, json!([from(json!([{ "namespaceSelector": app("Exists", "team", Value::Null) }]))]), "C", "A"
)]
#[case::v61_the_pod_network_unknown(
    61, json!([from(json!([to("10.244.0.0/16", json!(["10.244.0.1/32"]))]))]), "C", "A"
)]
#[case::v62_the_world_on_a_port(
    62,
    json!([{ "ingress": [{ "from": [to("0.0.0.0/0", Value::Null)], "ports": [{ "port": 443 }] }] }]),
    "C+PORTS(ipv4)", "A"
)]
#[case::v63_pods_of_the_cluster_but_some(
    63,
    json!([from(json!([{ "namespaceSelector": {}, "podSelector": app("DoesNotExist", "role", Value::Null) }]))]),
    "C+CLUSTER", "A"
)]
#[case::v65_namespaces_not_isolated(
    65, json!([from(json!([{ "namespaceSelector": app("NotIn", "ringfence.dev/isolated", json!(["true"])) }]))]),
    "C+CLUSTER", "A"
)]
#[case::v65_namespaces_of_a_profile(
    65, json!([from(json!([{ "namespaceSelector": app("In", "ringfence.dev/profile", json!(["strict"])) }]))]),
    "C+CLUSTER", "A"
)]
#[case::v66_a_named_port(66, json!([ports("ingress", json!([{ "port": "http" }]))]), "C+PORTS(any)", "A")]
#[case::v67_ipv4_behind_nat64(67, json!([from(json!([to("64:ff9b::/96", Value::Null)]))]), "C+W4", "A")]
#[case::v67_ipv4_behind_nat64_as_what_exceptions_leave(
    67, json!([from(json!([to("64:e000::/19", json!(["64:e000::/20"]))]))]), "C+W4", "A"
)]
#[case::v67_ipv4_behind_nat64_as_all_but_everything_else(
    67, json!([from(json!([to("::/0", all_but(0x0064_ff9b_u128 << 96, 96))]))]), "C+W4", "A"
)]
#[case::v67_mapped_ipv4_as_all_but_everything_else(
    67, json!([from(json!([to("::/0", all_but(0xffff_u128 << 32, 96))]))]), "C+W4", "A"
)]
#[case::v67_a_half_of_ipv6_is_no_ipv4(67, json!([from(json!([to("::/0", json!(["8000::/1"]))]))]), "C+W6", "A")]
fn the_verdict_is(#[case] vector: u8, #[case] specs: Value, #[case] ingress: &str, #[case] egress: &str) {
    let verdict = verdict_of(&specs, Source::File);
    assert_eq!(
        (short(&verdict.ingress).as_str(), short(&verdict.egress).as_str()),
        (ingress, egress),
        "vector {vector}"
    );
    assert!(!verdict.capped, "vector {vector}");
}

#[test]
fn vector_35_a_cidr_with_host_bits_is_masked_where_it_comes_from_a_cluster_and_an_error_in_a_file() {
    let specs = json!([egress_to(json!([to("10.0.0.1/0", Value::Null)]))]);
    assert_eq!(short(&verdict_of(&specs, Source::Cluster).egress), "C+W4");
    let error = network_policy(json!({ "spec": specs[0] }), Source::File).unwrap_err();
    assert_eq!(error.path(), "spec.egress[0].to[0].ipBlock.cidr");
    assert!(error.to_string().contains("write 0.0.0.0/0"), "{error}");
}

#[test]
fn vector_27_a_deny_in_another_namespace_is_not_this_namespaces() {
    use ringfence_core::index::Index;
    let mut index = Index::default();
    let mut other = parse(&deny(), 0, Source::File);
    other.namespace = Some("team-b".to_owned());
    index.namespace_mut("team-b").put_policy(other);
    index.namespace_mut("team-a");
    for (namespace, expected) in [("team-a", "A"), ("team-b", "C")] {
        let namespace = index.get(namespace).unwrap();
        let criteria = Criteria::default();
        let verdict = namespace.verdict(&criteria);
        assert_eq!((short(&verdict.ingress).as_str(), short(&verdict.egress).as_str()), (expected, expected));
    }
}

#[test]
fn vector_61_the_pod_network_but_one_address_is_the_cluster_where_it_is_known() {
    let specs = json!([from(json!([to("10.244.0.0/16", json!(["10.244.0.1/32"]))]))]);
    for (cidr, expected) in [("10.244.0.0/16", "C+CLUSTER"), ("10.96.0.0/12", "C")] {
        let criteria = Criteria { cluster_cidrs: vec![cidr.parse().unwrap()], ..Criteria::default() };
        assert_eq!(short(&verdict_by(&specs, Source::File, &criteria).ingress), expected, "{cidr}");
    }
}

#[test]
fn ipv4_mapped_blocks_of_older_clusters_are_ipv4() {
    for cidr in ["::ffff:0:0/96", "::ffff:0:0/95"] {
        let specs = json!([from(json!([to(cidr, Value::Null)]))]);
        assert_eq!(short(&verdict_of(&specs, Source::Cluster).ingress), "C+W4", "{cidr}");
    }
}

#[rstest]
#[case::one_sixteenth("10.244.0.0/20", "C")]
#[case::more_than_one_sixteenth("10.244.0.0/19", "C+CLUSTER")]
fn of_a_pod_network_blocks_may_hold_one_sixteenth(#[case] cidr: &str, #[case] expected: &str) {
    let criteria = Criteria { cluster_cidrs: vec!["10.244.0.0/16".parse().unwrap()], ..Criteria::default() };
    let specs = json!([from(json!([to(cidr, Value::Null)]))]);
    assert_eq!(short(&verdict_by(&specs, Source::File, &criteria).ingress), expected);
}

#[rstest]
#[case::v14(json!([selecting(json!({ "matchLabels": { "app": "x" } }))]), json!({}))]
#[case::v19(json!([selecting(app("NotIn", "t", json!(["x"])))]), json!({ "t": "x" }))]
#[case::v20(json!([selecting(app("In", "t", json!(["a"]))), selecting(app("Exists", "t", Value::Null))]), json!({}))]
#[case::v22(json!([selecting(json!({ "matchLabels": { "a": "" } }))]), json!({}))]
#[case::a_value_that_nobody_names(
    json!([selecting(app("DoesNotExist", "t", Value::Null)), selecting(app("In", "t", json!(["a", "other"])))]),
    json!({ "t": "other-2" })
)]
fn the_witness_is(#[case] specs: Value, #[case] labels: Value) {
    assert_eq!(witness(&specs, Direction::Ingress), Some(labels));
}

#[test]
fn a_hole_names_its_policies_its_ports_and_a_pod() {
    let specs = json!([
        deny(),
        { "metadata": { "name": "web" }, "spec": {
            "podSelector": { "matchLabels": { "app": "web" } }, "policyTypes": ["Ingress"],
            "ingress": [{ "ports": [{ "port": 443 }, { "port": 80 }, { "port": 81 }, { "protocol": "UDP", "port": "quic" }] }]
        } },
    ]);
    let verdict = verdict_of(&specs, Source::File);
    let [hole] = verdict.ingress.holes.as_slice() else { panic!("{verdict:?}") };
    assert_eq!(hole.class().to_string(), "PORTS*");
    assert_eq!(hole.policies, ["web"]);
    assert_eq!(json!(hole.witness), json!({ "app": "web" }));
    let ports: Vec<String> = hole.ports.as_ref().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(ports, ["TCP/80-81", "TCP/443", "UDP/quic"]);
}

#[test]
fn policies_that_open_something_only_together_are_named_together() {
    let specs = json!([deny(), egress_to(json!([to(LOW, Value::Null)])), egress_to(json!([to(HIGH, Value::Null)]))]);
    let verdict = verdict_of(&specs, Source::File);
    assert_eq!(verdict.egress.holes[0].policies, ["p1", "p2"]);
}

#[rstest]
#[case::the_world_on_a_port(json!([{ "to": [to("0.0.0.0/0", Value::Null)], "ports": [{ "port": 443 }] }]), "C+PORTS(ipv4)")]
#[case::the_cluster_on_a_port(json!([{ "to": [{ "namespaceSelector": {} }], "ports": [{ "port": 443 }] }]), "C+PORTS(cluster)")]
#[case::both_worlds(json!([{ "to": [to("0.0.0.0/0", Value::Null), to("::/0", Value::Null)] }]), "C+W4+W6")]
#[case::both_worlds_and_the_cluster_are_all(
    json!([{ "to": [to("0.0.0.0/0", Value::Null), to("::/0", Value::Null), { "namespaceSelector": {} }] }]), "C+ALL"
)]
#[case::one_class_for_the_world_and_one_for_ports(
    json!([{ "to": [to("0.0.0.0/0", Value::Null)] }, { "ports": [{ "protocol": "UDP", "port": 53 }] }]), "C+W4+PORTS(any)"
)]
#[case::a_cluster_split_by_pods(
    json!([{ "to": [
        { "namespaceSelector": {}, "podSelector": app("Exists", "a", Value::Null) },
        { "namespaceSelector": {}, "podSelector": app("DoesNotExist", "a", Value::Null) },
    ] }]), "C+CLUSTER"
)]
#[case::two_of_three_classes_on_a_port(
    json!([{ "to": [to("0.0.0.0/0", Value::Null), { "namespaceSelector": {} }], "ports": [{ "port": 443 }] }]),
    "C+PORTS(cluster)+PORTS(ipv4)"
)]
#[case::ports_of_several_rules_add_up(
    json!([{ "ports": [{ "port": 1, "endPort": 100 }] }, { "ports": [{ "protocol": "UDP", "port": 1, "endPort": 29 }] }]),
    "C+ALL"
)]
#[case::addresses_of_several_rules_add_up(
    json!([{ "to": [to("10.0.0.0/8", Value::Null)] }, { "to": [to("12.0.0.0/7", Value::Null)] }]), "C+W4"
)]
#[case::addresses_on_different_ports_do_not(
    json!([
        { "to": [to("10.0.0.0/8", Value::Null)], "ports": [{ "protocol": "TCP" }] },
        { "to": [to("12.0.0.0/7", Value::Null)], "ports": [{ "protocol": "UDP" }] },
    ]),
    "C"
)]
#[case::embedded_addresses_add_to_others(
    json!([{ "to": [to("10.0.0.0/8", Value::Null), to("64:ff9b::c00:0/103", Value::Null)] }]), "C+W4"
)]
#[case::embedded_addresses_are_counted_once(
    json!([{ "to": [to("12.0.0.0/7", Value::Null), to("64:ff9b::c00:0/103", Value::Null)] }]), "C"
)]
#[case::a_block_around_embedded_addresses(json!([{ "to": [to("64:ff9b::/95", Value::Null)] }]), "C+W4")]
#[case::a_slash_20_of_ipv6(json!([{ "to": [to("2001::/20", Value::Null)] }]), "C")]
#[case::a_slash_19_of_ipv6(json!([{ "to": [to("2001::/19", Value::Null)] }]), "C+W6")]
#[case::nobody_can_contradict_ringfences_labels(
    json!([{ "to": [{ "namespaceSelector": { "matchExpressions": [
        { "key": "ringfence.dev/mode", "operator": "Exists" }, { "key": "ringfence.dev/mode", "operator": "DoesNotExist" },
    ] } }] }]),
    "C"
)]
#[case::every_namespace_but_this_and_this(
    json!([{ "to": [{ "podSelector": {} }, { "namespaceSelector": app("NotIn", "kubernetes.io/metadata.name", json!(["team-a"])) }] }]),
    "C+CLUSTER"
)]
#[case::every_namespace_but_another(
    json!([{ "to": [{ "namespaceSelector": app("NotIn", "kubernetes.io/metadata.name", json!(["team-b"])) }] }]),
    "C+CLUSTER"
)]
fn beyond_the_vectors_egress_is(#[case] rules: Value, #[case] expected: &str) {
    let spec = json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": rules });
    assert_eq!(short(&verdict_of(&json!([spec]), Source::File).egress), expected);
}
