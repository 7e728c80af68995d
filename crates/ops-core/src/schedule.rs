//! A schedule: a task template, and the dates of its runs. The calendar itself (cron patterns, time zones)
//! is the engine's; this module decides about due runs.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    choice::choice,
    id::{TaskId, TenantId},
    json::Json,
    ports::NewTask,
    time::Micros,
};

/// The most runs that [`CatchUp::All`] makes up for.
pub const MAX_MISSED: usize = 100;

/// The name of a schedule, unique within its tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ScheduleName(String);

/// Text that is no name of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 64 lower-case letters, digits, `-`, `_` or `.`, a letter or digit first")]
pub struct ScheduleNameError;

impl ScheduleName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ScheduleName {
    type Err = ScheduleNameError;

    fn from_str(text: &str) -> Result<Self, ScheduleNameError> {
        let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let fits = text.len() <= 64
            && text.starts_with(alphanumeric)
            && text.chars().all(|c| alphanumeric(c) || "-_.".contains(c));
        fits.then(|| Self(text.to_owned())).ok_or(ScheduleNameError)
    }
}

impl fmt::Display for ScheduleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

choice! {
    /// Treatment of a run that is due while an earlier run has not ended.
    Overlap {
        /// The run is skipped.
        #[default]
        Skip = "skip",
        /// The run starts when the earlier run has ended; at most one run waits, the newest.
        QueueOne = "queue_one",
        /// The run starts at once.
        Allow = "allow",
        /// It starts at once, and the earlier ones are cancelled.
        CancelOther = "cancel_other",
    }
}
choice! {
    /// Treatment of runs that were due while no server ran.
    CatchUp {
        /// They are passed over.
        None = "none",
        /// The last of them is made up for.
        #[default]
        Latest = "latest",
        /// Each is made up for, at most [`MAX_MISSED`] of them: the newest.
        All = "all",
    }
}

/// The wanted form of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleSpec {
    /// When: a cron pattern.
    pub cron: String,
    /// The IANA name of the time zone that the pattern is read in.
    pub timezone: String,
    /// Treatment of a run while an earlier run has not ended.
    pub overlap: Overlap,
    /// Treatment of missed runs.
    pub catch_up: CatchUp,
    /// The task to submit; opaque to the store.
    pub template: Json,
}

/// A schedule as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its name.
    pub name: ScheduleName,
    /// The wanted form.
    pub spec: ScheduleSpec,
    /// Whether the schedule is paused until a client resumes the schedule.
    pub paused: bool,
    /// Number of changes to the spec and to `paused`; a fire names its revision.
    pub revision: u64,
    /// The next due date; `None` while the schedule is paused, and after the last date.
    pub next_at: Option<Micros>,
    /// Due date of the run that waits for an earlier run to end.
    pub waiting: Option<Micros>,
    /// Time of creation.
    pub created_at: Micros,
    /// Time of the last change; a run is no change.
    pub updated_at: Micros,
}

/// Why there was a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// The clock.
    Due,
    /// A client requested the run.
    Manual,
}

impl Trigger {
    /// The name as it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Due => "clock",
            Self::Manual => "manual",
        }
    }
}

/// Outcome of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunOutcome {
    /// A task was submitted.
    Started(TaskId),
    /// The run waits for an earlier run to end.
    Waiting,
    /// The run was skipped: an earlier run had not ended.
    Skipped,
    /// The run was missed: no server ran at its date, nor at a later date of the schedule.
    Missed,
    /// The template was refused.
    Refused(String),
}

/// One run of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleRun {
    /// Due date.
    pub due: Micros,
    /// Time of the decision about the run.
    pub at: Micros,
    /// Cause of the run.
    pub trigger: Trigger,
    /// Outcome of the run.
    pub outcome: RunOutcome,
}

/// A fire: the tasks of a schedule's due runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Fire {
    /// The schedule's revision at the time of the fire; another revision makes the fire void.
    pub revision: u64,
    /// Which of the schedule's runs it sees to.
    pub occasion: Occasion,
    /// The runs in the order of their dates: a task each, or why the run has no task.
    pub runs: Vec<(Micros, Result<NewTask, String>)>,
}

/// The due runs of a fire. The occasion names the schedule's state, so that no fire is committed twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// The clock has reached `due`.
    Due {
        /// The schedule's `next_at`.
        due: Micros,
        /// Its next `next_at`.
        next: Option<Micros>,
        /// Whether `due` and the dates after, up to the first run, are skipped.
        missed: bool,
    },
    /// The run that waited may start.
    Waited {
        /// The schedule's `waiting`.
        due: Micros,
    },
    /// A client requested a run now, whatever else runs.
    Manual,
}

/// Decision about one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// The run starts.
    Start,
    /// The run waits for the earlier run, and replaces another waiting run.
    Wait,
    /// The run is skipped.
    Skip,
}

/// Decides about so many runs that are due at once, oldest first, while an earlier run has (`busy`) or has
/// not ended.
#[must_use]
pub fn admit(overlap: Overlap, busy: bool, runs: usize) -> Vec<Disposition> {
    let mut dispositions = Vec::with_capacity(runs);
    for index in 0..runs {
        let free = !busy && index == 0;
        dispositions.push(match overlap {
            Overlap::Allow => Disposition::Start,
            Overlap::Skip | Overlap::QueueOne if free => Disposition::Start,
            Overlap::QueueOne if index + 1 == runs => Disposition::Wait,
            // Of several at once, the newest would cancel the others.
            Overlap::CancelOther if index + 1 == runs => Disposition::Start,
            Overlap::Skip | Overlap::QueueOne | Overlap::CancelOther => Disposition::Skip,
        });
    }
    dispositions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for good in ["a", "nightly-report", "9.to_5", &"x".repeat(64)] {
            assert_eq!(good.parse::<ScheduleName>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", ".", "A", "a b", "a/b", "é", &"x".repeat(65)] {
            assert!(bad.parse::<ScheduleName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn policies_round_trip_by_name() {
        for name in Overlap::NAMES {
            assert_eq!(Overlap::from_name(name).unwrap().as_str(), *name);
        }
        for name in CatchUp::NAMES {
            assert_eq!(CatchUp::from_name(name).unwrap().as_str(), *name);
        }
        assert_eq!(Overlap::from_name("Skip"), None);
    }

    #[test]
    fn overlapping_runs_are_admitted_by_policy() {
        use Disposition::{Skip, Start, Wait};
        for (overlap, busy, expected) in [
            (Overlap::Allow, true, vec![Start, Start, Start]),
            (Overlap::Skip, false, vec![Start, Skip, Skip]),
            (Overlap::Skip, true, vec![Skip, Skip, Skip]),
            (Overlap::QueueOne, false, vec![Start, Skip, Wait]),
            (Overlap::QueueOne, true, vec![Skip, Skip, Wait]),
            (Overlap::CancelOther, false, vec![Skip, Skip, Start]),
            (Overlap::CancelOther, true, vec![Skip, Skip, Start]),
        ] {
            assert_eq!(admit(overlap, busy, 3), expected, "{overlap:?} {busy}");
        }
        assert_eq!(admit(Overlap::QueueOne, false, 1), [Start]);
        assert_eq!(admit(Overlap::QueueOne, true, 1), [Wait]);
        assert!(admit(Overlap::Allow, false, 0).is_empty());
    }
}
