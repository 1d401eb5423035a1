//! What may be written in the configuration. Every field may be left out.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Config, Duration, Existing, Pods, Treatment, Violations};
use crate::object::nullable;
use crate::profile::Effect;
use crate::vocabulary::Mode;

crate::object::from_map_only!(
    File,
    ProfileFile,
    PolicyFile,
    HolesFile,
    WideFile,
    DnsFile,
    CertificatesFile,
    LimitsFile
);

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", remote = "Self")]
pub(super) struct File {
    pub(super) default_profile: Option<String>,
    pub(super) default_mode: Option<Mode>,
    pub(super) existing: Option<Existing>,
    pub(super) pods: Option<Pods>,
    pub(super) host_network: Option<Treatment>,
    pub(super) vendor_policies: Option<Treatment>,
    pub(super) violations: Option<Violations>,
    pub(super) excluded: Option<Vec<String>>,
    pub(super) longest_exemption: Option<Duration>,
    pub(super) cluster_cidrs: Option<Vec<String>>,
    #[serde(deserialize_with = "nullable")]
    pub(super) profiles: BTreeMap<String, ProfileFile>,
    /// By id. A level is a word; `false` is what YAML 1.1, and so Helm, reads for `off`.
    #[serde(deserialize_with = "nullable")]
    pub(super) lints: BTreeMap<String, Value>,
    pub(super) staleness: Option<Duration>,
    pub(super) lease_duration: Option<Duration>,
    #[serde(deserialize_with = "nullable")]
    pub(super) certificates: CertificatesFile,
    #[serde(deserialize_with = "nullable")]
    pub(super) limits: LimitsFile,
}

/// A profile. One with a built-in's name changes that: what is left out stays.
#[derive(Debug, Default, Deserialize)]
#[serde(default, remote = "Self")]
pub(super) struct ProfileFile {
    pub(super) policies: Option<Vec<PolicyFile>>,
    #[serde(deserialize_with = "nullable")]
    pub(super) holes: HolesFile,
    #[serde(deserialize_with = "nullable")]
    pub(super) wide: WideFile,
    pub(super) dns: Option<DnsFile>,
}

#[derive(Debug, Deserialize)]
#[serde(remote = "Self")]
pub(super) struct PolicyFile {
    pub(super) name: String,
    pub(super) spec: NetworkPolicySpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, remote = "Self")]
pub(super) struct HolesFile {
    #[serde(deserialize_with = "nullable")]
    pub(super) ingress: BTreeMap<String, Effect>,
    #[serde(deserialize_with = "nullable")]
    pub(super) egress: BTreeMap<String, Effect>,
}

/// How much may be open before it counts as wide.
#[derive(Debug, Default, Deserialize)]
#[serde(default, remote = "Self")]
pub(super) struct WideFile {
    pub(super) ipv4: Option<u64>,
    pub(super) ipv6: Option<u64>,
    pub(super) ports: Option<u64>,
}

/// Where the policy `allow-dns` leads. What is left out stays as the built-in profile of this name has it; in other profiles
/// it leads to any destination, on UDP and TCP 53.
#[derive(Debug, Default, Deserialize)]
#[serde(default, remote = "Self")]
pub(super) struct DnsFile {
    pub(super) to: Option<Vec<NetworkPolicyPeer>>,
    pub(super) ports: Option<Vec<NetworkPolicyPort>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, remote = "Self")]
pub(super) struct CertificatesFile {
    pub(super) validity: Option<Duration>,
    pub(super) overlap: Option<Duration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", remote = "Self")]
pub(super) struct LimitsFile {
    pub(super) body_bytes: Option<u64>,
    pub(super) bytes_in_flight: Option<u64>,
    pub(super) review_bytes: Option<u64>,
    pub(super) policies_per_namespace: Option<usize>,
    pub(super) policy_bytes_per_namespace: Option<u64>,
    pub(super) concurrent_reviews: Option<usize>,
    pub(super) connections: Option<usize>,
    pub(super) handshake_timeout: Option<Duration>,
    pub(super) first_request_timeout: Option<Duration>,
    pub(super) body_timeout: Option<Duration>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) drain: Option<Duration>,
    pub(super) drain_deadline: Option<Duration>,
}

#[derive(Serialize)]
struct PolicyOut<'a> {
    name: &'a str,
    spec: &'a NetworkPolicySpec,
}

pub(super) fn document(config: &Config) -> Value {
    let profiles: Map<String, Value> = config
        .profiles
        .iter()
        .map(|profile| {
            let policies: Vec<PolicyOut<'_>> =
                profile.policies().iter().map(|policy| PolicyOut { name: &policy.name, spec: &policy.api }).collect();
            let wide = profile.criteria().wide;
            (profile.name().to_owned(), json!({ "policies": policies, "holes": profile.holes(), "wide": wide }))
        })
        .collect();
    json!({
        "defaultProfile": config.default_profile,
        "defaultMode": config.default_mode,
        "existing": config.existing,
        "pods": config.pods,
        "hostNetwork": config.host_network,
        "vendorPolicies": config.vendor_policies,
        "violations": config.violations,
        "excluded": config.excluded,
        "longestExemption": config.longest_exemption,
        "clusterCidrs": config.cluster_cidrs.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "staleness": config.staleness,
        "leaseDuration": config.lease_duration,
        "certificates": config.certificates,
        "limits": config.limits,
        "lints": config.lints,
        "profiles": profiles,
    })
}
