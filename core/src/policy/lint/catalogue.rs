//! Every lint: its id, its severity, and what is to be said about it in general. `docs/lints/` is made from this.

use super::Severity;

/// A kind of mistake.
#[derive(Debug, PartialEq, Eq)]
pub struct Lint {
    /// The stable id, as in reports, the configuration and annotations.
    pub id: &'static str,
    /// How bad it is, unless the configuration says otherwise.
    pub severity: Severity,
    /// What is looked for, in one sentence.
    pub summary: &'static str,
    /// What it does to traffic, in one sentence.
    pub effect: &'static str,
    /// What to do, without a capital and without a full stop, since it follows "help: ".
    pub fix: &'static str,
}

impl Lint {
    /// The lint of an id.
    #[must_use]
    pub fn find(id: &str) -> Option<&'static Self> {
        ALL.iter().find(|lint| lint.id == id).copied()
    }
}

/// Some pod of the namespace is selected by no policy in a direction.
pub static BASELINE_INCOMPLETE: Lint = Lint {
    id: "baseline-incomplete",
    severity: Severity::Error,
    summary: "Some pod of the namespace is selected by no policy in a direction.",
    effect: "Whatever selects no pod isolates none: such a pod is reached by, or reaches, everything in the cluster and beyond.",
    fix: "add a NetworkPolicy with an empty podSelector and both policyTypes",
};

/// A rule lets every peer through on every port.
pub static ALLOW_ALL: Lint = Lint {
    id: "allow-all",
    severity: Severity::Error,
    summary: "Peers that no policy names are let through, in the cluster and beyond, on many ports.",
    effect: "Policies are a union, so one such rule undoes every deny beside it.",
    fix: "name the peers, or take the rule away",
};

/// More addresses are let through than one wide block holds.
pub static OPEN_WORLD: Lint = Lint {
    id: "open-world",
    severity: Severity::High,
    summary: "More addresses are let through, on many ports, than one wide block holds.",
    effect: "Whoever can send a packet to the cluster reaches the pods; or the pods can send what they hold anywhere.",
    fix: "narrow the CIDR to the addresses that are meant",
};

/// Pods of the cluster are let through that no policy names.
pub static OPEN_CLUSTER: Lint = Lint {
    id: "open-cluster",
    severity: Severity::High,
    summary: "Pods that no policy names are let through on many ports, of namespaces that no policy names.",
    effect: "A compromised pod in any namespace reaches these pods, or is reached by them.",
    fix: "name the namespaces, by kubernetes.io/metadata.name",
};

/// `policyTypes` is left out where an egress deny seems to be meant.
pub static TYPES_MISSING: Lint = Lint {
    id: "types-missing",
    severity: Severity::Warning,
    summary: "`policyTypes` is left out where an egress deny seems to be meant.",
    effect: "Without policyTypes a policy isolates for egress only if it has an egress rule, so egress stays as open as it was.",
    fix: "state policyTypes",
};

/// Rules are written for a direction that `policyTypes` does not list.
pub static INERT_RULES: Lint = Lint {
    id: "inert-rules",
    severity: Severity::Error,
    summary: "Rules are written for a direction that `policyTypes` does not list.",
    effect: "The API server stores such rules and nothing ever reads them: the traffic flows, or is denied, as if they were not there.",
    fix: "add the direction to policyTypes, or take the rules away",
};

/// Egress is isolated and nothing allows DNS.
pub static DNS_MISSING: Lint = Lint {
    id: "dns-missing",
    severity: Severity::Error,
    summary: "Egress is isolated and nothing allows DNS.",
    effect: "The pods can't resolve any name, so that nearly everything they do fails.",
    fix: "allow UDP and TCP 53 to the cluster's resolver",
};

/// DNS is allowed over UDP and not over TCP.
pub static DNS_UDP_ONLY: Lint = Lint {
    id: "dns-udp-only",
    severity: Severity::Warning,
    summary: "DNS is allowed over UDP and not over TCP.",
    effect: "Answers that do not fit into a datagram are asked for again over TCP, and these lookups fail.",
    fix: "add TCP 53",
};

/// DNS is allowed, but not to where this cluster resolves.
pub static DNS_WRONG_TARGET: Lint = Lint {
    id: "dns-wrong-target",
    severity: Severity::Error,
    summary: "DNS is allowed, but not to where this cluster resolves.",
    effect: "The pods' lookups are dropped, although a rule for DNS is there.",
    fix: "allow the cluster's own resolver, at its pods' port",
};

