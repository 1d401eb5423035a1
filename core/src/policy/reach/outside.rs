//! Addresses outside of the cluster, cut where what is open to them differs.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

use super::PortSet;
use crate::policy::cidr::{Family, Range, family, remaining};

/// Ports that are open to addresses.
pub(super) type Open = (Family, Range, PortSet);

/// Every address of both families.
pub(super) fn everywhere(ports: &PortSet) -> [Open; 2] {
    [(Family::V4, (0, u128::from(u32::MAX)), ports.clone()), (Family::V6, (0, u128::MAX), ports.clone())]
}

/// What a block with its exceptions opens.
pub(super) fn block<'p>(cidr: &IpNet, except: &[IpNet], ports: &'p PortSet) -> impl Iterator<Item = Open> + use<'p> {
    let family = family(cidr);
    remaining(cidr, except).into_iter().map(move |range| (family, range, ports.clone()))
}

/// The fewest blocks that together are a range.
fn blocks(family: Family, (from, to): Range) -> Vec<IpNet> {
    match family {
        Family::V4 => match (u32::try_from(from), u32::try_from(to)) {
            (Ok(from), Ok(to)) => {
                Ipv4Subnets::new(Ipv4Addr::from(from), Ipv4Addr::from(to), 0).map(IpNet::V4).collect()
            }
            _ => Vec::new(),
        },
        Family::V6 => Ipv6Subnets::new(Ipv6Addr::from(from), Ipv6Addr::from(to), 0).map(IpNet::V6).collect(),
    }
}

/// Cuts addresses into runs that have the same ports open, and no two runs that touch have the same. `value` says what
/// counts of the open parts at an address: `None` where nothing does.
pub(super) fn runs<P: Clone + Ord, V: PartialEq>(
    parts: &[(Family, Range, P)],
    value: impl Fn(&mut dyn Iterator<Item = &P>) -> Option<V>,
) -> Vec<(Family, Range, V)> {
    let mut runs: Vec<(Family, Range, V)> = Vec::new();
    for family in [Family::V4, Family::V6] {
        let last = match family {
            Family::V4 => u128::from(u32::MAX),
            Family::V6 => u128::MAX,
        };
        let mut starts: BTreeMap<u128, Vec<&P>> = BTreeMap::new();
        let mut ends: BTreeMap<u128, Vec<&P>> = BTreeMap::new();
        for (_, (from, to), part) in parts.iter().filter(|(of, ..)| *of == family) {
            starts.entry(*from).or_default().push(part);
            if *to < last {
                ends.entry(to + 1).or_default().push(part);
            }
        }
        let mut cuts: Vec<u128> = starts.keys().chain(ends.keys()).copied().collect();
        cuts.sort_unstable();
        cuts.dedup();
        let mut active: BTreeMap<&P, usize> = BTreeMap::new();
        for (index, &from) in cuts.iter().enumerate() {
            for part in ends.get(&from).into_iter().flatten() {
                if let Some(count) = active.get_mut(part) {
                    *count -= 1;
                    if *count == 0 {
                        active.remove(part);
                    }
                }
            }
            for part in starts.get(&from).into_iter().flatten() {
                *active.entry(part).or_default() += 1;
            }
            let to = cuts.get(index + 1).map_or(last, |next| next - 1);
            let Some(here) = value(&mut active.keys().copied()) else { continue };
            match runs.last_mut() {
                Some((of, (_, end), before)) if *of == family && *end + 1 == from && *before == here => *end = to,
                _ => runs.push((family, (from, to), here)),
            }
        }
    }
    runs
}

/// The blocks, in order, by what they have in common.
pub(super) fn grouped(runs: Vec<(Family, Range, PortSet)>) -> Vec<(Vec<IpNet>, PortSet)> {
    let mut groups: Vec<(Vec<IpNet>, PortSet)> = Vec::new();
    let mut known: HashMap<PortSet, usize> = HashMap::new();
    for (family, range, ports) in runs {
        let index = *known.entry(ports).or_insert_with_key(|ports| {
            groups.push((Vec::new(), ports.clone()));
            groups.len() - 1
        });
        if let Some((nets, _)) = groups.get_mut(index) {
            nets.extend(blocks(family, range));
        }
    }
    groups
}

/// What is open together, as blocks: where parts overlap, what either opens.
pub(super) fn union(parts: &[Open]) -> Vec<(Vec<IpNet>, PortSet)> {
    grouped(runs(parts, |open| {
        let union = PortSet::together(open);
        (!union.is_empty()).then_some(union)
    }))
}
