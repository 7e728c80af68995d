//! Where the worker gets its agents from.

use std::collections::BTreeMap;

use agentkit::{
    Agent,
    event::Failure,
    run::{Limits, RunConfig},
};
use ops_core::{Lifecycle, Task};

/// Makes the agent of a task. The binary implements it: it knows configuration, models and tools.
pub trait Agents: Send + Sync {
    /// The agent of a task whose run has not begun.
    ///
    /// # Errors
    /// What is wrong with the task, for instance an unknown provider; the task fails with it.
    fn start(&self, task: &Task, life: &Lifecycle) -> Result<Prepared, Failure>;

    /// The agent of a run that has begun, by the definition that it is pinned to, and the files that
    /// its workspace began with.
    ///
    /// # Errors
    /// As [`Agents::start`].
    fn resume(
        &self,
        task: &Task,
        config: &RunConfig,
    ) -> Result<(Agent, BTreeMap<String, String>), Failure>;

    /// What a task may use up by what was asked and what is configured.
    fn limits(&self, task: &Task, life: &Lifecycle) -> Limits;
}

/// An agent with what it is to do.
pub struct Prepared {
    /// The agent.
    pub agent: Agent,
    /// What it is to do.
    pub goal: String,
    /// Files that its workspace begins with, by path.
    pub files: BTreeMap<String, String>,
}
