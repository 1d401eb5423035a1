//! Reviews as an API server sends them, a world to decide them in, and replies as it reads them.

use jiff::Timestamp;
use k8s_openapi::ByteString;
use ringfence_core::admission::permission::{Answer, Answers, Use};
use ringfence_core::admission::review::Request;
use ringfence_core::admission::{Context, Failure, Outcome, Webhook, decide, response};
use ringfence_core::config::Config;
use ringfence_core::index::reservations::Pending;
use ringfence_core::index::{Index, Isolation, Pod};
use ringfence_core::object::ObjectMeta;
use ringfence_core::policy::parse::{Source, network_policy};
use ringfence_core::profile::built_in;
use ringfence_core::vocabulary::EMBEDDED_CONTROLLER;
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) const TEAM: &str = "team-a";
pub(crate) const SOON: &str = "2026-07-01T00:00:00Z";
pub(crate) const TOO_FAR: &str = "2027-06-01T00:00:00Z";
pub(crate) const PAST: &str = "2026-05-01T00:00:00Z";

pub(crate) fn now() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

/// A request, to be completed.
#[derive(Clone)]
pub(crate) struct Review(Value);

/// A request about `group/version/resource/subresource`, the group and the subresource left out where there is none.
pub(crate) fn review(operation: &str, what: &str) -> Review {
    let parts: Vec<&str> = what.split('/').collect();
    let (group, version, resource, sub) = match parts.as_slice() {
        [version, resource] => ("", *version, *resource, ""),
        ["v1", resource, sub] => ("", "v1", *resource, *sub),
        [group, version, resource] => (*group, *version, *resource, ""),
        [group, version, resource, sub] => (*group, *version, *resource, *sub),
        _ => panic!("{what}"),
    };
    Review(json!({
        "uid": "u-1",
        "kind": { "group": group, "version": version, "kind": "Whatever" },
        "resource": { "group": group, "version": version, "resource": resource },
        "subResource": sub,
        "name": null,
        "namespace": TEAM,
        "operation": operation,
        "userInfo": { "username": "jane", "groups": ["system:authenticated"] },
        "object": null,
        "oldObject": null,
        "dryRun": false,
        "options": null,
    }))
}

impl Review {
    fn with(mut self, key: &str, value: Value) -> Self {
        self.0[key] = value;
        self
    }

    pub(crate) fn named(self, name: &str) -> Self {
        self.with("name", json!(name))
    }

    pub(crate) fn in_namespace(self, namespace: &str) -> Self {
        self.with("namespace", json!(namespace))
    }

    pub(crate) fn object(self, object: &Value) -> Self {
        self.with("object", object.clone())
    }

    pub(crate) fn old(self, object: &Value) -> Self {
        self.with("oldObject", object.clone())
    }

    pub(crate) fn dry_run(self) -> Self {
        self.with("dryRun", json!(true))
    }

    pub(crate) fn by(mut self, user: &str) -> Self {
        self.0["userInfo"]["username"] = json!(user);
        self
    }

    pub(crate) fn by_controller(self) -> Self {
        self.by(EMBEDDED_CONTROLLER)
    }

    pub(crate) fn in_group(mut self, group: &str) -> Self {
        self.0["userInfo"]["groups"] = json!([group]);
        self
    }

    pub(crate) fn set(mut self, pointer: &str, value: Value) -> Self {
        *self.0.pointer_mut(pointer).unwrap() = value;
        self
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": self.0 })
            .to_string()
            .into_bytes()
    }
}

/// What the API server reads of a response.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Reply {
    pub(crate) allowed: bool,
    pub(crate) message: String,
    pub(crate) reason: String,
    pub(crate) warnings: Vec<String>,
    pub(crate) would_deny: Option<String>,
    pub(crate) patch: Option<Value>,
    pub(crate) code: Option<u64>,
}

impl Reply {
    #[track_caller]
    pub(crate) fn passes(self, reason: &str) -> Self {
        assert!(self.allowed, "{self:?}");
        assert_eq!(self.reason, reason, "{self:?}");
        self
    }

    /// Allowed, with nothing to say and nothing changed.
    #[track_caller]
    pub(crate) fn passes_silently(self, reason: &str) {
        let reply = self.passes(reason);
        assert_eq!((reply.warnings.as_slice(), &reply.would_deny, &reply.patch), (&[][..], &None, &None));
    }

    #[track_caller]
    pub(crate) fn refused(self, reason: &str, says: &[&str]) -> Self {
        assert!(!self.allowed, "{self:?}");
        assert_eq!(self.reason, reason, "{self:?}");
        for part in says {
            assert!(self.message.contains(part), "{part:?} is not in: {}", self.message);
        }
        self
    }

    #[track_caller]
    pub(crate) fn warns(self, says: &[&str]) -> Self {
        let all = self.warnings.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
        for part in says {
            assert!(all.contains(part), "{part:?} is not in: {all}");
        }
        self
    }
}

/// What decisions are made of.
pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) index: Index,
    pub(crate) pending: Pending,
    answers: Answers,
}

