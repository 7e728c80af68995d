//! Amounts of money in USD. Programs count micro-USD.

use crate::decimal::Decimal;

/// The form of an amount, for messages: "must be ...".
pub const FORM: &str = "an amount of USD like 0.25";

/// The largest amount, in micro-USD: a thousand million dollars.
pub const MAX: u64 = 1_000_000_000_000_000;

/// Why a text is not an amount of money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not of the form.
    #[error("`{0}` is not an amount of money like 0.25")]
    Form(String),
    /// More than [`MAX`], or so little that nothing is left of it in micro-USD.
    #[error("`{0}` is not an amount of money from 0.000001 to 1000000000, or 0")]
    Range(String),
}

/// Micro-USD of an amount in USD, rounded to the nearest. White space around it means nothing.
///
/// # Errors
/// Text of another form, or an amount out of range.
pub fn parse(text: &str) -> Result<u64, MoneyError> {
    let usd = Decimal::whole(text.trim()).ok_or_else(|| MoneyError::Form(crate::shown(text)))?;
    micros(usd, text)
}

/// Micro-USD of a number of USD, as a document holds it.
///
/// # Errors
/// A number that is negative, no number, or out of range.
pub fn from_usd(usd: f64) -> Result<u64, MoneyError> {
    let text = usd.to_string();
    let usd = Decimal::of(usd).ok_or_else(|| MoneyError::Form(crate::shown(&text)))?;
    micros(usd, &text)
}

fn micros(usd: Decimal, text: &str) -> Result<u64, MoneyError> {
    let micros = usd.times(1_000_000);
    micros
        .and_then(|micros| u64::try_from(micros).ok())
        .filter(|micros| *micros <= MAX)
        .ok_or_else(|| MoneyError::Range(crate::shown(text)))
}

/// USD of an amount, for documents.
#[must_use]
pub fn usd(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// An amount for people: `0.250000`.
#[must_use]
pub fn show(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_to_the_millionth() {
        for (text, micros) in [
            ("0", 0),
            ("1", 1_000_000),
            ("0.25", 250_000),
            (" 0.25 ", 250_000),
            ("0.000001", 1),
            ("0.1234567", 123_457),
            ("12.5", 12_500_000),
            ("1e3", 1_000_000_000),
            ("1000000000", MAX),
        ] {
            assert_eq!(parse(text), Ok(micros), "{text}");
            let number: f64 = text.trim().parse().unwrap();
            assert_eq!(from_usd(number), Ok(micros), "{text} as a number");
        }
        for text in ["", "1.", ".5", "-1", "0.25 USD", "$1", "1,5", "nan"] {
            let wrong = MoneyError::Form(text.to_owned());
            assert_eq!(parse(text), Err(wrong), "{text}");
        }
        for text in ["0.0000001", "1000000000.01", "1e30", "99999999999999999999"] {
            let wrong = MoneyError::Range(text.to_owned());
            assert_eq!(parse(text), Err(wrong), "{text}");
        }
        for number in [-1.0, f64::NAN, f64::INFINITY, 1e10, 1e-9] {
            assert!(from_usd(number).is_err(), "{number}");
        }
    }

    #[test]
    fn amounts_are_shown_with_six_decimals() {
        assert_eq!(show(250_000), "0.250000");
        assert_eq!(show(12_000_001), "12.000001");
        assert_eq!(usd(250_000).to_string(), "0.25");
    }
}
