//! Requests for agents, and the agents made.

use std::{collections::BTreeMap, sync::Arc};

use agentkit::{Agent, Definition, Goal, policy::Policy, tool::Registry};
use ops_core::{Json, Micros, TenantId, task::TaskLimits};

/// A request for an agent: of a task, or without a task.
#[derive(Debug, Clone)]
pub struct AgentRequest<'a> {
    /// The agent's definition; `None` for the agent of the settings.
    pub definition: Option<&'a Definition>,
    /// The digest of the definition, if known; otherwise the factory computes the digest.
    pub digest: Option<String>,
    /// The task's `input_data`: the goal, files, and overrides.
    pub input: &'a Json,
    /// Who asks.
    pub by: RequestedBy<'a>,
}

/// Who asks for an agent.
#[derive(Debug, Clone)]
pub struct RequestedBy<'a> {
    /// Whose tools it gets.
    pub tenant: TenantId,
    /// The task's id, as its instructions may name it.
    pub id: String,
    /// The task's name.
    pub name: &'a str,
    /// The task's labels.
    pub labels: &'a BTreeMap<String, String>,
    /// When the task started; its deadline counts from there.
    pub started: Micros,
    /// The limits of the task.
    pub limits: &'a TaskLimits,
    /// Generations of child tasks that a parent left it.
    pub depth_left: Option<u32>,
}

/// An agent and its goal.
pub struct Made {
    /// The agent.
    pub agent: Agent,
    /// The goal.
    pub goal: Goal,
    /// Files that its workspace begins with, by path.
    pub files: BTreeMap<String, String>,
    /// The tools behind its gate.
    pub tools: Registry,
    /// The policy of its gate.
    pub policy: Arc<dyn Policy>,
}
