//! What the engine asks of the world. Adapters implement these; only the binary names adapters.

mod agents;
mod error;
mod retention;
mod schedules;

use std::{future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;

use crate::{
    approval::{Approval, ApprovalStatus},
    command::Command,
    event::StoredEvent,
    event::TaskError,
    id::{SessionId, TaskId, TenantId},
    json::Json,
    rate::Rate,
    retry::RetryPolicy,
    stats::Stats,
    task::{Lifecycle, StateName, Status, Task},
    time::Micros,
};

pub use self::{
    agents::{
        AgentDefinitions, AgentMistake, AgentStore, AgentTool, AgentTools, Expected, InputCheck,
        NewAgent, Stored, TaskInput, ToolSourceHealth,
    },
    error::StoreError,
    retention::{Expired, Progress, Retention, RetentionStore, Workspaces},
    schedules::{DueSchedules, ExpectedSchedule, NewSchedule, ScheduleChange, ScheduleStore},
};

/// A boxed future, so that the ports are object-safe without a runtime.
pub type Fut<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Time, as a parameter.
pub trait Clock: Send + Sync {
    /// UTC now.
    fn now(&self) -> Micros;
    /// Microseconds on a clock that never steps and that goes on while the machine is suspended.
    fn boot_micros(&self) -> i64;
}

/// Randomness, as a parameter.
pub trait Random: Send + Sync {
    /// Ten random bytes: what an id needs.
    fn id_bytes(&self) -> [u8; 10];
}

/// Wakes workers. A wake-up carries no task: the worker claims by the store's policy.
pub trait Queue: Send + Sync {
    /// Wakes a worker that listens to the queue. It may be lost; the sweeper rings again.
    fn wake(&self, queue: &str);
    /// Waits until the queue may have work.
    fn wait<'a>(&'a self, queue: &'a str) -> Fut<'a, ()>;
}

/// What followers are told: that a task's log has grown. Readers then read the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hint {
    /// The tenant.
    pub tenant: TenantId,
    /// The task.
    pub task: TaskId,
    /// The number of its last event.
    pub seq: u64,
    /// Its state.
    pub state: StateName,
}

/// Wakes readers, and carries the words of an answer while it is made.
pub trait Live: Send + Sync {
    /// Tells the followers of a task that its log has grown.
    fn hint(&self, hint: Hint);
    /// Passes on a piece of an answer; it may be lost.
    fn delta(&self, tenant: TenantId, task: TaskId, delta: Delta);
    /// Follows a task.
    fn follow(&self, tenant: TenantId, task: TaskId) -> Box<dyn Follow>;
}

/// A piece of an answer that is being made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// The step.
    pub step: u32,
    /// The attempt of the step: a higher one starts the answer anew.
    pub attempt: u32,
    /// Where the text begins, in bytes of the whole answer.
    pub offset: u64,
    /// The text.
    pub text: Arc<str>,
}

/// What a follower hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The log has grown, or may have.
    Log,
    /// A piece of an answer.
    Delta(Delta),
}

/// One follower of one task.
pub trait Follow: Send {
    /// The next thing heard. A follower that falls behind hears `Log` and has lost deltas.
    fn next(&mut self) -> Fut<'_, Heard>;
}

/// Is told what was committed, right after the commit.
pub trait Observer: Send + Sync {
    /// One call for each group of commits.
    fn committed(&self, notices: &[Notice]);
}

/// What one commit changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// For the followers.
    pub hint: Hint,
    /// The queue that has work now, if one has.
    pub ready: Option<Arc<str>>,
    /// When the clock moves the task on, if it does.
    pub due: Option<Micros>,
}

/// A task that is to be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTask {
    /// What was asked.
    pub task: Task,
    /// How retryable failures are answered.
    pub retry: RetryPolicy,
    /// Makes a repeated request find the same task.
    pub idempotency: Option<Idempotency>,
    /// What its log begins with, if it goes on from another task's.
    pub fork: Option<Fork>,
}

/// The beginning of another task's log, taken over by a new one.
#[derive(Debug, Clone, PartialEq)]
pub struct Fork {
    /// The other task, of the same tenant.
    pub from: TaskId,
    /// The first step that is done anew.
    pub step: u32,
    /// Events up to this number are taken over, but for those about leases and states.
    pub until: u64,
    /// So are these later ones, ascending.
    pub also: Vec<u64>,
    /// Steps that are taken over as called but are done anew, with their arguments if edited.
    pub resets: Vec<(u32, Option<serde_json::Value>)>,
    /// A message to the model before its next answer.
    pub note: Option<String>,
    /// Whether the other task is a dead letter, which this one takes off the list.
    pub redrives: bool,
}

