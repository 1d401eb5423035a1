//! Agreement of the evaluator with the naive one on sets of policies as they are written. Shared by the property tests
//! and the fuzzing of `fuzz/`.

use ringfence_core::policy::compare::allows_no_more;
use ringfence_core::policy::coverage::{self, Coverage};
use ringfence_core::policy::criteria::{Criteria, Wide};
use ringfence_core::policy::holes::{self, Kind, Part, Peers};
use ringfence_core::policy::parse::{Source, network_policy};
use ringfence_core::policy::ports::Ports;
use ringfence_core::policy::verdict::judge;
use ringfence_core::policy::{Direction, NetworkPolicy};
use serde_json::Value;

use super::naive::{self, Holes, Naive};

pub(crate) const NAMESPACE: &str = "team-a";

/// How many [`criteria`] there are.
pub(crate) const CRITERIA: usize = 4;

/// Criteria by which generated policies differ: the default, few ports, small blocks, known networks of the cluster.
pub(crate) fn criteria(which: usize) -> Criteria {
    let nets = |nets: &[&str]| nets.iter().map(|net| net.parse().unwrap()).collect();
    match which % CRITERIA {
        0 => Criteria::default(),
        1 => Criteria { wide: Wide { ipv4: 1, ipv6: 1, ports: 1 }, cluster_cidrs: Vec::new() },
        2 => Criteria { wide: Wide { ipv4: 2, ipv6: 97, ports: 364 }, cluster_cidrs: nets(&["10.0.0.0/8"]) },
        _ => Criteria {
            wide: Wide { ports: 0, ..Wide::default() },
            cluster_cidrs: nets(&["10.244.0.0/16", "fd00::/56"]),
        },
    }
}

pub(crate) fn parsed(written: &[Value]) -> Vec<NetworkPolicy> {
    written.iter().map(|policy| network_policy(policy, Source::File).unwrap()).collect()
}

pub(crate) fn refs(policies: &[NetworkPolicy]) -> Vec<&NetworkPolicy> {
    policies.iter().collect()
}

fn rank(coverage: &Coverage) -> u8 {
    match coverage {
        Coverage::Absent => 0,
        Coverage::Partial(_) => 1,
        Coverage::Complete => 2,
    }
}

fn holes_of(policies: &[NetworkPolicy], naive: &Naive<'_>, direction: Direction, criteria: &Criteria) -> Holes {
    let (found, capped) = holes::holes(&refs(policies), direction, criteria);
    assert!(!capped);
    naive::seen(&found, naive)
}

/// Whether a hole of `fewer` is still there in `more`, or swallowed by a wider one. `true` is starred.
fn is_kept(fewer: &Holes, more: &Holes, naive: &Naive<'_>) -> Result<(), String> {
    let has = |kind: Kind, some: bool| more.kinds.get(&kind).is_some_and(|found| *found <= some);
    for (&kind, &some) in fewer.kinds.iter().filter(|(kind, _)| **kind != Kind::Ports) {
        if !has(kind, some) && !has(Kind::All, some) {
            return Err(format!("{kind}, starred {some}, vanished"));
        }
    }
    let wide = [Kind::All, Kind::Cluster, Kind::W4, Kind::W6];
    for ((peers, point), &some) in &fewer.ports {
        let at_least = |found: &bool| *found <= some;
        let has_at = |point: &Ports| {
            // What one class had, all three can have now.
            [*peers, Peers::Any].into_iter().any(|peers| more.ports.get(&(peers, point.clone())).is_some_and(at_least))
        };
        let kept = match point {
            Ports::Named(named, _) if !has_at(point) => {
                let mut numbers =
                    naive.points()[..naive.numbers()].iter().filter(|p| naive::includes(&Ports::every(*named), p));
                numbers.all(has_at)
            }
            _ => has_at(point),
        };
        // Some pods can have it now as a class on many ports, and the others still on a few.
        if !kept && !wide.into_iter().any(|kind| has(kind, some)) {
            return Err(format!("PORTS {point}, starred {some}, vanished"));
        }
    }
    Ok(())
}

