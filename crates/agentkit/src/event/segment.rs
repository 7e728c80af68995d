//! Bodies about the segments of a run's conversation, and what model calls are for.

use serde::{Deserialize, Serialize};

use super::StepId;

/// Body of `segment.opened`: the conversation no longer fitted the model's context well, and was
/// made smaller. What was left out of it is still in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentOpened {
    /// A model step: messages before it were changed, it and those after it were not. For
    /// [`SegmentChange::Truncated`] it is the other way round. Pinned messages never are.
    pub keep_from: StepId,
    /// What was done.
    #[serde(flatten)]
    pub change: SegmentChange,
}

/// How a conversation was made smaller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum SegmentChange {
    /// Results of tools were replaced by notes.
    Cleared,
    /// Everything was replaced by the summary that the last model step made.
    Summarised,
    /// Everything was replaced by a note.
    Dropped,
    /// Results of tools were cut, as the newest exchange alone was too large.
    Truncated {
        /// How much of each is left, in bytes.
        max_bytes: u64,
    },
}

/// What a model call is for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// The agent's next turn.
    #[default]
    Turn,
    /// A summary of the conversation before a model step.
    Summary {
        /// That step.
        keep_from: StepId,
    },
    /// To make a plan.
    Plan,
    /// To carry out a step of the plan.
    Execute,
    /// To give the answer once the plan is carried out.
    Answer,
}

impl Purpose {
    /// Whether it is the usual one.
    #[must_use]
    pub fn is_turn(&self) -> bool {
        *self == Self::Turn
    }

    /// Whether it is a call about the conversation, and not one of it.
    #[must_use]
    pub fn is_summary(&self) -> bool {
        matches!(self, Self::Summary { .. })
    }
}
