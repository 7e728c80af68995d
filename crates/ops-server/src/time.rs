//! Times and durations as clients write and read them.

use jiff::Timestamp;
use ops_core::{Micros, time::SECOND};

/// RFC 3339 in UTC with milliseconds, as version 1 wrote it: `2025-04-12T10:00:00.000Z`.
pub(crate) fn write(out: &mut Vec<u8>, at: Micros) {
    use std::io::Write as _;
    // What lies outside the calendar of jiff (years -9999 to 9999) is shown at its edge.
    let edge = if at.0 < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    };
    let at = Timestamp::from_microsecond(at.0).unwrap_or(edge);
    write!(out, "{at:.3}").expect("writing to memory does not fail");
}

/// Reads RFC 3339 with an offset.
pub(crate) fn parse(text: &str) -> Result<Micros, String> {
    text.parse::<Timestamp>()
        .map(|at| Micros(at.as_microsecond()))
        .map_err(|_| {
            "must be an RFC 3339 time with an offset, like `2025-04-12T10:00:00Z`, before \
             9999-12-30T22:00:00Z"
                .into()
        })
}

/// Reads a duration of text: `30s`, `5m`, `1h30m`, `500ms`, `2d`; a bare number is seconds.
/// Microseconds.
pub(crate) fn duration(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return seconds_to_micros(seconds);
    }
    let mut rest = text;
    let mut micros = 0.0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let unit_len = tail
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_len);
        let factor = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        micros += number.parse::<f64>().ok()? * factor;
        rest = tail;
    }
    (!text.is_empty())
        .then(|| seconds_to_micros(micros))
        .flatten()
}

/// Microseconds of a number of seconds, if it is a duration: not negative, and under 1,000 years.
pub(crate) fn seconds_to_micros(seconds: f64) -> Option<i64> {
    (0.0..=31_557_600_000.0).contains(&seconds).then(|| {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the range was checked; less than a microsecond is cut off"
        )]
        let micros = (seconds * SECOND as f64).round() as i64;
        micros
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(micros: i64) -> String {
        let mut out = Vec::new();
        write(&mut out, Micros(micros));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_read_as_in_version_one() {
        assert_eq!(shown(1_744_452_000_000_000), "2025-04-12T10:00:00.000Z");
        assert_eq!(shown(1_744_452_000_999_999), "2025-04-12T10:00:00.999Z");
        assert_eq!(shown(0), "1970-01-01T00:00:00.000Z");
        assert!(shown(i64::MAX).starts_with("9999-12-30T"));
        assert_eq!(
            parse("2025-04-12T12:00:00.5+02:00"),
            Ok(Micros(1_744_452_000_500_000))
        );
        for bad in ["", "tomorrow", "2025-04-12", "2025-04-12T10:00:00"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_numbers_or_text_with_units() {
        for (text, micros) in [
            ("30s", Some(30 * SECOND)),
            ("5m", Some(300 * SECOND)),
            ("2h", Some(7_200 * SECOND)),
            ("1h30m", Some(5_400 * SECOND)),
            ("1.5s", Some(1_500_000)),
            ("500ms", Some(500_000)),
            ("90", Some(90 * SECOND)),
            ("0", Some(0)),
            ("", None),
            ("s", None),
            ("5 m", None),
            ("-5s", None),
            ("-5", None),
            ("5y", None),
            ("1e99", None),
            ("nan", None),
            ("inf", None),
        ] {
            assert_eq!(duration(text), micros, "{text}");
        }
    }
}
