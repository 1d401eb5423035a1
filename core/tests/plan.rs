//! The controller's plan, carried out by a small interpreter over an index until nothing is left to do.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail like this, also in its helpers")]

use std::collections::BTreeSet;

use jiff::Timestamp;
use proptest::prelude::*;
use ringfence_core::config::Config;
use ringfence_core::index::{Index, Namespace, Pod, State};
use ringfence_core::plan::{Action, Conflict, Notice, Plan, plan};
use ringfence_core::policy::NetworkPolicy;
use ringfence_core::policy::parse::{Source, network_policy};
use ringfence_core::quarantine::Quarantined;
use ringfence_core::record::Record;
use ringfence_core::vocabulary::Mode;
use rstest::rstest;
use serde_json::{Value, json};

const TEAM: &str = "team-a";
const SOON: &str = "2026-07-01T00:00:00Z";
const PAST: &str = "2026-05-01T00:00:00Z";

fn now() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

fn config() -> Config {
    Config::default()
}

/// A namespace as it is, before the controller looks at it.
#[derive(Clone, Debug)]
struct Start(Index);

fn labelled(profile: Option<&str>, mode: Option<&str>, isolated: Option<&str>) -> Start {
    let mut index = Index::default();
    let isolation = &mut index.namespace_mut(TEAM).isolation;
    isolation.profile = profile.map(str::to_owned);
    isolation.mode = mode.map(str::to_owned);
    isolation.isolated = isolated.map(str::to_owned);
    Start(index)
}

fn enforced() -> Start {
    labelled(Some("standard"), Some("enforce"), None)
}

impl Start {
    fn with(mut self, object: &Value) -> Self {
        self.0.namespace_mut(TEAM).put_policy(network_policy(object, Source::Cluster).unwrap());
        self
    }

    fn holding(mut self, pods: &[&str]) -> Self {
        for pod in pods {
            let held = Pod { held: true, may_run: true, ..Pod::default() };
            self.0.namespace_mut(TEAM).pods.insert((*pod).to_owned(), held);
        }
        self
    }

    fn exempt(mut self, until: Option<&str>) -> Self {
        let isolation = &mut self.0.namespace_mut(TEAM).isolation;
        isolation.mode = Some("exempt".to_owned());
        isolation.exempt_reason = Some("migration".to_owned());
        isolation.exempt_until = until.map(str::to_owned);
        self
    }

    fn isolated(mut self) -> Self {
        self.0.namespace_mut(TEAM).isolation.isolated = Some("true".to_owned());
        self
    }

    fn terminating(mut self) -> Self {
        self.0.namespace_mut(TEAM).terminating = true;
        self
    }

    fn planned(&self, config: &Config) -> Plan {
        plan(&self.0.get(TEAM).unwrap(), config, now(), &BTreeSet::new())
    }

    /// Carries out one round of actions.
    fn carry_out(&mut self, actions: &[Action]) {
        let namespace = self.0.namespace_mut(TEAM);
        for action in actions {
            match action {
                Action::Apply(policy) => {
                    let object = serde_json::to_value(policy).unwrap();
                    assert_eq!(object["metadata"]["labels"]["app.kubernetes.io/managed-by"], "ringfence");
                    assert_eq!(object["metadata"]["namespace"], TEAM);
                    assert!(namespace.put_policy(network_policy(&object, Source::File).unwrap()));
                }
                Action::Prune(name) => assert!(namespace.remove_policy(name)),
                Action::Quarantine(suspect) => {
                    let mut policy = namespace.policy(&suspect.name).unwrap().clone();
                    let rules = policy.spec.rules_mut(suspect.direction);
                    assert!(rules.replace(Vec::new()).is_some_and(|rules| !rules.is_empty()), "{suspect:?}");
                    policy.quarantined = policy.quarantined.with(suspect.direction);
                    namespace.put_policy(policy);
                }
                Action::EndQuarantine(name, _) => {
                    let policy = namespace.policy(name).unwrap().clone();
                    namespace.put_policy(NetworkPolicy { quarantined: Quarantined::default(), ..policy });
                }
                Action::Isolate(record) => {
                    namespace.isolation.isolated = Some("true".to_owned());
                    namespace.effective = Some(record.clone());
                }
                Action::DropIsolated => namespace.isolation.isolated = None,
                Action::Record(record) => namespace.effective.clone_from(record),
                Action::EndExemption => namespace.isolation.mode = Some("enforce".to_owned()),
                Action::Report(text) => namespace.conflict.clone_from(text),
                Action::Lift(pod) => namespace.pods.get_mut(pod).unwrap().held = false,
            }
        }
    }

