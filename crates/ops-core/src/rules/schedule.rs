//! Rules of schedules and of their runs.

use std::collections::BTreeSet;

use crate::{
    id::TaskId,
    ports::{NewSchedule, ScheduleChange, StoreError},
    schedule::{Disposition, Occasion, Overlap, RunOutcome, Schedule, ScheduleRun, Trigger, admit},
    time::Micros,
};

/// How many runs of a schedule are kept, beside the runs that wait or whose tasks have not ended.
pub const MAX_KEPT_RUNS: u32 = 100;

/// Outcome of putting a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// The schedule is new.
    Created(Schedule),
    /// The schedule has changed.
    Changed(Schedule),
    /// The schedule stays the same.
    Unchanged(Schedule),
}

/// Decides about a schedule that is put. A request equal to the stored schedule changes nothing; a change
/// of anything but the dates keeps the next date, so that a missed run is still made up for.
///
/// # Errors
/// [`StoreError::ScheduleChanged`] if the precondition fails.
pub fn put(before: Option<&Schedule>, new: NewSchedule, now: Micros) -> Result<Put, StoreError> {
    let NewSchedule {
        tenant,
        name,
        spec,
        paused,
        next_at,
        expected,
    } = new;
    expected.check(before.map(|before| before.revision))?;
    let paused = paused.or(before.map(|before| before.paused)) == Some(true);
    let keeps_dates = |before: &&Schedule| {
        !before.paused && before.spec.cron == spec.cron && before.spec.timezone == spec.timezone
    };
    let next_at = match before.filter(keeps_dates) {
        _ if paused => None,
        Some(before) => before.next_at,
        None => next_at,
    };
    let after = Schedule {
        tenant,
        name,
        spec,
        paused,
        revision: before.map_or(1, |before| before.revision + 1),
        next_at,
        waiting: before.and_then(|before| before.waiting).filter(|_| !paused),
        created_at: before.map_or(now, |before| before.created_at),
        updated_at: now,
    };
    Ok(match before {
        None => Put::Created(after),
        Some(before) if before.spec == after.spec && before.paused == after.paused => {
            Put::Unchanged(before.clone())
        }
        Some(_) => Put::Changed(after),
    })
}

/// Outcome of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// The schedule stays the same.
    Unchanged,
    /// The schedule after the change.
    To(Schedule),
    /// The schedule is removed, with the history of its runs.
    Removed,
}

/// Decides about a change of a schedule.
///
/// # Errors
/// [`StoreError::ScheduleChanged`] if it is not as expected.
pub fn change(
    before: &Schedule,
    change: ScheduleChange,
    now: Micros,
) -> Result<Changed, StoreError> {
    let (ScheduleChange::Pause { expected }
    | ScheduleChange::Resume { expected, .. }
    | ScheduleChange::Remove { expected }) = change;
    expected.check(Some(before.revision))?;
    let (paused, next_at) = match change {
        ScheduleChange::Pause { .. } => (true, None),
        ScheduleChange::Resume { next_at, .. } => (false, next_at),
        ScheduleChange::Remove { .. } => return Ok(Changed::Removed),
    };
    if before.paused == paused {
        return Ok(Changed::Unchanged);
    }
    Ok(Changed::To(Schedule {
        paused,
        revision: before.revision + 1,
        next_at,
        waiting: None,
        updated_at: now,
        ..before.clone()
    }))
}

/// The run that waited before a change and is passed over by it.
#[must_use]
pub fn passed_over(before: &Schedule, after: &Schedule) -> Option<Micros> {
    before.waiting.filter(|_| after.waiting.is_none())
}

/// Whether the clock has reached the next date of a schedule.
#[must_use]
pub fn is_due(schedule: &Schedule, now: Micros) -> bool {
    schedule.next_at.is_some_and(|next| next <= now)
}

/// The facts about a schedule that a fire decides by.
#[derive(Debug)]
pub struct Found<'a> {
    /// The schedule.
    pub schedule: &'a Schedule,
    /// Whether a task that it started has not ended.
    pub busy: bool,
    /// The dates of the fire for which the calendar's run was noted before.
    pub noted: BTreeSet<Micros>,
}

/// One thing to do for a fire, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Note the outcome of a run.
    Note(ScheduleRun),
    /// Submit the task of the run at this index of the fire, and note the result of [`started`].
    Start {
        /// The place.
        run: usize,
        /// Due date.
        due: Micros,
        /// Whether the tasks of earlier runs that have not ended are cancelled once the new one is accepted. The
        /// schedule is the actor.
        cancels: bool,
    },
    /// Take back the note of the clock's run of this date, which waited: a new one follows.
    Forget(Micros),
    /// The run of this date waited: note that the run is skipped.
    PassOver(Micros),
}

