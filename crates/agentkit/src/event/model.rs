//! Bodies of a model call's events.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Failure, Purpose, StepId, Usage};

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
    /// Micro-USD charged if the outcome stays unknown; 0 where no price is known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reserved_cost_micros: u64,
    /// Purpose of the call.
    #[serde(default, skip_serializing_if = "Purpose::is_turn")]
    pub purpose: Purpose,
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
    /// Usage of the call.
    pub usage: Usage,
    /// Why the model stopped.
    pub finish: FinishReason,
    /// Opaque provider parts of the message, replayed unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<Value>,
    /// The provider's id of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Purpose of the call.
    #[serde(default, skip_serializing_if = "Purpose::is_turn")]
    pub purpose: Purpose,
    /// The run's answer as it was read, where it is not the text itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Value>,
    /// Why the answer cannot be used, if it cannot: the model is told, and asked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Failure>,
    /// Tools that the request was sent without, because the provider refuses their definitions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools_left_out: Vec<String>,
    /// The usage as the provider counts it, where the call cannot have used so much: `usage` has the worst case of
    /// the call in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_usage: Option<Usage>,
}

/// Why a model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model completed its answer.
    Stop,
    /// The model requests tool calls.
    ToolCalls,
    /// The answer reached the output limit.
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
    /// The failure.
    pub error: Failure,
    /// Tokens charged for the failed try (the reservation where the call may have been served).
    pub charged_tokens: u64,
    /// Micro-USD charged for the call, likewise.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub charged_cost_micros: u64,
    /// The model of the chain that goes on from here, if the model changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
    /// The index of that model in the run's chain, from 0. Logs of earlier releases hold the name
    /// alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback_index: Option<u32>,
    /// Before this time, in UTC microseconds, the provider wants no other try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at_micros: Option<i64>,
}

impl ModelFailed {
    /// The code of a try that was never made, though its intent was recorded. The model has not failed
    /// then.
    pub const NOT_CALLED: &str = "not_called";
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature is serde's"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
