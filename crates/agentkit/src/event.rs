//! What happened in a run: the versioned, append-only bodies of its log.
//!
//! Every body is a JSON object with `type` and `v`. Readers ignore fields that they do not know and
//! refuse a type or version that they do not know by its name. The keys `name`, `input`, `output`
//! and `error` are the presentation keys: a surface that cannot read bodies may show them verbatim.
//! The bytes of version 1 are fixtures under `tests/fixtures/events/v1`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{config::RunConfig, effect::Effect};

/// The version that this crate writes in every body.
pub const VERSION: u16 = 1;

/// The number of a step within its run: one model call or one tool call. Gapless from 1.
///
/// It is also the call id that this crate gives a tool call; the provider's own id is data.
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
    /// Of the input tokens, those that the provider served from its cache.
    pub cached_tokens: u64,
    /// Of the output tokens, those spent on reasoning.
    pub reasoning_tokens: u64,
    /// Price in micro-USD, where it is known.
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
    /// The run began with this definition, which stays as it is until the end.
    #[serde(rename = "run.started")]
    RunStarted(RunStarted),
    /// A model call is about to be made.
    #[serde(rename = "model.started")]
    ModelStarted(ModelStarted),
    /// A model call answered.
    #[serde(rename = "model.completed")]
    ModelCompleted(ModelCompleted),
    /// A model call failed; it may be made again.
    #[serde(rename = "model.failed")]
    ModelFailed(ModelFailed),
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
    /// Somebody decided what became of a tool call that was in doubt.
    #[serde(rename = "tool.resolved")]
    ToolResolved(ToolResolved),
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
    /// What the agent is to do.
    pub goal: String,
    /// The definition that the run is pinned to.
    pub config: RunConfig,
}

/// Body of `model.started`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelStarted {
    /// The step.
    pub step: StepId,
    /// 1 for the first try of this step.
    pub attempt: u32,
    /// The model, for instance `openai/gpt-5`.
    pub name: String,
    /// Tokens charged if the outcome stays unknown.
    pub reserved_tokens: u64,
}

/// Body of `model.completed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelCompleted {
    /// The step.
    pub step: StepId,
    /// The model that answered, as the provider names it.
    pub name: String,
    /// The text of the answer.
    pub output: String,
    /// How many `tool.called` events follow in the same append.
    pub calls: u32,
    /// What it used.
    pub usage: Usage,
    /// Why the model stopped.
    pub finish: FinishReason,
    /// Opaque provider parts of the message, replayed unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<Value>,
    /// The provider's id of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Why a model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// It was done.
    Stop,
    /// It wants tools called.
    ToolCalls,
    /// It ran into the output limit.
    Length,
    /// The provider withheld the answer.
    ContentFilter,
}

/// Body of `model.failed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelFailed {
    /// The step.
    pub step: StepId,
    /// The try that failed.
    pub attempt: u32,
    /// What went wrong.
    pub error: Failure,
    /// Tokens charged for the failed try (the reservation where the call may have been served).
    pub charged_tokens: u64,
}

/// Body of `tool.called`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCalled {
    /// The step, which is the call id.
    pub step: StepId,
    /// The id that the provider gave the call.
    pub provider_id: String,
    /// The tool.
    pub name: String,
    /// The exact arguments that run; a string holding the raw text if they were not JSON.
    pub input: Value,
    /// The effect class at the time of the call.
    pub effect: Effect,
    /// What the gate said.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// What the gate said of a tool call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// It runs with the first batch: this event is its intent.
    Start,
    /// It runs once the calls before it are settled; a `tool.started` will be its intent.
    Queue,
    /// It never runs; the model is told why.
    Refuse {
        /// The reason.
        error: Failure,
    },
}

/// Body of `tool.started`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolStarted {
    /// The step.
    pub step: StepId,
    /// 1 for the first try of this step.
    pub attempt: u32,
}

/// Body of `tool.completed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCompleted {
    /// The step.
    pub step: StepId,
    /// What the model is shown: the result, or its beginning if `handle` is there.
    pub output: Value,
    /// Where the whole result is, if it was too large to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<Handle>,
    /// Files of the workspace that the call wrote: their content is in the blob store.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileDelta>,
}

/// A large result, kept whole in the blob store and read in pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handle {
    /// SHA-256 of the content, in hex.
    pub digest: String,
    /// Size in bytes.
    pub bytes: u64,
}

/// A file that a tool call wrote in the task's workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDelta {
    /// Path relative to the workspace, with `/` between its parts.
    pub path: String,
    /// SHA-256 of the content, in hex; none if the file was removed.
    pub digest: Option<String>,
    /// Size in bytes.
    pub bytes: u64,
}

/// Body of `tool.failed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolFailed {
    /// The step.
    pub step: StepId,
    /// What went wrong.
    pub error: Failure,
}

/// Body of `tool.resolved`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolResolved {
    /// The step.
    pub step: StepId,
    /// What was decided.
    #[serde(flatten)]
    pub resolution: Resolution,
}

/// What became of a call that was in doubt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "resolution", rename_all = "snake_case")]
pub enum Resolution {
    /// It took effect and returned this.
    Done {
        /// What the model is told it returned.
        output: Value,
    },
    /// It did not take effect, and is not to be tried again.
    Failed {
        /// What the model is told.
        message: String,
    },
    /// It did not take effect; run it again.
    Retry,
}

/// Body of `wait.started`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WaitStarted {
    /// What the run waits for.
    #[serde(flatten)]
    pub wait: Wait,
}

/// What a run waits for; it holds no worker meanwhile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "wait", rename_all = "snake_case")]
pub enum Wait {
    /// A point in time, in UTC microseconds.
    Timer {
        /// When it ends.
        until_micros: i64,
    },
    /// Somebody's word on calls whose outcome is unknown.
    InDoubt {
        /// The calls.
        steps: Vec<StepId>,
    },
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
    /// What went wrong.
    pub error: Failure,
}

/// An error as data: a stable code, a sentence, and whether another try may help.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Stable, in `snake_case`, for instance `rate_limited` or `invalid_arguments`.
    pub code: String,
    /// What happened, why, and how to mend it. Never a prompt, never a key.
    pub message: String,
    /// Whether another try may help.
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
    /// An error that may go away.
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
    pub const TYPES: [&str; 12] = [
        "run.started",
        "model.started",
        "model.completed",
        "model.failed",
        "tool.called",
        "tool.started",
        "tool.completed",
        "tool.failed",
        "tool.resolved",
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
            Self::ToolCalled(_) => "tool.called",
            Self::ToolStarted(_) => "tool.started",
            Self::ToolCompleted(_) => "tool.completed",
            Self::ToolFailed(_) => "tool.failed",
            Self::ToolResolved(_) => "tool.resolved",
            Self::WaitStarted(_) => "wait.started",
            Self::RunCompleted(_) => "run.completed",
            Self::RunFailed(_) => "run.failed",
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
            v: VERSION,
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
        if head.v != VERSION || !Self::TYPES.contains(&head.r#type.as_str()) {
            return Err(DecodeError::Unknown {
                kind: head.r#type,
                version: head.v,
            });
        }
        serde_json::from_slice(bytes).map_err(DecodeError::Malformed)
    }
}
