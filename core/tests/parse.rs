//! The parser: what it rejects and where, how it decodes, and what it takes for granted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use ringfence_core::policy::parse::{ParseError, Source, network_policy, network_policy_json};
use ringfence_core::policy::ports::{Ports, Protocol};
use ringfence_core::policy::selectors::Labels;
use ringfence_core::policy::{NetworkPolicy, Peer, Spec};
use rstest::rstest;
use serde_json::{Value, json};

fn parse(spec: &Value, source: Source) -> Result<NetworkPolicy, ParseError> {
    network_policy(json!({ "metadata": { "name": "p" }, "spec": spec }), source)
}

fn spec(spec: &Value) -> Spec {
    parse(spec, Source::File).unwrap().spec
}

fn peer(peer: &Value) -> Value {
    json!({ "ingress": [{ "from": [peer] }] })
}

fn block(block: &Value) -> Value {
    peer(&json!({ "ipBlock": block }))
}

fn port(port: &Value) -> Value {
    json!({ "ingress": [{ "ports": [port] }] })
}

fn expression(expression: &Value) -> Value {
    json!({ "podSelector": { "matchExpressions": [expression] } })
}

fn labels(key: &str, value: &str) -> Value {
    json!({ "podSelector": { "matchLabels": { key: value } } })
}

const PEER: &str = "spec.ingress[0].from[0]";
const CIDR: &str = "spec.ingress[0].from[0].ipBlock.cidr";
const EXCEPT: &str = "spec.ingress[0].from[0].ipBlock.except[0]";
const PORT: &str = "spec.ingress[0].ports[0].port";
const END_PORT: &str = "spec.ingress[0].ports[0].endPort";
const PROTOCOL: &str = "spec.ingress[0].ports[0].protocol";
const KEY: &str = "spec.podSelector.matchExpressions[0].key";
const VALUES: &str = "spec.podSelector.matchExpressions[0].values";

