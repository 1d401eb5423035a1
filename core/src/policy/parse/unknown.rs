//! Fields that the API does not have: it drops them, so the policy means what it would without them.
//!
//! Source: the types of `k8s.io/api/networking/v1`, and
//! [field validation](https://kubernetes.io/docs/reference/using-api/api-concepts/#field-validation), by which `kubectl`
//! refuses them.

use serde_ignored::Path;
use serde_json::Value;

use super::{FieldError, NOTED, shortened};

/// How many values one may hold that is kept.
const KEPT: usize = 40;

/// A field that the API does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownField {
    /// The names and indices that lead to where it stands: known ones.
    pub parents: Vec<String>,
    /// Its name.
    pub key: String,
    /// What is written there; `None` where that is more than anyone wants to read.
    pub value: Option<Value>,
    /// The known fields that stand beside it.
    pub beside: Vec<&'static str>,
}

impl UnknownField {
    /// The path of where it stands; empty for the object itself.
    #[must_use]
    pub fn parent(&self) -> String {
        self.parents.iter().fold(String::new(), |path, token| match (path.is_empty(), token.parse::<usize>()) {
            (true, _) => token.clone(),
            (false, Ok(index)) => format!("{path}[{index}]"),
            (false, Err(_)) => format!("{path}.{token}"),
        })
    }

    /// Its own path.
    #[must_use]
    pub fn path(&self) -> String {
        let parent = self.parent();
        if parent.is_empty() { self.key.clone() } else { format!("{parent}.{}", self.key) }
    }
}

/// The fields that there are at a place, by the name that leads to it; empty for the object itself.
#[must_use]
pub fn fields(name: &str) -> &'static [&'static str] {
    match name {
        "" => &["apiVersion", "kind", "metadata", "spec", "status"],
        "spec" => &["podSelector", "policyTypes", "ingress", "egress"],
        "ingress" => &["from", "ports"],
        "egress" => &["to", "ports"],
        "from" | "to" => &["podSelector", "namespaceSelector", "ipBlock"],
        "ipBlock" => &["cidr", "except"],
        "ports" => &["protocol", "port", "endPort"],
        "podSelector" | "namespaceSelector" => &["matchLabels", "matchExpressions"],
        "matchExpressions" => &["key", "operator", "values"],
        _ => &[],
    }
}

/// Collects the paths of what is dropped while an object is decoded.
#[derive(Debug, Default)]
pub(super) struct Dropped(Vec<Vec<String>>);

impl Dropped {
    /// Takes note of a field that nobody reads. Verdicts do not read all of the metadata, nor what the object is.
    pub(super) fn note(&mut self, path: &Path<'_>) {
        if self.0.len() >= NOTED {
            return;
        }
        let mut tokens = Vec::new();
        let mut rest = path;
        loop {
            match rest {
                Path::Root => break,
                Path::Seq { parent, index } => {
                    tokens.push(index.to_string());
                    rest = parent;
                }
                Path::Map { parent, key } => {
                    tokens.push(key.clone());
                    rest = parent;
                }
                Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
                    rest = parent;
                }
            }
        }
        tokens.reverse();
        let root = tokens.first().map_or("", String::as_str);
        if root == "metadata" || (tokens.len() == 1 && fields("").contains(&root)) {
            return;
        }
        self.0.push(tokens);
    }

    /// What is written there, in the object that was decoded.
    pub(super) fn in_object(self, object: &Value) -> Vec<UnknownField> {
        self.0.into_iter().filter_map(|tokens| found(tokens, object)).collect()
    }
}

fn found(mut parents: Vec<String>, object: &Value) -> Option<UnknownField> {
    let key = parents.pop()?;
    let parent = parents.iter().try_fold(object, |value, token| match value {
        Value::Object(map) => map.get(token),
        Value::Array(list) => list.get(token.parse::<usize>().ok()?),
        _ => None,
    })?;
    let name = parents.iter().rev().find(|token| token.parse::<usize>().is_err()).map_or("", String::as_str);
    let beside = fields(name).iter().copied().filter(|field| parent.get(field).is_some()).collect();
    let value = parent.get(&key).filter(|value| is_short(value)).cloned();
    Some(UnknownField { parents, key: shortened(key), value, beside })
}

fn is_short(value: &Value) -> bool {
    /// What is left of the budget.
    fn left(value: &Value, budget: usize) -> Option<usize> {
        let budget = budget.checked_sub(1)?;
        match value {
            Value::Array(list) => list.iter().try_fold(budget, |budget, item| left(item, budget)),
            Value::Object(map) => {
                map.iter().try_fold(
                    budget,
                    |budget, (key, value)| {
                        if key.len() > super::LONGEST { None } else { left(value, budget) }
                    },
                )
            }
            Value::String(text) => (text.len() <= super::LONGEST).then_some(budget),
            Value::Null | Value::Bool(_) | Value::Number(_) => Some(budget),
        }
    }
    left(value, KEPT).is_some()
}

