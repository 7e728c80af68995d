//! Kinds of fields.

use std::{collections::BTreeMap, marker::PhantomData};

use ops_core::{
    Json, Micros,
    schedule::{CatchUp, Overlap},
    task::OnExhausted,
};
use ops_engine::FieldError;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Body;
use crate::{
    json::{Fields, Schemas, in_document, reference},
    time,
};

/// A kind of field: how it is read, and how a schema says so.
pub(in crate::rest) trait Kind {
    /// The value that a handler gets.
    type Value: std::fmt::Debug;

    /// Whether the field has a value: a `null` is none.
    fn is_given(fields: &Fields<'_>, name: &str) -> bool {
        fields.raw(name).is_some()
    }

    /// Reads a field that has a value. Mistakes go to `errors`.
    fn read(fields: &Fields<'_>, name: &str, errors: &mut Vec<FieldError>) -> Option<Self::Value>;

    /// Its JSON Schema, `null` aside.
    fn schema() -> Value;

    /// Adds the named schemas that the schema refers to.
    fn schemas(_: &mut Schemas) {}
}

/// Text.
pub(in crate::rest) struct Text;

impl Kind for Text {
    type Value = String;

    fn read(fields: &Fields<'_>, name: &str, errors: &mut Vec<FieldError>) -> Option<String> {
        fields.string(name, errors)
    }

    fn schema() -> Value {
        json!({"type": "string"})
    }
}

/// Text, kept as the JSON text that it came as.
pub(in crate::rest) struct RawText;

impl Kind for RawText {
    type Value = Json;

    fn read(fields: &Fields<'_>, name: &str, errors: &mut Vec<FieldError>) -> Option<Json> {
        let wrong = ("string_type", "must be a string");
        raw(fields, name, |text| text.starts_with('"'), wrong, errors)
    }

    fn schema() -> Value {
        Text::schema()
    }
}

/// `true` or `false`.
pub(in crate::rest) struct Flag;

const FLAG: (&str, &str) = ("bool_type", "must be `true` or `false`");

impl Kind for Flag {
    type Value = bool;

    fn read(fields: &Fields<'_>, name: &str, errors: &mut Vec<FieldError>) -> Option<bool> {
        fields.get(name, FLAG, errors)
    }

    fn schema() -> Value {
        json!({"type": "boolean"})
    }
}

/// `true` or `false`, kept as JSON text.
pub(in crate::rest) struct RawFlag;

impl Kind for RawFlag {
    type Value = Json;

    fn read(fields: &Fields<'_>, name: &str, errors: &mut Vec<FieldError>) -> Option<Json> {
        let fits = |text: &str| matches!(text, "true" | "false");
        raw(fields, name, fits, FLAG, errors)
    }

    fn schema() -> Value {
        Flag::schema()
    }
}

/// A whole number that is not negative.
pub(in crate::rest) struct Whole<T>(PhantomData<T>);

impl<T: DeserializeOwned + Unsigned> Kind for Whole<T> {
    type Value = T;

    fn read(fields: &Fields<'_>, name: &str, errors: &mut Vec<FieldError>) -> Option<T> {
        fields.whole(name, errors)
    }

    fn schema() -> Value {
        json!({"type": "integer", "minimum": 0, "maximum": T::MAX})
    }
}

/// The types of whole numbers.
pub(in crate::rest) trait Unsigned: std::fmt::Debug {
    /// The largest.
    const MAX: u64;
}

macro_rules! unsigned {
    ($($name:ident)+) => { $(impl Unsigned for $name { const MAX: u64 = $name::MAX as u64; })+ };
}

unsigned!(u8 u32 u64);

/// A whole number within bounds, both included.
pub(in crate::rest) struct Within<const LOW: u32, const HIGH: u32>;

impl<const LOW: u32, const HIGH: u32> Kind for Within<LOW, HIGH> {
    type Value = u32;

    fn read(fields: &Fields<'_>, name: &str, errors: &mut Vec<FieldError>) -> Option<u32> {
        let number = fields.whole(name, errors)?;
        if (LOW..=HIGH).contains(&number) {
            return Some(number);
        }
        let message = match HIGH {
            u32::MAX => format!("must be at least {LOW}"),
            high => format!("must be {LOW} to {high}"),
        };
        errors.push(fields.error(Some(name), "value_error", &message));
        None
    }

    fn schema() -> Value {
        json!({"type": "integer", "minimum": LOW, "maximum": HIGH})
    }
}

/// A duration: seconds, or text with units. A handler gets microseconds.
pub(in crate::rest) struct Seconds;

impl Kind for Seconds {
    type Value = i64;

    fn read(fields: &Fields<'_>, name: &str, errors: &mut Vec<FieldError>) -> Option<i64> {
        fields.duration(name, errors)
    }

    fn schema() -> Value {
        json!({"type": ["number", "string"], "minimum": 0})
    }
}

/// Money: USD. A handler gets micro-USD.
pub(in crate::rest) struct Usd;

impl Kind for Usd {
    type Value = u64;

