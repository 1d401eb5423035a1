//! The verdict on a namespace's policies: coverage and holes, in both directions.

use super::coverage::{self, Coverage};
use super::criteria::Criteria;
use super::holes::{self, Hole};
use super::{Direction, NetworkPolicy};

/// What the policies do in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// Which pods are isolated.
    pub coverage: Coverage,
    /// What is let through to strangers.
    pub holes: Vec<Hole>,
}

/// What a namespace's policies do together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Towards its pods.
    pub ingress: Side,
    /// From its pods.
    pub egress: Side,
    /// Whether the enumeration met its cap, so that the verdict may be worse than the truth, never better.
    pub capped: bool,
}

impl Verdict {
    /// One direction.
    #[must_use]
    pub fn side(&self, direction: Direction) -> &Side {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    /// Whether every pod is isolated in both directions.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.ingress.coverage.is_complete() && self.egress.coverage.is_complete()
    }

    /// Every hole, with its direction.
    pub fn holes(&self) -> impl Iterator<Item = (Direction, &Hole)> {
        Direction::BOTH
            .into_iter()
            .flat_map(|direction| self.side(direction).holes.iter().map(move |hole| (direction, hole)))
    }
}

/// Judges the policies of one namespace. All of `policies` must be of that namespace.
#[must_use]
pub fn judge(policies: &[&NetworkPolicy], criteria: &Criteria) -> Verdict {
    let (ingress, a) = side(policies, Direction::Ingress, criteria);
    let (egress, b) = side(policies, Direction::Egress, criteria);
    Verdict { ingress, egress, capped: a || b }
}

fn side(policies: &[&NetworkPolicy], direction: Direction, criteria: &Criteria) -> (Side, bool) {
    let (coverage, a) = coverage::coverage(policies, direction);
    let (holes, b) = holes::holes(policies, direction, criteria);
    (Side { coverage, holes }, a || b)
}
