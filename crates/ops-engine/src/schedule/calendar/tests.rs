use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Micros {
    Micros(text.parse::<Timestamp>().unwrap().as_microsecond())
}

fn shown(dates: &[Micros]) -> Vec<String> {
    let text = |date: &Micros| Timestamp::from_microsecond(date.0).unwrap().to_string();
    dates.iter().map(text).collect()
}

fn calendar(cron: &str, zone: &str) -> Calendar {
    Calendar::new(cron, zone).unwrap_or_else(|fields| panic!("{fields:?}"))
}

/// The dates after a time, and that looking back from behind the last finds the same ones.
fn dates(cron: &str, zone: &str, after: &str, most: usize) -> Vec<String> {
    let calendar = calendar(cron, zone);
    let dates = calendar.preview(at(after), most);
    if let (Some(first), Some(last)) = (dates.first(), dates.last()) {
        assert_eq!(calendar.newest(*first, *last), dates, "{cron} {zone}");
    }
    shown(&dates)
}

#[test]
fn dates_follow_the_wall_clock_of_the_zone() {
    // 02:00 in Berlin is 01:00 UTC in winter and 00:00 UTC in summer.
    assert_eq!(
        dates("0 2 * * *", "Europe/Berlin", "2026-01-10T12:00:00Z", 2),
        ["2026-01-11T01:00:00Z", "2026-01-12T01:00:00Z"]
    );
    assert_eq!(
        dates("0 2 * * *", "Europe/Berlin", "2026-07-10T12:00:00Z", 1),
        ["2026-07-11T00:00:00Z"]
    );
    assert_eq!(
        dates("*/20 * * * * *", "UTC", "2026-01-10T12:00:00.5Z", 2),
        ["2026-01-10T12:00:20Z", "2026-01-10T12:00:40Z"]
    );
    assert_eq!(
        dates("@weekly", "America/New_York", "2026-01-10T12:00:00Z", 1),
        ["2026-01-11T05:00:00Z"]
    );
}

/// The forms that docs/rest.md describes.
#[test]
fn patterns_mean_what_the_documentation_says() {
    for (cron, expected) in [
        // A day of the month or a day of the week; with `+`, both.
        ("0 0 1 * 5", ["2026-01-16", "2026-01-23"]),
        ("0 0 1 * +5", ["2026-05-01", "2027-01-01"]),
        // Only one of the two is given.
        ("0 0 1 * *", ["2026-02-01", "2026-03-01"]),
        ("0 0 * * 5", ["2026-01-16", "2026-01-23"]),
        // Sunday is 0 and 7.
        ("0 0 * * 0", ["2026-01-11", "2026-01-18"]),
        ("0 0 * * 7", ["2026-01-11", "2026-01-18"]),
        ("0 0 * * sun", ["2026-01-11", "2026-01-18"]),
        // Six fields begin with the second, seven end with the year.
        ("0 0 0 13 * *", ["2026-01-13", "2026-02-13"]),
        ("0 0 0 13 * * 2028", ["2028-01-13", "2028-02-13"]),
        ("0 0 0 13 * * 2027-2028/1", ["2027-01-13", "2027-02-13"]),
        // The last day, the last Friday, the second Friday, the weekday nearest to the 15th.
        ("0 0 L * *", ["2026-01-31", "2026-02-28"]),
        ("0 0 * * 5L", ["2026-01-30", "2026-02-27"]),
        ("0 0 * * 5#2", ["2026-02-13", "2026-03-13"]),
        ("0 0 15W * *", ["2026-01-15", "2026-02-16"]),
    ] {
        let found = dates(cron, "UTC", "2026-01-10T12:00:00Z", 2);
        let expected = expected.map(|day| format!("{day}T00:00:00Z"));
        assert_eq!(found, expected, "{cron}");
    }
    // A plus anywhere else, a step from a single number, and eight fields mean nothing.
    for wrong in [
        "+5 0 * * *",
        "0 0 +1 * *",
        "0/10 * * * *",
        "0 0 0 1 1 * 2028 9",
    ] {
        assert!(Calendar::new(wrong, "UTC").is_err(), "{wrong}");
    }
}

