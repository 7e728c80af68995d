//! Messages within bounds of memory.
//!
//! A message of 8 MiB may list 20,000 tools, of which 2,000 are used. As values, all of them take 160 MB, however soon
//! the list is cut afterwards. So the items that are too many are skipped while the message is read, and they count
//! for nothing: a list that is too long costs its end, not the server.

use std::{cell::Cell, fmt};

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Value};

use super::MAX_ITEMS;

/// Lists directly below `result`.
const LISTS: [&str; 4] = ["tools", "prompts", "resources", "resourceTemplates"];

/// Why bytes give no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// They are no JSON.
    Invalid,
    /// They have more values than a message may.
    TooComplex,
}

/// The message in JSON text, with `MAX_ITEMS` and one more items of a list, so that a longer list is seen to be longer.
pub(super) fn message(text: &[u8], most_values: usize) -> Result<Value, Refused> {
    let left = Cell::new(Some(most_values));
    let mut reader = serde_json::Deserializer::from_slice(text);
    let seed = Part {
        left: &left,
        level: Level::Top,
    };
    let read = seed.deserialize(&mut reader);
    match read.and_then(|value| reader.end().map(|()| value)) {
        Ok(value) => Ok(value),
        Err(_) if left.get().is_none() => Err(Refused::TooComplex),
        Err(_) => Err(Refused::Invalid),
    }
}

#[derive(Clone, Copy)]
enum Level {
    /// The message, or a batch.
    Top,
    Result,
    List,
    Below,
}

#[derive(Clone, Copy)]
struct Part<'a> {
    /// Values that may still come; `None` after one too many.
    left: &'a Cell<Option<usize>>,
    level: Level,
}

impl Part<'_> {
    fn at(self, level: Level) -> Self {
        Self { level, ..self }
    }
}

impl<'de> DeserializeSeed<'de> for Part<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        let left = self.left.get().and_then(|left| left.checked_sub(1));
        self.left.set(left);
        match left {
            Some(_) => reader.deserialize_any(self),
            None => Err(D::Error::custom("too many values")),
        }
    }
}

impl<'de> Visitor<'de> for Part<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let (most, below) = match self.level {
            Level::Top => (usize::MAX, Level::Top),
            Level::List => (MAX_ITEMS + 1, Level::Below),
            Level::Result | Level::Below => (usize::MAX, Level::Below),
        };
        let mut read = Vec::new();
        while read.len() < most {
            match items.next_element_seed(self.at(below))? {
                Some(item) => read.push(item),
                None => return Ok(Value::Array(read)),
            }
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Array(read))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut read = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let level = match self.level {
                Level::Top if name == "result" => Level::Result,
                Level::Result if LISTS.contains(&name.as_str()) => Level::List,
                Level::Top | Level::Result | Level::List | Level::Below => Level::Below,
            };
            let value = fields.next_value_seed(self.at(level))?;
            read.insert(name, value);
        }
        Ok(Value::Object(read))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn listed(name: &str, items: usize, values: usize) -> String {
        let item = json!({"name": "x", "inputSchema": vec![0; values]}).to_string();
        let items = vec![item; items].join(",");
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"{name}":[{items}],"nextCursor":"2"}}}}"#)
    }

    /// Twenty thousand tools, which have more values together than a message may have.
    #[test]
    fn a_list_that_is_too_long_costs_its_end() {
        for name in LISTS {
            let read = message(listed(name, 20_000, 30).as_bytes(), 400_000).unwrap();
            let result = &read["result"];
            assert_eq!(result[name].as_array().unwrap().len(), MAX_ITEMS + 1);
            assert_eq!(result["nextCursor"], "2", "what follows the list is read");
        }
        let content = message(listed("content", 20_000, 30).as_bytes(), 400_000);
        assert_eq!(content, Err(Refused::TooComplex));
        let content = message(listed("content", 3_000, 0).as_bytes(), 400_000).unwrap();
        assert_eq!(
            content["result"]["content"].as_array().unwrap().len(),
            3_000
        );
        // Only a list of a server's own: what a tool gives is left as it is.
        let inside = format!(
            r#"{{"result":{{"structuredContent":{}}}}}"#,
            listed("tools", 3_000, 0)
        );
        let read = message(inside.as_bytes(), 400_000).unwrap();
        let tools = &read["result"]["structuredContent"]["result"]["tools"];
        assert_eq!(tools.as_array().unwrap().len(), 3_000);
    }

    #[test]
    fn what_is_skipped_has_to_be_json() {
        let cut = listed("tools", 3_000, 1).replace("\"nextCursor\"", "nextCursor");
        assert_eq!(message(cut.as_bytes(), 400_000), Err(Refused::Invalid));
        assert_eq!(message(b"{} {}", 10), Err(Refused::Invalid));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        let key = prop_oneof![
            Just("result".to_owned()),
            Just("tools".to_owned()),
            ".{0,4}"
        ];
        leaf.prop_recursive(4, 40, 6, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::btree_map(key.clone(), inner, 0..6)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// What is within the bounds is read as serde_json reads it.
        #[test]
        fn small_messages_are_read_whole(value in value()) {
            let text = value.to_string();
            let plain: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(message(text.as_bytes(), 1_000), Ok(plain));
        }
    }
}
