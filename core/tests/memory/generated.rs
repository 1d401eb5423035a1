//! The bound on what a review takes, over bodies of 1 to 4 MB: one generated item of each list that a client can fill, again and
//! again.

use std::fmt::{self, Write as _};

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config as Runs, TestRunner};
use ringfence_core::admission::Webhook;

use crate::{handled, limit, measured, review, short, turn};

/// Where an object has a list, or a map. The items replace `…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    resource: Resource,
    name: &'static str,
    object: &'static str,
    item: Item,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resource {
    Policies,
    Namespaces,
    Pods,
    Deployments,
}

/// What a list has, as text. `#` becomes a short text for each number, `@` two groups of hexadecimal digits, and `%` a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    Rule(&'static str),
    Peer,
    Port,
    Except,
    Requirement,
    Value,
    /// Entries of a map, whose keys differ.
    Entry,
    /// Entries of a map under Ringfence's own prefix.
    Own,
    Field,
    Owner,
    Finalizer,
    Gate,
    Container,
    /// A list of anything.
    Any,
    /// A field of any name.
    Unknown,
}

impl Item {
    /// Whether each item needs a number of its own.
    fn is_of_map(self) -> bool {
        matches!(self, Self::Entry | Self::Own | Self::Unknown)
    }

    fn text(self) -> BoxedStrategy<String> {
        match self {
            Self::Rule(peers) => (prop::collection::vec(peer(), 0..3), prop::collection::vec(port(), 0..3))
                .prop_map(move |(from, ports)| match (from.is_empty(), ports.is_empty()) {
                    (true, true) => "{}".to_owned(),
                    (true, false) => format!(r#"{{"ports":[{}]}}"#, ports.join(",")),
                    (false, true) => format!(r#"{{"{peers}":[{}]}}"#, from.join(",")),
                    (false, false) => format!(r#"{{"{peers}":[{}],"ports":[{}]}}"#, from.join(","), ports.join(",")),
                })
                .boxed(),
            Self::Peer => peer().boxed(),
            Self::Port => port().boxed(),
            Self::Except => select(vec![r#""@::/32""#, r#""::/1""#]).prop_map(str::to_owned).boxed(),
            // An empty one is wrong, and read before that is known.
            Self::Requirement => prop_oneof![3 => requirement(), 1 => Just("{}".to_owned())].boxed(),
            Self::Value | Self::Finalizer => text().boxed(),
            Self::Entry => (text(), text()).prop_map(|(key, value)| format!("{}:{value}", key_of(&key))).boxed(),
            Self::Own => (select(vec!["", "ignore."]), text())
                .prop_map(|(kind, value)| format!(r#""ringfence.dev/{kind}#":{value}"#))
                .boxed(),
            Self::Field => any_json().prop_map(|fields| format!(r##"{{"manager":"#","fieldsV1":{fields}}}"##)).boxed(),
            Self::Owner => {
                select(vec![r##"{"uid":"#"}"##, r##"{"apiVersion":"v1","kind":"A","name":"#","uid":"#"}"##, "{}"])
                    .prop_map(str::to_owned)
                    .boxed()
            }
            Self::Gate => select(vec![r##"{"name":"#"}"##, r#"{"name":""}"#]).prop_map(str::to_owned).boxed(),
            Self::Container => any_json().prop_map(|any| format!(r##"{{"name":"#","env":[{any}]}}"##)).boxed(),
            Self::Any => any_json().boxed(),
            Self::Unknown => any_json().prop_map(|any| format!(r#""x#":{any}"#)).boxed(),
        }
    }
}

/// A text of any length and letters, also escaped.
fn text() -> impl Strategy<Value = String> {
    (select(vec!["#", "", "a#", r"\u0061#", "é#"]), prop_oneof![4 => Just(0usize), 1 => 1..200usize])
        .prop_map(|(text, pad)| format!(r#""{text}{}""#, "p".repeat(pad)))
}

fn key_of(text: &str) -> String {
    if text.contains('#') { text.to_owned() } else { text.replacen('"', "\"#", 1) }
}

fn requirement() -> impl Strategy<Value = String> {
    let values = prop::collection::vec(text(), 1..4);
    (select(vec!["a", "#"]), select(vec!["In", "NotIn", "Exists", "DoesNotExist"]), values).prop_map(
        |(key, operator, values)| match operator {
            "In" | "NotIn" => format!(r#"{{"key":"{key}","operator":"{operator}","values":[{}]}}"#, values.join(",")),
            _ => format!(r#"{{"key":"{key}","operator":"{operator}"}}"#),
        },
    )
}

fn selector() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("{}".to_owned()),
        text().prop_map(|value| format!(r##"{{"matchLabels":{{"#":{value}}}}}"##)),
        prop::collection::vec(requirement(), 1..3)
            .prop_map(|all| format!(r#"{{"matchExpressions":[{}]}}"#, all.join(","))),
    ]
}

fn peer() -> impl Strategy<Value = String> {
    prop_oneof![
        selector().prop_map(|pods| format!(r#"{{"podSelector":{pods}}}"#)),
        selector().prop_map(|namespaces| format!(r#"{{"namespaceSelector":{namespaces}}}"#)),
        (selector(), selector()).prop_map(|(n, p)| format!(r#"{{"namespaceSelector":{n},"podSelector":{p}}}"#)),
        Just(r#"{"ipBlock":{"cidr":"@::/32"}}"#.to_owned()),
        Just(r#"{"ipBlock":{"cidr":"@::/32","except":["@:1::/48"]}}"#.to_owned()),
    ]
}

fn port() -> impl Strategy<Value = String> {
    let protocol = select(vec!["TCP", "UDP", "SCTP"]);
    let number = select(vec![r#","port":%"#, r#","port":%,"endPort":65535"#, r#","port":"a#""#, ""]);
    (protocol, number).prop_map(|(protocol, number)| format!(r#"{{"protocol":"{protocol}"{number}}}"#))
}

/// Something that nobody reads.
fn any_json() -> impl Strategy<Value = String> {
    let leaf = select(vec!["{}", "[]", "null", "0", "\"\"", r##""#""##]).prop_map(str::to_owned);
    leaf.prop_recursive(6, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(|items| format!("[{}]", items.join(","))),
            inner.clone().prop_map(|value| format!(r#"{{"f:a":{value}}}"#)),
            (1..60usize, inner).prop_map(|(depth, value)| format!("{}{value}{}", "[".repeat(depth), "]".repeat(depth))),
        ]
    })
}

const fn place(resource: Resource, name: &'static str, object: &'static str, item: Item) -> Place {
    Place { resource, name, object, item }
}

/// Every list and map that is read of an object, and those that are skipped.
const PLACES: &[Place] = {
    use Item::{
        Any, Container, Entry, Except, Field, Finalizer, Gate, Own, Owner, Peer, Port, Requirement, Rule, Unknown,
        Value,
    };
    use Resource::{Deployments, Namespaces, Pods, Policies};
    &[
        place(
            Policies,
            "rules of ingress",
            r#"{"metadata":{"name":"a"},"spec":{"podSelector":{},"ingress":[…]}}"#,
            Rule("from"),
        ),
        place(
            Policies,
            "rules of egress",
            r#"{"metadata":{"name":"a"},"spec":{"policyTypes":["Egress"],"egress":[…]}}"#,
            Rule("to"),
        ),
        place(Policies, "peers", r#"{"metadata":{"name":"a"},"spec":{"ingress":[{"from":[…]}]}}"#, Peer),
        place(Policies, "ports", r#"{"metadata":{"name":"a"},"spec":{"ingress":[{"ports":[…]}]}}"#, Port),
        place(
            Policies,
            "except lists",
            r#"{"metadata":{"name":"a"},"spec":{"ingress":[{"from":[{"ipBlock":{"cidr":"::/0","except":[…]}}]}]}}"#,
            Except,
        ),
        place(
            Policies,
            "requirements",
            r#"{"metadata":{"name":"a"},"spec":{"podSelector":{"matchExpressions":[…]}}}"#,
            Requirement,
        ),
        place(
            Policies,
            "requirements of a peer",
            r#"{"metadata":{"name":"a"},"spec":{"ingress":[{"from":[{"namespaceSelector":{"matchExpressions":[…]}}]}]}}"#,
            Requirement,
        ),
        place(
            Policies,
            "selector values",
            r#"{"metadata":{"name":"a"},"spec":{"podSelector":{"matchExpressions":[{"key":"a","operator":"In","values":[…]}]}}}"#,
            Value,
        ),
        place(
            Policies,
            "labels of a selector",
            r#"{"metadata":{"name":"a"},"spec":{"podSelector":{"matchLabels":{…}}}}"#,
            Entry,
        ),
        place(Policies, "labels", r#"{"metadata":{"name":"a","labels":{…}},"spec":{}}"#, Entry),
        place(Policies, "annotations", r#"{"metadata":{"name":"a","annotations":{…}},"spec":{}}"#, Entry),
        place(Policies, "annotations for Ringfence", r#"{"metadata":{"name":"a","annotations":{…}},"spec":{}}"#, Own),
        place(Policies, "managed fields", r#"{"metadata":{"name":"a","managedFields":[…]},"spec":{}}"#, Field),
        place(Policies, "finalizers", r#"{"metadata":{"name":"a","finalizers":[…]},"spec":{}}"#, Finalizer),
        place(
            Policies,
            "owners",
            r#"{"metadata":{"name":"a","labels":{"app.kubernetes.io/managed-by":"ringfence"},"ownerReferences":[…]},"spec":{}}"#,
            Owner,
        ),
        place(Policies, "unknown fields", r#"{"metadata":{"name":"a"},"spec":{…}}"#, Unknown),
        place(Policies, "unknown fields of a rule", r#"{"metadata":{"name":"a"},"spec":{"ingress":[{…}]}}"#, Unknown),
        place(Policies, "a status", r#"{"metadata":{"name":"a"},"spec":{},"status":[…]}"#, Any),
        place(Namespaces, "labels", r#"{"metadata":{"name":"a","labels":{…}}}"#, Entry),
        place(Namespaces, "labels for Ringfence", r#"{"metadata":{"name":"a","labels":{…}}}"#, Own),
        place(Namespaces, "annotations", r#"{"metadata":{"name":"a","annotations":{…}}}"#, Entry),
        place(Namespaces, "annotations for Ringfence", r#"{"metadata":{"name":"a","annotations":{…}}}"#, Own),
        place(Namespaces, "managed fields", r#"{"metadata":{"name":"a","managedFields":[…]}}"#, Field),
        place(Namespaces, "finalizers", r#"{"metadata":{"name":"a","finalizers":[…]}}"#, Finalizer),
        place(Namespaces, "unknown fields", r#"{"metadata":{"name":"a"},"spec":{…}}"#, Unknown),
        place(Pods, "labels", r#"{"metadata":{"name":"a","labels":{…}},"spec":{}}"#, Entry),
        place(Pods, "annotations for Ringfence", r#"{"metadata":{"name":"a","annotations":{…}},"spec":{}}"#, Own),
        place(Pods, "managed fields", r#"{"metadata":{"name":"a","managedFields":[…]},"spec":{}}"#, Field),
        place(Pods, "scheduling gates", r#"{"metadata":{"name":"a"},"spec":{"schedulingGates":[…]}}"#, Gate),
        place(Pods, "containers", r#"{"metadata":{"name":"a"},"spec":{"containers":[…]}}"#, Container),
        place(Pods, "unknown fields", r#"{"metadata":{"name":"a"},"spec":{…}}"#, Unknown),
        place(Deployments, "labels", r#"{"spec":{"template":{"metadata":{"labels":{…}}}}}"#, Entry),
        place(
            Deployments,
            "annotations for Ringfence",
            r#"{"spec":{"template":{"metadata":{"annotations":{…}}}}}"#,
            Own,
        ),
        place(Deployments, "managed fields", r#"{"metadata":{"managedFields":[…]},"spec":{}}"#, Field),
        place(Deployments, "containers", r#"{"spec":{"template":{"spec":{"containers":[…]}}}}"#, Container),
        place(Deployments, "unknown fields", r#"{"spec":{…}}"#, Unknown),
    ]
};

impl Resource {
    /// The group and name of the resource, as a review has them.
    fn path(self) -> (&'static str, &'static str) {
        match self {
            Self::Policies => ("networking.k8s.io", "networkpolicies"),
            Self::Namespaces => ("", "namespaces"),
            Self::Pods => ("", "pods"),
            Self::Deployments => ("apps", "deployments"),
        }
    }

    /// The reviews that the chart registers, and more: to which webhook, of which subresource, with which operation.
    fn reviews(self) -> Vec<(Webhook, &'static str, &'static str)> {
        use Webhook::{Mutate, Validate};
        let of = |webhook, operations: &[&'static str]| {
            operations.iter().map(move |operation| (webhook, "", *operation)).collect()
        };
        let every: [Vec<_>; 2] = [Mutate, Validate].map(|webhook| of(webhook, &["CREATE", "UPDATE", "DELETE"]));
        match self {
            Self::Policies => of(Validate, &["CREATE", "UPDATE", "DELETE"]),
            Self::Namespaces | Self::Pods => [every.concat(), vec![(Validate, "status", "UPDATE")]].concat(),
            Self::Deployments => every.concat(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {}", self.resource, self.name)
    }
}

/// Adds an item with its number.
fn add(item: &str, number: usize, to: &mut String) {
    for letter in item.chars() {
        match letter {
            '#' => to.push_str(&short(number)),
            '@' => write!(to, "{:x}:{:x}", number / 65536 % 65536, number % 65536).unwrap(),
            '%' => write!(to, "{}", 1 + number % 65535).unwrap(),
            letter => to.push(letter),
        }
    }
}

/// An object of so many bytes. The items have the numbers from `first` on, or all have the first.
fn object(place: &Place, item: &str, bytes: usize, first: usize, are_the_same: bool) -> String {
    let (before, after) = place.object.split_once('…').unwrap();
    let mut text = before.to_owned();
    for number in first.. {
        add(item, if are_the_same { first } else { number }, &mut text);
        if text.len() + after.len() >= bytes {
            return text + after;
        }
        text.push(',');
    }
    text
}

/// A body, and how it was made.
#[derive(Debug)]
struct Body {
    bytes: usize,
    item: String,
    are_the_same: bool,
    /// Whether an update changes every item.
    changes: bool,
    review: (Webhook, &'static str, &'static str),
}

fn body(place: Place) -> impl Strategy<Value = Body> {
    let mut reviews = place.resource.reviews();
    // See `FAULTS`.
    reviews.retain(|(_, _, operation)| place.name != "labels of a selector" || *operation != "DELETE");
    let review = select(reviews);
    (1_000_000..4_000_000usize, place.item.text(), any::<bool>(), any::<bool>(), review).prop_map(
        move |(bytes, item, are_the_same, changes, review)| Body {
            bytes,
            item,
            are_the_same: are_the_same && !place.item.is_of_map(),
            changes,
            review,
        },
    )
}

impl Body {
    fn text(&self, place: &Place) -> String {
        let (_, sub, operation) = self.review;
        let of = |bytes, first| object(place, &self.item, bytes, first, self.are_the_same);
        let (new, old) = match operation {
            "CREATE" => (Some(of(self.bytes, 0)), None),
            "DELETE" => (None, Some(of(self.bytes, 0))),
            _ => (Some(of(self.bytes / 2, 0)), Some(of(self.bytes / 2, usize::from(self.changes)))),
        };
        let (group, resource) = place.resource.path();
        review((group, resource, sub), operation, new.as_deref(), old.as_deref())
    }
}

/// What a body may take that is judged: less than the product allows itself, so that a change for the worse is noticed. Measured: at
/// most 9.9 times the body of a policy (rules of one port each), and 6.1 times that of another object (labels for Ringfence).
fn tight(resource: Resource, body: usize) -> usize {
    let factor = if resource == Resource::Policies { 10 } else { 7 };
    limit(body).min(factor * body + (1 << 20))
}

/// What a body takes at most. Other threads allocate now and then, so too much counts once two measurements in a row are the same.
fn peak(webhook: Webhook, text: &str, bound: impl Fn(bool) -> usize) -> (usize, usize) {
    let mut before = None;
    loop {
        let (given_up, peak, _) = measured(|| handled(webhook, text));
        let bound = bound(given_up.is_some());
        if peak <= bound || before.replace(peak) == Some(peak) {
            return (peak, bound);
        }
    }
}

#[test]
fn generated_bodies_of_megabytes_keep_the_bound_whatever_list_is_long() {
    let _turn = turn();
    // Each takes about a second.
    let cases = (Runs::default().cases / 256).max(1);
    for place in PLACES {
        let runs = Runs { cases, max_shrink_iters: 8, failure_persistence: None, ..Runs::default() };
        let run = TestRunner::new(runs).run(&body(*place), |body| {
            let text = body.text(place);
            let (peak, bound) = peak(body.review.0, &text, |given_up| {
                if given_up { limit(text.len()) } else { tight(place.resource, text.len()) }
            });
            prop_assert!(peak <= bound, "{place}: {peak} of {bound} for {}", text.len());
            Ok(())
        });
        run.unwrap();
    }
}

/// Bodies that take more than the product allows itself: each is a fault of the product. The name, what is before the items, an item,
/// what is behind them, the size and the operation.
type Fault = (&'static str, &'static str, &'static str, &'static str, usize, &'static str);

const FAULTS: &[(Resource, Fault)] = &[
    (
        Resource::Policies,
        (
            "labels of a selector",
            r#"{"metadata":{"name":"a"},"spec":{"podSelector":{"matchLabels":{"#,
            r#""a#":"""#,
            "}}}}",
            3_700_000,
            "DELETE",
        ),
    ),
    (
        Resource::Policies,
        (
            "exceptions that are not beside one another",
            r#"{"metadata":{"name":"a"},"spec":{"ingress":[{"from":[{"ipBlock":{"cidr":"::/0","except":["#,
            r#""@:1::/48""#,
            "]}}]}]}}",
            2_200_000,
            "CREATE",
        ),
    ),
    (
        Resource::Policies,
        ("a long name", r#"{"metadata":{"name":""#, "\u{200b}", r#""},"spec":{"ingress":[{}]}}"#, 3_500_000, "CREATE"),
    ),
    (
        Resource::Policies,
        ("a text in place of a list", r#"{"spec":{"ingress":""#, "\u{200b}", r#""}}"#, 3_500_000, "CREATE"),
    ),
    (Resource::Pods, ("empty scheduling gates", r#"{"spec":{"schedulingGates":["#, "{}", "]}}", 3_900_000, "CREATE")),
];

#[test]
#[ignore = "faults of the product: none of these bodies keeps the bound"]
fn bodies_that_were_found_to_take_too_much_keep_the_bound() {
    let _turn = turn();
    let mut wrong = Vec::new();
    for (resource, (name, before, item, after, bytes, operation)) in FAULTS {
        // The letters of a text have no comma between them.
        let comma = if before.ends_with('"') { "" } else { "," };
        let mut object = (*before).to_owned();
        for number in 0.. {
            add(item, number, &mut object);
            if object.len() >= *bytes {
                break;
            }
            object.push_str(comma);
        }
        object += after;
        let (new, old) = if *operation == "DELETE" { (None, Some(object)) } else { (Some(object), None) };
        let (group, path) = resource.path();
        let text = review((group, path, ""), operation, new.as_deref(), old.as_deref());
        let (peak, bound) = peak(Webhook::Validate, &text, |_| limit(text.len()));
        println!("{name}, {operation} of {} KiB: {} KiB of {}", text.len() / 1024, peak / 1024, bound / 1024);
        if peak > bound {
            wrong.push(format!("{name}: {peak} of {bound} for {}", text.len()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
