//! The state of a task.

use serde::{Deserialize, Serialize};

use super::Wait;
use crate::{id::SessionId, time::Micros};

/// The state of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Ready to be claimed.
    #[non_exhaustive]
    Pending,
    /// Becomes pending at a time: a delayed start, or the delay before a further attempt.
    #[non_exhaustive]
    Scheduled {
        /// When.
        until: Micros,
    },
    /// Ready, but paused.
    #[non_exhaustive]
    Paused,
    /// A worker holds it.
    #[non_exhaustive]
    Running {
        /// The worker's session.
        session: SessionId,
    },
    /// A cancel was acknowledged; the worker that holds it has not confirmed yet.
    #[non_exhaustive]
    Cancelling {
        /// The worker's session.
        session: SessionId,
    },
    /// The task waits for a condition and holds no worker. Only the rules make a [`Wait`].
    Waiting(Wait),
    /// The task ended with a result.
    #[non_exhaustive]
    Completed,
    /// The task ended without a result.
    #[non_exhaustive]
    Failed {
        /// Whether all attempts were used up; otherwise the last failure was final.
        dead_letter: bool,
    },
    /// The task was cancelled.
    #[non_exhaustive]
    Cancelled,
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

    /// The state of this name; `None` for an unknown name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Whether the state is final: no command leads out of a final state.
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

    /// The session that holds the task; `None` outside of a lease.
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
    /// Ended without a result.
    Failed,
    /// Cancelled.
    Cancelled,
}
