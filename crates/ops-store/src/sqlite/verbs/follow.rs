//! The worklist of a transition: its effects on linked tasks, in the same transaction, so that no crash
//! comes between them. A parent whose child had ended in an earlier transaction would wait for ever if the
//! process died before the second. [`ops_core::rules`] decides the effects; this module finds the targets.

use std::{collections::VecDeque, sync::LazyLock};

use ops_core::{
    Lifecycle, Micros, TaskId, TenantId,
    rules::{
        Cause, Transition,
        claim::{MAX_PRIORITY, serves_aged, waits_since},
        decide,
        links::{self, Follow, Waiter},
    },
};
use rusqlite::{OptionalExtension as _, Row};

use crate::sqlite::{
    error::WriteError,
    values::pack::Values,
    verbs::approvals,
    writer::batch::{Batch, Loaded},
};

/// Writes a transition and all its effects. A refused transition has written no row. A linked task that
/// refuses, or that cannot be read, stays unchanged, and the transition goes on.
pub(crate) fn carry_out(
    batch: &mut Batch<'_>,
    before: &Loaded,
    transition: Transition,
    values: &Values,
) -> Result<Lifecycle, WriteError> {
    let (after, follows) = batch.write(before, transition, values)?;
    let row = before.row;
    let mut work: VecDeque<(i64, Follow)> = follows.into_iter().map(|next| (row, next)).collect();
    while let Some((row, follow)) = work.pop_front() {
        let found = match targets(batch, row, &follow) {
            Err(WriteError::Refused(error)) => {
                tracing::error!(row, %error, "those that a task is linked to cannot be read");
                continue;
            }
            found => found?,
        };
        for (tenant, task) in found {
            let Some(cause) = follow.clone().cause() else {
                continue;
            };
            match step(batch, tenant, task, cause) {
                Ok(Some((row, follows))) => {
                    work.extend(follows.into_iter().map(|next| (row, next)));
                }
                Ok(None) => {}
                Err(WriteError::Refused(error)) => {
                    tracing::error!(%task, %error, "a linked task is left as it is");
                }
                Err(broken) => return Err(broken),
            }
        }
    }
    Ok(after)
}

/// Applies a cause of the engine's own to a task, with all effects; tells whether the cause applied.
pub(crate) fn apply(
    batch: &mut Batch<'_>,
    tenant: TenantId,
    task: TaskId,
    cause: Cause,
) -> Result<bool, WriteError> {
    let Some(before) = batch.load(tenant, task)? else {
        return Ok(false);
    };
    match decide(&before.life, cause, batch.now) {
        Ok(transition) => carry_out(batch, &before, transition, &Values::default()).map(|_| true),
        Err(rejection) => {
            tracing::debug!(%task, %rejection, "a cause of the engine's own does not apply");
            Ok(false)
        }
    }
}

/// One step of the worklist: its row and its effects, if the cause applies.
fn step(
    batch: &mut Batch<'_>,
    tenant: TenantId,
    task: TaskId,
    cause: Cause,
) -> Result<Option<(i64, Vec<Follow>)>, WriteError> {
    let Some(target) = batch.load(tenant, task)? else {
        return Ok(None);
    };
    match decide(&target.life, cause, batch.now) {
        Ok(transition) => {
            let (_, follows) = batch.write(&target, transition, &Values::default())?;
            Ok(Some((target.row, follows)))
        }
        Err(rejection) => {
            tracing::debug!(%task, %rejection, "a link does not change the task");
            Ok(None)
        }
    }
}

/// The tasks that a follow is about. Approvals are no tasks: they are changed here.
fn targets(
    batch: &mut Batch<'_>,
    row: i64,
    follow: &Follow,
) -> Result<Vec<(TenantId, TaskId)>, WriteError> {
    match follow {
        Follow::StopChildren => Ok(children(batch, row)?),
        Follow::NotifyParent(_) => Ok(parent(batch, row)?.into_iter().collect()),
        Follow::ReleaseKey => Ok(turns(batch, row)?),
        Follow::LapseApprovals(lapse) => {
            approvals::lapse(batch, row, *lapse)?;
            Ok(Vec::new())
        }
        Follow::CorrectApprovals { from, to } => {
            approvals::correct(batch, row, *from, *to)?;
            Ok(Vec::new())
        }
    }
}

/// The children that have not ended.
fn children(batch: &Batch<'_>, row: i64) -> rusqlite::Result<Vec<(TenantId, TaskId)>> {
    batch
        .conn
        .prepare_cached(
            "SELECT tenant_id, task_id FROM tasks \
             WHERE parent_row = ? AND parent_row IS NOT NULL AND completed_at IS NULL",
        )?
        .query_map([row], key)?
        .collect()
}

