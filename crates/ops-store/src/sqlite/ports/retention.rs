//! The verbs that delete.

use ops_core::{
    TaskId, TenantId,
    ports::{Expired, Fut, Progress, Retention, RetentionStore, StoreError},
};

use crate::sqlite::{store::SqliteStore, verbs::retention};

impl RetentionStore for SqliteStore {
    fn expired(&self, keep: Retention) -> Fut<'_, Result<Expired, StoreError>> {
        let now = self.clock.now();
        Box::pin(
            self.readers
                .read(move |conn| retention::expired(conn, keep, now)),
        )
    }

    fn mark_deleted(&self, keep: Retention, limit: u32) -> Fut<'_, Result<Expired, StoreError>> {
        Box::pin(self.delete(move |batch| retention::mark_deleted(batch, keep, limit)))
    }

    fn tombstones(&self, limit: u32) -> Fut<'_, Result<Vec<(TenantId, TaskId)>, StoreError>> {
        Box::pin(
            self.readers
                .read(move |conn| retention::tombstones(conn, limit)),
        )
    }

    fn purge(&self, tasks: Vec<(TenantId, TaskId)>) -> Fut<'_, Result<Progress, StoreError>> {
        Box::pin(self.delete(move |batch| retention::purge(batch, &tasks)))
    }

    fn sweep_blobs(&self) -> Fut<'_, Result<Progress, StoreError>> {
        Box::pin(self.delete(retention::sweep))
    }
}