/// What the coverage must be, by trying every pod.
fn coverage_by_trying(written: &[Value], direction: Direction) -> u8 {
    let isolated =
        naive::pods().iter().map(|pod| written.iter().any(|p| naive::isolates(p, direction, pod))).collect::<Vec<_>>();
    if isolated.iter().all(|isolated| *isolated) { 2 } else { u8::from(isolated.contains(&true)) }
}

pub(crate) fn check_coverage(written: &[Value]) {
    let policies = parsed(written);
    for direction in Direction::BOTH {
        let (coverage, capped) = coverage::coverage(&refs(&policies), direction);
        assert!(!capped);
        assert_eq!(rank(&coverage), coverage_by_trying(written, direction), "{direction} {coverage:?}");
        if let Coverage::Partial(witness) = coverage {
            let witness = witness.unwrap();
            assert!(!written.iter().any(|p| naive::isolates(p, direction, &witness)), "{direction} {witness:?}");
        }
    }
}

pub(crate) fn check_holes(written: &[Value], criteria: &Criteria) {
    check_opened(&[], written, criteria);
}

pub(crate) fn check_opened(before: &[Value], after: &[Value], criteria: &Criteria) {
    let (of_before, of_after) = (parsed(before), parsed(after));
    for direction in Direction::BOTH {
        let (found, capped) = holes::opened(&refs(&of_before), &refs(&of_after), direction, criteria);
        assert!(!capped);
        let mut naive_after = Naive::new(after, before, direction, criteria);
        let expected = naive::opened(before, after, direction, criteria);
        assert_eq!(naive::seen(&found, &naive_after), expected, "{direction} {found:?}");
        for hole in &found {
            assert!(!hole.some || hole.witness.is_some(), "{hole:?}");
            assert_eq!(hole.share.is_some(), matches!(hole.kind, Kind::W4 | Kind::W6), "{hole:?}");
            assert!(!hole.policies.is_empty(), "{hole:?}");
            let every = naive::pods();
            let pods = hole.witness.as_ref().map_or(every.as_slice(), std::slice::from_ref);
            let mut naive_before = Naive::new(before, after, direction, criteria);
            for pod in pods {
                assert!(
                    hole.witness.is_none() || hole.some != naive_after.is_unnamed(pod),
                    "{direction} {hole:?} {pod:?}"
                );
                if hole.witness.is_some() {
                    assert!(naive::pod_has(&mut naive_after, pod, hole), "{direction} {hole:?}");
                    assert!(hole.kind == Kind::Ports || !naive_before.has(pod).kind(hole.kind), "{hole:?}");
                } else if hole.kind != Kind::Ports {
                    assert!(naive_after.has(pod).kind(hole.kind), "{direction} {hole:?} is not every pod's: {pod:?}");
                }
            }
        }
    }
}

/// Who takes part in the holes of classes that count is as the definition says, by trying every pod.
pub(crate) fn check_participants(written: &[Value], criteria: &Criteria, counted: u16) {
    let policies = parsed(written);
    let counts = |kind: Kind, some: bool| counted >> (2 * kind as u16 + u16::from(some)) & 1 == 1;
    for direction in Direction::BOTH {
        let expected: Vec<usize> = naive::participants(written, direction, criteria, counts).into_iter().collect();
        let class = |class: holes::Class| counts(class.kind, class.some);
        let found = holes::participants(&refs(&policies), direction, criteria, class);
        assert!(!found.is_capped());
        assert_eq!(found.certain, expected, "{direction}");
        for index in 0..policies.len() {
            let part = holes::part_of(&refs(&policies), index, direction, criteria, class);
            assert_eq!(matches!(part, Part::In(_)), expected.contains(&index), "{direction} {index}");
            if let Part::In(hole) = part {
                assert!(class(hole.class()), "{direction} {hole:?}");
            }
        }
        let (holes, _) = holes::holes(&refs(&policies), direction, criteria);
        let is_open = holes.iter().any(|hole| class(hole.class()));
        assert!(is_open || expected.is_empty() || counts(Kind::Ports, false) || counts(Kind::Ports, true));
        // Each denied hole is opened by those who take part in it.
        assert!(!is_open || !expected.is_empty(), "{direction} {holes:?}");
    }
}

