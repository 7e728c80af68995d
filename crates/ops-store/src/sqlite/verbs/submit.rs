//! Submit: a task, its request and its first event.

use std::sync::LazyLock;

use ops_core::{
    AgentDigest, Json, State, TaskId,
    ports::{Idempotency, LeftOut, NewTask, StoreError, TaskRecord},
    rules::{
        limits,
        submit::{self as rule, Birth, Pin},
    },
};
use rusqlite::{OptionalExtension as _, params};

use crate::sqlite::{
    error::WriteError,
    queries::agents,
    schema::{
        rows::{self, Sparse, record_columns, signed},
        sums::{IDEMPOTENCY, intact},
        terms,
    },
    values::{blob::INLINE, pack::Values},
    verbs::fork,
    writer::batch::Batch,
};

static INSERT_KEY: LazyLock<String> = LazyLock::new(|| {
    let columns = ["tenant_id", "key", "digest", "task_id", "created_at"];
    IDEMPOTENCY.insert(&columns, &[])
});

/// A task that was stored, or that the idempotency key had made before.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) record: Sparse,
    pub(crate) existing: bool,
}

pub(crate) fn submit(
    batch: &mut Batch<'_>,
    new: NewTask,
    values: &Values,
) -> Result<Found, WriteError> {
    if let Some(idempotency) = &new.idempotency
        && let Some(record) = known(batch, &new, idempotency)?
    {
        return Ok(Found {
            record,
            existing: true,
        });
    }
    let record = insert(batch, new, values, None)?;
    Ok(Found {
        record: Sparse::whole(record),
        existing: false,
    })
}

/// Stores a new task, below the row of its parent if the task has a parent.
pub(crate) fn insert(
    batch: &mut Batch<'_>,
    mut new: NewTask,
    values: &Values,
    parent: Option<i64>,
) -> Result<TaskRecord, WriteError> {
    new.task.agent_digest = match rule::pin(&new) {
        Pin::Version(digest) => Some(digest),
        Pin::AsTask(task) => agents::pinned(&batch.view(), new.task.tenant, task)?,
        Pin::Current(name) => agents::current(&batch.view(), new.task.tenant, name)?,
        Pin::Nothing => None,
    };
    let from = match &new.fork {
        Some(fork) => Some(fork::source(batch, new.task.tenant, fork)?),
        None => None,
    };
    // The row is written once, with the number of the last event.
    let copied = from.as_ref().map_or(0, |from| from.events);
    let Birth { life, event, .. } = rule::submit(&new, copied, batch.now);
    let NewTask {
        task,
        retry,
        idempotency,
        fork,
        actor: _,
    } = new;
    let input = (task.input.as_str().len() > INLINE)
        .then(|| values.find(task.input.as_str().as_bytes()))
        .flatten();
    let inserted = batch.sql.insert_task.execute(params![
        task.tenant.0,
        task.id.as_bytes(),
        task.queue,
        task.priority,
        life.state.name().as_str(),
        life.state.due().map(|due| due.0),
        life.attempt,
        signed(life.epoch),
        signed(life.seq),
        life.run_started,
        retry.max_attempts,
        retry.initial_micros,
        retry.max_micros,
        retry.max_lease_losses,
        life.updated_at.0,
        life.flags(),
        parent,
        task.concurrency_key,
        life.timeout,
        life.start_by.map(|at| at.0),
        limits::expires(&life).map(|at| at.0),
    ])?;
    if inserted == 0 {
        let message = format!("there is a task {} already; ids must be fresh", task.id);
        return Err(StoreError::Unavailable(message).into());
    }
    let row = batch.conn.last_insert_rowid();
    batch.changes.written = true;
    batch.changes.submitted = true;
    batch.changes.work.submits += 1;
    if parent.is_none() {
        // Those of a child are stored with the append of its parent.
        for packed in values.packed() {
            batch.store(task.tenant, packed)?;
        }
    }
    if let Some(digest) = &input {
        batch.refer(task.tenant, row, digest)?;
    }
    let inline = input.is_none().then(|| task.input.as_str());
    let labels = (!task.labels.is_empty())
        .then(|| Json::from_value(&task.labels).ok())
        .flatten();
    let asked = (task.limits != ops_core::task::TaskLimits::default())
        .then(|| Json::from_value(&task.limits).ok())
        .flatten();
    batch.sql.insert_request.execute(params![
        row,
        task.tenant.0,
        task.task_type,
        task.name,
        task.agent_id,
        inline,
        input,
        labels.as_ref().map(Json::as_str),
        asked.as_ref().map(Json::as_str),
        task.retry_of.as_ref().map(TaskId::as_bytes),
        task.created_at.0,
        task.run_at.map(|at| at.0),
        task.parent.as_ref().map(|parent| parent.task.as_bytes()),
        task.parent.map(|parent| parent.step),
        task.parent.map(|parent| parent.depth_left),
        task.agent_digest.as_ref().map(AgentDigest::as_bytes),
    ])?;
    terms::insert(batch.conn, &task)?;
    if let Some(idempotency) = &idempotency {
        let mut insert = batch.conn.prepare_cached(&INSERT_KEY)?;
        insert.execute(params![
            task.tenant.0,
            idempotency.key.stored(),
            idempotency.digest,
            task.id.as_bytes(),
            life.updated_at.0,
        ])?;
    }
    batch.event((task.tenant, row), &life, 1, &event, values)?;
    if let (Some(from), Some(fork)) = (&from, &fork) {
        fork::copy(batch, (task.tenant, row), &life, from, fork)?;
    }
    batch.changes.count(task.tenant, life.state.name(), 1);
    let ready = matches!(life.state, State::Pending { .. }).then(|| batch.queue(&task.queue));
    batch.notice(task.tenant, &life, ready);
    Ok(TaskRecord {
        task,
        life,
        result: None,
        in_force: None,
        left_out: LeftOut::default(),
    })
}

/// The task that an idempotency key stands for, if it was used before.
fn known(
    batch: &Batch<'_>,
    new: &NewTask,
    idempotency: &Idempotency,
) -> Result<Option<Sparse>, WriteError> {
    let tenant = new.task.tenant.0;
    let key = idempotency.key.stored();
    let mut select = batch.conn.prepare_cached(concat!(
        "SELECT digest, task_id, ",
        intact!(idempotency),
        " FROM idempotency WHERE tenant_id = ? AND key = ?"
    ))?;
    let known = select
        .query_row((tenant, &key), |row| {
            rows::intact(row, 2)?;
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
            .execute((tenant, &key))?;
    }
    Ok(record)
}
