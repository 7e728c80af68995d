//! Children that begin with an append of their parent.

use ops_core::{
    ChildSpec, Rejection,
    ports::{NewTask, StoreError},
    rules::submit,
};

use rusqlite::Connection;

use crate::sqlite::{
    error::WriteError,
    schema::rows::{self, record_columns, signed},
    values::pack::Values,
    verbs::submit::insert,
    writer::batch::{Batch, Loaded},
};

/// The tasks of the children that a run requests. The function writes no row.
pub(crate) fn make(
    batch: &Batch<'_>,
    parent: &Loaded,
    specs: Vec<ChildSpec>,
) -> Result<Vec<NewTask>, WriteError> {
    if specs.is_empty() {
        return Ok(Vec::new());
    }
    let most = batch.max_tree_tasks;
    let tasks = tree_size(batch.conn, parent.row, most)?;
    submit::room(&specs, tasks, most).map_err(StoreError::from)?;
    let mut select = batch.conn.prepare_cached(concat!(
        "SELECT ",
        record_columns!(),
        " FROM tasks JOIN task_requests USING (task_row) WHERE task_row = ?"
    ))?;
    let record = select.query_row([parent.row], rows::record)?;
    let mut taken = batch
        .conn
        .prepare_cached("SELECT 1 FROM tasks WHERE tenant_id = ? AND task_id = ?")?;
    let mut made = Vec::with_capacity(specs.len());
    for spec in specs {
        if taken.exists((parent.tenant.0, spec.id.as_bytes()))? {
            let refused = Rejection::Child {
                step: spec.step,
                why: format!("there is a task {} already; ids must be fresh", spec.id),
            };
            return Err(StoreError::from(refused).into());
        }
        let child = submit::child(spec, record.task(), &parent.life, batch.now);
        made.push(child.map_err(StoreError::from)?);
    }
    Ok(made)
}

/// The number of tasks from the eldest of a task's parents down; the count stops above `most`. Tasks that
/// retention has deleted do not count.
fn tree_size(conn: &Connection, row: i64, most: u64) -> rusqlite::Result<u64> {
    conn.prepare_cached(
        "WITH RECURSIVE up (row, parent, height) AS ( \
           SELECT task_row, parent_row, 0 FROM tasks WHERE task_row = ?1 \
           UNION ALL SELECT task_row, parent_row, height + 1 FROM up JOIN tasks ON task_row = parent), \
         tree (row) AS ( \
           SELECT * FROM (SELECT row FROM up ORDER BY height DESC LIMIT 1) \
           UNION ALL SELECT task_row FROM tree JOIN tasks INDEXED BY tasks_children \
             ON parent_row = row AND parent_row IS NOT NULL LIMIT ?2) \
         SELECT count(*) FROM tree",
    )?
    .query_row((row, signed(most.saturating_add(1))), |row| {
        rows::unsigned(row, 0)
    })
}

/// Stores a child. The transition goes on without a refused child.
pub(crate) fn start(
    batch: &mut Batch<'_>,
    parent: &Loaded,
    new: NewTask,
    values: &Values,
) -> Result<(), WriteError> {
    let task = new.task.id;
    match insert(batch, new, values, Some(parent.row)) {
        Ok(_) => Ok(()),
        Err(WriteError::Refused(error)) => {
            batch.report(parent.row, task, &error);
            Ok(())
        }
        Err(broken) => Err(broken),
    }
}
