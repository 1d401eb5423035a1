//! A JSON schema (draft 7) of the configuration, made by reading it from nothing: [`Tracer`] answers each question of a
//! type with a sample, and writes down what was asked. So a field that is added to [`super::schema`] is in the schema.
//!
//! What no type says, [`refine`] adds: names that are checked later, and ranges.

use std::fmt;

use serde::Deserialize;
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error, Expected, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};

use super::schema::File;
use super::validate::{MOST_PORTS, least_review_bytes};
use crate::object::FieldNames;
use crate::policy::lint::{Severity, catalogue};
use crate::profile::classes;
use crate::vocabulary::Mode;

/// Any length of time, and any other text, reads this.
const SAMPLE: &str = "1h";

/// A length of time: ISO 8601, or numbers with units. The units are those that do not depend on the calendar.
const DURATION: &str = concat!(
    r"^\+?(?:[Pp](?:[0-9]+[Ww])?(?:[0-9]+[Dd])?(?:[Tt](?:[0-9]+(?:[.,][0-9]+)?[HhMmSs])+)?|",
    r"(?:[0-9]+(?:[.,][0-9]+)? *",
    r"(?:weeks?|wks?|w|days?|d|hours?|hrs?|hr|h|minutes?|mins?|m|seconds?|secs?|s|",
    r"milliseconds?|millis|msecs?|ms|microseconds?|micros|usecs?|us|µsecs?|µs|nanoseconds?|nanos|nsecs?|ns)",
    r"(?:, *| +)?)*(?:[0-9]+:[0-9]{2}:[0-9]{2}(?:[.,][0-9]+)?)?)$",
);

/// A block of addresses. That no host bits are set a pattern can't say.
const CIDR: &str = concat!(
    r"^(?:(?:(?:25[0-5]|2[0-4][0-9]|[01]?[0-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|[01]?[0-9]?[0-9])",
    r"/(?:3[0-2]|[0-2]?[0-9])",
    r"|[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]*[0-9A-Fa-f:.]*/(?:12[0-8]|1[01][0-9]|0?[0-9]?[0-9]))$",
);

/// The name of a namespace or profile, and that of a NetworkPolicy.
const DNS_LABEL: &str = "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$";
const SUBDOMAIN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// A type is read in a way that a schema is not made for.
#[derive(Debug)]
pub struct Untraceable(String);

impl fmt::Display for Untraceable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no JSON schema can be made of the configuration: {}", self.0)
    }
}

impl std::error::Error for Untraceable {}

impl Error for Untraceable {
    fn custom<T: fmt::Display>(problem: T) -> Self {
        Self(problem.to_string())
    }
}

pub(super) fn of_config() -> Result<Value, Untraceable> {
    let mut schema = Value::Null;
    // The trait's, as in `validate`.
    <File as Deserialize>::deserialize(Tracer(&mut schema))?;
    refine(&mut schema);
    Ok(schema)
}

/// What is checked once it was read.
fn refine(schema: &mut Value) {
    let fields = &mut schema["properties"];
    let modes = [Mode::Enforce, Mode::Warn, Mode::Audit].map(|mode| Value::from(mode.as_str()));
    fields["defaultMode"] = json!({ "enum": [modes[0], modes[1], modes[2], null] });
    fields["excluded"]["items"]["pattern"] = DNS_LABEL.into();
    fields["clusterCidrs"]["items"]["pattern"] = CIDR.into();
    // Which profiles there are is known only once all are read.
    fields["defaultProfile"]["pattern"] = DNS_LABEL.into();
    let ids: Vec<&str> = catalogue::ALL.iter().map(|lint| lint.id).collect();
    fields["lints"]["propertyNames"] = json!({ "enum": ids });
    // `off` is read as `false` by YAML 1.1.
    let levels = ["off"].into_iter().chain(Severity::ALL.iter().map(|severity| severity.as_str())).map(Value::from);
    fields["lints"]["additionalProperties"] = json!({ "enum": levels.chain([false.into()]).collect::<Vec<_>>() });
    fields["profiles"]["propertyNames"] = json!({ "pattern": DNS_LABEL });
    let profile = &mut fields["profiles"]["additionalProperties"]["properties"];
    for (field, least, most) in [("ipv4", 1, 32), ("ipv6", 1, 128), ("ports", 0, MOST_PORTS)] {
        let width = &mut profile["wide"]["properties"][field];
        (width["minimum"], width["maximum"]) = (least.into(), most.into());
    }
    let policy = &mut profile["policies"]["items"];
    policy["required"] = json!(["name", "spec"]);
    policy["properties"]["name"]["pattern"] = SUBDOMAIN.into();
    let known: Vec<String> = classes().map(|class| class.to_string()).collect();
    for direction in ["ingress", "egress"] {
        profile["holes"]["properties"][direction]["propertyNames"] = json!({ "enum": known });
    }
    for (field, most) in [
        ("bodyBytes", None),
        ("bytesInFlight", Some(u64::from(u32::MAX))),
        ("policyBytesPerNamespace", None),
        ("policiesPerNamespace", Some(1_000_000)),
        ("concurrentReviews", Some(1_000_000)),
        ("connections", Some(1_000_000)),
    ] {
        let limit = &mut fields["limits"]["properties"][field];
        limit["minimum"] = 1.into();
        if let Some(most) = most {
            limit["maximum"] = most.into();
        }
    }
    fields["limits"]["properties"]["reviewBytes"]["minimum"] = least_review_bytes(1).into();
}

