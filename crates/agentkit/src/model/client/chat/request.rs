//! The shape of a request on the wire.

use serde::Serialize;
use serde_json::{Value, value::RawValue};

use crate::model::{
    Image,
    client::{
        request::{ImageUrl, List, Outgoing, bytes},
        schema::is_strict,
        turns::{ArgumentsText, Call, CallId, Ids, Rules, Turn},
    },
};

/// The JSON body of a request.
pub(in crate::model::client) fn body(outgoing: &Outgoing<'_>) -> Vec<u8> {
    let request = outgoing.request;
    let turns = outgoing.turns(&Rules {
        ids: Ids::Short,
        name_marks: "",
        own: |details, _| Some(details),
    });
    bytes(&Body {
        model: &outgoing.config.model,
        messages: turns.iter().map(WireMessage::of).collect(),
        tools: outgoing.tools().map(|tools| {
            List(move || {
                tools.iter().map(|tool| Tool {
                    r#type: "function",
                    function: Definition {
                        name: &tool.name,
                        description: &tool.description,
                        parameters: &tool.input_schema,
                    },
                })
            })
        }),
        stream: outgoing.stream(),
        stream_options: outgoing
            .stream()
            .map(|include_usage| StreamOptions { include_usage }),
        max_completion_tokens: request.max_output_tokens,
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
    },
    Tool {
        tool_call_id: &'a CallId<'a>,
        content: &'a str,
    },
}

impl<'a> WireMessage<'a> {
    fn of(turn: &'a Turn<'_, &'a RawValue>) -> Self {
        match turn {
            Turn::System(content) => Self::System { content },
            Turn::User { content, images } => Self::User {
                content: Content::of(content, images),
            },
            Turn::Model {
                content,
                calls,
                own,
            } => Self::Assistant {
                content: (!content.is_empty() || calls.is_empty()).then_some(content),
                tool_calls: calls.iter().map(WireCall::of).collect(),
                reasoning_details: *own,
            },
            Turn::Result { id, content, .. } => Self::Tool {
                tool_call_id: id,
                content,
            },
        }
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
    ImageUrl { image_url: Place<'a> },
}

#[derive(Serialize)]
struct Place<'a> {
    url: ImageUrl<'a>,
}

impl<'a> Content<'a> {
    fn of(text: &'a str, images: &'a [Image]) -> Self {
        if images.is_empty() {
            return Self::Text(text);
        }
        let images = images.iter().map(|image| Part::ImageUrl {
            image_url: Place {
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
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    arguments: ArgumentsText<'a>,
}

impl<'a> WireCall<'a> {
    fn of(call: &'a Call<'_>) -> Self {
        Self {
            id: &call.id,
            r#type: "function",
            function: Function {
                name: &call.name,
                arguments: ArgumentsText(call.arguments),
            },
        }
    }
}
