//! Requests of a tool in place of, or beside, a result of its own.
//!
//! The request itself has no effect: it takes effect with the append that records the call's outcome, and
//! as a whole with that append. So a tool that only makes requests is `pure`.

use super::ToolOutput;
use crate::event::CallWait;

/// Request that follows a call.
#[derive(Debug, Clone, PartialEq)]
pub enum FollowUp {
    /// The result comes from outside: the call waits for it. Content and files must be empty.
    Wait(CallWait),
    /// A child task begins. The call's result is its id.
    Spawn(Spawn),
}

/// A child task to begin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Spawn {
    /// The child's goal.
    pub goal: String,
    /// The child's agent; `None` for the parent's agent.
    pub agent: Option<String>,
    /// Display name of the child.
    pub name: Option<String>,
    /// Instructions for its model in place of its agent's.
    pub instructions: Option<String>,
    /// The child's tokens, at most the parent's rest; `None` for an equal share of the rest, if the parent
    /// has a budget.
    pub max_tokens: Option<u64>,
    /// The micro-USD that it may cost, likewise.
    pub max_cost_micros: Option<u64>,
    /// The child's steps; `None` for the limit of the child's agent.
    pub max_steps: Option<u32>,
    /// The child's time, at most until its parent's deadline.
    pub timeout_micros: Option<i64>,
}

impl From<FollowUp> for ToolOutput {
    fn from(follow_up: FollowUp) -> Self {
        Self {
            follow_up: Some(follow_up),
            ..Self::default()
        }
    }
}
