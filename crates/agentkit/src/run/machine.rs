//! Calls that the machine itself makes.
//!
//! They are recorded like the calls of the model (intent, outcome, step, effect class, the gate's
//! word), and the model is not shown them. The settled ones are not kept: whatever a call was for is
//! told by an event of its own, such as `tool.probed`.

use serde::{Deserialize, Serialize};

use super::phase::{CallState, Progress};
use crate::event::{CallPurpose, StepId, ToolCalled};

/// The machine's own calls that are not settled.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct MachineCalls(Vec<CallState>);

impl MachineCalls {
    pub(super) fn all(&self) -> &[CallState] {
        &self.0
    }

    pub(super) fn get(&self, step: StepId) -> Option<&CallState> {
        self.0.iter().find(|state| state.call.step == step)
    }

    /// The call that is for this.
    pub(super) fn for_purpose(&self, purpose: CallPurpose) -> Option<&CallState> {
        let is_for = |state: &&CallState| state.call.purpose == Some(purpose);
        self.0.iter().find(is_for)
    }

    pub(super) fn called(&mut self, called: &ToolCalled) {
        let state = CallState::new(called.clone());
        if !state.is_settled() {
            self.0.push(state);
        }
    }

    /// A try begins; whether the call is one of these.
    pub(super) fn started(&mut self, step: StepId, attempt: u32) -> bool {
        let state = self.0.iter_mut().find(|state| state.call.step == step);
        state.is_some_and(|state| {
            state.progress = Progress::Started { attempt };
            state.tries = attempt;
            true
        })
    }

    /// A call has its outcome; whether it is one of these.
    pub(super) fn settled(&mut self, step: StepId) -> bool {
        let before = self.0.len();
        self.0.retain(|state| state.call.step != step);
        self.0.len() < before
    }
}