/// An idempotency key and what it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The key.
    pub key: IdempotencyKey,
    /// SHA-256 of the request.
    pub digest: [u8; 32],
}

/// Who chose a key. No client can write a key of the engine's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdempotencyKey {
    /// A client, without control characters.
    Client(String),
    /// The engine: a dead letter is redriven once.
    Redrive(TaskId),
}

impl IdempotencyKey {
    /// The key as it is stored: each has a text of its own. Those of the engine begin with a control
    /// character.
    #[must_use]
    pub fn stored(&self) -> std::borrow::Cow<'_, str> {
        match self {
            Self::Client(key) => key.as_str().into(),
            Self::Redrive(task) => format!("\u{1}redrive:{task}").into(),
        }
    }
}

/// A task with where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRecord {
    /// What was asked.
    pub task: Task,
    /// Where it stands.
    pub life: Lifecycle,
    /// The result, once it is completed.
    pub result: Option<Json>,
    /// The error, once it failed.
    pub error: Option<TaskError>,
}

/// What `submit` did.
#[derive(Debug, Clone, PartialEq)]
pub struct Submitted {
    /// The task.
    pub record: TaskRecord,
    /// Whether the idempotency key had already made it.
    pub existing: bool,
}

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

/// The bodies that [`Store::events`] gives at once have at most so many bytes: a reader of large
/// events holds a few of them, not a thousand.
pub const EVENT_BYTES: usize = 128 << 10;

/// Lists of what people wrote or decide about (approvals, schedules, calls in doubt) have at most so
/// many bytes of it at once, unless the first alone has more.
pub const LIST_BYTES: usize = 4 << 20;

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

/// What somebody says of a step that asks for leave.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The step.
    pub step: u32,
    /// The decision. An approval takes the arguments that the approval has by now.
    pub decision: Decision,
    /// The revision that was looked at; another one refuses.
    pub revision: Option<u32>,
    /// Who decides.
    pub by: Option<String>,
}

/// What is decided about an approval.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// The step may run.
    Approve,
    /// It never runs.
    Deny {
        /// Why, for the model as well.
        reason: String,
    },
    /// It is to run with other arguments, which need leave as well.
    Edit {
        /// The arguments, which fit the tool's schema.
        input: serde_json::Value,
        /// SHA-256 of them as RFC 8785 JSON, in hex.
        digest: String,
    },
}

/// Which approvals to list: newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ApprovalFilter {
    /// Only those that stand like this.
    pub status: Option<ApprovalStatus>,
    /// Only those of this task.
    pub task: Option<TaskId>,
    /// Only those older than this number.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: u32,
}

/// Which tasks to list: newest first. A task must fit every part.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TaskFilter {
    /// Only these states; empty for all.
    pub states: Vec<StateName>,
    /// Only the ones with this version-1 status.
    pub status: Option<Status>,
    /// Only the ones of this agent.
    pub agent: Option<String>,
    /// Only the ones with all of these labels.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Only the ones whose name has this text within it, ASCII case aside, or whose id begins with it.
    pub text: Option<String>,
    /// Only tasks submitted at this time or later.
    pub created_after: Option<Micros>,
    /// Only tasks submitted before this time.
    pub created_before: Option<Micros>,
    /// Only tasks older than this one: where a page begins.
    pub before: Option<TaskId>,
    /// Only tasks that wait for somebody's word on a step.
    pub in_doubt: bool,
    /// Only dead letters that nobody has redriven.
    pub dead_letter: bool,
    /// Only children of this task.
    pub parent: Option<TaskId>,
    /// At most so many.
    pub limit: u32,
}

/// How many tasks there are in each state.
pub type Counts = std::collections::BTreeMap<StateName, u64>;

/// What a heartbeat answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeartbeatReply {
    /// Tasks of the session that are being cancelled.
    pub cancel: Vec<(TenantId, TaskId)>,
    /// Tasks of the session that are to stand still at their next boundary.
    pub pause: Vec<(TenantId, TaskId)>,
}

/// What `wake_due` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Due {
    /// How many tasks it moved on.
    pub woken: u32,
    /// When the next one is due.
    pub next: Option<Micros>,
}

