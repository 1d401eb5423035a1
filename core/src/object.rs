//! The few fields of any object's metadata that a verdict needs, borrowed from the text they came in.
//!
//! Decoding follows the API server where that is harmless (null is absent, unknown fields are dropped) and refuses
//! where it would have to guess: a key that is needed and given twice is an error, because the API server merges it or
//! takes the last, depending on the type.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::marker::PhantomData;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use crate::meter;
use crate::texts::Texts;
use crate::vocabulary::{EXCEPTION_REASON, EXCEPTION_UNTIL, IGNORE, MANAGED_BY, MIRROR, PREFIX, RINGFENCE};

/// Decodes `null` as the type's default, as Go does.
///
/// # Errors
/// Those of the type.
pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// A list whose memory is counted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct List<T>(pub(crate) Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
            type Value = List<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut list = List::default();
                while let Some(item) = seq.next_element()? {
                    meter::push(&mut list.0, item).map_err(serde::de::Error::custom)?;
                }
                Ok(list)
            }
        }
        deserializer.deserialize_seq(Items(PhantomData))
    }
}

/// Decodes a list of which null is the empty one, and counts the memory that it takes.
///
/// # Errors
/// Those of the items, and a meter that is used up.
pub(crate) fn counted<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    nullable(deserializer).map(|List(list)| list)
}

/// Makes types that are derived with `#[serde(remote = "Self")]` readable from maps alone. What serde derives reads a
/// list too, by position, and would take `podSelector: []` for `{}`; the API server refuses it.
macro_rules! from_map_only {
    ($($name:ident $(<$lifetime:lifetime>)?),+ $(,)?) => {$(
        impl<'de $(: $lifetime, $lifetime)?> serde::Deserialize<'de> for $name $(<$lifetime>)? {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Map<T>(std::marker::PhantomData<T>);
                impl<'de $(: $lifetime, $lifetime)?> serde::de::Visitor<'de> for Map<$name $(<$lifetime>)?> {
                    type Value = $name $(<$lifetime>)?;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        // How `config::json_schema` learns of the fields: it sees a map.
                        if f.alternate() && let Err(fields) = $name::deserialize($crate::object::FieldsAlone) {
                            return write!(f, "{fields}");
                        }
                        f.write_str("a map")
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                        // The inherent function that the derive has made, which reads the fields.
                        $name::deserialize(serde::de::value::MapAccessDeserializer::new(map))
                    }
                }
                deserializer.deserialize_map(Map(std::marker::PhantomData))
            }
        }
    )+};
}
pub(crate) use from_map_only;

/// Reads nothing: its error is the names of the fields that a struct would read.
pub(crate) struct FieldsAlone;

/// The names of a struct's fields; none of anything else.
#[derive(Debug)]
pub(crate) struct FieldNames(&'static [&'static str]);

impl FieldNames {
    /// What [`FieldNames`] is written as begins with this.
    pub(crate) const PREFIX: &'static str = "fields:";
}

impl fmt::Display for FieldNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::PREFIX, self.0.join(","))
    }
}

impl std::error::Error for FieldNames {}

impl serde::de::Error for FieldNames {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(&[])
    }
}

impl<'de> Deserializer<'de> for FieldsAlone {
    type Error = FieldNames;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, FieldNames> {
        Err(FieldNames(&[]))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, FieldNames> {
        Err(FieldNames(fields))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// A string, borrowed where it needed no unescaping.
#[derive(Deserialize, Default)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The labels or annotations that mean something to Ringfence. All others are skipped unread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries<'a>(BTreeMap<Cow<'a, str>, Cow<'a, str>>);

/// What an entry takes besides its texts, at most.
const ENTRY: usize = 224;

fn is_ours(key: &str) -> bool {
    key.starts_with(PREFIX) || key == MANAGED_BY || key == MIRROR
}

impl Entries<'_> {
    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(AsRef::as_ref)
    }

    /// The entries under Ringfence's own prefix.
    pub fn own(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter(|(key, _)| key.starts_with(PREFIX)).map(|(key, value)| (key.as_ref(), value.as_ref()))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Ours;
        impl<'de> Visitor<'de> for Ours {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Entries::default();
                while let Some(Text(key)) = map.next_key()? {
                    let value: Option<Text<'de>> = map.next_value()?;
                    if !is_ours(&key) {
                        continue;
                    }
                    // A place in the map, and the suppression that it may become, with copies of both.
                    let length = key.len() + value.as_ref().map_or(0, |value| value.0.len());
                    meter::charge(ENTRY + 2 * length).map_err(serde::de::Error::custom)?;
                    match entries.0.entry(key) {
                        Entry::Vacant(place) => place.insert(value.unwrap_or_default().0),
                        Entry::Occupied(there) => {
                            return Err(serde::de::Error::custom(format_args!("duplicate key {:?}", there.key())));
                        }
                    };
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_map(Ours)
    }
}

/// `metadata` (`k8s.io/apimachinery/pkg/apis/meta/v1.ObjectMeta`), as far as a verdict needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", remote = "Self")]
pub struct ObjectMeta<'a> {
    /// The name; empty where the API server is still to generate it.
    #[serde(borrow, deserialize_with = "nullable")]
    pub name: Cow<'a, str>,
    /// The namespace, of a namespaced object that states it.
    #[serde(borrow)]
    pub namespace: Option<Cow<'a, str>>,
    /// The uid; empty where the API server has not given one yet.
    #[serde(borrow, deserialize_with = "nullable")]
    pub uid: Cow<'a, str>,
    /// The resourceVersion; empty where the object does not come from an API server.
    #[serde(borrow, deserialize_with = "nullable")]
    pub resource_version: Cow<'a, str>,
    /// How often the spec was written (`metadata.generation`); 0 where the object does not come from an API server.
    #[serde(deserialize_with = "nullable")]
    pub generation: i64,
    /// When it was created, by the API server's clock.
    #[serde(borrow)]
    pub creation_timestamp: Option<Cow<'a, str>>,
    /// The labels; `None` where the object has no such map.
    #[serde(borrow)]
    pub labels: Option<Entries<'a>>,
    /// The annotations; `None` where the object has no such map.
    #[serde(borrow)]
    pub annotations: Option<Entries<'a>>,
    /// When deletion was asked for, where it was.
    #[serde(borrow)]
    pub deletion_timestamp: Option<Cow<'a, str>>,
    /// `metadata.finalizers`, which delay a deletion.
    #[serde(deserialize_with = "nullable")]
    pub finalizers: Texts,
}

from_map_only!(ObjectMeta<'a>, Object<'a>);

/// An object of any kind, of which nothing but the metadata is needed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, remote = "Self")]
pub struct Object<'a> {
    /// `metadata`; `None` where the object has none.
    #[serde(borrow)]
    pub metadata: Option<ObjectMeta<'a>>,
}

impl<'a> Object<'a> {
    /// The metadata; empty where the object has none.
    #[must_use]
    pub fn into_metadata(self) -> ObjectMeta<'a> {
        self.metadata.unwrap_or_default()
    }
}

