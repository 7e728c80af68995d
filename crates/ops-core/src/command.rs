//! What may be asked of a task, and why it may be refused.

use crate::{
    approval::NewApproval,
    event::{ChildEnd, NewEvent, Resolution, TaskError},
    id::SessionId,
    json::Json,
    ports::NewTask,
    task::{StateName, TaskLimits, Wait},
};

/// What is asked of one task.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// A worker takes it.
    Claim {
        /// The worker's session.
        session: SessionId,
    },
    /// The worker that holds it records what happened, and what is next.
    Append(Append),
    /// The worker that holds it stops, and gives it back.
    Release {
        /// The lease's epoch.
        epoch: u64,
    },
    /// The worker that held it is gone.
    LoseLease,
    /// Its delay, or the time that it waits, is over.
    Wake,
    /// It is its turn, but another task holds its concurrency key.
    Block {
        /// The key.
        key: String,
    },
    /// Its concurrency key is free.
    Unblock,
    /// Somebody wants it to stand still.
    Pause,
    /// Somebody wants it to go on.
    Resume,
    /// Something is told to its run.
    Signal {
        /// Which call it is for.
        name: String,
        /// What the call returns.
        payload: serde_json::Value,
    },
    /// Somebody gives its run other limits: those that are named.
    Limit(TaskLimits),
    /// Somebody decides about a step that asks for leave. Whether it does is the store's to know.
    Judge {
        /// The step.
        step: u32,
        /// The decision.
        judgement: Judgement,
        /// Who decides.
        by: Option<String>,
    },
    /// A child of it has ended.
    ChildEnded(ChildEnd),
    /// Somebody wants it stopped.
    Cancel,
    /// Somebody decides what became of a step that is in doubt.
    Resolve {
        /// The step.
        step: u32,
        /// The decision.
        resolution: Resolution,
    },
}

/// What somebody decides about a step that asks for leave.
#[derive(Debug, Clone, PartialEq)]
pub enum Judgement {
    /// It may run, with these arguments if it was edited.
    Approve {
        /// The edited arguments.
        input: Option<serde_json::Value>,
    },
    /// It never runs.
    Deny {
        /// Why, for the model as well.
        reason: String,
    },
    /// It is to run with other arguments, and still needs leave.
    Edit {
        /// The arguments.
        input: serde_json::Value,
    },
}

/// What the holder of a lease records, in one piece.
#[derive(Debug, Clone, PartialEq)]
pub struct Append {
    /// The lease's epoch.
    pub epoch: u64,
    /// The number of the last event that the writer knows.
    pub expected_seq: u64,
    /// What happened.
    pub events: Vec<NewEvent>,
    /// Children that begin with it.
    pub children: Vec<NewTask>,
    /// Approvals that are asked for with it.
    pub approvals: Vec<NewApproval>,
    /// What follows.
    pub next: Next,
}

impl Append {
    /// An append that starts no child and asks for no approval.
    #[must_use]
    pub fn new(epoch: u64, expected_seq: u64, events: Vec<NewEvent>, next: Next) -> Self {
        Self {
            epoch,
            expected_seq,
            events,
            children: Vec::new(),
            approvals: Vec::new(),
            next,
        }
    }
}

/// What follows an append; it commits with the events.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// The run goes on.
    Continue,
    /// The task ends with a result.
    Complete {
        /// The result object.
        result: Json,
    },
    /// The attempt ends; a retryable failure may be followed by another one.
    Fail {
        /// Why.
        error: TaskError,
        /// Whether another attempt may help.
        retryable: bool,
    },
    /// The task waits and gives its worker back.
    Wait(Wait),
    /// The worker confirms a cancel.
    Cancelled,
}

/// Why a command is refused. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The task has ended.
    #[error("the task is {0}, which is final")]
    Terminal(StateName),
    /// The command does not fit the state.
    #[error("the task is {0}")]
    WrongState(StateName),
    /// Another lease came after the writer's.
    #[error("the lease of epoch {given} is over; the task is at epoch {current}")]
    StaleEpoch {
        /// The writer's.
        given: u64,
        /// The task's.
        current: u64,
    },
    /// The writer does not know the last event.
    #[error("expected the last event to be {given}, but it is {current}")]
    WrongSeq {
        /// The writer's.
        given: u64,
        /// The task's.
        current: u64,
    },
    /// A cancel was accepted: outcomes may be recorded, but no intent.
    #[error("the task is being cancelled")]
    Cancelling,
    /// The step is not in doubt.
    #[error("step {0} is not in doubt")]
    NotInDoubt(u32),
    /// It is not time yet.
    #[error("it is not time yet")]
    NotDue,
}