    /// Plans and acts until the plan is empty, and checks each round against the namespace it was made for.
    fn settled(mut self, config: &Config) -> (Namespace, Vec<Action>) {
        let mut all = Vec::new();
        for _ in 0..6 {
            let plan = self.planned(config);
            assert_eq!(plan, self.planned(config), "the same namespace has the same plan");
            check(&self.0.get(TEAM).unwrap(), config, &plan);
            if plan.actions.is_empty() {
                return ((*self.0.get(TEAM).unwrap()).clone(), all);
            }
            self.carry_out(&plan.actions);
            all.extend(plan.actions);
        }
        panic!("it does not settle: {all:#?}");
    }
}

/// What holds for every plan.
fn check(namespace: &Namespace, config: &Config, plan: &Plan) {
    let effective = namespace.is_effective(namespace.profile(config).unwrap(), now());
    let mode = namespace.mode(now());
    for action in &plan.actions {
        match action {
            Action::Lift(_) => assert!(mode != Some(Mode::Enforce) || effective, "lifts before it is effective"),
            Action::Isolate(record) | Action::Record(Some(record)) => {
                assert!(mode == Some(Mode::Enforce) && effective, "isolated is not true");
                assert!(
                    Record::parse(record).is_some_and(|record| record.is_under(namespace.profile(config).unwrap()))
                );
            }
            Action::DropIsolated => {
                let says_true = namespace.isolation.isolated.as_deref() == Some("true");
                assert!(mode != Some(Mode::Enforce) || !effective || !says_true, "isolated is true");
            }
            Action::Record(None) => assert!(!matches!(mode, Some(Mode::Enforce | Mode::Exempt))),
            Action::Quarantine(suspect) => {
                let policy = namespace.policy(&suspect.name).unwrap();
                assert!(mode == Some(Mode::Enforce) && !effective && !policy.managed, "{suspect:?}");
                let excused = policy.exception.as_ref().is_some_and(|exception| exception.is_in_force(now()));
                assert!(!excused, "{suspect:?}");
            }
            Action::EndQuarantine(name, _) => {
                let policy = namespace.policy(name).unwrap();
                assert!(policy.quarantined.is_over(policy));
            }
            Action::Apply(policy) => {
                assert_eq!(mode, Some(Mode::Enforce));
                let name = policy.metadata.name.as_deref().unwrap();
                assert!(namespace.policy(name).is_none_or(|there| there.managed && !there.deleting), "overwrites");
            }
            Action::Prune(name) => {
                assert_eq!(mode, Some(Mode::Enforce));
                assert!(namespace.policy(name).is_some_and(|there| there.managed), "prunes what is not its own");
            }
            Action::EndExemption => assert_eq!(namespace.isolation.mode.as_deref(), Some("exempt")),
            Action::Report(Some(text)) => {
                assert_eq!(mode, Some(Mode::Enforce));
                let informs = text.contains("stays: without it") || text.contains("keeps its own policy");
                assert!(!effective || informs, "{text:?}");
            }
            Action::Report(None) => {}
        }
    }
    for (name, _) in &plan.conflicts {
        assert!(namespace.policy(name).is_some_and(|there| !there.managed), "{name}");
    }
}

fn policy(name: &str, is_managed: bool, spec: &Value) -> Value {
    let manager = if is_managed { "ringfence" } else { "jane" };
    json!({ "metadata": { "name": name, "labels": { "app.kubernetes.io/managed-by": manager } }, "spec": spec })
}

fn deny_all() -> Value {
    json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] })
}

