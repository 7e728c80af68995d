//! Errors of a store.

use crate::{
    agent::{AgentDigest, AgentName},
    approval::ApprovalStatus,
    command::Rejection,
    rules::{agents::Uses, approval::Refused, mcp::McpRefused},
};

/// Storage failed. The verb wrote nothing, unless the message says that its outcome is unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no such task (or it is another tenant's).
    #[error("there is no such task")]
    NotFound,
    /// The task refuses the command.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The idempotency key was used for another request.
    #[error("the idempotency key belongs to another request")]
    IdempotencyMismatch,
    /// The session is unknown or has expired.
    #[error("the worker session is over")]
    SessionOver,
    /// The step has not asked for leave.
    #[error("step {0} has not asked for approval")]
    NoApproval(u32),
    /// The approval is closed: a decision was made before, or the time is over.
    #[error("the approval is {}", .0.as_str())]
    Decided(ApprovalStatus),
    /// The approval was edited since it was looked at.
    #[error("the approval is at revision {current}, not {given}")]
    WrongRevision {
        /// The revision that the caller looked at.
        given: u32,
        /// The present revision.
        current: u32,
    },
    /// The agent is not as it must be for the change.
    #[error("the agent is {}", .0.map_or_else(|| "not there".to_owned(), |digest| format!("at version {digest}")))]
    AgentChanged(Option<AgentDigest>),
    /// The schedule is not as it must be for the change.
    #[error("the schedule is {}", .0.map_or_else(|| "not there".to_owned(), |revision| format!("at revision {revision}")))]
    ScheduleChanged(Option<u64>),
    /// The agent may start an agent that does not exist.
    #[error("there is no agent `{0}`, which it may start; apply that one first")]
    NoAgent(AgentName),
    /// The agent would start itself by way of others.
    #[error("agents would start each other in a circle: {}", way(.0))]
    AgentCycle(Vec<AgentName>),
    /// Agents or schedules name the agent that is to be removed.
    #[error("the agent is named by {0}")]
    AgentInUse(Uses),
    /// A definition of an MCP server cannot be approved.
    #[error(transparent)]
    McpRefused(#[from] McpRefused),
    /// The disk is full.
    #[error("the disk is full: {0}")]
    Full(String),
    /// The value is larger than the configured cap.
    #[error("the value has {size} bytes, more than the cap of {cap}")]
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The cap in bytes.
        cap: u64,
    },
    /// A stored value is damaged or missing. A repeated read fails again.
    #[error("what is stored cannot be read: {0}")]
    Unreadable(String),
    /// The database cannot be used.
    #[error("the database cannot be used: {0}")]
    Unavailable(String),
}

fn way(names: &[AgentName]) -> String {
    let names: Vec<&str> = names.iter().map(AgentName::as_str).collect();
    names.join(" -> ")
}

impl From<Refused> for StoreError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Closed(status) => Self::Decided(status),
            Refused::Revision { given, current } => Self::WrongRevision { given, current },
            Refused::Task(rejection) => Self::Rejected(rejection),
        }
    }
}
