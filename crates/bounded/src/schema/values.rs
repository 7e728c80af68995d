//! JSON values as JSON Schema compares them: numbers by what they are worth, however written.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
};

use serde_json::{Number, Value};

/// The largest float below which every whole number is exact.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Whether a number has no fraction: `3.0` has none.
pub(super) fn is_whole(number: &Number) -> bool {
    integer(number).is_some() || number.as_f64().is_some_and(|float| float.fract() == 0.0)
}

/// A number written without a fraction or an exponent.
pub(super) fn integer(number: &Number) -> Option<i128> {
    let signed = number.as_i64().map(i128::from);
    signed.or_else(|| number.as_u64().map(i128::from))
}

/// A number as an integer, if its value is whole and a float of the value would be exact.
pub(super) fn exact(number: &Number) -> Option<i128> {
    let float = || number.as_f64().filter(|float| float.abs() <= EXACT);
    let whole = |float: f64| (float.fract() == 0.0).then_some(float as i128);
    integer(number).or_else(|| whole(float()?))
}

pub(super) fn compare(one: &Number, two: &Number) -> Ordering {
    let float = |number: &Number| number.as_f64().unwrap_or(f64::NAN);
    match (integer(one), integer(two)) {
        (Some(one), Some(two)) => one.cmp(&two),
        (Some(one), None) => against(one, float(two)),
        (None, Some(two)) => against(two, float(one)).reverse(),
        (None, None) => float(one)
            .partial_cmp(&float(two))
            .unwrap_or(Ordering::Equal),
    }
}

/// An integer of 65 bits at most against a float.
fn against(integer: i128, float: f64) -> Ordering {
    // Beyond this no integer of JSON is as large, and the float would not fit an `i128`.
    if float.abs() > 1e30 {
        return if float > 0.0 {
            Ordering::Less
        } else {
            Ordering::Greater
        };
    }
    integer
        .cmp(&(float.floor() as i128))
        .then(if float.fract() == 0.0 {
            Ordering::Equal
        } else {
            Ordering::Less
        })
}

/// A value that is equal to another one by what it stands for: `1` is `1.0`.
#[derive(Clone, Copy)]
pub(super) struct Same<'a>(pub(super) &'a Value);

impl PartialEq for Same<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self.0, other.0) {
            (Value::Number(one), Value::Number(two)) => compare(one, two) == Ordering::Equal,
            (Value::Array(one), Value::Array(two)) => {
                one.len() == two.len() && one.iter().zip(two).all(|(a, b)| Same(a) == Same(b))
            }
            (Value::Object(one), Value::Object(two)) => {
                let equal =
                    |(key, a): (&String, &Value)| two.get(key).is_some_and(|b| Same(a) == Same(b));
                one.len() == two.len() && one.iter().all(equal)
            }
            (one, two) => one == two,
        }
    }
}

impl Eq for Same<'_> {}

impl Hash for Same<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self.0).hash(state);
        match self.0 {
            Value::Null => {}
            Value::Bool(value) => value.hash(state),
            Value::String(text) => text.hash(state),
            Value::Number(number) => match exact(number) {
                Some(integer) => integer.hash(state),
                // Equal numbers beyond that have the same nearest float.
                None => number.as_f64().map(f64::to_bits).hash(state),
            },
            Value::Array(items) => {
                items.len().hash(state);
                items.iter().for_each(|item| Same(item).hash(state));
            }
            Value::Object(members) => {
                members.len().hash(state);
                // The order of members says nothing.
                let of_member = |(key, value): (&String, &Value)| {
                    let mut own = std::hash::DefaultHasher::new();
                    (key, Same(value)).hash(&mut own);
                    own.finish()
                };
                let sum = members.iter().map(of_member);
                sum.fold(0_u64, u64::wrapping_add).hash(state);
            }
        }
    }
}

