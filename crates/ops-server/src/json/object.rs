//! An object with known fields: what is wrong with it is said of every field at once.

use std::{borrow::Cow, fmt};

use ops_core::json::Key;
use ops_engine::FieldError;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Value, value::RawValue};
use units::{duration, money, nearest};

/// The longest text of a value that is built into a tree, which may take a hundred times as much.
const MAX_VALUE: usize = 1 << 20;

/// The fields of one object, as text.
pub(crate) struct Fields<'a> {
    path: Vec<String>,
    known: &'static [&'static str],
    values: Vec<Option<&'a RawValue>>,
    is_object: bool,
}

/// Takes an object apart. `known` are its fields, `path` is where it stands in the request.
/// Mistakes go to `errors`.
pub(crate) fn object<'a>(
    text: &'a str,
    known: &'static [&'static str],
    path: &[&str],
    errors: &mut Vec<FieldError>,
) -> Fields<'a> {
    let mut fields = Fields {
        path: path.iter().map(|part| (*part).to_owned()).collect(),
        known,
        values: vec![None; known.len()],
        is_object: true,
    };
    let mut unknown_fields = Vec::new();
    let seed = Take {
        fields: &mut fields,
        unknown_fields: &mut unknown_fields,
    };
    let taken = seed.deserialize(&mut serde_json::Deserializer::from_str(text));
    if taken.is_err() {
        fields.is_object = false;
        errors.push(fields.error(None, "dict_type", "must be an object"));
    }
    for name in unknown_fields {
        let known_already = known.contains(&name.as_str());
        let (kind, message) = match (known_already, later(&name)) {
            (true, _) => ("duplicate_field", format!("`{name}` is given twice")),
            (false, Some(message)) => ("unknown_field", message),
            (false, None) => (
                "unknown_field",
                nearest::unknown("field", &name, known.iter().copied()),
            ),
        };
        // The message names the field, so that the sentence reads well.
        errors.push(fields.error(Some(&name), kind, &message));
    }
    fields
}

/// The known fields of an object that has others beside them, which are passed over. Of a field that is
/// there twice, the last one counts.
pub(crate) fn pick<'a>(text: &'a str, known: &'static [&'static str]) -> Fields<'a> {
    let mut fields = Fields {
        path: Vec::new(),
        known,
        values: vec![None; known.len()],
        is_object: true,
    };
    let seed = Pick(&mut fields);
    // What is no object has none of them.
    let _ = seed.deserialize(&mut serde_json::Deserializer::from_str(text));
    fields
}

/// Fields that the contract promises and this release does not take yet.
fn later(name: &str) -> Option<String> {
    ["callback_url", "depends_on"]
        .contains(&name)
        .then(|| format!("`{name}` is not supported by this release"))
}

impl<'a> Fields<'a> {
    /// Whether the value is an object.
    pub(crate) fn is_object(&self) -> bool {
        self.is_object
    }

