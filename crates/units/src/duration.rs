//! Lengths of time: a number of seconds, or numbers with units such as `1h30m`.

use std::time::Duration;

use crate::decimal::Decimal;

/// The form of a duration, for messages: "must be ...".
pub const FORM: &str = "a number of seconds, or text like `500ms`, `90s`, `1.5h` or `1h30m`";

/// The longest duration: 1,000 years.
pub const MAX: Duration = Duration::from_secs(31_557_600_000);

/// The units, with their microseconds.
const UNITS: [(&str, u64); 5] = [
    ("ms", 1_000),
    ("s", 1_000_000),
    ("m", 60_000_000),
    ("h", 3_600_000_000),
    ("d", 86_400_000_000),
];

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not of the form.
    #[error("`{0}` is not a duration like 500ms, 30s, 1.5h or 1h30m")]
    Form(String),
    /// Longer than [`MAX`], or so short that nothing is left of it in microseconds.
    #[error("`{0}` is not a duration from a microsecond to 1,000 years")]
    Range(String),
}

/// Reads text: numbers with `ms`, `s`, `m`, `h` or `d`, or one number of seconds. White space around
/// and between them means nothing. The result is whole microseconds.
///
/// # Errors
/// Text of another form, or a duration out of range.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let wrong = || DurationError::Form(crate::shown(text));
    let mut rest = text.trim();
    if let Some(seconds) = Decimal::whole(rest) {
        return of(seconds, text);
    }
    let mut micros = 0_u128;
    loop {
        let (number, after) = Decimal::read(rest).ok_or_else(wrong)?;
        let after = after.trim_start();
        let end = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit = unit_micros(unit).ok_or_else(wrong)?;
        micros = number
            .times(unit)
            .and_then(|part| micros.checked_add(part))
            .ok_or_else(|| DurationError::Range(crate::shown(text)))?;
        rest = after.trim_start();
        if rest.is_empty() {
            return in_range(micros, text);
        }
    }
}

/// A number of seconds, as a document holds it.
///
/// # Errors
/// A number that is negative, no number, or out of range.
pub fn from_seconds(seconds: f64) -> Result<Duration, DurationError> {
    let text = seconds.to_string();
    let seconds = Decimal::of(seconds).ok_or_else(|| DurationError::Form(crate::shown(&text)))?;
    of(seconds, &text)
}

/// The microseconds of a duration that was read here, which fit.
#[must_use]
pub fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// The microseconds of a unit: `ms`, `s`, `m`, `h` or `d`.
#[must_use]
pub fn unit_micros(unit: &str) -> Option<u64> {
    let found = UNITS.iter().find(|(name, _)| *name == unit);
    found.map(|(_, micros)| *micros)
}

fn of(seconds: Decimal, text: &str) -> Result<Duration, DurationError> {
    let micros = seconds.times(1_000_000);
    in_range(
        micros.ok_or_else(|| DurationError::Range(crate::shown(text)))?,
        text,
    )
}

fn in_range(micros: u128, text: &str) -> Result<Duration, DurationError> {
    let micros = u64::try_from(micros).ok().map(Duration::from_micros);
    micros
        .filter(|duration| *duration <= MAX)
        .ok_or_else(|| DurationError::Range(crate::shown(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_of_seconds_or_have_units() {
        for (text, millis) in [
            ("0", 0),
            ("90", 90_000),
            ("1.5", 1_500),
            ("1e3", 1_000_000),
            ("500ms", 500),
            ("30s", 30_000),
            (" 30s", 30_000),
            ("30 s\n", 30_000),
            ("1.5h", 5_400_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("2d", 172_800_000),
            ("1d1h1m1s1ms", 90_061_001),
        ] {
            assert_eq!(parse(text).unwrap().as_millis(), millis, "{text}");
        }
        for text in [
            "", " ", "s", "-1s", "-1", "1y", "1h30", "5M", "1.s", ".5s", "nan", "inf", "1h-5m",
            "1:30",
        ] {
            let wrong = DurationError::Form(text.to_owned());
            assert_eq!(parse(text), Err(wrong), "{text}");
        }
        for text in ["1001000d", "1e400", "1e300s", "0.0000001", "0.0001ms"] {
            assert!(
                matches!(
                    parse(text),
                    Err(DurationError::Range(_) | DurationError::Form(_))
                ),
                "{text}"
            );
        }
    }

    #[test]
    fn numbers_mean_the_same_as_their_text() {
        for (seconds, text) in [(30.0, "30"), (0.5, "500ms"), (0.1, "0.1"), (1e3, "1e3")] {
            assert_eq!(from_seconds(seconds), parse(text), "{text}");
        }
        for seconds in [-1.0, f64::NAN, f64::INFINITY, 1e12, 1e-9] {
            assert!(from_seconds(seconds).is_err(), "{seconds}");
        }
        assert_eq!(micros(MAX), 31_557_600_000_000_000);
    }

    #[test]
    fn the_message_shows_little_of_a_long_text() {
        let message = parse(&"9x".repeat(1_000)).unwrap_err().to_string();
        assert!(message.len() < 200, "{message}");
    }
}
