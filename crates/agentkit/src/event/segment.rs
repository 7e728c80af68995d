//! Bodies about the segments of a run's conversation, and the purposes of model calls.

use serde::{Deserialize, Serialize};

use super::StepId;

/// Body of `segment.opened`: the conversation no longer fitted the model's context well, and was made
/// smaller. The log still has the messages that the conversation lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentOpened {
    /// A model step: messages before the step were changed, later messages were not. For
    /// [`SegmentChange::Truncated`] the reverse holds. Pinned messages never change.
    pub keep_from: StepId,
    /// The change.
    #[serde(flatten)]
    pub change: SegmentChange,
    /// Whether the segment begins with the record of effects. Segments of earlier releases do not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub effects: bool,
}

impl SegmentOpened {
    /// A segment that begins with the record of effects.
    #[must_use]
    pub fn new(keep_from: StepId, change: SegmentChange) -> Self {
        Self {
            keep_from,
            change,
            effects: true,
        }
    }
}

/// How a conversation was made smaller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum SegmentChange {
    /// Results of tools were replaced by notes.
    Cleared,
    /// All earlier messages were replaced by the summary of the last model step.
    Summarised,
    /// All earlier messages were replaced by a note.
    Dropped,
    /// Results of tools were cut, as the newest exchange alone was too large.
    Truncated {
        /// How much of each is left, in bytes.
        max_bytes: u64,
    },
}

/// Purpose of a model call.
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
    /// Whether the call is an ordinary turn.
    #[must_use]
    pub fn is_turn(&self) -> bool {
        *self == Self::Turn
    }

    /// Whether the call is about the conversation, and not a part of the conversation.
    #[must_use]
    pub fn is_summary(&self) -> bool {
        matches!(self, Self::Summary { .. })
    }
}
