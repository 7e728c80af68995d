//! The verbs of surfaces.

use ops_core::{
    Approval, Lifecycle, StoredEvent, TaskCommand, TaskId, TenantId,
    ports::{
        ApprovalAction, ApprovalDecision, ApprovalFilter, Counts, Fut, Listed, NewTask, StoreError,
        Submitted, TaskFilter, TaskRecord, TaskStore,
    },
    stats::Stats,
};
use tokio::sync::oneshot;

use crate::sqlite::{
    queries::{approvals, count, list, reads, view::View},
    schema::rows::Sparse,
    store::{SqliteStore, stopped},
    values::{
        blob::{self, parse_digest},
        pack,
    },
    verbs::{
        self, command,
        submit::{self, Found},
    },
    writer::{batch::Batch, job::Job},
};

/// The most events that are read in one go.
const EVENT_PAGE: u32 = 1_024;

impl TaskStore for SqliteStore {
    fn submit(&self, new: NewTask) -> Fut<'_, Result<Submitted, StoreError>> {
        Box::pin(async move {
            let values = pack::task(&new, self.max_value_bytes).await?;
            let found = self
                .write(move |batch| submit::submit(batch, new, &values))
                .await?;
            self.submitted(found).await
        })
    }

    fn submit_all(&self, new: Vec<NewTask>) -> Fut<'_, Vec<Result<Submitted, StoreError>>> {
        Box::pin(async move {
            let (mut jobs, mut answers) = (Vec::new(), Vec::new());
            for task in new {
                answers.push(match pack::task(&task, self.max_value_bytes).await {
                    Ok(values) => {
                        let (reply, answer) = oneshot::channel();
                        let work =
                            move |batch: &mut Batch<'_>| submit::submit(batch, task, &values);
                        jobs.push(Job::replying(work, reply));
                        Ok(answer)
                    }
                    Err(error) => Err(error),
                });
            }
            // A closed writer drops the jobs, and with them the ways to answer.
            let closed = self.inbox.push_all(jobs).is_err();
            let mut submitted = Vec::with_capacity(answers.len());
            for answer in answers {
                submitted.push(match answer {
                    Ok(_) if closed => Err(StoreError::Unavailable("the store is closed".into())),
                    Ok(answer) => match answer.await.unwrap_or_else(|_| Err(stopped())) {
                        Ok(found) => self.submitted(found).await,
                        Err(error) => Err(error),
                    },
                    Err(error) => Err(error),
                });
            }
            submitted
        })
    }

    fn command(
        &self,
        tenant: TenantId,
        task: TaskId,
        command: TaskCommand,
    ) -> Fut<'_, Result<Lifecycle, StoreError>> {
        Box::pin(async move {
            let values = pack::command(&command, self.max_value_bytes).await?;
            self.write(move |batch| command::apply(batch, tenant, task, command, &values))
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
            let open = match decision.action {
                ApprovalAction::Approve => {
                    let step = decision.step;
                    let read = move |conn: &View<'_>| approvals::one(conn, tenant, task, step);
                    self.readers.read(read).await?.map(|(_, open)| open)
                }
                ApprovalAction::Deny { .. } | ApprovalAction::Edit { .. } => None,
            };
            let values = pack::decision(&decision, open, self.max_value_bytes).await?;
            let decide_approval = move |batch: &mut Batch<'_>| {
                verbs::approvals::decide_approval(batch, tenant, task, decision, &values)
            };
            self.write(decide_approval).await
        })
    }

    fn approval(
        &self,
        tenant: TenantId,
        task: TaskId,
        step: u32,
    ) -> Fut<'_, Result<Approval, StoreError>> {
        let now = self.clock.now();
        Box::pin(async move {
            let found = self
                .readers
                .read(move |conn| approvals::one(conn, tenant, task, step))
                .await?;
            let (_, mut approval) = found.ok_or(StoreError::NoApproval(step))?;
            approval.status = approval.standing(now);
            Ok(approval)
        })
    }

    fn approvals(
        &self,
        tenant: TenantId,
        filter: ApprovalFilter,
    ) -> Fut<'_, Result<Listed<(u64, Approval)>, StoreError>> {
        let now = self.clock.now();
        Box::pin(
            self.readers
                .read(move |conn| approvals::list(conn, tenant, now, &filter)),
        )
    }

    fn task(&self, tenant: TenantId, task: TaskId) -> Fut<'_, Result<TaskRecord, StoreError>> {
        Box::pin(async move {
            let found = self
                .readers
                .read(move |conn| reads::task(conn, tenant, task))
                .await?;
            found.ok_or(StoreError::NotFound)
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
                    .readers
                    .read(move |conn| list::tasks(conn, tenant, &filter))
                    .await?;
                let full = page.len() == list::PAGE as usize;
                rest.limit = rest.limit.saturating_sub(list::PAGE);
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
        Box::pin(
            self.readers
                .read(move |conn| count::tasks(conn, tenant, &filter)),
        )
    }

    fn counts(&self, tenant: TenantId) -> Fut<'_, Result<Counts, StoreError>> {
        Box::pin(self.readers.read(move |conn| reads::counts(conn, tenant)))
    }

    fn life(&self, tenant: TenantId, task: TaskId) -> Fut<'_, Result<Lifecycle, StoreError>> {
        Box::pin(async move {
            let found = self
                .readers
                .read(move |conn| reads::life(conn, tenant, task))
                .await?;
            found.ok_or(StoreError::NotFound)
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
            let read = move |conn: &View<'_>| reads::turn_start(conn, tenant, task, seq);
            self.readers.read(read).await?.ok_or(StoreError::NotFound)
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
        Self::stats(self).into()
    }
}

impl SqliteStore {
    /// Events after a number: see [`TaskStore::events`].
    pub(crate) async fn read_events(
        &self,
        tenant: TenantId,
        task: TaskId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let limit = limit.min(EVENT_PAGE);
        let read = move |conn: &View<'_>| reads::events(conn, tenant, task, after, limit);
        self.readers.read(read).await?.ok_or(StoreError::NotFound)
    }

    /// A slice of a large value: see [`TaskStore::blob`].
    pub(crate) async fn read_slice(
        &self,
        tenant: TenantId,
        digest: &str,
        offset: u64,
        len: u64,
    ) -> Result<Vec<u8>, StoreError> {
        let digest = parse_digest(digest).ok_or(StoreError::NotFound)?;
        let read = move |conn: &View<'_>| blob::read_slice(conn, tenant, &digest, offset, len);
        self.readers.read(read).await?.ok_or(StoreError::NotFound)
    }

    async fn submitted(&self, found: Found) -> Result<Submitted, StoreError> {
        Ok(Submitted {
            record: self.whole(found.record).await?,
            existing: found.existing,
        })
    }

    /// A record with its large values.
    async fn whole(&self, mut sparse: Sparse) -> Result<TaskRecord, StoreError> {
        if sparse.is_whole() {
            return Ok(sparse.into_record());
        }
        let fill = move |conn: &View<'_>| sparse.fill(conn).map(|()| sparse.into_record());
        self.readers.read(fill).await
    }
}
