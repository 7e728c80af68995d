//! Where the worker gets its agents from.

use std::collections::BTreeMap;

use agentkit::{
    Agent, BoxFuture, Goal,
    event::Failure,
    run::{Limits, RunConfig},
};
use ops_core::{Json, Micros, Task};

/// Makes the agent of a task. The agent factory implements this port: the factory knows models, planners
/// and tools.
pub trait Agents: Send + Sync {
    /// Waits until the agent of a task can be made, for instance until a source of tools that the agent
    /// names is there. `config` is the pinned configuration of a run that has begun. The worker keeps the
    /// task's lease meanwhile, and dropping the future gives up.
    ///
    /// # Errors
    /// The part that does not come in time.
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
    /// The mistake in the task, for instance an unknown provider; the task fails with this error.
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

    /// The limits of a task's run, from the request and the configuration.
    fn limits(&self, job: &Job<'_>) -> Limits;

    /// Whether the other methods may take more than a millisecond for this task: the task has a template, a
    /// script or a schema. The worker then calls them on the pool of such work.
    fn is_costly(&self, job: &Job<'_>) -> bool {
        let _ = job;
        false
    }
}

/// A task whose agent is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// The task as submitted.
    pub task: &'a Task,
    /// When the task first started.
    pub started: Micros,
    /// The definition that the task is pinned to; `None` for a task without an agent.
    pub definition: Option<&'a Json>,
}

/// An agent and its goal.
pub struct Prepared {
    /// The agent.
    pub agent: Agent,
    /// The goal.
    pub goal: Goal,
    /// Files that its workspace begins with, by path.
    pub files: BTreeMap<String, String>,
}
