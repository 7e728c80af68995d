//! The verbs of the port: each prepares its values, asks the writer or a reader, and completes the
//! answer.

pub(crate) mod agents;
pub(crate) mod apply;
pub(crate) mod approvals;
pub(crate) mod cascade;
pub(crate) mod claim;
pub(crate) mod fork;
pub(crate) mod leases;
pub(crate) mod rates;
pub(crate) mod repeat;
pub(crate) mod retention;
pub(crate) mod schedules;
pub(crate) mod submit;

use ops_core::{
    Append, Approval, Code, Command, Lifecycle, Next, SessionId, StoredEvent, TaskId, TenantId,
    event::TaskError,
    ports::{
        self, ApprovalFilter, Blob, ClaimRequest, Counts, Decision, Due, Fut, HeartbeatReply,
        NewTask, Snapshot, Store, StoreError, Submitted, TaskFilter, TaskRecord, Verdict,
    },
    stats::Stats,
};
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::sqlite::{
    error::Fault,
    queries::{count, list, reads},
    schema::rows::Sparse,
    store::{SqliteStore, stopped},
    values::{
        blob::{self, parse_digest},
        prepare::{self, Outside, Prepared},
    },
    verbs::{claim::Claimed, submit::Found},
    writer::{
        batch::Batch,
        job::Job,
        request::{Apply, Reply, Request},
    },
};

/// The most events that are read in one go.
const EVENT_PAGE: u32 = 1_024;

impl Store for SqliteStore {
    fn submit(&self, new: NewTask) -> Fut<'_, Result<Submitted, StoreError>> {
        Box::pin(async move {
            let prepared = Box::new(prepare::task(new, self.max_value_bytes).await?);
            let found = self.ask(|reply| Request::Submit(prepared, reply)).await?;
            self.submitted(found).await
        })
    }

    fn submit_all(&self, new: Vec<NewTask>) -> Fut<'_, Vec<Result<Submitted, StoreError>>> {
        Box::pin(async move {
            let (mut requests, mut answers) = (Vec::new(), Vec::new());
            for task in new {
                answers.push(match prepare::task(task, self.max_value_bytes).await {
                    Ok(prepared) => {
                        let (reply, answer) = oneshot::channel();
                        requests.push(Request::Submit(Box::new(prepared), reply));
                        Ok(answer)
                    }
                    Err(error) => Err(error),
                });
            }
            // A closed writer drops the requests, and with them the ways to answer.
            let closed = self.inbox.push_all(requests).is_err();
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

    fn claim(&self, request: ClaimRequest) -> Fut<'_, Result<ports::Claimed, StoreError>> {
        Box::pin(async move {
            loop {
                let request = request.clone();
                let claimed = self.ask(|reply| Request::Claim(request, reply)).await?;
                let (claimed, ended) = self.hand_over(claimed).await?;
                // There may be work behind the tasks that had to be ended.
                if ended == 0 || !claimed.tasks.is_empty() {
                    return Ok(claimed);
                }
            }
        })
    }

    fn apply(
        &self,
        tenant: TenantId,
        task: TaskId,
        command: Command,
        blobs: Vec<Blob>,
    ) -> Fut<'_, Result<Lifecycle, StoreError>> {
        Box::pin(async move {
            let prepared = prepare::command(command, blobs, self.max_value_bytes).await?;
            let apply = Box::new(Apply {
                tenant,
                task,
                prepared,
            });
            self.ask(|reply| Request::Apply(apply, Some(reply))).await
        })
    }

    fn judge(
        &self,
        tenant: TenantId,
        task: TaskId,
        verdict: Verdict,
    ) -> Fut<'_, Result<Approval, StoreError>> {
        Box::pin(async move {
            let open = match verdict.decision {
                Decision::Approve => {
                    let step = verdict.step;
                    let read = move |conn: &Connection| approvals::one(conn, tenant, task, step);
                    self.readers.read(read).await?.map(|(_, open)| open)
                }
                Decision::Deny { .. } | Decision::Edit { .. } => None,
            };
            let outside = prepare::verdict(&verdict, open, self.max_value_bytes).await?;
            let judge = move |batch: &mut Batch<'_>| {
                approvals::judge(batch, tenant, task, verdict, &outside)
            };
            self.write(judge).await
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
    ) -> Fut<'_, Result<Vec<(u64, Approval)>, StoreError>> {
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
    ) -> Fut<'_, Result<Vec<TaskRecord>, StoreError>> {
        Box::pin(async move {
            let mut found = Vec::new();
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
                found.extend(page);
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
        Box::pin(async move {
            let limit = limit.min(EVENT_PAGE);
            let read = move |conn: &Connection| reads::events(conn, tenant, task, after, limit);
            self.readers.read(read).await?.ok_or(StoreError::NotFound)
        })
    }

    fn turn_start(
        &self,
        tenant: TenantId,
        task: TaskId,
        seq: u64,
    ) -> Fut<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            let read = move |conn: &Connection| reads::turn_start(conn, tenant, task, seq);
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
        Box::pin(async move {
            let digest = parse_digest(digest).ok_or(StoreError::NotFound)?;
            let read =
                move |conn: &Connection| blob::read_slice(conn, tenant, &digest, offset, len);
            self.readers.read(read).await?.ok_or(StoreError::NotFound)
        })
    }

    fn snapshot(
        &self,
        tenant: TenantId,
        task: TaskId,
    ) -> Fut<'_, Result<Option<Snapshot>, StoreError>> {
        Box::pin(async move {
            let found = self
                .readers
                .read(move |conn| reads::snapshot(conn, tenant, task))
                .await?;
            found.ok_or(StoreError::NotFound)
        })
    }

    fn put_snapshot(
        &self,
        tenant: TenantId,
        task: TaskId,
        snapshot: Snapshot,
    ) -> Fut<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let packed = prepare::snapshot(snapshot, self.max_value_bytes).await?;
            self.write(move |batch| apply::put_snapshot(batch, tenant, task, &packed))
                .await
        })
    }

    fn open_session(&self, session: SessionId) -> Fut<'_, Result<(), StoreError>> {
        Box::pin(async move { self.sessions.open(session, self.clock.boot_micros()) })
    }

    fn heartbeat(&self, session: SessionId) -> Fut<'_, Result<HeartbeatReply, StoreError>> {
        Box::pin(async move { self.sessions.heartbeat(session, self.clock.boot_micros()) })
    }

    fn interrupted(&self, session: SessionId) -> Fut<'_, ()> {
        Box::pin(async move {
            match self.sessions.bell(session) {
                Some(bell) => bell.notified().await,
                None => std::future::pending().await,
            }
        })
    }

    fn close_session(&self, session: SessionId) -> Fut<'_, Result<(), StoreError>> {
        Box::pin(async move {
            if self.sessions.end(session) {
                self.end_session(session).await
            } else {
                Ok(())
            }
        })
    }

    fn expire_sessions(&self) -> Fut<'_, Result<u32, StoreError>> {
        Box::pin(async move {
            let mut ended = 0;
            for session in self.sessions.expire(self.clock.boot_micros()) {
                self.end_session(session).await?;
                ended += 1;
            }
            Ok(ended)
        })
    }

    fn wake_due(&self, limit: u32) -> Fut<'_, Result<Due, StoreError>> {
        Box::pin(self.write(move |batch| leases::wake_due(batch, limit)))
    }

    fn ready_queues(&self) -> Fut<'_, Result<Vec<String>, StoreError>> {
        Box::pin(self.readers.read(reads::ready_queues))
    }

    fn stats(&self) -> Stats {
        Self::stats(self)
    }
}

