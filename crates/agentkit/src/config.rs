//! The pinned definition of a run, and its limits.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{memory::long_term::LongTermConfig, model::Prices};

/// The pinned definition of a run; recorded in `run.started`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunConfig {
    /// The agent's name.
    pub agent: String,
    /// The version of the definition, if the agent has a definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_digest: Option<String>,
    /// Provider and model, for instance `openai/gpt-5`.
    pub model: String,
    /// The chain of models, `model` first: where a model cannot go on, the next model does. With the facts about
    /// each model at the begin of the run. Empty for a single model without facts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<PinnedModel>,
    /// The planner's name.
    pub planner: String,
    /// Instructions for the model.
    #[serde(default)]
    pub instructions: String,
    /// The callable tools, by name, with the digest of the definition. Shared by the runs of an
    /// agent: every run has the tools in its first event and in its fold.
    #[serde(default)]
    pub tools: Arc<[PinnedTool]>,
    /// About how many tokens the tools' definitions have.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tools_tokens: u64,
    /// Limits of the run.
    #[serde(default)]
    pub limits: Limits,
    /// How its conversation is kept within the model's context.
    #[serde(default, skip_serializing_if = "MemoryConfig::is_default")]
    pub memory: MemoryConfig,
    /// Use of long-term memory; `None` for a run without long-term memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long_term: Option<LongTermConfig>,
    /// The script of a scripted model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// Sent with each request, if configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Form of the answer; `None` for plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputConfig>,
    /// Further values of the host, for a resume.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub host: Value,
}

impl RunConfig {
    /// SHA-256, in hex, of the definition as RFC 8785 JSON.
    #[must_use]
    pub fn digest(&self) -> String {
        crate::tool::canonical_digest(self)
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature is serde's"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// How a run's conversation is kept within the model's context: old results of tools are cleared
/// first, then the older part is summed up by the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryConfig {
    /// Share of the context, in per cent, from which a compaction begins.
    pub compact_at: u8,
    /// Number of newest exchanges to keep whole, as long as they fit. An exchange is a message of the
    /// model with the results of its calls.
    pub keep_exchanges: u32,
    /// Whether the model sums up the older part; otherwise the older part is left out.
    pub summarise: bool,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self {
            compact_at: 80,
            keep_exchanges: 6,
            summarise: true,
        }
    }
}

impl MemoryConfig {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Form of an answer: JSON that matches a schema.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputConfig {
    /// A JSON Schema. A `$ref` may only point into the schema itself.
    pub schema: Value,
    /// Number of further requests after an answer that does not match.
    #[serde(default = "default_reasks")]
    pub max_reasks: u32,
}

/// How often a model is asked again unless something else is configured.
pub const DEFAULT_REASKS: u32 = 2;

fn default_reasks() -> u32 {
    DEFAULT_REASKS
}

/// Facts about a model at the begin of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedModel {
    /// Provider and model.
    pub name: String,
    /// Tokens of prompt and answer together, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<u64>,
    /// Tokens of an answer at the most, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
    /// Prices, where known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prices: Vec<Prices>,
}

/// A tool at the begin of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedTool {
    /// Its name.
    pub name: String,
    /// [`crate::ToolSpec::digest`].
    pub digest: String,
}

/// Limits of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Model and tool calls together.
    pub max_steps: u32,
    /// Input and output tokens together; `None` for no limit.
    pub max_tokens: Option<u64>,
    /// Money in micro-USD; `None` for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost_micros: Option<u64>,
    /// UTC microseconds; `None` for no limit.
    pub deadline_micros: Option<i64>,
    /// Turns in a row with only invalid calls.
    pub max_repairs: u32,
    /// Tokens of a prompt at the most: the conversation and the tools' definitions. `None` for the
    /// model's context, less room for the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<u64>,
    /// Tokens of an answer at the most; sent only if set.
    pub max_output_tokens: Option<u64>,
    /// Behaviour where a limit is used up.
    #[serde(skip_serializing_if = "Exhaustion::is_fail")]
    pub on_exhausted: Exhaustion,
    /// Most child tasks of the run.
    #[serde(skip_serializing_if = "is_default_children")]
    pub max_children: u32,
    /// Generations of child tasks below the run: a run with 0 begins no child, and a child has a generation
    /// less than its parent.
    #[serde(skip_serializing_if = "is_default_depth")]
    pub spawn_depth_left: u32,
}

/// Behaviour where a limit of a run is used up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exhaustion {
    /// The run fails.
    #[default]
    Fail,
    /// The run waits until a client raises the limit.
    Wait,
}

impl Exhaustion {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "the signature is serde's"
    )]
    fn is_fail(&self) -> bool {
        *self == Self::Fail
    }
}

const DEFAULT_CHILDREN: u32 = 100;
const DEFAULT_DEPTH: u32 = 3;

// The bytes of a run that says nothing of children are those of the releases that knew of none.
fn is_default_children(children: &u32) -> bool {
    *children == DEFAULT_CHILDREN
}

fn is_default_depth(depth: &u32) -> bool {
    *depth == DEFAULT_DEPTH
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_steps: 100,
            max_tokens: None,
            max_cost_micros: None,
            deadline_micros: None,
            max_repairs: 3,
            context_tokens: None,
            max_output_tokens: None,
            on_exhausted: Exhaustion::Fail,
            max_children: DEFAULT_CHILDREN,
            spawn_depth_left: DEFAULT_DEPTH,
        }
    }
}