    /// The text of a field; none if it is missing or `null`.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a str> {
        self.text(name).filter(|text| *text != "null")
    }

    /// The text of a field, be it `null`; none if it is missing.
    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        let index = self.known.iter().position(|known| *known == name)?;
        self.values[index].map(RawValue::get)
    }

    /// Whether a field is there, be it `null`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    /// A field of a type; `kind` and `message` say what it must be.
    pub(crate) fn get<T: Deserialize<'a>>(
        &self,
        name: &str,
        (kind, message): (&'static str, &str),
        errors: &mut Vec<FieldError>,
    ) -> Option<T> {
        let value = serde_json::from_str(self.raw(name)?).ok();
        if value.is_none() {
            errors.push(self.error(Some(name), kind, message));
        }
        value
    }

    /// A text field.
    pub(crate) fn string(&self, name: &str, errors: &mut Vec<FieldError>) -> Option<String> {
        self.get(name, ("string_type", "must be a string"), errors)
    }

    /// A whole number that is not negative.
    pub(crate) fn whole<T: Deserialize<'a>>(
        &self,
        name: &str,
        errors: &mut Vec<FieldError>,
    ) -> Option<T> {
        self.get(
            name,
            ("int_type", "must be a whole number in range"),
            errors,
        )
    }

    /// Any JSON, of a text that is no longer than [`MAX_VALUE`]; `null` is none.
    pub(crate) fn value(&self, name: &str, errors: &mut Vec<FieldError>) -> Option<Value> {
        let text = self.raw(name)?;
        if text.len() > MAX_VALUE {
            let message = format!(
                "has {} bytes; {MAX_VALUE} are taken at the most",
                text.len()
            );
            errors.push(self.error(Some(name), "too_long", &message));
            return None;
        }
        Some(serde_json::from_str(text).expect("a part of a checked body is JSON"))
    }

    /// A duration: a number of seconds, or text with units. Microseconds.
    pub(crate) fn duration(&self, name: &str, errors: &mut Vec<FieldError>) -> Option<i64> {
        let text = self.raw(name)?;
        let read = match serde_json::from_str::<f64>(text) {
            Ok(seconds) => duration::from_seconds(seconds).ok(),
            Err(_) => serde_json::from_str::<Cow<'_, str>>(text)
                .ok()
                .and_then(|text| duration::parse(&text).ok()),
        };
        if read.is_none() {
            let message = format!("must be {}", duration::FORM);
            errors.push(self.error(Some(name), "duration_type", &message));
        }
        read.map(duration::micros)
    }

    /// An amount of money: a number of USD. Micro-USD.
    pub(crate) fn usd(&self, name: &str, errors: &mut Vec<FieldError>) -> Option<u64> {
        let usd: f64 = self.get(name, ("float_type", "must be a number of USD"), errors)?;
        let micros = money::from_usd(usd).ok();
        if micros.is_none() {
            let message = "must be a number of USD from 0.000001 to 1000000000";
            errors.push(self.error(Some(name), "float_range", message));
        }
        micros
    }

    /// A name out of a few.
    pub(crate) fn choice(
        &self,
        name: &str,
        known: &[&'static str],
        errors: &mut Vec<FieldError>,
    ) -> Option<&'static str> {
        let given = self.string(name, errors)?;
        let found = known.iter().find(|known| **known == given).copied();
        if found.is_none() {
            let message = format!(
                "is wrong: {}",
                nearest::unknown("value", &given, known.iter().copied())
            );
            errors.push(self.error(Some(name), "enum", &message));
        }
        found
    }

    /// A mistake of a field of this object, or of the object.
    pub(crate) fn error(
        &self,
        name: Option<&str>,
        kind: &'static str,
        message: &str,
    ) -> FieldError {
        let path: Vec<&str> = self.path.iter().map(String::as_str).chain(name).collect();
        FieldError::new(&path, kind, message)
    }
}

struct Take<'f, 'a> {
    fields: &'f mut Fields<'a>,
    unknown_fields: &'f mut Vec<String>,
}

impl<'a> DeserializeSeed<'a> for Take<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Take<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(name)) = map.next_key::<Key<'a>>()? {
            let index = self.fields.known.iter().position(|known| *known == name);
            match index {
                Some(index) if self.fields.values[index].is_none() => {
                    self.fields.values[index] = Some(map.next_value()?);
                }
                Some(_) | None => {
                    let value: &RawValue = map.next_value()?;
                    // As good as missing, also of a field that this release does not take.
                    if index.is_none() && value.get() == "null" && later(&name).is_some() {
                        continue;
                    }
                    // A few say what is wrong as well as a million.
                    if self.unknown_fields.len() < 20 {
                        self.unknown_fields.push(name.chars().take(80).collect());
                    }
                }
            }
        }
        Ok(())
    }
}

struct Pick<'f, 'a>(&'f mut Fields<'a>);

impl<'a> DeserializeSeed<'a> for Pick<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Pick<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(name)) = map.next_key::<Key<'a>>()? {
            match self.0.known.iter().position(|known| *known == name) {
                Some(index) => self.0.values[index] = Some(map.next_value()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}
