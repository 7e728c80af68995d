//! The verbs of a lease holder.

use std::sync::Arc;

use ops_core::{
    AgentDigest, Json, Lifecycle, RunCommand, SessionId, StoredEvent, TaskId, TenantId,
    ports::{
        Blob, ClaimRequest, Claimed, Configuration, Fut, HeartbeatReply, RunStore, Snapshot,
        StoreError,
    },
    verbs::{Key, size},
};

use super::{digest, there};
use tokio::sync::oneshot;

use crate::postgres::{
    PostgresStore,
    lane::{Job, Lanes, Writing},
    queries::{agents, reads},
    verbs::sessions,
    work::Work,
};

impl RunStore for PostgresStore {
    fn open_session(&self, session: SessionId) -> Fut<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.shared.add_session(session);
            self.beat(move |work| sessions::open(work, session)).await
        })
    }

    fn serve_queues(
        &self,
        session: SessionId,
        queues: Vec<String>,
    ) -> Fut<'_, Result<(), StoreError>> {
        Box::pin(self.beat(move |work| sessions::serve(work, session, &queues)))
    }

    fn describe_session(
        &self,
        session: SessionId,
        configuration: Arc<Configuration>,
    ) -> Fut<'_, Result<(), StoreError>> {
        Box::pin(self.beat(move |work| sessions::describe(work, session, &configuration)))
    }

    fn heartbeat(&self, session: SessionId) -> Fut<'_, Result<HeartbeatReply, StoreError>> {
        Box::pin(async move {
            let reply = match self.shared.idle_reply(session) {
                Some(reply) => reply,
                None => {
                    let claims = self.shared.claims(session);
                    let beat = self.beat(move |work| {
                        work.wrote();
                        sessions::heartbeat(work, session)
                    });
                    beat.await.map(|(reply, holds)| {
                        if let (Some(claims), false) = (claims, holds) {
                            self.shared.is_idle(session, claims);
                        }
                        reply
                    })
                }
            };
            if reply == Err(StoreError::SessionOver) {
                self.shared.remove_session(session);
            }
            reply
        })
    }

    fn interrupted(&self, session: SessionId) -> Fut<'_, ()> {
        let notifier = self.shared.notifier(session);
        Box::pin(async move {
            match notifier {
                Some(notifier) => notifier.notified().await,
                None => std::future::pending().await,
            }
        })
    }

    fn close_session(&self, session: SessionId) -> Fut<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.shared.remove_session(session);
            self.work(Vec::new(), move |work| sessions::close(work, session))
                .await
        })
    }

    fn claim(&self, request: ClaimRequest) -> Fut<'_, Result<Claimed, StoreError>> {
        Box::pin(async move {
            let session = request.session;
            self.shared.claiming(session, false);
            let (reply, answer) = oneshot::channel();
            let job = Box::new(Claiming {
                request,
                verdict: None,
                writers: Arc::clone(&self.writers),
                reply,
            });
            let taken = self.queued(job, answer).await?.take();
            self.shared.claiming(session, !taken.tasks.is_empty());
            Ok(taken)
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
            let cap = self.shared.options.max_value_bytes;
            size::run(&command, &blobs, cap, digest)?;
            let key = (tenant, task);
            self.write(vec![key], move |write| {
                write.record(key, command.clone(), blobs.clone())
            })
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
                .read(move |conn| reads::snapshot(conn, tenant, task))
                .await?;
            there(found)
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
            size::size(snapshot.body.len(), self.shared.options.max_value_bytes)?;
            let key = (tenant, task);
            self.write(vec![key], move |write| {
                write.put_snapshot(key, epoch, snapshot.clone())
            })
            .await
        })
    }

    fn definition(
        &self,
        tenant: TenantId,
        digest: AgentDigest,
    ) -> Fut<'_, Result<Json, StoreError>> {
        Box::pin(async move {
            let found = self
                .read(move |conn| agents::definition(conn, tenant, digest))
                .await?;
            there(found)
        })
    }
}

// A claim. What it took is guarded once its transaction is committed, and not before: of one that is tried again
// there is nothing to give back.
struct Claiming {
    request: ClaimRequest,
    verdict: Option<Result<Claimed, StoreError>>,
    writers: Arc<Lanes<Box<dyn Job>>>,
    reply: oneshot::Sender<Result<Taken, StoreError>>,
}

impl Job for Claiming {
    fn keys(&self) -> &[Key] {
        &[]
    }

    fn run(&mut self, work: &mut Work<'_>) {
        let request = &self.request;
        self.verdict = Some(work.verb(|write| write.claim(request)));
    }

    fn answer(self: Box<Self>) {
        let Self {
            verdict,
            writers,
            reply,
            ..
        } = *self;
        let Some(verdict) = verdict else { return };
        drop(reply.send(verdict.map(|claimed| Taken {
            claimed: Some(claimed),
            writers,
        })));
    }

    fn fail(self: Box<Self>, error: StoreError) {
        drop(self.reply.send(Err(error)));
    }
}

// Leased tasks on their way to the worker. If nobody takes them, as the caller went away, they are given back at
// once instead of when the session ends.
struct Taken {
    claimed: Option<Claimed>,
    writers: Arc<Lanes<Box<dyn Job>>>,
}

impl Taken {
    fn take(mut self) -> Claimed {
        self.claimed.take().expect("it is taken once")
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let Some(claimed) = self.claimed.take() else {
            return;
        };
        for record in claimed.tasks {
            let (key, epoch) = ((record.task.tenant, record.task.id), record.life.epoch);
            let give_back = move |work: &mut Work<'_>| {
                let release = RunCommand::release(epoch);
                work.verb(|write| write.record(key, release, Vec::new()))
            };
            let (reply, _) = oneshot::channel();
            let job = Box::new(Writing {
                keys: vec![key],
                verb: give_back,
                verdict: None,
                reply,
            });
            // A store that is closed leaves the lease to the end of its session.
            drop(self.writers.push(u64::from(key.1.as_bytes()[15]), job));
        }
    }
}
