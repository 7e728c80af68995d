//! `read_result`: pages of a large result of an earlier call, or of a text in it.

use agentkit::{
    BoxFuture, StepId, Tool, ToolSpec,
    event::{Failure, Handle},
    tool::{Effect, Resources, ToolContext, ToolOutput},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    json::{self, Limits, Node},
    page::{Lines, MAX_LIMIT, Window, describe_lines, of_text},
    workspace::stopped,
};

/// Bytes that are read unless the arguments say a number.
const DEFAULT_LIMIT: u64 = 8 * 1024;
/// How many handles are told at most.
const MAX_LISTED: usize = 50;
/// The largest result that is read whole to find a text or lines in it, in bytes.
pub(crate) const MAX_WHOLE: u64 = 64 << 20;
/// So much of a large result is read at once.
const PIECE: u64 = 4 << 20;
/// Bounds of a result that holds a text. It was made from a `Value`, so it is JSON.
const LIMITS: Limits = Limits {
    depth: 128,
    memory: 256 << 20,
};

pub(crate) struct ReadResult(ToolSpec);

#[derive(Deserialize)]
struct Arguments {
    handle: String,
    offset: Option<u64>,
    limit: Option<u64>,
    inside: Option<String>,
    line: Option<u64>,
    lines: Option<u64>,
}

impl ReadResult {
    pub(crate) fn new() -> Self {
        let description = "Reads a large result of an earlier call in pages, by its handle. Go on \
            at `next_offset` until that is null. Offsets are bytes. `inside` reads a text in it, \
            /text for what http_fetch returned; with `line` and `lines` it reads what is around a \
            match of search_result.";
        let mut schema = json!({
            "type": "object",
            "properties": {
                "handle": {"type": "string", "description": "For instance call_7"},
                "offset": {"type": "integer", "minimum": 0, "description": "Where to start; 0"},
                "limit": {
                    "type": "integer", "minimum": 1, "maximum": MAX_LIMIT,
                    "description": format!("The most bytes to read; {DEFAULT_LIMIT}"),
                },
                "inside": {
                    "type": "string",
                    "description": "JSON Pointer to a text of the result, for instance /text",
                },
            },
            "required": ["handle"],
            "additionalProperties": false,
        });
        describe_lines(&mut schema);
        Self(ToolSpec::new("read_result", description, schema).effect(Effect::Pure))
    }
}

impl Tool for ReadResult {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn resources(&self, _: &Value) -> Resources {
        // Results of earlier turns never change.
        Resources::none()
    }

    fn call<'a>(
        &'a self,
        context: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        Box::pin(async move {
            let Arguments {
                handle,
                offset,
                limit,
                inside,
                line,
                lines,
            } = crate::arguments(arguments)?;
            let lines = Lines::asked(line, lines, offset)?;
            let window = Window::new(offset, limit, DEFAULT_LIMIT);
            if inside.is_some() || lines.is_some() {
                let whole = whole(&handle, context, MAX_WHOLE).await?;
                let page = off_thread(move || {
                    let text = text_of(whole, inside.as_deref())?;
                    of_text(&text, window, lines)
                });
                return page.await.map(ToolOutput::from);
            }
            let result = find(&handle, context)?;
            if window.offset >= result.bytes {
                return window.page(&[], result.bytes).map(ToolOutput::from);
            }
            let limit = window.limit.min(result.bytes - window.offset);
            let bytes = context
                .blobs
                .read(&result.digest, window.offset, limit)
                .await?;
            if bytes.is_empty() {
                return Err(incomplete(&handle, result.bytes, window.offset));
            }
            window.page(&bytes, result.bytes).map(ToolOutput::from)
        })
    }
}

/// Work on a whole result, on a thread of its own.
pub(crate) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(stopped()),
    }
}

/// The whole large result of that name, of at most `max` bytes.
pub(crate) async fn whole(
    handle: &str,
    context: &ToolContext,
    max: u64,
) -> Result<Vec<u8>, Failure> {
    let result = find(handle, context)?;
    if result.bytes > max {
        let message = format!(
            "the result `{handle}` has {} bytes, and {max} is the limit",
            result.bytes
        );
        return Err(Failure::last("document_too_large", message));
    }
    let mut whole = Vec::new();
    while (whole.len() as u64) < result.bytes {
        let at = whole.len() as u64;
        let length = PIECE.min(result.bytes - at);
        let piece = context.blobs.read(&result.digest, at, length).await?;
        if piece.is_empty() {
            return Err(incomplete(handle, result.bytes, at));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}

/// The text of a result, or the one that a JSON Pointer leads to in it.
pub(crate) fn text_of(whole: Vec<u8>, inside: Option<&str>) -> Result<String, Failure> {
    let text = String::from_utf8(whole)
        .map_err(|_| Failure::last("not_text", "the result is not UTF-8 text"))?;
    let Some(pointer) = inside else {
        return Ok(text);
    };
    let wrong = |problem: &str| {
        let shown: String = pointer.chars().take(100).collect();
        let message = format!("`inside`: {shown:?} {problem}");
        Failure::last("invalid_arguments", message)
    };
    let reading = json::read(&text, LIMITS).map_err(|problem| {
        let message = format!("the result cannot be looked into: {problem}");
        Failure::last("document_too_large", message)
    })?;
    match reading.node.pointer(pointer) {
        Some(Node::String(text)) => Ok(text.to_string()),
        Some(_) => Err(wrong("is not a text; json_query picks other values")),
        None => Err(wrong("points to nothing; it is a JSON Pointer like /text")),
    }
}

/// The large result of that name.
pub(crate) fn find<'a>(handle: &str, context: &'a ToolContext) -> Result<&'a Handle, Failure> {
    step(handle)
        .and_then(|step| context.results.get(&step))
        .ok_or_else(|| unknown(handle, context))
}

pub(crate) fn incomplete(handle: &str, bytes: u64, offset: u64) -> Failure {
    let message = format!(
        "the result `{handle}` has {bytes} bytes, but none are stored from offset {offset} on"
    );
    Failure::last("result_incomplete", message)
}

fn step(handle: &str) -> Option<StepId> {
    let step = StepId(handle.strip_prefix("call_")?.parse().ok()?);
    (step.to_string() == handle).then_some(step)
}

fn unknown(handle: &str, context: &ToolContext) -> Failure {
    let handle: String = handle.chars().take(64).collect();
    let mut known: Vec<_> = context
        .results
        .keys()
        .rev()
        .take(MAX_LISTED)
        .map(StepId::to_string)
        .collect();
    known.reverse();
    let known = match context.results.len() {
        0 => "this run has none".to_owned(),
        count if count > MAX_LISTED => format!("the newest are {}", known.join(", ")),
        _ => format!("there are {}", known.join(", ")),
    };
    Failure::last(
        "unknown_handle",
        format!("there is no large result `{handle}`; {known}"),
    )
}
