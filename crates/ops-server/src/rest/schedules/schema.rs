//! The parameters and refusals of schedules, for `/openapi.json`.
#![expect(dead_code, reason = "they are described, never made")]

use utoipa::{IntoParams, IntoResponses};

use crate::{problem::Refusal, query::params};

/// The schedule of the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct Name {
    /// 1 to 64 of `a-z`, `0-9`, `-`, `_`, `.`, a letter or digit first.
    #[param(example = "nightly")]
    name: String,
}

params! {
    /// Values that are computed for an answer.
    pub(crate) struct Preview {
        /// So many next dates.
        next: u32 = {"minimum": 0, "maximum": 100, "default": 5},
    }
}

params! {
    /// The same of a schedule that is applied, which may be tried.
    pub(crate) struct ApplyQuery {
        /// So many next dates.
        next: u32 = {"minimum": 0, "maximum": 100, "default": 5},
        /// Store nothing; say what would be stored.
        dry_run: bool,
    }
}

params! {
    /// How many runs to list.
    pub(crate) struct RunQuery {
        /// The last hundred are kept.
        limit: u32 = {"minimum": 1, "maximum": 1000, "default": 20},
    }
}

/// There is no such schedule: `schedule_not_found`.
#[derive(IntoResponses)]
#[response(status = 404, content_type = "application/problem+json")]
pub(crate) struct NoSchedule(Refusal);

/// The schedule is not as `If-Match` or `If-None-Match` says: `schedule_changed`.
#[derive(IntoResponses)]
#[response(status = 412, content_type = "application/problem+json")]
pub(crate) struct ScheduleChanged(Refusal);