/// DNS is allowed to any destination.
pub static DNS_ANY_DESTINATION: Lint = Lint {
    id: "dns-any-destination",
    severity: Severity::Warning,
    summary: "DNS is allowed to any destination.",
    effect: "Whoever runs a resolver anywhere can be sent data in the names that are looked up.",
    fix: "pin the cluster's resolver",
};

/// A namespaceSelector and a podSelector stand in separate items.
pub static AND_OR: Lint = Lint {
    id: "and-or",
    severity: Severity::Warning,
    summary: "A namespaceSelector and a podSelector stand in separate items.",
    effect: "Items are ORed: all pods of these namespaces are let through, and these pods of the own namespace.",
    fix: "put both selectors into one item, or say that both are meant",
};

/// Namespaces are selected by a label that tenants can set.
pub static SPOOFABLE_NAMESPACE: Lint = Lint {
    id: "spoofable-namespace",
    severity: Severity::High,
    summary: "Namespaces are selected by a label that tenants can set.",
    effect: "Whoever may label a namespace, or make one, is let through.",
    fix: "select by kubernetes.io/metadata.name, which only the API server sets",
};

/// Pods of every namespace are selected by their own labels.
pub static SPOOFABLE_POD: Lint = Lint {
    id: "spoofable-pod",
    severity: Severity::Medium,
    summary: "Pods of every namespace are selected by their own labels.",
    effect: "Whoever may start a pod anywhere can give it these labels, and is let through.",
    fix: "pin the namespace with a namespaceSelector in the same item",
};

/// A selector selects no pod template or namespace that is known.
pub static DANGLING_SELECTOR: Lint = Lint {
    id: "dangling-selector",
    severity: Severity::Warning,
    summary: "A selector selects no pod template or namespace that is known.",
    effect: "The policy isolates nothing, or its rule lets nothing through.",
    fix: "make the labels of the selector and of what it is meant to select the same",
};

/// No labels can meet the requirements of a selector.
pub static UNSATISFIABLE_SELECTOR: Lint = Lint {
    id: "unsatisfiable-selector",
    severity: Severity::Error,
    summary: "No labels can meet the requirements of a selector.",
    effect: "The policy isolates no pod, or its rule lets nothing through, and no pod will ever change that.",
    fix: "remove the requirement that contradicts the others",
};

/// A port has no protocol.
pub static PROTOCOL_IMPLICIT: Lint = Lint {
    id: "protocol-implicit",
    severity: Severity::Info,
    summary: "A port has no protocol.",
    effect: "It means TCP alone.",
    fix: "state the protocol",
};

/// An ipBlock holds addresses of pods, Services or nodes.
pub static IPBLOCK_CLUSTER: Lint = Lint {
    id: "ipblock-cluster",
    severity: Severity::Warning,
    summary: "An ipBlock holds addresses of pods, Services or nodes.",
    effect: "Whether an ipBlock matches traffic inside of the cluster depends on the CNI and on when addresses are rewritten, and pods change theirs.",
    fix: "select by namespaceSelector and podSelector instead",
};

/// Egress includes the cloud's metadata address, 169.254.169.254.
pub static METADATA_REACHABLE: Lint = Lint {
    id: "metadata-reachable",
    severity: Severity::High,
    summary: "Egress includes the cloud's metadata address, 169.254.169.254.",
    effect: "Any process in the pods can ask for the node's credentials.",
    fix: "take 169.254.169.254/32 out with except",
};

/// A pod uses its node's network in an isolated namespace.
pub static HOSTNETWORK_BYPASS: Lint = Lint {
    id: "hostnetwork-bypass",
    severity: Severity::High,
    summary: "A pod uses its node's network in an isolated namespace.",
    effect: "NetworkPolicies do not hold such pods back in most CNIs: they reach, and are reached by, everything.",
    fix: "take hostNetwork away, or run it in a namespace of its own",
};

/// Egress is isolated, and a workload that uses the API server can't reach it.
pub static APISERVER_EGRESS: Lint = Lint {
    id: "apiserver-egress",
    severity: Severity::Warning,
    summary: "Egress is isolated, and a workload that uses the API server can't reach it.",
    effect: "Its calls time out, although its service account has the rights.",
    fix: "allow TCP to the API server's addresses",
};

/// Ingress is isolated, and nothing lets in who is meant to call.
pub static WEBHOOK_METRICS_BLOCKED: Lint = Lint {
    id: "webhook-metrics-blocked",
    severity: Severity::Warning,
    summary: "Ingress is isolated, and nothing lets in who is meant to call.",
    effect: "Metrics are not scraped, webhooks time out, or requests from outside end in a gateway's error.",
    fix: "allow the monitoring, the API server or the ingress controller by its namespace",
};

