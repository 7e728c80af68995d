//! The ledger of a run: its usage, and the amounts charged for calls whose usage is not known.

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

/// Usage of a run and charges against its budget.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Ledger {
    /// Usage of the recorded model calls.
    usage: Usage,
    /// Charges for calls whose usage is not known.
    charged: Amount,
    /// Amount for child tasks: reserved until a child has ended, used from then on.
    children: Amount,
    /// Reservation for the model call under way.
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

    /// A model call begins. A call whose outcome never came is charged its reservation.
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

    /// The amount for child tasks has changed.
    pub(super) fn recount_children(&mut self, before: Amount, now: Amount) {
        self.children = self.children.minus(before).plus(now);
    }

    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    /// The amount that counts against the budget, but for the model call under way.
    pub(super) fn spent(&self) -> Amount {
        let used = Amount {
            tokens: self.usage.total_tokens(),
            cost_micros: self.usage.cost_micros,
        };
        used.plus(self.charged).plus(self.children)
    }

    /// Likewise, with the reservation for a model call whose outcome is unknown: the next model call
    /// charges that reservation.
    pub(super) fn spent_and_reserved(&self) -> Amount {
        if units::mutant!("agentkit.lost_call_is_free") {
            return self.spent();
        }
        self.spent().plus(self.reserved)
    }
}
