//! Agents as data: definitions in TOML, or in Markdown with the instructions as its text.
//!
//! ```toml
//! name = "researcher"
//! description = "Finds out and cites"     # for people, and for agents that start this agent
//! model = ["openai/gpt-5", "anthropic/claude-sonnet-4-5"]   # a chain; or a name
//! planner = "react"
//! temperature = 0.2
//! tools = ["read_file", "http_*"]         # names and patterns; without the key, every tool
//! agents = ["writer"]                     # agents to start with spawn_agent
//! instructions = """
//! You look things up for {{ input.customer }}. Today is {{ date }}.
//! """
//!
//! [memory]
//! context_tokens = 60000
//! long_term = { recall = true, remember = true }
//!
//! [limits]
//! max_steps = 40
//! max_cost_usd = 0.5
//! timeout = "10m"
//!
//! [output]
//! schema = { type = "object", required = ["answer"] }
//!
//! [policy]
//! profile = "strict"
//! rule = [{ tool = "http_request", action = "ask" }]
//! ```
//!
//! Equal definitions have equal digests, however they are written: [`Definition::canonical`] is RFC
//! 8785 JSON without empty fields, and [`Definition::digest`] its SHA-256.

mod braces;
mod foreign;
mod front_matter;
mod instructions;
mod read;

use std::{path::Path, time::Duration};

use serde::Serialize;
use serde_json::Value;
use units::{duration, money};

pub use self::{
    foreign::is_agent_file,
    instructions::{Scene, SceneTask},
};
use crate::{
    memory::long_term::LongTermConfig,
    policy::PolicyFile,
    run::{DEFAULT_REASKS, Exhaustion, OutputConfig},
};

/// An agent as data.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Definition {
    /// Its name: 1 to 64 of `a-z`, `0-9`, `-`, `_` and `.`, a letter or digit first.
    pub name: String,
    /// Purpose of the agent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Provider and model, the first choice first; empty for the configured models.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub model: Vec<String>,
    /// Instructions for the model: a template, see [`Definition::instructions`].
    #[serde(skip_serializing_if = "String::is_empty")]
    pub instructions: String,
    /// `Some(false)` for instructions that are text, with any braces; `None` for a template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<bool>,
    /// The planner; `None` for the configured planner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub planner: Option<String>,
    /// Temperature of each request; `None` leaves the field out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// The script of a scripted model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// Names and patterns of tools, such as `http_*`, or `github/*` for the tools of a source; `None` for every tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<String>>,
    /// Agents to start with `spawn_agent`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<String>,
    /// Form of the answers; `None` for plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Output>,
    /// Memory of a run: its conversation, and facts that outlive it.
    #[serde(skip_serializing_if = "Memory::is_default")]
    pub memory: Memory,
    /// Limits of a run.
    #[serde(skip_serializing_if = "Limits::is_default")]
    pub limits: Limits,
    /// Content of a policy file that binds the agent beside the server's policy; `null` for no policy.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub policy: Value,
}

/// Form of answers: JSON that matches a schema.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Output {
    /// A JSON Schema.
    pub schema: Value,
    /// Number of further requests after an answer that does not match; `None` for the usual number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_reasks: Option<u32>,
}

/// Memory of a run; `None` falls back to the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Memory {
    /// Tokens of a prompt at the most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<u64>,
    /// Share of the context, in per cent, from which the conversation is compacted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compact_at: Option<u8>,
    /// Number of newest exchanges to keep whole in a compaction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_exchanges: Option<u32>,
    /// Whether the model sums up the older part; otherwise the older part is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summarise: Option<bool>,
    /// Long-term memory; `None` for an agent without long-term memory, unless the configuration gives it to all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub long_term: Option<LongTerm>,
}

/// Long-term memory of an agent; `None` for the usual value.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct LongTerm {
    /// The name under which the agent's facts are kept, which agents may share; the agent's name unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Whether facts are recalled before planning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recall: Option<bool>,
    /// Whether the outcome is remembered at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remember: Option<bool>,
    /// The most facts of a recall.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The most tokens of recalled text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u32>,
}

impl LongTerm {
    /// The configuration of a run of an agent with this name, for a user.
    #[must_use]
    pub fn config(&self, agent: &str, user: Option<&str>) -> LongTermConfig {
        let usual = LongTermConfig::default();
        LongTermConfig {
            namespace: self.namespace.clone().unwrap_or_else(|| agent.to_owned()),
            user: user.map(str::to_owned),
            recall: self.recall.unwrap_or(usual.recall),
            remember: self.remember.unwrap_or(usual.remember),
            limit: self.limit.unwrap_or(usual.limit),
            tokens: self.tokens.unwrap_or(usual.tokens),
        }
    }
}

/// Limits of a run; `None` falls back to the configuration.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Limits {
    /// Model and tool calls together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<u32>,
    /// Input and output tokens together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// Money.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost_usd: Option<f64>,
    /// Seconds from the first start; written as a number of them, or like `90s` or `10m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
    /// Tokens of an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
    /// Child tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_children: Option<u32>,
    /// Generations of child tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spawn_depth: Option<u32>,
    /// Behaviour where a limit is used up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_exhausted: Option<Exhaustion>,
}

