//! Any bytes as the body of a review: a verdict only for what is one, and every verdict as the API server reads it.

use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use ringfence_core::admission::permission::{Answer, Answers};
use ringfence_core::admission::review::{Operation, Request};
use ringfence_core::admission::{Context, Decision, Outcome, Webhook, decide, response};
use ringfence_core::config::Config;
use ringfence_core::index::{Index, Isolation, Namespace};
use ringfence_core::policy::parse::{Source, network_policy};
use ringfence_core::profile::built_in;
use ringfence_core::vocabulary::EMBEDDED_CONTROLLER;
use serde_json::{Value, json};

use super::duplicates::{Json, Keep};

/// What a decision hangs on besides the review.
pub(crate) struct World {
    config: Config,
    namespace: Option<Arc<Namespace>>,
    answer: Answer,
}

fn namespace(mode: &str, with_policies: bool) -> Option<Arc<Namespace>> {
    let mut index = Index::default();
    let namespace = index.namespace_mut("team-a");
    namespace.isolation =
        Isolation { profile: Some("standard".to_owned()), mode: Some(mode.to_owned()), ..Isolation::default() };
    for (name, spec) in built_in("standard").unwrap().into_iter().filter(|_| with_policies) {
        let object = json!({
            "metadata": { "name": name, "labels": { "app.kubernetes.io/managed-by": "ringfence" } }, "spec": spec,
        });
        namespace.put_policy(network_policy(&object, Source::Cluster).unwrap());
    }
    index.get("team-a")
}

/// Every review is decided in each of these: nothing known; a namespace that is not isolated yet; one that is; and what
/// else a configuration and a mode can ask for.
fn worlds() -> &'static [World] {
    static WORLDS: OnceLock<Vec<World>> = OnceLock::new();
    WORLDS.get_or_init(|| {
        let strict = json!({
            "pods": "reject", "hostNetwork": "deny", "vendorPolicies": "deny", "existing": "reject",
            "excluded": ["calico-system"],
        });
        vec![
            World { config: Config::default(), namespace: None, answer: Answer::Denied },
            World { config: Config::default(), namespace: namespace("enforce", false), answer: Answer::Allowed },
            World { config: Config::default(), namespace: namespace("enforce", true), answer: Answer::Denied },
            World {
                config: Config::parse(&strict).unwrap(),
                namespace: namespace("enforce", true),
                answer: Answer::Unknown("nobody answers".to_owned()),
            },
            World { config: Config::default(), namespace: namespace("warn", true), answer: Answer::Allowed },
            World {
                config: Config::parse(&strict).unwrap(),
                namespace: namespace("audit", false),
                answer: Answer::Denied,
            },
        ]
    })
}

/// A namespace that is enforced and has no policy yet, with the defaults.
pub(crate) fn pending() -> &'static World {
    &worlds()[1]
}

impl World {
    /// Decides, answering every question the same way.
    pub(crate) fn outcome(&self, webhook: Webhook, request: &Request<'_>) -> Outcome {
        static NOW: OnceLock<Timestamp> = OnceLock::new();
        let now = *NOW.get_or_init(|| "2026-06-01T00:00:00Z".parse().unwrap());
        let mut answers = Answers::default();
        for _ in 0..8 {
            let context = Context {
                config: &self.config,
                controller: EMBEDDED_CONTROLLER,
                now,
                namespace: self.namespace.as_deref(),
                pending: &ringfence_core::index::reservations::Pending::default(),
                answers: &answers,
            };
            match decide(webhook, request, &context) {
                Outcome::Ask(asked) => {
                    assert!(answers.get(&asked).is_none(), "{asked} is asked twice");
                    answers.insert(asked, self.answer.clone());
                }
                outcome => return outcome,
            }
        }
        panic!("a decision asks for more permissions than there are");
    }
}

/// Any bytes as the body of a review.
pub fn run(data: &[u8]) {
    let Ok(request) = Request::parse(data) else { return };
    let written = Json::parse(data);
    if let Some(written) = &written {
        is_a_review(&written.resolved(Keep::Last), &request);
    }
    for world in worlds() {
        for webhook in [Webhook::Mutate, Webhook::Validate] {
            let outcome = world.outcome(webhook, &request);
            let mut other = Request::parse(data).unwrap();
            other.dry_run = !other.dry_run;
            assert_eq!(outcome, world.outcome(webhook, &other), "a dry run gets the same verdict");
            let Outcome::Decided(decision) = outcome else { continue };
            is_as_the_api_server_reads_it(webhook, &request, &decision);
            if let Some(written) = written.as_ref().filter(|written| written.has_duplicates()) {
                does_not_hang_on_duplicates(world, webhook, written, &decision);
            }
        }
    }
}