fn allow_all() -> Value {
    json!({ "podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}] })
}

fn lifts(actions: &[Action]) -> Vec<&str> {
    actions.iter().filter_map(|action| if let Action::Lift(pod) = action { Some(pod.as_str()) } else { None }).collect()
}

#[rstest]
#[case("standard", &["allow-dns", "allow-same-namespace", "default-deny-all"])]
#[case("strict", &["allow-dns", "default-deny-all"])]
#[case("deny-all", &["default-deny-all"])]
fn a_new_namespace_gets_its_profile_then_isolated_then_its_pods(#[case] profile: &str, #[case] names: &[&str]) {
    let start = labelled(Some(profile), Some("enforce"), None).holding(&["a", "b"]);
    assert!(start.planned(&config()).actions.iter().all(|action| matches!(action, Action::Apply(_))));
    let (namespace, actions) = start.settled(&config());
    assert_eq!(namespace.policies().map(|policy| policy.name.as_str()).collect::<Vec<_>>(), names);
    assert_eq!(namespace.isolation.isolated.as_deref(), Some("true"));
    assert!(namespace.pods.values().all(|pod| !pod.held));
    let isolated = actions.iter().position(|action| matches!(action, Action::Isolate(_))).unwrap();
    let lifted = actions.iter().position(|action| *action == Action::Lift("a".to_owned())).unwrap();
    assert!(names.len() <= isolated && isolated < lifted);
}

#[test]
fn a_pod_that_is_held_in_an_effective_namespace_is_lifted_at_once() {
    let (namespace, _) = enforced().settled(&config());
    let mut index = Index::default();
    let copy = index.namespace_mut(TEAM);
    *copy = namespace;
    let start = Start(index).holding(&["late"]);
    assert_eq!(start.planned(&config()).actions, [Action::Lift("late".to_owned())]);
}

#[rstest]
#[case::deleted(None)]
#[case::changed(Some(allow_all()))]
fn a_managed_policy_that_is_gone_or_changed_is_restored_and_isolated_dropped_until_then(#[case] spec: Option<Value>) {
    let (namespace, _) = enforced().settled(&config());
    let mut index = Index::default();
    *index.namespace_mut(TEAM) = namespace;
    index.namespace_mut(TEAM).remove_policy("default-deny-all");
    // The other policy of the profile that selects every pod isolates too; without it the namespace is not effective.
    index.namespace_mut(TEAM).remove_policy("allow-same-namespace");
    let mut start = Start(index);
    if let Some(spec) = &spec {
        start = start.with(&policy("default-deny-all", true, spec));
    }
    let planned = start.holding(&["a"]).planned(&config());
    assert_eq!(planned.actions.first(), Some(&Action::DropIsolated));
    assert_eq!(lifts(&planned.actions), Vec::<&str>::new());
}

#[test]
fn isolated_by_another_value_is_put_right() {
    let (namespace, _) = labelled(Some("standard"), Some("enforce"), Some("yes")).settled(&config());
    assert_eq!(namespace.isolation.isolated.as_deref(), Some("true"));
}

#[test]
fn a_managed_policy_that_the_profile_does_not_have_is_pruned_and_others_stay() {
    let start =
        enforced().with(&policy("allow-old", true, &deny_all())).with(&policy("own-policy", false, &deny_all()));
    let (namespace, actions) = start.settled(&config());
    assert!(actions.contains(&Action::Prune("allow-old".to_owned())));
    assert!(namespace.policy("allow-old").is_none());
    assert!(namespace.policy("own-policy").is_some());
    // What is applied comes before what is taken away: there is no gap between.
    let prune = actions.iter().position(|action| matches!(action, Action::Prune(_))).unwrap();
    assert!(actions[..prune].iter().all(|action| matches!(action, Action::Apply(_))));
}

/// A namespace whose profile was `deny-all`, and is one of another name by now. Policies that isolate one pod only have these
/// names.
fn in_another_profile(taken: &[&str]) -> (Config, Start) {
    let config = Config::parse(&json!({ "profiles": { "edge": { "policies": [
        { "name": "edge-deny", "spec": deny_all() } ] } } }))
    .unwrap();
    let narrow = json!({ "podSelector": { "matchLabels": { "a": "b" } }, "policyTypes": ["Ingress"] });
    let start =
        labelled(Some("edge"), Some("enforce"), Some("true")).with(&policy("default-deny-all", true, &deny_all()));
    (config, taken.iter().fold(start, |start, name| start.with(&policy(name, false, &narrow))))
}

/// The policy that should take its place is another user's, and isolates one pod only.
#[test]
fn a_policy_that_the_profile_does_not_have_goes_once_one_under_another_name_stands_in() {
    let (config, start) = in_another_profile(&["edge-deny"]);
    let (namespace, actions) = start.settled(&config);
    let names: Vec<&str> = namespace.policies().map(|policy| policy.name.as_str()).collect();
    assert_eq!(names, ["edge-deny", "edge-deny-ringfence"]);
    let applied = actions.iter().position(|action| matches!(action, Action::Apply(_))).unwrap();
    let pruned = actions.iter().position(|action| matches!(action, Action::Prune(_))).unwrap();
    assert!(applied < pruned && !actions.contains(&Action::DropIsolated), "{actions:?}");
    let conflict = namespace.conflict.clone().unwrap();
    assert!(conflict.contains("edge-deny is not managed"), "{conflict}");

    // Once the other one says what it should, its own name serves again.
    let mut index = Index::default();
    *index.namespace_mut(TEAM) = namespace;
    let (namespace, actions) = Start(index).with(&policy("edge-deny", false, &deny_all())).settled(&config);
    assert_eq!(actions, [Action::Prune("edge-deny-ringfence".to_owned()), Action::Report(None)]);
    assert_eq!(namespace.isolation.isolated.as_deref(), Some("true"));
}

/// Both names are taken by policies that isolate one pod only: the old policy is what isolates the others.
#[test]
fn a_policy_that_the_profile_does_not_have_stays_while_the_baseline_depends_on_it() {
    let (config, start) = in_another_profile(&["edge-deny", "edge-deny-ringfence"]);
    let (namespace, _) = start.settled(&config);
    let text = namespace.conflict.clone().unwrap();
    assert!(text.contains("edge-deny-ringfence is not managed") && text.contains("is not of this profile"), "{text}");
    assert!(namespace.policy("default-deny-all").is_some());
    assert_eq!(namespace.isolation.isolated.as_deref(), Some("true"));
}

#[test]
fn what_is_being_deleted_is_neither_applied_nor_pruned_again_and_isolates_nothing() {
    let mut going = policy("default-deny-all", true, &deny_all());
    going["metadata"]["deletionTimestamp"] = json!(PAST);
    let mut stale = policy("allow-old", true, &allow_all());
    stale["metadata"]["deletionTimestamp"] = json!(PAST);
    let start = labelled(Some("deny-all"), Some("enforce"), Some("true")).with(&going).with(&stale).holding(&["a"]);
    let (namespace, actions) = start.settled(&config());
    assert_eq!(actions.first(), Some(&Action::DropIsolated));
    assert!(matches!(&actions[1..], [Action::Report(Some(_))]), "{actions:?}");
    assert!(namespace.pods["a"].held);
}

#[test]
fn a_policy_that_has_a_baselines_name_is_left_alone_and_another_name_stands_in() {
    let narrow = json!({ "podSelector": { "matchLabels": { "a": "b" } }, "policyTypes": ["Ingress"] });
    for (spec, effective) in [(narrow, true), (allow_all(), false)] {
        let start = labelled(Some("deny-all"), Some("enforce"), None)
            .with(&policy("default-deny-all", false, &spec))
            .holding(&["a"]);
        let conflict = ("default-deny-all".to_owned(), Conflict::NameTaken);
        assert_eq!(start.planned(&config()).conflicts, [conflict]);
        let (namespace, _) = start.settled(&config());
        assert_eq!(namespace.policy("default-deny-all").map(|policy| policy.managed), Some(false));
        assert!(namespace.policy("default-deny-all-ringfence").is_some_and(|policy| policy.managed));
        // The hole is still there: it was there before, so nothing is taken from its owner.
        assert_eq!(namespace.isolation.isolated.is_some(), effective);
        assert_eq!(namespace.pods["a"].held, !effective);
        let text = namespace.conflict.clone().unwrap();
        assert!(text.contains("default-deny-all is not managed by Ringfence"), "{text}");
    }
}

#[test]
fn an_effective_namespace_without_the_profiles_policies_is_not_isolated_yet() {
    // A quota refuses what the controller applies.
    let start =
        labelled(Some("deny-all"), Some("enforce"), None).with(&policy("own", false, &deny_all())).holding(&["a"]);
    let namespace = start.0.get(TEAM).unwrap();
    let config = config();
    let profile = namespace.profile(&config).unwrap();
    assert!(namespace.is_effective(profile, now()) && !namespace.is_isolating(&config, now()));
    assert_eq!(namespace.state(&config, profile, now()), State::Pending);
    assert!(matches!(start.planned(&config).actions.as_slice(), [Action::Apply(_)]));
    let (namespace, _) = start.settled(&config);
    assert_eq!(namespace.state(&config, namespace.profile(&config).unwrap(), now()), State::Isolated);
}

#[test]
fn an_unmanaged_policy_that_says_the_same_is_no_conflict() {
    let start = labelled(Some("deny-all"), Some("enforce"), None).with(&policy("default-deny-all", false, &deny_all()));
    let planned = start.planned(&config());
    assert!(matches!(planned.actions.as_slice(), [Action::Isolate(_)]) && planned.conflicts.is_empty(), "{planned:?}");
}

#[rstest]
#[case::warn("warn")]
#[case::audit("audit")]
fn leaving_enforce_keeps_the_policies_drops_isolated_and_lifts(#[case] mode: &str) {
    let (namespace, _) = enforced().settled(&config());
    let mut index = Index::default();
    *index.namespace_mut(TEAM) = namespace;
    index.namespace_mut(TEAM).isolation.mode = Some(mode.to_owned());
    let (namespace, actions) = Start(index).holding(&["a"]).settled(&config());
    assert_eq!(actions, [Action::DropIsolated, Action::Record(None), Action::Lift("a".to_owned())]);
    assert_eq!(namespace.policies().count(), 3);
}

#[rstest]
#[case::exempt(enforced().isolated().exempt(Some(SOON)))]
#[case::not_adopted_any_more(labelled(None, None, Some("true")))]
fn so_does_an_exemption_and_being_un_adopted(#[case] start: Start) {
    let (namespace, actions) = start.holding(&["a"]).settled(&config());
    assert_eq!(actions, [Action::DropIsolated, Action::Lift("a".to_owned())]);
    assert_eq!(namespace.policies().count(), 0);
}

#[rstest]
#[case::that_is_over(Some(PAST))]
#[case::without_an_end(None)]
#[case::with_an_end_that_is_no_time(Some("soon"))]
fn an_exemption_ends(#[case] until: Option<&str>) {
    let (namespace, actions) = enforced().exempt(until).holding(&["a"]).settled(&config());
    assert_eq!(actions.first(), Some(&Action::EndExemption));
    assert_eq!(actions.iter().filter(|action| **action == Action::EndExemption).count(), 1);
    assert_eq!(namespace.isolation.mode.as_deref(), Some("enforce"));
    assert_eq!(namespace.isolation.isolated.as_deref(), Some("true"));
    assert_eq!(lifts(&actions), ["a"]);
}

#[rstest]
#[case::in_force(SOON, true)]
#[case::over(PAST, false)]
fn an_exception_counts_until_it_ends(#[case] until: &str, #[case] effective: bool) {
    let mut wide = policy("wide", false, &allow_all());
    wide["metadata"]["annotations"] =
        json!({ "ringfence.dev/exception-reason": "legacy", "ringfence.dev/exception-until": until });
    let (namespace, _) = enforced().with(&wide).holding(&["a"]).settled(&config());
    assert_eq!(namespace.isolation.isolated.is_some(), effective);
    assert_eq!(namespace.pods["a"].held, !effective);
}

#[test]
fn what_somebody_changes_back_again_and_again_is_given_up_on_and_reported_until_it_is_right() {
    let config = config();
    let start = labelled(Some("deny-all"), Some("enforce"), None)
        .with(&policy("default-deny-all", true, &allow_all()))
        .holding(&["a"]);
    let given_up = BTreeSet::from(["default-deny-all".to_owned()]);
    let namespace = start.0.get(TEAM).unwrap();
    let fought = plan(&namespace, &config, now(), &given_up);
    assert_eq!(fought.conflicts, [("default-deny-all".to_owned(), Conflict::Fought)]);
    let [Action::Report(Some(text))] = fought.actions.as_slice() else { panic!("{fought:?}") };
    assert!(text.contains("changed back by another writer"), "{text}");

    // Once it is as it should be, the annotation goes, given up on or not.
    let mut right = start.with(&policy("default-deny-all", true, &deny_all()));
    right.0.namespace_mut(TEAM).conflict = Some(text.clone());
    let planned = plan(&right.0.get(TEAM).unwrap(), &config, now(), &given_up).actions;
    let [Action::Isolate(_), rest @ ..] = planned.as_slice() else { panic!("{planned:?}") };
    assert_eq!(rest, [Action::Lift("a".to_owned()), Action::Report(None)]);
}

#[test]
fn what_somebody_keeps_taking_off_the_namespace_is_not_written_down_again_and_again() {
    let start = enforced().with(&policy("wide", false, &allow_all()));
    let (mut namespace, _) = start.settled(&config());
    namespace.conflict = None;
    let planned = |given_up: &[&str]| {
        let given_up = given_up.iter().map(|name| (*name).to_owned()).collect();
        plan(&namespace, &config(), now(), &given_up).actions
    };
    assert!(matches!(planned(&[]).as_slice(), [Action::Report(Some(_))]));
    assert_eq!(planned(&["ringfence.dev/conflict"]), []);
}

#[test]
fn what_ends_is_announced_a_day_before_and_looked_at_again_when_it_ends() {
    let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
    let exempt = |until| enforced().exempt(Some(until)).planned(&config());
    let far = exempt("2026-06-03T00:00:00Z");
    assert_eq!((far.notices.as_slice(), far.again), (&[][..], at("2026-06-02T00:00:00Z")));
    let near = exempt("2026-06-01T23:00:00Z");
    let ends = at("2026-06-01T23:00:00Z");
    assert_eq!((near.notices, near.again), (vec![Notice { policy: None, ends: ends.unwrap() }], ends));

    let mut wide = policy("wide", false, &allow_all());
    wide["metadata"]["annotations"] =
        json!({ "ringfence.dev/exception-reason": "legacy", "ringfence.dev/exception-until": "2026-06-01T12:00:00Z" });
    let planned = enforced().exempt(Some("2026-06-09T00:00:00Z")).with(&wide).planned(&config());
    let ends = at("2026-06-01T12:00:00Z");
    let notice = Notice { policy: Some("wide".to_owned()), ends: ends.unwrap() };
    assert_eq!((planned.notices, planned.again), (vec![notice], ends));
}

#[rstest]
#[case::terminating(enforced().isolated().terminating())]
#[case::terminating_and_exempt(enforced().exempt(Some(PAST)).terminating())]
fn nothing_is_done_in_a_terminating_namespace(#[case] start: Start) {
    assert_eq!(start.holding(&["a"]).planned(&config()), Plan::default());
}

#[test]
fn in_an_excluded_namespace_nothing_is_applied_and_what_waits_for_ringfence_is_let_go() {
    let excluding = Config::parse(&json!({ "excluded": [TEAM] })).unwrap();
    assert_eq!(enforced().planned(&excluding), Plan::default());
    let actions = enforced().isolated().holding(&["a"]).planned(&excluding).actions;
    assert_eq!(actions, [Action::DropIsolated, Action::Lift("a".to_owned())]);
}

#[test]
fn nothing_is_done_in_a_namespace_that_was_never_adopted() {
    let start = labelled(None, None, None).with(&policy("wide", false, &allow_all()));
    assert_eq!(start.planned(&config()), Plan::default());
}

#[test]
fn an_unknown_profile_is_the_default_one() {
    let (namespace, _) = labelled(Some("gone"), Some("enforce"), None).settled(&config());
    assert_eq!(namespace.policies().count(), 3);
    assert_eq!(namespace.isolation.isolated.as_deref(), Some("true"));
}

fn one_of(values: &'static [&'static str]) -> impl Strategy<Value = Option<&'static str>> {
    proptest::option::weighted(0.8, proptest::sample::select(values))
}

