//! What an agent is made for, and what is made.

use std::{collections::BTreeMap, sync::Arc};

use agentkit::{Agent, Definition, Goal, policy::Policy, tool::Registry};
use ops_core::{Json, Micros, TenantId, task::TaskLimits};

/// What an agent is made for: a task's, or one without a task.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    /// What the agent is; none for the agent of the settings.
    pub definition: Option<&'a Definition>,
    /// The digest of the definition, if it is known; else it is worked out.
    pub digest: Option<String>,
    /// What a task's `input_data` is: the goal, files, and what is overridden.
    pub input: &'a Json,
    /// Who asks.
    pub by: AskedBy<'a>,
}

/// Who asks for an agent.
#[derive(Debug, Clone)]
pub struct AskedBy<'a> {
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
    /// What the task says of limits.
    pub limits: &'a TaskLimits,
    /// Generations of child tasks that a parent left it.
    pub depth_left: Option<u32>,
}

/// An agent with what it is to do.
pub struct Made {
    /// The agent.
    pub agent: Agent,
    /// What it is to do.
    pub goal: Goal,
    /// Files that its workspace begins with, by path.
    pub files: BTreeMap<String, String>,
    /// The tools behind its gate.
    pub tools: Registry,
    /// The policy of its gate.
    pub policy: Arc<dyn Policy>,
}
