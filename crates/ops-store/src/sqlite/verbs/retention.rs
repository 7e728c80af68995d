//! Deleting, in pieces: first the task, then its log, then the values without another reference. `doomed`
//! and `loose_blobs` hold the rest of the work of a crash in between.

use ops_core::{
    Micros, TaskId, TenantId,
    ports::{Expired, Progress, Retention},
    rules::retention::{self as rule, RetentionCandidate},
    task::StateName,
};
use rusqlite::{OptionalExtension as _, params};

use crate::sqlite::{
    error::WriteError,
    queries::view::View,
    schema::rows::{micros, unsigned},
    values::blob::Digest,
    writer::batch::Batch,
};

/// Events that are deleted in one transaction.
const EVENTS: u32 = 1_000;
/// Chunks of values that are deleted in one transaction: 2 MiB before compression.
const CHUNKS: u32 = 8;
/// Values that are looked at in one transaction.
const VALUES: u32 = 64;

/// The tenants that have ended tasks of a state.
fn tenants(conn: &View<'_>, state: StateName) -> rusqlite::Result<Vec<TenantId>> {
    conn.prepare_cached("SELECT tenant_id FROM counters WHERE state = ? AND n > 0")?
        .query_map([state.as_str()], |row| row.get(0).map(TenantId))?
        .collect()
}

/// The end of a query for expired tasks of a state: [`rule::may_delete`] as SQL, for a count that reads no
/// task. An id begins with its time, so that no later task can have ended before the time.
macro_rules! of_state {
    () => {
        " FROM tasks INDEXED BY tasks_settled WHERE tenant_id = ? AND state = ? \
         AND state NOT IN ('pending', 'running') AND task_id < ? AND completed_at < ? \
         AND task_row < (SELECT max(task_row) FROM tasks) AND NOT EXISTS (SELECT 1 FROM tasks \
           AS parent WHERE parent.task_row = tasks.parent_row AND parent.completed_at IS NULL)"
    };
}

pub(crate) fn expired(conn: &View<'_>, keep: Retention, now: Micros) -> rusqlite::Result<Expired> {
    let mut found = Expired::default();
    let mut select = conn.prepare_cached(concat!(
        "SELECT count(*), coalesce(sum(seq), 0)",
        of_state!()
    ))?;
    for (state, before) in keep.cutoffs(now) {
        for tenant in tenants(conn, state)? {
            let id = rule::above(before);
            let params = (tenant.0, state.as_str(), id.as_bytes(), before.0);
            let (tasks, events) =
                select.query_row(params, |row| Ok((unsigned(row, 0)?, unsigned(row, 1)?)))?;
            if tasks > 0 {
                *found.tasks.entry(state).or_default() += tasks;
                found.events += events;
            }
        }
    }
    Ok(found)
}

pub(crate) fn mark_deleted(
    batch: &mut Batch<'_>,
    keep: Retention,
    limit: u32,
) -> Result<Expired, WriteError> {
    let mut found = Expired::default();
    let mut left = limit;
    for (state, before) in keep.cutoffs(batch.now) {
        for tenant in tenants(&batch.view(), state)? {
            for old in oldest(&batch.view(), (tenant, state), before, left)? {
                if !rule::may_delete(old.kept, keep, batch.now) {
                    continue;
                }
                take_away(batch, tenant, old.row, old.kept.id.as_bytes())?;
                batch.changes.count(tenant, state, -1);
                *found.tasks.entry(state).or_default() += 1;
                found.events += old.events;
                left -= 1;
            }
        }
    }
    Ok(found)
}

/// A task that may be deleted.
struct Old {
    row: i64,
    events: u64,
    kept: RetentionCandidate,
}

/// The first ended tasks of a state, oldest first.
fn oldest(
    conn: &View<'_>,
    (tenant, state): (TenantId, StateName),
    before: Micros,
    limit: u32,
) -> rusqlite::Result<Vec<Old>> {
    let id = rule::above(before);
    let params = (tenant.0, state.as_str(), id.as_bytes(), before.0, limit);
    conn.prepare_cached(concat!(
        "SELECT task_row, task_id, seq, completed_at, \
         task_row = (SELECT max(task_row) FROM tasks), \
         EXISTS (SELECT 1 FROM tasks AS parent WHERE parent.task_row = tasks.parent_row \
           AND parent.completed_at IS NULL)",
        of_state!(),
        " ORDER BY task_id LIMIT ?"
    ))?
    .query_map(params, |row| {
        Ok(Old {
            row: row.get(0)?,
            events: unsigned(row, 2)?,
            kept: RetentionCandidate {
                id: TaskId::from_bytes(row.get(1)?),
                state,
                completed_at: micros(row, 3)?,
                is_newest: row.get(4)?,
                parent_goes_on: row.get(5)?,
            },
        })
    })?
    .collect()
}