#[rstest]
#[case::a_peer_with_no_field(peer(&json!({})), PEER)]
#[case::a_null_peer(json!({ "ingress": [{ "from": [null] }] }), PEER)]
#[case::a_null_peer_of_egress(json!({ "egress": [{ "to": [{ "podSelector": {} }, null] }] }), "spec.egress[0].to[1]")]
#[case::a_peer_of_nulls(peer(&json!({ "podSelector": null, "namespaceSelector": null, "ipBlock": null })), PEER)]
#[case::a_block_beside_pods(peer(&json!({ "ipBlock": { "cidr": "10.0.0.0/8" }, "podSelector": {} })), PEER)]
#[case::a_block_beside_namespaces(peer(&json!({ "ipBlock": { "cidr": "10.0.0.0/8" }, "namespaceSelector": {} })), PEER)]
#[case::a_block_without_cidr(block(&json!({})), CIDR)]
#[case::an_empty_cidr(block(&json!({ "cidr": "" })), CIDR)]
#[case::a_null_cidr(block(&json!({ "cidr": null })), CIDR)]
#[case::an_address_without_length(block(&json!({ "cidr": "10.0.0.0" })), CIDR)]
#[case::a_length_beyond_the_family(block(&json!({ "cidr": "10.0.0.0/33" })), CIDR)]
#[case::a_negative_length(block(&json!({ "cidr": "10.0.0.0/-1" })), CIDR)]
#[case::a_signed_length(block(&json!({ "cidr": "10.0.0.0/+8" })), CIDR)]
#[case::three_parts(block(&json!({ "cidr": "10.0.0/8" })), CIDR)]
#[case::a_part_beyond_255(block(&json!({ "cidr": "256.0.0.0/8" })), CIDR)]
#[case::a_zone(block(&json!({ "cidr": "fe80::1%eth0/64" })), CIDR)]
#[case::blanks(block(&json!({ "cidr": " 10.0.0.0/8" })), CIDR)]
#[case::a_word(block(&json!({ "cidr": "everything" })), CIDR)]
#[case::an_except_equal_to_its_block(block(&json!({ "cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"] })), EXCEPT)]
#[case::an_except_wider_than_its_block(block(&json!({ "cidr": "10.0.0.0/8", "except": ["0.0.0.0/0"] })), EXCEPT)]
#[case::an_except_beside_its_block(block(&json!({ "cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"] })), EXCEPT)]
#[case::an_except_of_the_other_family(block(&json!({ "cidr": "::/0", "except": ["10.0.0.0/8"] })), EXCEPT)]
#[case::a_malformed_except(block(&json!({ "cidr": "10.0.0.0/8", "except": ["x"] })), EXCEPT)]
#[case::a_null_except(block(&json!({ "cidr": "10.0.0.0/8", "except": [null] })), EXCEPT)]
#[case::the_second_except(
    block(&json!({ "cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "x"] })), "spec.ingress[0].from[0].ipBlock.except[1]"
)]
#[case::another_protocol(port(&json!({ "protocol": "ICMP" })), PROTOCOL)]
#[case::a_lower_case_protocol(port(&json!({ "protocol": "tcp" })), PROTOCOL)]
#[case::an_empty_protocol(port(&json!({ "protocol": "" })), PROTOCOL)]
#[case::port_0(port(&json!({ "port": 0 })), PORT)]
#[case::port_65536(port(&json!({ "port": 65536 })), PORT)]
#[case::a_negative_port(port(&json!({ "port": -1 })), PORT)]
#[case::a_number_as_a_string(port(&json!({ "port": "80" })), PORT)]
#[case::an_empty_name(port(&json!({ "port": "" })), PORT)]
#[case::a_name_in_upper_case(port(&json!({ "port": "HTTP" })), PORT)]
#[case::a_name_of_16(port(&json!({ "port": "a234567890123456" })), PORT)]
#[case::a_name_with_two_hyphens(port(&json!({ "port": "a--b" })), PORT)]
#[case::a_name_that_ends_with_a_hyphen(port(&json!({ "port": "a-" })), PORT)]
#[case::a_name_without_a_letter(port(&json!({ "port": "1-2" })), PORT)]
#[case::an_end_without_a_port(port(&json!({ "endPort": 80 })), END_PORT)]
#[case::an_end_beside_a_name(port(&json!({ "port": "http", "endPort": 80 })), END_PORT)]
#[case::an_end_below_the_port(port(&json!({ "port": 80, "endPort": 79 })), END_PORT)]
#[case::an_end_beyond_65535(port(&json!({ "port": 80, "endPort": 65536 })), END_PORT)]
#[case::an_unknown_type(json!({ "policyTypes": ["ingress"] }), "spec.policyTypes[0]")]
#[case::a_null_type(json!({ "policyTypes": ["Ingress", null] }), "spec.policyTypes[1]")]
#[case::three_types(json!({ "policyTypes": ["Ingress", "Egress", "Ingress"] }), "spec.policyTypes")]
#[case::in_without_values(expression(&json!({ "key": "a", "operator": "In" })), VALUES)]
#[case::in_with_empty_values(expression(&json!({ "key": "a", "operator": "In", "values": [] })), VALUES)]
#[case::not_in_without_values(expression(&json!({ "key": "a", "operator": "NotIn", "values": null })), VALUES)]
#[case::exists_with_values(expression(&json!({ "key": "a", "operator": "Exists", "values": ["b"] })), VALUES)]
#[case::does_not_exist_with_values(expression(&json!({ "key": "a", "operator": "DoesNotExist", "values": ["b"] })), VALUES)]
#[case::an_unknown_operator(
    expression(&json!({ "key": "a", "operator": "in", "values": ["b"] })),
    "spec.podSelector.matchExpressions[0].operator"
)]
#[case::no_key(expression(&json!({ "operator": "Exists" })), KEY)]
#[case::a_null_requirement(json!({ "podSelector": { "matchExpressions": [null] } }), KEY)]
#[case::a_key_with_two_slashes(expression(&json!({ "key": "a/b/c", "operator": "Exists" })), KEY)]
#[case::a_key_with_an_empty_prefix(expression(&json!({ "key": "/a", "operator": "Exists" })), KEY)]
#[case::a_key_with_a_prefix_in_upper_case(expression(&json!({ "key": "A.b/c", "operator": "Exists" })), KEY)]
#[case::a_key_that_ends_with_a_dot(expression(&json!({ "key": "a.", "operator": "Exists" })), KEY)]
#[case::a_key_of_64(expression(&json!({ "key": "k".repeat(64), "operator": "Exists" })), KEY)]
#[case::a_key_that_is_not_ascii(expression(&json!({ "key": "schlüssel", "operator": "Exists" })), KEY)]
#[case::a_value_with_a_blank(labels("a", "b c"), "spec.podSelector.matchLabels[a]")]
#[case::a_value_that_begins_with_a_hyphen(labels("a", "-b"), "spec.podSelector.matchLabels[a]")]
#[case::an_empty_label_key(labels("", "b"), "spec.podSelector.matchLabels")]
#[case::the_selector_of_a_peer(
    peer(&json!({ "namespaceSelector": { "matchLabels": { "a": "!" } } })),
    "spec.ingress[0].from[0].namespaceSelector.matchLabels[a]"
)]
#[case::an_inert_rule(json!({ "policyTypes": ["Ingress"], "egress": [{ "to": [{}] }] }), "spec.egress[0].to[0]")]
fn the_api_and_the_parser_reject(
    #[case] written: Value,
    #[case] path: &str,
    #[values(Source::File, Source::Cluster)] source: Source,
) {
    let error = parse(&written, source).unwrap_err();
    assert!(matches!(error, ParseError::Invalid(_)), "{error}");
    assert_eq!(error.path(), path, "{error}");
}

