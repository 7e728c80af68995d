//! Fork: a new task's log that begins with a copy of another task's.
//!
//! Rows are copied, values are not: bodies and results that are stored outside are found by the same
//! digests. What the copied calls used was paid for by the other task, so it is not counted again.

use std::sync::LazyLock;

use ops_core::{
    Lifecycle, TenantId,
    event::TaskEvent,
    ports::{Fork, StoreError},
    rules::fork::{self, ENGINE_PREFIX, TOLD},
};

use crate::sqlite::{
    error::Fault, schema::rows::signed, values::pack::Values, writer::batch::Batch,
};

/// [`fork::is_copied`] as SQL: a fork copies thousands of rows with one statement.
static COPIED: LazyLock<String> = LazyLock::new(|| {
    let told = TOLD.map(|kind| format!("'{kind}'")).join(", ");
    format!("(kind NOT LIKE '{ENGINE_PREFIX}%' OR kind IN ({told}))")
});

/// Where a log is copied from.
pub(crate) struct Source {
    row: i64,
    /// How many events the fork adds to the new log.
    pub(crate) events: u64,
    own: Vec<TaskEvent>,
}

/// Looks at what is to be copied.
pub(crate) fn source(batch: &Batch<'_>, tenant: TenantId, fork: &Fork) -> Result<Source, Fault> {
    let mut select = batch
        .conn
        .prepare_cached("SELECT task_row FROM tasks WHERE tenant_id = ? AND task_id = ?")?;
    let row: i64 = match select.query((tenant.0, fork.from.as_bytes()))?.next()? {
        Some(found) => found.get(0)?,
        None => return Err(StoreError::NotFound.into()),
    };
    let mut count = batch.conn.prepare_cached(&format!(
        "SELECT count(*) FROM events WHERE tenant_id = ? AND task_row = ? AND seq <= ? AND {}",
        *COPIED
    ))?;
    let copied: i64 = count.query_row((tenant.0, row, signed(fork.until)), |row| row.get(0))?;
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
) -> Result<(), Fault> {
    let columns = "kind, step, step_kind, step_status, effect, 0, 0, 0, blobs, body, body_digest";
    let into = "INSERT INTO events (tenant_id, task_row, seq, epoch, at, kind, step, step_kind, \
        step_status, effect, input_tokens, output_tokens, cost_micros, blobs, body, body_digest)";
    let mut many = batch.conn.prepare_cached(&format!(
        "{into} SELECT tenant_id, ?1, 1 + row_number() OVER (ORDER BY seq), 0, ?2, {columns} \
         FROM events WHERE tenant_id = ?3 AND task_row = ?4 AND seq <= ?5 AND {} ORDER BY seq",
        *COPIED
    ))?;
    let at = life.updated_at.0;
    let copied = many.execute((row, at, tenant.0, from.row, signed(fork.until)))?;
    let mut seq = 1 + copied as u64;
    let mut one = batch.conn.prepare_cached(&format!(
        "{into} SELECT tenant_id, ?1, ?2, 0, ?3, {columns} \
         FROM events WHERE tenant_id = ?4 AND task_row = ?5 AND seq = ?6"
    ))?;
    for other in &fork.also {
        seq += 1;
        one.execute((row, signed(seq), at, tenant.0, from.row, signed(*other)))?;
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
        let mut update = batch.conn.prepare_cached(
            "UPDATE tasks SET dead_letter = 2 WHERE task_row = ? AND dead_letter = 1",
        )?;
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
