//! Dates of a schedule: cron patterns read in a time zone.
//!
//! Daylight saving time, as the pattern's hours see the change: a fixed hour that the clock skips runs
//! right after the gap, and an hour that comes twice runs at its first coming; `*` and steps follow the
//! wall clock, skip the hours that the clock skips, and run again in the hour that comes twice.

use croner::{Cron, parser::CronParser};
use jiff::{
    Timestamp, Zoned,
    tz::{TimeZone, TimeZoneName},
};
use ops_core::{
    Micros,
    schedule::{CatchUp, MAX_MISSED},
    time::SECOND,
};

use crate::FieldError;

/// A run that is late by no more than this is on time, and not missed.
const ON_TIME: i64 = 10 * SECOND;
/// The longest pattern that is looked at.
const MAX_PATTERN: usize = 200;

/// A cron pattern in a time zone.
#[derive(Debug, Clone)]
pub(crate) struct Calendar {
    cron: Cron,
    zone: TimeZone,
}

/// The work for a due schedule at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The dates to run for, oldest first.
    pub(crate) runs: Vec<Micros>,
    /// Whether earlier dates are skipped.
    pub(crate) missed: bool,
    /// The next date.
    pub(crate) next: Option<Micros>,
}

impl Calendar {
    /// Reads a pattern and the name of a zone.
    ///
    /// # Errors
    /// The mistakes in either, as fields `cron` and `timezone`.
    pub(crate) fn new(cron: &str, timezone: &str) -> Result<Self, Vec<FieldError>> {
        match (pattern(cron), zone(timezone)) {
            (Ok(cron), Ok(zone)) => Ok(Self { cron, zone }),
            (cron, zone) => Err([cron.err(), zone.err()].into_iter().flatten().collect()),
        }
    }

