//! What the API servers trust: the `caBundle` of each entry of the two webhook configurations.
//! (`admissionregistration.k8s.io/v1`, `WebhookClientConfig`.)

use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use kube::Client;
use kube::api::{Api, ListParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use pem::{EncodeConfig, LineEnding};
use ringfence_core::vocabulary::RINGFENCE;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::pair::Pair;
use super::serving::Serving;
use crate::cluster::live::watch::waits;

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
    /// The `caBundle` of each entry, PEM, by the entry's name. Empty where an entry has none.
    bundles: BTreeMap<String, Vec<u8>>,
}

impl Trusted {
    fn new<'a>(entries: impl Iterator<Item = (&'a String, &'a WebhookClientConfig)>) -> Self {
        let bundle = |config: &WebhookClientConfig| config.ca_bundle.clone().unwrap_or_default().0;
        Self { bundles: entries.map(|(name, config)| (name.clone(), bundle(config))).collect() }
    }

    /// Whether every entry trusts exactly these CAs, in whatever order.
    fn is_exactly(&self, bundle: &str) -> bool {
        self.bundles.values().all(|live| same_cas(live, bundle.as_bytes()))
    }

    /// Whether every entry would accept a pair, under this name, now.
    fn accept(&self, pair: &Pair, name: &str) -> bool {
        let now = Timestamp::now();
        // Mostly all are the same.
        let bundles: BTreeSet<&Vec<u8>> = self.bundles.values().collect();
        bundles.into_iter().all(|bundle| pair.accepted_by(bundle, name, now).is_ok())
    }
}

/// Whether two bundles are the same CAs, in whatever order.
pub(super) fn same_cas(one: &[u8], other: &[u8]) -> bool {
    let cas = |bundle: &[u8]| {
        let mut cas: Vec<Vec<u8>> = pem::parse_many(bundle).ok()?.into_iter().map(pem::Pem::into_contents).collect();
        cas.sort();
        Some(cas)
    };
    cas(one).is_some_and(|one| cas(other) == Some(one))
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

    /// Whether each configuration that there is trusts exactly these CAs; `None` where one is not known yet.
    #[must_use]
    pub fn is_exactly(&self, bundle: &str) -> Option<bool> {
        let known = Webhook::ALL.iter().all(|webhook| self.0.contains_key(webhook));
        known.then(|| self.0.values().flatten().all(|trusted| trusted.is_exactly(bundle)))
    }

    /// Whether the API servers would refuse a pair and accept another one, as far as is known.
    #[must_use]
    pub fn refuses(&self, pair: &Pair, but_not: &Pair, name: &str) -> bool {
        let known = || self.0.values().flatten();
        let accept = |pair: &Pair| known().next().is_some() && known().all(|trusted| trusted.accept(pair, name));
        !accept(pair) && accept(but_not)
    }

    /// Every CA that some entry trusts, as PEM.
    #[must_use]
    pub fn cas(&self) -> Vec<String> {
        let bundles = self.0.values().flatten().flat_map(|trusted| trusted.bundles.values());
        let cas: BTreeSet<String> =
            bundles.flat_map(|bundle| pem::parse_many(bundle).unwrap_or_default()).map(|ca| as_pem(&ca)).collect();
        cas.into_iter().collect()
    }

    /// Records for each configuration whether what is served would be accepted under this name.
    pub fn record(&self, serving: &Serving, name: &str) {
        for (webhook, trusted) in &self.0 {
            let matches = trusted.as_ref().is_some_and(|trusted| trusted.accept(&serving.pair(), name));
            serving.metrics().ca_bundle(*webhook, matches);
        }
    }
}

/// PEM as everything here writes it.
pub(super) fn as_pem(ca: &pem::Pem) -> String {
    pem::encode_config(ca, EncodeConfig::new().set_line_ending(LineEnding::LF))
}

/// The name by which API servers call the webhooks: that of the Service in this namespace.
#[must_use]
pub fn server_name(namespace: &str) -> String {
    format!("{RINGFENCE}.{namespace}.svc")
}

/// What is seen of an object of this name, again and again: the object, or that there is none. kube's `watch_object` takes
/// neither how long a watch lasts nor how errors are waited after.
pub(crate) fn watch_one<K>(api: Api<K>, name: &str, seconds: u32) -> impl Stream<Item = Option<K>> + Send + use<K>
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

impl Trusted {
    fn mutating(configuration: &MutatingWebhookConfiguration) -> Self {
        let entries = configuration.webhooks.iter().flatten().map(|entry| (&entry.name, &entry.client_config));
        Self::new(entries)
    }

    fn validating(configuration: &ValidatingWebhookConfiguration) -> Self {
        let entries = configuration.webhooks.iter().flatten().map(|entry| (&entry.name, &entry.client_config));
        Self::new(entries)
    }
}

/// What both configurations trust, as it changes.
pub(super) fn watch(client: &Client, seconds: u32) -> BoxStream<'static, (Webhook, Option<Trusted>)> {
    let mutating = watch_one(Api::all(client.clone()), RINGFENCE, seconds)
        .map(|seen| (Webhook::Mutating, seen.as_ref().map(Trusted::mutating)));
    let validating = watch_one(Api::all(client.clone()), RINGFENCE, seconds)
        .map(|seen| (Webhook::Validating, seen.as_ref().map(Trusted::validating)));
    futures::stream::select(mutating, validating).boxed()
}

/// What both configurations trust now, as the API server itself says.
pub(super) async fn read(client: &Client) -> kube::Result<[(Webhook, Option<Trusted>); 2]> {
    // A list by name: for that the right to watch is enough, which is needed anyway.
    let one = ListParams::default().fields(&format!("metadata.name={RINGFENCE}"));
    let (mutating, validating) = (Api::all(client.clone()), Api::all(client.clone()));
    let (mutating, validating) = tokio::try_join!(mutating.list(&one), validating.list(&one))?;
    Ok([
        (Webhook::Mutating, mutating.items.first().map(Trusted::mutating)),
        (Webhook::Validating, validating.items.first().map(Trusted::validating)),
    ])
}

/// How often what is watched is read all the same: a watch may be silent for another reason than that nothing happens, and
/// a certificate ends without anybody saying so.
pub(crate) const READ_EVERY: Duration = Duration::from_secs(60);

/// Records whether the API servers would accept what is served. It never returns.
pub async fn follow(client: &Client, watching: (Client, u32), serving: &Serving, name: &str) {
    let mut seen = watch(&watching.0, watching.1);
    let mut trust = Trust::default();
    let mut read_at = Instant::now() + READ_EVERY;
    loop {
        tokio::select! {
            Some((webhook, trusted)) = seen.next() => {
                trust.see(webhook, trusted);
            }
            () = tokio::time::sleep_until(read_at) => {
                read_at = Instant::now() + READ_EVERY;
                match read(client).await {
                    Ok(all) => {
                        for (webhook, trusted) in all {
                            trust.see(webhook, trusted);
                        }
                    }
                    Err(error) => tracing::warn!(%error, "what the API servers trust can't be read"),
                }
            }
        }
        trust.record(serving, name);
    }
}
