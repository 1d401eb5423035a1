//! Every default, in one place.

use std::collections::BTreeSet;

use super::{Certificates, Config, Duration, Existing, Limits, Pods, Treatment, Violations};
use crate::policy::Direction;
use crate::policy::criteria::Criteria;
use crate::policy::holes::{Class, Kind};
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
        violations: Violations::Quarantine,
        excluded: BTreeSet::new(),
        longest_exemption: Duration::days(90),
        cluster_cidrs: Vec::new(),
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
        Profile::new(name, policies.ok()?, holes(name), Criteria::default()).ok()
    }))
}

/// The table of a profile that sets nothing in it: `strict` denies the starred holes at ingress too.
pub(super) fn holes(profile: &str) -> HoleTable {
    if profile != "strict" {
        return HoleTable::default();
    }
    let default = HoleTable::default();
    HoleTable::from_fn(|direction, class| match direction {
        Direction::Ingress => default.effect(direction, Class { some: false, ..class }),
        Direction::Egress => default.effect(direction, class),
    })
}

impl Default for HoleTable {
    /// At ingress, ALL, CLUSTER, W4 and W6 are denied, and their starred forms are warned of, so that pods of a public
    /// service can be named. At egress they are warned of, and their starred forms allowed. PORTS are allowed.
    fn default() -> Self {
        Self::from_fn(|direction, class| match (direction, class.kind, class.some) {
            (_, Kind::Ports, _) | (Direction::Egress, _, true) => Effect::Allow,
            (Direction::Ingress, _, false) => Effect::Deny,
            (Direction::Ingress, _, true) | (Direction::Egress, _, false) => Effect::Warn,
        })
    }
}
