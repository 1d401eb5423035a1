//! What is known of a cluster, where its objects do not show it.

use ipnet::IpNet;
use ringfence_core::inventory::{Cluster, Cni, Plugin, Resolver};

/// The flags that say it. What is given wins over what was recognised.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct ClusterArgs {
    /// Where the cluster resolves names: coredns, openshift, nodelocal or gke, pods as in kube-system/k8s-app=kube-dns:53,
    /// or an address. Can be given several times: one that a pod reaches is enough.
    #[arg(long, value_name = "RESOLVER")]
    cluster_dns: Vec<Resolver>,
    /// The cluster's network plugin: calico, cilium, weave, antrea, kube-router, ovn-kubernetes, flannel, kindnet, aws-vpc,
    /// azure-npm, gke, or none. Can be given several times.
    #[arg(long, value_name = "NAME")]
    cni: Vec<Cni>,
    /// A network of pods, Services or nodes, such as 10.0.0.0/8, in place of clusterCidrs of the configuration. An ipBlock
    /// that holds more than 1/16 of one is open to the cluster. Can be given several times.
    #[arg(long, value_name = "CIDR", value_parser = cidr)]
    cluster_cidr: Vec<IpNet>,
}

fn cidr(text: &str) -> Result<IpNet, String> {
    text.parse().map_err(|_| "write network/length, such as 10.0.0.0/8 or 2001:db8::/32".to_owned())
}

impl ClusterArgs {
    /// Puts what is given in the place of what was recognised.
    pub(super) fn apply(&self, cluster: &mut Cluster) {
        if !self.cluster_dns.is_empty() {
            cluster.dns.clone_from(&self.cluster_dns);
        }
        if !self.cni.is_empty() {
            cluster.cni = self.cni.iter().map(|&cni| Plugin::named(cni)).collect();
        }
        if let Some(cidrs) = self.cidrs() {
            cluster.networks = cidrs;
        }
    }

    /// The networks of the cluster, where they are given.
    pub(super) fn cidrs(&self) -> Option<Vec<IpNet>> {
        (!self.cluster_cidr.is_empty()).then(|| self.cluster_cidr.iter().map(IpNet::trunc).collect())
    }
}
