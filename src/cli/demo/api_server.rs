//! What an API server does around its webhooks, as far as the story needs it: select, mutate, patch, validate, store.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use jiff::Timestamp;
use ringfence_core::index::{Namespace, State};
use ringfence_core::plan::Action;
use ringfence_core::vocabulary::{GATE, HELD, ISOLATED, MODE, Mode};
use serde_json::{Value, json};

use super::client::Client;
use crate::controller;
use crate::server::App;

/// Who sends a request.
#[derive(Clone, Copy)]
pub(super) enum User {
    /// In the group `system:masters`.
    Admin,
    /// With edit rights in a namespace, and nothing more.
    Tenant,
}

impl User {
    fn info(self) -> Value {
        match self {
            Self::Admin => json!({ "username": "admin", "groups": ["system:masters", "system:authenticated"] }),
            Self::Tenant => json!({ "username": "tina", "groups": ["system:authenticated"] }),
        }
    }
}

/// What came of a request.
pub(super) struct Reply {
    pub(super) allowed: bool,
    /// The object as it was stored, or would have been.
    pub(super) object: Value,
    pub(super) message: String,
    pub(super) warnings: String,
    /// How often a webhook was called.
    pub(super) calls: usize,
}

pub(super) struct ApiServer {
    client: Client,
    app: Arc<App>,
    /// What is stored, by resource, namespace and name.
    stored: BTreeMap<(&'static str, String, String), Value>,
    reviews: usize,
}

impl ApiServer {
    pub(super) async fn connect(address: SocketAddr, ca: &str, app: Arc<App>) -> Result<Self> {
        Ok(Self { client: Client::connect(address, ca).await?, app, stored: BTreeMap::new(), reviews: 0 })
    }

    /// A namespace, as Ringfence sees it.
    pub(super) fn namespace(&self, name: &str) -> Result<Arc<Namespace>> {
        self.app.cluster().namespace(name).with_context(|| format!("Ringfence does not know namespace {name}"))
    }

    /// A namespace's state, as Ringfence sees it.
    pub(super) fn state(&self, name: &str) -> Result<Option<State>> {
        Ok(self.app.cluster().state(self.namespace(name)?.as_ref(), Timestamp::now()))
    }

    /// How many reviews the server says it has decided.
    pub(super) fn reviews_decided(&self) -> u64 {
        self.app.reviews_decided()
    }

    pub(super) async fn create(&mut self, user: User, object: Value) -> Result<Reply> {
        self.write(user, "CREATE", object, true).await
    }

    /// Creates an object that gets past the mutating webhook.
    pub(super) async fn create_past_mutation(&mut self, user: User, object: Value) -> Result<Reply> {
        self.write(user, "CREATE", object, false).await
    }

    async fn write(&mut self, user: User, operation: &str, mut object: Value, mutate: bool) -> Result<Reply> {
        let before = self.reviews;
        let (resource, namespace, name) = identity(&object)?;
        let mut warnings = Vec::new();
        if self.is_called(resource, &namespace) {
            // NetworkPolicies are not registered for mutation.
            if mutate && resource != "networkpolicies" {
                let response = self.review("/mutate", user, operation, Some(&object), None).await?;
                warnings.extend(texts(&response["warnings"]));
                if let Some(patch) = patch_of(&response)? {
                    json_patch::patch(&mut object, &patch).context("the patch does not apply")?;
                }
            }
            let response = self.review("/validate", user, operation, Some(&object), None).await?;
            warnings.extend(texts(&response["warnings"]));
            if response["allowed"] != true {
                return Ok(Reply {
                    allowed: false,
                    object,
                    message: response["status"]["message"].as_str().unwrap_or_default().to_owned(),
                    warnings: warnings.join(" "),
                    calls: self.reviews - before,
                });
            }
        }
        self.stored.insert((resource, namespace, name), object.clone());
        let warnings = warnings.join(" ");
        Ok(Reply { allowed: true, object, message: String::new(), warnings, calls: self.reviews - before })
    }

    /// Deletes a NetworkPolicy.
    pub(super) async fn delete_policy(&mut self, user: User, namespace: &str, name: &str) -> Result<Reply> {
        let before = self.reviews;
        let key = ("networkpolicies", namespace.to_owned(), name.to_owned());
        let object = self.stored.get(&key).cloned().with_context(|| format!("there is no NetworkPolicy {name}"))?;
        let response = self.review("/validate", user, "DELETE", None, Some(&object)).await?;
        let allowed = response["allowed"] == true;
        if allowed {
            self.stored.remove(&key);
        }
        Ok(Reply {
            allowed,
            object,
            message: response["status"]["message"].as_str().unwrap_or_default().to_owned(),
            warnings: texts(&response["warnings"]).join(" "),
            calls: self.reviews - before,
        })
    }

