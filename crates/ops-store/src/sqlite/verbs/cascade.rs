//! What a task's transition means for the tasks that it is tied to: in the same transaction, so that
//! no crash comes between them.

use ops_core::{
    Command, Lifecycle, State, TaskId, TenantId, Wait,
    decide::Outcome,
    event::{ChildEnd, StoredResult},
};
use rusqlite::{OptionalExtension as _, Row};

use crate::sqlite::{
    error::Fault,
    values::blob::Digest,
    verbs::{apply::apply_own, approvals},
    writer::batch::{Batch, Loaded},
};

/// How a task ended, as its parent is told; none if it did not, or has no parent.
pub(crate) fn end(
    after: &Lifecycle,
    outcome: Option<&Outcome>,
    stored: Option<Digest>,
) -> Option<ChildEnd> {
    if !after.ties.parent || !after.state.name().is_terminal() {
        return None;
    }
    let mut used = after.usage;
    used += after.children_usage;
    let mut end = ChildEnd {
        child: after.id,
        state: after.state.name(),
        result: None,
        stored: None,
        error: None,
        used,
    };
    match (outcome, stored) {
        (Some(Outcome::Result(result)), Some(digest)) => {
            end.stored = Some(StoredResult {
                digest: units::hex::encode(digest),
                bytes: result.as_str().len() as u64,
            });
        }
        (Some(Outcome::Result(result)), None) => end.result = Some(result.to_value()),
        (Some(Outcome::Error(error)), _) => end.error = Some(error.clone()),
        (None, _) => {}
    }
    Some(end)
}

/// Tells the tasks that are tied to one of what it has come to.
pub(crate) fn follow(
    batch: &mut Batch<'_>,
    before: &Loaded,
    after: &Lifecycle,
    end: Option<ChildEnd>,
) -> Result<(), Fault> {
    let ties = after.ties;
    let ended = after.state.name().is_terminal();
    let stopped = ended || matches!(after.state, State::Cancelling { .. });
    if ties.children && stopped && before.life.state != after.state {
        cancel_children(batch, before.row)?;
    }
    if ties.approvals {
        match &before.life.state {
            // What was over before the task ended did not lapse with it.
            _ if ended => {
                approvals::expire(batch, before.row)?;
                approvals::void(batch, before.row)?;
            }
            State::Waiting(Wait::Approval { .. }) => approvals::expire(batch, before.row)?,
            _ => {}
        }
    }
    if let Some(end) = end
        && let Some((tenant, parent)) = parent(batch, before.row)?
    {
        tell(batch, tenant, parent, Command::ChildEnded(end))?;
    }
    if ties.key && (ended || stands_still(&before.life, after)) {
        unblock(batch, before.row)?;
    }
    Ok(())
}

/// Children do not outlive their parent, nor go on while it is being cancelled.
fn cancel_children(batch: &mut Batch<'_>, parent: i64) -> Result<(), Fault> {
    let live: Vec<(TenantId, TaskId)> = batch
        .conn
        .prepare_cached(
            "SELECT tenant_id, task_id FROM tasks \
             WHERE parent_row = ? AND parent_row IS NOT NULL AND completed_at IS NULL",
        )?
        .query_map([parent], key)?
        .collect::<Result<_, _>>()?;
    for (tenant, child) in live {
        tell(batch, tenant, child, Command::Cancel)?;
    }
    Ok(())
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

/// Whether a task was ready to begin and is not any more: it may be the one whose turn it was.
fn stands_still(before: &Lifecycle, after: &Lifecycle) -> bool {
    matches!(before.state, State::Pending)
        && matches!(after.state, State::Paused)
        && after.started_at.is_none()
}

/// The next task that waits for the key of one that ended, or that does not begin, may have its turn,
/// unless another one holds the key.
fn unblock(batch: &mut Batch<'_>, row: i64) -> Result<(), Fault> {
    let next = batch
        .conn
        .prepare_cached(
            "SELECT next.tenant_id, next.task_id FROM tasks AS done \
             JOIN tasks AS next INDEXED BY tasks_blocked \
             ON next.tenant_id = done.tenant_id AND next.concurrency_key = done.concurrency_key \
             WHERE done.task_row = ? AND next.wait_on = 'concurrency' AND next.flags & 1 = 0 \
             AND NOT EXISTS (SELECT 1 FROM tasks AS held INDEXED BY tasks_keyed \
               WHERE held.tenant_id = done.tenant_id \
               AND held.concurrency_key = done.concurrency_key \
               AND held.concurrency_key IS NOT NULL \
               AND held.completed_at IS NULL AND held.started_at IS NOT NULL) \
             ORDER BY next.priority DESC, next.task_id LIMIT 1",
        )?
        .query_row([row], key)
        .optional()?;
    match next {
        Some((tenant, task)) => tell(batch, tenant, task, Command::Unblock),
        None => Ok(()),
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

/// Applies a command to a task that is tied to another. One that refuses, or that cannot be read, is
/// left as it is: what is half written goes on.
fn tell(
    batch: &mut Batch<'_>,
    tenant: TenantId,
    task: TaskId,
    command: Command,
) -> Result<(), Fault> {
    match apply_own(batch, tenant, task, command) {
        Ok(_) => Ok(()),
        Err(Fault::Refused(error)) => {
            tracing::error!(%task, %error, "a task that is tied to another is left as it is");
            Ok(())
        }
        Err(broken) => Err(broken),
    }
}

fn key(row: &Row<'_>) -> rusqlite::Result<(TenantId, TaskId)> {
    Ok((TenantId(row.get(0)?), TaskId::from_bytes(row.get(1)?)))
}
