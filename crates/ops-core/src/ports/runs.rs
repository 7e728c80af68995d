//! The store's verbs for whoever holds a lease: what a worker needs and nothing else. A remote worker
//! protocol carries exactly these.

use bytes::Bytes;

use super::{Fut, StoreError, TaskRecord};
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
    /// How fast tasks of the queue may be taken up, by all workers together; none for no limit.
    pub rate: Option<Rate>,
}

/// What a worker gets.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// Tasks that the session now has.
    pub tasks: Vec<TaskRecord>,
    /// What else there is.
    pub more: More,
}

/// When it is worth claiming again.
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
    /// The fold's version; another one is ignored and the log folded again.
    pub version: u32,
    /// The fold; opaque.
    pub body: Vec<u8>,
}

/// What a heartbeat answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeartbeatReply {
    /// Tasks of the session that are being cancelled.
    pub cancel: Vec<(TenantId, TaskId)>,
    /// Tasks of the session that are to stand still at their next boundary.
    pub pause: Vec<(TenantId, TaskId)>,
}

/// The verbs of a lease holder. Each is one atomic step; what changes a task names the epoch of its
/// lease, and a lease that is over changes nothing.
pub trait RunStore: Send + Sync {
    /// Opens a session for a worker; it lives as long as its heartbeats come.
    fn open_session(&self, session: SessionId) -> Fut<'_, Result<(), StoreError>>;
    /// Keeps a session and its leases alive.
    fn heartbeat(&self, session: SessionId) -> Fut<'_, Result<HeartbeatReply, StoreError>>;
    /// Waits until the session has more to stop than its last heartbeat said. It may take longer to
    /// notice than a heartbeat, or never notice: heartbeats go on beside it.
    fn interrupted(&self, session: SessionId) -> Fut<'_, ()>;
    /// Ends a session; its leases are lost.
    fn close_session(&self, session: SessionId) -> Fut<'_, Result<(), StoreError>>;
    /// Leases ready tasks to a session: highest priority first, then oldest, and no more than the
    /// queue's rate lets through.
    fn claim(&self, request: ClaimRequest) -> Fut<'_, Result<Claimed, StoreError>>;
    /// Commits what the holder of a lease asks, with the values that its events refer to; durable when
    /// it returns. An append that was committed before, by the same epoch, succeeds again.
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
    /// The newest snapshot of a task, if it has one.
    fn snapshot(
        &self,
        tenant: TenantId,
        task: TaskId,
    ) -> Fut<'_, Result<Option<Snapshot>, StoreError>>;
    /// Keeps a snapshot in place of an older one, under the lease of this epoch.
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