/// Nothing known, the default configuration.
pub(crate) fn world() -> World {
    World {
        config: Config::default(),
        index: Index::default(),
        pending: Pending::default(),
        answers: Answers::default(),
    }
}

/// The namespace `team-a`, enforced, before any policy is there.
pub(crate) fn pending() -> World {
    world().namespace(TEAM, &namespace(TEAM, &standard()))
}

/// The namespace `team-a`, enforced, with the managed baseline of a profile.
pub(crate) fn with_profile(profile: &str) -> World {
    let labels = json!({ "ringfence.dev/profile": profile, "ringfence.dev/mode": "enforce" });
    let mut world = world().namespace(TEAM, &namespace(TEAM, &labels));
    for (name, spec) in built_in(profile).unwrap() {
        world = world.policy(&managed(name, &serde_json::to_value(spec).unwrap()));
    }
    world
}

pub(crate) fn isolated() -> World {
    with_profile("standard")
}

impl World {
    pub(crate) fn configured(mut self, config: &Value) -> Self {
        self.config = Config::parse(config).unwrap();
        self
    }

    pub(crate) fn namespace(mut self, name: &str, object: &Value) -> Self {
        let metadata = ObjectMeta::deserialize(&object["metadata"]).unwrap();
        let namespace = self.index.namespace_mut(name);
        namespace.isolation = Isolation::of(&metadata);
        namespace.terminating = metadata.is_deleting();
        self
    }

    /// The same with the namespace's labels and annotations replaced.
    pub(crate) fn labelled(self, labels: &Value, annotations: &Value) -> Self {
        let object = json!({ "metadata": { "labels": labels, "annotations": annotations } });
        self.namespace(TEAM, &object)
    }

    pub(crate) fn in_mode(self, mode: &str) -> Self {
        let annotations = json!({ "ringfence.dev/exempt-reason": "migration", "ringfence.dev/exempt-until": SOON });
        self.labelled(&json!({ "ringfence.dev/profile": "standard", "ringfence.dev/mode": mode }), &annotations)
    }

    pub(crate) fn policy(mut self, object: &Value) -> Self {
        self.index.namespace_mut(TEAM).put_policy(network_policy(object, Source::Cluster).unwrap());
        self
    }

    pub(crate) fn terminating_with(mut self, pods: &[bool]) -> Self {
        let namespace = self.index.namespace_mut(TEAM);
        namespace.terminating = true;
        for (number, &may_run) in pods.iter().enumerate() {
            namespace.pods.insert(format!("p{number}"), Pod { may_run, ..Pod::default() });
        }
        self
    }

    pub(crate) fn answering(mut self, asked: Use, answer: Answer) -> Self {
        self.answers.insert(asked, answer);
        self
    }

    pub(crate) fn outcome(&self, webhook: Webhook, review: &Review) -> Outcome {
        self.outcome_of(webhook, &review.body())
    }

    pub(crate) fn outcome_of(&self, webhook: Webhook, body: &[u8]) -> Outcome {
        let request = Request::parse(body).unwrap();
        let namespace = self.index.get(request.namespace_concerned());
        let context = Context {
            config: &self.config,
            controller: EMBEDDED_CONTROLLER,
            now: now(),
            namespace: namespace.as_deref(),
            pending: &self.pending,
            answers: &self.answers,
        };
        decide(webhook, &request, &context)
    }

    #[track_caller]
    fn reply(&self, webhook: Webhook, review: &Review) -> Reply {
        let Outcome::Decided(decision) = self.outcome(webhook, review) else {
            panic!("not decided: {:?}", self.outcome(webhook, review));
        };
        let reply = read(&response::render("u-1", &decision).unwrap());
        assert!(webhook == Webhook::Mutate || reply.patch.is_none(), "a validating reply has no patch: {reply:?}");
        let dry = Review(review.0.clone()).dry_run();
        assert_eq!(self.outcome(webhook, &dry), Outcome::Decided(decision), "a dry run gets the same verdict");
        reply
    }

    #[track_caller]
    pub(crate) fn mutate(&self, review: &Review) -> Reply {
        let reply = self.reply(Webhook::Mutate, review);
        assert!(reply.allowed, "/mutate never denies: {reply:?}");
        reply
    }

    #[track_caller]
    pub(crate) fn validate(&self, review: &Review) -> Reply {
        self.reply(Webhook::Validate, review)
    }

