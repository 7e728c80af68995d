//! The store's verbs for holders of a lease: a worker needs these verbs and no other. A remote worker
//! protocol carries exactly these verbs.

use std::sync::Arc;

use bytes::Bytes;

use super::{Configuration, Fut, StoreError, TaskRecord};
use crate::{
    agent::AgentDigest,
    command::RunCommand,
    event::StoredEvent,
    id::{SessionId, TaskId, TenantId},
    json::Json,
    rate::Rate,
    task::Lifecycle,
    time::Micros,
};

/// A worker's wish for work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRequest {
    /// The worker's session.
    pub session: SessionId,
    /// The queue.
    pub queue: String,
    /// How many tasks at the most.
    pub max: u32,
    /// How fast tasks of the queue may be taken up, by all workers together; `None` for no limit.
    pub rate: Option<Rate>,
    /// The tenant of the last task that the worker has taken from the queue: the turn is that of the next tenant. `None`
    /// before the first task.
    pub after: Option<TenantId>,
}

/// Answer to a claim.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// Tasks that the session now has.
    pub tasks: Vec<TaskRecord>,
    /// Whether and when another claim is worth its cost.
    pub more: More,
}

/// Whether and when another claim is worth its cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum More {
    /// Once the queue is rung.
    Rung,
    /// At once: there may be more.
    Now,
    /// Not before this time: the rate holds tasks back until then.
    At(Micros),
}

/// A value for the blob store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// SHA-256 of the bytes, in hex.
    pub digest: String,
    /// The bytes; shared, as a value may be large and an append may be tried more than once.
    pub bytes: Bytes,
}

/// A fold of the first events of a run, to resume from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The number of the last event that is folded in.
    pub seq: u64,
    /// Version of the fold; a reader ignores a snapshot of another version, and folds the log again.
    pub version: u32,
    /// The fold; opaque.
    pub body: Vec<u8>,
}

/// Answer to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeartbeatReply {
    /// Tasks of the session that are being cancelled.
    pub cancel: Vec<(TenantId, TaskId)>,
    /// Tasks of the session that are to stand still at their next boundary.
    pub pause: Vec<(TenantId, TaskId)>,
}

/// The verbs of a lease holder. Each verb is one atomic step. A verb that changes a task names the epoch of
/// its lease, and changes nothing once the lease is over.
pub trait RunStore: Send + Sync {
    /// Opens a session for a worker; the session lives as long as its heartbeats come.
    fn open_session(&self, session: SessionId) -> Fut<'_, Result<(), StoreError>>;
    /// Says which queues the worker of a session serves. A store that one process has to itself need not know: the
    /// process's own settings say so.
    fn serve_queues(
        &self,
        _session: SessionId,
        _queues: Vec<String>,
    ) -> Fut<'_, Result<(), StoreError>> {
        Box::pin(std::future::ready(Ok(())))
    }
    /// Tells the configuration of the worker of a session. A store that one process has to itself need not know.
    fn describe_session(
        &self,
        _session: SessionId,
        _configuration: Arc<Configuration>,
    ) -> Fut<'_, Result<(), StoreError>> {
        Box::pin(std::future::ready(Ok(())))
    }
    /// Keeps a session and its leases alive.
    fn heartbeat(&self, session: SessionId) -> Fut<'_, Result<HeartbeatReply, StoreError>>;
    /// Waits until the session has more runs to stop than its last heartbeat said. The notice may come
    /// later than a heartbeat, or never: heartbeats go on beside this wait.
    fn interrupted(&self, session: SessionId) -> Fut<'_, ()>;
    /// Ends a session; its leases are lost.
    fn close_session(&self, session: SessionId) -> Fut<'_, Result<(), StoreError>>;
    /// Leases ready tasks to a session: highest priority first, then oldest, and no more than the
    /// queue's rate lets through.
    fn claim(&self, request: ClaimRequest) -> Fut<'_, Result<Claimed, StoreError>>;
    /// Commits a command of the lease holder, with the values that the command's events refer to; durable
    /// on return. An append that was committed before, by the same epoch, succeeds again.
    fn record(
        &self,
        tenant: TenantId,
        task: TaskId,
        command: RunCommand,
        blobs: Vec<Blob>,
    ) -> Fut<'_, Result<Lifecycle, StoreError>>;
    /// As [`TaskStore::events`](super::TaskStore::events).
    fn log(
        &self,
        tenant: TenantId,
        task: TaskId,
        after: u64,
        limit: u32,
    ) -> Fut<'_, Result<Vec<StoredEvent>, StoreError>>;
    /// As [`TaskStore::blob`](super::TaskStore::blob).
    fn value<'a>(
        &'a self,
        tenant: TenantId,
        digest: &'a str,
        offset: u64,
        len: u64,
    ) -> Fut<'a, Result<Vec<u8>, StoreError>>;
    /// The newest snapshot of a task; `None` if the task has no snapshot.
    fn snapshot(
        &self,
        tenant: TenantId,
        task: TaskId,
    ) -> Fut<'_, Result<Option<Snapshot>, StoreError>>;
    /// Replaces the snapshot of a task, under the lease of this epoch.
    fn put_snapshot(
        &self,
        tenant: TenantId,
        task: TaskId,
        epoch: u64,
        snapshot: Snapshot,
    ) -> Fut<'_, Result<(), StoreError>>;
    /// The definition of an agent's version.
    fn definition(
        &self,
        tenant: TenantId,
        digest: AgentDigest,
    ) -> Fut<'_, Result<Json, StoreError>>;
}
