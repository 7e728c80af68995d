//! What the read verbs read.

use ops_core::{
    Lifecycle, StoredEvent, TaskId, TenantId,
    ports::{Counts, EVENT_BYTES, Snapshot, TaskRecord},
    task::StateName,
};
use rusqlite::OptionalExtension as _;

use crate::sqlite::{
    queries::view::View,
    schema::{
        rows::{self, event_columns, life_columns, record_columns, signed, unreadable, unsigned},
        sums::intact,
    },
    values::blob,
};

/// One task.
pub(crate) fn task(
    conn: &View<'_>,
    tenant: TenantId,
    task: TaskId,
) -> rusqlite::Result<Option<TaskRecord>> {
    let mut select = conn.prepare_cached(concat!(
        "SELECT ",
        record_columns!(),
        " FROM tasks JOIN task_requests USING (task_row) \
         WHERE tasks.tenant_id = ? AND task_id = ?"
    ))?;
    let found = select
        .query_row((tenant.0, task.as_bytes()), rows::record)
        .optional()?;
    let Some(mut sparse) = found else {
        // What was asked lies in a row of its own, which may be lost.
        return match task_row(conn, tenant, task)? {
            Some(_) => Err(unreadable(0, "the request of the task is missing".into())),
            None => Ok(None),
        };
    };
    sparse.fill(conn)?;
    Ok(Some(sparse.into_record()))
}

/// The row of a task and the number of its last event, if the tenant has it.
fn task_row(
    conn: &View<'_>,
    tenant: TenantId,
    task: TaskId,
) -> rusqlite::Result<Option<(i64, u64)>> {
    let mut select = conn.prepare_cached(concat!(
        "SELECT task_row, seq, ",
        intact!(tasks),
        " FROM tasks WHERE tenant_id = ? AND task_id = ?"
    ))?;
    select
        .query_row((tenant.0, task.as_bytes()), |row| {
            rows::intact(row, 2)?;
            Ok((row.get(0)?, unsigned(row, 1)?))
        })
        .optional()
}

/// Where a task stands.
pub(crate) fn life(
    conn: &View<'_>,
    tenant: TenantId,
    task: TaskId,
) -> rusqlite::Result<Option<Lifecycle>> {
    let mut select = conn.prepare_cached(concat!(
        "SELECT ",
        life_columns!(),
        " FROM tasks WHERE tenant_id = ? AND task_id = ?"
    ))?;
    select
        .query_row((tenant.0, task.as_bytes()), |row| rows::life(row, task, 0))
        .optional()
}

/// Events after a number, as far as their bodies fit; none if there is no such task. Their numbers have
/// no gap, and the last one is the one that the task's row names.
pub(crate) fn events(
    conn: &View<'_>,
    tenant: TenantId,
    task: TaskId,
    after: u64,
    limit: u32,
) -> rusqlite::Result<Option<Vec<StoredEvent>>> {
    let Some((row, last)) = task_row(conn, tenant, task)? else {
        return Ok(None);
    };
    let checked = !units::mutant!("ops-store.log_gap");
    let missing = |seq: u64| unreadable(0, format!("event {seq} of {task} is missing").into());
    let mut select = conn.prepare_cached(concat!(
        "SELECT ",
        event_columns!(),
        " FROM events WHERE tenant_id = ? AND task_row = ? AND seq > ? ORDER BY seq LIMIT ?"
    ))?;
    let mut found: Vec<StoredEvent> = Vec::new();
    let mut bytes = 0;
    let mut rows = select.query((tenant.0, row, signed(after), limit))?;
    while let Some(row) = rows.next()? {
        let (mut event, digest) = rows::event(row)?;
        let expected = after + 1 + found.len() as u64;
        if event.seq != expected && checked {
            return Err(missing(expected));
        }
        if let Some(digest) = digest {
            event.event.body = blob::read(conn, tenant, &digest)?.into();
        }
        bytes += event.event.body.len();
        if bytes > EVENT_BYTES && !found.is_empty() {
            return Ok(Some(found));
        }
        found.push(event);
    }
    let read = after + found.len() as u64;
    if read < last && found.len() < limit as usize && checked {
        return Err(missing(read + 1));
    }
    Ok(Some(found))
}

