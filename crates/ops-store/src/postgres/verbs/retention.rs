//! Deleting, in pieces: a task is taken away first, then its log, then the values that nothing else refers to.
//! What a crash leaves half done is in `tombstones` and `loose_blobs`. A piece passes over what another server is
//! about to delete.

use ops_core::{
    Micros, TaskId, TenantId,
    ports::{Expired, Progress, Retention, StoreError},
    rules::retention::{self as rule, RetentionCandidate},
    task::StateName,
    verbs::Key,
};
use tokio_postgres::types::Type;

use crate::postgres::{
    connection::{Connection, Param},
    queries::Found,
    schema::rows,
    work::Work,
};

/// Events that are deleted in one transaction.
const EVENTS: i64 = 1_000;
/// Values that are looked at in one transaction.
const VALUES: i64 = 16;

// What a query for expired tasks of a state ends with: [`rule::may_delete`] as SQL. No task's number is ever
// given again here, so that the newest may go as well; it stays because the rule says so.
const OF_STATE: &str = "FROM tasks WHERE state = $1 AND task_id < $2 AND completed_at < $3 \
    AND task_row < (SELECT max(task_row) FROM tasks) \
    AND NOT EXISTS (SELECT 1 FROM tasks AS parent WHERE parent.tenant_id = tasks.tenant_id \
      AND parent.task_id = tasks.parent_id AND parent.completed_at IS NULL)";

pub(crate) fn expired(conn: &Connection, keep: Retention, now: Micros) -> Found<Expired> {
    let mut found = Expired::default();
    let sql = format!("SELECT count(*), coalesce(sum(seq), 0)::int8 {OF_STATE}");
    for (state, before) in keep.cutoffs(now) {
        let id = rule::above(before);
        let params: [Param<'_>; 3] = [
            (&state.as_str(), Type::TEXT),
            (&&id.as_bytes()[..], Type::BYTEA),
            (&before.0, Type::INT8),
        ];
        let counted = conn.query(&sql, &params)?;
        let Some(row) = counted.first() else { continue };
        let (tasks, events) = match (rows::unsigned(row, 0), rows::unsigned(row, 1)) {
            (Ok(tasks), Ok(events)) => (tasks, events),
            (Err(error), _) | (_, Err(error)) => return Ok(Err(error)),
        };
        if tasks > 0 {
            *found.tasks.entry(state).or_default() += tasks;
            found.events += events;
        }
    }
    Ok(Ok(found))
}

pub(crate) fn mark_deleted(
    work: &mut Work<'_>,
    keep: Retention,
    limit: u32,
) -> Result<Expired, StoreError> {
    let mut found = Expired::default();
    let mut left = i64::from(limit);
    let sql = format!(
        "SELECT tenant_id, task_id, seq, completed_at {OF_STATE} \
         ORDER BY tenant_id, task_id LIMIT $4 FOR UPDATE SKIP LOCKED"
    );
    for (state, before) in keep.cutoffs(work.now) {
        let id = rule::above(before);
        let params: [Param<'_>; 4] = [
            (&state.as_str(), Type::TEXT),
            (&&id.as_bytes()[..], Type::BYTEA),
            (&before.0, Type::INT8),
            (&left, Type::INT8),
        ];
        for row in &work.ask(&sql, &params)? {
            let key = rows::key(row, 0)?;
            let kept = RetentionCandidate {
                id: key.1,
                state,
                completed_at: rows::micros(row, 3)?,
                is_newest: false,
                parent_goes_on: false,
            };
            if !rule::may_delete(kept, keep, work.now) {
                continue;
            }
            take_away(work, key, state)?;
            *found.tasks.entry(state).or_default() += 1;
            found.events += rows::unsigned(row, 2)?;
            left -= 1;
        }
    }
    Ok(found)
}

