//! CIDR blocks as ranges of addresses, and how many addresses a union of them holds.
//!
//! Semantics: `networking.k8s.io/v1.IPBlock`; `except` subtracts only inside its own block.

use ipnet::IpNet;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    fn last(self) -> u128 {
        match self {
            Self::V4 => u128::from(u32::MAX),
            Self::V6 => u128::MAX,
        }
    }
}

/// Addresses from the first to the last, both included, as numbers.
pub type Range = (u128, u128);

/// The family of a block.
#[must_use]
pub fn family(net: &IpNet) -> Family {
    match net {
        IpNet::V4(_) => Family::V4,
        IpNet::V6(_) => Family::V6,
    }
}

/// The addresses of a block.
#[must_use]
pub fn range(net: &IpNet) -> Range {
    match net {
        IpNet::V4(net) => (u128::from(u32::from(net.network())), u128::from(u32::from(net.broadcast()))),
        IpNet::V6(net) => (u128::from(net.network()), u128::from(net.broadcast())),
    }
}

impl Family {
    /// The addresses that the Internet is made of: all of IPv4, and of IPv6 what is given out for use between networks,
    /// `2000::/3` (<https://www.iana.org/assignments/ipv6-address-space>).
    #[must_use]
    pub fn internet(self) -> Range {
        match self {
            Self::V4 => (0, self.last()),
            Self::V6 => (0x2000 << 112, (0x4000 << 112) - 1),
        }
    }
}

impl Family {
    /// Every address.
    #[must_use]
    pub fn every(self) -> Range {
        (0, self.last())
    }
}

/// The /96 blocks of IPv6 in which an address stands for the IPv4 address in its last 32 bits: `64:ff9b::/96`, which a
/// NAT64 translates (RFC 6052), and `::ffff:0:0/96`, by which sockets write IPv4 (RFC 4291).
const EMBEDDING: [u128; 2] = [0x0064_ff9b << 96, 0xffff << 32];

/// Splits IPv6 addresses into those that stand for themselves, and the IPv4 addresses that the others stand for.
#[must_use]
pub fn embedded(ranges: &[Range]) -> (Vec<Range>, Vec<Range>) {
    let (mut v6, mut v4) = (ranges.to_vec(), Vec::new());
    for first in EMBEDDING {
        let last = first + u128::from(u32::MAX);
        v6 = v6
            .into_iter()
            .flat_map(|(from, to)| {
                if to < first || from > last {
                    return [Some((from, to)), None];
                }
                v4.push((from.max(first) - first, to.min(last) - first));
                [(from < first).then(|| (from, first - 1)), (to > last).then(|| (last + 1, to))]
            })
            .flatten()
            .collect();
    }
    (v6, v4)
}

/// The same addresses, sorted, in as few ranges as can be.
#[must_use]
pub fn merged(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut merged: Vec<Range> = Vec::with_capacity(ranges.len());
    for (from, to) in ranges {
        match merged.last_mut() {
            Some((_, end)) if from <= end.saturating_add(1) => *end = (*end).max(to),
            _ => merged.push((from, to)),
        }
    }
    merged
}

/// How many of the addresses of `within` the ranges hold; one too few for all of IPv6, whose number does not fit.
#[must_use]
pub fn held(mut ranges: Vec<Range>, within: Range) -> u128 {
    ranges.sort_unstable();
    let mut next = within.0;
    let mut held = 0u128;
    for (from, to) in ranges {
        let (from, to) = (from.max(next), to.min(within.1));
        if from > to {
            continue;
        }
        held = held.saturating_add((to - from).saturating_add(1));
        match to.checked_add(1) {
            Some(after) => next = after,
            None => break,
        }
    }
    held
}

/// What a block matches once its exceptions are taken out.
#[must_use]
pub fn remaining(cidr: &IpNet, except: &[IpNet]) -> Vec<Range> {
    let (mut next, last) = range(cidr);
    let mut taken: Vec<Range> = except.iter().map(range).collect();
    taken.sort_unstable();
    let mut left = Vec::new();
    for (from, to) in taken {
        if from > next {
            left.push((next, from - 1));
        }
        match to.checked_add(1) {
            Some(after) => next = next.max(after),
            None => return left,
        }
    }
    if next <= last {
        left.push((next, last));
    }
    left
}
