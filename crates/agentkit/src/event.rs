//! What happened in a run: the versioned, append-only bodies of its log.
//!
//! Every body is a JSON object with `type` and `v`. Readers ignore fields that they do not know and
//! refuse a type or version that they do not know by its name. The keys `name`, `input`, `output`,
//! `parts`, `error` and `initiator` are the presentation keys: a surface that cannot read bodies may
//! show them verbatim. The stored bytes of each version are fixtures under `tests/fixtures`.
//!
//! Some events never come from the driver: what a person decides, what a signal carries and how a
//! child task ended comes to a run from outside. Whoever keeps the log puts them into it whenever
//! they come, also while a driver that does not see them yet writes on; the fold allows for that.

mod content;
mod key;
mod machine;
mod model;
mod plan;
mod segment;
mod tool;
mod wait;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::{
    content::{ContentPart, Media},
    key::CallKey,
    machine::{CallPurpose, Initiator, Seen, ToolProbed},
    model::{FinishReason, ModelCompleted, ModelFailed, ModelStarted},
    plan::{Plan, PlanItem, PlanItemStatus, PlanUpdated},
    segment::{Purpose, SegmentChange, SegmentOpened},
    tool::{
        ChildStarted, Escalation, FileDelta, GateDecision, Handle, PreviewCall, Resolution,
        ToolApproved, ToolCalled, ToolCompleted, ToolDenied, ToolEscalated, ToolFailed, ToolReset,
        ToolResolved, ToolStarted, ToolWaiting,
    },
    wait::{CallWait, ChildEnded, ChildResult, SignalReceived, Wait, WaitStarted},
};
use crate::{
    config::{Limits, RunConfig},
    model::Image,
};

/// The version of most bodies; a body whose meaning a reader of this version would miss has a higher
/// version.
pub const VERSION: u16 = 1;
/// The version of a `tool.completed` whose result has parts: a reader of version 1 would go on
/// without them.
pub const VERSION_WITH_PARTS: u16 = 2;

/// The number of a step within its run: one model call or one tool call. Gapless from 1.
///
/// The number is also the call id that this crate gives a tool call; the provider's own id is data.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct StepId(pub u32);

impl std::fmt::Display for StepId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "call_{}", self.0)
    }
}

/// Tokens and money that a model call used. Money is integer micro-USD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Tokens in the prompt, cached ones included.
    pub input_tokens: u64,
    /// Tokens in the answer, reasoning included.
    pub output_tokens: u64,
    /// Input tokens that the provider served from its cache.
    pub cached_tokens: u64,
    /// Of the output tokens, those spent on reasoning.
    pub reasoning_tokens: u64,
    /// Price in micro-USD, where known.
    pub cost_micros: u64,
}

impl Usage {
    /// Input and output tokens together.
    #[must_use]
    pub fn total_tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(other.cached_tokens);
        self.reasoning_tokens = self.reasoning_tokens.saturating_add(other.reasoning_tokens);
        self.cost_micros = self.cost_micros.saturating_add(other.cost_micros);
    }
}

/// One entry of a run's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
    /// The run began with this definition, which stays as it is until the end. After an end, it begins the next
    /// question of a conversation.
    #[serde(rename = "run.started")]
    RunStarted(RunStarted),
    /// A model call is about to be made.
    #[serde(rename = "model.started")]
    ModelStarted(ModelStarted),
    /// A model call answered.
    #[serde(rename = "model.completed")]
    ModelCompleted(ModelCompleted),
    /// A model call failed; the driver may repeat the call.
    #[serde(rename = "model.failed")]
    ModelFailed(ModelFailed),
    /// The plan was made, or an item of the plan was completed.
    #[serde(rename = "plan.updated")]
    PlanUpdated(PlanUpdated),
    /// The model asked for a tool call, and the gate gave its verdict.
    #[serde(rename = "tool.called")]
    ToolCalled(ToolCalled),
    /// A tool call is about to run: later than its `tool.called`, or once more after a crash.
    #[serde(rename = "tool.started")]
    ToolStarted(ToolStarted),
    /// A tool call returned.
    #[serde(rename = "tool.completed")]
    ToolCompleted(ToolCompleted),
    /// A tool call failed; the model is told.
    #[serde(rename = "tool.failed")]
    ToolFailed(ToolFailed),
    /// A tool call began an operation whose result is an external event.
    #[serde(rename = "tool.waiting")]
    ToolWaiting(ToolWaiting),
    /// A probe looked whether a tool call whose outcome was lost took effect.
    #[serde(rename = "tool.probed")]
    ToolProbed(ToolProbed),
    /// Nobody approved a tool call in time, and another group is asked.
    #[serde(rename = "tool.escalated")]
    ToolEscalated(ToolEscalated),
    /// External: a person settled a tool call that was in doubt. Or the driver takes an intent back whose
    /// call has not begun.
    #[serde(rename = "tool.resolved")]
    ToolResolved(ToolResolved),
    /// External: a person approved a tool call.
    #[serde(rename = "tool.approved")]
    ToolApproved(ToolApproved),
    /// External: a person denied a tool call.
    #[serde(rename = "tool.denied")]
    ToolDenied(ToolDenied),
    /// From outside, in a fork of another run's log: a tool call has not happened in this run.
    #[serde(rename = "tool.reset")]
    ToolReset(ToolReset),
    /// External: the run got a signal.
    #[serde(rename = "signal.received")]
    SignalReceived(SignalReceived),
    /// From outside: a child task ended.
    #[serde(rename = "child.ended")]
    ChildEnded(ChildEnded),
    /// External, in a fork of another run's log: another message of the person.
    #[serde(rename = "message.added")]
    MessageAdded(MessageAdded),
    /// From outside: the run has other limits from here on.
    #[serde(rename = "limits.changed")]
    LimitsChanged(LimitsChanged),
    /// The conversation was made smaller.
    #[serde(rename = "segment.opened")]
    SegmentOpened(SegmentOpened),
    /// The run stands still until its wait is over.
    #[serde(rename = "wait.started")]
    WaitStarted(WaitStarted),
    /// The run ended with an answer.
    #[serde(rename = "run.completed")]
    RunCompleted(RunCompleted),
    /// The run ended without an answer.
    #[serde(rename = "run.failed")]
    RunFailed(RunFailed),
}

