//! The phase of a run: the work under way, with the data that only this phase needs.
//!
//! A wait is no phase of its own: the wait follows from the calls that wait, because the event that ends a
//! wait enters the log while no driver has the run.

use serde::{Deserialize, Serialize};

use super::{FoldError, Outcome};
use crate::{
    event::{CallWait, Failure, GateDecision, Media, PreviewCall, Purpose, StepId, ToolCalled},
    tool::Resumed,
};

/// Phase of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    /// No call is under way: the planner decides the next step.
    Deciding {
        /// The last turn, if the turn ended with a refused call and no event has followed: a fork may do
        /// that call anew.
        closed: Option<ClosedTurn>,
    },
    /// A model call's intent is recorded, and its outcome is not.
    Asking(ModelCall),
    /// The last try of a model call failed, and the call is to be made again.
    Retrying(FailedCall),
    /// The calls of an answer are worked off.
    Calling(OpenTurn),
    /// The run has ended.
    Ended(Outcome),
}

impl Default for Phase {
    fn default() -> Self {
        Self::DECIDING
    }
}

impl Phase {
    pub(super) const DECIDING: Self = Self::Deciding { closed: None };

    /// The calls of the turn that is worked on.
    pub(super) fn calls(&self) -> &[CallState] {
        match self {
            Self::Calling(turn) => &turn.calls,
            Self::Deciding { .. } | Self::Asking(_) | Self::Retrying(_) | Self::Ended(_) => &[],
        }
    }

    pub(super) fn calls_mut(&mut self) -> &mut [CallState] {
        match self {
            Self::Calling(turn) => &mut turn.calls,
            Self::Deciding { .. } | Self::Asking(_) | Self::Retrying(_) | Self::Ended(_) => &mut [],
        }
    }

    pub(super) fn call_mut(&mut self, step: StepId) -> Option<&mut CallState> {
        let mut calls = self.calls_mut().iter_mut();
        calls.find(|state| state.call.step == step)
    }

    /// A call that is not settled.
    pub(super) fn open_call(&self, step: StepId) -> Option<&CallState> {
        let mut calls = self.calls().iter();
        calls.find(|state| state.call.step == step && !state.is_settled())
    }

    /// An event has followed the last turn, so no fork begins with the turn any more.
    pub(super) fn forget_closed(&mut self) {
        if let Self::Deciding { closed } = self {
            *closed = None;
        }
    }

    /// Moves a call on that is not settled.
    pub(super) fn progress(
        &mut self,
        kind: &'static str,
        step: StepId,
        progress: Progress,
    ) -> Result<(), FoldError> {
        let state = self
            .call_mut(step)
            .filter(|state| !state.is_settled())
            .ok_or_else(|| FoldError::new(kind, step))?;
        if let Progress::Started { attempt } = progress {
            state.tries = attempt;
        }
        state.progress = progress;
        Ok(())
    }
}

/// A model call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ModelCall {
    pub(super) step: StepId,
    pub(super) attempt: u32,
    pub(super) purpose: Purpose,
}

/// A model call that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FailedCall {
    pub(super) call: ModelCall,
    /// Before this time, in UTC microseconds, its provider wants no other try.
    pub(super) retry_at_micros: Option<i64>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<Failure>,
}

/// A turn whose calls are not settled, or not recorded yet.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct OpenTurn {
    /// How many calls the answer asked for.
    pub(super) expected: usize,
    /// The recorded calls, in the model's order.
    pub(super) calls: Vec<CallState>,
}

impl OpenTurn {
    pub(super) fn is_settled(&self) -> bool {
        self.calls.len() >= self.expected && self.calls.iter().all(CallState::is_settled)
    }
}

/// A turn whose calls are settled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ClosedTurn {
    pub(super) calls: Vec<CallState>,
    /// The conversation's `repairs` before it.
    pub(super) repairs: u32,
}

/// A tool call and how far it got.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallState {
    /// The call as it was recorded.
    pub call: ToolCalled,
    /// Progress of the call.
    pub progress: Progress,
    /// Number of attempts that began.
    pub tries: u32,
    /// Whether a person changed the arguments that the model gave.
    pub edited: bool,
    /// The signal for which it was called again last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed: Option<Resumed>,
    /// Whether the machine has made the call that its reviewer is shown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub previewed: bool,
}

impl CallState {
    /// A call with the gate's word on it.
    pub(super) fn new(call: ToolCalled) -> Self {
        let (progress, tries) = match &call.decision {
            GateDecision::Start => (Progress::Started { attempt: 1 }, 1),
            GateDecision::Queue => (Progress::Queued, 0),
            GateDecision::Ask {
                until_micros,
                escalation,
                ..
            } => {
                let awaiting = Progress::AwaitingApproval {
                    until_micros: *until_micros,
                    escalates_micros: escalation.as_ref().map(|escalation| escalation.at_micros),
                };
                (awaiting, 0)
            }
            GateDecision::Refuse { error } => {
                let content = error.message.clone();
                let is_error = true;
                let images = Vec::new();
                let settled = Progress::Settled {
                    content,
                    is_error,
                    images,
                };
                (settled, 0)
            }
        };
        Self {
            call,
            progress,
            tries,
            edited: false,
            resumed: None,
            previewed: false,
        }
    }

    /// The call that the machine has yet to make for the reviewer.
    pub(crate) fn preview(&self) -> Option<&PreviewCall> {
        let GateDecision::Ask { preview, .. } = &self.call.decision else {
            return None;
        };
        let waits = matches!(self.progress, Progress::AwaitingApproval { .. });
        preview.as_ref().filter(|_| waits && !self.previewed)
    }

    /// Whether the call needed a person's approval.
    pub(crate) fn needed_approval(&self) -> bool {
        matches!(self.call.decision, GateDecision::Ask { .. })
    }

    pub(super) fn is_settled(&self) -> bool {
        matches!(self.progress, Progress::Settled { .. })
    }

    /// Whether its intent is recorded and its outcome is not.
    pub(super) fn is_under_way(&self) -> bool {
        let progress = &self.progress;
        matches!(
            progress,
            Progress::Started { .. } | Progress::Doubted { .. }
        )
    }

    pub(super) fn is_refused(&self) -> bool {
        matches!(self.call.decision, GateDecision::Refuse { .. })
    }
}

/// How far a tool call got.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// The call has no intent.
    Queued,
    /// The call has not happened in this run, a fork of another: the gate admits the call anew.
    Reset,
    /// The call waits for a person's approval, and has no intent.
    AwaitingApproval {
        /// When the call fails without approval, in UTC microseconds.
        until_micros: Option<i64>,
        /// When another group is asked, in UTC microseconds; `None` once that group is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        escalates_micros: Option<i64>,
    },
    /// The call is approved, and has no intent.
    Approved,
    /// Its intent is recorded, its outcome is not.
    Started {
        /// The try, from 1.
        attempt: u32,
    },
    /// Its intent is recorded, its outcome was lost, and a probe has not settled it so far.
    Doubted {
        /// The try, from 1.
        attempt: u32,
        /// The first time, in UTC microseconds, at which it counts that the call is not done.
        settles_micros: i64,
    },
    /// The begin of the operation is recorded; its result is an external event.
    Waiting {
        /// The condition that the call waits for.
        wait: CallWait,
    },
    /// Its outcome is recorded.
    Settled {
        /// The content for the model.
        content: String,
        /// Whether the call failed.
        is_error: bool,
        /// The images among the result's parts.
        images: Vec<Media>,
    },
}
