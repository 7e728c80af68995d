//! Waits of runs and calls, and the external events that end them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Failure, Handle, StepId};

/// Body of `wait.started`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WaitStarted {
    /// The condition that the run waits for.
    #[serde(flatten)]
    pub wait: Wait,
}

/// The condition of a waiting run; the run holds no worker meanwhile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "wait", rename_all = "snake_case")]
pub enum Wait {
    /// A point in time, in UTC microseconds.
    Timer {
        /// End of the wait.
        until_micros: i64,
    },
    /// Somebody's word on calls whose outcome is unknown.
    InDoubt {
        /// The calls.
        steps: Vec<StepId>,
    },
    /// Somebody's approval.
    Approval {
        /// The calls that were asked about and not yet answered for.
        steps: Vec<StepId>,
        /// When the run goes on without the event, if ever.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until_micros: Option<i64>,
    },
    /// A signal.
    Signal {
        /// Any of these.
        names: Vec<String>,
        /// When the run goes on without the event, if ever.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until_micros: Option<i64>,
    },
    /// Child tasks.
    Children {
        /// The child tasks that have not ended.
        tasks: Vec<String>,
        /// When the run goes on without the event, if ever.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until_micros: Option<i64>,
    },
    /// A raised limit: a limit is used up.
    Budget {
        /// Name of the limit's setting.
        limit: String,
        /// How far the limit is used up, and how to go on.
        message: String,
        /// The run's deadline, if that is still to come.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until_micros: Option<i64>,
    },
}

impl Wait {
    /// The awaited event, in the words of its user.
    pub(crate) fn awaited(&self) -> &'static str {
        match self {
            Self::Timer { .. } => "a point in time",
            Self::InDoubt { .. } => "a decision on a call whose outcome is unknown",
            Self::Approval { .. } => "a person's approval",
            Self::Signal { .. } => "a signal or an answer",
            Self::Children { .. } => "the agents that it started",
            Self::Budget { .. } => "a higher limit",
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature is serde's"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The condition of a waiting tool call. Times are UTC microseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "for", rename_all = "snake_case")]
pub enum CallWait {
    /// A point in time.
    Time {
        /// End of the wait.
        until_micros: i64,
        /// How long the wait was to last; `None` where a date was requested.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        length_micros: Option<i64>,
    },
    /// A signal of a name. Signals of one name are taken in the order in which they came, by the
    /// calls in their order, one each.
    Signal {
        /// The name.
        name: String,
        /// Text to show to the sender of the signal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prompt: Option<Value>,
        /// When the call fails; `None` for the run's deadline.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until_micros: Option<i64>,
        /// What the tool wants to know again when the signal has come: then it is called once more, under the same
        /// step and key. Without it, what the signal carries is the call's result.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resume: Option<Value>,
    },
    /// The end of child tasks of this run, all of them.
    Children {
        /// The tasks.
        tasks: Vec<String>,
        /// When the call fails; `None` for the run's deadline.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until_micros: Option<i64>,
    },
}

impl CallWait {
    /// When the wait ends without the event, if ever.
    #[must_use]
    pub fn until_micros(&self) -> Option<i64> {
        match self {
            Self::Time { until_micros, .. } => Some(*until_micros),
            Self::Signal { until_micros, .. } | Self::Children { until_micros, .. } => {
                *until_micros
            }
        }
    }
}

/// Body of `signal.received`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalReceived {
    /// Its name.
    pub name: String,
    /// The signal's payload; the result of the call that waits for the signal.
    pub payload: Value,
}

/// Body of `child.ended`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildEnded {
    /// The child task.
    pub task: String,
    /// Result of the child.
    pub result: ChildResult,
    /// Tokens that the child and its own children used.
    pub used_tokens: u64,
    /// Micro-USD, likewise.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub used_cost_micros: u64,
}

/// How a child task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum ChildResult {
    /// With a result.
    Completed {
        /// The result, or its beginning if `handle` is there.
        output: Value,
        /// Where the whole result is, if it is too large to show.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        handle: Option<Handle>,
    },
    /// Without a result.
    Failed {
        /// Why.
        error: Failure,
    },
    /// The child was cancelled.
    Cancelled,
}
