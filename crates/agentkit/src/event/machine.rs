//! Bodies about calls that the machine itself makes.

use serde::{Deserialize, Serialize};

use super::StepId;

/// Who asks for a tool call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Initiator {
    /// The model, in an answer.
    #[default]
    Model,
    /// The machine. The model is not shown the call.
    Machine,
}

impl Initiator {
    /// Whether the initiator is the model.
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "the signature is serde's"
    )]
    pub(super) fn is_model(&self) -> bool {
        *self == Self::Model
    }
}

/// Purpose of a call of the machine's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallPurpose {
    /// To see whether a call whose outcome was lost took effect.
    Probe {
        /// That call.
        of: StepId,
    },
    /// To show the reviewer of a call what is at stake.
    Preview {
        /// The call that waits for approval.
        of: StepId,
    },
    /// To find facts in long-term memory, before planning.
    Recall,
    /// To store the outcome in long-term memory, before the run ends.
    Remember,
}

/// Body of `tool.probed`: the finding of a probe about a call whose outcome was lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolProbed {
    /// The call.
    pub step: StepId,
    /// The machine's call that looked.
    pub probe: StepId,
    /// The finding.
    pub saw: Seen,
    /// The first time, in UTC microseconds, at which `not_done` counts: until then the lost request
    /// may still be under way.
    pub settles_micros: i64,
}

/// Finding of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// The call took effect.
    Done,
    /// The call has not taken effect so far.
    NotDone,
    /// The probe could not tell, or failed.
    Unknown,
}
