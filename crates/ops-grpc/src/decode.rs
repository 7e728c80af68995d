//! Messages of clients as JSON, by their descriptors: without a tree, and with a bound on depth and size.

use std::{borrow::Cow, collections::BTreeMap};

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::value::RawValue;

use crate::{
    names::{rest_name, word},
    wire::{Fields, Malformed, Wire, varint},
};

/// How deep arrays and objects of a Struct may lie in each other. REST takes 64 levels, the body among them.
const MAX_DEPTH: usize = 60;

/// Why a message is not taken.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fault {
    /// The keys from the message to the field.
    pub(crate) path: Vec<String>,
    /// A sentence without its subject.
    pub(crate) message: String,
    /// Whether the message is too large.
    pub(crate) too_large: bool,
}

/// What happens with fields that the server does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// Left out, as version 1 did.
    Ignored,
    /// Refused, as REST does: a client must not believe in a limit that is not there.
    Refused,
}

/// Reads a message: the name that each given field has in REST, and its value as JSON. A field without presence that
/// holds its default was not given.
///
/// # Errors
/// The first fault.
pub(crate) fn fields(
    kind: &MessageDescriptor,
    bytes: &[u8],
    unknown: Unknown,
    max_bytes: usize,
) -> Result<Vec<(String, String)>, Fault> {
    let mut decoder = Decoder {
        path: Vec::new(),
        left: max_bytes,
        unknown,
    };
    decoder.fields(kind, bytes)
}

struct Decoder {
    path: Vec<String>,
    /// Bytes of JSON that may still be written.
    left: usize,
    unknown: Unknown,
}

