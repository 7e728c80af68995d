//! A task: what was asked, and where it stands.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    agent::AgentDigest,
    choice::choice,
    id::{SessionId, TaskId, TenantId},
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

/// Where a task stands: the fold of its engine events. Small, and loaded for each decision.
#[derive(Debug, Clone, PartialEq)]
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

/// The state of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Ready to be claimed.
    Pending,
    /// Becomes pending at a time: a delayed start, or the delay before a further attempt.
    Scheduled {
        /// When.
        until: Micros,
    },
    /// Ready, but somebody paused it.
    Paused,
    /// A worker holds it.
    Running {
        /// The worker's session.
        session: SessionId,
    },
    /// A cancel was acknowledged; the worker that holds it has not confirmed yet.
    Cancelling {
        /// The worker's session.
        session: SessionId,
    },
    /// It waits for something and holds no worker.
    Waiting(Wait),
    /// It ended with a result.
    Completed,
    /// It ended without one.
    Failed {
        /// Whether it was given up after all its attempts, rather than failed for good at once.
        dead_letter: bool,
    },
    /// It was cancelled.
    Cancelled,
}

/// What a waiting task waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "on", rename_all = "snake_case")]
pub enum Wait {
    /// A point in time.
    Timer {
        /// When it ends.
        until: Micros,
    },
    /// Somebody's word on steps whose outcome is unknown.
    InDoubt {
        /// The steps that are still open, ascending.
        steps: Vec<u32>,
    },
    /// Somebody's leave for steps to run.
    Approval {
        /// The steps, ascending.
        steps: Vec<u32>,
        /// When it waits no longer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Micros>,
    },
    /// A signal of one of these names.
    Signal {
        /// The names.
        names: Vec<String>,
        /// When it waits no longer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Micros>,
    },
    /// The end of all these children.
    Child {
        /// Those that have not ended.
        tasks: Vec<TaskId>,
        /// When it waits no longer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Micros>,
    },
    /// Another limit: one of its run is used up.
    Budget {
        /// Which, as it is set: for instance `max_tokens`.
        limit: String,
        /// How far it is used up, and how to go on.
        message: String,
        /// When it waits no longer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Micros>,
    },
    /// The end of the task that holds its concurrency key.
    Concurrency {
        /// The key.
        key: String,
    },
}

impl Wait {
    /// What is waited for, in a word.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Timer { .. } => "timer",
            Self::InDoubt { .. } => "in_doubt",
            Self::Approval { .. } => "approval",
            Self::Signal { .. } => "signal",
            Self::Child { .. } => "child",
            Self::Budget { .. } => "budget",
            Self::Concurrency { .. } => "concurrency",
        }
    }

    /// Whether what ends it is logged from outside, so that it may have been before the wait began.
    #[must_use]
    pub fn is_for_outside(&self) -> bool {
        match self {
            Self::Approval { .. }
            | Self::Signal { .. }
            | Self::Child { .. }
            | Self::Budget { .. } => true,
            Self::Timer { .. } | Self::InDoubt { .. } | Self::Concurrency { .. } => false,
        }
    }

    /// When the clock alone ends it, if it does.
    #[must_use]
    pub fn until(&self) -> Option<Micros> {
        match self {
            Self::Timer { until } => Some(*until),
            Self::Approval { until, .. }
            | Self::Signal { until, .. }
            | Self::Child { until, .. }
            | Self::Budget { until, .. } => *until,
            Self::InDoubt { .. } | Self::Concurrency { .. } => None,
        }
    }
}

/// The name of a state without its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateName {
    /// [`State::Pending`].
    Pending,
    /// [`State::Scheduled`].
    Scheduled,
    /// [`State::Paused`].
    Paused,
    /// [`State::Running`].
    Running,
    /// [`State::Cancelling`].
    Cancelling,
    /// [`State::Waiting`].
    Waiting,
    /// [`State::Completed`].
    Completed,
    /// [`State::Failed`].
    Failed,
    /// [`State::Cancelled`].
    Cancelled,
}

impl StateName {
    /// Every state.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Scheduled,
        Self::Paused,
        Self::Running,
        Self::Cancelling,
        Self::Waiting,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The name as it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Scheduled => "scheduled",
            Self::Paused => "paused",
            Self::Running => "running",
            Self::Cancelling => "cancelling",
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state of this name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Whether it is an end: no command leads out of it.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Completed | Self::Failed | Self::Cancelled => true,
            Self::Pending
            | Self::Scheduled
            | Self::Paused
            | Self::Running
            | Self::Cancelling
            | Self::Waiting => false,
        }
    }
}

impl std::fmt::Display for StateName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl State {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> StateName {
        match self {
            Self::Pending => StateName::Pending,
            Self::Scheduled { .. } => StateName::Scheduled,
            Self::Paused => StateName::Paused,
            Self::Running { .. } => StateName::Running,
            Self::Cancelling { .. } => StateName::Cancelling,
            Self::Waiting(_) => StateName::Waiting,
            Self::Completed => StateName::Completed,
            Self::Failed { .. } => StateName::Failed,
            Self::Cancelled => StateName::Cancelled,
        }
    }

    /// The session that holds it, if one does.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        match self {
            Self::Running { session } | Self::Cancelling { session } => Some(*session),
            Self::Pending
            | Self::Scheduled { .. }
            | Self::Paused
            | Self::Waiting(_)
            | Self::Completed
            | Self::Failed { .. }
            | Self::Cancelled => None,
        }
    }

    /// When the clock alone moves it on, if it does.
    #[must_use]
    pub fn due(&self) -> Option<Micros> {
        match self {
            Self::Scheduled { until } => Some(*until),
            Self::Waiting(wait) => wait.until(),
            Self::Pending
            | Self::Paused
            | Self::Running { .. }
            | Self::Cancelling { .. }
            | Self::Completed
            | Self::Failed { .. }
            | Self::Cancelled => None,
        }
    }
}

/// The five states of version 1, to which the finer ones map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Not started yet.
    Pending,
    /// Started and not ended.
    Running,
    /// Ended with a result.
    Completed,
    /// Ended without one.
    Failed,
    /// Cancelled.
    Cancelled,
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
