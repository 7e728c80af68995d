//! The wire of OpenAI's chat completions, whole and streamed.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures_util::{StreamExt as _, stream};
use ops_testkit::clock;
use serde_json::{Value, json};

use crate::behaviour::{Call, Fault, Reaction, Reply};

/// The time between the pieces of a stream.
#[derive(Clone, Copy)]
pub(crate) struct ChunkDelay(pub(crate) Duration);

/// Answers the n-th request, which is at this turn of its conversation.
pub(crate) async fn respond(
    n: u64,
    turn: usize,
    request: &Value,
    reaction: Reaction,
    chunk_delay: ChunkDelay,
) -> Response {
    let streamed = request["stream"] == true;
    match reaction.fault {
        Fault::None | Fault::Disconnect | Fault::Truncate => {}
        Fault::Status(status) => {
            return error(status, reaction.retry_after, "the stub was told to fail");
        }
        Fault::Hang => std::future::pending().await,
        Fault::Garbage => return typed("application/json", Body::from("{\"choices\": [{\"mess")),
        Fault::Error200 => {
            let body = error_body(502, "the stub was told to fail");
            return typed("application/json", Body::from(body.to_string()));
        }
    }
    let completion = Completion::new(format!("{turn}-{n}"), request, reaction.say);
    let (kind, mut pieces) = if streamed {
        ("text/event-stream", completion.events(request))
    } else {
        let whole = completion.whole().to_string();
        ("application/json", halves(&whole).to_vec())
    };
    let half = pieces.len() / 2;
    match reaction.fault {
        Fault::Disconnect => {
            pieces.truncate(half);
            let pieces = stream::iter(pieces).map(|piece| Ok(Bytes::from(piece)));
            let cut = stream::once(async {
                // What came before is to reach the client.
                tokio::time::sleep(Duration::from_millis(50)).await;
                Err(std::io::Error::other("cut"))
            });
            return typed(kind, Body::from_stream(pieces.chain(cut)));
        }
        Fault::Truncate => pieces.truncate(half),
        Fault::None | Fault::Status(_) | Fault::Hang | Fault::Garbage | Fault::Error200 => {}
    }
    let pieces = stream::iter(pieces).then(move |piece| async move {
        if streamed && !chunk_delay.0.is_zero() {
            tokio::time::sleep(chunk_delay.0).await;
        }
        Ok::<_, Infallible>(Bytes::from(piece))
    });
    typed(kind, Body::from_stream(pieces))
}

/// An error in OpenAI's form.
pub(crate) fn error(status: u16, retry_after: Option<u64>, message: &str) -> Response {
    let mut response = typed(
        "application/json",
        Body::from(error_body(status, message).to_string()),
    );
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    if let Some(seconds) = retry_after {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn error_body(status: u16, message: &str) -> Value {
    let kind = match status {
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        _ => "server_error",
    };
    json!({"error": {"message": message, "type": kind, "param": null, "code": status.to_string()}})
}

fn typed(kind: &'static str, body: Body) -> Response {
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

/// One completion, before it is put on the wire.
struct Completion {
    /// The turn and the ordinal of the request: unique in a conversation, even if the stub is
    /// started again.
    id: String,
    created: i64,
    model: Value,
    say: Reply,
    usage: Value,
}

impl Completion {
    fn new(id: String, request: &Value, say: Reply) -> Self {
        let said = match &say {
            Reply::Answer(text) => text.len(),
            Reply::Tools(calls) => calls.iter().map(|call| arguments(call).len() + 8).sum(),
        };
        // About four characters a token: deterministic, and it grows with the conversation.
        let (prompt, completion) = (request["messages"].to_string().len() / 4, said / 4 + 1);
        Self {
            id,
            created: clock::wall_us() / 1_000_000,
            model: request["model"].clone(),
            say,
            usage: json!({
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_tokens": prompt + completion,
            }),
        }
    }

    fn finish_reason(&self) -> &'static str {
        match self.say {
            Reply::Tools(_) => "tool_calls",
            Reply::Answer(_) => "stop",
        }
    }

    fn whole(&self) -> Value {
        let message = match &self.say {
            Reply::Answer(text) => json!({"role": "assistant", "content": text}),
            Reply::Tools(calls) => {
                let calls: Vec<Value> = calls
                    .iter()
                    .enumerate()
                    .map(|(index, call)| {
                        json!({"id": self.call_id(index), "type": "function", "function":
                            {"name": call.tool, "arguments": arguments(call)}})
                    })
                    .collect();
                json!({"role": "assistant", "content": null, "tool_calls": calls})
            }
        };
        json!({
            "id": format!("chatcmpl-{}", self.id), "object": "chat.completion",
            "created": self.created,
            "model": self.model, "usage": self.usage,
            "choices": [{"index": 0, "message": message, "finish_reason": self.finish_reason()}],
        })
    }

    /// The events of a stream, each as its bytes.
    fn events(&self, request: &Value) -> Vec<String> {
        let mut events = vec![self.chunk(json!({"role": "assistant", "content": null}), None)];
        match &self.say {
            Reply::Answer(text) => {
                let pieces = text.split_inclusive(' ');
                events.extend(pieces.map(|piece| self.chunk(json!({"content": piece}), None)));
            }
            Reply::Tools(calls) => {
                for (index, call) in calls.iter().enumerate() {
                    let begin = json!({"index": index, "id": self.call_id(index),
                        "type": "function", "function": {"name": call.tool, "arguments": ""}});
                    events.push(self.chunk(json!({"tool_calls": [begin]}), None));
                    for part in halves(&arguments(call)) {
                        let part = json!({"index": index, "function": {"arguments": part}});
                        events.push(self.chunk(json!({"tool_calls": [part]}), None));
                    }
                }
            }
        }
        events.push(self.chunk(json!({}), Some(self.finish_reason())));
        if request["stream_options"]["include_usage"] == true {
            let mut last = self.head();
            last["choices"] = json!([]);
            last["usage"] = self.usage.clone();
            events.push(event(&last));
        }
        events.push("data: [DONE]\n\n".to_owned());
        events
    }

    fn chunk(&self, delta: Value, finish_reason: Option<&str>) -> String {
        let mut chunk = self.head();
        chunk["choices"] = json!([{"index": 0, "delta": delta, "finish_reason": finish_reason}]);
        event(&chunk)
    }

    fn head(&self) -> Value {
        json!({"id": format!("chatcmpl-{}", self.id), "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model})
    }

    fn call_id(&self, index: usize) -> String {
        format!("call_{}_{index}", self.id)
    }
}

fn event(body: &Value) -> String {
    format!("data: {body}\n\n")
}

fn arguments(call: &Call) -> String {
    Value::Object(call.arguments.clone()).to_string()
}

/// A text in two parts, cut between characters.
fn halves(text: &str) -> [String; 2] {
    let (start, end) = text.split_at(text.floor_char_boundary(text.len() / 2));
    [start.to_owned(), end.to_owned()]
}
