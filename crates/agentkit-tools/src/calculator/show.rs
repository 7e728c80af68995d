//! Results as text: exactly where that is short enough, else the digits that are certain.

use dashu_float::DBig;
use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use super::number::Number;

/// The most digits of a result that is shown exactly.
const MAX_EXACT: usize = 1000;
/// How many digits are shown of one that is not.
const DIGITS: usize = 34;
/// Zeros that are written out before or after the digits; for more there is an exponent.
const MAX_ZEROS: i64 = 20;

/// A result as it is shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) text: String,
    /// How many of its digits are right, if it is not the exact value.
    pub(super) digits: Option<usize>,
}

pub(super) fn show(number: &Number) -> Shown {
    match number {
        Number::Exact(value) => exactly(value).map_or_else(
            || rounded(&value.to_float(DIGITS).value(), DIGITS),
            |text| Shown { text, digits: None },
        ),
        Number::Near(near) => rounded(near.middle(), near.certain().min(DIGITS)),
    }
}

/// The whole value, if its decimal ends soon enough.
fn exactly(value: &RBig) -> Option<String> {
    let mut rest = value.denominator().clone();
    let twos = rest.trailing_zeros().unwrap_or(0);
    rest >>= twos;
    let fives = rest.remove(&UBig::from(5_u8)).unwrap_or(0);
    if rest != UBig::ONE {
        return None;
    }
    let places = twos.max(fives);
    let scale = UBig::from(10_u8).pow(places);
    let digits = value.numerator() * IBig::from(scale / value.denominator());
    let (negative, digits) = (digits < IBig::ZERO, digits.to_string());
    let digits = digits.trim_start_matches('-');
    if digits.trim_end_matches('0').len() > MAX_EXACT {
        return None;
    }
    let places = i64::try_from(places).ok()?;
    Some(written(negative, digits, -places, MAX_EXACT))
}

fn rounded(value: &DBig, digits: usize) -> Shown {
    let text = if digits == 0 {
        // It cannot be told from zero.
        "0".to_owned()
    } else {
        let value = value.clone().with_precision(digits).value();
        let (significand, exponent) = value.into_repr().into_parts();
        let negative = significand < IBig::ZERO;
        let significand = significand.to_string();
        let significand = significand.trim_start_matches('-');
        written(negative, significand, exponent as i64, digits)
    };
    Shown {
        text,
        digits: Some(digits),
    }
}

/// `digits * 10^exponent`. A whole number has at most `most` digits, so that none is made up.
fn written(negative: bool, digits: &str, exponent: i64, most: usize) -> String {
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return "0".to_owned();
    }
    let exponent = exponent + (digits.len() - significant.len()) as i64;
    let sign = if negative { "-" } else { "" };
    let length = significant.len() as i64;
    // Where the point is, from the first digit on.
    let point = length + exponent;
    if point > most as i64 || point < -MAX_ZEROS {
        let (first, more) = significant.split_at(1);
        let dot = if more.is_empty() { "" } else { "." };
        return format!("{sign}{first}{dot}{more}e{}", point - 1);
    }
    let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or(0));
    if point <= 0 {
        format!("{sign}0.{}{significant}", zeros(-point))
    } else if point >= length {
        format!("{sign}{significant}{}", zeros(point - length))
    } else {
        let (whole, fraction) = significant.split_at(usize::try_from(point).unwrap_or(0));
        format!("{sign}{whole}.{fraction}")
    }
}
