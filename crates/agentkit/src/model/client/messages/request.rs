//! The shape of a request on the wire.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, value::RawValue};

use crate::model::{
    Image, Message,
    client::request::{CallId, JsonObject, List, Outgoing, bytes},
};

/// The limit of an answer where neither the request nor the model table has one: this surface wants
/// one.
const MAX_TOKENS: u64 = 8_192;

/// The JSON body of a request.
pub(in crate::model::client) fn body(outgoing: &Outgoing<'_>) -> Vec<u8> {
    let request = outgoing.request;
    let limit = request
        .max_output_tokens
        .or(outgoing.config.info.max_output_tokens);
    let system: Vec<Block<'_>> = outgoing
        .instructions()
        .map(|text| Block::Text { text })
        .collect();
    bytes(&Body {
        model: &outgoing.config.model,
        max_tokens: limit.unwrap_or(MAX_TOKENS),
        // The provider keeps the prefix up to the last block for the next turn.
        cache_control: CacheControl {
            r#type: "ephemeral",
        },
        system: Some(system).filter(|system| !system.is_empty()),
        messages: turns(outgoing),
        tools: outgoing.tools().map(|tools| {
            List(move || {
                tools.iter().map(|tool| Tool {
                    name: &tool.name,
                    description: &tool.description,
                    input_schema: &tool.input_schema,
                })
            })
        }),
        stream: outgoing.stream(),
        temperature: outgoing.temperature(),
        output_config: outgoing.schema().map(|schema| OutputConfig {
            format: Format {
                r#type: "json_schema",
                schema: &schema.schema,
            },
        }),
    })
}

#[derive(Serialize)]
struct Body<'a, T> {
    model: &'a str,
    max_tokens: u64,
    cache_control: CacheControl,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<Vec<Block<'a>>>,
    messages: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig<'a>>,
}

#[derive(Serialize)]
struct CacheControl {
    r#type: &'static str,
}

#[derive(Serialize)]
struct OutputConfig<'a> {
    format: Format<'a>,
}

#[derive(Serialize)]
struct Format<'a> {
    r#type: &'static str,
    schema: &'a Value,
}

#[derive(Serialize)]
struct Tool<'a> {
    name: &'a str,
    description: &'a str,
    input_schema: &'a Value,
}

/// What one side says before the other one does.
#[derive(Serialize)]
#[serde(tag = "role", content = "content", rename_all = "lowercase")]
enum Turn<'a> {
    User(Vec<Block<'a>>),
    Assistant(Vec<Block<'a>>),
    /// What the model sent, unchanged.
    #[serde(rename = "assistant")]
    Own(&'a RawValue),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Text {
        text: &'a str,
    },
    Image {
        source: Source<'a>,
    },
    ToolUse {
        id: CallId<'a>,
        name: &'a str,
        input: JsonObject<'a>,
    },
    ToolResult {
        tool_use_id: CallId<'a>,
        content: &'a str,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Source<'a> {
    Base64 { media_type: &'a str, data: &'a str },
    Url { url: &'a str },
}

/// The conversation in turns: the sides alternate, and the results of calls come first in theirs.
fn turns<'a>(outgoing: &Outgoing<'a>) -> Vec<Turn<'a>> {
    let mut turns: Vec<Turn<'a>> = Vec::new();
    for message in &outgoing.request.messages {
        match turn(message, outgoing) {
            None => {}
            Some(Turn::User(blocks)) => match turns.last_mut() {
                Some(Turn::User(before)) => before.extend(blocks),
                Some(Turn::Assistant(_) | Turn::Own(_)) | None => turns.push(Turn::User(blocks)),
            },
            Some(other) => turns.push(other),
        }
    }
    turns
}

fn turn<'a>(message: &'a Arc<Message>, outgoing: &Outgoing<'a>) -> Option<Turn<'a>> {
    match &**message {
        Message::System { .. } => None,
        Message::User { content, images } => {
            let blocks: Vec<_> = text(content).chain(images.iter().map(image)).collect();
            Some(Turn::User(blocks)).filter(|_| !content.trim().is_empty() || !images.is_empty())
        }
        Message::Assistant {
            content,
            calls,
            parts,
        } => {
            if let Some(own) = outgoing.own_parts(parts.as_ref()) {
                return Some(Turn::Own(own));
            }
            let calls = calls.iter().map(|call| Block::ToolUse {
                id: CallId::of(call).plain(),
                name: &call.name,
                input: JsonObject(&call.arguments),
            });
            let blocks: Vec<_> = text(content).chain(calls).collect();
            (!blocks.is_empty()).then_some(Turn::Assistant(blocks))
        }
        Message::Tool {
            step,
            provider_id,
            content,
            is_error,
            ..
        } => {
            let id = CallId {
                provider_id,
                step: *step,
            };
            Some(Turn::User(vec![Block::ToolResult {
                tool_use_id: id.plain(),
                content,
                is_error: *is_error,
            }]))
        }
    }
}

/// The text, unless it is empty, which this surface refuses.
fn text(text: &str) -> impl Iterator<Item = Block<'_>> {
    Some(text)
        .filter(|text| !text.trim().is_empty())
        .map(|text| Block::Text { text })
        .into_iter()
}

fn image(image: &Image) -> Block<'_> {
    let source = match image {
        Image::Url { url } => Source::Url { url },
        Image::Inline { media_type, base64 } => Source::Base64 {
            media_type,
            data: base64,
        },
    };
    Block::Image { source }
}