#[test]
fn a_value_that_no_label_can_have_is_an_error_in_a_file_and_left_out_where_it_was_stored_long_ago() {
    let long = "v".repeat(64);
    let written = |operator: &str| expression(&json!({ "key": "a", "operator": operator, "values": ["b", long] }));
    let error = parse(&written("In"), Source::File).unwrap_err();
    assert_eq!(error.path(), "spec.podSelector.matchExpressions[0].values[1]");
    for operator in ["In", "NotIn"] {
        let stored = parse(&written(operator), Source::Cluster).unwrap();
        let without = expression(&json!({ "key": "a", "operator": operator, "values": ["b"] }));
        assert_eq!(stored.spec, spec(&without));
    }
}

#[rstest]
#[case::a_port_beyond_32_bits(port(&json!({ "port": 4_294_967_376_u64 })), "spec.ingress[0].ports[0].port")]
#[case::a_fraction(port(&json!({ "port": 80.5 })), "spec.ingress[0].ports[0].port")]
#[case::a_boolean_port(port(&json!({ "port": true })), "spec.ingress[0].ports[0].port")]
#[case::an_end_as_a_string(port(&json!({ "port": 80, "endPort": "90" })), "spec.ingress[0].ports[0].endPort")]
#[case::an_end_beyond_32_bits(port(&json!({ "port": 80, "endPort": 4_294_967_386_u64 })), "spec.ingress[0].ports[0].endPort")]
#[case::a_label_that_is_a_number(json!({ "podSelector": { "matchLabels": { "a": 1 } } }), "spec.podSelector.matchLabels.a")]
#[case::a_list_for_a_map(json!({ "podSelector": { "matchLabels": ["a"] } }), "spec.podSelector.matchLabels")]
#[case::a_map_for_a_list(json!({ "ingress": {} }), "spec.ingress")]
#[case::a_string_for_a_rule(json!({ "ingress": ["x"] }), "spec.ingress[0]")]
fn a_wrong_type_is_malformed(#[case] written: Value, #[case] path: &str) {
    let error = parse(&written, Source::Cluster).unwrap_err();
    assert!(matches!(error, ParseError::Malformed { .. }), "{error}");
    assert_eq!(error.path(), path, "{error}");
}

