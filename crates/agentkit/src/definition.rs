//! Agents as data: what an agent is, written in TOML, or in Markdown whose text is the instructions.
//!
//! ```toml
//! name = "researcher"
//! description = "Finds out and cites"     # for people, and for agents that may start it
//! model = ["openai/gpt-5", "anthropic/claude-sonnet-4-5"]   # a chain; or one name
//! planner = "react"
//! temperature = 0.2
//! tools = ["read_file", "http_*"]         # names and patterns; without it, every tool
//! agents = ["writer"]                     # those that it may start with spawn_agent
//! instructions = """
//! You look things up for {{ input.customer }}. Today is {{ date }}.
//! """
//!
//! [memory]
//! context_tokens = 60000
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
//! 8785 JSON without what is left out, and [`Definition::digest`] its SHA-256.

mod braces;
mod foreign;
mod front_matter;
mod instructions;
mod read;

use std::{path::Path, time::Duration};

use serde::Serialize;
use serde_json::Value;
use units::{duration, money};

pub use self::instructions::{Scene, SceneTask};
use crate::{
    policy::PolicyFile,
    run::{DEFAULT_REASKS, Exhaustion, OutputConfig},
};

/// What an agent is.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Definition {
    /// Its name: 1 to 64 of `a-z`, `0-9`, `-`, `_` and `.`, a letter or digit first.
    pub name: String,
    /// What it is good for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Provider and model, the first choice first; empty for the configured ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub model: Vec<String>,
    /// Instructions for the model: a template, see [`Definition::instructions`].
    #[serde(skip_serializing_if = "String::is_empty")]
    pub instructions: String,
    /// False for instructions that are text, whatever braces they have; none for a template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<bool>,
    /// The planner; none for the configured one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub planner: Option<String>,
    /// Sent with each request, if it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// The script of a scripted model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// Names and patterns of its tools, such as `http_*`, or `github/*` for those of one source; none for
    /// every tool that there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<String>>,
    /// The agents that it may start.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<String>,
    /// What its answers have to be, if they are not plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Output>,
    /// What it remembers within a run.
    #[serde(skip_serializing_if = "Memory::is_default")]
    pub memory: Memory,
    /// What a run may use up.
    #[serde(skip_serializing_if = "Limits::is_default")]
    pub limits: Limits,
    /// A policy file's content, which binds it beside the server's policy; null for none.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub policy: Value,
}

/// What an agent's answers have to be: JSON that matches a schema.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Output {
    /// A JSON Schema.
    pub schema: Value,
    /// How often the model is asked again; none for the usual number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_reasks: Option<u32>,
}

/// What an agent remembers within a run; what is none falls back to the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Memory {
    /// Tokens of a prompt at the most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<u64>,
    /// The share of the context, in per cent, at which the conversation is made smaller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compact_at: Option<u8>,
    /// The newest exchanges that stay whole then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_exchanges: Option<u32>,
    /// Whether the model sums up the older part; if not, it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summarise: Option<bool>,
}

/// What a run may use up; what is none falls back to the configuration.
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
    /// Tokens of one answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
    /// Child tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_children: Option<u32>,
    /// Generations of child tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spawn_depth: Option<u32>,
    /// What follows where one of these is used up.
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

/// A definition that was read from a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// The definition.
    pub definition: Definition,
    /// What was made of the file where it does not say so itself: whether its text is a template, and of
    /// a file for another tool, what its settings became and what was left out.
    pub notes: Vec<String>,
}

/// A definition that cannot be used.
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
    /// Parts of it are wrong: all of them.
    #[error("{}", sentences(.0))]
    Mistakes(Vec<Mistake>),
}

/// One part of a definition that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where: keys, outermost first.
    pub path: Vec<String>,
    /// What is wrong, as a sentence that names the place.
    pub message: String,
    /// Whether a newer release may read it: it has a key or a name that this one does not know.
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
    /// The format of a file, by its name; none if it is no definition's.
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

    /// The format of a text without a name: one that begins with a fence is Markdown, and one that begins
    /// with a brace is JSON.
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
    /// Everything in it that is wrong. An unknown key is named with the nearest that there is.
    pub fn parse(text: &str, format: Format) -> Result<Self, DefinitionError> {
        Self::parse_file(text, format, None).map(|parsed| parsed.definition)
    }

    /// Reads a definition from a file, whose name without its extension names an agent that has no name.
    /// Markdown that was written for Claude Code, Copilot or a like tool is mapped, and the notes say how.
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
            Format::Markdown => return front_matter::markdown(text)?.parsed(stem),
        };
        let definition = Self::from_json(&value)?;
        Ok(Parsed {
            definition,
            notes: Vec::new(),
        })
    }

    /// Reads a definition that is JSON.
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

    /// Its one form: RFC 8785 JSON, without what it leaves out.
    #[must_use]
    pub fn canonical(&self) -> String {
        serde_json_canonicalizer::to_string(self)
            .expect("a definition has string keys and finite numbers, so it always serialises")
    }

    /// SHA-256 of its one form, in hex.
    #[must_use]
    pub fn digest(&self) -> String {
        crate::tool::digest_hex(self.canonical().as_bytes())
    }

    /// What its answers have to be, as a run is pinned to it.
    #[must_use]
    pub fn output(&self) -> Option<OutputConfig> {
        let output = self.output.as_ref()?;
        Some(OutputConfig {
            schema: output.schema.clone(),
            max_reasks: output.max_reasks.unwrap_or(DEFAULT_REASKS),
        })
    }

    /// The policy that it brings along, if it does.
    ///
    /// # Errors
    /// None, for a definition that was read.
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