/// What it costs to look at every part of a value, in steps: one for each part, and one for each 32
/// bytes of text. It stops counting at `most`.
pub(super) fn weight(value: &Value, most: u64) -> u64 {
    let text = |text: &str| 1 + text.len() as u64 / 32;
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
        Value::String(string) => text(string),
        Value::Array(items) => items.iter().fold(1, |sum, item| match sum < most {
            true => sum + weight(item, most - sum),
            false => sum,
        }),
        Value::Object(members) => members
            .iter()
            .fold(1, |sum, (key, member)| match sum < most {
                true => sum + text(key) + weight(member, most - sum),
                false => sum,
            }),
    }
}

/// The beginning of a value's JSON, for a message.
pub(super) struct Shown<'a>(pub(super) &'a Value);

/// Bytes of a value that a message shows.
const EXCERPT_LIMIT: usize = 120;

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut start = Start(Vec::with_capacity(EXCERPT_LIMIT + 4));
        // An error is the end of what is shown.
        let whole = serde_json::to_writer(&mut start, self.0).is_ok();
        let mut text = String::from_utf8_lossy(&start.0).into_owned();
        if !whole {
            // A character that was cut in two.
            while text.ends_with(char::REPLACEMENT_CHARACTER) {
                text.pop();
            }
            text.push_str("...");
        }
        f.write_str(&text)
    }
}

/// Takes the first bytes and refuses the others, so that showing a large value costs little.
struct Start(Vec<u8>);

impl std::io::Write for Start {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let room = EXCERPT_LIMIT.saturating_sub(self.0.len());
        if room == 0 && !bytes.is_empty() {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        let taken = bytes.len().min(room);
        self.0.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hash(value: &Value) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        Same(value).hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn numbers_are_what_they_are_worth() {
        for (one, two) in [
            (json!(1), json!(1.0)),
            (json!(-0.0), json!(0)),
            (json!({"a": [1, {"b": 2.0}]}), json!({"a": [1.0, {"b": 2}]})),
            (json!(u64::MAX), json!(u64::MAX)),
            (json!(1e300), json!(1e300)),
        ] {
            assert!(Same(&one) == Same(&two), "{one} {two}");
            assert_eq!(hash(&one), hash(&two), "{one} {two}");
        }
        for (one, two) in [
            (json!(1), json!(true)),
            (json!(0), json!(false)),
            (json!("1"), json!(1)),
            (
                json!(9_007_199_254_740_993_u64),
                json!(9_007_199_254_740_992_u64),
            ),
            (json!([1, 2]), json!([2, 1])),
            (json!({"a": 1}), json!({"a": 1, "b": null})),
        ] {
            assert!(Same(&one) != Same(&two), "{one} {two}");
        }
        let order = |one: Value, two: Value| match (one, two) {
            (Value::Number(one), Value::Number(two)) => compare(&one, &two),
            _ => panic!("numbers"),
        };
        assert_eq!(order(json!(2), json!(2.5)), Ordering::Less);
        assert_eq!(order(json!(-2), json!(-2.5)), Ordering::Greater);
        assert_eq!(order(json!(-2.5), json!(-2)), Ordering::Less);
        assert_eq!(order(json!(u64::MAX), json!(1e300)), Ordering::Less);
        assert_eq!(order(json!(-1e300), json!(i64::MIN)), Ordering::Less);
        let above = json!(9_007_199_254_740_993_u64);
        assert_eq!(
            order(above, json!(9_007_199_254_740_992.0)),
            Ordering::Greater
        );
    }

    #[test]
    fn a_large_value_is_shown_by_its_beginning() {
        assert_eq!(
            Shown(&json!({"a": [1, "x"]})).to_string(),
            r#"{"a":[1,"x"]}"#
        );
        let shown = Shown(&json!("ä".repeat(1_000_000))).to_string();
        assert!(shown.len() <= EXCERPT_LIMIT + 4, "{shown}");
        assert!(
            shown.starts_with("\"ää") && shown.ends_with("ä..."),
            "{shown}"
        );
    }
}
