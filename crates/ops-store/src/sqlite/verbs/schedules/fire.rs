//! Seeing to the runs of a schedule: tasks, notes and the schedule's next date, all or nothing.

use std::sync::LazyLock;

use ops_core::{
    Micros, TaskId, TenantId,
    ports::{NewTask, StoreError},
    schedule::{
        Occasion, Overlap, RunOutcome, Schedule, ScheduleName, ScheduleRun, Trigger, Verdict, admit,
    },
};
use rusqlite::params;

use crate::sqlite::{
    error::Fault,
    queries::schedules as read,
    schema::sums::{SCHEDULE_RUNS, SCHEDULES},
    values::pack::Values,
    verbs::submit,
    writer::batch::Batch,
};

/// How many runs of a schedule are kept, beside those whose tasks have not ended.
const KEPT: u32 = 100;

static MOVE_ON: LazyLock<String> =
    LazyLock::new(|| SCHEDULES.update(&["next_at", "waiting"], "schedule_row = ?3"));

static NOTE: LazyLock<String> = LazyLock::new(|| {
    let columns = [
        "tenant_id",
        "schedule_row",
        "due",
        "at",
        "cause",
        "outcome",
        "task_id",
        "message",
    ];
    let insert = SCHEDULE_RUNS.insert(&columns, &[]);
    format!("{insert} ON CONFLICT DO NOTHING")
});

/// A run that is damaged stays as it is.
static PASS_OVER: LazyLock<String> = LazyLock::new(|| {
    let condition = format!(
        "tenant_id = ?1 AND schedule_row = ?2 AND due = ?3 AND outcome = 'waiting' AND {}",
        SCHEDULE_RUNS.intact
    );
    SCHEDULE_RUNS.set(&[("outcome", "'skipped'")], &condition)
});

/// A fire whose tasks are packed.
pub(crate) struct Prepared {
    pub(crate) revision: u64,
    pub(crate) occasion: Occasion,
    pub(crate) runs: Vec<(Micros, Result<Packed, String>)>,
}

/// A task with its large values.
pub(crate) type Packed = (NewTask, Values);

/// A schedule's tenant and row.
type Key = (TenantId, i64);

pub(crate) fn fire(
    batch: &mut Batch<'_>,
    tenant: TenantId,
    name: &ScheduleName,
    fire: Prepared,
) -> Result<Vec<ScheduleRun>, Fault> {
    let (row, schedule) = read::one(batch.conn, tenant, name)?.ok_or(StoreError::NotFound)?;
    if fire.revision != schedule.revision || !stands(&schedule, fire.occasion) {
        return Ok(Vec::new());
    }
    let key = (tenant, row);
    let busy = read::is_busy(batch.conn, tenant, row)?;
    let overlap = match fire.occasion {
        Occasion::Asked => Overlap::Allow,
        Occasion::Due { .. } => schedule.spec.overlap,
        // Somebody asked for a run meanwhile: the one that waits goes on waiting.
        Occasion::Waited { .. } if busy => return Ok(Vec::new()),
        Occasion::Waited { .. } => Overlap::Allow,
    };
    batch.changes.written = true;
    let (trigger, mut waiting, next) = match fire.occasion {
        Occasion::Asked => (Trigger::Manual, schedule.waiting, schedule.next_at),
        Occasion::Waited { .. } => (Trigger::Clock, None, schedule.next_at),
        Occasion::Due { next, .. } => (Trigger::Clock, schedule.waiting, next),
    };
    let mut runs = Vec::new();
    if let Occasion::Due {
        due, missed: true, ..
    } = fire.occasion
    {
        let run = noted(batch, due, trigger, RunOutcome::Missed);
        if note(batch, key, &run)? {
            runs.push(run);
        }
    }
    let verdicts = admit(overlap, busy, fire.runs.len());
    for ((due, task), verdict) in fire.runs.into_iter().zip(verdicts) {
        if let Occasion::Waited { .. } = fire.occasion {
            forget(batch, key, due)?;
        } else if is_noted(batch, key, due, trigger)? {
            continue;
        }
        let outcome = match (verdict, task) {
            (Verdict::Start, Ok(task)) => start(batch, task)?,
            (Verdict::Start, Err(message)) => RunOutcome::Refused(message),
            (Verdict::Wait, _) => {
                if let Some(other) = waiting.replace(due) {
                    pass_over(batch, key, other)?;
                }
                RunOutcome::Waiting
            }
            (Verdict::Skip, _) => RunOutcome::Skipped,
        };
        let run = noted(batch, due, trigger, outcome);
        note(batch, key, &run)?;
        runs.push(run);
    }
    batch.conn.prepare_cached(&MOVE_ON)?.execute((
        next.map(|at| at.0),
        waiting.map(|at| at.0),
        row,
    ))?;
    prune(batch, key)?;
    Ok(runs)
}

