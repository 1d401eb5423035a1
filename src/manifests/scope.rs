//! Which kinds are in no namespace. Manifests do not say, and there is no API server to ask.

/// Kinds of the API groups that Kubernetes itself serves. Source: `kubectl api-resources --namespaced=false`, 1.36.
const CLUSTER_SCOPED: &[&str] = &[
    "APIService",
    "CSIDriver",
    "CSINode",
    "CertificateSigningRequest",
    "ClusterRole",
    "ClusterRoleBinding",
    "ClusterTrustBundle",
    "ComponentStatus",
    "CustomResourceDefinition",
    "DeviceClass",
    "DeviceTaintRule",
    "FlowSchema",
    "IPAddress",
    "IngressClass",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "MutatingWebhookConfiguration",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PriorityClass",
    "PriorityLevelConfiguration",
    "ResourceSlice",
    "RuntimeClass",
    "SelfSubjectAccessReview",
    "SelfSubjectReview",
    "SelfSubjectRulesReview",
    "ServiceCIDR",
    "StorageClass",
    "StorageVersion",
    "StorageVersionMigration",
    "SubjectAccessReview",
    "TokenReview",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
    "VolumeAttachment",
    "VolumeAttributesClass",
];

/// API groups, and what is written in their place, of files that only tools read: no API server has such objects. Besides
/// these, groups that end in `.config.k8s.io`.
const OF_TOOLS: &[&str] = &[
    "audit.k8s.io",
    "client.authentication.k8s.io",
    "ctlptl.dev",
    "k3d.io",
    "kind.x-k8s.io",
    "kubeadm.k8s.io",
    "skaffold",
];

/// API groups that Kubernetes itself serves, 1.36, and `extensions`, which it did. All others come with an add-on, also
/// those of the project (`gateway.networking.k8s.io`, `cluster.x-k8s.io`).
const OWN_GROUPS: &[&str] = &[
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "extensions",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
];

/// What is known of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// It is in a namespace, in the default one where it does not say so.
    Namespaced,
    /// It is in none.
    Cluster,
    /// It is in a namespace if it states one.
    Unknown,
}

/// The scope of a kind.
pub(super) fn of(api_version: &str, kind: &str) -> Scope {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    // The last is a kubeconfig.
    if OF_TOOLS.contains(&group) || group.ends_with(".config.k8s.io") || (api_version, kind) == ("v1", "Config") {
        return Scope::Cluster;
    }
    if OWN_GROUPS.contains(&group) {
        return if CLUSTER_SCOPED.contains(&kind) { Scope::Cluster } else { Scope::Namespaced };
    }
    match (group, kind) {
        ("gateway.networking.k8s.io", "HTTPRoute" | "GRPCRoute")
        | ("monitoring.coreos.com", "ServiceMonitor" | "PodMonitor") => Scope::Namespaced,
        _ => Scope::Unknown,
    }
}
