//! The shapes of schedules, for `/openapi.json`.
#![expect(dead_code, reason = "they are described, never made")]

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::{IntoParams, IntoResponses, ToSchema};

use crate::rest::schema::{Limits, Part, Problem};

/// The schedule of the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct Name {
    /// 1 to 64 of `a-z`, `0-9`, `-`, `_`, `.`, a letter or digit first.
    #[param(example = "nightly")]
    name: String,
}

/// Values that are computed for an answer.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Preview {
    /// So many next dates.
    #[param(minimum = 0, maximum = 100, default = 5)]
    next: Option<u32>,
}

/// There is no such schedule: `schedule_not_found`.
#[derive(IntoResponses)]
#[response(status = 404, content_type = "application/problem+json")]
pub(crate) struct NoSchedule(#[to_schema] Problem);

/// The schedule is not as `If-Match` or `If-None-Match` says: `schedule_changed`.
#[derive(IntoResponses)]
#[response(status = 412, content_type = "application/problem+json")]
pub(crate) struct ScheduleChanged(#[to_schema] Problem);

/// The fate of a run that is due while an earlier run has not ended.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Overlap {
    Skip,
    QueueOne,
    Allow,
    CancelOther,
}

/// The fate of runs that were due while no server ran.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CatchUp {
    None,
    Latest,
    All,
}

/// A task template and when tasks are made of it.
#[derive(ToSchema)]
pub(crate) struct Schedule {
    name: String,
    cron: String,
    timezone: String,
    overlap: Overlap,
    catch_up: CatchUp,
    /// Seconds that a run may start later than its date.
    #[schema(required)]
    jitter: Option<f64>,
    paused: bool,
    /// Null while it is paused, and once it is never due again.
    #[schema(required, format = DateTime)]
    next_run_at: Option<String>,
    /// When the run was due that waits for the end of an earlier run.
    #[schema(required, format = DateTime)]
    waiting_since: Option<String>,
    /// The next dates; of a paused one, those that it would have.
    next_runs: Vec<String>,
    task: Template,
    /// Counts its changes.
    revision: u64,
    #[schema(format = DateTime)]
    created_at: String,
    /// Its last change; a run is none.
    #[schema(format = DateTime)]
    updated_at: String,
    /// What its client should know of the task; only where it is applied.
    warnings: Option<Vec<Part>>,
}

/// The task that a schedule submits.
#[derive(ToSchema)]
pub(crate) struct Template {
    task_type: String,
    input_data: Value,
    #[schema(required)]
    name: Option<String>,
    #[schema(required)]
    agent_id: Option<String>,
    priority: u8,
    labels: BTreeMap<String, String>,
    #[schema(required)]
    concurrency_key: Option<String>,
    queue: String,
    limits: Limits,
    /// Null where the configured policy applies.
    #[schema(required)]
    retry: Option<Retry>,
}

/// How failures that pass are answered.
#[derive(ToSchema)]
pub(crate) struct Retry {
    max_attempts: u32,
    /// Seconds.
    backoff: f64,
}

/// Schedules in the order of their names.
#[derive(ToSchema)]
pub(crate) struct ScheduleList {
    schedules: Vec<Schedule>,
    /// Null on the last page.
    #[schema(required)]
    next_cursor: Option<String>,
    /// Ids or names of entries that are damaged and left out; not there if there are none.
    damaged: Option<Vec<String>>,
}

/// One run of a schedule.
#[derive(ToSchema)]
#[schema(as = ScheduleRun)]
pub(crate) struct Run {
    #[schema(format = DateTime)]
    due_at: String,
    /// Time of the run.
    #[schema(format = DateTime)]
    at: String,
    trigger: Trigger,
    outcome: Outcome,
    /// The task that was started.
    #[schema(required)]
    task_id: Option<String>,
    /// Reason of the refusal.
    #[schema(required)]
    message: Option<String>,
}

/// Why there was a run.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Trigger {
    Clock,
    Manual,
}

/// `waiting` for an earlier run to end; `skipped`, as one had not ended; `missed`: this date and those
/// after it, up to the next run; `refused`: the task was not valid any more.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Started,
    Waiting,
    Skipped,
    Missed,
    Refused,
}

/// The last runs of a schedule.
#[derive(ToSchema)]
#[schema(as = ScheduleRunList)]
pub(crate) struct RunList {
    runs: Vec<Run>,
}