#[test]
fn an_hour_that_the_clock_skips_runs_right_after_the_gap() {
    // Berlin, 2026-03-29: 02:00 becomes 03:00, which is 01:00 UTC.
    assert_eq!(
        dates("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2),
        ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
    );
    // Steps skip it with the clock.
    assert_eq!(
        dates("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:15:00Z", 3),
        [
            "2026-03-29T00:30:00Z",
            "2026-03-29T01:00:00Z",
            "2026-03-29T01:30:00Z"
        ]
    );
    // Lord Howe's gap is half an hour: 02:00 becomes 02:30 on 2026-10-04, which is 15:30 UTC.
    assert_eq!(
        dates(
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03T10:00:00Z",
            1
        ),
        ["2026-10-03T15:30:00Z"]
    );
}

#[test]
fn a_day_that_a_zone_skips_ends_no_schedule() {
    // Samoa went from 2011-12-29 (UTC-10) to 2011-12-31 (UTC+14).
    let days = calendar("0 12 * * *", "Pacific/Apia").preview(at("2011-12-29T12:00:00Z"), 3);
    assert_eq!(
        shown(&days),
        [
            "2011-12-29T22:00:00Z",
            "2011-12-30T22:00:00Z",
            "2011-12-31T22:00:00Z"
        ]
    );
}

#[test]
fn an_hour_that_comes_twice_runs_once_unless_it_is_a_step() {
    // Berlin, 2026-10-25: 03:00 becomes 02:00; 02:30 is at 00:30 UTC and again at 01:30 UTC.
    assert_eq!(
        dates("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
        ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
    );
    assert_eq!(
        dates("30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", 3),
        [
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:30:00Z",
            "2026-10-25T02:30:00Z"
        ]
    );
}

#[test]
fn what_was_missed_is_made_up_for_by_policy() {
    let hourly = calendar("0 * * * *", "UTC");
    let due = at("2026-01-10T09:00:00Z");
    let plan = |policy, now| {
        let plan = hourly.plan(policy, due, at(now));
        assert_eq!(shown(&[plan.next.unwrap()]), ["2026-01-10T13:00:00Z"]);
        (shown(&plan.runs), plan.missed)
    };
    let late = "2026-01-10T12:20:00Z";
    assert_eq!(plan(CatchUp::None, late), (vec![], true));
    let twelve = || "2026-01-10T12:00:00Z".to_owned();
    assert_eq!(plan(CatchUp::Latest, late), (vec![twelve()], true));
    let (runs, missed) = plan(CatchUp::All, late);
    assert_eq!((runs.len(), missed), (4, false));
    // A date that has just come is no missed one.
    let soon = "2026-01-10T12:00:05Z";
    assert_eq!(plan(CatchUp::None, soon), (vec![twelve()], true));
    assert_eq!(plan(CatchUp::Latest, soon), (vec![twelve()], true));

    let on_time = hourly.plan(CatchUp::None, due, at("2026-01-10T09:00:00.01Z"));
    assert_eq!((on_time.runs, on_time.missed), (vec![due], false));
}

#[test]
fn a_year_of_missed_minutes_is_bounded() {
    let minutes = calendar("* * * * *", "Europe/Berlin");
    let plan = minutes.plan(
        CatchUp::All,
        at("2025-01-10T09:00:00Z"),
        at("2026-01-10T09:00:00Z"),
    );
    assert_eq!((plan.runs.len(), plan.missed), (MAX_MISSED, true));
    assert_eq!(
        shown(&plan.runs[MAX_MISSED - 1..]),
        ["2026-01-10T09:00:00Z"]
    );
}

#[test]
fn what_is_never_due_has_no_date() {
    for cron in ["0 0 30 2 *", "0 0 31 4,6 *", "0 0 0 1 1 * 2020"] {
        assert_eq!(
            calendar(cron, "UTC").after(at("2026-01-01T00:00:00Z")),
            None,
            "{cron}"
        );
    }
    // The last one that is.
    let last = calendar("0 0 0 1 1 * 2030", "UTC");
    assert_eq!(last.preview(at("2026-01-01T00:00:00Z"), 5).len(), 1);
    assert!(
        last.plan(
            CatchUp::Latest,
            at("2030-01-01T00:00:00Z"),
            at("2030-01-01T00:00:01Z")
        )
        .next
        .is_none()
    );
    // The end of time is no place to look for dates.
    assert_eq!(calendar("* * * * *", "UTC").after(Micros(i64::MAX)), None);
    assert_eq!(
        calendar("* * * * *", "UTC").after(at("9999-12-01T00:00:00Z")),
        None
    );
}

#[test]
fn mistakes_are_named_with_what_mends_them() {
    for (cron, zone, says) in [
        ("61 * * * *", "UTC", "`61 * * * *` is not a cron pattern"),
        (
            "0-59/61 * * * *",
            "UTC",
            "the step in `0-59/61` is 61, and there are 60 values",
        ),
        (
            "0 0,0-23/25 * * *",
            "UTC",
            "the step in `0,0-23/25` is 25, and there are 24 values",
        ),
        (
            "0-59/61 0 0 * * *",
            "UTC",
            "the step in `0-59/61` is 61, and there are 60 values",
        ),
        ("* * *", "UTC", "is not a cron pattern"),
        ("", "UTC", "write minute, hour"),
        ("every day", "UTC", "`@daily`"),
        ("0 0 0 1 1 * 9999", "UTC", "is not a cron pattern"),
        (&"1,".repeat(200), "UTC", "it is too long"),
        ("@daily", "Europe/Berln", "did you mean `Europe/Berlin`?"),
        ("@daily", "berlin", "did you mean `Europe/Berlin`?"),
        ("@daily", "New York", "did you mean `America/New_York`?"),
        ("@daily", "Mars/Olympus", "use an IANA name"),
        ("@daily", "", "use an IANA name"),
        ("@daily", "../etc/passwd", "is not a time zone"),
        ("@daily", "é", "is not a time zone"),
        // engine/E9
        ("@daily", "GMT+5", "an offset is not a zone"),
        ("@daily", "utc-03:30", "an offset is not a zone"),
        ("@daily", "+02", "an offset is not a zone"),
        ("@daily", "localtime", "is not a time zone"),
        ("@daily", "posixrules", "is not a time zone"),
        ("@daily", "Factory", "is not a time zone"),
        ("@daily", "posix/Europe/Berlin", "is not a time zone"),
        ("@daily", "right/UTC", "is not a time zone"),
        ("@daily", "", "use an IANA name"),
    ] {
        let fields = Calendar::new(cron, zone).unwrap_err();
        let said = &fields[0].message;
        assert_eq!(fields.len(), 1);
        assert!(said.contains(says), "{cron} {zone}: {said}");
        assert!(!said.contains("Etc/GMT"), "the opposite sign: {said}");
    }
    assert_eq!(calendar("@daily", "Etc/GMT+5").timezone(), "Etc/GMT+5");
    let both = Calendar::new("x", "y").unwrap_err();
    assert_eq!(both.len(), 2, "{both:?}");
    assert_eq!(
        calendar("@daily", "europe/berlin").timezone(),
        "Europe/Berlin"
    );
}

proptest! {
    /// Looking forward and looking back agree on what the dates are, around every change of a clock.
    #[test]
    fn both_ways_find_the_same_dates(
        cron in prop::sample::select(vec![
            "*/7 * * * *", "30 2 * * *", "0 0 * * *", "15,45 1-3 * * *", "0 */3 * * *",
            "59 23 * * 0", "0 12 L * *", "* 2 * * *",
        ]),
        zone in prop::sample::select(vec![
            "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu",
            "America/St_Johns", "Africa/Casablanca", "Pacific/Chatham",
        ]),
        hour in 0_i64..24 * 365 * 3,
    ) {
        let calendar = calendar(cron, zone);
        let start = Micros(at("2025-01-01T00:00:00Z").0 + hour * 3_600 * SECOND);
        let dates = calendar.preview(start, 30);
        prop_assert!(dates.is_sorted_by(|a, b| a < b), "{:?}", shown(&dates));
        prop_assert_eq!(
            shown(&calendar.newest(dates[0], dates[dates.len() - 1])),
            shown(&dates)
        );
    }
}
