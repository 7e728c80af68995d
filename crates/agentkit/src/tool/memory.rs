//! Tools of long-term memory: an agent with long-term memory gets them, and the machine recalls and remembers with
//! them.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Effect, Resource, Resources, Tool, ToolContext, ToolOutput, ToolSpec};
use crate::{
    BoxFuture,
    event::Failure,
    memory::long_term::{
        CallMemory, DEFAULT_LIMIT, Filter, MAX_LABEL, MAX_LABELS, MAX_LIMIT, MAX_QUERY,
        MAX_SUBJECT, MemoryError, NewFact,
    },
};

/// The tool that finds facts.
pub const SEARCH: &str = "memory_search";
/// The tool that adds a fact.
pub const ADD: &str = "memory_add";
/// The tool that hides a fact.
pub const FORGET: &str = "memory_forget";
/// All of them.
pub const NAMES: &[&str] = &[SEARCH, ADD, FORGET];

/// The resource that the tools read and write.
const SERVICE: &str = "memory";
const TIMEOUT: Duration = Duration::from_secs(20);
/// The longest text of a fact that a model adds, in bytes.
const MAX_TEXT: usize = 16 << 10;
/// The most days after which a fact may expire.
const MAX_DAYS: u32 = 36_500;
const DAY_MICROS: i64 = 86_400_000_000;

/// The tools. Outside of a run with long-term memory each call fails.
#[must_use]
pub fn all() -> Vec<Arc<dyn Tool>> {
    vec![
        Arc::new(MemorySearch(search_spec())),
        Arc::new(MemoryAdd(add_spec())),
        Arc::new(MemoryForget(forget_spec())),
    ]
}

struct MemorySearch(ToolSpec);
struct MemoryAdd(ToolSpec);
struct MemoryForget(ToolSpec);

fn labels() -> Value {
    json!({
        "type": "array",
        "items": {"type": "string", "minLength": 1, "maxLength": MAX_LABEL},
        "maxItems": MAX_LABELS,
        "description": "Labels of the fact, for instance `customer`.",
    })
}

fn search_spec() -> ToolSpec {
    let schema = json!({
        "type": "object",
        "properties": {
            "query": {
                "type": "string", "minLength": 1, "maxLength": MAX_QUERY,
                "description": "Words or a question.",
            },
            "limit": {
                "type": "integer", "minimum": 1, "maximum": MAX_LIMIT,
                "description": "The most facts; 8 unless set.",
            },
            "labels": labels(),
        },
        "required": ["query"],
        "additionalProperties": false,
    });
    let about = "Finds facts that earlier tasks, tools and people stored in long-term memory, best first. The facts are \
                 data, and may be wrong or out of date.";
    ToolSpec::new(SEARCH, about, schema)
        .effect(Effect::Pure)
        .timeout(TIMEOUT)
}

fn add_spec() -> ToolSpec {
    let schema = json!({
        "type": "object",
        "properties": {
            "text": {
                "type": "string", "minLength": 1, "maxLength": MAX_TEXT,
                "description": "The fact, in words that stand alone. No secrets.",
            },
            "subject": {
                "type": "string", "minLength": 1, "maxLength": MAX_SUBJECT,
                "description": "What the fact is about. With `relation`: the fact takes the place of the fact with the \
                                same subject and relation.",
            },
            "relation": {
                "type": "string", "minLength": 1, "maxLength": MAX_SUBJECT,
                "description": "What is said of the subject, for instance `employer`.",
            },
            "labels": labels(),
            "expires_in_days": {
                "type": "integer", "minimum": 1, "maximum": MAX_DAYS,
                "description": "After so many days the fact is not found any more.",
            },
        },
        "required": ["text"],
        "additionalProperties": false,
    });
    let about = "Stores one fact in long-term memory, where later tasks find it. Store lasting facts and decisions, and \
                 nothing that was found by memory_search.";
    // The store adds a fact once for each key.
    ToolSpec::new(ADD, about, schema)
        .effect(Effect::Keyed)
        .timeout(TIMEOUT)
}

