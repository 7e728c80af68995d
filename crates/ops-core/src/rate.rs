//! How fast tasks of a queue may be taken up: the generic cell rate algorithm (ITU-T I.371), whose
//! whole state is one time.

use crate::time::Micros;

/// So many tasks at once, and then one more for each interval that passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    interval: i64,
    burst: u32,
}

impl Rate {
    /// `count` tasks for each `period` microseconds, `burst` of them at once at the most. `None` if a
    /// number is below 1, or the tasks would follow each other within a microsecond.
    #[must_use]
    pub fn new(count: u32, period: i64, burst: u32) -> Option<Self> {
        let interval = period.checked_div(i64::from(count))?;
        (interval >= 1 && burst >= 1).then_some(Self { interval, burst })
    }

    /// How many tasks may be taken up now, if the next task was expected at `expected`. An expectation
    /// further ahead than the rate allows comes from a clock that was set back since; the rate's furthest
    /// expectation replaces the value.
    #[must_use]
    pub fn allows(&self, expected: Micros, now: Micros) -> u32 {
        let ahead = self.ahead(expected, now);
        let left = self.whole().saturating_sub(ahead) / self.interval;
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    /// When the next task is expected once so many were taken up now.
    #[must_use]
    pub fn after(&self, expected: Micros, now: Micros, taken: u32) -> Micros {
        let spent = self.interval.saturating_mul(i64::from(taken));
        now.plus(self.ahead(expected, now).saturating_add(spent))
    }

    /// When another task may be taken up, if no task may now.
    #[must_use]
    pub fn next(&self, expected: Micros, now: Micros) -> Micros {
        let ahead = self.ahead(expected, now);
        now.plus((ahead + self.interval).saturating_sub(self.whole()).max(0))
    }

    fn ahead(&self, expected: Micros, now: Micros) -> i64 {
        expected.0.saturating_sub(now.0).clamp(0, self.whole())
    }

    fn whole(&self) -> i64 {
        self.interval.saturating_mul(i64::from(self.burst))
    }
}

impl std::str::FromStr for Rate {
    type Err = String;

    /// `10/s`, `100/m`, `1000/h` or `5000/d`, evenly spread.
    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (count, unit) = text.split_once('/')?;
            let period = Some(unit.trim()).filter(|unit| *unit != "ms")?;
            let period = i64::try_from(units::duration::unit_micros(period)?).ok()?;
            Self::new(count.trim().parse().ok()?, period, 1)
        };
        parse().ok_or_else(|| {
            format!("`{text}` is not a rate like 10/s, 100/m, 1000/h or 5000/d, of 1000000/s at the most")
        })
    }
}

impl Rate {
    /// The same rate with another burst, which is 1 at the least.
    #[must_use]
    pub fn with_burst(self, burst: u32) -> Self {
        Self {
            burst: burst.max(1),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::SECOND;

    #[test]
    fn is_read_as_people_write_it() {
        assert_eq!("10/s".parse(), Ok(Rate::new(10, SECOND, 1).unwrap()));
        assert_eq!(
            " 100 / m".parse(),
            Ok(Rate::new(100, 60 * SECOND, 1).unwrap())
        );
        for wrong in ["", "10", "/s", "0/s", "-1/s", "10/y", "2000000/s", "1.5/s"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_burst_and_then_one_at_a_time() {
        let rate = Rate::new(10, SECOND, 3).unwrap();
        let (mut expected, now) = (Micros(0), Micros(1_000 * SECOND));
        assert_eq!(rate.allows(expected, now), 3);
        expected = rate.after(expected, now, 3);
        assert_eq!(rate.allows(expected, now), 0);
        let next = rate.next(expected, now);
        assert_eq!(next, now.plus(SECOND / 10));
        assert_eq!(rate.allows(expected, next), 1);
        assert_eq!(rate.allows(expected, now.plus(SECOND)), 3);
    }

    #[test]
    fn a_clock_that_is_set_back_stops_nothing() {
        let rate = Rate::new(1, SECOND, 2).unwrap();
        let expected = rate.after(Micros(0), Micros(1_000 * SECOND), 2);
        let now = Micros(10 * SECOND);
        assert_eq!(rate.next(expected, now), now.plus(SECOND));
    }

    proptest! {
        #[test]
        fn lets_through_no_more_than_it_says(
            count in 1_u32..50,
            burst in 1_u32..10,
            steps in proptest::collection::vec((0_i64..2 * SECOND, 0_u32..20), 1..60),
        ) {
            let rate = Rate::new(count, SECOND, burst).unwrap();
            let start = Micros(1_000 * SECOND);
            let (mut now, mut expected, mut all) = (start, Micros(0), 0_u64);
            for (passed, wanted) in steps {
                now = now.plus(passed);
                let taken = wanted.min(rate.allows(expected, now));
                expected = rate.after(expected, now, taken);
                all += u64::from(taken);
                let passed = u64::try_from(now.0 - start.0).unwrap();
                let most = u64::from(burst) + passed / u64::try_from(SECOND / i64::from(count)).unwrap();
                prop_assert!(all <= most, "{all} of {most}");
                if rate.allows(expected, now) == 0 {
                    let next = rate.next(expected, now);
                    prop_assert!(next > now);
                    prop_assert_eq!(rate.allows(expected, next), 1);
                    prop_assert_eq!(rate.allows(expected, Micros(next.0 - 1)), 0);
                }
            }
        }
    }
}
