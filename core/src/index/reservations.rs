//! Reservations: changes of NetworkPolicies that this replica has admitted, and whose outcome the watch has not shown yet.
//!
//! Two requests that are fine alone can open a hole together, or end the isolation of a pod together. So a change that was
//! admitted counts until it is decided: for holes with every spec that the policy may have, and for coverage only by what
//! every possible outcome isolates. Replicas do not share reservations; what two of them admit together is closed by the
//! controller.
//!
//! The API server stores an update or a deletion only if the object is still the one that admission saw
//! (`k8s.io/apiserver` `registry/generic/registry/store.go` and `storage/etcd3/store.go`: both compare the resourceVersion,
//! and ask admission again where it differs). So a reservation is decided when the watch shows its object, by uid, with a
//! newer write, or deleted. A creation is decided when its uid appears. A request that came to nothing shows nothing: it is
//! decided by a read that begins [`DECIDED_AFTER`] the verdict.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::meter::Budget;
use crate::policy::{Direction, NetworkPolicy, Spec};

/// How many reservations a namespace may have at one time.
pub const LIMIT: usize = 64;

/// How many of them the reviews of one address may be the cause of: without a client certificate, anybody who reaches the port
/// can send reviews that no API server has sent.
pub const OF_ONE_PEER: usize = 48;

/// How long after the verdict no request can still be stored: an API server ends a request after 60 s.
pub const DECIDED_AFTER: SignedDuration = SignedDuration::from_secs(65);

/// A change of a policy that admission allows.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The object's uid; its name where there is none, as on an embedded cluster.
    pub uid: String,
    /// The write that is changed ([`crate::object::ObjectMeta::version`]); 0 of a creation.
    pub base: u64,
    /// The policy's name.
    pub name: String,
    /// The policy afterwards; `None` where it is deleted.
    pub outcome: Option<Arc<NetworkPolicy>>,
}

/// A change that was admitted. What its policy takes of the budget is given back with it.
pub struct Reservation {
    /// What may be stored.
    pub change: Change,
    /// When it was admitted.
    pub admitted: Timestamp,
    /// Who sent the review: an API server, as a rule.
    peer: Option<IpAddr>,
    budget: Arc<dyn Budget>,
}

/// What a reservation takes besides its policy and names, in bytes. The entry of its namespace is included.
const PLACE: usize = 512;

impl Change {
    fn size(&self) -> usize {
        PLACE + self.uid.len() + self.name.len() + self.outcome.as_ref().map_or(0, |policy| policy.size())
    }

    /// Whether this is another try of the same request, with the same possible outcome. An example is a job that creates a
    /// policy which exists: each try has a new uid, and at most one policy of that name can be stored.
    fn repeats(&self, other: &Self) -> bool {
        let is_of_one = self.name == other.name && self.base == other.base && (self.base == 0 || self.uid == other.uid);
        is_of_one
            && match (&self.outcome, &other.outcome) {
                (None, None) => true,
                (Some(one), Some(other)) => one.means_the_same(other),
                _ => false,
            }
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation")
            .field("change", &self.change)
            .field("admitted", &self.admitted)
            .finish_non_exhaustive()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.give(self.change.size());
    }
}

/// The reservations of one namespace, as they are at one moment.
#[derive(Clone, Debug)]
pub struct Pending {
    /// How many were ever added.
    generation: u64,
    /// When the last one was added. An empty entry stays for as long as a decision may be under way that does not know of it.
    latest: Timestamp,
    /// In the order of their admission.
    reservations: Vec<Arc<Reservation>>,
}

/// Why a change is not reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReserved {
    /// Another change was reserved since the decision was made: it has to be made again.
    Overtaken,
    /// The namespace has [`LIMIT`] reservations, or [`OF_ONE_PEER`] from this address, or the budget is used up.
    Full,
}

/// The reservations of every namespace.
#[derive(Debug, Default)]
pub struct Reservations {
    namespaces: HashMap<String, Pending>,
}

impl Reservations {
    /// What is reserved in a namespace.
    #[must_use]
    pub fn of(&self, namespace: &str) -> Pending {
        self.namespaces.get(namespace).cloned().unwrap_or_default()
    }