fn take_away(work: &mut Work<'_>, key: Key, state: StateName) -> Result<(), StoreError> {
    let (tenant, task) = (i64::from(key.0.0), &key.1.as_bytes()[..]);
    let params: [Param<'_>; 2] = [(&tenant, Type::INT8), (&task, Type::BYTEA)];
    work.execute(
        "INSERT INTO tombstones (tenant_id, task_id) VALUES ($1, $2)",
        &params,
    )?;
    for table in [
        "tasks",
        "task_requests",
        "task_terms",
        "approvals",
        "snapshots",
        "idempotency",
        "budget_calls",
    ] {
        let sql = format!("DELETE FROM {table} WHERE tenant_id = $1 AND task_id = $2");
        work.execute(&sql, &params)?;
    }
    work.gone(key, state);
    Ok(())
}

/// Tasks that were taken away and are to be purged.
pub(crate) fn tombstones(conn: &Connection, limit: u32) -> Found<Vec<(TenantId, TaskId)>> {
    let sql = "SELECT tenant_id, task_id FROM tombstones LIMIT $1";
    let limit = i64::from(limit);
    let found = conn.query(sql, &[(&limit, Type::INT8)])?;
    Ok(found.iter().map(|row| rows::key(row, 0)).collect())
}

pub(crate) fn purge(work: &mut Work<'_>, tasks: &[Key]) -> Result<Progress, StoreError> {
    let mut left = EVENTS;
    for key in tasks {
        let (tenant, task) = (i64::from(key.0.0), &key.1.as_bytes()[..]);
        let params: [Param<'_>; 2] = [(&tenant, Type::INT8), (&task, Type::BYTEA)];
        let sql = "SELECT 1 FROM tombstones WHERE tenant_id = $1 AND task_id = $2 \
            FOR UPDATE SKIP LOCKED";
        if work.ask(sql, &params)?.is_empty() {
            continue;
        }
        let sql = "DELETE FROM events WHERE (tenant_id, task_id, seq) IN ( \
            SELECT tenant_id, task_id, seq FROM events \
            WHERE tenant_id = $1 AND task_id = $2 LIMIT $3)";
        let limited: [Param<'_>; 3] = [
            (&tenant, Type::INT8),
            (&task, Type::BYTEA),
            (&left, Type::INT8),
        ];
        let deleted = work.execute(sql, &limited)?;
        left -= i64::try_from(deleted).unwrap_or(i64::MAX);
        if left <= 0 {
            return Ok(Progress::More);
        }
        for sql in [
            // Whether others refer to them as well is looked at when they are swept.
            "INSERT INTO loose_blobs (tenant_id, digest) SELECT tenant_id, digest FROM blob_refs \
             WHERE tenant_id = $1 AND task_id = $2 ON CONFLICT DO NOTHING",
            "DELETE FROM blob_refs WHERE tenant_id = $1 AND task_id = $2",
            "DELETE FROM tombstones WHERE tenant_id = $1 AND task_id = $2",
        ] {
            work.execute(sql, &params)?;
        }
    }
    Ok(Progress::Done)
}

// A value that a task refers to again by now stays. It is locked first: who is about to refer to it locks it as
// well, so that the look that follows sees what was committed before.
pub(crate) fn sweep(work: &mut Work<'_>) -> Result<Progress, StoreError> {
    let sql = "DELETE FROM loose_blobs WHERE (tenant_id, digest) IN ( \
        SELECT tenant_id, digest FROM loose_blobs LIMIT $1 FOR UPDATE SKIP LOCKED) \
        RETURNING tenant_id, digest";
    let loose = work.ask(sql, &[(&VALUES, Type::INT8)])?;
    if loose.is_empty() {
        return Ok(Progress::Done);
    }
    work.wrote();
    for row in &loose {
        let tenant: i64 = rows::get(row, 0)?;
        let digest: &[u8] = rows::get(row, 1)?;
        let params: [Param<'_>; 2] = [(&tenant, Type::INT8), (&digest, Type::BYTEA)];
        let lock =
            "SELECT 1 FROM blobs WHERE tenant_id = $1 AND digest = $2 ORDER BY chunk FOR UPDATE";
        work.ask(lock, &params)?;
        let sql = "DELETE FROM blobs WHERE tenant_id = $1 AND digest = $2 AND NOT EXISTS ( \
            SELECT 1 FROM blob_refs WHERE tenant_id = $1 AND digest = $2)";
        work.execute(sql, &params)?;
    }
    Ok(Progress::More)
}
