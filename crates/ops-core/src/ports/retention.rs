//! Deleting what is no longer wanted: the store's verbs for it, and the folders of tasks.

use super::{Counts, Fut, StoreError};
use crate::{
    id::{TaskId, TenantId},
    task::StateName,
    time::Micros,
};

/// How long tasks are kept after they ended, in microseconds; none for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Completed ones.
    pub completed: Option<i64>,
    /// Failed ones, dead letters among them.
    pub failed: Option<i64>,
    /// Cancelled ones.
    pub cancelled: Option<i64>,
}

impl Retention {
    /// Whether everything is kept for ever.
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

/// What would be deleted, or was.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expired {
    /// Tasks by state.
    pub tasks: Counts,
    /// Their events.
    pub events: u64,
}

/// What a piece of deleting did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// There is more to do.
    More,
    /// It is done.
    Done,
}

/// The verbs of a store that delete, of every tenant. Each is a small transaction that
/// does not hold up the others for long; a crash between two of them leaves what
/// [`doomed`](RetentionStore::doomed) and [`sweep_blobs`](RetentionStore::sweep_blobs) go on with.
pub trait RetentionStore: Send + Sync {
    /// What has been kept long enough.
    fn expired(&self, keep: Retention) -> Fut<'_, Result<Expired, StoreError>>;
    /// Takes away at most `limit` tasks that have been kept long enough, oldest first, with their
    /// snapshots and idempotency keys. They are not found from then on. Their logs and large values
    /// stay until they are purged.
    fn doom(&self, keep: Retention, limit: u32) -> Fut<'_, Result<Expired, StoreError>>;
    /// At most `limit` tasks that were taken away and are to be purged.
    fn doomed(&self, limit: u32) -> Fut<'_, Result<Vec<(TenantId, TaskId)>, StoreError>>;
    /// Deletes a piece of what is left of these tasks.
    fn purge(&self, tasks: Vec<(TenantId, TaskId)>) -> Fut<'_, Result<Progress, StoreError>>;
    /// Deletes a piece of the large values that no task refers to any more.
    fn sweep_blobs(&self) -> Fut<'_, Result<Progress, StoreError>>;
}

/// The folders of tasks.
pub trait Workspaces: Send + Sync {
    /// Removes the folder of a task, if it has one. What cannot be removed is reported and left.
    fn remove(&self, task: TaskId) -> Fut<'_, ()>;
}
