//! Blocks of addresses as people write them: a block without a few others, where that says it in fewer words.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The exceptions that one block is named with.
const EXCEPTIONS: usize = 6;

/// Addresses within a block, said in two ways.
struct Said {
    /// What is there: blocks, each with its exceptions.
    there: Vec<(IpNet, Vec<IpNet>)>,
    /// What is not, as blocks, where these are few.
    missing: Option<Vec<IpNet>>,
}

impl Said {
    fn length(&self) -> usize {
        self.there.iter().map(|(_, except)| 1 + except.len()).sum()
    }
}

/// Names for exactly the addresses of some blocks, such as `0.0.0.0/0 except 169.254.169.254/32`.
pub(super) fn names(blocks: &[IpNet]) -> Vec<String> {
    // In order, without any that overlap or are halves of one.
    let blocks = IpNet::aggregate(&blocks.to_vec());
    let (v4, v6): (Vec<IpNet>, Vec<IpNet>) = blocks.into_iter().partition(|block| matches!(block, IpNet::V4(_)));
    let families = [(IpNet::V4(Ipv4Net::default()), v4), (IpNet::V6(Ipv6Net::default()), v6)];
    let there = families.into_iter().flat_map(|(all, mut blocks)| {
        blocks.sort_unstable();
        said(all, &blocks).there
    });
    there
        .map(|(block, except)| match except.as_slice() {
            [] => block.to_string(),
            except => {
                let except: Vec<String> = except.iter().map(ToString::to_string).collect();
                format!("{block} except {}", except.join(" and "))
            }
        })
        .collect()
}

/// What `blocks`, which are in order, do not overlap and lie within `whole`, leave of it, and how it is said in the fewest
/// blocks.
fn said(whole: IpNet, blocks: &[IpNet]) -> Said {
    if blocks.is_empty() {
        return Said { there: Vec::new(), missing: Some(vec![whole]) };
    }
    let halves: Vec<IpNet> = whole.subnets(whole.prefix_len() + 1).map(Iterator::collect).unwrap_or_default();
    let (false, [low, high]) = (blocks == [whole], halves.as_slice()) else {
        return Said { there: vec![(whole, Vec::new())], missing: Some(Vec::new()) };
    };
    let (lower, upper) = blocks.split_at(blocks.partition_point(|block| block.network() < high.network()));
    let (lower, upper) = (said(*low, lower), said(*high, upper));
    let missing = lower.missing.zip(upper.missing).map(|(lower, upper)| [lower, upper].concat());
    let missing = missing.filter(|missing| missing.len() <= EXCEPTIONS);
    let parts = Said { there: lower.there.into_iter().chain(upper.there).collect(), missing };
    match &parts.missing {
        Some(missing) if 1 + missing.len() < parts.length() => {
            Said { there: vec![(whole, missing.clone())], missing: parts.missing }
        }
        _ => parts,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail like this")]

    use proptest::prelude::*;

    use super::*;

    fn of(blocks: &[&str]) -> Vec<String> {
        names(&blocks.iter().map(|block| block.parse().unwrap()).collect::<Vec<_>>())
    }

    fn outside_of(whole: IpNet, except: &[IpNet]) -> Vec<IpNet> {
        if except.contains(&whole) {
            Vec::new()
        } else if except.iter().any(|except| whole.contains(except)) {
            whole.subnets(whole.prefix_len() + 1).unwrap().flat_map(|half| outside_of(half, except)).collect()
        } else {
            vec![whole]
        }
    }

    /// What is left of a block, as blocks.
    fn without(whole: &str, except: &[&str]) -> Vec<IpNet> {
        let except: Vec<IpNet> = except.iter().map(|except| except.parse().unwrap()).collect();
        outside_of(whole.parse().unwrap(), &except)
    }

    #[test]
    fn a_block_is_said_with_its_exceptions_where_that_is_shorter() {
        assert_eq!(names(&without("0.0.0.0/0", &["169.254.169.254/32"])), ["0.0.0.0/0 except 169.254.169.254/32"]);
        let two = [without("10.0.0.0/8", &["10.1.0.0/16"]), without("fd00::/8", &["fd00:1::/32"])].concat();
        assert_eq!(names(&two), ["10.0.0.0/8 except 10.1.0.0/16", "fd00::/8 except fd00:1::/32"]);
        assert_eq!(
            names(&without("0.0.0.0/0", &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"])),
            ["0.0.0.0/0 except 10.0.0.0/8 and 172.16.0.0/12 and 192.168.0.0/16"]
        );
    }

    #[test]
    fn a_few_blocks_are_listed_as_they_are() {
        assert_eq!(of(&["10.0.0.0/8", "192.168.0.0/16", "10.1.0.0/16"]), ["10.0.0.0/8", "192.168.0.0/16"]);
        assert_eq!(of(&["0.0.0.0/1", "128.0.0.0/2"]), ["0.0.0.0/1", "128.0.0.0/2"]);
        assert_eq!(of(&["0.0.0.0/1", "128.0.0.0/1", "::/0"]), ["0.0.0.0/0", "::/0"]);
        assert_eq!(of(&["10.0.0.1/32", "::1/128"]), ["10.0.0.1/32", "::1/128"]);
        assert!(of(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn what_is_said_is_exactly_what_is_there(blocks in prop::collection::vec((0..64u8, 26..=32u8), 0..20)) {
            let blocks: Vec<IpNet> = blocks
                .into_iter()
                .map(|(last, length)| Ipv4Net::new([10, 0, 0, last].into(), length).unwrap().trunc().into())
                .collect();
            let mut sorted = IpNet::aggregate(&blocks);
            sorted.sort_unstable();
            let said = said("10.0.0.0/8".parse().unwrap(), &sorted).there;
            for last in 0..=255u8 {
                let address = std::net::IpAddr::from([10, 0, 0, last]);
                let is_said = said.iter().any(|(block, except)| {
                    block.contains(&address) && !except.iter().any(|except| except.contains(&address))
                });
                prop_assert_eq!(is_said, blocks.iter().any(|block| block.contains(&address)), "{}", address);
            }
        }
    }
}
