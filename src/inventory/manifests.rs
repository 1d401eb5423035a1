//! Manifests into an inventory.

use ringfence_core::index::Isolation;
use ringfence_core::inventory::{self, Inventory, Namespace, Written, concerns, workload};
use ringfence_core::object::Suppression;
use ringfence_core::policy::parse::{self, ParseError};
use ringfence_core::policy::selectors::Labels;
use serde_json::Value;

use crate::manifests::{Object, Problem};

/// Reads manifests. Any namespaced object makes its namespace appear; one that does not say is in `default_namespace`.
#[must_use]
pub fn of(objects: &[Object], default_namespace: &str) -> (Inventory, Vec<Problem>) {
    Reading::of(objects, default_namespace).finish()
}

/// The same, with what a workload has made besides the workload.
#[must_use]
pub fn unfolded(objects: &[Object], default_namespace: &str) -> (Inventory, Vec<Problem>) {
    Reading::of(objects, default_namespace).everything()
}

/// The annotation by which Helm knows at which points of a release an object is there
/// (<https://helm.sh/docs/topics/charts_hooks/>).
const HOOK: &str = "helm.sh/hook";

/// Whether Helm makes an object for its tests alone. `test-success` and `test-failure` are what Helm 2 called them.
fn is_only_for_tests(object: &Value) -> bool {
    let hooks = object.get("metadata").and_then(|metadata| metadata.get("annotations")?.get(HOOK)?.as_str());
    let mut hooks = hooks.into_iter().flat_map(|hooks| hooks.split(',')).map(str::trim).peekable();
    hooks.peek().is_some() && hooks.all(|hook| matches!(hook, "test" | "test-success" | "test-failure"))
}

/// What a Namespace says of itself.
#[derive(PartialEq, Eq)]
struct Stated {
    labels: Labels,
    isolation: Isolation,
    suppressions: Vec<Suppression>,
}

impl Stated {
    fn by(namespace: &Namespace) -> Self {
        Self {
            labels: namespace.labels.clone(),
            isolation: namespace.isolation.clone(),
            suppressions: namespace.suppressions.clone(),
        }
    }
}

/// Reads manifests one after another, of which it keeps what they mean.
#[derive(Debug)]
pub struct Reading {
    inventory: Inventory,
    problems: Vec<Problem>,
    default_namespace: String,
}

impl Reading {
    /// Nothing is read yet. An object that states no namespace is in `default_namespace`.
    #[must_use]
    pub fn new(default_namespace: &str) -> Self {
        Self { inventory: Inventory::default(), problems: Vec::new(), default_namespace: default_namespace.to_owned() }
    }

    fn of(objects: &[Object], default_namespace: &str) -> Self {
        let mut reading = Self::new(default_namespace);
        for object in objects {
            reading.add(object);
        }
        reading
    }

    /// What all of it comes to, one workload of each family, and what could not be read.
    #[must_use]
    pub fn finish(self) -> (Inventory, Vec<Problem>) {
        let (mut inventory, problems) = self.everything();
        super::fold(&mut [&mut inventory]);
        (inventory, problems)
    }

    fn everything(mut self) -> (Inventory, Vec<Problem>) {
        self.inventory.conclude();
        (self.inventory, self.problems)
    }

    fn problem(&mut self, object: &Object, path: &str, message: impl std::fmt::Display) {
        let message = format!("{} {:?}: {message}", object.kind, object.name());
        self.problems.push(Problem { file: object.file.to_string(), at: Some(object.position_of(path)), message });
    }

    /// Adds an object.
    pub fn add(&mut self, object: &Object) {
        let known = self.problems.len();
        self.read(object);
        if self.problems.len() > known
            && object.kind.eq_ignore_ascii_case("NetworkPolicy")
            && let Some(namespace) = object.namespace(&self.default_namespace)
        {
            let unread = self.inventory.unread.entry(namespace.to_owned()).or_default();
            unread.insert(object.name().to_owned());
        }
    }

