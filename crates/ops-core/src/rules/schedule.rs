//! What becomes of schedules and of their runs.

use std::collections::BTreeSet;

use crate::{
    id::TaskId,
    ports::{NewSchedule, ScheduleChange, StoreError},
    schedule::{Occasion, Overlap, RunOutcome, Schedule, ScheduleRun, Trigger, Verdict, admit},
    time::Micros,
};

/// How many runs of a schedule are kept, beside those that wait or whose tasks have not ended.
pub const KEPT_RUNS: u32 = 100;

/// What becomes of a schedule that is put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// It is new.
    Created(Schedule),
    /// It is another one now.
    Changed(Schedule),
    /// It was so before.
    Unchanged(Schedule),
}

/// Decides about a schedule that is put. What was requested already changes nothing; a change of
/// anything but the dates keeps the next one, so that a missed run is still made up for.
///
/// # Errors
/// [`StoreError::ScheduleChanged`] if the stored one is not as expected.
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

/// What a change makes of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// It was so before.
    Unchanged,
    /// It is this one now.
    To(Schedule),
    /// It is removed, with what is known of its runs.
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

/// What has to be known of a schedule whose runs are seen to.
#[derive(Debug)]
pub struct Found<'a> {
    /// The schedule.
    pub schedule: &'a Schedule,
    /// Whether a task that it started has not ended.
    pub busy: bool,
    /// The dates among those of the fire for which the clock's run was noted before.
    pub noted: BTreeSet<Micros>,
}

/// One thing to do for a fire, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Note what became of a run.
    Note(ScheduleRun),
    /// Submit the task of the run at this place of the fire, and note what [`started`] says.
    Start {
        /// The place.
        run: usize,
        /// When it was due.
        due: Micros,
    },
    /// Take back the note of the clock's run of this date, which waited: a new one follows.
    Forget(Micros),
    /// The run of this date waited: note that it is passed over.
    PassOver(Micros),
}

/// What a fire does. Nothing of it is done unless all of it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fired {
    /// Why there are runs.
    pub trigger: Trigger,
    /// What to do.
    pub acts: Vec<Act>,
    /// When the schedule is due next.
    pub next_at: Option<Micros>,
    /// The run that waits.
    pub waiting: Option<Micros>,
}

/// Decides about the runs of a fire: `runs` are their dates, each with the reason if there can be no
/// task. None if the fire was seen to before, or was made for another revision.
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
    if revision != schedule.revision || !stands(schedule, occasion) {
        return None;
    }
    let overlap = match occasion {
        Occasion::Due { .. } => schedule.spec.overlap,
        // Somebody asked for a run meanwhile: the one that waits goes on waiting.
        Occasion::Waited { .. } if busy => return None,
        Occasion::Asked | Occasion::Waited { .. } => Overlap::Allow,
    };
    let (trigger, next_at, mut waiting) = match occasion {
        Occasion::Asked => (Trigger::Manual, schedule.next_at, schedule.waiting),
        Occasion::Waited { .. } => (Trigger::Clock, schedule.next_at, None),
        Occasion::Due { next, .. } => (Trigger::Clock, next, schedule.waiting),
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
    let verdicts = admit(overlap, busy, runs.len());
    for (place, ((due, refused), verdict)) in runs.iter().zip(verdicts).enumerate() {
        match (occasion, trigger) {
            (Occasion::Waited { .. }, _) => acts.push(Act::Forget(*due)),
            (_, Trigger::Clock) if !noted.insert(*due) => continue,
            (_, Trigger::Clock | Trigger::Manual) => {}
        }
        let act = match (verdict, refused) {
            (Verdict::Start, None) => Act::Start {
                run: place,
                due: *due,
            },
            (Verdict::Start, Some(why)) => {
                Act::Note(run(*due, RunOutcome::Refused((*why).to_owned())))
            }
            (Verdict::Wait, _) => {
                acts.extend(waiting.replace(*due).map(Act::PassOver));
                Act::Note(run(*due, RunOutcome::Waiting))
            }
            (Verdict::Skip, _) => Act::Note(run(*due, RunOutcome::Skipped)),
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
        Occasion::Waited { .. } | Occasion::Asked => None,
    };
    runs.iter().map(|(due, _)| *due).chain(own).collect()
}

/// What became of a run whose task was submitted, or refused by the store.
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
    let is_old = u32::try_from(newer).map_or(true, |newer| newer >= KEPT_RUNS);
    match outcome {
        RunOutcome::Waiting => false,
        RunOutcome::Started(_) => is_old && !task_goes_on,
        RunOutcome::Skipped | RunOutcome::Missed | RunOutcome::Refused(_) => is_old,
    }
}

/// Whether what a fire found is still so.
fn stands(schedule: &Schedule, occasion: Occasion) -> bool {
    match occasion {
        Occasion::Due { due, .. } => schedule.next_at == Some(due),
        Occasion::Waited { due } => schedule.waiting == Some(due),
        Occasion::Asked => true,
    }
}

#[cfg(test)]
mod tests;