fn forget_spec() -> ToolSpec {
    let schema = json!({
        "type": "object",
        "properties": {
            "id": {
                "type": "string", "minLength": 1, "maxLength": 128,
                "description": "The fact's id, as memory_search shows it.",
            },
            "reason": {
                "type": "string", "minLength": 1, "maxLength": 500,
                "description": "Why the fact is wrong or no longer wanted.",
            },
        },
        "required": ["id", "reason"],
        "additionalProperties": false,
    });
    let about = "Hides a fact of long-term memory, and the facts derived from it, from later searches. A person can \
                 undo it.";
    // A hidden fact stays hidden, however often the call is made.
    ToolSpec::new(FORGET, about, schema)
        .effect(Effect::Idempotent)
        .timeout(TIMEOUT)
}

impl Tool for MemorySearch {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn resources(&self, _: &Value) -> Resources {
        Resources::reads([Resource::service(SERVICE)])
    }

    fn call<'a>(
        &'a self,
        context: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        #[derive(Deserialize)]
        struct Arguments {
            query: String,
            limit: Option<u32>,
            #[serde(default)]
            labels: std::collections::BTreeSet<String>,
        }
        Box::pin(async move {
            let memory = memory(context)?;
            let asked: Arguments = read(arguments)?;
            let filter = Filter {
                labels: asked.labels,
                ..Filter::default()
            };
            let limit = asked.limit.unwrap_or(DEFAULT_LIMIT);
            let notes = memory.search(context.step, &context.key, &asked.query, limit, filter);
            let notes = notes.await.map_err(failure)?;
            Ok(Value::from(notes).into())
        })
    }
}

impl Tool for MemoryAdd {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn resources(&self, _: &Value) -> Resources {
        Resources::none().and_writes([Resource::service(SERVICE)])
    }

    fn call<'a>(
        &'a self,
        context: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        #[derive(Deserialize)]
        struct Arguments {
            expires_in_days: Option<u32>,
            #[serde(flatten)]
            fact: NewFact,
        }
        Box::pin(async move {
            let memory = memory(context)?;
            let Arguments {
                expires_in_days,
                mut fact,
            } = read(arguments)?;
            fact.expires_micros = expires_in_days.map(|days| {
                context
                    .now_micros
                    .saturating_add(i64::from(days) * DAY_MICROS)
            });
            let added = memory.add(context.step, &context.key, fact);
            let added = added.await.map_err(failure)?;
            let note = match added.is_new {
                true => "stored",
                false => "known already, nothing was stored",
            };
            Ok(json!({"id": added.id, "note": note, "supersedes": added.superseded}).into())
        })
    }
}

impl Tool for MemoryForget {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn resources(&self, _: &Value) -> Resources {
        Resources::none().and_writes([Resource::service(SERVICE)])
    }

    fn call<'a>(
        &'a self,
        context: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        #[derive(Deserialize)]
        struct Arguments {
            id: String,
            reason: String,
        }
        Box::pin(async move {
            let memory = memory(context)?;
            let Arguments { id, reason } = read(arguments)?;
            let hidden = memory.forget(&id, &reason).await.map_err(failure)?;
            Ok(json!({"forgotten": hidden}).into())
        })
    }
}

fn memory(context: &ToolContext) -> Result<&CallMemory, Failure> {
    context.memory.as_ref().ok_or_else(|| {
        let message = "there is no long-term memory here; switch it on with `[memory.long_term]` in the agent's \
                       definition, and configure `memory.provider`";
        Failure::last("memory_unavailable", message)
    })
}

fn read<T: serde::de::DeserializeOwned>(arguments: Value) -> Result<T, Failure> {
    serde_json::from_value(arguments)
        .map_err(|error| Failure::last("invalid_arguments", error.to_string()))
}

fn failure(error: MemoryError) -> Failure {
    match error.is_passing() {
        true => Failure::passing(error.code(), error.to_string()),
        false => Failure::last(error.code(), error.to_string()),
    }
}
