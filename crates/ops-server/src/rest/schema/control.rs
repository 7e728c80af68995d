//! The shapes of pauses, signals, reruns, approvals, dead letters and steps in doubt.
#![expect(dead_code, reason = "they are described, never made")]

use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{Effect, StepStatus, Task};

/// The key of a request that may be sent again.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct IdempotencyKey {
    /// Makes a repeated request find the same task: 1 to 255 bytes of visible ASCII.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 255)]
    idempotency_key: Option<String>,
}

/// Which approvals to list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ApprovalQuery {
    /// `pending`, `approved`, `denied`, `expired`, `void` or `all`. Default: `pending`
    status: Option<String>,
    /// Task to filter by.
    task_id: Option<String>,
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// The task and the step of the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct StepPath {
    /// `task_` and a UUID.
    #[param(example = "task_01a2060b-404b-705a-b965-2ff9f46dad85")]
    task_id: String,
    /// The number of the step.
    step: u32,
}

/// Approvals, newest first.
#[derive(ToSchema)]
pub(crate) struct ApprovalList {
    approvals: Vec<Approval>,
    /// Null on the last page.
    #[schema(required)]
    next_cursor: Option<String>,
    /// Ids or names of entries that are damaged and left out; not there if there are none.
    damaged: Option<Vec<String>>,
}

/// Leave that a step asks for.
#[derive(ToSchema)]
pub(crate) struct Approval {
    task_id: String,
    step: u32,
    /// `pending`, `approved`, `denied`, `expired` or `void` (its task ended first).
    status: String,
    /// 1, and one more with each edit.
    revision: u32,
    tool: String,
    /// The exact arguments that would run.
    input: Value,
    /// Why leave is needed.
    reason: String,
    /// JSON Schema of the arguments.
    input_schema: Value,
    /// SHA-256 of the arguments as RFC 8785 JSON.
    input_digest: String,
    /// SHA-256 of the tool's definition; another one does not run.
    tool_digest: String,
    /// SHA-256 of the agent's definition.
    agent_digest: String,
    #[schema(format = DateTime)]
    asked_at: String,
    #[schema(required, format = DateTime)]
    expires_at: Option<String>,
    #[schema(required, format = DateTime)]
    decided_at: Option<String>,
    #[schema(required)]
    decided_by: Option<String>,
    /// Reason of a denial.
    #[schema(required)]
    note: Option<String>,
    /// The group that is asked next; null where no rule names one.
    #[schema(required)]
    escalation: Option<Escalation>,
    /// What the reviewer is shown; null where no rule declares a preview.
    #[schema(required)]
    preview: Option<Preview>,
}

/// An approval goes to another group if nobody answers.
#[derive(ToSchema)]
pub(crate) struct Escalation {
    /// The group.
    to: String,
    /// From when.
    #[schema(format = DateTime)]
    at: String,
    /// Whether the group is asked by now.
    escalated: bool,
}

/// A read-only call of the machine's own that shows what an approval is about.
#[derive(ToSchema)]
pub(crate) struct Preview {
    /// `pending`, `completed` or `failed`. A failed preview does not hold up the decision.
    status: String,
    /// The tool that looks.
    tool: String,
    /// Arguments of the tool.
    input: Value,
    /// Step of the call; null until the call has its outcome.
    #[schema(required)]
    step: Option<u32>,
    /// Output of the call, or the beginning of a large output.
    output: Value,
    /// Why there is no output.
    #[schema(required)]
    error: Option<super::TaskError>,
    /// Whether the arguments of the step were edited since.
    outdated: bool,
}

/// Tasks that were given up.
#[derive(ToSchema)]
pub(crate) struct DeadLetters {
    tasks: Vec<Task>,
    /// Null on the last page.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// Outcomes for dead letters.
#[derive(ToSchema)]
pub(crate) struct Redriven {
    redriven: Vec<RedrivenTask>,
    dry_run: bool,
}

/// Outcome for one dead letter.
#[derive(ToSchema)]
pub(crate) struct RedrivenTask {
    /// The dead letter.
    from: String,
    /// The task that goes on from it; null in a dry run and where it was refused.
    #[schema(required)]
    task_id: Option<String>,
    /// Why the redrive was refused.
    #[schema(required)]
    error: Option<String>,
}

/// Outcomes for many tasks.
#[derive(ToSchema)]
pub(crate) struct Steered {
    tasks: Vec<SteeredTask>,
    dry_run: bool,
    /// Null on the last page.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// Outcome for one task.
#[derive(ToSchema)]
pub(crate) struct SteeredTask {
    task_id: String,
    /// The state that it is in now; in a dry run the one that it was found in. Null where it refused.
    #[schema(required, schema_with = super::state)]
    state: Option<String>,
    /// Why the task refused.
    #[schema(required)]
    error: Option<String>,
}

/// Steps that wait for somebody's word.
#[derive(ToSchema)]
pub(crate) struct ReconciliationList {
    reconciliations: Vec<Reconciliation>,
    /// Null on the last page.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// A `write` call that may or may not have taken effect.
#[derive(ToSchema)]
pub(crate) struct Reconciliation {
    task_id: String,
    step: u32,
    /// The tool.
    name: String,
    effect: Effect,
    /// Its arguments.
    input: Value,
    #[schema(format = DateTime)]
    started_at: String,
    attempt: u32,
    status: StepStatus,
}
