//! The shape of a request on the wire.

use serde::Serialize;
use serde_json::{Value, value::RawValue};

use crate::model::{
    Image, Message, MessageCall,
    client::{
        request::{CallId, ImageUrl, JsonText, List, Outgoing, bytes},
        schema::is_strict,
    },
};

/// The JSON body of a request.
pub(in crate::model::client) fn body(outgoing: &Outgoing<'_>) -> Vec<u8> {
    let request = outgoing.request;
    let reasoning = outgoing.config.info.reasoning == Some(true);
    bytes(&Body {
        model: &outgoing.config.model,
        input: List(|| request.messages.iter().flat_map(|m| items(m, outgoing))),
        tools: outgoing.tools().map(|tools| {
            List(move || {
                tools.iter().map(|tool| Tool {
                    r#type: "function",
                    name: &tool.name,
                    description: &tool.description,
                    parameters: &tool.input_schema,
                    // Unless it says so, this surface rewrites the schema for its strict mode.
                    strict: false,
                })
            })
        }),
        // Nothing is kept at the provider, so reasoning has to come here, and to go back.
        store: false,
        include: reasoning.then_some(["reasoning.encrypted_content"]),
        stream: outgoing.stream(),
        max_output_tokens: request.max_output_tokens,
        temperature: outgoing.temperature(),
        text: outgoing.schema().map(|schema| Text {
            format: Format {
                r#type: "json_schema",
                name: &schema.name,
                schema: &schema.schema,
                strict: is_strict(&schema.schema),
            },
        }),
    })
}

#[derive(Serialize)]
struct Body<'a, I, T> {
    model: &'a str,
    input: I,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<T>,
    store: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    include: Option<[&'static str; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Text<'a>>,
}

#[derive(Serialize)]
struct Text<'a> {
    format: Format<'a>,
}

#[derive(Serialize)]
struct Format<'a> {
    r#type: &'static str,
    name: &'a str,
    schema: &'a Value,
    strict: bool,
}

#[derive(Serialize)]
struct Tool<'a> {
    r#type: &'static str,
    name: &'a str,
    description: &'a str,
    parameters: &'a Value,
    strict: bool,
}

/// One entry of the input: a message, a call, a result, or what the model sent, unchanged.
#[derive(Serialize)]
#[serde(untagged)]
enum Item<'a> {
    Own(&'a RawValue),
    Text {
        role: &'static str,
        content: &'a str,
    },
    Parts {
        role: &'static str,
        content: Vec<Part<'a>>,
    },
    Call {
        r#type: &'static str,
        call_id: CallId<'a>,
        name: &'a str,
        arguments: JsonText<'a>,
    },
    Output {
        r#type: &'static str,
        call_id: CallId<'a>,
        output: &'a str,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    InputText { text: &'a str },
    InputImage { image_url: ImageUrl<'a> },
}

fn items<'a>(message: &'a Message, outgoing: &Outgoing<'a>) -> Vec<Item<'a>> {
    let text = |role, content| Item::Text { role, content };
    match message {
        Message::System { content } => vec![text("system", content)],
        Message::User { content, images } if images.is_empty() => vec![text("user", content)],
        Message::User { content, images } => vec![Item::Parts {
            role: "user",
            content: parts(content, images),
        }],
        Message::Assistant {
            content,
            calls,
            parts,
        } => {
            let own = outgoing.own_parts(parts.as_ref());
            if let Some(own) = own.and_then(|own| serde_json::from_str(own.get()).ok()) {
                let own: Vec<&RawValue> = own;
                return own.into_iter().map(Item::Own).collect();
            }
            let said = (!content.is_empty()).then(|| text("assistant", content));
            said.into_iter().chain(calls.iter().map(call)).collect()
        }
        Message::Tool {
            step,
            provider_id,
            content,
            ..
        } => {
            let id = CallId {
                provider_id,
                step: *step,
            };
            vec![Item::Output {
                r#type: "function_call_output",
                call_id: id.plain(),
                output: content,
            }]
        }
    }
}

fn parts<'a>(text: &'a str, images: &'a [Image]) -> Vec<Part<'a>> {
    let images = images.iter().map(|image| Part::InputImage {
        image_url: ImageUrl(image),
    });
    std::iter::once(Part::InputText { text })
        .chain(images)
        .collect()
}

fn call(call: &MessageCall) -> Item<'_> {
    Item::Call {
        r#type: "function_call",
        call_id: CallId::of(call).plain(),
        name: &call.name,
        arguments: JsonText(&call.arguments),
    }
}
