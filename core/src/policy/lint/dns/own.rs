//! Rules for DNS that lead to the policy's own namespace, where a `podSelector` without a `namespaceSelector` selects
//! (<https://kubernetes.io/docs/concepts/services-networking/network-policies/#behavior-of-to-and-from-selectors>), and the
//! cluster's resolver is not.

use super::super::View;
use super::resolving::names_port;
use crate::inventory::cluster::dns::{NAMESPACES, PORT};
use crate::inventory::{Resolver, Workload};
use crate::policy::ports::Protocol;
use crate::policy::selectors::{KeySet, Labels, NAMESPACE_NAME_LABEL, Selector};
use crate::policy::{Peer, Rule};

/// What the labels of `OpenShift`'s resolver begin with.
const OPENSHIFT: &str = "dns.operator.openshift.io/";

/// Labels that the pods of resolvers carry in most clusters.
const USUAL: [(&str, &str); 3] =
    [("k8s-app", "kube-dns"), ("k8s-app", "coredns"), ("app.kubernetes.io/name", "coredns")];

/// A peer that is taken for a resolver and is none.
pub(super) struct Misled {
    /// The index of the peer.
    pub(super) peer: usize,
    /// The resolver that its labels mean, if they mean one.
    pub(super) meant: Option<Resolver>,
}

/// Whether a rule leads to a resolver of the own namespace.
pub(super) fn has_resolver(rule: &Rule, view: &View<'_>) -> bool {
    rule.peers.iter().flatten().filter_map(own).any(|pods| selected(pods, view).any(listens))
}

/// Where a rule for DNS leads to nothing but pods of the own namespace, and none of them can be the resolver: the cluster's
/// labels are asked for, or the pods that are there listen to other things. Without any workload only the labels say.
pub(super) fn misled(rule: &Rule, view: &View<'_>) -> Option<Misled> {
    if !names_port(rule, Protocol::Udp, view.namespace, view.cluster) || is_resolvers(view) || has_resolver(rule, view)
    {
        return None;
    }
    let peers: Option<Vec<&Selector>> = rule.peers.as_ref()?.iter().map(own).collect();
    let peers = peers?;
    let meant = peers.iter().enumerate().find_map(|(peer, pods)| Some((peer, meant(pods)?)));
    if let Some((peer, meant)) = meant {
        return Some(Misled { peer, meant: Some(meant) });
    }
    // Containers need not say their ports. Who selects by label has some pods in mind that may answer.
    let may_listen = |pods: &&Selector| !pods.selects_all() && selected(pods, view).any(|pod| pod.ports.is_empty());
    let is_judged = !peers.is_empty() && !view.workloads().is_empty() && !peers.iter().any(may_listen);
    is_judged.then_some(Misled { peer: 0, meant: None })
}

/// The pods that a peer selects in the own namespace alone.
fn own(peer: &Peer) -> Option<&Selector> {
    match peer {
        Peer::Pods { namespaces: None, pods: Some(pods) } => Some(pods),
        _ => None,
    }
}

fn is_resolvers(view: &View<'_>) -> bool {
    let known =
        |resolver: &Resolver| matches!(resolver, Resolver::Pods { namespace, .. } if namespace == view.namespace);
    NAMESPACES.contains(&view.namespace) || view.cluster.dns.iter().any(known)
}

fn selected<'v>(pods: &'v Selector, view: &View<'v>) -> impl Iterator<Item = &'v Workload> {
    view.workloads().iter().filter(|workload| pods.matches(&workload.labels))
}

fn listens(workload: &Workload) -> bool {
    workload.ports.iter().any(|port| port.number == PORT || port.name.contains("dns"))
}

fn meant(pods: &Selector) -> Option<Resolver> {
    pods.keys().find_map(|(key, set)| {
        if key.starts_with(OPENSHIFT) && set.needs_a_label() {
            return Some(Resolver::openshift());
        }
        let (_, value) = USUAL.into_iter().find(|(usual, value)| *usual == key && asks_for(set, value))?;
        let labels: Labels = [(key.to_owned(), value.to_owned())].into();
        Some(Resolver::Pods { namespace: NAMESPACES[0].to_owned(), labels, port: PORT })
    })
}

fn asks_for(set: KeySet<'_>, value: &str) -> bool {
    set.is_a_list() && set.mentioned().any(|mentioned| mentioned == value)
}

/// The words for what is wrong with it.
pub(super) fn words(misled: &Misled, view: &View<'_>) -> (String, String) {
    let where_it_is = if misled.meant.is_some() {
        "the cluster's resolver is not there"
    } else {
        "no pod that it selects there is known to answer lookups"
    };
    (
        format!(
            "to[{}] has no namespaceSelector, so it selects pods of {} alone, and {where_it_is}",
            misled.peer, view.namespace
        ),
        format!("put a namespaceSelector into the same item, by {NAMESPACE_NAME_LABEL}, for the resolver's namespace"),
    )
}
