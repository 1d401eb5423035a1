//! Profiles: named baselines. A [`Profile`] can only be had if it is effective by itself.

use std::collections::BTreeMap;

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{
    NetworkPolicy as ApiPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::{Deserialize, Serialize};

use crate::policy::compare::allows_no_more;
use crate::policy::criteria::Criteria;
use crate::policy::holes::{Class, Hole, Kind};
use crate::policy::parse::{self, FieldError, ParseError, Source};
use crate::policy::selectors::NAMESPACE_NAME_LABEL;
use crate::policy::verdict::{Verdict, judge};
use crate::policy::{Direction, NetworkPolicy};
use crate::vocabulary::{MANAGED_BY, RINGFENCE};

/// The names of the built-in profiles.
pub const BUILT_IN: [&str; 3] = ["standard", "strict", "deny-all"];

/// The name of the policy that allows DNS.
pub const ALLOW_DNS: &str = "allow-dns";

/// What a hole of some class gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// It may not be opened, and a namespace that has it is not effective.
    Deny,
    /// It may be opened, with a warning.
    Warn,
    /// It may be opened.
    Allow,
}

/// What each class of hole gets, per direction. Written as `{ingress: {ALL: deny, "ALL*": warn, …}, egress: {…}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HoleTable {
    ingress: BTreeMap<String, Effect>,
    egress: BTreeMap<String, Effect>,
}

/// Every class of hole, the widest first.
pub fn classes() -> impl Iterator<Item = Class> {
    Kind::ALL.into_iter().flat_map(|kind| [false, true].map(|some| Class { kind, some }))
}

impl HoleTable {
    /// A table of what a function says of each class. The default is in the configuration's defaults.
    pub(crate) fn from_fn(effect: impl Fn(Direction, Class) -> Effect) -> Self {
        let table = |direction| classes().map(|class| (class.to_string(), effect(direction, class))).collect();
        Self { ingress: table(Direction::Ingress), egress: table(Direction::Egress) }
    }

    fn side(&self, direction: Direction) -> &BTreeMap<String, Effect> {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    /// What a class gets in a direction.
    #[must_use]
    pub fn effect(&self, direction: Direction, class: Class) -> Effect {
        // Every class is in the table; were one not, it would be denied.
        self.side(direction).get(&class.to_string()).copied().unwrap_or(Effect::Deny)
    }

    /// Sets what a class gets. Returns whether there is such a class.
    pub fn set(&mut self, direction: Direction, class: &str, effect: Effect) -> bool {
        let side = match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        };
        match side.get_mut(class) {
            Some(place) => {
                *place = effect;
                true
            }
            None => false,
        }
    }
}

/// One policy of a profile: for the API, and as it is judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// `metadata.name`.
    pub name: String,
    /// The spec, as it is applied.
    pub api: NetworkPolicySpec,
    /// The same, parsed.
    pub parsed: NetworkPolicy,
}

impl Policy {
    /// Takes a spec in.
    ///
    /// # Errors
    /// What the API server would reject, with paths under `spec`.
    pub fn new(name: &str, api: NetworkPolicySpec) -> Result<Self, ParseError> {
        let object = serde_json::json!({ "metadata": { "name": name }, "spec": api });
        let mut parsed = parse::network_policy(&object, Source::File)?;
        parsed.managed = true;
        Ok(Self { name: name.to_owned(), api, parsed })
    }

    /// The object for a namespace, as the controller applies it.
    #[must_use]
    pub fn managed_object(&self, namespace: &str) -> ApiPolicy {
        let mut object = self.object(namespace);
        object.metadata.labels = Some(BTreeMap::from([(MANAGED_BY.to_owned(), RINGFENCE.to_owned())]));
        object
    }

    /// The object for a namespace, without the label that only the controller may set: for GitOps.
    #[must_use]
    pub fn object(&self, namespace: &str) -> ApiPolicy {
        ApiPolicy {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            spec: Some(self.api.clone()),
        }
    }
}

/// A named baseline, effective by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    name: String,
    policies: Vec<Policy>,
    holes: HoleTable,
    criteria: Criteria,
}

/// Why a set of policies is no profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the profile is not effective by itself: {0}")]
pub struct NotEffective(pub String);

