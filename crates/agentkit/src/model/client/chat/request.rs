//! The shape of a request on the wire.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Value, value::RawValue};

use crate::model::{
    Image,
    catalog::OutputLimit,
    client::{
        fields::Fields,
        learnt::Thoughts,
        request::{ImageUrl, List, Outgoing, bytes},
        schema::is_strict,
        text::Text,
        turns::{ArgumentsText, Call, CallId, Ids, ResultImages, Rules, Turn},
    },
};

/// The JSON body of a request.
pub(in crate::model::client) fn body(outgoing: &Outgoing<'_>) -> Vec<u8> {
    let request = outgoing.request;
    let turns = outgoing.turns(&Rules {
        ids: Ids::Short,
        name_marks: "",
        result_images: ResultImages::Refused,
        own: Own::read,
    });
    let thoughts = outgoing.learnt.thoughts();
    let has_thoughts = |turn: &Turn<'_, Own<'_>>| match turn {
        Turn::Model { own: Some(own), .. } => own.thoughts.is_some(),
        Turn::System(_) | Turn::User { .. } | Turn::Model { .. } | Turn::Result { .. } => false,
    };
    let thoughts = match thoughts {
        // A server that has sent them misses them wherever there are none.
        Thoughts::Own if turns.iter().any(has_thoughts) => Thoughts::Required,
        Thoughts::Own | Thoughts::Required | Thoughts::Refused => thoughts,
    };
    let limit = |name| match outgoing.learnt.limit(outgoing.config.info.output_limit) == name {
        true => request.max_output_tokens,
        false => None,
    };
    let tools = outgoing.tools();
    bytes(&Body {
        model: &outgoing.config.model,
        messages: turns
            .iter()
            .map(|turn| WireMessage::of(turn, thoughts))
            .collect(),
        tools: tools.as_deref().map(|tools| {
            List(move || {
                tools.iter().map(|tool| Tool {
                    r#type: "function",
                    function: Definition {
                        name: tool.name,
                        description: tool.description,
                        parameters: &tool.schema,
                    },
                })
            })
        }),
        stream: outgoing.stream(),
        stream_options: outgoing
            .stream()
            .map(|include_usage| StreamOptions { include_usage }),
        max_completion_tokens: limit(OutputLimit::MaxCompletionTokens),
        max_tokens: limit(OutputLimit::MaxTokens),
        temperature: outgoing.temperature(),
        response_format: outgoing.schema().map(|schema| ResponseFormat {
            r#type: "json_schema",
            json_schema: JsonSchema {
                name: &schema.name,
                schema: &schema.schema,
                strict: is_strict(&schema.schema),
            },
        }),
    })
}

#[derive(Serialize)]
struct Body<'a, T> {
    model: &'a str,
    messages: Vec<WireMessage<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
struct ResponseFormat<'a> {
    r#type: &'static str,
    json_schema: JsonSchema<'a>,
}

#[derive(Serialize)]
struct JsonSchema<'a> {
    name: &'a str,
    schema: &'a Value,
    strict: bool,
}

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

#[derive(Serialize)]
#[serde(tag = "role", rename_all = "lowercase")]
enum WireMessage<'a> {
    System {
        content: &'a str,
    },
    User {
        content: Content<'a>,
    },
    Assistant {
        /// Null where there are only calls: some servers refuse an empty text there.
        content: Option<&'a str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<WireCall<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reasoning_details: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reasoning_content: Option<&'a str>,
    },
    Tool {
        tool_call_id: &'a CallId<'a>,
        content: &'a str,
    },
}

impl<'a> WireMessage<'a> {
    fn of(turn: &'a Turn<'_, Own<'a>>, thoughts: Thoughts) -> Self {
        match turn {
            Turn::System(content) => Self::System { content },
            Turn::User { content, images } => Self::User {
                content: Content::of(content, images),
            },
            Turn::Model {
                content,
                calls,
                own,
            } => {
                let extra = |index: usize| own.as_ref()?.extras.get(index).copied();
                let calls_of_it = calls.iter().enumerate();
                let own_thoughts = own.as_ref().and_then(|own| own.thoughts.as_deref());
                let own_thoughts = own_thoughts.filter(|thoughts| !thoughts.is_empty());
                Self::Assistant {
                    content: (!content.is_empty() || calls.is_empty()).then_some(content),
                    tool_calls: calls_of_it
                        .map(|(index, call)| WireCall::of(call, extra(index)))
                        .collect(),
                    reasoning_details: own.as_ref().and_then(|own| own.details),
                    reasoning_content: match thoughts {
                        Thoughts::Own => own_thoughts,
                        // An empty text counts as none.
                        Thoughts::Required => Some(own_thoughts.unwrap_or(" ")),
                        Thoughts::Refused => None,
                    },
                }
            }
            // Content of this role is text alone.
            Turn::Result { id, content, .. } => Self::Tool {
                tool_call_id: id,
                content,
            },
        }
    }
}

/// What the model sent beside words and calls.
struct Own<'a> {
    details: Option<&'a RawValue>,
    thoughts: Option<Cow<'a, str>>,
    /// An opaque part of each call, or null.
    extras: Vec<&'a RawValue>,
}

impl<'a> Own<'a> {
    /// Reads what a turn with so many calls has: an object, or details alone.
    fn read(parts: &'a RawValue, calls: usize) -> Option<Self> {
        let Some(fields) = Fields::of(parts) else {
            return Some(Self {
                details: Some(parts),
                thoughts: None,
                extras: Vec::new(),
            });
        };
        let extras = fields.list("extra_content");
        Some(Self {
            details: fields.raw("reasoning_details"),
            thoughts: fields.text("reasoning_content").map(Text::whole),
            extras: if extras.len() == calls {
                extras
            } else {
                Vec::new()
            },
        })
    }
}

/// Text alone as a string, which every server understands.
#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(&'a str),
    Parts(Vec<Part<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: ImageReference<'a> },
}

#[derive(Serialize)]
struct ImageReference<'a> {
    url: ImageUrl<'a>,
}

impl<'a> Content<'a> {
    fn of(text: &'a str, images: &'a [Image]) -> Self {
        if images.is_empty() {
            return Self::Text(text);
        }
        let images = images.iter().map(|image| Part::ImageUrl {
            image_url: ImageReference {
                url: ImageUrl(image),
            },
        });
        Self::Parts(std::iter::once(Part::Text { text }).chain(images).collect())
    }
}

#[derive(Serialize)]
struct WireCall<'a> {
    id: &'a CallId<'a>,
    r#type: &'static str,
    function: Function<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    arguments: ArgumentsText<'a>,
}

impl<'a> WireCall<'a> {
    fn of(call: &'a Call<'_>, extra: Option<&'a RawValue>) -> Self {
        Self {
            id: &call.id,
            r#type: "function",
            function: Function {
                name: &call.name,
                arguments: ArgumentsText(call.arguments),
            },
            extra_content: extra.filter(|extra| extra.get() != "null"),
        }
    }
}
