//! Commands that commit with an append beside its events.

use serde_json::Value;

use crate::event::{Escalation, Failure, PreviewCall, StepId};

/// A command that the log's keeper performs in the same transaction as the events that cause the command.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Ask a person whether a call may run: belongs to a `tool.called` whose verdict is `ask`. Comes once more
    /// with the outcome of the preview; the log's keeper then takes over the preview alone.
    RequestApproval(Approval),
    /// Begin a child task: belongs to a `tool.completed` that names the child.
    Spawn(ChildSpec),
}

/// A call that needs a person's approval. The approval is of exactly this call, once: a decision about
/// other arguments, another tool or another agent does not count.
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
    /// JSON Schema of the arguments, for a person who edits them.
    pub input_schema: Value,
    /// Why the call needs approval.
    pub reason: String,
    /// End of the wait, in UTC microseconds; `None` for the run's deadline.
    pub until_micros: Option<i64>,
    /// When another group is asked, and which group.
    pub escalation: Option<Escalation>,
    /// What the reviewer is shown.
    pub preview: Option<Preview>,
}

/// The preview of an approval.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    /// The call.
    pub call: PreviewCall,
    /// Step of the call; `None` until the call has its outcome.
    pub step: Option<StepId>,
    /// Output of the call, or why there is none; `None` until the call has its outcome.
    pub outcome: Option<Result<Value, Failure>>,
}

/// A child task to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildSpec {
    /// Its id.
    pub task: String,
    /// The call that begins it.
    pub step: StepId,
    /// The child's goal.
    pub goal: String,
    /// The child's agent; `None` for the parent's agent.
    pub agent: Option<String>,
    /// Display name of the child.
    pub name: Option<String>,
    /// Instructions for its model in place of its agent's.
    pub instructions: Option<String>,
    /// Limits of the child.
    pub limits: ChildLimits,
    /// Policies that bind the child beside its own agent's: those of the agents above it.
    pub policies: Vec<Value>,
    /// Deadline in UTC microseconds: from the child's own limit or its parent's deadline.
    pub deadline_micros: Option<i64>,
}

/// Limits of a child task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChildLimits {
    /// Tokens, set aside from the parent's budget if the parent has a budget.
    pub max_tokens: Option<u64>,
    /// Micro-USD, likewise.
    pub max_cost_micros: Option<u64>,
    /// Steps; `None` for the limit of the child's agent.
    pub max_steps: Option<u32>,
    /// Generations of children that may follow it.
    pub spawn_depth_left: u32,
}
