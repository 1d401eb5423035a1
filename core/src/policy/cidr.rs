//! CIDR blocks as ranges of addresses, and whether a union of them is a whole address family.
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

/// How many of the addresses of `within` the ranges hold. `within` must not be all of IPv6: their number has no place.
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

/// Whether the ranges together are every address of the family.
#[must_use]
pub fn cover(mut ranges: Vec<Range>, family: Family) -> bool {
    ranges.sort_unstable();
    let mut next = 0u128;
    for (from, to) in ranges {
        if from > next {
            return false;
        }
        if to >= family.last() {
            return true;
        }
        next = next.max(to + 1);
    }
    false
}
