//! Quarantine: what opened a denied hole past the webhook loses its rules of that direction, and nothing else is touched.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail like this, also in its helpers")]

use std::collections::BTreeSet;

use jiff::Timestamp;
use proptest::prelude::*;
use ringfence_core::config::Config;
use ringfence_core::index::Namespace;
use ringfence_core::plan::{Action, plan};
use ringfence_core::policy::coverage::coverage;
use ringfence_core::policy::parse::{Source, network_policy};
use ringfence_core::policy::{Direction, NetworkPolicy};
use ringfence_core::record::Record;
use ringfence_core::vocabulary::EFFECTIVE;
use rstest::rstest;
use serde_json::{Value, json};

const TEAM: &str = "team-a";
const SOON: &str = "2026-07-01T00:00:00Z";

fn now() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

/// A namespace with a baseline, and a small API server around it: it gives uids, versions and generations.
#[derive(Clone)]
struct Cluster {
    config: Config,
    namespace: Namespace,
    version: u64,
    now: Timestamp,
}

fn policy(name: &str, labels: &Value, rules: &Value) -> Value {
    json!({ "metadata": { "name": name },
        "spec": { "podSelector": labels, "policyTypes": ["Ingress", "Egress"], "ingress": rules } })
}

fn of_app(operator: &str) -> Value {
    json!({ "matchExpressions": [{ "key": "app", "operator": operator }] })
}

/// Half of an allow-all: fine alone under a profile that lets named pods be open, a hole together with the other.
fn halves() -> [Value; 2] {
    let low = json!([{ "from": [{ "ipBlock": { "cidr": "10.0.0.0/7" } }] }]);
    let high = json!([{ "from": [{ "ipBlock": { "cidr": "20.0.0.0/7" } }] }]);
    [policy("half1", &json!({}), &low), policy("half2", &json!({}), &high)]
}

fn wide(name: &str) -> Value {
    policy(name, &json!({}), &json!([{}]))
}