/// What was taken for a review is one by its fields, read by a reader that knows nothing of reviews.
fn is_a_review(value: &Value, request: &Request<'_>) {
    assert_eq!((&value["apiVersion"], &value["kind"]), (&json!("admission.k8s.io/v1"), &json!("AdmissionReview")));
    let written = &value["request"];
    assert!(!request.uid.is_empty());
    for (field, read) in [
        ("uid", &request.uid),
        ("subResource", &request.sub_resource),
        ("name", &request.name),
        ("namespace", &request.namespace),
    ] {
        assert_eq!(written[field].as_str().unwrap_or_default(), read, "{field}");
    }
    let operation = match request.operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
        Operation::Connect => "CONNECT",
    };
    assert_eq!(written["operation"], operation);
    assert_eq!(written["dryRun"].as_bool().unwrap_or_default(), request.dry_run);
    for (field, read) in [("object", request.object), ("oldObject", request.old_object)] {
        assert_eq!(written[field].is_null(), read.is_none(), "{field}");
    }
}

/// The contract of a response.
fn is_as_the_api_server_reads_it(webhook: Webhook, request: &Request<'_>, decision: &Decision) {
    let value: Value = serde_json::from_slice(&response::render(&request.uid, decision).unwrap()).unwrap();
    assert_eq!((&value["apiVersion"], &value["kind"]), (&json!("admission.k8s.io/v1"), &json!("AdmissionReview")));
    let response = &value["response"];
    assert_eq!(response["uid"], request.uid.as_ref());
    let allowed = response["allowed"].as_bool().unwrap();
    let patched = response.get("patch").is_some();
    assert_eq!(patched, response.get("patchType").is_some(), "patch and patchType, both or neither");
    assert!(!patched || webhook == Webhook::Mutate, "a validating reply has no patch");
    assert!(!patched || request.operation != Operation::Delete, "a patch on DELETE is an internal error");
    assert!(allowed || webhook == Webhook::Validate, "/mutate never denies");
    assert_eq!(response.get("status").is_some(), !allowed);
    if !allowed {
        assert!(response["status"]["code"].as_u64().unwrap() >= 400);
        is_one_line_of_bearable_length(response["status"]["message"].as_str().unwrap());
    }
    for (key, value) in response["auditAnnotations"].as_object().unwrap() {
        // A qualified name without a slash: the API server prefixes the webhook's name.
        let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let ends = |c: char| c.is_ascii_alphanumeric();
        assert!(key.len() <= 63 && key.chars().all(inner) && key.starts_with(ends) && key.ends_with(ends), "{key:?}");
        is_one_line_of_bearable_length(value.as_str().unwrap());
    }
    let nothing = Vec::new();
    let warnings: Vec<&str> = response
        .get("warnings")
        .map_or(&nothing, |warnings| warnings.as_array().unwrap())
        .iter()
        .map(|warning| warning.as_str().unwrap())
        .collect();
    for warning in &warnings {
        assert!(!warning.is_empty() && warning.chars().count() <= 120, "{warning:?}");
        is_one_line_of_bearable_length(warning);
    }
    assert!(warnings.iter().map(|warning| warning.len()).sum::<usize>() <= 4096, "{warnings:?}");
}

/// Also a check of what other answers say: what comes from a request must forge no line of a log or a terminal.
pub(crate) fn is_one_line_of_bearable_length(text: &str) {
    assert!(!text.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')), "{text:?}");
    assert!(text.chars().count() <= 4200, "{} characters", text.chars().count());
}

/// Whichever of two values a reader keeps, what it stores gets the verdict that was given.
fn does_not_hang_on_duplicates(world: &World, webhook: Webhook, written: &Json, decision: &Decision) {
    for keep in [Keep::First, Keep::Last, Keep::Merged] {
        let body = serde_json::to_vec(&written.resolved(keep)).unwrap();
        let request = Request::parse(&body).unwrap_or_else(|error| panic!("{keep:?}: {error}"));
        assert_eq!(world.outcome(webhook, &request), Outcome::Decided(decision.clone()), "{keep:?}");
    }
}
