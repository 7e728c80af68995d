//! The parameters and refusals of schedules, for `/openapi.json`.
#![expect(dead_code, reason = "they are described, never made")]

use utoipa::{IntoParams, IntoResponses};

use crate::problem::Refusal;

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
pub(crate) struct NoSchedule(Refusal);

/// The schedule is not as `If-Match` or `If-None-Match` says: `schedule_changed`.
#[derive(IntoResponses)]
#[response(status = 412, content_type = "application/problem+json")]
pub(crate) struct ScheduleChanged(Refusal);