    #[track_caller]
    pub(crate) fn asks(&self, review: &Review) -> Use {
        match self.outcome(Webhook::Validate, review) {
            Outcome::Ask(asked) => asked,
            other => panic!("nothing is asked: {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn fails(&self, review: &Review) -> Failure {
        match self.outcome(Webhook::Validate, review) {
            Outcome::Failed(failure) => failure,
            other => panic!("it does not fail: {other:?}"),
        }
    }
}

/// Reads a response as the API server does, and checks what holds for all of them.
#[track_caller]
pub(crate) fn read(bytes: &[u8]) -> Reply {
    let value: Value = serde_json::from_slice(bytes).unwrap();
    assert_eq!(value["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(value["kind"], "AdmissionReview");
    let response = &value["response"];
    assert_eq!(response["uid"], "u-1");
    let allowed = response["allowed"].as_bool().unwrap();
    assert_eq!(response.get("patch").is_some(), response.get("patchType").is_some());
    assert_eq!(response.get("status").is_some(), !allowed);
    let audit = &response["auditAnnotations"];
    assert!(audit.as_object().unwrap().keys().all(|key| !key.contains('/')));
    let warnings: Vec<String> = Vec::deserialize(response.get("warnings").unwrap_or(&json!([]))).unwrap();
    assert!(warnings.iter().all(|warning| warning.chars().count() <= 120 && !warning.contains(char::is_control)));
    let patch = response.get("patch").map(|patch| {
        let ByteString(bytes) = ByteString::deserialize(patch).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    });
    let reply = Reply {
        allowed,
        message: response["status"]["message"].as_str().unwrap_or_default().to_owned(),
        reason: audit["reason"].as_str().unwrap().to_owned(),
        would_deny: audit["would-deny"].as_str().map(str::to_owned),
        code: response["status"]["code"].as_u64(),
        warnings,
        patch,
    };
    if !allowed {
        says_what_why_and_how(&reply);
    }
    reply
}

/// A denial says what was refused, what it means for traffic or isolation, and what to do, and carries its code.
#[track_caller]
fn says_what_why_and_how(reply: &Reply) {
    let message = &reply.message;
    assert!(reply.code.is_some_and(|code| code >= 400));
    assert!(message.starts_with(&format!("{}: ", reply.reason)), "{message}");
    let any = |words: &[&str]| words.iter().any(|word| message.contains(word));
    assert!(any(&["refused", "lacks", "is no ", "can't be exempt", "is set by", "not valid"]), "what: {message}");
    assert!(
        any(&["reach", "baseline", "isolated", "isolation", "open", "let everything through"]),
        "effect: {message}"
    );
    assert!(any(&["; ", "write ", "use "]), "fix: {message}");
}

pub(crate) fn standard() -> Value {
    json!({ "ringfence.dev/profile": "standard", "ringfence.dev/mode": "enforce" })
}

/// The isolation labels with some replaced; null takes one away.
pub(crate) fn labels(changes: &Value) -> Value {
    let mut labels = standard();
    for (key, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(labels.as_object_mut().unwrap().remove(key)),
            value => labels[key] = value.clone(),
        }
    }
    labels
}

pub(crate) fn namespace(name: &str, labels: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } })
}

pub(crate) fn exempt(reason: &Value, until: &Value) -> Value {
    let mut object = namespace(TEAM, &labels(&json!({ "ringfence.dev/mode": "exempt" })));
    let mut annotations = json!({});
    for (key, value) in [("ringfence.dev/exempt-reason", reason), ("ringfence.dev/exempt-until", until)] {
        if !value.is_null() {
            annotations[key] = value.clone();
        }
    }
    object["metadata"]["annotations"] = annotations;
    object
}

pub(crate) fn policy(name: &str, spec: &Value) -> Value {
    json!({ "metadata": { "name": name, "namespace": TEAM }, "spec": spec })
}

pub(crate) fn managed(name: &str, spec: &Value) -> Value {
    let mut object = policy(name, spec);
    object["metadata"]["labels"] = json!({ "app.kubernetes.io/managed-by": "ringfence" });
    object
}

pub(crate) fn excepted(object: &Value, reason: &Value, until: &Value) -> Value {
    let mut object = object.clone();
    for (key, value) in [("ringfence.dev/exception-reason", reason), ("ringfence.dev/exception-until", until)] {
        if !value.is_null() {
            object["metadata"]["annotations"][key] = value.clone();
        }
    }
    object
}

pub(crate) fn deny_all() -> Value {
    json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] })
}

pub(crate) fn allow_all_ingress() -> Value {
    json!({ "podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}] })
}

/// Lets one app's pods in from another's: nothing to object to.
pub(crate) fn narrow() -> Value {
    json!({
        "podSelector": { "matchLabels": { "app": "db" } },
        "policyTypes": ["Ingress"],
        "ingress": [{
            "from": [{ "podSelector": { "matchLabels": { "app": "web" } } }],
            "ports": [{ "port": 5432 }],
        }],
    })
}

pub(crate) const POLICIES: &str = "networking.k8s.io/v1/networkpolicies";

pub(crate) fn creates(object: &Value) -> Review {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    review("CREATE", POLICIES).named(name).object(object)
}

pub(crate) fn updates(old: &Value, new: &Value) -> Review {
    review("UPDATE", POLICIES).named("some-other-name").old(old).object(new)
}

pub(crate) fn deletes(old: &Value) -> Review {
    review("DELETE", POLICIES).old(old)
}

pub(crate) fn may(asked: Use) -> (Use, Answer) {
    (asked, Answer::Allowed)
}
