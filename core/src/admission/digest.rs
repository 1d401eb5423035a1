//! Whether two pieces of JSON say the same, without keeping either.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::LazyLock;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

/// Stands for a value: equal for values that are the same, in whatever order the keys of their maps are. Different values have
/// the same digest once in 2⁶⁴ times, and nobody outside of the process can find two that do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Digest(u64);

static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

fn of(kind: u8, value: impl Hash) -> Digest {
    let mut hasher = KEYS.build_hasher();
    kind.hash(&mut hasher);
    value.hash(&mut hasher);
    // The default is no value at all.
    Digest(hasher.finish().max(1))
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Digest;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_unit<E>(self) -> Result<Digest, E> {
                Ok(of(0, ()))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Digest, E> {
                Ok(of(1, value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Digest, E> {
                Ok(of(2, i128::from(value)))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Digest, E> {
                Ok(of(2, i128::from(value)))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Digest, E> {
                Ok(of(3, value.to_bits()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Digest, E> {
                Ok(of(4, value))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Digest, A::Error> {
                let mut hasher = KEYS.build_hasher();
                let mut count = 0u64;
                while let Some(Digest(item)) = seq.next_element()? {
                    item.hash(&mut hasher);
                    count += 1;
                }
                Ok(of(5, (count, hasher.finish())))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Digest, A::Error> {
                let (mut sum, mut count) = (0u64, 0u64);
                while let Some((Digest(key), Digest(value))) = map.next_entry()? {
                    // Added up, so that the order does not count.
                    sum = sum.wrapping_add(of(6, (key, value)).0);
                    count += 1;
                }
                Ok(of(7, (count, sum)))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::Digest;

    #[test]
    fn the_same_has_the_same_digest_and_anything_else_another() {
        let digest = |json: &str| serde_json::from_str::<Digest>(json).unwrap();
        for (one, other) in [(r#"[{"a":1,"b":[null]}]"#, r#" [ {"b": [null], "a": 1} ]"#), (r#""\u0061""#, r#""a""#)] {
            assert_eq!(digest(one), digest(other), "{one} {other}");
        }
        let different = [
            "[]",
            "[{}]",
            "[{},{}]",
            "{}",
            "[[]]",
            "null",
            "0",
            "1",
            "-1",
            "1.5",
            "\"1\"",
            "true",
            r#"{"a":1}"#,
            r#"{"1":"a"}"#,
            r#"{"a":{"b":1}}"#,
            r#"{"a":1,"b":1}"#,
            "[1,2]",
            "[2,1]",
        ];
        for (at, one) in different.iter().enumerate() {
            assert!(different[..at].iter().all(|other| digest(one) != digest(other)), "{one}");
            assert_ne!(digest(one), Digest::default());
        }
    }
}
