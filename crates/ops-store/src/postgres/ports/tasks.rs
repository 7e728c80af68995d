//! The verbs of surfaces.

use ops_core::{
    Approval, Lifecycle, StoredEvent, TaskCommand, TaskId, TenantId,
    ports::{
        ApprovalAction, ApprovalDecision, ApprovalFilter, Counts, Fut, Listed, NewTask, StoreError,
        Submitted, TaskFilter, TaskRecord, TaskStore,
    },
    stats::Stats,
    verbs::size,
};

use super::there;
use crate::postgres::{
    PostgresStore,
    queries::{approvals, reads, search},
};

/// The most events that are read in one go.
const EVENT_PAGE: u32 = 1_024;

impl TaskStore for PostgresStore {
    fn submit(&self, new: NewTask) -> Fut<'_, Result<Submitted, StoreError>> {
        Box::pin(async move {
            size::task(&new, self.shared.options.max_value_bytes)?;
            let mut keys = vec![(new.task.tenant, new.task.id)];
            keys.extend(new.fork.as_ref().map(|fork| (new.task.tenant, fork.from)));
            self.write(keys, move |write| write.submit(new.clone()))
                .await
        })
    }

    fn submit_all(&self, new: Vec<NewTask>) -> Fut<'_, Vec<Result<Submitted, StoreError>>> {
        Box::pin(futures_util::future::join_all(
            new.into_iter().map(|task| self.submit(task)),
        ))
    }

    fn command(
        &self,
        tenant: TenantId,
        task: TaskId,
        command: TaskCommand,
    ) -> Fut<'_, Result<Lifecycle, StoreError>> {
        Box::pin(async move {
            size::command(&command, self.shared.options.max_value_bytes)?;
            let key = (tenant, task);
            self.write(vec![key], move |write| write.command(key, command.clone()))
                .await
        })
    }

    fn decide_approval(
        &self,
        tenant: TenantId,
        task: TaskId,
        decision: ApprovalDecision,
    ) -> Fut<'_, Result<Approval, StoreError>> {
        Box::pin(async move {
            if let ApprovalAction::Edit { input, .. } = &decision.action {
                let bytes = input.to_string().len();
                size::size(bytes, self.shared.options.max_value_bytes)?;
            }
            let key = (tenant, task);
            self.write(vec![key], move |write| {
                write.decide_approval(key, decision.clone())
            })
            .await
        })
    }

    fn approval(
        &self,
        tenant: TenantId,
        task: TaskId,
        step: u32,
    ) -> Fut<'_, Result<Approval, StoreError>> {
        Box::pin(async move {
            let found = self
                .read_at(move |conn, now| {
                    let found = approvals::one(conn, tenant, task, step)?;
                    Ok(found.map(|found| {
                        found.map(|mut approval| {
                            approval.status = approval.standing(now);
                            approval
                        })
                    }))
                })
                .await?;
            found.ok_or(StoreError::NoApproval(step))
        })
    }

    fn approvals(
        &self,
        tenant: TenantId,
        filter: ApprovalFilter,
    ) -> Fut<'_, Result<Listed<(u64, Approval)>, StoreError>> {
        Box::pin(self.read_at(move |conn, now| approvals::list(conn, tenant, now, &filter)))
    }

    fn task(&self, tenant: TenantId, task: TaskId) -> Fut<'_, Result<TaskRecord, StoreError>> {
        Box::pin(async move {
            let found = self
                .read(move |conn| reads::task(conn, tenant, task))
                .await?;
            there(found)
        })
    }

    fn tasks(
        &self,
        tenant: TenantId,
        filter: TaskFilter,
    ) -> Fut<'_, Result<Listed<TaskRecord>, StoreError>> {
        Box::pin(async move {
            let mut found = Listed::default();
            let mut rest = filter;
            while rest.limit > 0 {
                let filter = rest.clone();
                let page = self
                    .read(move |conn| search::tasks(conn, tenant, &filter))
                    .await?;
                let full = page.len() == search::PAGE as usize;
                rest.limit = rest.limit.saturating_sub(search::PAGE);
                rest.before = page.last().map(|record| record.task.id);
                found.append(page);
                if !full {
                    break;
                }
            }
            Ok(found)
        })
    }

    fn count(&self, tenant: TenantId, filter: TaskFilter) -> Fut<'_, Result<u64, StoreError>> {
        Box::pin(self.read(move |conn| search::count(conn, tenant, &filter)))
    }

    fn counts(&self, tenant: TenantId) -> Fut<'_, Result<Counts, StoreError>> {
        Box::pin(self.read(move |conn| reads::counts(conn, tenant)))
    }

    fn life(&self, tenant: TenantId, task: TaskId) -> Fut<'_, Result<Lifecycle, StoreError>> {
        Box::pin(async move {
            let found = self
                .read(move |conn| reads::life(conn, tenant, task))
                .await?;
            there(found)
        })
    }

    fn events(
        &self,
        tenant: TenantId,
        task: TaskId,
        after: u64,
        limit: u32,
    ) -> Fut<'_, Result<Vec<StoredEvent>, StoreError>> {
        Box::pin(self.read_events(tenant, task, after, limit))
    }

    fn turn_start(
        &self,
        tenant: TenantId,
        task: TaskId,
        seq: u64,
    ) -> Fut<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            let found = self
                .read(move |conn| reads::turn_start(conn, tenant, task, seq))
                .await?;
            there(found)
        })
    }

    fn blob<'a>(
        &'a self,
        tenant: TenantId,
        digest: &'a str,
        offset: u64,
        len: u64,
    ) -> Fut<'a, Result<Vec<u8>, StoreError>> {
        Box::pin(self.read_slice(tenant, digest, offset, len))
    }

    fn stats(&self) -> Stats {
        self.counted()
    }
}

impl PostgresStore {
    /// Events after a number: see [`TaskStore::events`].
    pub(crate) async fn read_events(
        &self,
        tenant: TenantId,
        task: TaskId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let limit = limit.min(EVENT_PAGE);
        let found = self
            .read(move |conn| reads::events(conn, tenant, task, after, limit))
            .await?;
        there(found)
    }

    /// A slice of a large value: see [`TaskStore::blob`].
    pub(crate) async fn read_slice(
        &self,
        tenant: TenantId,
        digest: &str,
        offset: u64,
        len: u64,
    ) -> Result<Vec<u8>, StoreError> {
        let digest = there(units::hex::decode_array(digest))?;
        let found = self
            .read(move |conn| reads::slice(conn, tenant, &digest, offset, len))
            .await?;
        there(found)
    }
}
