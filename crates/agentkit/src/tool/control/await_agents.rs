//! `await_agents`: waits until child tasks have ended, and tells how.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{FollowUp, Seconds};
use crate::{
    BoxFuture, Tool, ToolSpec,
    event::{CallWait, Failure},
    tool::{Effect, Resources, ToolContext, ToolOutput},
};

/// Waits until child tasks have ended, and tells how.
pub struct AwaitAgents(ToolSpec);

#[derive(Deserialize)]
struct Arguments {
    tasks: Vec<String>,
    timeout_seconds: Option<Seconds>,
}

impl AwaitAgents {
    /// The tool.
    #[must_use]
    pub fn new() -> Self {
        let description = "Waits until all of these tasks have ended, and gives their results in \
            this order. The tasks are those that spawn_agent began; they may have ended before.";
        let schema = json!({
            "type": "object",
            "properties": {
                "tasks": {
                    "type": "array", "minItems": 1, "maxItems": 1_000, "items": {"type": "string"},
                    "description": "Ids that spawn_agent told",
                },
                "timeout_seconds": Seconds::schema(
                    "How long to wait at the most; until the task's deadline",
                ),
            },
            "required": ["tasks"],
            "additionalProperties": false,
        });
        // Pure: the ends of the tasks are in the log, however often they are asked for.
        Self(ToolSpec::new("await_agents", description, schema).effect(Effect::Pure))
    }
}

impl Default for AwaitAgents {
    fn default() -> Self {
        Self::new()
    }
}

impl Tool for AwaitAgents {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn resources(&self, _: &Value) -> Resources {
        Resources::none()
    }

    fn call<'a>(
        &'a self,
        context: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        Box::pin(async move {
            let Arguments {
                tasks,
                timeout_seconds,
            } = super::arguments(arguments)?;
            let wait = CallWait::Children {
                tasks,
                until_micros: timeout_seconds.map(|timeout| timeout.after(context.now_micros)),
            };
            Ok(FollowUp::Wait(wait).into())
        })
    }
}
