//! Listing tasks, newest first.

use ops_core::{
    TaskId, TenantId,
    ports::{Listed, TaskFilter, TaskRecord},
};
use rusqlite::{OptionalExtension as _, params_from_iter};

use crate::sqlite::{
    error::WriteError,
    queries::{
        search::{self, Source},
        view::View,
    },
    schema::rows::{self, MAX_DAMAGED, record_columns, unreadable},
};

/// The most tasks that are read with one connection in one go.
pub(crate) const PAGE: u32 = 128;

/// The tasks of a filter, newest first: at most [`PAGE`] of them. Those that cannot be read are named, and
/// take no place.
pub(crate) fn tasks(
    conn: &View<'_>,
    tenant: TenantId,
    filter: &TaskFilter,
) -> rusqlite::Result<Listed<TaskRecord>> {
    let limit = filter.limit.min(PAGE);
    let mut listed = Listed::default();
    let mut rest = filter.clone();
    loop {
        let missing = limit - u32::try_from(listed.found.len()).unwrap_or(limit);
        rest.limit = missing;
        let rows = newest(conn, tenant, &rest)?;
        let full = rows.len() == missing as usize;
        rest.before = rows.last().map(|(id, _)| TaskId::from_bytes(*id));
        let damaged = listed.damaged.len();
        for (id, row) in rows {
            let id = TaskId::from_bytes(id);
            match one(conn, row, filter.without_large).map_err(WriteError::from) {
                // An index that is damaged may lead to another row.
                Ok(record) if record.task.id == id => listed.found.push(record),
                Ok(_) | Err(WriteError::Refused(_)) => listed.damaged.push(id.to_string()),
                Err(WriteError::Broken(error)) => return Err(error),
            }
        }
        let more = full && listed.damaged.len() > damaged;
        if !more || listed.damaged.len() > MAX_DAMAGED {
            return Ok(listed);
        }
    }
}

fn one(conn: &View<'_>, row: i64, without_large: bool) -> rusqlite::Result<TaskRecord> {
    let mut select = conn.prepare_cached(concat!(
        "SELECT ",
        record_columns!(),
        " FROM tasks JOIN task_requests USING (task_row) WHERE task_row = ?"
    ))?;
    let found = select.query_row([row], rows::record).optional()?;
    let mut sparse = found.ok_or_else(|| unreadable(0, "a row of the task is missing".into()))?;
    match without_large {
        true => sparse.leave_out(conn)?,
        false => sparse.fill(conn)?,
    }
    Ok(sparse.into_record())
}

/// Ids and rows of the newest tasks of a filter.
fn newest(
    conn: &View<'_>,
    tenant: TenantId,
    filter: &TaskFilter,
) -> rusqlite::Result<Vec<([u8; 16], i64)>> {
    let limit = filter.limit;
    let mut found = Vec::new();
    for source in search::sources(tenant, filter) {
        found.append(&mut rows_of(conn, source, limit)?);
    }
    found.sort_unstable_by(|(left, _), (right, _)| right.cmp(left));
    found.truncate(limit as usize);
    Ok(found)
}

