//! What is known of the cluster besides its objects.

pub mod cni;
pub mod dns;

use std::net::IpAddr;

use ipnet::IpNet;

pub use cni::{Cni, Plugin};
pub use dns::Resolver;

/// Facts about the cluster; what is not known is not judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Where names are resolved; empty where that is not known. Which of several a pod asks is not known either, so one
    /// that it reaches is enough.
    pub dns: Vec<Resolver>,
    /// The network plugins; several can coexist. Empty where none is known.
    pub cni: Vec<Plugin>,
    /// The networks of pods, Services and nodes, or single addresses of them where their network is not known.
    pub networks: Vec<IpNet>,
}

impl Cluster {
    /// Adds a network plugin, or what else is known of one that is there.
    pub fn add_plugin(&mut self, plugin: Plugin) {
        match self.cni.iter_mut().find(|known| known.cni == plugin.cni) {
            Some(known) => known.merge(plugin),
            None => self.cni.push(plugin),
        }
    }

    /// Adds a network.
    pub fn add_network(&mut self, network: IpNet) {
        self.networks.push(network.trunc());
    }

    /// Adds an address.
    pub fn add_address(&mut self, address: IpAddr) {
        self.networks.push(IpNet::from(address));
    }

    /// Whether NetworkPolicies are enforced; `None` where that is not known.
    #[must_use]
    pub fn enforces(&self) -> Option<bool> {
        if self.cni.iter().any(|plugin| plugin.enforces == Some(true)) {
            return Some(true);
        }
        if self.cni.is_empty() || self.cni.iter().any(|plugin| plugin.enforces.is_none()) {
            return None;
        }
        Some(false)
    }
}
