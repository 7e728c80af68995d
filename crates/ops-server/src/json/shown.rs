//! What a value of an answer is: how it is written, and how a schema says so.
//!
//! A value is written straight into the answer. A value that is JSON text already (an input, a result, an
//! event) is copied: through `serde_json` the text would be checked again, which for an answer of 64 MiB
//! takes as long as all the rest.

use std::{borrow::Cow, cell::Cell, collections::BTreeMap, fmt::Display, marker::PhantomData};

use ops_core::{AgentDigest, AgentName, Json, Micros, TaskId, schedule::ScheduleName};
use serde_json::{Value, json};

use super::{
    declared::{Schemas, nullable},
    write,
};

/// A value of an answer.
pub(crate) trait Shown {
    /// Whether an object always has a field of this type. Otherwise the field is left out where it has no
    /// value.
    const ALWAYS: bool = true;

    /// Whether an object has the field.
    fn is_shown(&self) -> bool {
        true
    }

    /// Writes the value.
    fn write(&self, out: &mut Vec<u8>);

    /// The JSON Schema of the value.
    fn schema() -> Value;

    /// Adds the named schemas that the schema refers to.
    fn schemas(_: &mut Schemas) {}
}

/// An object of an answer.
pub(crate) trait View: Shown {
    /// Its name among the schemas.
    const NAME: &'static str;

    /// The schema of that name.
    fn declared() -> Value;

    /// Adds the named schemas that this schema refers to.
    fn parts(found: &mut Schemas);
}

/// The JSON text of a value, which has about so many bytes.
pub(crate) fn text(about: usize, of: &impl Shown) -> Vec<u8> {
    let mut out = Vec::with_capacity(about);
    of.write(&mut out);
    out
}

/// Writes text that needs no escapes.
pub(crate) fn plain(out: &mut Vec<u8>, text: impl Display) {
    use std::io::Write as _;
    write!(out, "\"{text}\"").expect("writing to memory does not fail");
}

macro_rules! scalars {
    ($($kind:ty: $schema:tt;)+) => { $(
        impl Shown for $kind {
            fn write(&self, out: &mut Vec<u8>) {
                write::value(out, self);
            }

            fn schema() -> Value {
                json!($schema)
            }
        }
    )+ };
}

scalars! {
    bool: {"type": "boolean"};
    u8: {"type": "integer", "format": "int32", "minimum": 0};
    u16: {"type": "integer", "format": "int32", "minimum": 0};
    u32: {"type": "integer", "format": "int32", "minimum": 0};
    u64: {"type": "integer", "format": "int64", "minimum": 0};
    usize: {"type": "integer", "minimum": 0};
    f64: {"type": "number", "format": "double"};
    str: {"type": "string"};
    String: {"type": "string"};
    Value: {};
}

macro_rules! plain {
    ($($kind:ty)+) => { $(
        impl Shown for $kind {
            fn write(&self, out: &mut Vec<u8>) {
                plain(out, self);
            }

            fn schema() -> Value {
                str::schema()
            }
        }
    )+ };
}

plain!(TaskId AgentDigest AgentName ScheduleName);

impl Shown for Micros {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        crate::time::write(out, *self);
        out.push(b'"');
    }

    fn schema() -> Value {
        json!({"type": "string", "format": "date-time"})
    }
}

/// JSON text.
pub(crate) struct Raw<'a>(pub(crate) &'a str);

impl Shown for Raw<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.as_bytes());
    }

    fn schema() -> Value {
        json!({})
    }
}

impl Shown for Json {
    fn write(&self, out: &mut Vec<u8>) {
        Raw(self.as_str()).write(out);
    }

    fn schema() -> Value {
        Raw::schema()
    }
}

impl<T: Shown + ?Sized> Shown for &T {
    fn write(&self, out: &mut Vec<u8>) {
        T::write(self, out);
    }

    fn schema() -> Value {
        T::schema()
    }

    fn schemas(found: &mut Schemas) {
        T::schemas(found);
    }
}

impl<T: Shown + ToOwned + ?Sized> Shown for Cow<'_, T> {
    fn write(&self, out: &mut Vec<u8>) {
        T::write(self, out);
    }

    fn schema() -> Value {
        T::schema()
    }

    fn schemas(found: &mut Schemas) {
        T::schemas(found);
    }
}

/// None is `null`.
impl<T: Shown> Shown for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Some(value) => value.write(out),
            None => out.extend_from_slice(b"null"),
        }
    }

    fn schema() -> Value {
        nullable(T::schema())
    }

    fn schemas(found: &mut Schemas) {
        T::schemas(found);
    }
}

/// A field that is left out where it has no value.
#[derive(Debug, Clone)]
pub(crate) struct Optional<T>(pub(crate) Option<T>);

impl<T> Optional<Vec<T>> {
    /// A list that is left out if it is empty.
    pub(crate) fn list(items: Vec<T>) -> Self {
        Self(Some(items).filter(|items| !items.is_empty()))
    }
}

impl<T: Shown> Shown for Optional<T> {
    const ALWAYS: bool = false;

    fn is_shown(&self) -> bool {
        self.0.is_some()
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }

    fn schema() -> Value {
        T::schema()
    }

    fn schemas(found: &mut Schemas) {
        T::schemas(found);
    }
}

impl<T: Shown> Shown for [T] {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        for (index, item) in self.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            item.write(out);
        }
        out.push(b']');
    }

    fn schema() -> Value {
        json!({"type": "array", "items": T::schema()})
    }

    fn schemas(found: &mut Schemas) {
        T::schemas(found);
    }
}

impl<T: Shown> Shown for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        <[T]>::write(self, out);
    }

    fn schema() -> Value {
        <[T]>::schema()
    }

    fn schemas(found: &mut Schemas) {
        T::schemas(found);
    }
}

impl<K: serde::Serialize, T: Shown + serde::Serialize> Shown for BTreeMap<K, T> {
    fn write(&self, out: &mut Vec<u8>) {
        write::value(out, self);
    }

    fn schema() -> Value {
        json!({
            "type": "object", "additionalProperties": T::schema(),
            "propertyNames": {"type": "string"},
        })
    }
}

/// An array that was written before its object, because its items are read in pieces and are not kept. It
/// is the first field, and is written once.
pub(crate) struct Written<T> {
    text: Cell<Vec<u8>>,
    items: PhantomData<T>,
}

impl<T: Shown> Written<T> {
    /// An array with this text.
    pub(crate) fn new(text: Vec<u8>) -> Self {
        Self {
            text: Cell::new(text),
            items: PhantomData,
        }
    }
}

impl<T: Shown> Shown for Written<T> {
    /// The array may have 64 MiB and the text before it has a few bytes, so the array stays where it is.
    fn write(&self, out: &mut Vec<u8>) {
        let mut text = self.text.take();
        text.splice(0..0, out.iter().copied());
        *out = text;
    }

    fn schema() -> Value {
        <[T]>::schema()
    }

    fn schemas(found: &mut Schemas) {
        T::schemas(found);
    }
}
