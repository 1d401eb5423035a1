//! Label selectors and address blocks: what is accepted, and what it matches, against readers that are written after the
//! API server's own and share nothing with the parser.

mod api;

use std::collections::{BTreeMap, BTreeSet};

use arbitrary::{Result, Unstructured};
use ringfence_core::policy::parse::{ParseError, Source, network_policy};
use ringfence_core::policy::selectors::{Labels, Selector};
use ringfence_core::policy::{NetworkPolicy, Peer, cidr};
use serde_json::{Value, json};

const KEYS: &[&str] = &["a", "b", "example.com/c", "kubernetes.io/metadata.name"];
const VALUES: &[&str] = &["", "x", "y", "team-a", "other"];

/// One of a few, or whatever stands in the bytes.
fn text(choices: &mut Unstructured<'_>, few: &[&'static str]) -> Result<String> {
    if choices.ratio(1, 6)? { choices.arbitrary() } else { Ok((*choices.choose(few)?).to_owned()) }
}

fn list<'a, T>(
    choices: &mut Unstructured<'a>,
    most: usize,
    mut one: impl FnMut(&mut Unstructured<'a>) -> Result<T>,
) -> Result<Vec<T>> {
    let count = choices.int_in_range(0..=most)?;
    (0..count).map(|_| one(choices)).collect()
}

/// A label selector as the API knows it.
struct Written {
    labels: BTreeMap<String, String>,
    /// Key, operator and values.
    expressions: Vec<(String, String, Vec<String>)>,
}

impl Written {
    fn choose(choices: &mut Unstructured<'_>) -> Result<Self> {
        const OPERATORS: &[&str] = &["In", "NotIn", "Exists", "DoesNotExist"];
        let labels = list(choices, 2, |choices| Ok((text(choices, KEYS)?, text(choices, VALUES)?)))?;
        let expressions = list(choices, 3, |choices| {
            let (key, operator) = (text(choices, KEYS)?, text(choices, OPERATORS)?);
            let most =
                if matches!(operator.as_str(), "Exists" | "DoesNotExist") && !choices.ratio(1, 8)? { 0 } else { 3 };
            Ok((key, operator, list(choices, most, |choices| text(choices, VALUES))?))
        })?;
        Ok(Self { labels: labels.into_iter().collect(), expressions })
    }

    fn to_json(&self) -> Value {
        let expressions: Vec<Value> = self
            .expressions
            .iter()
            .map(|(key, operator, values)| json!({ "key": key, "operator": operator, "values": values }))
            .collect();
        json!({ "matchLabels": self.labels, "matchExpressions": expressions })
    }

    /// `ValidateLabelSelector`. With `stored`, as on the update of a policy that had invalid values already.
    fn is_valid(&self, stored: bool) -> bool {
        self.labels.iter().all(|(key, value)| api::is_label_key(key) && api::is_label_value(value))
            && self.expressions.iter().all(|(key, operator, values)| {
                let counted = match operator.as_str() {
                    "In" | "NotIn" => !values.is_empty(),
                    "Exists" | "DoesNotExist" => values.is_empty(),
                    _ => false,
                };
                counted && api::is_label_key(key) && (stored || values.iter().all(|value| api::is_label_value(value)))
            })
    }

    /// `labels.Requirement.Matches`, of every requirement.
    fn matches(&self, labels: &Labels) -> bool {
        self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.expressions.iter().all(|(key, operator, values)| {
                let held = labels.get(key);
                match operator.as_str() {
                    "In" => held.is_some_and(|held| values.contains(held)),
                    "NotIn" => held.is_none_or(|held| !values.contains(held)),
                    "Exists" => held.is_some(),
                    _ => held.is_none(),
                }
            })
    }

    /// Every set of labels that it can tell apart.
    fn domain(&self) -> Vec<Labels> {
        let mut keys: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (key, value) in &self.labels {
            keys.entry(key).or_default().insert(value);
        }
        for (key, _, values) in &self.expressions {
            // No pod has a value that is none.
            let values = values.iter().map(String::as_str).filter(|value| api::is_label_value(value));
            keys.entry(key).or_default().extend(values);
        }
        let mut all = vec![Labels::new()];
        for (key, values) in keys {
            let with = |labels: &Labels, value: &str| {
                let mut labels = labels.clone();
                labels.insert(key.to_owned(), value.to_owned());
                labels
            };
            let values: Vec<&str> = values.into_iter().chain(["nobody-names-this"]).collect();
            let longer: Vec<Labels> =
                all.iter().flat_map(|labels| values.iter().map(move |value| with(labels, value))).collect();
            all.extend(longer);
        }
        all
    }
}

