//! What the webhook configurations are to be (`admissionregistration.k8s.io/v1`). Pure: the template of the chart and what
//! is stored go in, the object to store comes out.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;

use anyhow::{Context, Result, bail};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, RuleWithOperations, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use ringfence_core::vocabulary::RINGFENCE;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::certs::trust::Webhook;
use crate::manifests;

const FAIL: &str = "Fail";
const IGNORE: &str = "Ignore";

/// How long an API server waits for an entry that is not armed, at most: nothing has to wait for it.
const UNARMED_SECONDS: i32 = 2;

/// What says that an object belongs to a release of helm.
const OF_HELM: &str = "meta.helm.sh/";

/// What both configurations' entries have in common.
pub struct Entry<'a> {
    /// Its name, by which it is found again in another version of the object.
    pub name: &'a str,
    /// Where it is served, and what is trusted there.
    pub client: &'a mut WebhookClientConfig,
    failure_policy: &'a mut Option<String>,
    timeout_seconds: &'a mut Option<i32>,
    match_policy: &'a mut Option<String>,
    namespace_selector: &'a mut Option<LabelSelector>,
    object_selector: &'a mut Option<LabelSelector>,
    rules: &'a mut Option<Vec<RuleWithOperations>>,
}

/// Either configuration.
pub trait Configuration:
    kube::Resource<DynamicType = ()> + Clone + PartialEq + Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// Which of the two.
    const WEBHOOK: Webhook;

    /// Its entries, to be changed.
    fn entries(&mut self) -> Vec<Entry<'_>>;

    /// Where its entries are served, and what is trusted there, by the name of each.
    fn clients(&self) -> impl Iterator<Item = (&str, &WebhookClientConfig)>;

    /// Whether any of its entries blocks what it is called for where nothing answers.
    fn is_armed(&self) -> bool;

    /// Whether the entries of both are the same, field by field, in the same order.
    fn has_entries_of(&self, other: &Self) -> bool;

    /// Fills in what the API server fills in, in fields that the other configuration lacks.
    fn fill(&mut self) {}
}

macro_rules! configuration {
    ($type:ident, $webhook:ident $(, $fill:item)?) => {
        impl Configuration for $type {
            const WEBHOOK: Webhook = Webhook::$webhook;

            fn entries(&mut self) -> Vec<Entry<'_>> {
                let entries = self.webhooks.iter_mut().flatten();
                entries
                    .map(|entry| Entry {
                        name: &entry.name,
                        client: &mut entry.client_config,
                        failure_policy: &mut entry.failure_policy,
                        timeout_seconds: &mut entry.timeout_seconds,
                        match_policy: &mut entry.match_policy,
                        namespace_selector: &mut entry.namespace_selector,
                        object_selector: &mut entry.object_selector,
                        rules: &mut entry.rules,
                    })
                    .collect()
            }

            fn clients(&self) -> impl Iterator<Item = (&str, &WebhookClientConfig)> {
                self.webhooks.iter().flatten().map(|entry| (entry.name.as_str(), &entry.client_config))
            }

            fn is_armed(&self) -> bool {
                self.webhooks.iter().flatten().any(|entry| entry.failure_policy.as_deref() != Some(IGNORE))
            }

            fn has_entries_of(&self, other: &Self) -> bool {
                self.webhooks == other.webhooks
            }

            $($fill)?
        }
    };
}

configuration!(ValidatingWebhookConfiguration, Validating);
configuration!(
    MutatingWebhookConfiguration,
    Mutating,
    fn fill(&mut self) {
        for entry in self.webhooks.iter_mut().flatten() {
            entry.reinvocation_policy.get_or_insert_with(|| "Never".to_owned());
        }
    }
);

/// Both configurations as the chart has them.
#[derive(Clone, Debug)]
pub struct Templates {
    /// What the file `mutating.yaml` holds.
    pub mutating: MutatingWebhookConfiguration,
    /// What the file `validating.yaml` holds.
    pub validating: ValidatingWebhookConfiguration,
}

impl Templates {
    /// Reads both from a directory.
    ///
    /// # Errors
    /// Where a file can't be read, or is not the configuration that it should be.
    pub fn read(directory: &Path) -> Result<Self> {
        Ok(Self {
            mutating: read(&directory.join("mutating.yaml"))?,
            validating: read(&directory.join("validating.yaml"))?,
        })
    }
}

fn read<C: Configuration>(path: &Path) -> Result<C> {
    let file = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("failed to read {file}"))?;
    parse(&text).with_context(|| format!("{file} can't be used"))
}