impl Cluster {
    fn with_config(config: &Value) -> Self {
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

    fn new() -> Self {
        Self::with_config(&json!({}))
    }

    /// Stores what was created or changed, past the webhook.
    fn put(&mut self, object: &Value) {
        self.version += 1;
        let mut policy = network_policy(object, Source::Cluster).unwrap();
        let known = self.namespace.policy(&policy.name);
        policy.uid = known.map_or_else(|| format!("uid-{}", self.version), |known| known.uid.clone());
        policy.generation = known.map_or(1, |known| known.generation + i64::from(known.spec != policy.spec));
        policy.version = self.version;
        self.namespace.put_policy(policy);
    }

    fn delete(&mut self, name: &str) {
        self.version += 1;
        assert!(self.namespace.remove_policy(name));
    }

    fn is_isolated(&self) -> bool {
        self.namespace.isolation.isolated.is_some()
    }

    fn quarantined(&self) -> Vec<&str> {
        let is =
            |policy: &&NetworkPolicy| Direction::BOTH.into_iter().any(|direction| policy.quarantined.has(direction));
        self.namespace.policies().filter(is).map(|policy| policy.name.as_str()).collect()
    }

    fn planned(&self) -> Vec<Action> {
        plan(&self.namespace, &self.config, self.now, &BTreeSet::new()).actions
    }

    /// Carries out what is planned until nothing is, and returns it.
    fn settles(&mut self) -> Vec<Action> {
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

#[test]
fn the_latest_of_two_halves_is_quarantined_and_isolated_stays() {
    let mut cluster = Cluster::new();
    let [first, second] = halves();
    cluster.put(&first);
    let actions = cluster.settles();
    assert!(matches!(actions.as_slice(), [Action::Record(Some(_))]), "{actions:?}");
    cluster.put(&second);
    let actions = cluster.settles();
    assert_eq!(cluster.quarantined(), ["half2"]);
    assert!(cluster.is_isolated() && !actions.contains(&Action::DropIsolated), "{actions:?}");
    assert!(cluster.namespace.conflict.is_none());
}

/// A colleague's policy was there when the namespace was last effective. That one's own is created anew, or the colleague's
/// gets a label, makes no difference.
#[test]
fn a_policy_that_did_not_change_is_not_quarantined_whoever_looks_newest() {
    let mut cluster = Cluster::new();
    let [first, second] = halves();
    cluster.put(&first);
    cluster.settles();
    cluster.put(&second);
    let mut touched = first.clone();
    touched["metadata"]["labels"] = json!({ "team": "a" });
    cluster.put(&touched);
    cluster.settles();
    assert_eq!(cluster.quarantined(), ["half2"]);
}

#[test]
fn what_opens_a_hole_alone_is_quarantined_and_what_does_not_take_part_is_not() {
    let mut cluster = Cluster::new();
    let narrow = json!([{ "from": [{ "podSelector": { "matchLabels": { "app": "web" } } }] }]);
    cluster.put(&policy("narrow", &json!({ "matchLabels": { "app": "db" } }), &narrow));
    cluster.put(&wide("wide"));
    cluster.put(&policy("later", &json!({ "matchLabels": { "app": "x" } }), &narrow));
    cluster.settles();
    assert_eq!(cluster.quarantined(), ["wide"]);
    assert!(cluster.is_isolated());
}

#[test]
fn rules_that_come_back_are_judged_again_and_the_annotation_goes_with_a_corrected_policy() {
    let mut cluster = Cluster::new();
    cluster.put(&wide("wide"));
    cluster.settles();
    assert_eq!(cluster.quarantined(), ["wide"]);
    let mut corrected = policy("wide", &json!({}), &json!([{ "from": [{ "podSelector": {} }] }]));
    corrected["metadata"]["annotations"] =
        json!({ "ringfence.dev/quarantined": "{\"ingress\":{\"at\":\"2026-06-01T00:00:00Z\",\"reason\":\"r\"}}" });
    cluster.put(&corrected);
    let actions = cluster.settles();
    assert!(
        actions.iter().any(|action| matches!(action, Action::EndQuarantine(name, _) if name == "wide")),
        "{actions:?}"
    );
    assert!(cluster.quarantined().is_empty() && cluster.is_isolated());
}

#[test]
fn a_namespace_that_was_never_effective_keeps_its_policies_and_is_pending() {
    let mut cluster = Cluster::new();
    cluster.namespace.isolation.isolated = None;
    cluster.namespace.effective = None;
    cluster.put(&wide("wide"));
    cluster.settles();
    assert!(cluster.quarantined().is_empty() && !cluster.is_isolated());
    assert!(cluster.namespace.conflict.as_ref().unwrap().contains("wide"));
}

#[rstest]
#[case::wide(json!({ "profiles": { "standard": { "wide": { "ipv4": 16 } } } }))]
#[case::holes(json!({ "profiles": { "standard": { "holes": { "ingress": { "PORTS": "deny" } } } } }))]
#[case::cluster_cidrs(json!({ "clusterCidrs": ["10.0.0.0/16"] }))]
fn a_change_of_the_rules_quarantines_nothing_that_was_there(#[case] rules: Value) {
    let mut cluster = Cluster::new();
    let ports = json!([{ "from": [{ "ipBlock": { "cidr": "10.0.0.0/8" } }] }, { "ports": [{ "port": 443 }] }]);
    cluster.put(&policy("there", &json!({}), &ports));
    cluster.settles();
    assert!(cluster.is_isolated());
    // An upgrade or a change of the configuration, with a restart.
    cluster.config = Config::parse(&rules).unwrap();
    cluster.settles();
    assert!(cluster.quarantined().is_empty());
    assert!(!cluster.is_isolated(), "{rules}");
    assert!(cluster.namespace.conflict.as_ref().unwrap().contains("there"));
    // Also what comes later: nothing was effective under these rules yet.
    cluster.put(&wide("later"));
    cluster.settles();
    assert!(cluster.quarantined().is_empty());
}

#[test]
fn case_74_an_exception_that_has_ended_leaves_its_policy_quarantined() {
    let mut cluster = Cluster::new();
    let mut excepted = wide("wide");
    excepted["metadata"]["annotations"] =
        json!({ "ringfence.dev/exception-reason": "legacy", "ringfence.dev/exception-until": SOON });
    cluster.put(&excepted);
    cluster.settles();
    assert!(cluster.is_isolated() && cluster.quarantined().is_empty());
    cluster.now = SOON.parse().unwrap();
    let actions = cluster.settles();
    assert_eq!(cluster.quarantined(), ["wide"]);
    assert!(cluster.is_isolated() && !actions.contains(&Action::DropIsolated), "{actions:?}");
}

#[test]
fn a_quarantine_that_is_refused_drops_isolated_and_says_why() {
    let mut cluster = Cluster::new();
    cluster.put(&wide("wide"));
    let given_up = BTreeSet::from(["wide".to_owned()]);
    let actions = plan(&cluster.namespace, &cluster.config, cluster.now, &given_up).actions;
    let [Action::DropIsolated, Action::Report(Some(text))] = actions.as_slice() else { panic!("{actions:?}") };
    assert!(text.contains("wide opens a hole that the profile denies, and the API server refuses"), "{text}");
}

#[test]
fn violations_are_only_reported_where_the_configuration_says_so() {
    let mut cluster = Cluster::with_config(&json!({ "violations": "report" }));
    cluster.put(&wide("wide"));
    let actions = cluster.settles();
    assert!(cluster.quarantined().is_empty() && !cluster.is_isolated(), "{actions:?}");
    assert!(cluster.namespace.conflict.as_ref().unwrap().contains("wide"));
}

#[test]
fn a_namespace_that_comes_back_from_another_mode_is_adopted_anew() {
    let mut cluster = Cluster::new();
    cluster.namespace.isolation.mode = Some("warn".to_owned());
    cluster.settles();
    assert!(cluster.namespace.effective.is_none(), "the record of {EFFECTIVE} goes");
    cluster.put(&wide("wide"));
    cluster.namespace.isolation.mode = Some("enforce".to_owned());
    cluster.settles();
    assert!(cluster.quarantined().is_empty() && !cluster.is_isolated());
}

#[test]
fn the_record_is_read_back_as_it_was_written() {
    let mut cluster = Cluster::new();
    for half in halves() {
        cluster.put(&half);
    }
    let profile = cluster.namespace.profile(&cluster.config).unwrap();
    let record = Record::of(&cluster.namespace, profile, now());
    let again = Record::parse(&record.to_text()).unwrap();
    assert_eq!(again, record);
    assert!(again.is_under(profile) && !again.is_under(cluster.config.profiles.get("strict").unwrap()));
    assert!(again.knows(cluster.namespace.policy("half1").unwrap()));
    for text in [
        "",
        "{}",
        "[]",
        "{\"at\":\"x\",\"rules\":\"\"}",
        "{\"at\":\"2026-06-01T00:00:00Z\",\"rules\":\"\",\"policies\":\"AAA=\"}",
    ] {
        assert_eq!(Record::parse(text), None, "{text}");
    }
}

fn any_rules() -> impl Strategy<Value = Value> {
    let block = |cidr: &str| json!({ "from": [{ "ipBlock": { "cidr": cidr } }] });
    let rule = prop_oneof![
        Just(json!({})),
        Just(block("10.0.0.0/7")),
        Just(block("20.0.0.0/7")),
        Just(json!({ "from": [{ "podSelector": {} }] })),
        Just(json!({ "from": [{ "namespaceSelector": {} }], "ports": [{ "port": 1, "endPort": 100 }] })),
        Just(json!({ "from": [{ "namespaceSelector": {} }], "ports": [{ "port": 101, "endPort": 200 }] })),
    ];
    proptest::collection::vec(rule, 0..3).prop_map(Value::Array)
}

fn any_policy() -> impl Strategy<Value = Value> {
    let name = proptest::sample::select(&["a", "b", "c", "d"][..]);
    let pods = proptest::sample::select(vec![
        json!({}),
        json!({ "matchLabels": { "app": "x" } }),
        of_app("Exists"),
        of_app("DoesNotExist"),
    ]);
    (name, pods, any_rules()).prop_map(|(name, pods, rules)| policy(name, &pods, &rules))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever gets past the webhook in a namespace that was effective, the controller leads it back to that, without touching
    /// coverage or a managed policy ([`Cluster::act`]), and without dropping the label.
    #[test]
    fn quarantine_leads_to_an_effective_namespace(before in proptest::collection::vec(any_policy(), 0..3),
                                                  changes in proptest::collection::vec(any_policy(), 1..5)) {
        let mut cluster = Cluster::new();
        for object in &before {
            cluster.put(object);
            cluster.settles();
        }
        prop_assert!(cluster.is_isolated());
        let known: Vec<NetworkPolicy> = cluster.namespace.policies().cloned().collect();
        for object in &changes {
            cluster.put(object);
        }
        let changed = |policy: &NetworkPolicy| !known.iter().any(|known| known.spec == policy.spec && known.uid == policy.uid);
        let may_be: Vec<String> = cluster.namespace.policies().filter(|policy| changed(policy)).map(|policy| policy.name.clone()).collect();
        let already: Vec<String> = cluster.quarantined().into_iter().map(str::to_owned).collect();
        let actions = cluster.settles();
        let profile = cluster.namespace.profile(&cluster.config).unwrap();
        prop_assert!(cluster.namespace.is_effective(profile, now()), "{actions:?}");
        prop_assert!(cluster.is_isolated() && !actions.contains(&Action::DropIsolated), "{actions:?}");
        for name in cluster.quarantined() {
            prop_assert!(already.iter().chain(&may_be).any(|other| other == name), "{name} did not change");
        }
    }
}