#[rstest]
#[case::the_object(r#"{"spec":{},"spec":{}}"#)]
#[case::the_metadata(r#"{"metadata":{"name":"a"},"metadata":{}}"#)]
#[case::a_name(r#"{"metadata":{"name":"a","name":"b"}}"#)]
#[case::a_label_of_ours(
    r#"{"metadata":{"labels":{"app.kubernetes.io/managed-by":"a","app.kubernetes.io/managed-by":"b"}}}"#
)]
#[case::the_spec(r#"{"spec":{"ingress":[],"ingress":[{}]}}"#)]
#[case::the_types(r#"{"spec":{"policyTypes":[],"policyTypes":["Egress"]}}"#)]
#[case::a_null_first(r#"{"spec":{"podSelector":null,"podSelector":{}}}"#)]
#[case::a_selector(r#"{"spec":{"podSelector":{"matchLabels":{},"matchLabels":{}}}}"#)]
#[case::a_label(r#"{"spec":{"podSelector":{"matchLabels":{"a":"b","a":"b"}}}}"#)]
#[case::a_label_by_another_spelling(r#"{"spec":{"podSelector":{"matchLabels":{"a":"b","\u0061":"c"}}}}"#)]
#[case::a_requirement(r#"{"spec":{"podSelector":{"matchExpressions":[{"key":"a","key":"b","operator":"Exists"}]}}}"#)]
#[case::the_values(
    r#"{"spec":{"podSelector":{"matchExpressions":[{"key":"a","operator":"In","values":["b"],"values":["c"]}]}}}"#
)]
#[case::a_rule(r#"{"spec":{"ingress":[{"from":[{"podSelector":{}}],"from":[]}]}}"#)]
#[case::an_egress_rule(r#"{"spec":{"egress":[{"to":[{"podSelector":{}}],"to":[]}]}}"#)]
#[case::a_peer(r#"{"spec":{"ingress":[{"from":[{"podSelector":{"matchLabels":{"a":"b"}},"podSelector":{}}]}]}}"#)]
#[case::a_block(r#"{"spec":{"ingress":[{"from":[{"ipBlock":{"cidr":"10.0.0.0/8","cidr":"0.0.0.0/0"}}]}]}}"#)]
#[case::a_port(r#"{"spec":{"ingress":[{"ports":[{"port":80,"port":443}]}]}}"#)]
fn a_key_given_twice_is_rejected(#[case] text: &str, #[values(Source::File, Source::Cluster)] source: Source) {
    let error = network_policy_json(text, source).unwrap_err();
    assert!(error.to_string().contains("duplicate"), "{error}");
}