/// Tasks that were taken away and are to be purged.
pub(crate) fn tombstones(conn: &View<'_>, limit: u32) -> rusqlite::Result<Vec<(TenantId, TaskId)>> {
    conn.prepare_cached("SELECT tenant_id, task_id FROM doomed LIMIT ?")?
        .query_map([limit], |row| {
            Ok((TenantId(row.get(0)?), TaskId::from_bytes(row.get(1)?)))
        })?
        .collect()
}

fn take_away(
    batch: &mut Batch<'_>,
    tenant: TenantId,
    row: i64,
    id: &[u8; 16],
) -> rusqlite::Result<()> {
    batch.changes.written = true;
    let conn = batch.conn;
    conn.prepare_cached("INSERT INTO doomed (task_row, tenant_id, task_id) VALUES (?, ?, ?)")?
        .execute((row, tenant.0, id))?;
    conn.prepare_cached(
        "DELETE FROM task_terms WHERE tenant_id = ?1 AND task_id = ?2 AND (kind, key, value) IN ( \
           SELECT 0, label.key, label.value FROM task_requests, json_each(labels) AS label \
             WHERE task_row = ?3 \
           UNION ALL SELECT 1, '', agent_id FROM task_requests WHERE task_row = ?3 \
           UNION ALL SELECT 2, '', name FROM task_requests WHERE task_row = ?3)",
    )?
    .execute((tenant.0, id, row))?;
    for table in ["tasks", "task_requests"] {
        conn.prepare_cached(&format!("DELETE FROM {table} WHERE task_row = ?"))?
            .execute([row])?;
    }
    conn.prepare_cached("DELETE FROM approvals WHERE tenant_id = ? AND task_row = ?")?
        .execute((tenant.0, row))?;
    for table in ["snapshots", "idempotency", "budget_calls"] {
        conn.prepare_cached(&format!(
            "DELETE FROM {table} WHERE tenant_id = ? AND task_id = ?"
        ))?
        .execute((tenant.0, id))?;
    }
    Ok(())
}

pub(crate) fn purge(
    batch: &mut Batch<'_>,
    tasks: &[(TenantId, TaskId)],
) -> Result<Progress, WriteError> {
    let conn = batch.conn;
    let mut left = EVENTS;
    for (tenant, task) in tasks {
        let row: Option<i64> = conn
            .prepare_cached("SELECT task_row FROM doomed WHERE tenant_id = ? AND task_id = ?")?
            .query_row((tenant.0, task.as_bytes()), |row| row.get(0))
            .optional()?;
        let Some(row) = row else { continue };
        batch.changes.written = true;
        let deleted = conn
            .prepare_cached(
                "DELETE FROM events WHERE event_row IN (SELECT event_row FROM events \
                 WHERE tenant_id = ? AND task_row = ? LIMIT ?)",
            )?
            .execute(params![tenant.0, row, left])?;
        left = left.saturating_sub(u32::try_from(deleted).unwrap_or(u32::MAX));
        if left == 0 {
            return Ok(Progress::More);
        }
        let leave_behind = [
            "INSERT OR IGNORE INTO loose_blobs SELECT tenant_id, digest FROM blob_refs AS mine \
             WHERE tenant_id = ?1 AND task_row = ?2 AND NOT EXISTS (SELECT 1 FROM blob_refs \
               WHERE tenant_id = ?1 AND digest = mine.digest AND task_row <> ?2)",
            "DELETE FROM blob_refs WHERE tenant_id = ?1 AND task_row = ?2",
            "DELETE FROM doomed WHERE tenant_id = ?1 AND task_row = ?2",
        ];
        for statement in leave_behind {
            conn.prepare_cached(statement)?.execute((tenant.0, row))?;
        }
    }
    Ok(Progress::Done)
}

/// A value with a new reference stays.
pub(crate) fn sweep(batch: &mut Batch<'_>) -> Result<Progress, WriteError> {
    let conn = batch.conn;
    let loose: Vec<(u32, Digest)> = conn
        .prepare_cached("SELECT tenant_id, digest FROM loose_blobs LIMIT ?")?
        .query_map([VALUES], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    if loose.is_empty() {
        return Ok(Progress::Done);
    }
    batch.changes.written = true;
    let mut left = CHUNKS;
    for (tenant, digest) in loose {
        let deleted = conn
            .prepare_cached(
                "DELETE FROM blobs WHERE blob_row IN (SELECT blob_row FROM blobs \
                 WHERE tenant_id = ?1 AND digest = ?2 AND NOT EXISTS (SELECT 1 FROM blob_refs \
                   WHERE tenant_id = ?1 AND digest = ?2) LIMIT ?3)",
            )?
            .execute(params![tenant, digest, left])?;
        left = left.saturating_sub(u32::try_from(deleted).unwrap_or(u32::MAX));
        if left == 0 {
            break;
        }
        conn.prepare_cached("DELETE FROM loose_blobs WHERE tenant_id = ? AND digest = ?")?
            .execute((tenant, digest))?;
    }
    Ok(Progress::More)
}
