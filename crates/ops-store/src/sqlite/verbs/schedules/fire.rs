//! Commits the runs of a schedule: tasks, notes and the schedule's next date, all or nothing.

use std::{collections::BTreeSet, sync::LazyLock};

use ops_core::{
    Actor, Micros, TaskAction, TaskCommand, TaskId, TenantId,
    ports::{NewTask, StoreError},
    rules::schedule::{self as rule, Act, Found, MAX_KEPT_RUNS},
    schedule::{Occasion, RunOutcome, ScheduleName, ScheduleRun},
};
use rusqlite::params;

use crate::sqlite::{
    error::WriteError,
    queries::schedules as read,
    schema::sums::{SCHEDULE_RUNS, SCHEDULES, intact},
    values::pack::Values,
    verbs::{command, submit},
    writer::batch::Batch,
};

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
) -> Result<Vec<ScheduleRun>, WriteError> {
    let (row, schedule) = read::one(&batch.view(), tenant, name)?.ok_or(StoreError::NotFound)?;
    let key = (tenant, row);
    let dates: Vec<(Micros, Option<&str>)> = fire
        .runs
        .iter()
        .map(|(due, task)| (*due, task.as_ref().err().map(String::as_str)))
        .collect();
    let found = Found {
        schedule: &schedule,
        busy: read::is_busy(&batch.view(), tenant, row)?,
        noted: noted(batch, key, rule::dates(fire.occasion, &dates))?,
    };
    let occasion = (fire.revision, fire.occasion);
    let Some(fired) = rule::fire(found, occasion, &dates, batch.now) else {
        return Ok(Vec::new());
    };
    batch.changes.written = true;
    let mut tasks: Vec<Option<Packed>> = fire.runs.into_iter().map(|(_, task)| task.ok()).collect();
    let mut runs = Vec::new();
    for act in fired.acts {
        let run = match act {
            Act::Note(run) => run,
            Act::Start { run, due, cancels } => {
                let Some(task) = tasks.get_mut(run).and_then(Option::take) else {
                    continue;
                };
                let outcome = start(batch, task)?;
                if cancels && matches!(outcome, RunOutcome::Started(_)) {
                    // The new run is not noted yet, so that it is none of them.
                    cancel_earlier(batch, key, name)?;
                }
                ScheduleRun {
                    due,
                    at: batch.now,
                    trigger: fired.trigger,
                    outcome,
                }
            }
            Act::Forget(due) => {
                forget(batch, key, due)?;
                continue;
            }
            Act::PassOver(due) => {
                pass_over(batch, key, due)?;
                continue;
            }
        };
        note(batch, key, &run)?;
        runs.push(run);
    }
    batch.conn.prepare_cached(&MOVE_ON)?.execute((
        fired.next_at.map(|at| at.0),
        fired.waiting.map(|at| at.0),
        row,
    ))?;
    prune(batch, key)?;
    Ok(runs)
}

fn start(batch: &mut Batch<'_>, (new, values): Packed) -> Result<RunOutcome, WriteError> {
    let id = new.task.id;
    match submit::submit(batch, new, &values) {
        Ok(_) => Ok(rule::started(Ok(id))),
        Err(WriteError::Refused(error)) => Ok(rule::started(Err(error))),
        Err(broken) => Err(broken),
    }
}

/// Cancels the tasks of the noted runs that have not ended. One that cannot be read holds up no other.
fn cancel_earlier(
    batch: &mut Batch<'_>,
    (tenant, row): Key,
    name: &ScheduleName,
) -> Result<(), WriteError> {
    for task in read::going_on(&batch.view(), tenant, row)? {
        let cancel = TaskCommand {
            actor: Actor::Schedule(name.clone()),
            action: TaskAction::Cancel,
        };
        match command::apply(batch, tenant, task, cancel, &Values::default()) {
            Ok(_) => {}
            Err(WriteError::Refused(error)) => {
                tracing::error!(%task, %error, "a task of an earlier run cannot be cancelled");
            }
            Err(broken) => return Err(broken),
        }
    }
    Ok(())
}

/// The dates for which the clock's run was noted before.
fn noted(
    batch: &Batch<'_>,
    (tenant, row): Key,
    mut dates: BTreeSet<Micros>,
) -> rusqlite::Result<BTreeSet<Micros>> {
    let mut select = batch.conn.prepare_cached(
        "SELECT 1 FROM schedule_runs WHERE tenant_id = ? AND schedule_row = ? AND due = ? \
         AND cause = 'clock'",
    )?;
    let mut failed = Ok(());
    dates.retain(|due| {
        let exists = select.exists((tenant.0, row, due.0));
        exists.unwrap_or_else(|error| {
            failed = Err(error);
            false
        })
    });
    failed.map(|()| dates)
}

fn note(batch: &Batch<'_>, (tenant, row): Key, run: &ScheduleRun) -> rusqlite::Result<()> {
    let (outcome, task, message) = match &run.outcome {
        RunOutcome::Started(task) => ("started", Some(task), None),
        RunOutcome::Waiting => ("waiting", None, None),
        RunOutcome::Skipped => ("skipped", None, None),
        RunOutcome::Missed => ("missed", None, None),
        RunOutcome::Refused(message) => ("refused", None, Some(message)),
    };
    let mut insert = batch.conn.prepare_cached(&NOTE)?;
    insert
        .execute(params![
            tenant.0,
            row,
            run.due.0,
            run.at.0,
            run.trigger.as_str(),
            outcome,
            task.map(TaskId::as_bytes),
            message,
        ])
        .map(drop)
}

/// Takes back the note of a run that waited: its new outcome is noted anew.
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

/// Forgets old runs. The query finds the runs behind the last [`MAX_KEPT_RUNS`] whose tasks have ended, and
/// the rule decides about each. A damaged run stays: the fire is written by now.
fn prune(batch: &Batch<'_>, (tenant, row): Key) -> rusqlite::Result<()> {
    let mut select = batch.conn.prepare_cached(concat!(
        "SELECT due, at, cause, outcome, task_id, message, ",
        intact!(schedule_runs),
        ", run_row FROM schedule_runs WHERE tenant_id = ?1 AND schedule_row = ?2 \
         AND run_row <= (SELECT run_row FROM schedule_runs WHERE tenant_id = ?1 \
           AND schedule_row = ?2 ORDER BY run_row DESC LIMIT 1 OFFSET ?3) \
         AND outcome <> 'waiting' AND NOT EXISTS (SELECT 1 FROM tasks \
           WHERE tasks.tenant_id = ?1 AND tasks.task_id = schedule_runs.task_id \
           AND state NOT IN ('completed', 'failed', 'cancelled'))"
    ))?;
    let mut old = Vec::new();
    let mut rows = select.query((tenant.0, row, MAX_KEPT_RUNS))?;
    while let Some(found) = rows.next()? {
        match read::run(found).map_err(WriteError::from) {
            Ok(run) if rule::is_forgotten(&run.outcome, MAX_KEPT_RUNS as usize, false) => {
                old.push(found.get::<_, i64>(7)?);
            }
            Ok(_) => {}
            Err(WriteError::Refused(error)) => {
                tracing::error!(%error, "a run of a schedule cannot be read and is kept");
            }
            Err(WriteError::Broken(error)) => return Err(error),
        }
    }
    let mut delete = batch
        .conn
        .prepare_cached("DELETE FROM schedule_runs WHERE run_row = ?")?;
    for run_row in old {
        delete.execute([run_row])?;
    }
    Ok(())
}
