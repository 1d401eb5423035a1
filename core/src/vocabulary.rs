//! The words that Ringfence and its users share: labels, annotations, modes and the names behind them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The prefix of every label and annotation of Ringfence. It is fixed.
pub const PREFIX: &str = "ringfence.dev/";
/// Label on a Namespace: the name of its profile. One of the two isolation labels.
pub const PROFILE: &str = "ringfence.dev/profile";
/// Label on a Namespace: its [`Mode`]. One of the two isolation labels.
pub const MODE: &str = "ringfence.dev/mode";
/// Label on a Namespace: `true` while its baseline is effective. Only the controller writes it.
pub const ISOLATED: &str = "ringfence.dev/isolated";
/// The labels of a Namespace that the webhook guards: to set or change one takes permission, or the controller. Others under
/// [`PREFIX`] mean nothing, and anybody who may label a namespace can set them.
pub const GUARDED: [&str; 3] = [PROFILE, MODE, ISOLATED];
/// Annotation on a Namespace in mode `exempt`: why.
pub const EXEMPT_REASON: &str = "ringfence.dev/exempt-reason";
/// Annotation on a Namespace in mode `exempt`: until when (RFC 3339).
pub const EXEMPT_UNTIL: &str = "ringfence.dev/exempt-until";
/// Annotation on a NetworkPolicy: why what it opens is an accepted exception.
pub const EXCEPTION_REASON: &str = "ringfence.dev/exception-reason";
/// Annotation on a NetworkPolicy: until when (RFC 3339).
pub const EXCEPTION_UNTIL: &str = "ringfence.dev/exception-until";
/// What the keys of annotations begin with that switch a lint off for the object that carries them; the lint's id
/// follows, and the value says why.
pub const IGNORE: &str = "ringfence.dev/ignore-";
/// Annotation on a Namespace: what keeps the controller from making its baseline effective. Written by the controller.
pub const CONFLICT: &str = "ringfence.dev/conflict";
/// Annotation on a Namespace: when, under which rules and with which policies its baseline was last effective
/// ([`crate::record::Record`]). Written by the controller.
pub const EFFECTIVE: &str = "ringfence.dev/effective";
/// The annotations of a Namespace that only the controller writes.
pub const CONTROLLERS_ANNOTATIONS: [&str; 2] = [CONFLICT, EFFECTIVE];
/// Annotation on a NetworkPolicy: the controller has removed the rules of one direction, because they opened a hole that
/// the profile denies ([`crate::quarantine::Quarantined`]). The controller writes the annotation, and any user may remove it.
pub const QUARANTINED: &str = "ringfence.dev/quarantined";
/// Label on a Pod that is held.
pub const HELD: &str = "ringfence.dev/held";
/// Scheduling gate of a Pod that is held
/// (<https://kubernetes.io/docs/concepts/scheduling-eviction/pod-scheduling-readiness/>).
pub const GATE: &str = "ringfence.dev/baseline";
/// Label on a NetworkPolicy that says who manages it
/// (<https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/>).
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`] on Ringfence's own policies, and its field manager.
pub const RINGFENCE: &str = "ringfence";
/// What the name of a profile's policy ends with where the name itself is taken by a policy of another meaning.
const STAND_IN: &str = "-ringfence";
/// Annotation that the kubelet puts on the mirror of a static pod
/// (<https://kubernetes.io/docs/reference/labels-annotations-taints/#kubernetes-io-config-mirror>).
pub const MIRROR: &str = "kubernetes.io/config.mirror";
/// The group of every kubelet.
pub const NODES_GROUP: &str = "system:nodes";
/// The group that RBAC never restricts.
pub const MASTERS_GROUP: &str = "system:masters";
/// Who the controller is on the embedded cluster.
pub const EMBEDDED_CONTROLLER: &str = "system:serviceaccount:ringfence-system:ringfence";
/// Ringfence's own namespace.
pub const OWN_NAMESPACE: &str = "ringfence-system";
/// Namespaces that are never Ringfence's business.
pub const SYSTEM_NAMESPACES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];
/// Who deletes what is left in a namespace that terminates.
pub const NAMESPACE_CONTROLLERS: [&str; 2] =
    ["system:serviceaccount:kube-system:namespace-controller", "system:kube-controller-manager"];
/// The API group of the resources that a user may be allowed to `use`.
pub const GROUP: &str = "ringfence.dev";

/// The name under which a policy of a profile is stored where its own name is taken by a policy of another meaning.
#[must_use]
pub fn stand_in(name: &str) -> String {
    format!("{name}{STAND_IN}")
}

/// What Ringfence does in a namespace, as in Pod Security Admission, and `exempt`. The strictest is the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Policies applied, pods held until they are effective, denials.
    Enforce,
    /// Nothing applied or held; what would be denied becomes a warning.
    Warn,
    /// Nothing applied or held; what would be denied becomes an audit annotation.
    Audit,
    /// Nothing applied or judged, for a reason and until a date.
    Exempt,
}

impl Mode {
    /// All four, the strictest first.
    pub const ALL: [Self; 4] = [Self::Enforce, Self::Warn, Self::Audit, Self::Exempt];

    /// The value of the label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Warn => "warn",
            Self::Audit => "audit",
            Self::Exempt => "exempt",
        }
    }

    /// The mode that a label's value names, if any.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == value)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
