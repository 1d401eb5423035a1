//! An update that allows the same or less is never refused, whatever is open in the namespace already and whatever else is under way.
//! Two refusals are accepted: of policies too complex to judge, and past the limit of bytes of a namespace's policies.

use ipnet::IpNet;
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::sample::select;
use ringfence_core::admission::{Outcome, Webhook};
use ringfence_core::index::reservations::{Change as Reserved, Reservations};
use ringfence_core::meter::unlimited;
use ringfence_core::policy::parse::{Source, network_policy};
use serde_json::{Value, json};

use crate::generate::{policies, policy};
use crate::support::{PAST, SOON, TEAM, World, excepted, isolated, updates, with_profile};

/// A change that takes something away, or takes nothing away. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Change {
    Label,
    Annotation,
    /// The annotations that the policy has are removed.
    Annotations,
    ReverseRules,
    RemoveRule(usize),
    /// Every rule goes, and the direction stays isolated.
    RemoveRules,
    RemovePeer(usize, usize),
    /// Where a rule has no peers, which is every peer, it gets one.
    NamePeer(usize),
    /// A block becomes its lower or its upper half.
    HalveBlock(usize, usize, bool),
    /// A part of a block is taken out of it.
    AddExcept(usize, usize, usize),
    /// A selector of a peer gets one more requirement.
    RequireOfPeer(usize, usize, Value),
    /// A peer of whole namespaces becomes one of some of their pods.
    NamePods(usize, usize, Value),
    RequireOfPods(Value),
    RemovePort(usize, usize),
    /// Where a rule has no ports, which is every port, it gets one entry.
    NamePort(usize),
    /// A range loses ports at its ends; an entry without a number gets one.
    NarrowPorts(usize, usize, u16, u16),
}

fn list<'v>(value: &'v mut Value, field: &str) -> Option<&'v mut Vec<Value>> {
    value[field].as_array_mut().filter(|items| !items.is_empty())
}

fn require(selector: &mut Value, requirement: &Value) {
    match selector["matchExpressions"].as_array_mut() {
        Some(expressions) => expressions.push(requirement.clone()),
        None => selector["matchExpressions"] = json!([requirement]),
    }
}

/// Makes a block its half, unless exceptions leave nothing of that.
fn halve(block: &mut Value, upper: bool) -> Option<()> {
    let of = |value: &Value| value.as_str().unwrap().parse::<IpNet>().unwrap();
    let whole = of(&block["cidr"]);
    let half = whole.subnets(whole.prefix_len() + 1).ok()?.nth(usize::from(upper))?;
    let except: Vec<IpNet> = block["except"].as_array().into_iter().flatten().map(of).collect();
    if except.iter().any(|except| except.contains(&half)) {
        return None;
    }
    let within: Vec<String> = except.iter().filter(|except| half.contains(*except)).map(ToString::to_string).collect();
    *block = json!({ "cidr": half.to_string(), "except": within });
    Some(())
}

fn except(block: &mut Value, which: usize) -> Option<()> {
    let whole: IpNet = block["cidr"].as_str()?.parse().ok()?;
    let part = whole.subnets(whole.prefix_len() + 2).ok()?.nth(which % 4)?;
    match block["except"].as_array_mut() {
        Some(parts) => parts.push(json!(part.to_string())),
        None => block["except"] = json!([part.to_string()]),
    }
    Some(())
}

fn narrow_ports(entry: &mut Value, low: u16, high: u16) -> Option<()> {
    if entry["port"].is_string() {
        return None;
    }
    let (first, last) = match (entry["port"].as_u64(), entry["endPort"].as_u64()) {
        (None, _) => (1, 65535),
        (Some(port), end) => (port, end.unwrap_or(port)),
    };
    let size = last - first + 1;
    let from = first + u64::from(low) % size;
    let to = from + u64::from(high) % (last - from + 1);
    (entry["port"], entry["endPort"]) = (json!(from), json!(to));
    Some(())
}

