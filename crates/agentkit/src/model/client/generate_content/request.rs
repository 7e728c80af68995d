//! The shape of a request on the wire.

use serde::Serialize;
use serde_json::{Value, value::RawValue};

use crate::model::{
    Image, Message, MessageCall,
    client::request::{JsonObject, List, Mode, Outgoing, bytes},
};

/// Stands in for the thought signature of a call that another model made: the newer models refuse a
/// call without one. Source: <https://ai.google.dev/gemini-api/docs/thought-signatures>.
const FOREIGN: &str = "skip_thought_signature_validator";

/// The path below the base URL. A model may be named with or without its collection.
pub(in crate::model::client) fn path(model: &str, mode: Mode) -> Vec<String> {
    let verb = match mode {
        Mode::Whole => "generateContent",
        Mode::Stream => "streamGenerateContent",
    };
    let mut parts: Vec<String> = match model.split_once('/') {
        Some(_) => model.split('/').map(str::to_owned).collect(),
        None => vec!["models".to_owned(), model.to_owned()],
    };
    if let Some(last) = parts.last_mut() {
        last.push(':');
        last.push_str(verb);
    }
    parts
}

/// The JSON body of a request.
pub(in crate::model::client) fn body(outgoing: &Outgoing<'_>) -> Vec<u8> {
    let request = outgoing.request;
    let system: Vec<Part<'_>> = outgoing
        .instructions()
        .map(|text| Part::Text { text })
        .collect();
    let schema = outgoing.schema();
    let config = GenerationConfig {
        max_output_tokens: request.max_output_tokens,
        temperature: outgoing.temperature(),
        response_mime_type: schema.map(|_| "application/json"),
        response_json_schema: schema.map(|schema| &schema.schema),
    };
    bytes(&Body {
        system_instruction: Some(Content {
            role: None,
            parts: Parts::Ours(system),
        })
        .filter(|content| !content.parts.is_empty()),
        contents: contents(outgoing),
        tools: outgoing.tools().map(|tools| {
            [Tools {
                function_declarations: List(move || {
                    tools.iter().map(|tool| Declaration {
                        name: &tool.name,
                        description: &tool.description,
                        parameters_json_schema: &tool.input_schema,
                    })
                }),
            }]
        }),
        generation_config: Some(config).filter(GenerationConfig::says_something),
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a, T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<Content<'a>>,
    contents: Vec<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<[Tools<T>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation_config: Option<GenerationConfig<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tools<T> {
    function_declarations: T,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Declaration<'a> {
    name: &'a str,
    description: &'a str,
    parameters_json_schema: &'a Value,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GenerationConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_mime_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_json_schema: Option<&'a Value>,
}

impl GenerationConfig<'_> {
    fn says_something(&self) -> bool {
        self.max_output_tokens.is_some()
            || self.temperature.is_some()
            || self.response_json_schema.is_some()
    }
}

/// What one side says before the other one does.
#[derive(Serialize)]
struct Content<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    parts: Parts<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Parts<'a> {
    Ours(Vec<Part<'a>>),
    /// What the model sent, unchanged.
    Own(&'a RawValue),
}

impl Parts<'_> {
    fn is_empty(&self) -> bool {
        match self {
            Self::Ours(parts) => parts.is_empty(),
            Self::Own(_) => false,
        }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Part<'a> {
    Text {
        text: &'a str,
    },
    #[serde(rename_all = "camelCase")]
    Inline {
        inline_data: Inline<'a>,
    },
    #[serde(rename_all = "camelCase")]
    File {
        file_data: File<'a>,
    },
    #[serde(rename_all = "camelCase")]
    Call {
        function_call: Call<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        thought_signature: Option<&'static str>,
    },
    #[serde(rename_all = "camelCase")]
    Response {
        function_response: Response<'a>,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Inline<'a> {
    mime_type: &'a str,
    data: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct File<'a> {
    file_uri: &'a str,
}

#[derive(Serialize)]
struct Call<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    id: &'a str,
    name: &'a str,
    args: JsonObject<'a>,
}

#[derive(Serialize)]
struct Response<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    id: &'a str,
    name: &'a str,
    response: Outcome<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome<'a> {
    Result(&'a str),
    Error(&'a str),
}

/// The conversation in turns: the sides alternate, and the results of parallel calls are one turn.
fn contents<'a>(outgoing: &Outgoing<'a>) -> Vec<Content<'a>> {
    let mut contents: Vec<Content<'a>> = Vec::new();
    for message in &outgoing.request.messages {
        let (role, parts) = match &**message {
            Message::System { .. } => continue,
            Message::User { content, images } => ("user", Parts::Ours(said(content, images))),
            Message::Assistant {
                content,
                calls,
                parts,
            } => match outgoing.own_parts(parts.as_ref()) {
                Some(own) => ("model", Parts::Own(own)),
                None => ("model", Parts::Ours(foreign(content, calls))),
            },
            Message::Tool {
                provider_id,
                name,
                content,
                is_error,
                ..
            } => {
                let response = if *is_error {
                    Outcome::Error(content)
                } else {
                    Outcome::Result(content)
                };
                let function_response = Response {
                    id: provider_id,
                    name,
                    response,
                };
                (
                    "user",
                    Parts::Ours(vec![Part::Response { function_response }]),
                )
            }
        };
        if parts.is_empty() {
            continue;
        }
        match (contents.last_mut(), parts) {
            (
                Some(Content {
                    role: Some("user"),
                    parts: Parts::Ours(before),
                }),
                Parts::Ours(parts),
            ) if role == "user" => before.extend(parts),
            (_, parts) => contents.push(Content {
                role: Some(role),
                parts,
            }),
        }
    }
    contents
}

fn said<'a>(content: &'a str, images: &'a [Image]) -> Vec<Part<'a>> {
    let image = |image: &'a Image| match image {
        Image::Url { url } => Part::File {
            file_data: File { file_uri: url },
        },
        Image::Inline { media_type, base64 } => Part::Inline {
            inline_data: Inline {
                mime_type: media_type,
                data: base64,
            },
        },
    };
    text(content)
        .into_iter()
        .chain(images.iter().map(image))
        .collect()
}

/// A turn that another model took.
fn foreign<'a>(content: &'a str, calls: &'a [MessageCall]) -> Vec<Part<'a>> {
    let call = |(index, call): (usize, &'a MessageCall)| Part::Call {
        function_call: Call {
            id: &call.provider_id,
            name: &call.name,
            args: JsonObject(&call.arguments),
        },
        thought_signature: (index == 0).then_some(FOREIGN),
    };
    text(content)
        .into_iter()
        .chain(calls.iter().enumerate().map(call))
        .collect()
}

fn text(text: &str) -> Option<Part<'_>> {
    (!text.is_empty()).then_some(Part::Text { text })
}
