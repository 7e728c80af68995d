//! The shape of a request on the wire.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Value, value::RawValue};

use crate::model::{
    Image,
    client::{
        fields::Fields,
        request::{List, Outgoing, bytes},
        text::Text,
        turns::{self, Arguments, Call, CallId, Ids, OwnPart, OwnParts, Part, ResultImages, Rules},
    },
};

/// The limit of an answer where neither the request nor the model table has one: this surface wants
/// one.
const MAX_TOKENS: u64 = 8_192;

/// The JSON body of a request.
pub(in crate::model::client) fn body(outgoing: &Outgoing<'_>) -> Vec<u8> {
    let system: Vec<Block<'_>> = outgoing
        .instructions()
        .map(|text| Block::Ours(Written::Text { text }))
        .collect();
    let tools = outgoing.tools();
    bytes(&Body {
        model: &outgoing.config.model,
        max_tokens: outgoing.answer_limit(MAX_TOKENS),
        // The provider keeps the prefix up to the last block for the next turn.
        cache_control: CacheControl {
            r#type: "ephemeral",
        },
        system: Some(system).filter(|system| !system.is_empty()),
        messages: turns(outgoing),
        tools: tools.as_deref().map(|tools| {
            List(move || {
                tools.iter().map(|tool| Tool {
                    name: tool.name,
                    description: tool.description,
                    input_schema: &tool.schema,
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
}

#[derive(Serialize)]
#[serde(untagged)]
enum Block<'a> {
    Ours(Written<'a>),
    Own(OwnPart<'a>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Written<'a> {
    Text {
        text: &'a str,
    },
    Image {
        source: Source<'a>,
    },
    ToolUse {
        id: CallId<'a>,
        name: Cow<'a, str>,
        input: Arguments<'a>,
    },
    ToolResult {
        tool_use_id: CallId<'a>,
        content: ResultContent<'a>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
}

/// What a call returned: text, or blocks.
#[derive(Serialize)]
#[serde(untagged)]
enum ResultContent<'a> {
    Text(Cow<'a, str>),
    Blocks(Vec<ResultBlock<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ResultBlock<'a> {
    Text { text: Cow<'a, str> },
    Image { source: Source<'a> },
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
    let said = outgoing.turns(&Rules {
        ids: Ids::Plain,
        name_marks: "",
        result_images: ResultImages::Taken,
        own: |parts, calls| OwnParts::read(parts, calls, kind),
    });
    for turn in said {
        let blocks: Vec<Block<'a>> = match turn {
            turns::Turn::System(_) => continue,
            turns::Turn::User { content, images } => {
                text(content).chain(images.iter().map(image)).collect()
            }
            turns::Turn::Model {
                content,
                calls,
                own,
            } => {
                let blocks: Vec<Block<'a>> = match own {
                    Some(own) => own.mended(&calls, mended).map(Block::Own).collect(),
                    None => text(content)
                        .chain(calls.into_iter().map(tool_use))
                        .collect(),
                };
                if !blocks.is_empty() {
                    turns.push(Turn::Assistant(blocks));
                }
                continue;
            }
            turns::Turn::Result {
                id,
                content,
                images,
                is_error,
                ..
            } => vec![Block::Ours(Written::ToolResult {
                tool_use_id: id,
                content: returned(content, images),
                is_error,
            })],
        };
        match turns.last_mut() {
            Some(Turn::User(before)) => before.extend(blocks),
            Some(Turn::Assistant(_)) | None if blocks.is_empty() => {}
            Some(Turn::Assistant(_)) | None => turns.push(Turn::User(blocks)),
        }
    }
    turns
}

/// What a block is for the next request. Its thinking is signed; its text and its calls are not.
fn kind(block: &RawValue) -> Part {
    let block = Fields::of(block).unwrap_or_default();
    let is_blank = || {
        let text = block.text("text").map(Text::whole);
        text.is_none_or(|text| text.trim().is_empty())
    };
    match block.word("type").as_deref() {
        Some("text") if is_blank() => Part::Blank,
        Some("tool_use") => Part::Call,
        Some("thinking" | "redacted_thinking") => Part::Leading,
        Some(_) | None => Part::Opaque,
    }
}

/// A call that the model sent, mended where it has to be.
fn mended<'a>(raw: &'a RawValue, call: &Call<'_>) -> OwnPart<'a> {
    let block = Fields::of(raw).unwrap_or_default();
    let input = block
        .raw("input")
        .filter(|input| input.get().starts_with('{'));
    let is = |field: &str, text: &str| block.word(field).as_deref() == Some(text);
    if is("id", call.id.as_str()) && is("name", &call.name) && input.is_some() {
        return OwnPart::Raw(raw);
    }
    let mut changes = vec![
        ("id", call.id.as_str().into()),
        ("name", (&*call.name).into()),
    ];
    if input.is_none() {
        changes.push(("input", call.arguments.value()));
    }
    OwnPart::with(raw, changes)
}

fn tool_use(call: Call<'_>) -> Block<'_> {
    Block::Ours(Written::ToolUse {
        id: call.id,
        name: call.name,
        input: call.arguments,
    })
}

/// The text, unless it is empty, which this surface refuses.
fn text(text: &str) -> impl Iterator<Item = Block<'_>> {
    Some(text)
        .filter(|text| !text.trim().is_empty())
        .map(|text| Block::Ours(Written::Text { text }))
        .into_iter()
}

/// A result. An empty text is no block.
fn returned<'a>(content: Cow<'a, str>, images: Vec<&'a Image>) -> ResultContent<'a> {
    if images.is_empty() {
        return ResultContent::Text(content);
    }
    let text = (!content.is_empty()).then_some(ResultBlock::Text { text: content });
    let images = images.into_iter().map(|image| ResultBlock::Image {
        source: source(image),
    });
    ResultContent::Blocks(text.into_iter().chain(images).collect())
}

fn image(image: &Image) -> Block<'_> {
    Block::Ours(Written::Image {
        source: source(image),
    })
}

fn source(image: &Image) -> Source<'_> {
    match image {
        Image::Url { url } => Source::Url { url },
        Image::Inline { media_type, base64 } => Source::Base64 {
            media_type,
            data: base64,
        },
    }
}
