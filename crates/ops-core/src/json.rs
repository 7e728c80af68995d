//! JSON text that is known to be valid, carried without parsing it again.

use std::{fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Map, Value, value::RawValue};

/// A JSON document as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Json(Arc<str>);

impl Json {
    /// `null`.
    #[must_use]
    pub fn null() -> Self {
        Self("null".into())
    }

    /// Takes text that must be JSON.
    ///
    /// # Errors
    /// Says where the text stops being JSON.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<&RawValue>(text).map(|raw| Self(raw.get().into()))
    }

    /// The text of anything that serialises with string keys.
    ///
    /// # Errors
    /// If it has a key that is not a string.
    pub fn from_value<T: Serialize>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(|text| Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// These fields of an object; of anything else there are none. The rest is passed over: a tree of
    /// many small values takes a hundred times as much as their text.
    #[must_use]
    pub fn fields(&self, names: &[&str]) -> Map<String, Value> {
        let mut reader = serde_json::Deserializer::from_str(&self.0);
        Pick(names).deserialize(&mut reader).unwrap_or_default()
    }

    /// The parsed document.
    #[must_use]
    pub fn to_value(&self) -> Value {
        serde_json::from_str(&self.0).expect("the text was JSON when it was taken")
    }
}

impl From<&Value> for Json {
    fn from(value: &Value) -> Self {
        Self(value.to_string().into())
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::from_str::<&RawValue>(&self.0)
            .map_err(serde::ser::Error::custom)?
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self(raw.get().into()))
    }
}

/// Reads the fields of an object that have one of these names.
struct Pick<'n>(&'n [&'n str]);

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
            if self.0.contains(&&*name) {
                fields.insert(name, map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_those_that_were_asked_for() {
        let text = r#"{"a": [1, {"b": 2}], "\u0062": "x", "c": {"a": 3}, "a": 4}"#;
        let fields = Json::parse(text).unwrap().fields(&["a", "b", "d"]);
        assert_eq!(Value::from(fields), json!({"a": 4, "b": "x"}));
        assert!(Json::parse("[1]").unwrap().fields(&["a"]).is_empty());
    }
}
