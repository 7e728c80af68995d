//! What a waiting task waits for.

use serde::{Deserialize, Serialize};

use crate::{id::TaskId, time::Micros};

/// What a waiting task waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "on", rename_all = "snake_case")]
pub enum Wait {
    /// A point in time.
    #[non_exhaustive]
    Timer {
        /// When it ends.
        until: Micros,
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
        /// When it waits no longer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Micros>,
    },
    /// A signal of one of these names.
    #[non_exhaustive]
    Signal {
        /// The names.
        names: Vec<String>,
        /// When it waits no longer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Micros>,
    },
    /// The end of all these children.
    #[non_exhaustive]
    Child {
        /// Those that have not ended.
        tasks: Vec<TaskId>,
        /// When it waits no longer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Micros>,
    },
    /// Another limit: one of its run is used up.
    #[non_exhaustive]
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
    #[non_exhaustive]
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

/// What a run asks to wait for. The engine alone has a task wait for a concurrency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitRequest {
    /// A point in time.
    Timer {
        /// When the wait ends.
        until: Micros,
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
        /// When the wait ends without one.
        until: Option<Micros>,
    },
    /// A signal of one of these names.
    Signal {
        /// The names.
        names: Vec<String>,
        /// When the wait ends without one.
        until: Option<Micros>,
    },
    /// The end of all these children.
    Child {
        /// The children that have not ended.
        tasks: Vec<TaskId>,
        /// When the wait ends without it.
        until: Option<Micros>,
    },
    /// Another limit: one of the run is used up.
    Budget {
        /// The limit, as it is set: for instance `max_tokens`.
        limit: String,
        /// How far the limit is used up, and how to go on.
        message: String,
        /// When the wait ends without one.
        until: Option<Micros>,
    },
}

impl Wait {
    /// The wait that a run asks for.
    pub(crate) fn asked(request: WaitRequest) -> Self {
        match request {
            WaitRequest::Timer { until } => Self::Timer { until },
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