impl ObjectMeta<'_> {
    /// A label's value.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.as_ref()?.get(key)
    }

    /// An annotation's value.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key)
    }

    /// Whether the object is being deleted.
    #[must_use]
    pub fn is_deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    /// The resourceVersion as a number that grows with every write; 0 where there is none. API servers have
    /// promised to keep it comparable since 1.35
    /// (<https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>), and always did with etcd.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.resource_version.parse().unwrap_or_default()
    }

    /// When it was created, where the object says so.
    #[must_use]
    pub fn created(&self) -> Option<Timestamp> {
        self.creation_timestamp.as_ref()?.parse().ok()
    }

    /// Whether the label says that Ringfence manages it.
    #[must_use]
    pub fn is_managed(&self) -> bool {
        self.label(MANAGED_BY) == Some(RINGFENCE)
    }

    /// The lints that its annotations switch off.
    #[must_use]
    pub fn suppressions(&self) -> Vec<Suppression> {
        let annotations = self.annotations.iter().flat_map(Entries::own);
        annotations.filter_map(|(key, reason)| suppression(key, reason)).collect()
    }

    /// The exception that a policy claims, if it claims one.
    #[must_use]
    pub fn exception(&self) -> Option<Exception> {
        let (reason, until) = (self.annotation(EXCEPTION_REASON), self.annotation(EXCEPTION_UNTIL));
        if reason.is_none() && until.is_none() {
            return None;
        }
        Some(Exception {
            reason: reason.unwrap_or_default().trim().to_owned(),
            until: until.unwrap_or_default().to_owned(),
        })
    }
}

/// An annotation that switches a lint off for the object that carries it ([`IGNORE`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppression {
    /// The id of the lint, as written: there may be no such lint.
    pub lint: String,
    /// Why; empty where none is given, and then it does not count.
    pub reason: String,
}

/// What an annotation switches off, if it is one that does.
pub(crate) fn suppression(key: &str, reason: &str) -> Option<Suppression> {
    let lint = key.strip_prefix(IGNORE)?.to_owned();
    Some(Suppression { lint, reason: reason.trim().to_owned() })
}

/// A claim to deviate, for a reason and until a date: of a policy (`exception-…`) or a namespace (`exempt-…`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Why; empty where none is given.
    pub reason: String,
    /// Until when, as written; empty where it is not.
    pub until: String,
}

/// Why a claim to deviate is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExceptionError {
    /// No reason.
    #[error("no reason is given")]
    NoReason,
    /// No end.
    #[error("no end is given")]
    NoEnd,
    /// Not a point in time.
    #[error("{0:?} is not a time as RFC 3339 writes it, such as 2027-01-31T00:00:00Z")]
    Malformed(String),
    /// Over already.
    #[error("{0} is in the past")]
    Past(String),
    /// Longer than the configuration allows.
    #[error("{0} is further away than the longest that is allowed, {1}")]
    TooLong(String, String),
}

impl Exception {
    /// When it ends.
    ///
    /// # Errors
    /// [`ExceptionError::NoEnd`] or [`ExceptionError::Malformed`].
    pub fn end(&self) -> Result<Timestamp, ExceptionError> {
        if self.until.is_empty() {
            return Err(ExceptionError::NoEnd);
        }
        self.until.parse().map_err(|_| ExceptionError::Malformed(self.until.clone()))
    }

    /// Whether it counts at this time: it has a reason, and an end that is still to come.
    #[must_use]
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        !self.reason.is_empty() && self.end().is_ok_and(|end| end > now)
    }

    /// Whether it may be claimed at this time.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn admit(&self, now: Timestamp, longest: &crate::config::Duration) -> Result<Timestamp, ExceptionError> {
        if self.reason.is_empty() {
            return Err(ExceptionError::NoReason);
        }
        let end = self.end()?;
        if end <= now {
            return Err(ExceptionError::Past(self.until.clone()));
        }
        if end.duration_since(now) > longest.get() {
            return Err(ExceptionError::TooLong(self.until.clone(), longest.to_string()));
        }
        Ok(end)
    }
}
