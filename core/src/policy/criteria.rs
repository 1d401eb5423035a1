//! What holes are measured by: how much is wide, and which networks are the cluster's own.
//!
//! Two verdicts can only be compared where they were judged by the same criteria.

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use super::cidr::{self, Family, Range};

/// The version of the rules by which holes are found. It changes where the same policies can get another verdict.
pub const SEMANTICS: u32 = 2;

/// How much may be open before it counts as wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Wide {
    /// The prefix length of an IPv4 block: more addresses than one such block holds are `W4`.
    pub ipv4: u8,
    /// The prefix length of an IPv6 block: more addresses than one such block holds are `W6`.
    pub ipv6: u8,
    /// The number of ports, over all protocols: a class on more ports is a hole of that class, else it is `PORTS`.
    pub ports: u32,
}

impl Default for Wide {
    /// A /7, in which the private networks of RFC 1918 together fit; a /20; 128 ports.
    fn default() -> Self {
        Self { ipv4: 7, ipv6: 20, ports: 128 }
    }
}

impl Wide {
    /// The most addresses of a family that are not wide.
    #[must_use]
    pub fn addresses(&self, family: Family) -> u128 {
        let (bits, prefix) = match family {
            Family::V4 => (32, self.ipv4),
            Family::V6 => (128, self.ipv6),
        };
        // All of IPv6 is one more than fits.
        1u128.checked_shl(bits - u32::from(prefix).min(bits)).unwrap_or(u128::MAX)
    }
}

/// What holes are measured by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Criteria {
    /// How much may be open before it counts as wide.
    pub wide: Wide,
    /// The networks of the cluster's pods; empty where they are not known.
    #[serde(serialize_with = "as_text")]
    pub cluster_cidrs: Vec<IpNet>,
}

fn as_text<S: Serializer>(nets: &[IpNet], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(nets.iter().map(ToString::to_string))
}

/// A network of the cluster, with the most of its addresses that blocks may hold before they let the cluster in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    pub(super) family: Family,
    pub(super) range: Range,
    pub(super) limit: u128,
}

impl Criteria {
    /// The networks of the cluster: a block lets the cluster in where it holds more than 1/16 of one.
    pub(super) fn networks(&self) -> Vec<Network> {
        let network = |net: &IpNet| {
            let range = cidr::range(net);
            // The last address less the first, since the size of all of IPv6 does not fit.
            let limit = match (range.1 - range.0) >> 4 {
                0 => u128::from(range.1 - range.0 == 15),
                limit => limit + 1,
            };
            Network { family: cidr::family(net), range, limit }
        };
        self.cluster_cidrs.iter().map(network).collect()
    }
}