    /// Reserves a change that was decided when the namespace's reservations were `known`. What it takes in memory is taken from
    /// a budget.
    ///
    /// # Errors
    /// [`NotReserved`].
    pub fn reserve(
        &mut self,
        namespace: &str,
        known: &Pending,
        change: Change,
        peer: Option<IpAddr>,
        now: Timestamp,
        budget: Arc<dyn Budget>,
    ) -> Result<Arc<Reservation>, NotReserved> {
        let pending = self.namespaces.entry(namespace.to_owned()).or_default();
        if pending.generation > known.generation {
            return Err(NotReserved::Overtaken);
        }
        let others = || pending.reservations.iter().filter(|one| !change.repeats(&one.change));
        let is_full = others().count() >= LIMIT || others().filter(|one| one.peer == peer).count() >= OF_ONE_PEER;
        if is_full || !budget.take(change.size()) {
            return Err(NotReserved::Full);
        }
        pending.reservations.retain(|one| !change.repeats(&one.change));
        let reservation = Arc::new(Reservation { change, admitted: now, peer, budget });
        pending.generation += 1;
        pending.latest = now;
        pending.reservations.push(reservation.clone());
        Ok(reservation)
    }

    /// Ends what the watch decides by showing a policy: with this uid and this write, or deleted with this write.
    pub fn seen(&mut self, namespace: &str, uid: &str, version: u64) {
        self.end(namespace, |change| change.uid == uid && change.base < version);
    }

    /// Ends what a list of a namespace's policies decides ([`Pending::listed`]).
    pub fn listed<'a>(&mut self, namespace: &str, policies: impl IntoIterator<Item = &'a NetworkPolicy>) {
        if let Some(pending) = self.namespaces.get_mut(namespace) {
            pending.listed(policies);
        }
    }

    /// Ends one reservation.
    pub fn release(&mut self, namespace: &str, reservation: &Arc<Reservation>) {
        self.retain(namespace, |other| !Arc::ptr_eq(other, reservation));
    }

    /// The namespaces that have reservations.
    #[must_use]
    pub fn namespaces(&self) -> Vec<String> {
        self.namespaces.iter().filter(|(_, pending)| !pending.is_empty()).map(|(name, _)| name.clone()).collect()
    }

    /// What no request can bring about any more, unless a read that begins now shows it.
    pub fn overdue(&mut self, now: Timestamp) -> Vec<(String, Arc<Reservation>)> {
        let is_long_ago = |at: Timestamp| now.duration_since(at) >= DECIDED_AFTER;
        self.namespaces.retain(|_, pending| !pending.is_empty() || !is_long_ago(pending.latest));
        let all = self.namespaces.iter();
        all.flat_map(|(name, pending)| pending.reservations.iter().map(move |one| (name, one)))
            .filter(|(_, one)| is_long_ago(one.admitted))
            .map(|(name, one)| (name.clone(), one.clone()))
            .collect()
    }

    fn end(&mut self, namespace: &str, is_decided: impl Fn(&Change) -> bool) {
        self.retain(namespace, |reservation| !is_decided(&reservation.change));
    }

    fn retain(&mut self, namespace: &str, keep: impl Fn(&Arc<Reservation>) -> bool) {
        if let Some(pending) = self.namespaces.get_mut(namespace) {
            pending.reservations.retain(keep);
        }
    }
}

impl Default for Pending {
    fn default() -> Self {
        Self { generation: 0, latest: Timestamp::UNIX_EPOCH, reservations: Vec::new() }
    }
}

impl Pending {
    /// Whether nothing is reserved.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.reservations.is_empty()
    }

    /// Ends what a list of the namespace's policies decides: every change of a policy that has a newer write or is gone. A
    /// creation that is not there may still be stored.
    pub fn listed<'a>(&mut self, policies: impl IntoIterator<Item = &'a NetworkPolicy>) {
        if self.is_empty() {
            return;
        }
        let there: HashMap<&str, u64> = policies.into_iter().map(|policy| (key(policy), policy.version)).collect();
        self.reservations.retain(|one| match there.get(one.change.uid.as_str()) {
            Some(version) => *version <= one.change.base,
            None => one.change.base == 0,
        });
    }

    /// The names of the policies that are concerned, each once.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.reservations.iter().map(|one| one.change.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// For holes: every policy that is stored, and every one that may be.
    #[must_use]
    pub fn possible<'a>(&'a self, stored: &[&'a NetworkPolicy]) -> Vec<&'a NetworkPolicy> {
        let may_be = self.reservations.iter().filter_map(|one| one.change.outcome.as_deref());
        stored.iter().copied().chain(may_be).collect()
    }

    /// For coverage: what every possible outcome isolates. A policy that may be changed counts for the pods that it
    /// selects before and after, in the directions that it has before and after. A policy that may be deleted, or may not
    /// be created, does not count.
    #[must_use]
    pub fn certain<'a>(&self, stored: &[&'a NetworkPolicy]) -> Vec<std::borrow::Cow<'a, NetworkPolicy>> {
        use std::borrow::Cow;
        let mut by_uid: BTreeMap<&str, Vec<Option<&NetworkPolicy>>> = BTreeMap::new();
        for one in &self.reservations {
            by_uid.entry(&one.change.uid).or_default().push(one.change.outcome.as_deref());
        }
        let common = |policy: &'a NetworkPolicy| {
            let Some(outcomes) = by_uid.get(key(policy)) else { return Some(Cow::Borrowed(policy)) };
            let mut common = policy.clone();
            for outcome in outcomes {
                common = both(&common, (*outcome)?);
            }
            Some(Cow::Owned(common))
        };
        stored.iter().copied().filter_map(common).collect()
    }
}