/// Ids and rows of a place, newest first.
fn rows_of(
    conn: &View<'_>,
    Source {
        sql,
        mut params,
        order,
        lone: _,
        newest,
    }: Source,
    limit: u32,
) -> rusqlite::Result<Vec<([u8; 16], i64)>> {
    params.push(limit.into());
    let select = |sql: &str| -> rusqlite::Result<Vec<([u8; 16], i64)>> {
        let mut select = conn.prepare_cached(&format!(
            "SELECT tasks.task_id, tasks.task_row FROM {sql} ORDER BY {order} DESC LIMIT ?"
        ))?;
        let rows = select.query_map(params_from_iter(&params), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        rows.collect()
    };
    if let Some(newest) = newest {
        let found = select(&newest)?;
        if found.len() >= limit as usize {
            return Ok(found);
        }
    }
    select(&sql)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use ops_core::task::Status;

    use rusqlite::Connection;

    use super::*;
    use crate::sqlite::{
        queries::{count, view},
        schema,
    };

    /// A database with so many tasks, the oldest first; each is `pending` if the rest of its number
    /// by `every` is 0, else `completed`, and each hundredth of the pending ones was started.
    fn filled(tasks: u32, every: u32) -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        schema::migrate(&conn).unwrap();
        conn.execute(
            "WITH RECURSIVE n (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n WHERE n < ?1) \
             INSERT INTO tasks (tenant_id, task_id, queue, priority, state, attempt, epoch, seq, \
             lease_losses, run_started, input_tokens, output_tokens, cost_micros, \
             retry_max_attempts, retry_initial_micros, retry_max_micros, retry_max_lease_losses, \
             started_at, updated_at) \
             SELECT 1, CAST(format('%016d', n) AS BLOB), 'default', n % 10, \
             iif(n % ?2 = 0, 'pending', 'completed'), 1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 5, \
             iif(n % 100 = 0, n, NULL), n FROM n",
            (tasks, every),
        )
        .unwrap();
        conn.execute_batch(
            "INSERT INTO counters (tenant_id, state, n, sum) \
             SELECT 1, state, count(*), row_sum(1, state, count(*)) FROM tasks GROUP BY state",
        )
        .unwrap();
        conn
    }

    /// The numbers of the newest tasks of a status, how many there are, and the work that both took,
    /// in thousands of instructions of SQLite.
    fn newest_of(conn: &Connection, status: Status, limit: u32) -> (Vec<u32>, u64, u64) {
        let work = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&work);
        conn.progress_handler(
            1_000,
            Some(move || {
                counted.fetch_add(1, Ordering::Relaxed);
                false
            }),
        )
        .unwrap();
        let filter = TaskFilter {
            status: Some(status),
            limit,
            without_large: true,
            ..TaskFilter::default()
        };
        let tenant = TenantId::DEFAULT;
        let (found, total) = view::read(conn, |conn| {
            let mut found = Vec::new();
            for source in search::sources(tenant, &filter) {
                found.append(&mut rows_of(conn, source, limit)?);
            }
            Ok((found, count::tasks(conn, tenant, &filter)?))
        })
        .unwrap();
        let number = |id: [u8; 16]| std::str::from_utf8(&id).unwrap().parse().unwrap();
        let numbers = found.into_iter().map(|(id, _)| number(id)).collect();
        (numbers, total, work.load(Ordering::Relaxed))
    }

    #[test]
    fn the_newest_of_a_large_backlog_are_found_without_reading_all_of_it() {
        let conn = filled(50_000, 1);
        let (found, total, work) = newest_of(&conn, Status::Pending, 5);
        assert_eq!(found, [49_999, 49_998, 49_997, 49_996, 49_995]);
        assert_eq!(total, 49_500);
        assert!(work < 100, "{work}");
        let (found, total, work) = newest_of(&conn, Status::Running, 3);
        assert_eq!(found, [50_000, 49_900, 49_800]);
        assert_eq!(total, 500);
        assert!(work < 100, "{work}");
    }

    #[test]
    fn the_counters_tell_how_many_have_ended() {
        let conn = filled(50_000, 50_001);
        let (_, total, work) = newest_of(&conn, Status::Completed, 1);
        assert_eq!(total, 50_000);
        assert!(work < 10, "{work}");
    }

    #[test]
    fn old_ones_behind_many_others_are_found_as_well() {
        let conn = filled(10_000, 3_000);
        let (found, ..) = newest_of(&conn, Status::Pending, 5);
        assert_eq!(found, Vec::<u32>::new(), "all of them were started");
        let (found, ..) = newest_of(&conn, Status::Running, 5);
        assert_eq!(found, [9_000, 6_000, 3_000]);
        let conn = filled(10_000, 3_001);
        let (found, ..) = newest_of(&conn, Status::Pending, 5);
        assert_eq!(found, [9_003, 6_002, 3_001]);
    }
}
