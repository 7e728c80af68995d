//! Where the worker gets its agents from.

use std::collections::BTreeMap;

use agentkit::{
    Agent, BoxFuture, Goal,
    event::Failure,
    run::{Limits, RunConfig},
};
use ops_core::{Json, Micros, Task};

/// Makes the agent of a task. The agent factory implements it: it knows models, planners and tools.
pub trait Agents: Send + Sync {
    /// Waits until the agent of a task can be made, for instance until a source of tools that it names is
    /// there. `config` is what a run that has begun is pinned to. The lease of the task is kept meanwhile,
    /// and dropping the future gives up.
    ///
    /// # Errors
    /// What does not come in time.
    fn ready<'a>(
        &'a self,
        job: &'a Job<'a>,
        config: Option<&'a RunConfig>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        let _ = (job, config);
        Box::pin(std::future::ready(Ok(())))
    }

    /// The agent of a task whose run has not begun.
    ///
    /// # Errors
    /// What is wrong with the task, for instance an unknown provider; the task fails with it.
    fn start(&self, job: &Job<'_>) -> Result<Prepared, Failure>;

    /// The agent of a run that has begun, by the definition that it is pinned to, and the files that
    /// its workspace began with.
    ///
    /// # Errors
    /// As [`Agents::start`].
    fn resume(
        &self,
        job: &Job<'_>,
        config: &RunConfig,
    ) -> Result<(Agent, BTreeMap<String, String>), Failure>;

    /// What a task may use up by what was asked and what is configured.
    fn limits(&self, job: &Job<'_>) -> Limits;

    /// Whether the others may take more than a millisecond for this task: it has a template, a script
    /// or a schema. They are then called on the pool of such work.
    fn is_costly(&self, job: &Job<'_>) -> bool {
        let _ = job;
        false
    }
}

/// A task whose agent is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// What was asked.
    pub task: &'a Task,
    /// When the task first started.
    pub started: Micros,
    /// The definition that the task is pinned to; none where it names no agent.
    pub definition: Option<&'a Json>,
}

/// An agent with what it is to do.
pub struct Prepared {
    /// The agent.
    pub agent: Agent,
    /// What it is to do.
    pub goal: Goal,
    /// Files that its workspace begins with, by path.
    pub files: BTreeMap<String, String>,
}
