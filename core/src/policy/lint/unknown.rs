//! Fields that the API does not have.

use serde_json::{Map, Value, json};

use super::catalogue::UNKNOWN_FIELD;
use super::words::{self, yaml};
use super::{Finding, Object};
use crate::policy::parse::{Notes, UnknownField, fields};
use crate::policy::{Direction, NetworkPolicy, Peer, Rule};

/// How much of a snippet anyone reads, in bytes.
const SNIPPET: usize = 2000;

/// `unknown-field`.
pub(super) fn policy(policy: &NetworkPolicy, notes: &Notes, namespace: &str, found: &mut Vec<Finding>) {
    for field in &notes.unknown {
        let place = Place::of(field);
        let advice = place.advice(field, &notes.unknown);
        let message = format!(
            "there is no field {:?} {}: an API server drops it, and then {}; kubectl refuses the whole policy for it, and \
             then nothing of it is in force",
            words::short(&field.key),
            place.words(),
            place.effect(policy, advice.meant)
        );
        let finding = Finding::new(&UNKNOWN_FIELD, Object::policy(namespace, &policy.name), message)
            .at(field.path())
            .help(advice.help);
        let snippet = advice.snippet.as_ref().map(yaml).filter(|text| text.len() <= SNIPPET);
        found.push(match snippet {
            Some(text) => finding.snippet(text),
            None => finding,
        });
    }
}

/// What to do about a field.
struct Advice {
    /// The known field of the same place, or of one above, that is meant, or that what is written belongs into.
    meant: Option<&'static str>,
    help: String,
    /// How it is written right, where that is obvious.
    snippet: Option<Value>,
}

impl Advice {
    fn new(meant: Option<&'static str>, help: String, snippet: Option<Value>) -> Self {
        Self { meant, help, snippet }
    }
}

/// Where a field stands.
struct Place<'a> {
    parents: &'a [String],
    /// The name that leads there; empty for the object itself.
    name: &'a str,
}

impl<'a> Place<'a> {
    fn of(field: &'a UnknownField) -> Self {
        Self::at(&field.parents)
    }

    fn at(parents: &'a [String]) -> Self {
        let is_name = |token: &&String| token.parse::<usize>().is_err();
        Self { parents, name: parents.iter().rev().find(is_name).map_or("", String::as_str) }
    }

    fn is_selector(&self) -> bool {
        matches!(self.name, "podSelector" | "namespaceSelector")
    }

    fn words(&self) -> String {
        match self.name {
            "" => "at the top of a NetworkPolicy".to_owned(),
            "spec" => "in spec".to_owned(),
            "ingress" | "egress" => format!("in a rule of {}", self.name),
            "ipBlock" => "in an ipBlock".to_owned(),
            "podSelector" | "namespaceSelector" => format!("in a {}", self.name),
            list => format!("in an item of {list}"),
        }
    }