fn spec() -> impl Strategy<Value = Value> {
    let some = json!({ "podSelector": { "matchLabels": { "a": "b" } }, "policyTypes": ["Ingress"], "ingress": [{}] });
    let ports = json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": [{ "ports": [{ "port": 443 }] }] });
    prop_oneof![Just(deny_all()), Just(allow_all()), Just(some), Just(ports)]
}

fn any_policy() -> impl Strategy<Value = Value> {
    const NAMES: [&str; 5] = ["default-deny-all", "allow-dns", "allow-same-namespace", "other", "wide"];
    (proptest::sample::select(&NAMES[..]), any::<bool>(), spec(), any::<(bool, bool)>(), one_of(&[SOON, PAST]))
        .prop_map(|(name, is_managed, spec, (deleting, excepted), until)| {
            let mut object = policy(name, is_managed, &spec);
            if deleting {
                object["metadata"]["deletionTimestamp"] = json!(PAST);
            }
            if excepted {
                object["metadata"]["annotations"] = json!({ "ringfence.dev/exception-reason": "r" });
                object["metadata"]["annotations"]["ringfence.dev/exception-until"] = json!(until.unwrap_or(""));
            }
            object
        })
}

fn any_start() -> impl Strategy<Value = Start> {
    let labels = (
        one_of(&["standard", "strict", "deny-all", "gone", ""]),
        one_of(&["enforce", "enforce", "warn", "audit", "exempt", "nonsense"]),
        one_of(&["true", "false", ""]),
    );
    let exemption = (one_of(&["migration", " "]), one_of(&[SOON, PAST, "soon"]));
    (labels, exemption, proptest::collection::vec(any_policy(), 0..6), 0..3usize, proptest::bool::weighted(0.1))
        .prop_map(|((profile, mode, isolated), (reason, until), policies, pods, terminating)| {
            let mut start = labelled(profile, mode, isolated).holding(&["a", "b", "c"][..pods]);
            for policy in &policies {
                start = start.with(policy);
            }
            let namespace = start.0.namespace_mut(TEAM);
            namespace.isolation.exempt_reason = reason.map(str::to_owned);
            namespace.isolation.exempt_until = until.map(str::to_owned);
            namespace.terminating = terminating;
            start
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn from_anywhere_the_plan_settles(start in any_start()) {
        let config = config();
        let before = (*start.0.get(TEAM).unwrap()).clone();
        let (namespace, actions) = start.settled(&config);
        if before.terminating {
            prop_assert_eq!(actions, vec![]);
            return Ok(());
        }
        let enforced = namespace.mode(now()) == Some(Mode::Enforce);
        let isolating = namespace.is_isolating(&config, now());
        let expected = (enforced && isolating).then_some("true");
        prop_assert_eq!(namespace.isolation.isolated.as_deref(), expected);
        let held = namespace.pods.values().any(|pod| pod.held);
        prop_assert_eq!(held, enforced && !isolating && !namespace.pods.is_empty());
        // What is not Ringfence's is as it was: nothing was effective before, under any rules.
        for policy in before.policies().filter(|policy| !policy.managed) {
            prop_assert_eq!(namespace.policy(&policy.name), Some(policy));
        }
        if !enforced {
            prop_assert_eq!(namespace.policies().collect::<Vec<_>>(), before.policies().collect::<Vec<_>>());
        }
    }
}
