//! Fuzz target: when a schedule is due.

use ops_core::{Micros, schedule::CatchUp};
use units::fuzzing::Target;

use crate::schedule::Calendar;

/// The targets.
pub const TARGETS: &[Target] = &[Target {
    name: "schedule",
    run: schedule,
}];

/// The lines are a cron pattern, a time zone, and a time in microseconds. Dates are in order and after that time, and
/// a schedule that is late by a day runs for no date that is not one of its dates.
fn schedule(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.lines();
    let (cron, zone) = (lines.next().unwrap_or(""), lines.next().unwrap_or("UTC"));
    let at = lines.next().and_then(|at| at.trim().parse().ok());
    let at = Micros(at.unwrap_or(1_700_000_000_000_000));
    let Ok(calendar) = Calendar::new(cron, zone) else {
        return;
    };
    assert!(!calendar.timezone().is_empty());
    let dates = calendar.preview(at, 4);
    assert!(dates.iter().all(|date| *date > at), "{dates:?}");
    assert!(dates.is_sorted() && dates.windows(2).all(|pair| pair[0] < pair[1]));
    if let Some(first) = dates.first() {
        let now = Micros(first.0.saturating_add(86_400_000_000));
        for catch_up in [CatchUp::None, CatchUp::Latest, CatchUp::All] {
            let plan = calendar.plan(catch_up, *first, now);
            assert!(plan.runs.iter().all(|run| run >= first && *run <= now));
            assert!(plan.next.is_none_or(|next| next > now));
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_target_holds_its_seeds_and_changed_copies_of_them() {
        units::fuzzing::check(super::TARGETS);
    }
}
