//! What the API servers trust: the `caBundle` of each entry of the two webhook configurations.
//! (`admissionregistration.k8s.io/v1`, `WebhookClientConfig`.)

use std::collections::BTreeMap;
use std::future::ready;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use kube::Client;
use kube::api::{Api, Patch};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use ringfence_core::vocabulary::RINGFENCE;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::serving::Serving;
use crate::cluster::live::watch::waits;
use crate::controller::as_ringfence;

/// One of the two webhook configurations. Both are called `ringfence`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Webhook {
    /// The `MutatingWebhookConfiguration`.
    Mutating,
    /// The `ValidatingWebhookConfiguration`.
    Validating,
}

impl Webhook {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Mutating, Self::Validating];

    /// The word for it, as metrics and logs write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mutating => "mutating",
            Self::Validating => "validating",
        }
    }
}

/// What one configuration trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    /// The version that was read.
    version: Option<String>,
    /// The `caBundle` of each entry, PEM, by the entry's name. Empty where an entry has none.
    bundles: BTreeMap<String, Vec<u8>>,
}

impl Trusted {
    fn new<'a>(version: Option<&String>, entries: impl Iterator<Item = (&'a String, &'a WebhookClientConfig)>) -> Self {
        let bundle = |config: &WebhookClientConfig| config.ca_bundle.clone().unwrap_or_default().0;
        Self {
            version: version.cloned(),
            bundles: entries.map(|(name, config)| (name.clone(), bundle(config))).collect(),
        }
    }

    /// Whether every entry trusts exactly these CAs.
    #[must_use]
    pub fn is_exactly(&self, bundle: &str) -> bool {
        let wanted = pem::parse_many(bundle).unwrap_or_default();
        self.bundles.values().all(|live| pem::parse_many(live).is_ok_and(|live| live == wanted))
    }

    /// Whether every entry would accept what is served, under this name, now.
    fn accepts(&self, serving: &Serving, name: &str) -> bool {
        let (pair, now) = (serving.pair(), Timestamp::now());
        let mut accepted: Vec<&[u8]> = Vec::new();
        self.bundles.values().all(|bundle| {
            // Mostly all are the same.
            let is_known = accepted.contains(&bundle.as_slice());
            accepted.push(bundle);
            is_known || pair.accepted_by(bundle, name, now).is_ok()
        })
    }
}

/// What both configurations trust, as far as that is known.
#[derive(Default)]
pub struct Trust(BTreeMap<Webhook, Option<Trusted>>);

impl Trust {
    /// Takes in what a watch has seen: a configuration, or that there is none. Says whether what it trusts has changed.
    pub fn see(&mut self, webhook: Webhook, trusted: Option<Trusted>) -> bool {
        let bundles = |trusted: &Option<Trusted>| trusted.as_ref().map(|trusted| trusted.bundles.clone());
        let now = bundles(&trusted);
        self.0.insert(webhook, trusted).as_ref().map(bundles) != Some(now)
    }

    /// The configurations that do not trust exactly these CAs; `None` where one is not known yet.
    #[must_use]
    pub fn lacking(&self, bundle: &str) -> Option<Vec<(Webhook, &Trusted)>> {
        let known = Webhook::ALL.iter().all(|webhook| self.0.contains_key(webhook));
        let lacking = self.0.iter().filter_map(|(webhook, trusted)| Some((*webhook, trusted.as_ref()?)));
        known.then(|| lacking.filter(|(_, trusted)| !trusted.is_exactly(bundle)).collect())
    }

    /// Records for each configuration whether what is served would be accepted under this name.
    pub fn record(&self, serving: &Serving, name: &str) {
        for (webhook, trusted) in &self.0 {
            serving.metrics().ca_bundle(*webhook, trusted.as_ref().map(|trusted| trusted.accepts(serving, name)));
        }
    }
}

/// What is seen of an object of this name, again and again: the object, or that there is none.
pub(super) fn watch_one<K>(api: Api<K>, name: &str, seconds: u32) -> impl Stream<Item = Option<K>> + Send + use<K>
where
    K: kube::Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}")).timeout(seconds);
    let mut found = None;
    watcher::watcher(api, config).backoff(waits()).filter_map(move |event| {
        let seen = match event {
            Ok(Event::Init) => {
                found = None;
                None
            }
            Ok(Event::InitApply(object)) => {
                found = Some(object);
                None
            }
            Ok(Event::InitDone) => Some(found.take()),
            Ok(Event::Apply(object)) => Some(Some(object)),
            Ok(Event::Delete(_)) => Some(None),
            Err(error) => {
                tracing::warn!(watch = std::any::type_name::<K>(), %error, "a watch failed; trying again");
                None
            }
        };
        ready(seen)
    })
}

/// What both configurations trust, as it changes.
pub(super) fn watch(client: &Client, seconds: u32) -> BoxStream<'static, (Webhook, Option<Trusted>)> {
    let mutating: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let validating: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let mutating = watch_one(mutating, RINGFENCE, seconds).map(|seen| {
        let trusted = seen.map(|configuration| {
            let entries = configuration.webhooks.iter().flatten().map(|entry| (&entry.name, &entry.client_config));
            Trusted::new(configuration.metadata.resource_version.as_ref(), entries)
        });
        (Webhook::Mutating, trusted)
    });
    let validating = watch_one(validating, RINGFENCE, seconds).map(|seen| {
        let trusted = seen.map(|configuration| {
            let entries = configuration.webhooks.iter().flatten().map(|entry| (&entry.name, &entry.client_config));
            Trusted::new(configuration.metadata.resource_version.as_ref(), entries)
        });
        (Webhook::Validating, trusted)
    });
    futures::stream::select(mutating, validating).boxed()
}

/// Records whether the API servers would accept what is served. It never returns.
pub async fn follow(client: &Client, seconds: u32, serving: &Serving, name: &str) {
    // A certificate ends without anybody saying so.
    const EVERY: std::time::Duration = std::time::Duration::from_secs(60);
    let mut seen = watch(client, seconds);
    let mut trust = Trust::default();
    loop {
        if let Ok(Some((webhook, trusted))) = tokio::time::timeout(EVERY, seen.next()).await {
            trust.see(webhook, trusted);
        }
        trust.record(serving, name);
    }
}

/// Has every entry of a configuration trust these CAs. It fails where the configuration is not as it was read any more:
/// an entry that is gone must not be made anew of nothing but a bundle.
pub(super) async fn write(client: &Client, webhook: Webhook, trusted: &Trusted, bundle: &str) -> kube::Result<()> {
    let params = as_ringfence();
    let mutating: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let validating: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let patch = patch(trusted, bundle);
    match webhook {
        Webhook::Mutating => mutating.patch(RINGFENCE, &params, &patch).await.map(drop),
        Webhook::Validating => validating.patch(RINGFENCE, &params, &patch).await.map(drop),
    }
}

fn patch(trusted: &Trusted, bundle: &str) -> Patch<Value> {
    let bundle = k8s_openapi::ByteString(bundle.as_bytes().to_vec());
    let entries: Vec<Value> =
        trusted.bundles.keys().map(|name| json!({ "name": name, "clientConfig": { "caBundle": bundle } })).collect();
    Patch::Strategic(json!({ "metadata": { "resourceVersion": trusted.version }, "webhooks": entries }))
}
