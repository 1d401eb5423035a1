//! From the text of a NetworkPolicy straight to what it means: each item of a list is compiled as soon as it is read, so that
//! no list is ever held as it is written.
//!
//! A list that is long, and says the same again and again, is kept without what it repeats: `ingress: [{},{},…]` of a megabyte
//! means what `ingress: [{}]` does.

use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Source;
use super::validate::{Errors, label_selector, peer, port};
use super::wire::{self, OrDefault};
use crate::meter::{self, Exhausted};
use crate::object::ObjectMeta;
use crate::policy::ports::Ports;
use crate::policy::selectors::Selector;
use crate::policy::{Direction, Heap, Peer, Rule};
use crate::texts::Texts;

/// From which item on those are left out that repeat others. Up to there an item is where it is written, which a finding of a
/// lint says by its path.
const REPEATS: usize = 64;

/// A list in which nothing is repeated, once it is long.
pub(super) struct Distinct<T> {
    items: Vec<T>,
    /// How long it grows until it is looked through.
    next: usize,
    /// What is charged for what the items hold.
    held: usize,
}

impl<T: Heap + Eq + Hash> Distinct<T> {
    /// What stands in a file stays where it is: nobody sends one to fill a memory.
    pub(super) fn new(source: Source) -> Self {
        Self { items: Vec::new(), next: if source == Source::Cluster { REPEATS } else { usize::MAX }, held: 0 }
    }

    pub(super) fn push(&mut self, item: T) -> Result<(), Exhausted> {
        if self.items.len() >= self.next {
            self.look_through()?;
            self.next = (2 * self.items.len()).max(REPEATS);
        }
        let heap = item.heap();
        meter::charge(heap)?;
        self.held += heap;
        meter::push(&mut self.items, item)
    }

    fn look_through(&mut self) -> Result<(), Exhausted> {
        let mark = meter::used();
        // A reference and its mark, in a table that is at least 7/16 full; and a bit for each, as a byte.
        meter::charge(self.items.len() * 24)?;
        let mut known = HashSet::with_capacity(self.items.len());
        let mut repeats: Vec<bool> =
            self.items.iter().enumerate().map(|(index, item)| !known.insert(item) && index >= REPEATS).collect();
        drop(known);
        if repeats.contains(&true) {
            let mut repeats = repeats.drain(..);
            let mut freed = 0;
            self.items.retain(|item| {
                let goes = repeats.next().unwrap_or_default();
                freed += if goes { item.heap() } else { 0 };
                !goes
            });
            meter::release_to(mark);
            meter::release(freed);
            self.held -= freed;
        }
        meter::release_to(mark);
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Vec<T>, Exhausted> {
        if self.items.len() > REPEATS && self.next != usize::MAX {
            self.look_through()?;
        }
        let room = self.items.capacity();
        self.items.shrink_to_fit();
        meter::release((room - self.items.capacity()) * size_of::<T>());
        Ok(self.items)
    }
}

/// What is read from a map, field by field.
pub(super) trait Fields<'de> {
    /// The fields that are read. All others are dropped.
    fn names(&self) -> &'static [&'static str];

    /// Reads one of them.
    fn field<A: MapAccess<'de>>(&mut self, name: &'static str, map: &mut A) -> Result<(), A::Error>;
}

/// What is read from a list, item by item.
trait Items {
    /// Is called before the first.
    fn begin(&mut self) {}

    /// Reads the next one, if there is one.
    fn item<'de, A: SeqAccess<'de>>(&mut self, seq: &mut A) -> Result<bool, A::Error>;
}

/// Reads a map, or null.
pub(super) struct InMap<'a, T>(pub(super) &'a mut T);

/// Reads a list, or null.
struct InList<'a, T>(&'a mut T);

struct FieldName(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for FieldName {
    type Value = Option<&'static str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for FieldName {
    type Value = Option<&'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("field identifier")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().copied().find(|known| *known == name))
    }
}

