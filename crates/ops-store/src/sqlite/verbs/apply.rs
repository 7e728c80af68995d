//! Apply: loads a task, decides, and writes the decision.

use ops_core::{
    Command, Json, Lifecycle, TaskId, TenantId, decide, ports::StoreError, task::TaskLimits,
};

use crate::sqlite::{
    error::Fault,
    schema::rows::signed,
    values::prepare::{Outside, Prepared, PreparedSnapshot},
    verbs::repeat::is_repeated,
    writer::batch::Batch,
};

pub(crate) fn apply(
    batch: &mut Batch<'_>,
    tenant: TenantId,
    task: TaskId,
    prepared: Prepared,
) -> Result<Lifecycle, Fault> {
    let Prepared { command, outside } = prepared;
    let before = batch.load(tenant, task)?.ok_or(StoreError::NotFound)?;
    if let Command::Append(append) = &command
        && append.expected_seq < before.life.seq
        && is_repeated(batch.conn, &before, append, &outside)?
    {
        return Ok(before.life);
    }
    let limits = match &command {
        Command::Limit(limits) => Some(*limits),
        _ => None,
    };
    let decision = decide(&before.life, command, batch.now).map_err(StoreError::from)?;
    let after = batch.write(&before, decision, &outside)?;
    if let Some(limits) = limits {
        limit(batch, before.row, &limits)?;
    }
    Ok(after)
}

/// Lays limits over those that were asked for: whoever does the task again begins with them.
fn limit(batch: &Batch<'_>, row: i64, limits: &TaskLimits) -> Result<(), Fault> {
    let Ok(limits) = Json::from_value(limits) else {
        return Ok(());
    };
    let mut update = batch.conn.prepare_cached(
        "UPDATE task_requests SET limits = json_patch(coalesce(limits, '{}'), ?) \
         WHERE task_row = ?",
    )?;
    update.execute((limits.as_str(), row))?;
    Ok(())
}

/// Applies a command of the engine's own, which refers to no values; says whether it was accepted.
pub(crate) fn apply_own(
    batch: &mut Batch<'_>,
    tenant: TenantId,
    task: TaskId,
    command: Command,
) -> Result<bool, Fault> {
    let Some(before) = batch.load(tenant, task)? else {
        return Ok(false);
    };
    match decide(&before.life, command, batch.now) {
        Ok(decision) => {
            batch.write(&before, decision, &Outside::default())?;
            Ok(true)
        }
        Err(rejection) => {
            tracing::debug!(%task, %rejection, "the engine's command does not apply");
            Ok(false)
        }
    }
}

/// Keeps a snapshot in place of an older one.
pub(crate) fn put_snapshot(
    batch: &mut Batch<'_>,
    tenant: TenantId,
    task: TaskId,
    snapshot: &PreparedSnapshot,
) -> Result<(), Fault> {
    if batch.load(tenant, task)?.is_none() {
        return Err(StoreError::NotFound.into());
    }
    let mut upsert = batch.conn.prepare_cached(
        "INSERT INTO snapshots (tenant_id, task_id, seq, version, size, codec, body) \
         VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET seq = excluded.seq, \
         version = excluded.version, size = excluded.size, codec = excluded.codec, \
         body = excluded.body WHERE version <> excluded.version OR seq <= excluded.seq",
    )?;
    upsert.execute((
        tenant.0,
        task.as_bytes(),
        signed(snapshot.seq),
        snapshot.version,
        snapshot.body.size,
        snapshot.body.codec(),
        snapshot.body.bytes.as_slice(),
    ))?;
    batch.changes.written = true;
    Ok(())
}
