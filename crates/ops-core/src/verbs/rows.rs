//! The port of the verbs: rows, and how they are found. No method decides.

use std::{ops::RangeInclusive, sync::Arc};

use crate::{
    AgentDigest, AgentName, Approval, Json, Lifecycle, Micros, SessionId, StoredEvent, TaskId,
    TenantId,
    agent::{Agent, AgentVersion},
    budget::{Amount, BudgetCall, Waiter, Window},
    ports::{Blob, Snapshot, StoreError, TaskRecord},
    provider::{ProviderKey, ProviderState},
    rules::{
        Outcome,
        claim::{Class, Order},
    },
    schedule::{Schedule, ScheduleName, ScheduleRun},
    task::TaskLimits,
};

/// A task of a tenant.
pub type Key = (TenantId, TaskId);

type Result<T> = std::result::Result<T, StoreError>;

/// Which time of a task the clock is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// The end of its wait or delay.
    Due,
    /// Its deadline, as [`crate::rules::limits::expires`] says.
    Expiry,
}

/// A task with a time and its number. A store numbers tasks as they are stored: tasks of one time are in
/// the order of their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbered {
    /// The time.
    pub at: Micros,
    /// The number.
    pub number: i64,
    /// The task.
    pub key: Key,
}

/// The rows of one transaction. A verb that asks again finds its own writes.
///
/// A row that was loaded to be written stays as it was loaded until the transaction ends: a database that
/// others write to locks it. An error that is not about one row (a lost connection) makes every later
/// answer an error and the transaction void, however the verb treats the error.
pub trait Rows: AgentRows + ScheduleRows {
    /// SHA-256.
    fn digest(bytes: &[u8]) -> [u8; 32];

    /// Where a task stands, to be written.
    fn life(&mut self, key: Key) -> Result<Option<Lifecycle>>;
    /// A task with its request, to be written.
    fn record(&mut self, key: Key) -> Result<Option<TaskRecord>>;
    /// Whether a task is there that has not ended, only to be looked at.
    fn is_open(&mut self, key: Key) -> Result<bool>;
    /// The queue of a task that was loaded.
    fn queue(&mut self, key: Key) -> Option<Arc<str>>;
    /// Stores a task that is not there.
    fn insert_task(&mut self, record: &TaskRecord) -> Result<()>;
    /// Moves a task on, with its result or error if it has one now.
    fn put_life(
        &mut self,
        key: Key,
        before: &Lifecycle,
        after: &Lifecycle,
        outcome: Option<Outcome>,
    ) -> Result<()>;
    /// Changes the requested limits, or the limits in force; `None` changes neither.
    fn put_limits(
        &mut self,
        key: Key,
        asked: Option<TaskLimits>,
        in_force: Option<TaskLimits>,
    ) -> Result<()>;
    /// Takes a dead letter off the list, if the task is there.
    fn mark_redriven(&mut self, key: Key) -> Result<()>;

    /// Adds an event to the log, written under an epoch.
    fn put_event(&mut self, key: Key, epoch: u64, event: StoredEvent) -> Result<()>;
    /// Keeps a value that events of the task refer to.
    fn put_value(&mut self, key: Key, value: Blob) -> Result<()>;
    /// The log, from its first event to its last.
    fn log(&mut self, key: Key) -> Result<Vec<StoredEvent>>;
    /// Notes that the second task refers to every value of the first task.
    fn share_values(&mut self, from: Key, to: Key) -> Result<()>;
    /// Events by number, each with its epoch.
    fn recorded(&mut self, key: Key, seqs: RangeInclusive<u64>) -> Result<Vec<(u64, StoredEvent)>>;
    /// The result of a completed task.
    fn result(&mut self, key: Key) -> Result<Option<Json>>;

    /// The digest and the task of an idempotency key.
    fn idempotency(&mut self, tenant: TenantId, key: &str) -> Result<Option<([u8; 32], TaskId)>>;
    /// Stores the digest and the task of an idempotency key, in place of older values.
    fn put_idempotency(
        &mut self,
        tenant: TenantId,
        key: &str,
        digest: [u8; 32],
        task: TaskId,
    ) -> Result<()>;

    /// The parent of a task, unless it was deleted.
    fn parent(&mut self, key: Key) -> Result<Option<Key>>;
    /// The children of a task that have not ended.
    fn open_children(&mut self, key: Key) -> Result<Vec<Key>>;
    /// How many tasks there are from the eldest of a task's parents down; more than `most` need not be
    /// counted.
    fn tree_size(&mut self, key: Key, most: u64) -> Result<u64>;
    /// Whether a task has started under a concurrency key and has not ended. No other transaction changes
    /// that until this one ends.
    fn key_is_held(&mut self, tenant: TenantId, key: &str) -> Result<bool>;
    /// The tasks whose turn it is to take the key of a task, as [`crate::rules::links::turns`] says; an
    /// empty list if another task holds the key.
    fn turns_of_key(&mut self, key: Key, now: Micros) -> Result<Vec<Key>>;

    /// The approval that a step asked for, with its number.
    fn approval(&mut self, key: Key, step: u32) -> Result<Option<(i64, Approval)>>;
    /// The approvals of a task that are pending, with their numbers.
    fn open_approvals(&mut self, key: Key) -> Result<Vec<(i64, Approval)>>;
    /// Stores an approval.
    fn insert_approval(&mut self, tenant: TenantId, approval: Approval) -> Result<()>;
    /// Changes an approval.
    fn put_approval(&mut self, number: i64, tenant: TenantId, approval: Approval) -> Result<()>;