impl SqliteStore {
    pub(crate) async fn ask<T>(
        &self,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.inbox
            .push(request(reply))
            .map_err(|_| StoreError::Unavailable("the store is closed".into()))?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Asks for what has no request of its own. Work that is refused must have written nothing.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Batch<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.ask(|reply| Request::Job(Job::new(work, reply))).await
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
        let fill = move |conn: &Connection| sparse.fill(conn).map(|()| sparse.into_record());
        self.readers.read(fill).await
    }

    /// The records of a claim. Those whose values cannot be read are ended instead; says how many.
    async fn hand_over(&self, mut claimed: Claimed) -> Result<(ports::Claimed, u32), StoreError> {
        if claimed.is_whole() {
            return Ok((claimed.take(), 0));
        }
        let fill = move |conn: &Connection| {
            let unreadable = claimed.fill(conn)?;
            Ok((claimed, unreadable))
        };
        let (claimed, unreadable) = self.readers.read(fill).await?;
        // All are asked for before the first is waited for: a caller that goes away stops none.
        let mut ending = Vec::with_capacity(unreadable.len());
        for (record, error) in unreadable {
            let task = record.task.id;
            tracing::error!(%task, %error, "the input of a task cannot be read; the task fails");
            let (reply, answer) = oneshot::channel();
            let apply = Request::Apply(Box::new(end_unreadable(&record, &error)), Some(reply));
            if self.inbox.push(apply).is_ok() {
                ending.push((task, answer));
            }
        }
        let mut ended = 0;
        for (task, answer) in ending {
            match answer.await.unwrap_or_else(|_| Err(stopped())) {
                Ok(_) => ended += 1,
                // It is tried again once the lease is taken back.
                Err(error) => tracing::error!(%task, %error, "the task could not be ended"),
            }
        }
        Ok((claimed.take(), ended))
    }

    /// Takes the leases of a session back, then forgets it.
    async fn end_session(&self, session: SessionId) -> Result<(), StoreError> {
        let lost = self
            .write(move |batch| leases::end_session(batch, session))
            .await?;
        self.sessions.forget(session);
        if lost > 0 {
            tracing::info!(%session, lost, "a worker session ended with leases");
        }
        Ok(())
    }
}

/// Ends a claimed task whose values cannot be read.
fn end_unreadable(record: &TaskRecord, error: &StoreError) -> Apply {
    let error = TaskError {
        code: Code::InputUnreadable.as_str().into(),
        message: format!(
            "the stored input of this task is missing or damaged ({error}); submit the task again \
             with its input, and check the data folder with `opspawn doctor`: if it reports \
             damage, stop the server and restore the folder from a backup"
        ),
    };
    let next = Next::Fail {
        error,
        retryable: false,
    };
    let append = Append::new(record.life.epoch, record.life.seq, Vec::new(), next);
    Apply {
        tenant: record.task.tenant,
        task: record.task.id,
        prepared: Prepared {
            command: Command::Append(append),
            outside: Outside::default(),
        },
    }
}
