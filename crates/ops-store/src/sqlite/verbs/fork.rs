//! Fork: a new task's log that begins with a copy of another task's.
//!
//! Rows are copied, values are not: bodies and results that are stored outside are found by the same
//! digests. Each copied row becomes a reference of the new task: without that, retention would delete the
//! first task's values, and the fork's log would name bodies that no longer exist. Usage of the copied
//! calls was paid for by the other task, and is not counted again.

use std::sync::LazyLock;

use ops_core::{
    Lifecycle, TenantId,
    event::TaskEvent,
    ports::{Fork, StoreError},
    rules::fork::{self, ENGINE_PREFIX, EXTERNAL_KINDS},
};

use crate::sqlite::{
    error::WriteError,
    schema::{
        rows::signed,
        sums::{EVENTS, Others, TASKS},
    },
    values::pack::Values,
    writer::batch::Batch,
};

/// [`fork::is_copied`] as SQL: a fork copies thousands of rows with one statement.
static COPIED: LazyLock<String> = LazyLock::new(|| {
    let told = EXTERNAL_KINDS.map(|kind| format!("'{kind}'")).join(", ");
    format!("(kind NOT LIKE '{ENGINE_PREFIX}%' OR kind IN ({told}))")
});

/// Where a log is copied from.
pub(crate) struct Source {
    row: i64,
    /// How many events the fork adds to the new log.
    pub(crate) events: u64,
    own: Vec<TaskEvent>,
}

/// Checks the log that is to be copied.
pub(crate) fn source(
    batch: &Batch<'_>,
    tenant: TenantId,
    fork: &Fork,
) -> Result<Source, WriteError> {
    let mut select = batch
        .conn
        .prepare_cached("SELECT task_row FROM tasks WHERE tenant_id = ? AND task_id = ?")?;
    let row: i64 = match select.query((tenant.0, fork.from.as_bytes()))?.next()? {
        Some(found) => found.get(0)?,
        None => return Err(StoreError::NotFound.into()),
    };
    let mut count = batch.conn.prepare_cached(&format!(
        "SELECT count(*) FILTER (WHERE {}), count(*) = coalesce(max(seq), 0) \
           AND count(*) FILTER (WHERE NOT {}) = 0 \
         FROM events WHERE tenant_id = ? AND task_row = ? AND seq <= ?",
        *COPIED, EVENTS.intact
    ))?;
    let (copied, whole): (i64, bool) = count
        .query_row((tenant.0, row, signed(fork.until)), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    if !whole {
        let why = format!("an event of {} is missing or damaged", fork.from);
        return Err(StoreError::Unreadable(why).into());
    }
    let own = fork::own_events(fork);
    Ok(Source {
        row,
        events: u64::try_from(copied).unwrap_or(0) + (fork.also.len() + own.len()) as u64,
        own,
    })
}

/// Copies the events behind the new log's first, and says where they are from.
pub(crate) fn copy(
    batch: &mut Batch<'_>,
    (tenant, row): (TenantId, i64),
    life: &Lifecycle,
    from: &Source,
    fork: &Fork,
) -> Result<(), WriteError> {
    let columns = "kind, step, step_kind, step_status, effect, 0, 0, 0, blobs, body, body_digest";
    let into = "INSERT INTO events (tenant_id, task_row, seq, epoch, at, kind, step, step_kind, \
        step_status, effect, input_tokens, output_tokens, cost_micros, blobs, body, body_digest, sum)";
    let sum = |seq: &str| {
        let own = [
            ("task_row", "?1"),
            ("seq", seq),
            ("epoch", "0"),
            ("at", "?2"),
        ];
        let free = ["input_tokens", "output_tokens", "cost_micros"].map(|column| (column, "0"));
        EVENTS.sum(&[own.as_slice(), &free].concat(), Others::Unchanged)
    };
    // The number is made in a query of its own: a window function is no argument of another function.
    let mut many = batch.conn.prepare_cached(&format!(
        "{into} SELECT tenant_id, ?1, number, 0, ?2, {columns}, {} FROM ( \
           SELECT *, 1 + row_number() OVER (ORDER BY seq) AS number FROM events \
           WHERE tenant_id = ?3 AND task_row = ?4 AND seq <= ?5 AND {}) ORDER BY number",
        sum("number"),
        *COPIED
    ))?;
    let at = life.updated_at.0;
    let copied = many.execute((row, at, tenant.0, from.row, signed(fork.until)))?;
    let mut seq = 1 + copied as u64;
    let mut one = batch.conn.prepare_cached(&format!(
        "{into} SELECT tenant_id, ?1, ?3, 0, ?2, {columns}, {} \
         FROM events WHERE tenant_id = ?4 AND task_row = ?5 AND seq = ?6",
        sum("?3")
    ))?;
    for other in &fork.also {
        seq += 1;
        one.execute((row, at, signed(seq), tenant.0, from.row, signed(*other)))?;
    }
    batch.refer_alike((tenant, row), from.row)?;
    for event in &from.own {
        seq += 1;
        batch.event(
            (tenant, row),
            life,
            seq,
            &event.envelope(),
            &Values::default(),
        )?;
    }
    batch.changes.events += seq - 1 - from.own.len() as u64;
    if fork.redrives {
        let condition = format!("task_row = ?1 AND dead_letter = 1 AND {}", TASKS.intact);
        let mut update = batch
            .conn
            .prepare_cached(&TASKS.set(&[("dead_letter", "2")], &condition))?;
        update.execute([from.row])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ops_core::event::TaskEvent;
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn sql_copies_what_the_rule_copies() {
        let conn = Connection::open_in_memory().unwrap();
        let select = format!("SELECT {} FROM (SELECT ? AS kind)", *COPIED);
        let run = [
            "model.started",
            "tool.completed",
            "taskless",
            "segment.opened",
        ];
        for kind in TaskEvent::TYPES.into_iter().chain(run) {
            let copied: bool = conn.query_row(&select, [kind], |row| row.get(0)).unwrap();
            assert_eq!(copied, fork::is_copied(kind), "{kind}");
        }
    }
}
