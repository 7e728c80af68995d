//! The condition of a waiting task.

use serde::{Deserialize, Serialize};

use crate::{event::TaskError, id::TaskId, time::Micros};

/// The condition of a waiting task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "on", rename_all = "snake_case")]
pub enum Wait {
    /// A point in time.
    #[non_exhaustive]
    Timer {
        /// End of the wait.
        until: Micros,
        /// Failure of the model call that is tried again after the wait.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<TaskError>,
    },
    /// Somebody's word on steps whose outcome is unknown.
    #[non_exhaustive]
    InDoubt {
        /// The steps that are still open, ascending.
        steps: Vec<u32>,
    },
    /// Somebody's leave for steps to run.
    #[non_exhaustive]
    Approval {
        /// The steps, ascending.
        steps: Vec<u32>,
        /// Timeout of the wait.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Micros>,
    },
    /// A signal with a name of this list.
    #[non_exhaustive]
    Signal {
        /// The names.
        names: Vec<String>,
        /// Timeout of the wait.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Micros>,
    },
    /// The end of all these children.
    #[non_exhaustive]
    Child {
        /// The children that have not ended.
        tasks: Vec<TaskId>,
        /// Timeout of the wait.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Micros>,
    },
    /// A raised limit: a limit of the run is used up.
    #[non_exhaustive]
    Budget {
        /// Name of the limit's setting: for instance `max_tokens`.
        limit: String,
        /// How far the limit is used up, and how to go on.
        message: String,
        /// Timeout of the wait.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Micros>,
    },
    /// The end of the task that holds its concurrency key.
    #[non_exhaustive]
    Concurrency {
        /// The key.
        key: String,
    },
}

impl Wait {
    /// Kind of the wait, as a word.
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

    /// Whether an external event ends the wait. The log may have the event before the wait begins.
    #[must_use]
    pub fn is_external(&self) -> bool {
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
            Self::Timer { until, .. } => Some(*until),
            Self::Approval { until, .. }
            | Self::Signal { until, .. }
            | Self::Child { until, .. }
            | Self::Budget { until, .. } => *until,
            Self::InDoubt { .. } | Self::Concurrency { .. } => None,
        }
    }
}

/// A wait requested by a run. Only the engine has a task wait for a concurrency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitRequest {
    /// A point in time.
    Timer {
        /// When the wait ends.
        until: Micros,
    },
    /// The delay before a further try of a model call.
    Retry {
        /// When the wait ends.
        until: Micros,
        /// Failure of the last try.
        error: TaskError,
    },
    /// Decisions about steps whose outcome is unknown.
    InDoubt {
        /// The steps, ascending.
        steps: Vec<u32>,
    },
    /// Approval of steps.
    Approval {
        /// The steps, ascending.
        steps: Vec<u32>,
        /// Timeout of the wait.
        until: Option<Micros>,
    },
    /// A signal with a name of this list.
    Signal {
        /// The names.
        names: Vec<String>,
        /// Timeout of the wait.
        until: Option<Micros>,
    },
    /// The end of all these children.
    Child {
        /// The children that have not ended.
        tasks: Vec<TaskId>,
        /// When the wait ends without it.
        until: Option<Micros>,
    },
    /// A raised limit: a limit of the run is used up.
    Budget {
        /// The limit, as it is set: for instance `max_tokens`.
        limit: String,
        /// How far the limit is used up, and how to go on.
        message: String,
        /// Timeout of the wait.
        until: Option<Micros>,
    },
}

impl Wait {
    /// The wait that a run asks for.
    pub(crate) fn from_request(request: WaitRequest) -> Self {
        match request {
            WaitRequest::Timer { until } => Self::Timer { until, error: None },
            WaitRequest::Retry { until, error } => Self::Timer {
                until,
                error: Some(error),
            },
            WaitRequest::InDoubt { steps } => Self::InDoubt { steps },
            WaitRequest::Approval { steps, until } => Self::Approval { steps, until },
            WaitRequest::Signal { names, until } => Self::Signal { names, until },
            WaitRequest::Child { tasks, until } => Self::Child { tasks, until },
            WaitRequest::Budget {
                limit,
                message,
                until,
            } => Self::Budget {
                limit,
                message,
                until,
            },
        }
    }
}
