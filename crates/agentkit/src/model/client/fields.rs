//! JSON as servers send it, read field by field: a field of another type than the documented one
//! counts as missing, and costs neither its neighbours nor the answer.
//!
//! Values stay the text that they were until a field is asked for, so opaque parts keep every byte.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::text::Text;

/// The fields of one JSON object.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// Reads an object; none if the text is anything else.
    pub(super) fn read(json: &'a str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// Reads an object that stands in another one.
    pub(super) fn of(raw: &'a RawValue) -> Option<Self> {
        Self::read(raw.get())
    }

    /// The names of the fields.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }

    /// A value as it was written. Null counts as missing.
    pub(super) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        let found = self.0.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, raw)| *raw).filter(|raw| raw.get() != "null")
    }

    /// A text, or a piece of one.
    pub(super) fn text(&self, name: &str) -> Option<Text<'a>> {
        Text::read(self.raw(name)?.get())
    }

    /// A text that is complete in itself, and not empty: a kind, a name, an id.
    pub(super) fn word(&self, name: &str) -> Option<Cow<'a, str>> {
        let word = self.text(name)?.whole();
        (!word.is_empty()).then_some(word)
    }

    /// An object.
    pub(super) fn object(&self, name: &str) -> Option<Fields<'a>> {
        Self::of(self.raw(name)?)
    }

    /// The values of a list; none where there is no list.
    pub(super) fn list(&self, name: &str) -> Vec<&'a RawValue> {
        self.raw(name).map(items).unwrap_or_default()
    }

    /// The objects of a list.
    pub(super) fn objects(&self, name: &str) -> impl Iterator<Item = Fields<'a>> {
        self.list(name).into_iter().filter_map(Self::of)
    }
}

/// The values of a list; none where the value is no list.
pub(super) fn items(raw: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some((Key(name), raw)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    fields.push((name, raw));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// The name of a field, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_another_type_costs_only_itself() {
        let json = r#"{"a":7,"b":"x","c":{"d":"1"},"e":[1,{"f":"g"}],"g":null,"b":"y"}"#;
        let fields = Fields::read(json).unwrap();
        assert_eq!(fields.word("b").as_deref(), Some("y"));
        assert_eq!(fields.object("c").unwrap().word("d").unwrap(), "1");
        let objects: Vec<_> = fields.objects("e").map(|field| field.word("f")).collect();
        assert_eq!(objects, [Some("g".into())]);
        for name in ["a", "c", "e", "g", "x"] {
            assert!(fields.word(name).is_none(), "{name}");
        }
        for name in ["a", "b", "g", "x"] {
            assert!(fields.object(name).is_none() && fields.list(name).is_empty());
        }
        for other in ["", "null", "[]", "\"{}\"", "{", "7", "{}{}"] {
            assert!(Fields::read(other).is_none(), "{other}");
        }
    }
}
