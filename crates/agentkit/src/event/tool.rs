//! Bodies of a tool call's events.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CallKey, CallPurpose, CallWait, ContentPart, Failure, Initiator, StepId};
use crate::{effect::Effect, tool::Resources};

/// Body of `tool.called`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCalled {
    /// The step, which is the call id.
    pub step: StepId,
    /// The id that the provider gave the call.
    pub provider_id: String,
    /// The tool.
    pub name: String,
    /// The exact arguments that run; a string holding the raw text if they were not JSON.
    pub input: Value,
    /// The effect class at the time of the call.
    pub effect: Effect,
    /// The resources that the call reads and writes, from its arguments. `None` for a refused call, and in
    /// logs of releases that did not record resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// The call's key. `None` as for `resources`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<CallKey>,
    /// Initiator of the call.
    #[serde(default, skip_serializing_if = "Initiator::is_model")]
    pub initiator: Initiator,
    /// Purpose of a call of the machine's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<CallPurpose>,
    /// The gate's decision.
    #[serde(flatten)]
    pub decision: GateDecision,
}

/// The gate's decision about a tool call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum GateDecision {
    /// The call runs with the first batch: this event is its intent.
    Start,
    /// The call runs once the calls before are settled; a `tool.started` will be its intent.
    Queue,
    /// The call runs after a person's approval: the call is neither begun nor queued.
    Ask {
        /// Why the call needs approval, for the person who decides.
        reason: String,
        /// End of the wait, in UTC microseconds; then the call fails. `None`: the run's deadline.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until_micros: Option<i64>,
        /// The digest of the tool's definition that this person is shown.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tool_digest: Option<String>,
        /// When another group is asked, and which group.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        escalation: Option<Escalation>,
        /// The call that the machine makes for the reviewer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        preview: Option<PreviewCall>,
    },
    /// The call never runs; the model gets the reason.
    Refuse {
        /// The reason.
        error: Failure,
    },
}

/// An approval without an answer goes to another group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Escalation {
    /// When, in UTC microseconds.
    pub at_micros: i64,
    /// Name of the group.
    pub to: String,
}

/// A read-only call that shows the reviewer of another call what is at stake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewCall {
    /// The tool that looks.
    pub tool: String,
    /// Arguments of the tool.
    pub input: Value,
}

/// Body of `tool.escalated`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolEscalated {
    /// The step that waits for approval.
    pub step: StepId,
    /// Name of the group that is asked now.
    pub to: String,
}

/// Body of `tool.started`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolStarted {
    /// The step.
    pub step: StepId,
    /// 1 for the first try of this step.
    pub attempt: u32,
    /// The call's key, where `tool.called` has no key because an earlier release wrote the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<CallKey>,
}

/// Body of `tool.completed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCompleted {
    /// The step.
    pub step: StepId,
    /// The output for the model: the result, or its beginning if `handle` is there.
    pub output: Value,
    /// Where the whole result is, if it was too large to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<Handle>,
    /// Files of the workspace that the call wrote: their content is in the blob store.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileDelta>,
    /// The child task that began with this append.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child: Option<ChildStarted>,
    /// The parts of the result: the body is of version 2 then. `output` describes the parts in words,
    /// unless the tool returned a value beside them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<ContentPart>,
}

/// A child task that a tool call began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildStarted {
    /// Its id.
    pub task: String,
    /// Tokens of the run's budget that are set aside for it until it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved_tokens: Option<u64>,
    /// Micro-USD, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved_cost_micros: Option<u64>,
}

/// A large result, kept whole in the blob store and read in pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handle {
    /// SHA-256 of the content, in hex.
    pub digest: String,
    /// Size in bytes.
    pub bytes: u64,
}

/// A file that a tool call wrote in the task's workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDelta {
    /// Path relative to the workspace, with `/` between its parts.
    pub path: String,
    /// SHA-256 of the content, in hex; `None` if the file was removed.
    pub digest: Option<String>,
    /// Size in bytes.
    pub bytes: u64,
}

/// Body of `tool.failed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolFailed {
    /// The step.
    pub step: StepId,
    /// The failure.
    pub error: Failure,
}

/// Body of `tool.waiting`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolWaiting {
    /// The step.
    pub step: StepId,
    /// The condition that the call waits for.
    pub wait: CallWait,
}

/// Body of `tool.approved`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolApproved {
    /// The step.
    pub step: StepId,
    /// The arguments that it runs with, if the person changed them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// The person who approved, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// Body of `tool.denied`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolDenied {
    /// The step.
    pub step: StepId,
    /// Why, for the model.
    pub reason: String,
    /// The person who denied, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// Body of `tool.reset`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolReset {
    /// The step, of the turn that the fork begins with.
    pub step: StepId,
    /// The arguments that it is called with, if they differ from the model's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
}

/// Body of `tool.resolved`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolResolved {
    /// The step.
    pub step: StepId,
    /// The decision.
    #[serde(flatten)]
    pub resolution: Resolution,
}

/// Settlement of a call that was in doubt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "resolution", rename_all = "snake_case")]
pub enum Resolution {
    /// The call took effect and returned this output.
    Done {
        /// The return value to show the model.
        output: Value,
    },
    /// The call did not take effect, and is not to be tried again.
    Failed {
        /// The message to show the model.
        message: String,
    },
    /// The call did not take effect; the call runs again.
    Retry,
}
