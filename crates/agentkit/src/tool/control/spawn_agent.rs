//! `spawn_agent`: begins a child task that another agent works on.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{FollowUp, Seconds};
use crate::{
    BoxFuture, Tool, ToolSpec,
    event::Failure,
    tool::{Effect, Resources, Spawn, ToolContext, ToolOutput},
};

/// Begins a child task that another agent works on.
pub struct SpawnAgent(ToolSpec);

#[derive(Deserialize)]
struct Arguments {
    goal: String,
    agent: Option<String>,
    name: Option<String>,
    instructions: Option<String>,
    max_tokens: Option<u64>,
    max_cost_usd: Option<f64>,
    max_steps: Option<u32>,
    timeout_seconds: Option<Seconds>,
}

impl SpawnAgent {
    /// The tool, for agents of any name.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Some(json!({
            "type": "string", "description": "Name of an agent; the same as yours",
        })))
    }

    /// The tool, for the agent itself and these.
    #[must_use]
    pub fn of(agents: &[String]) -> Self {
        Self::with((!agents.is_empty()).then(|| {
            json!({
                "type": "string", "enum": agents,
                "description": "Which agent works on it; without it, one like you",
            })
        }))
    }

    fn with(agent: Option<Value>) -> Self {
        let description = "Begins a task that another agent works on by itself, and tells its id at \
            once. It knows nothing but its goal. Begin several to have work done at the same time; \
            await_agents gives their results.";
        let mut schema = json!({
            "type": "object",
            "properties": {
                "goal": {
                    "type": "string", "minLength": 1,
                    "description": "What it is to do, with all that it needs to know",
                },
                "name": {"type": "string", "maxLength": 200, "description": "A short title"},
                "instructions": {
                    "type": "string", "description": "System instructions in place of the agent's",
                },
                "max_tokens": {
                    "type": "integer", "minimum": 1,
                    "description": "Tokens that it may use, out of yours",
                },
                "max_cost_usd": {
                    "type": "number", "minimum": 0.000_001, "maximum": 1_000_000,
                    "description": "USD that its model calls may cost, out of yours",
                },
                "max_steps": {
                    "type": "integer", "minimum": 1, "maximum": u32::MAX,
                    "description": "Model and tool calls that it may make",
                },
                "timeout_seconds": Seconds::schema("How long it may take"),
            },
            "required": ["goal"],
            "additionalProperties": false,
        });
        if let Some(agent) = agent {
            schema["properties"]["agent"] = agent;
        }
        // Pure: the task begins with the record of the call's outcome, or not at all.
        Self(ToolSpec::new("spawn_agent", description, schema).effect(Effect::Pure))
    }
}

impl Default for SpawnAgent {
    fn default() -> Self {
        Self::new()
    }
}

impl Tool for SpawnAgent {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn resources(&self, _: &Value) -> Resources {
        Resources::none()
    }

    fn call<'a>(
        &'a self,
        _: &'a ToolContext,
        arguments: Value,
    ) -> BoxFuture<'a, Result<ToolOutput, Failure>> {
        Box::pin(async move {
            let Arguments {
                goal,
                agent,
                name,
                instructions,
                max_tokens,
                max_cost_usd,
                max_steps,
                timeout_seconds,
            } = super::arguments(arguments)?;
            let spawn = Spawn {
                goal,
                agent,
                name,
                instructions,
                max_tokens,
                // The schema keeps the amount within a million.
                max_cost_micros: max_cost_usd.and_then(|usd| units::money::from_usd(usd).ok()),
                max_steps,
                timeout_micros: timeout_seconds.map(Seconds::micros),
            };
            Ok(FollowUp::Spawn(spawn).into())
        })
    }
}