/// Reads one, and fills in the defaults of the API server, so that what is stored can be compared with it.
fn parse<C: Configuration>(text: &str) -> Result<C> {
    let document = match manifests::parse_one(text) {
        Ok(Some(document)) => document.to_value(),
        Ok(None) => bail!("it is empty"),
        Err((at, message)) => bail!("{}: {message}", at.unwrap_or_default()),
    };
    let kind = C::kind(&());
    if document["kind"] != *kind || document["apiVersion"] != *C::api_version(&()) {
        bail!("it is not a {kind} of {}", C::api_version(&()));
    }
    let mut object: C = serde_json::from_value(document)?;
    if object.meta().name.as_deref() != Some(RINGFENCE) {
        bail!("its name is not {RINGFENCE:?}");
    }
    object.fill();
    for entry in object.entries() {
        entry.failure_policy.get_or_insert_with(|| FAIL.to_owned());
        entry.timeout_seconds.get_or_insert(10);
        entry.match_policy.get_or_insert_with(|| "Equivalent".to_owned());
        entry.namespace_selector.get_or_insert_default();
        entry.object_selector.get_or_insert_default();
        if let Some(service) = &mut entry.client.service {
            service.port.get_or_insert(443);
        }
        for rule in entry.rules.iter_mut().flatten() {
            rule.scope.get_or_insert_with(|| "*".to_owned());
        }
    }
    Ok(object)
}

/// What an object is made of besides its template.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The CAs to trust, PEM. `None` where they are somebody else's to write: those of the template, or those that are
    /// stored.
    pub bundle: Option<&'a str>,
    /// Whether the failure policies are those of the template.
    pub armed: bool,
    /// Whom the garbage collector removes it with.
    pub owner: Option<&'a OwnerReference>,
}

/// The object that is to be stored, over the one that is.
#[must_use]
pub fn desired<C: Configuration>(template: &C, stored: Option<&C>, wanted: Wanted<'_>) -> C {
    let bundles: BTreeMap<&str, Option<&ByteString>> =
        stored.into_iter().flat_map(C::clients).map(|(name, client)| (name, client.ca_bundle.as_ref())).collect();
    let mut object = template.clone();
    for entry in object.entries() {
        entry.client.ca_bundle = if let Some(bundle) = wanted.bundle {
            Some(ByteString(bundle.as_bytes().to_vec()))
        } else {
            // An entry that is new gets what the others have: it is served in the same place.
            let found = || match bundles.get(entry.name) {
                Some(bundle) => *bundle,
                None => bundles.values().flatten().next().copied(),
            };
            entry.client.ca_bundle.take().or_else(|| found().cloned())
        };
        if !wanted.armed {
            *entry.failure_policy = Some(IGNORE.to_owned());
            *entry.timeout_seconds = entry.timeout_seconds.map(|seconds| seconds.min(UNARMED_SECONDS));
        }
    }
    let metadata = object.meta_mut();
    if let Some(stored) = stored.map(kube::Resource::meta) {
        let foreign = stored.annotations.clone().unwrap_or_default().into_iter();
        let mut annotations: BTreeMap<String, String> = foreign.filter(|(key, _)| !key.starts_with(OF_HELM)).collect();
        annotations.extend(metadata.annotations.take().unwrap_or_default());
        *metadata = ObjectMeta {
            annotations: Some(annotations),
            labels: metadata.labels.take(),
            owner_references: stored.owner_references.clone(),
            finalizers: stored.finalizers.clone(),
            name: metadata.name.take(),
            resource_version: stored.resource_version.clone(),
            uid: stored.uid.clone(),
            ..ObjectMeta::default()
        };
    }
    if let Some(owner) = wanted.owner {
        metadata.owner_references = Some(vec![owner.clone()]);
    }
    object
}

/// A map that the API server would leave out where it is empty.
fn filled<K, V>(map: Option<&BTreeMap<K, V>>) -> Option<&BTreeMap<K, V>> {
    map.filter(|map| !map.is_empty())
}

/// Whether an object is stored as it is to be.
#[must_use]
pub fn is_stored<C: Configuration>(desired: &C, stored: &C) -> bool {
    let (one, other) = (desired.meta(), stored.meta());
    desired.has_entries_of(stored)
        && filled(one.labels.as_ref()) == filled(other.labels.as_ref())
        && filled(one.annotations.as_ref()) == filled(other.annotations.as_ref())
        && one.owner_references == other.owner_references
}