/// What identifies a policy: its uid, or its name on an embedded cluster.
#[must_use]
pub fn key(policy: &NetworkPolicy) -> &str {
    if policy.uid.is_empty() { &policy.name } else { &policy.uid }
}

/// A policy without rules that isolates what both isolate.
fn both(a: &NetworkPolicy, b: &NetworkPolicy) -> NetworkPolicy {
    let isolates =
        |direction: Direction| (a.spec.rules(direction).is_some() && b.spec.rules(direction).is_some()).then(Vec::new);
    let spec = Spec {
        pods: a.spec.pods.and(&b.spec.pods),
        ingress: isolates(Direction::Ingress),
        egress: isolates(Direction::Egress),
    };
    NetworkPolicy { deleting: a.deleting || b.deleting, spec, ..a.clone() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail like this")]

    use std::net::IpAddr;
    use std::sync::Arc;

    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::{Change, DECIDED_AFTER, LIMIT, NotReserved, OF_ONE_PEER, Reservations};
    use crate::meter::unlimited;
    use crate::policy::coverage::{Coverage, coverage};
    use crate::policy::parse::{Source, network_policy};
    use crate::policy::{Direction, NetworkPolicy};

    fn policy(uid: &str, version: u64, spec: &Value) -> NetworkPolicy {
        let metadata = json!({ "name": format!("p-{uid}"), "uid": uid, "resourceVersion": version.to_string() });
        network_policy(json!({ "metadata": metadata, "spec": spec }), Source::Cluster).unwrap()
    }

    fn change(policy: &NetworkPolicy, base: u64, is_deleted: bool) -> Change {
        let outcome = (!is_deleted).then(|| Arc::new(policy.clone()));
        Change { uid: policy.uid.clone(), base, name: policy.name.clone(), outcome }
    }

    fn all() -> Value {
        json!({ "podSelector": {}, "policyTypes": ["Ingress"] })
    }

    #[test]
    fn a_decision_that_was_overtaken_is_not_reserved() {
        let (mut all_of_them, now) = (Reservations::default(), Timestamp::UNIX_EPOCH);
        let known = all_of_them.of("a");
        let first = all_of_them
            .reserve("a", &known, change(&policy("1", 1, &all()), 0, false), None, now, unlimited())
            .unwrap();
        let again = all_of_them.reserve("a", &known, change(&policy("2", 2, &all()), 0, false), None, now, unlimited());
        assert_eq!(again.unwrap_err(), NotReserved::Overtaken);
        // Also where the other one is decided by now: the decision did not know of it.
        all_of_them.release("a", &first);
        let again = all_of_them.reserve("a", &known, change(&policy("2", 2, &all()), 0, false), None, now, unlimited());
        assert_eq!(again.unwrap_err(), NotReserved::Overtaken);
        let known = all_of_them.of("a");
        assert!(known.is_empty());
        assert!(
            all_of_them.reserve("a", &known, change(&policy("2", 2, &all()), 0, false), None, now, unlimited()).is_ok()
        );
        // Another namespace is not concerned.
        let other = all_of_them.of("b");
        assert!(
            all_of_them.reserve("b", &other, change(&policy("3", 3, &all()), 0, false), None, now, unlimited()).is_ok()
        );
    }

    #[test]
    fn a_namespace_is_full_at_the_limit_and_others_are_not() {
        let (mut all_of_them, now) = (Reservations::default(), Timestamp::UNIX_EPOCH);
        let [server, stranger, another] = [1, 2, 3].map(|last| Some(IpAddr::from([10, 0, 0, last])));
        let mut reserve = |namespace: &str, number: usize, peer| {
            let known = all_of_them.of(namespace);
            let one = change(&policy(&number.to_string(), 1, &all()), 0, false);
            all_of_them.reserve(namespace, &known, one, peer, now, unlimited()).map(drop)
        };
        // One peer leaves places to others.
        for number in 0..OF_ONE_PEER {
            assert_eq!(reserve("a", number, stranger), Ok(()));
        }
        assert_eq!(reserve("a", LIMIT, stranger), Err(NotReserved::Full));
        for number in OF_ONE_PEER..LIMIT {
            assert_eq!(reserve("a", number, server), Ok(()));
        }
        assert_eq!(reserve("a", LIMIT, another), Err(NotReserved::Full));
        assert_eq!(reserve("b", LIMIT, stranger), Ok(()));
    }

    #[test]
    fn a_request_that_is_tried_again_and_again_takes_one_place() {
        let (mut all_of_them, now) = (Reservations::default(), Timestamp::UNIX_EPOCH);
        let mut reserve = |change: Change| {
            let known = all_of_them.of("a");
            all_of_them.reserve("a", &known, change, None, now, unlimited()).unwrap();
            all_of_them.of("a").reservations.len()
        };
        // The creation of a policy that is there: with another uid each time.
        for number in 0..2 * LIMIT {
            let one = policy(&number.to_string(), 0, &all());
            assert_eq!(reserve(Change { name: "there".to_owned(), ..change(&one, 0, false) }), 1);
        }
        let other = policy("0", 0, &json!({ "podSelector": {}, "ingress": [{}] }));
        assert_eq!(reserve(Change { name: "there".to_owned(), ..change(&other, 0, false) }), 2);
        // Deletions and updates of one write.
        for places in [3, 3] {
            assert_eq!(reserve(change(&policy("1", 7, &all()), 7, true)), places);
        }
        assert_eq!(reserve(change(&policy("1", 7, &all()), 7, false)), 4);
        assert_eq!(reserve(change(&policy("1", 7, &all()), 8, false)), 5);
        assert_eq!(reserve(change(&policy("2", 7, &all()), 7, true)), 6);
    }

    #[test]
    fn a_reservation_ends_when_its_object_shows_a_newer_write_and_not_before() {
        let (mut all_of_them, now) = (Reservations::default(), Timestamp::UNIX_EPOCH);
        let reserve = |all_of_them: &mut Reservations, base, is_deleted| {
            let known = all_of_them.of("a");
            let one = change(&policy("1", base, &all()), base, is_deleted);
            all_of_them.reserve("a", &known, one, None, now, unlimited()).unwrap();
        };
        for is_deleted in [false, true] {
            reserve(&mut all_of_them, 7, is_deleted);
            all_of_them.seen("a", "1", 7);
            all_of_them.seen("a", "2", 9);
            all_of_them.seen("b", "1", 9);
            assert!(!all_of_them.of("a").is_empty());
            all_of_them.seen("a", "1", 8);
            assert!(all_of_them.of("a").is_empty());
        }
        // A list that does not have the object decides a change, and no creation.
        reserve(&mut all_of_them, 7, false);
        reserve(&mut all_of_them, 0, false);
        all_of_them.listed("a", []);
        assert_eq!(all_of_them.of("a").reservations.len(), 1);
        assert!(all_of_them.overdue(now + DECIDED_AFTER - jiff::SignedDuration::from_secs(1)).is_empty());
        let due = all_of_them.overdue(now + DECIDED_AFTER);
        assert_eq!(due.len(), 1);
        all_of_them.release("a", &due[0].1);
        assert!(all_of_them.of("a").is_empty());
    }

    #[test]
    fn only_what_every_outcome_isolates_counts_for_coverage() {
        let (mut all_of_them, now) = (Reservations::default(), Timestamp::UNIX_EPOCH);
        let stored = policy("1", 1, &all());
        let ingress = |all_of_them: &Reservations| {
            let certain = all_of_them.of("a").certain(&[&stored]);
            coverage(&certain.iter().map(AsRef::as_ref).collect::<Vec<_>>(), Direction::Ingress).0
        };
        assert_eq!(ingress(&all_of_them), Coverage::Complete);
        let narrow = policy("1", 1, &json!({ "podSelector": { "matchLabels": { "app": "x" } } }));
        let known = all_of_them.of("a");
        all_of_them.reserve("a", &known, change(&narrow, 1, false), None, now, unlimited()).unwrap();
        assert!(matches!(ingress(&all_of_them), Coverage::Partial(_)));
        let other = policy("1", 1, &json!({ "podSelector": { "matchLabels": { "app": "y" } } }));
        let known = all_of_them.of("a");
        all_of_them.reserve("a", &known, change(&other, 1, false), None, now, unlimited()).unwrap();
        assert_eq!(ingress(&all_of_them), Coverage::Absent);
        // What may be created isolates nothing yet.
        let created = policy("2", 0, &all());
        let known = all_of_them.of("a");
        all_of_them.reserve("a", &known, change(&created, 0, false), None, now, unlimited()).unwrap();
        assert_eq!(ingress(&all_of_them), Coverage::Absent);
        assert_eq!(all_of_them.of("a").possible(&[&stored]).len(), 4);
        assert_eq!(all_of_them.of("a").names(), ["p-1", "p-2"]);
    }
}
