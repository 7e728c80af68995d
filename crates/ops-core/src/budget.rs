//! Budgets: what tasks may spend together in a day, in a month, or in all. The rules are in
//! [`rules::budget`](crate::rules::budget).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{choice::choice, id::TaskId, time::Micros};

/// Tokens and money of model calls. Money is integer micro-USD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// Tokens of prompts and answers.
    pub tokens: u64,
    /// Price.
    pub cost_micros: u64,
}

choice! {
    /// How long a window of a budget is. Days and months are those of UTC.
    Period {
        /// From midnight to midnight.
        #[default]
        Day = "day",
        /// From the first day of a month to the next.
        Month = "month",
        /// One window without an end.
        Total = "total",
    }
}

/// The most that the calls of one window may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Most {
    /// Tokens; `None` for no limit.
    pub tokens: Option<u64>,
    /// Micro-USD; `None` for no limit.
    pub cost_micros: Option<u64>,
}

/// A budget, as the configuration has it. Budgets of one name share one ledger, in all processes on a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// The name.
    pub name: String,
    /// The length of its windows.
    pub period: Period,
    /// The most of each window.
    pub most: Most,
    /// Only tasks of this agent; `None` for all tasks.
    pub agent: Option<String>,
    /// Only tasks with all of these labels.
    pub labels: BTreeMap<String, String>,
}

/// A window: a budget from a time on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    /// The name of the budget.
    pub budget: String,
    /// The beginning of the window; 0 for a budget without an end.
    pub since: Micros,
}

/// How much of a window is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ledger {
    /// Usage of finished calls, and the worst cases of lost calls and of calls under way.
    pub used: Amount,
    /// The share of `used` that calls under way have reserved: the outcome of a call replaces its worst case.
    pub under_way: Amount,
}

/// A model call of a task that is under way, or that waits for room. A task has at most one such call for each budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetCall {
    /// The window.
    pub window: Window,
    /// The worst case of the call.
    pub amount: Amount,
    /// For a call that waits: the most of the window. `None` for a call under way.
    pub waits: Option<Most>,
}

/// A task that waits until calls of other tasks settle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiter {
    /// The task.
    pub task: TaskId,
    /// The worst case of its call.
    pub amount: Amount,
    /// The most of the window.
    pub most: Most,
}

/// A change of ledgers that an append brings about; the changes commit with its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BudgetEntry {
    /// A model call is about to begin: its worst case is used from now on.
    Reserve {
        /// The budget.
        budget: String,
        /// The length of its windows.
        period: Period,
        /// The most of a window.
        most: Most,
        /// The worst case of the call.
        amount: Amount,
    },
    /// A model call has an outcome: its usage takes the place of its worst case. A call without an outcome keeps its
    /// worst case for ever.
    Settle {
        /// The window of the reservation.
        window: Window,
        /// The worst case.
        reserved: Amount,
        /// The usage.
        used: Amount,
    },
    /// The task waits until calls under way settle: the settlement that makes room wakes the task.
    Wait {
        /// The budget.
        budget: String,
        /// The length of its windows.
        period: Period,
        /// The most of a window.
        most: Most,
        /// The worst case of the call.
        amount: Amount,
    },
}