#[rstest]
#[case::a_null_spec(r#"{"spec":null}"#, r"{}")]
#[case::null_metadata(r#"{"metadata":null,"spec":{}}"#, r#"{"spec":{}}"#)]
#[case::a_null_selector(r#"{"spec":{"podSelector":null}}"#, r#"{"spec":{"podSelector":{}}}"#)]
#[case::null_lists(
    r#"{"spec":{"policyTypes":null,"ingress":null,"egress":null}}"#,
    r#"{"spec":{"policyTypes":[],"ingress":[],"egress":[]}}"#
)]
#[case::a_null_rule(r#"{"spec":{"ingress":[null]}}"#, r#"{"spec":{"ingress":[{}]}}"#)]
#[case::null_peers_and_ports(
    r#"{"spec":{"ingress":[{"from":null,"ports":null}]}}"#,
    r#"{"spec":{"ingress":[{"from":[],"ports":[]}]}}"#
)]
#[case::a_null_port_is_all_tcp(
    r#"{"spec":{"ingress":[{"ports":[null]}]}}"#,
    r#"{"spec":{"ingress":[{"ports":[{"protocol":"TCP","port":1,"endPort":65535}]}]}}"#
)]
#[case::a_null_protocol_is_tcp(
    r#"{"spec":{"ingress":[{"ports":[{"protocol":null,"port":80,"endPort":null}]}]}}"#,
    r#"{"spec":{"ingress":[{"ports":[{"protocol":"TCP","port":80}]}]}}"#
)]
#[case::a_null_label_is_empty(
    r#"{"spec":{"podSelector":{"matchLabels":{"a":null}}}}"#,
    r#"{"spec":{"podSelector":{"matchLabels":{"a":""}}}}"#
)]
#[case::a_null_value_is_empty(
    r#"{"spec":{"podSelector":{"matchExpressions":[{"key":"a","operator":"In","values":[null]}]}}}"#,
    r#"{"spec":{"podSelector":{"matchLabels":{"a":""}}}}"#
)]
#[case::a_null_namespace_selector_is_absent(
    r#"{"spec":{"ingress":[{"from":[{"namespaceSelector":null,"podSelector":{}}]}]}}"#,
    r#"{"spec":{"ingress":[{"from":[{"podSelector":{}}]}]}}"#
)]
#[case::unknown_fields_are_dropped(
    r#"{"kind":"x","status":{"a":[1]},"spec":{"x":1,"x":2,"podSelector":{"y":0},"ingress":[{"to":[null],"from":[{"z":0,"podSelector":{}}]}]}}"#,
    r#"{"spec":{"ingress":[{"from":[{"podSelector":{}}]}]}}"#
)]
#[case::wrong_case_is_unknown(
    r#"{"Spec":{"ingress":[{}]},"spec":{"Ingress":[{}],"podselector":{"matchLabels":{"a":"b"}},"PolicyTypes":["Egress"]}}"#,
    r#"{"spec":{}}"#
)]
#[case::wrong_case_below(
    r#"{"spec":{"podSelector":{"matchlabels":{"a":"b"}},"ingress":[{"From":[{}],"ports":[{"Port":80,"endport":90}]}]}}"#,
    r#"{"spec":{"ingress":[{"ports":[{}]}]}}"#
)]
#[case::types_default_to_ingress(r#"{"spec":{}}"#, r#"{"spec":{"policyTypes":["Ingress"]}}"#)]
#[case::and_to_egress_where_it_has_rules(
    r#"{"spec":{"egress":[{}]}}"#,
    r#"{"spec":{"policyTypes":["Egress","Ingress"],"egress":[{}]}}"#
)]
#[case::a_type_twice(r#"{"spec":{"policyTypes":["Ingress","Ingress"]}}"#, r#"{"spec":{"policyTypes":["Ingress"]}}"#)]
fn the_first_means_the_second(#[case] first: &str, #[case] second: &str) {
    let [first, second] = [first, second].map(|text| network_policy_json(text, Source::File).unwrap().spec);
    assert_eq!(first, second);
}

#[test]
fn a_policy_without_a_spec_selects_every_pod_for_ingress_and_allows_nothing() {
    let spec = network_policy_json("{}", Source::File).unwrap().spec;
    assert!(spec.pods.selects_all());
    assert_eq!((spec.ingress, spec.egress), (Some(Vec::new()), None));
}

#[test]
fn a_label_that_must_be_empty_must_be_there() {
    let spec = spec(&labels("a", ""));
    assert!(!spec.pods.matches(&Labels::new()));
    assert!(spec.pods.matches(&Labels::from([("a".to_owned(), String::new())])));
}

#[rstest]
#[case::nothing_is_all_tcp(json!({}), Ports::every(Protocol::Tcp))]
#[case::a_protocol_is_all_of_it(json!({ "protocol": "SCTP" }), Ports::every(Protocol::Sctp))]
#[case::a_number(json!({ "port": 65535 }), Ports::Range(Protocol::Tcp, 65535, 65535))]
#[case::a_range_of_one(json!({ "protocol": "UDP", "port": 1, "endPort": 1 }), Ports::Range(Protocol::Udp, 1, 1))]
#[case::every_port(json!({ "port": 1, "endPort": 65535 }), Ports::every(Protocol::Tcp))]
#[case::a_name(json!({ "protocol": "UDP", "port": "dns-1" }), Ports::Named(Protocol::Udp, "dns-1".to_owned()))]
fn a_port_means(#[case] written: Value, #[case] expected: Ports) {
    let spec = spec(&port(&written));
    assert_eq!(spec.ingress.unwrap()[0].ports, Some(vec![expected]));
}

