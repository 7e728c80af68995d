//! The shape of the prompt of a model step.
#![expect(dead_code, reason = "they are described, never made")]

use serde_json::Value;
use utoipa::ToSchema;

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