    /// Whether a session is known and has not ended.
    fn session_is_open(&mut self, session: SessionId) -> Result<bool>;
    /// The tasks that a session holds, in the order of their numbers.
    fn held_by(&mut self, session: SessionId) -> Result<Vec<Key>>;
    /// The next ready tasks of a class: of the tenants whose turn it is after a tenant
    /// ([`turns_of_tenants`](crate::rules::claim::turns_of_tenants)) each its [`share`](crate::rules::claim::share) of
    /// `limit`, in an order. A database that others claim from passes over rows that they have locked.
    fn ready(
        &mut self,
        queue: &str,
        of: (Class, Order),
        after: Option<TenantId>,
        limit: u32,
    ) -> Result<Vec<TaskRecord>>;
    /// Whether a session that is known holds a suspect.
    fn crash_loop_suspect_is_leased(&mut self) -> Result<bool>;
    /// Where the rate of a queue stands, for a queue with a rate. No other transaction changes it until this one
    /// ends.
    fn rate(&mut self, queue: &str) -> Result<Option<Micros>>;
    /// Moves the rate of a queue on.
    fn put_rate(&mut self, queue: &str, expected: Micros) -> Result<()>;

    /// The tasks whose time is `until` or earlier and that come after this place, in the order of time and
    /// number.
    fn past(
        &mut self,
        times: Times,
        after: (Micros, i64),
        until: Micros,
        limit: u32,
    ) -> Result<Vec<Numbered>>;
    /// The earliest time after this place.
    fn next(&mut self, times: Times, after: (Micros, i64)) -> Result<Option<Micros>>;
    /// The tasks that were written to after `latest` and that have a date or a session,
    /// in the order of their numbers, after this number.
    fn written_after(&mut self, latest: Micros, after: i64, limit: u32) -> Result<Vec<Numbered>>;

    /// The ledger of a budget's window. No other transaction changes it until this one ends.
    fn ledger(&mut self, tenant: TenantId, window: &Window) -> Result<Amount>;
    /// Keeps the ledger of a budget's window, and drops windows of the budget that began before `kept_from`.
    fn put_ledger(
        &mut self,
        tenant: TenantId,
        window: &Window,
        used: Amount,
        kept_from: Micros,
    ) -> Result<()>;

    /// The worst cases of the calls of a window whose tasks still have the lease that the calls were stored under.
    fn under_way(&mut self, tenant: TenantId, window: &Window) -> Result<Amount>;
    /// Stores the calls of a task under its lease's epoch, in place of all its earlier calls.
    fn put_budget_calls(&mut self, key: Key, epoch: u64, calls: &[BudgetCall]) -> Result<()>;
    /// The oldest tasks that wait for room in a window, in the order of their ids, to be written. A database that others
    /// write to passes over rows that they have locked.
    fn budget_waiters(
        &mut self,
        tenant: TenantId,
        window: &Window,
        limit: u32,
    ) -> Result<Vec<Waiter>>;

    /// How far the limits of a provider's key are used. No other transaction changes that until this one ends.
    fn provider(&mut self, key: ProviderKey) -> Result<ProviderState>;
    /// Keeps how far the limits of a provider's key are used.
    fn put_provider(&mut self, key: ProviderKey, state: &ProviderState) -> Result<()>;

    /// The newest snapshot's version and number.
    fn snapshot_number(&mut self, key: Key) -> Result<Option<(u32, u64)>>;
    /// Keeps a snapshot in place of the stored snapshot.
    fn put_snapshot(&mut self, key: Key, snapshot: Snapshot) -> Result<()>;
}

/// Rows of agents and their versions.
pub trait AgentRows {
    /// An agent.
    fn agent(&mut self, tenant: TenantId, name: &AgentName) -> Result<Option<Agent>>;
    /// The version of a digest.
    fn version(&mut self, tenant: TenantId, digest: AgentDigest) -> Result<Option<AgentVersion>>;
    /// Stores a version.
    fn put_version(&mut self, version: &AgentVersion) -> Result<()>;
    /// Stores an agent, in place of an agent of its name.
    fn put_agent(&mut self, agent: &Agent) -> Result<()>;
    /// Takes an agent away; its versions stay.
    fn remove_agent(&mut self, tenant: TenantId, name: &AgentName) -> Result<()>;
    /// Agents whose current version may start this agent, by name.
    fn agents_that_start(
        &mut self,
        tenant: TenantId,
        name: &AgentName,
        limit: u32,
    ) -> Result<Vec<AgentName>>;
    /// Schedules whose template has the `agent_id` of this agent, by name.
    fn schedules_of_agent(
        &mut self,
        tenant: TenantId,
        name: &AgentName,
        limit: u32,
    ) -> Result<Vec<ScheduleName>>;
}

/// Rows of schedules and their runs.
pub trait ScheduleRows {
    /// A schedule, to be written.
    fn schedule(&mut self, tenant: TenantId, name: &ScheduleName) -> Result<Option<Schedule>>;
    /// Stores a schedule, in place of a schedule of its name.
    fn put_schedule(&mut self, schedule: &Schedule) -> Result<()>;
    /// Takes a schedule away, with its runs.
    fn remove_schedule(&mut self, tenant: TenantId, name: &ScheduleName) -> Result<()>;
    /// The runs of a schedule, oldest first.
    fn runs(&mut self, tenant: TenantId, name: &ScheduleName) -> Result<Vec<ScheduleRun>>;
    /// Replaces the runs of a schedule by these runs, oldest first.
    fn put_runs(
        &mut self,
        tenant: TenantId,
        name: &ScheduleName,
        runs: Vec<ScheduleRun>,
    ) -> Result<()>;
}
