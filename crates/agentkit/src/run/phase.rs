//! The phase of a run: what is under way, with the data that only this phase needs.
//!
//! What a run waits for is no phase of its own: it follows from the calls that wait, because whatever
//! ends a wait is put into the log while nobody drives the run.

use serde::{Deserialize, Serialize};

use super::{FoldError, Outcome};
use crate::event::{CallWait, Media, Purpose, StepId, ToolCalled, Verdict};

/// What a run is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    /// Nothing is under way: the planner decides what is next.
    Deciding {
        /// The last turn, if it ended with a call that the gate had refused and nothing has followed:
        /// a fork may do that call anew.
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

    /// Something has followed the last turn, so no fork begins with it any more.
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
}

/// A turn whose calls are not settled, or not recorded yet.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct OpenTurn {
    /// How many calls the answer asked for.
    pub(super) expected: usize,
    /// Those that are recorded, in the model's order.
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
    /// How far it got.
    pub progress: Progress,
    /// How often it was begun.
    pub tries: u32,
    /// Whether a person changed the arguments that the model gave.
    pub edited: bool,
}

impl CallState {
    /// A call with the gate's word on it.
    pub(super) fn new(call: ToolCalled) -> Self {
        let (progress, tries) = match &call.verdict {
            Verdict::Start => (Progress::Started { attempt: 1 }, 1),
            Verdict::Queue => (Progress::Queued, 0),
            Verdict::Ask { until_micros, .. } => {
                let until_micros = *until_micros;
                (Progress::Asked { until_micros }, 0)
            }
            Verdict::Refuse { error } => {
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
        }
    }

    /// Whether it needed a person's leave.
    pub(crate) fn was_asked(&self) -> bool {
        matches!(self.call.verdict, Verdict::Ask { .. })
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
        matches!(self.call.verdict, Verdict::Refuse { .. })
    }
}

/// How far a tool call got.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// It has no intent.
    Queued,
    /// It has not happened in this run, a fork of another: the gate judges it anew.
    Reset,
    /// It waits for somebody's approval, and has no intent.
    Asked {
        /// When it fails without one, in UTC microseconds.
        until_micros: Option<i64>,
    },
    /// Somebody approved it; it has no intent.
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
    /// What it began is recorded; its result comes from outside.
    Waiting {
        /// What it waits for.
        wait: CallWait,
    },
    /// Its outcome is recorded.
    Settled {
        /// What the model is told.
        content: String,
        /// Whether it failed.
        is_error: bool,
        /// The images among the result's parts.
        images: Vec<Media>,
    },
}
