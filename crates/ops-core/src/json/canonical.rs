//! One text for each JSON value, so that equal requests have equal digests.
//!
//! The form is not that of RFC 8785, which is for definitions and arguments: there 1 and 1.0 are the same.

use std::{borrow::Cow, fmt, io};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Writes a JSON text with sorted keys and without space. If an object has a key twice, the last value
/// counts. `keep` chooses the fields of the outermost object.
///
/// Memory holds one list of fields for each level of nesting, and never a tree.
///
/// # Errors
/// An error of the text or of the writer.
pub fn canonical(
    out: &mut dyn io::Write,
    text: &str,
    keep: &dyn Fn(&str, &RawValue) -> bool,
) -> serde_json::Result<()> {
    match text.trim_start().as_bytes().first() {
        Some(b'{') => {
            let mut fields = serde_json::from_str::<Object<'_>>(text)?.0;
            fields.retain(|(key, value)| keep(key, value));
            object(out, fields)
        }
        Some(b'[') => {
            let items = Items { out, first: true };
            serde_json::Deserializer::from_str(text).deserialize_seq(items)
        }
        Some(b'"') => {
            let text: Cow<'_, str> = serde_json::from_str::<Key<'_>>(text)?.0;
            serde_json::to_writer(out, &text)
        }
        _ => {
            // Numbers are written as they are read: 1.0 and 1 are two values, as 1 and "1" are.
            let value: serde_json::Value = serde_json::from_str(text)?;
            serde_json::to_writer(out, &value)
        }
    }
}

fn all(_: &str, _: &RawValue) -> bool {
    true
}

/// A key of an object, borrowed from the text unless it has escapes.
pub struct Key<'a>(pub Cow<'a, str>);

impl<'a> Deserialize<'a> for Key<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'a> Visitor<'a> for Text {
            type Value = Cow<'a, str>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, text: &'a str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }
        deserializer.deserialize_str(Text).map(Key)
    }
}

fn object(
    out: &mut dyn io::Write,
    mut fields: Vec<(Cow<'_, str>, &RawValue)>,
) -> serde_json::Result<()> {
    // Stable, so that of equal keys the last one is the last.
    fields.sort_by(|(one, _), (other, _)| one.cmp(other));
    let io = serde_json::Error::io;
    out.write_all(b"{").map_err(io)?;
    let mut first = true;
    for (index, (key, value)) in fields.iter().enumerate() {
        if fields.get(index + 1).is_some_and(|(next, _)| next == key) {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.write_all(b",").map_err(io)?;
        }
        serde_json::to_writer(&mut *out, key)?;
        out.write_all(b":").map_err(io)?;
        canonical(out, value.get(), &all)?;
    }
    out.write_all(b"}").map_err(io)
}

/// The fields of an object in their order, the values as text.
struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Deserialize<'a> for Object<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        struct Take;
        impl<'a> Visitor<'a> for Take {
            type Value = Object<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some((Key(key), value)) = map.next_entry()? {
                    fields.push((key, value));
                }
                Ok(Object(fields))
            }
        }
        deserializer.deserialize_map(Take)
    }
}

/// Writes the items of an array as they are read.
struct Items<'w> {
    out: &'w mut dyn io::Write,
    first: bool,
}

impl<'a> Visitor<'a> for Items<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'a>>(mut self, mut seq: A) -> Result<(), A::Error> {
        use serde::de::Error as _;
        let write = |out: &mut dyn io::Write, bytes: &[u8]| out.write_all(bytes);
        write(self.out, b"[").map_err(A::Error::custom)?;
        while let Some(item) = seq.next_element::<&RawValue>()? {
            if !std::mem::take(&mut self.first) {
                write(self.out, b",").map_err(A::Error::custom)?;
            }
            canonical(self.out, item.get(), &all).map_err(A::Error::custom)?;
        }
        write(self.out, b"]").map_err(A::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn text(of: &str) -> String {
        let mut out = Vec::new();
        canonical(&mut out, of, &all).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn order_and_space_do_not_matter() {
        let one = r#" {"b": [1, {"y": 1, "x": "\u0041"} ,1.50], "a": null, "b\n": [], "c": {}} "#;
        let expected = r#"{"a":null,"b":[1,{"x":"A","y":1},1.5],"b\n":[],"c":{}}"#;
        assert_eq!(text(one), expected);
    }

    #[test]
    fn of_a_key_that_is_given_twice_the_last_counts() {
        assert_eq!(text(r#"{"a":1,"b":2,"\u0061":3}"#), r#"{"a":3,"b":2}"#);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(|number| json!(number)),
            ".{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::btree_map(".{0,4}", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_tree_and_its_text_agree(value in value()) {
            // Maps are sorted, so the compact text of a tree is canonical.
            let compact = serde_json::to_string(&value).unwrap();
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(&text(&pretty), &compact);
            prop_assert_eq!(text(&compact), compact);
        }
    }
}
