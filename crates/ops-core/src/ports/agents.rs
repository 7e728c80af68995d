//! The store's verbs for agents, and what says what a definition means.

use super::{Fut, Listed, StoreError};
use crate::{
    agent::{Agent, AgentDigest, AgentName, AgentSpec, AgentVersion},
    code::Code,
    field::FieldError,
    id::TenantId,
    json::Json,
};

/// A definition that is to be an agent's current version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAgent {
    /// Whose it is.
    pub tenant: TenantId,
    /// The agent.
    pub name: AgentName,
    /// What it is to be.
    pub spec: AgentSpec,
    /// What it must be now.
    pub expected: Expected,
}

/// What an agent must be, for a change of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expected {
    /// Anything, or nothing.
    #[default]
    Any,
    /// It must not be there.
    Absent,
    /// It must have this version.
    Version(AgentDigest),
}

/// What became of a definition that was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It is a new agent.
    Created,
    /// The agent has another version now.
    Changed,
    /// It was so before.
    Unchanged,
}

/// The verbs of a store for agents. Each is one atomic step. Agents and their versions
/// stay: tasks are pinned to them.
pub trait AgentStore: Send + Sync {
    /// Makes a definition an agent's current version. Refused are one that is not as expected, one
    /// that starts agents that are not there, and one that closes a circle.
    fn put_agent(&self, new: NewAgent) -> Fut<'_, Result<(Agent, Stored), StoreError>>;
    /// One agent.
    fn agent(&self, tenant: TenantId, name: AgentName) -> Fut<'_, Result<Agent, StoreError>>;
    /// Agents in the order of their names, after this one, at most `limit`.
    fn agents(
        &self,
        tenant: TenantId,
        after: Option<AgentName>,
        limit: u32,
    ) -> Fut<'_, Result<Listed<Agent>, StoreError>>;
    /// The versions of an agent, the one that was applied first last, at most `limit`.
    fn agent_versions(
        &self,
        tenant: TenantId,
        name: AgentName,
        limit: u32,
    ) -> Fut<'_, Result<Vec<AgentVersion>, StoreError>>;
    /// The version of a digest.
    fn agent_version(
        &self,
        tenant: TenantId,
        digest: AgentDigest,
    ) -> Fut<'_, Result<AgentVersion, StoreError>>;
}

/// Says what definitions and inputs of agents mean. The agent factory implements it: it knows models,
/// planners and tools.
pub trait AgentDefinitions: Send + Sync {
    /// Checks a definition, and gives it in its canonical form.
    ///
    /// # Errors
    /// Everything in it that is wrong.
    fn check(&self, definition: &Json) -> Result<(AgentName, AgentSpec), Vec<AgentMistake>>;

    /// What the author of a definition that can be used should know of it: a sentence each.
    fn warnings(&self, definition: &Json) -> Vec<String> {
        let _ = definition;
        Vec::new()
    }

    /// Checks the input of a task before the task is accepted, beyond what the engine knows of it.
    fn check_input(&self, task: &TaskInput<'_>) -> InputCheck;

    /// Whether that check may take more than a millisecond, however small the input is.
    fn is_costly_input(&self, task: &TaskInput<'_>) -> bool {
        let _ = task;
        false
    }

    /// The tools that agents of a tenant may have, and where they come from.
    fn tools(&self, tenant: TenantId) -> AgentTools;
}

/// A task that is to be accepted.
#[derive(Debug, Clone, Copy)]
pub struct TaskInput<'a> {
    /// Its type.
    pub task_type: &'a str,
    /// Its input.
    pub input: &'a Json,
    /// The current definition of the agent that it names.
    pub definition: Option<&'a Json>,
}

/// What a check of a task's input found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InputCheck {
    /// Parts for which the task is refused.
    pub wrong: Vec<FieldError>,
    /// Parts that the client should know of, though the task is accepted.
    pub warnings: Vec<FieldError>,
    /// Why no agent can be made for the task here, though nothing is wrong with its input.
    pub refused: Option<(Code, String)>,
}

/// The tools that agents may have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AgentTools {
    /// The tools, in the order of their names.
    pub tools: Vec<AgentTool>,
    /// Where they come from.
    pub sources: Vec<ToolSourceHealth>,
}

/// A tool that agents may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentTool {
    /// Its name.
    pub name: String,
    /// Its source, for instance `builtin`.
    pub source: String,
    /// What it does, as models are told.
    pub description: String,
    /// Its effect class, for instance `pure`.
    pub effect: String,
    /// How calls whose outcome was lost are settled, place by place.
    pub settles: Vec<String>,
    /// SHA-256 of its definition, in hex.
    pub digest: String,
    /// The JSON Schema of its arguments.
    pub input_schema: Json,
}

/// How a source of tools is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolSourceHealth {
    /// Its name.
    pub name: String,
    /// How many tools it has; none if it was never listed.
    pub tools: Option<usize>,
    /// Why it gives no tools right now; none if it does.
    pub trouble: Option<String>,
}

/// One part of a definition that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentMistake {
    /// Where: keys, outermost first.
    pub path: Vec<String>,
    /// What is wrong, as a sentence that names the place.
    pub message: String,
}
