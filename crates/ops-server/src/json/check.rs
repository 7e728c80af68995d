//! Is it JSON, all of it? Depth, escapes and numbers included.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// How deep arrays and objects may lie in each other.
pub(crate) const MAX_DEPTH: usize = 64;

/// Why a text is not taken as JSON.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct JsonError {
    /// A sentence with the line and the column.
    pub message: String,
    /// Whether the text is JSON, but too deep.
    pub too_deep: bool,
}

const TOO_DEEP: &str = "arrays and objects are nested deeper than 64";

/// Checks a text: afterwards each part of it parses. It builds nothing and recurses at most
/// [`MAX_DEPTH`] levels.
///
/// # Errors
/// Where and why it is not taken.
pub(crate) fn check(text: &str) -> Result<(), JsonError> {
    let mut reader = serde_json::Deserializer::from_str(text);
    Whole { left: MAX_DEPTH }
        .deserialize(&mut reader)
        .and_then(|()| reader.end())
        .map_err(|error| {
            let message = error.to_string();
            JsonError {
                too_deep: message.starts_with(TOO_DEEP),
                message,
            }
        })
}

/// Visits a value and the values in it.
#[derive(Clone, Copy)]
struct Whole {
    left: usize,
}

impl Whole {
    fn inside<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.left.checked_sub(1) {
            Some(left) => Ok(Self { left }),
            None => Err(E::custom(TOO_DEEP)),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Whole {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Whole {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let inside = self.inside::<A::Error>()?;
        while seq.next_element_seed(inside)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let inside = self.inside()?;
        while map.next_key_seed(inside)?.is_some() {
            map.next_value_seed(inside)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_passes_can_be_parsed() {
        for good in [
            "{}",
            "[1, -2, 3.5e10, \"\\u00e9\\ud83d\\ude00\", null, true, {\"a\": []}]",
            " 1 ",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, says) in [
            ("", "EOF while parsing a value at line 1 column 0"),
            ("{\"a\": 1,}", "trailing comma at line 1 column 9"),
            ("{\n\"a\" 1}", "expected `:` at line 2 column 5"),
            ("{} {}", "trailing characters at line 1 column 4"),
            (
                "\"\\ud800\"",
                "unexpected end of hex escape at line 1 column 8",
            ),
            ("{\"a\": 1e999}", "number out of range at line 1 column 11"),
            ("NaN", "expected value at line 1 column 1"),
        ] {
            let fault = check(bad).unwrap_err();
            assert!(!fault.too_deep);
            assert_eq!(fault.message, says, "{bad}");
        }
    }

    #[test]
    fn depth_ends_at_64() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(check(&nested(MAX_DEPTH)), Ok(()));
        let fault = check(&nested(MAX_DEPTH + 1)).unwrap_err();
        assert!(fault.too_deep, "{fault:?}");
        assert!(check(&"[".repeat(1_000_000)).unwrap_err().too_deep);
    }
}
