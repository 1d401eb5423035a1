//! Ports as sets, once every name is resolved.

use std::fmt;
use std::sync::Arc;

use crate::inventory::Workload;
use crate::policy::ports::{PORTS, Ports, Protocol};

/// A set of ports by protocol: sorted ranges that neither meet nor touch. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortSet(Arc<[(Protocol, u16, u16)]>);

impl PortSet {
    /// No port.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Every port of every protocol that NetworkPolicy covers.
    #[must_use]
    pub fn all() -> Self {
        Self(Protocol::ALL.into_iter().map(|protocol| (protocol, PORTS.0, PORTS.1)).collect())
    }

    /// From ranges in any order, which may overlap: the first port and the last, both included.
    #[must_use]
    pub fn of(mut ranges: Vec<(Protocol, u16, u16)>) -> Self {
        ranges.retain(|(_, from, to)| from <= to);
        ranges.sort_unstable();
        let mut merged: Vec<(Protocol, u16, u16)> = Vec::with_capacity(ranges.len());
        for (protocol, from, to) in ranges {
            match merged.last_mut() {
                Some((last, _, end)) if *last == protocol && u32::from(from) <= u32::from(*end) + 1 => {
                    *end = (*end).max(to);
                }
                _ => merged.push((protocol, from, to)),
            }
        }
        Self(merged.into())
    }

    /// What the `ports` of a rule come to at a destination, whose container ports names stand for. No name stands for
    /// anything at an address, nor at a pod with its node's network.
    #[must_use]
    pub fn at(entries: Option<&[Ports]>, destination: Option<&Workload>) -> Self {
        let Some(entries) = entries else { return Self::all() };
        let mut ranges = Vec::with_capacity(entries.len());
        for entry in entries {
            match entry {
                Ports::Range(protocol, from, to) => ranges.push((*protocol, *from, *to)),
                Ports::Named(protocol, name) => ranges.extend(
                    destination
                        .filter(|workload| !workload.host_network)
                        .into_iter()
                        .flat_map(|workload| &workload.ports)
                        .filter(|port| port.protocol == *protocol && port.name == *name)
                        .map(|port| (port.protocol, port.number, port.number)),
                ),
            }
        }
        Self::of(ranges)
    }

    /// Whether there is no port.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is every port of every protocol.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.0.len() == Protocol::ALL.len() && self.0.iter().all(|(_, from, to)| (*from, *to) == PORTS)
    }

    /// Whether a port is there.
    #[must_use]
    pub fn contains(&self, protocol: Protocol, number: u16) -> bool {
        self.0.iter().any(|(p, from, to)| *p == protocol && (*from..=*to).contains(&number))
    }

    /// What is in any of several.
    #[must_use]
    pub fn together<'s>(sets: impl IntoIterator<Item = &'s Self>) -> Self {
        let mut sets: Vec<&Self> = sets.into_iter().filter(|set| !set.is_empty()).collect();
        // Most are the very same.
        sets.dedup();
        match sets.as_slice() {
            [] => Self::none(),
            [one] => (*one).clone(),
            several => Self::of(several.iter().flat_map(|set| set.0.iter()).copied().collect()),
        }
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        // Nearly all that meet are all ports, or the same.
        if self == other || other.is_all() {
            return self.clone();
        }
        if self.is_all() {
            return other.clone();
        }
        let mut both = Vec::new();
        let (mut mine, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        while let (Some(&&(p, from, to)), Some(&&(q, other_from, other_to))) = (mine.peek(), theirs.peek()) {
            if p == q && from.max(other_from) <= to.min(other_to) {
                both.push((p, from.max(other_from), to.min(other_to)));
            }
            // What ends first meets nothing that comes after.
            if (p, to) <= (q, other_to) {
                mine.next()
            } else {
                theirs.next()
            };
        }
        Self(both.into())
    }

    /// What is here and not in the other.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        let mut theirs = other.0.iter().peekable();
        for &(protocol, from, to) in self.0.iter() {
            let mut next = u32::from(from);
            while let Some(&&(p, taken_from, taken_to)) = theirs.peek() {
                if p > protocol || (p == protocol && taken_from > to) {
                    break;
                }
                if p == protocol && taken_to >= from {
                    if u32::from(taken_from) > next
                        && let Ok(start) = u16::try_from(next)
                    {
                        left.push((protocol, start, taken_from - 1));
                    }
                    next = next.max(u32::from(taken_to) + 1);
                    if taken_to > to {
                        // It may take something of what follows, too.
                        break;
                    }
                }
                theirs.next();
            }
            if next <= u32::from(to)
                && let Ok(start) = u16::try_from(next)
            {
                left.push((protocol, start, to));
            }
        }
        Self(left.into())
    }

    /// The merged ranges, in order.
    pub fn ranges(&self) -> impl Iterator<Item = Ports> {
        self.0.iter().map(|(protocol, from, to)| Ports::Range(*protocol, *from, *to))
    }

    /// As reports list them: `*` for all, else each range, such as `TCP/5432`.
    #[must_use]
    pub fn list(&self) -> Vec<String> {
        if self.is_all() { vec!["*".to_owned()] } else { self.ranges().map(|range| range.to_string()).collect() }
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.list().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Of few ports, so that they meet; each as often as not.
    fn sets() -> impl Strategy<Value = PortSet> {
        let range = (prop::sample::select(&Protocol::ALL[..]), 1..40u16, 0..6u16);
        prop::collection::vec(range, 0..12)
            .prop_map(|ranges| PortSet::of(ranges.into_iter().map(|(p, from, more)| (p, from, from + more)).collect()))
    }

    proptest! {
        #[test]
        fn what_is_in_both_in_either_and_in_one_alone_is_what_trying_every_port_says(a in sets(), b in sets()) {
            let (both, either, alone) = (a.intersection(&b), PortSet::together([&a, &b]), a.minus(&b));
            for protocol in Protocol::ALL {
                for port in 1..50 {
                    let (in_a, in_b) = (a.contains(protocol, port), b.contains(protocol, port));
                    prop_assert_eq!(both.contains(protocol, port), in_a && in_b);
                    prop_assert_eq!(either.contains(protocol, port), in_a || in_b);
                    prop_assert_eq!(alone.contains(protocol, port), in_a && !in_b);
                }
            }
            // However it is come by, a set is written in one way.
            for set in [both, either, alone] {
                prop_assert_eq!(PortSet::of(set.0.to_vec()), set);
            }
        }
    }
}
