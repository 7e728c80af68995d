//! Approvals: leave that a step asks for before it runs.
//!
//! An approval is bound to the task, the step, the definition of the tool, the agent and the exact
//! arguments, and it holds once. Editing the arguments makes a new revision, which needs leave anew.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{event::named, id::TaskId, time::Micros};

/// What a step asks leave for.
#[derive(Debug, Clone, PartialEq)]
pub struct NewApproval {
    /// The step.
    pub step: u32,
    /// The tool.
    pub tool: String,
    /// SHA-256 of the tool's definition, in hex.
    pub tool_digest: String,
    /// SHA-256 of the agent's definition, in hex.
    pub agent_digest: String,
    /// The exact arguments that would run.
    pub input: Value,
    /// SHA-256 of the arguments as RFC 8785 JSON, in hex.
    pub input_digest: String,
    /// JSON Schema of the arguments: what an edit must fit.
    pub input_schema: Value,
    /// Why leave is needed.
    pub reason: String,
    /// When it lapses.
    pub expires_at: Option<Micros>,
}

/// An approval and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Approval {
    /// The task.
    pub task: TaskId,
    /// What was asked; after an edit, with the edited arguments.
    pub asked: NewApproval,
    /// 1, and one more with each edit.
    pub revision: u32,
    /// Where it stands.
    pub status: ApprovalStatus,
    /// When it was asked for.
    pub asked_at: Micros,
    /// When it was decided, or lapsed.
    pub decided_at: Option<Micros>,
    /// Who decided.
    pub decided_by: Option<String>,
    /// Why it was denied.
    pub note: Option<String>,
}

impl Approval {
    /// Where it stands by this time: one that nobody decided in time is over without a word.
    #[must_use]
    pub fn standing(&self, now: Micros) -> ApprovalStatus {
        let late = self.asked.expires_at.is_some_and(|end| end <= now);
        match self.status {
            ApprovalStatus::Pending if late => ApprovalStatus::Expired,
            status => status,
        }
    }
}

named! {
    /// Where an approval stands.
    ApprovalStatus {
        /// Nobody has decided.
        Pending = "pending",
        /// The step may run, or has run.
        Approved = "approved",
        /// The step never runs.
        Denied = "denied",
        /// Nobody decided in time.
        Expired = "expired",
        /// The task ended first.
        Void = "void",
    }
}
