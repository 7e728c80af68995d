//! Approvals: leave that a step asks for before it runs.
//!
//! An approval is bound to the task, the step, the definition of the tool, the agent and the exact
//! arguments, and it holds once. Editing the arguments makes a new revision, which needs leave anew.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    event::{TaskError, named},
    id::TaskId,
    time::Micros,
};

/// A step's request for approval.
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
    /// JSON Schema of the arguments; edited arguments must fit this schema.
    pub input_schema: Value,
    /// Why leave is needed.
    pub reason: String,
    /// Time at which the approval lapses.
    pub expires_at: Option<Micros>,
    /// What an approval may have beside.
    pub details: ApprovalDetails,
}

/// What an approval may have beside its request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ApprovalDetails {
    /// The group that is asked once the first reviewers have not answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalation: Option<Escalation>,
    /// The read-only call that shows the reviewer what is at stake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<Preview>,
}

impl ApprovalDetails {
    /// Whether the approval has nothing beside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Another group is asked from some time on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Escalation {
    /// From when.
    pub at: Micros,
    /// Name of the group.
    pub to: String,
}

/// The preview of a step that asks for approval: a read-only call of the machine's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preview {
    /// The tool that looks.
    pub tool: String,
    /// Arguments of the tool.
    pub input: Value,
    /// Step of the call; `None` until the call has its outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u32>,
    /// How far the call is.
    #[serde(flatten)]
    pub outcome: PreviewOutcome,
}

/// How far a preview is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum PreviewOutcome {
    /// The call has no outcome yet.
    Pending,
    /// The call returned.
    Completed {
        /// The output, or its beginning if the output is large.
        output: Value,
    },
    /// The call failed, or was refused. The approval stands without a preview.
    Failed {
        /// Why.
        error: TaskError,
    },
}

/// An approval and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Approval {
    /// The task.
    pub task: TaskId,
    /// The request; after an edit, with the edited arguments.
    pub request: NewApproval,
    /// 1, and one more with each edit.
    pub revision: u32,
    /// Stored status; see [`Approval::standing`] for an approval that ran out of time.
    pub status: ApprovalStatus,
    /// Time of the request.
    pub asked_at: Micros,
    /// Time of the decision, or of the lapse.
    pub decided_at: Option<Micros>,
    /// Who decided.
    pub decided_by: Option<String>,
    /// Reason of a denial.
    pub note: Option<String>,
}

impl Approval {
    /// The group that the approval is with by this time, if it was escalated. An approval that was decided
    /// before its escalation never was.
    #[must_use]
    pub fn escalated(&self, now: Micros) -> Option<&str> {
        let escalation = self.request.details.escalation.as_ref()?;
        let until = self.decided_at.unwrap_or(now);
        (escalation.at <= until).then_some(&*escalation.to)
    }

    /// The status by this time: an approval whose time is over has expired, before the store says so.
    #[must_use]
    pub fn standing(&self, now: Micros) -> ApprovalStatus {
        let late = self.request.expires_at.is_some_and(|end| end <= now);
        match self.status {
            ApprovalStatus::Pending if late => ApprovalStatus::Expired,
            status => status,
        }
    }
}

named! {
    /// Where an approval stands.
    ApprovalStatus {
        /// No decision yet.
        Pending = "pending",
        /// The step may run, or has run.
        Approved = "approved",
        /// The step never runs.
        Denied = "denied",
        /// The time was over before a decision.
        Expired = "expired",
        /// The task ended first.
        Void = "void",
    }
}