    /// What is meant, and how that is written.
    fn advice(&self, field: &UnknownField, all: &[UnknownField]) -> Advice {
        let (key, known) = (field.key.as_str(), fields(self.name));
        let is_label = matches!(field.value, Some(Value::String(_) | Value::Number(_) | Value::Bool(_)));
        let put = |meant: &'static str| {
            if field.beside.contains(&meant) {
                let help =
                    format!("there is {meant} already: put what is written here into it, or take the field away");
                return Advice::new(Some(meant), help, None);
            }
            let snippet =
                field.value.as_ref().and_then(|value| fitting(meant, value)).map(|value| json!({ meant: value }));
            Advice::new(Some(meant), format!("write {meant}"), snippet)
        };
        if let Some(meant) = known.iter().find(|name| name.eq_ignore_ascii_case(key)) {
            return put(meant);
        }
        if self.is_selector() && is_label {
            return self.below_match_labels(field, all);
        }
        match (self.name, key) {
            ("ingress", "to") => return put("from"),
            ("egress", "from") => return put("to"),
            _ => {}
        }
        let near = nearest(key, known);
        let is_renamed_list = near.is_some() && matches!(field.value, Some(Value::Array(_)));
        let inside: Vec<&'static str> =
            known.iter().copied().filter(|name| !is_renamed_list && fields(name).contains(&key)).collect();
        if let Some(&first) = inside.first() {
            let snippet = match (inside.as_slice(), &field.value) {
                ([only], Some(value)) if !field.beside.contains(only) => {
                    fitting(only, &json!({ key: value })).map(|value| json!({ *only: value }))
                }
                _ => None,
            };
            let meant = (inside.len() == 1).then_some(first);
            let item = if is_list(first) { "an item of " } else { "" };
            return Advice::new(meant, format!("put it into {item}{}", inside.join(" or ")), snippet);
        }
        if let Some(above) = self.above(key) {
            let parent = Place::at(above);
            let help =
                format!("move it out, to where {} stands: {key} is a field {}", beside(&parent, self), of(&parent));
            return Advice::new(None, help, None);
        }
        if let Some(meant) = near {
            return put(meant);
        }
        Advice::new(None, format!("take it away, or write one of {}", known.join(", ")), None)
    }

    /// Labels stand in a map of their own; all that are written beside it are meant alike.
    fn below_match_labels(&self, field: &UnknownField, all: &[UnknownField]) -> Advice {
        let text = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
            _ => None,
        };
        let labels: Map<String, Value> = all
            .iter()
            .filter(|other| other.parents == field.parents)
            .filter_map(|other| Some((other.key.clone(), text(other.value.as_ref()?)?.into())))
            .collect();
        let snippet = field.beside.is_empty().then(|| json!({ self.name: { "matchLabels": labels } }));
        Advice::new(Some("matchLabels"), "put it below matchLabels, if it is meant as a label".to_owned(), snippet)
    }

    /// The nearest place around this one that has a field of this name.
    fn above(&self, key: &str) -> Option<&'a [String]> {
        let lengths = (0..self.parents.len()).rev();
        let mut above = lengths.filter_map(|length| self.parents.get(..length));
        above.find(|parents| {
            // The list itself is no place for fields.
            let is_list =
                !matches!(Place::at(parents).name, "" | "spec" | "podSelector" | "namespaceSelector" | "ipBlock")
                    && parents.last().is_some_and(|token| token.parse::<usize>().is_err());
            !is_list && fields(Place::at(parents).name).contains(&key)
        })
    }

    /// What is left without the field, in terms of traffic.
    fn effect(&self, policy: &NetworkPolicy, meant: Option<&str>) -> String {
        let parents: Vec<&str> = self.parents.iter().map(String::as_str).collect();
        let rule_at = |direction: &str, index: &str| {
            let direction = Direction::BOTH.into_iter().find(|known| known.to_string() == direction)?;
            let rule = policy.spec.rules(direction)?.get(index.parse::<usize>().ok()?)?;
            Some((direction, rule))
        };
        match parents.as_slice() {
            ["spec"] => match meant {
                Some("ingress") => without_rules(policy, Direction::Ingress),
                Some("egress") => without_rules(policy, Direction::Egress),
                _ => isolates(policy),
            },
            [] | ["spec", "podSelector", ..] => isolates(policy),
            ["spec", direction, index, rest @ ..] => match (rule_at(direction, index), rest) {
                (None, _) => isolates(policy),
                (Some((direction, rule)), ["from" | "to", peer, ..]) => {
                    let peer = peer.parse::<usize>().ok().and_then(|index| rule.peers.as_ref()?.get(index));
                    peer.map_or_else(|| lets(direction, rule), |peer| item(direction, peer))
                }
                (Some((direction, rule)), _) => lets(direction, rule),
            },
            _ => isolates(policy),
        }
    }
}

/// Whether a field is a list of maps.
fn is_list(name: &str) -> bool {
    matches!(name, "ingress" | "egress" | "from" | "to" | "ports" | "matchExpressions")
}

/// What is written, in the form that a field has: as the only item, where that is a list. `None` where it can't be meant.
fn fitting(name: &str, value: &Value) -> Option<Value> {
    let is_list_of_texts = matches!(name, "policyTypes" | "except" | "values");
    let (fits, fits_as_item) = match value {
        Value::Array(_) => (is_list(name) || is_list_of_texts, false),
        Value::Object(_) => {
            (matches!(name, "spec" | "podSelector" | "namespaceSelector" | "ipBlock" | "matchLabels"), is_list(name))
        }
        Value::String(_) => (matches!(name, "cidr" | "key" | "operator" | "protocol" | "port"), is_list_of_texts),
        Value::Number(_) => (matches!(name, "port" | "endPort"), false),
        Value::Null | Value::Bool(_) => (false, false),
    };
    if fits_as_item { Some(json!([value])) } else { fits.then(|| value.clone()) }
}