impl Profile {
    /// Makes a profile of policies, if they are effective by themselves.
    ///
    /// # Errors
    /// [`NotEffective`], with what misses.
    pub fn new(name: &str, policies: Vec<Policy>, holes: HoleTable, criteria: Criteria) -> Result<Self, NotEffective> {
        let profile = Self { name: name.to_owned(), policies, holes, criteria };
        let parsed: Vec<&NetworkPolicy> = profile.policies.iter().map(|policy| &policy.parsed).collect();
        let verdict = judge(&parsed, &profile.criteria);
        match profile.shortfalls(&verdict).first() {
            None => Ok(profile),
            Some(shortfall) => Err(NotEffective(shortfall.clone())),
        }
    }

    /// The name that the label [`crate::vocabulary::PROFILE`] chooses it by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its policies.
    #[must_use]
    pub fn policies(&self) -> &[Policy] {
        &self.policies
    }

    /// What each class of hole gets.
    #[must_use]
    pub fn holes(&self) -> &HoleTable {
        &self.holes
    }

    /// What the holes of its namespaces are measured by.
    #[must_use]
    pub fn criteria(&self) -> &Criteria {
        &self.criteria
    }

    /// Whether a class of hole may not be opened in a direction.
    #[must_use]
    pub fn denies(&self, direction: Direction, class: Class) -> bool {
        self.holes.effect(direction, class) == Effect::Deny
    }

    /// What a hole gets.
    #[must_use]
    pub fn effect(&self, direction: Direction, hole: &Hole) -> Effect {
        self.holes.effect(direction, hole.class())
    }

    /// True if this profile certainly allows no more in a namespace than another one: each of its policies allows no more than
    /// one policy of the other, and no class of hole is judged more leniently or measured more generously. A profile
    /// that allows no more in a way that takes several policies to see is not as strict.
    #[must_use]
    pub fn is_as_strict_as(&self, other: &Self, namespace: &str) -> bool {
        let is_within = |one: &Policy, than: &Policy| {
            Direction::BOTH.iter().all(|direction| allows_no_more(&than.parsed, &one.parsed, namespace, *direction))
        };
        let is_there = |one: &Policy| other.policies.iter().any(|policy| is_within(one, policy));
        let effects = |direction: Direction| {
            classes().all(|class| self.holes.effect(direction, class) <= other.holes.effect(direction, class))
        };
        let (mine, theirs) = (&self.criteria.wide, &other.criteria.wide);
        self.policies.iter().all(is_there)
            && Direction::BOTH.into_iter().all(effects)
            && (mine.ipv4 >= theirs.ipv4 && mine.ipv6 >= theirs.ipv6 && mine.ports <= theirs.ports)
    }

    /// Whether the verdict is effective: both directions complete, and no hole of a class that this profile denies.
    /// This, and nothing else, decides `isolated` and the lifting of pods.
    #[must_use]
    pub fn is_effective(&self, verdict: &Verdict) -> bool {
        verdict.is_complete() && verdict.holes().all(|(direction, hole)| self.effect(direction, hole) != Effect::Deny)
    }

    /// What keeps the verdict from being effective, a sentence each.
    #[must_use]
    pub fn shortfalls(&self, verdict: &Verdict) -> Vec<String> {
        let gaps = Direction::BOTH
            .into_iter()
            .filter_map(|direction| crate::policy::explain::gap(direction, &verdict.side(direction).coverage));
        let denied = verdict
            .holes()
            .filter(|(direction, hole)| self.effect(*direction, hole) == Effect::Deny)
            .map(|(direction, hole)| crate::policy::explain::hole(direction, hole));
        gaps.chain(denied).collect()
    }
}

/// The profiles in force, by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Profiles(BTreeMap<String, Profile>);

impl Profiles {
    /// From profiles, by their names.
    pub fn new(profiles: impl IntoIterator<Item = Profile>) -> Self {
        Self(profiles.into_iter().map(|profile| (profile.name.clone(), profile)).collect())
    }

    /// The same, judged with other networks of the cluster's pods.
    #[must_use]
    pub fn with_cluster_cidrs(mut self, cluster_cidrs: &[IpNet]) -> Self {
        for profile in self.0.values_mut() {
            cluster_cidrs.clone_into(&mut profile.criteria.cluster_cidrs);
        }
        self
    }

