//! What commits with an append beside its events.

use serde_json::Value;

use crate::event::StepId;

/// Something that whoever keeps the log does in the same transaction as the events that cause it.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Ask somebody whether a call may run: it goes with a `tool.called` whose verdict is `ask`.
    Ask(Approval),
    /// Begin a child task: it goes with a `tool.completed` that names the child.
    Spawn(ChildSpec),
}

/// A call that somebody has to approve. What is approved is all of this, once: the word of a person
/// who saw other arguments, another tool or another agent does not count.
#[derive(Debug, Clone, PartialEq)]
pub struct Approval {
    /// The call.
    pub step: StepId,
    /// The tool's name.
    pub tool: String,
    /// [`crate::ToolSpec::digest`].
    pub tool_digest: String,
    /// [`crate::run::RunConfig::digest`].
    pub agent_digest: String,
    /// The exact arguments that would run.
    pub input: Value,
    /// SHA-256, in hex, of the arguments as RFC 8785 JSON.
    pub input_digest: String,
    /// JSON Schema of the arguments, for whoever changes them.
    pub input_schema: Value,
    /// Why somebody has to look at it.
    pub reason: String,
    /// Until when, in UTC microseconds; none for the run's deadline.
    pub until_micros: Option<i64>,
}

/// A child task to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildSpec {
    /// Its id.
    pub task: String,
    /// The call that begins it.
    pub step: StepId,
    /// What it is to do.
    pub goal: String,
    /// Its agent; none for the parent's.
    pub agent: Option<String>,
    /// What surfaces call it.
    pub name: Option<String>,
    /// Instructions for its model in place of its agent's.
    pub instructions: Option<String>,
    /// What it may use up.
    pub limits: ChildLimits,
    /// When it has to end, in UTC microseconds: its own limit or its parent's deadline.
    pub deadline_micros: Option<i64>,
}

/// What a child task may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChildLimits {
    /// Tokens, set aside of the parent's budget if it has one.
    pub max_tokens: Option<u64>,
    /// Micro-USD, likewise.
    pub max_cost_micros: Option<u64>,
    /// Steps; none for its agent's limit.
    pub max_steps: Option<u32>,
    /// Generations of children that may follow it.
    pub spawn_depth_left: u32,
}
