//! What stands in the lists of a NetworkPolicy as it is written (`networking.k8s.io/v1`), one item at a time, decoded as the
//! API server decodes it: null is the type's default wherever it stands, unknown fields are dropped. A key given twice is an
//! error. The lists themselves are never held in this form ([`super::stream`]).

use std::collections::HashSet;
use std::fmt;
use std::hash::BuildHasher;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::meter;
use crate::object::{List, nullable};
use crate::texts::Texts;

crate::object::from_map_only!(Peer, IpBlock, Port, LabelSelector, Requirement);

/// An element of a list or map, of which null is the default.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct OrDefault<T>(pub(super) T);

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for OrDefault<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        nullable(deserializer).map(Self)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", remote = "Self")]
pub(super) struct Peer {
    pub(super) namespace_selector: Option<LabelSelector>,
    pub(super) pod_selector: Option<LabelSelector>,
    pub(super) ip_block: Option<IpBlock>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, remote = "Self")]
pub(super) struct IpBlock {
    #[serde(deserialize_with = "nullable")]
    pub(super) cidr: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) except: Texts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", remote = "Self")]
#[allow(clippy::struct_field_names, reason = "the API's names")]
pub(super) struct Port {
    pub(super) protocol: Option<String>,
    pub(super) port: Option<IntOrString>,
    pub(super) end_port: Option<i32>,
}

/// `k8s.io/apimachinery/pkg/util/intstr.IntOrString`.
#[derive(Debug, PartialEq)]
pub(super) enum IntOrString {
    Int(i32),
    String(String),
}

impl<'de> Deserialize<'de> for IntOrString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = IntOrString;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port number or a port name")
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Self::Value, E> {
                i32::try_from(value)
                    .map(IntOrString::Int)
                    .map_err(|_| E::custom(format_args!("{value} is no port number")))
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Self::Value, E> {
                i32::try_from(value)
                    .map(IntOrString::Int)
                    .map_err(|_| E::custom(format_args!("{value} is no port number")))
            }

            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Self::Value, E> {
                Ok(IntOrString::String(value.to_owned()))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A label selector as it is written (`k8s.io/apimachinery/pkg/apis/meta/v1.LabelSelector`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", remote = "Self")]
pub(super) struct LabelSelector {
    #[serde(deserialize_with = "nullable")]
    pub(super) match_labels: UniqueMap,
    #[serde(deserialize_with = "nullable")]
    pub(super) match_expressions: List<OrDefault<Requirement>>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, remote = "Self")]
pub(super) struct Requirement {
    #[serde(deserialize_with = "nullable")]
    pub(super) key: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) operator: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) values: Texts,
}

/// A map of strings that refuses a key given twice. A null value is an empty one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct UniqueMap {
    keys: Texts,
    values: Texts,
}

impl UniqueMap {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.keys.iter().zip(self.values.iter())
    }
}

impl<'de> Deserialize<'de> for UniqueMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Unique;
        impl<'de> Visitor<'de> for Unique {
            type Value = UniqueMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                // By hash, which takes less room than the keys themselves.
                let mut known: HashSet<u64> = HashSet::new();
                let mut entries = UniqueMap::default();
                while let Some((key, OrDefault(value))) = map.next_entry::<String, OrDefault<String>>()? {
                    if known.len() == known.capacity() {
                        // It doubles: a place and its mark, at most seven of eight in use. While it is moved, both are there.
                        meter::charge(known.capacity().max(4) * 2 * 12).map_err(serde::de::Error::custom)?;
                        meter::release(known.capacity() * 12);
                    }
                    if !known.insert(known.hasher().hash_one(&key)) && entries.keys.iter().any(|other| *other == *key) {
                        return Err(serde::de::Error::custom(format_args!("duplicate key {key:?}")));
                    }
                    entries.keys.push_counted(&key).map_err(serde::de::Error::custom)?;
                    entries.values.push_counted(&value).map_err(serde::de::Error::custom)?;
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_map(Unique)
    }
}
