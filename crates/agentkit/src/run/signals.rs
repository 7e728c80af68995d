//! Signals that no call has taken.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::SignalReceived;

/// Signals that no call has taken, by name, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Signals(BTreeMap<String, VecDeque<Value>>);

impl Signals {
    pub(super) fn receive(&mut self, signal: &SignalReceived) {
        let of_name = self.0.entry(signal.name.clone()).or_default();
        of_name.push_back(signal.payload.clone());
    }

    /// The oldest signal of a name.
    pub(super) fn oldest(&self, name: &str) -> Option<&Value> {
        self.0.get(name)?.front()
    }

    /// A call took the oldest signal of a name.
    pub(super) fn take(&mut self, name: &str) {
        if let Some(signals) = self.0.get_mut(name) {
            signals.pop_front();
            if signals.is_empty() {
                self.0.remove(name);
            }
        }
    }
}