/// The acts of a fire: all of them commit, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fired {
    /// Why there are runs.
    pub trigger: Trigger,
    /// The acts, in order.
    pub acts: Vec<Act>,
    /// When the schedule is due next.
    pub next_at: Option<Micros>,
    /// The run that waits.
    pub waiting: Option<Micros>,
}

/// Decides about the runs of a fire: `runs` are their dates, each with the reason if the run has no task.
/// `None` if the fire was committed before, or was made for another revision.
#[must_use]
pub fn fire(
    found: Found<'_>,
    (revision, occasion): (u64, Occasion),
    runs: &[(Micros, Option<&str>)],
    now: Micros,
) -> Option<Fired> {
    let Found {
        schedule,
        busy,
        mut noted,
    } = found;
    let stands = stands(schedule, occasion) || units::mutant!("ops-core.fires_whatever_stands");
    if revision != schedule.revision || !stands {
        return None;
    }
    let overlap = match occasion {
        Occasion::Due { .. } => schedule.spec.overlap,
        // Somebody asked for a run meanwhile: the one that waits goes on waiting.
        Occasion::Waited { .. } if busy => return None,
        Occasion::Manual | Occasion::Waited { .. } => Overlap::Allow,
    };
    let (trigger, next_at, mut waiting) = match occasion {
        Occasion::Manual => (Trigger::Manual, schedule.next_at, schedule.waiting),
        Occasion::Waited { .. } => (Trigger::Due, schedule.next_at, None),
        Occasion::Due { next, .. } => (Trigger::Due, next, schedule.waiting),
    };
    let run = |due, outcome| ScheduleRun {
        due,
        at: now,
        trigger,
        outcome,
    };
    let mut acts = Vec::new();
    if let Occasion::Due {
        due, missed: true, ..
    } = occasion
        && noted.insert(due)
    {
        acts.push(Act::Note(run(due, RunOutcome::Missed)));
    }
    let dispositions = admit(overlap, busy, runs.len());
    for (place, ((due, refused), disposition)) in runs.iter().zip(dispositions).enumerate() {
        match (occasion, trigger) {
            (Occasion::Waited { .. }, _) => acts.push(Act::Forget(*due)),
            (_, Trigger::Due) if !noted.insert(*due) => continue,
            (_, Trigger::Due | Trigger::Manual) => {}
        }
        let act = match (disposition, refused) {
            (Disposition::Start, None) => Act::Start {
                run: place,
                due: *due,
                cancels: busy && overlap == Overlap::CancelOther,
            },
            (Disposition::Start, Some(why)) => {
                Act::Note(run(*due, RunOutcome::Refused((*why).to_owned())))
            }
            (Disposition::Wait, _) => {
                acts.extend(waiting.replace(*due).map(Act::PassOver));
                Act::Note(run(*due, RunOutcome::Waiting))
            }
            (Disposition::Skip, _) => Act::Note(run(*due, RunOutcome::Skipped)),
        };
        acts.push(act);
    }
    Some(Fired {
        trigger,
        acts,
        next_at,
        waiting,
    })
}

/// The dates of a fire: the store says which of them were noted before.
#[must_use]
pub fn dates(occasion: Occasion, runs: &[(Micros, Option<&str>)]) -> BTreeSet<Micros> {
    let own = match occasion {
        Occasion::Due { due, .. } => Some(due),
        Occasion::Waited { .. } | Occasion::Manual => None,
    };
    runs.iter().map(|(due, _)| *due).chain(own).collect()
}

/// The outcome of a run whose task was submitted, or refused by the store.
#[must_use]
pub fn started(submitted: Result<TaskId, StoreError>) -> RunOutcome {
    match submitted {
        Ok(task) => RunOutcome::Started(task),
        Err(error) => RunOutcome::Refused(error.to_string()),
    }
}

/// Whether a run that has `newer` runs after it is forgotten. `task_goes_on` says whether its task has
/// not ended.
#[must_use]
pub fn is_forgotten(outcome: &RunOutcome, newer: usize, task_goes_on: bool) -> bool {
    let is_old = u32::try_from(newer).map_or(true, |newer| newer >= MAX_KEPT_RUNS);
    match outcome {
        RunOutcome::Waiting => false,
        RunOutcome::Started(_) => is_old && !task_goes_on,
        RunOutcome::Skipped | RunOutcome::Missed | RunOutcome::Refused(_) => is_old,
    }
}

/// Whether the state that the fire found still holds.
fn stands(schedule: &Schedule, occasion: Occasion) -> bool {
    match occasion {
        Occasion::Due { due, .. } => schedule.next_at == Some(due),
        Occasion::Waited { due } => schedule.waiting == Some(due),
        Occasion::Manual => true,
    }
}

#[cfg(test)]
mod tests;
