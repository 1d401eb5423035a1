//! Every connection that there is.

use ipnet::IpNet;

use super::connect::{Other, selecting};
use super::{Endpoint, Member, Party, PortSet, outside};
use crate::inventory::Inventory;
use crate::policy::{Direction, Peer};

/// Who can reach whom. See [`super`] for what counts.
///
/// The connection of a bare Pod to itself, which always is, is not listed.
#[derive(Debug)]
pub struct Matrix<'a> {
    inventory: &'a Inventory,
    members: Vec<Member<'a>>,
}

/// From one party to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection<'a> {
    /// The source.
    pub from: Party<'a>,
    /// The destination. One of the two is a workload.
    pub to: Party<'a>,
    /// The ports of the destination; at least one.
    pub ports: PortSet,
}

/// Parties that a matrix can't tell apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Members<'m, 'a> {
    /// Workloads, in order.
    Workloads(&'m [Member<'a>]),
    /// Blocks outside of the cluster, in order, that do not overlap.
    Outside(Vec<IpNet>),
}

/// From each of some parties to each of others. Bare Pods among both do not reach themselves by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group<'m, 'a> {
    /// The sources.
    pub from: Members<'m, 'a>,
    /// The destinations.
    pub to: Members<'m, 'a>,
    /// The ports of each of the destinations; at least one.
    pub ports: PortSet,
}

impl<'a> Matrix<'a> {
    /// Looks at an inventory.
    #[must_use]
    pub fn new(inventory: &'a Inventory) -> Self {
        let mut members: Vec<Member<'a>> = inventory
            .namespaces
            .iter()
            .flat_map(|(namespace, of)| of.workloads.iter().map(move |workload| Member { namespace, workload }))
            .collect();
        members.sort_by_key(Member::key);
        Self { inventory, members }
    }

    /// Every workload, in order.
    #[must_use]
    pub fn members(&self) -> &[Member<'a>] {
        &self.members
    }

    /// How many connections [`Self::connections`] lists. This takes as long as [`Self::groups`], not longer.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.groups()
            .map(|group| {
                let size = |members: &Members<'_, '_>| match members {
                    Members::Workloads(members) => members.len() as u64,
                    Members::Outside(blocks) => blocks.len() as u64,
                };
                size(&group.from) * size(&group.to) - u64::from(group.from == group.to) * selves(&group.from)
            })
            .sum()
    }

    /// One after the other, without holding them all: between workloads and to the outside by source, then from the
    /// outside by destination.
    pub fn connections(&self) -> impl Iterator<Item = Connection<'a>> {
        let out = self.members.iter().flat_map(|from| {
            let within = self.members.iter().filter_map(|to| {
                let ports = self.between(from, to);
                let connection = Connection { from: Party::Workload(*from), to: Party::Workload(*to), ports };
                let same_pod = from.is_pod() && from.key() == to.key();
                (!connection.ports.is_empty() && !same_pod).then_some(connection)
            });
            within.chain(self.outside(from, Direction::Egress).into_iter().flat_map(move |(blocks, ports)| {
                blocks.into_iter().map(move |block| Connection {
                    from: Party::Workload(*from),
                    to: Party::Outside(block),
                    ports: ports.clone(),
                })
            }))
        });
        let into = self.members.iter().flat_map(|to| {
            self.outside(to, Direction::Ingress).into_iter().flat_map(move |(blocks, ports)| {
                blocks.into_iter().map(move |block| Connection {
                    from: Party::Outside(block),
                    to: Party::Workload(*to),
                    ports: ports.clone(),
                })
            })
        });
        out.chain(into)
    }

    /// The same, with parties that mean the same put together: few even where every workload can reach every other.
    pub fn groups(&self) -> impl Iterator<Item = Group<'_, 'a>> {
        let single = |member: &Member<'a>| {
            let at = self.members.iter().position(|other| other == member);
            at.and_then(|at| self.members.get(at..=at)).unwrap_or_default()
        };
        self.connections().map(move |connection| {
            let members = |party: &Party<'a>| match party {
                Party::Workload(member) => Members::Workloads(single(member)),
                Party::Outside(block) => Members::Outside(vec![*block]),
            };
            Group { from: members(&connection.from), to: members(&connection.to), ports: connection.ports }
        })
    }

    fn side(&self, own: &Member<'a>, other: &Member<'a>, to: &Member<'a>, direction: Direction) -> PortSet {
        self.open_to(own, &Other::of(self.inventory, &Endpoint::Workload(*other)), to, direction)
    }

    fn open_to(&self, own: &Member<'a>, other: &Other<'_>, to: &Member<'a>, direction: Direction) -> PortSet {
        let policies = selecting(self.inventory, own, direction);
        if policies.is_empty() {
            return PortSet::all();
        }
        let rules = policies.iter().flat_map(|policy| policy.spec.rules(direction).into_iter().flatten());
        rules
            .filter(|rule| super::connect::matches(rule, own.namespace, other))
            .fold(PortSet::none(), |sum, rule| sum.union(&PortSet::at(rule.ports.as_deref(), Some(to.workload))))
    }

    /// The ports on which a workload's own side lets in one of another inventory.
    pub(super) fn lets_in(&self, own: &Member<'a>, theirs: &Self, other: &Member<'a>) -> PortSet {
        let other = Other::of(theirs.inventory, &Endpoint::Workload(*other));
        self.open_to(own, &other, own, Direction::Ingress)
    }

    fn between(&self, from: &Member<'a>, to: &Member<'a>) -> PortSet {
        self.side(from, to, to, Direction::Egress).intersection(&self.side(to, from, to, Direction::Ingress))
    }

    fn outside(&self, own: &Member<'a>, direction: Direction) -> Vec<(Vec<IpNet>, PortSet)> {
        let policies = selecting(self.inventory, own, direction);
        if policies.is_empty() {
            return outside::union(&outside::everywhere(&PortSet::all()));
        }
        let destination = (direction == Direction::Ingress).then_some(own.workload);
        let mut open = Vec::new();
        for rule in policies.iter().flat_map(|policy| policy.spec.rules(direction).into_iter().flatten()) {
            let ports = PortSet::at(rule.ports.as_deref(), destination);
            match &rule.peers {
                None => open.extend(outside::everywhere(&ports)),
                Some(peers) => {
                    for peer in peers {
                        if let Peer::Block { cidr, except } = peer {
                            open.extend(outside::block(cidr, except, &ports));
                        }
                    }
                }
            }
        }
        outside::union(&open)
    }
}

fn selves(members: &Members<'_, '_>) -> u64 {
    match members {
        Members::Workloads(members) => members.iter().filter(|member| member.is_pod()).count() as u64,
        Members::Outside(_) => 0,
    }
}