/// One side allows what the other denies.
pub static ONE_SIDED: Lint = Lint {
    id: "one-sided",
    severity: Severity::Info,
    summary: "One side allows what the other denies.",
    effect: "Traffic flows only if the source's egress and the destination's ingress both allow it, so this rule has no effect alone.",
    fix: "add the other side, or take the rule away",
};

/// A CIDR is not in its canonical form.
pub static NONCANONICAL_CIDR: Lint = Lint {
    id: "noncanonical-cidr",
    severity: Severity::Warning,
    summary: "A CIDR is not in its canonical form.",
    effect: "API servers before 1.36 took host bits, leading zeros and mapped addresses, and readers disagree on what they mean.",
    fix: "write the canonical form",
};

/// What one block excepts, another block or policy lets through.
pub static EXCEPT_READDED: Lint = Lint {
    id: "except-readded",
    severity: Severity::Warning,
    summary: "What one block excepts, another block or policy lets through.",
    effect: "Policies are a union, so the exception has no effect.",
    fix: "take the same addresses out everywhere",
};

/// A port's name resolves to nothing.
pub static NAMED_PORT_UNRESOLVED: Lint = Lint {
    id: "named-port-unresolved",
    severity: Severity::Warning,
    summary: "A port's name resolves to nothing.",
    effect: "Names resolve against the container ports of the destination's pods and never against addresses, so the rule lets nothing through.",
    fix: "name the containers' port, or give its number",
};

/// A manifest does not state its namespace.
pub static NAMESPACE_OMITTED: Lint = Lint {
    id: "namespace-omitted",
    severity: Severity::Warning,
    summary: "A manifest does not state its namespace.",
    effect: "It lands in whatever namespace the applying context has, and protects that one.",
    fix: "state metadata.namespace",
};

/// The cluster's network plugin does not enforce NetworkPolicy.
pub static NO_ENFORCING_CNI: Lint = Lint {
    id: "no-enforcing-cni",
    severity: Severity::Error,
    summary: "The cluster's network plugin does not enforce NetworkPolicy.",
    effect: "The API server stores the policies and nothing obeys them: all traffic flows.",
    fix: "install a plugin that enforces, such as Calico or Cilium",
};

/// A policy uses what the cluster's network plugin lacks.
pub static CNI_FEATURE: Lint = Lint {
    id: "cni-feature",
    severity: Severity::Warning,
    summary: "A policy uses what the cluster's network plugin lacks.",
    effect: "The rule has another effect there than it says, or none.",
    fix: "write the rule without it",
};

/// A policy has a field that the API does not.
pub static UNKNOWN_FIELD: Lint = Lint {
    id: "unknown-field",
    severity: Severity::Error,
    summary: "A policy has a field that the API does not.",
    effect: "An API server drops it without a word, so that what is left may select every pod or let everybody through; kubectl refuses the whole policy, so that nothing of it is in force.",
    fix: "write the field that is meant, where it belongs",
};

/// An annotation switches off a lint without effect.
pub static UNUSED_SUPPRESSION: Lint = Lint {
    id: "unused-suppression",
    severity: Severity::Warning,
    summary: "An annotation switches off a lint without effect.",
    effect: "It has no reason, names no lint, or what it was for is mended; it would hide the next mistake.",
    fix: "take the annotation away, or give a reason",
};

/// All of them: those of the specification in its order, then unknown fields, and last the one about suppressions.
pub static ALL: [&Lint; 30] = [
    &BASELINE_INCOMPLETE,
    &ALLOW_ALL,
    &OPEN_WORLD,
    &OPEN_CLUSTER,
    &TYPES_MISSING,
    &INERT_RULES,
    &DNS_MISSING,
    &DNS_UDP_ONLY,
    &DNS_WRONG_TARGET,
    &DNS_ANY_DESTINATION,
    &AND_OR,
    &SPOOFABLE_NAMESPACE,
    &SPOOFABLE_POD,
    &DANGLING_SELECTOR,
    &UNSATISFIABLE_SELECTOR,
    &PROTOCOL_IMPLICIT,
    &IPBLOCK_CLUSTER,
    &METADATA_REACHABLE,
    &HOSTNETWORK_BYPASS,
    &APISERVER_EGRESS,
    &WEBHOOK_METRICS_BLOCKED,
    &ONE_SIDED,
    &NONCANONICAL_CIDR,
    &EXCEPT_READDED,
    &NAMED_PORT_UNRESOLVED,
    &NAMESPACE_OMITTED,
    &NO_ENFORCING_CNI,
    &CNI_FEATURE,
    &UNKNOWN_FIELD,
    &UNUSED_SUPPRESSION,
];
