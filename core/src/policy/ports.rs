//! Ports of rules, and the cutting of all ports into classes that the rules cannot tell apart.
//!
//! Semantics: `networking.k8s.io/v1.NetworkPolicyPort`. No protocol means TCP, no port means every port of that
//! protocol, `endPort` is inclusive, and a name resolves against the destination pod's container ports.

use std::collections::BTreeSet;
use std::fmt;

/// The protocols that NetworkPolicy covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP, the default.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

/// The lowest port that a packet may name, and the highest.
pub const PORTS: (u16, u16) = (1, u16::MAX);

/// One entry of a rule's `ports`, or one class of ports in a verdict.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ports {
    /// From the first to the last, both included.
    Range(Protocol, u16, u16),
    /// A container port's name.
    Named(Protocol, String),
}

impl Ports {
    /// Every port of a protocol.
    #[must_use]
    pub fn every(protocol: Protocol) -> Self {
        Self::Range(protocol, PORTS.0, PORTS.1)
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(protocol, from, to) if from == to => write!(f, "{protocol}/{from}"),
            Self::Range(protocol, from, to) => write!(f, "{protocol}/{from}-{to}"),
            Self::Named(protocol, name) => write!(f, "{protocol}/{name}"),
        }
    }
}

/// Cuts all ports at every boundary that the entries name, so that each class lies wholly inside or outside of every
/// entry. Ranges come first, in order of protocol and number; names follow.
pub fn classes<'a>(entries: impl Iterator<Item = &'a Ports>) -> Vec<Ports> {
    let mut starts: BTreeSet<(Protocol, u32)> =
        Protocol::ALL.into_iter().map(|protocol| (protocol, u32::from(PORTS.0))).collect();
    let mut named = BTreeSet::new();
    for entry in entries {
        match entry {
            Ports::Range(protocol, from, to) => {
                starts.insert((*protocol, u32::from(*from)));
                starts.insert((*protocol, u32::from(*to) + 1));
            }
            Ports::Named(..) => {
                named.insert(entry.clone());
            }
        }
    }
    let end = u32::from(PORTS.1) + 1;
    let starts: Vec<_> = starts.into_iter().filter(|(_, start)| *start < end).collect();
    let mut classes = Vec::with_capacity(starts.len() + named.len());
    for (index, &(protocol, start)) in starts.iter().enumerate() {
        let next = match starts.get(index + 1) {
            Some(&(following, next)) if following == protocol => next,
            _ => end,
        };
        if let (Ok(from), Ok(to)) = (u16::try_from(start), u16::try_from(next - 1)) {
            classes.push(Ports::Range(protocol, from, to));
        }
    }
    classes.extend(named);
    classes
}

/// Where in `classes`, as [`classes`] made them, the classes are that an entry includes: a run of ranges, or of names.
/// A name is included by the same name, and by an entry for the whole protocol, since it then does not matter what the
/// name resolves to.
#[must_use]
pub fn included(classes: &[Ports], entry: &Ports) -> [std::ops::Range<usize>; 2] {
    let first = |beyond: &dyn Fn(&Ports) -> bool| classes.partition_point(|class| !beyond(class));
    match entry {
        Ports::Range(protocol, from, to) => {
            let numbers = first(&|class| match class {
                Ports::Range(p, start, _) => (p, start) >= (protocol, from),
                Ports::Named(..) => true,
            })..first(&|class| match class {
                Ports::Range(p, start, _) => (p, start) > (protocol, to),
                Ports::Named(..) => true,
            });
            if (*from, *to) != PORTS {
                return [numbers, 0..0];
            }
            let names = first(&|class| matches!(class, Ports::Named(p, _) if p >= protocol))
                ..first(&|class| matches!(class, Ports::Named(p, _) if p > protocol));
            [numbers, names]
        }
        Ports::Named(..) => {
            let at = first(&|class| class >= entry);
            let until = at + usize::from(classes.get(at) == Some(entry));
            [at..until, 0..0]
        }
    }
}

/// Sorts, joins ranges that touch, and drops names whose whole protocol is there.
#[must_use]
pub fn merge(mut classes: Vec<Ports>) -> Vec<Ports> {
    classes.sort();
    let mut merged: Vec<Ports> = Vec::new();
    for class in classes {
        if let (Some(Ports::Range(p, _, end)), Ports::Range(q, from, to)) = (merged.last_mut(), &class)
            && p == q
            && u32::from(*from) <= u32::from(*end) + 1
        {
            *end = (*end).max(*to);
        } else {
            merged.push(class);
        }
    }
    let whole: Vec<Protocol> =
        Protocol::ALL.into_iter().filter(|protocol| merged.contains(&Ports::every(*protocol))).collect();
    merged.retain(|class| !matches!(class, Ports::Named(protocol, _) if whole.contains(protocol)));
    merged
}