/// A field that stands at a place on the way to another.
fn beside(parent: &Place<'_>, place: &Place<'_>) -> String {
    let next = place.parents.iter().skip(parent.parents.len()).find(|token| token.parse::<usize>().is_err());
    next.cloned().unwrap_or_default()
}

fn of(place: &Place<'_>) -> String {
    match place.name {
        "" => "of the object itself".to_owned(),
        "spec" => "of spec".to_owned(),
        "ingress" | "egress" => format!("of the whole rule of {}", place.name),
        name => format!("of {name}"),
    }
}

/// The known name that a key is most likely a slip for: with another case or a letter or two else, or the only one that it is
/// the beginning or the end of.
fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let key = key.to_ascii_lowercase();
    let near = |name: &&'static str| {
        let distance = strsim::osa_distance(&key, &name.to_ascii_lowercase());
        (distance <= if name.len() > 5 { 2 } else { 1 }).then_some((distance, *name))
    };
    // Of a key of any length, only so much is compared.
    if key.len() > 40 {
        return None;
    }
    if let Some((_, name)) = known.iter().filter_map(near).min() {
        return Some(name);
    }
    let is_part = |name: &&&'static str| {
        let name = name.to_ascii_lowercase();
        key.len() > 3 && (name.starts_with(&key) || name.ends_with(&key))
    };
    let mut parts = known.iter().filter(is_part);
    parts.next().filter(|_| parts.next().is_none()).copied()
}

/// Whom the policy isolates, and for what.
fn isolates(policy: &NetworkPolicy) -> String {
    let directions: Vec<String> = Direction::BOTH
        .into_iter()
        .filter(|direction| policy.spec.rules(*direction).is_some())
        .map(|direction| direction.to_string())
        .collect();
    let alone = if directions.len() == 1 { " alone" } else { "" };
    format!("the policy isolates {} for {}{alone}", words::pods(&policy.spec.pods), directions.join(" and "))
}

/// What is left where rules of a direction are dropped.
fn without_rules(policy: &NetworkPolicy, direction: Direction) -> String {
    let pods = words::pods(&policy.spec.pods);
    match (policy.spec.rules(direction), direction) {
        (None, _) => format!("the policy does nothing for {direction} of {pods}"),
        (Some([]), Direction::Ingress) => format!("the policy lets nobody reach {pods}"),
        (Some([]), Direction::Egress) => format!("the policy lets {pods} reach nothing"),
        (Some(_), _) => format!("only the rules in {direction} count"),
    }
}

fn lets(direction: Direction, rule: &Rule) -> String {
    let peers = match (&rule.peers, direction) {
        (None, Direction::Ingress) => "everybody".to_owned(),
        (None, Direction::Egress) => "everything".to_owned(),
        (Some(_), _) => format!("the peers that {} lists", words::peers(direction)),
    };
    let ports = match &rule.ports {
        None => "on every port".to_owned(),
        Some(ports) => {
            let list = ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            format!("on {}", words::short(&list))
        }
    };
    format!("the rule {} {peers} {ports}", words::lets(direction))
}

