//! A schedule: a task template, and when tasks are made of it. The calendar itself (cron patterns,
//! time zones) is the engine's; here is what becomes of the runs that it says are due.

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
pub const MOST_MISSED: usize = 100;

/// The name of a schedule, unique within its tenant: what people call it by.
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
    /// What becomes of a run that is due while an earlier one has not ended.
    Overlap {
        /// It is passed over.
        #[default]
        Skip = "skip",
        /// It starts when the earlier one has ended; one waits at the most, the newest.
        QueueOne = "queue_one",
        /// It starts at once.
        Allow = "allow",
    }
}
choice! {
    /// What becomes of runs that were due while no server ran.
    CatchUp {
        /// They are passed over.
        None = "none",
        /// The last of them is made up for.
        #[default]
        Latest = "latest",
        /// Each is made up for, at most [`MOST_MISSED`] of them: the newest.
        All = "all",
    }
}

/// What somebody wants of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleSpec {
    /// When: a cron pattern.
    pub cron: String,
    /// The IANA name of the time zone that the pattern is read in.
    pub timezone: String,
    /// What becomes of a run while an earlier one has not ended.
    pub overlap: Overlap,
    /// What becomes of runs that were missed.
    pub catch_up: CatchUp,
    /// What is submitted; opaque to the store.
    pub template: Json,
}

/// A schedule as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its name.
    pub name: ScheduleName,
    /// What is wanted.
    pub spec: ScheduleSpec,
    /// Whether it is stopped until somebody resumes it.
    pub paused: bool,
    /// Counts the changes of the spec and of `paused`; a fire names the one that it was made for.
    pub revision: u64,
    /// When it is due next; none while it is paused, and if it never is again.
    pub next_at: Option<Micros>,
    /// The run that waits for an earlier one to end, by the time that it was due.
    pub waiting: Option<Micros>,
    /// When it was made.
    pub created_at: Micros,
    /// When it was last changed; a run is no change.
    pub updated_at: Micros,
}

/// Why there was a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// The clock.
    Clock,
    /// Somebody asked for it.
    Manual,
}

impl Trigger {
    /// The name as it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::Manual => "manual",
        }
    }
}

/// What became of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunOutcome {
    /// A task was submitted.
    Started(TaskId),
    /// It waits for an earlier one to end.
    Waiting,
    /// An earlier one had not ended.
    Skipped,
    /// No server ran when it was due, and neither when those were that came after it.
    Missed,
    /// The template was refused.
    Refused(String),
}

/// One run of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleRun {
    /// When it was due.
    pub due: Micros,
    /// When it was seen to.
    pub at: Micros,
    /// Why there was one.
    pub trigger: Trigger,
    /// What became of it.
    pub outcome: RunOutcome,
}

/// What to do with a schedule that is due.
#[derive(Debug, Clone, PartialEq)]
pub struct Fire {
    /// The revision that it was made for; it does nothing if there is another one by now.
    pub revision: u64,
    /// Which of the schedule's runs it sees to.
    pub occasion: Occasion,
    /// The runs in the order of their dates: a task each, or why there can be none.
    pub runs: Vec<(Micros, Result<NewTask, String>)>,
}

/// What a fire sees to. It names what it found, so that the same one cannot be seen to twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// The clock has reached `due`.
    Due {
        /// The schedule's `next_at`.
        due: Micros,
        /// Its next `next_at`.
        next: Option<Micros>,
        /// Whether `due` and those after it, up to the first run, are passed over.
        missed: bool,
    },
    /// The run that waited may start.
    Waited {
        /// The schedule's `waiting`.
        due: Micros,
    },
    /// Somebody asks for a run now, whatever else runs.
    Asked,
}

/// What becomes of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It starts.
    Start,
    /// It waits for the earlier one, in place of another that did.
    Wait,
    /// It is passed over.
    Skip,
}

/// What becomes of so many runs that are due at once, oldest first, while an earlier one has
/// (`busy`) or has not ended.
#[must_use]
pub fn admit(overlap: Overlap, busy: bool, runs: usize) -> Vec<Verdict> {
    let mut verdicts = Vec::with_capacity(runs);
    for index in 0..runs {
        let free = !busy && index == 0;
        verdicts.push(match overlap {
            Overlap::Allow => Verdict::Start,
            Overlap::Skip | Overlap::QueueOne if free => Verdict::Start,
            Overlap::QueueOne if index + 1 == runs => Verdict::Wait,
            Overlap::Skip | Overlap::QueueOne => Verdict::Skip,
        });
    }
    verdicts
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
        use Verdict::{Skip, Start, Wait};
        for (overlap, busy, expected) in [
            (Overlap::Allow, true, vec![Start, Start, Start]),
            (Overlap::Skip, false, vec![Start, Skip, Skip]),
            (Overlap::Skip, true, vec![Skip, Skip, Skip]),
            (Overlap::QueueOne, false, vec![Start, Skip, Wait]),
            (Overlap::QueueOne, true, vec![Skip, Skip, Wait]),
        ] {
            assert_eq!(admit(overlap, busy, 3), expected, "{overlap:?} {busy}");
        }
        assert_eq!(admit(Overlap::QueueOne, false, 1), [Start]);
        assert_eq!(admit(Overlap::QueueOne, true, 1), [Wait]);
        assert!(admit(Overlap::Allow, false, 0).is_empty());
    }
}
