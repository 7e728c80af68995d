//! The shape of a request on the wire.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Value, value::RawValue};

use crate::model::{
    Image,
    client::{
        fields::Fields,
        request::{List, Mode, Outgoing, bytes},
        turns::{self, Arguments, CallId, Ids, OwnPart, OwnParts, ResultImages, Rules, Turn},
    },
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
    let tools = outgoing.tools();
    bytes(&Body {
        system_instruction: Some(Content {
            role: None,
            parts: system,
        })
        .filter(|content| !content.parts.is_empty()),
        contents: contents(outgoing),
        tools: tools.as_deref().map(|tools| {
            [Tools {
                function_declarations: List(move || {
                    tools.iter().map(|tool| Declaration {
                        name: tool.name,
                        description: tool.description,
                        parameters_json_schema: &tool.schema,
                    })
                }),
            }]
        }),
        generation_config: Some(config).filter(GenerationConfig::has_content),
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
    fn has_content(&self) -> bool {
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
    parts: Vec<Part<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Part<'a> {
    /// What the model sent.
    Own(OwnPart<'a>),
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
    #[serde(skip_serializing_if = "CallId::is_empty")]
    id: CallId<'a>,
    name: Cow<'a, str>,
    args: Arguments<'a>,
}

#[derive(Serialize)]
struct Response<'a> {
    #[serde(skip_serializing_if = "CallId::is_empty")]
    id: CallId<'a>,
    name: Cow<'a, str>,
    response: Outcome<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parts: Vec<Part<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome<'a> {
    Result(Cow<'a, str>),
    Error(Cow<'a, str>),
}

/// The conversation in turns: the sides alternate, and the results of parallel calls are one turn.
fn contents<'a>(outgoing: &Outgoing<'a>) -> Vec<Content<'a>> {
    let mut contents: Vec<Content<'a>> = Vec::new();
    let turns = outgoing.turns(&Rules {
        ids: Ids::Any,
        name_marks: ".:",
        result_images: result_images(&outgoing.config.model),
        own: |parts, calls| OwnParts::read(parts, calls, kind),
    });
    for turn in turns {
        let (role, parts): (_, Vec<Part<'a>>) = match turn {
            Turn::System(_) => continue,
            Turn::User { content, images } => ("user", said(content, images)),
            Turn::Model {
                calls,
                own: Some(own),
                ..
            } => ("model", own.mended(&calls, mended).map(Part::Own).collect()),
            Turn::Model {
                content,
                calls,
                own: None,
            } => ("model", foreign(content, calls)),
            Turn::Result {
                id,
                name,
                content,
                images,
                is_error,
            } => {
                let response = match is_error {
                    true => Outcome::Error(content),
                    false => Outcome::Result(content),
                };
                let function_response = Response {
                    id,
                    name,
                    response,
                    parts: images.into_iter().map(shown).collect(),
                };
                ("user", vec![Part::Response { function_response }])
            }
        };
        if parts.is_empty() {
            continue;
        }
        match contents.last_mut() {
            Some(Content {
                role: Some("user"),
                parts: before,
            }) if role == "user" => before.extend(parts),
            _ => contents.push(Content {
                role: Some(role),
                parts,
            }),
        }
    }
    contents
}

/// The results of calls hold images for models from Gemini 3 on.
fn result_images(model: &str) -> ResultImages {
    let major = model
        .rsplit('/')
        .next()
        .and_then(|name| name.strip_prefix("gemini-"));
    let major = major.and_then(|version| version.split(['.', '-']).next()?.parse::<u32>().ok());
    match major {
        Some(3..) => ResultImages::Taken,
        Some(_) | None => ResultImages::Refused,
    }
}

/// What a part is for the next request. A signature, wherever it stands, has to go back.
fn kind(part: &RawValue) -> turns::Part {
    let part = Fields::of(part).unwrap_or_default();
    if part.object("functionCall").is_some() {
        return turns::Part::Call;
    }
    let is_empty = part.text("text").is_some_and(|text| text.is_empty());
    match is_empty && part.names().all(|name| name == "text") {
        true => turns::Part::Blank,
        false => turns::Part::Opaque,
    }
}

/// A call that the model sent, mended where it has to be. Its signature stays.
fn mended<'a>(raw: &'a RawValue, call: &turns::Call<'_>) -> OwnPart<'a> {
    let part = Fields::of(raw).unwrap_or_default();
    let inner = part.raw("functionCall");
    let fields = inner.and_then(Fields::of).unwrap_or_default();
    let args = fields
        .raw("args")
        .is_none_or(|args| args.get().starts_with('{'));
    let (Some(inner), false) = (
        inner,
        args && fields.word("name").as_deref() == Some(&*call.name),
    ) else {
        return OwnPart::Raw(raw);
    };
    let mut changes = vec![("name", Value::from(&*call.name))];
    if !args {
        changes.push(("args", call.arguments.value()));
    }
    let inner = OwnPart::with(inner, changes).value();
    OwnPart::with(raw, [("functionCall", inner)])
}

fn said<'a>(content: &'a str, images: &'a [Image]) -> Vec<Part<'a>> {
    text(content)
        .into_iter()
        .chain(images.iter().map(shown))
        .collect()
}

fn shown(image: &Image) -> Part<'_> {
    match image {
        Image::Url { url } => Part::File {
            file_data: File { file_uri: url },
        },
        Image::Inline { media_type, base64 } => Part::Inline {
            inline_data: Inline {
                mime_type: media_type,
                data: base64,
            },
        },
    }
}

/// A turn that another model took.
fn foreign<'a>(content: &'a str, calls: Vec<turns::Call<'a>>) -> Vec<Part<'a>> {
    let call = |(index, call): (usize, turns::Call<'a>)| Part::Call {
        function_call: Call {
            id: call.id,
            name: call.name,
            args: call.arguments,
        },
        thought_signature: (index == 0).then_some(FOREIGN),
    };
    text(content)
        .into_iter()
        .chain(calls.into_iter().enumerate().map(call))
        .collect()
}

fn text(text: &str) -> Option<Part<'_>> {
    (!text.is_empty()).then_some(Part::Text { text })
}
