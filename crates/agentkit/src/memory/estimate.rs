//! Estimates of tokens: four bytes each.
//!
//! The estimate is near enough to know when to look closer. A run corrects the estimate by its provider's
//! counts.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    ToolSpec,
    model::{Message, MessageCall},
};

/// Tokens of an image. The true figure depends on the image's size and on the model; this figure is common.
pub(crate) const IMAGE_TOKENS: u64 = 1_500;
/// The frame of a message, or of a tool's definition.
const FRAME_TOKENS: u64 = 4;

/// A message's tokens.
pub(crate) fn estimate_tokens(message: &Message) -> u64 {
    let bytes = match message {
        Message::System { content } => len(content),
        Message::User { content, images } => len(content) + images.len() as u64 * 4 * IMAGE_TOKENS,
        Message::Tool {
            content,
            name,
            images,
            ..
        } => len(content) + len(name) + images.len() as u64 * 4 * IMAGE_TOKENS,
        Message::Assistant {
            content,
            calls,
            parts,
        } => {
            let calls: u64 = calls.iter().map(call_bytes).sum();
            len(content) + calls + parts.as_ref().map_or(0, json_len)
        }
    };
    bytes / 4 + FRAME_TOKENS
}

/// The tokens of the definitions that a model is sent beside the conversation.
pub(crate) fn specs_tokens(specs: &[Arc<ToolSpec>]) -> u64 {
    let tokens = |spec: &Arc<ToolSpec>| {
        (len(&spec.name) + len(&spec.description) + json_len(&spec.input_schema)) / 4 + FRAME_TOKENS
    };
    specs.iter().map(tokens).sum()
}

/// The tokens of a value as JSON text.
pub(crate) fn json_tokens(value: &Value) -> u64 {
    json_len(value) / 4
}

pub(super) fn call_bytes(call: &MessageCall) -> u64 {
    len(&call.name) + json_len(&call.arguments)
}

fn len(text: &str) -> u64 {
    text.len() as u64
}

/// About how many bytes a value takes as JSON text.
fn json_len(value: &Value) -> u64 {
    match value {
        Value::Null | Value::Bool(_) => 4,
        Value::Number(_) => 8,
        Value::String(text) => len(text) + 2,
        Value::Array(items) => 2 + items.iter().map(|item| json_len(item) + 1).sum::<u64>(),
        Value::Object(map) => {
            2 + map
                .iter()
                .map(|(key, value)| len(key) + 4 + json_len(value))
                .sum::<u64>()
        }
    }
}
