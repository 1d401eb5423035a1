//! Agreement of the evaluator with the naive one on sets of policies as they are written. Shared by the property tests
//! and the fuzzing of `fuzz/`.

use ringfence_core::policy::coverage::{self, Coverage};
use ringfence_core::policy::holes::{self, Kind};
use ringfence_core::policy::parse::{Source, network_policy};
use ringfence_core::policy::ports::Ports;
use ringfence_core::policy::verdict::judge;
use ringfence_core::policy::{Direction, NetworkPolicy};
use serde_json::Value;

use super::naive::{self, Holes, Naive};

pub(crate) const NAMESPACE: &str = "team-a";

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

fn holes_of(policies: &[NetworkPolicy], naive: &Naive<'_>, direction: Direction) -> Holes {
    let (found, capped) = holes::holes(&refs(policies), NAMESPACE, direction);
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
    for (point, &some) in &fewer.ports {
        let at_least = |found: &bool| *found <= some;
        let kept = match point {
            Ports::Named(named, _) if !more.ports.contains_key(point) => {
                let mut numbers =
                    naive.points()[..naive.numbers()].iter().filter(|p| naive::includes(&Ports::every(*named), p));
                numbers.all(|number| more.ports.get(number).is_some_and(at_least))
            }
            _ => more.ports.get(point).is_some_and(at_least),
        };
        // What every pod had on a port, one of several wide peers, may now be one wide peer for some pods and another
        // for the others, on all ports.
        let swallowed = wide.into_iter().any(|kind| has(kind, some))
            || wide.into_iter().filter(|kind| more.kinds.contains_key(kind)).count() > 1;
        if !kept && !swallowed {
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

pub(crate) fn check_holes(written: &[Value]) {
    check_opened(&[], written);
}

pub(crate) fn check_opened(before: &[Value], after: &[Value]) {
    let (of_before, of_after) = (parsed(before), parsed(after));
    for direction in Direction::BOTH {
        let (found, capped) = holes::opened(&refs(&of_before), &refs(&of_after), NAMESPACE, direction);
        assert!(!capped);
        let mut naive_after = Naive::new(after, before, direction);
        let expected = naive::opened(before, after, direction);
        assert_eq!(naive::seen(&found, &naive_after), expected, "{direction} {found:?}");
        for hole in &found {
            assert_eq!(hole.some, hole.witness.is_some(), "{hole:?}");
            assert!(!hole.policies.is_empty(), "{hole:?}");
            if let Some(witness) = &hole.witness {
                assert!(naive::pod_has(&mut naive_after, witness, hole), "{direction} {hole:?}");
                let mut naive_before = Naive::new(before, after, direction);
                assert!(before.is_empty() || hole.kind == Kind::Ports || !naive_before.has(witness).kind(hole.kind));
            }
        }
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
pub(crate) fn check_added(written: &[Value], added: &Value) {
    let more: Vec<Value> = written.iter().chain([added]).cloned().collect();
    let all = parsed(&more);
    let few = &all[..written.len()];
    for direction in Direction::BOTH {
        let naive = Naive::new(&more, &[], direction);
        is_kept(&holes_of(few, &naive, direction), &holes_of(&all, &naive, direction), &naive).unwrap();
        let coverage = |policies: &[NetworkPolicy]| rank(&coverage::coverage(&refs(policies), direction).0);
        assert!(coverage(few) <= coverage(&all));
        assert_eq!(coverage::lost(&refs(few), &refs(&all), direction), None);
        assert_eq!(holes::opened(&refs(&all), &refs(few), NAMESPACE, direction), (Vec::new(), false));
    }
}

/// The order of the policies changes nothing, nor does one of them given twice.
pub(crate) fn check_order(written: &[Value], turn: usize, twice: usize) {
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
        let naive = Naive::new(written, &[], direction);
        let expected = holes_of(&policies, &naive, direction);
        assert_eq!(&holes_of(&others, &naive, direction), &expected);
        let (found, _) = holes::holes(&by_reference, NAMESPACE, direction);
        assert_eq!(&naive::seen(&found, &naive), &expected);
        let verdict = rank(&judge(&refs(&policies), NAMESPACE).side(direction).coverage);
        assert_eq!(rank(&coverage::coverage(&refs(&others), direction).0), verdict);
        assert_eq!(rank(&coverage::coverage(&by_reference, direction).0), verdict);
    }
}
