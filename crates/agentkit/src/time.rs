//! Points in time as people and models write them (RFC 3339).

use jiff::Timestamp;

/// The time, for instance `2026-01-02T03:04:05Z`.
pub(crate) fn rfc3339(micros: i64) -> String {
    let end = if micros < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    };
    // Past both ends are years that four digits cannot write.
    Timestamp::from_microsecond(micros)
        .unwrap_or(end)
        .to_string()
}

/// The point in time that the text names, in UTC microseconds.
pub(crate) fn parse_rfc3339(text: &str) -> Option<i64> {
    text.parse::<Timestamp>()
        .ok()
        .map(Timestamp::as_microsecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_500_000), "1970-01-01T00:00:01.5Z");
        assert_eq!(rfc3339(i64::MAX), "9999-12-30T22:00:00.999999999Z");
        assert_eq!(parse_rfc3339("1970-01-01T01:00:01+01:00"), Some(1_000_000));
        assert_eq!(
            parse_rfc3339("1970-01-01"),
            None,
            "a day is no point in time"
        );
        assert_eq!(parse_rfc3339("tomorrow"), None);
    }
}
