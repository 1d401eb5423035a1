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

/// Whether a kind is in no namespace. Of kinds that are not Kubernetes' own, those are taken for it whose name says so,
/// as `ClusterIssuer` and `GlobalNetworkPolicy` do.
pub(super) fn is_cluster_scoped(api_version: &str, kind: &str) -> bool {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    // The last is a kubeconfig.
    if OF_TOOLS.contains(&group) || group.ends_with(".config.k8s.io") || (api_version, kind) == ("v1", "Config") {
        return true;
    }
    let own = group.is_empty() || !group.contains('.') || group.ends_with(".k8s.io");
    if own { CLUSTER_SCOPED.contains(&kind) } else { kind.starts_with("Cluster") || kind.starts_with("Global") }
}