impl Change {
    /// Makes the change. `None` where there is nothing to take away.
    fn make(&self, object: &mut Value, rules: &str, peers: &str) -> Option<()> {
        match self {
            Self::Label => object["metadata"]["labels"]["team"] = json!("a"),
            Self::Annotation => object["metadata"]["annotations"]["note"] = json!("seen"),
            Self::Annotations => drop(object["metadata"].as_object_mut()?.remove("annotations")),
            Self::RequireOfPods(requirement) => require(&mut object["spec"]["podSelector"], requirement),
            _ => self.make_in(list(&mut object["spec"], rules)?, peers)?,
        }
        Some(())
    }

    fn make_in(&self, rules: &mut Vec<Value>, peers: &str) -> Option<()> {
        let count = rules.len();
        match self {
            Self::ReverseRules => rules.reverse(),
            Self::RemoveRules => rules.clear(),
            Self::RemoveRule(rule) => drop(rules.remove(rule % count)),
            Self::RemovePeer(rule, peer) => remove(list(&mut rules[rule % count], peers)?, *peer)?,
            Self::RemovePort(rule, port) => remove(list(&mut rules[rule % count], "ports")?, *port)?,
            Self::NamePeer(rule) if list(&mut rules[rule % count], peers).is_none() => {
                rules[rule % count][peers] =
                    json!([{ "namespaceSelector": {} }, { "ipBlock": { "cidr": "0.0.0.0/0" } }]);
            }
            Self::NamePort(rule) if list(&mut rules[rule % count], "ports").is_none() => {
                rules[rule % count]["ports"] =
                    json!([{ "protocol": "TCP" }, { "protocol": "UDP", "port": 1, "endPort": 200 }]);
            }
            Self::NarrowPorts(rule, port, low, high) => {
                let ports = list(&mut rules[rule % count], "ports")?;
                let at = port % ports.len();
                narrow_ports(&mut ports[at], *low, *high)?;
            }
            Self::HalveBlock(rule, peer, upper) => {
                halve(item(&mut rules[rule % count], peers, *peer)?.get_mut("ipBlock")?, *upper)?;
            }
            Self::AddExcept(rule, peer, which) => {
                except(item(&mut rules[rule % count], peers, *peer)?.get_mut("ipBlock")?, *which)?;
            }
            Self::RequireOfPeer(rule, peer, requirement) => {
                let peer = item(&mut rules[rule % count], peers, *peer)?;
                let selector =
                    ["podSelector", "namespaceSelector"].into_iter().find(|selector| peer.get(selector).is_some())?;
                require(&mut peer[selector], requirement);
            }
            Self::NamePods(rule, peer, requirement) => {
                let peer = item(&mut rules[rule % count], peers, *peer)?;
                peer.get("namespaceSelector").filter(|_| peer.get("podSelector").is_none())?;
                peer["podSelector"] = json!({ "matchExpressions": [requirement] });
            }
            // Of no rule, or nothing to name.
            _ => return None,
        }
        Some(())
    }
}

fn item<'v>(rule: &'v mut Value, field: &str, which: usize) -> Option<&'v mut Value> {
    let items = list(rule, field)?;
    let at = which % items.len();
    items.get_mut(at)
}

/// Removes one of several. A list that becomes empty would allow everything.
fn remove(items: &mut Vec<Value>, which: usize) -> Option<()> {
    (items.len() > 1).then(|| drop(items.remove(which % items.len())))
}

fn requirement() -> impl Strategy<Value = Value> {
    (select(&["a", "b", "env"][..]), 0..4u8).prop_map(|(key, operator)| match operator {
        0 => json!({ "key": key, "operator": "In", "values": ["x"] }),
        1 => json!({ "key": key, "operator": "NotIn", "values": ["x"] }),
        2 => json!({ "key": key, "operator": "Exists" }),
        _ => json!({ "key": key, "operator": "DoesNotExist" }),
    })
}