/// Without the participants nothing that counts is left, so closing them one after the other ends.
pub(crate) fn check_closing(written: &[Value], criteria: &Criteria) {
    let policies = parsed(written);
    let counts = |class: holes::Class| class.kind != Kind::Ports && !class.some;
    for direction in Direction::BOTH {
        let mut left = refs(&policies);
        while let Some(last) = holes::participants(&left, direction, criteria, counts).certain.last() {
            left.remove(*last);
        }
        let (holes, _) = holes::holes(&left, direction, criteria);
        assert!(!holes.iter().any(|hole| counts(hole.class())), "{direction} {holes:?}");
    }
}

/// An update that is said to allow no more allows no pod, peer and port more; and one that allows no more is said to.
pub(crate) fn check_allows_no_more(old: &Value, new: &Value) {
    let policies = parsed(&[old.clone(), new.clone()]);
    for direction in Direction::BOTH {
        let less = allows_no_more(&policies[0], &policies[1], NAMESPACE, direction);
        assert_eq!(!less, naive::allows_more(old, new, direction), "{direction}");
        assert!(allows_no_more(&policies[1], &policies[1], NAMESPACE, direction), "{direction}");
    }
}

pub(crate) fn check_lost(before: &[Value], after: &[Value]) {
    let (of_before, of_after) = (parsed(before), parsed(after));
    for direction in Direction::BOTH {
        let is_lost = |pod: &naive::Labels| {
            let isolated = |written: &[Value]| written.iter().any(|p| naive::isolates(p, direction, pod));
            isolated(before) && !isolated(after)
        };
        match coverage::lost(&refs(&of_before), &refs(&of_after), direction) {
            None => assert!(!naive::pods().iter().any(is_lost), "{direction}"),
            Some(witness) => assert!(is_lost(&witness.unwrap()), "{direction}"),
        }
    }
}

/// A policy that is added never lessens the coverage and never closes a hole.
pub(crate) fn check_added(written: &[Value], added: &Value, criteria: &Criteria) {
    let more: Vec<Value> = written.iter().chain([added]).cloned().collect();
    let all = parsed(&more);
    let few = &all[..written.len()];
    for direction in Direction::BOTH {
        let naive = Naive::new(&more, &[], direction, criteria);
        let of = |policies| holes_of(policies, &naive, direction, criteria);
        is_kept(&of(few), &of(&all), &naive).unwrap();
        let coverage = |policies: &[NetworkPolicy]| rank(&coverage::coverage(&refs(policies), direction).0);
        assert!(coverage(few) <= coverage(&all));
        assert_eq!(coverage::lost(&refs(few), &refs(&all), direction), None);
        assert_eq!(holes::opened(&refs(&all), &refs(few), direction, criteria), (Vec::new(), false));
    }
}

/// The order of the policies changes nothing, nor does one of them given twice.
pub(crate) fn check_order(written: &[Value], turn: usize, twice: usize, criteria: &Criteria) {
    let mut other = written.to_vec();
    if !other.is_empty() {
        let again = other[twice % written.len()].clone();
        other.rotate_left(turn % written.len());
        other.reverse();
        other.push(again);
    }
    let (policies, others) = (parsed(written), parsed(&other));
    let by_reference: Vec<&NetworkPolicy> = policies.iter().rev().chain(&policies).collect();
    for direction in Direction::BOTH {
        let naive = Naive::new(written, &[], direction, criteria);
        let expected = holes_of(&policies, &naive, direction, criteria);
        assert_eq!(&holes_of(&others, &naive, direction, criteria), &expected);
        let (found, _) = holes::holes(&by_reference, direction, criteria);
        assert_eq!(&naive::seen(&found, &naive), &expected);
        let verdict = rank(&judge(&refs(&policies), criteria).side(direction).coverage);
        assert_eq!(rank(&coverage::coverage(&refs(&others), direction).0), verdict);
        assert_eq!(rank(&coverage::coverage(&by_reference, direction).0), verdict);
    }
}
