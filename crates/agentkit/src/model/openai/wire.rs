//! The shape of a request on the wire. It borrows from [`Request`].
//!
//! Source: <https://platform.openai.com/docs/api-reference/chat>.

use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::{
    event::StepId,
    model::{Message, MessageCall, Request},
    tool::ToolSpec,
};

/// Under this key of [`crate::model::Response::parts`] OpenRouter's opaque reasoning parts travel.
pub(super) const REASONING: &str = "reasoning_details";

/// The JSON body of a request.
pub(super) fn body(model: &str, request: &Request, mode: Mode) -> Vec<u8> {
    let body = Body {
        model,
        messages: Messages(&request.messages),
        tools: Tools(&request.tools),
        stream: match mode {
            Mode::Whole => None,
            Mode::Stream => Some(true),
        },
        stream_options: match mode {
            Mode::Whole => None,
            Mode::Stream => Some(StreamOptions {
                include_usage: true,
            }),
        },
        max_completion_tokens: request.max_output_tokens,
        temperature: request.temperature,
    };
    serde_json::to_vec(&body).expect("a request has string keys only, so it always serialises")
}

/// How the answer is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mode {
    Whole,
    Stream,
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Messages<'a>,
    #[serde(skip_serializing_if = "Tools::is_empty")]
    tools: Tools<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

struct Messages<'a>(&'a [Arc<Message>]);

impl Serialize for Messages<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|message| WireMessage::from(&**message)))
    }
}

#[derive(Serialize)]
#[serde(tag = "role", rename_all = "lowercase")]
enum WireMessage<'a> {
    System {
        content: &'a str,
    },
    User {
        content: &'a str,
    },
    Assistant {
        /// Null where there are only calls: some servers refuse an empty text there.
        content: Option<&'a str>,
        #[serde(skip_serializing_if = "Calls::is_empty")]
        tool_calls: Calls<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reasoning_details: Option<&'a Value>,
    },
    Tool {
        tool_call_id: CallId<'a>,
        content: &'a str,
    },
}

impl<'a> From<&'a Message> for WireMessage<'a> {
    fn from(message: &'a Message) -> Self {
        match message {
            Message::System { content } => Self::System { content },
            Message::User { content } => Self::User { content },
            Message::Assistant {
                content,
                calls,
                parts,
            } => Self::Assistant {
                content: (!content.is_empty() || calls.is_empty()).then_some(content),
                tool_calls: Calls(calls),
                reasoning_details: parts.as_ref().and_then(|parts| parts.get(REASONING)),
            },
            Message::Tool {
                step,
                provider_id,
                content,
                ..
            } => Self::Tool {
                tool_call_id: CallId {
                    provider_id,
                    step: *step,
                },
                content,
            },
        }
    }
}

struct Calls<'a>(&'a [MessageCall]);

impl Calls<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Calls<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|call| WireCall {
            id: CallId {
                provider_id: &call.provider_id,
                step: call.step,
            },
            r#type: "function",
            function: Function {
                name: &call.name,
                arguments: JsonText(&call.arguments),
            },
        }))
    }
}

#[derive(Serialize)]
struct WireCall<'a> {
    id: CallId<'a>,
    r#type: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    arguments: JsonText<'a>,
}

/// The provider's id of a call, or ours where it gave none.
struct CallId<'a> {
    provider_id: &'a str,
    step: StepId,
}

impl Serialize for CallId<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.provider_id.is_empty() {
            serializer.collect_str(&self.step)
        } else {
            serializer.serialize_str(self.provider_id)
        }
    }
}

/// Arguments as a string that holds JSON; a string is the raw text that was no JSON.
struct JsonText<'a>(&'a Value);

impl Serialize for JsonText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::String(raw) => serializer.serialize_str(raw),
            value => serializer.collect_str(value),
        }
    }
}

struct Tools<'a>(&'a [Arc<ToolSpec>]);

impl Tools<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Tools<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Tool<'a> {
            r#type: &'static str,
            function: Definition<'a>,
        }
        #[derive(Serialize)]
        struct Definition<'a> {
            name: &'a str,
            description: &'a str,
            parameters: &'a Value,
        }
        serializer.collect_seq(self.0.iter().map(|tool| Tool {
            r#type: "function",
            function: Definition {
                name: &tool.name,
                description: &tool.description,
                parameters: &tool.input_schema,
            },
        }))
    }
}
