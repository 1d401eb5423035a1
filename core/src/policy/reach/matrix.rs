//! Every connection that there is.

use ipnet::IpNet;

use super::classes::Classes;
use super::rows::Rows;
use super::{Member, Party, PortSet, outside};
use crate::inventory::Inventory;
use crate::policy::Direction;

/// Who can reach whom. See [`super`] for what counts.
///
/// The connection of a bare Pod to itself, which always is, is not listed. Where every workload can reach every other,
/// the list of connections is as long as their number squared, and nobody reads it: [`Matrix::count`] says so
/// beforehand, and [`Matrix::groups`] is short in that case.
#[derive(Debug)]
pub struct Matrix<'a> {
    pub(super) inventory: &'a Inventory,
    pub(super) members: Vec<Member<'a>>,
    pub(super) classes: Classes<'a>,
    /// The members, class by class.
    grouped: Vec<Vec<Member<'a>>>,
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

impl Members<'_, '_> {
    fn len(&self) -> u64 {
        match self {
            Members::Workloads(members) => members.len() as u64,
            Members::Outside(blocks) => blocks.len() as u64,
        }
    }
}

/// From each of some parties to each of others. A bare Pod among both does not reach itself by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group<'m, 'a> {
    /// The sources.
    pub from: Members<'m, 'a>,
    /// The destinations.
    pub to: Members<'m, 'a>,
    /// The ports of each of the destinations; at least one.
    pub ports: PortSet,
}

impl Group<'_, '_> {
    /// How many connections it stands for; none where it is a bare Pod to itself.
    #[must_use]
    pub fn count(&self) -> u64 {
        count(&self.from, &self.to)
    }
}

/// How many pairs there are of one of each, but for a bare Pod and itself.
pub(super) fn count(from: &Members<'_, '_>, to: &Members<'_, '_>) -> u64 {
    let pods = match (from, to) {
        (Members::Workloads(from), Members::Workloads(to)) if from == to => {
            from.iter().filter(|member| member.is_pod()).count() as u64
        }
        _ => 0,
    };
    from.len() * to.len() - pods
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
        let classes = Classes::new(inventory, &members);
        let grouped = classes
            .all
            .iter()
            .map(|class| class.members.iter().filter_map(|&at| members.get(at).copied()).collect())
            .collect();
        Self { inventory, members, classes, grouped }
    }

    /// Every workload, in order.
    #[must_use]
    pub fn members(&self) -> &[Member<'a>] {
        &self.members
    }

    /// How many connections [`Self::connections`] lists. This takes as long as [`Self::groups`], which may be much shorter.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.groups().map(|group| group.count()).sum()
    }

    /// One after the other, without holding them all: between workloads and to the outside by source, then from the
    /// outside by destination.
    pub fn connections(&self) -> impl Iterator<Item = Connection<'a>> {
        let rows = |direction| {
            let row = move |class| self.row(class, direction);
            Rows::new(&self.members, &self.classes.of, direction, row)
        };
        let connections = rows(Direction::Egress).chain(rows(Direction::Ingress));
        connections.map(|(from, to, ports)| Connection { from, to, ports })
    }

    /// The same, with parties that mean the same put together: few even where every workload can reach every other.
    pub fn groups(&self) -> impl Iterator<Item = Group<'_, 'a>> {
        let classes = 0..self.classes.all.len();
        let between = classes.clone().flat_map(move |class| {
            let reached = self.classes.reached(class).into_iter().map(move |(to, ports)| Group {
                from: self.class(class),
                to: self.class(to),
                ports,
            });
            let outside = self.outside(class, Direction::Egress).into_iter().map(move |(blocks, ports)| Group {
                from: self.class(class),
                to: Members::Outside(blocks),
                ports,
            });
            reached.chain(outside)
        });
        let into = classes.flat_map(move |class| {
            self.outside(class, Direction::Ingress).into_iter().map(move |(blocks, ports)| Group {
                from: Members::Outside(blocks),
                to: self.class(class),
                ports,
            })
        });
        between.chain(into).filter(|group| group.count() > 0)
    }

    fn class(&self, class: usize) -> Members<'_, 'a> {
        Members::Workloads(self.grouped.get(class).map(Vec::as_slice).unwrap_or_default())
    }

    fn outside(&self, class: usize, direction: Direction) -> Vec<(Vec<IpNet>, PortSet)> {
        outside::union(&self.classes.outside(class, direction))
    }

    /// What the members of a class reach, or from where outside of the cluster they are reached, in order.
    fn row(&self, class: usize, direction: Direction) -> Vec<(Party<'a>, PortSet)> {
        let mut row = Vec::new();
        if direction == Direction::Egress {
            let mut reached: Vec<(usize, PortSet)> = Vec::new();
            for (to, ports) in self.classes.reached(class) {
                let members = self.classes.all.get(to).map(|class| class.members.as_slice()).unwrap_or_default();
                reached.extend(members.iter().map(|&at| (at, ports.clone())));
            }
            reached.sort_unstable_by_key(|(at, _)| *at);
            let party = |at: usize| self.members.get(at).copied().map(Party::Workload);
            row.extend(reached.into_iter().filter_map(|(at, ports)| Some((party(at)?, ports))));
        }
        for (blocks, ports) in self.outside(class, direction) {
            row.extend(blocks.into_iter().map(|block| (Party::Outside(block), ports.clone())));
        }
        row
    }
}
