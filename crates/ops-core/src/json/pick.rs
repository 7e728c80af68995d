//! A few fields of a large object, as trees of a bounded size.

use std::{cell::Cell, fmt};

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

/// A document whose fields have too many values to be taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("has more than {} values", Self::MAX_VALUES)]
pub struct TooManyValues;

impl TooManyValues {
    /// Values that a tree may have: some ten megabytes beside their text.
    pub const MAX_VALUES: u32 = 100_000;
}

/// See [`super::Json::fields`].
pub(super) fn fields(text: &str, names: &[&str]) -> Result<Map<String, Value>, TooManyValues> {
    let left = Cell::new(TooManyValues::MAX_VALUES);
    let pick = Pick { names, left: &left };
    let read = pick.deserialize(&mut serde_json::Deserializer::from_str(text));
    match read {
        Ok(fields) => Ok(fields),
        Err(_) if left.get() == 0 => Err(TooManyValues),
        // It is no object.
        Err(_) => Ok(Map::new()),
    }
}

/// Reads the fields of an object that have one of these names.
struct Pick<'n> {
    names: &'n [&'n str],
    left: &'n Cell<u32>,
}

impl<'de> DeserializeSeed<'de> for Pick<'_> {
    type Value = Map<String, Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Pick<'_> {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            if self.names.contains(&&*name) {
                fields.insert(name, map.next_value_seed(Tree(self.left))?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(fields)
    }
}

/// Reads any value, as long as so many are left.
#[derive(Clone, Copy)]
struct Tree<'n>(&'n Cell<u32>);

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let left = self.0.get().saturating_sub(1);
        self.0.set(left);
        if left == 0 {
            return Err(D::Error::custom(TooManyValues));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            map.insert(key, entries.next_value_seed(self)?);
        }
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_those_that_were_asked_for() {
        let text =
            r#"{"a": [1, {"b": 2}], "\u0062": "x", "c": {"a": 3}, "a": [-4, 1.5, null, true]}"#;
        let fields = fields(text, &["a", "b", "d"]).unwrap();
        assert_eq!(
            Value::from(fields),
            json!({"a": [-4, 1.5, null, true], "b": "x"})
        );
        assert!(super::fields("[1]", &["a"]).unwrap().is_empty());
    }

    #[test]
    fn what_has_too_many_values_is_not_taken_apart() {
        let with = |count: usize, key: &str| format!("{{\"{key}\":[{}0]}}", "0,".repeat(count));
        let most = TooManyValues::MAX_VALUES as usize;
        assert_eq!(fields(&with(most, "a"), &["a"]), Err(TooManyValues));
        assert_eq!(fields(&with(most / 2, "a"), &["a"]).unwrap().len(), 1);
        // What is not asked for does not count.
        assert!(fields(&with(most, "b"), &["a"]).unwrap().is_empty());
    }
}
