//! Causes of transitions.

use serde_json::Value;

use crate::{
    actor::Actor,
    command::{RunCommand, TaskCommand},
    event::ChildEnd,
    id::SessionId,
};

/// A cause of one task's transition. Callers reach the first two through the ports; the others are a
/// store's own, and no port takes them.
#[derive(Debug, Clone, PartialEq)]
pub enum Cause {
    /// A person or a client asked.
    Task(TaskCommand),
    /// The holder of the lease asked.
    Run(RunCommand),
    /// A claim takes the task for a session.
    Claim {
        /// The worker's session.
        session: SessionId,
    },
    /// The session that held the task is over.
    LoseLease,
    /// The task's delay, or the time that it waits, is over.
    Wake,
    /// The task's deadline has passed, and no worker holds it.
    Expire,
    /// The clock is behind the task's last event: the clock was ahead.
    CorrectClock,
    /// A claim found the task's concurrency key held by another task.
    Block {
        /// The key.
        key: String,
    },
    /// The task's concurrency key is free.
    Unblock,
    /// A budget that the task waits for may have room: a call of another task has settled.
    BudgetSettled,
    /// The task's parent has ended, or is being cancelled.
    ParentStopped,
    /// The approval that a step asked for was decided or edited.
    ApprovalDecided {
        /// Who asked for the decision.
        actor: Actor,
        /// The step.
        step: u32,
        /// The decision.
        decided: DecidedApproval,
        /// The person who decided, as the client names them.
        by: Option<String>,
    },
    /// A child of the task has ended.
    ChildEnded(ChildEnd),
}

/// Decision about a step that requested approval.
#[derive(Debug, Clone, PartialEq)]
pub enum DecidedApproval {
    /// The step may run, with these arguments if it was edited.
    Approved {
        /// The edited arguments.
        input: Option<Value>,
    },
    /// The step never runs.
    Denied {
        /// Why, for the model as well.
        reason: String,
    },
    /// The step is to run with other arguments, which need approval as well.
    Edited {
        /// The arguments.
        input: Value,
    },
}
