//! Points in time as clients write and read them.

use jiff::Timestamp;
use ops_core::Micros;

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
}
