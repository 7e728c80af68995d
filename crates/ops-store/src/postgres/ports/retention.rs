//! The verbs that delete.

use ops_core::{
    TaskId, TenantId,
    ports::{Expired, Fut, Progress, Retention, RetentionStore, StoreError},
};

use crate::postgres::{PostgresStore, verbs::retention};

impl RetentionStore for PostgresStore {
    fn expired(&self, keep: Retention) -> Fut<'_, Result<Expired, StoreError>> {
        Box::pin(self.read_at(move |conn, now| retention::expired(conn, keep, now)))
    }

    fn mark_deleted(&self, keep: Retention, limit: u32) -> Fut<'_, Result<Expired, StoreError>> {
        Box::pin(self.work(Vec::new(), move |work| {
            retention::mark_deleted(work, keep, limit)
        }))
    }

    fn tombstones(&self, limit: u32) -> Fut<'_, Result<Vec<(TenantId, TaskId)>, StoreError>> {
        Box::pin(self.read(move |conn| retention::tombstones(conn, limit)))
    }

    fn purge(&self, tasks: Vec<(TenantId, TaskId)>) -> Fut<'_, Result<Progress, StoreError>> {
        Box::pin(self.work(Vec::new(), move |work| retention::purge(work, &tasks)))
    }

    fn sweep_blobs(&self) -> Fut<'_, Result<Progress, StoreError>> {
        Box::pin(self.work(Vec::new(), retention::sweep))
    }
}
