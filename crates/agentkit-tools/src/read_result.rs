//! `read_result`: pages of a large result of an earlier call.

use agentkit::{
    BoxFuture, StepId, Tool, ToolSpec,
    event::{Failure, Handle},
    tool::{Effect, Resources, ToolContext, ToolOutput},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::page::{MAX_LIMIT, Window};

/// How much is read if nobody says, in bytes.
const DEFAULT_LIMIT: u64 = 8 * 1024;
/// How many handles are told at most.
const MAX_TOLD: usize = 50;

pub(crate) struct ReadResult(ToolSpec);

#[derive(Deserialize)]
struct Arguments {
    handle: String,
    offset: Option<u64>,
    limit: Option<u64>,
}

impl ReadResult {
    pub(crate) fn new() -> Self {
        let description = "Reads a large result of an earlier call in pages, by its handle. Go on \
            at `next_offset` until that is null. Offsets are bytes.";
        let schema = json!({
            "type": "object",
            "properties": {
                "handle": {"type": "string", "description": "For instance call_7"},
                "offset": {"type": "integer", "minimum": 0, "description": "Where to start; 0"},
                "limit": {
                    "type": "integer", "minimum": 1, "maximum": MAX_LIMIT,
                    "description": format!("The most bytes to read; {DEFAULT_LIMIT}"),
                },
            },
            "required": ["handle"],
            "additionalProperties": false,
        });
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
            } = crate::arguments(arguments)?;
            let result = find(&handle, context)?;
            let window = Window::new(offset, limit, DEFAULT_LIMIT);
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
        .take(MAX_TOLD)
        .map(StepId::to_string)
        .collect();
    known.reverse();
    let known = match context.results.len() {
        0 => "this run has none".to_owned(),
        count if count > MAX_TOLD => format!("the newest are {}", known.join(", ")),
        _ => format!("there are {}", known.join(", ")),
    };
    Failure::last(
        "unknown_handle",
        format!("there is no large result `{handle}`; {known}"),
    )
}
