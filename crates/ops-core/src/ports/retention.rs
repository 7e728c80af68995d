//! The store's verbs for deleting old tasks, and the folders of tasks.

use super::{Counts, Fut, StoreError};
use crate::{
    id::{TaskId, TenantId},
    task::StateName,
    time::Micros,
};

/// How long tasks are kept after their end, in microseconds; `None` for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Completed tasks.
    pub completed: Option<i64>,
    /// Failed tasks, dead letters among them.
    pub failed: Option<i64>,
    /// Cancelled tasks.
    pub cancelled: Option<i64>,
}

impl Retention {
    /// Whether all tasks are kept for ever.
    #[must_use]
    pub fn keeps_all(&self) -> bool {
        *self == Self::default()
    }

    /// The states with an end to their keeping, and the time before which a task must have ended to
    /// be deleted.
    pub fn cutoffs(&self, now: Micros) -> impl Iterator<Item = (StateName, Micros)> {
        [
            (StateName::Completed, self.completed),
            (StateName::Failed, self.failed),
            (StateName::Cancelled, self.cancelled),
        ]
        .into_iter()
        .filter_map(move |(state, kept)| Some((state, now.plus(-kept?))))
    }
}

/// Counts of deleted tasks and events, or of those tasks and events that a dry run would delete.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expired {
    /// Tasks by state.
    pub tasks: Counts,
    /// Their events.
    pub events: u64,
}

/// Progress of a deletion in pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// There is more to do.
    More,
    /// The deletion is complete.
    Done,
}

/// The store's verbs that delete, over all tenants. Each verb is a small transaction that does not hold up
/// other writers for long. After a crash between two of them, [`tombstones`](RetentionStore::tombstones)
/// and [`sweep_blobs`](RetentionStore::sweep_blobs) find the rest of the work.
pub trait RetentionStore: Send + Sync {
    /// Counts the tasks that are old enough to be deleted.
    fn expired(&self, keep: Retention) -> Fut<'_, Result<Expired, StoreError>>;
    /// Takes away at most `limit` tasks that have been kept long enough, oldest first, with their
    /// snapshots and idempotency keys. They are not found from then on. Their logs and large values
    /// stay until they are purged.
    fn mark_deleted(&self, keep: Retention, limit: u32) -> Fut<'_, Result<Expired, StoreError>>;
    /// At most `limit` tasks that were taken away and are to be purged.
    fn tombstones(&self, limit: u32) -> Fut<'_, Result<Vec<(TenantId, TaskId)>, StoreError>>;
    /// Deletes a piece of the remaining rows of these tasks.
    fn purge(&self, tasks: Vec<(TenantId, TaskId)>) -> Fut<'_, Result<Progress, StoreError>>;
    /// Deletes a piece of the large values that no task refers to any more.
    fn sweep_blobs(&self) -> Fut<'_, Result<Progress, StoreError>>;
}

/// The folders of tasks.
pub trait Workspaces: Send + Sync {
    /// Removes the folder of a task, if the task has a folder. A folder that cannot be removed is reported
    /// and left.
    fn remove(&self, task: TaskId) -> Fut<'_, ()>;
}