macro_rules! or_null {
    ($seed:ident, $bound:path, $read:ident) => {
        impl<'de, T: $bound> DeserializeSeed<'de> for $seed<'_, T> {
            type Value = ();

            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
                struct OrNull<S>(S);
                impl<'de, T: $bound> Visitor<'de> for OrNull<$seed<'_, T>> {
                    type Value = ();

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        self.0.expecting(f)
                    }

                    fn visit_none<E: Error>(self) -> Result<(), E> {
                        Ok(())
                    }

                    fn visit_unit<E: Error>(self) -> Result<(), E> {
                        Ok(())
                    }

                    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
                        deserializer.$read(self.0)
                    }
                }
                deserializer.deserialize_option(OrNull(self))
            }
        }
    };
}

or_null!(InMap, Fields<'de>, deserialize_map);
or_null!(InList, Items, deserialize_seq);

impl<'de, T: Fields<'de>> Visitor<'de> for InMap<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let names = self.0.names();
        let mut seen: Vec<&str> = Vec::with_capacity(names.len());
        while let Some(name) = map.next_key_seed(FieldName(names))? {
            let Some(name) = name else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if seen.contains(&name) {
                return Err(Error::duplicate_field(name));
            }
            seen.push(name);
            self.0.field(name, &mut map)?;
        }
        Ok(())
    }
}

impl<'de, T: Items> Visitor<'de> for InList<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.0.begin();
        while self.0.item(&mut seq)? {}
        Ok(())
    }
}

/// The object.
pub(super) struct Object<'de> {
    pub(super) metadata: ObjectMeta<'de>,
    pub(super) spec: Spec,
}

/// Reads the object, whose metadata borrow from the text. It is no object where it is null.
pub(super) struct InObject<'a, 'de>(pub(super) &'a mut Object<'de>);

impl<'de> DeserializeSeed<'de> for InObject<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(InMap(self.0))
    }
}

impl<'de> Fields<'de> for Object<'de> {
    fn names(&self) -> &'static [&'static str] {
        &["metadata", "spec"]
    }

    fn field<A: MapAccess<'de>>(&mut self, name: &'static str, map: &mut A) -> Result<(), A::Error> {
        if name == "metadata" {
            let OrDefault(metadata) = map.next_value()?;
            self.metadata = metadata;
            Ok(())
        } else {
            map.next_value_seed(InMap(&mut self.spec))
        }
    }
}

/// The rules of a direction.
pub(super) struct Rules {
    pub(super) found: Distinct<Rule>,
    /// How many are written; `None` where there is no list.
    pub(super) written: Option<usize>,
}

impl Rules {
    /// Whether rules are written, be they repeated.
    pub(super) fn are_written(&self) -> bool {
        self.written.is_some_and(|count| count > 0)
    }
}

/// `spec`.
pub(super) struct Spec {
    pub(super) pods: Option<Selector>,
    pub(super) policy_types: Texts,
    pub(super) ingress: Rules,
    pub(super) egress: Rules,
    pub(super) errors: Errors,
}

impl Spec {
    pub(super) fn new(source: Source) -> Self {
        let rules = || Rules { found: Distinct::new(source), written: None };
        let errors = Errors::new(source);
        Self { pods: None, policy_types: Texts::default(), ingress: rules(), egress: rules(), errors }
    }
}

impl<'de> Fields<'de> for Spec {
    fn names(&self) -> &'static [&'static str] {
        &["podSelector", "policyTypes", "ingress", "egress"]
    }

    fn field<A: MapAccess<'de>>(&mut self, name: &'static str, map: &mut A) -> Result<(), A::Error> {
        let errors = &mut self.errors;
        match name {
            "podSelector" => {
                let written: Option<wire::LabelSelector> = map.next_value()?;
                if let Some(written) = written {
                    let pods = label_selector(&written, "spec.podSelector", errors).map_err(Error::custom)?;
                    meter::charge(pods.heap()).map_err(Error::custom)?;
                    self.pods = Some(pods);
                }
                Ok(())
            }
            "policyTypes" => {
                let OrDefault(written) = map.next_value()?;
                self.policy_types = written;
                Ok(())
            }
            "ingress" => map.next_value_seed(InList(&mut RuleList::new(Direction::Ingress, &mut self.ingress, errors))),
            _ => map.next_value_seed(InList(&mut RuleList::new(Direction::Egress, &mut self.egress, errors))),
        }
    }
}

