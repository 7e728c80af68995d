//! Control tools: with them an agent waits, asks a person, and has other agents work for the agent.
//!
//! They have no effect themselves. Their request takes effect with the log of the run (see [`FollowUp`]),
//! so to call a control tool again after a crash changes nothing: they are `pure`.

mod ask_human;
mod await_agents;
mod sleep_until;
mod spawn_agent;

use std::sync::Arc;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

pub use self::{
    ask_human::AskHuman, await_agents::AwaitAgents, sleep_until::SleepUntil,
    spawn_agent::SpawnAgent,
};
use super::{FollowUp, Tool};
use crate::event::Failure;

/// Every control tool.
#[must_use]
pub fn all() -> Vec<Arc<dyn Tool>> {
    vec![
        Arc::new(AskHuman::new()),
        Arc::new(AwaitAgents::new()),
        Arc::new(SleepUntil::new()),
        Arc::new(SpawnAgent::new()),
    ]
}

/// The longest time that a model may name, in seconds: ten years.
const MAX_SECONDS: f64 = 315_576_000.0;

/// A length of time as a model gives it, in seconds. The schema keeps it within its bounds.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(transparent)]
struct Seconds(f64);

impl Seconds {
    fn schema(description: &str) -> Value {
        json!({
            "type": "number", "minimum": 0, "maximum": MAX_SECONDS, "description": description,
        })
    }

    fn micros(self) -> i64 {
        (self.0 * 1e6) as i64
    }

    fn after(self, now_micros: i64) -> i64 {
        now_micros.saturating_add(self.micros())
    }
}

/// The arguments as a tool's own type. The gate has checked them against the schema, which a few
/// values get through all the same: `1.0` counts as an integer there.
fn arguments<T: DeserializeOwned>(arguments: Value) -> Result<T, Failure> {
    serde_json::from_value(arguments).map_err(|error| {
        Failure::last(
            "invalid_arguments",
            format!("the arguments cannot be used: {error}"),
        )
    })
}

#[cfg(test)]
mod tests;