    /// Lets the controller bring a namespace to where it should be, and stores what it does.
    pub(super) fn let_the_controller_work(&mut self, namespace: &str) -> Result<Vec<Action>> {
        let actions = controller::embedded::reconcile(self.app.cluster(), namespace, Timestamp::now());
        for action in &actions {
            match action {
                Action::Apply(policy) => {
                    let object = serde_json::to_value(policy)?;
                    self.stored.insert(identity(&object)?, object);
                }
                Action::Isolate(_) => {
                    self.stored_mut("namespaces", "", namespace)?["metadata"]["labels"][ISOLATED] = json!("true");
                }
                Action::DropIsolated => {
                    self.stored_mut("namespaces", "", namespace)?["metadata"]["labels"][ISOLATED] = Value::Null;
                }
                Action::Lift(pod) => {
                    let pod = self.stored_mut("pods", namespace, pod)?;
                    if let Some(gates) = pod["spec"]["schedulingGates"].as_array_mut() {
                        gates.retain(|gate| gate["name"] != GATE);
                    }
                    if let Some(labels) = pod["metadata"]["labels"].as_object_mut() {
                        labels.remove(HELD);
                    }
                }
                Action::Quarantine(_)
                | Action::EndQuarantine(..)
                | Action::Prune(_)
                | Action::Record(_)
                | Action::EndExemption
                | Action::Report(_) => {}
            }
        }
        Ok(actions)
    }

    pub(super) fn stored(&self, resource: &'static str, namespace: &str, name: &str) -> Option<&Value> {
        self.stored.get(&(resource, namespace.to_owned(), name.to_owned()))
    }

    fn stored_mut(&mut self, resource: &'static str, namespace: &str, name: &str) -> Result<&mut Value> {
        let key = (resource, namespace.to_owned(), name.to_owned());
        self.stored.get_mut(&key).with_context(|| format!("{resource} {name} is not stored"))
    }

    /// The selector of the webhook entry for pods: `mode In (enforce)`, `isolated NotIn (true)`. All else is always sent.
    fn is_called(&self, resource: &str, namespace: &str) -> bool {
        let labels = self.stored("namespaces", "", namespace).map(|stored| &stored["metadata"]["labels"]);
        resource != "pods"
            || labels.is_some_and(|labels| labels[MODE] == Mode::Enforce.as_str() && labels[ISOLATED] != "true")
    }

    async fn review(
        &mut self,
        path: &str,
        user: User,
        operation: &str,
        object: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<Value> {
        self.reviews += 1;
        let (resource, namespace, name) = identity(object.or(old).context("a review needs an object")?)?;
        let group = if resource == "networkpolicies" { "networking.k8s.io" } else { "" };
        // The API server gives a namespace's own name as its namespace.
        let in_namespace = if resource == "namespaces" { &name } else { &namespace };
        let review = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": format!("demo-{}", self.reviews),
                "resource": { "group": group, "version": "v1", "resource": resource },
                "name": name,
                "namespace": in_namespace,
                "operation": operation,
                "userInfo": user.info(),
                "object": object,
                "oldObject": old,
                "dryRun": false,
            },
        });
        self.client.post(path, &review).await
    }
}

fn identity(object: &Value) -> Result<(&'static str, String, String)> {
    let resource = match object["kind"].as_str() {
        Some("Namespace") => "namespaces",
        Some("Pod") => "pods",
        Some("NetworkPolicy") => "networkpolicies",
        other => anyhow::bail!("the story has no {other:?}"),
    };
    let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
    Ok((resource, text("namespace"), text("name")))
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(|text| text.trim().to_owned())).collect()
}

fn patch_of(response: &Value) -> Result<Option<json_patch::Patch>> {
    let Some(encoded) = response.get("patch").filter(|patch| !patch.is_null()) else { return Ok(None) };
    let bytes: k8s_openapi::ByteString = serde_json::from_value(encoded.clone()).context("the patch is not base64")?;
    serde_json::from_slice(&bytes.0).map(Some).context("the patch is not a JSON patch")
}
