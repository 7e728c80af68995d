//! `search_result`: lines of a large result, or of a text in it, that match a regular expression.

use std::ops::ControlFlow;

use agentkit::{
    BoxFuture, Tool, ToolSpec,
    event::Failure,
    tool::{Effect, Resources, ToolContext, ToolOutput},
};
use regex::bytes::Regex;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    grep,
    read_result::{MAX_WHOLE, off_thread, text_of, whole},
    workspace::stopped,
};

const DEFAULT_MATCHES: usize = 100;
const MAX_MATCHES: usize = 1000;

pub(crate) struct SearchResult(ToolSpec);

#[derive(Deserialize)]
struct Arguments {
    handle: String,
    pattern: String,
    inside: Option<String>,
    #[serde(default)]
    ignore_case: bool,
    max_matches: Option<usize>,
    after: Option<usize>,
}

impl SearchResult {
    pub(crate) fn new() -> Self {
        let description = "Searches a large result of an earlier call, by its handle, for a regular \
            expression (no look-around, no back-references). Each line that matches is shown with \
            its number and its offset in bytes, where read_result reads on. A result is JSON on one \
            line: `inside` searches a text in it, /text for what http_fetch returned.";
        let schema = json!({
            "type": "object",
            "properties": {
                "handle": {"type": "string", "description": "For instance call_7"},
                "pattern": {
                    "type": "string", "minLength": 1,
                    "description": "For instance total: \\d+; ^ and $ match at lines",
                },
                "inside": {
                    "type": "string",
                    "description": "JSON Pointer to a text of the result, for instance /text",
                },
                "ignore_case": {"type": "boolean", "description": "false"},
                "max_matches": {
                    "type": "integer", "minimum": 1, "maximum": MAX_MATCHES,
                    "description": format!("The most lines to show; {DEFAULT_MATCHES}"),
                },
                "after": {
                    "type": "integer", "minimum": 0,
                    "description": "Go on after this offset: `next` of a result",
                },
            },
            "required": ["handle", "pattern"],
            "additionalProperties": false,
        });
        // It only reads.
        Self(ToolSpec::new("search_result", description, schema).effect(Effect::Pure))
    }
}

impl Tool for SearchResult {
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
            let arguments: Arguments = crate::arguments(arguments)?;
            let regex = grep::compile(&arguments.pattern, arguments.ignore_case)?;
            let whole = whole(&arguments.handle, context, MAX_WHOLE).await?;
            let abandoned = context.cancel.child_token();
            let _guard = abandoned.clone().drop_guard();
            let found = off_thread(move || {
                let text = text_of(whole, arguments.inside.as_deref())?;
                let max = arguments.max_matches.unwrap_or(DEFAULT_MATCHES);
                search(&regex, &text, max, arguments.after, &abandoned)
            });
            found.await.map(ToolOutput::from)
        })
    }
}

fn search(
    regex: &Regex,
    text: &str,
    max: usize,
    after: Option<usize>,
    abandoned: &CancellationToken,
) -> Result<Value, Failure> {
    let mut matches = Vec::new();
    let mut next = None;
    let mut last = 0;
    grep::lines(regex, text.as_bytes(), |hit| {
        if abandoned.is_cancelled() {
            return ControlFlow::Break(());
        }
        if after.is_some_and(|after| hit.offset <= after) {
            return ControlFlow::Continue(());
        }
        if matches.len() == max {
            next = Some(last);
            return ControlFlow::Break(());
        }
        last = hit.offset;
        matches.push(json!({"line": hit.line, "offset": hit.offset, "text": hit.text}));
        ControlFlow::Continue(())
    });
    if abandoned.is_cancelled() {
        return Err(stopped());
    }
    let mut result = json!({"count": matches.len(), "matches": matches, "total_bytes": text.len()});
    if let Some(next) = next {
        result["cut"] = format!("there are more than {max} matches").into();
        result["next"] = next.into();
    }
    Ok(result)
}
