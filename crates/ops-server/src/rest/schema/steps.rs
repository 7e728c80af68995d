//! Shapes of a task's steps.
#![expect(dead_code, reason = "they are described, never made")]

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{Effect, Usage};

/// The steps of a task, in the order in which they began.
#[derive(ToSchema)]
pub(crate) struct StepList {
    steps: Vec<Step>,
    /// Null on the last page.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// A model call, a tool call or a wait.
#[derive(ToSchema)]
pub(crate) struct Step {
    /// The number of its first event.
    seq: u64,
    /// Its number in the run; null for a wait.
    #[schema(required)]
    step: Option<u32>,
    /// `model`, `tool` or `wait`.
    kind: String,
    /// The model, the tool, or the awaited event.
    name: String,
    status: StepStatus,
    /// How often it was begun; 0 for a tool call that was refused.
    attempt: u32,
    #[schema(required)]
    effect: Option<Effect>,
    /// Who asked for a tool call: the model, or the machine itself, as for a probe. Null for other
    /// steps.
    #[schema(required)]
    initiator: Option<Initiator>,
    /// What went in: any JSON. Of a wait, what it waits `on`, and `until` when, if the clock ends it.
    input: Value,
    /// What came out: any JSON.
    output: Value,
    /// The parts of a tool's result: text, images, recordings, links and values. Null for other
    /// steps, and for results that are their output alone.
    #[schema(required, value_type = Option<Vec<Object>>)]
    parts: Option<Value>,
    /// `code`, `message` and `retryable`, if it failed.
    #[schema(required, value_type = Option<Object>)]
    error: Option<Value>,
    usage: Usage,
    #[schema(format = DateTime)]
    started_at: String,
    #[schema(required, format = DateTime)]
    ended_at: Option<String>,
}

/// Who asked for a tool call.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Initiator {
    Model,
    Machine,
}

/// How a step stands.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StepStatus {
    Queued,
    Started,
    Waiting,
    Completed,
    Failed,
    InDoubt,
}

/// The prompt of a model call. Of a text that is cut, `content_bytes` or `arguments_bytes` has the whole size.
#[derive(ToSchema)]
pub(crate) struct Prompt {
    step: u32,
    /// The try of the step that is shown: the last one.
    attempt: u32,
    /// The model that was asked.
    model: String,
    /// Oldest first, with the instructions in front.
    messages: Vec<PromptMessage>,
    /// How many later messages are not shown, if the prompt is too long to be shown.
    messages_left_out: Option<u64>,
    /// The tools that the model could call.
    tools: Vec<PromptTool>,
    /// The JSON Schema that the answer is held to, or null.
    response_schema: Value,
}

/// A message of a prompt.
#[derive(ToSchema)]
pub(crate) struct PromptMessage {
    role: PromptRole,
    content: String,
    content_bytes: Option<u64>,
    /// How many images go with it.
    images: Option<u64>,
    /// The calls that the model asked for.
    calls: Option<Vec<PromptCall>>,
    /// The step whose result this is.
    step: Option<u32>,
    /// The tool whose result this is.
    name: Option<String>,
    is_error: Option<bool>,
}

/// Who says a message.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum PromptRole {
    System,
    User,
    Assistant,
    Tool,
}

/// A call in a message of the model.
#[derive(ToSchema)]
pub(crate) struct PromptCall {
    step: u32,
    name: String,
    /// The arguments as JSON text, or what the model wrote in their place.
    arguments: String,
    arguments_bytes: Option<u64>,
}

/// A tool that a model could call.
#[derive(ToSchema)]
pub(crate) struct PromptTool {
    name: String,
    description: String,
}