/// The last event of a model step at or before a number. Goes back from there: a turn is short.
pub(crate) fn turn_start(
    conn: &View<'_>,
    tenant: TenantId,
    task: TaskId,
    seq: u64,
) -> rusqlite::Result<Option<u64>> {
    let Some((row, _)) = task_row(conn, tenant, task)? else {
        return Ok(None);
    };
    let mut select = conn.prepare_cached(
        "SELECT seq FROM events WHERE tenant_id = ? AND task_row = ? AND seq <= ? \
         AND step_kind = 'model' ORDER BY seq DESC LIMIT 1",
    )?;
    let found = select
        .query_row((tenant.0, row, signed(seq)), |row| unsigned(row, 0))
        .optional()?;
    Ok(Some(found.unwrap_or(0)))
}

/// How many tasks there are in each state that has any.
pub(crate) fn counts(conn: &View<'_>, tenant: TenantId) -> rusqlite::Result<Counts> {
    let mut select = conn.prepare_cached(concat!(
        "SELECT state, n, ",
        intact!(counters),
        " FROM counters WHERE tenant_id = ? AND n <> 0"
    ))?;
    let mut counts = Counts::new();
    let mut rows = select.query([tenant.0])?;
    while let Some(row) = rows.next()? {
        if !row.get::<_, bool>(2)? {
            return counted(conn, tenant);
        }
        // A newer release's state is none of this one's.
        if let Some(state) = StateName::from_name(row.get_ref(0)?.as_str()?) {
            counts.insert(state, unsigned(row, 1)?);
        }
    }
    Ok(counts)
}

/// The same as [`counts`], from the tasks themselves: a counter is damaged.
fn counted(conn: &View<'_>, tenant: TenantId) -> rusqlite::Result<Counts> {
    tracing::error!(
        tenant = tenant.0,
        "the counters of a tenant are damaged; its tasks are counted one by one"
    );
    let mut select = conn.prepare_cached(
        "SELECT state, count(*) FROM tasks INDEXED BY tasks_key WHERE tenant_id = ? GROUP BY state",
    )?;
    let mut counts = Counts::new();
    let mut rows = select.query([tenant.0])?;
    while let Some(row) = rows.next()? {
        if let Some(state) = row.get_ref(0)?.as_str().ok().and_then(StateName::from_name) {
            counts.insert(state, unsigned(row, 1)?);
        }
    }
    Ok(counts)
}

/// The newest snapshot; the outer option is the task.
pub(crate) fn snapshot(
    conn: &View<'_>,
    tenant: TenantId,
    task: TaskId,
) -> rusqlite::Result<Option<Option<Snapshot>>> {
    let mut select = conn.prepare_cached(concat!(
        "SELECT seq, version, codec, size, body, ",
        intact!(snapshots),
        " FROM snapshots WHERE tenant_id = ? AND task_id = ?"
    ))?;
    let found = select
        .query_row((tenant.0, task.as_bytes()), |row| {
            rows::intact(row, 5)?;
            Ok(Snapshot {
                seq: unsigned(row, 0)?,
                version: row.get(1)?,
                body: blob::unpack(row.get(2)?, row.get(3)?, row.get(4)?)?,
            })
        })
        .optional()?;
    if found.is_none() && task_row(conn, tenant, task)?.is_none() {
        return Ok(None);
    }
    Ok(Some(found))
}

/// The queues that have ready tasks. Jumps from one to the next within the index, so that a long
/// backlog costs nothing.
pub(crate) fn ready_queues(conn: &View<'_>) -> rusqlite::Result<Vec<String>> {
    if units::mutant!("ops-store.ready_queues_are_forgotten") {
        return Ok(Vec::new());
    }
    let mut select = conn.prepare_cached(
        "WITH RECURSIVE ready (name) AS ( \
           SELECT min(queue) FROM tasks WHERE state = 'pending' \
           UNION ALL \
           SELECT (SELECT min(queue) FROM tasks WHERE state = 'pending' AND queue > name) \
           FROM ready WHERE name IS NOT NULL \
         ) SELECT name FROM ready WHERE name IS NOT NULL",
    )?;
    select.query_map((), |row| row.get(0))?.collect()
}