/// The truth. Each verb is one atomic business step; every id-taking verb takes the tenant.
pub trait Store: AgentStore + ScheduleStore + RetentionStore + Send + Sync {
    /// Stores a task and its first event; durable when it returns.
    fn submit(&self, new: NewTask) -> Fut<'_, Result<Submitted, StoreError>>;
    /// Stores tasks, each on its own account: one that is refused fails no other. Those of a batch are
    /// committed together as far as the store's groups allow.
    fn submit_all(&self, new: Vec<NewTask>) -> Fut<'_, Vec<Result<Submitted, StoreError>>>;
    /// Leases ready tasks to a session: highest priority first, then oldest, and no more than the
    /// queue's rate lets through.
    fn claim(&self, request: ClaimRequest) -> Fut<'_, Result<Claimed, StoreError>>;
    /// Decides and commits a command with the blobs that its events refer to; durable when it
    /// returns. An append that was committed before, by the same epoch, succeeds again.
    fn apply(
        &self,
        tenant: TenantId,
        task: TaskId,
        command: Command,
        blobs: Vec<Blob>,
    ) -> Fut<'_, Result<Lifecycle, StoreError>>;
    /// Decides about a step that asks for leave, in the same transaction as the task's event.
    fn judge(
        &self,
        tenant: TenantId,
        task: TaskId,
        verdict: Verdict,
    ) -> Fut<'_, Result<Approval, StoreError>>;
    /// The approval that a step asked for.
    fn approval(
        &self,
        tenant: TenantId,
        task: TaskId,
        step: u32,
    ) -> Fut<'_, Result<Approval, StoreError>>;
    /// Approvals, newest first, with the number to go on before; fewer than the filter's limit where
    /// they have more than [`LIST_BYTES`] together. None means that there are no more.
    fn approvals(
        &self,
        tenant: TenantId,
        filter: ApprovalFilter,
    ) -> Fut<'_, Result<Vec<(u64, Approval)>, StoreError>>;
    /// One task.
    fn task(&self, tenant: TenantId, task: TaskId) -> Fut<'_, Result<TaskRecord, StoreError>>;
    /// Tasks, newest first.
    fn tasks(
        &self,
        tenant: TenantId,
        filter: TaskFilter,
    ) -> Fut<'_, Result<Vec<TaskRecord>, StoreError>>;
    /// How many tasks a filter fits, wherever a page begins and however many it takes.
    fn count(&self, tenant: TenantId, filter: TaskFilter) -> Fut<'_, Result<u64, StoreError>>;
    /// How many tasks there are.
    fn counts(&self, tenant: TenantId) -> Fut<'_, Result<Counts, StoreError>>;
    /// Where a task stands: its record without what was asked and what came of it.
    fn life(&self, tenant: TenantId, task: TaskId) -> Fut<'_, Result<Lifecycle, StoreError>>;
    /// Events with a number above `after`, in order: at most `limit`, and no more than
    /// [`EVENT_BYTES`] of bodies unless the first alone has more. None means that the log ends.
    fn events(
        &self,
        tenant: TenantId,
        task: TaskId,
        after: u64,
        limit: u32,
    ) -> Fut<'_, Result<Vec<StoredEvent>, StoreError>>;
    /// The number of the last event of a model step at or before `seq`; 0 if there is none. The
    /// steps that were open at `seq` began after it, or are that step.
    fn turn_start(
        &self,
        tenant: TenantId,
        task: TaskId,
        seq: u64,
    ) -> Fut<'_, Result<u64, StoreError>>;
    /// A slice of a blob; empty past its end.
    fn blob<'a>(
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
    /// Keeps a snapshot in place of an older one.
    fn put_snapshot(
        &self,
        tenant: TenantId,
        task: TaskId,
        snapshot: Snapshot,
    ) -> Fut<'_, Result<(), StoreError>>;
    /// Opens a session for a worker; it lives as long as its heartbeats come.
    fn open_session(&self, session: SessionId) -> Fut<'_, Result<(), StoreError>>;
    /// Keeps a session and its leases alive.
    fn heartbeat(&self, session: SessionId) -> Fut<'_, Result<HeartbeatReply, StoreError>>;
    /// Waits until the session has more to stop than its last heartbeat said. It may take longer to
    /// notice than a heartbeat, or never notice: heartbeats go on beside it.
    fn interrupted(&self, session: SessionId) -> Fut<'_, ()>;
    /// Ends a session; its leases are lost.
    fn close_session(&self, session: SessionId) -> Fut<'_, Result<(), StoreError>>;
    /// Ends the sessions whose heartbeats stopped, and takes their leases back; says how many.
    fn expire_sessions(&self) -> Fut<'_, Result<u32, StoreError>>;
    /// Moves on the tasks whose delay or timer is over, at most `limit`.
    fn wake_due(&self, limit: u32) -> Fut<'_, Result<Due, StoreError>>;
    /// The queues that have ready tasks: what a sweeper rings.
    fn ready_queues(&self) -> Fut<'_, Result<Vec<String>, StoreError>>;
    /// What it has done since it was opened.
    fn stats(&self) -> Stats;
}