/// What every entry of an object is reached by, its path aside: the Service, and the CAs that are trusted there. `None`
/// where they differ: that one is reached says nothing of the others.
#[must_use]
pub fn reached_by<C: Configuration>(stored: &C) -> Option<WebhookClientConfig> {
    let mut clients = stored.clients().map(|(_, client)| {
        let mut client = client.clone();
        client.service.iter_mut().for_each(|service| service.path = None);
        client
    });
    let first = clients.next()?;
    clients.all(|other| other == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = "
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: { name: ringfence, labels: { a: b }, annotations: { helm.sh/resource-policy: keep } }
webhooks:
  - name: one.ringfence.dev
    admissionReviewVersions: [v1]
    sideEffects: None
    failurePolicy: Fail
    timeoutSeconds: 5
    clientConfig: { service: { name: ringfence, namespace: ringfence-system } }
    rules: [{ apiGroups: [''], apiVersions: [v1], resources: [pods], operations: [CREATE] }]
  - name: two.ringfence.dev
    admissionReviewVersions: [v1]
    sideEffects: None
    failurePolicy: Ignore
    timeoutSeconds: 1
    clientConfig: { service: { name: ringfence, namespace: ringfence-system } }
";

    fn template() -> ValidatingWebhookConfiguration {
        parse(TEMPLATE).unwrap()
    }

    fn wanted(bundle: Option<&str>, armed: bool) -> Wanted<'_> {
        Wanted { bundle, armed, owner: None }
    }

    fn policies(object: &ValidatingWebhookConfiguration) -> Vec<(String, i32)> {
        let mut object = object.clone();
        let entry = |entry: &Entry<'_>| (entry.failure_policy.clone().unwrap(), entry.timeout_seconds.unwrap());
        object.entries().iter().map(entry).collect()
    }

    #[test]
    fn an_object_that_is_not_armed_blocks_nothing_and_an_armed_one_is_the_template() {
        let unarmed = desired(&template(), None, wanted(Some("ca"), false));
        assert_eq!(policies(&unarmed), [("Ignore".to_owned(), 2), ("Ignore".to_owned(), 1)]);
        assert!(!unarmed.is_armed());
        let armed = desired(&template(), Some(&unarmed), wanted(Some("ca"), true));
        assert_eq!(policies(&armed), [("Fail".to_owned(), 5), ("Ignore".to_owned(), 1)]);
        assert!(armed.is_armed());
        assert!(is_stored(&armed, &armed) && !is_stored(&armed, &unarmed));
    }

    #[test]
    fn a_change_of_any_field_differs_and_annotations_of_others_do_not() {
        let stored = desired(&template(), None, wanted(Some("ca"), true));
        let differs = |change: fn(&mut ValidatingWebhookConfiguration)| {
            let mut changed = stored.clone();
            change(&mut changed);
            !is_stored(&desired(&template(), Some(&changed), wanted(Some("ca"), true)), &changed)
        };
        assert!(!differs(|_| {}));
        assert!(differs(|object| object.webhooks.as_mut().unwrap()[0].rules = None));
        assert!(differs(|object| object.webhooks.as_mut().unwrap()[0].failure_policy = Some("Ignore".to_owned())));
        assert!(differs(|object| object.webhooks.as_mut().unwrap()[0].client_config.ca_bundle = None));
        assert!(differs(|object| {
            let selector = LabelSelector {
                match_labels: Some([("a".to_owned(), "b".to_owned())].into()),
                match_expressions: None,
            };
            object.webhooks.as_mut().unwrap()[1].object_selector = Some(selector);
        }));
        assert!(differs(|object| drop(object.webhooks.as_mut().unwrap().pop())));
        assert!(differs(|object| object.metadata.labels = None));
        assert!(differs(|object| object.metadata.annotations = None));
        assert!(!differs(|object| {
            object.metadata.annotations.as_mut().unwrap().insert("example.com/theirs".to_owned(), "kept".to_owned());
        }));
        // Helm is told that it is not its own any more.
        assert!(differs(|object| {
            object
                .metadata
                .annotations
                .as_mut()
                .unwrap()
                .insert("meta.helm.sh/release-name".to_owned(), "x".to_owned());
        }));
    }

    #[test]
    fn a_bundle_of_somebody_else_is_kept_and_a_new_entry_gets_it_too() {
        let mut stored = desired(&template(), None, wanted(None, true));
        assert!(stored.entries().iter().all(|entry| entry.client.ca_bundle.is_none()));
        stored.webhooks.as_mut().unwrap().pop();
        stored.entries()[0].client.ca_bundle = Some(ByteString(b"theirs".to_vec()));
        let mut next = desired(&template(), Some(&stored), wanted(None, true));
        for entry in next.entries() {
            assert_eq!(entry.client.ca_bundle.as_ref().unwrap().0, b"theirs");
        }
        // An entry that they left without one is left so.
        next.entries()[1].client.ca_bundle = None;
        let next = desired(&template(), Some(&next), wanted(None, true));
        assert!(next.webhooks.unwrap()[1].client_config.ca_bundle.is_none());
        // One that the chart was given is written.
        let mut given = template();
        given.entries()[0].client.ca_bundle = Some(ByteString(b"given".to_vec()));
        let mut next = desired(&given, Some(&stored), wanted(None, true));
        assert_eq!(next.entries()[0].client.ca_bundle.as_ref().unwrap().0, b"given");
    }

    #[test]
    fn entries_that_trust_different_cas_are_not_reached_alike() {
        let mut stored = desired(&template(), None, wanted(Some("ca"), true));
        assert!(reached_by(&stored).is_some_and(|client| client.ca_bundle.unwrap().0 == b"ca"));
        stored.entries()[1].client.ca_bundle = None;
        assert!(reached_by(&stored).is_none());
    }

    #[test]
    fn a_template_of_another_kind_or_name_is_an_error() {
        let error = |text: &str| format!("{:#}", parse::<ValidatingWebhookConfiguration>(text).unwrap_err());
        assert!(error("").contains("empty"));
        assert!(error(&TEMPLATE.replace("Validating", "Mutating")).contains("not a ValidatingWebhookConfiguration"));
        assert!(error(&TEMPLATE.replace("name: ringfence, labels", "name: other, labels")).contains("name is not"));
        assert!(error("a: [").contains(':'));
    }
}