    fn read(fields: &Fields<'_>, name: &str, errors: &mut Vec<FieldError>) -> Option<u64> {
        fields.usd(name, errors)
    }

    fn schema() -> Value {
        json!({"type": "number", "minimum": 0, "maximum": 1_000_000_000})
    }
}

/// A time: RFC 3339 with an offset.
pub(in crate::rest) struct Time;

impl Kind for Time {
    type Value = Micros;

    fn read(fields: &Fields<'_>, name: &str, errors: &mut Vec<FieldError>) -> Option<Micros> {
        let text = fields.string(name, errors)?;
        time::parse(&text)
            .map_err(|message| errors.push(fields.error(Some(name), "datetime_type", &message)))
            .ok()
    }

    fn schema() -> Value {
        json!({"type": "string", "format": "date-time"})
    }
}

/// A name of a domain's type.
pub(in crate::rest) struct Choice<T>(PhantomData<T>);

impl<T: Names> Kind for Choice<T> {
    type Value = T;

    fn read(fields: &Fields<'_>, name: &str, errors: &mut Vec<FieldError>) -> Option<T> {
        fields.choice(name, T::NAMES, errors).and_then(T::named)
    }

    fn schema() -> Value {
        json!({"type": "string", "enum": T::NAMES})
    }
}

/// A type whose values have names.
pub(in crate::rest) trait Names: Sized + std::fmt::Debug {
    /// Every name.
    const NAMES: &'static [&'static str];

    /// The value of a name.
    fn named(name: &str) -> Option<Self>;
}

macro_rules! names {
    ($($name:ident)+) => { $(
        impl Names for $name {
            const NAMES: &'static [&'static str] = $name::NAMES;

            fn named(name: &str) -> Option<Self> {
                $name::from_name(name)
            }
        }
    )+ };
}

names!(OnExhausted Overlap CatchUp);

/// An object of strings.
pub(in crate::rest) struct Labels;

impl Kind for Labels {
    type Value = BTreeMap<String, String>;

    fn read(fields: &Fields<'_>, name: &str, errors: &mut Vec<FieldError>) -> Option<Self::Value> {
        fields.get(name, ("dict_type", "must be an object of strings"), errors)
    }

    fn schema() -> Value {
        json!({"type": "object", "additionalProperties": {"type": "string"}})
    }
}

/// An object of any size, as text.
pub(in crate::rest) struct Object;

impl Kind for Object {
    type Value = Json;

    fn read(fields: &Fields<'_>, name: &str, errors: &mut Vec<FieldError>) -> Option<Json> {
        let wrong = ("dict_type", "must be an object");
        raw(fields, name, |text| text.starts_with('{'), wrong, errors)
    }

    fn schema() -> Value {
        json!({"type": "object"})
    }
}

/// Any JSON that may be built into a tree.
pub(in crate::rest) struct Any;

impl Kind for Any {
    type Value = Value;

    fn read(fields: &Fields<'_>, name: &str, errors: &mut Vec<FieldError>) -> Option<Value> {
        fields.value(name, errors)
    }

    fn schema() -> Value {
        json!({})
    }
}

/// The same; a `null` is a value.
pub(in crate::rest) struct AnyOrNull;

impl Kind for AnyOrNull {
    type Value = Value;

    fn is_given(fields: &Fields<'_>, name: &str) -> bool {
        fields.has(name)
    }

    fn read(fields: &Fields<'_>, name: &str, errors: &mut Vec<FieldError>) -> Option<Value> {
        match fields.raw(name) {
            Some(_) => fields.value(name, errors),
            None => Some(Value::Null),
        }
    }

    fn schema() -> Value {
        Any::schema()
    }
}

/// An object with fields of its own.
pub(in crate::rest) struct Nested<B>(PhantomData<B>);

impl<B: Body + std::fmt::Debug> Kind for Nested<B> {
    type Value = B;

    fn read(fields: &Fields<'_>, name: &str, errors: &mut Vec<FieldError>) -> Option<B> {
        let path = fields.error(Some(name), "", "").path;
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        B::read_at(fields.raw(name)?, &path, errors)
    }

    fn schema() -> Value {
        reference(B::NAME)
    }

    fn schemas(found: &mut Schemas) {
        found.push((B::NAME.to_owned(), in_document(B::schema())));
        B::schemas(found);
    }
}

/// The text of a field, if it fits; `kind` and `message` say what it must be.
fn raw(
    fields: &Fields<'_>,
    name: &str,
    fits: impl FnOnce(&str) -> bool,
    (kind, message): (&'static str, &str),
    errors: &mut Vec<FieldError>,
) -> Option<Json> {
    let text = fields.raw(name)?;
    if !fits(text) {
        errors.push(fields.error(Some(name), kind, message));
        return None;
    }
    Some(Json::parse(text).expect("a part of a checked body is JSON"))
}