fn with_pods(selector: &Value) -> Value {
    json!({ "metadata": { "name": "p" }, "spec": { "podSelector": selector, "policyTypes": ["Ingress"] } })
}

fn check_selector(written: &Written) {
    let object = with_pods(&written.to_json());
    for (source, stored) in [(Source::File, false), (Source::Cluster, true)] {
        let parsed = network_policy(&object, source);
        assert_eq!(parsed.is_ok(), written.is_valid(stored), "{source:?} {object} {parsed:?}");
        let Ok(NetworkPolicy { spec, .. }) = parsed else { continue };
        let selector: Selector = spec.pods;
        let (mut all, mut none) = (true, true);
        for labels in written.domain() {
            let matched = selector.matches(&labels);
            assert_eq!(matched, written.matches(&labels), "{object} {labels:?}");
            all &= matched;
            none &= !matched;
        }
        // The domain is all that there is.
        assert_eq!(selector.selects_all(), all, "{object}");
        assert_eq!(selector.is_unsatisfiable(), none, "{object}");
    }
}

const BLOCKS: &[&str] = &[
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.128.0.0/9",
    "010.0.0.0/8",
    "10.0.0.1/8",
    "10.0.0.0/08",
    "255.255.255.255/32",
    "::/0",
    "0::0/0",
    "8000::/1",
    "fd00::/8",
    "FD00:0:0:0::/64",
    "::ffff:10.0.0.0/104",
    "00001::/16",
    "1:2:3:4:5:6:7::/112",
    "::10.0.0.0/104",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
    "10.0.0.0/33",
    "10.0.0.0",
    "/0",
    "",
];

fn block(choices: &mut Unstructured<'_>) -> Result<String> {
    Ok(match choices.int_in_range(0..=3u8)? {
        // Parts of addresses, put together as they come.
        0 => {
            const PARTS: &[&str] = &[
                "::", ":", ".", "/", "0", "00", "1", "10", "010", "255", "256", "ffff", "0000a", "/8", "/064", "-",
                "+", "%",
            ];
            list(choices, 12, |choices| choices.choose(PARTS).copied())?.concat()
        }
        1 => {
            let (address, length): (u32, u8) = (choices.arbitrary()?, choices.int_in_range(0..=33)?);
            format!("{}/{length}", std::net::Ipv4Addr::from(address))
        }
        2 => {
            let (address, length): (u128, u8) = (choices.arbitrary()?, choices.int_in_range(0..=130)?);
            format!("{}/{length}", std::net::Ipv6Addr::from(address))
        }
        _ => text(choices, BLOCKS)?,
    })
}

fn check_block(cidr: &str, except: &[String]) {
    let object = json!({ "metadata": { "name": "p" }, "spec": { "policyTypes": ["Ingress"], "ingress": [
        { "from": [{ "ipBlock": { "cidr": cidr, "except": except } }] },
    ] } });
    for (source, strict) in [(Source::File, true), (Source::Cluster, false)] {
        let expected = api::block(cidr, except, strict);
        let parsed = match network_policy(&object, source) {
            Ok(policy) => Some(policy),
            Err(ParseError::Invalid(errors)) => {
                assert!(errors.iter().all(|error| error.path.starts_with("spec.ingress[0].from[0].ipBlock")));
                None
            }
            Err(malformed) => panic!("{malformed}"),
        };
        assert_eq!(parsed.is_some(), expected.is_some(), "{source:?} {object} {parsed:?} {expected:?}");
        let (Some(policy), Some(expected)) = (parsed, expected) else { continue };
        let rules = policy.spec.ingress.unwrap();
        let [Peer::Block { cidr, except }] = rules[0].peers.as_deref().unwrap() else { panic!("{rules:?}") };
        let family = cidr::family(cidr);
        assert_eq!(family == cidr::Family::V6, expected.cidr.v6);
        let left = cidr::remaining(cidr, except);
        assert!(left.windows(2).all(|pair| pair[0].1 < pair[1].0), "apart and in order: {left:?}");
        let mut everything = true;
        for address in expected.addresses() {
            let inside = left.iter().any(|(first, last)| *first <= address && address <= *last);
            assert_eq!(inside, expected.contains(address), "{object} {address:x} {left:?}");
            everything &= inside;
        }
        assert_eq!(cidr::merged(left) == [family.every()], everything, "{object}");
    }
}

/// Choices of a selector, a block and what is taken out of it.
pub fn run(data: &[u8]) {
    let mut choices = Unstructured::new(data);
    let Ok((selector, cidr, except)) = (|| -> Result<_> {
        Ok((Written::choose(&mut choices)?, block(&mut choices)?, list(&mut choices, 3, block)?))
    })() else {
        return;
    };
    check_selector(&selector);
    check_block(&cidr, &except);
}