fn parent(batch: &Batch<'_>, row: i64) -> rusqlite::Result<Option<(TenantId, TaskId)>> {
    batch
        .conn
        .prepare_cached(
            "SELECT tenant_id, task_id FROM tasks \
             WHERE task_row = (SELECT parent_row FROM tasks WHERE task_row = ?)",
        )?
        .query_row([row], key)
        .optional()
}

/// The oldest waiter of a key in a queue. The index has the waiters of a queue by priority and then age.
static OLDEST_WAITER: LazyLock<String> = LazyLock::new(|| {
    let of_each = (0..=MAX_PRIORITY).map(|priority| {
        format!(
            "SELECT * FROM (SELECT queue, task_id, priority, task_row FROM tasks \
             INDEXED BY tasks_turns WHERE tenant_id = ?1 AND concurrency_key = ?2 AND queue = ?3 \
             AND priority = {priority} AND wait_on = 'concurrency' AND flags & 1 = 0 \
             ORDER BY task_id LIMIT 1)"
        )
    });
    let of_each: Vec<String> = of_each.collect();
    format!(
        "SELECT task_id, priority, updated_at, created_at, run_at FROM tasks \
         JOIN task_requests USING (task_row) \
         WHERE task_row = (SELECT task_row FROM ({} ORDER BY task_id LIMIT 1))",
        of_each.join(" UNION ALL ")
    )
});

/// A waiter of a queue: the columns are the task's id, its priority, its last event, its submit and its requested start.
fn waiter(row: &Row<'_>) -> rusqlite::Result<Waiter<'static>> {
    Ok(Waiter {
        task: TaskId::from_bytes(row.get(0)?),
        queue: "",
        priority: row.get(1)?,
        since: waits_since(
            Micros(row.get(3)?),
            row.get::<_, Option<i64>>(4)?.map(Micros),
            Micros(row.get(2)?),
        ),
    })
}

/// Whose turn it is to take the key of a task: see [`ops_core::rules::links::turns`]. The index has the
/// waiters by queue and in the order of their turn, so one row is read of each queue.
fn turns(batch: &Batch<'_>, row: i64) -> rusqlite::Result<Vec<(TenantId, TaskId)>> {
    let mut select = batch
        .conn
        .prepare_cached("SELECT tenant_id, concurrency_key FROM tasks WHERE task_row = ?")?;
    let (tenant, key): (u32, Option<String>) =
        select.query_row([row], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let tenant = TenantId(tenant);
    let mut found = Vec::new();
    let Some(key) = key else { return Ok(found) };
    if key_is_held(batch, tenant, &key)? {
        return Ok(found);
    }
    let mut first = batch.conn.prepare_cached(
        "SELECT task_id, priority, updated_at, created_at, run_at, queue \
         FROM tasks INDEXED BY tasks_turns JOIN task_requests USING (task_row) \
         WHERE tasks.tenant_id = ? AND concurrency_key = ? AND queue > ? AND wait_on = 'concurrency' \
         AND flags & 1 = 0 ORDER BY queue, priority DESC, task_id LIMIT 1",
    )?;
    let mut queue = String::new();
    loop {
        let next = first.query_row((tenant.0, &key, &queue), |row| {
            Ok((row.get::<_, String>(5)?, waiter(row)?))
        });
        let Some((next, of_priority)) = next.optional()? else {
            return Ok(found);
        };
        let mut waiters = vec![of_priority];
        if serves_aged(batch.now) {
            let mut oldest = batch.conn.prepare_cached(&OLDEST_WAITER)?;
            let oldest = oldest.query_row((tenant.0, &key, &next), waiter);
            waiters.extend(oldest.optional()?);
        }
        found.extend(
            links::turns(waiters, batch.now)
                .into_iter()
                .map(|task| (tenant, task)),
        );
        if units::mutant!("ops-store.a_key_goes_to_one_queue") {
            return Ok(found);
        }
        queue = next;
    }
}

/// Whether another task has started under the same concurrency key and has not ended.
pub(crate) fn key_is_held(
    batch: &Batch<'_>,
    tenant: TenantId,
    key: &str,
) -> rusqlite::Result<bool> {
    batch
        .conn
        .prepare_cached(
            "SELECT 1 FROM tasks INDEXED BY tasks_keyed \
             WHERE tenant_id = ? AND concurrency_key = ? AND concurrency_key IS NOT NULL \
             AND completed_at IS NULL AND started_at IS NOT NULL LIMIT 1",
        )?
        .exists((tenant.0, key))
}

fn key(row: &Row<'_>) -> rusqlite::Result<(TenantId, TaskId)> {
    Ok((TenantId(row.get(0)?), TaskId::from_bytes(row.get(1)?)))
}
