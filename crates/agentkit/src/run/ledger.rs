//! The ledger of a run: what it used, and what is counted for calls whose use is not known.

use serde::{Deserialize, Serialize};

use crate::event::{ModelFailed, ModelStarted, Usage};

/// Tokens and micro-USD.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Amount {
    pub(super) tokens: u64,
    pub(super) cost_micros: u64,
}

impl Amount {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_add(other.tokens),
            cost_micros: self.cost_micros.saturating_add(other.cost_micros),
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_sub(other.tokens),
            cost_micros: self.cost_micros.saturating_sub(other.cost_micros),
        }
    }
}

/// What a run used and what counts against its budget.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Ledger {
    /// What the recorded model calls used.
    usage: Usage,
    /// What was charged for calls whose use is not known.
    charged: Amount,
    /// What counts for child tasks: set aside until a child has ended, used from then on.
    children: Amount,
    /// What is set aside for the model call under way.
    reserved: Amount,
    /// Steps that were calls of the machine's own.
    machine_steps: u32,
}

impl Ledger {
    /// A call of the machine's own is a step.
    pub(super) fn machine_step(&mut self) {
        self.machine_steps += 1;
    }

    pub(super) fn machine_steps(&self) -> u32 {
        self.machine_steps
    }

    /// A model call begins. One whose outcome never came is charged what was set aside for it.
    pub(super) fn reserve(&mut self, started: &ModelStarted) {
        self.charged = self.charged.plus(self.reserved);
        self.reserved = Amount {
            tokens: started.reserved_tokens,
            cost_micros: started.reserved_cost_micros,
        };
    }

    /// A model call answered.
    pub(super) fn used(&mut self, usage: Usage) {
        self.reserved = Amount::default();
        self.usage += usage;
    }

    /// A model call failed.
    pub(super) fn failed(&mut self, failed: &ModelFailed) {
        self.reserved = Amount::default();
        self.charged = self.charged.plus(Amount {
            tokens: failed.charged_tokens,
            cost_micros: failed.charged_cost_micros,
        });
    }

    /// What counts for child tasks has changed from one amount to another.
    pub(super) fn recount_children(&mut self, before: Amount, now: Amount) {
        self.children = self.children.minus(before).plus(now);
    }

    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    /// What counts against the budget, but for the model call under way.
    pub(super) fn spent(&self) -> Amount {
        let used = Amount {
            tokens: self.usage.total_tokens(),
            cost_micros: self.usage.cost_micros,
        };
        used.plus(self.charged).plus(self.children)
    }

    /// Likewise, with what is set aside for a model call whose outcome is unknown: it is charged once
    /// the next one begins.
    pub(super) fn spent_and_reserved(&self) -> Amount {
        if units::mutant!("agentkit.lost_call_is_free") {
            return self.spent();
        }
        self.spent().plus(self.reserved)
    }
}
