//! What the API server accepts, written after its code and apart from the parser under test.
//!
//! Sources: `k8s.io/apimachinery/pkg/util/validation` for names and, in 1.36, for strict CIDRs (`parseCIDR`);
//! `k8s.io/utils/net.ParseCIDRSloppy` for what older servers took; `ValidateIPBlock` of
//! `k8s.io/kubernetes/pkg/apis/networking/validation` for exceptions.

use std::net::{IpAddr, Ipv6Addr};

/// `([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]`, of at most 63.
fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    bytes.len() <= 63
        && first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

/// `IsValidLabelValue`.
pub(super) fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_name(text)
}

/// `IsQualifiedName`.
pub(super) fn is_label_key(text: &str) -> bool {
    let parts: Vec<&str> = text.split('/').collect();
    match parts.as_slice() {
        [name] => is_name(name),
        [prefix, name] => is_subdomain(prefix) && is_name(name),
        _ => false,
    }
}

/// `[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*`, of at most 253.
fn is_subdomain(text: &str) -> bool {
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    // Whether what comes next begins a part.
    let mut begins = true;
    for (index, &byte) in bytes.iter().enumerate() {
        let ends = bytes.get(index + 1).is_none_or(|next| *next == b'.');
        match byte {
            b'.' if !begins => begins = true,
            b'-' if !begins && !ends => {}
            _ if lower(byte) => begins = false,
            _ => return false,
        }
    }
    !begins && bytes.len() <= 253
}

/// A block, masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Net {
    pub(super) v6: bool,
    first: u128,
    last: u128,
}

#[derive(Debug)]
pub(super) struct Block {
    pub(super) cidr: Net,
    except: Vec<Net>,
}

impl Net {
    fn contains(&self, address: u128) -> bool {
        self.first <= address && address <= self.last
    }
}

impl Block {
    pub(super) fn contains(&self, address: u128) -> bool {
        self.cidr.contains(address) && !self.except.iter().any(|except| except.contains(address))
    }

    /// The addresses at which anything can change, and those beside them.
    pub(super) fn addresses(&self) -> Vec<u128> {
        let end = if self.cidr.v6 { u128::MAX } else { u128::from(u32::MAX) };
        let edges = self.except.iter().chain([&self.cidr]).flat_map(|net| [net.first, net.last]);
        let near = edges.flat_map(|edge| [edge.saturating_sub(1), edge, edge.saturating_add(1).min(end)]);
        near.chain([0, end]).collect()
    }
}

/// `ValidateIPBlock`.
pub(super) fn block(cidr: &str, except: &[String], strict: bool) -> Option<Block> {
    let read = |text: &str| net(text).filter(|_| !strict || is_strict(text));
    let cidr = read(cidr)?;
    let except = except
        .iter()
        .map(|text| {
            let taken = read(text)?;
            let inside = taken.v6 == cidr.v6 && cidr.first <= taken.first && taken.last <= cidr.last;
            (inside && taken != cidr).then_some(taken)
        })
        .collect::<Option<Vec<_>>>()?;
    Some(Block { cidr, except })
}

/// What `parseCIDR` asks for besides: `netip.ParsePrefix` takes it, no IPv4-mapped address, no bits beyond the prefix.
fn is_strict(text: &str) -> bool {
    let (address, length) = text.split_once('/').unwrap_or_default();
    let (Ok(net), Ok(_)) = (text.parse::<ipnet::IpNet>(), address.parse::<IpAddr>()) else { return false };
    let padded = length.len() > 1 && length.starts_with('0');
    let mapped = matches!(net.addr(), IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    !padded && !mapped && net.trunc() == net
}

/// `ParseCIDRSloppy`.
fn net(text: &str) -> Option<Net> {
    let (address, length) = text.split_once('/')?;
    let (v6, address) = match v4(address) {
        Some(octets) => (false, u128::from(u32::from_be_bytes(octets))),
        None => (true, u128::from(self::v6(address)?)),
    };
    let bits = if v6 { 128 } else { 32 };
    let (length, rest) = number(length.as_bytes(), 10)?;
    if !rest.is_empty() || length > bits {
        return None;
    }
    let free = bits - length;
    let hosts = if free == 128 { u128::MAX } else { (1u128 << free) - 1 };
    let (first, last) = (address & !hosts, address | hosts);
    // `IPNet.Contains` takes an IPv4-mapped network for the IPv4 one.
    let mapped = 0xffff_0000_0000u128;
    if v6 && length >= 96 && first & !u128::from(u32::MAX) == mapped {
        return Some(Net { v6: false, first: first - mapped, last: last - mapped });
    }
    Some(Net { v6, first, last })
}

/// `dtoi` and `xtoi`: digits, any number of leading zeros among them, and what follows.
fn number(text: &[u8], base: u32) -> Option<(u32, &[u8])> {
    const BIG: u32 = 0xff_ffff;
    let mut value = 0;
    let mut rest = text;
    while let Some(digit) = rest.first().and_then(|byte| char::from(*byte).to_digit(base)) {
        value = value * base + digit;
        if value >= BIG {
            return None;
        }
        rest = &rest[1..];
    }
    (rest.len() < text.len()).then_some((value, rest))
}

fn v4(text: &str) -> Option<[u8; 4]> {
    let mut rest = text.as_bytes();
    let mut octets = [0; 4];
    for (index, octet) in octets.iter_mut().enumerate() {
        if index > 0 {
            rest = rest.strip_prefix(b".")?;
        }
        let (value, after) = number(rest, 10)?;
        *octet = u8::try_from(value).ok()?;
        rest = after;
    }
    rest.is_empty().then_some(octets)
}

fn v6(text: &str) -> Option<Ipv6Addr> {
    let mut rest = text.as_bytes();
    let mut bytes: Vec<u8> = Vec::new();
    let mut gap = None;
    if let Some(after) = rest.strip_prefix(b"::") {
        gap = Some(0);
        rest = after;
    }
    while bytes.len() < 16 && !(rest.is_empty() && gap == Some(bytes.len())) {
        let (group, after) = number(rest, 16)?;
        let group = u16::try_from(group).ok()?;
        if after.starts_with(b".") {
            let fits = if gap.is_some() { bytes.len() <= 12 } else { bytes.len() == 12 };
            bytes.extend(v4(std::str::from_utf8(rest).ok()?).filter(|_| fits)?);
            rest = b"";
            break;
        }
        bytes.extend(group.to_be_bytes());
        rest = after;
        if rest.is_empty() {
            break;
        }
        rest = rest.strip_prefix(b":").filter(|rest| !rest.is_empty())?;
        if let Some(after) = rest.strip_prefix(b":") {
            if gap.is_some() {
                return None;
            }
            gap = Some(bytes.len());
            rest = after;
        }
    }
    if !rest.is_empty() || (bytes.len() < 16) != gap.is_some() {
        return None;
    }
    if let Some(gap) = gap {
        let missing = 16 - bytes.len();
        bytes.splice(gap..gap, std::iter::repeat_n(0, missing));
    }
    <[u8; 16]>::try_from(bytes).ok().map(Ipv6Addr::from)
}
