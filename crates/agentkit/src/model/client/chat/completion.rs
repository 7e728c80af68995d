//! The shape of an answer on the wire, whole or a chunk of a stream.
//!
//! It is read leniently, because gateways differ: every field may be missing or null.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, value::RawValue};

use crate::{event::Usage, model::client::draft::Counted};

/// A whole answer, or one chunk of a streamed one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Completion {
    pub(super) id: Option<String>,
    pub(super) model: Option<String>,
    pub(super) choices: Option<Vec<Choice>>,
    pub(super) usage: Option<Value>,
    pub(super) error: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Choice {
    pub(super) index: Option<u64>,
    /// In a whole answer.
    pub(super) message: Option<Part>,
    /// In a chunk.
    pub(super) delta: Option<Part>,
    pub(super) finish_reason: Option<String>,
    /// OpenRouter reports a provider's failure here.
    pub(super) error: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Part {
    pub(super) content: Option<Text>,
    pub(super) refusal: Option<String>,
    pub(super) tool_calls: Option<Vec<CallPart>>,
    pub(super) reasoning_details: Option<Vec<Box<RawValue>>>,
}

/// Text, or the list of typed parts that some servers send instead.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Text {
    Plain(String),
    Parts(Vec<TextPart>),
    Other(IgnoredAny),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TextPart {
    pub(super) text: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CallPart {
    pub(super) index: Option<u64>,
    pub(super) id: Option<String>,
    pub(super) function: Option<FunctionPart>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FunctionPart {
    pub(super) name: Option<String>,
    pub(super) arguments: Option<Arguments>,
}

/// JSON text as documented, or the JSON itself.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Arguments {
    Text(String),
    Json(Value),
}

/// Reads a `usage` object; what is missing counts as 0. `cost` (OpenRouter) is in USD.
pub(super) fn counted(value: &Value) -> Option<Counted> {
    let tokens = |pointer: &str| value.pointer(pointer).and_then(Value::as_u64);
    let (input, output) = (tokens("/prompt_tokens"), tokens("/completion_tokens"));
    if input.is_none() && output.is_none() {
        return None;
    }
    let cost = value.get("cost").and_then(Value::as_f64);
    Some(Counted {
        usage: Usage {
            input_tokens: input.unwrap_or(0),
            output_tokens: output.unwrap_or(0),
            cached_tokens: tokens("/prompt_tokens_details/cached_tokens").unwrap_or(0),
            reasoning_tokens: tokens("/completion_tokens_details/reasoning_tokens").unwrap_or(0),
            cost_micros: 0,
        },
        written: tokens("/prompt_tokens_details/cache_write_tokens").unwrap_or(0),
        // A float cast saturates; negative and NaN become 0.
        cost_micros: cost.map(|usd| (usd * 1e6).round() as u64),
    })
}
