//! JSON of the routes as messages, by their descriptors. A member that a message does not have is left out; a test holds
//! the messages against the schemas of REST.

use std::fmt;

use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::names::{number, rest_name};

/// How deep arrays and objects of a Struct lie in each other. Readers give up at 100 messages within each other, and
/// an object takes three. What is deeper is a string with its JSON.
const MAX_DEPTH: usize = 30;

/// An answer of the routes that does not fit its message: a defect.
#[derive(Debug)]
pub(crate) struct Unfit(String);

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<serde_json::Error> for Unfit {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

/// Writes a JSON object as a message. Lists of messages end where the message would have more than `max_bytes`.
///
/// # Errors
/// If the JSON does not fit the message.
pub(crate) fn message(
    kind: &MessageDescriptor,
    json: &str,
    max_bytes: usize,
) -> Result<Vec<u8>, Unfit> {
    let mut out = Vec::with_capacity(json.len().min(max_bytes));
    let encoder = Encoder { max_bytes };
    encoder.message(kind, json, &mut out)?;
    Ok(out)
}

struct Encoder {
    max_bytes: usize,
}

type Written = Result<(), Unfit>;

/// The members of an object, in order, as their texts.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Reader)
    }
}

impl Encoder {
    fn message(&self, kind: &MessageDescriptor, json: &str, out: &mut Vec<u8>) -> Written {
        match kind.full_name() {
            "google.protobuf.Struct" => return structure(json, MAX_DEPTH, out),
            "google.protobuf.Timestamp" => {
                return timestamp(&serde_json::from_str::<String>(json)?, out);
            }
            "opspawn.v1.Json" => {
                bytes(1, json.as_bytes(), out);
                return Ok(());
            }
            _ => {}
        }
        let Members(members) = serde_json::from_str(json)?;
        for (name, value) in members {
            let mut fields = kind.fields();
            let Some(field) = fields.find(|field| rest_name(field) == name) else {
                continue;
            };
            self.field(&field, value.get(), out)
                .map_err(|Unfit(error)| Unfit(format!("{name}: {error}")))?;
        }
        Ok(())
    }

    fn field(&self, field: &FieldDescriptor, json: &str, out: &mut Vec<u8>) -> Written {
        if json == "null" {
            // REST says no more of a missing value, also where any JSON may stand.
            return Ok(());
        }
        if field.is_map() {
            let Kind::Message(entry) = field.kind() else {
                return Err(Unfit("a map without entries".to_owned()));
            };
            let value = entry.map_entry_value_field();
            let Members(members) = serde_json::from_str(json)?;
            for (key, json) in members {
                let mut inner = Vec::new();
                bytes(1, key.as_bytes(), &mut inner);
                self.value(&value, json.get(), &mut inner)?;
                bytes(field.number(), &inner, out);
            }
            return Ok(());
        }
        if field.is_list() {
            for json in serde_json::from_str::<Vec<&RawValue>>(json)? {
                let before = out.len();
                self.value(field, json.get(), out)?;
                if out.len() > self.max_bytes {
                    out.truncate(before);
                    break;
                }
            }
            return Ok(());
        }
        self.value(field, json, out)
    }

    /// One value with its key. Items of a list are written one by one, which every reader takes.
    fn value(&self, field: &FieldDescriptor, json: &str, out: &mut Vec<u8>) -> Written {
        let tag = field.number();
        match field.kind() {
            Kind::String => bytes(tag, serde_json::from_str::<String>(json)?.as_bytes(), out),
            Kind::Bool => varint(tag, u64::from(serde_json::from_str::<bool>(json)?), out),
            Kind::Uint64 => varint(tag, serde_json::from_str(json)?, out),
            Kind::Uint32 => {
                let value = serde_json::from_str::<u64>(json)?;
                varint(tag, value.min(u64::from(u32::MAX)), out);
            }
            Kind::Int32 => {
                let value = serde_json::from_str::<i64>(json)?;
                let value = value.clamp(i64::from(i32::MIN), i64::from(i32::MAX));
                varint(tag, value.cast_unsigned(), out);
            }
            Kind::Double => double(tag, serde_json::from_str(json)?, out),
            Kind::Enum(kind) => {
                let number = number(&kind, &serde_json::from_str::<String>(json)?);
                varint(tag, i64::from(number).cast_unsigned(), out);
            }
            Kind::Message(kind) => {
                let mut inner = Vec::new();
                self.message(&kind, json, &mut inner)?;
                bytes(tag, &inner, out);
            }
            other => return Err(Unfit(format!("no field of ours is {other:?}"))),
        }
        Ok(())
    }
}

fn varint(tag: u32, value: u64, out: &mut Vec<u8>) {
    encode_key(tag, WireType::Varint, out);
    encode_varint(value, out);
}

fn double(tag: u32, value: f64, out: &mut Vec<u8>) {
    encode_key(tag, WireType::SixtyFourBit, out);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Bytes with their key.
pub(crate) fn bytes(tag: u32, value: &[u8], out: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

fn timestamp(text: &str, out: &mut Vec<u8>) -> Written {
    let time: jiff::Timestamp = text
        .parse()
        .map_err(|error| Unfit(format!("{text} is no time: {error}")))?;
    // Nanoseconds count from the second before, also for times before 1970.
    let nanos = i64::from(time.subsec_nanosecond());
    let (seconds, nanos) = match nanos < 0 {
        true => (time.as_second() - 1, nanos + 1_000_000_000),
        false => (time.as_second(), nanos),
    };
    if seconds != 0 {
        varint(1, seconds.cast_unsigned(), out);
    }
    if nanos != 0 {
        varint(2, nanos.cast_unsigned(), out);
    }
    Ok(())
}

/// The members of a `google.protobuf.Struct`.
fn structure(json: &str, depth: usize, out: &mut Vec<u8>) -> Written {
    let Members(members) = serde_json::from_str(json)?;
    for (key, json) in members {
        let mut entry = Vec::new();
        bytes(1, key.as_bytes(), &mut entry);
        let mut value = Vec::new();
        any(json.get(), depth, &mut value)?;
        bytes(2, &value, &mut entry);
        bytes(1, &entry, out);
    }
    Ok(())
}

/// A `google.protobuf.Value`.
fn any(json: &str, depth: usize, out: &mut Vec<u8>) -> Written {
    match (json.as_bytes().first(), depth.checked_sub(1)) {
        (Some(b'{' | b'['), None) => bytes(3, json.as_bytes(), out),
        (Some(b'{'), Some(depth)) => {
            let mut inner = Vec::new();
            structure(json, depth, &mut inner)?;
            bytes(5, &inner, out);
        }
        (Some(b'['), Some(depth)) => {
            let mut list = Vec::new();
            for json in serde_json::from_str::<Vec<&RawValue>>(json)? {
                let mut item = Vec::new();
                any(json.get(), depth, &mut item)?;
                bytes(1, &item, &mut list);
            }
            bytes(6, &list, out);
        }
        (Some(b'"'), _) => bytes(3, serde_json::from_str::<String>(json)?.as_bytes(), out),
        (Some(b't' | b'f'), _) => varint(4, u64::from(json == "true"), out),
        (Some(b'n'), _) => varint(1, 0, out),
        _ => match serde_json::from_str::<f64>(json) {
            Ok(number) => double(2, number, out),
            // Beyond what a double holds.
            Err(_) => bytes(3, json.as_bytes(), out),
        },
    }
    Ok(())
}

#[cfg(test)]
mod tests;
