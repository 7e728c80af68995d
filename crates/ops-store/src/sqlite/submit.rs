//! Submit: a task, its request and its first event.

use ops_core::{
    Json, Lifecycle, State, TaskId,
    event::{TaskEvent, Usage},
    ports::{Idempotency, NewTask, StoreError, TaskRecord},
};
use rusqlite::{OptionalExtension as _, params};

use super::{
    batch::Batch,
    columns::StateColumns,
    error::Fault,
    prepare::PreparedTask,
    rows::{self, Sparse, record_columns, signed},
};

/// A task that was stored, or that the idempotency key had made before.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) record: Sparse,
    pub(super) existing: bool,
}

pub(super) fn submit(batch: &mut Batch<'_>, prepared: PreparedTask) -> Result<Found, Fault> {
    let PreparedTask { new, input } = prepared;
    if let Some(idempotency) = &new.idempotency
        && let Some(record) = known(batch, &new, idempotency)?
    {
        return Ok(Found {
            record,
            existing: true,
        });
    }
    let NewTask {
        task,
        retry,
        idempotency,
    } = new;
    let event = TaskEvent::Submitted {
        task_type: task.task_type.clone(),
        retry_of: task.retry_of,
        run_at: task.run_at,
    };
    let life = Lifecycle {
        id: task.id,
        state: State::Pending,
        attempt: 1,
        retry,
        epoch: 0,
        seq: 0,
        lease_losses: 0,
        run_started: false,
        usage: Usage::default(),
        started_at: None,
        updated_at: task.created_at,
        completed_at: None,
    }
    .apply(&event, batch.now.max(task.created_at));

    let columns = StateColumns::new(&life.state);
    let inserted = batch.sql.insert_task.execute(params![
        task.tenant.0,
        task.id.as_bytes(),
        task.queue,
        task.priority,
        columns.name,
        columns.due,
        life.attempt,
        signed(life.epoch),
        signed(life.seq),
        retry.max_attempts,
        retry.initial_micros,
        retry.max_micros,
        retry.max_lease_losses,
        life.updated_at.0,
    ])?;
    if inserted == 0 {
        let message = format!("there is a task {} already; ids must be fresh", task.id);
        return Err(StoreError::Unavailable(message).into());
    }
    let row = batch.conn.last_insert_rowid();
    batch.changes.written = true;
    batch.changes.submitted = true;
    if let Some(packed) = &input {
        batch.store(task.tenant, packed)?;
    }
    let inline = input.is_none().then(|| task.input.as_str());
    let labels = (!task.labels.is_empty())
        .then(|| Json::from_value(&task.labels).ok())
        .flatten();
    let limits = (task.limits != ops_core::task::TaskLimits::default())
        .then(|| Json::from_value(&task.limits).ok())
        .flatten();
    batch.sql.insert_request.execute(params![
        row,
        task.tenant.0,
        task.task_type,
        task.name,
        task.agent_id,
        inline,
        input.as_ref().map(|packed| packed.digest),
        labels.as_ref().map(Json::as_str),
        limits.as_ref().map(Json::as_str),
        task.retry_of.as_ref().map(TaskId::as_bytes),
        task.created_at.0,
        task.run_at.map(|at| at.0),
    ])?;
    if let Some(idempotency) = &idempotency {
        let mut insert = batch.conn.prepare_cached(
            "INSERT INTO idempotency (tenant_id, key, digest, task_id, created_at) \
             VALUES (?, ?, ?, ?, ?)",
        )?;
        insert.execute(params![
            task.tenant.0,
            idempotency.key,
            idempotency.digest,
            task.id.as_bytes(),
            life.updated_at.0,
        ])?;
    }
    batch.event((task.tenant, row), &life, life.seq, &event.envelope(), None)?;
    batch.changes.count(task.tenant, life.state.name(), 1);
    let ready = matches!(life.state, State::Pending).then(|| batch.queue(&task.queue));
    batch.notice(task.tenant, &life, ready);
    let record = TaskRecord {
        task,
        life,
        result: None,
        error: None,
    };
    Ok(Found {
        record: Sparse::whole(record),
        existing: false,
    })
}

/// The task that an idempotency key stands for, if it was used before.
fn known(
    batch: &Batch<'_>,
    new: &NewTask,
    idempotency: &Idempotency,
) -> Result<Option<Sparse>, Fault> {
    let tenant = new.task.tenant.0;
    let mut select = batch.conn.prepare_cached(
        "SELECT digest, task_id FROM idempotency WHERE tenant_id = ? AND key = ?",
    )?;
    let known = select
        .query_row((tenant, &idempotency.key), |row| {
            Ok((row.get::<_, [u8; 32]>(0)?, row.get::<_, [u8; 16]>(1)?))
        })
        .optional()?;
    let Some((digest, task)) = known else {
        return Ok(None);
    };
    if digest != idempotency.digest {
        return Err(StoreError::IdempotencyMismatch.into());
    }
    let mut select = batch.conn.prepare_cached(concat!(
        "SELECT ",
        record_columns!(),
        " FROM tasks JOIN task_requests USING (task_row) \
         WHERE tasks.tenant_id = ? AND task_id = ?"
    ))?;
    // A key outlives its task only until retention has taken both away; then it is free again.
    let record = select.query_row((tenant, task), rows::record).optional()?;
    if record.is_none() {
        batch
            .conn
            .prepare_cached("DELETE FROM idempotency WHERE tenant_id = ? AND key = ?")?
            .execute((tenant, &idempotency.key))?;
    }
    Ok(record)
}
