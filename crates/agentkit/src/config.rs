//! The definition that a run is pinned to, and what it may use up.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The definition that a run is pinned to; recorded in `run.started`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunConfig {
    /// The agent's name.
    pub agent: String,
    /// Provider and model, for instance `openai/gpt-5`.
    pub model: String,
    /// The planner's name.
    pub planner: String,
    /// Instructions for the model.
    #[serde(default)]
    pub instructions: String,
    /// The tools it may call, by name, with the digest of the definition.
    #[serde(default)]
    pub tools: Vec<PinnedTool>,
    /// What it may use up.
    #[serde(default)]
    pub limits: Limits,
    /// The script of a scripted model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// Sent with each request, if configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Anything else that the host wants to find again on resume.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub host: Value,
}

/// A tool as it was when the run began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedTool {
    /// Its name.
    pub name: String,
    /// [`crate::ToolSpec::digest`].
    pub digest: String,
}

/// What a run may use up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Model and tool calls together.
    pub max_steps: u32,
    /// Input and output tokens together; none for no limit.
    pub max_tokens: Option<u64>,
    /// UTC microseconds; none for no limit.
    pub deadline_micros: Option<i64>,
    /// Turns in a row whose calls were all invalid.
    pub max_repairs: u32,
    /// Tokens of the conversation that are sent at the most.
    pub context_tokens: u64,
    /// Tokens of an answer at the most; sent only if set.
    pub max_output_tokens: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_steps: 100,
            max_tokens: None,
            deadline_micros: None,
            max_repairs: 3,
            context_tokens: 100_000,
            max_output_tokens: None,
        }
    }
}