/// Says of each error that may come from a field that was dropped, that it was.
pub(super) fn explain(errors: &mut [FieldError], unknown: &[UnknownField]) {
    for error in errors {
        let concerns = |field: &&UnknownField| {
            let rest = error.path.strip_prefix(&field.parent());
            rest.is_some_and(|rest| !rest.contains('[') && rest.matches('.').count() <= 1)
        };
        if let Some(field) = unknown.iter().find(concerns) {
            let dropped = format!("{:?} is no field there", field.key);
            error.fix = if error.fix.is_empty() { dropped } else { format!("{}; {dropped}", error.fix) };
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::policy::parse::{ParseError, written};

    fn whole() -> Value {
        let selector = json!({
            "matchLabels": { "app": "web" }, "matchExpressions": [{ "key": "a", "operator": "In", "values": ["b"] }],
        });
        let pods = json!({ "podSelector": selector, "namespaceSelector": selector });
        let peers = json!([pods, { "ipBlock": { "cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"] } }]);
        let ports = json!([{ "protocol": "TCP", "port": 1, "endPort": 2 }]);
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "status": {},
            "metadata": { "name": "p", "unheardOf": 1, "managedFields": [{}] },
            "spec": {
                "podSelector": selector, "policyTypes": ["Ingress", "Egress"],
                "ingress": [{ "from": peers, "ports": ports }], "egress": [{ "to": peers, "ports": ports }],
            },
        })
    }

    /// Puts a field into every place that has fields, whose paths it returns; asserts that these are all that are listed.
    fn put(value: &mut Value, path: &str, name: &str, paths: &mut Vec<String>) {
        match value {
            Value::Array(list) => {
                for (i, item) in list.iter_mut().enumerate() {
                    put(item, &format!("{path}[{i}]"), name, paths);
                }
            }
            Value::Object(map) if !matches!(name, "metadata" | "status" | "matchLabels") => {
                for (key, value) in map.iter_mut() {
                    assert!(fields(name).contains(&key.as_str()), "{path}.{key}");
                    put(value, &if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, key, paths);
                }
                map.insert("unheard/of".to_owned(), json!(7));
                paths.push(if path.is_empty() { "unheard/of".to_owned() } else { format!("{path}.unheard/of") });
            }
            _ => {}
        }
    }

    #[test]
    fn unknown_fields_are_noted_wherever_they_stand_and_known_ones_nowhere() {
        assert_eq!(written(&whole()).unwrap().1.unknown, []);
        // Of both directions together there would be more than are noted.
        for other in ["ingress", "egress"] {
            let (mut object, mut expected) = (whole(), Vec::new());
            object["spec"].as_object_mut().unwrap().remove(other);
            put(&mut object, "", "", &mut expected);
            let unknown = written(&object).unwrap().1.unknown;
            let mut paths: Vec<String> = unknown.iter().map(UnknownField::path).collect();
            expected.sort();
            paths.sort();
            assert_eq!(paths, expected);
            assert!(unknown.iter().all(|field| field.value == Some(json!(7)) && !field.beside.is_empty()));
        }
    }

    #[test]
    fn what_the_policy_means_is_what_it_would_without_them() {
        let (mut object, mut paths) = (whole(), Vec::new());
        put(&mut object, "", "", &mut paths);
        assert_eq!(written(&object).unwrap().0, written(&whole()).unwrap().0);
    }

    #[test]
    fn of_very_many_and_very_long_ones_only_so_much_is_kept() {
        let mut object = json!({ "spec": {} });
        for i in 0..10_000 {
            object["spec"][format!("f{i}")] = json!(vec!["x"; 1000]);
        }
        object["spec"]["y".repeat(100_000)] = json!("z".repeat(100_000));
        let unknown = written(&object).unwrap().1.unknown;
        assert_eq!(unknown.len(), NOTED);
        assert!(unknown.iter().all(|field| field.value.is_none() && field.key.len() <= 2 * super::super::LONGEST));
    }

    #[test]
    fn an_error_that_comes_from_an_unknown_field_names_it() {
        let from = json!([{ "podSelectr": {} }, { "podSelector": { "matchExpressions": [{ "key": "a", "operator": "In", "value": ["b"] }] } }]);
        let object = json!({ "spec": { "podSelector": {}, "ingress": [{ "from": from }] } });
        let Err(ParseError::Invalid(errors)) = written(&object) else { panic!() };
        assert_eq!(
            errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "spec.ingress[0].from[0]: the peer names nothing; give a podSelector, a namespaceSelector or an ipBlock; \
                 \"podSelectr\" is no field there",
                "spec.ingress[0].from[1].podSelector.matchExpressions[0].values: In without values; list one value at least; \
                 \"value\" is no field there",
            ]
        );
    }
}