/// What the wire has of one field. A later value replaces an earlier one, and messages are merged.
enum Slot<'a> {
    One(Wire<'a>),
    Message(Cow<'a, [u8]>),
    /// JSON texts with commas between.
    List(String),
    Map(BTreeMap<&'a str, Wire<'a>>),
}

type Read<T> = Result<T, Fault>;

impl Decoder {
    fn fault<T>(&self, message: impl Into<String>) -> Read<T> {
        Err(Fault {
            path: self.path.clone(),
            message: message.into(),
            too_large: false,
        })
    }

    fn malformed(&self) -> Fault {
        Fault {
            path: self.path.clone(),
            message: "is not a message of this type".to_owned(),
            too_large: false,
        }
    }

    /// Takes room for a text.
    fn room(&mut self, bytes: usize) -> Read<()> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(Fault {
                path: Vec::new(),
                message: "is too large as JSON".to_owned(),
                too_large: true,
            }),
        }
    }

    /// Works within a field.
    fn within<T>(&mut self, key: &str, work: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        self.path.push(key.to_owned());
        let done = work(self);
        if done.is_ok() {
            self.path.pop();
        }
        done
    }

    fn fields(&mut self, kind: &MessageDescriptor, bytes: &[u8]) -> Read<Vec<(String, String)>> {
        let mut slots: BTreeMap<u32, (FieldDescriptor, Slot<'_>)> = BTreeMap::new();
        for read in Fields(bytes) {
            let (number, wire) = read.map_err(|Malformed| self.malformed())?;
            if number == 0 {
                continue;
            }
            let Some(field) = kind.get_field(number) else {
                match self.unknown {
                    Unknown::Ignored => continue,
                    Unknown::Refused => {
                        let message = format!(
                            "has a field {number}, which `{}` of this server does not have",
                            kind.full_name()
                        );
                        return self.fault(message);
                    }
                }
            };
            let slot = slots.remove(&number).map(|(_, slot)| slot);
            let name = rest_name(&field).to_owned();
            let slot = self.within(&name, |decoder| decoder.take(&field, slot, wire))?;
            slots.insert(number, (field, slot));
        }
        let mut out = Vec::with_capacity(slots.len());
        for (field, slot) in slots.into_values() {
            let name = rest_name(&field).to_owned();
            if let Some(text) = self.within(&name, |decoder| decoder.text(&field, slot))? {
                out.push((name, text));
            }
        }
        Ok(out)
    }

    fn take<'a>(
        &mut self,
        field: &FieldDescriptor,
        slot: Option<Slot<'a>>,
        wire: Wire<'a>,
    ) -> Read<Slot<'a>> {
        if field.is_map() {
            let Wire::Bytes(entry) = wire else {
                return Err(self.malformed());
            };
            let mut map = match slot {
                Some(Slot::Map(map)) => map,
                _ => BTreeMap::new(),
            };
            let (key, value) = self.entry(entry)?;
            map.insert(key, value);
            return Ok(Slot::Map(map));
        }
        if field.is_list() {
            let mut list = match slot {
                Some(Slot::List(list)) => list,
                _ => String::new(),
            };
            self.items(field, wire, &mut list)?;
            return Ok(Slot::List(list));
        }
        Ok(match (field.kind(), wire) {
            (Kind::Message(_), Wire::Bytes(bytes)) => Slot::Message(match slot {
                Some(Slot::Message(before)) => Cow::Owned([&before, bytes].concat()),
                _ => Cow::Borrowed(bytes),
            }),
            (Kind::Message(_), _) => return Err(self.malformed()),
            _ => Slot::One(wire),
        })
    }

    /// Adds the items of one piece of a list.
    fn items(&mut self, field: &FieldDescriptor, wire: Wire<'_>, list: &mut String) -> Read<()> {
        let packed = matches!(field.kind(), Kind::Enum(_) | Kind::Uint32 | Kind::Uint64);
        let mut add = |decoder: &mut Self, wire| {
            let text = decoder.value(field, wire)?;
            if !list.is_empty() {
                list.push(',');
            }
            list.push_str(&text);
            Ok(())
        };
        let (Wire::Bytes(mut pack), true) = (wire, packed) else {
            return add(self, wire);
        };
        while !pack.is_empty() {
            let item = varint(&mut pack).map_err(|Malformed| self.malformed())?;
            add(self, Wire::Varint(item))?;
        }
        Ok(())
    }

    /// The JSON of a field; none if it holds its default and has no presence.
    fn text(&mut self, field: &FieldDescriptor, slot: Slot<'_>) -> Read<Option<String>> {
        Ok(Some(match slot {
            Slot::One(wire) => {
                if !field.supports_presence() && is_default(wire) {
                    return Ok(None);
                }
                self.value(field, wire)?
            }
            Slot::Message(bytes) => self.value(field, Wire::Bytes(&bytes))?,
            Slot::List(list) => format!("[{list}]"),
            Slot::Map(map) => {
                let Kind::Message(entry) = field.kind() else {
                    return Err(self.malformed());
                };
                let kind = entry.map_entry_value_field();
                let mut out = String::from("{");
                for (key, wire) in map {
                    let text = self.within(key, |decoder| decoder.value(&kind, wire))?;
                    self.member(&mut out, key, &text)?;
                }
                out.push('}');
                out
            }
        }))
    }

    fn member(&mut self, out: &mut String, key: &str, text: &str) -> Read<()> {
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(&self.string(key)?);
        out.push(':');
        out.push_str(text);
        Ok(())
    }

    /// A string as JSON.
    fn string(&mut self, text: &str) -> Read<String> {
        let text = serde_json::to_string(text).expect("a string is JSON");
        self.room(text.len())?;
        Ok(text)
    }

    fn utf8<'a>(&self, bytes: &'a [u8]) -> Read<&'a str> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text),
            Err(error) => self.fault(format!("is not UTF-8 at byte {}", error.valid_up_to())),
        }
    }

    /// One value as JSON.
    fn value(&mut self, field: &FieldDescriptor, wire: Wire<'_>) -> Read<String> {
        let text = match (field.kind(), wire) {
            (Kind::String, Wire::Bytes(bytes)) => {
                let text = self.utf8(bytes)?;
                return self.string(text);
            }
            (Kind::Message(kind), Wire::Bytes(bytes)) => return self.message(&kind, bytes),
            (Kind::Bool, Wire::Varint(value)) => (value != 0).to_string(),
            (Kind::Uint64, Wire::Varint(value)) => value.to_string(),
            (Kind::Uint32, Wire::Varint(value)) => {
                // What is beyond 32 bits is cut off by every reader of the format.
                (value & u64::from(u32::MAX)).to_string()
            }
            (Kind::Double, Wire::Fixed64(bits)) => self.double(f64::from_bits(bits))?,
            (Kind::Enum(kind), Wire::Varint(value)) => {
                let number = i32::try_from(value.cast_signed()).ok();
                match number.and_then(|number| kind.get_value(number)) {
                    Some(value) if value.number() != 0 => format!("\"{}\"", word(&value)),
                    _ => {
                        let values = kind.values().filter(|value| value.number() != 0);
                        let known: Vec<String> =
                            values.map(|value| value.name().to_owned()).collect();
                        let known = known.join(", ");
                        return self.fault(format!(
                            "is {}, which is no value of `{}`; it has {known}",
                            value.cast_signed(),
                            kind.name()
                        ));
                    }
                }
            }
            _ => return Err(self.malformed()),
        };
        self.room(text.len())?;
        Ok(text)
    }

    fn message(&mut self, kind: &MessageDescriptor, bytes: &[u8]) -> Read<String> {
        match kind.full_name() {
            "google.protobuf.Struct" => self.structure(bytes, MAX_DEPTH),
            "google.protobuf.Timestamp" => self.timestamp(bytes),
            "opspawn.v1.Json" => self.json(bytes),
            _ => {
                let mut out = String::from("{");
                for (name, text) in self.fields(kind, bytes)? {
                    self.member(&mut out, &name, &text)?;
                }
                out.push('}');
                Ok(out)
            }
        }
    }

    fn double(&self, value: f64) -> Read<String> {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if !value.is_finite() {
            return self.fault(format!("is {value}, which is no number of JSON"));
        }
        // JSON of most programs says 5 for what a double holds as 5.0.
        Ok(match value.fract() == 0.0 && value.abs() < EXACT {
            true => format!("{value:.0}"),
            false => serde_json::to_string(&value).expect("a finite number is JSON"),
        })
    }

    /// A JSON text: one value, and nothing after it.
    fn json(&mut self, bytes: &[u8]) -> Read<String> {
        let mut text = "";
        for read in Fields(bytes) {
            match read.map_err(|Malformed| self.malformed())? {
                (1, Wire::Bytes(bytes)) => text = self.utf8(bytes)?,
                (1, _) => return Err(self.malformed()),
                _ => {}
            }
        }
        if text.is_empty() {
            return self.fault("has no `text`: give JSON, such as `{}` or `null`");
        }
        self.room(text.len())?;
        match serde_json::from_str::<&RawValue>(text) {
            Ok(raw) => Ok(raw.get().to_owned()),
            Err(error) => self.fault(format!("is not JSON: {error}")),
        }
    }

    fn timestamp(&mut self, bytes: &[u8]) -> Read<String> {
        let (mut seconds, mut nanos) = (0, 0);
        for read in Fields(bytes) {
            match read.map_err(|Malformed| self.malformed())? {
                (1, Wire::Varint(value)) => seconds = value.cast_signed(),
                (2, Wire::Varint(value)) => nanos = value.cast_signed(),
                (1 | 2, _) => return Err(self.malformed()),
                _ => {}
            }
        }
        let time = i32::try_from(nanos)
            .ok()
            .filter(|nanos| (0..1_000_000_000).contains(nanos))
            .and_then(|nanos| jiff::Timestamp::new(seconds, nanos).ok());
        match time {
            Some(time) => self.string(&time.to_string()),
            None => self.fault(format!(
                "is no time: {seconds} s and {nanos} ns; from the year -9999 to 9999, with 0 to 999999999 ns"
            )),
        }
    }

    /// The key and the value of an entry of a map.
    fn entry<'a>(&self, bytes: &'a [u8]) -> Read<(&'a str, Wire<'a>)> {
        let (mut key, mut value) = ("", Wire::Bytes(&[][..]));
        for read in Fields(bytes) {
            match read.map_err(|Malformed| self.malformed())? {
                (1, Wire::Bytes(bytes)) => key = self.utf8(bytes)?,
                (1, _) => return Err(self.malformed()),
                (2, wire) => value = wire,
                _ => {}
            }
        }
        Ok((key, value))
    }

    fn deeper(&self, depth: usize) -> Read<usize> {
        match depth.checked_sub(1) {
            Some(depth) => Ok(depth),
            None => self.fault(format!("is nested deeper than {MAX_DEPTH}")),
        }
    }

    fn structure(&mut self, bytes: &[u8], depth: usize) -> Read<String> {
        let depth = self.deeper(depth)?;
        let mut members = BTreeMap::new();
        for read in Fields(bytes) {
            match read.map_err(|Malformed| self.malformed())? {
                (1, Wire::Bytes(entry)) => {
                    let (key, value) = self.entry(entry)?;
                    members.insert(key, value);
                }
                (1, _) => return Err(self.malformed()),
                _ => {}
            }
        }
        let mut out = String::from("{");
        for (key, wire) in members {
            let Wire::Bytes(bytes) = wire else {
                return Err(self.malformed());
            };
            let text = self.within(key, |decoder| decoder.any(bytes, depth))?;
            self.member(&mut out, key, &text)?;
        }
        out.push('}');
        Ok(out)
    }

    /// A `google.protobuf.Value`. One without a kind is null.
    fn any(&mut self, bytes: &[u8], depth: usize) -> Read<String> {
        let mut last = None;
        for read in Fields(bytes) {
            let (number, wire) = read.map_err(|Malformed| self.malformed())?;
            if (1..=6).contains(&number) {
                last = Some((number, wire));
            }
        }
        let text = match last {
            None | Some((1, Wire::Varint(_))) => "null".to_owned(),
            Some((2, Wire::Fixed64(bits))) => self.double(f64::from_bits(bits))?,
            Some((3, Wire::Bytes(bytes))) => {
                let text = self.utf8(bytes)?;
                return self.string(text);
            }
            Some((4, Wire::Varint(value))) => (value != 0).to_string(),
            Some((5, Wire::Bytes(bytes))) => return self.structure(bytes, depth),
            Some((6, Wire::Bytes(bytes))) => return self.list(bytes, depth),
            Some(_) => return Err(self.malformed()),
        };
        self.room(text.len())?;
        Ok(text)
    }

    fn list(&mut self, bytes: &[u8], depth: usize) -> Read<String> {
        let depth = self.deeper(depth)?;
        let mut out = String::from("[");
        for read in Fields(bytes) {
            match read.map_err(|Malformed| self.malformed())? {
                (1, Wire::Bytes(bytes)) => {
                    if out.len() > 1 {
                        out.push(',');
                    }
                    out.push_str(&self.any(bytes, depth)?);
                }
                (1, _) => return Err(self.malformed()),
                _ => {}
            }
        }
        out.push(']');
        Ok(out)
    }
}

fn is_default(wire: Wire<'_>) -> bool {
    match wire {
        Wire::Varint(value) | Wire::Fixed64(value) => value == 0,
        Wire::Fixed32(value) => value == 0,
        Wire::Bytes(bytes) => bytes.is_empty(),
    }
}

#[cfg(test)]
mod tests;
