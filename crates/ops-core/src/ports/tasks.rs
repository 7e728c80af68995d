//! The store's verbs for surfaces: submit, ask something of a task, read.

use super::{Fut, Listed, StoreError};
use crate::{
    actor::Actor,
    approval::{Approval, ApprovalStatus},
    command::TaskCommand,
    event::{ChildEnd, StoredEvent, TaskError},
    id::{TaskId, TenantId},
    json::Json,
    retry::RetryPolicy,
    stats::Stats,
    task::{Lifecycle, StateName, Status, Task, TaskLimits},
    time::Micros,
};

/// A task that is to be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTask {
    /// What was asked.
    pub task: Task,
    /// Who asks.
    pub actor: Actor,
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
    /// How children of the other task ended of which its log says no end: they went on when it was given
    /// up, and their starts are taken over.
    pub lost: Vec<ChildEnd>,
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
    /// The limits that hold for its run, those of its agent and of the settings among them; none before
    /// the run has begun.
    pub in_force: Option<TaskLimits>,
}

/// What `submit` did.
#[derive(Debug, Clone, PartialEq)]
pub struct Submitted {
    /// The task.
    pub record: TaskRecord,
    /// Whether the idempotency key had already made it.
    pub existing: bool,
}

/// The bodies that [`TaskStore::events`] gives at once have at most so many bytes: a reader of large
/// events holds a few of them, not a thousand.
pub const EVENT_BYTES: usize = 128 << 10;

/// Lists of what people wrote or decide about (approvals, schedules, calls in doubt) have at most so
/// many bytes of it at once, unless the first alone has more.
pub const LIST_BYTES: usize = 4 << 20;

/// A decision about a step that asks for approval.
#[derive(Debug, Clone, PartialEq)]
pub struct ApprovalDecision {
    /// Who asks for it.
    pub actor: Actor,
    /// The step.
    pub step: u32,
    /// The decision. An approval takes the arguments that the approval has by now.
    pub action: ApprovalAction,
    /// The revision that was looked at; another one refuses. Without it, an approval is of the first
    /// revision, and other decisions are of any.
    pub revision: Option<u32>,
    /// The person who decides, as the client names them.
    pub by: Option<String>,
}

/// What is decided about an approval.
#[derive(Debug, Clone, PartialEq)]
pub enum ApprovalAction {
    /// The step may run.
    Approve,
    /// The step never runs.
    Deny {
        /// Why, for the model as well.
        reason: String,
    },
    /// The step is to run with other arguments, which need approval as well.
    Edit {
        /// The arguments, which fit the tool's schema.
        input: serde_json::Value,
        /// SHA-256 of the arguments as RFC 8785 JSON, in hex.
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

/// The verbs that surfaces call. Each is one atomic business step.
pub trait TaskStore: Send + Sync {
    /// Stores a task and its first event; durable when it returns.
    fn submit(&self, new: NewTask) -> Fut<'_, Result<Submitted, StoreError>>;
    /// Stores tasks, each on its own account: one that is refused fails no other. Those of a batch are
    /// committed together as far as the store's groups allow.
    fn submit_all(&self, new: Vec<NewTask>) -> Fut<'_, Vec<Result<Submitted, StoreError>>>;
    /// Decides and commits what is asked of a task; durable when it returns.
    fn command(
        &self,
        tenant: TenantId,
        task: TaskId,
        command: TaskCommand,
    ) -> Fut<'_, Result<Lifecycle, StoreError>>;
    /// Decides about a step that asks for approval, in the same transaction as the task's event.
    fn judge(
        &self,
        tenant: TenantId,
        task: TaskId,
        decision: ApprovalDecision,
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
    ) -> Fut<'_, Result<Listed<(u64, Approval)>, StoreError>>;
    /// One task.
    fn task(&self, tenant: TenantId, task: TaskId) -> Fut<'_, Result<TaskRecord, StoreError>>;
    /// Tasks, newest first.
    fn tasks(
        &self,
        tenant: TenantId,
        filter: TaskFilter,
    ) -> Fut<'_, Result<Listed<TaskRecord>, StoreError>>;
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
    /// A slice of a large value; empty past its end.
    fn blob<'a>(
        &'a self,
        tenant: TenantId,
        digest: &'a str,
        offset: u64,
        len: u64,
    ) -> Fut<'a, Result<Vec<u8>, StoreError>>;
    /// What the store has done since it was opened.
    fn stats(&self) -> Stats;
}
