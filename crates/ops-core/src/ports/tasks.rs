//! The store's verbs for surfaces: submit, command, read.

use super::{Fut, Listed, StoreError};
use crate::{
    actor::Actor,
    approval::{Approval, ApprovalStatus},
    command::TaskCommand,
    event::{ChildEnd, StoredEvent},
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
    /// The task as submitted.
    pub task: Task,
    /// Who asks.
    pub actor: Actor,
    /// How retryable failures are answered.
    pub retry: RetryPolicy,
    /// Makes a repeated request find the same task.
    pub idempotency: Option<Idempotency>,
    /// The beginning of another task's log, if the new task continues that log.
    pub fork: Option<Fork>,
}

/// The beginning of another task's log, copied by a new task. Only [`rules::fork`](crate::rules::fork) makes
/// a fork: a copy that parted a child's start from its end would leave a run that waits for ever.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Fork {
    /// The other task, of the same tenant.
    pub from: TaskId,
    /// The first step that is done anew.
    pub step: u32,
    /// Events up to this number are taken over, but for those about leases and states.
    pub until: u64,
    /// Further events to copy, ascending.
    pub also: Vec<u64>,
    /// Steps that are taken over as called but are done anew, with their arguments if edited.
    pub resets: Vec<(u32, Option<serde_json::Value>)>,
    /// A message to the model before its next answer.
    pub note: Option<String>,
    /// Ends of the other task's children that its log does not show: the children ran on after the task was
    /// given up, and the copy has their starts.
    pub lost: Vec<ChildEnd>,
    /// Whether the other task is a dead letter, which this one takes off the list.
    pub redrives: bool,
}

/// An idempotency key and its digest.
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
    /// The stored text of the key: each key has a text of its own. Keys of the engine begin with a control
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
    /// The task as submitted.
    pub task: Task,
    /// The task's lifecycle.
    pub life: Lifecycle,
    /// The result, once it is completed.
    pub result: Option<Json>,
    /// The limits of the task's run, with the agent's limits and the settings; `None` before the run has
    /// begun.
    pub in_force: Option<TaskLimits>,
    /// Large values that a list has left out of this record.
    pub left_out: LeftOut,
}

/// Sizes, in bytes, of a task's values that are not in its record: `null` and none stand in their place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// The input.
    pub input: Option<u64>,
    /// The result.
    pub result: Option<u64>,
}

/// Outcome of a submit.
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

/// Most bytes in a list of inputs and requests (approvals, schedules, calls in doubt), unless the first
/// entry alone is larger.
pub const LIST_BYTES: usize = 4 << 20;

/// A decision about a step that asks for approval.
#[derive(Debug, Clone, PartialEq)]
pub struct ApprovalDecision {
    /// Actor of the decision.
    pub actor: Actor,
    /// The step.
    pub step: u32,
    /// The decision. An approval takes the arguments that the approval has by now.
    pub action: ApprovalAction,
    /// The revision that the person looked at; another revision refuses. Without a revision, an approval is
    /// of the first revision, and other decisions are of any.
    pub revision: Option<u32>,
    /// The person who decides, as the client names them.
    pub by: Option<String>,
}

/// A decision about an approval.
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
    /// Status to filter by.
    pub status: Option<ApprovalStatus>,
    /// Task to filter by.
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
    /// Version-1 status to filter by.
    pub status: Option<Status>,
    /// Agent to filter by.
    pub agent: Option<String>,
    /// Labels to filter by: a task must have all of them.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Text within the task's name, ASCII case aside, or the beginning of the task's id.
    pub text: Option<String>,
    /// Only tasks submitted at this time or later.
    pub created_after: Option<Micros>,
    /// Only tasks submitted before this time.
    pub created_before: Option<Micros>,
    /// Upper bound of the id: the page begins with the next older task.
    pub before: Option<TaskId>,
    /// Only tasks that wait for somebody's word on a step.
    pub in_doubt: bool,
    /// Whether to list only dead letters without a redrive.
    pub dead_letter: bool,
    /// Only children of this task.
    pub parent: Option<TaskId>,
    /// At most so many.
    pub limit: u32,
    /// Whether inputs and results of more than [`MAX_INLINE_BYTES`](crate::rules::links::MAX_INLINE_BYTES) stay
    /// where they are; [`TaskRecord::left_out`] holds their sizes.
    pub without_large: bool,
}

impl TaskFilter {
    /// The filter without a page's beginning, size and contents: the tasks that fit on any page.
    #[must_use]
    pub fn of_any_page(&self) -> Self {
        Self {
            before: None,
            limit: 0,
            without_large: false,
            ..self.clone()
        }
    }

    /// Whether state and status alone choose the tasks.
    #[must_use]
    pub fn is_by_state(&self) -> bool {
        let by_state = Self {
            states: self.states.clone(),
            status: self.status,
            ..Self::default()
        };
        self.of_any_page() == by_state
    }
}

/// How many tasks there are in each state.
pub type Counts = std::collections::BTreeMap<StateName, u64>;

/// The verbs that surfaces call. Each is one atomic business step.
pub trait TaskStore: Send + Sync {
    /// Stores a task and its first event; durable on return.
    fn submit(&self, new: NewTask) -> Fut<'_, Result<Submitted, StoreError>>;
    /// Stores tasks independently: a refused task fails no other. The store commits the tasks of a batch
    /// together as far as its groups allow.
    fn submit_all(&self, new: Vec<NewTask>) -> Fut<'_, Vec<Result<Submitted, StoreError>>>;
    /// Decides a command and commits the outcome; durable on return.
    fn command(
        &self,
        tenant: TenantId,
        task: TaskId,
        command: TaskCommand,
    ) -> Fut<'_, Result<Lifecycle, StoreError>>;
    /// Decides about a step that asks for approval, in the same transaction as the task's event.
    fn decide_approval(
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
    /// Approvals, newest first, with the number to go on before; fewer than the filter's limit where the
    /// approvals have more than [`LIST_BYTES`] together. `None`: the list is complete.
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
    /// A task's lifecycle: its record without input and result.
    fn life(&self, tenant: TenantId, task: TaskId) -> Fut<'_, Result<Lifecycle, StoreError>>;
    /// Events with a number above `after`, in order: at most `limit`, and no more than [`EVENT_BYTES`] of
    /// bodies unless the first event alone has more. `None`: the log ends.
    fn events(
        &self,
        tenant: TenantId,
        task: TaskId,
        after: u64,
        limit: u32,
    ) -> Fut<'_, Result<Vec<StoredEvent>, StoreError>>;
    /// The number of the last event of a model step at or before `seq`; 0 if the log has no such event. The
    /// steps that were open at `seq` began after this event, or are its step.
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
    /// Counters since the store was opened.
    fn stats(&self) -> Stats;
}
