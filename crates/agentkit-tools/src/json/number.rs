//! Numbers as they are written, compared by their exact value.

use std::{cmp::Ordering, fmt};

use serde_json::Value;

/// Exponents beyond this are taken for this: no two numbers that anybody writes differ by it.
const MAX_EXPONENT: i64 = 1_000_000_000_000_000;

/// A number of any size. Equality and order are those of the values: `1.50` is `1.5`.
#[derive(Debug, Clone)]
pub(crate) enum Number {
    Small(i64),
    /// The digits as they are written, in the grammar of JSON.
    Long(Box<str>),
}

impl Number {
    /// Takes text in the grammar of a JSON number.
    pub(crate) fn read(text: &str) -> Self {
        match text.parse() {
            Ok(small) => Self::Small(small),
            Err(_) => Self::Long(text.into()),
        }
    }

    /// The number as JSON, if `Value` holds exactly this one.
    pub(crate) fn to_value(&self) -> Option<Value> {
        let text = match self {
            Self::Small(small) => return Some((*small).into()),
            Self::Long(text) => text,
        };
        if let Ok(whole) = text.parse::<u64>() {
            return Some(whole.into());
        }
        let near = serde_json::Number::from_f64(text.parse().ok()?)?;
        let same = Decimal::of(&near.to_string()).compare(&Decimal::of(text)) == Ordering::Equal;
        same.then_some(Value::Number(near))
    }

    /// How many bytes its text has, about.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Small(_) => 8,
            Self::Long(text) => text.len(),
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Small(small) => small.fmt(f),
            Self::Long(text) => f.write_str(text),
        }
    }
}

impl From<usize> for Number {
    fn from(count: usize) -> Self {
        i64::try_from(count).map_or_else(|_| Self::Long(count.to_string().into()), Self::Small)
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Small(left), Self::Small(right)) => left.cmp(right),
            (Self::Long(left), Self::Long(right)) => Decimal::of(left).compare(&Decimal::of(right)),
            (Self::Small(left), Self::Long(right)) => {
                Decimal::of(&left.to_string()).compare(&Decimal::of(right))
            }
            (Self::Long(left), Self::Small(right)) => {
                Decimal::of(left).compare(&Decimal::of(&right.to_string()))
            }
        }
    }
}

/// A number taken apart: `0.DIGITS * 10^top`, where the first digit is not 0.
struct Decimal<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    /// So many digits of both are zeros in front; all of them for zero.
    zeros: usize,
    top: i64,
}

impl<'a> Decimal<'a> {
    fn of(text: &'a str) -> Self {
        let (negative, text) = match text.strip_prefix('-') {
            Some(text) => (true, text),
            None => (false, text),
        };
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, self::exponent(exponent)),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = whole.bytes().chain(fraction.bytes());
        let zeros = digits.take_while(|digit| *digit == b'0').count();
        let length = |digits: usize| i64::try_from(digits).unwrap_or(MAX_EXPONENT);
        Self {
            negative,
            whole,
            fraction,
            zeros,
            top: length(whole.len()) - length(zeros) + exponent,
        }
    }

    fn is_zero(&self) -> bool {
        self.zeros == self.whole.len() + self.fraction.len()
    }

    fn digits(&self) -> impl Iterator<Item = u8> + '_ {
        let digits = self.whole.bytes().chain(self.fraction.bytes());
        digits.skip(self.zeros)
    }

    fn compare(&self, other: &Self) -> Ordering {
        let sign = |number: &Self| match (number.is_zero(), number.negative) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => -1,
        };
        let (left, right) = (sign(self), sign(other));
        if left != right || left == 0 {
            return left.cmp(&right);
        }
        let size = self
            .top
            .cmp(&other.top)
            .then_with(|| self.compare_digits(other));
        if self.negative { size.reverse() } else { size }
    }

    fn compare_digits(&self, other: &Self) -> Ordering {
        let (mut left, mut right) = (self.digits(), other.digits());
        loop {
            match (left.next(), right.next()) {
                (None, None) => return Ordering::Equal,
                (left, right) => match left.unwrap_or(b'0').cmp(&right.unwrap_or(b'0')) {
                    Ordering::Equal => {}
                    unequal => return unequal,
                },
            }
        }
    }
}

fn exponent(text: &str) -> i64 {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let size = digits.parse().unwrap_or(MAX_EXPONENT).min(MAX_EXPONENT);
    if negative { -size } else { size }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_compared_by_their_exact_value() {
        for (left, order, right) in [
            ("1", Ordering::Equal, "1.0"),
            ("1.50", Ordering::Equal, "1.5"),
            ("100", Ordering::Equal, "1e2"),
            ("0.01", Ordering::Equal, "1E-2"),
            ("0", Ordering::Equal, "-0.0e5"),
            ("9007199254740993", Ordering::Greater, "9007199254740992.0"),
            (
                "12345678901234567890123",
                Ordering::Less,
                "12345678901234567890124",
            ),
            (
                "-12345678901234567890123",
                Ordering::Greater,
                "-12345678901234567890124",
            ),
            ("0.1", Ordering::Less, "0.10000000000000000000000000001"),
            ("1e400", Ordering::Greater, "1e399"),
            ("-1e400", Ordering::Less, "-1e399"),
            ("1e400", Ordering::Equal, "0.1e401"),
            ("1e-400", Ordering::Greater, "0"),
            ("-1", Ordering::Less, "0"),
            ("8.95", Ordering::Less, "10"),
            ("-8.95", Ordering::Greater, "-10"),
            ("1e99999999999999999999", Ordering::Greater, "1e5"),
        ] {
            assert_eq!(
                Number::read(left).cmp(&Number::read(right)),
                order,
                "{left} {right}"
            );
            assert_eq!(
                Number::read(right).cmp(&Number::read(left)),
                order.reverse()
            );
        }
    }

    #[test]
    fn a_number_is_given_as_one_only_where_it_stays_itself() {
        for (text, expected) in [
            ("7", Some("7")),
            ("-0", Some("0")),
            ("18446744073709551615", Some("18446744073709551615")),
            ("18446744073709551616", None),
            ("0.10", Some("0.1")),
            ("1.5e3", Some("1500.0")),
            ("18446744073709551617", None),
            ("0.1000000000000000055511151231257827", None),
            ("1e400", None),
            ("1e-400", None),
        ] {
            let value = Number::read(text).to_value().map(|value| value.to_string());
            assert_eq!(value.as_deref().is_some(), expected.is_some(), "{text}");
            if let (Some(value), Some(expected)) = (value, expected) {
                assert_eq!(Number::read(&value), Number::read(expected), "{text}");
            }
        }
    }

    proptest! {
        #[test]
        fn small_numbers_have_the_order_of_integers(
            left in -2000_i64..2000, right in -2000_i64..2000, scale in 0_i32..4,
        ) {
            let decimal = |value: i64| Number::read(&format!("{value}e-{scale}"));
            prop_assert_eq!(decimal(left).cmp(&decimal(right)), left.cmp(&right));
            let plain = Number::read(&left.to_string());
            let padded = Number::read(&format!("{left}.000"));
            prop_assert_eq!(plain.cmp(&padded), Ordering::Equal);
        }
    }
}