fn item(direction: Direction, peer: &Peer) -> String {
    let peers = match peer {
        Peer::Pods { namespaces, pods } => {
            let pods = pods.as_ref().map_or_else(|| "every pod".to_owned(), words::pods);
            let whose =
                namespaces.as_ref().map_or_else(|| "of the policy's own namespace".to_owned(), words::of_namespaces);
            format!("{pods} {whose}")
        }
        Peer::Block { cidr, except } if except.is_empty() => format!("all of {cidr}"),
        Peer::Block { cidr, .. } => format!("{cidr}, but for what it excepts"),
    };
    format!("this item {} {peers}", words::lets(direction))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::parse::written;

    /// What is said of a spec: the message, what to do, and the snippet.
    fn told(spec: &Value) -> Vec<(String, String, String)> {
        let object = json!({ "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": { "name": "p" }, "spec": spec });
        let (parsed, notes) = written(&object).unwrap();
        let mut found = Vec::new();
        policy(&parsed, &notes, "team-a", &mut found);
        found.into_iter().map(|f| (f.message, f.help, f.snippet.unwrap_or_default())).collect()
    }

    #[track_caller]
    fn says(spec: &Value, message: &str, help: &str, snippet: &str) {
        let found = told(spec);
        let [(said, advice, yaml)] = found.as_slice() else { panic!("{found:#?}") };
        assert!(said.contains(message), "{said}");
        assert_eq!((advice.as_str(), yaml.trim_end()), (help, snippet));
    }

    #[test]
    fn the_message_says_what_the_policy_lets_through_without_the_field() {
        let all = json!({ "podSelectr": { "matchLabels": { "app": "web" } }, "policyTypes": ["Ingress"] });
        let yaml = "podSelector:\n  matchLabels:\n    app: web";
        says(&all, "the policy isolates every pod for ingress alone", "write podSelector", yaml);
        let none = json!({ "podSelector": {}, "policyTypes": ["Egress"], "egres": [{}] });
        says(&none, "the policy lets every pod reach nothing", "write egress", "egress:\n- {}");
        let anybody =
            json!({ "podSelector": {}, "ingress": [{ "form": { "podSelector": {} }, "ports": [{ "port": 80 }] }] });
        says(&anybody, "the rule lets in everybody on TCP/80", "write from", "from:\n- podSelector: {}");
        let block = json!({ "podSelector": {}, "ingress": [{ "from": [{ "ipBlock": { "cidr": "10.0.0.0/8", "excepts": "10.1.0.0/16" } }] }] });
        says(&block, "this item lets in all of 10.0.0.0/8", "write except", "except:\n- 10.1.0.0/16");
    }

    #[test]
    fn labels_that_stand_in_the_selector_itself_are_shown_below_match_labels_together() {
        let found = told(&json!({ "podSelector": { "app": "web", "tier": 1 } }));
        assert_eq!(found.len(), 2);
        for (message, help, yaml) in found {
            assert!(message.contains("in a podSelector") && message.contains("isolates every pod"), "{message}");
            assert!(help.contains("below matchLabels"), "{help}");
            assert_eq!(yaml, "podSelector:\n  matchLabels:\n    app: web\n    tier: \"1\"\n");
        }
        let beside = json!({ "podSelector": { "app": "web", "matchLabels": { "a": "b" } } });
        says(&beside, "pods with a = b", "put it below matchLabels, if it is meant as a label", "");
    }

    #[test]
    fn a_field_of_another_place_is_sent_there() {
        let out = json!({ "podSelector": {}, "ingress": [{ "from": [{ "podSelector": {}, "ports": [] }] }] });
        let help = "move it out, to where from stands: ports is a field of the whole rule of ingress";
        says(&out, "every pod of the policy's own namespace", help, "");
        let rule = json!({ "podSelector": {}, "to": [{ "podSelector": {} }] });
        says(
            &rule,
            "the policy does nothing for egress of every pod",
            "put it into an item of egress",
            "egress:\n- to:\n  - podSelector: {}",
        );
        let turned = json!({ "podSelector": {}, "egress": [{ "from": [] }] });
        says(&turned, "lets out to everything on every port", "write to", "to: []");
        let far = json!({ "podSelector": {}, "priority": 1 });
        let help = "take it away, or write one of podSelector, policyTypes, ingress, egress";
        says(&far, "the policy isolates every pod", help, "");
    }

    #[test]
    fn a_field_that_is_there_already_is_not_written_a_second_time() {
        let twice = json!({ "podSelector": {}, "ingress": [], "Ingress": [{}] });
        let help = "there is ingress already: put what is written here into it, or take the field away";
        says(&twice, "the policy lets nobody reach every pod", help, "");
    }

    #[test]
    fn the_nearest_field_is_a_slip_away_or_the_only_one_that_ends_so() {
        let peer = fields("from");
        for (key, expected) in [
            ("PODSELECTOR", Some("podSelector")),
            ("podSeletcor", Some("podSelector")),
            ("namespace", Some("namespaceSelector")),
            ("block", Some("ipBlock")),
            ("selector", None),
            ("pod", None),
            ("service", None),
            ("", None),
        ] {
            assert_eq!(nearest(key, peer), expected, "{key}");
        }
        assert_eq!(nearest("form", fields("ingress")), Some("from"));
        assert_eq!(nearest(&"x".repeat(1 << 20), peer), None);
    }
}
