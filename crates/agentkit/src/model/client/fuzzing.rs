//! Fuzz targets: answers of every surface, events, and the bodies of errors.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::{
    ApiSurface, Config, Provider,
    builder::DecodeError,
    reader::Reader,
    report::Report,
    request::Outgoing,
    sse::{self, Sse},
};
use crate::{
    event::StepId,
    model::{DeltaSink, Message, MessageCall, Request, Response},
    tool::ToolSpec,
};

/// Hears nothing.
struct NoDeltas;

impl DeltaSink for NoDeltas {
    fn text(&self, _: &str) {}
}

static CONFIG: LazyLock<Config> = LazyLock::new(|| Config::new(Provider::OpenAi, "m"));
/// A request with tools, so that calls which are written as text are looked for.
static REQUEST: LazyLock<Request> = LazyLock::new(|| {
    let schema = json!({"type": "object", "properties": {"path": {"type": "string"}}});
    let tools = ["list_files", "read_file", "weather"];
    Request {
        tools: tools
            .map(|name| ToolSpec::new(name, "A tool.", schema.clone()).into())
            .to_vec(),
        ..Request::default()
    }
});

/// An answer of OpenAI's chat completions.
pub(crate) fn chat(data: &[u8]) {
    stream(ApiSurface::Chat, data);
}

/// An answer of OpenAI's Responses.
pub(crate) fn responses(data: &[u8]) {
    stream(ApiSurface::Responses, data);
}

/// An answer of Anthropic's Messages.
pub(crate) fn messages(data: &[u8]) {
    stream(ApiSurface::Messages, data);
}

/// An answer of Gemini's generateContent.
pub(crate) fn generate_content(data: &[u8]) {
    stream(ApiSurface::GenerateContent, data);
}

/// An answer means the same however its bytes are cut, and the next request can be made of it: JSON in which each
/// call that is sent back has a result of its own.
fn stream(surface: ApiSurface, data: &[u8]) {
    let whole = read(surface, data, data.len().max(1));
    for length in [1, 7] {
        match (&whole, read(surface, data, length)) {
            (Ok(one), Ok(other)) => assert_eq!(*one, other, "in pieces of {length}"),
            (Err(one), Err(other)) => assert_eq!(format!("{one:?}"), format!("{other:?}")),
            (one, other) => panic!("whole: {one:?}; in pieces of {length}: {other:?}"),
        }
    }
    if let Ok(response) = whole {
        follow_up(surface, response);
    }
}

fn read(surface: ApiSurface, data: &[u8], length: usize) -> Result<Response, DecodeError> {
    let mut reader = Reader::new(surface.decoder(), &NoDeltas, &REQUEST);
    for piece in data.chunks(length) {
        reader.push(piece)?;
        if reader.is_done() {
            break;
        }
    }
    Ok(reader.finish()?.response(100, &CONFIG, None))
}

/// The request that takes the answer's calls back with their results.
fn follow_up(surface: ApiSurface, response: Response) {
    let calls: Vec<MessageCall> = (2..)
        .zip(&response.calls)
        .map(|(step, call)| MessageCall {
            step: StepId(step),
            provider_id: call.provider_id.clone(),
            name: call.name.clone(),
            arguments: serde_json::from_str(&call.arguments)
                .unwrap_or_else(|_| Value::from(call.arguments.as_str())),
        })
        .collect();
    let results: Vec<Message> = calls
        .iter()
        .map(|call| Message::Tool {
            step: call.step,
            provider_id: call.provider_id.clone(),
            name: call.name.clone(),
            content: format!("result {}", call.step.0),
            is_error: false,
            images: Vec::new(),
        })
        .collect();
    let asked = Message::User {
        content: "Look.".to_owned(),
        images: Vec::new(),
    };
    let said = Message::Assistant {
        content: response.content,
        calls,
        parts: response.parts,
    };
    let messages = [asked, said].into_iter().chain(results);
    let request = Request {
        messages: messages.map(Into::into).collect(),
        tools: REQUEST.tools.clone(),
        ..Request::default()
    };
    let body = surface.body(&Outgoing {
        config: &CONFIG,
        name: "openai/m",
        request: &request,
        learnt: &Default::default(),
    });
    let body: Value = serde_json::from_slice(&body).expect("a request is JSON");
    let text = body.to_string();
    for number in 2..2 + response.calls.len() {
        assert!(text.contains(&format!("result {number}")), "{body}");
    }
    paired(surface, &body);
}

/// Each result names a call that stands before it, and each call has one result: models/M1.
fn paired(surface: ApiSurface, body: &Value) {
    type Ids = fn(&Value) -> Vec<String>;
    let (list, call, result): (&str, Ids, Ids) = match surface {
        ApiSurface::Chat => (
            "messages",
            |message| texts(message["tool_calls"].as_array(), |call| &call["id"]),
            |message| {
                texts(
                    Some(&vec![message.clone()]),
                    |message| &message["tool_call_id"],
                )
            },
        ),
        ApiSurface::Messages => (
            "messages",
            |message| {
                texts(
                    message["content"].as_array(),
                    |block| match &block["type"] {
                        Value::String(kind) if kind == "tool_use" => &block["id"],
                        _ => &Value::Null,
                    },
                )
            },
            |message| texts(message["content"].as_array(), |block| &block["tool_use_id"]),
        ),
        ApiSurface::Responses => (
            "input",
            |item| match item["type"].as_str() {
                Some("function_call") => texts(Some(&vec![item.clone()]), |item| &item["call_id"]),
                _ => Vec::new(),
            },
            |item| match item["type"].as_str() {
                Some("function_call_output") => {
                    texts(Some(&vec![item.clone()]), |item| &item["call_id"])
                }
                _ => Vec::new(),
            },
        ),
        // Gemini pairs calls and results by their order.
        ApiSurface::GenerateContent => return,
    };
    let items = body[list].as_array().expect("a conversation is a list");
    let mut open: Vec<String> = Vec::new();
    for item in items {
        for id in result(item) {
            let at = open.iter().position(|call| *call == id);
            let at = at.unwrap_or_else(|| panic!("no call {id:?} before its result in {body}"));
            open.swap_remove(at);
        }
        open.extend(call(item));
    }
    assert!(open.is_empty(), "calls {open:?} have no result in {body}");
}

fn texts(items: Option<&Vec<Value>>, id: fn(&Value) -> &Value) -> Vec<String> {
    let items = items.into_iter().flatten();
    items
        .filter_map(|item| Some(id(item).as_str()?.to_owned()))
        .collect()
}

/// Events are the same however their bytes are cut.
pub(crate) fn sse(data: &[u8]) {
    type Events = Result<Vec<(Vec<u8>, bool)>, sse::TooLong>;
    let events = |length: usize| -> Events {
        let mut sse = Sse::default();
        let mut events = Vec::new();
        let mut on_event = |event: sse::Event<'_>| -> Result<(), sse::TooLong> {
            events.push((event.data.to_vec(), event.is_error));
            Ok(())
        };
        for piece in data.chunks(length) {
            sse.push(piece, &mut on_event)?;
        }
        sse.finish(&mut on_event)?;
        Ok(events)
    };
    let whole = events(data.len().max(1));
    assert_eq!(events(1), whole);
    assert_eq!(events(5), whole);
}

/// The body of an error, with any status.
pub(crate) fn error_body(data: &[u8]) {
    let report = Report::read(data);
    for status in [200, 400, 404, 413, 429, 500, 529] {
        let _ = report.kind(status);
    }
    let _ = report.kind_inside();
}