/// How a definition is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// TOML.
    Toml,
    /// Markdown after a block of settings: TOML between `+++`, or YAML between `---`.
    Markdown,
    /// YAML 1.2.
    Yaml,
    /// JSON.
    Json,
}

/// A definition from a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// The definition.
    pub definition: Definition,
    /// Choices of the reader, for the author: whether the text is a template, and for a file of a foreign tool the
    /// mapped settings and the settings left out.
    pub notes: Vec<String>,
}

/// An unusable definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// The text is not of its format.
    #[error("it is not valid {format}: {message}")]
    Syntax {
        /// The format.
        format: &'static str,
        /// Where and why.
        message: String,
    },
    /// Every wrong part of the definition.
    #[error("{}", sentences(.0))]
    Mistakes(Vec<Mistake>),
}

/// A wrong part of a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where: keys, outermost first.
    pub path: Vec<String>,
    /// The mistake, as a sentence with the place.
    pub message: String,
    /// Whether a newer release may read the definition: a key or a name is unknown to this release.
    pub may_be_newer: bool,
}

impl DefinitionError {
    /// Whether a newer release may read the definition.
    #[must_use]
    pub fn may_be_newer(&self) -> bool {
        match self {
            Self::Syntax { .. } => false,
            Self::Mistakes(mistakes) => mistakes.iter().any(|mistake| mistake.may_be_newer),
        }
    }
}

fn sentences(mistakes: &[Mistake]) -> String {
    let messages: Vec<&str> = mistakes.iter().map(|one| one.message.as_str()).collect();
    messages.join("; ")
}

impl Format {
    /// The format of a file, by its name; `None` for other files.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "toml" => Some(Self::Toml),
            "md" | "markdown" => Some(Self::Markdown),
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    /// The format of a text without a name: Markdown begins with a fence, JSON with a brace, and the rest is TOML.
    #[must_use]
    pub fn guess(text: &str) -> Self {
        let text = text.trim_start_matches('\u{feff}').trim_start();
        match text.get(..3) {
            Some("+++" | "---") => Self::Markdown,
            _ if text.starts_with('{') => Self::Json,
            _ => Self::Toml,
        }
    }
}

impl Definition {
    /// Reads a definition.
    ///
    /// # Errors
    /// Every mistake. An unknown key comes with the nearest known key.
    pub fn parse(text: &str, format: Format) -> Result<Self, DefinitionError> {
        Self::parse_file(text, format, None).map(|parsed| parsed.definition)
    }

    /// Reads a definition from a file. The name of the file, without its extension, names an agent without a name.
    /// Markdown for Claude Code, Copilot or a like tool is mapped, and the notes tell the mapping.
    ///
    /// # Errors
    /// As [`Definition::parse`].
    pub fn parse_file(
        text: &str,
        format: Format,
        stem: Option<&str>,
    ) -> Result<Parsed, DefinitionError> {
        let value = match format {
            Format::Toml => front_matter::toml(text)?,
            Format::Json => front_matter::json(text)?,
            Format::Yaml => Value::Object(front_matter::yaml(text)?),
            Format::Markdown => return front_matter::markdown(text, stem)?.parsed(stem),
        };
        let definition = Self::from_json(&value)?;
        Ok(Parsed {
            definition,
            notes: Vec::new(),
        })
    }

    /// Reads a definition from JSON.
    ///
    /// # Errors
    /// As [`Definition::parse`].
    pub fn from_json(value: &Value) -> Result<Self, DefinitionError> {
        read::definition(value, 1)
    }

    /// Whether its instructions are a template.
    #[must_use]
    pub fn is_template(&self) -> bool {
        self.template != Some(false)
    }

    /// The canonical form: RFC 8785 JSON without empty fields.
    #[must_use]
    pub fn canonical(&self) -> String {
        serde_json_canonicalizer::to_string(self)
            .expect("a definition has string keys and finite numbers, so it always serialises")
    }

    /// SHA-256 of the canonical form, in hex.
    #[must_use]
    pub fn digest(&self) -> String {
        crate::tool::digest_hex(self.canonical().as_bytes())
    }

    /// Form of the answers, as a run is pinned to the form.
    #[must_use]
    pub fn output(&self) -> Option<OutputConfig> {
        let output = self.output.as_ref()?;
        Some(OutputConfig {
            schema: output.schema.clone(),
            max_reasks: output.max_reasks.unwrap_or(DEFAULT_REASKS),
        })
    }

    /// The policy of a definition: the content of a policy file, or `null` for no policy.
    ///
    /// # Errors
    /// The mistake in the policy.
    pub fn policy_of(value: &Value) -> Result<Option<PolicyFile>, DefinitionError> {
        read::policy(value)
    }

    /// The policy of the definition, if there is a policy.
    ///
    /// # Errors
    /// Never, for a definition from [`Definition::parse`].
    pub fn policy(&self) -> Result<Option<PolicyFile>, DefinitionError> {
        read::policy(&self.policy)
    }
}

impl Memory {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Limits {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Micro-USD that a run may cost.
    #[must_use]
    pub fn max_cost_micros(&self) -> Option<u64> {
        money::from_usd(self.max_cost_usd?).ok()
    }

    /// How long a run may take.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        duration::from_seconds(self.timeout?).ok()
    }
}

#[cfg(test)]
mod tests;
