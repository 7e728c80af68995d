//! Large results, which are kept whole in the blob store and read in pages.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::event::{Handle, StepId};

/// The large results of a run, by call.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Results {
    /// Results that the model has seen. Shared with the calls in flight; no call is in flight when a turn
    /// ends, so the map need not be copied then.
    known: Arc<BTreeMap<StepId, Handle>>,
    /// Results of the present turn: the model has not seen them yet.
    new: Vec<(StepId, Handle)>,
}

impl Results {
    pub(super) fn known(&self) -> &Arc<BTreeMap<StepId, Handle>> {
        &self.known
    }

    pub(super) fn add(&mut self, step: StepId, handle: Handle) {
        self.new.push((step, handle));
    }

    /// A call has not happened in this run, a fork of another.
    pub(super) fn forget_new(&mut self, step: StepId) {
        self.new.retain(|(of, _)| *of != step);
    }

    /// The turn is over: the model is told of its results.
    pub(super) fn deliver(&mut self) {
        if !self.new.is_empty() {
            Arc::make_mut(&mut self.known).extend(self.new.drain(..));
        }
    }
}
