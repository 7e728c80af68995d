//! Children that begin with an append of their parent.

use ops_core::{
    ChildSpec, Rejection,
    ports::{NewTask, StoreError},
    rules::submit,
};

use crate::sqlite::{
    error::Fault,
    schema::rows::{self, record_columns},
    values::pack::Values,
    verbs::submit::insert,
    writer::batch::{Batch, Loaded},
};

/// The tasks of the children that a run asks for. Nothing is written.
pub(crate) fn make(
    batch: &Batch<'_>,
    parent: &Loaded,
    specs: Vec<ChildSpec>,
) -> Result<Vec<NewTask>, Fault> {
    if specs.is_empty() {
        return Ok(Vec::new());
    }
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

/// Stores a child. What is half written goes on without one that is refused.
pub(crate) fn start(
    batch: &mut Batch<'_>,
    parent: &Loaded,
    new: NewTask,
    values: &Values,
) -> Result<(), Fault> {
    let task = new.task.id;
    match insert(batch, new, values, Some(parent.row)) {
        Ok(_) => Ok(()),
        Err(Fault::Refused(error)) => {
            batch.report(parent.row, task, &error);
            Ok(())
        }
        Err(broken) => Err(broken),
    }
}
