//! What a tool may ask for in place of, or beside, a result of its own.
//!
//! To ask for it has no effect: it takes place with the append that records the call's outcome, and
//! as a whole with it. So a tool that only asks is `pure`.

use super::ToolOutput;
use crate::event::CallWait;

/// What follows from a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Then {
    /// The result comes from outside: the call waits for it. Content and files must be empty.
    Wait(CallWait),
    /// A child task begins. The call's result is its id.
    Spawn(Spawn),
}

/// A child task to begin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Spawn {
    /// What it is to do.
    pub goal: String,
    /// Its agent; none for the parent's.
    pub agent: Option<String>,
    /// What surfaces call it.
    pub name: Option<String>,
    /// Instructions for its model in place of its agent's.
    pub instructions: Option<String>,
    /// The tokens that it may use, at most what its parent has left; none for an equal share of
    /// that, if the parent has a budget.
    pub max_tokens: Option<u64>,
    /// The micro-USD that it may cost, likewise.
    pub max_cost_micros: Option<u64>,
    /// The steps that it may take; none for its agent's limit.
    pub max_steps: Option<u32>,
    /// How long it may take, at most until its parent's deadline.
    pub timeout_micros: Option<i64>,
}

impl From<Then> for ToolOutput {
    fn from(then: Then) -> Self {
        Self {
            then: Some(then),
            ..Self::default()
        }
    }
}
