//! The configuration: one YAML file, every field of which has a default.
//!
//! [`schema`] is what may be written, [`defaults`] what holds where nothing is, [`validate`] turns one into the other
//! and names the field of everything that is wrong. Reading the file, and finding the line of a field, is the shell's.

mod defaults;
mod duration;
mod json_schema;
mod schema;
mod validate;

use std::collections::BTreeSet;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::policy::lint::settle::Levels;
use crate::policy::parse::FieldError;
use crate::profile::{Profile, Profiles};
use crate::vocabulary::{Mode, OWN_NAMESPACE, SYSTEM_NAMESPACES};
pub use duration::Duration;
pub use json_schema::Untraceable;

/// What an UPDATE of a namespace gets that never had the isolation labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Existing {
    /// Nothing.
    Ignore,
    /// A warning that names the command that adopts it.
    Warn,
    /// A denial.
    Reject,
}

/// What a pod gets that is created before its namespace's baseline is effective.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pods {
    /// A scheduling gate, lifted once the baseline is effective.
    Hold,
    /// A denial.
    Reject,
}

/// What a policy gets that opened a denied hole past the webhook, in a namespace that was effective before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Violations {
    /// The controller removes the rules of the direction that has the hole; the policy still isolates its pods.
    Quarantine,
    /// Nothing: the namespace loses the label `isolated`, and the annotation `conflict` says why.
    Report,
}

/// What something gets that is outside of what NetworkPolicies can hold back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Treatment {
    /// A warning.
    Warn,
    /// A denial.
    Deny,
    /// Nothing.
    Allow,
}

/// Limits of the server. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// The largest body of a request.
    pub body_bytes: u64,
    /// The bytes of all bodies that are held at one time, counted as they come. Large bodies leave an eighth to small ones.
    pub bytes_in_flight: u64,
    /// All memory that reviews may take at one time for what is built from their bodies, in bytes.
    pub review_bytes: u64,
    /// How many policies a namespace may have.
    pub policies_per_namespace: usize,
    /// How much memory the policies of a namespace may take, in bytes.
    pub policy_bytes_per_namespace: u64,
    /// How many reviews are worked on at one time; more get 503 with Retry-After.
    pub concurrent_reviews: usize,
    /// How many connections are held at one time; more are closed.
    pub connections: usize,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long after the handshake the first request's headers may take.
    pub first_request_timeout: Duration,
    /// How long a body may take, and how long a peer may take to read an answer.
    pub body_timeout: Duration,
    /// How long a connection may idle. The API server keeps its own for 90 s: below that, it would see resets.
    pub idle_timeout: Duration,
    /// How long the listener stays open after SIGTERM, answering with `Connection: close`.
    pub drain: Duration,
    /// How long requests that are still running after that may take.
    pub drain_deadline: Duration,
}

/// How the certificates are rotated that Ringfence issues itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Certificates {
    /// For how long one is valid. It is rotated when a third of that is left.
    pub validity: Duration,
    /// How long API servers and replicas have for learning of each step of a rotation: each learns by itself.
    pub overlap: Duration,
}

/// The whole configuration in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The profile that new namespaces get.
    pub default_profile: String,
    /// The mode that new namespaces get.
    pub default_mode: Mode,
    /// What an UPDATE of a namespace gets that never had the isolation labels.
    pub existing: Existing,
    /// What pods get before the baseline is effective.
    pub pods: Pods,
    /// What pods with hostNetwork get: they bypass NetworkPolicy in most CNIs.
    pub host_network: Treatment,
    /// What policies of Cilium, Calico and Antrea get: they are not judged.
    pub vendor_policies: Treatment,
    /// What a policy gets that opened a denied hole past the webhook.
    pub violations: Violations,
    /// Namespaces that are left alone, besides the system's and Ringfence's own.
    pub excluded: BTreeSet<String>,
    /// How far away the end of an exemption or exception may be.
    pub longest_exemption: Duration,
    /// The networks of the cluster's pods, where they are known: blocks that hold much of one let the cluster in.
    pub cluster_cidrs: Vec<IpNet>,
    /// The profiles.
    pub profiles: Profiles,
    /// What is set of lints: their severity, or that they are off.
    pub lints: Levels,
    /// How long an index that has heard nothing is believed.
    pub staleness: Duration,
    /// How long the controller's Lease lasts where it is not renewed: for so long nobody writes when a replica is lost.
    pub lease_duration: Duration,
    /// How the certificates are rotated that Ringfence issues itself.
    pub certificates: Certificates,
    /// Limits of the server.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        defaults::config()
    }
}

impl Config {
    /// Parses a configuration. Everything that is wrong is reported at once.
    ///
    /// # Errors
    /// One error per field, with its path.
    pub fn parse(value: &serde_json::Value) -> Result<Self, Vec<FieldError>> {
        validate::config(value)
    }

    /// The same as a document that [`Config::parse`] takes: the whole in force.
    #[must_use]
    pub fn to_value(&self) -> serde_json::Value {
        schema::document(self)
    }

    /// The same, with other networks of the cluster's pods.
    #[must_use]
    pub fn with_cluster_cidrs(mut self, cluster_cidrs: &[IpNet]) -> Self {
        self.profiles = self.profiles.with_cluster_cidrs(cluster_cidrs);
        cluster_cidrs.clone_into(&mut self.cluster_cidrs);
        self
    }

    /// A JSON schema of what [`Config::parse`] takes, made from the types that it reads: for editors, and for Helm, which
    /// refuses what the process would refuse. It says less than the process does: what depends on two fields, or on what a
    /// policy means, it can't say.
    ///
    /// # Errors
    /// Where a type is read in a way that a schema is not made for.
    pub fn json_schema() -> Result<serde_json::Value, Untraceable> {
        json_schema::of_config()
    }

    /// Whether a namespace is left alone.
    #[must_use]
    pub fn is_excluded(&self, namespace: &str) -> bool {
        SYSTEM_NAMESPACES.contains(&namespace) || namespace == OWN_NAMESPACE || self.excluded.contains(namespace)
    }

    /// The default profile.
    #[must_use]
    pub fn default_profile(&self) -> Option<&Profile> {
        self.profiles.get(&self.default_profile)
    }
}
