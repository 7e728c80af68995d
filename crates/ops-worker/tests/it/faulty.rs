//! A store some of whose verbs fail a few times, as on a disk that is full for a while.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use ops_core::{
    Actor, AgentDigest, Json, Lifecycle, RunAction, RunCommand, SessionId, StoredEvent, TaskAction,
    TaskId, TenantId,
    ports::{
        Blob, ClaimRequest, Claimed, Due, Fut, HeartbeatReply, RunStore, Snapshot, StoreError,
        TaskStore as _, UpkeepStore,
    },
};
use ops_store::SqliteStore;
use serde_json::Value;

use crate::world::{LEASE, TestClock};

/// Fails the next so many calls of a verb of a lease holder, then does as the store behind it.
pub(crate) struct Faulty {
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) events: AtomicU32,
    /// How reading events fails.
    pub(crate) events_fail: StoreError,
    /// How reading an agent's definition fails.
    pub(crate) definition: Option<StoreError>,
    /// A signal that comes before the answer to an append of a run, which is lost.
    pub(crate) answer: Mutex<Option<(&'static str, Value)>>,
    /// The clock, if the answer to the first opening of a session is late by more than a lease.
    pub(crate) late: Mutex<Option<Arc<TestClock>>>,
    /// Whether a session was opened late, and not heard of since.
    pub(crate) unheard: AtomicBool,
    /// Whether tasks were claimed then.
    pub(crate) early: AtomicBool,
}

impl Faulty {
    /// Applies an append whose answer nobody gets, and a signal.
    async fn lose_answer(
        &self,
        (tenant, task): (TenantId, TaskId),
        append: RunCommand,
        blobs: Vec<Blob>,
        (name, payload): (&'static str, Value),
    ) -> Result<Lifecycle, StoreError> {
        self.store.record(tenant, task, append, blobs).await?;
        let signal = TaskAction::Signal {
            name: name.to_owned(),
            payload,
        };
        let signal = signal.by(Actor::Local);
        self.store.command(tenant, task, signal).await?;
        Err(StoreError::Unavailable("the answer is lost".into()))
    }
}

fn fails(left: &AtomicU32) -> bool {
    left.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
        left.checked_sub(1)
    })
    .is_ok()
}

type Answer<'a, T> = Fut<'a, Result<T, StoreError>>;

impl RunStore for Faulty {
    fn open_session(&self, session: SessionId) -> Answer<'_, ()> {
        let late = self.late.lock().unwrap().take();
        self.unheard.store(late.is_some(), Ordering::SeqCst);
        Box::pin(async move {
            self.store.open_session(session).await?;
            if let Some(clock) = late {
                clock.advance(LEASE + Duration::from_secs(1));
            }
            Ok(())
        })
    }
    fn heartbeat(&self, session: SessionId) -> Answer<'_, HeartbeatReply> {
        self.unheard.store(false, Ordering::SeqCst);
        self.store.heartbeat(session)
    }
    fn interrupted(&self, session: SessionId) -> Fut<'_, ()> {
        self.store.interrupted(session)
    }
    fn close_session(&self, session: SessionId) -> Answer<'_, ()> {
        self.store.close_session(session)
    }
    fn claim(&self, request: ClaimRequest) -> Answer<'_, Claimed> {
        if self.unheard.load(Ordering::SeqCst) {
            self.early.store(true, Ordering::SeqCst);
        }
        self.store.claim(request)
    }
    fn record(
        &self,
        tenant: TenantId,
        task: TaskId,
        command: RunCommand,
        blobs: Vec<Blob>,
    ) -> Answer<'_, Lifecycle> {
        let of_run =
            matches!(&command.action, RunAction::Append(append) if !append.events.is_empty());
        let answer = of_run.then(|| self.answer.lock().unwrap().take());
        match answer.flatten() {
            Some(signal) => Box::pin(self.lose_answer((tenant, task), command, blobs, signal)),
            None => self.store.record(tenant, task, command, blobs),
        }
    }
    fn log(
        &self,
        tenant: TenantId,
        task: TaskId,
        after: u64,
        limit: u32,
    ) -> Answer<'_, Vec<StoredEvent>> {
        if fails(&self.events) {
            return Box::pin(std::future::ready(Err(self.events_fail.clone())));
        }
        self.store.log(tenant, task, after, limit)
    }
    fn value<'a>(
        &'a self,
        tenant: TenantId,
        digest: &'a str,
        offset: u64,
        len: u64,
    ) -> Answer<'a, Vec<u8>> {
        self.store.value(tenant, digest, offset, len)
    }
    fn snapshot(&self, tenant: TenantId, task: TaskId) -> Answer<'_, Option<Snapshot>> {
        self.store.snapshot(tenant, task)
    }
    fn put_snapshot(
        &self,
        tenant: TenantId,
        task: TaskId,
        epoch: u64,
        snapshot: Snapshot,
    ) -> Answer<'_, ()> {
        self.store.put_snapshot(tenant, task, epoch, snapshot)
    }
    fn definition(&self, tenant: TenantId, digest: AgentDigest) -> Answer<'_, Json> {
        match &self.definition {
            Some(error) => Box::pin(std::future::ready(Err(error.clone()))),
            None => self.store.definition(tenant, digest),
        }
    }
}

/// Fails the next so many looks of the timers, then does as the store behind it.
pub(crate) struct Stalling {
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) wake_due: AtomicU32,
}

impl UpkeepStore for Stalling {
    fn expire_sessions(&self) -> Answer<'_, u32> {
        self.store.expire_sessions()
    }
    fn wake_due(&self, limit: u32) -> Answer<'_, Due> {
        if fails(&self.wake_due) {
            let full = StoreError::Full("for a while".into());
            return Box::pin(std::future::ready(Err(full)));
        }
        self.store.wake_due(limit)
    }
    fn correct_clocks(&self, limit: u32) -> Answer<'_, u32> {
        self.store.correct_clocks(limit)
    }
    fn ready_queues(&self) -> Answer<'_, Vec<String>> {
        self.store.ready_queues()
    }
}
