//! Every default, in one place.

use std::collections::BTreeSet;

use super::{Certificates, Config, Duration, Existing, Limits, Pods, Treatment};
use crate::policy::Direction;
use crate::policy::holes::Kind;
use crate::policy::lint::settle::Levels;
use crate::profile::{BUILT_IN, Effect, HoleTable, Policy, Profile, Profiles, built_in};
use crate::vocabulary::Mode;

const MIB: u64 = 1024 * 1024;

pub(super) fn config() -> Config {
    Config {
        default_profile: "standard".to_owned(),
        default_mode: Mode::Enforce,
        existing: Existing::Warn,
        pods: Pods::Hold,
        host_network: Treatment::Warn,
        vendor_policies: Treatment::Warn,
        excluded: BTreeSet::new(),
        longest_exemption: Duration::days(90),
        profiles: profiles(),
        lints: Levels::default(),
        staleness: Duration::seconds(60),
        lease_duration: Duration::seconds(15),
        certificates: Certificates { validity: Duration::days(60), overlap: Duration::seconds(300) },
        limits: limits(),
    }
}

pub(super) fn limits() -> Limits {
    Limits {
        // The API server's limit of 3 MiB on a request, computed to its worst case in a review: two objects, escaped.
        body_bytes: 32 * MIB,
        // Three of the largest, or thousands of ordinary ones.
        bytes_in_flight: 96 * MIB,
        // What is built from them. With the bytes themselves and what is stored, it stays within the 512 MiB that the chart
        // allows, and one of the largest fits into what large ones may have of it.
        review_bytes: 192 * MIB,
        policies_per_namespace: 500,
        policy_bytes_per_namespace: 8 * MIB,
        concurrent_reviews: 256,
        connections: 4096,
        handshake_timeout: Duration::seconds(10),
        first_request_timeout: Duration::seconds(10),
        body_timeout: Duration::seconds(10),
        // Above the 90 s for which the API server keeps idle connections, so that it closes first.
        idle_timeout: Duration::seconds(120),
        drain: Duration::seconds(12),
        drain_deadline: Duration::seconds(10),
    }
}

/// The built-in profiles. They are effective by themselves (a test says so), so none is lost here.
fn profiles() -> Profiles {
    Profiles::new(BUILT_IN.into_iter().filter_map(|name| {
        let policies: Result<Vec<Policy>, _> =
            built_in(name)?.into_iter().map(|(policy, spec)| Policy::new(policy, spec)).collect();
        Profile::new(name, policies.ok()?, HoleTable::default()).ok()
    }))
}

impl Default for HoleTable {
    /// ALL, CLUSTER and the world at ingress are denied. What concerns some pods only, the world at egress, and PORTS are
    /// warned of, so that an ingress gateway's public pods are possible.
    fn default() -> Self {
        Self::from_fn(|direction, class| {
            let deny = match class.kind {
                Kind::All | Kind::Cluster => true,
                Kind::W4 | Kind::W6 => direction == Direction::Ingress,
                Kind::Ports => false,
            };
            if deny && !class.some { Effect::Deny } else { Effect::Warn }
        })
    }
}
