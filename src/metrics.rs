//! Metrics, recorded once per request from what was returned. Every label's values come from enums of this program,
//! never from a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use ringfence_core::admission::Webhook;
use ringfence_core::admission::review::{Operation, Resource};

use jiff::Timestamp;

use crate::certs::serving::Source;
use crate::certs::trust::Webhook as Registered;
use crate::cluster::Cluster;
use crate::cluster::live::Live;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Decided {
    webhook: &'static str,
    resource: &'static str,
    operation: &'static str,
    allowed: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    state: &'static str,
}

/// What came of a reconcile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reconciled {
    /// The namespace is where it should be, as far as it can be.
    Done,
    /// Something changed while it was reconciled; it is planned again.
    Overtaken,
    /// A write failed; it is tried again.
    Failed,
}

/// Why something was shed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shed {
    /// A call that had waited too long for its turn: 503.
    Late,
    /// More reviews at one time than `limits.concurrentReviews`: 503.
    Reviews,
    /// More bytes of bodies at one time than `limits.bytesInFlight`: 503.
    Bytes,
    /// More memory for what is built from bodies than `limits.reviewBytes`: 503.
    Memory,
    /// More connections than `limits.connections`: closed.
    Connections,
    /// A handshake that had waited too long for its turn: closed.
    Handshake,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Watch {
    watch: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Certificate {
    certificate: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateSource {
    source: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Configuration {
    configuration: &'static str,
}

/// The metrics of a process.
pub struct Metrics {
    registry: Registry,
    decisions: Family<Decided, Counter>,
    refusals: Family<Refused, Counter>,
    shed: Family<Reason, Counter>,
    connections: Gauge,
    bytes: Gauge,
    built: Gauge,
    seconds: Histogram,
    /// The sum over all decisions, which the family can't be asked for.
    reviews: AtomicU64,
    namespaces: Family<InState, Gauge>,
    held: Gauge,
    leader: Gauge,
    reconciles: Family<Outcome, Counter>,
    silence: Family<Watch, Gauge<f64, AtomicU64>>,
    expiry: Family<Certificate, Gauge>,
    reloaded: Gauge,
    refused_sources: Family<CertificateSource, Gauge>,
    mismatches: Family<Configuration, Gauge>,
    armed: Family<Configuration, Gauge>,
    tasks: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("ringfence");
        let decisions = Family::default();
        registry.register("admission_reviews", "Reviews decided, by what came of them", decisions.clone());
        let refusals = Family::default();
        registry.register(
            "http_refusals",
            "Calls that were answered with an error instead of a decision",
            refusals.clone(),
        );
        let shed = Family::default();
        registry.register("shed", "Calls and connections that were shed under load, by the reason", shed.clone());
        let connections = Gauge::default();
        registry.register("connections", "Connections to the webhooks that are open", connections.clone());
        let bytes = Gauge::default();
        registry.register_with_unit("in_flight", "Bytes of bodies that are held", Unit::Bytes, bytes.clone());
        let built = Gauge::default();
        registry.register_with_unit(
            "reviews",
            "Memory taken for what is built from bodies",
            Unit::Bytes,
            built.clone(),
        );
        // From 16 µs to about half a second; the API server waits for 5 s.
        let seconds = Histogram::new((0..16).map(|power| 16e-6 * f64::from(1u32 << power)));
        registry.register_with_unit(
            "admission_duration",
            "From the whole body to the response",
            Unit::Seconds,
            seconds.clone(),
        );
        let namespaces = Family::default();
        registry.register("namespaces", "Namespaces by state", namespaces.clone());
        let held = Gauge::default();
        registry.register("held_pods", "Pods that are held until their namespace is isolated", held.clone());
        let leader = Gauge::default();
        registry.register("leader", "Whether this replica holds the Lease and writes", leader.clone());
        let reconciles = Family::default();
        registry.register("reconciles", "Reconciles of a namespace, by what came of them", reconciles.clone());
        let silence = Family::default();
        registry.register_with_unit(
            "watch_silence",
            "Since when a watch has not been heard, bookmarks included",
            Unit::Seconds,
            silence.clone(),
        );
        let expiry = Family::default();
        registry.register_with_unit(
            "certificate_expiration_timestamp",
            "When the certificate that is served ends, and when its CA does",
            Unit::Seconds,
            expiry.clone(),
        );
        let reloaded = Gauge::default();
        registry.register_with_unit(
            "certificate_last_reload_timestamp",
            "When what is served was last replaced",
            Unit::Seconds,
            reloaded.clone(),
        );
        let refused_sources = Family::default();
        registry.register(
            "certificate_source_refused",
            "Whether what is to be served can't be, so that what was before is served on",
            refused_sources.clone(),
        );
        let mismatches = Family::default();
        registry.register(
            "ca_bundle_mismatch",
            "Whether a webhook configuration trusts no CA by which the certificate that is served would be accepted",
            mismatches.clone(),
        );
        let armed = Family::default();
        registry.register(
            "webhooks_armed",
            "Whether there is a webhook configuration that blocks what it is called for where nothing answers",
            armed.clone(),
        );
        let tasks = Gauge::default();
        registry.register("tasks", "Tasks of the runtime that have not ended", tasks.clone());
        Self {
            registry,
            decisions,
            refusals,
            shed,
            connections,
            bytes,
            built,
            seconds,
            reviews: AtomicU64::new(0),
            namespaces,
            held,
            leader,
            reconciles,
            silence,
            expiry,
            reloaded,
            refused_sources,
            mismatches,
            armed,
            tasks,
        }
    }
}

impl Metrics {
    /// Records a decision.
    pub fn decided(
        &self,
        webhook: Webhook,
        resource: Resource,
        operation: Operation,
        decision: &ringfence_core::admission::Decision,
        took: std::time::Duration,
    ) {
        self.decisions
            .get_or_create(&Decided {
                webhook: match webhook {
                    Webhook::Mutate => "mutate",
                    Webhook::Validate => "validate",
                },
                resource: match resource {
                    Resource::Namespace => "namespace",
                    Resource::NamespaceSubresource => "namespace_subresource",
                    Resource::NetworkPolicy => "networkpolicy",
                    Resource::Pod => "pod",
                    Resource::PodStatus => "pod_status",
                    Resource::Workload => "workload",
                    Resource::Vendor => "vendor_policy",
                    Resource::Other => "other",
                },
                operation: match operation {
                    Operation::Create => "create",
                    Operation::Update => "update",
                    Operation::Delete => "delete",
                    Operation::Connect => "connect",
                },
                allowed: if decision.allowed { "true" } else { "false" },
                reason: decision.reason.as_str(),
            })
            .inc();
        self.reviews.fetch_add(1, Ordering::Relaxed);
        self.seconds.observe(took.as_secs_f64());
    }

    /// How many decisions were recorded.
    #[must_use]
    pub fn reviews_decided(&self) -> u64 {
        self.reviews.load(Ordering::Relaxed)
    }

    /// Records a call that got an error.
    pub fn refused(&self, code: u16) {
        self.refusals.get_or_create(&Refused { code }).inc();
    }

    /// Records that something was shed.
    pub fn shed(&self, why: Shed) {
        let reason = match why {
            Shed::Late => "late",
            Shed::Reviews => "reviews",
            Shed::Bytes => "bytes",
            Shed::Memory => "memory",
            Shed::Connections => "connections",
            Shed::Handshake => "handshake",
        };
        self.shed.get_or_create(&Reason { reason }).inc();
    }

    /// Records what is held: open connections, bytes of bodies, and memory for what is built from them.
    pub fn holds(&self, connections: usize, bytes: usize, built: usize) {
        self.connections.set(i64::try_from(connections).unwrap_or(i64::MAX));
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.built.set(i64::try_from(built).unwrap_or(i64::MAX));
    }

    /// Records a reconcile.
    pub fn reconciled(&self, result: Reconciled) {
        let result = match result {
            Reconciled::Done => "done",
            Reconciled::Overtaken => "overtaken",
            Reconciled::Failed => "failed",
        };
        self.reconciles.get_or_create(&Outcome { result }).inc();
    }

    /// Records whether this replica leads.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Records that another certificate is served, and until when it and its CA hold, where that is known.
    pub fn certificate_loaded(&self, now: Timestamp, leaf: Option<Timestamp>, ca: Option<Timestamp>) {
        self.reloaded.set(now.as_second());
        for (certificate, until) in [("leaf", leaf), ("ca", ca)] {
            if let Some(until) = until {
                self.expiry.get_or_create(&Certificate { certificate }).set(until.as_second());
            } else {
                self.expiry.remove(&Certificate { certificate });
            }
        }
    }

    /// Records whether what a source has can be served.
    pub fn certificate_source(&self, source: Source, good: bool) {
        self.refused_sources.get_or_create(&CertificateSource { source: source.as_str() }).set(i64::from(!good));
    }

    /// Records whether there is a webhook configuration that trusts the certificate that is served.
    pub fn ca_bundle(&self, configuration: Registered, matches: bool) {
        let configuration = Configuration { configuration: configuration.as_str() };
        self.mismatches.get_or_create(&configuration).set(i64::from(!matches));
    }

    /// Records whether a webhook configuration is armed.
    pub fn webhooks_armed(&self, configuration: Registered, armed: bool) {
        let configuration = Configuration { configuration: configuration.as_str() };
        self.armed.get_or_create(&configuration).set(i64::from(armed));
    }

    /// All metrics as text (OpenMetrics 1.0).
    ///
    /// # Errors
    /// Where a metric can't be written as text.
    pub fn encode(&self, cluster: &Arc<Cluster>) -> Result<String, std::fmt::Error> {
        use ringfence_core::index::State;
        let now = jiff::Timestamp::now();
        let namespaces = cluster.namespaces();
        let states: Vec<State> = namespaces.iter().filter_map(|namespace| cluster.state(namespace, now)).collect();
        for state in State::ALL {
            let count = states.iter().filter(|other| **other == state).count();
            let label = InState { state: state.as_str() };
            self.namespaces.get_or_create(&label).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let held: usize =
            namespaces.iter().map(|namespace| namespace.pods.values().filter(|pod| pod.held).count()).sum();
        self.held.set(i64::try_from(held).unwrap_or(i64::MAX));
        for (kind, silence) in cluster.as_live().into_iter().flat_map(Live::silences) {
            self.silence.get_or_create(&Watch { watch: kind.as_str() }).set(silence.as_secs_f64());
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.tasks.set(i64::try_from(runtime.metrics().num_alive_tasks()).unwrap_or(i64::MAX));
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
