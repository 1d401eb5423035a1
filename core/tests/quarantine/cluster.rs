//! A namespace with a baseline, and a small API server around it that carries out what the controller plans.

use std::collections::BTreeSet;

use jiff::Timestamp;
use ringfence_core::config::Config;
use ringfence_core::index::Namespace;
use ringfence_core::plan::{Action, plan};
use ringfence_core::policy::coverage::coverage;
use ringfence_core::policy::parse::{Source, network_policy};
use ringfence_core::policy::{Direction, NetworkPolicy};
use serde_json::{Value, json};

pub(crate) const TEAM: &str = "team-a";
pub(crate) const SOON: &str = "2026-07-01T00:00:00Z";

pub(crate) fn now() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

/// The namespace as the API server holds it: each policy has a uid, a version and a generation.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) config: Config,
    pub(crate) namespace: Namespace,
    version: u64,
    pub(crate) now: Timestamp,
}

pub(crate) fn policy(name: &str, labels: &Value, rules: &Value) -> Value {
    json!({ "metadata": { "name": name },
        "spec": { "podSelector": labels, "policyTypes": ["Ingress", "Egress"], "ingress": rules } })
}

pub(crate) fn of_app(operator: &str) -> Value {
    json!({ "matchExpressions": [{ "key": "app", "operator": operator }] })
}

/// Half of an allow-all: fine alone under a profile that lets named pods be open, a hole together with the other.
pub(crate) fn halves() -> [Value; 2] {
    let low = json!([{ "from": [{ "ipBlock": { "cidr": "10.0.0.0/7" } }] }]);
    let high = json!([{ "from": [{ "ipBlock": { "cidr": "20.0.0.0/7" } }] }]);
    [policy("half1", &json!({}), &low), policy("half2", &json!({}), &high)]
}

pub(crate) fn renamed(object: &Value, name: &str) -> Value {
    let mut object = object.clone();
    object["metadata"]["name"] = json!(name);
    object
}

pub(crate) fn wide(name: &str) -> Value {
    policy(name, &json!({}), &json!([{}]))
}

impl Cluster {
    pub(crate) fn with_config(config: &Value) -> Self {
        let config = Config::parse(config).unwrap();
        let mut index = ringfence_core::index::Index::default();
        let namespace = index.namespace_mut(TEAM);
        namespace.isolation.profile = Some("standard".to_owned());
        namespace.isolation.mode = Some("enforce".to_owned());
        let namespace = namespace.clone();
        let mut cluster = Self { config, namespace, version: 100, now: now() };
        cluster.settles();
        assert!(cluster.is_isolated());
        cluster
    }

    pub(crate) fn new() -> Self {
        Self::with_config(&json!({}))
    }

    /// Stores what was created or changed, past the webhook.
    pub(crate) fn put(&mut self, object: &Value) {
        self.version += 1;
        let mut policy = network_policy(object, Source::Cluster).unwrap();
        let known = self.namespace.policy(&policy.name);
        policy.uid = known.map_or_else(|| format!("uid-{}", self.version), |known| known.uid.clone());
        policy.generation = known.map_or(1, |known| known.generation + i64::from(known.spec != policy.spec));
        policy.version = self.version;
        self.namespace.put_policy(policy);
    }

    pub(crate) fn delete(&mut self, name: &str) {
        self.version += 1;
        assert!(self.namespace.remove_policy(name));
    }

    /// Deletes a policy, and creates one of the same name.
    pub(crate) fn recreate(&mut self, object: &Value) {
        self.delete(object["metadata"]["name"].as_str().unwrap());
        self.put(object);
    }

    pub(crate) fn is_isolated(&self) -> bool {
        self.namespace.isolation.isolated.is_some()
    }

    pub(crate) fn quarantined(&self) -> Vec<&str> {
        let is =
            |policy: &&NetworkPolicy| Direction::BOTH.into_iter().any(|direction| policy.quarantined.has(direction));
        self.namespace.policies().filter(is).map(|policy| policy.name.as_str()).collect()
    }

    pub(crate) fn planned(&self) -> Vec<Action> {
        plan(&self.namespace, &self.config, self.now, &BTreeSet::new()).actions
    }

    /// Carries out what is planned until nothing is, and returns it.
    pub(crate) fn settles(&mut self) -> Vec<Action> {
        let mut all = Vec::new();
        for _ in 0..20 {
            let actions = self.planned();
            if actions.is_empty() {
                return all;
            }
            for action in &actions {
                self.act(action);
            }
            all.extend(actions);
        }
        panic!("it does not settle: {all:#?}");
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Apply(policy) => self.put(&serde_json::to_value(policy).unwrap()),
            Action::Prune(name) => self.delete(name),
            Action::Quarantine(suspect) => {
                let mut policy = self.namespace.policy(&suspect.name).unwrap().clone();
                assert_eq!(policy.uid, suspect.uid);
                assert!(!policy.managed, "{suspect:?}");
                let is_excused = policy.exception.as_ref().is_some_and(|exception| exception.is_in_force(self.now));
                assert!(!is_excused, "{suspect:?}");
                let isolates = coverage(&[&policy], suspect.direction);
                let rules = match suspect.direction {
                    Direction::Ingress => &mut policy.spec.ingress,
                    Direction::Egress => &mut policy.spec.egress,
                };
                assert!(rules.replace(Vec::new()).is_some_and(|rules| !rules.is_empty()), "{suspect:?}");
                assert_eq!(coverage(&[&policy], suspect.direction), isolates, "it touches coverage");
                self.version += 1;
                (policy.version, policy.generation) = (self.version, policy.generation + 1);
                policy.quarantined = policy.quarantined.with(suspect.direction);
                self.namespace.put_policy(policy);
            }
            Action::EndQuarantine(name, uid) => {
                let mut policy = self.namespace.policy(name).unwrap().clone();
                assert_eq!(policy.uid, *uid);
                policy.quarantined = ringfence_core::quarantine::Quarantined::default();
                self.namespace.put_policy(policy);
            }
            Action::Isolate(record) => {
                self.namespace.isolation.isolated = Some("true".to_owned());
                self.namespace.effective = Some(record.clone());
            }
            Action::DropIsolated => self.namespace.isolation.isolated = None,
            Action::Record(record) => self.namespace.effective.clone_from(record),
            Action::EndExemption => self.namespace.isolation.mode = Some("enforce".to_owned()),
            Action::Report(text) => self.namespace.conflict.clone_from(text),
            Action::Lift(_) => {}
        }
    }
}
