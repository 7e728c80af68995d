//! The shape of a request on the wire.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Value, value::RawValue};

use crate::model::{
    Image,
    client::{
        fields::Fields,
        request::{ImageUrl, List, Outgoing, bytes},
        schema::is_strict,
        text::Text,
        turns::{
            ArgumentsText, Call, CallId, Ids, OwnPart, OwnParts, Part, ResultImages, Rules, Turn,
        },
    },
};

/// The JSON body of a request.
pub(in crate::model::client) fn body(outgoing: &Outgoing<'_>) -> Vec<u8> {
    let request = outgoing.request;
    let reasoning = outgoing.config.info.reasoning == Some(true);
    let tools = outgoing.tools();
    bytes(&Body {
        model: &outgoing.config.model,
        input: input(outgoing),
        tools: tools.as_deref().map(|tools| {
            List(move || {
                tools.iter().map(|tool| Tool {
                    r#type: "function",
                    name: tool.name,
                    description: tool.description,
                    parameters: &tool.schema,
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
        text: outgoing.schema().map(|schema| TextConfig {
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
struct Body<'a, T> {
    model: &'a str,
    input: Vec<Item<'a>>,
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
    text: Option<TextConfig<'a>>,
}

#[derive(Serialize)]
struct TextConfig<'a> {
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
    Own(OwnPart<'a>),
    Text {
        role: &'static str,
        content: &'a str,
    },
    Parts {
        role: &'static str,
        content: Vec<InputPart<'a>>,
    },
    Call {
        r#type: &'static str,
        call_id: CallId<'a>,
        name: Cow<'a, str>,
        arguments: ArgumentsText<'a>,
    },
    Output {
        r#type: &'static str,
        call_id: CallId<'a>,
        output: Output<'a>,
    },
}

/// What a call returned: text, or parts.
#[derive(Serialize)]
#[serde(untagged)]
enum Output<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<InputPart<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum InputPart<'a> {
    InputText { text: Cow<'a, str> },
    InputImage { image_url: ImageUrl<'a> },
}

fn input<'a>(outgoing: &Outgoing<'a>) -> Vec<Item<'a>> {
    let turns = outgoing.turns(&Rules {
        ids: Ids::Plain,
        name_marks: "",
        result_images: ResultImages::Taken,
        own: |parts, calls| OwnParts::read(parts, calls, kind),
    });
    turns.into_iter().flat_map(items).collect()
}

fn items<'a>(turn: Turn<'a, OwnParts<'a>>) -> Vec<Item<'a>> {
    let text = |role, content| Item::Text { role, content };
    match turn {
        Turn::System(content) => vec![text("system", content)],
        Turn::User {
            content,
            images: [],
        } => vec![text("user", content)],
        Turn::User { content, images } => vec![Item::Parts {
            role: "user",
            content: parts(content.into(), images),
        }],
        Turn::Model {
            calls,
            own: Some(own),
            ..
        } => own.mended(&calls, mended).map(Item::Own).collect(),
        Turn::Model {
            content,
            calls,
            own: None,
        } => {
            let said = (!content.is_empty()).then(|| text("assistant", content));
            said.into_iter()
                .chain(calls.into_iter().map(call))
                .collect()
        }
        Turn::Result {
            id,
            content,
            images,
            ..
        } => vec![Item::Output {
            r#type: "function_call_output",
            call_id: id,
            output: match images.is_empty() {
                true => Output::Text(content),
                false => Output::Parts(parts(content, images)),
            },
        }],
    }
}

/// What an item is for the next request. Reasoning is encrypted, and bound to the item after it.
fn kind(item: &RawValue) -> Part {
    let item = Fields::of(item).unwrap_or_default();
    let is_blank = || {
        let mut texts = item.objects("content").map(|part| {
            let text = part.text("text").or_else(|| part.text("refusal"));
            text.map(Text::whole).unwrap_or_default()
        });
        let whole = item.text("content").map(Text::whole);
        texts.all(|text| text.is_empty()) && whole.is_none_or(|text| text.is_empty())
    };
    match item.word("type").as_deref() {
        Some("message") if is_blank() => Part::Blank,
        Some("function_call") => Part::Call,
        Some("reasoning") => Part::Leading,
        Some(_) | None => Part::Opaque,
    }
}

/// A call that the model sent, mended where it has to be.
fn mended<'a>(raw: &'a RawValue, call: &Call<'_>) -> OwnPart<'a> {
    let item = Fields::of(raw).unwrap_or_default();
    let arguments = item.word("arguments");
    let fits = arguments.is_some_and(|text| Fields::read(&text).is_some());
    let is = |field: &str, text: &str| item.word(field).as_deref() == Some(text);
    if is("call_id", call.id.as_str()) && is("name", &call.name) && fits {
        return OwnPart::Raw(raw);
    }
    let mut changes = vec![
        ("call_id", call.id.as_str().into()),
        ("name", (&*call.name).into()),
    ];
    if !fits {
        changes.push(("arguments", call.arguments.value().to_string().into()));
    }
    OwnPart::with(raw, changes)
}

fn parts<'a>(
    text: Cow<'a, str>,
    images: impl IntoIterator<Item = &'a Image>,
) -> Vec<InputPart<'a>> {
    let images = images.into_iter().map(|image| InputPart::InputImage {
        image_url: ImageUrl(image),
    });
    std::iter::once(InputPart::InputText { text })
        .chain(images)
        .collect()
}

fn call(call: Call<'_>) -> Item<'_> {
    Item::Call {
        r#type: "function_call",
        call_id: call.id,
        name: call.name,
        arguments: ArgumentsText(call.arguments),
    }
}