#[rstest]
#[case::host_bits("10.0.0.1/8", "10.0.0.0/8")]
#[case::host_bits_of_everything("10.0.0.1/0", "0.0.0.0/0")]
#[case::host_bits_of_ipv6("2001:db8::1/32", "2001:db8::/32")]
#[case::leading_zeros("010.000.0.0/8", "10.0.0.0/8")]
#[case::a_leading_zero_of_the_length("10.0.0.0/08", "10.0.0.0/8")]
#[case::many_leading_zeros("0010.0000.0.00/00008", "10.0.0.0/8")]
#[case::leading_zeros_of_a_group("00001:00::00000/16", "1::/16")]
#[case::mapped("::ffff:10.0.0.0/104", "10.0.0.0/8")]
#[case::mapped_in_hexadecimal("::ffff:a00:0/104", "10.0.0.0/8")]
#[case::all_mapped("::ffff:0:0/96", "0.0.0.0/0")]
#[case::mapped_with_leading_zeros("::ffff:010.0.0.0/104", "10.0.0.0/8")]
#[case::mapped_and_wider_than_ipv4("::ffff:10.0.0.0/0", "::/0")]
fn a_cidr_that_only_older_servers_accept_is_masked_from_a_cluster_and_an_error_in_a_file(
    #[case] written: &str,
    #[case] means: &str,
) {
    let written = block(&json!({ "cidr": written }));
    let rules = parse(&written, Source::Cluster).unwrap().spec.ingress.unwrap();
    let Some([Peer::Block { cidr, except }]) = rules[0].peers.as_deref() else { panic!("{rules:?}") };
    assert_eq!((cidr.to_string().as_str(), except.len()), (means, 0));
    let error = parse(&written, Source::File).unwrap_err();
    assert_eq!(error.path(), CIDR);
    assert!(error.to_string().contains(&format!("write {means}")), "{error}");
}

#[test]
fn an_except_that_only_older_servers_accept_is_masked_from_a_cluster_and_an_error_in_a_file() {
    let written = block(&json!({ "cidr": "10.0.0.0/8", "except": ["10.1.2.3/16"] }));
    let rules = parse(&written, Source::Cluster).unwrap().spec.ingress.unwrap();
    let Some([Peer::Block { except, .. }]) = rules[0].peers.as_deref() else { panic!("{rules:?}") };
    assert_eq!(except[0].to_string(), "10.1.0.0/16");
    assert_eq!(parse(&written, Source::File).unwrap_err().path(), EXCEPT);
}

#[rstest]
#[case::zero_spelt_out("0::0/0", "::/0")]
#[case::upper_case("FE80::/10", "fe80::/10")]
#[case::a_single_address("10.0.0.1/32", "10.0.0.1/32")]
#[case::a_single_address_of_ipv6("::1/128", "::1/128")]
fn a_cidr_that_every_server_accepts_is_accepted_everywhere(
    #[case] written: &str,
    #[case] means: &str,
    #[values(Source::File, Source::Cluster)] source: Source,
) {
    let rules = parse(&block(&json!({ "cidr": written })), source).unwrap().spec.ingress.unwrap();
    let Some([Peer::Block { cidr, .. }]) = rules[0].peers.as_deref() else { panic!("{rules:?}") };
    assert_eq!(cidr.to_string(), means);
}

#[test]
fn every_error_is_reported_with_its_own_path() {
    let written = json!({
        "policyTypes": ["x"], "podSelector": { "matchLabels": { "a": "!" } },
        "ingress": [{ "from": [{}], "ports": [{ "port": 0 }] }],
    });
    let Err(ParseError::Invalid(errors)) = parse(&written, Source::File) else { panic!("accepted") };
    let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(paths, ["spec.podSelector.matchLabels[a]", "spec.policyTypes[0]", PEER, PORT]);
    assert!(errors.iter().all(|error| !error.problem.is_empty() && !error.fix.is_empty()), "{errors:?}");
}

#[test]
fn a_message_does_not_grow_with_what_is_wrong() {
    let long = "!".repeat(100_000);
    for written in [
        labels(&long, &long),
        json!({ "ingress": [{ "from": vec![json!({}); 10_000] }] }),
        port(&json!({ "port": 80, "endPort": long })),
        block(&json!({ "cidr": "ü".repeat(100_000) })),
    ] {
        let message = parse(&written, Source::File).unwrap_err().to_string();
        assert!(message.len() < 20_000, "{}", message.len());
    }
}