/// Whether what a fire found is still so.
fn stands(schedule: &Schedule, occasion: Occasion) -> bool {
    match occasion {
        Occasion::Due { due, .. } => schedule.next_at == Some(due),
        Occasion::Waited { due } => schedule.waiting == Some(due),
        Occasion::Asked => true,
    }
}

fn start(batch: &mut Batch<'_>, (new, values): Packed) -> Result<RunOutcome, Fault> {
    let id = new.task.id;
    match submit::submit(batch, new, &values) {
        Ok(_) => Ok(RunOutcome::Started(id)),
        Err(Fault::Refused(error)) => Ok(RunOutcome::Refused(error.to_string())),
        Err(broken) => Err(broken),
    }
}

fn noted(batch: &Batch<'_>, due: Micros, trigger: Trigger, outcome: RunOutcome) -> ScheduleRun {
    ScheduleRun {
        due,
        at: batch.now,
        trigger,
        outcome,
    }
}

/// Notes a run; false if its date was seen to before.
fn note(batch: &Batch<'_>, (tenant, row): Key, run: &ScheduleRun) -> rusqlite::Result<bool> {
    let (outcome, task, message) = match &run.outcome {
        RunOutcome::Started(task) => ("started", Some(task), None),
        RunOutcome::Waiting => ("waiting", None, None),
        RunOutcome::Skipped => ("skipped", None, None),
        RunOutcome::Missed => ("missed", None, None),
        RunOutcome::Refused(message) => ("refused", None, Some(message)),
    };
    let mut insert = batch.conn.prepare_cached(&NOTE)?;
    let inserted = insert.execute(params![
        tenant.0,
        row,
        run.due.0,
        run.at.0,
        run.trigger.as_str(),
        outcome,
        task.map(TaskId::as_bytes),
        message,
    ])?;
    Ok(inserted > 0)
}

/// Whether the clock's run of this date was noted before: it is then seen to.
fn is_noted(
    batch: &Batch<'_>,
    (tenant, row): Key,
    due: Micros,
    trigger: Trigger,
) -> rusqlite::Result<bool> {
    match trigger {
        Trigger::Manual => Ok(false),
        Trigger::Clock => batch
            .conn
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM schedule_runs WHERE tenant_id = ? \
                 AND schedule_row = ? AND due = ? AND cause = 'clock')",
            )?
            .query_row((tenant.0, row, due.0), |row| row.get(0)),
    }
}

/// Takes back the note of a run that waited: what becomes of it now is noted anew.
fn forget(batch: &Batch<'_>, (tenant, row): Key, due: Micros) -> rusqlite::Result<()> {
    batch
        .conn
        .prepare_cached(
            "DELETE FROM schedule_runs WHERE tenant_id = ? AND schedule_row = ? AND due = ? \
             AND cause = 'clock'",
        )?
        .execute((tenant.0, row, due.0))
        .map(drop)
}

/// Notes that a run that waited is passed over.
pub(crate) fn pass_over(
    batch: &Batch<'_>,
    (tenant, row): Key,
    due: Micros,
) -> rusqlite::Result<()> {
    batch
        .conn
        .prepare_cached(&PASS_OVER)?
        .execute((tenant.0, row, due.0))
        .map(drop)
}

/// Forgets old runs, but none whose task has not ended or that waits.
fn prune(batch: &Batch<'_>, (tenant, row): Key) -> rusqlite::Result<()> {
    batch
        .conn
        .prepare_cached(
            "DELETE FROM schedule_runs WHERE tenant_id = ?1 AND schedule_row = ?2 \
             AND run_row <= (SELECT run_row FROM schedule_runs WHERE tenant_id = ?1 \
               AND schedule_row = ?2 ORDER BY run_row DESC LIMIT 1 OFFSET ?3) \
             AND outcome <> 'waiting' AND NOT EXISTS (SELECT 1 FROM tasks \
               WHERE tasks.tenant_id = ?1 AND tasks.task_id = schedule_runs.task_id \
               AND state NOT IN ('completed', 'failed', 'cancelled'))",
        )?
        .execute((tenant.0, row, KEPT))
        .map(drop)
}
