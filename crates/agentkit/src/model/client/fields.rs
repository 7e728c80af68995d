//! JSON as servers send it, read field by field: a field of another type than the documented one
//! counts as missing, and costs neither its neighbours nor the answer.
//!
//! Values stay the text that they were until a field is asked for, so opaque parts keep every byte.

use std::{
    borrow::Cow,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

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

    /// The fields, in their order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, raw)| (&**name, *raw))
    }

    /// The names of the fields.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }

    /// A hash of all fields: equal documents have equal hashes.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (name, raw) in &self.0 {
            (name, raw.get()).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// A value as it was written. Null counts as missing.
    pub(super) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        let found = self.0.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, raw)| *raw).filter(|raw| raw.get() != "null")
    }

    /// A value other than null, `""`, `{}`, `[]`, `false` and `0`, which some servers write for a
    /// missing value.
    pub(super) fn some(&self, name: &str) -> Option<&'a RawValue> {
        let none = ["\"\"", "{}", "[]", "false", "0"];
        self.raw(name).filter(|raw| !none.contains(&raw.get()))
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

    /// A word or a number, as text.
    pub(super) fn code(&self, name: &str) -> Option<String> {
        let number = || serde_json::from_str::<serde_json::Number>(self.raw(name)?.get()).ok();
        let word = self.word(name).map(Cow::into_owned);
        word.or_else(|| number().map(|number| number.to_string()))
    }

    /// A natural number, be it written as text or with a fraction of zero.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        let raw = self.raw(name)?.get();
        let digits = raw.trim_matches('"');
        let digits = digits.strip_suffix(".0").unwrap_or(digits);
        digits.parse().ok()
    }

    /// A number of any kind.
    pub(super) fn float(&self, name: &str) -> Option<f64> {
        serde_json::from_str(self.raw(name)?.get()).ok()
    }

    /// Whether the field is `true`.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.raw(name).is_some_and(|raw| raw.get() == "true")
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

    /// JSON that a server writes as text, as documented, or as it is.
    pub(super) fn json_text(&self, name: &str) -> Option<Text<'a>> {
        let raw = self.raw(name)?.get();
        Some(Text::read(raw).unwrap_or_else(|| Text::from(raw)))
    }
}

/// The values of a list; none where the value is no list.
pub(super) fn items(raw: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

/// JSON text as a value that can be kept; halves of surrogate pairs in it, which no server takes
/// back, become U+FFFD.
pub(super) fn kept(raw: &RawValue) -> Box<RawValue> {
    match super::text::without_halves(raw.get()) {
        Cow::Borrowed(_) => raw.to_owned(),
        Cow::Owned(json) => RawValue::from_string(json).unwrap_or_else(|_| raw.to_owned()),
    }
}

/// A value as JSON text.
pub(super) fn raw(value: &Value) -> Box<RawValue> {
    to_raw_value(value).expect("a JSON value has string keys only, so it always serialises")
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
        let json = r#"{"a":7,"b":"x","c":{"d":"1"},"e":[1,{"f":true}],"g":null,"h":"0","i":-1,"j":2.0,"b":"y"}"#;
        let fields = Fields::read(json).unwrap();
        assert_eq!(fields.word("b").as_deref(), Some("y"));
        assert_eq!(fields.number("a"), Some(7));
        assert_eq!(fields.number("h"), Some(0));
        assert_eq!(fields.number("j"), Some(2));
        assert_eq!(fields.number("i"), None);
        assert_eq!(fields.float("i"), Some(-1.0));
        assert_eq!(fields.code("a").as_deref(), Some("7"));
        assert_eq!(fields.object("c").unwrap().number("d"), Some(1));
        let objects: Vec<bool> = fields.objects("e").map(|field| field.is_set("f")).collect();
        assert_eq!(objects, [true]);
        for name in ["a", "c", "e", "g", "x"] {
            assert!(fields.word(name).is_none(), "{name}");
        }
        for name in ["a", "b", "g", "x"] {
            assert!(fields.object(name).is_none() && fields.list(name).is_empty());
        }
        assert!(fields.some("g").is_none() && fields.some("a").is_some());
        assert_eq!(fields.json_text("b").unwrap().whole(), "y");
        assert_eq!(fields.json_text("c").unwrap().whole(), r#"{"d":"1"}"#);
        for other in ["", "null", "[]", "\"{}\"", "{", "7", "{}{}"] {
            assert!(Fields::read(other).is_none(), "{other}");
        }
    }

    #[test]
    fn empty_values_count_as_missing() {
        let fields = Fields::read(r#"{"a":"","b":{},"c":[],"d":false,"e":0,"f":"x"}"#).unwrap();
        for name in ["a", "b", "c", "d", "e"] {
            assert!(fields.raw(name).is_some() && fields.some(name).is_none());
        }
        assert!(fields.some("f").is_some());
    }
}
