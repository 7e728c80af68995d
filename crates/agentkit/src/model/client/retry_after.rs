//! How long a provider asks to wait.

use std::time::Duration;

use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use crate::model::MAX_RETRY_AFTER as MAX;

/// Reads `retry-after-ms`, else `retry-after` in seconds or as a date (RFC 9110, section 10.2.3).
///
/// A date counts from the response's own `Date`, so no clock is needed; without one it is ignored.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let date = |name| epoch_seconds(headers.get(name)?.to_str().ok()?.trim());
    let wait = if let Some(millis) = number("retry-after-ms") {
        seconds(millis / 1000.0)
    } else if let Some(value) = number(RETRY_AFTER.as_str()) {
        seconds(value)
    } else {
        let wait = date(RETRY_AFTER)? - date(DATE)?;
        Some(Duration::from_secs(wait.max(0).unsigned_abs()))
    };
    wait.map(|wait| wait.min(MAX))
}

/// So many seconds, within reason.
pub(super) fn seconds(value: f64) -> Option<Duration> {
    if value.is_nan() {
        return None;
    }
    let wait = Duration::try_from_secs_f64(value.max(0.0)).unwrap_or(MAX);
    Some(wait.min(MAX))
}

/// Seconds since 1970 of an IMF-fixdate, for instance `Sun, 06 Nov 1994 08:49:37 GMT`.
fn epoch_seconds(date: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (_, date) = date.split_once(", ")?;
    let mut words = date.split(' ');
    let day: i64 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = i64::try_from(MONTHS.iter().position(|name| *name == month)?).ok()? + 1;
    let year: i64 = words.next()?.parse().ok()?;
    let mut time = words
        .next()?
        .splitn(3, ':')
        .map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    let in_range = words.eq(["GMT"])
        && (1..=31).contains(&day)
        && (1970..=9999).contains(&year)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    // Days from the civil date: years begin in March, so that the leap day comes last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    in_range.then(|| (days - 719_469) * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    fn of(headers: &[(&'static str, &'static str)]) -> Option<Duration> {
        let headers = headers.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        retry_after(&headers.collect())
    }

    #[test]
    fn reads_seconds_milliseconds_and_dates() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
        assert_eq!(
            of(&[("retry-after", "0.25")]),
            Some(Duration::from_millis(250))
        );
        assert_eq!(
            of(&[("retry-after-ms", "1500"), ("retry-after", "9")]),
            Some(Duration::from_millis(1500))
        );
        assert_eq!(
            of(&[
                ("date", "Wed, 31 Dec 2025 23:59:50 GMT"),
                ("retry-after", "Thu, 01 Jan 2026 00:00:20 GMT"),
            ]),
            Some(Duration::from_secs(30))
        );
    }

    #[test]
    fn survives_nonsense() {
        assert_eq!(of(&[("retry-after", "soon")]), None);
        assert_eq!(of(&[("retry-after", "NaN")]), None);
        assert_eq!(of(&[("retry-after", "-5")]), Some(Duration::ZERO));
        assert_eq!(of(&[("retry-after", "1e300")]), Some(MAX));
        assert_eq!(of(&[("retry-after", "inf")]), Some(MAX));
        assert_eq!(of(&[("retry-after", "2592000")]), Some(MAX));
        assert_eq!(
            of(&[
                ("date", "Thu, 01 Jan 2026 00:00:20 GMT"),
                ("retry-after", "Sat, 31 Jan 2026 00:00:20 GMT"),
            ]),
            Some(MAX)
        );
        assert_eq!(
            of(&[("retry-after", "Thu, 01 Jan 2026 00:00:20 GMT")]),
            None
        );
        assert_eq!(
            of(&[
                ("date", "Thu, 01 Jan 2026 00:00:20 GMT"),
                ("retry-after", "Wed, 31 Dec 2025 23:59:50 GMT"),
            ]),
            Some(Duration::ZERO)
        );
    }

    #[test]
    fn knows_the_calendar() {
        assert_eq!(epoch_seconds("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(
            epoch_seconds("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(784_111_777)
        );
        assert_eq!(
            epoch_seconds("Thu, 29 Feb 2024 12:00:00 GMT"),
            Some(1_709_208_000)
        );
        assert_eq!(
            epoch_seconds("Fri, 01 Mar 2024 00:00:00 GMT"),
            Some(1_709_251_200)
        );
        for wrong in [
            "",
            "now",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Nov 1994 25:49:37 GMT",
        ] {
            assert_eq!(epoch_seconds(wrong), None, "{wrong}");
        }
    }
}
