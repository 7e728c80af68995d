//! The security manager: which calls are allowed, and which somebody has to approve.
//!
//! The gate asks it about every call whose arguments are valid, before anything runs. Its word is
//! recorded with the call. A call that was approved is judged once more before it runs.

mod check;
mod condition;
mod configured;
mod file;
mod idle;
mod pattern;
pub(crate) mod spelling;
mod strictest;
mod touched;

use std::time::Duration;

use serde_json::Value;

pub use self::{
    check::PolicyCheck,
    condition::{Condition, InvalidCondition},
    configured::{ConfiguredPolicy, Profile, Rule, RuleAction},
    file::{PolicyError, PolicyFile},
    pattern::{InvalidPattern, Pattern},
    strictest::Strictest,
};
use crate::{
    ToolSpec,
    tool::{Effect, Resources},
};

/// Decides which calls are allowed.
pub trait Policy: Send + Sync {
    /// Whether the action may be done. It decides from what it is given, and does no I/O.
    fn check_permissions(&self, action: &Action<'_>, context: &PolicyContext<'_>) -> Permission;
}

/// What somebody wants to do: one tool call.
#[derive(Debug, Clone, Copy)]
pub struct Action<'a> {
    /// The tool.
    pub tool: &'a ToolSpec,
    /// What repeating the call does; at most what the tool says of itself.
    pub effect: Effect,
    /// The exact arguments that would run; they have passed the schema.
    pub arguments: &'a Value,
    /// The resources that the call reads and writes.
    pub resources: &'a Resources,
    /// The tool whose probe this is, if it is one: an agent that has that tool may look.
    pub probe_of: Option<&'a str>,
}

/// On whose behalf.
#[derive(Debug, Clone, Copy, Default)]
pub struct PolicyContext<'a> {
    /// The agent's name.
    pub agent: &'a str,
}

/// What the policy says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a permission that is dropped permits what it denies"]
pub enum Permission {
    /// It may run.
    Allow,
    /// It may run once somebody has approved it.
    Ask {
        /// Why, for that person.
        reason: String,
        /// How long to wait for an answer; none for the run's deadline.
        timeout: Option<Duration>,
    },
    /// It never runs.
    Deny {
        /// Why, for the model and for a person.
        reason: String,
    },
}