fn change() -> impl Strategy<Value = Change> {
    let at = || 0..4usize;
    prop_oneof![
        select(vec![Change::Label, Change::Annotation, Change::Annotations, Change::ReverseRules, Change::RemoveRules]),
        at().prop_map(Change::RemoveRule),
        (at(), at()).prop_map(|(rule, peer)| Change::RemovePeer(rule, peer)),
        at().prop_map(Change::NamePeer),
        (at(), at(), any::<bool>()).prop_map(|(rule, peer, upper)| Change::HalveBlock(rule, peer, upper)),
        (at(), at(), at()).prop_map(|(rule, peer, which)| Change::AddExcept(rule, peer, which)),
        (at(), at(), requirement()).prop_map(|(rule, peer, one)| Change::RequireOfPeer(rule, peer, one)),
        (at(), at(), requirement()).prop_map(|(rule, peer, one)| Change::NamePods(rule, peer, one)),
        requirement().prop_map(Change::RequireOfPods),
        (at(), at()).prop_map(|(rule, port)| Change::RemovePort(rule, port)),
        at().prop_map(Change::NamePort),
        (at(), at(), any::<u16>(), any::<u16>())
            .prop_map(|(rule, port, low, high)| Change::NarrowPorts(rule, port, low, high)),
    ]
}

/// What a policy that is stored may carry besides its spec.
fn annotations() -> impl Strategy<Value = Value> {
    select(vec![
        json!({}),
        json!({ "ringfence.dev/quarantined": "{\"egress\":{}}" }),
        json!({ "ringfence.dev/exception-reason": "legacy", "ringfence.dev/exception-until": PAST }),
    ])
}

/// A namespace whose baseline isolates every pod, with other policies of which some are stored, and some are admitted and not stored.
fn with_others(profile: &str, others: &[Value], under_way: u8) -> World {
    let (mut world, mut reservations) = (with_profile(profile), Reservations::default());
    for (index, other) in others.iter().enumerate() {
        if under_way >> index & 1 == 0 {
            world = world.policy(other);
            continue;
        }
        let outcome = network_policy(other, Source::Cluster).unwrap();
        let change =
            Reserved { uid: format!("u{index}"), base: 0, name: outcome.name.clone(), outcome: Some(outcome.into()) };
        let known = reservations.of(TEAM);
        reservations.reserve(TEAM, &known, change, None, Timestamp::UNIX_EPOCH, unlimited()).unwrap();
    }
    world.pending = reservations.of(TEAM);
    world
}

fn narrowed(old: &Value, changes: &[(Change, bool)]) -> Value {
    let mut new = old.clone();
    for (change, is_egress) in changes {
        let (rules, peers) = if *is_egress { ("egress", "to") } else { ("ingress", "from") };
        let before = new.clone();
        if change.make(&mut new, rules, peers).is_none() {
            new = before;
        }
    }
    new
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_update_that_allows_the_same_or_less_is_admitted_whatever_is_open(
        profile in select(&["standard", "strict", "deny-all"][..]),
        written in policy(),
        annotations in annotations(),
        others in policies(),
        under_way in any::<u8>(),
        changes in prop::collection::vec((change(), any::<bool>()), 1..7),
    ) {
        let mut old = written;
        old["metadata"]["name"] = json!("mine");
        old["metadata"]["annotations"] = annotations;
        let new = narrowed(&old, &changes);
        let world = with_others(profile, &others, under_way).policy(&old);
        let outcome = world.outcome(Webhook::Validate, &updates(&old, &new));
        prop_assert!(matches!(&outcome, Outcome::Decided(decision) if decision.allowed), "{outcome:?} of {new}");
    }
}

/// Without permission to use the exception, its policy could not even be narrowed.
#[test]
#[ignore = "a fault of the product: an update that narrows a policy with an exception in force asks for permission"]
fn a_policy_with_an_exception_in_force_may_be_narrowed_without_permission() {
    let wide = |rules: Value| {
        let spec = json!({ "podSelector": {}, "policyTypes": ["Ingress"], "ingress": rules });
        excepted(&crate::support::policy("wide", &spec), &json!("legacy"), &json!(SOON))
    };
    let (old, new) = (wide(json!([{}, { "ports": [{ "port": 80 }] }])), wide(json!([{ "ports": [{ "port": 80 }] }])));
    isolated().policy(&old).validate(&updates(&old, &new)).passes("Allowed");
}