    /// A profile.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Profile> {
        self.0.get(name)
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Profile> {
        self.0.values()
    }

    /// The names, for messages.
    #[must_use]
    pub fn names(&self) -> String {
        self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

/// The specs of a built-in profile, by name. `standard` is exactly the three policies of the tutorial that users
/// followed by hand before. `strict` leaves out the own namespace's traffic, and allows DNS to the cluster's resolver alone.
/// `deny-all` leaves out DNS too.
#[must_use]
pub fn built_in(name: &str) -> Option<Vec<(&'static str, NetworkPolicySpec)>> {
    let deny = ("default-deny-all", spec(&["Ingress", "Egress"], None, None));
    let dns = (ALLOW_DNS, allow_dns(resolvers(name), None));
    let own = NetworkPolicyPeer { pod_selector: Some(LabelSelector::default()), ..NetworkPolicyPeer::default() };
    let same_namespace = (
        "allow-same-namespace",
        spec(
            &["Ingress", "Egress"],
            Some(vec![NetworkPolicyIngressRule { from: Some(vec![own.clone()]), ports: None }]),
            Some(vec![NetworkPolicyEgressRule { to: Some(vec![own]), ports: None }]),
        ),
    );
    match name {
        "standard" => Some(vec![deny, dns, same_namespace]),
        "strict" => Some(vec![deny, dns]),
        "deny-all" => Some(vec![deny]),
        _ => None,
    }
}

/// Where a profile of this name allows DNS to: `strict` to the pods that resolve names, as kubeadm, EKS,
/// GKE and AKS install it (<https://kubernetes.io/docs/tasks/administer-cluster/dns-custom-nameservers/>); others to any
/// destination.
#[must_use]
pub fn resolvers(profile: &str) -> Option<Vec<NetworkPolicyPeer>> {
    let labelled = |key: &str, value: &str| LabelSelector {
        match_labels: Some(BTreeMap::from([(key.to_owned(), value.to_owned())])),
        ..LabelSelector::default()
    };
    let pods = NetworkPolicyPeer {
        namespace_selector: Some(labelled(NAMESPACE_NAME_LABEL, "kube-system")),
        pod_selector: Some(labelled("k8s-app", "kube-dns")),
        ip_block: None,
    };
    (profile == "strict").then(|| vec![pods])
}

/// The spec that allows DNS: to the given peers or any destination, on the given ports or UDP and TCP 53.
#[must_use]
pub fn allow_dns(to: Option<Vec<NetworkPolicyPeer>>, ports: Option<Vec<NetworkPolicyPort>>) -> NetworkPolicySpec {
    let usual = || {
        ["UDP", "TCP"]
            .map(|protocol| NetworkPolicyPort {
                protocol: Some(protocol.to_owned()),
                port: Some(IntOrString::Int(53)),
                end_port: None,
            })
            .to_vec()
    };
    let rule = NetworkPolicyEgressRule { to, ports: Some(ports.unwrap_or_else(usual)) };
    spec(&["Egress"], None, Some(vec![rule]))
}

fn spec(
    types: &[&str],
    ingress: Option<Vec<NetworkPolicyIngressRule>>,
    egress: Option<Vec<NetworkPolicyEgressRule>>,
) -> NetworkPolicySpec {
    NetworkPolicySpec {
        pod_selector: Some(LabelSelector::default()),
        policy_types: Some(types.iter().map(|&kind| kind.to_owned()).collect()),
        ingress,
        egress,
    }
}

/// Parses a built-in or configured spec under a path, for error messages.
///
/// # Errors
/// One error per field, with `path` in front in place of `spec`.
pub fn policy(name: &str, api: NetworkPolicySpec, path: &str) -> Result<Policy, Vec<FieldError>> {
    Policy::new(name, api).map_err(|error| match error {
        ParseError::Invalid(errors) => {
            errors.into_iter().map(|error| FieldError { path: format!("{path}.{}", error.path), ..error }).collect()
        }
        ParseError::Malformed { path: inner, problem } => {
            vec![FieldError { path: format!("{path}.{inner}"), value: String::new(), problem, fix: String::new() }]
        }
    })
}