struct RuleList<'a> {
    direction: Direction,
    rules: &'a mut Rules,
    errors: &'a mut Errors,
}

impl<'a> RuleList<'a> {
    fn new(direction: Direction, rules: &'a mut Rules, errors: &'a mut Errors) -> Self {
        Self { direction, rules, errors }
    }
}

impl Items for RuleList<'_> {
    fn begin(&mut self) {
        self.rules.written = Some(0);
    }

    fn item<'de, A: SeqAccess<'de>>(&mut self, seq: &mut A) -> Result<bool, A::Error> {
        let mark = meter::used();
        let index = self.rules.written.unwrap_or_default();
        let mut rule = RuleItem::new(self.direction, index, self.errors);
        if seq.next_element_seed(InMap(&mut rule))?.is_none() {
            return Ok(false);
        }
        let rule = rule.finish().map_err(Error::custom)?;
        meter::release_to(mark);
        self.rules.written = Some(index + 1);
        self.rules.found.push(rule).map_err(Error::custom)?;
        Ok(true)
    }
}

struct RuleItem<'a> {
    direction: Direction,
    path: String,
    peers: Distinct<Peer>,
    ports: Distinct<Ports>,
    /// How many peers and ports are written.
    written: (usize, usize),
    errors: &'a mut Errors,
}

impl<'a> RuleItem<'a> {
    fn new(direction: Direction, index: usize, errors: &'a mut Errors) -> Self {
        let source = errors.source;
        Self {
            direction,
            path: format!("spec.{direction}[{index}]"),
            peers: Distinct::new(source),
            ports: Distinct::new(source),
            written: (0, 0),
            errors,
        }
    }

    fn finish(self) -> Result<Rule, Exhausted> {
        let (peers, ports) = self.written;
        let (found_peers, found_ports) = (self.peers.finish()?, self.ports.finish()?);
        Ok(Rule { peers: (peers > 0).then_some(found_peers), ports: (ports > 0).then_some(found_ports) })
    }
}

impl<'de> Fields<'de> for RuleItem<'_> {
    fn names(&self) -> &'static [&'static str] {
        match self.direction {
            Direction::Ingress => &["from", "ports"],
            Direction::Egress => &["to", "ports"],
        }
    }

    fn field<A: MapAccess<'de>>(&mut self, name: &'static str, map: &mut A) -> Result<(), A::Error> {
        if name == "ports" {
            map.next_value_seed(InList(&mut PortList(self)))
        } else {
            map.next_value_seed(InList(&mut PeerList(self, name)))
        }
    }
}

struct PeerList<'a, 'e>(&'a mut RuleItem<'e>, &'static str);

impl Items for PeerList<'_, '_> {
    fn item<'de, A: SeqAccess<'de>>(&mut self, seq: &mut A) -> Result<bool, A::Error> {
        let Self(rule, field) = self;
        let mark = meter::used();
        let Some(OrDefault(written)) = seq.next_element::<OrDefault<wire::Peer>>()? else { return Ok(false) };
        let path = format!("{}.{field}[{}]", rule.path, rule.written.0);
        let peer = peer(written, &path, rule.errors).map_err(Error::custom)?;
        meter::release_to(mark);
        rule.written.0 += 1;
        if let Some(peer) = peer {
            rule.peers.push(peer).map_err(Error::custom)?;
        }
        Ok(true)
    }
}

struct PortList<'a, 'e>(&'a mut RuleItem<'e>);

impl Items for PortList<'_, '_> {
    fn item<'de, A: SeqAccess<'de>>(&mut self, seq: &mut A) -> Result<bool, A::Error> {
        let Self(rule) = self;
        let Some(OrDefault(written)) = seq.next_element::<OrDefault<wire::Port>>()? else { return Ok(false) };
        let path = format!("{}.ports[{}]", rule.path, rule.written.1);
        rule.written.1 += 1;
        if let Some(port) = port(written, &path, rule.errors) {
            rule.ports.push(port).map_err(Error::custom)?;
        }
        Ok(true)
    }
}
