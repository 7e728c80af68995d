//! `json_query`: picks values out of JSON with JSONPath (RFC 9535).
//!
//! The query language has no loops, but a short query can still ask for very much: selectors that
//! repeat a node multiply, and so do descendants of descendants. So the document, the steps of the
//! evaluation and the size of what is picked are each bounded.

mod document;
mod evaluate;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod hint;
mod parse;
mod pattern;
mod query;

use agentkit::{
    BoxFuture, Tool, ToolSpec,
    event::Failure,
    tool::{Effect, Resource, Resources, ToolContext, ToolOutput},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use self::{document::Source, evaluate::Evaluation};
use crate::{encoding, json::Node, workspace::stopped};

const DEFAULT_MATCHES: usize = 1000;
const MAX_MATCHES: usize = 10_000;
/// The most bytes of JSON that are picked, about.
const MAX_PICKED: usize = 16 << 20;
/// How many documents are in memory at once; a large one takes much more than its bytes.
const AT_ONCE: usize = 2;

pub(crate) struct JsonQuery {
    spec: ToolSpec,
    turn: Semaphore,
}

#[derive(Deserialize)]
struct Arguments {
    query: String,
    path: Option<String>,
    handle: Option<String>,
    #[serde(default, deserialize_with = "present")]
    json: Option<Value>,
    inside: Option<String>,
    encoding: Option<String>,
    max_matches: Option<usize>,
}

/// `null` is JSON like any other.
fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(value).map(Some)
}

impl JsonQuery {
    pub(crate) fn new() -> Self {
        let description = "Picks values out of a JSON document with JSONPath (RFC 9535), for \
            instance $.items[?@.price > 10].name or $..id. The document is a file of the workspace, \
            a large result of an earlier call, or given as `json`.";
        let schema = json!({
            "type": "object",
            "properties": {
                "query": {"type": "string", "description": "JSONPath; begins with $"},
                "path": {"type": "string", "description": "A file, relative to the workspace"},
                "handle": {"type": "string", "description": "A large result, for instance call_7"},
                "json": {"description": "The document itself"},
                "inside": {
                    "type": "string",
                    "description": "JSON Pointer to a string of the document that holds JSON, which \
                        is queried instead: /text for what http_fetch returned",
                },
                "encoding": {
                    "type": "string",
                    "description": "Of the file, for instance windows-1251; found out",
                },
                "max_matches": {
                    "type": "integer", "minimum": 1, "maximum": MAX_MATCHES,
                    "description": format!("The most values to return; {DEFAULT_MATCHES}"),
                },
            },
            "required": ["query"],
            "additionalProperties": false,
        });
        Self {
            // It only reads.
            spec: ToolSpec::new("json_query", description, schema).effect(Effect::Pure),
            turn: Semaphore::new(AT_ONCE),
        }
    }
}

impl Tool for JsonQuery {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn resources(&self, arguments: &Value) -> Resources {
        // A document that is given, or a result of an earlier turn, never changes.
        let path = arguments.get("path").and_then(Value::as_str);
        Resources::reads(path.map(Resource::file))
    }

    fn call<'a>(
        &'a self,
        context: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        Box::pin(async move {
            let arguments: Arguments = crate::arguments(arguments)?;
            let query = query::read(&arguments.query)?;
            let encoding = arguments
                .encoding
                .as_deref()
                .map(encoding::named)
                .transpose()?;
            let source = Source::of(arguments.path, arguments.handle, arguments.json)?;
            let max = arguments.max_matches.unwrap_or(DEFAULT_MATCHES);
            let _turn = self.turn.acquire().await.map_err(|_| stopped())?;
            let text = source.load(context).await?;
            let abandoned = context.cancel.child_token();
            let _guard = abandoned.clone().drop_guard();
            let work = tokio::task::spawn_blocking(move || {
                let mut document = text.parse(encoding)?;
                if let Some(pointer) = arguments.inside {
                    document = document.inside(&pointer)?;
                }
                let mut evaluation = Evaluation::new(&document.node, &abandoned);
                let found = evaluation.query(&query)?;
                let mut result = picked(&found, max);
                let unusable = evaluation.into_unusable();
                if !unusable.is_empty() {
                    result["unusable_patterns"] = unusable.into();
                }
                if let Some(encoding) = document.encoding {
                    result["encoding"] = encoding.into();
                }
                if document.surrogates > 0 {
                    result["lone_surrogates"] = document.surrogates.into();
                }
                Ok(result)
            });
            match work.await {
                Ok(result) => result.map(ToolOutput::from),
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => Err(stopped()),
            }
        })
    }
}

/// The values that were found, as far as they fit.
fn picked(found: &[&Node], max: usize) -> Value {
    let mut room = MAX_PICKED;
    let mut as_text = 0;
    let values: Vec<Value> = found
        .iter()
        .take(max)
        .map_while(|node| {
            room = room.checked_sub(size(node, room)?)?;
            Some(node.to_value(&mut as_text))
        })
        .collect();
    let mut result = json!({"count": found.len()});
    if values.len() < found.len() {
        result["cut"] = json!(format!("these are the first {}", values.len()));
    }
    if as_text > 0 {
        result["numbers_as_text"] = as_text.into();
    }
    result["values"] = values.into();
    result
}

/// About how many bytes of JSON a value takes; none if more than `room`.
fn size(node: &Node, room: usize) -> Option<usize> {
    let mut size = match node {
        Node::String(text) => text.len() + 2,
        Node::Number(number) => number.len(),
        Node::Null | Node::Bool(_) | Node::Array(_) | Node::Object(_) => 8,
    };
    match node {
        Node::Array(items) => {
            for item in items {
                size += self::size(item, room.checked_sub(size)?)?;
            }
        }
        Node::Object(members) => {
            for (name, member) in members {
                size += name.len() + 4;
                size += self::size(member, room.checked_sub(size)?)?;
            }
        }
        Node::Null | Node::Bool(_) | Node::Number(_) | Node::String(_) => {}
    }
    (size <= room).then_some(size)
}

#[cfg(test)]
mod tests;