/// Body of `run.started`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunStarted {
    /// The agent's goal.
    pub goal: String,
    /// Images that belong to the goal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Image>,
    /// The definition that the run is pinned to.
    pub config: RunConfig,
}

/// Body of `message.added`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageAdded {
    /// The person's message. The model reads the message once the calls of its last answer are settled.
    pub content: String,
}

/// Body of `limits.changed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsChanged {
    /// All limits of the run. Earlier usage counts against them.
    pub limits: Limits,
}

/// Body of `run.completed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunCompleted {
    /// The answer.
    pub output: Value,
}

/// Body of `run.failed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunFailed {
    /// The failure.
    pub error: Failure,
}

/// An error as data: a stable code, a sentence, and whether another try may help.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Stable, in `snake_case`, for instance `rate_limited` or `invalid_arguments`.
    pub code: String,
    /// The problem, its cause and its remedy. Never a prompt, never a key.
    pub message: String,
    /// Whether another try may help. Of a model call or a run, the driver tries again; of a tool call it is
    /// recorded for readers, and the model, which sees the message, decides whether to call again.
    #[serde(default)]
    pub retryable: bool,
}

impl Failure {
    /// An error that no further try mends.
    pub fn last(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            retryable: false,
        }
    }
    /// An error that may go away. A failed run may then be driven again. From a tool, the log says so
    /// (`retryable`) and the model reads the message: the machine repeats no call that failed, the model may.
    pub fn passing(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            retryable: true,
        }
    }
}

/// A body that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not an event body.
    #[error("event body is not valid")]
    Malformed(#[source] serde_json::Error),
    /// A newer release wrote it.
    #[error("event `{kind}` version {version} is not known to this release; use a newer one")]
    Unknown {
        /// The type.
        kind: String,
        /// The version.
        version: u16,
    },
}

impl Event {
    /// Every type that this release knows.
    pub const TYPES: [&str; 24] = [
        "run.started",
        "model.started",
        "model.completed",
        "model.failed",
        "plan.updated",
        "tool.called",
        "tool.started",
        "tool.completed",
        "tool.failed",
        "tool.waiting",
        "tool.probed",
        "tool.escalated",
        "tool.resolved",
        "tool.approved",
        "tool.denied",
        "tool.reset",
        "signal.received",
        "child.ended",
        "message.added",
        "limits.changed",
        "segment.opened",
        "wait.started",
        "run.completed",
        "run.failed",
    ];

    /// The body's `type`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::RunStarted(_) => "run.started",
            Self::ModelStarted(_) => "model.started",
            Self::ModelCompleted(_) => "model.completed",
            Self::ModelFailed(_) => "model.failed",
            Self::PlanUpdated(_) => "plan.updated",
            Self::ToolCalled(_) => "tool.called",
            Self::ToolStarted(_) => "tool.started",
            Self::ToolCompleted(_) => "tool.completed",
            Self::ToolFailed(_) => "tool.failed",
            Self::ToolWaiting(_) => "tool.waiting",
            Self::ToolProbed(_) => "tool.probed",
            Self::ToolEscalated(_) => "tool.escalated",
            Self::ToolResolved(_) => "tool.resolved",
            Self::ToolApproved(_) => "tool.approved",
            Self::ToolDenied(_) => "tool.denied",
            Self::ToolReset(_) => "tool.reset",
            Self::SignalReceived(_) => "signal.received",
            Self::ChildEnded(_) => "child.ended",
            Self::MessageAdded(_) => "message.added",
            Self::LimitsChanged(_) => "limits.changed",
            Self::SegmentOpened(_) => "segment.opened",
            Self::WaitStarted(_) => "wait.started",
            Self::RunCompleted(_) => "run.completed",
            Self::RunFailed(_) => "run.failed",
        }
    }

    /// The version of the body.
    #[must_use]
    pub fn version(&self) -> u16 {
        match self {
            Self::ToolCompleted(completed) if !completed.parts.is_empty() => VERSION_WITH_PARTS,
            _ => VERSION,
        }
    }

    /// The stored bytes: a JSON object with `v`, `type` and the body's own keys.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Versioned<'a> {
            v: u16,
            #[serde(flatten)]
            event: &'a Event,
        }
        serde_json::to_vec(&Versioned {
            v: self.version(),
            event: self,
        })
        .expect("an event has string keys only, so it always serialises")
    }

    /// Reads stored bytes.
    ///
    /// # Errors
    /// [`DecodeError::Unknown`] names a type or version of a newer release.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        #[derive(Deserialize)]
        struct Head {
            v: u16,
            r#type: String,
        }
        let head: Head = serde_json::from_slice(bytes).map_err(DecodeError::Malformed)?;
        let is_known = match head.v {
            VERSION => Self::TYPES.contains(&head.r#type.as_str()),
            VERSION_WITH_PARTS => head.r#type == "tool.completed",
            _ => false,
        };
        if !is_known {
            return Err(DecodeError::Unknown {
                kind: head.r#type,
                version: head.v,
            });
        }
        serde_json::from_slice(bytes).map_err(DecodeError::Malformed)
    }
}
