//! Valid JSON text, carried without parsing the text again.

mod canonical;
mod pick;

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, value::RawValue};

pub use self::{
    canonical::{Key, canonical},
    pick::TooManyValues,
};

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

    /// The text of a value that serialises with string keys.
    ///
    /// # Errors
    /// If a key is not a string.
    pub fn from_value<T: Serialize>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(|text| Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// These fields of an object; no fields of another value. The reader skips the rest: a tree of many
    /// small values takes a hundred times as much memory as their text.
    ///
    /// # Errors
    /// [`TooManyValues`] if a tree of these fields would have more than [`TooManyValues::MAX_VALUES`].
    pub fn fields(&self, names: &[&str]) -> Result<Map<String, Value>, TooManyValues> {
        pick::fields(&self.0, names)
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
