//! How a quarantine is written: the rules of one direction are removed, and the annotation holds them where they fit.
//!
//! The field is removed, and not emptied: then no field manager owns it, and a later server-side apply of the tenant's file
//! has no conflict (tried).

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::http::Request;
use jiff::Timestamp;
use k8s_openapi::api::networking::v1::NetworkPolicy as ApiPolicy;
use kube::Resource;
use kube::api::{Api, Patch};
use ringfence_core::index::Namespace;
use ringfence_core::policy::Direction;
use ringfence_core::quarantine::{Suspect, annotation};
use ringfence_core::vocabulary::QUARANTINED;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::as_ringfence;
use super::writer::{WriteError, Writer};
use crate::cluster::live::StoredPolicy;

/// What annotations may come to in all, in bytes (`TotalAnnotationSizeLimitB` of `k8s.io/apimachinery`).
const ANNOTATIONS: usize = 256 * 1024;

#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow, default)]
    items: Vec<Stored<'a>>,
}

/// A policy as it is stored, with its rules as text: as a tree of JSON, a policy of a megabyte would take a hundred.
#[derive(Deserialize)]
struct Stored<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(borrow, default)]
    spec: Spec<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow)]
    uid: Cow<'a, str>,
    #[serde(borrow)]
    resource_version: Cow<'a, str>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct Spec<'a> {
    #[serde(borrow)]
    ingress: Option<&'a RawValue>,
    #[serde(borrow)]
    egress: Option<&'a RawValue>,
}

impl Writer {
    /// Removes the rules of one direction from a policy. The first try is for the policy as it was read; where it has changed
    /// in between, the second is for whatever is there: a tenant who writes all the time must not be able to put it off.
    pub(super) async fn quarantine(&self, namespace: &Namespace, suspect: &Suspect) -> Result<(), WriteError> {
        for is_last in [false, true] {
            let text = self.read_text(namespace, &suspect.name).await?;
            let read: List<'_> = serde_json::from_str(&text).map_err(|source| WriteError::Refused {
                what: format!("reading NetworkPolicy {}", suspect.name),
                source: kube::Error::SerdeError(source),
            })?;
            let is_meant = |stored: &Stored<'_>| stored.metadata.uid == suspect.uid;
            let Some(stored) = read.items.into_iter().find(is_meant) else { return Ok(()) };
            let rules = match suspect.direction {
                Direction::Ingress => stored.spec.ingress,
                Direction::Egress => stored.spec.egress,
            };
            // What was removed is always in the log, also where the annotation has no room for it.
            tracing::warn!(
                namespace = ?namespace.name(),
                policy = ?suspect.name,
                direction = %suspect.direction,
                reason = suspect.reason,
                rules = rules.map(RawValue::get),
                "quarantining a policy"
            );
            let mut metadata = json!({ "uid": suspect.uid });
            if let Some(note) = note(&stored.metadata.annotations, suspect, rules) {
                metadata["annotations"] = json!({ (QUARANTINED): note });
            }
            if !is_last {
                metadata["resourceVersion"] = json!(stored.metadata.resource_version);
            }
            let patch = json!({ "metadata": metadata, "spec": { (suspect.direction.to_string()): null } });
            match self.patch_policy(namespace, &suspect.name, &patch, "quarantining").await {
                Err(error) if error.is_overtaken() && !is_last => {}
                done => return done,
            }
        }
        Ok(())
    }

    async fn read_text(&self, namespace: &Namespace, name: &str) -> Result<String, WriteError> {
        // A list of one: the right to list is there anyway.
        let path = format!("{}?fieldSelector=metadata.name%3D{name}", ApiPolicy::url_path(&(), Some(namespace.name())));
        let what = || format!("reading NetworkPolicy {name}");
        let request = Request::get(path)
            .body(Vec::new())
            .map_err(|source| WriteError::Refused { what: what(), source: kube::Error::HttpError(source) })?;
        self.bounded(what, self.client().request_text(request)).await
    }

    /// Patches a policy, and takes over what came of it.
    pub(super) async fn patch_policy(
        &self,
        namespace: &Namespace,
        name: &str,
        patch: &Value,
        what: &str,
    ) -> Result<(), WriteError> {
        let api: Api<StoredPolicy> = Api::namespaced(self.client().clone(), namespace.name());
        let relists = self.relists();
        let (params, patch) = (as_ringfence(), Patch::Merge(patch));
        let write = api.patch(name, &params, &patch);
        let written = self.bounded(|| format!("{what} NetworkPolicy {name}"), write).await?;
        self.cluster().written_policy(written, relists);
        Ok(())
    }
}

/// The annotation, with the removed rules where they fit; `None` where not even the annotation does.
fn note(annotations: &BTreeMap<String, String>, suspect: &Suspect, rules: Option<&RawValue>) -> Option<String> {
    let before = annotations.get(QUARANTINED).map(String::as_str);
    let others = annotations.iter().filter(|(key, _)| *key != QUARANTINED);
    let taken: usize = others.map(|(key, value)| key.len() + value.len()).sum();
    let room = ANNOTATIONS.saturating_sub(taken + QUARANTINED.len());
    let now = Timestamp::now();
    [rules, None]
        .into_iter()
        .filter_map(|rules| annotation(before, suspect.direction, now, &suspect.reason, rules).ok())
        .find(|text| text.len() <= room)
}