    /// The zone's name as it is properly written.
    pub(crate) fn timezone(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// The first date after a time.
    pub(crate) fn after(&self, at: Micros) -> Option<Micros> {
        // The search gives up at a gap of more than two hours, as where a place crossed the date line:
        // then it goes on behind it.
        (0..4).find_map(|tries| {
            let start = self.zoned(at.plus(tries * 12 * 3_600 * SECOND))?;
            let next = self.cron.find_next_occurrence(&start, false).ok()?;
            Some(Micros(next.timestamp().as_microsecond()))
        })
    }

    /// So many dates after a time.
    pub(crate) fn preview(&self, after: Micros, most: usize) -> Vec<Micros> {
        std::iter::successors(self.after(after), |at| self.after(*at))
            .take(most)
            .collect()
    }

    /// The work at `now`, if the next date was `due`.
    pub(crate) fn plan(&self, catch_up: CatchUp, due: Micros, now: Micros) -> Plan {
        let mut dates = self.newest(due, now);
        let cut = dates.first() != Some(&due);
        let fresh = dates.partition_point(|date| date.0 < now.0.saturating_sub(ON_TIME));
        let passed_over = match catch_up {
            CatchUp::None => fresh,
            CatchUp::Latest if fresh == dates.len() => fresh.saturating_sub(1),
            CatchUp::Latest => fresh,
            CatchUp::All => 0,
        };
        dates.drain(..passed_over);
        Plan {
            runs: dates,
            missed: cut || passed_over > 0,
            next: self.after(now),
        }
    }

    /// The newest dates from `first` to `last`, both included, oldest first. They are looked for from
    /// the end, so that a year of missed minutes costs no more than a day's.
    fn newest(&self, first: Micros, last: Micros) -> Vec<Micros> {
        let mut dates = Vec::new();
        let mut from = self.zoned(last);
        let mut inclusive = true;
        while let Some(start) = from.filter(|_| dates.len() < MAX_MISSED) {
            let found = self.cron.find_previous_occurrence(&start, inclusive).ok();
            from = found.filter(|date| date.timestamp().as_microsecond() >= first.0);
            inclusive = false;
            dates.extend(
                from.as_ref()
                    .map(|date| Micros(date.timestamp().as_microsecond())),
            );
        }
        dates.reverse();
        dates
    }

    /// A time in the zone, in whole seconds.
    fn zoned(&self, at: Micros) -> Option<Zoned> {
        let seconds = Timestamp::from_second(at.0.div_euclid(SECOND)).ok()?;
        Some(seconds.to_zoned(self.zone.clone()))
    }
}

fn pattern(text: &str) -> Result<Cron, FieldError> {
    let wrong = |why: &str| {
        let shown: String = text.chars().take(80).collect();
        let message = format!(
            "`{shown}` is not a cron pattern: {why}; write minute, hour, day of the month, month \
             and day of the week, as in `30 2 * * 1-5`, with seconds in front of them if need be, \
             or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`"
        );
        FieldError::new(&["cron"], "cron", message)
    };
    if text.len() > MAX_PATTERN {
        return Err(wrong("it is too long"));
    }
    if let Some((field, step, size)) = wide_step(text) {
        return Err(wrong(&format!(
            "the step in `{field}` is {step}, and there are {size} values to step over"
        )));
    }
    CronParser::new().parse(text.trim()).map_err(|error| {
        let why = error.to_string();
        let why = why.trim_end_matches('.');
        let why = ["Invalid pattern: ", "Component error: "]
            .iter()
            .find_map(|prefix| why.strip_prefix(prefix))
            .unwrap_or(why);
        wrong(why)
    })
}

/// A part of a pattern whose step is longer than its range, with the step and the number of values. The
/// parser takes `0-59/61`, which would run hourly and not every 61 minutes.
fn wide_step(text: &str) -> Option<(&str, u64, u64)> {
    const SIZES: [u64; 6] = [60, 60, 24, 31, 12, 7];
    let fields: Vec<&str> = text.split_whitespace().collect();
    // Seconds may come first, and years after them all.
    let sizes = match fields.len() {
        5 => &SIZES[1..],
        6 | 7 => &SIZES[..],
        _ => return None,
    };
    fields.into_iter().zip(sizes).find_map(|(field, size)| {
        let part = |part: &str| part.rsplit_once('/')?.1.parse().ok();
        let step = field.split(',').filter_map(part).max()?;
        (step > *size).then_some((field, step, *size))
    })
}

/// Files of the system's zone data that are no zone of their own.
const NO_ZONES: [&str; 3] = ["localtime", "posixrules", "factory"];

fn zone(name: &str) -> Result<TimeZone, FieldError> {
    // An offset or a path is no name: the rules of a place are what a schedule needs.
    let plain = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "/_-+".contains(c));
    let found = Some(name)
        .filter(|name| plain && is_zone(name))
        .and_then(|name| TimeZone::get(name).ok())
        .filter(|zone| zone.iana_name().is_some());
    found.ok_or_else(|| {
        let shown: String = name.chars().take(80).collect();
        let known: Vec<_> = jiff::tz::db().available().collect();
        let known = known.iter().map(TimeZoneName::as_str);
        // The sign of `Etc/GMT+5` is the opposite of what most people mean.
        let known = known.filter(|name| is_zone(name) && !name.starts_with("Etc/GMT"));
        let meant = match units::nearest(name, known) {
            _ if is_offset(name) => {
                "an offset is not a zone; use the IANA name of a place, like `Europe/Berlin`, which \
                 knows its daylight saving time"
                    .to_owned()
            }
            Some(near) => format!("did you mean `{near}`?"),
            None => "use an IANA name like `Europe/Berlin`, or `UTC`".to_owned(),
        };
        let message = format!("`{shown}` is not a time zone; {meant}");
        FieldError::new(&["timezone"], "timezone", message)
    })
}

/// Whether a name of the system's zone data is that of a zone. `posix/` and `right/` hold every zone
/// again, the latter counting leap seconds.
fn is_zone(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    !name.is_empty()
        && !NO_ZONES.contains(&name.as_str())
        && !name.starts_with("posix/")
        && !name.starts_with("right/")
}

/// Whether a text is like `GMT+5`, `UTC-03:30` or `+2`.
fn is_offset(text: &str) -> bool {
    let text = text.trim().to_ascii_uppercase();
    let rest = ["GMT", "UTC"]
        .iter()
        .find_map(|name| text.strip_prefix(name));
    let rest = rest.unwrap_or(&text).trim();
    rest.starts_with(['+', '-']) && rest[1..].starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests;