/// Reads a value from nothing, and writes down what it would be read from.
struct Tracer<'s>(&'s mut Value);

impl Tracer<'_> {
    fn is(self, kind: &str) {
        *self.0 = json!({ "type": kind });
    }
}

/// Fields of a struct, each of which is traced.
struct Fields<'s> {
    names: std::vec::IntoIter<String>,
    properties: &'s mut Value,
    current: String,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Untraceable;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Untraceable> {
        let Some(name) = self.names.next() else { return Ok(None) };
        self.current.clone_from(&name);
        seed.deserialize(IntoDeserializer::<Untraceable>::into_deserializer(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Untraceable> {
        let schema = &mut self.properties[self.current.as_str()];
        seed.deserialize(Tracer(schema)).map_err(|error| Untraceable(format!("{}: {}", self.current, error.0)))
    }
}

fn object<'de, V: Visitor<'de>>(schema: &mut Value, names: Vec<String>, visitor: V) -> Result<V::Value, Untraceable> {
    *schema = json!({ "type": "object", "additionalProperties": false, "properties": {} });
    let fields = Fields { names: names.into_iter(), properties: &mut schema["properties"], current: String::new() };
    visitor.visit_map(fields)
}

/// One entry of a map under any name, or one item of a list.
struct Once<'s>(Option<&'s mut Value>);

impl<'de> MapAccess<'de> for Once<'_> {
    type Error = Untraceable;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Untraceable> {
        let key = self.0.is_some().then(|| StrDeserializer::<Untraceable>::new(SAMPLE));
        key.map(|key| seed.deserialize(key)).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Untraceable> {
        let schema = self.0.take().ok_or_else(|| Untraceable("a value without a key".to_owned()))?;
        seed.deserialize(Tracer(schema))
    }
}

impl<'de> SeqAccess<'de> for Once<'_> {
    type Error = Untraceable;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Untraceable> {
        self.0.take().map(|schema| seed.deserialize(Tracer(schema))).transpose()
    }
}

macro_rules! integers {
    ($($method:ident $visit:ident $least:expr;)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Untraceable> {
            let least: Option<u64> = $least;
            *self.0 = json!({ "type": "integer" });
            if let Some(least) = least {
                self.0["minimum"] = least.into();
            }
            visitor.$visit(1)
        }
    )+};
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Untraceable;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Untraceable> {
        // Kubernetes' one type that is either says so.
        let expected = (&visitor as &dyn Expected).to_string();
        *self.0 = if expected.contains("IntOrString") { json!({ "type": ["integer", "string"] }) } else { json!({}) };
        visitor.visit_str(SAMPLE)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Untraceable> {
        self.is("boolean");
        visitor.visit_bool(true)
    }

    integers! {
        deserialize_i8 visit_i8 None;
        deserialize_i16 visit_i16 None;
        deserialize_i32 visit_i32 None;
        deserialize_i64 visit_i64 None;
        deserialize_u8 visit_u8 Some(0);
        deserialize_u16 visit_u16 Some(0);
        deserialize_u32 visit_u32 Some(0);
        deserialize_u64 visit_u64 Some(0);
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Untraceable> {
        self.is("number");
        visitor.visit_f64(1.0)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Untraceable> {
        self.is("string");
        visitor.visit_str(SAMPLE)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Untraceable> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Untraceable> {
        let value = visitor.visit_some(Tracer(self.0))?;
        // Null is what is left out.
        if let Some(known) = self.0.get_mut("enum").and_then(Value::as_array_mut) {
            known.push(Value::Null);
        } else if let Some(kind) = self.0.get_mut("type") {
            let mut kinds = kind.as_array().cloned().unwrap_or_else(|| vec![kind.clone()]);
            kinds.push("null".into());
            *kind = kinds.into();
        }
        Ok(value)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Untraceable> {
        let value = visitor.visit_newtype_struct(Tracer(self.0))?;
        if name == "Duration" {
            // Longer than nothing.
            *self.0 = json!({ "type": "string", "pattern": DURATION, "allOf": [{ "pattern": "[1-9]" }] });
        }
        Ok(value)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Untraceable> {
        *self.0 = json!({ "type": "array", "items": {} });
        visitor.visit_seq(Once(Some(&mut self.0["items"])))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Untraceable> {
        let expected = format!("{:#}", &visitor as &dyn Expected);
        if let Some(names) = expected.strip_prefix(FieldNames::PREFIX) {
            return object(self.0, names.split(',').map(str::to_owned).collect(), visitor);
        }
        *self.0 = json!({ "type": "object", "additionalProperties": {} });
        visitor.visit_map(Once(Some(&mut self.0["additionalProperties"])))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Untraceable> {
        object(self.0, fields.iter().map(|&name| name.to_owned()).collect(), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Untraceable> {
        *self.0 = json!({ "enum": variants });
        let first = variants.first().copied().unwrap_or_default();
        visitor.visit_enum(StrDeserializer::<Untraceable>::new(first))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Untraceable> {
        *self.0 = json!({});
        visitor.visit_unit()
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Untraceable> {
        self.deserialize_str(visitor)
    }

    serde::forward_to_deserialize_any! {
        i128 u128 f32 char bytes byte_buf unit unit_struct tuple tuple_struct
    }
}