    fn read(&mut self, object: &Object) {
        if !object.has_metadata() {
            let message = "metadata: this is no map; write the name below it, and the namespace";
            return self.problem(object, "metadata", message);
        }
        if let Some(path) = object.metadata_that_is_no_text() {
            let message = format!("{path}: this is no text; put it in quotes if it is meant so");
            return self.problem(object, path, message);
        }
        if let Some((api_version, kind)) = inventory::meant(&object.api_version, &object.kind) {
            let (path, message) = if kind == object.kind {
                let message =
                    format!("apiVersion: no API server has this kind as {:?}; write {api_version}", object.api_version);
                ("apiVersion", message)
            } else {
                ("kind", format!("kind: {:?} is none; write {kind}, of apiVersion {api_version}", object.kind))
            };
            return self.problem(object, path, message);
        }
        if let Some(refused) = super::names::refused(object) {
            return self.problem(object, &refused.path, &refused);
        }
        let default_namespace = self.default_namespace.clone();
        if concerns(&object.api_version, &object.kind) {
            let namespace = object.namespace(&default_namespace).unwrap_or_default();
            let read = self.inventory.add(&object.api_version, &object.kind, namespace, object.value());
            if let Err(error) = read {
                return self.problem(object, error.path(), &error);
            }
        }
        let Some(name) = object.namespace(&default_namespace) else { return };
        if name.is_empty() {
            return self.problem(object, "metadata.name", "metadata.name: a Namespace needs a name");
        }
        if object.is("v1", "Namespace") {
            return self.namespace(object, name);
        }
        self.inventory.namespace_mut(name);
        if object.is_network_policy() {
            self.policy(object, name);
        } else if workload::is_workload(&object.api_version, &object.kind) {
            match workload::read(&object.kind, object.value()) {
                Ok(None) => {
                    let ended = (object.kind.clone(), object.name().to_owned());
                    self.inventory.namespace_mut(name).ended.insert(ended);
                }
                Ok(Some(workload)) => self.inventory.namespace_mut(name).workloads.push(workload),
                Err(error) => self.problem(object, error.path(), &error),
            }
        }
    }

    fn namespace(&mut self, object: &Object, name: &str) {
        let metadata = object.value().get("metadata").unwrap_or(&Value::Null);
        let known = self.inventory.namespaces.get(name).filter(|known| known.stated).map(Stated::by);
        if let Err(error) = super::state(&mut self.inventory, name, metadata) {
            return self.problem(object, error.path(), &error);
        }
        let namespace = self.inventory.namespace_mut(name);
        if known.is_some_and(|known| known != Stated::by(namespace)) {
            let message = format!(
                "metadata: a second Namespace {name:?}, with other labels or annotations: only one of them could be \
                 stored; leave one"
            );
            self.problem(object, "metadata", message);
        }
    }

    fn policy(&mut self, object: &Object, name: &str) {
        match parse::written(object.value()) {
            Ok((policy, _)) if policy.name.is_empty() => {
                self.problem(object, "metadata.name", "metadata.name: a NetworkPolicy needs a name");
            }
            Ok(_) if is_only_for_tests(object.value()) => {
                let path = format!("metadata.annotations.{HOOK}");
                let message = format!(
                    "{path}: Helm puts this policy there for the time of `helm test` alone, so that it isolates \
                     nothing; leave it out: helm template --skip-tests"
                );
                self.problem(object, &path, message);
            }
            Ok((policy, notes)) => {
                let known = &mut self.inventory.namespace_mut(name).policies;
                if known.iter().any(|other| other.policy.name == policy.name) {
                    let message = format!(
                        "metadata.name: a second NetworkPolicy {:?} in namespace {name:?}: only one of them could be \
                         stored; rename it",
                        policy.name
                    );
                    self.problem(object, "metadata.name", message);
                } else {
                    known.push(Written { policy, notes });
                }
            }
            Err(ParseError::Invalid(errors)) => {
                for error in &errors {
                    self.problem(object, &error.path, error);
                }
            }
            Err(malformed) => self.problem(object, malformed.path(), &malformed),
        }
    }
}
