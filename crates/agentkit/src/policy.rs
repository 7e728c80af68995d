//! Policies: which calls are allowed, and which need a person's approval.
//!
//! The gate asks the policy about every call with valid arguments, before the call runs. The decision is
//! recorded with the call. The gate asks once more about an approved call before the call runs.

mod approval;
mod check;
mod condition;
mod configured;
mod file;
mod guard;
mod idle;
mod pattern;
pub(crate) mod spelling;
mod strictest;
mod touched;

use serde_json::Value;

pub use self::{
    approval::{ApprovalTerms, EscalationTerms, Expiry, Previewer},
    check::PolicyCheck,
    condition::{Condition, InvalidCondition},
    configured::{ConfiguredPolicy, Profile, Rule, RuleAction},
    file::{PolicyError, PolicyFile},
    guard::{CallLimit, Guard, Guarded, ResultGuards},
    idle::IdleRules,
    pattern::{InvalidPattern, Pattern},
    spelling::{lenient_url, url as plain_url},
    strictest::Strictest,
};
use crate::{
    ToolSpec,
    tool::{Effect, Resources},
};

/// Decides which calls are allowed.
pub trait Policy: Send + Sync {
    /// Whether the action may be done. The policy decides from its arguments, and does no I/O.
    fn check_permissions(&self, action: &Action<'_>, context: &PolicyContext<'_>) -> Permission;

    /// The bounds on calls of a tool.
    fn limits(&self, tool: &str) -> Vec<CallLimit> {
        let _ = tool;
        Vec::new()
    }

    /// The guards on results of a tool.
    fn result_guards(&self, tool: &str) -> ResultGuards {
        let _ = tool;
        ResultGuards::default()
    }
}

/// An action to decide about: one tool call.
#[derive(Debug, Clone, Copy)]
pub struct Action<'a> {
    /// The tool.
    pub tool: &'a ToolSpec,
    /// Effect of a repetition; at most the effect that the tool declares.
    pub effect: Effect,
    /// The exact arguments that would run; they have passed the schema.
    pub arguments: &'a Value,
    /// The resources that the call reads and writes.
    pub resources: &'a Resources,
    /// The tool whose probe this tool is, if the call is a probe: an agent that has that tool may look.
    pub probe_of: Option<&'a str>,
}

/// On whose behalf.
#[derive(Debug, Clone, Copy, Default)]
pub struct PolicyContext<'a> {
    /// The agent's name.
    pub agent: &'a str,
}

/// A policy's decision.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a permission that is dropped permits what it denies"]
pub enum Permission {
    /// The call may run.
    Allow,
    /// The call may run after a person's approval.
    Ask {
        /// Why, for that person.
        reason: String,
        /// How long to wait, whom to ask next, and what to show.
        terms: ApprovalTerms,
    },
    /// The call never runs.
    Deny {
        /// Why, for the model and for a person.
        reason: String,
    },
}

impl Permission {
    /// The stricter of two: a denial, else a question, else leave.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (denied @ Self::Deny { .. }, _) | (_, denied @ Self::Deny { .. }) => denied,
            (asked @ Self::Ask { .. }, _) | (_, asked @ Self::Ask { .. }) => asked,
            (Self::Allow, Self::Allow) => Self::Allow,
        }
    }
}
