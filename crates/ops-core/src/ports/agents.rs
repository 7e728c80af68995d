//! The store's verbs for agents, and the port to the meaning of definitions.

use super::{Fut, Listed, StoreError, TaskRecord};
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
    /// The new definition.
    pub spec: AgentSpec,
    /// The state that the agent must have now.
    pub expected: Expected,
}

/// Precondition of a change to an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expected {
    /// No precondition.
    #[default]
    Any,
    /// The agent must not exist.
    Absent,
    /// The agent must have this version.
    Version(AgentDigest),
}

/// Outcome of storing a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// The agent is new.
    Created,
    /// The agent has another version now.
    Changed,
    /// The stored definition is the same.
    Unchanged,
}

/// The verbs of a store for agents. Each is one atomic step. Versions stay, also of a removed agent: tasks are
/// pinned to versions.
pub trait AgentStore: Send + Sync {
    /// Makes a definition an agent's current version. The store refuses a definition whose precondition
    /// fails, a definition that starts unknown agents, and a definition that closes a circle.
    fn put_agent(&self, new: NewAgent) -> Fut<'_, Result<(Agent, Stored), StoreError>>;
    /// Takes an agent away. The store refuses a removal whose precondition fails, and the removal of an agent
    /// that agents or schedules name.
    fn remove_agent(
        &self,
        tenant: TenantId,
        name: AgentName,
        expected: Expected,
    ) -> Fut<'_, Result<(), StoreError>>;
    /// One agent.
    fn agent(&self, tenant: TenantId, name: AgentName) -> Fut<'_, Result<Agent, StoreError>>;
    /// Agents in the order of their names, after the agent of this name, at most `limit`.
    fn agents(
        &self,
        tenant: TenantId,
        after: Option<AgentName>,
        limit: u32,
    ) -> Fut<'_, Result<Listed<Agent>, StoreError>>;
    /// The versions of an agent, the version that was applied first last, at most `limit`.
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

/// Interprets definitions and inputs of agents. The agent factory implements this port: the factory knows
/// models, planners and tools.
pub trait AgentDefinitions: Send + Sync {
    /// Checks a definition, and gives the definition in its canonical form.
    ///
    /// # Errors
    /// Every mistake in the definition.
    fn check(&self, definition: &Json) -> Result<(AgentName, AgentSpec), Vec<AgentMistake>>;

    /// Warnings for the author of a valid definition: a sentence each.
    fn warnings(&self, definition: &Json) -> Vec<String> {
        let _ = definition;
        Vec::new()
    }

    /// Checks the input of a task before the engine accepts the task, beyond the engine's own checks.
    fn check_input(&self, task: &TaskInput<'_>) -> InputCheck;

    /// Whether that check may take more than a millisecond, however small the input is.
    fn is_costly_input(&self, task: &TaskInput<'_>) -> bool {
        let _ = task;
        false
    }

    /// The tools that agents of a tenant may have, and where they come from.
    fn tools(&self, tenant: TenantId) -> AgentTools;
}

/// Shows what the model calls of tasks are asked with. The agent factory implements it, since only it knows agents.
pub trait Prompts: Send + Sync {
    /// The prompt of a model step's last call, as JSON: `messages`, `tools`, `response_schema`, `model`, `attempt` and
    /// `step`, with long texts cut.
    fn prompt<'a>(
        &'a self,
        record: &'a TaskRecord,
        step: u32,
    ) -> Fut<'a, Result<Json, PromptError>>;
}

/// Why there is no prompt to show.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// The log has no model call of this step.
    #[error("the step is no model call, or has not begun")]
    NoCall,
    /// The prompt cannot be made again here.
    #[error("{0}")]
    Unavailable(String),
    /// Storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A process without agents: it shows no prompts.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPrompts;

impl Prompts for NoPrompts {
    fn prompt<'a>(&'a self, _: &'a TaskRecord, _: u32) -> Fut<'a, Result<Json, PromptError>> {
        let message = "this server makes no agents";
        Box::pin(std::future::ready(Err(PromptError::Unavailable(
            message.to_owned(),
        ))))
    }
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

/// Result of checking a task's input.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InputCheck {
    /// Parts for which the task is refused.
    pub wrong: Vec<FieldError>,
    /// Parts that the client should know of, though the task is accepted.
    pub warnings: Vec<FieldError>,
    /// Why no agent can be made for the task here, though its input is valid.
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
    /// The tool's description for models.
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
    /// Number of tools; `None` if the source was never listed.
    pub tools: Option<usize>,
    /// Why the source gives no tools right now; `None` if the source is healthy.
    pub error: Option<String>,
}

/// One part of a definition that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentMistake {
    /// Where: keys, outermost first.
    pub path: Vec<String>,
    /// The mistake, as a sentence that names its location.
    pub message: String,
}
