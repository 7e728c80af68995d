//! A task: its input and its lifecycle.

mod row;
mod state;
mod wait;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::{
    row::{LifeRow, PAUSED, RowError, StateRow},
    state::{State, StateName, Status},
    wait::{Wait, WaitRequest},
};
use crate::{
    agent::AgentDigest,
    choice::choice,
    event::TaskError,
    id::{TaskId, TenantId},
    json::Json,
    retry::RetryPolicy,
    time::Micros,
    usage::Usage,
};

/// A task as submitted. Only its limits change after the submit.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// The id.
    pub id: TaskId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Selects the worker's handler, for instance `agent_run`.
    pub task_type: String,
    /// A name for people.
    pub name: Option<String>,
    /// The agent that is to run.
    pub agent_id: Option<String>,
    /// The version of the agent that the task is pinned to. The store sets the version of a new task,
    /// unless the submit has set a version: to the current version, or to the version of the task whose log
    /// is copied.
    pub agent_digest: Option<AgentDigest>,
    /// The input, a JSON object.
    pub input: Json,
    /// Labels for filters.
    pub labels: BTreeMap<String, String>,
    /// Limits of the task's run.
    pub limits: TaskLimits,
    /// 0 to 9; higher is claimed first.
    pub priority: u8,
    /// The queue that it waits in.
    pub queue: String,
    /// Tasks with the same key run one after the other: a task holds the key from its first start to its
    /// end.
    pub concurrency_key: Option<String>,
    /// The task that this task repeats: as a retry, a rerun or a redrive.
    pub retry_of: Option<TaskId>,
    /// The task whose agent started this task.
    pub parent: Option<Parent>,
    /// Time of the submit.
    pub created_at: Micros,
    /// Requested start of a delayed task.
    pub run_at: Option<Micros>,
}

/// Where a child task comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// The task that started it.
    pub task: TaskId,
    /// The step of that task that started it.
    pub step: u32,
    /// How many generations its own children may go on for.
    pub depth_left: u32,
}

/// Limits of a task's run; a limit that is `None` falls back to the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskLimits {
    /// Model and tool calls together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<u32>,
    /// Input and output tokens together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// Micro-USD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost_micros: Option<u64>,
    /// Microseconds from the first start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_micros: Option<i64>,
    /// Microseconds that the task may wait for its first start, from its earliest start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_timeout_micros: Option<i64>,
    /// Behaviour where a limit of the task or of the configuration is used up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_exhausted: Option<OnExhausted>,
}

choice! {
    /// Behaviour of a task's run where a limit is used up.
    OnExhausted {
        /// The task fails.
        #[default]
        Fail = "fail",
        /// The task waits until a client raises the limit.
        Wait = "wait",
    }
}

/// The lifecycle of a task: the fold of its engine events. Small, and loaded for each decision. Only the
/// rules make a lifecycle, or a store that decodes a row.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Lifecycle {
    /// The task.
    pub id: TaskId,
    /// The state and its data.
    pub state: State,
    /// The current attempt, from 1.
    pub attempt: u32,
    /// How retryable failures are answered.
    pub retry: RetryPolicy,
    /// Grows with each lease; a write names the epoch it was leased under.
    pub epoch: u64,
    /// The number of the last event.
    pub seq: u64,
    /// Lost leases since the last recorded outcome.
    pub lease_losses: u32,
    /// Whether the agent run has events of its own, so that a claim must load them.
    pub run_started: bool,
    /// A pause was requested: the run ends its step, and no other step begins.
    pub paused: bool,
    /// Longest duration in microseconds, from the task's first start; `None` for no known limit.
    pub timeout: Option<i64>,
    /// Latest first start; `None` for no limit.
    pub start_by: Option<Micros>,
    /// Whether the task waits where a limit is used up; otherwise the task fails.
    pub waits_for_limits: bool,
    /// An external event was logged that the holder of the lease may not have read.
    pub external_pending: bool,
    /// Links to other records.
    pub relations: Relations,
    /// Usage of the task's model calls.
    pub usage: Usage,
    /// Usage of the task's ended children, and of their children.
    pub children_usage: Usage,
    /// The first lease.
    pub started_at: Option<Micros>,
    /// The last event.
    pub updated_at: Micros,
    /// The terminal event.
    pub completed_at: Option<Micros>,
    /// Failure of the last attempt that failed; `None` once the task has completed.
    pub failure: Option<TaskError>,
}

/// Links of a task to other records: the rules follow them when the task ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Relations {
    /// The task has a parent; the parent gets notice of the task's end.
    pub parent: bool,
    /// The task has children; the children do not outlive the task.
    pub children: bool,
    /// The task has requested approvals; open approvals lapse with the task.
    pub approvals: bool,
    /// The task has a concurrency key; other tasks may wait for the key.
    pub key: bool,
}

impl Lifecycle {
    /// The error of a failed task.
    #[must_use]
    pub fn error(&self) -> Option<&TaskError> {
        match self.state {
            State::Failed { .. } => self.failure.as_ref(),
            State::Pending
            | State::Scheduled { .. }
            | State::Paused
            | State::Running { .. }
            | State::Cancelling { .. }
            | State::Waiting(_)
            | State::Completed
            | State::Cancelled => None,
        }
    }

    /// The version-1 status: a live task reads `pending` before its first start and `running` after it.
    #[must_use]
    pub fn status(&self) -> Status {
        match self.state {
            State::Completed => Status::Completed,
            State::Failed { .. } => Status::Failed,
            State::Cancelled => Status::Cancelled,
            State::Pending
            | State::Scheduled { .. }
            | State::Paused
            | State::Waiting(_)
            | State::Running { .. }
            | State::Cancelling { .. } => match self.started_at {
                None => Status::Pending,
                Some(_) => Status::Running,
            },
        }
    }
}
