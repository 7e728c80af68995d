//! Calls that the machine itself makes.
//!
//! They are recorded like the calls of the model (intent, outcome, step, effect class, the gate's
//! decision), and the model does not see them. The run forgets the settled calls: an event of its own, such
//! as `tool.probed`, tells the result of such a call.

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

    /// Takes a call in; returns whether the gate refused the call, which settles it.
    pub(super) fn called(&mut self, called: &ToolCalled) -> bool {
        let state = CallState::new(called.clone());
        let is_refused = state.is_settled();
        if !is_refused {
            self.0.push(state);
        }
        is_refused
    }

    /// A try begins; returns whether the call is a call of the machine.
    pub(super) fn started(&mut self, step: StepId, attempt: u32) -> bool {
        let state = self.0.iter_mut().find(|state| state.call.step == step);
        state.is_some_and(|state| {
            state.progress = Progress::Started { attempt };
            state.tries = attempt;
            true
        })
    }

    /// A call has its outcome; returns the call, if it is a call of the machine.
    pub(super) fn settled(&mut self, step: StepId) -> Option<ToolCalled> {
        let index = self.0.iter().position(|state| state.call.step == step)?;
        Some(self.0.remove(index).call)
    }
}
