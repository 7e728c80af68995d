//! Taking leases back, and waking what is due: commands that the store finds by itself.

use ops_core::{Command, Micros, SessionId, TaskId, TenantId, ports::Due};
use rusqlite::{Params, Row};

use super::{apply::apply_own, batch::Batch, error::Fault};

/// Takes back the leases of a session; says how many tasks held one.
pub(super) fn end_session(batch: &mut Batch<'_>, session: SessionId) -> Result<u32, Fault> {
    lose(
        batch,
        "SELECT tenant_id, task_id FROM tasks WHERE session_id = ? AND session_id IS NOT NULL",
        [session.as_bytes()],
    )
}

/// Takes back all leases: those of the process that owned the folder before.
pub(super) fn void_leases(batch: &mut Batch<'_>) -> Result<u32, Fault> {
    lose(
        batch,
        "SELECT tenant_id, task_id FROM tasks WHERE session_id IS NOT NULL",
        (),
    )
}

fn lose(batch: &mut Batch<'_>, select: &str, params: impl Params) -> Result<u32, Fault> {
    let mut lost = 0;
    for (tenant, task) in keys(batch, select, params)? {
        lost += u32::from(apply_own(batch, tenant, task, Command::LoseLease)?);
    }
    Ok(lost)
}

/// Moves on what is due.
pub(super) fn wake_due(batch: &mut Batch<'_>, limit: u32) -> Result<Due, Fault> {
    let due = keys(
        batch,
        "SELECT tenant_id, task_id FROM tasks WHERE due_at <= ? ORDER BY due_at LIMIT ?",
        (batch.now.0, limit),
    )?;
    let mut woken = 0;
    for (tenant, task) in due {
        woken += u32::from(apply_own(batch, tenant, task, Command::Wake)?);
    }
    let mut next = batch
        .conn
        .prepare_cached("SELECT min(due_at) FROM tasks WHERE due_at IS NOT NULL")?;
    let next = next
        .query_row((), |row| row.get::<_, Option<i64>>(0))?
        .map(Micros);
    Ok(Due { woken, next })
}

fn keys(
    batch: &Batch<'_>,
    select: &str,
    params: impl Params,
) -> rusqlite::Result<Vec<(TenantId, TaskId)>> {
    batch
        .conn
        .prepare_cached(select)?
        .query_map(params, key)?
        .collect()
}

fn key(row: &Row<'_>) -> rusqlite::Result<(TenantId, TaskId)> {
    Ok((TenantId(row.get(0)?), TaskId::from_bytes(row.get(1)?)))
}
