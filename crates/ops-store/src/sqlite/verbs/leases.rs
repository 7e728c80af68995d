//! Taking leases back, and waking due tasks: causes that the store finds by itself. An unreadable task is
//! reported and stays unchanged; the others go on.

use ops_core::{
    Micros, SessionId, TaskId, TenantId,
    ports::Due,
    rules::{Cause, clock},
};
use rusqlite::{OptionalExtension as _, Params, Row};

use crate::sqlite::{error::WriteError, verbs::follow::apply, writer::batch::Batch};

/// Takes back the leases of a session; gives the number of tasks that held a lease.
pub(crate) fn end_session(batch: &mut Batch<'_>, session: SessionId) -> Result<u32, WriteError> {
    lose(
        batch,
        "SELECT task_row, due_at, tenant_id, task_id FROM tasks \
         WHERE session_id = ? AND session_id IS NOT NULL",
        [session.as_bytes()],
    )
}

/// Takes back all leases: the leases of the process that owned the folder before.
pub(crate) fn void_leases(batch: &mut Batch<'_>) -> Result<u32, WriteError> {
    lose(
        batch,
        "SELECT task_row, due_at, tenant_id, task_id FROM tasks WHERE session_id IS NOT NULL",
        (),
    )
}

fn lose(batch: &mut Batch<'_>, select: &str, params: impl Params) -> Result<u32, WriteError> {
    let mut lost = 0;
    for found in find(batch, select, params)? {
        lost += u32::from(one(batch, found, Cause::LoseLease)?);
    }
    Ok(lost)
}

/// When the clock changes a task.
struct Times {
    /// Tasks with a date up to a time, after another date.
    past: &'static str,
    /// The first task with a date after another date.
    next: &'static str,
    cause: Cause,
}

/// A wait or a delay is over.
const DUE: Times = Times {
    past: "SELECT task_row, due_at, tenant_id, task_id FROM tasks \
           WHERE due_at <= ? AND (due_at, task_row) > (?, ?) ORDER BY due_at, task_row LIMIT ?",
    next: "SELECT due_at FROM tasks WHERE (due_at, task_row) > (?, ?) AND due_at <= ? \
           ORDER BY due_at, task_row LIMIT 1",
    cause: Cause::Wake,
};

/// The deadline has passed.
const EXPIRED: Times = Times {
    past: "SELECT task_row, expires_at, tenant_id, task_id FROM tasks \
           WHERE expires_at <= ? AND (expires_at, task_row) > (?, ?) \
           ORDER BY expires_at, task_row LIMIT ?",
    next: "SELECT expires_at FROM tasks WHERE (expires_at, task_row) > (?, ?) AND expires_at <= ? \
           ORDER BY expires_at, task_row LIMIT 1",
    cause: Cause::Expire,
};

/// Moves due tasks on, and ends the tasks that are past their deadline.
pub(crate) fn wake_due(batch: &mut Batch<'_>, limit: u32) -> Result<Due, WriteError> {
    let ended = move_on(batch, &EXPIRED, limit)?;
    let woken = move_on(batch, &DUE, limit - ended.woken)?;
    Ok(Due {
        woken: ended.woken + woken.woken,
        next: ended.next.into_iter().chain(woken.next).min(),
    })
}

/// A task that cannot be moved on is passed over: the task takes no place from later due tasks, and does
/// not count as the next to be due.
fn move_on(batch: &mut Batch<'_>, times: &Times, limit: u32) -> Result<Due, WriteError> {
    let mut woken = 0;
    let mut after = (i64::MIN, i64::MIN);
    while woken < limit {
        let left = (batch.now.0, after.0, after.1, limit - woken);
        let due = find(batch, times.past, left)?;
        let Some(last) = due.last() else { break };
        after = (last.due.unwrap_or(batch.now.0), last.row);
        for found in due {
            woken += u32::from(one(batch, found, times.cause.clone())?);
        }
    }
    let mut next = batch.conn.prepare_cached(times.next)?;
    let next = next
        .query_row((after.0, after.1, i64::MAX), |row| row.get(0).map(Micros))
        .optional()?;
    Ok(Due { woken, next })
}

/// Corrects the tasks that were written under a clock that was ahead, if the tasks are due or a session
/// holds them; gives their number.
pub(crate) fn correct_clocks(batch: &mut Batch<'_>, limit: u32) -> Result<u32, WriteError> {
    let latest = batch.now.plus(clock::SLACK).0;
    let (mut corrected, mut after) = (0, i64::MIN);
    while corrected < limit {
        let ahead = find(
            batch,
            "SELECT task_row, NULL, tenant_id, task_id FROM tasks WHERE task_row IN (\
             SELECT task_row FROM tasks INDEXED BY tasks_due \
             WHERE due_at IS NOT NULL AND updated_at > ?1 \
             UNION SELECT task_row FROM tasks INDEXED BY tasks_expiring \
             WHERE expires_at IS NOT NULL AND updated_at > ?1 \
             UNION SELECT task_row FROM tasks INDEXED BY tasks_leased \
             WHERE session_id IS NOT NULL AND updated_at > ?1) \
             AND task_row > ?2 ORDER BY task_row LIMIT ?3",
            (latest, after, limit - corrected),
        )?;
        let Some(last) = ahead.last() else { break };
        after = last.row;
        for found in ahead {
            corrected += u32::from(one(batch, found, Cause::CorrectClock)?);
        }
    }
    Ok(corrected)
}

/// A task that a cause is for.
struct Found {
    row: i64,
    due: Option<i64>,
    key: rusqlite::Result<(TenantId, TaskId)>,
}

fn find(batch: &Batch<'_>, select: &str, params: impl Params) -> rusqlite::Result<Vec<Found>> {
    batch
        .conn
        .prepare_cached(select)?
        .query_map(params, |row| {
            Ok(Found {
                row: row.get(0)?,
                // What is due is a number; what is leased is not due.
                due: row.get(1).unwrap_or_default(),
                key: key(row),
            })
        })?
        .collect()
}

fn key(row: &Row<'_>) -> rusqlite::Result<(TenantId, TaskId)> {
    Ok((TenantId(row.get(2)?), TaskId::from_bytes(row.get(3)?)))
}

/// Applies a cause to one of many tasks; tells whether the rules accepted the cause.
fn one(batch: &mut Batch<'_>, found: Found, cause: Cause) -> Result<bool, WriteError> {
    let (tenant, task) = match found.key.map_err(WriteError::from) {
        Ok(key) => key,
        Err(WriteError::Refused(error)) => {
            batch.report(found.row, "unknown", &error);
            return Ok(false);
        }
        Err(broken) => return Err(broken),
    };
    match apply(batch, tenant, task, cause) {
        Err(WriteError::Refused(error)) => {
            batch.report(found.row, task, &error);
            Ok(false)
        }
        done => done,
    }
}
