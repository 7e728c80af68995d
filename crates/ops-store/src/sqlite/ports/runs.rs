//! The verbs of a lease holder.

use std::sync::Arc;

use ops_core::{
    AgentDigest, Append, Code, Json, Lifecycle, Next, RunCommand, SessionId, StoredEvent, TaskId,
    TenantId,
    event::TaskError,
    ports::{
        Blob, ClaimRequest, Claimed, Fut, HeartbeatReply, RunStore, Snapshot, StoreError,
        TaskRecord,
    },
};
use tokio::sync::oneshot;

use crate::sqlite::{
    queries::{agents, reads, view::View},
    store::{SqliteStore, stopped},
    values::pack::{self, Values},
    verbs::{
        claim::{self, Taken},
        command, leases,
    },
    writer::{batch::Batch, job::Job},
};

impl RunStore for SqliteStore {
    fn open_session(&self, session: SessionId) -> Fut<'_, Result<(), StoreError>> {
        Box::pin(async move { self.sessions.open(session, self.clock.boot_micros()) })
    }

    fn heartbeat(&self, session: SessionId) -> Fut<'_, Result<HeartbeatReply, StoreError>> {
        Box::pin(async move { self.sessions.heartbeat(session, self.clock.boot_micros()) })
    }

    fn interrupted(&self, session: SessionId) -> Fut<'_, ()> {
        Box::pin(async move {
            match self.sessions.stop_notify(session) {
                Some(stop_notify) => stop_notify.notified().await,
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

    fn claim(&self, request: ClaimRequest) -> Fut<'_, Result<Claimed, StoreError>> {
        Box::pin(async move {
            loop {
                let (reply, answer) = oneshot::channel();
                let request = request.clone();
                let inbox = Arc::clone(&self.inbox);
                // The guard is made once the leases are committed: of a claim that was rolled back
                // there is nothing to give back.
                let job = Job::new(
                    move |batch| claim::claim(batch, &request),
                    move |taken| drop(reply.send(taken.map(|taken| Taken::new(taken, inbox)))),
                );
                let taken = self.submit_job(job, answer).await?;
                let (claimed, ended) = self.hand_over(taken).await?;
                // There may be work behind the tasks that had to be ended.
                if ended == 0 || !claimed.tasks.is_empty() {
                    return Ok(claimed);
                }
            }
        })
    }

    fn record(
        &self,
        tenant: TenantId,
        task: TaskId,
        command: RunCommand,
        blobs: Vec<Blob>,
    ) -> Fut<'_, Result<Lifecycle, StoreError>> {
        Box::pin(async move {
            let values = pack::run(&command, blobs, self.max_value_bytes).await?;
            self.write(move |batch| command::record(batch, tenant, task, command, &values))
                .await
        })
    }

    fn log(
        &self,
        tenant: TenantId,
        task: TaskId,
        after: u64,
        limit: u32,
    ) -> Fut<'_, Result<Vec<StoredEvent>, StoreError>> {
        Box::pin(self.read_events(tenant, task, after, limit))
    }

    fn value<'a>(
        &'a self,
        tenant: TenantId,
        digest: &'a str,
        offset: u64,
        len: u64,
    ) -> Fut<'a, Result<Vec<u8>, StoreError>> {
        Box::pin(self.read_slice(tenant, digest, offset, len))
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
        epoch: u64,
        snapshot: Snapshot,
    ) -> Fut<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let packed = pack::snapshot(snapshot, self.max_value_bytes).await?;
            self.write(move |batch| command::put_snapshot(batch, tenant, task, epoch, &packed))
                .await
        })
    }

    fn definition(
        &self,
        tenant: TenantId,
        digest: AgentDigest,
    ) -> Fut<'_, Result<Json, StoreError>> {
        Box::pin(async move {
            let read = move |conn: &View<'_>| agents::by_digest(conn, tenant, digest);
            let found = self.readers.read(read).await?;
            found
                .map(|version| version.spec.definition)
                .ok_or(StoreError::NotFound)
        })
    }
}

impl SqliteStore {
    /// The records of a claim. Those whose values cannot be read are ended instead; says how many.
    async fn hand_over(&self, mut claimed: Taken) -> Result<(Claimed, u32), StoreError> {
        if claimed.is_whole() {
            return Ok((claimed.take(), 0));
        }
        let fill = move |conn: &View<'_>| {
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
            let (tenant, end) = (record.task.tenant, end_unreadable(&record, &error));
            let work = move |batch: &mut Batch<'_>| {
                command::record(batch, tenant, task, end, &Values::default())
            };
            if self.inbox.push(Job::replying(work, reply)).is_ok() {
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
    pub(crate) async fn end_session(&self, session: SessionId) -> Result<(), StoreError> {
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
fn end_unreadable(record: &TaskRecord, error: &StoreError) -> RunCommand {
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
    let append = Append::new(record.life.seq, Vec::new(), next);
    RunCommand::append(record.life.epoch, append)
}
