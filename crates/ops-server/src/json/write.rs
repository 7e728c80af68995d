//! Writing objects, with ready JSON text put in as it is.

use serde::Serialize;

use super::shown::{Shown, plain};

/// An object in the making.
pub(crate) struct ObjectWriter<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> ObjectWriter<'a> {
    /// Begins an object at the end of `out`.
    pub(crate) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    /// A key; its value must be written to what is returned. Keys need no escapes: they are ours.
    pub(crate) fn key(&mut self, key: &'static str) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// A value that serialises.
    pub(crate) fn value<T: Serialize + ?Sized>(&mut self, key: &'static str, of: &T) {
        value(self.key(key), of);
    }

    /// Text that needs no escapes.
    pub(crate) fn plain(&mut self, key: &'static str, text: &impl std::fmt::Display) {
        plain(self.key(key), text);
    }

    /// A value of a view, unless it is left out.
    pub(crate) fn shown<T: Shown + ?Sized>(&mut self, key: &'static str, of: &T) {
        if of.is_shown() {
            of.write(self.key(key));
        }
    }

    /// Ends the object.
    pub(crate) fn end(self) {
        self.out.push(b'}');
    }
}

/// Writes a value.
pub(crate) fn value<T: Serialize + ?Sized>(out: &mut Vec<u8>, of: &T) {
    serde_json::to_writer(out, of).expect("what surfaces show has string keys only");
}

/// The JSON of a value.
pub(crate) fn to_vec<T: Serialize + ?Sized>(of: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    value(&mut out, of);
    out
}
