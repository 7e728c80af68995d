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

/// The same as text.
pub(crate) fn text(at: Micros) -> String {
    let mut out = Vec::with_capacity(24);
    write(&mut out, at);
    String::from_utf8(out).expect("a time is ASCII")
}

/// Reads RFC 3339 with an offset.
pub(crate) fn parse(text: &str) -> Result<Micros, String> {
    let at = is_rfc3339(text).then(|| text.parse::<Timestamp>().ok());
    at.flatten()
        .map(|at| Micros(at.as_microsecond()))
        .ok_or_else(|| {
            "must be an RFC 3339 time with an offset, like `2025-04-12T10:00:00Z`, before \
             9999-12-30T22:00:00Z"
                .into()
        })
}

/// Whether a text has the form of RFC 3339, 5.6. jiff alone reads more: years before 0, times without
/// separators, offsets of more than a day, names of zones. Another reader of the same text might take
/// each of these for another time, or for none.
fn is_rfc3339(text: &str) -> bool {
    const FORM: &[u8] = b"0000-00-00T00:00:00";
    let has_form = |bytes: &[u8], form: &[u8]| {
        bytes.len() == form.len()
            && bytes.iter().zip(form).all(|(byte, form)| match form {
                b'0' => byte.is_ascii_digit(),
                b'T' => matches!(byte, b'T' | b't' | b' '),
                form => byte == form,
            })
    };
    let Some((date_time, rest)) = text.as_bytes().split_at_checked(FORM.len()) else {
        return false;
    };
    let digits = match rest.strip_prefix(b".") {
        Some(fraction) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit());
            match digits.count() {
                0 => return false,
                digits => digits + 1,
            }
        }
        None => 0,
    };
    let is_offset = |offset: &[u8]| match offset {
        b"Z" | b"z" => true,
        [b'+' | b'-', offset @ ..] => {
            has_form(offset, b"00:00")
                && offset[..2] <= *b"23".as_slice()
                && offset[3..] <= *b"59".as_slice()
        }
        _ => false,
    };
    has_form(date_time, FORM) && is_offset(&rest[digits..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(micros: i64) -> String {
        text(Micros(micros))
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
        for good in [
            "2025-04-12T10:00:00Z",
            "2025-04-12t10:00:00z",
            "2025-04-12 10:00:00.000000Z",
            "2025-04-12T09:29:00-00:31",
        ] {
            assert_eq!(parse(good), Ok(Micros(1_744_452_000_000_000)), "{good}");
        }
        // engine/E9
        for bad in [
            "",
            "tomorrow",
            "2025-04-12",
            "2025-04-12T10:00:00",
            "-000001-04-12T10:00:00Z",
            "+002025-04-12T10:00:00Z",
            "2025-04-12T10:00:00+25:00",
            "2025-04-12T10:00:00+23:60",
            "2025-04-12T10:00:00+02",
            "2025-04-12T10:00:00+0200",
            "2025-04-12T10:00:00+02:00:00",
            "20250412T100000Z",
            "2025-04-12T10:00Z",
            "2025-04-12T10:00:00.Z",
            "2025-04-12T10:00:00,5Z",
            "2025-04-12T10:00:00+02:00[Europe/Berlin]",
            "2025-04-12T10:00:00Z[Europe/Berlin]",
            " 2025-04-12T10:00:00Z",
            "2025-04-12T10:00:00Z ",
            "2025-02-29T10:00:00Z",
            "2025-04-12T24:00:00Z",
            "2025-04-12T10:00:00\u{e9}",
            "2025-04-12T10:00:0\u{e9}Z",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
