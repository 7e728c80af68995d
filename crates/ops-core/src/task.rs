//! A task: what was asked, and where it stands.

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
    id::{TaskId, TenantId},
    json::Json,
    retry::RetryPolicy,
    time::Micros,
    usage::Usage,
};

/// What was asked. It does not change after the submit, its limits excepted.
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
    /// The version of the agent that it is pinned to. Of a new task the store sets it, unless it is
    /// set: to the current one, or to that of the task whose log it goes on from.
    pub agent_digest: Option<AgentDigest>,
    /// The input, a JSON object.
    pub input: Json,
    /// Labels to find it by.
    pub labels: BTreeMap<String, String>,
    /// What its run may use up.
    pub limits: TaskLimits,
    /// 0 to 9; higher is claimed first.
    pub priority: u8,
    /// The queue that it waits in.
    pub queue: String,
    /// Tasks with the same key run one after the other: it is held from a task's first start to its
    /// end.
    pub concurrency_key: Option<String>,
    /// The task that this one does again: a retry, a rerun or a redrive.
    pub retry_of: Option<TaskId>,
    /// The task whose agent started this one.
    pub parent: Option<Parent>,
    /// When it was submitted.
    pub created_at: Micros,
    /// When it was to start, if that was asked.
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

/// What the run of a task may use up; what is none falls back to the configuration.
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
    /// Microseconds that it may wait for its first start, from when it could start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_timeout_micros: Option<i64>,
    /// What it does where one of these, or of those that are configured, is used up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_exhausted: Option<OnExhausted>,
}

choice! {
    /// What the run of a task does where a limit is used up.
    OnExhausted {
        /// It fails.
        #[default]
        Fail = "fail",
        /// It waits until somebody raises the limit.
        Wait = "wait",
    }
}

/// Where a task stands: the fold of its engine events. Small, and loaded for each decision. Only the
/// rules make one, or a store that decodes a row.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Lifecycle {
    /// The task.
    pub id: TaskId,
    /// The state, with what belongs to it.
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
    /// Somebody wants it to stand still: it ends its step, and nothing begins.
    pub paused: bool,
    /// How long it may take, in microseconds from its first start; none for no limit that is known.
    pub timeout: Option<i64>,
    /// When it must have started; none for no limit.
    pub start_by: Option<Micros>,
    /// Where a limit is used up it waits for another one, and does not fail.
    pub waits_for_limits: bool,
    /// Something from outside was logged that the holder of the lease may not have read.
    pub heard: bool,
    /// What it is tied to.
    pub ties: Ties,
    /// What its model calls used.
    pub usage: Usage,
    /// What its children used that have ended, and theirs.
    pub children_usage: Usage,
    /// The first lease.
    pub started_at: Option<Micros>,
    /// The last event.
    pub updated_at: Micros,
    /// The terminal event.
    pub completed_at: Option<Micros>,
}

/// What a task is tied to: what has to be looked after when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ties {
    /// It has a parent, which is told of its end.
    pub parent: bool,
    /// It has children, which do not outlive it.
    pub children: bool,
    /// It has asked for approvals, which lapse with it.
    pub approvals: bool,
    /// It has a concurrency key, which others may wait for.
    pub key: bool,
}

impl Lifecycle {
    /// The version-1 status: what has not ended reads `pending` before its first start and
    /// `running` after it.
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
